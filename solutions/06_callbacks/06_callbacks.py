# %% [markdown]
# # Callbacks, checkpoints, learning rates
#
# Training ran all night. Its best model was there at epoch 9. Nobody stopped it, it
# went on and got worse, and at epoch 57 the machine was restarted. In the morning there
# is neither the best model nor the last one: nothing was ever written to disk. All that
# was missing were three objects in a list. In this lesson you learn to use them, to
# predict what they do before you wait a night for it, and to write your own.
#
# Ten exercises (34 points) and a question (2 points), about four hours, in three parts
# with a good place for a break between them. You need lesson 02.

# %%
import contextlib
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
# Here is such a night, made small: 100 digits to learn from, every fifth of them with a
# wrong label, and 60 epochs. The model learns even the wrong labels by heart. On other
# digits it is best early, and everything after that makes it worse.


# %%
def digit_model(optimizer):
    layers = [keras.Input((64,)), keras.layers.Dense(64, activation="relu")]
    model = keras.Sequential([*layers, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    return model


keras.utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = data.load_digits()
few, others = (x_train[:100], y_train[:100].copy()), (x_test[:100], y_test[:100])
few[1][::5] = (few[1][::5] + 1) % 10  # wrong labels
model = digit_model(keras.optimizers.Adam(0.02))
settings = {"batch_size": 50, "validation_data": others, "verbose": 0}
night = model.fit(*few, epochs=60, **settings)
plots.learning_curves(night)

# %% [markdown]
# ## Where fit calls you
#
# A **callback** is an object with methods that `fit` calls at fixed moments: its
# **hooks**. You write the hooks that you need and leave the others out. `hook_calls`
# lets a tiny model really train and notes every call. In the picture time runs from
# left to right. Each lane has its own begin and end, the numbers are those of epochs
# and batches, from 0, and the orange diamonds are *your* hook. (Hooks count from 0;
# the pictures of curves, and file names, from 1.)

# %%
# rows: K1
calls = hook_calls(epochs=2, batches=2)
plots.hook_lanes(calls, lit="epoch_end")

# %% [markdown]
# Validation (the lanes "test") lies **inside** the epoch: when `on_epoch_end` is
# called, the validation values are there.
#
# **Try it.** Change `lit` to `"train_batch_end"`, then to `"test_begin"`. How many
# diamonds will you see? Predict first.
#
# <details><summary>What you get</summary>
#
# Four: 2 epochs of 2 batches. And two: validation runs once per epoch. `evaluate` calls
# the same test hooks; `predict` has four of its own, such as `on_predict_batch_end`.
#
# </details>
#
# Next: a callback of your own. Before any hook Keras gives it two things, `self.model`
# and `self.params`. Of the 16 hooks in the class, two are second names: `on_batch_end`
# means `on_train_batch_end`, so it counts the batches of training and none of the
# validation. A class instead of an object is an error (last line). If a hook is all you
# need, `LambdaCallback` takes functions. (`stand_in()` is a compiled model with one
# weight, where any model will do.)


# %%
# rows: K1, K3, B28, B39
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
print("a class:", outcome(lambda: model.fit(*four_rows, callbacks=Meet, verbose=0)))

# %% [markdown]
# `evaluate` and `predict` call methods of their own on a callback, in this order. In
# `predict`, the logs of a batch hold its outputs.


# %%
# rows: B52, B61, B75
class Tell(keras.callbacks.Callback):
    def on_test_batch_end(self, batch, logs=None):
        print("evaluate: batch", batch, "ends, logs:", list(logs))

    def on_test_end(self, logs=None):
        print("evaluate ends, logs:", list(logs))

    def on_predict_batch_end(self, batch, logs=None):
        print("predict: batch", batch, "ends, logs:", list(logs))

    def on_predict_end(self, logs=None):
        print("predict ends, logs:", logs)


model = stand_in()
loss = model.evaluate(*four_rows, batch_size=2, callbacks=[Tell()], verbose=0)
outputs = model.predict(four_rows[0], batch_size=2, callbacks=[Tell()], verbose=0)

# %% [markdown]
# ## What logs hold: means, not batches
#
# Every hook gets `logs`, a dict of numbers. In a batch hook `logs["loss"]` looks like
# the loss of the batch. It is a running mean, as in lesson 01. Below, the true losses
# come from `train_on_batch`, which does the same updates one by one.


# %%
# rows: K4, K15
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
true, model = [], line_model()
for batch in [*rows, *rows]:
    model.reset_metrics()  # else, in some versions of Keras, a running mean, too
    true.append(float(model.train_on_batch(*batch)))
plots.running_means([told[:3], told[3:]], [true[:3], true[3:]])

# %% [markdown]
# The first value of each epoch is true. After that `logs["loss"]` is the mean over all
# rows of the epoch so far, so a bad batch late in a long epoch can hardly be seen. You
# can get the batch back: a mean times its rows is a sum, and the sum grew by this
# batch's share.

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

    def __init__(self, batch_sizes):
        ### BEGIN SOLUTION
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
    model = stand_in(0.01)

    def train(callback, sizes, epochs, cut=None):
        """Call the hooks as `fit` does, with running means of losses that we draw."""
        settings = {"model": model, "epochs": epochs, "steps": len(sizes)}
        hooks = keras.callbacks.CallbackList([callback], **settings)
        hooks.on_train_begin()
        for epoch in range(epochs):
            hooks.on_epoch_begin(epoch)
            seen = total = 0.0
            for batch, size in enumerate(sizes[:cut]):
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
        model.fit(rows, epochs=2, **run)
        return callback.losses

    size, rest = int(rng.integers(4, 9)), int(rng.integers(2, 4))
    cases = {
        "equal batches, one epoch": ([size] * 4, 1),
        "equal batches, two epochs": ([size] * 3, 2),
        "a smaller last batch, three epochs": ([size, size, rest], 3),
        "a smaller batch in the middle": ([size, 1, rest], 2),
        "a single batch in an epoch": ([rest], 3),
    }
    for label, (sizes, epochs) in cases.items():
        given = {"batch_sizes": sizes, "epochs": epochs}
        yield label, lambda: train(BatchLosses([*sizes]), sizes, epochs), given
    callback, sizes = BatchLosses([size, rest]), [size, rest]
    given = {"batch_sizes": sizes, "the first fit": "stops after one batch"}
    train(callback, sizes, 1, cut=1)
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
"""You weigh the means by numbers of batches, which is right while all batches are
equally large. A smaller last batch has a smaller share: weigh them by rows."""


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
# rows: K5, K2, K15
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
# Below, three trainings: one without it, two that call it in a hook. The learning rate
# is 0, so nothing moves and the loss of the epoch should be the same each time. Which
# hook spoils it?


# %%
# rows: K43
def logged_loss(**hooks):
    model = line_model(learning_rate=0.0)

    def score(number, logs=None):
        model.evaluate(x, 2 * y, verbose=0)

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
# logs, each under `f"{name}_{key}"`: for `name="night"` there are `night_loss` and one
# number for each metric of the model, such as `night_mae`, in the history, and
# callbacks behind yours see them. All other numbers of the history stay what they are
# without your callback. 10 minutes.
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

    def __init__(self, rows, name):
        ### BEGIN SOLUTION
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
    metrics = ["mae", str(rng.choice(["mape", "cosine_similarity"]))]
    model.compile(keras.optimizers.SGD(0.05), "mse", metrics=metrics, run_eagerly=True)
    run = {"callbacks": [ExtraScores(extra, name), spy], "validation_data": validation}
    found = model.fit(train, epochs=2, shuffle=False, verbose=0, **run).history
    given = {"name": name, "epochs": 2, "metrics": metrics}
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
# what you assign acts at once. Which layers are trained was compiled into the training
# step, as in lesson 01. Below, each change is tried when epoch 1 begins, in a model of
# two layers. Predict for each of the four: does the first layer go on moving?


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


# %%
# rows: K2, K36
for change in (wrong_name, right_name, freeze, freeze_and_renew):
    one = {"use_bias": False, "kernel_initializer": "ones"}
    layers = [keras.layers.Dense(1, **one), keras.layers.Dense(1, **one)]
    model, weights = keras.Sequential([keras.Input((1,)), *layers]), []
    model.compile(keras.optimizers.SGD(0.1), "mse")
    note = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: change(model) if epoch == 1 else None,
        on_epoch_end=lambda *_: weights.append(model.get_weights()[0].item()),
    )
    model.fit(rows, epochs=3, shuffle=False, callbacks=[note], verbose=0)
    print(f"{change.__name__:17}", *(f"{weight:.3f}" for weight in weights))

# %% [markdown]
# The numbers are the first layer's weight after each epoch. Line 1: `optimizer.lr` was
# the old name. Today Python makes a new attribute that nobody reads, without an error.
# Line 3: the frozen layer keeps training, as in lesson 01. Line 4: a training step that
# is made anew sees the change. Does that help to *unfreeze*, too?

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
# <details><summary>The compiled training step still leaves these layers out</summary>
#
# Right: train in two calls: `fit`, unfreeze, `compile`, `fit`. That forgets the
# optimizer's state. `model.make_train_function(force=True)` only helps to freeze: for
# weights that are unfrozen it raises an error at the next batch, since the optimizer
# does not know them. And `compile` inside a callback breaks the training.
#
# </details>
# <details><summary><code>on_epoch_begin</code> comes too late: the epoch runs</summary>
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
    ran, tested = len(found["loss"]), len(found["val_loss"])
    print(f"{hook:17} 1: {stop.batches} batches, {ran} epochs, {tested} validations")

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
        on_train_batch_end=lambda batch, logs: seen.append(batch)
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
# trainings, and a stop that another callback has asked for stays. 10 minutes.
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

    def __init__(self, monitor, target, mode):
        ### BEGIN SOLUTION
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
    monitor, model = str(rng.choice(["loss", "val_mae", "val_f1"])), stand_in()

    def watch(callback, values, *before):
        """How many epochs ran and how many warnings came; None: the key is missing."""
        logs = [{"other": 0.0} | ({} if v is None else {monitor: v}) for v in values]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ran = drive([*before, callback], logs, model=model)["epochs"]
        own = [w for w in caught if w.category is not DeprecationWarning]  # of NumPy
        return {"epochs": ran, "warnings": len(own)}

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
        "a key that is missing later": ([*falls[:2], None, None, *falls[2:]], "min"),
        "a value of 0": ([*falls[:first], 0.0, *falls], "min"),
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

    def stop(epoch, logs):
        model.stop_training = model.stop_training or epoch == 1

    other = keras.callbacks.LambdaCallback(on_epoch_end=stop)
    watched = StopAt(monitor, target, "min")
    stopped = {"values": falls, "another callback stops": "in epoch 1"}
    yield (
        "a stop that another callback asked for",
        lambda: watch(watched, falls, other),
        {**given, **stopped},
    )

    def fit():
        told = [target + near[1], target - near[0], target, target]
        put = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: logs.update({monitor: told[epoch]})
        )
        rows = tf.data.Dataset.from_tensors((np.ones((1, 1)), np.ones((1, 1))))
        run = {"callbacks": [put, StopAt(monitor, target, "min")], "verbose": 0}
        return model.fit(rows, epochs=4, shuffle=False, **run).history[monitor]

    yield "the history that fit returns", fit, given


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


# %% mistake: whether to stop is mine alone to say
"""In every epoch you set `stop_training` to True or False, and so take back the stop
that another callback has asked for. Only ever set it to True."""


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
        elif self.mode == "min":
            self.model.stop_training = value <= self.target
        else:
            self.model.stop_training = value >= self.target


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


# %% mistake: a training is stopped before its next epoch
"""You stop in `on_epoch_begin`. The epoch has begun then, and it is run, or at least
its first batch. Set `stop_training` where you see the value, in `on_epoch_end`."""


class StopAt(keras.callbacks.Callback):
    def __init__(self, monitor, target, mode):
        super().__init__()
        self.monitor, self.target, self.mode = monitor, target, mode

    def on_train_begin(self, logs=None):
        self.warned = self.reached = False

    def on_epoch_begin(self, epoch, logs=None):
        if self.reached:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        value = logs.get(self.monitor)
        if value is None:
            if not self.warned:
                warnings.warn(f"{self.monitor} is missing")
            self.warned = True
        elif value <= self.target if self.mode == "min" else value >= self.target:
            self.reached = True


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
# `CSVLogger` keeps to that: one line per epoch, on the disk at once. Its keys are
# sorted, epochs count from 0. Below: an epoch, then two more into the same file with
# validation in every second one.

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
# breaks later. Every `fit` starts the file anew, whatever its `initial_epoch`. The keys
# may differ from epoch to epoch, and the logs themselves stay as they are. 10 minutes.
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

    def __init__(self, path):
        ### BEGIN SOLUTION
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
    start = int(rng.integers(2, 5))
    small = [float(v) for v in rng.uniform(1e-4, 9e-4, 9)]
    told = [{"loss": small[k], f"rate_{k}": v} for k, v in enumerate(small)]

    def put(epoch, logs):
        logs.clear()
        logs.update(told[epoch])

    def late(what):
        """What the file and the history hold after a fit that starts late."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "log.jsonl"
            path.write_text(json.dumps({"epoch": 0, "loss": "of another fit"}) + "\n")
            own = [keras.callbacks.LambdaCallback(on_epoch_end=put), JsonlLogger(path)]
            rows = tf.data.Dataset.from_tensors((np.ones((1, 1)), np.ones((1, 1))))
            run = {"initial_epoch": start, "epochs": 9, "callbacks": own, "verbose": 0}
            history = stand_in().fit(rows, shuffle=False, **run).history
            return {"file": read(path), "history": history}[what]

    given = {"initial_epoch": start, "logs of the epochs": told[start:]}
    label = "a later first epoch, other keys in each"
    yield label, lambda: late("file"), given
    yield "... and the history", lambda: late("history"), given


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


# %% mistake: a callback is made for one fit
"""You empty the file when the object is made, so a second `fit` with it adds to the
first one's lines. What belongs to one training starts in `on_train_begin`."""


class JsonlLogger(keras.callbacks.Callback):
    def __init__(self, path):
        super().__init__()
        self.path = path
        open(path, "w").close()

    def on_epoch_end(self, epoch, logs=None):
        numbers = {key: float(value) for key, value in logs.items()}
        with open(self.path, "a") as file:
            file.write(json.dumps({"epoch": epoch, **numbers}) + "\n")


# %% mistake: every training begins with epoch 0
"""You empty the file at epoch 0. A `fit` with `initial_epoch` begins later, and its
lines follow those of another training. Empty the file in `on_train_begin`."""


class JsonlLogger(keras.callbacks.Callback):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        numbers = {key: float(value) for key, value in logs.items()}
        with open(self.path, "w" if epoch == 0 else "a") as file:
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


# %% [markdown]
# ## Stop when it no longer gets better
#
# *Here begins the second part: a good place for a break. When you come back, run all
# cells above this one.*
#
# `EarlyStopping` compares each epoch with the best one so far; the first one has none
# to beat. `patience` is how many epochs **in a row** may fail. You need no training to
# try it: `drive` hands a callback made-up logs, one dict per epoch, and tells how many
# `"epochs"` ran and which epoch's `"weights"` (from 0) are there in the end.
#
# Predict before you run: best in epoch 2 (counted from 0), then never again. After how
# many epochs does it stop with patience 0, 1, 2 and 3?

# %%
# rows: K8
values = [1.0, 0.9, 0.8, 0.85, 0.86, 0.87, 0.88, 0.89, 0.9]


def stop_after(values, key="val_loss", **settings):
    stop = keras.callbacks.EarlyStopping(key, **settings)
    return drive(stop, [{key: value} for value in values])


for patience in range(4):
    print(
        f"patience {patience}: {stop_after(values, patience=patience)['epochs']} epochs"
    )

# %% [markdown]
# 4, 4, 5, 6: patience 0 and 1 are the same, because the first epoch without a gain is
# also the first one at which it can stop. From patience 1 on, as many epochs run in
# vain as `patience` says.
#
# Now replay the night. Its 60 validation losses are still there, so every setting can
# be tried in no time. What would patience 5 have made of it?

# %%
# rows: K8, K9
night_values = night.history["val_loss"]
replayed = stop_after(night_values, patience=5, restore_best_weights=True)
plots.early_stop(night_values, replayed)

# %% [markdown]
# **Try it.** `patience=1`, then `patience=60`, then `patience=5` again, without
# `restore_best_weights`. Which epoch's weights are kept? Predict first.
#
# <details><summary>What you get</summary>
#
# Epoch 9 in the first two: once stopped after 10 epochs, once never, and the best
# weights come back all the same. Without `restore_best_weights` the model keeps what it
# had last: epoch 14.
#
# </details>
#
# In a real training `evaluate` then gives the lowest `val_loss`, to the last digit.
# With `monitor="loss"` it gives another number: the training loss is a mean over moving
# weights (lesson 01), and no weights ever had it.

# %% [markdown]
# Four more settings decide what counts as better, and from when on:
#
# | setting | meaning |
# |---|---|
# | `min_delta` | to beat means: by **more** than this; its sign is ignored |
# | `mode` | `"min"`, `"max"`, or `"auto"`: Keras guesses from the metric |
# | `start_from_epoch` | earlier epochs (counted from 0) are not looked at |
# | `baseline` | the wait ends only with a gain that beats this value, too |
#
# Predict each line before you run. The first two have small steady gains.

# %%
# rows: K8, K10
steady = [1.0, 0.995, 0.991, 0.985, 0.98, 0.97]
for patience in (1, 4):
    stopped = stop_after(steady, min_delta=0.01, patience=patience)
    print(f"min_delta 0.01, patience {patience}:", stopped["epochs"])
early = [0.2, 0.9, 0.8, 0.7, 0.75, 0.76, 0.77]
print("a lucky first epoch:       ", stop_after(early, patience=2)["epochs"])
late = {"start_from_epoch": 3, "patience": 2}
print("... start_from_epoch=3:    ", stop_after(early, **late)["epochs"])
bumpy = [1.0, 0.9, 0.8, 0.7, 0.6, 0.65, 0.5, 0.4, 0.3]
print("one step back, patience 3: ", stop_after(bumpy, patience=3)["epochs"])
print(
    "... and baseline=0.1:      ", stop_after(bumpy, patience=3, baseline=0.1)["epochs"]
)

# %% [markdown]
# Line 1: no single gain beats 0.01, so it stops in epoch 2 of 6. Line 2: with patience
# the gains add up, since the best stays 1.0 until something beats it by more than 0.01.
# Last line: no gain beats the baseline, so the wait is never set back. It has long
# passed 3 when the first epoch without a gain comes, and that one is the last.
#
# Now the direction. Keras knows it for the loss and its own metrics; everything else
# must be told. The last two lines are the expensive ones.


# %%
# rows: K11, K12
def ran(monitor, model_metrics=("accuracy",), **settings):
    model = stand_in()
    model.compile("sgd", "mse", metrics=list(model_metrics), run_eagerly=True)
    stop = keras.callbacks.EarlyStopping(monitor, **settings)
    run = {"epochs": 4, "callbacks": [stop], "verbose": 0}
    return outcome(lambda: len(model.fit(*four_rows, **run).epoch))


def share_near(y_true, y_pred):
    return ops.mean(ops.cast(ops.abs(y_true - y_pred) < 0.1, "float32"), axis=-1)


print("accuracy:            ", ran("accuracy"))
print("a function:          ", ran("share_near", [share_near]))
print("... with mode='max': ", ran("share_near", [share_near], mode="max"))
print("acc:                 ", ran("acc"))
print("... with mode='max': ", ran("acc", mode="max"))
print("val_loss, no val data:", ran("val_loss"))

# %% [markdown]
# ### Quiz: it never stops
#
# `EarlyStopping("val_accuracy", patience=3)` ran for 200 epochs, with a warning (Python
# shows it once). The history has the keys `loss`, `accuracy`. What is missing?
#
# <details><summary><code>mode="max"</code></summary>
#
# No: for `accuracy` Keras knows the direction. A wrong mode stops too early, and
# quietly.
#
# </details>
# <details><summary>The metric should be called <code>val_acc</code></summary>
#
# No: that was its name long ago. Names must match the keys of the history.
#
# </details>
# <details><summary>Validation data</summary>
#
# Right: without it no `val_...` key exists. Pass `validation_data`, or monitor
# `"accuracy"`. Habit: `print(history.history.keys())` after one short epoch, and
# monitor one of these.
#
# </details>
# <details><summary>A smaller <code>min_delta</code></summary>
#
# No: it is 0 by default, every gain counts. Too large a one stops too early.
#
# </details>

# %% [markdown]
# ### Exercise: predict early stopping
#
# Write `simulate_early_stopping(values, patience=0, min_delta=0.0, mode="min",
# start_from_epoch=0, baseline=None, restore_best_weights=False)`. It predicts what
# `EarlyStopping` does, and does not use it. `values`, one number per epoch and at least
# one, stays as it is. Return `(epochs_run, weights_epoch)`: how many epochs run, and
# the number (from 0) of the one whose weights the model has in the end. For example,
# `[0.5, 0.3, 0.4, 0.4, 0.2]` with `patience=2` gives `(4, 3)`, and with the best
# weights restored `(4, 1)`. If no epoch is looked at, nothing is restored.
#
# The rules are in the section above. Where you are not sure, make up a night of a few
# epochs, predict, and let `drive` tell you what Keras does. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# What must you remember from one epoch to the next? Three things are enough. In the
# runs above: in which epochs does the wait grow, and what sets it back?
#
# </details>
# <details><summary>Hint 2</summary>
#
# A value must beat the best, and the baseline: write one small function for "beats by
# more than", which knows `mode`, and use it for both.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Keep `best`, `best_epoch` and `wait`. The wait grows first, in each epoch that is
# looked at. Then comes one of two: a gain, which may end the wait, or none, which may
# end the training. The best weights come back also where the training ran to its end.
#
# </details>


# %% exercise: simulate_early_stopping
def simulate_early_stopping(
    values,
    patience=0,
    min_delta=0.0,
    mode="min",
    start_from_epoch=0,
    baseline=None,
    restore_best_weights=False,
):
    """What `EarlyStopping` makes of `values`: (epochs_run, weights_epoch)."""
    ### BEGIN SOLUTION
    sign = -1 if mode == "max" else 1

    def beats(value, old):
        return old is None or sign * (old - value) > abs(min_delta)

    best = best_epoch = None
    wait = 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        wait += 1
        if beats(value, best):
            best, best_epoch = value, epoch
            if beats(value, baseline):
                wait = 0
        elif wait >= patience:
            break
    restore = restore_best_weights and best_epoch is not None
    return epoch + 1, best_epoch if restore else epoch
    ### END SOLUTION


# %% check: simulate_early_stopping, 5 points
def evidence(simulate_early_stopping, rng):
    def night(low=8, high=16, level=4):
        """A random walk on a grid of 1/8, where differences are exact."""
        steps = rng.integers(-3, 4, int(rng.integers(low, high))) - 0.4
        return [float(v) for v in level + np.round(np.cumsum(steps)) / 8]

    def cases(draw, level=4, **settings):
        """Two calls: the first one small enough to follow by hand; and 16 more."""
        drawn = [{"values": night(5, 8, level), **settings, **draw()}]
        more = [{"values": night(level=level), **settings, **draw()} for _ in range(16)]
        return drawn[0], more

    def result(case):
        return tuple(simulate_early_stopping(**case))

    def patience():
        return {"patience": int(rng.integers(0, 5))}

    def delta():
        return patience() | {
            "min_delta": float(rng.choice([-0.25, 0.125, 0.25, 0.375]))
        }

    def start():
        return patience() | {"start_from_epoch": int(rng.integers(1, 6))}

    def line():
        return patience() | {"baseline": float(rng.choice([3.0, 3.5, 4.0]))}

    def zero():
        return patience() | {"baseline": 0.0}

    def line_and_delta():
        chosen = {"baseline": 4.0, "patience": int(rng.integers(2, 4))}
        return chosen | {"min_delta": float(rng.choice([0.375, 0.5]))}

    def everything():
        chosen = delta() | start() | line() | {"mode": str(rng.choice(["min", "max"]))}
        return chosen | {"restore_best_weights": bool(rng.integers(2))}

    best = {"restore_best_weights": True}
    kinds = {
        "patience": cases(patience),
        "best weights restored": cases(patience, **best),
        "... without an early stop": cases(lambda: {"patience": 20}, **best),
        "gains up to min_delta do not count": cases(delta, **best),
        "a value that should be high": cases(patience, mode="max", **best),
        "start_from_epoch": cases(start, **best),
        "a baseline": cases(line, **best),
        "a baseline of 0": cases(zero, level=0.5, **best),
        "a baseline and min_delta": cases(line_and_delta, **best),
        "all at once": cases(everything),
    }
    for label, (small, more) in kinds.items():
        yield f"{label}: a short night", lambda: result(small), small
        yield f"{label}: 16 nights", lambda: [result(case) for case in more]

    def untouched():
        high = {"values": night(), "patience": 2, "mode": "max", "baseline": 3.5}
        before = list(high["values"])
        result(high)
        return {"before": before, "after": high["values"]}

    yield "the list `values` afterwards", untouched
    values = [float(v) for v in rng.normal(size=int(rng.integers(3, 9)))]
    given = {"values": values, "start_from_epoch": 20, "restore_best_weights": True}
    yield "no epoch watched", lambda: tuple(simulate_early_stopping(**given)), given


check("06/simulate_early_stopping", evidence)

# %% mistake: patience is exceeded, not reached
"""You stop when the wait is larger than `patience`: one epoch too late. With patience p
it stops at the p-th epoch in a row without a gain."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    sign = -1 if mode == "max" else 1

    def beats(value, old):
        return old is None or sign * (old - value) > abs(min_delta)

    best, best_epoch, wait = None, None, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        wait += 1
        if beats(value, best):
            best, best_epoch = value, epoch
            if beats(value, baseline):
                wait = 0
        elif wait > patience:
            break
    restore = restore_best_weights and best_epoch is not None
    return epoch + 1, best_epoch if restore else epoch


# %% mistake: an epoch is compared with the one before
"""You compare each epoch with the one before it. It is compared with the best one so
far: a small recovery after a deep fall is no gain."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    sign = -1 if mode == "max" else 1

    def beats(value, old):
        return old is None or sign * (old - value) > abs(min_delta)

    before, best_epoch, wait = None, None, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        wait += 1
        if beats(value, before):
            before, best_epoch = value, epoch
            if beats(value, baseline):
                wait = 0
        elif wait >= patience:
            break
        before = value
    restore = restore_best_weights and best_epoch is not None
    return epoch + 1, best_epoch if restore else epoch


# %% mistake: a gain of exactly min_delta is enough
"""You count a gain of exactly `min_delta`. It must be larger; with `min_delta=0`, an
equal value is no gain."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    sign = -1 if mode == "max" else 1

    def beats(value, old):
        return old is None or sign * (old - value) >= abs(min_delta)

    best, best_epoch, wait = None, None, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        wait += 1
        if beats(value, best):
            best, best_epoch = value, epoch
            if beats(value, baseline):
                wait = 0
        elif wait >= patience:
            break
    restore = restore_best_weights and best_epoch is not None
    return epoch + 1, best_epoch if restore else epoch


# %% mistake: a small gain moves the best
"""You take every gain, however small, as the new best, and only the wait looks at
`min_delta`. The best stays where it is until it is beaten by more than `min_delta`, so
that small gains add up."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    sign = -1 if mode == "max" else 1

    def beats(value, old, by):
        return old is None or sign * (old - value) > by

    best, best_epoch, wait = None, None, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        wait += 1
        enough = beats(value, best, abs(min_delta))
        if beats(value, best, 0.0):
            best, best_epoch = value, epoch
        if enough:
            if beats(value, baseline, abs(min_delta)):
                wait = 0
        elif wait >= patience:
            break
    restore = restore_best_weights and best_epoch is not None
    return epoch + 1, best_epoch if restore else epoch


# %% mistake: min_delta has a direction
"""You subtract `min_delta` with its sign. Keras takes its size: -0.1 means the same as
0.1."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    sign = -1 if mode == "max" else 1

    def beats(value, old):
        return old is None or sign * (old - value) > min_delta

    best, best_epoch, wait = None, None, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        wait += 1
        if beats(value, best):
            best, best_epoch = value, epoch
            if beats(value, baseline):
                wait = 0
        elif wait >= patience:
            break
    restore = restore_best_weights and best_epoch is not None
    return epoch + 1, best_epoch if restore else epoch


# %% mistake: smaller is always better
"""You ignore `mode`. For an accuracy, `mode="max"`, the best epoch is the one with the
largest value."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    def beats(value, old):
        return old is None or old - value > abs(min_delta)

    best, best_epoch, wait = None, None, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        wait += 1
        if beats(value, best):
            best, best_epoch = value, epoch
            if beats(value, baseline):
                wait = 0
        elif wait >= patience:
            break
    restore = restore_best_weights and best_epoch is not None
    return epoch + 1, best_epoch if restore else epoch


# %% mistake: the first epochs are watched but cannot stop
"""You look at the epochs before `start_from_epoch`, too: a lucky early one becomes the
best, and their waiting counts. They are not looked at at all."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    sign = -1 if mode == "max" else 1

    def beats(value, old):
        return old is None or sign * (old - value) > abs(min_delta)

    best, best_epoch, wait = None, None, 0
    for epoch, value in enumerate(values):
        wait += 1
        if beats(value, best):
            best, best_epoch = value, epoch
            if beats(value, baseline):
                wait = 0
        elif wait >= patience and epoch >= start_from_epoch:
            break
    restore = restore_best_weights and best_epoch is not None
    return epoch + 1, best_epoch if restore else epoch


# %% mistake: the baseline is the best to begin with
"""You start with the baseline as the best value. The first epoch becomes the best
whatever the baseline is; the baseline only decides whether a gain ends the wait."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    sign = -1 if mode == "max" else 1

    def beats(value, old):
        return old is None or sign * (old - value) > abs(min_delta)

    best, best_epoch, wait = baseline, None, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        wait += 1
        if beats(value, best):
            best, best_epoch, wait = value, epoch, 0
        elif wait >= patience:
            break
    restore = restore_best_weights and best_epoch is not None
    return epoch + 1, best_epoch if restore else epoch


# %% mistake: a gain adds nothing to the wait
"""You leave the wait as it is where a gain does not beat the baseline. Only a gain that
beats the baseline ends the wait; in every other epoch it grows."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    sign = -1 if mode == "max" else 1

    def beats(value, old):
        return old is None or sign * (old - value) > abs(min_delta)

    best, best_epoch, wait = None, None, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        if beats(value, best):
            best, best_epoch = value, epoch
            wait = 0 if beats(value, baseline) else wait
        else:
            wait += 1
            if wait >= patience:
                break
    restore = restore_best_weights and best_epoch is not None
    return epoch + 1, best_epoch if restore else epoch


# %% mistake: with a baseline, a gain can be the last epoch
"""You stop in an epoch that is a new best, since the wait has reached `patience`.
`EarlyStopping` stops only in an epoch without a gain, however long the wait is."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    sign = -1 if mode == "max" else 1

    def beats(value, old):
        return old is None or sign * (old - value) > abs(min_delta)

    best, best_epoch, wait = None, None, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        wait += 1
        if beats(value, best):
            best, best_epoch = value, epoch
            if beats(value, baseline):
                wait = 0
        if wait >= max(patience, 1):
            break
    restore = restore_best_weights and best_epoch is not None
    return epoch + 1, best_epoch if restore else epoch


# %% mistake: min_delta is for the best only
"""You let any gain over the baseline count. To beat the baseline takes more than
`min_delta`, as to beat the best does."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    sign = -1 if mode == "max" else 1

    def beats(value, old, by):
        return old is None or sign * (old - value) > by

    best, best_epoch, wait = None, None, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        wait += 1
        if beats(value, best, abs(min_delta)):
            best, best_epoch = value, epoch
            if beats(value, baseline, 0.0):
                wait = 0
        elif wait >= patience:
            break
    restore = restore_best_weights and best_epoch is not None
    return epoch + 1, best_epoch if restore else epoch


# %% mistake: only a stopped training is restored
"""You hand out the best weights only where the training was stopped. They come back
also where it ran to its end, with the last epoch."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    sign = -1 if mode == "max" else 1

    def beats(value, old):
        return old is None or sign * (old - value) > abs(min_delta)

    best, best_epoch, wait = None, None, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        wait += 1
        if beats(value, best):
            best, best_epoch = value, epoch
            if beats(value, baseline):
                wait = 0
        elif wait >= patience:
            return epoch + 1, best_epoch if restore_best_weights else epoch
    return epoch + 1, epoch


# %% mistake: the best weights are kept anyway
"""You return the best epoch in every case. Without `restore_best_weights=True` the
model keeps the weights of the last epoch that ran, `patience` epochs too late."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    sign = -1 if mode == "max" else 1

    def beats(value, old):
        return old is None or sign * (old - value) > abs(min_delta)

    best, best_epoch, wait = None, None, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        wait += 1
        if beats(value, best):
            best, best_epoch = value, epoch
            if beats(value, baseline):
                wait = 0
        elif wait >= patience:
            break
    return epoch + 1, epoch if best_epoch is None else best_epoch


# %% mistake: waits add up over the whole training
"""You count all epochs without a gain. Patience is about epochs **in a row**: a new
best sets the wait back to 0."""


def simulate_early_stopping(
    values, patience=0, min_delta=0.0, mode="min", start_from_epoch=0, baseline=None,
    restore_best_weights=False,
):  # fmt: skip
    sign = -1 if mode == "max" else 1

    def beats(value, old):
        return old is None or sign * (old - value) > abs(min_delta)

    best, best_epoch, wait = None, None, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        if beats(value, best):
            best, best_epoch = value, epoch
            wait += not beats(value, baseline)
        else:
            wait += 1
            if wait >= patience:
                break
    restore = restore_best_weights and best_epoch is not None
    return epoch + 1, best_epoch if restore else epoch


# %% [markdown]
# ## Files that survive
#
# `EarlyStopping` keeps the best weights in memory. A restart empties that, too. Now to
# the disk: `ModelCheckpoint` saves after every epoch. What may a file be called? Old
# examples are full of names that are refused today, as soon as you make the object.

# %%
# rows: K19
weights_only = {"save_weights_only": True}
asked = [(name, {}) for name in ("model", "model.tf", "model.h5")]
asked += [("{epoch}-{val_loss:.2f}.keras", {}), ("model.keras", {"period": 2})]
asked += [(name, weights_only) for name in ("model.keras", "model.weights.h5")]
for name, more in asked:
    print(name, more or "")
    print("   ", outcome(lambda: keras.callbacks.ModelCheckpoint(name, **more)))

# %% [markdown]
# So: `.keras` for the whole model, `.weights.h5` for the weights. (`.h5` alone still
# works and is the old format.) In the name, `{epoch}` counts from **1**, while hooks
# count from 0. Folders are made for you, and the same name is overwritten.
#
# With `save_best_only=True` a file is written only when the value is better than ever
# before. Predict: which epochs leave a file for the losses 1, 0.9, 0.95, 0.8, 0.85?


# %%
# rows: K20
def files(name, key="val_loss", values=(1.0, 0.9, 0.95, 0.8, 0.85), **settings):
    with tempfile.TemporaryDirectory() as folder:
        save = keras.callbacks.ModelCheckpoint(Path(folder) / "new" / name, **settings)
        text = outcome(lambda: drive(save, [{key: v} for v in values])["epochs"])
        left = sorted(path.name for path in Path(folder).rglob("*.keras"))
    return " ".join(left) if text == "5" else f"{' '.join(left)} ({text[3:]})"


best = {"save_best_only": True}
print("best only:      ", files("{epoch}.keras", **best))
print("from 0.85 on:   ", files("{epoch}.keras", initial_value_threshold=0.85, **best))
print("mode='max':     ", files("{epoch}.keras", mode="max", **best))
print("same name:      ", files("best.keras", **best))
print("no such key:    ", files("{epoch}.keras", key="loss", **best))

# %% [markdown]
# Epochs 1, 2 and 4: each was the best when it came. A wrong `mode` keeps epoch 1 for
# ever. And without the monitored key **every** epoch is saved as "best", with nothing
# but a warning: the file that you trust holds the last epoch.
#
# `save_freq` counts batches instead, and goes on counting over epochs: 3 epochs of 4
# batches, one file every 3. Together with `save_best_only` it is broken in this
# version.

# %%
# rows: K21
with tempfile.TemporaryDirectory() as folder:
    run = {"epochs": 3, "batch_size": 1, "verbose": 0}
    name = Path(folder) / "{epoch}_{batch}.keras"
    often = keras.callbacks.ModelCheckpoint(name, save_freq=3)
    stand_in().fit(*four_rows, callbacks=[often], **run)
    print("epoch_batch:", *sorted(path.stem for path in Path(folder).iterdir()))
    name = Path(folder) / "best.keras"
    settings = {"monitor": "loss", "save_best_only": True, "save_freq": 2}
    run["callbacks"] = [keras.callbacks.ModelCheckpoint(name, **settings)]
    print("best only:", outcome(lambda: stand_in().fit(*four_rows, **run)))

# %% [markdown]
# What is in such a file? Write one yourself and look; in a callback of your own it is
# one line, `self.model.save(...)`. A `.keras` file brings back the model, how it was
# compiled, and the optimizer's state. `export` writes a SavedModel for serving, which
# Keras does not load to train on.

# %%
# rows: K25, K26
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "mine.keras"
    save = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: model.save(path))
    model = stand_in()
    model.fit(*four_rows, batch_size=2, callbacks=[save], verbose=0)
    load = keras.models.load_model
    print("optimizer steps that came back:", int(load(path).optimizer.iterations))
    bare = load(path, compile=False)
    print("loaded with compile=False:", outcome(lambda: bare.evaluate(*four_rows)))
    print("save without an ending:   ", outcome(lambda: model.save(Path(folder) / "m")))
    print("save_weights('m.h5'):     ", outcome(lambda: model.save_weights("m.h5")))
    with tf.device("cpu"):
        model.export(Path(folder) / "served", verbose=False)
    print("a SavedModel:", *sorted(p.name for p in (Path(folder) / "served").iterdir()))

# %% [markdown]
# ### Exercise: the best and the last
#
# Write `checkpointing(folder, monitor="val_loss", mode="min")`: a list of callbacks for
# `fit`. At any time after the first epoch, `best.keras` in this folder is the whole
# model as it was after the epoch with the best `monitor` so far, and `last.keras` the
# whole model after the last finished epoch, also when the training breaks. Whole means
# compiled, and with the optimizer's state. `folder` is
# a text or a `Path`; it need not exist. `monitor` may be any key of the logs.
# 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# Two files, two rules: two `ModelCheckpoint`s.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For a key that Keras does not know it cannot guess the direction: hand `mode` on.
#
# </details>


# %% exercise: checkpointing
def checkpointing(folder, monitor="val_loss", mode="min"):
    """Callbacks that keep `best.keras` and `last.keras` in the folder up to date."""
    ### BEGIN SOLUTION
    folder = Path(folder)
    best = keras.callbacks.ModelCheckpoint(
        folder / "best.keras", monitor=monitor, mode=mode, save_best_only=True
    )
    last = keras.callbacks.ModelCheckpoint(folder / "last.keras")
    return [best, last]
    ### END SOLUTION


# %% check: checkpointing, 4 points
def evidence(checkpointing, rng):
    low, a, b, high = (float(v) for v in np.cumsum(rng.uniform(0.5, 2, 4)))
    runs, steps = {}, int(rng.integers(2, 31))

    def crash(epoch, logs):
        if epoch == 3:
            raise EOFError("a crash")

    def train(key, values, folder, *others, **settings):
        model = stand_in()
        model.compile(keras.optimizers.Adam(0.1), "mse", run_eagerly=True)

        def train_on(epoch, logs):
            for _ in range(steps):
                model.optimizer.apply([tf.ones((1, 1))], model.trainable_variables)

        before = keras.callbacks.LambdaCallback(on_epoch_begin=train_on)
        own = checkpointing(folder, **settings)
        logs = [{key: v, "loss": other} for v, other in zip(values, loss)]
        try:
            drive([before, *own, *others], logs, model=model)
        except EOFError:
            pass

    def kept(*run, as_text=False, **settings):
        """The epoch whose weights are in each file."""
        with tempfile.TemporaryDirectory() as outside, contextlib.chdir(outside):
            folder = Path("not") / "there"
            train(*run[:2], str(folder) if as_text else folder, *run[2:], **settings)
            return {
                path: epoch_in(folder / path) for path in ("best.keras", "last.keras")
            }

    def epoch_in(path):
        if not path.exists():
            return "no such file"
        model = keras.models.load_model(path)
        if not model.compiled:
            return "a model that is not compiled"
        found = {"optimizer steps": int(model.optimizer.iterations)}
        return {"epoch": int(model.get_weights()[0].item()), **found}

    def once(number, name, *run, **settings):
        """Each training runs only once for its two files."""
        if number not in runs:
            runs[number] = kept(*run, **settings)
        return runs[number][name]

    spot = int(rng.integers(2))  # of the best val_loss; loss is best at the other one
    losses, loss = [a, a, high, b], [9.0, 9.0, 8.0, 7.0, 6.0]
    losses[spot], loss[1 - spot] = low, 5.0
    scores = [b] * int(rng.integers(4, 6))
    top, bottom = rng.permutation([spot, 2])
    scores[top], scores[bottom], scores[1 - spot] = high, low, a
    scores = [score - high - 1 for score in scores]  # all are negative
    stop = keras.callbacks.LambdaCallback(on_epoch_begin=crash)
    many = {"optimizer steps per epoch": steps}
    given = {"val_loss": losses[:3], "and then": "a crash", **many}
    for name in ("best.keras", "last.keras"):
        label, run = f"val_loss: what is in {name}", ("val_loss", losses, stop)
        yield label, lambda: once(1, name, *run, as_text=True), given
    other = {"monitor": "val_fit", "mode": "max"}
    for name in ("best.keras", "last.keras"):
        label, run = f"val_fit: what is in {name}", ("val_fit", scores)
        given = {"val_fit": scores, **other, **many}
        yield label, lambda: once(2, name, *run, **other), given
    gap = {"monitor": "gap", "mode": "min"}
    label, name, run = "gap: what is in best.keras", "best.keras", ("gap", losses[:3])
    given = {"gap": losses[:3], **gap, **many}
    yield label, lambda: once(3, name, *run, **gap), given


check("06/checkpointing", evidence)

# %% mistake: a file needs no ending
"""You leave the ending out, as old examples do. Today `ModelCheckpoint` refuses such a
name: `.keras` for whole models, `.weights.h5` for weights."""


def checkpointing(folder, monitor="val_loss", mode="min"):
    best = keras.callbacks.ModelCheckpoint(
        Path(folder) / "best", monitor=monitor, mode=mode, save_best_only=True
    )
    return [best, keras.callbacks.ModelCheckpoint(Path(folder) / "last")]


# %% mistake: smaller is always better
"""You ignore `mode`. For a score that should rise, `mode="min"` keeps its worst
epoch."""


def checkpointing(folder, monitor="val_loss", mode="min"):
    best = keras.callbacks.ModelCheckpoint(
        Path(folder) / "best.keras", monitor=monitor, mode="min", save_best_only=True
    )
    return [best, keras.callbacks.ModelCheckpoint(Path(folder) / "last.keras")]


# %% mistake: Keras knows which way is better
"""You leave `mode` to Keras. It knows the direction of losses and of its own metrics;
for any other key it stops with an error."""


def checkpointing(folder, monitor="val_loss", mode="min"):
    best = keras.callbacks.ModelCheckpoint(
        Path(folder) / "best.keras", monitor=monitor, save_best_only=True
    )
    return [best, keras.callbacks.ModelCheckpoint(Path(folder) / "last.keras")]


# %% mistake: val_loss is always there
"""You watch `val_loss` whatever `monitor` is. Where the logs lack that key, every epoch
is saved as the best one, with only a warning."""


def checkpointing(folder, monitor="val_loss", mode="min"):
    best = keras.callbacks.ModelCheckpoint(
        Path(folder) / "best.keras", mode=mode, save_best_only=True
    )
    return [best, keras.callbacks.ModelCheckpoint(Path(folder) / "last.keras")]


# %% mistake: a checkpoint is the best one
"""Your first callback saves after every epoch, like the second one. Only
`save_best_only=True` looks at the monitored value."""


def checkpointing(folder, monitor="val_loss", mode="min"):
    best = keras.callbacks.ModelCheckpoint(
        Path(folder) / "best.keras", monitor=monitor, mode=mode
    )
    return [best, keras.callbacks.ModelCheckpoint(Path(folder) / "last.keras")]


# %% mistake: the last model is saved at the end
"""You save the last model in `on_train_end`. A training that breaks never gets there,
and the file is missing when you need it most. Save after every epoch."""


def checkpointing(folder, monitor="val_loss", mode="min"):
    best = keras.callbacks.ModelCheckpoint(
        Path(folder) / "best.keras", monitor=monitor, mode=mode, save_best_only=True
    )

    class Last(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.save(Path(folder) / "last.keras")

    return [best, Last()]


# %% mistake: the training loss tells which model is best
"""You watch the training loss. It falls as long as the model learns its rows by heart;
watch what was asked for, `monitor`."""


def checkpointing(folder, monitor="val_loss", mode="min"):
    best = keras.callbacks.ModelCheckpoint(
        Path(folder) / "best.keras", monitor="loss", save_best_only=True
    )
    return [best, keras.callbacks.ModelCheckpoint(Path(folder) / "last.keras")]


# %% [markdown]
# ## Go on exactly where it stopped
#
# The machine was restarted after 8 of 16 epochs. A file is there. Do the next 8 epochs
# come out as if nothing had happened? That takes more than the weights: Adam keeps two
# averages for every weight, and counts its steps. Both belong to the **optimizer**, and
# the file has them. Below, three ways to restore, from two files. A whole model is
# loaded in one call; weights need a model that exists already.


# %%
# rows: K22, K23
def adam_model():
    model = line_model()
    model.compile(keras.optimizers.Adam(0.1), "mse")
    return model


def losses(model, start, end):
    run = {"initial_epoch": start, "epochs": end, "shuffle": False, "verbose": 0}
    return model.fit(rows, **run).history["loss"]


def from_weights(path, build_optimizer):
    model = adam_model()  # compiled
    if build_optimizer:
        model.optimizer.build(model.trainable_variables)
    model.load_weights(path)
    return model


# %%
# rows: K22, K23
whole, model = losses(adam_model(), 0, 16), adam_model()
losses(model, 0, 8)
with (
    tempfile.TemporaryDirectory() as folder,
    warnings.catch_warnings(record=True) as told,
):
    warnings.simplefilter("always")
    model.save(file := Path(folder) / "half.keras")
    model.save_weights(weights := Path(folder) / "half.weights.h5")
    resumed = {".keras": losses(keras.models.load_model(file), 8, 16)}
    built = losses(from_weights(weights, build_optimizer=True), 8, 16)
    skipped = losses(from_weights(weights, build_optimizer=False), 8, 16)
plots.two_halves(whole, resumed | {"weights, not built": skipped}, half=8)
warned = [str(w.message).split("'")[0] for w in told if "optimizer" in str(w.message)]
print("weights, not built:  ", *warned)
gap = max(abs(a - b) for a, b in zip(built, whole[8:]))
print(f"weights, built first: off by {gap:.6f}")

# %% [markdown]
# The grey band is the training that was never interrupted; a whole `.keras` file goes
# on exactly there. From a weights file, `compile` and `load_weights` are **not**
# enough, although the documentation of `ModelCheckpoint` says so: a fresh optimizer has
# no variables yet, its state is skipped, and Adam starts from zero (the orange line).
# Habit: `.keras`; or `compile`, then `optimizer.build(model.trainable_variables)`, then
# `load_weights`.
#
# `BackupAndRestore` does all this for you. It saves into a folder after every epoch,
# goes on from there when you make the same call of `fit` again, and removes the folder
# in the end.


# %%
# rows: K24
def crash_in(number, hook="on_epoch_begin"):
    def crash(at, logs):
        if at == number:
            raise RuntimeError("the machine is restarted")

    return keras.callbacks.LambdaCallback(**{hook: crash})


def backed_up(folder, *callbacks, epochs=8, **settings):
    backup = keras.callbacks.BackupAndRestore(folder, **settings)
    run = {"callbacks": [backup, *callbacks], "shuffle": False, "verbose": 0}
    return adam_model().fit(rows, epochs=epochs, **run)


# %%
# rows: K24
with tempfile.TemporaryDirectory() as outside:
    folder = os.path.join(outside, "backup")
    print("first run: ", outcome(lambda: backed_up(folder, crash_in(4))))
    print("the folder:", *sorted(os.listdir(folder)))
    second = backed_up(folder)
    print("second run: epochs", second.epoch)
    gap = max(abs(a - b) for a, b in zip(second.history["loss"], whole[4:8]))
    print(f"off by {gap:.6f}; the folder is there: {os.path.exists(folder)}")

# %% [markdown]
# Four limits, each of which has cost somebody a night. First: the **other callbacks**
# start again from nothing. An `EarlyStopping` that had waited 2 of 3 epochs begins
# anew. Second: with `save_freq=2` batches the interrupted epoch starts again at its
# **first** batch, so some rows count twice. (The order of shuffled rows is not restored
# either.) Third: a backup that is kept (`delete_checkpoint=False`) makes the same call
# do **nothing**. Fourth: the model must be built before `fit`.


# %%
# rows: K24
def patient():
    return keras.callbacks.EarlyStopping("loss", patience=3, min_delta=1e9)


with tempfile.TemporaryDirectory() as outside:
    folder = os.path.join(outside, "backup")
    print("never interrupted:   ", len(backed_up(folder, patient()).epoch), "epochs")
    outcome(lambda: backed_up(folder, patient(), crash_in(3)))
    epochs = backed_up(folder, patient()).epoch
    print("interrupted after 3: ", epochs[-1] + 1, "epochs")
    crash = crash_in(1, "on_train_batch_end")
    outcome(lambda: backed_up(folder, crash, save_freq=2))
    steps = int(backed_up(folder, epochs=2, save_freq=2).model.optimizer.iterations)
    print("restarted in epoch 0:", steps, "steps instead of 6")

# %%
# rows: K24
with tempfile.TemporaryDirectory() as folder:
    for _ in range(2):
        epochs = backed_up(folder, epochs=2, delete_checkpoint=False).epoch
        print("backup kept, epochs that ran:", epochs)
    bare = keras.Sequential([keras.layers.Dense(1)])
    bare.compile("sgd", "mse")
    run = {"callbacks": [keras.callbacks.BackupAndRestore(folder)], "verbose": 0}
    print("a model without Input:", outcome(lambda: bare.fit(*four_rows, **run)))

# %% [markdown]
# ### Exercise: resume
#
# Write `make_or_restore(folder, build)`. The folder holds checkpoints that
# `ModelCheckpoint("after_{epoch}.weights.h5", save_weights_only=True)` wrote, and maybe
# other files, also weights with other names. `folder` is a text or a `Path`; it may be
# empty or not exist. `build()` returns a new, compiled model.
#
# Return `(model, epochs_done)`: a model from `build()` with weights **and** optimizer
# state of the checkpoint with the largest epoch number, and that number. Copying
# changes the dates of files: go by the names. Without a checkpoint, return a fresh
# model and 0. `fit(..., initial_epoch=epochs_done)` then goes on exactly. Change no
# file, make no folder. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# As texts, `"after_10"` comes before `"after_9"`. What must be compared?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `Path(folder).glob("after_*.weights.h5")` finds nothing, without an error, where there
# is no folder. `path.name.split(".")[0]` is `"after_10"`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Before `load_weights`: `model.optimizer.build(model.trainable_variables)`.
#
# </details>


# %% exercise: make_or_restore
def make_or_restore(folder, build):
    """`(model, epochs_done)`: from the newest checkpoint in the folder, or fresh."""
    ### BEGIN SOLUTION
    model, done = build(), 0
    files = {}
    for path in Path(folder).glob("after_*.weights.h5"):
        files[int(path.name.split(".")[0].removeprefix("after_"))] = path
    if files:
        done = max(files)
        model.optimizer.build(model.trainable_variables)
        model.load_weights(files[done])
    return model, done
    ### END SOLUTION


# %% check: make_or_restore, 5 points
def evidence(make_or_restore, rng):
    rate, start = float(rng.uniform(0.05, 0.2)), rng.normal(size=(1, 1))
    slopes, beta = rng.uniform(-5, 5, 5), float(rng.uniform(0.4, 0.7))

    def build():
        model = stand_in()
        adam = keras.optimizers.Adam(rate, beta_1=beta)  # not the default: no new one
        model.compile(adam, "mse", run_eagerly=True)
        model.set_weights([start])
        return model

    def moved(model, slopes):
        """The weight after each further step of Adam, with these gradients."""
        found = []
        for slope in slopes:
            gradient = tf.constant(slope, "float32", (1, 1))
            model.optimizer.apply([gradient], model.trainable_variables)
            found.append(model.get_weights()[0].item())
        return found

    def resumed(*names, others=()):
        """Save after each further step, under these numbers, and restore."""
        with tempfile.TemporaryDirectory() as outside:
            folder = Path(outside) / "checkpoints"
            folder.mkdir()
            model = build()
            for age, number in enumerate(names):
                moved(model, slopes[age : age + 1])
                path = folder / f"after_{number}.weights.h5"
                model.save_weights(path)
                os.utime(path, (1e9 - age, 1e9 - age))  # the newest looks oldest
            for name in others:
                (folder / name).write_text("something else")
            before = {path.name for path in folder.iterdir()}
            model, done = make_or_restore(folder, build)
            after = {path.name for path in folder.iterdir()}
        return {
            "epochs_done": int(done),
            "optimizer steps": int(model.optimizer.iterations),
            "weight": model.get_weights()[0].item(),
            "weight in two further steps": moved(model, slopes[-2:]),
            "new or lost files": sorted(before ^ after),
        }

    def fresh(exists):
        with tempfile.TemporaryDirectory() as outside:
            folder = Path(outside) / "none"
            if exists:
                folder.mkdir()
            model, done = make_or_restore(folder if exists else str(folder), build)
            found = {"epochs_done": int(done), "folder there": folder.exists()}
        return {**found, "weight": moved(model, slopes[:1])}

    first = int(rng.integers(5, 8))
    middle = int(rng.integers(18, 20))  # has the largest last digit
    later = 10 * int(rng.integers(2, 5)) + int(rng.integers(4))
    given = {"checkpoints": [first]}
    yield "one checkpoint", lambda: resumed(first), given
    numbers = [middle, first, later]
    given = {"checkpoints": numbers}
    yield "the largest number of several", lambda: resumed(*numbers), given
    others = ["notes.txt", "best.keras", "best.weights.h5", "other_99.weights.h5"]
    given = {"checkpoints": [1, first + 1], "others": others}
    label = "other files in the folder"
    yield label, lambda: resumed(1, first + 1, others=others), given
    yield "an empty folder", lambda: fresh(True)
    yield "no folder", lambda: fresh(False)


check("06/make_or_restore", evidence)

# %% mistake: compile and load_weights restore everything
"""A new optimizer has no variables, so its state is skipped with a warning: Adam starts
from zero and the losses differ. Call `model.optimizer.build(model.trainable_variables)`
before `load_weights`."""


def make_or_restore(folder, build):
    model, done = build(), 0
    files = {}
    for path in Path(folder).glob("after_*.weights.h5"):
        files[int(path.name.split(".")[0].removeprefix("after_"))] = path
    if files:
        done = max(files)
        model.load_weights(files[done])
    return model, done


# %% mistake: the number of steps is all that an optimizer remembers
"""You set the optimizer's steps to the number of epochs. Steps are batches, and Adam
also has two averages for each weight. The file has all of it: call
`model.optimizer.build(model.trainable_variables)` before `load_weights`."""


def make_or_restore(folder, build):
    model, done = build(), 0
    files = {}
    for path in Path(folder).glob("after_*.weights.h5"):
        files[int(path.name.split(".")[0].removeprefix("after_"))] = path
    if files:
        done = max(files)
        model.load_weights(files[done])
        model.optimizer.iterations.assign(done)
    return model, done


# %% mistake: the last name is the newest
"""You sort names. As text, "after_10" comes before "after_9": compare the numbers in
the names."""


def make_or_restore(folder, build):
    model, done = build(), 0
    files = sorted(str(path) for path in Path(folder).glob("after_*.weights.h5"))
    if files:
        name = Path(files[-1]).name
        done = int(name.split(".")[0].removeprefix("after_"))
        model.optimizer.build(model.trainable_variables)
        model.load_weights(files[-1])
    return model, done


# %% mistake: the date tells which is newest
"""You take the file with the latest date. A copy, a download, a restored disk change
the dates; the number in the name stays."""


def make_or_restore(folder, build):
    model, done = build(), 0
    files = list(Path(folder).glob("after_*.weights.h5"))
    if files:
        newest = max(files, key=os.path.getmtime)
        done = int(newest.name.split(".")[0].removeprefix("after_"))
        model.optimizer.build(model.trainable_variables)
        model.load_weights(newest)
    return model, done


# %% mistake: there is always a checkpoint
"""The first time there is none, and you stop with an error. One program should start
and resume: return a fresh model and 0."""


def make_or_restore(folder, build):
    files = {}
    for path in Path(folder).glob("after_*.weights.h5"):
        files[int(path.name.split(".")[0].removeprefix("after_"))] = path
    model, done = build(), max(files)
    model.optimizer.build(model.trainable_variables)
    model.load_weights(files[done])
    return model, done


# %% mistake: names count from 0
"""You subtract 1. `{epoch}` in a name counts from 1: "after_4" means that 4 epochs are
done, and `initial_epoch=4` is the fifth."""


def make_or_restore(folder, build):
    model, done = build(), 0
    files = {}
    for path in Path(folder).glob("after_*.weights.h5"):
        files[int(path.name.split(".")[0].removeprefix("after_"))] = path
    if files:
        model.optimizer.build(model.trainable_variables)
        model.load_weights(files[max(files)])
        done = max(files) - 1
    return model, done


# %% mistake: compile does no harm
"""You compile after loading. `compile` takes a new optimizer, and the state that you
had loaded is gone. `build()` has compiled the model already."""


def make_or_restore(folder, build):
    model, done = build(), 0
    files = {}
    for path in Path(folder).glob("after_*.weights.h5"):
        files[int(path.name.split(".")[0].removeprefix("after_"))] = path
    if files:
        done = max(files)
        model.optimizer.build(model.trainable_variables)
        model.load_weights(files[done])
        model.compile("adam", "mse", run_eagerly=True)
    return model, done


# %% mistake: a restored model starts counting at 0
"""You return 0 epochs. `fit` would then do all epochs again: hand back how many are
done."""


def make_or_restore(folder, build):
    model = build()
    files = {}
    for path in Path(folder).glob("after_*.weights.h5"):
        files[int(path.name.split(".")[0].removeprefix("after_"))] = path
    if files:
        model.optimizer.build(model.trainable_variables)
        model.load_weights(files[max(files)])
    return model, 0


# %% [markdown]
# ## A learning rate with a plan
#
# *Here begins the third part: a good place for a break. When you come back, run all
# cells above this one.*
#
# Large steps at first, small ones at the end: a **schedule** is a function from the
# optimizer's step to a learning rate. You pass it where the number stood. Its unit is
# the **step**, one per batch, and this is where most plans fail. Below, a plan for 4
# epochs of 40 batches. Someone wrote `decay_steps=4` and meant epochs.

# %%
# rows: K27, K28
schedules = keras.optimizers.schedules


def rates_of(schedule, steps):
    return [float(schedule(step)) for step in range(steps)]


meant = schedules.ExponentialDecay(0.1, decay_steps=40 * 4, decay_rate=0.1)
written = schedules.ExponentialDecay(0.1, decay_steps=4, decay_rate=0.1)
lines = {
    "decay_steps=160": rates_of(meant, 160),
    "decay_steps=4": rates_of(written, 160),
}
plots.rates(lines, "Counted in epochs, the plan is over within the first one", 40)

# %% [markdown]
# In a training you can watch it. Below, an epoch has 4 batches, and after every 4 steps
# the rate is halved all at once (`staircase=True`; without it, it falls a little in
# every step). The rate is read *after* each update, so it belongs to the next one: the
# fourth number is 0.5 already, and the second epoch is the first to use it. The second
# cell asks the built-in schedules for their edges, where a plan goes wrong by one.

# %%
# rows: K27, K32
halving = schedules.ExponentialDecay(1.0, 4, 0.5, staircase=True)
model, seen = stand_in(), []
model.compile(keras.optimizers.SGD(halving), "mse", run_eagerly=True)
note = keras.callbacks.LambdaCallback(
    on_train_batch_end=lambda batch, logs: seen.append(
        float(model.optimizer.learning_rate)
    )
)
model.fit(*four_rows, batch_size=1, epochs=2, callbacks=[note], verbose=0)
print("after each update:", seen)
model.compile(keras.optimizers.SGD(lambda: 0.25), "mse")
print("a function without arguments:", float(model.optimizer.learning_rate))

# %%
# rows: K28, K29, K30, K31
plans = {
    "ExponentialDecay": schedules.ExponentialDecay(1.0, 10, 0.5),
    "... staircase": schedules.ExponentialDecay(1.0, 10, 0.5, staircase=True),
    "PiecewiseConstantDecay": schedules.PiecewiseConstantDecay(
        [10, 20], [1.0, 0.5, 0.1]
    ),
    "PolynomialDecay": schedules.PolynomialDecay(1.0, 10, end_learning_rate=0.1),
    "InverseTimeDecay": schedules.InverseTimeDecay(1.0, 10, decay_rate=1.0),
}
steps = (0, 5, 10, 11, 20, 21)
print(f"{'step':22}", *(f"{step:6}" for step in steps))
for name, plan in plans.items():
    print(f"{name:22}", *(f"{float(plan(step)):6.3f}" for step in steps))

# %% [markdown]
# Look at step 10: the staircase is down already, the piece with boundary 10 still
# counts. (Its values must all be floats: `[1, 0.5]` is an error.) `PolynomialDecay` is
# a straight line, unless you give a `power`, and stays at its end.
#
# Cosine plans fall slowly, then fast, then slowly. A **warm-up** before them lets Adam
# collect its averages with small steps. A restart begins again, at full height.

# %%
# rows: K32
warm = schedules.CosineDecay(
    initial_learning_rate=0.2, decay_steps=25, warmup_target=1.0, warmup_steps=5
)
again = schedules.CosineDecayRestarts(1.0, first_decay_steps=10, t_mul=2.0)
plain = schedules.CosineDecay(1.0, decay_steps=30)
lines = {"CosineDecay": plain, "... with warm-up": warm, "CosineDecayRestarts": again}
lines = {name: rates_of(plan, 36) for name, plan in lines.items()}
plots.rates(lines, "Warm-up rises to the top at step 5; restarts begin again at 10")

# %% [markdown]
# ### Exercise: warm-up and cosine, in epochs
#
# Write the schedule `WarmupCosine(peak, warmup_epochs, epochs, steps_per_epoch)`. With
# `w` steps of warm-up and `n` steps in all, counted from the epochs:
#
# - for step s below `w`: `peak * (s + 1) / w`, so that even the first step moves;
# - from `w` on: `peak * (1 + cos(π * (s − w) / (n − w))) / 2`;
# - from `n` on: 0.
#
# `warmup_epochs` may be 0 and is less than `epochs`. A step is a Python int or an
# integer tensor; the rate is a float32 for both. It works in `fit`, and `get_config()`
# returns the four arguments, so that a saved optimizer finds them again. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# First make a float of the step: `ops.cast(step, "float32")`. Then all below is
# arithmetic on float32.
#
# </details>
# <details><summary>Hint 2</summary>
#
# In `fit` a step is a placeholder, and `if` cannot look at it. Compute both formulas
# and choose with `ops.where(step < w, rising, falling)`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Limit the share `(step − w) / (n − w)` to 1, and the cosine stays at its end. With
# `w = 0` the first formula divides by 0: use `max(w, 1)` there.
#
# </details>


# %% exercise: WarmupCosine
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Rises in a straight line to `peak`, then falls as a cosine to 0."""

    def __init__(self, peak, warmup_epochs, epochs, steps_per_epoch):
        ### BEGIN SOLUTION
        self.peak, self.warmup_epochs = peak, warmup_epochs
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch

    def __call__(self, step):
        step = ops.cast(step, "float32")
        warmup = self.warmup_epochs * self.steps_per_epoch
        total = self.epochs * self.steps_per_epoch
        rising = (step + 1) / max(warmup, 1)
        share = ops.minimum((step - warmup) / (total - warmup), 1.0)
        falling = (1 + ops.cos(np.pi * share)) / 2
        return self.peak * ops.where(step < warmup, rising, falling)

    def get_config(self):
        return {
            "peak": self.peak,
            "warmup_epochs": self.warmup_epochs,
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
        }

    ### END SOLUTION


# %% check: WarmupCosine, 4 points
def evidence(WarmupCosine, rng):
    per_epoch, warmup = int(rng.integers(3, 9)), int(rng.integers(2, 5))
    epochs = warmup + int(rng.integers(3, 9))
    settings = {"peak": float(rng.uniform(0.1, 2)), "epochs": epochs}
    settings |= {"warmup_epochs": warmup, "steps_per_epoch": per_epoch}
    schedule = WarmupCosine(**settings)
    w, n = warmup * per_epoch, epochs * per_epoch

    def rates(schedule, steps):
        return [np.asarray(schedule(int(step))).item() for step in steps]

    yield "warm-up", lambda: rates(schedule, range(0, w, 2)), settings
    yield (
        "the steps around the peak",
        lambda: rates(schedule, range(w - 1, w + 2)),
        settings,
    )
    yield "the way down", lambda: rates(schedule, range(w, n, 3)), settings
    yield (
        "the end and after it",
        lambda: rates(schedule, [n - 1, n, n + 1, 2 * n]),
        settings,
    )
    none = {**settings, "warmup_epochs": 0}

    def config():
        found = schedule.get_config()
        return {key: float(found[key]) for key in settings}

    yield "get_config()", config, settings
    yield (
        "the type of the rate for a Python int",
        lambda: np.asarray(schedule(w + 1)).dtype.name,
        settings,
    )
    yield "no warm-up", lambda: rates(WarmupCosine(**none), [0, 1, n // 2, n]), none
    steps = [int(step) for step in rng.integers(0, n, 4)]

    def tensors(kind):
        found = [schedule(tf.constant(step, kind)) for step in steps]
        kinds = {tf.convert_to_tensor(rate).dtype.name for rate in found}
        return {"rates": [float(rate) for rate in found], "types": sorted(kinds)}

    yield (
        "steps as int64 tensors",
        lambda: tensors("int64"),
        {**settings, "steps": steps},
    )
    yield (
        "steps as int32 tensors",
        lambda: tensors("int32"),
        {**settings, "steps": steps},
    )

    def in_graph():
        rate = tf.function(lambda step: schedule(step), autograph=False)
        return [float(rate(tf.constant(step, "int64"))) for step in steps]

    yield "as fit calls it, with placeholders", in_graph, {**settings, "steps": steps}

    def reloaded():
        optimizer = keras.optimizers.SGD(WarmupCosine(**settings))
        own = {"WarmupCosine": WarmupCosine}
        config = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
        found, rates = keras.optimizers.deserialize(config, custom_objects=own), []
        for step in steps:
            found.iterations.assign(step)
            rates.append(float(found.learning_rate))
        return rates

    yield "in an optimizer that was saved", reloaded, {**settings, "steps": steps}


check("06/WarmupCosine", evidence)

# %% mistake: a schedule counts epochs
"""You compare the step with numbers of epochs. A schedule is asked at every **step**:
multiply by `steps_per_epoch`, or the plan is over within the first epochs."""


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warmup_epochs, epochs, steps_per_epoch):
        self.settings = {
            "peak": peak,
            "warmup_epochs": warmup_epochs,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
        }

    def __call__(self, step):
        step = ops.cast(step, "float32")
        warmup, total = self.settings["warmup_epochs"], self.settings["epochs"]
        rising = (step + 1) / max(warmup, 1)
        share = ops.minimum((step - warmup) / (total - warmup), 1.0)
        falling = (1 + ops.cos(np.pi * share)) / 2
        return self.settings["peak"] * ops.where(step < warmup, rising, falling)

    def get_config(self):
        return self.settings


# %% mistake: warm-up starts at 0
"""Your first step has the rate 0 and moves nothing. Count it as the first one: `(s + 1)
/ w`."""


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warmup_epochs, epochs, steps_per_epoch):
        self.settings = {
            "peak": peak,
            "warmup_epochs": warmup_epochs,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
        }
        self.warmup, self.total = (
            count * steps_per_epoch for count in (warmup_epochs, epochs)
        )

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = step / max(self.warmup, 1)
        share = ops.minimum((step - self.warmup) / (self.total - self.warmup), 1.0)
        falling = (1 + ops.cos(np.pi * share)) / 2
        return self.settings["peak"] * ops.where(step < self.warmup, rising, falling)

    def get_config(self):
        return self.settings


# %% mistake: the cosine starts at step 0
"""Your cosine runs from step 0, so that after the warm-up the rate jumps down. It
starts when the warm-up is over: `(s − w) / (n − w)`."""


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warmup_epochs, epochs, steps_per_epoch):
        self.settings = {
            "peak": peak,
            "warmup_epochs": warmup_epochs,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
        }
        self.warmup, self.total = (
            count * steps_per_epoch for count in (warmup_epochs, epochs)
        )

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = (step + 1) / max(self.warmup, 1)
        share = ops.minimum(step / self.total, 1.0)
        falling = (1 + ops.cos(np.pi * share)) / 2
        return self.settings["peak"] * ops.where(step < self.warmup, rising, falling)

    def get_config(self):
        return self.settings


# %% mistake: a cosine stays down
"""A cosine comes up again: after the last step your rate rises. Limit the share to
1."""


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warmup_epochs, epochs, steps_per_epoch):
        self.settings = {
            "peak": peak,
            "warmup_epochs": warmup_epochs,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
        }
        self.warmup, self.total = (
            count * steps_per_epoch for count in (warmup_epochs, epochs)
        )

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = (step + 1) / max(self.warmup, 1)
        share = (step - self.warmup) / (self.total - self.warmup)
        falling = (1 + ops.cos(np.pi * share)) / 2
        return self.settings["peak"] * ops.where(step < self.warmup, rising, falling)

    def get_config(self):
        return self.settings


# %% mistake: `if` can look at a step
"""Outside of `fit` a step is a number and `if` works. In `fit` it is a placeholder:
choose with `ops.where`."""


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warmup_epochs, epochs, steps_per_epoch):
        self.settings = {
            "peak": peak,
            "warmup_epochs": warmup_epochs,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
        }
        self.warmup, self.total = (
            count * steps_per_epoch for count in (warmup_epochs, epochs)
        )

    def __call__(self, step):
        step = ops.cast(step, "float32")
        if step < self.warmup:
            return self.settings["peak"] * (step + 1) / self.warmup
        if step >= self.total:
            return ops.cast(0.0, "float32")
        share = (step - self.warmup) / (self.total - self.warmup)
        return self.settings["peak"] * (1 + ops.cos(np.pi * share)) / 2

    def get_config(self):
        return self.settings


# %% mistake: a step is a Python number
"""Your formula is right for a number, but `fit` hands in a placeholder: `if` cannot
look at it and `np.cos` cannot compute with it. Cast the step, then use `ops`."""


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warmup_epochs, epochs, steps_per_epoch):
        self.settings = {
            "peak": peak,
            "warmup_epochs": warmup_epochs,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
        }
        self.warmup, self.total = (
            count * steps_per_epoch for count in (warmup_epochs, epochs)
        )

    def __call__(self, step):
        if step < self.warmup:
            return self.settings["peak"] * (step + 1) / self.warmup
        if step >= self.total:
            return 0.0
        share = (step - self.warmup) / (self.total - self.warmup)
        return self.settings["peak"] * (1 + np.cos(np.pi * share)) / 2

    def get_config(self):
        return self.settings


# %% mistake: only the cosine needs ops
"""`ops.cos` takes a tensor, but the step is still an integer: times π it stops. And in
`fit` it is a placeholder, at which `if` cannot look. Cast the step, then use
`ops.where`."""


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warmup_epochs, epochs, steps_per_epoch):
        self.settings = {
            "peak": peak,
            "warmup_epochs": warmup_epochs,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
        }
        self.warmup, self.total = (
            count * steps_per_epoch for count in (warmup_epochs, epochs)
        )

    def __call__(self, step):
        if step < self.warmup:
            return self.settings["peak"] * (step + 1) / self.warmup
        if step >= self.total:
            return 0.0
        angle = np.pi * (step - self.warmup) / (self.total - self.warmup)
        return self.settings["peak"] * (1 + ops.cos(angle)) / 2

    def get_config(self):
        return self.settings


# %% mistake: NumPy computes with every tensor
"""`np.cos` needs numbers. A tensor outside of `fit` has them; the placeholder in `fit`
has none yet, and NumPy stops. Take `ops.cos`, which works for both."""


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warmup_epochs, epochs, steps_per_epoch):
        self.settings = {
            "peak": peak,
            "warmup_epochs": warmup_epochs,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
        }
        self.warmup, self.total = (
            count * steps_per_epoch for count in (warmup_epochs, epochs)
        )

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = (step + 1) / max(self.warmup, 1)
        share = ops.minimum((step - self.warmup) / (self.total - self.warmup), 1.0)
        falling = (1 + np.cos(np.pi * share)) / 2
        return self.settings["peak"] * ops.where(step < self.warmup, rising, falling)

    def get_config(self):
        return self.settings


# %% mistake: float makes a number of every step
"""`float(step)` asks for the value now. In `fit` a step is a placeholder and has none
yet. `ops.cast(step, "float32")` casts both, and `ops.where` chooses."""


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warmup_epochs, epochs, steps_per_epoch):
        self.settings = {
            "peak": peak,
            "warmup_epochs": warmup_epochs,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
        }
        self.warmup, self.total = (
            count * steps_per_epoch for count in (warmup_epochs, epochs)
        )

    def __call__(self, step):
        step = float(step)
        if step < self.warmup:
            return self.settings["peak"] * (step + 1) / self.warmup
        if step >= self.total:
            return 0.0
        share = (step - self.warmup) / (self.total - self.warmup)
        return self.settings["peak"] * (1 + np.cos(np.pi * share)) / 2

    def get_config(self):
        return self.settings


# %% mistake: a step divides like any number
"""The step comes as an integer tensor. Dividing it gives float64, and mixing that with
float32 stops: make it `ops.cast(step, "float32")` first."""


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warmup_epochs, epochs, steps_per_epoch):
        self.settings = {
            "peak": peak,
            "warmup_epochs": warmup_epochs,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
        }
        self.warmup, self.total = (
            count * steps_per_epoch for count in (warmup_epochs, epochs)
        )

    def __call__(self, step):
        rising = (step + 1) / max(self.warmup, 1)
        share = ops.minimum((step - self.warmup) / (self.total - self.warmup), 1.0)
        falling = (1 + ops.cos(np.pi * share)) / 2
        return self.settings["peak"] * ops.where(step < self.warmup, rising, falling)

    def get_config(self):
        return self.settings


# %% mistake: Keras can save any object
"""Your class has no `get_config`, so an optimizer that uses it cannot be saved. Return
the arguments of `__init__` as a dict."""


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warmup_epochs, epochs, steps_per_epoch):
        self.peak = peak
        self.warmup = warmup_epochs * steps_per_epoch
        self.total = epochs * steps_per_epoch

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = (step + 1) / max(self.warmup, 1)
        share = ops.minimum((step - self.warmup) / (self.total - self.warmup), 1.0)
        falling = (1 + ops.cos(np.pi * share)) / 2
        return self.peak * ops.where(step < self.warmup, rising, falling)


# %% [markdown]
# ## A learning rate that looks at the loss
#
# A plan knows the time, not the loss. `ReduceLROnPlateau` watches a value and
# multiplies the rate by `factor` when `patience` epochs in a row did not beat the best
# one by more than `min_delta`. The next cut takes `patience` epochs again. The rate
# that is logged as `learning_rate` is the one **used in that epoch**. Predict the rates
# of ten epochs in which nothing gets better, with factor 0.5 and patience 2.

# %%
# rows: K34
flat = [1.0] * 10


def cut(values, **settings):
    settings = {"factor": 0.5, "patience": 2, **settings}
    reduce = keras.callbacks.ReduceLROnPlateau("val_loss", **settings)
    return drive(reduce, [{"val_loss": value} for value in values])


plots.plateau(flat, cut(flat, min_lr=0.02)["learning_rates"])


# %%
# rows: K34
def told(run):
    return " ".join(f"{rate:.3f}" for rate in run["learning_rates"])


print("patience 2:              ", told(cut(flat)))
print("patience 1:              ", told(cut(flat, patience=1)))
print("patience 1, cooldown 1:  ", told(cut(flat, patience=1, cooldown=1)))
print("patience 1, cooldown 3:  ", told(cut(flat, patience=1, cooldown=3)))
dip = [1.0, 1.0, 0.5, 0.8, 0.8, 0.8]  # the best one lies in the cooldown
print("... a dip after the cut: ", told(cut(dip, patience=1, cooldown=3)))
print("logged for the fourth:   ", f"{cut(flat)['logs'][3]['learning_rate']:.3f}")
print("factor=1:                ", outcome(lambda: cut(flat, factor=1.0)))

# %% [markdown]
# Three epochs at 0.1: the first is the best, the next two bring no gain. The cut is
# made after epoch 3 (counted from 1) and acts in the fourth. Each epoch after a cut
# takes 1 from the `cooldown`; the one that uses it up is counted already, so a cooldown
# of 1 changes nothing. A new best is noted all the same: after the dip to 0.5, a loss
# of 0.8 is no gain.

# %% [markdown]
# `LearningRateScheduler` asks a function of yours before each epoch, and wants a float.
# Both callbacks **set** the rate; where a schedule is in charge, they cannot (second
# cell). Habit: one hand on the learning rate, if need be a callback of your own.


# %%
# rows: K33, K35
def scheduled(function):
    plan = keras.callbacks.LearningRateScheduler(function)
    return outcome(lambda: told(drive(plan, [{}] * 4)))


print("halved by epoch:", scheduled(lambda epoch: 0.1 * 0.5**epoch))
print("from the rate:  ", scheduled(lambda epoch, rate: rate * 0.5))
print("an int:         ", scheduled(lambda epoch: 1))
print("a tensor:       ", scheduled(lambda epoch: ops.convert_to_tensor(0.1)))
print("no return:      ", scheduled(lambda epoch: None))

# %%
# rows: K33, K36
plan = schedules.ExponentialDecay(0.1, 100, 0.5)
model = stand_in()
model.compile(keras.optimizers.SGD(plan), "mse", run_eagerly=True)
reduce = keras.callbacks.ReduceLROnPlateau("loss", patience=2, min_delta=9.0)
for epochs in (2, 9):
    run = {"epochs": epochs, "callbacks": [reduce], "verbose": 0}
    text = outcome(lambda: len(model.fit(*four_rows, **run).epoch))
    print(f"schedule and ReduceLROnPlateau, {epochs} epochs: {text}")
text = outcome(lambda: setattr(model.optimizer, "learning_rate", 0.1))
print("schedule and assignment:", text)

# %% [markdown]
# ### Exercise: predict the plateau
#
# Write `simulate_plateau(values, lr, factor=0.1, patience=10, min_delta=1e-4,
# cooldown=0, min_lr=0.0)`: the list of learning rates that the epochs use under
# `ReduceLROnPlateau`, predicted without it. Smaller `values` are better; the list stays
# unchanged. `lr` is the first rate. It lies above `min_lr`, and no cut goes below that.
# For example, `simulate_plateau([3.0, 2.0, 2.5, 2.5, 2.5], 0.1, patience=2)` is `[0.1,
# 0.1, 0.1, 0.1, 0.01]`.
#
# The rules are in the section above. Where you are not sure, make up a night of a few
# epochs, predict, and let `drive` tell you what Keras does. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# When in the loop do you note the rate that an epoch *used*?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Four things live on from epoch to epoch: the rate, the best value, the wait and what
# is left of the cooldown. Which of them may a new best change, which an epoch in the
# cooldown?
#
# </details>
# <details><summary>Hint 3</summary>
#
# First take 1 from a running cooldown. A new best sets the wait to 0. Without one, and
# only if the cooldown is 0 by now, the wait grows; at `patience` comes the cut.
#
# </details>


# %% exercise: simulate_plateau
def simulate_plateau(
    values, lr, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0
):
    """The learning rate that each epoch uses under `ReduceLROnPlateau`: floats."""
    ### BEGIN SOLUTION
    used, best, wait, cooling = [], None, 0, 0
    for value in values:
        used.append(lr)
        if cooling > 0:
            cooling, wait = cooling - 1, 0
        if best is None or value < best - min_delta:
            best, wait = value, 0
        elif cooling == 0:
            wait += 1
            if wait >= patience and lr > min_lr:
                lr, cooling, wait = max(lr * factor, min_lr), cooldown, 0
    return used
    ### END SOLUTION


# %% check: simulate_plateau, 3 points
def evidence(simulate_plateau, rng):
    def night(low=20, high=36):
        """A random walk on a grid of 1/8, where differences are exact."""
        steps = rng.integers(-3, 4, int(rng.integers(low, high))) - 0.2
        return [float(v) for v in 4 + np.round(np.cumsum(steps)) / 8]

    def case(draw, *length):
        rates = {
            "lr": float(rng.uniform(0.3, 1)),
            "factor": float(rng.uniform(0.2, 0.9)),
        }
        return {"values": night(*length), "min_delta": 0.0, **rates, **draw()}

    def result(case):
        return [float(rate) for rate in simulate_plateau(**case)]

    def changes(case):
        """How many rates there are, and each new one with its epoch."""
        rates = result(case)
        pairs = zip(rates, [0.0, *rates], strict=False)
        new = [(k, a) for k, (a, b) in enumerate(pairs) if abs(a - b) > 1e-7]
        return [(len(rates), 0.0), *new]

    def patience():
        return {"patience": int(rng.integers(1, 4))}

    def delta():
        return patience() | {"min_delta": float(rng.choice([0.125, 0.25, 0.5]))}

    def cooling():
        return {
            "patience": int(rng.integers(2, 4)),
            "cooldown": int(rng.integers(1, 6)),
        }

    def floor():
        return patience() | {"min_lr": float(rng.uniform(0.05, 0.2)), "factor": 0.3}

    kinds = {
        "patience and factor": patience,
        "gains up to min_delta do not count": delta,
        "cooldown": cooling,
        "min_lr": floor,
        "all at once": lambda: delta() | cooling() | floor(),
    }
    for label, draw in kinds.items():
        small, more = case(draw, 6, 9), [case(draw) for _ in range(30)]
        yield f"{label}: a short night", lambda: result(small), small
        yield f"{label}: 30 nights", lambda: [changes(one) for one in more]

    def untouched():
        one = case(patience)
        before = list(one["values"])
        result(one)
        return {"before": before, "after": one["values"]}

    yield "the list `values` afterwards", untouched
    values = [float(v) for v in 3 - 0.05 * rng.uniform(0, 1e-4, 30)]
    values = [values[0] + 1, *values]
    given = {"values": values, "lr": 0.5}
    yield (
        "the defaults",
        lambda: [float(r) for r in simulate_plateau(values, 0.5)],
        given,
    )


check("06/simulate_plateau", evidence)

# %% mistake: a cut acts in the epoch that decides it
"""You note the rate after the decision. The epoch is over then: the new rate is used
from the next one on."""


def simulate_plateau(
    values, lr, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0
):
    used, best, wait, cooling = [], None, 0, 0
    for value in values:
        if cooling > 0:
            cooling, wait = cooling - 1, 0
        if best is None or value < best - min_delta:
            best, wait = value, 0
        elif cooling == 0:
            wait += 1
            if wait >= patience and lr > min_lr:
                lr, cooling, wait = max(lr * factor, min_lr), cooldown, 0
        used.append(lr)
    return used


# %% mistake: patience is exceeded, not reached
"""You cut when the wait is larger than `patience`, one epoch too late."""


def simulate_plateau(
    values, lr, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0
):
    used, best, wait, cooling = [], None, 0, 0
    for value in values:
        used.append(lr)
        if cooling > 0:
            cooling, wait = cooling - 1, 0
        if best is None or value < best - min_delta:
            best, wait = value, 0
        elif cooling == 0:
            wait += 1
            if wait > patience and lr > min_lr:
                lr, cooling, wait = max(lr * factor, min_lr), cooldown, 0
    return used


# %% mistake: a new best takes nothing from the cooldown
"""Your cooldown is shortened by epochs without a gain only, and the last of them is not
counted. Every epoch takes 1 from it, and that comes first."""


def simulate_plateau(
    values, lr, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0
):
    used, best, wait, cooling = [], None, 0, 0
    for value in values:
        used.append(lr)
        if best is None or value < best - min_delta:
            best, wait = value, 0
        elif cooling > 0:
            cooling -= 1
        else:
            wait += 1
            if wait >= patience and lr > min_lr:
                lr, cooling, wait = max(lr * factor, min_lr), cooldown, 0
    return used


# %% mistake: the last epoch of a cooldown belongs to it
"""You count again one epoch too late. The cooldown is shortened first: in the epoch
that uses it up, an epoch without a gain counts already."""


def simulate_plateau(
    values, lr, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0
):
    used, best, wait, cooling = [], None, 0, 0
    for value in values:
        used.append(lr)
        resting = cooling > 0
        if resting:
            cooling, wait = cooling - 1, 0
        if best is None or value < best - min_delta:
            best, wait = value, 0
        elif not resting:
            wait += 1
            if wait >= patience and lr > min_lr:
                lr, cooling, wait = max(lr * factor, min_lr), cooldown, 0
    return used


# %% mistake: an epoch in the cooldown is not looked at
"""You pass over every epoch of the cooldown. A new best in one of them is noted all the
same, and the epoch that uses the cooldown up counts again."""


def simulate_plateau(
    values, lr, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0
):
    used, best, wait, cooling = [], None, 0, 0
    for value in values:
        used.append(lr)
        if cooling > 0:
            cooling -= 1
        elif best is None or value < best - min_delta:
            best, wait = value, 0
        else:
            wait += 1
            if wait >= patience and lr > min_lr:
                lr, cooling, wait = max(lr * factor, min_lr), cooldown, 0
    return used


# %% mistake: a gain in the cooldown is not noted
"""In the cooldown you note no new best, so later values seem to be gains that are none.
Only the wait rests in a cooldown; the best is always kept up."""


def simulate_plateau(
    values, lr, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0
):
    used, best, wait, cooling = [], None, 0, 0
    for value in values:
        used.append(lr)
        cooling = max(cooling - 1, 0)
        if cooling > 0:
            continue
        if best is None or value < best - min_delta:
            best, wait = value, 0
        else:
            wait += 1
            if wait >= patience and lr > min_lr:
                lr, cooling, wait = max(lr * factor, min_lr), cooldown, 0
    return used


# %% mistake: waiting goes on in the cooldown
"""You count epochs without a gain in the cooldown, too. It is there to give the new
rate time: nothing is counted while it lasts."""


def simulate_plateau(
    values, lr, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0
):
    used, best, wait, cooling = [], None, 0, 0
    for value in values:
        used.append(lr)
        cooling = max(cooling - 1, 0)
        if best is None or value < best - min_delta:
            best, wait = value, 0
        else:
            wait += 1
            if wait >= patience and lr > min_lr and cooling == 0:
                lr, cooling, wait = max(lr * factor, min_lr), cooldown, 0
    return used


# %% mistake: the rate may fall for ever
"""You ignore `min_lr`. The rate stops there: `max(lr * factor, min_lr)`."""


def simulate_plateau(
    values, lr, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0
):
    used, best, wait, cooling = [], None, 0, 0
    for value in values:
        used.append(lr)
        if cooling > 0:
            cooling, wait = cooling - 1, 0
        if best is None or value < best - min_delta:
            best, wait = value, 0
        elif cooling == 0:
            wait += 1
            if wait >= patience:
                lr, cooling, wait = lr * factor, cooldown, 0
    return used


# %% mistake: an epoch is compared with the one before
"""You compare with the epoch before. A value must beat the **best** one so far; up and
down around a level is a plateau."""


def simulate_plateau(
    values, lr, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0
):
    used, before, wait, cooling = [], None, 0, 0
    for value in values:
        used.append(lr)
        if cooling > 0:
            cooling, wait = cooling - 1, 0
        if before is None or value < before - min_delta:
            wait = 0
        elif cooling == 0:
            wait += 1
            if wait >= patience and lr > min_lr:
                lr, cooling, wait = max(lr * factor, min_lr), cooldown, 0
        before = value
    return used


# %% mistake: a gain is a gain
"""You ignore `min_delta`: a gain of a millionth keeps the rate high. It must be larger
than `min_delta`."""


def simulate_plateau(
    values, lr, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0
):
    used, best, wait, cooling = [], None, 0, 0
    for value in values:
        used.append(lr)
        if cooling > 0:
            cooling, wait = cooling - 1, 0
        if best is None or value < best:
            best, wait = value, 0
        elif cooling == 0:
            wait += 1
            if wait >= patience and lr > min_lr:
                lr, cooling, wait = max(lr * factor, min_lr), cooldown, 0
    return used


# %% mistake: once on a plateau, every epoch cuts
"""After a cut you do not set the wait back, so every further epoch cuts again. The new
rate gets `patience` epochs of its own."""


def simulate_plateau(
    values, lr, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0
):
    used, best, wait, cooling = [], None, 0, 0
    for value in values:
        used.append(lr)
        if cooling > 0:
            cooling, wait = cooling - 1, 0
        if best is None or value < best - min_delta:
            best, wait = value, 0
        elif cooling == 0:
            wait += 1
            if wait >= patience and lr > min_lr:
                lr, cooling = max(lr * factor, min_lr), cooldown
    return used


# %% [markdown]
# ## Which rate to begin with
#
# All plans start from a number, and most people copy it. A **range test** measures it:
# train on a few batches while the rate grows from far too small to far too large, and
# look at the loss of each batch. Below it is done by hand, with `train_on_batch`. The
# rates are equally far apart on a logarithmic scale: each is the one before times the
# same factor.

# %%
# rows: X11
keras.utils.set_random_seed(1)
model = digit_model(keras.optimizers.SGD())
tried, seen = np.geomspace(1e-3, 10, 80), []
for k, rate in enumerate(tried):
    model.optimizer.learning_rate = rate
    batch = np.arange(32 * k, 32 * k + 32) % len(x_train)
    model.reset_metrics()
    seen.append(float(model.train_on_batch(x_train[batch], y_train[batch])))
running = np.cumsum(seen) / np.arange(1, 81)
plots.range_test(tried, seen, running)

# %% [markdown]
# Left: too small, nothing happens. Then the loss falls, and beyond the lowest point the
# steps are too long and it jumps up. A good start is about a tenth of the rate where it
# is lowest, where it falls steeply. The dashed line is the running mean, as `logs`
# would tell it: the valley is shallow, and in the wrong place.
#
# **Try it.** The same with `keras.optimizers.Adam()`. Where will the valley be? Predict
# first.
#
# <details><summary>What you get</summary>
#
# Much further left. Adam's steps are about as long as its rate, however small the
# gradient: 0.01 is large for Adam and small for SGD.
#
# </details>

# %% [markdown]
# ### Exercise: a range test as a callback
#
# Write the callback `LRFinder(lo, hi, steps)`. Batch k of the training, counted from 0
# over all epochs, uses the rate `lo * (hi / lo) ** (k / (steps - 1))`; `steps` is at
# least 2. After `steps` batches the training stops, also in the middle of an epoch.
# Afterwards
#
# - `learning_rates` and `losses` are lists of `steps` floats: what each batch used, and
#   its true loss. All batches have the same number of rows.
# - the model has its old weights again, and the optimizer its old learning rate.
#
# One object serves several trainings, each of which begins its lists anew. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# The rate must be there before the batch is: in which hook do you set it, and in which
# one do you learn the loss?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `self.model.get_weights()` gives copies; `float(optimizer.learning_rate)` a number.
# Put both back in `on_train_end`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# With equal batches, the loss of batch `b` of an epoch is `(b + 1) * now - b * before`:
# `logs["loss"]` in this hook and in the one before. `b` is the number that the hook is
# told; your own k goes on over epochs.
#
# </details>


# %% exercise: LRFinder
class LRFinder(keras.callbacks.Callback):
    """Lets the rate grow from `lo` to `hi` in `steps` batches and notes the losses."""

    def __init__(self, lo, hi, steps):
        ### BEGIN SOLUTION
        super().__init__()
        self.rates = [lo * (hi / lo) ** (k / (steps - 1)) for k in range(steps)]

    def on_train_begin(self, logs=None):
        self.learning_rates, self.losses = [], []
        self.weights = self.model.get_weights()
        self.rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_begin(self, batch, logs=None):
        self.learning_rates.append(self.rates[len(self.losses)])
        self.model.optimizer.learning_rate = self.learning_rates[-1]

    def on_train_batch_end(self, batch, logs=None):
        loss = logs["loss"]
        before = self.mean if batch > 0 else 0.0
        self.losses.append((batch + 1) * loss - batch * before)
        self.mean = loss
        if len(self.losses) == len(self.rates):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)
        self.model.optimizer.learning_rate = self.rate

    ### END SOLUTION


# %% check: LRFinder, 3 points
def evidence(LRFinder, rng):
    lo, hi = float(rng.uniform(1e-4, 1e-3)), float(rng.uniform(0.05, 0.2))
    batches = int(rng.integers(3, 5))
    steps = batches + int(rng.integers(1, batches))  # ends within an epoch
    start, rate = rng.uniform(1, 2, (1, 1)), float(rng.uniform(0.2, 0.9))
    x = rng.uniform(0.5, 2, (2 * batches, 1)).astype("float32")
    y = (rng.normal(size=x.shape) - 2 * x).astype("float32")
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    model = stand_in(rate)
    model.set_weights([start])
    finder = LRFinder(lo, hi, steps)
    given = {"lo": lo, "hi": hi, "steps": steps, "batches in an epoch": batches}
    seen = []
    spy = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(batch)
    )
    run = {"epochs": 9, "shuffle": False, "verbose": 0, "callbacks": [finder, spy]}
    trained = model.fit(rows, **run)
    yield "learning_rates", lambda: [float(r) for r in finder.learning_rates], given
    yield "losses", lambda: [float(loss) for loss in finder.losses], given
    ran = {"steps": len(seen), "epochs": len(trained.epoch)}
    ran["last loss in the history"] = trained.history["loss"][-1]
    yield "steps and epochs that ran, and the last mean", ran, given
    yield "the weights afterwards", model.get_weights()[0], given
    yield "the rate afterwards", float(model.optimizer.learning_rate), given

    def again():
        model.fit(rows, **run)
        return [float(loss) for loss in finder.losses]

    yield "losses of a second training, one object", again, given


check("06/LRFinder", evidence)

# %% mistake: rates grow by the same amount
"""You add the same amount each time. Then nearly all rates are close to `hi`. They
should grow by the same **factor**: `lo * (hi / lo) ** (k / (steps - 1))`."""


class LRFinder(keras.callbacks.Callback):
    def __init__(self, lo, hi, steps):
        super().__init__()
        self.rates = [lo + (hi - lo) * k / (steps - 1) for k in range(steps)]

    def on_train_begin(self, logs=None):
        self.learning_rates, self.losses = [], []
        self.weights = self.model.get_weights()
        self.rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_begin(self, batch, logs=None):
        self.learning_rates.append(self.rates[len(self.losses)])
        self.model.optimizer.learning_rate = self.learning_rates[-1]

    def on_train_batch_end(self, batch, logs=None):
        before = self.mean if batch > 0 else 0.0
        self.losses.append((batch + 1) * logs["loss"] - batch * before)
        self.mean = logs["loss"]
        if len(self.losses) == len(self.rates):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)
        self.model.optimizer.learning_rate = self.rate


# %% mistake: logs hold the loss of the batch
"""You store running means. They react late, and the valley seems to lie at far too
large rates. Take the batch's own loss: `(b + 1) * now - b * before`."""


class LRFinder(keras.callbacks.Callback):
    def __init__(self, lo, hi, steps):
        super().__init__()
        self.rates = [lo * (hi / lo) ** (k / (steps - 1)) for k in range(steps)]

    def on_train_begin(self, logs=None):
        self.learning_rates, self.losses = [], []
        self.weights = self.model.get_weights()
        self.rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_begin(self, batch, logs=None):
        self.learning_rates.append(self.rates[len(self.losses)])
        self.model.optimizer.learning_rate = self.learning_rates[-1]

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])
        if len(self.losses) == len(self.rates):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)
        self.model.optimizer.learning_rate = self.rate


# %% mistake: the rate is called lr
"""`optimizer.lr` is a new attribute that nobody reads: all batches used the old rate.
The name is `optimizer.learning_rate`."""


class LRFinder(keras.callbacks.Callback):
    def __init__(self, lo, hi, steps):
        super().__init__()
        self.rates = [lo * (hi / lo) ** (k / (steps - 1)) for k in range(steps)]

    def on_train_begin(self, logs=None):
        self.learning_rates, self.losses = [], []
        self.weights = self.model.get_weights()

    def on_train_batch_begin(self, batch, logs=None):
        self.learning_rates.append(self.rates[len(self.losses)])
        self.model.optimizer.lr = self.learning_rates[-1]

    def on_train_batch_end(self, batch, logs=None):
        before = self.mean if batch > 0 else 0.0
        self.losses.append((batch + 1) * logs["loss"] - batch * before)
        self.mean = logs["loss"]
        if len(self.losses) == len(self.rates):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)


# %% mistake: a rate set after the batch is used by it
"""You set the rate in `on_train_batch_end`, when the batch has used the one before. Set
it in `on_train_batch_begin`."""


class LRFinder(keras.callbacks.Callback):
    def __init__(self, lo, hi, steps):
        super().__init__()
        self.rates = [lo * (hi / lo) ** (k / (steps - 1)) for k in range(steps)]

    def on_train_begin(self, logs=None):
        self.learning_rates, self.losses = [], []
        self.weights = self.model.get_weights()
        self.rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_end(self, batch, logs=None):
        before = self.mean if batch > 0 else 0.0
        self.learning_rates.append(self.rates[len(self.losses)])
        self.model.optimizer.learning_rate = self.learning_rates[-1]
        self.losses.append((batch + 1) * logs["loss"] - batch * before)
        self.mean = logs["loss"]
        if len(self.losses) == len(self.rates):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)
        self.model.optimizer.learning_rate = self.rate


# %% mistake: a test leaves no trace
"""You do not put the weights back. The last steps were far too long on purpose, and the
model that is left is broken: keep `get_weights()` and set them in `on_train_end`."""


class LRFinder(keras.callbacks.Callback):
    def __init__(self, lo, hi, steps):
        super().__init__()
        self.rates = [lo * (hi / lo) ** (k / (steps - 1)) for k in range(steps)]

    def on_train_begin(self, logs=None):
        self.learning_rates, self.losses = [], []
        self.rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_begin(self, batch, logs=None):
        self.learning_rates.append(self.rates[len(self.losses)])
        self.model.optimizer.learning_rate = self.learning_rates[-1]

    def on_train_batch_end(self, batch, logs=None):
        before = self.mean if batch > 0 else 0.0
        self.losses.append((batch + 1) * logs["loss"] - batch * before)
        self.mean = logs["loss"]
        if len(self.losses) == len(self.rates):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.optimizer.learning_rate = self.rate


# %% mistake: the next fit sets its own rate
"""You leave the optimizer at `hi`, and the next `fit` starts with that. Put the rate
back: its number. Who keeps `optimizer.learning_rate` itself keeps a variable, which
changes along."""


class LRFinder(keras.callbacks.Callback):
    def __init__(self, lo, hi, steps):
        super().__init__()
        self.rates = [lo * (hi / lo) ** (k / (steps - 1)) for k in range(steps)]

    def on_train_begin(self, logs=None):
        self.learning_rates, self.losses = [], []
        self.weights = self.model.get_weights()

    def on_train_batch_begin(self, batch, logs=None):
        self.learning_rates.append(self.rates[len(self.losses)])
        self.model.optimizer.learning_rate = self.learning_rates[-1]

    def on_train_batch_end(self, batch, logs=None):
        before = self.mean if batch > 0 else 0.0
        self.losses.append((batch + 1) * logs["loss"] - batch * before)
        self.mean = logs["loss"]
        if len(self.losses) == len(self.rates):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)


# %% mistake: the list keeps what the rate was
"""You put `optimizer.learning_rate` itself into the list. It is a variable, so the list
holds the same one `steps` times, and all of them show what it is now. Note its number:
`float(optimizer.learning_rate)`."""


class LRFinder(keras.callbacks.Callback):
    def __init__(self, lo, hi, steps):
        super().__init__()
        self.rates = [lo * (hi / lo) ** (k / (steps - 1)) for k in range(steps)]

    def on_train_begin(self, logs=None):
        self.learning_rates, self.losses = [], []
        self.weights = self.model.get_weights()
        self.rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.rates[len(self.losses)]
        self.learning_rates.append(self.model.optimizer.learning_rate)

    def on_train_batch_end(self, batch, logs=None):
        before = self.mean if batch > 0 else 0.0
        self.losses.append((batch + 1) * logs["loss"] - batch * before)
        self.mean = logs["loss"]
        if len(self.losses) == len(self.rates):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)
        self.model.optimizer.learning_rate = self.rate


# %% mistake: the learning rate of an optimizer is a number
"""`optimizer.learning_rate` is a variable. You keep it in the list and for the end, and
both change along with it: all show the last rate, and nothing is put back. Take its
number each time: `float(optimizer.learning_rate)`."""


class LRFinder(keras.callbacks.Callback):
    def __init__(self, lo, hi, steps):
        super().__init__()
        self.rates = [lo * (hi / lo) ** (k / (steps - 1)) for k in range(steps)]

    def on_train_begin(self, logs=None):
        self.learning_rates, self.losses = [], []
        self.weights = self.model.get_weights()
        self.rate = self.model.optimizer.learning_rate

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.rates[len(self.losses)]
        self.learning_rates.append(self.model.optimizer.learning_rate)

    def on_train_batch_end(self, batch, logs=None):
        before = self.mean if batch > 0 else 0.0
        self.losses.append((batch + 1) * logs["loss"] - batch * before)
        self.mean = logs["loss"]
        if len(self.losses) == len(self.rates):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)
        self.model.optimizer.learning_rate = self.rate


# %% mistake: a variable that was kept still holds the old rate
"""You keep `optimizer.learning_rate` for the end. It is a variable and changes along:
to put it back changes nothing, and the rate stays at the one that you set after the
last batch. Keep its number: `float(optimizer.learning_rate)`."""


class LRFinder(keras.callbacks.Callback):
    def __init__(self, lo, hi, steps):
        super().__init__()
        self.lo, self.factor = lo, (hi / lo) ** (1 / (steps - 1))
        self.steps = steps

    def on_train_begin(self, logs=None):
        self.learning_rates, self.losses = [], []
        self.weights = self.model.get_weights()
        self.rate = self.model.optimizer.learning_rate
        self.model.optimizer.learning_rate = self.lo

    def on_train_batch_end(self, batch, logs=None):
        before = self.mean if batch > 0 else 0.0
        self.losses.append((batch + 1) * logs["loss"] - batch * before)
        self.mean = logs["loss"]
        self.learning_rates.append(self.lo * self.factor ** (len(self.losses) - 1))
        self.model.optimizer.learning_rate = self.learning_rates[-1] * self.factor
        if len(self.losses) == self.steps:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)
        self.model.optimizer.learning_rate = self.rate


# %% mistake: the epoch must be finished
"""You stop at the end of the epoch, and batches run beyond `hi`. `stop_training` works
in batch hooks, too."""


class LRFinder(keras.callbacks.Callback):
    def __init__(self, lo, hi, steps):
        super().__init__()
        self.lo, self.hi, self.steps = lo, hi, steps

    def on_train_begin(self, logs=None):
        self.learning_rates, self.losses = [], []
        self.weights = self.model.get_weights()
        self.rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_begin(self, batch, logs=None):
        share = len(self.losses) / (self.steps - 1)
        self.learning_rates.append(self.lo * (self.hi / self.lo) ** share)
        self.model.optimizer.learning_rate = self.learning_rates[-1]

    def on_train_batch_end(self, batch, logs=None):
        before = self.mean if batch > 0 else 0.0
        self.losses.append((batch + 1) * logs["loss"] - batch * before)
        self.mean = logs["loss"]

    def on_epoch_end(self, epoch, logs=None):
        if len(self.losses) >= self.steps:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)
        self.model.optimizer.learning_rate = self.rate


# %% mistake: a range test is made once
"""Your lists are made when the object is made, so a second `fit` goes on where the one
before it ended. What belongs to one training starts in `on_train_begin`."""


class LRFinder(keras.callbacks.Callback):
    def __init__(self, lo, hi, steps):
        super().__init__()
        self.lo, self.hi, self.steps = lo, hi, steps
        self.learning_rates, self.losses = [], []

    def on_train_begin(self, logs=None):
        self.weights = self.model.get_weights()
        self.rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_begin(self, batch, logs=None):
        share = len(self.losses) / (self.steps - 1)
        self.learning_rates.append(self.lo * (self.hi / self.lo) ** share)
        self.model.optimizer.learning_rate = self.learning_rates[-1]

    def on_train_batch_end(self, batch, logs=None):
        before = self.mean if batch > 0 else 0.0
        self.losses.append((batch + 1) * logs["loss"] - batch * before)
        self.mean = logs["loss"]
        if len(self.losses) == self.steps:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)
        self.model.optimizer.learning_rate = self.rate


# %% mistake: the running mean runs on over epochs
"""You undo the running mean with the number of all batches so far. It starts anew with
each epoch: use the number that the hook is told."""


class LRFinder(keras.callbacks.Callback):
    def __init__(self, lo, hi, steps):
        super().__init__()
        self.rates = [lo * (hi / lo) ** (k / (steps - 1)) for k in range(steps)]

    def on_train_begin(self, logs=None):
        self.learning_rates, self.losses, self.mean = [], [], 0.0
        self.weights = self.model.get_weights()
        self.rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_begin(self, batch, logs=None):
        self.learning_rates.append(self.rates[len(self.losses)])
        self.model.optimizer.learning_rate = self.learning_rates[-1]

    def on_train_batch_end(self, batch, logs=None):
        k = len(self.losses)
        self.losses.append((k + 1) * logs["loss"] - k * self.mean)
        self.mean = logs["loss"]
        if len(self.losses) == len(self.rates):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)
        self.model.optimizer.learning_rate = self.rate


# %% [markdown]
# ## Before the night: a run of seconds
#
# A typo in a callback shows when its hook is first called, maybe after hours. Two
# switches cut every training short, without touching your code. Habit: one run with
# them first; `None` switches them off again.

# %%
# rows: X12
keras.config.set_max_epochs(2)
keras.config.set_max_steps_per_epoch(1)
model = stand_in()
run = {"batch_size": 1, "epochs": 50, "verbose": 0}
print("epochs:", outcome(lambda: len(model.fit(*four_rows, **run).epoch)))
print("steps: ", int(model.optimizer.iterations))
keras.config.set_max_epochs(None)
keras.config.set_max_steps_per_epoch(None)

# %% [markdown]
# ## Weights that are averaged
#
# Weights jump about from batch to batch; their average is often better. With
# `use_ema=True` the optimizer keeps a moving average beside them, and puts it in when
# `fit` ends. Validation during the training still uses the jumping weights, unless
# `SwapEMAWeights` swaps the average in for it. So which `val_loss` decides when you
# stop?


# %%
# rows: K18
def last_val_loss(*callbacks, use_ema=True):
    model = line_model()
    optimizer = keras.optimizers.SGD(0.9, use_ema=use_ema, ema_momentum=0.9)
    model.compile(optimizer, "mse")
    run = {"validation_data": jumpy, "callbacks": list(callbacks), "verbose": 0}
    history = model.fit(jumpy, epochs=10, shuffle=False, **run).history
    after = model.evaluate(jumpy, verbose=0)
    return f"val_loss {history['val_loss'][-1]:.4f}, after fit {after:.4f}"


noisy = data.make_line(12, slope=3.0, intercept=0.0, noise=0.8)
jumpy = tf.data.Dataset.from_tensor_slices(noisy).batch(2)
swap = keras.callbacks.SwapEMAWeights
print("no average:       ", last_val_loss(use_ema=False))
print("use_ema:          ", last_val_loss())
print("... and swapped:  ", last_val_loss(swap(swap_on_epoch=True)))
print("swap, no use_ema: ", outcome(lambda: last_val_loss(swap(), use_ema=False)))

# %% [markdown]
# Only with the swap does the logged `val_loss` belong to the weights that you will
# keep. Early stopping and checkpoints should see that one.
#
# ## What else Keras brings
#
# All that Keras brings, with the first line of what it says about itself.
# (`OrbaxCheckpoint` is new in Keras, and needs the package `orbax-checkpoint`.)

# %%
# rows: K13
for name in dir(keras.callbacks):
    if name[0].isupper():
        about = getattr(keras.callbacks, name).__doc__
        print(f"{name:22}", about.strip().splitlines()[0])

# %% [markdown]
# ## Extra: TensorBoard
#
# <!-- rows: K38, K39, K40, K41, K42 -->
# TensorBoard is a web page that draws logs while the training runs. What the callback
# writes with is the package `tensorboard`. Colab has it, elsewhere it takes `pip
# install tensorboard`. For the page, write `%load_ext tensorboard` and `%tensorboard
# --logdir logs` in a notebook, or `tensorboard --logdir logs` in a terminal. Give each
# training a folder of its own inside `logs`.
#
# | setting | writes, too |
# |---|---|
# | `histogram_freq=1` | histograms of the weights |
# | `write_images=True` | the weights as images |
# | `embeddings_freq=1` | embedding vectors |
# | `update_freq=2` | values every 2 batches |
# | `write_steps_per_second=True` | the speed |
# | `profile_batch=(3, 5)` | a profile of batches 3 to 5 |

# %% varies: it depends on whether tensorboard is installed
# rows: K37, K40
with tempfile.TemporaryDirectory() as folder:
    board = keras.callbacks.TensorBoard(folder, update_freq=2)
    run = {"validation_data": others, "callbacks": [board], "verbose": 0}
    print(outcome(lambda: len(digit_model("sgd").fit(*few, **run).epoch)))
    print(*sorted(path.parent.name for path in Path(folder).rglob("*.v2")))

# %% [markdown]
# <details><summary><b>If you meet this in older code</b></summary>
#
# | there | today | write |
# |---|---|---|
# | `ModelCheckpoint("model_{epoch}")` | ValueError | `"model_{epoch}.keras"` |
# | `ModelCheckpoint(..., period=5)` | TypeError | `save_freq`, in batches |
# | `model.save(folder)`, `save_format="tf"` | ValueError | `"m.keras"`, or `export` |
# | `save_weights("w")` | ValueError | `"w.weights.h5"` |
# | `optimizer.lr = 0.1` | no effect, no error | `optimizer.learning_rate = 0.1` |
# | `SGD(lr=0.1)` | ValueError | `SGD(learning_rate=0.1)` |
# | `SGD(0.1, decay=1e-3)` | ignored, a warning | `InverseTimeDecay` |
# | `history.history["lr"]` | KeyError | `"learning_rate"` |
# | `monitor="val_acc"` | never found | `"val_accuracy"` |
# | `callbacks.experimental.BackupAndRestore` | gone | `callbacks.BackupAndRestore` |
# | TensorBoard comes with TensorFlow | error in `fit` | `pip install tensorboard` |
#
# </details>

# %% [markdown]
# ### In your own words
#
# A colleague wants to train for 12 hours on a machine that may be restarted at any
# time. She plans: `EarlyStopping("val_loss", patience=5)`, a `CosineDecay` over all
# epochs, `ReduceLROnPlateau` for safety, and `model.save("model.keras")` after `fit`.
# Which two of these will hurt her, and how? What would you put into her list of
# callbacks, and what is lost after a restart all the same? Four or five sentences; your
# teacher reads them. 8 minutes.

# %% answer: plan_a_night, 2 points [markdown]
# `ReduceLROnPlateau` cannot set a rate that a schedule is in charge of: at the first
# plateau `fit` stops with a TypeError, hours later. Saving after `fit` never happens if
# the machine is restarted or the first error comes, and without `restore_best_weights`
# it would save the last epoch, not the best. I would take `ReduceLROnPlateau` out, and
# put in `BackupAndRestore` to go on after a restart, a `ModelCheckpoint` with
# `save_best_only=True` that writes `best.keras` during the training, and a `CSVLogger`
# with `append=True`. The schedule goes on rightly, since the optimizer's step is
# restored; the early stopping starts to wait from zero, and so does the checkpoint's
# idea of the best.

# %%
progress("06")

# %% [markdown]
# ## Six habits from this lesson
#
# | habit | because |
# |---|---|
# | monitor a key of `history.history` | a missing key is only a warning |
# | `restore_best_weights=True` | else the last weights stay |
# | what must survive is written in `on_epoch_end` | nothing runs after an exception |
# | `.keras`, or build the optimizer first | weights alone forget the optimizer |
# | schedules count steps | a plan in epochs is over at once |
# | one hand on the learning rate | schedule and callback collide in the night |

# %% [markdown]
# ## You can now
#
# - write a callback, and say what its hooks see and what they miss when `fit` breaks;
# - predict early stopping and plateaus, and keep the best model and the last on disk;
# - resume exactly, plan a learning rate in steps, and measure where to begin.
#
# Next: lesson 07, your own training loop with GradientTape.
