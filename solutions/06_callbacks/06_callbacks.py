# %% [markdown]
# # Callbacks, checkpoints, learning rates
#
# Training ran all night. Its best model was there at epoch 12. Nobody stopped it, it
# went on and got worse, and at epoch 57 the machine was restarted. In the morning there
# is neither the best model nor the last one: nothing was ever written to disk. All that
# was missing are three objects in a list. In this lesson you learn to use them, to
# predict what they do before you wait a night for it, and to write your own.
#
# Ten exercises (34 points) and a question (2 points), about three and a half hours.
# After the exercise on best and last is a good place for a break.

# %%
import json
import os
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from helpers import data, plots
from helpers.checks import check, hint, progress, solution
from helpers.watch import drive, hook_calls, outcome, stand_in

# %% [markdown]
# ## A night in a minute
#
# Here is such a night, made small: 60 digits to learn from, 60 epochs. The model learns
# them by heart, and on other digits it is best early. Everything after that was wasted,
# and the model that is left is not the best one.


# %%
def digit_model():
    layers = [keras.Input((64,)), keras.layers.Dense(64, activation="relu")]
    model = keras.Sequential([*layers, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


keras.utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = data.load_digits()
model = digit_model()
others = x_test, y_test
few = {"x": x_train[:60], "y": y_train[:60], "validation_data": others, "verbose": 0}
night = model.fit(**few, epochs=60)
plots.learning_curves(night)

# %% [markdown]
# ## Where fit calls you
#
# A **callback** is an object with methods that `fit` calls at fixed moments: its
# **hooks**. You write the hooks that you need and leave the others out. `hook_calls`
# lets a tiny model really train and notes every call. In the picture time runs from
# left to right. Each lane has its own begin and end, the numbers are those of epochs
# and batches, from 0, and the orange diamonds are *your* hook.

# %%
# rows: K1
calls = hook_calls(epochs=2, batches=2)
plots.hook_lanes(calls, lit="epoch_end")

# %% [markdown]
# Validation (the lanes "test") lies **inside** the epoch: when `on_epoch_end` is
# called, the validation values are there. **Try it:** change `lit` to
# `"train_batch_end"`, then to `"test_begin"`. How many diamonds will you see? Predict
# first.
#
# <details><summary>How many</summary>
#
# Four: 2 epochs of 2 batches. And two: validation runs once per epoch. `evaluate` calls
# the same test hooks; `predict` has six of its own, such as `on_predict_batch_end`.
#
# </details>
#
# Next: a callback of three lines. Before any hook, Keras tells it two things:
# `self.model` and `self.params`. Of the 16 hooks in the class, two are second names:
# `on_batch_end` means `on_train_batch_end`. So does it see the batches of validation?


# %%
# rows: K1, K3
class Meet(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.batches = 0
        print("my model:", self.model is model, "| params:", self.params)

    def on_batch_end(self, batch, logs=None):
        self.batches += 1


hooks = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]
print(len(hooks), "hooks")
model, four_rows = stand_in(), (np.ones((4, 1)), np.zeros((4, 1)))
meet = Meet()
model.fit(*four_rows, 2, validation_data=four_rows, callbacks=[meet], verbose=0)
print("batches that on_batch_end saw:", meet.batches)

# %% [markdown]
# It does not: 2 training batches, none of the validation. And if a hook is all you
# need, you need no class: `LambdaCallback` takes functions.

# %%
# rows: K15
told = []
note = keras.callbacks.LambdaCallback(
    on_epoch_end=lambda epoch, logs: told.append(f"epoch {epoch} {sorted(logs)}"),
    on_train_batch_end=lambda batch, logs: told.append(f"batch {batch}"),
)
model.fit(*four_rows, 2, callbacks=[note], verbose=0)
print(told)

# %% [markdown]
# ## What logs hold: means, not batches
#
# Every hook gets `logs`, a dict of numbers. In a batch hook `logs["loss"]` looks like
# the loss of the batch. Look again: below, the true losses come from `train_on_batch`,
# which does the same updates one by one.


# %%
# rows: K4
def line_model(learning_rate=0.3):
    model = stand_in(learning_rate)
    model.set_weights([np.array([[0.0]])])
    return model


x, y = data.make_line(12, slope=3.0, intercept=0.0, noise=0.4)
rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
told, model = [], line_model()
note = keras.callbacks.LambdaCallback(
    on_train_batch_end=lambda batch, logs: told.append(logs["loss"])
)
model.fit(rows, epochs=2, shuffle=False, callbacks=[note], verbose=0)
model = line_model()
true = [float(model.train_on_batch(*batch)) for _ in range(2) for batch in rows]
plots.running_means([told[:3], told[3:]], [true[:3], true[3:]])

# %% [markdown]
# The first value of each epoch is true. After that `logs["loss"]` is the mean over all
# rows of the epoch so far, so a bad batch late in a long epoch can hardly be seen.
#
# You can get the batch's loss back. A mean times its rows is a sum, and the sum grew by
# this batch's share. With `N` rows and mean `L` after a batch of `n` rows, and `M`, `K`
# before it, the loss of the batch is `(L·N − K·M) / n`. For equal batches number k that
# is `k·L − (k−1)·K`.

# %% [markdown]
# ### Exercise: the loss of each batch
#
# Write the callback `BatchLosses(batch_sizes)`. `batch_sizes` lists how many rows each
# batch of an epoch has, for example `[4, 4, 1]`. After `fit`, its attribute `losses` is
# a list with the true loss of every training batch, in order, over all epochs. It
# starts afresh with every `fit`. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# Which hook is called when the sums start anew? Which when the list does?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Keep two numbers during an epoch: the rows so far and the sum of losses so far. The
# new sum is `logs["loss"]` times the new number of rows.
#
# </details>
# <details><summary>Hint 3</summary>
#
# In `on_train_batch_end`: `seen = self.seen + size`, `total = logs["loss"] * seen`, and
# the loss is `(total - self.total) / size`.
#
# </details>


# %% exercise: BatchLosses
class BatchLosses(keras.callbacks.Callback):
    """Notes in `losses` the loss of every batch; `batch_sizes` are its rows."""

    ### BEGIN SOLUTION
    def __init__(self, batch_sizes):
        super().__init__()
        self.batch_sizes = batch_sizes

    def on_train_begin(self, logs=None):
        self.losses = []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen = self.total = 0

    def on_train_batch_end(self, batch, logs=None):
        size = self.batch_sizes[batch]
        seen = self.seen + size
        total = logs["loss"] * seen
        self.losses.append((total - self.total) / size)
        self.seen, self.total = seen, total

    ### END SOLUTION


# %% check: BatchLosses, 3 points
def evidence(BatchLosses, rng):
    def train(callback, sizes, epochs, model=None):
        """Call the hooks as `fit` does, with running means of losses that we draw."""
        settings = {"model": model or stand_in(), "epochs": epochs, "steps": len(sizes)}
        hooks = keras.callbacks.CallbackList([callback], **settings)
        hooks.on_train_begin()
        for epoch in range(epochs):
            hooks.on_epoch_begin(epoch)
            seen = total = 0.0
            for batch, size in enumerate(sizes):
                seen, total = seen + size, total + size * rng.uniform(1, 9)
                hooks.on_train_batch_begin(batch)
                hooks.on_train_batch_end(batch, {"loss": total / seen})
            validate(hooks)
            hooks.on_epoch_end(epoch, {"loss": total / seen, "val_loss": 7.0})
        hooks.on_train_end()
        return callback.losses

    def validate(hooks):
        hooks.on_test_begin()
        for batch in range(2):
            hooks.on_test_batch_begin(batch)
            hooks.on_test_batch_end(batch, {"loss": 7.0})
        hooks.on_test_end({"loss": 7.0})

    def fit():
        x = rng.uniform(1, 3, (5, 1)).astype("float32")
        rows = tf.data.Dataset.from_tensor_slices((x, -2 * x)).batch(3)
        callback = BatchLosses([3, 2])
        run = {"callbacks": [callback], "shuffle": False, "verbose": 0}
        stand_in(0.01).fit(rows, epochs=2, **run)
        return callback.losses

    size, rest = int(rng.integers(4, 9)), int(rng.integers(2, 4))
    cases = {
        "equal batches, one epoch": ([size] * 4, 1),
        "equal batches, two epochs": ([size] * 3, 2),
        "a smaller last batch, three epochs": ([size, size, rest], 3),
        "a single batch in an epoch": ([rest], 3),
    }
    for label, (sizes, epochs) in cases.items():
        given = {"batch_sizes": sizes, "epochs": epochs}
        yield label, lambda: train(BatchLosses(sizes), sizes, epochs), given
    callback, sizes = BatchLosses([size, rest]), [size, rest]
    given = {"batch_sizes": sizes, "epochs": [1, 2]}
    train(callback, sizes, 1)
    yield "the same object in a second fit", lambda: train(callback, sizes, 2), given
    yield "a real fit", fit, {"batch_sizes": [3, 2], "epochs": 2}


check("06/BatchLosses", evidence)

# %% mistake: logs hold the loss of the batch
"""You store `logs["loss"]` as it comes. In a batch hook that is the mean over all rows
of the epoch so far; the loss of the batch is `(L·N − K·M) / n`."""


class BatchLosses(keras.callbacks.Callback):
    def __init__(self, batch_sizes):
        super().__init__()

    def on_train_begin(self, logs=None):
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])


# %% mistake: all batches have the same size
"""`k·L − (k−1)·K` is right while all batches are equally large. A smaller last batch
has a smaller share: count rows instead of batches."""


class BatchLosses(keras.callbacks.Callback):
    def __init__(self, batch_sizes):
        super().__init__()

    def on_train_begin(self, logs=None):
        self.losses = []

    def on_epoch_begin(self, epoch, logs=None):
        self.before = 0.0

    def on_train_batch_end(self, batch, logs=None):
        loss = logs["loss"]
        self.losses.append((batch + 1) * loss - batch * self.before)
        self.before = loss


# %% mistake: the running mean runs on over epochs
"""Your sums go on from epoch to epoch. The mean that Keras tells starts anew with each
epoch: reset rows and sum in `on_epoch_begin`."""


class BatchLosses(keras.callbacks.Callback):
    def __init__(self, batch_sizes):
        super().__init__()
        self.batch_sizes = batch_sizes

    def on_train_begin(self, logs=None):
        self.losses = []
        self.seen = self.total = 0

    def on_train_batch_end(self, batch, logs=None):
        size = self.batch_sizes[batch]
        seen = self.seen + size
        total = logs["loss"] * seen
        self.losses.append((total - self.total) / size)
        self.seen, self.total = seen, total


# %% mistake: a batch's loss is what the mean moved by
"""You subtract two means. Means cannot be subtracted, sums can: multiply each by its
number of rows first."""


class BatchLosses(keras.callbacks.Callback):
    def __init__(self, batch_sizes):
        super().__init__()

    def on_train_begin(self, logs=None):
        self.losses = []

    def on_epoch_begin(self, epoch, logs=None):
        self.before = 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"] - self.before)
        self.before = logs["loss"]


# %% mistake: a callback is made for one fit
"""Your list is made when the object is made, so a second `fit` adds to the first one's
losses. What belongs to one training starts in `on_train_begin`."""


class BatchLosses(keras.callbacks.Callback):
    def __init__(self, batch_sizes):
        super().__init__()
        self.batch_sizes = batch_sizes
        self.losses = []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen = self.total = 0

    def on_train_batch_end(self, batch, logs=None):
        size = self.batch_sizes[batch]
        seen = self.seen + size
        total = logs["loss"] * seen
        self.losses.append((total - self.total) / size)
        self.seen, self.total = seen, total


# %% [markdown]
# ## What a callback may do
#
# Almost everything: score other data, save, change the learning rate, freeze a layer.
# `logs` is the place where callbacks meet. What you add in `on_epoch_end` reaches the
# history, and the callbacks **behind** you in the list. The ones before you have had
# their turn.


# %%
# rows: K5, K2
def asks(name):
    def look(epoch, logs):
        print(f"{name}: extra in logs? {'extra' in logs}")

    return keras.callbacks.LambdaCallback(on_epoch_end=look)


add = keras.callbacks.LambdaCallback(
    on_epoch_end=lambda epoch, logs: logs.update(extra=epoch + 0.5)
)
run = {"callbacks": [asks("before"), add, asks("behind")], "verbose": 0}
print("history:", stand_in().fit(*four_rows, **run).history["extra"])

# %% [markdown]
# Habit: producers first, consumers behind them. An `EarlyStopping` that watches your
# own number stands after the callback that makes it.
#
# Now a trap. You want to know the score on other data, and `evaluate` is one call away.
# Below it is called in three places. The learning rate is 0, so nothing moves and the
# loss of the epoch should be the same each time. Which place spoils it?


# %%
# rows: K43
def logged_loss(**hooks):
    model = line_model(learning_rate=0.0)

    def score(*arguments):
        model.evaluate(-x, y, verbose=0)

    hooks = {hook: score for hook in hooks.get("evaluate_in", [])}
    note = keras.callbacks.LambdaCallback(**hooks)
    run = {"shuffle": False, "callbacks": [note], "verbose": 0}
    return model.fit(rows, **run).history["loss"][0]


print(f"no evaluate:           {logged_loss():.4f}")
print(f"in on_epoch_end:       {logged_loss(evaluate_in=['on_epoch_end']):.4f}")
print(f"in on_train_batch_end: {logged_loss(evaluate_in=['on_train_batch_end']):.4f}")

# %% [markdown]
# `evaluate` resets and fills the same metrics that the epoch's means are made of: what
# is reported as training loss is then the other data's loss. In `on_epoch_end` the
# means are already taken. Habit: `evaluate` in `on_epoch_end` only; in the middle of an
# epoch, use a second model with the same weights.

# %% [markdown]
# ### Exercise: scores on a second data set
#
# Write the callback `ExtraScores(rows, name)`. `rows` is a Dataset of `(x, y)` batches.
# After every epoch it evaluates the model on `rows` and adds the results to the epoch's
# logs, each under `f"{name}_{key}"`: for `name="night"` there are `night_loss`,
# `night_mae` and so on in the history, and callbacks behind yours see them. All other
# numbers of the history stay what they are without your callback. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# One hook is enough. Which one is called when the epoch's own numbers are final?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `self.model.evaluate(..., return_dict=True, verbose=0)` gives the names, too. Change
# the dict that you are handed; a new dict reaches nobody.
#
# </details>


# %% exercise: ExtraScores
class ExtraScores(keras.callbacks.Callback):
    """Adds the scores on `rows` to the logs of every epoch, named `name_...`."""

    ### BEGIN SOLUTION
    def __init__(self, rows, name):
        super().__init__()
        self.rows, self.name = rows, name

    def on_epoch_end(self, epoch, logs=None):
        scores = self.model.evaluate(self.rows, return_dict=True, verbose=0)
        for key, value in scores.items():
            logs[f"{self.name}_{key}"] = value

    ### END SOLUTION


# %% check: ExtraScores, 2 points
def evidence(ExtraScores, rng):
    name = str(rng.choice(["night", "fog", "rain"]))

    def some_rows(n, scale):
        x = rng.normal(size=(n, 1)).astype("float32")
        y = (scale * rng.normal(size=(n, 1))).astype("float32")
        return tf.data.Dataset.from_tensor_slices((x, y)).batch(3)

    train, validation, extra = some_rows(6, 1), some_rows(3, 2), some_rows(4, 4)
    seen = []
    spy = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(dict(logs))
    )
    model = stand_in(0.05)
    model.compile(keras.optimizers.SGD(0.05), "mse", metrics=["mae"], run_eagerly=True)
    run = {"callbacks": [ExtraScores(extra, name), spy], "validation_data": validation}
    found = model.fit(train, epochs=2, shuffle=False, verbose=0, **run).history
    given = {"name": name, "epochs": 2}
    own = {key: found[key] for key in found if not key.startswith(name)}
    yield "the model's own numbers in the history", own, given
    scores = {key: found[key] for key in found if key.startswith(name)}
    yield "the scores in the history", scores, given
    yield "what a callback behind it sees", seen, given


check("06/ExtraScores", evidence)

# %% mistake: every hook is a good place for evaluate
"""You evaluate in a batch hook. `evaluate` resets the metrics that the epoch's means
are made of, so the training loss in the history is wrong. Do it in `on_epoch_end`."""


class ExtraScores(keras.callbacks.Callback):
    def __init__(self, rows, name):
        super().__init__()
        self.rows, self.name = rows, name

    def on_train_batch_end(self, batch, logs=None):
        self.scores = self.model.evaluate(self.rows, return_dict=True, verbose=0)

    def on_epoch_end(self, epoch, logs=None):
        logs.update({f"{self.name}_{key}": v for key, v in self.scores.items()})


# %% mistake: a new dict becomes the logs
"""You make a new dict and call it `logs`. The name is yours, the dict that `fit` and
the other callbacks hold is another one: change it in place, `logs[key] = value`."""


class ExtraScores(keras.callbacks.Callback):
    def __init__(self, rows, name):
        super().__init__()
        self.rows, self.name = rows, name

    def on_epoch_end(self, epoch, logs=None):
        scores = self.model.evaluate(self.rows, return_dict=True, verbose=0)
        logs = {**logs, **{f"{self.name}_{key}": v for key, v in scores.items()}}


# %% mistake: the keys of evaluate are free
"""`evaluate` calls its loss `loss`, as training does: you overwrite the training loss.
Put your name in front of every key."""


class ExtraScores(keras.callbacks.Callback):
    def __init__(self, rows, name):
        super().__init__()
        self.rows, self.name = rows, name

    def on_epoch_end(self, epoch, logs=None):
        logs.update(self.model.evaluate(self.rows, return_dict=True, verbose=0))


# %% mistake: a number belongs into the history
"""You write into the history yourself. It is only the last callback in the list: those
between you and it never see your number. Put it into `logs`, and all of them do."""


class ExtraScores(keras.callbacks.Callback):
    def __init__(self, rows, name):
        super().__init__()
        self.rows, self.name = rows, name

    def on_epoch_end(self, epoch, logs=None):
        scores = self.model.evaluate(self.rows, return_dict=True, verbose=0)
        for key, value in scores.items():
            history = self.model.history.history
            history.setdefault(f"{self.name}_{key}", []).append(value)


# %% mistake: the beginning of an epoch is as good as its end
"""You evaluate in `on_epoch_begin`: these are the scores of the weights before the
epoch, one epoch too old."""


class ExtraScores(keras.callbacks.Callback):
    def __init__(self, rows, name):
        super().__init__()
        self.rows, self.name = rows, name

    def on_epoch_begin(self, epoch, logs=None):
        self.scores = self.model.evaluate(self.rows, return_dict=True, verbose=0)

    def on_epoch_end(self, epoch, logs=None):
        logs.update({f"{self.name}_{key}": v for key, v in self.scores.items()})


# %% [markdown]
# ## What does not follow you
#
# Two changes in the middle of a training look alike. The learning rate is a variable:
# what you assign acts at once. Which layers are trained was written into the compiled
# training step, and `trainable = False` changes nothing there. Below, both are set when
# epoch 1 begins. The number is how far the weight moves in each epoch.


# %%
# rows: K2, K36
class Moves(keras.callbacks.Callback):
    def __init__(self, change):
        super().__init__()
        self.change, self.moves = change, []

    def on_epoch_begin(self, epoch, logs=None):
        self.before = self.model.get_weights()[0].item()
        if epoch == 1:
            self.change(self.model)

    def on_epoch_end(self, epoch, logs=None):
        after = self.model.get_weights()[0].item()
        self.moves.append(round(abs(after - self.before), 3))


# %%
# rows: K2, K36
def wrong_name(model):
    model.optimizer.lr = 0.0


def right_name(model):
    model.optimizer.learning_rate = 0.0  # so does .learning_rate.assign(0.0)


def freeze(model):
    model.layers[0].trainable = False


def freeze_and_renew(model):
    freeze(model)
    model.make_train_function(force=True)


for change in (wrong_name, right_name, freeze, freeze_and_renew):
    model, moves = line_model(0.1), Moves(change)
    model.run_eagerly = False
    model.fit(rows, epochs=3, shuffle=False, callbacks=[moves], verbose=0)
    print(f"{change.__name__:17}", moves.moves)

# %% [markdown]
# Line 1: `optimizer.lr` was the old name. Today Python invents a new attribute, nobody
# reads it, no error. Line 3: the frozen layer keeps training. Line 4: making the train
# function anew (or `compile`, which forgets the optimizer's state) lets the change act.

# %% [markdown]
# ### Quiz: half of it works
#
# A callback warms up a new head for three epochs and then sets `trainable = True` on
# the layers below. In the history nothing changes at epoch 3. What went wrong?
#
# <details><summary>The learning rate must be set anew, too</summary>
#
# No: the optimizer keeps its rate, and it would act on all that is trained.
#
# </details>
# <details><summary>The training step was compiled before and still leaves these layers
# out</summary>
#
# Right: call `model.make_train_function(force=True)` afterwards, or train in two calls:
# `fit`, unfreeze, `compile`, `fit`.
#
# </details>
# <details><summary>`on_epoch_begin` comes too late, the epoch has started</summary>
#
# No: no batch has run yet. A learning rate set there acts in the same epoch.
#
# </details>
# <details><summary>A callback must not change the model</summary>
#
# No: it may change everything. But what was compiled does not look again.
#
# </details>

# %% [markdown]
# ## Stop from inside
#
# `self.model.stop_training = True` ends the training after the current batch. How much
# of the epoch still happens depends on the hook where you set it. "val" below: was
# there a validation in the last epoch?


# %%
# rows: K7
class StopIn(keras.callbacks.Callback):
    def __init__(self, hook):
        super().__init__()
        self.batches = 0
        setattr(self, f"on_{hook}", self.stop)

    def stop(self, number, logs=None):
        self.model.stop_training = number == 1 or self.model.stop_training

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1


for hook in ("epoch_begin", "train_batch_begin", "epoch_end"):
    stop, model = StopIn(hook), stand_in()
    run = {"validation_data": rows, "callbacks": [stop], "shuffle": False, "verbose": 0}
    found = model.fit(rows, epochs=4, **run).history
    print(f"number 1 in {hook:17}: {stop.batches} batches, {len(found['loss'])} epochs,",
          f"val: {len(found['val_loss'])}")  # fmt: skip

# %% [markdown]
# Set in `epoch_begin` of epoch 1: one more batch runs, 3 + 1. In batch 1 of the first
# epoch: the epoch is cut after 2 batches, validation still runs. At the end of epoch 1:
# two whole epochs. The next `fit` starts with `stop_training = False` again.
#
# `TerminateOnNaN` is a callback of this kind: it looks at every batch. A `History` that
# you make yourself and pass twice goes on where it was.

# %%
# rows: K16, K17
broken = np.array([[0.0], [np.nan], [0.0], [0.0]])


def until_nan(**settings):
    guard, seen = keras.callbacks.TerminateOnNaN(**settings), []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda b, _: seen.append(b)
    )
    run = {"batch_size": 1, "epochs": 3, "shuffle": False, "callbacks": [guard, note]}
    epochs = len(stand_in().fit(four_rows[0], broken, verbose=0, **run).epoch)
    return f"batches {seen}, {epochs} epoch"


print("TerminateOnNaN():                ", outcome(until_nan))
print("TerminateOnNaN(raise_error=True):", outcome(lambda: until_nan(raise_error=True)))
history, model = keras.callbacks.History(), stand_in()
for epochs in (1, 2):
    model.fit(*four_rows, epochs=epochs, callbacks=[history], verbose=0)
    print(f"after fit of {epochs}: {len(history.history['loss'])} losses")

# %% [markdown]
# ### Exercise: stop at a target
#
# Write the callback `StopAt(monitor, target, mode)`. When an epoch's `logs[monitor]`
# has reached `target`, the training ends with this epoch, and `fit` returns as usual.
# Reached means: at or below the target for `mode="min"`, at or above it for
# `mode="max"`. Epochs without the key are passed over, with `warnings.warn(...)` at the
# first of them in each training, not at the others. One object serves several
# trainings. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# `logs.get(monitor)` is `None` where the key is missing.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Whether you have warned is something that each training starts anew: in which hook?
#
# </details>
# <details><summary>Hint 3</summary>
#
# What ends the training belongs to the model: `self.model.stop_training = True`.
#
# </details>


# %% exercise: StopAt
class StopAt(keras.callbacks.Callback):
    """Ends training as soon as `monitor` has reached `target`; mode "min" or "max"."""

    ### BEGIN SOLUTION
    def __init__(self, monitor, target, mode):
        super().__init__()
        self.monitor, self.target, self.mode = monitor, target, mode

    def on_train_begin(self, logs=None):
        self.warned = False

    def on_epoch_end(self, epoch, logs=None):
        value = (logs or {}).get(self.monitor)
        if value is None:
            if not self.warned:
                warnings.warn(f"StopAt: {self.monitor} is not in {sorted(logs)}.")
            self.warned = True
        elif value <= self.target if self.mode == "min" else value >= self.target:
            self.model.stop_training = True

    ### END SOLUTION


# %% check: StopAt, 3 points
def evidence(StopAt, rng):
    monitor = str(rng.choice(["loss", "val_mae", "val_f1"]))

    def watch(callback, values):
        """How many epochs ran and how many warnings came; None: the key is missing."""
        logs = [{"other": 0.0} | ({} if v is None else {monitor: v}) for v in values]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ran = drive(callback, logs)["epochs"]
        return {"epochs": ran, "warnings": len(caught)}

    target, first = float(rng.uniform(1, 3)), int(rng.integers(3, 7))
    near = [float(v) for v in rng.uniform(0.1, 0.5, 12)]
    falls = [target + v for v in near[:first]] + [target - v for v in near]
    rises = [2 * target - v for v in falls]
    exact = [*falls[:first], target, *falls]
    gaps = [None, falls[0], None, None, *falls[1:]]
    late = [float("nan"), *falls]
    cases = {
        "a value that falls below": (falls, "min"),
        "a value that rises above": (rises, "max"),
        "exactly at the target": (exact, "min"),
        "exactly at the target, from below": ([2 * target - v for v in exact], "max"),
        "some epochs without the key": (gaps, "min"),
        "not a number is no target": (late, "max" if first % 2 else "min"),
    }
    for label, (values, mode) in cases.items():
        given = {"monitor": monitor, "target": target, "mode": mode, "values": values}
        yield label, lambda: watch(StopAt(monitor, target, mode), values), given

    def twice():
        callback = StopAt(monitor, target, "min")
        return [watch(callback, gaps), watch(callback, [None, *gaps])]

    given = {"monitor": monitor, "target": target, "mode": "min"}
    yield "two trainings, one object", twice, given

    def fit():
        put = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: logs.update({monitor: falls[epoch]})
        )
        rows = tf.data.Dataset.from_tensors((np.ones((1, 1)), np.ones((1, 1))))
        run = {"callbacks": [put, StopAt(monitor, target, "min")], "verbose": 0}
        return len(stand_in().fit(rows, epochs=9, shuffle=False, **run).epoch)

    yield "epochs in the history that fit returns", fit, given


check("06/StopAt", evidence)

# %% mistake: a target must be passed
"""A value that is exactly at the target has reached it. Compare with `<=` and `>=`."""


class StopAt(keras.callbacks.Callback):
    def __init__(self, monitor, target, mode):
        super().__init__()
        self.monitor, self.target, self.mode = monitor, target, mode

    def on_train_begin(self, logs=None):
        self.warned = False

    def on_epoch_end(self, epoch, logs=None):
        value = logs.get(self.monitor)
        if value is None:
            if not self.warned:
                warnings.warn("missing")
            self.warned = True
        elif value < self.target if self.mode == "min" else value > self.target:
            self.model.stop_training = True


# %% mistake: smaller is always better
"""You ignore `mode`. An accuracy is good when it is high: with `mode="max"` the target
is reached from below."""


class StopAt(keras.callbacks.Callback):
    def __init__(self, monitor, target, mode):
        super().__init__()
        self.monitor, self.target = monitor, target

    def on_train_begin(self, logs=None):
        self.warned = False

    def on_epoch_end(self, epoch, logs=None):
        value = logs.get(self.monitor)
        if value is None:
            if not self.warned:
                warnings.warn("missing")
            self.warned = True
        elif value <= self.target:
            self.model.stop_training = True


# %% mistake: the callback stops the training
"""You set `stop_training` on the callback. `fit` looks at the model's:
`self.model.stop_training = True`."""


class StopAt(keras.callbacks.Callback):
    def __init__(self, monitor, target, mode):
        super().__init__()
        self.monitor, self.target, self.mode = monitor, target, mode

    def on_train_begin(self, logs=None):
        self.warned = False

    def on_epoch_end(self, epoch, logs=None):
        value = logs.get(self.monitor)
        if value is None:
            if not self.warned:
                warnings.warn("missing")
            self.warned = True
        elif value <= self.target if self.mode == "min" else value >= self.target:
            self.stop_training = True


# %% mistake: every epoch has every key
"""`logs[monitor]` stops the whole training with a KeyError where the key is missing,
for example in an epoch without validation. Ask with `logs.get`."""


class StopAt(keras.callbacks.Callback):
    def __init__(self, monitor, target, mode):
        super().__init__()
        self.monitor, self.target, self.mode = monitor, target, mode

    def on_epoch_end(self, epoch, logs=None):
        value = logs[self.monitor]
        if value <= self.target if self.mode == "min" else value >= self.target:
            self.model.stop_training = True


# %% mistake: a warning an epoch is no harm
"""You warn in every epoch without the key. A message that comes a thousand times is
read by nobody: remember that you have warned."""


class StopAt(keras.callbacks.Callback):
    def __init__(self, monitor, target, mode):
        super().__init__()
        self.monitor, self.target, self.mode = monitor, target, mode

    def on_epoch_end(self, epoch, logs=None):
        value = logs.get(self.monitor)
        if value is None:
            warnings.warn("missing")
        elif value <= self.target if self.mode == "min" else value >= self.target:
            self.model.stop_training = True


# %% mistake: what was told once need not be told again
"""You remember for the object's whole life that you have warned, so a second training
gets no warning. Reset it in `on_train_begin`."""


class StopAt(keras.callbacks.Callback):
    def __init__(self, monitor, target, mode):
        super().__init__()
        self.monitor, self.target, self.mode = monitor, target, mode
        self.warned = False

    def on_epoch_end(self, epoch, logs=None):
        value = logs.get(self.monitor)
        if value is None:
            if not self.warned:
                warnings.warn("missing")
            self.warned = True
        elif value <= self.target if self.mode == "min" else value >= self.target:
            self.model.stop_training = True


# %% mistake: an exception stops the training
"""You raise an exception. `fit` then returns no history, and callbacks with something
left to do in `on_train_end` never do it. Set `self.model.stop_training = True`."""


class StopAt(keras.callbacks.Callback):
    def __init__(self, monitor, target, mode):
        super().__init__()
        self.monitor, self.target, self.mode = monitor, target, mode

    def on_train_begin(self, logs=None):
        self.warned = False

    def on_epoch_end(self, epoch, logs=None):
        value = logs.get(self.monitor)
        if value is None:
            if not self.warned:
                warnings.warn("missing")
            self.warned = True
        elif value <= self.target if self.mode == "min" else value >= self.target:
            raise StopIteration


# %% [markdown]
# ## When fit breaks
#
# Somebody presses stop, the disk is full, a file is missing: the exception leaves `fit`
# at once. Which of your hooks is still called? Compare with a polite stop.


# %%
# rows: K6
def last_hooks(how):
    def act(batch, logs):
        if how == "raise":
            raise KeyboardInterrupt  # what the stop button does
        model.stop_training = True

    model, act = stand_in(), keras.callbacks.LambdaCallback(on_train_batch_end=act)
    seen = []
    ends = {f"on_{part}_end": lambda *_, part=part: seen.append(f"{part}_end")
            for part in ("train", "epoch")}  # fmt: skip
    run = {"callbacks": [act, keras.callbacks.LambdaCallback(**ends)], "verbose": 0}
    try:
        model.fit(*four_rows, **run)
    except KeyboardInterrupt:
        pass
    return seen


for how in ("stop_training", "raise"):
    print(f"{how:13} then come: {last_hooks(how)}")

# %% [markdown]
# Nothing at all comes after an exception. So a callback that collects all night and
# writes the file in `on_train_end` loses the night. Habit: what must survive is on the
# disk when `on_epoch_end` returns.
#
# `CSVLogger` keeps to that: one line per epoch, flushed. Its keys are sorted, epochs
# count from 0. Below: an epoch, then two more into the same file with validation in
# every second one.

# %%
# rows: K14
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "log.csv"
    model = stand_in()
    run = {"validation_data": four_rows, "verbose": 0}
    model.fit(*four_rows, callbacks=[keras.callbacks.CSVLogger(path)], **run)
    again = keras.callbacks.CSVLogger(path, append=True)
    run |= {"initial_epoch": 1, "epochs": 3, "validation_freq": 2}
    model.fit(*four_rows, callbacks=[again], **run)
    print(path.read_text())

# %% [markdown]
# ### Exercise: a log in lines of JSON
#
# Write the callback `JsonlLogger(path)`. For every epoch it writes one line into the
# file `path`: a JSON object with `"epoch"` (from 0, as the hook is told) and all of the
# epoch's logs as numbers. Other callbacks may have put NumPy numbers among them. Each
# line can be read by other programs as soon as the epoch is over, also if the training
# breaks later. Every `fit` starts the file anew. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# Opening a file for one line and closing it again is slow for a million lines and fine
# for one per epoch.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `open(path, "w")` empties a file, `open(path, "a")` adds to it. Closing it, for
# example by `with`, writes what Python still holds back.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `json.dumps` knows no NumPy numbers; `float(value)` turns one into Python's.
#
# </details>


# %% exercise: JsonlLogger
class JsonlLogger(keras.callbacks.Callback):
    """Writes each epoch's logs to the file `path`, one JSON object a line."""

    ### BEGIN SOLUTION
    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_begin(self, logs=None):
        open(self.path, "w").close()

    def on_epoch_end(self, epoch, logs=None):
        numbers = {key: float(value) for key, value in logs.items()}
        with open(self.path, "a") as file:
            file.write(json.dumps({"epoch": epoch, **numbers}) + "\n")

    ### END SOLUTION


# %% check: JsonlLogger, 2 points
def evidence(JsonlLogger, rng):
    keys = [str(key) for key in rng.permutation(["loss", "val_loss", "mae", "f1"])[:3]]

    def read(path):
        """The objects in the file; None where there is no file."""
        if path.exists():
            return [json.loads(line) for line in path.read_text().splitlines()]

    def logged(*nights, crash_at=None, extra=None):
        """What is in the file at the end, and when each epoch but the first begins."""
        seen = []

        def begin(epoch, logs):
            if epoch > 0:
                seen.append(read(path))
            if epoch == crash_at:
                raise EOFError("a crash")

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "log.jsonl"
            spy = keras.callbacks.LambdaCallback(
                on_epoch_begin=begin,
                on_epoch_end=lambda epoch, logs: logs.update(extra or {}),
            )
            callback = JsonlLogger(path)
            for epochs in nights:
                logs = [
                    {k: float(rng.uniform(0, 9)) for k in keys} for _ in range(epochs)
                ]
                try:
                    drive([spy, callback], logs)
                except EOFError:
                    pass
            return {"at the end": read(path), "in between": seen}

    count = int(rng.integers(3, 7))
    given = {"keys": keys, "epochs": count}
    found = logged(count)
    yield "the lines of a training", found["at the end"], given
    yield "the lines when each further epoch begins", found["in between"], given
    extra = {"added": np.float32(rng.uniform(1, 2)), "count": np.int64(count)}
    yield (
        "NumPy numbers from another callback",
        lambda: logged(2, extra=extra)["at the end"],
        {**given, "added": extra},
    )
    crash = {"crash_at": count - 1}
    yield "after a crash", lambda: logged(count, **crash)["at the end"], given | crash
    yield "two trainings, one object", lambda: logged(3, 2)["at the end"], given


check("06/JsonlLogger", evidence)

# %% mistake: on_train_end is always called
"""You write at the end of the training. After an exception there is no `on_train_end`,
and all lines are lost: write in `on_epoch_end`."""


class JsonlLogger(keras.callbacks.Callback):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_begin(self, logs=None):
        self.lines = []

    def on_epoch_end(self, epoch, logs=None):
        numbers = {key: float(value) for key, value in logs.items()}
        self.lines.append(json.dumps({"epoch": epoch, **numbers}) + "\n")

    def on_train_end(self, logs=None):
        with open(self.path, "w") as file:
            file.writelines(self.lines)


# %% mistake: what is written is on the disk
"""Python holds small pieces back until there are enough of them, or the file is closed.
Close the file after each line, or call `file.flush()`."""


class JsonlLogger(keras.callbacks.Callback):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_begin(self, logs=None):
        self.file = open(self.path, "w")

    def on_epoch_end(self, epoch, logs=None):
        numbers = {key: float(value) for key, value in logs.items()}
        self.file.write(json.dumps({"epoch": epoch, **numbers}) + "\n")

    def on_train_end(self, logs=None):
        self.file.close()


# %% mistake: json knows every number
"""`json.dumps` refuses a NumPy number such as `np.float32(0.5)`, and the training
stops. Turn each value into a Python number with `float`."""


class JsonlLogger(keras.callbacks.Callback):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_begin(self, logs=None):
        open(self.path, "w").close()

    def on_epoch_end(self, epoch, logs=None):
        with open(self.path, "a") as file:
            file.write(json.dumps({"epoch": epoch, **logs}) + "\n")


# %% mistake: adding is always right
"""You only ever add to the file, so a second training follows the first one's lines.
Empty the file in `on_train_begin`."""


class JsonlLogger(keras.callbacks.Callback):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        numbers = {key: float(value) for key, value in logs.items()}
        with open(self.path, "a") as file:
            file.write(json.dumps({"epoch": epoch, **numbers}) + "\n")


# %% mistake: the file is one list
"""You write all epochs as one JSON list, so the whole file must be written again each
time, and a reader needs all of it. One object a line can be read line by line."""


class JsonlLogger(keras.callbacks.Callback):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_begin(self, logs=None):
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        numbers = {key: float(value) for key, value in logs.items()}
        self.epochs.append({"epoch": epoch, **numbers})
        with open(self.path, "w") as file:
            json.dump(self.epochs, file)


# %% mistake: epochs count from 1
"""You add 1 to the epoch. The hook counts from 0, and so do the file and
`initial_epoch`: one way to count, or every reader has to guess."""


class JsonlLogger(keras.callbacks.Callback):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_begin(self, logs=None):
        open(self.path, "w").close()

    def on_epoch_end(self, epoch, logs=None):
        numbers = {key: float(value) for key, value in logs.items()}
        with open(self.path, "a") as file:
            file.write(json.dumps({"epoch": epoch + 1, **numbers}) + "\n")
