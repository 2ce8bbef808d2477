# %% [markdown]
# # Custom losses and metrics
#
# The number you care about is not in Keras' list. A delivery that comes too late costs
# you nine times as much as one that comes too early, and no built-in loss says so. You
# write your own, it runs, the curves fall, the values look right. Then you pass
# `sample_weight`, or change the batch size, or save the model, and they are not. Each
# part shows what quietly goes wrong, then you write the sound version.
#
# Eight exercises (31 points) and a question (2 points), about three and a half hours.
# After the exercise on rewarding doubt is a good place for a break. You need lesson 01.

# %%
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from helpers import data, plots
from helpers.checks import check, hint, progress, solution
from helpers.watch import measure, outcome

# %% [markdown]
# ## A loss is a function of two arrays
#
# `y_true` comes first, `y_pred` second, and **one number per row** comes back. Here a
# row is one parcel, the target is the minute it should arrive, the prediction the
# minute it will. Each minute late costs 9, each minute early costs 1.
#
# `ops` is Keras' own set of array functions; NumPy does not work inside `fit`.
# `measure` evaluates a model that returns its input: you choose the predictions, Keras
# only compares, and takes the mean over rows. You will meet it and the parcels again.
#
# In training, a loss acts by its **slope**: how hard each row pulls at the weights.
# Slopes are on the right of the picture.


# %%
# rows: C1
def parcel_cost(y_true, y_pred):
    late = ops.maximum(y_pred - y_true, 0.0)
    early = ops.maximum(y_true - y_pred, 0.0)
    return ops.mean(9 * late + early, axis=-1)


target = np.array([[10.0], [10.0], [10.0], [20.0]])
arrival = np.array([[10.0], [12.0], [7.0], [21.0]])
print("cost of each parcel:", ops.convert_to_numpy(parcel_cost(target, arrival)))
print("loss in Keras:      ", measure(parcel_cost, target, arrival)["loss"])

# %%
# rows: C1, B22
shown = {
    "squared": keras.losses.mean_squared_error,
    "Huber": keras.losses.huber,
    "parcel cost / 3": lambda y_true, y_pred: parcel_cost(y_true, y_pred) / 3,
}
plots.loss_shapes(shown)

# %% [markdown]
# Squared: the further off, the harder the pull, so a few outliers decide. Huber: from 1
# on the pull stays the same. Parcels: a late one pulls nine times as hard as an early
# one, so training learns to be a bit early.
#
# **Try it.** Change the 9 in `parcel_cost` to 1 and run both cells again. Which
# built-in loss do you get (up to the factor)? Predict first. Then change it back: later
# cells use it.
#
# <details><summary>What you get</summary>
#
# Late and early cost the same: the mean absolute error, `"mae"`. Its pull is the same
# for all errors, however large.
#
# </details>
#
# Two slips make a loss that runs and teaches nothing. Without `abs` or a square, errors
# cancel. And with the two arguments swapped, some losses change and some do not.

# %%
# rows: C2
one_hot, softmax = np.eye(3)[[0, 2, 1, 1]], np.full((4, 3), 1 / 3)


def signed(y_true, y_pred):
    return ops.mean(y_true - y_pred, axis=-1)


for name, outputs in {"a guess": softmax, "perfect": one_hot}.items():
    value = abs(measure(signed, one_hot, outputs)["loss"])
    print(f"signed loss of {name}: {value:.4f}")
yes, unsure = np.array([[1.0]]), np.array([[0.3]])
for name in ("mse", "binary_crossentropy"):
    loss = keras.losses.get(name)
    right, swapped = float(loss(yes, unsure)[0]), float(loss(unsure, yes)[0])
    print(f"{name:20} {right:.2f}, swapped {swapped:.2f}")

# %% [markdown]
# Each row of `one_hot` and of `softmax` sums to 1, so the signed mean is 0 for *any*
# weights of the model: there is no slope. And a test with `mse` never shows that you
# swapped the arguments. Habit: test a loss with numbers whose result you know, and with
# an asymmetric one.
#
# ## Why one number per row
#
# Many examples end with `ops.mean(...)` over everything. Without weights you cannot see
# the difference. Here the last parcel has weight 0: it must not count at all.


# %%
# rows: C3
def per_row(y_true, y_pred):
    return ops.mean(ops.square(y_true - y_pred), axis=-1)


def one_number(y_true, y_pred):
    return ops.mean(ops.square(y_true - y_pred))  # over everything


actual, guess = np.zeros((4, 1)), np.array([[1.0], [2.0], [0.5], [3.0]])
weights = np.array([3.0, 1.0, 2.0, 0.0])
for loss in (per_row, one_number):
    plain = measure(loss, actual, guess)["loss"]
    weighted = measure(loss, actual, guess, weights)["loss"]
    print(f"{loss.__name__:10} plain {plain:.4f}, weighted {weighted:.4f}")

# %%
# rows: C3
squares = (guess**2).ravel()
shares = {
    "one value per row": squares * weights / 4,
    "one number": squares * weights.mean() / 4,
}
title = "With one number, weights no longer know their rows"
plots.paired_bars(range(1, 5), shares, title, "row", "what the row adds to the loss")

# %% [markdown]
# Keras multiplies what you return by the weights, and then averages. It got one number,
# so it could only compute mean(error) · mean(weight): row 4, the one with weight 0, has
# the longest bar and pulls hardest. Habit: reduce over `axis=-1` only; the mean over
# rows belongs to Keras.
#
# Two more habits concern *how* you compute. `fit` records (traces) your function once,
# with placeholders instead of numbers. NumPy and `if` cannot look inside and stop (the
# first two lines below), so use `ops.where` and friends. And `log(0)` is minus
# infinity: after one such row all weights are NaN. Built-in losses clip what goes into
# a logarithm.


# %%
def with_numpy(y_true, y_pred):
    return np.mean(np.abs(y_true - y_pred), axis=-1)


def with_if(y_true, y_pred):
    return y_true - y_pred if y_true > y_pred else y_pred - y_true


def naive_log(y_true, y_pred):
    return -ops.mean(y_true * ops.log(y_pred), axis=-1)


for loss in (with_numpy, with_if):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss)
    print(f"{loss.__name__}:", outcome(lambda: model.fit(target, target)).split(":")[0])
sure_and_wrong = np.array([[0.0]])
print("log(0):  ", measure(naive_log, yes, sure_and_wrong)["loss"])
built_in = measure("binary_crossentropy", yes, sure_and_wrong)["loss"]
print(f"built-in: {built_in:.2f}")

# %% [markdown]
# ### Exercise: a loss for quantiles
#
# You promise a delivery time that should hold in 90 % of all cases. Now a prediction
# that is too **low** costs more. Write `quantile_loss(q)`: it returns a loss function
# `fn(y_true, y_pred)` for arrays `(n, d)`. With `error = y_true - y_pred`, a number
# costs `q * error` where the prediction is too low, and `(1 - q) * (-error)` where it
# is too high. The loss of a row is the mean over its `d` numbers: `fn` returns `(n,)`.
# It works inside `fit`, beside others with another `q`. For `q = 0.9`, `[[3.0, 1.0]]`
# predicted as `[[1.0, 2.0]]` costs `(0.9 * 2 + 0.1 * 1) / 2`, `[0.95]`. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# A function may define a function inside and return it; the inner one still knows `q`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# You need no `if`. Of the two straight lines `q * error` and `(q - 1) * error`, the
# cost is always the higher one.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Inside: `ops.mean(ops.maximum(q * error, (q - 1) * error), axis=-1)`.
#
# </details>


# %% exercise: quantile_loss
def quantile_loss(q):
    """A loss function for the q-quantile: (n, d), (n, d) -> (n,)."""
    ### BEGIN SOLUTION

    def loss(y_true, y_pred):
        error = y_true - y_pred
        return ops.mean(ops.maximum(q * error, (q - 1) * error), axis=-1)

    return loss
    ### END SOLUTION


# %% check: quantile_loss, 3 points
def evidence(quantile_loss, rng):
    n, d = int(rng.integers(6, 9)), int(rng.integers(2, 5))
    low, high = float(rng.uniform(0.05, 0.3)), float(rng.uniform(0.7, 0.95))
    y, p = ops.convert_to_tensor(rng.normal(size=(2, n, d)).astype("float32"))
    weights = rng.uniform(0, 3, n).astype("float32") * (np.arange(n) > 1)
    first, second = quantile_loss(low), quantile_loss(high)

    def in_model(loss, **settings):
        model = keras.Sequential([keras.Input((d,)), keras.layers.Identity()])
        model.compile("sgd", loss, run_eagerly=True)
        return model.compute_loss(y=y, y_pred=p, **settings)

    def slope():
        with tf.GradientTape() as tape:
            tape.watch(p)
            total = ops.sum(second(y, p))
        return tape.gradient(total, p)

    given = {"q": [low, high], "rows": n, "numbers in a row": d}
    yield "one value per row", lambda: first(y, p), given
    yield "two losses at once", lambda: [first(y, p), second(y, p)], given
    yield "loss of a model: the mean over the rows", lambda: in_model(second), given
    weighted = {"sample_weight": weights}
    label = "loss of a model: rows count by weight"
    yield label, lambda: in_model(second, **weighted), {**given, **weighted}
    yield "one number in a row", lambda: second(y[:, :1], p[:, :1]), given
    yield "the slope at each prediction", slope, given
    graph = tf.function(lambda *both: second(*both), autograph=False)
    yield "in a tf.function, as in fit", lambda: graph(y, p), given


check("02/quantile_loss", evidence)

# %% mistake: a loss returns one number
"""You average over everything and return a single number. Without weights it is the
same value; with `sample_weight`, Keras can only multiply it by the mean weight, and
rows of weight 0 still pull. Return one value per row: reduce over `axis=-1` only."""


def quantile_loss(q):
    def loss(y_true, y_pred):
        error = y_true - y_pred
        return ops.mean(ops.maximum(q * error, (q - 1) * error))

    return loss


# %% mistake: y_pred comes first
"""Your error has the other sign: too low and too high are exchanged, and you train the
quantile 1 - q. Either your loss takes `(y_pred, y_true)`, where Keras passes
`(y_true, y_pred)`, or you subtract the wrong way round."""


def quantile_loss(q):
    def loss(y_pred, y_true):
        error = y_true - y_pred
        return ops.mean(ops.maximum(q * error, (q - 1) * error), axis=-1)

    return loss


# %% mistake: NumPy works inside a loss
"""The values are right, but NumPy steps out of Keras' world: in `fit` it meets
placeholders and stops, and the slope gets lost. Use `ops.maximum` and `ops.mean`."""


def quantile_loss(q):
    def loss(y_true, y_pred):
        error = y_true - y_pred
        return np.mean(np.maximum(q * error, (q - 1) * error), axis=-1)

    return loss


# %% mistake: np.where chooses inside a loss
"""`np.where` needs numbers. In `fit` your loss meets placeholders and stops, and the
slope gets lost. `ops.where` takes the same arguments; NumPy's `mean` is `ops.mean`."""


def quantile_loss(q):
    def loss(y_true, y_pred):
        error = y_true - y_pred
        return np.mean(np.where(error > 0, q * error, (q - 1) * error), axis=-1)

    return loss


# %% mistake: a tensor in a loss has .numpy()
"""Outside of `fit` the tensor has numbers, and `.numpy()` works. Inside, your code is
recorded with placeholders that have none, and the slope gets lost on the way. Use `ops`
from beginning to end."""


def quantile_loss(q):
    def loss(y_true, y_pred):
        error = (y_true - y_pred).numpy()
        return np.maximum(q * error, (q - 1) * error).mean(axis=-1)

    return loss


# %% mistake: the setting is one more argument of the loss
"""Keras calls a loss with `(y_true, y_pred)` and nothing else. So `quantile_loss` takes
`q` alone, and returns a function of these two that remembers it."""


def quantile_loss(y_true, y_pred, q=0.9):
    error = y_true - y_pred
    return ops.mean(ops.maximum(q * error, (q - 1) * error), axis=-1)


# %% mistake: `if` looks at each number
"""`if error > 0` asks one question about a whole array. To choose for each number, use
`ops.where(error > 0, ..., ...)` or `ops.maximum`."""


def quantile_loss(q):
    def loss(y_true, y_pred):
        error = y_true - y_pred
        if error > 0:
            return ops.mean(q * error, axis=-1)
        return ops.mean((q - 1) * error, axis=-1)

    return loss


# %% mistake: the numbers of a row are added up
"""You add the numbers of a row. Then a model with more outputs has a larger loss and
takes larger steps. Take their mean."""


def quantile_loss(q):
    def loss(y_true, y_pred):
        error = y_true - y_pred
        return ops.sum(ops.maximum(q * error, (q - 1) * error), axis=-1)

    return loss


# %% mistake: q may live outside of the function
"""Your losses share one `q`: making a second loss changes the first. Let the inner
function use the argument `q` of its own call."""
shared = {}


def quantile_loss(q):
    shared["q"] = q

    def loss(y_true, y_pred):
        error = y_true - y_pred
        both = shared["q"] * error, (shared["q"] - 1) * error
        return ops.mean(ops.maximum(*both), axis=-1)

    return loss


# %% mistake: q multiplies the absolute error
"""You weigh both directions with `q`, so this is the absolute error, scaled, and
training finds the median. Too high must cost `1 - q`."""


def quantile_loss(q):
    def loss(y_true, y_pred):
        return q * ops.mean(ops.abs(y_true - y_pred), axis=-1)

    return loss


# %% mistake: rows lie along axis -1
"""You average over the rows (axis 0) and keep the outputs. It is the other way round:
one value per row is left when you reduce the last axis."""


def quantile_loss(q):
    def loss(y_true, y_pred):
        error = y_true - y_pred
        return ops.mean(ops.maximum(q * error, (q - 1) * error), axis=0)

    return loss


# %% [markdown]
# ## A loss with settings is a class
#
# A function is enough until you want settings that are saved with the model. Then
# subclass `keras.losses.Loss` and write `call`: it is your function from before, one
# value per row. `__init__` begins with `super().__init__`, which takes the name and the
# reduction; `get_config` lists your settings.
#
# Below, the targets come as `(4, 1)` and as `(4,)`, to the function from before, to the
# same function as a metric, and to the class. Predict: does the shape matter?


# %%
# rows: C1, C4
class ParcelCost(keras.losses.Loss):
    def __init__(self, late=9.0, **kwargs):
        super().__init__(**kwargs)
        self.late = late

    def call(self, y_true, y_pred):
        late = self.late * ops.maximum(y_pred - y_true, 0.0)
        return ops.mean(late + ops.maximum(y_true - y_pred, 0.0), axis=-1)

    def get_config(self):
        return {**super().get_config(), "late": self.late}


for name, targets in {"(4, 1)": target, "(4,)  ": target[:, 0]}.items():
    function = measure(parcel_cost, targets, arrival, metrics=[parcel_cost])
    print(f"targets {name}: function {function['loss']}, ", end="")
    print(f"as metric {function['parcel_cost']}, ", end="")
    print(f"class {measure(ParcelCost(), targets, arrival)['loss']}")

# %% [markdown]
# Same rows, two numbers! Keras turns flat targets into a column for a loss *function*,
# not for a subclass, and not for a metric function. `(4,)` minus `(4, 1)` is a
# 4 x 4 table, every prediction against every target, and no error tells you. Inside
# `call`, `ops.reshape(y_true, ops.shape(y_pred))` mends it.
#
# Two other slips do stop, with messages that do not name the reason: below, the first
# class forgets `super().__init__()`, the second replaces `__call__`, where Keras
# applies weights and reduction. Yours is `call`.


# %%
# rows: C5
class NoSuper(keras.losses.Loss):
    def __init__(self, late):
        self.late = late

    def call(self, y_true, y_pred):
        return parcel_cost(y_true, y_pred)


class DoubleUnderscore(keras.losses.Loss):
    def __call__(self, y_true, y_pred):
        return parcel_cost(y_true, y_pred)


for loss in (NoSuper(9.0), DoubleUnderscore()):
    print(outcome(lambda: measure(loss, target, arrival)))

# %% [markdown]
# The **reduction** says how the values of the rows become one number. First column:
# squared errors of 1 and 4 with weights 1 and 3. The default divides by the number of
# **rows**, (1 + 12) / 2, not by the sum of the weights as `mean_with_sample_weight`
# does.
#
# The other columns show training: the logged loss, and the step of one update with a
# tiny learning rate, for 8 rows in the batch.

# %%
# rows: C6, C7
two_rows = np.zeros((2, 1)), np.array([[1.0], [2.0]]), np.array([1.0, 3.0])
x8, y8 = np.ones((8, 1)), np.arange(8.0)
for reduction in ("sum_over_batch_size", "sum", "mean_with_sample_weight", "none"):
    loss = keras.losses.MeanSquaredError(reduction=reduction)
    value = ops.convert_to_numpy(loss(*two_rows)).tolist()
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(keras.optimizers.SGD(0.001), loss, run_eagerly=True)
    logged = model.fit(x8, y8, 8, shuffle=False, verbose=0).history["loss"][0]
    step = model.get_weights()[0].item()
    print(f"{reduction:23} {value!s:11} logged {logged:5.1f}, step {step:.3f}")

# %% [markdown]
# ### Quiz: the quiet reduction
#
# Look at the last line of the table. Your loss has `reduction="none"`, the batch size
# is 8. You double the batch size and keep the learning rate. What happens to the
# update?
#
# <details><summary>A. Nothing: the logged loss is a mean, so the update is</summary>
#
# No: the log shows the mean, but the gradient is taken of a vector, and that is the
# gradient of its **sum**.
#
# </details>
# <details><summary>B. It becomes about twice as large</summary>
#
# Right: with `"none"` and with `"sum"` the step grows with the number of rows in the
# batch. You would have to halve the learning rate. With `"none"` the log even hides it.
#
# </details>
# <details><summary>C. Training stops: a loss must be one number</summary>
#
# No: it runs, and this is why it is dangerous.
#
# </details>

# %% [markdown]
# One more trap: numbers that **change during training**. `fit` records your Python code
# once. A Python number becomes a constant of the recording; a `keras.Variable` is
# looked up each time. Habit: what should change while a model trains is a
# `keras.Variable`, changed by `assign`.

# %%
# rows: X5
for late in (9.0, keras.Variable(9.0)):
    loss = ParcelCost()
    loss.late = late
    model = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    model.compile("sgd", loss)
    before = model.evaluate(arrival, target, verbose=0)
    if isinstance(late, float):
        loss.late = 900.0
    else:
        late.assign(900.0)
    after = model.evaluate(arrival, target, verbose=0)
    print(f"{type(late).__name__:8} {before:.2f}, then {after:.2f}")

# %% [markdown]
# Last, **saving**. A saved model notes the name of your class and its `get_config()`.
# Loading needs the class back, as `custom_objects` or by the decorator
# `@keras.saving.register_keras_serializable()`. Whoever does not have the class can
# load with `compile=False`, to predict only.

# %%
# rows: C12
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile("sgd", ParcelCost(late=3.0))
load = keras.models.load_model
known = {"ParcelCost": ParcelCost}
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "parcels.keras"
    model.save(path)
    print("class unknown:", outcome(lambda: load(path)))
    again = load(path, custom_objects=known)
    to_predict = load(path, compile=False)
losses = [m.evaluate(arrival, target, verbose=0) for m in (model, again)]
print("same loss:    ", np.isclose(*losses))
print("compiled?     ", to_predict.compiled)

# %% [markdown]
# ### Exercise: a smooth absolute error
#
# Write the class `SmoothL1`, the absolute error with a rounded tip. An error of size
# `a` costs `a² / (2 delta)` up to `delta`, and `a - delta / 2` beyond (Keras' Huber is
# `delta` times this). The loss of a row is the mean over its numbers: `call` returns
# `(n,)`.
#
# - `SmoothL1(delta=1.0)` also takes `reduction` and `name` as every Keras loss does.
# - Targets `(n,)` with predictions `(n, 1)` are compared row by row.
# - Saved with a model and loaded again, it has the same settings, name included.
# - It works inside `fit`.
#
# With `delta=1.0`, `[[0.0, 0.0]]` predicted as `[[0.5, 3.0]]` costs
# `(0.125 + 2.5) / 2 = [1.3125]`. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# Collect what you do not know in `**kwargs` and hand it to `super().__init__`.
# `super().get_config()` already lists it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# In `call`, bring the targets to the shape of the predictions first. `ops.where` takes
# a condition and two values.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `size = ops.abs(ops.reshape(y_true, ops.shape(y_pred)) - y_pred)`, then
# `ops.where(size
# <= self.delta, ..., ...)`, then the mean over `axis=-1`. The config is
# `{**super().get_config(), "delta": self.delta}`.
#
# </details>


# %% exercise: SmoothL1
class SmoothL1(keras.losses.Loss):
    """Absolute error, rounded below `delta`: (n, d), (n, d) -> (n,)."""

    def __init__(self, delta=1.0, **kwargs):
        ### BEGIN SOLUTION
        super().__init__(**kwargs)
        self.delta = delta
        ### END SOLUTION

    def call(self, y_true, y_pred):
        """One value per row."""
        ### BEGIN SOLUTION
        size = ops.abs(ops.reshape(y_true, ops.shape(y_pred)) - y_pred)
        square, line = size**2 / (2 * self.delta), size - self.delta / 2
        return ops.mean(ops.where(size <= self.delta, square, line), axis=-1)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}
        ### END SOLUTION


# %% check: SmoothL1, 4 points
def evidence(SmoothL1, rng):
    import json

    n, d = int(rng.integers(6, 9)), int(rng.integers(2, 5))
    deltas = [float(rng.uniform(0.3, 0.8)), float(rng.uniform(1.2, 2.0))]
    y, p = ops.convert_to_tensor(2 * rng.normal(size=(2, n, d)).astype("float32"))
    weights = rng.uniform(0.5, 3, n).astype("float32")
    one_by_one = y[:, 0], p[:, :1], weights

    def slope():
        loss = SmoothL1(delta=deltas[0])
        with tf.GradientTape() as tape:
            tape.watch(p)
            total = loss(y, p)
        return tape.gradient(total, p)

    def in_model():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
        model.compile("sgd", SmoothL1(delta=deltas[1]), run_eagerly=True)
        return model.compute_loss(y=y[:, 0], y_pred=p[:, :1], sample_weight=weights)

    def names(*losses):  # without the number that Keras puts at the end of its own
        return [one.name.rstrip("_0123456789") for one in losses]

    def loaded(**settings):
        saved = json.dumps(keras.losses.serialize(SmoothL1(**settings)))
        own = {"SmoothL1": SmoothL1}
        return keras.losses.deserialize(json.loads(saved), custom_objects=own)

    given = {"delta": deltas, "rows": n, "numbers in a row": d}
    for delta in deltas:
        name = "small" if delta < 1 else "large"
        loss = SmoothL1(delta=delta)
        yield f"one value per row, {name} delta", lambda: loss.call(y, p), given
    yield "delta left out", lambda: SmoothL1()(y, p), given
    yield "the slope at each prediction", slope, given
    yield "saved and loaded: delta", lambda: loaded(delta=deltas[0])(y, p), given
    both = {"delta": deltas[1], "reduction": "sum"}
    yield "saved and loaded: reduction", lambda: loaded(**both)(y, p), given
    named = {"name": "cost"}
    label = "its name, new and loaded"
    yield label, lambda: names(SmoothL1(**named), loaded(**named)), named
    given = {**given, "sample_weight": weights}
    yield "weighted mean of (n,) targets", lambda: loss(*one_by_one), given
    for reduction in ("none", "sum"):
        other = SmoothL1(delta=deltas[0], reduction=reduction)
        yield f"reduction {reduction!r}", lambda: other(*one_by_one), given
    yield "loss of a model, (n,) targets and weights", in_model, given
    graph = tf.function(lambda *rows: loss(*rows), autograph=False)
    yield "in a tf.function, as in fit", lambda: graph(*one_by_one), given


check("02/SmoothL1", evidence)

# %% mistake: `call` averages over the batch
"""`call` returns one number for the whole batch, so the reduction has nothing left to
do and weights are multiplied by a mean. Return one value per row."""


class SmoothL1(keras.losses.Loss):
    def __init__(self, delta=1.0, **kwargs):
        super().__init__(**kwargs)
        self.delta = delta

    def call(self, y_true, y_pred):
        size = ops.abs(ops.reshape(y_true, ops.shape(y_pred)) - y_pred)
        square, line = size**2 / (2 * self.delta), size - self.delta / 2
        return ops.mean(ops.where(size <= self.delta, square, line))

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


# %% mistake: Keras aligns (n,) and (n, 1) for me
"""With targets `(n,)` and predictions `(n, 1)`, your subtraction compares every
prediction with every target: a table of n x n numbers. Keras aligns shapes for loss
functions, not for subclasses. Reshape the targets to the shape of the predictions."""


class SmoothL1(keras.losses.Loss):
    def __init__(self, delta=1.0, **kwargs):
        super().__init__(**kwargs)
        self.delta = delta

    def call(self, y_true, y_pred):
        size = ops.abs(y_true - y_pred)
        square, line = size**2 / (2 * self.delta), size - self.delta / 2
        return ops.mean(ops.where(size <= self.delta, square, line), axis=-1)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


# %% mistake: the method to write is `__call__`
"""You replaced `__call__`, which applies `sample_weight` and the reduction before it
returns. Write `call(self, y_true, y_pred)` and leave `__call__` to Keras."""


class SmoothL1(keras.losses.Loss):
    def __init__(self, delta=1.0, **kwargs):
        super().__init__(**kwargs)
        self.delta = delta

    def __call__(self, y_true, y_pred):
        size = ops.abs(ops.reshape(y_true, ops.shape(y_pred)) - y_pred)
        square, line = size**2 / (2 * self.delta), size - self.delta / 2
        return ops.mean(ops.where(size <= self.delta, square, line), axis=-1)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


# %% mistake: `__init__` needs no super().__init__
"""Your `__init__` does not call `super().__init__(**kwargs)`, so the loss has no name,
no reduction and no dtype, and stops when Keras asks for them."""


class SmoothL1(keras.losses.Loss):
    def __init__(self, delta=1.0, **kwargs):
        self.delta = delta

    def call(self, y_true, y_pred):
        size = ops.abs(ops.reshape(y_true, ops.shape(y_pred)) - y_pred)
        square, line = size**2 / (2 * self.delta), size - self.delta / 2
        return ops.mean(ops.where(size <= self.delta, square, line), axis=-1)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


# %% mistake: settings are saved by themselves
"""Without `get_config`, only name and reduction are saved: the loaded loss has the
default `delta`, and nobody tells you. Add `delta` to `super().get_config()`."""


class SmoothL1(keras.losses.Loss):
    def __init__(self, delta=1.0, **kwargs):
        super().__init__(**kwargs)
        self.delta = delta

    def call(self, y_true, y_pred):
        size = ops.abs(ops.reshape(y_true, ops.shape(y_pred)) - y_pred)
        square, line = size**2 / (2 * self.delta), size - self.delta / 2
        return ops.mean(ops.where(size <= self.delta, square, line), axis=-1)


# %% mistake: the config holds my settings only
"""Your config has `delta` but not what the base class needs to remember: the loaded
loss falls back to the default reduction. Start from `super().get_config()`."""


class SmoothL1(keras.losses.Loss):
    def __init__(self, delta=1.0, **kwargs):
        super().__init__(**kwargs)
        self.delta = delta

    def call(self, y_true, y_pred):
        size = ops.abs(ops.reshape(y_true, ops.shape(y_pred)) - y_pred)
        square, line = size**2 / (2 * self.delta), size - self.delta / 2
        return ops.mean(ops.where(size <= self.delta, square, line), axis=-1)

    def get_config(self):
        return {"delta": self.delta}


# %% mistake: a loss should add up its rows
"""You chose `reduction="sum"` as the default. The step then grows with the batch size,
and a larger batch needs a smaller learning rate. Keep Keras' default, and let the
caller choose."""


class SmoothL1(keras.losses.Loss):
    def __init__(self, delta=1.0, reduction="sum", **kwargs):
        super().__init__(reduction=reduction, **kwargs)
        self.delta = delta

    def call(self, y_true, y_pred):
        size = ops.abs(ops.reshape(y_true, ops.shape(y_pred)) - y_pred)
        square, line = size**2 / (2 * self.delta), size - self.delta / 2
        return ops.mean(ops.where(size <= self.delta, square, line), axis=-1)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


# %% mistake: SmoothL1 is another name for Huber
"""Your values are `delta` times too large: this is Huber, whose slope ends at `delta`.
Here the slope ends at 1, whatever `delta` is."""


class SmoothL1(keras.losses.Loss):
    def __init__(self, delta=1.0, **kwargs):
        super().__init__(**kwargs)
        self.delta = delta

    def call(self, y_true, y_pred):
        size = ops.abs(ops.reshape(y_true, ops.shape(y_pred)) - y_pred)
        square, line = size**2 / 2, self.delta * (size - self.delta / 2)
        return ops.mean(ops.where(size <= self.delta, square, line), axis=-1)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


# %% mistake: the straight part begins where it likes
"""Beyond `delta` you return the size of the error itself. The two parts then do not
meet: the loss jumps by `delta / 2`. The straight part is `a - delta / 2`."""


class SmoothL1(keras.losses.Loss):
    def __init__(self, delta=1.0, **kwargs):
        super().__init__(**kwargs)
        self.delta = delta

    def call(self, y_true, y_pred):
        size = ops.abs(ops.reshape(y_true, ops.shape(y_pred)) - y_pred)
        square = size**2 / (2 * self.delta)
        return ops.mean(ops.where(size <= self.delta, square, size), axis=-1)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


# %% mistake: a setting may be ignored at first
"""You never use `delta`: the border stays at 1 whatever the caller asks for. Use
`self.delta` in `call`."""


class SmoothL1(keras.losses.Loss):
    def __init__(self, delta=1.0, **kwargs):
        super().__init__(**kwargs)
        self.delta = delta

    def call(self, y_true, y_pred):
        size = ops.abs(ops.reshape(y_true, ops.shape(y_pred)) - y_pred)
        return ops.mean(ops.where(size <= 1, size**2 / 2, size - 1 / 2), axis=-1)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


# %% mistake: `**kwargs` are for show
"""You accept `reduction` and `name` but do not hand them on, so every loss has the
default reduction and name. Write `super().__init__(**kwargs)`."""


class SmoothL1(keras.losses.Loss):
    def __init__(self, delta=1.0, **kwargs):
        super().__init__()
        self.delta = delta

    def call(self, y_true, y_pred):
        size = ops.abs(ops.reshape(y_true, ops.shape(y_pred)) - y_pred)
        square, line = size**2 / (2 * self.delta), size - self.delta / 2
        return ops.mean(ops.where(size <= self.delta, square, line), axis=-1)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


# %% mistake: `name` is for show
"""You accept `name` but do not hand it on, so the loss has the name of its class. Hand
on all that the base class knows: `super().__init__(name=name, reduction=reduction)`, or
simply `**kwargs`."""


class SmoothL1(keras.losses.Loss):
    def __init__(self, delta=1.0, reduction="sum_over_batch_size", name=None):
        super().__init__(reduction=reduction)
        self.delta = delta

    def call(self, y_true, y_pred):
        size = ops.abs(ops.reshape(y_true, ops.shape(y_pred)) - y_pred)
        square, line = size**2 / (2 * self.delta), size - self.delta / 2
        return ops.mean(ops.where(size <= self.delta, square, line), axis=-1)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


# %% mistake: NumPy may compute a loss
"""Outside of `fit` the values are right. Inside, NumPy meets placeholders and stops,
and without `ops` there is no slope: nothing would be learned. Use `ops` throughout."""


class SmoothL1(keras.losses.Loss):
    def __init__(self, delta=1.0, **kwargs):
        super().__init__(**kwargs)
        self.delta = delta

    def call(self, y_true, y_pred):
        size = np.abs(np.reshape(y_true, np.shape(y_pred)) - y_pred)
        square, line = size**2 / (2 * self.delta), size - self.delta / 2
        return np.mean(np.where(size <= self.delta, square, line), axis=-1)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


# %% [markdown]
# ## Losses for yes and no
#
# One part in twenty is broken, and a missed one costs far more than a false alarm. So a
# positive label should count `pos_weight` times. That is one factor in the formula, or
# one call of TensorFlow for logits. With one column it equals a `sample_weight` on the
# positive rows.
#
# Think of the borders, too. A model can be sure and wrong: the label is 0, the logit
# 80. In float32 `sigmoid(80)` is exactly 1, so `log(1 - p)` is minus infinity.
# `-softplus(80)` is the same quantity, and exact: -80. With label 1 and logit -110,
# `sigmoid` is exactly 0, and `log(p)` fails the same way.

# %%
# rows: C8
labels = np.array([[1.0], [0.0], [1.0], [0.0]])
logits = np.array([[2.0], [-1.0], [-0.5], [0.3]])
p = 1 / (1 + np.exp(-logits))
by_hand = -(5 * labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean()
from_tf = tf.nn.weighted_cross_entropy_with_logits(labels, logits, pos_weight=5.0)
weights = np.where(labels[:, 0] == 1, 5.0, 1.0)
loss = keras.losses.BinaryCrossentropy(from_logits=True)
print(f"by hand          {by_hand:.4f}")
print(f"TensorFlow       {from_tf.numpy().mean():.4f}")
print(f"as sample_weight {measure(loss, labels, logits, weights)['loss']:.4f}")
digits = np.array([[3.0], [0.0], [7.0], [1.0]])
wrong = tf.nn.weighted_cross_entropy_with_logits(digits, logits, pos_weight=5.0)
print(f"class numbers as labels: {wrong.numpy().round(1).ravel()} (nonsense)")

# %% [markdown]
# The formula is for labels 0 and 1; fed with class numbers it returns nonsense. For
# several classes, make one yes/no column per class first; there are three ways.
#
# Then **order** matters: weigh each column, then average. `binary_crossentropy`
# averages a row's columns at once; weighed afterwards, a "no" that was right pays for
# its neighbours. One row of class 2, three columns, `pos_weight=3`:

# %%
# rows: C9, C10
label, p = np.array([2.0]), np.array([[0.1, 0.4, 0.5]])
row = keras.utils.to_categorical(label, 3)
others = [ops.one_hot(label, 3), tf.one_hot(label.astype(int), 3)]
print("one-hot:", row, [bool(np.all(np.asarray(other) == row)) for other in others])
columns = -(row * np.log(p) + (1 - row) * np.log(1 - p))
factor = 1 + 2 * row
shares = {
    "weigh, then average": (factor * columns).ravel(),
    "average, then weigh": (factor * columns.mean()).ravel(),
}
title = "An average cannot be weighed afterwards"
plots.paired_bars(["no", "no", "yes"], shares, title, "label of the column", "cost")

# %% [markdown]
# ### Exercise: when a miss costs more
#
# Write the class `WeightedBCE(pos_weight, from_logits=False)`, a Keras loss for labels
# 0 and 1 and predictions, both `(n, k)`. One number costs
# `-(pos_weight * y * log(p) + (1 - y) * log(1 - p))`, and a row the mean over its `k`
# numbers: `call` returns `(n,)`.
#
# - `from_logits=True`: predictions are logits, `p = sigmoid(logit)`. Cost and slope are
#   right for huge logits, too, say ±200.
# - Otherwise they are probabilities, and 0 and 1 do occur: clip them to `1e-7` and
#   `1 - 1e-7`.
#
# `WeightedBCE(3.0)` on labels `[[1.0, 0.0]]` and probabilities `[[0.5, 0.2]]` is
# `(3 * 0.693 + 0.223) / 2 = [1.151]`. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# Write down `log(p)` and `log(1 - p)` for both cases; the rest is the same.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For a logit `z`: `log(p) = -softplus(-z)` and `log(1 - p) = -softplus(z)`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `-ops.mean(self.pos_weight * y_true * log_yes + (1 - y_true) * log_no, axis=-1)`, with
# `log_yes` and `log_no` from `ops.softplus(...)` or from `ops.log(ops.clip(...))`.
#
# </details>


# %% exercise: WeightedBCE
class WeightedBCE(keras.losses.Loss):
    """Binary cross-entropy in which a positive label counts `pos_weight` times."""

    def __init__(self, pos_weight, from_logits=False, **kwargs):
        ### BEGIN SOLUTION
        super().__init__(**kwargs)
        self.pos_weight, self.from_logits = pos_weight, from_logits
        ### END SOLUTION

    def call(self, y_true, y_pred):
        """One value per row."""
        ### BEGIN SOLUTION
        if self.from_logits:
            log_yes, log_no = -ops.softplus(-y_pred), -ops.softplus(y_pred)
        else:
            p = ops.clip(y_pred, 1e-7, 1 - 1e-7)
            log_yes, log_no = ops.log(p), ops.log(1 - p)
        yes, no = self.pos_weight * y_true * log_yes, (1 - y_true) * log_no
        return -ops.mean(yes + no, axis=-1)
        ### END SOLUTION


# %% check: WeightedBCE, 4 points
def evidence(WeightedBCE, rng):
    n, k = int(rng.integers(6, 9)), int(rng.integers(2, 5))
    pos_weight = float(rng.uniform(2, 6))
    labels = rng.integers(0, 2, (n, k)).astype("float32")
    labels[0, :2], labels[1, :2] = (0, 1), (1, 0)  # both kinds, in one row
    labels[2] = 0
    y = ops.convert_to_tensor(labels)
    z = ops.convert_to_tensor(rng.normal(size=(n, k)).astype("float32"))
    p = ops.sigmoid(1.5 * z)
    far = rng.uniform(50, 110, (n, k))
    far[:2] = rng.uniform(110, 200, (2, k))  # both kinds are here
    far *= 1 - 2 * labels  # sure, and wrong
    far = ops.convert_to_tensor(far.astype("float32"))
    weights = rng.uniform(0.5, 3, n).astype("float32")
    for_p = WeightedBCE(pos_weight)
    for_logits = WeightedBCE(pos_weight, from_logits=True)

    def slope(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            total = ops.sum(for_logits.call(y, z))
        return tape.gradient(total, z)

    def capped(values):
        values = ops.convert_to_numpy(values)
        return np.where(np.isfinite(values), np.minimum(values, 10), values)

    certain = np.array(labels)
    certain[:2] = 1 - labels[:2]  # rows 0 and 1: all wrong, the others all right
    given = {"pos_weight": pos_weight, "rows": n, "numbers in a row": k}
    yield "probabilities: one value per row", lambda: for_p.call(y, p), given
    yield "logits: one value per row", lambda: for_logits.call(y, z), given
    other = WeightedBCE(pos_weight + 1)
    yield "another weight", lambda: other.call(y, p), given
    yield "rows count by sample_weight", lambda: for_p(y, p, weights), given
    yield "logits: the slope", lambda: slope(z), given
    yield "logits from 50 to 200: the cost", lambda: for_logits.call(y, far), given
    yield "logits from 50 to 200: the slope", lambda: slope(far), given
    sure = ops.convert_to_tensor(certain)
    label = "probabilities 0 and 1 (10 stands for any cost above)"
    yield label, lambda: capped(for_p.call(y, sure)), given
    graph = tf.function(lambda *both: for_p(*both), autograph=False)
    yield "in a tf.function, as in fit", lambda: graph(y, p), given


check("02/WeightedBCE", evidence)

# %% mistake: one number for the whole batch
"""Your `call` averages over rows, too. Return one value per row; `sample_weight` and
reduction come after `call`."""


class WeightedBCE(keras.losses.Loss):
    def __init__(self, pos_weight, from_logits=False, **kwargs):
        super().__init__(**kwargs)
        self.pos_weight, self.from_logits = pos_weight, from_logits

    def call(self, y_true, y_pred):
        if self.from_logits:
            log_yes, log_no = -ops.softplus(-y_pred), -ops.softplus(y_pred)
        else:
            p = ops.clip(y_pred, 1e-7, 1 - 1e-7)
            log_yes, log_no = ops.log(p), ops.log(1 - p)
        return -ops.mean(self.pos_weight * y_true * log_yes + (1 - y_true) * log_no)


# %% mistake: the average of a row can be weighed afterwards
"""You average the columns of a row first (as `binary_crossentropy` does) and multiply
by the weights later. Then a right "no" pays for a missed "yes" beside it. Weigh each
number, then take the mean."""


class WeightedBCE(keras.losses.Loss):
    def __init__(self, pos_weight, from_logits=False, **kwargs):
        super().__init__(**kwargs)
        self.pos_weight, self.from_logits = pos_weight, from_logits

    def call(self, y_true, y_pred):
        rows = keras.losses.binary_crossentropy(
            y_true, y_pred, from_logits=self.from_logits
        )
        factor = 1 + (self.pos_weight - 1) * y_true
        return ops.mean(factor * rows[:, None], axis=-1)


# %% mistake: a logarithm can take any probability
"""At probability 0 or 1 the logarithm is minus infinity; 0 times infinity is NaN, and
one NaN spoils all weights. Clip probabilities before the logarithm."""


class WeightedBCE(keras.losses.Loss):
    def __init__(self, pos_weight, from_logits=False, **kwargs):
        super().__init__(**kwargs)
        self.pos_weight, self.from_logits = pos_weight, from_logits

    def call(self, y_true, y_pred):
        if self.from_logits:
            log_yes, log_no = -ops.softplus(-y_pred), -ops.softplus(y_pred)
        else:
            log_yes, log_no = ops.log(y_pred), ops.log(1 - y_pred)
        yes, no = self.pos_weight * y_true * log_yes, (1 - y_true) * log_no
        return -ops.mean(yes + no, axis=-1)


# %% mistake: the smaller the distance to 1, the better
"""You clip, but your upper end does nothing: in float32 `1 - 1e-15` *is* 1, so
`log(1 - p)` is still minus infinity where p is 1. `1 - 1e-7` is about the nearest
number below 1 that float32 has."""


class WeightedBCE(keras.losses.Loss):
    def __init__(self, pos_weight, from_logits=False, **kwargs):
        super().__init__(**kwargs)
        self.pos_weight, self.from_logits = pos_weight, from_logits

    def call(self, y_true, y_pred):
        if self.from_logits:
            log_yes, log_no = -ops.softplus(-y_pred), -ops.softplus(y_pred)
        else:
            p = ops.clip(y_pred, 1e-15, 1 - 1e-15)
            log_yes, log_no = ops.log(p), ops.log(1 - p)
        yes, no = self.pos_weight * y_true * log_yes, (1 - y_true) * log_no
        return -ops.mean(yes + no, axis=-1)


# %% mistake: logits are only probabilities before sigmoid
"""You apply sigmoid and then the logarithm. In float32 sigmoid of 60 is exactly 1:
after clipping the cost stops growing and the slope is 0, so the worst rows teach
nothing. Use `-softplus(-z)` and `-softplus(z)`."""


class WeightedBCE(keras.losses.Loss):
    def __init__(self, pos_weight, from_logits=False, **kwargs):
        super().__init__(**kwargs)
        self.pos_weight, self.from_logits = pos_weight, from_logits

    def call(self, y_true, y_pred):
        p = ops.sigmoid(y_pred) if self.from_logits else y_pred
        p = ops.clip(p, 1e-7, 1 - 1e-7)
        yes = self.pos_weight * y_true * ops.log(p)
        return -ops.mean(yes + (1 - y_true) * ops.log(1 - p), axis=-1)


# %% mistake: what is right on paper is right in float32
"""Right on paper, but float32 ends early: sigmoid of -150 is exactly 0, its logarithm
minus infinity, and the slope is NaN. Going through `log(1 + exp(-z))` fails the same
way, as `exp(150)` is infinite. Use `-softplus(-z)` and `-softplus(z)`, which Keras
computes without these numbers."""


class WeightedBCE(keras.losses.Loss):
    def __init__(self, pos_weight, from_logits=False, **kwargs):
        super().__init__(**kwargs)
        self.pos_weight, self.from_logits = pos_weight, from_logits

    def call(self, y_true, y_pred):
        if self.from_logits:
            log_yes = ops.log(ops.sigmoid(y_pred))
            log_no = ops.log(ops.sigmoid(-y_pred))
        else:
            p = ops.clip(y_pred, 1e-7, 1 - 1e-7)
            log_yes, log_no = ops.log(p), ops.log(1 - p)
        yes, no = self.pos_weight * y_true * log_yes, (1 - y_true) * log_no
        return -ops.mean(yes + no, axis=-1)


# %% mistake: y_pred comes first, as in a formula
"""`call` receives `(y_true, y_pred)`. You swapped them, so you take the logarithm of
the labels. Squared errors would hide this, cross-entropy does not."""


class WeightedBCE(keras.losses.Loss):
    def __init__(self, pos_weight, from_logits=False, **kwargs):
        super().__init__(**kwargs)
        self.pos_weight, self.from_logits = pos_weight, from_logits

    def call(self, y_pred, y_true):
        if self.from_logits:
            log_yes, log_no = -ops.softplus(-y_pred), -ops.softplus(y_pred)
        else:
            p = ops.clip(y_pred, 1e-7, 1 - 1e-7)
            log_yes, log_no = ops.log(p), ops.log(1 - p)
        yes, no = self.pos_weight * y_true * log_yes, (1 - y_true) * log_no
        return -ops.mean(yes + no, axis=-1)


# %% mistake: the weight goes to the negatives
"""Your weight stands at `(1 - y) * log(1 - p)`: false alarms get expensive instead of
misses. The first term, `y * log(p)`, is the one of positive labels."""


class WeightedBCE(keras.losses.Loss):
    def __init__(self, pos_weight, from_logits=False, **kwargs):
        super().__init__(**kwargs)
        self.pos_weight, self.from_logits = pos_weight, from_logits

    def call(self, y_true, y_pred):
        if self.from_logits:
            log_yes, log_no = -ops.softplus(-y_pred), -ops.softplus(y_pred)
        else:
            p = ops.clip(y_pred, 1e-7, 1 - 1e-7)
            log_yes, log_no = ops.log(p), ops.log(1 - p)
        yes, no = y_true * log_yes, self.pos_weight * (1 - y_true) * log_no
        return -ops.mean(yes + no, axis=-1)


# %% mistake: the weight scales the whole loss
"""You multiply both terms by `pos_weight`. That changes the step size, not what counts
more: multiply only the term of the positive labels."""


class WeightedBCE(keras.losses.Loss):
    def __init__(self, pos_weight, from_logits=False, **kwargs):
        super().__init__(**kwargs)
        self.pos_weight, self.from_logits = pos_weight, from_logits

    def call(self, y_true, y_pred):
        if self.from_logits:
            log_yes, log_no = -ops.softplus(-y_pred), -ops.softplus(y_pred)
        else:
            p = ops.clip(y_pred, 1e-7, 1 - 1e-7)
            log_yes, log_no = ops.log(p), ops.log(1 - p)
        both = y_true * log_yes + (1 - y_true) * log_no
        return -self.pos_weight * ops.mean(both, axis=-1)


# %% mistake: a loss sees whether it gets logits
"""You never use `from_logits`, so logits are clipped to 0..1 as if they were
probabilities. A loss cannot know: the caller says it, you have to act on it."""


class WeightedBCE(keras.losses.Loss):
    def __init__(self, pos_weight, from_logits=False, **kwargs):
        super().__init__(**kwargs)
        self.pos_weight = pos_weight

    def call(self, y_true, y_pred):
        p = ops.clip(y_pred, 1e-7, 1 - 1e-7)
        yes = self.pos_weight * y_true * ops.log(p)
        return -ops.mean(yes + (1 - y_true) * ops.log(1 - p), axis=-1)


# %% [markdown]
# ## A price for being too sure
#
# A loss may have a second term that says what else you want: for regression, say, a
# pull towards a safe 0.5.
#
# For classes, "not too sure" has a measure: the **entropy** of the predicted
# probabilities, `-sum(p * log(p))`. It is 0 for a certain answer and largest for equal
# probabilities. Subtract `beta` times the entropy from the cross-entropy, and the best
# answer is no longer "certain".


# %%
# rows: C11
def hedged(y_true, y_pred):
    hedge = 0.1 * ops.square(0.5 - y_pred)
    return ops.mean(ops.square(y_true - y_pred) + hedge, axis=-1)


by_hand = np.mean((actual - guess) ** 2) + 0.1 * np.mean((0.5 - guess) ** 2)
print(
    f"hedged loss {measure(hedged, actual, guess)['loss']:.4f}, by hand {by_hand:.4f}"
)
p = np.linspace(0.5, 0.999, 60)  # probability of the right one of two classes
entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
lines = {f"beta = {beta}": -np.log(p) - beta * entropy for beta in (0.0, 0.4, 0.8)}
title = "With a price for certainty, the lowest loss is not at 1"
plots.lowest_points(p, lines, title, "probability of the right class", "loss")

# %% [markdown]
# ### Exercise: cross-entropy that rewards doubt
#
# Write the class `ConfidentCE(beta)`, a Keras loss: class numbers `(n,)` and logits
# `(n, k)` give `(n,)`, for each row the cross-entropy minus `beta` times the entropy
# `-sum(p * log(p))` of its softmax probabilities `p` (natural logarithm).
#
# - The class numbers are integers or float32: Keras hands targets to `call` as float32.
# - Logits that are 200 apart give finite, right numbers.
# - `set_beta(beta)` changes `beta` while a model trains: a `tf.function` that has run
#   before uses the new number from its next call on.
#
# `ConfidentCE(0.5)` on label 0 and logits `[[0.0, 0.0]]` is
# `0.693 - 0.5 * 0.693 = [0.347]`. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# `keras.losses.sparse_categorical_crossentropy` is a function that returns one value
# per row.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `ops.log_softmax(logits)` gives `log(p)` without ever computing `log(0)`. A
# `keras.Variable` is looked up at every call.
#
# </details>
# <details><summary>Hint 3</summary>
#
# In `__init__`: `self.beta = keras.Variable(beta, trainable=False)`; in `set_beta`:
# `self.beta.assign(beta)`. The entropy is `-ops.sum(ops.exp(log_p) * log_p, axis=-1)`.
#
# </details>


# %% exercise: ConfidentCE
class ConfidentCE(keras.losses.Loss):
    """Cross-entropy on logits minus `beta` times the entropy, one value per row."""

    def __init__(self, beta, **kwargs):
        ### BEGIN SOLUTION
        super().__init__(**kwargs)
        self.beta = keras.Variable(beta, trainable=False)
        ### END SOLUTION

    def set_beta(self, beta):
        """Another `beta` from now on."""
        ### BEGIN SOLUTION
        self.beta.assign(beta)
        ### END SOLUTION

    def call(self, y_true, y_pred):
        """One value per row."""
        ### BEGIN SOLUTION
        crossentropy = keras.losses.sparse_categorical_crossentropy(
            y_true, y_pred, from_logits=True
        )
        log_p = ops.log_softmax(y_pred)
        entropy = -ops.sum(ops.exp(log_p) * log_p, axis=-1)
        return crossentropy - self.beta * entropy
        ### END SOLUTION


# %% check: ConfidentCE, 4 points
def evidence(ConfidentCE, rng):
    n, k = int(rng.integers(6, 9)), int(rng.integers(3, 6))
    beta, later = float(rng.uniform(0.2, 0.5)), float(rng.uniform(0.8, 1.5))
    y = ops.convert_to_tensor(rng.integers(0, k, n))
    z = ops.convert_to_tensor(2 * rng.normal(size=(n, k)).astype("float32"))
    far = np.array(z)
    far[np.arange(n), rng.integers(0, k, n)] += 200
    far = ops.convert_to_tensor(far)
    weights = rng.uniform(0.5, 3, n).astype("float32")

    def slope(logits):
        loss = ConfidentCE(beta)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            total = ops.sum(loss.call(y, logits))
        return tape.gradient(total, logits)

    def changed():
        loss = ConfidentCE(beta)
        graph = tf.function(lambda *both: loss(*both), autograph=False)
        tf.config.run_functions_eagerly(False)  # as it is, unless somebody said so
        before = graph(y, z)
        loss.set_beta(later)
        tf.config.run_functions_eagerly(False)
        return [before, graph(y, z)]

    def two():
        first, second = ConfidentCE(beta), ConfidentCE(later)
        return [first(y, z), second(y, z)]

    given = {"beta": beta, "rows": n, "classes": k}
    yield "one value per row", lambda: ConfidentCE(beta).call(y, z), given
    floats = ops.cast(y, "float32")
    yield "labels as float32", lambda: ConfidentCE(beta).call(floats, z), given
    yield "beta 0 is the cross-entropy", lambda: ConfidentCE(0.0).call(y, z), given
    yield "rows count by weight", lambda: ConfidentCE(beta)(y, z, weights), given
    yield "logits 200 apart", lambda: ConfidentCE(beta).call(y, far), given
    yield "the slope at each logit", lambda: slope(z), given
    yield "the slope where logits are 200 apart", lambda: slope(far), given
    yield "two losses at once", two, given
    given = {**given, "set_beta": later}
    yield "a tf.function, before and after set_beta", changed, given


check("02/ConfidentCE", evidence)

# %% mistake: compiled code sees a changed attribute
"""`set_beta` changes a Python attribute. The recording that `fit` made has the old
number built in as a constant, and goes on with it. Keep `beta` in a `keras.Variable`
and `assign` to it."""


class ConfidentCE(keras.losses.Loss):
    def __init__(self, beta, **kwargs):
        super().__init__(**kwargs)
        self.beta = beta

    def set_beta(self, beta):
        self.beta = beta

    def call(self, y_true, y_pred):
        crossentropy = keras.losses.sparse_categorical_crossentropy(
            y_true, y_pred, from_logits=True
        )
        log_p = ops.log_softmax(y_pred)
        return crossentropy + self.beta * ops.sum(ops.exp(log_p) * log_p, axis=-1)


# %% mistake: a penalty is always added
"""You add the entropy. Adding makes doubt expensive; here certainty shall be expensive,
so the entropy is **subtracted** from the loss."""


class ConfidentCE(keras.losses.Loss):
    def __init__(self, beta, **kwargs):
        super().__init__(**kwargs)
        self.beta = keras.Variable(beta, trainable=False)

    def set_beta(self, beta):
        self.beta.assign(beta)

    def call(self, y_true, y_pred):
        crossentropy = keras.losses.sparse_categorical_crossentropy(
            y_true, y_pred, from_logits=True
        )
        log_p = ops.log_softmax(y_pred)
        return crossentropy - self.beta * ops.sum(ops.exp(log_p) * log_p, axis=-1)


# %% mistake: p log p is harmless where p is 0
"""Mathematically `0 * log(0)` is 0, in floating point it is 0 times minus infinity:
NaN. Compute `log(p)` with `ops.log_softmax`, which stays finite."""


class ConfidentCE(keras.losses.Loss):
    def __init__(self, beta, **kwargs):
        super().__init__(**kwargs)
        self.beta = keras.Variable(beta, trainable=False)

    def set_beta(self, beta):
        self.beta.assign(beta)

    def call(self, y_true, y_pred):
        crossentropy = keras.losses.sparse_categorical_crossentropy(
            y_true, y_pred, from_logits=True
        )
        p = ops.softmax(y_pred)
        return crossentropy + self.beta * ops.sum(p * ops.log(p), axis=-1)


# %% mistake: the entropy belongs to the batch
"""You average the entropy over the whole batch and subtract the same number from every
row. A row with weight 0 then still has a say. Sum over `axis=-1` and keep one entropy
per row."""


class ConfidentCE(keras.losses.Loss):
    def __init__(self, beta, **kwargs):
        super().__init__(**kwargs)
        self.beta = keras.Variable(beta, trainable=False)

    def set_beta(self, beta):
        self.beta.assign(beta)

    def call(self, y_true, y_pred):
        crossentropy = keras.losses.sparse_categorical_crossentropy(
            y_true, y_pred, from_logits=True
        )
        log_p = ops.log_softmax(y_pred)
        entropy = -ops.mean(ops.sum(ops.exp(log_p) * log_p, axis=-1))
        return crossentropy - self.beta * entropy


# %% mistake: the cross-entropy sees that these are logits
"""Without `from_logits=True`, Keras takes the logits for probabilities, clips and
normalises them. Say what they are."""


class ConfidentCE(keras.losses.Loss):
    def __init__(self, beta, **kwargs):
        super().__init__(**kwargs)
        self.beta = keras.Variable(beta, trainable=False)

    def set_beta(self, beta):
        self.beta.assign(beta)

    def call(self, y_true, y_pred):
        crossentropy = keras.losses.sparse_categorical_crossentropy(y_true, y_pred)
        log_p = ops.log_softmax(y_pred)
        return crossentropy + self.beta * ops.sum(ops.exp(log_p) * log_p, axis=-1)


# %% mistake: the entropy is a mean over classes
"""You take the mean over the classes. The entropy is a **sum**, `-sum(p * log(p))`: the
probabilities are its weights already."""


class ConfidentCE(keras.losses.Loss):
    def __init__(self, beta, **kwargs):
        super().__init__(**kwargs)
        self.beta = keras.Variable(beta, trainable=False)

    def set_beta(self, beta):
        self.beta.assign(beta)

    def call(self, y_true, y_pred):
        crossentropy = keras.losses.sparse_categorical_crossentropy(
            y_true, y_pred, from_logits=True
        )
        log_p = ops.log_softmax(y_pred)
        return crossentropy + self.beta * ops.mean(ops.exp(log_p) * log_p, axis=-1)


# %% mistake: NumPy may compute the entropy
"""The value is right at first sight, but the entropy has left Keras' world: no slope
reaches the logits through it, and compiled code stops. Use `ops`."""


class ConfidentCE(keras.losses.Loss):
    def __init__(self, beta, **kwargs):
        super().__init__(**kwargs)
        self.beta = keras.Variable(beta, trainable=False)

    def set_beta(self, beta):
        self.beta.assign(beta)

    def call(self, y_true, y_pred):
        crossentropy = keras.losses.sparse_categorical_crossentropy(
            y_true, y_pred, from_logits=True
        )
        log_p = ops.convert_to_numpy(ops.log_softmax(y_pred))
        return crossentropy + self.beta * np.sum(np.exp(log_p) * log_p, axis=-1)


# %% [markdown]
# ## A metric keeps counts
#
# *A good place for a break. When you come back, run all cells above this one.*
#
# A metric sees one batch after the other and must answer for all of them. So it keeps
# **counts**, made by `add_weight`: `update_state` adds to them, `result` computes the
# number from them, `reset_state` empties them. Keras calls `reset_state` before each
# epoch and each `evaluate`. The metric's name is the key in the logs.
#
# Watch the share of parcels within two minutes: it must not depend on the batches. Then
# see what slips look like. The last one is none: a `result` may be a dict.


# %%
# rows: C13, C14, C16
class OnTime(keras.metrics.Metric):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.good = self.add_weight(name="good", initializer="zeros")
        self.rows = self.add_weight(name="rows", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        off = ops.abs(ops.reshape(y_pred, (-1,)) - ops.reshape(y_true, (-1,)))
        weights = ops.ones_like(off) if sample_weight is None else sample_weight
        self.good.assign_add(ops.sum(ops.cast(off <= 2, "float32") * weights))
        self.rows.assign_add(ops.sum(weights))

    def result(self):
        return ops.divide_no_nan(self.good, self.rows)


for size in (1, 3, 4):
    metrics = [OnTime(name="on_time")]
    logs = measure("mse", target, arrival, batch_size=size, metrics=metrics)
    print(f"batches of {size}: {logs['on_time']:.2f} within two minutes")


# %%
# rows: C14, C17, C20
class NoWeights(OnTime):
    def update_state(self, y_true, y_pred):
        super().update_state(y_true, y_pred)


class Both(OnTime):
    def result(self):
        return {"share": self.good / self.rows, "parcels": self.rows}


print("no initializer:  ", outcome(lambda: OnTime().add_weight(name="late")))
print("name comes first:", outcome(lambda: OnTime().add_weight("late", "zeros")))
for metric in (NoWeights(name="on_time"), Both(name="on_time")):
    what = outcome(lambda: measure("mse", target, arrival, metrics=[metric]))
    print(f"{type(metric).__name__:16}", what)

# %% [markdown]
# `add_weight` has no default start, and its first argument is the shape. It gives you a
# variable, which computes like a tensor; only in a list write `.value` behind each:
# `ops.stack([a.value, b.value])`. `update_state` needs the parameter `sample_weight`
# even if no weights are ever passed.
#
# The quiet slips are worse. Three epochs, two batches each, nothing to learn: `OnTime`
# logs the same share, 3 of 4, every time. `InPython` adds up in a Python attribute.
# `OneMore` wants to count from 1 row instead of 0 (that would be 3 of 5), in a method
# with an old name. Predict their logs.


# %%
# rows: C13, C15
class InPython(OnTime):
    seen = 0.0

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.seen = self.seen + ops.sum(y_pred)

    def result(self):
        return self.seen


class OneMore(OnTime):
    def reset_states(self):
        self.rows.assign(1.0)


for kind in (OnTime, InPython, OneMore):
    model = keras.Sequential([keras.Input((1,)), keras.layers.PReLU()])  # x, if x > 0
    model.compile("sgd", "mse", metrics=[kind(name="n")])
    log = model.fit(arrival, target, batch_size=2, epochs=3, verbose=0).history["n"]
    print(f"{kind.__name__:8}", [str(n)[:6] for n in log])

# %% [markdown]
# What the second one logs are placeholders of the recording, no numbers at all. And
# `OneMore` has no effect: the hook is called `reset_state`, in the singular. Nobody
# calls `reset_states`; Keras' own `reset_state` sets every variable to 0.

# %% [markdown]
# ## A function as a metric
#
# May a metric be a function? If it returns one value per row, as a loss does: Keras
# takes the exact mean over all rows. If it returns one number per batch, you get the
# mean of these numbers. F1 is such a number: twice the hits (label 1, predicted as 1),
# divided by the rows with label 1 plus the rows predicted as 1. The cell shows three
# troubles: that mean depends on the batches, flat labels give nonsense, and with
# weights it stops.


# %%
# rows: C21
def f1(y_true, y_pred):
    guess = ops.cast(y_pred > 0.5, "float32")
    both = ops.sum(y_true) + ops.sum(guess)
    return ops.divide_no_nan(2 * ops.sum(y_true * guess), both)


rng = np.random.default_rng(5)
broken = (rng.random((90, 1)) < 0.1).astype("float32")
found = np.clip(0.6 * broken + 0.7 * rng.random((90, 1)), 0, 1)
trials = {"all rows": (broken, 90), "by 8": (broken, 8), "flat": (broken[:, 0], 90)}
for name, (truth, size) in trials.items():
    value = measure("mse", truth, found, batch_size=size, metrics=[f1])["f1"]
    print(f"{name:9} {value:.3f}")
weighted = {"weights": np.ones(90), "weighted_metrics": [f1]}
stops = outcome(lambda: measure("mse", broken, found, **weighted))
print("as a weighted metric:", stops.split(":")[0])

# %% [markdown]
# An F1 of 15! Nobody aligned `(90,)` with `(90, 1)`, so each target met each guess. And
# with weights it stops: there is one number for the batch, and no rows to weigh.
#
# The batches of 8 are the quieter error. A small batch often has no row of the rare
# class, and its F1 is too low; the mean stays wrong however long you wait. The picture
# has three classes; **macro-F1** is the mean of their three F1s. Habit: keep counts
# that can be added, compute ratios in `result`.
#
# **Try it.** Change the two 6s to 30. Which line moves, which one ends where it was?
# Predict first.
#
# <details><summary>What you get</summary>
#
# The mean of the batches: it ends at 0.68 instead of 0.57, as large batches seldom lack
# a class. It is still wrong. The line from counts ends at 0.74, as before.
#
# </details>

# %%
# rows: C16, C21
from sklearn.metrics import f1_score

macro = {"average": "macro", "zero_division": 0}
rng = np.random.default_rng(3)
true = rng.choice(3, 90, p=[0.7, 0.2, 0.1])
guessed = np.where(rng.random(90) < 0.7, true, rng.integers(0, 3, 90))


def macro_f1(rows):
    return f1_score(true[rows], guessed[rows], labels=range(3), **macro)


batches = [slice(start, start + 6) for start in range(0, 90, 6)]
streamed = [macro_f1(slice(0, batch.stop)) for batch in batches]
by_batch = [macro_f1(batch) for batch in batches]
plots.batches_and_epoch(by_batch, streamed, streamed[-1], "macro-F1")

# %% [markdown]
# ### Quiz: which may be averaged?
#
# You have batches of the same size and want the value for the whole set. For which of
# these is the mean over batches right?
#
# <details><summary>A. Accuracy, F1 and AUC: all are between 0 and 1</summary>
#
# No: the range does not matter. F1 divides by a number that differs from batch to
# batch, and AUC (how often a row with label 1 gets a higher score than one with 0)
# compares rows of different batches.
#
# </details>
# <details><summary>B. Accuracy and mean absolute error</summary>
#
# Right: both are a sum over rows divided by the number of rows, so equal batches have
# an equal say. If the last batch is smaller, not even these, unless batches count by
# their size.
#
# </details>
# <details><summary>C. The root of the mean squared error</summary>
#
# No: the mean of roots is not the root of the mean. Keep sum of squares and number of
# rows, take the root in `result`.
#
# </details>

# %% [markdown]
# ## Counting hits
#
# A hit is a row whose highest score is at its label. You will meet two old slips. One
# compares a column with a row: it is from the days when targets always were columns,
# while today they come as you passed them, `(n,)` or `(n, 1)`. The other is an `argmax`
# without an axis: `ops.argmax` then takes all scores as one list, and its one answer is
# compared with every label; `tf.argmax` looks down the columns.
#
# Habit: flatten both, `ops.reshape(..., (-1,))`, and name the axis. How many hits can
# six rows have? Predict first.

# %%
# rows: C18, C19
labels = np.array([0, 2, 1, 0, 1, 2])
scores = np.eye(3)[[0, 2, 1, 1, 0, 2]]


def hits(found):
    return int(ops.sum(ops.cast(ops.equal(labels, found), "int32")))


best = ops.argmax(scores, axis=-1)
print("right:              ", hits(best), "of", len(labels))
column = ops.reshape(best, (-1, 1))
print("column against row: ", hits(column), "of", len(labels))
print("ops.argmax, no axis:", hits(ops.argmax(scores)), "of", len(labels))
print("tf.argmax, no axis: ", outcome(lambda: hits(tf.argmax(scores))).split(":")[0])

# %% [markdown]
# 12 of 6: each of the six labels was compared with each of the six answers.

# %% [markdown]
# ### Exercise: hits of each class
#
# Write the metric `PerClassTP(num_classes)`. For each class it counts the rows with
# that label whose highest score is at that class; `result()` is a vector
# `(num_classes,)` of floats.
#
# - Labels are whole numbers, `(b,)` or `(b, 1)`, of an integer type or float32; scores
#   are `(b, num_classes)`, any numbers, not only probabilities.
# - With `sample_weight` `(b,)`, a hit counts its weight instead of 1.
# - It counts over batches until `reset_state()`, also where `update_state` runs in a
#   `tf.function`, as in `fit`, and two metrics do not disturb each other.
#
# Labels 0, 1, 1 with the highest scores at 0, 1, 2 give `[1.0, 1.0, 0.0]`. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# `add_weight` takes `shape=(num_classes,)`. Whatever is not made by it is no state.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Make labels and best classes both `(b,)`. `ops.one_hot(labels, num_classes)` is a
# table with one column per class: a hit adds its row.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `hit = ops.cast(ops.equal(labels, best), "float32")`, times the weights if there are
# any; then `self.hits.assign_add(ops.sum(hit[:, None] * one_hot, axis=0))`.
#
# </details>


# %% exercise: PerClassTP
class PerClassTP(keras.metrics.Metric):
    """Hits of each class, counted over batches: a vector (num_classes,)."""

    def __init__(self, num_classes, **kwargs):
        ### BEGIN SOLUTION
        super().__init__(**kwargs)
        self.hits = self.add_weight(
            name="hits", shape=(num_classes,), initializer="zeros"
        )
        ### END SOLUTION

    def update_state(self, y_true, y_pred, sample_weight=None):
        ### BEGIN SOLUTION
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        best = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        hit = ops.cast(ops.equal(labels, best), "float32")
        if sample_weight is not None:
            hit = hit * ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
        table = ops.one_hot(labels, self.hits.shape[0])
        self.hits.assign_add(ops.sum(hit[:, None] * table, axis=0))
        ### END SOLUTION

    def result(self):
        ### BEGIN SOLUTION
        return self.hits
        ### END SOLUTION


# %% check: PerClassTP, 4 points
def evidence(PerClassTP, rng):
    k = int(rng.integers(3, 6))
    n = 6 * k + int(rng.integers(1, 5))
    y = rng.permutation(np.arange(n) % k)
    right = rng.random(n) < rng.uniform(0.5, 0.9, k)[y]
    right[[np.flatnonzero(y == c)[0] for c in range(k)]] = True  # every class has one
    best = np.where(right, y, (y + rng.integers(1, k, n)) % k)
    p = rng.uniform(0, 0.5, (n, k)) + 0.55 * np.eye(k)[best]
    p = (p + 3 * rng.normal(size=(n, 1))).astype("float32")  # scores of any size
    weights = rng.uniform(0.5, 3, n).astype("float32")
    places = np.setdiff1d(np.arange(2, n - 2), k)  # with k rows, shapes fit by chance
    cuts = np.sort(rng.choice(places, 2, replace=False))

    def counted(metric, labels=y, sizes=None, w=None):
        parts = np.split(np.arange(n), cuts if sizes is None else sizes)
        for rows in parts:
            some = () if w is None else (w[rows],)
            metric.update_state(labels[rows], p[rows], *some)
        return ops.convert_to_numpy(metric.result())

    def again():
        metric = PerClassTP(k)
        counted(metric)
        metric.reset_state()
        metric.update_state(y[: 4 * k], p[: 4 * k])
        return ops.convert_to_numpy(metric.result())

    def two():
        first, second = PerClassTP(k), PerClassTP(k)
        first.update_state(y[: 2 * k], p[: 2 * k])
        second.update_state(y[2 * k :], p[2 * k :])
        return [ops.convert_to_numpy(metric.result()) for metric in (first, second)]

    def compiled():
        metric = PerClassTP(k)
        update = tf.function(
            lambda *batch: metric.update_state(*batch), autograph=False
        )
        for start in range(0, 3 * k, k):
            rows = slice(start, start + k)
            update(tf.constant(y[rows]), tf.constant(p[rows]))
        return ops.convert_to_numpy(metric.result())

    given = {"num_classes": k, "rows": n}
    by_cuts, ones = {**given, "batches end at": cuts}, np.arange(1, 6)
    yield "all rows at once", lambda: counted(PerClassTP(k), sizes=[]), given
    yield "in batches", lambda: counted(PerClassTP(k)), by_cuts
    label = "five rows, one by one, then the rest"
    yield label, lambda: counted(PerClassTP(k), sizes=ones), given
    column, small = y[:, None].astype("float32"), y.astype("int32")
    yield "labels (b, 1) as float32", lambda: counted(PerClassTP(k), column), by_cuts
    yield "labels (b,) as int32", lambda: counted(PerClassTP(k), small), by_cuts
    yield "hits count by weight", lambda: counted(PerClassTP(k), w=weights), by_cuts
    yield "again after reset_state", again, given
    yield "two metrics, other rows each", two, given
    yield "update_state in a tf.function, as in fit", compiled, given


check("02/PerClassTP", evidence)

# %% mistake: (n,) and (n, 1) are compared row by row
"""You compare labels `(n,)` with best classes `(n, 1)`, or the other way round: that is
n x n comparisons, and you count more hits than rows. Flatten both first."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        self.hits = self.add_weight(name="hits", shape=(self.k,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.cast(y_true, "int32")
        best = ops.reshape(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), (-1, 1))
        hit = ops.cast(ops.equal(labels, best), "float32")
        if sample_weight is not None:
            hit = hit * sample_weight
        per_row = ops.sum(hit, axis=-1)
        table = ops.one_hot(ops.reshape(labels, (-1,)), self.k)
        self.hits.assign_add(ops.sum(per_row[:, None] * table, axis=0))

    def result(self):
        return self.hits


# %% mistake: labels always come as (n,)
"""Labels may come as `(n, 1)`. You compare those with best classes `(n,)`: that is
n x n comparisons. Flatten the labels first."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        self.hits = self.add_weight(name="hits", shape=(self.k,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.cast(y_true, "int32")
        best = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        hit = ops.cast(ops.equal(labels, best), "float32")
        if sample_weight is not None:
            hit = hit * sample_weight
        of_class = [ops.cast(ops.equal(labels, c), "float32") for c in range(self.k)]
        self.hits.assign_add(ops.stack([ops.sum(hit * one) for one in of_class]))

    def result(self):
        return self.hits


# %% mistake: one-hot labels always have the shape (n, k)
"""Labels may come as `(n, 1)`. Their one-hot rows are then `(n, 1, k)`, and the numbers
no longer meet row by row. Flatten the labels before anything else:
`ops.reshape(y_true, (-1,))`."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        self.hits = self.add_weight(name="hits", shape=(self.k,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.cast(y_true, "int32")
        best = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        hit = ops.one_hot(labels, self.k) * best
        if sample_weight is not None:
            hit = hit * sample_weight[:, None]
        self.hits.assign_add(ops.sum(hit, axis=0))

    def result(self):
        return self.hits


# %% mistake: `[:, None]` makes a column of any hits
"""Labels may come as `(n, 1)`. Compared with best classes `(n,)` they give n x n hits,
and `hit[:, None]` is no column any more. Flatten the labels before anything else:
`ops.reshape(y_true, (-1,))`."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        self.hits = self.add_weight(name="hits", shape=(self.k,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.cast(y_true, "int32")
        best = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        hit = ops.cast(ops.equal(labels, best), "float32")
        if sample_weight is not None:
            hit = hit * sample_weight
        table = ops.one_hot(labels, self.k)
        self.hits.assign_add(ops.sum(hit[:, None] * table, axis=0))

    def result(self):
        return self.hits


# %% mistake: argmax finds the class without an axis
"""`axis=0` looks for the best row of each class. The best class of each row is along
the last axis: `axis=-1`."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        self.hits = self.add_weight(name="hits", shape=(self.k,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        best = ops.cast(ops.argmax(y_pred, axis=0), "int32")
        hit = ops.cast(ops.equal(labels, best), "float32")
        if sample_weight is not None:
            hit = hit * sample_weight
        table = ops.one_hot(labels, self.k)
        self.hits.assign_add(ops.sum(hit[:, None] * table, axis=0))

    def result(self):
        return self.hits


# %% mistake: update_state stores the count of its batch
"""You `assign` the hits of the batch, so `result` only tells of the last one. Add to
what is there: `assign_add`."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        self.hits = self.add_weight(name="hits", shape=(self.k,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        best = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        hit = ops.cast(ops.equal(labels, best), "float32")
        if sample_weight is not None:
            hit = hit * sample_weight
        table = ops.one_hot(labels, self.k)
        self.hits.assign(ops.sum(hit[:, None] * table, axis=0))

    def result(self):
        return self.hits


# %% mistake: a Python attribute is as good as a variable
"""Your counts live in a Python attribute. In compiled code, as in `fit`, your lines run
once, while recording: the attribute then holds a placeholder or stays as it was. Counts
are made by `add_weight`."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        self.hits = np.zeros(num_classes, "float32")

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        best = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        hit = ops.cast(ops.equal(labels, best), "float32")
        if sample_weight is not None:
            hit = hit * sample_weight
        table = ops.one_hot(labels, self.k)
        self.hits = self.hits + ops.sum(hit[:, None] * table, axis=0)

    def result(self):
        return ops.convert_to_tensor(self.hits)

    def reset_state(self):
        self.hits = np.zeros(self.k, "float32")


# %% mistake: an array of zeros is state enough
"""You count in a NumPy array. Keras does not know it: `reset_state` leaves it as it is,
and in a `tf.function`, as in `fit`, NumPy meets placeholders and stops. Counts are made
by `add_weight`, sums by `ops`."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.hits = np.zeros(num_classes)

    def update_state(self, y_true, y_pred, sample_weight=None):
        best = np.argmax(y_pred, axis=-1)
        for row, label in enumerate(np.ravel(y_true).astype(int)):
            weight = 1 if sample_weight is None else sample_weight[row]
            self.hits[label] += weight * (label == best[row])

    def result(self):
        return self.hits


# %% mistake: counts in an attribute are reset, too
"""Nothing sets your counts to 0: Keras resets what `add_weight` made, and nothing else.
So those of one epoch run on into the next. (Is there a hook of yours? Keras calls
`reset_state`, in the singular.) Make the counts by `add_weight`; then you need none."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        self.hits = np.zeros(num_classes, "float32")

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        best = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        hit = ops.cast(ops.equal(labels, best), "float32")
        if sample_weight is not None:
            hit = hit * sample_weight
        table = ops.one_hot(labels, self.k)
        self.hits = self.hits + ops.sum(hit[:, None] * table, axis=0)

    def result(self):
        return ops.convert_to_tensor(self.hits)

    def reset_states(self):
        self.hits = np.zeros(self.k, "float32")


# %% mistake: weights are none of a metric's business
"""You take `sample_weight` and ignore it, so as a weighted metric you show the
unweighted count. Multiply each hit by its weight."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        self.hits = self.add_weight(name="hits", shape=(self.k,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        best = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        hit = ops.cast(ops.equal(labels, best), "float32")
        table = ops.one_hot(labels, self.k)
        self.hits.assign_add(ops.sum(hit[:, None] * table, axis=0))

    def result(self):
        return self.hits


# %% mistake: without weights, no parameter for them
"""Keras always passes `sample_weight` to `update_state`, as None if there is none.
Without the parameter your metric stops at the first `fit`."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        self.hits = self.add_weight(name="hits", shape=(self.k,), initializer="zeros")

    def update_state(self, y_true, y_pred):
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        best = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        hit = ops.cast(ops.equal(labels, best), "float32")
        table = ops.one_hot(labels, self.k)
        self.hits.assign_add(ops.sum(hit[:, None] * table, axis=0))

    def result(self):
        return self.hits


# %% mistake: `add_weight` starts at 0 by itself
"""`add_weight` has no default initializer. Write `add_weight(name="hits", shape=(k,),
initializer="zeros")`."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.hits = self.add_weight(name="hits", shape=(num_classes,))

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        best = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        hit = ops.cast(ops.equal(labels, best), "float32")
        table = ops.one_hot(labels, self.hits.shape[0])
        self.hits.assign_add(ops.sum(hit[:, None] * table, axis=0))

    def result(self):
        return self.hits


# %% mistake: the first argument of add_weight is the name
"""The first argument of `add_weight` is the shape today; in older code it was the name.
Name all of them: `add_weight(name="hits", shape=(k,), initializer="zeros")`."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.hits = self.add_weight("hits", shape=(num_classes,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        best = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        hit = ops.cast(ops.equal(labels, best), "float32")
        table = ops.one_hot(labels, self.hits.shape[0])
        self.hits.assign_add(ops.sum(hit[:, None] * table, axis=0))

    def result(self):
        return self.hits


# %% mistake: a score above 0.5 is a prediction
"""You count a score above 0.5 as the answer. Scores of several classes need not be
probabilities: all may lie below, or several above. The answer of a row is its highest
score, `ops.argmax(y_pred, axis=-1)`."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        self.hits = self.add_weight(name="hits", shape=(self.k,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        table = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        hit = table * ops.cast(y_pred > 0.5, "float32")
        if sample_weight is not None:
            hit = hit * ops.reshape(sample_weight, (-1, 1))
        self.hits.assign_add(ops.sum(hit, axis=0))

    def result(self):
        return self.hits


# %% mistake: every row of a class is a hit
"""You count the rows of each class, whatever the model answered. A hit also needs the
highest score at the label."""


class PerClassTP(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        self.hits = self.add_weight(name="hits", shape=(self.k,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        table = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        if sample_weight is not None:
            table = table * ops.reshape(sample_weight, (-1, 1))
        self.hits.assign_add(ops.sum(table, axis=0))

    def result(self):
        return self.hits


# %% [markdown]
# ## What built-in metrics expect
#
# Before you write a metric, look for a built-in one, and feed it what it expects. A
# **threshold** of 0.5 is meant for probabilities, and nobody stops you from giving it
# logits. Habit: try a metric on ten rows that you can count by hand. (*Precision*: of
# the rows called "yes", the share that is "yes".)

# %%
# rows: C23
truth, z = np.array([[0.0], [0], [1], [1]]), np.array([[-2.0], [-1], [-0.5], [0.4]])
for name, setting in {
    "Precision": {"thresholds": 0},
    "AUC": {"from_logits": True},
    "BinaryAccuracy": {"threshold": 0},
}.items():
    kind = getattr(keras.metrics, name)
    metrics = [kind(name="unaware"), kind(name="told", **setting)]
    logs = measure("mse", truth, z, metrics=metrics)
    print(f"{name:14} on logits {logs['unaware']:.2f}, told so {logs['told']:.2f}")
# %% [markdown]
# `Precision`, `AUC` and `F1Score` want yes/no columns, not class numbers. Class numbers
# `(n,)` beside scores `(n, k)` stop with an error, but only because the shapes
# disagree. In the last line both are one column: it runs, and every class but 0 counts
# as "yes".

# %%
# rows: C22
sparse = "sparse_categorical_crossentropy", np.array([0, 1, 2]), np.eye(3)
for name in ("Precision", "AUC", "F1Score"):
    metric = getattr(keras.metrics, name)()
    stops = outcome(lambda: measure(*sparse, metrics=[metric]))
    print(f"{name}: {stops.split(':')[0]}")
classes = np.array([[0.0], [1.0], [2.0], [2.0]])
scores = np.array([[0.1], [0.6], [0.8], [0.3]])
logs = measure("mse", classes, scores, metrics=["precision"])
print("Precision, both in one column:", logs["precision"])

# %% [markdown]
# ### Exercise: macro-F1 for a whole epoch
#
# The F1 of a class is `2 * hits / (labelled + predicted)`: its hits, the rows with that
# label, the rows predicted as that class. Macro-F1 is the mean over the classes. Write
# the metric `MacroF1(num_classes)` with all promises of `PerClassTP`; only `result()`
# is one number.
#
# - A class that is neither label nor prediction is left out of the mean. One that is
#   predicted but never a label counts, with 0.
# - Before the first row, the result is 0.
# - Weights, however small, count in all three counts.
#
# Labels 0, 1, 1, predicted as 0, 1, 2, have F1s of 1, 2/3 and 0; the result is 0.556.
# 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# Which three counts per class can be added over batches?
#
# </details>
# <details><summary>Hint 2</summary>
#
# With one-hot tables `truth` and `guess`, hits are in `truth * guess`. Weigh the rows
# of each of the three tables once, then sum over axis 0.
#
# </details>
# <details><summary>Hint 3</summary>
#
# In `result`: `f1 = ops.divide_no_nan(2 * hits, total)` with `total = labelled +
# predicted`, and `occurs = ops.cast(total > 0, "float32")`. The answer is the sum of
# `f1` divided by the sum of `occurs`.
#
# </details>


# %% exercise: MacroF1
class MacroF1(keras.metrics.Metric):
    """Mean F1 over the classes that occur, from counts over all batches."""

    def __init__(self, num_classes, **kwargs):
        ### BEGIN SOLUTION
        super().__init__(**kwargs)
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.total = self.add_weight(name="total", **vector)
        ### END SOLUTION

    def update_state(self, y_true, y_pred, sample_weight=None):
        ### BEGIN SOLUTION
        classes = self.hits.shape[0]
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        truth = ops.one_hot(labels, classes)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), classes)
        weights = ops.ones_like(truth[:, :1])
        if sample_weight is not None:
            weights = ops.cast(ops.reshape(sample_weight, (-1, 1)), "float32")
        self.hits.assign_add(ops.sum(weights * truth * guess, axis=0))
        self.total.assign_add(ops.sum(weights * (truth + guess), axis=0))
        ### END SOLUTION

    def result(self):
        ### BEGIN SOLUTION
        f1 = ops.divide_no_nan(2 * self.hits, self.total)
        occurs = ops.cast(self.total > 0, "float32")
        return ops.divide_no_nan(ops.sum(f1), ops.sum(occurs))
        ### END SOLUTION


# %% check: MacroF1, 4 points
def evidence(MacroF1, rng):
    k = int(rng.integers(3, 6))
    n = 8 * k + int(rng.integers(1, 5))
    y = rng.permutation(np.minimum(rng.geometric(0.45, n) - 1, k - 1))
    y[:k] = np.arange(k)
    right = rng.random(n) < rng.uniform(0.4, 0.9, k)[y]
    right[:k], right[k] = True, False  # so that no F1 is 1
    best = np.where(right, y, (y + rng.integers(1, k, n)) % k)
    p = rng.uniform(0, 0.5, (n, k)) + 0.55 * np.eye(k)[best]
    p = (p + 3 * rng.normal(size=(n, 1))).astype("float32")  # scores of any size
    weights = (1e-5 * rng.uniform(0.2, 2, n)).astype("float32")

    def value(size, labels=y, scores=p, w=None, classes=k, metric=None, n=n):
        metric = metric or MacroF1(classes)
        for start in range(0, n, size):
            rows = slice(start, min(start + size, n))
            some = () if w is None else (w[rows],)
            metric.update_state(labels[rows], scores[rows], *some)
        return ops.convert_to_numpy(metric.result())

    def again():
        metric = MacroF1(k)
        before = ops.convert_to_numpy(metric.result())
        value(n, metric=metric)
        metric.reset_state()
        emptied = ops.convert_to_numpy(metric.result())
        metric.update_state(y[: n // 2], p[: n // 2])
        return [before, emptied, ops.convert_to_numpy(metric.result())]

    def two():
        first, second = MacroF1(k), MacroF1(k)
        first.update_state(y[: n // 3], p[: n // 3])
        second.update_state(y[n // 3 :], p[n // 3 :])
        return [ops.convert_to_numpy(metric.result()) for metric in (first, second)]

    def compiled():
        metric = MacroF1(k)
        update = tf.function(
            lambda *batch: metric.update_state(*batch), autograph=False
        )
        for start in range(0, 3 * k, k):
            rows = slice(start, start + k)
            update(tf.constant(y[rows]), tf.constant(p[rows]))
        return ops.convert_to_numpy(metric.result())

    given = {"num_classes": k, "rows": n}
    yield "all rows at once", lambda: value(n), given
    uneven = n // 3 + 1
    yield "in batches, the last one smaller", lambda: value(uneven), given
    few = k + 3
    yield "a few rows, one by one", lambda: value(1, n=few), given
    column = y[:, None].astype("float32")
    yield "labels (b, 1) as float32", lambda: value(uneven, column), given
    yield "labels as int32", lambda: value(n, y.astype("int32")), given
    weighed = {**given, "first weights": weights[:3]}
    yield "rows count by weight", lambda: value(uneven, w=weights), weighed
    wide = np.pad(p, [(0, 0), (0, 2)], constant_values=-99)
    more = {"scores": wide, "classes": k + 2}
    yield "two more classes that never occur", lambda: value(n, **more), given
    never = p - 5 * np.eye(k, dtype="float32")[0]
    yield "a class that is never predicted", lambda: value(n, scores=never), given
    alarms = p + 5 * np.eye(k, dtype="float32")[0] * (np.arange(n) % 4 == 1)[:, None]
    rest = {"labels": y[y > 0], "scores": alarms[y > 0], "n": int((y > 0).sum())}
    yield "a class that is predicted, never a label", lambda: value(n, **rest), given
    yield "before, after reset_state, and later", again, given
    yield "two metrics, other rows each", two, given
    yield "update_state in a tf.function, as in fit", compiled, given


check("02/MacroF1", evidence)

# %% mistake: the F1 of batches can be averaged
"""You compute F1 for each batch and average. F1 is a ratio whose denominator changes
from batch to batch, so your result depends on the batch size. Add up hits, labels and
predictions, and divide once in `result`."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        self.sum = self.add_weight(name="sum", initializer="zeros")
        self.batches = self.add_weight(name="batches", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        w = ops.ones_like(truth[:, :1])
        w = w if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        total = ops.sum(w * (truth + guess), axis=0)
        f1 = ops.divide_no_nan(2 * ops.sum(w * truth * guess, axis=0), total)
        occurs = ops.sum(ops.cast(total > 0, "float32"))
        self.sum.assign_add(ops.divide_no_nan(ops.sum(f1), occurs))
        self.batches.assign_add(1.0)

    def result(self):
        return ops.divide_no_nan(self.sum, self.batches)


# %% mistake: update_state replaces what was there
"""You `assign` the counts, so only the last batch is measured. Use `assign_add`."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.total = self.add_weight(name="total", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        w = ops.ones_like(truth[:, :1])
        w = w if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        self.hits.assign(ops.sum(w * truth * guess, axis=0))
        self.total.assign(ops.sum(w * (truth + guess), axis=0))

    def result(self):
        f1 = ops.divide_no_nan(2 * self.hits, self.total)
        occurs = ops.cast(self.total > 0, "float32")
        return ops.divide_no_nan(ops.sum(f1), ops.sum(occurs))


# %% mistake: a class that never occurs has an F1 of 0
"""You divide by the number of all classes, so a class that neither occurs nor is
predicted pulls the mean down. Divide by the number of classes that occur."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.total = self.add_weight(name="total", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        w = ops.ones_like(truth[:, :1])
        w = w if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        self.hits.assign_add(ops.sum(w * truth * guess, axis=0))
        self.total.assign_add(ops.sum(w * (truth + guess), axis=0))

    def result(self):
        return ops.mean(ops.divide_no_nan(2 * self.hits, self.total))


# %% mistake: a class counts if it has labels
"""You divide by the number of classes with labels. A class that is only predicted, each
time wrongly, has an F1 of 0, and it must pull the mean down. Count the classes whose
labels plus predictions are more than 0."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.labelled = self.add_weight(name="labelled", **vector)
        self.predicted = self.add_weight(name="predicted", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        w = ops.ones_like(truth[:, :1])
        w = w if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        self.hits.assign_add(ops.sum(w * truth * guess, axis=0))
        self.labelled.assign_add(ops.sum(w * truth, axis=0))
        self.predicted.assign_add(ops.sum(w * guess, axis=0))

    def result(self):
        f1 = ops.divide_no_nan(2 * self.hits, self.labelled + self.predicted)
        occurs = ops.cast(self.labelled > 0, "float32")
        return ops.divide_no_nan(ops.sum(f1), ops.sum(occurs))


# %% mistake: a class counts if it was hit
"""You divide by the number of classes with hits. A class that is never hit has an F1 of
0, and it must pull the mean down. Count the classes whose labels plus predictions are
more than 0."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.total = self.add_weight(name="total", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        w = ops.ones_like(truth[:, :1])
        w = w if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        self.hits.assign_add(ops.sum(w * truth * guess, axis=0))
        self.total.assign_add(ops.sum(w * (truth + guess), axis=0))

    def result(self):
        f1 = ops.divide_no_nan(2 * self.hits, self.total)
        occurs = ops.cast(f1 > 0, "float32")
        return ops.divide_no_nan(ops.sum(f1), ops.sum(occurs))


# %% mistake: counts are at least 1
"""You divide by a count of at least 1, so that it is never 0. But weighted counts may
lie between 0 and 1, and those come out too low, or are left out. Use
`ops.divide_no_nan`, and count classes with `total > 0`."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.total = self.add_weight(name="total", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        w = ops.ones_like(truth[:, :1])
        w = w if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        self.hits.assign_add(ops.sum(w * truth * guess, axis=0))
        self.total.assign_add(ops.sum(w * (truth + guess), axis=0))

    def result(self):
        f1 = 2 * self.hits / ops.maximum(self.total, 1.0)
        occurs = ops.cast(self.total > 0, "float32")
        return ops.sum(f1) / ops.maximum(ops.sum(occurs), 1.0)


# %% mistake: truth and guess are weighed before they meet
"""You weigh both tables and multiply them: a hit carries its weight twice. Weigh the
product `truth * guess` once."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.total = self.add_weight(name="total", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        w = ops.ones_like(truth[:, :1])
        w = w if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        truth, guess = w * truth, w * guess
        self.hits.assign_add(ops.sum(truth * guess, axis=0))
        self.total.assign_add(ops.sum(truth + guess, axis=0))

    def result(self):
        f1 = ops.divide_no_nan(2 * self.hits, self.total)
        occurs = ops.cast(self.total > 0, "float32")
        return ops.divide_no_nan(ops.sum(f1), ops.sum(occurs))


# %% mistake: a tiny number below a fraction changes nothing
"""You add a tiny number to the divisor, so that it is never 0. Where weights are tiny,
too, it is not: F1 comes out too low. `ops.divide_no_nan` needs no such number."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.total = self.add_weight(name="total", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        w = ops.ones_like(truth[:, :1])
        w = w if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        self.hits.assign_add(ops.sum(w * truth * guess, axis=0))
        self.total.assign_add(ops.sum(w * (truth + guess), axis=0))

    def result(self):
        f1 = 2 * self.hits / (self.total + 1e-7)
        occurs = ops.cast(self.total > 0, "float32")
        return ops.divide_no_nan(ops.sum(f1), ops.sum(occurs))


# %% mistake: 0 divided by 0 is 0
"""For a class without rows (and before the first row) you divide 0 by 0: NaN, and the
mean with it. Use `ops.divide_no_nan`, and leave such classes out of the mean."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.total = self.add_weight(name="total", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        w = ops.ones_like(truth[:, :1])
        w = w if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        self.hits.assign_add(ops.sum(w * truth * guess, axis=0))
        self.total.assign_add(ops.sum(w * (truth + guess), axis=0))

    def result(self):
        return ops.mean(2 * self.hits / self.total)


# %% mistake: nobody asks before the first row
"""Before the first row no class occurs, and your mean is 0 / 0: NaN, also right after
`reset_state`. Divide by `ops.divide_no_nan`, which gives 0 there."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.total = self.add_weight(name="total", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        w = ops.ones_like(truth[:, :1])
        w = w if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        self.hits.assign_add(ops.sum(w * truth * guess, axis=0))
        self.total.assign_add(ops.sum(w * (truth + guess), axis=0))

    def result(self):
        f1 = ops.divide_no_nan(2 * self.hits, self.total)
        return ops.sum(f1) / ops.sum(ops.cast(self.total > 0, "float32"))


# %% mistake: F1 over all rows is macro-F1
"""You add the counts of all classes before dividing. For one label per row that is the
accuracy, and large classes decide. Macro means: one F1 per class, then the mean."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.total = self.add_weight(name="total", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        w = ops.ones_like(truth[:, :1])
        w = w if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        self.hits.assign_add(ops.sum(w * truth * guess, axis=0))
        self.total.assign_add(ops.sum(w * (truth + guess), axis=0))

    def result(self):
        return ops.divide_no_nan(2 * ops.sum(self.hits), ops.sum(self.total))


# %% mistake: recall of each class is enough
"""You divide the hits by the rows with that label: this is recall, and false alarms are
free. F1 divides twice the hits by labels plus predictions."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.labelled = self.add_weight(name="labelled", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        w = ops.ones_like(truth[:, :1])
        w = w if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        self.hits.assign_add(ops.sum(w * truth * guess, axis=0))
        self.labelled.assign_add(ops.sum(w * truth, axis=0))

    def result(self):
        recall = ops.divide_no_nan(self.hits, self.labelled)
        occurs = ops.sum(ops.cast(self.labelled > 0, "float32"))
        return ops.divide_no_nan(ops.sum(recall), occurs)


# %% mistake: F1 comes from mean precision and mean recall
"""You average precision and recall over the classes and combine the two means. Macro-F1
is the mean of the F1 of each class; the order matters."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.labelled = self.add_weight(name="labelled", **vector)
        self.predicted = self.add_weight(name="predicted", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        w = ops.ones_like(truth[:, :1])
        w = w if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        self.hits.assign_add(ops.sum(w * truth * guess, axis=0))
        self.labelled.assign_add(ops.sum(w * truth, axis=0))
        self.predicted.assign_add(ops.sum(w * guess, axis=0))

    def result(self):
        occurs = ops.sum(ops.cast(self.labelled + self.predicted > 0, "float32"))
        recall = ops.sum(ops.divide_no_nan(self.hits, self.labelled))
        precision = ops.sum(ops.divide_no_nan(self.hits, self.predicted))
        both = ops.divide_no_nan(2 * recall * precision, recall + precision)
        return ops.divide_no_nan(both, occurs)


# %% mistake: weights change nothing in a ratio
"""You ignore `sample_weight`. A ratio of weighted counts differs from the unweighted
one: multiply each row by its weight in all counts."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.total = self.add_weight(name="total", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.k)
        guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.k)
        self.hits.assign_add(ops.sum(truth * guess, axis=0))
        self.total.assign_add(ops.sum(truth + guess, axis=0))

    def result(self):
        f1 = ops.divide_no_nan(2 * self.hits, self.total)
        occurs = ops.cast(self.total > 0, "float32")
        return ops.divide_no_nan(ops.sum(f1), ops.sum(occurs))


# %% mistake: a metric starts without super().__init__
"""Your `__init__` does not call `super().__init__(**kwargs)` first, and without it
`add_weight` has nowhere to put its variables."""


class MacroF1(keras.metrics.Metric):
    def __init__(self, num_classes, **kwargs):
        self.k = num_classes
        vector = {"shape": (num_classes,), "initializer": "zeros"}
        self.hits = self.add_weight(name="hits", **vector)
        self.total = self.add_weight(name="total", **vector)

    def update_state(self, y_true, y_pred, sample_weight=None):
        pass

    def result(self):
        return ops.sum(self.hits)


# %% [markdown]
# ## A loss from inside a layer
#
# Some wishes have no target: "most activations should be small". A layer can say so
# itself, with `self.add_loss(number)` in `call`. Keras adds what is in `model.losses`
# to the loss of `compile`, in training and in `evaluate`.


# %%
# rows: C24
class Quiet(keras.layers.Layer):
    """Hands its input on and makes large numbers expensive."""

    def __init__(self, rate=0.1, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, x):
        self.add_loss(self.rate * ops.sum(ops.abs(x)))  # as in many old examples
        return x


model = keras.Sequential([keras.Input((1,)), Quiet()])
model.compile("sgd", "mse")
mse = measure("mse", target, arrival)["loss"]
total = model.evaluate(arrival, target, verbose=0)
print(f"reported {total:.2f} = mse {mse:.2f} + 0.1 * {np.abs(arrival).sum():.0f}")


# %%
# rows: C25, C26, C34
def entries(layer):
    return [round(float(ops.sum(loss)), 2) for loss in layer.losses]


quiet = Quiet()
print("before any call:    ", entries(quiet))
for x in (arrival, arrival[:2], arrival[:3]):
    quiet(x)
    print(f"a call with {len(x)} rows: ", entries(quiet))
column = keras.Input((1,))
twice = keras.Model(column, quiet(quiet(column)))
twice(arrival)
print("used twice:         ", entries(twice))
dense = keras.layers.Dense(2, kernel_initializer="ones", kernel_regularizer="l2")
dense.build((None, 3))
print("kernel_regularizer: ", entries(dense), "without any call")

# %% [markdown]
# The list is emptied at each call, so it never piles up. (`__init__` is no place for
# `add_loss`: a number raises an error, a tensor is lost at the first call.) A layer
# that is used twice adds twice. Penalties on weights need no input, so they are there
# before any call.
#
# Now look at the calls with 4, 2 and 3 rows: 5, 2.2 and 2.9. The penalty is a **sum
# over the batch**, the loss of `compile` a mean. What happens with larger batches?
# Keras' own regularizer stands beside it.

# %%
# rows: C25, C26
(x_train, y_train), _ = data.load_digits()
sizes = [1, 2, 4, 8, 16, 32, 64]


def penalties(layer):
    return [entries(layer)[0] for n in sizes if layer(x_train[:n]) is not None]


lines = {
    "sum": penalties(Quiet()),
    "activity_regularizer": penalties(keras.layers.ActivityRegularization(l1=0.1)),
}
plots.by_batch_size(sizes, lines, "A summed penalty grows with the batch", "penalty")

# %% [markdown]
# With the sum, doubling the batch size doubles the price of the same activations, while
# the data loss stays. Mind the version: `activity_regularizer` divides by the number of
# rows in Keras 3.15; in 3.13, which Colab has, it is a sum as well. Habit: write the
# penalty yourself, as a mean. (Give `add_loss` a vector, and Keras takes its sum.)
#
# To **watch** a quantity inside a layer, give the layer a metric: create it in
# `__init__`, update it in `call`. Keras finds it, resets it each epoch and logs it, for
# validation as well.


# %%
# rows: C27
class Watched(Quiet):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.size = keras.metrics.Mean(name="size")

    def call(self, x):
        self.size.update_state(ops.abs(x))
        return super().call(x)


model = keras.Sequential([keras.Input((1,)), Watched(), keras.layers.Dense(1)])
model.compile("sgd", "mse")
held_out = arrival[:2], target[:2]
log = model.fit(arrival, target, epochs=2, validation_data=held_out, verbose=0).history
print("size:    ", log["size"], "of", arrival.ravel())
print("val_size:", log["val_size"], "of", held_out[0].ravel())

# %% [markdown]
# ### Exercise: a layer that keeps activations small
#
# Write the layer `SparsityLayer(rate)` for inputs `(n, d)`. It returns its input, adds
# `rate` times the mean of the absolute values (over all numbers of the batch) to the
# loss, and logs `activity`: the mean absolute value over **all rows** since the last
# reset, also when the last batch is smaller. The gradient flows through the penalty.
# All this holds in training and in `evaluate` alike.
#
# `SparsityLayer(0.5)` on `[[1.0, -3.0]]` adds `0.5 * 2.0` and logs 2.0. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# Three things in `call`: a loss, an update of a metric, the return value.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A `keras.metrics.Mean` that gets one value per row counts rows; one that gets one
# value per batch counts batches.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `size = ops.mean(ops.abs(x), axis=-1)`, then `self.add_loss(self.rate *
# ops.mean(size))` and `self.activity.update_state(size)`, where `self.activity =
# keras.metrics.Mean(name="activity")` stands in `__init__`.
#
# </details>


# %% exercise: SparsityLayer
class SparsityLayer(keras.layers.Layer):
    """Returns its input; adds rate * mean|input| to the loss and logs `activity`."""

    def __init__(self, rate, **kwargs):
        ### BEGIN SOLUTION
        super().__init__(**kwargs)
        self.rate = rate
        self.activity = keras.metrics.Mean(name="activity")
        ### END SOLUTION

    def call(self, x):
        ### BEGIN SOLUTION
        size = ops.mean(ops.abs(x), axis=-1)
        self.add_loss(self.rate * ops.mean(size))
        self.activity.update_state(size)
        return x
        ### END SOLUTION


# %% check: SparsityLayer, 4 points
def evidence(SparsityLayer, rng):
    n, d, size = int(rng.integers(7, 10)), int(rng.integers(3, 6)), 5
    rate, other = float(rng.uniform(0.2, 0.5)), float(rng.uniform(0.6, 0.9))
    x = rng.normal(size=(n, d)).astype("float32") * np.arange(1, n + 1)[:, None]
    x = x.astype("float32")
    y = x + rng.normal(size=(n, d)).astype("float32")

    def penalty(rows):
        layer = SparsityLayer(rate)
        layer(x)
        layer(rows)
        return sum(float(ops.sum(loss)) for loss in layer.losses)

    def slope():
        layer, rows = SparsityLayer(rate), tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            layer(rows)
            total = sum((ops.sum(loss) for loss in layer.losses), tf.constant(0.0))
        return tape.gradient(total, rows)

    def logs():
        model = keras.Sequential([keras.Input((d,)), SparsityLayer(rate)])
        model.compile("sgd", "mse", run_eagerly=True)
        return model.evaluate(x, y, size, return_dict=True, verbose=0)

    def trained():
        dense = keras.layers.Dense(d, use_bias=False)
        model = keras.Sequential([keras.Input((d,)), dense, SparsityLayer(rate)])
        model.set_weights([0.5 * np.eye(d) + 0.1])
        model.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=True)
        logs = model.train_on_batch(x, y, return_dict=True)
        return {**logs, "weights then": model.get_weights()[0]}

    def two():
        layers = [SparsityLayer(rate), keras.layers.Rescaling(2), SparsityLayer(other)]
        model = keras.Sequential([keras.Input((d,)), *layers])
        model(x)
        return float(sum(ops.sum(loss) for loss in model.losses))

    def compiled():
        layer = SparsityLayer(rate)
        layer.build((None, d))
        graph = tf.function(lambda rows: layer(rows), autograph=False)
        for rows in (x[:3], x[3:6], x[2:5]):
            graph(tf.constant(rows))
        return [float(metric.result()) for metric in layer.metrics]

    given = {"rate": rate, "rows": n, "numbers in a row": d}
    yield "hands its input on", lambda: SparsityLayer(rate)(x), given
    yield "the penalty of all rows", lambda: penalty(x), given
    yield "the penalty of three rows", lambda: penalty(x[:3]), given
    yield "the slope of the penalty", slope, given
    yield "two layers add up", two, given
    yield "the metric in a tf.function, as in fit", compiled, given
    yield "evaluate with mse, last batch smaller", logs, {**given, "batch_size": size}
    step = {**given, "learning_rate": 0.01}
    yield "train_on_batch with mse, after a Dense", trained, step


check("02/SparsityLayer", evidence)

# %% mistake: a penalty is a sum
"""You sum over the batch, so the penalty grows with the batch size, while the data loss
is a mean. Use `ops.mean`."""


class SparsityLayer(keras.layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.activity = keras.metrics.Mean(name="activity")

    def call(self, x):
        self.add_loss(self.rate * ops.sum(ops.abs(x)))
        self.activity.update_state(ops.mean(ops.abs(x), axis=-1))
        return x


# %% mistake: only the rows must be averaged
"""You divide by the number of rows, as `activity_regularizer` does, but a row still
counts the sum of its numbers. Here the mean runs over all numbers of the batch."""


class SparsityLayer(keras.layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.activity = keras.metrics.Mean(name="activity")

    def call(self, x):
        self.add_loss(self.rate * ops.mean(ops.sum(ops.abs(x), axis=-1)))
        self.activity.update_state(ops.mean(ops.abs(x), axis=-1))
        return x


# %% mistake: one update of the metric per batch is fair
"""You give the metric one number per batch, so a small last batch counts as much as a
full one. Give it one value per row: the mean over `axis=-1`."""


class SparsityLayer(keras.layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.activity = keras.metrics.Mean(name="activity")

    def call(self, x):
        size = ops.mean(ops.abs(x))
        self.add_loss(self.rate * size)
        self.activity.update_state(size)
        return x


# %% mistake: add_metric logs a value
"""`add_metric` was removed. Create a `keras.metrics.Mean(name="activity")` in
`__init__` and update it in `call`; Keras finds it by itself."""


class SparsityLayer(keras.layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, x):
        self.add_loss(self.rate * ops.mean(ops.abs(x)))
        self.add_metric(ops.mean(ops.abs(x)), name="activity", aggregation="mean")
        return x


# %% mistake: positive and negative numbers may cancel
"""You leave out the absolute value, so large numbers of both signs cancel, and very
negative ones even earn something. Use `ops.abs`."""


class SparsityLayer(keras.layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.activity = keras.metrics.Mean(name="activity")

    def call(self, x):
        self.add_loss(self.rate * ops.mean(x))
        self.activity.update_state(ops.mean(x, axis=-1))
        return x


# %% mistake: activity is the penalty
"""You log the penalty, `rate` included. `activity` is the mean absolute value
itself."""


class SparsityLayer(keras.layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.activity = keras.metrics.Mean(name="activity")

    def call(self, x):
        size = self.rate * ops.mean(ops.abs(x), axis=-1)
        self.add_loss(ops.mean(size))
        self.activity.update_state(size)
        return x


# %% mistake: a metric is enough to make it expensive
"""You watch the activity, but add nothing to the loss. A metric only shows; what shall
be small must be in the loss: `self.add_loss(...)`."""


class SparsityLayer(keras.layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.activity = keras.metrics.Mean(name="activity")

    def call(self, x):
        self.activity.update_state(ops.mean(ops.abs(x), axis=-1))
        return x


# %% mistake: a new metric in every call
"""You create the metric in `call`, so each batch has a new one and Keras never finds
it. State is created once, in `__init__`."""


class SparsityLayer(keras.layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, x):
        activity = keras.metrics.Mean(name="activity")
        self.add_loss(self.rate * ops.mean(ops.abs(x)))
        activity.update_state(ops.mean(ops.abs(x), axis=-1))
        return x


# %% mistake: what is added as a loss is logged, too
"""Your layer has no metric. `add_loss` only changes the total loss; to see `activity`
in the logs, create a `keras.metrics.Mean(name="activity")` in `__init__` and update it
in `call`."""


class SparsityLayer(keras.layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, x):
        self.add_loss(self.rate * ops.mean(ops.abs(x)))
        return x


# %% mistake: `evaluate` is no time to watch
"""You update the metric only where `training` is true, so in `evaluate` and for
validation `activity` stays at 0. Update it in every call."""


class SparsityLayer(keras.layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.activity = keras.metrics.Mean(name="activity")

    def call(self, x, training=False):
        size = ops.mean(ops.abs(x), axis=-1)
        self.add_loss(self.rate * ops.mean(size))
        if training:
            self.activity.update_state(size)
        return x


# %% mistake: a penalty is for training only
"""You add the penalty only where `training` is true. Then the loss of `evaluate` and
the validation loss lack a part, and cannot be compared with the one of training.
`add_loss` in every call."""


class SparsityLayer(keras.layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.activity = keras.metrics.Mean(name="activity")

    def call(self, x, training=False):
        size = ops.mean(ops.abs(x), axis=-1)
        if training:
            self.add_loss(self.rate * ops.mean(size))
        self.activity.update_state(size)
        return x


# %% mistake: training and evaluation need a loss each
"""You add the penalty twice. What `add_loss` got counts in training and in `evaluate`;
once is enough."""


class SparsityLayer(keras.layers.Layer):
    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.activity = keras.metrics.Mean(name="activity")

    def call(self, x):
        size = ops.mean(ops.abs(x), axis=-1)
        self.add_loss(self.rate * ops.mean(size))  # for training
        self.add_loss(self.rate * ops.mean(size))  # for evaluation
        self.activity.update_state(size)
        return x


# %% [markdown]
# ## Training without any target
#
# If added losses are all you want, `compile` needs no loss, and `fit` no `y`. Here a
# model squeezes digits through 16 numbers and compares the result with its own input.
# A `y` that you pass all the same is ignored. In the second cell `LiveCurves`, a
# callback of this course, draws the loss while the training runs.


# %%
# rows: C31
class Squeeze(keras.Model):
    def __init__(self):
        super().__init__()
        self.narrow = keras.layers.Dense(16, "relu")
        self.wide = keras.layers.Dense(64, "sigmoid")

    def call(self, x):
        again = self.wide(self.narrow(x))
        self.add_loss(ops.mean(ops.square(again - x)))
        return again


squeeze = Squeeze()
squeeze.compile("adam")
alone = squeeze.evaluate(x_train, verbose=0)
with_y = squeeze.evaluate(x_train, y_train, verbose=0)
by_hand = np.mean((squeeze.predict(x_train, verbose=0) - x_train) ** 2)
print("without y, with a useless y:", np.allclose([alone, with_y], by_hand))

# %% varies: training
# rows: C31
live = plots.LiveCurves("loss")
history = squeeze.fit(x_train, epochs=12, callbacks=[live], verbose=0)
plots.images(x_train[:5], y_train[:5], "Five digits")
through = squeeze.predict(x_train[:5], verbose=0)
plots.images(through, y_train[:5], "What came through 16 numbers")

# %% [markdown]
# An **endpoint** goes one step further: a layer that takes the targets as an *input*,
# adds the loss, and returns predictions. You train with a dict whose keys are the names
# of the inputs, as in `keras.Input(..., name="image")`. For predictions you build a
# second model that shares the layers and needs no targets.


# %%
# rows: C32
class Endpoint(keras.layers.Layer):
    def call(self, targets, predictions):
        self.add_loss(ops.mean(ops.square(targets - predictions)))
        return predictions


inputs, targets = keras.Input((64,), name="image"), keras.Input((1,), name="digit")
predictions = keras.layers.Dense(1)(inputs)
trained = keras.Model([inputs, targets], Endpoint()(targets, predictions))
used = keras.Model(inputs, predictions)
trained.compile("sgd")  # no loss
images, digits = x_train[:32], y_train[:32, None]
loss = trained.evaluate({"image": images, "digit": digits}, verbose=0)
guesses = used.predict(images, verbose=0)
print("loss as by hand:  ", np.isclose(loss, np.mean((guesses - digits) ** 2)))
stops = outcome(lambda: trained.predict(images, verbose=0))
print("without targets:  ", guesses.shape, "from `used`,", stops.split(":")[0])

# %% [markdown]
# The arguments of `call` have an order, and nobody checks it. A published example once
# passed `(logits, targets)` to a `call(targets, logits)`. The picture trains three
# logits for 30 steps, both ways. (`GradientTape` gives the slope of a loss for such a
# step by hand; lesson 07 is about it.)
#
# Swapped, the logits play the labels, and labels that may grow make the loss as
# negative as you like. Habit: a plain cross-entropy below zero is always a bug.


# %%
# rows: C33
def descend(loss_of):
    logits, losses = tf.Variable([[0.5], [-0.5], [1.0]]), []
    for _ in range(30):
        with tf.GradientTape() as tape:
            loss = loss_of(tf.constant([[1.0], [0.0], [1.0]]), logits)
        logits.assign_sub(tape.gradient(loss, logits))
        losses.append(float(loss))
    return losses


bce = keras.losses.BinaryCrossentropy(from_logits=True)
right, swapped = descend(bce), descend(lambda targets, logits: bce(logits, targets))
lines = {"(targets, logits)": right, "(logits, targets)": swapped}
title = "Swapped: the loss falls below zero, and never stops"
plots.curves(range(30), lines, title, "step", "loss")

# %% [markdown]
# ### Exercise: a model that carries its loss
#
# Each row has `d` inputs and `k` yes/no targets. Write `build_endpoint(d, k)`; it
# returns `(train_model, infer_model)`, neither of them compiled.
#
# - `train_model` takes a dict, `{"inputs": (n, d), "targets": (n, k)}`; it adds its
#   loss itself: the binary cross-entropy, averaged over all numbers of the batch. It is
#   compiled without a loss and fitted without `y`.
# - `infer_model` takes the inputs `(n, d)` alone.
# - Both return the probabilities `(n, k)`, from one shared `Dense(k)` layer, which is
#   the only layer with weights.
#
# With all weights 0, every probability is 0.5 and the added loss 0.693. 25 minutes.
#
# <details><summary>Hint 1</summary>
#
# Two `keras.Input(..., name=...)`, one `Dense(k)` called once, and two models that use
# its output.
#
# </details>
# <details><summary>Hint 2</summary>
#
# An endpoint layer with `call(self, targets, logits)` adds the loss. A functional model
# has no `add_loss` of its own.
#
# </details>
# <details><summary>Hint 3</summary>
#
# In the endpoint: `loss = keras.losses.binary_crossentropy(targets, logits,
# from_logits=True)`, `self.add_loss(ops.mean(loss))`, `return ops.sigmoid(logits)`.
# Then `keras.Model({"inputs": inputs, "targets": targets}, probabilities)`.
#
# </details>


# %% exercise: build_endpoint
def build_endpoint(d, k):
    """Models that share one Dense(k): one adds its own loss, one only predicts."""
    ### BEGIN SOLUTION

    class LogisticEndpoint(keras.layers.Layer):
        def call(self, targets, logits):
            bce = keras.losses.binary_crossentropy(targets, logits, from_logits=True)
            self.add_loss(ops.mean(bce))
            return ops.sigmoid(logits)

    inputs = keras.Input((d,), name="inputs")
    targets = keras.Input((k,), name="targets")
    logits = keras.layers.Dense(k)(inputs)
    both = {"inputs": inputs, "targets": targets}
    train_model = keras.Model(both, LogisticEndpoint()(targets, logits))
    return train_model, keras.Model(inputs, ops.sigmoid(logits))
    ### END SOLUTION


# %% check: build_endpoint, 4 points
def evidence(build_endpoint, rng):
    n, d, k = int(rng.integers(7, 10)), int(rng.integers(3, 6)), int(rng.integers(2, 4))
    x = rng.normal(size=(n, d)).astype("float32")
    y = rng.integers(0, 2, (n, k)).astype("float32")
    y[0], y[1] = 0, 1  # both kinds in each column
    weights = [0.7 * rng.normal(size=(d, k)), 0.3 * rng.normal(size=k)]
    train_model, infer_model = build_endpoint(d, k)
    rows = {"inputs": x, "targets": y}
    train_model(rows)  # a subclassed model makes its weights now
    train_model.set_weights(weights)

    def added(part):
        train_model({name: values[part] for name, values in rows.items()})
        return [float(ops.sum(loss)) for loss in train_model.losses]

    def probabilities():
        return np.asarray(infer_model(x))

    def trained():
        train_model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
        for _ in range(2):
            train_model.train_on_batch(rows)
        return added(slice(None))

    given = {"rows": n, "d": d, "k": k}
    models = train_model, infer_model
    yield "compiled already?", lambda: [model.compiled for model in models], given
    yield "the added loss", lambda: added(slice(None)), given
    yield "the added loss of three rows", lambda: added(slice(3)), given
    yield "train_model returns probabilities", lambda: train_model(rows), given
    yield "infer_model: the same, from inputs alone", probabilities, given
    given = {**given, "learning_rate": 0.5, "updates": 2}
    yield "the added loss after training", trained, given
    yield "infer_model after training", probabilities, given


check("02/build_endpoint", evidence)

# %% mistake: (logits, targets) is as good as (targets, logits)
"""You pass the logits where the targets belong. The loss then pulls the "labels" along
and falls below zero without end. The order is `(y_true, y_pred)`, also in your own
layers."""


def build_endpoint(d, k):
    class LogisticEndpoint(keras.layers.Layer):
        def call(self, targets, logits):
            bce = keras.losses.binary_crossentropy(targets, logits, from_logits=True)
            self.add_loss(ops.mean(bce))
            return ops.sigmoid(logits)

    inputs = keras.Input((d,), name="inputs")
    targets = keras.Input((k,), name="targets")
    logits = keras.layers.Dense(k)(inputs)
    both = {"inputs": inputs, "targets": targets}
    train_model = keras.Model(both, LogisticEndpoint()(logits, targets))
    return train_model, keras.Model(inputs, ops.sigmoid(logits))


# %% mistake: a functional model has add_loss
"""`model.add_loss(tensor)` on a functional model was removed; it stops with an empty
message. Put `self.add_loss(...)` into the `call` of a layer."""


def build_endpoint(d, k):
    inputs = keras.Input((d,), name="inputs")
    targets = keras.Input((k,), name="targets")
    logits = keras.layers.Dense(k)(inputs)
    probabilities = keras.layers.Activation("sigmoid")(logits)
    both, outputs = {"inputs": inputs, "targets": targets}, probabilities + 0 * targets
    train_model = keras.Model(both, outputs)
    train_model.add_loss(
        ops.mean(ops.binary_crossentropy(targets, logits, from_logits=True))
    )
    return train_model, keras.Model(inputs, probabilities)


# %% mistake: a second Dense has the same weights
"""`infer_model` has a `Dense` layer of its own, with weights that are never trained.
Build both models from the same tensors: then they share the layer."""


def build_endpoint(d, k):
    class LogisticEndpoint(keras.layers.Layer):
        def call(self, targets, logits):
            bce = keras.losses.binary_crossentropy(targets, logits, from_logits=True)
            self.add_loss(ops.mean(bce))
            return ops.sigmoid(logits)

    inputs = keras.Input((d,), name="inputs")
    targets = keras.Input((k,), name="targets")
    logits = keras.layers.Dense(k)(inputs)
    both = {"inputs": inputs, "targets": targets}
    train_model = keras.Model(both, LogisticEndpoint()(targets, logits))
    other = keras.layers.Dense(k, "sigmoid")
    return train_model, keras.Sequential([keras.Input((d,)), other])


# %% mistake: the models come compiled
"""You compile the models. That is the caller's part: they choose the optimizer. And a
model that carries its loss needs none from `compile`."""


def build_endpoint(d, k):
    class LogisticEndpoint(keras.layers.Layer):
        def call(self, targets, logits):
            bce = keras.losses.binary_crossentropy(targets, logits, from_logits=True)
            self.add_loss(ops.mean(bce))
            return ops.sigmoid(logits)

    inputs = keras.Input((d,), name="inputs")
    targets = keras.Input((k,), name="targets")
    logits = keras.layers.Dense(k)(inputs)
    both = {"inputs": inputs, "targets": targets}
    train_model = keras.Model(both, LogisticEndpoint()(targets, logits))
    train_model.compile("adam")
    return train_model, keras.Model(inputs, ops.sigmoid(logits))


# %% mistake: the added loss is a sum over the batch
"""You add the sum of the losses. It grows with the batch size, and so does every step.
Add the mean."""


def build_endpoint(d, k):
    class LogisticEndpoint(keras.layers.Layer):
        def call(self, targets, logits):
            bce = ops.binary_crossentropy(targets, logits, from_logits=True)
            self.add_loss(ops.sum(bce))
            return ops.sigmoid(logits)

    inputs = keras.Input((d,), name="inputs")
    targets = keras.Input((k,), name="targets")
    logits = keras.layers.Dense(k)(inputs)
    both = {"inputs": inputs, "targets": targets}
    train_model = keras.Model(both, LogisticEndpoint()(targets, logits))
    return train_model, keras.Model(inputs, ops.sigmoid(logits))


# %% mistake: a vector of losses is averaged
"""You add one loss per row. What `add_loss` gets is summed, not averaged, so the loss
grows with the batch. Take the mean yourself."""


def build_endpoint(d, k):
    class LogisticEndpoint(keras.layers.Layer):
        def call(self, targets, logits):
            bce = keras.losses.binary_crossentropy(targets, logits, from_logits=True)
            self.add_loss(bce)
            return ops.sigmoid(logits)

    inputs = keras.Input((d,), name="inputs")
    targets = keras.Input((k,), name="targets")
    logits = keras.layers.Dense(k)(inputs)
    both = {"inputs": inputs, "targets": targets}
    train_model = keras.Model(both, LogisticEndpoint()(targets, logits))
    return train_model, keras.Model(inputs, ops.sigmoid(logits))


# %% mistake: the endpoint may return logits
"""Your models return logits. Both must return probabilities: apply the sigmoid at the
end, and keep the logits for the loss only."""


def build_endpoint(d, k):
    class LogisticEndpoint(keras.layers.Layer):
        def call(self, targets, logits):
            bce = keras.losses.binary_crossentropy(targets, logits, from_logits=True)
            self.add_loss(ops.mean(bce))
            return logits

    inputs = keras.Input((d,), name="inputs")
    targets = keras.Input((k,), name="targets")
    logits = keras.layers.Dense(k)(inputs)
    both = {"inputs": inputs, "targets": targets}
    train_model = keras.Model(both, LogisticEndpoint()(targets, logits))
    return train_model, keras.Model(inputs, logits)


# %% mistake: sigmoid and from_logits belong together
"""Your `Dense` has a sigmoid, and the loss, told `from_logits=True`, applies another
one. Give the loss logits, or leave `from_logits` out."""


def build_endpoint(d, k):
    class LogisticEndpoint(keras.layers.Layer):
        def call(self, targets, outputs):
            probability = outputs + 0.0
            two = {"target": targets, "output": probability, "from_logits": True}
            self.add_loss(ops.mean(ops.binary_crossentropy(**two)))
            return outputs

    inputs = keras.Input((d,), name="inputs")
    targets = keras.Input((k,), name="targets")
    outputs = keras.layers.Dense(k, "sigmoid")(inputs)
    both = {"inputs": inputs, "targets": targets}
    train_model = keras.Model(both, LogisticEndpoint()(targets, outputs))
    return train_model, keras.Model(inputs, outputs)


# %% [markdown]
# <details><summary><b>If you meet this in older code</b></summary>
#
# | older code | today |
# |---|---|
# | `layer.add_metric(value, ...)` | a `keras.metrics.Mean` of the layer's own |
# | functional `model.add_loss(tensor)` | `self.add_loss(...)` in a layer's `call` |
# | functional `model.add_metric(tensor, ...)` | a metric of a layer |
# | `reset_states()` | `reset_state()` |
# | `keras.losses.Reduction.AUTO` | `reduction="sum_over_batch_size"`, the default |
# | `tf.keras.backend.std(x)` | `ops.std(x)` |
# | `tf.reduce_sum(x)` on a functional model's tensor | `ops.sum(x)`, or a layer |
#
# </details>
#
# What happens if you do not:

# %%
# rows: C6, C13, C27, C28, C29, C30
inputs = keras.Input((3,))
x = keras.layers.Dense(2)(inputs)
model = keras.Model(inputs, x)
tries = {
    "layer.add_metric": lambda: quiet.add_metric(1.0, name="size"),
    "model.add_loss  ": lambda: model.add_loss(ops.sum(x)),
    "model.add_metric": lambda: model.add_metric(x, name="size"),
    "reset_states    ": lambda: keras.metrics.Mean().reset_states(),
    "losses.Reduction": lambda: keras.losses.Reduction.AUTO,
    "its value 'auto'": lambda: keras.losses.MeanSquaredError(reduction="auto"),
    "backend.std     ": lambda: tf.keras.backend.std(x),
    "tf.reduce_sum   ": lambda: tf.reduce_sum(x),
    "ops.sum, ops.std": lambda: [str(ops.sum(x).shape), str(ops.std(x).shape)],
}
for name, attempt in tries.items():
    print(name, outcome(attempt).split(":")[0])

# %% [markdown]
# ### In your own words
#
# A colleague's loss ends with `return ops.mean(ops.square(y_true - y_pred))`. She says:
# "I compared it with `"mse"` in ten trainings, the loss was equal to the last digit.
# So it is right." Which two or three trials would you ask her to make, and what will
# she see? Your teacher reads this one. 5 minutes.

# %% answer: equal_to_the_last_digit, 2 points [markdown]
# Train with `sample_weight`: Keras gets one number per batch and multiplies it by the
# mean weight, so rows of weight 0 still pull and the loss differs from `"mse"`. Use
# `reduction="none"` (or class weights): there are no rows left to weigh. In all other
# cases a mean of equal parts is the same number, which is why she saw no difference.

# %%
progress("02")

# %% [markdown]
# ## Five habits from this lesson
#
# | habit | because |
# |---|---|
# | one value per row: `axis=-1` only | the mean over rows is Keras' |
# | `keras.Variable` for what changes | a compiled step keeps Python's numbers |
# | keep counts, divide in `result` | a mean of ratios is not the ratio of the whole |
# | test with weights, odd shapes, extreme logits | slips are silent everywhere else |
# | write penalties as means | a sum grows with the batch |

# %% [markdown]
# ## You can now
#
# - write losses that return one value per row and stay right with weights, other
#   shapes, extreme predictions and after loading;
# - write metrics that count over batches and give the whole set's value;
# - add losses and watch values inside a model, without any targets.
#
# Next: lesson 03, where the data comes in pipelines.
