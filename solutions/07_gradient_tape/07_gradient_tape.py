# %% [markdown]
# # Loops from scratch
#
# You stack eight layers, `fit` runs, and after five epochs the accuracy is 10 percent.
# A bad learning rate? Wrong labels? Or does the first layer never hear from the loss?
# `fit` cannot tell you: it computes a gradient for every weight and shows you none. Nor
# can it train two networks in turns, or do anything else between gradient and update.
# In this lesson you open it, and write its loop yourself.
#
# Twelve exercises (45 points) and a question (2 points), about five and a half hours.
# Take them in five sittings; a line says where each one ends. You need lessons 02 and
# 06.

# %%
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from helpers import data, parity, plots
from helpers.checks import check, hint, progress, solution
from helpers.nets import demanding, distances, draw_weights
from helpers.watch import outcome

# %% [markdown]
# ## A model that does not learn
#
# Two deep networks for the digits, alike but for the activation between the layers.
# Guessing reaches an accuracy of 0.1. What you see below is all that `fit` says.


# %%
def deep(activation):
    keras.utils.set_random_seed(1)
    hidden = [keras.layers.Dense(32, activation) for _ in range(7)]
    return keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])


(x_train, y_train), (x_test, y_test) = data.load_digits()
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
for activation in ("sigmoid", "relu"):
    model = deep(activation)
    model.compile(keras.optimizers.Adam(0.001), loss_fn, metrics=["accuracy"])
    history = model.fit(x_train, y_train, epochs=5, verbose=0).history
    print(f"{activation:8} accuracy {history['accuracy'][-1]:.1f}")

# %% [markdown]
# One of them learns nothing, and the history has no reason for it. The reason is in the
# **gradients**: the slopes of the loss with respect to the weights, along which every
# step goes. In a moment you can look at them.
#
# ## What a tape records
#
# A `GradientTape` notes every operation inside its `with` block. Afterwards it walks
# the notes **backwards** and multiplies slopes, until it arrives at what you ask for.
#
# Predict before you run the cell: `w * x` is 1.0, the target is 3.0, the loss is the
# squared error. In which direction does the loss want `w` to go?

# %%
# rows: G1
w, x, y = tf.Variable(0.5), 2.0, 3.0
with tf.GradientTape() as tape:
    prediction = w * x
    error = prediction - y
    loss = error**2
values = {"w": w, "w * x": prediction, "... - y": error, "... ** 2": loss}
gradients = tape.gradient(loss, list(values.values()))
plots.tape_chain(values, gradients, "A tape remembers the way back")

# %% [markdown]
# Read the blue numbers from left to right, the orange ones from right to left. The loss
# changes by 1 per unit of itself. Squaring has slope `2 * error`, here -4. Subtracting
# passes -4 on, multiplying by 2 makes it -8: one unit more of `w` would lower the loss
# by 8, if the slope stayed. So `w` has to **grow**: a step goes against the gradient.
#
# **Try it.** Let `w` be 2.0. What are the four orange numbers? Predict, then run.
#
# <details><summary>What you get</summary>
#
# From right to left 1, 2, 2 and 4: the error is +1 now, so `w` has to shrink.
#
# </details>
#
# What is watched, and how often may you ask? A tape watches trainable *variables*, by
# itself. Everything else you hand over with `tape.watch`, **before** it is used.

# %%
# rows: G10
x = tf.constant(3.0)
with tf.GradientTape() as tape:
    y = x * x
print("a constant:       ", tape.gradient(y, x))
with tf.GradientTape() as tape:
    y = x * x
    tape.watch(x)
print("watched too late: ", tape.gradient(y, x))
with tf.GradientTape() as tape:
    tape.watch(x)
    y = x * x
print("watched in time:  ", float(tape.gradient(y, x)))

# %%
# rows: G10, G11
v = tf.Variable(2.0)
with tf.GradientTape() as tape:
    square, cube = v**2, v**3
print("first answer:  ", float(tape.gradient(square, v)))
print("second answer: ", outcome(lambda: tape.gradient(cube, v)))
with tf.GradientTape(persistent=True) as tape:
    square, cube = v**2, v**3
print("persistent:    ", [float(tape.gradient(part, v)) for part in (square, cube)])
with tf.GradientTape(watch_accessed_variables=False) as tape:
    square = v**2
print("watching is off:", tape.gradient(square, v))

# %% [markdown]
# `None` does not mean zero. It means: **I found no way** from here to there. No error,
# no warning. And after one answer the tape throws its notes away, unless it is
# `persistent=True`: then they stay in memory until you `del tape`. The last line is for
# tapes that should watch only what you name.
#
# ## Why is my gradient None?
#
# The way back ends wherever you leave TensorFlow, or where a function has no slope.
# Here is a catalogue: one line per cause. The first lines have a gradient, for
# comparison.


# %%
# rows: G10, G12
def slope(function, value=2.6, **settings):
    variable = tf.Variable(value, **settings)
    with tf.GradientTape() as tape:
        result = function(variable)
    gradient = tape.gradient(result, variable)
    return None if gradient is None else round(float(gradient), 4) + 0  # no -0.0


def whole(v):
    return tf.cast(tf.cast(v, "int32"), "float32")


print("v * v                  ", slope(lambda v: v * v))
print("relu(1 - v), flat there", slope(lambda v: tf.nn.relu(1 - v)))
print("v.numpy() ** 2         ", slope(lambda v: tf.constant(v.numpy() ** 2)))
print("round(v)               ", slope(tf.round))
print("cast to int            ", slope(whole))
print("argmax                 ", slope(lambda v: tf.argmax([v, 1.0])))
print("not trainable          ", slope(lambda v: v * v, trainable=False))
print("an integer             ", slope(lambda v: v * v, value=3))

# %%
# rows: G12
w = tf.Variable(0.7)
with tf.GradientTape() as tape:
    prediction = w * 2.0
    rounded = tf.round(prediction)
    loss = (rounded - 3.0) ** 2
values = {"w": w, "w * x": prediction, "round": rounded, "squared": loss}
gradients = tape.gradient(loss, list(values.values()))
plots.tape_chain(values, gradients, "After round() there is no way back")

# %% [markdown]
# The cross is where the way back ends: left of it all is `None`. Look for the first
# `None` from the right: the operation after it is the culprit.
#
# Another cause hides in a loop: `w = w - ...` makes `w` a plain tensor, and the next
# tape does not watch it. `assign_sub` changes the variable in place.


# %%
# rows: G12
def replaced(w, step):
    w = w - step
    return w


def in_place(w, step):
    w.assign_sub(step)
    return w


for change in (replaced, in_place):
    w, seen = tf.Variable(1.0), []
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = w * w
        gradient = tape.gradient(loss, w)
        seen.append(None if gradient is None else round(float(gradient), 2))
        w = change(w, 0.1 * (seen[-1] or 0.0))
    print(f"{change.__name__:8} gradients {seen}, w is now a {type(w).__name__}")

# %% [markdown]
# Where zero is what you want, say so: `unconnected_gradients="zero"` (for tensors and
# `tf.Variable`; with variables of Keras it stops). What do optimizers do with None? If
# all are None, they refuse. If *some* are None, they warn and leave those weights
# alone, for the whole training.

# %%
# rows: G12
used, unused = tf.Variable(2.0), tf.Variable(5.0)
with tf.GradientTape() as tape:
    loss = used**2
both = [used, unused]
found = tape.gradient(loss, both, unconnected_gradients="zero")
print("used and unused:", [float(gradient) for gradient in found])
both = [keras.Variable(2.0, name="used"), keras.Variable(5.0, name="unused")]
for gradients in ([None, None], [found[0], None]):
    optimizer = keras.optimizers.SGD(0.1)
    print(outcome(lambda: optimizer.apply(gradients, both)))
print("afterwards:     ", [round(float(variable), 2) for variable in both])

# %% [markdown]
# ### Quiz: the loss is right, the gradient is None
#
# A colleague trains with `loss = tf.reduce_mean((model.predict(x) - y) ** 2)` inside
# the tape. The loss has the right value, all gradients are None. Which change helps?
#
# <details><summary>Make the tape persistent.</summary>
#
# No: a persistent tape may be asked more often. It has the same notes.
#
# </details>
# <details><summary>Call the model: model(x, training=True).</summary>
#
# Right: `predict` returns NumPy arrays, and on the way there the chain is cut. A call
# of the model consists of operations that the tape can note.
#
# </details>
# <details><summary>Turn the result back into a tensor with tf.constant.</summary>
#
# No: that makes a fresh tensor without a past. What was cut stays cut.
#
# </details>
# <details><summary>tape.watch(model.trainable_variables)</summary>
#
# No: they are watched already. They are only never used inside the tape.
#
# </details>

# %% [markdown]
# ## Check a slope with two values
#
# Is a gradient right? There is a second way to a slope: move `x` a little to both
# sides, and see how far the value moves. It needs no tape, so it can check one. How
# little is a little? Below, `eps` goes from one millionth to one.


# %%
def f(x):
    x = tf.constant(x, "float32")
    return float(tf.sin(x) * tf.exp(x))


x, right = 1.0, np.exp(1) * (np.sin(1) + np.cos(1))
widths = 10.0 ** np.arange(-6, 0.5, 0.5)
both = [(f(x + e) - f(x - e)) / (2 * e) for e in widths]
one = [(f(x + e) - f(x)) / e for e in widths]
errors = {"one side": np.abs(one - right), "both sides": np.abs(both - right)}
plots.difference_errors(widths, errors)

# %% [markdown]
# Right of the lowest point the curve of the function spoils the result, left of it the
# rounding of float32: the two values have become too alike. Both sides are better than
# one, and something like 0.01 is a good width. Smaller is **not** more exact.
# Habit: check every gradient that you write by hand with two values.

# %% [markdown]
# ### Exercise: check a gradient
#
# Write two functions. `grad(f, x)` is the slope of `f` at `x`, by a tape; where `f`
# does not depend on `x` at all, it is zeros. `numeric_grad(f, x, eps)` is the same from
# values alone, for each entry of `x` by itself:
# `(f(x with eps more there) - f(x with eps less there)) / (2 * eps)`.
#
# `f` takes a float32 tensor of shape `(d,)` and returns one number as a tensor. `x` is
# an array, a tensor or a `tf.Variable` of shape `(d,)`, and the same afterwards. Both
# return `d` numbers. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# An array is no variable. What must you tell the tape, and when?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Row `i` of `eps * np.eye(d)` is `eps` in entry `i` and zero elsewhere. Adding it makes
# a new array, so `x` stays as it is.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `x = tf.convert_to_tensor(x)`, `tape.watch(x)`, `value = f(x)`; then
# `tape.gradient(value, x, unconnected_gradients="zero")`.
#
# </details>


# %% exercise: grad
def grad(f, x):
    """Slope of f at x by a tape: (d,) -> (d,)."""
    ### BEGIN SOLUTION
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = f(x)
    return tape.gradient(value, x, unconnected_gradients="zero")
    ### END SOLUTION


def numeric_grad(f, x, eps):
    """Slope of f at x from values left and right: (d,) -> (d,)."""
    ### BEGIN SOLUTION
    x = np.array(x)
    steps = eps * np.eye(len(x), dtype="float32")
    return [float(f(x + step) - f(x - step)) / (2 * eps) for step in steps]
    ### END SOLUTION


# %% check: grad, 3 points
def evidence(grad, numeric_grad, rng):
    d, eps = int(rng.integers(3, 7)), float(rng.uniform(0.1, 0.3))
    a, b = rng.uniform(0.5, 1.5, (2, d)).astype("float32")
    x, y = rng.uniform(0.5, 1.5, d).astype("float32"), int(rng.integers(d))

    def entries(values):
        return tf.cast(values, "float32")

    functions = {
        "a cubic": lambda x: tf.reduce_sum(a * entries(x) ** 3 + b * entries(x)),
        "cross-entropy": lambda x: -tf.nn.log_softmax(3 * a * entries(x))[y],
        "a product": lambda x: tf.reduce_prod(entries(x) + b),
    }
    given, cubic, mine = {"x": x, "eps": eps}, functions["a cubic"], x.copy()
    label = "x is an array: from values, and x afterwards"
    yield label, lambda: [numeric_grad(cubic, mine, eps), mine], given
    for name, f in functions.items():
        yield f"{name}: by tape", lambda: grad(f, x.copy()), given
        yield f"{name}: from values", lambda: numeric_grad(f, x.copy(), eps), given
    for kind, make in {"tensor": tf.constant, "variable": tf.Variable}.items():
        made = make(x.copy())
        yield f"x is a {kind}: by tape", lambda: grad(cubic, made), given
        label = f"x is a {kind}: from values, and x afterwards"
        yield label, lambda: [numeric_grad(cubic, made, eps), made], given
    half = "f looks away, x * stop_gradient(x): by tape"
    looks_away = tf.stop_gradient
    yield (
        half,
        lambda: grad(lambda x: tf.reduce_sum(x * looks_away(x)), x.copy()),
        given,
    )
    yield "f does not use x", lambda: grad(lambda x: tf.constant(a[0]), x.copy()), given


check("07/grad", evidence, rtol=1e-3, atol=1e-3)

# %% mistake: a tape watches whatever goes in
"""A tape watches variables only. For an array or a tensor it finds no way back, and you
get zeros. Call `tape.watch(x)` on the tensor, before `f` uses it."""


def grad(f, x):
    with tf.GradientTape() as tape:
        value = f(x)
    x = x if isinstance(x, tf.Variable) else tf.convert_to_tensor(x)
    return tape.gradient(value, x, unconnected_gradients="zero")


def numeric_grad(f, x, eps):
    x = np.array(x)
    steps = eps * np.eye(len(x), dtype="float32")
    return [float(f(x + step) - f(x - step)) / (2 * eps) for step in steps]


# %% mistake: an array is as good as a tensor
"""A tape follows tensors and variables. An array is neither, so it cannot be asked for,
and not be watched: `x = tf.convert_to_tensor(x)`, then `tape.watch(x)`."""


def grad(f, x):
    with tf.GradientTape() as tape:
        value = f(x)
    return tape.gradient(value, x)


def numeric_grad(f, x, eps):
    x = np.array(x)
    steps = eps * np.eye(len(x), dtype="float32")
    return [float(f(x + step) - f(x - step)) / (2 * eps) for step in steps]


# %% mistake: watching can wait until the value is there
"""You call `tape.watch` after `f`: what happened before was not noted, so there is no
way back. Watch first, then compute."""


def grad(f, x):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        value = f(x)
        tape.watch(x)
    return tape.gradient(value, x, unconnected_gradients="zero")


def numeric_grad(f, x, eps):
    x = np.array(x)
    steps = eps * np.eye(len(x), dtype="float32")
    return [float(f(x + step) - f(x - step)) / (2 * eps) for step in steps]


# %% mistake: one side is enough
"""You compare with the value at `x` itself. That is the slope halfway to the next
point: the error shrinks with `eps`, with two sides it shrinks with `eps ** 2`."""


def grad(f, x):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = f(x)
    return tape.gradient(value, x, unconnected_gradients="zero")


def numeric_grad(f, x, eps):
    x = np.array(x)
    steps = eps * np.eye(len(x), dtype="float32")
    return [float(f(x + step) - f(x)) / eps for step in steps]


# %% mistake: the two points lie eps apart
"""From `x - eps` to `x + eps` it is `2 * eps`. You divide by `eps`, so every slope is
twice as large as it should be."""


def grad(f, x):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = f(x)
    return tape.gradient(value, x, unconnected_gradients="zero")


def numeric_grad(f, x, eps):
    x = np.array(x)
    steps = eps * np.eye(len(x), dtype="float32")
    return [float(f(x + step) - f(x - step)) / eps for step in steps]


# %% mistake: x + eps moves one entry
"""`x + eps` moves all entries at once, so you get the sum of all slopes, and the same
number everywhere. Move one entry and leave the others where they are."""


def grad(f, x):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = f(x)
    return tape.gradient(value, x, unconnected_gradients="zero")


def numeric_grad(f, x, eps):
    x = np.array(x)
    return [float(f(x + eps) - f(x - eps)) / (2 * eps) for _ in x]


# %% mistake: the smaller the step the better
"""You shrink `eps` yourself. So close to `x`, float32 cannot tell the two points apart,
and the slope comes out as zero. Use the width that you are given."""


def grad(f, x):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = f(x)
    return tape.gradient(value, x, unconnected_gradients="zero")


def numeric_grad(f, x, eps):
    x, eps = np.array(x), 1e-9
    steps = eps * np.eye(len(x), dtype="float32")
    return [float(f(x + step) - f(x - step)) / (2 * eps) for step in steps]


# %% mistake: x += step is x + step
"""`+=` changes the caller's array in place, and you never step back, so every entry is
measured from a point that has moved. `x + step` makes a new array."""


def grad(f, x):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = f(x)
    return tape.gradient(value, x, unconnected_gradients="zero")


def numeric_grad(f, x, eps):
    if not isinstance(x, np.ndarray):
        x = x.numpy()
    slopes = []
    for i in range(len(x)):
        x[i] += eps
        high = float(f(x))
        x[i] -= 2 * eps
        slopes.append((high - float(f(x))) / (2 * eps))
    return slopes


# %% mistake: no way means None
"""Where `f` does not use `x`, you return None. Asked for were zeros: a value that does
not depend on `x` has slope zero. Pass `unconnected_gradients="zero"`."""


def grad(f, x):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = f(x)
    return tape.gradient(value, x)


def numeric_grad(f, x, eps):
    x = np.array(x)
    steps = eps * np.eye(len(x), dtype="float32")
    return [float(f(x + step) - f(x - step)) / (2 * eps) for step in steps]


# %% [markdown]
# ## One step by hand
#
# Now a model. `model.trainable_variables` are the weights to move, in a fixed order,
# and `tape.gradient` answers in the same order. With plain gradient descent a step is
# one line: minus learning rate times gradient. An optimizer does the same from the same
# gradients.
#
# A loss object such as `MeanSquaredError()` returns the mean over the batch, one
# number. Row weights are its third argument. (Of our helpers, `draw_weights` sets all
# weights from `rng`, and `distances` tells how far each array has moved.)

# %%
# rows: G1, G2, G9
rng = np.random.default_rng(0)
x, y = rng.normal(size=(6, 3)).astype("float32"), rng.normal(size=(6, 2))
mse = keras.losses.MeanSquaredError()
model = draw_weights(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), rng)
with tf.GradientTape() as tape:
    loss = mse(y, model(x, training=True), np.ones(6))
gradients = tape.gradient(loss, model.trainable_variables)
pairs = zip(model.get_weights(), gradients, strict=True)
by_hand = [w - 0.1 * g.numpy() for w, g in pairs]
keras.optimizers.SGD(0.1).apply(gradients, model.trainable_variables)
print("loss before the step:", round(float(loss), 4))
print("by hand and by SGD differ by", max(distances(by_hand, model.get_weights())))

# %% [markdown]
# Optimizers take gradients in three ways: `apply(gradients, variables)`,
# `apply_gradients(zip(gradients, variables))`, and `apply(gradients)` alone once
# `build(variables)` was called. The order matters, and a slip is not always noticed.


# %%
# rows: G2
def moved(call):
    model = draw_weights(deep("relu"), np.random.default_rng(1))
    variables, before = model.trainable_variables[:4], model.get_weights()
    said = outcome(lambda: call(keras.optimizers.SGD(0.1), variables))
    changed = sum(change > 0 for change in distances(before, model.get_weights()))
    return f"{changed} arrays moved; {said}"


ones = [tf.ones(w.shape) for w in deep("relu").trainable_variables[:4]]
print("apply:         ", moved(lambda o, v: o.apply(ones, v)))
print("after build:   ", moved(lambda o, v: (o.build(v), o.apply(ones))[1]))
print("zip:           ", moved(lambda o, v: o.apply_gradients(zip(ones, v))))
pairs = iter(())  # a zip that was used up, in a loop before
print("used up:       ", moved(lambda o, v: o.apply_gradients(pairs)))
print("two of four:   ", moved(lambda o, v: o.apply_gradients(zip(ones[:2], v))))

# %% [markdown]
# The last line is the one to remember: `zip` stops at the shorter list, and half of the
# model stays as it was, **silently**. Habit: `zip(..., strict=True)`, or `apply` with
# both lists.
#
# Three things that `fit` does are yours now. `training=True` switches Dropout and
# BatchNormalization on: a bare `model(x)` behaves as in `predict`. `model.losses` holds
# the penalties of the last call: add them. And only trainable weights have gradients.
# (`demanding` makes a network with a penalty, BatchNormalization and Dropout: all that
# a loop can forget.)

# %%
# rows: G4, G7, G15
start = demanding(np.random.default_rng(0))
with tf.GradientTape() as tape:
    loss = mse(y, start(x, training=True)) + sum(start.losses)
gradients = tape.gradient(loss, start.weights)
for weight, gradient in zip(start.weights, gradients, strict=True):
    found = "None" if gradient is None else "gradient"
    print(f"{weight.name:16} {weight.shape!s:8} {found}")
start.layers[0].trainable = False
print("frozen:", len(start.trainable_variables), "of 5 trainable variables are left")
print("model.losses:", len(start.losses), "and their sum without any:", sum([]))

# %% [markdown]
# Moving averages are no result of the loss: None. Freezing a layer works at once here,
# without the new `compile` of lesson 01, and takes its penalty out of `model.losses`. A
# sum over no penalties is 0, so you can always write it.
#
# Habit: `model(x, training=True)` and `sum(model.losses)` in every training step. What
# a step does without them, you will see beside `fit`.

# %% [markdown]
# ### Exercise: one step
#
# Write `sgd_step(model, loss_fn, x, y, learning_rate)`: one step of plain gradient
# descent on the batch `x, y`. The loss is `loss_fn(y, predictions)` (a mean over the
# batch) plus what the layers add; the model is called once, as in training. Every
# trainable weight moves by minus `learning_rate` times its gradient. Return the loss
# from **before** the step as one number. Do it without an optimizer. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# What has to stand inside the `with` block, so that there is a way from the loss back
# to the weights?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `zip(gradients, model.trainable_variables, strict=True)` gives you pairs; a variable
# changes in place with `assign_sub`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `loss = loss_fn(y, model(x, training=True)) + sum(model.losses)`.
#
# </details>


# %% exercise: sgd_step
def sgd_step(model, loss_fn, x, y, learning_rate):
    """One step of gradient descent; returns the loss before it."""
    ### BEGIN SOLUTION
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
    gradients = tape.gradient(loss, variables)
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(learning_rate * gradient)
    return float(loss)
    ### END SOLUTION


# %% check: sgd_step, 4 points
def evidence(sgd_step, rng):
    x = rng.normal(size=(6, 3)).astype("float32")
    y = rng.normal(size=(6, 2)).astype("float32")
    rate = float(rng.uniform(0.05, 0.3))
    loss_fn = keras.losses.MeanSquaredError()
    given = {"rows": 6, "learning_rate": rate}
    kind, apply = keras.optimizers.Optimizer, keras.optimizers.Optimizer.apply

    def write_it_yourself(*args, **kwargs):
        raise RuntimeError("the step is to be written without an optimizer")

    def one_step(*args):
        kind.apply = write_it_yourself
        try:
            return sgd_step(*args)
        finally:
            kind.apply = apply

    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    models = {
        "one layer": draw_weights(plain, rng),
        "all that needs care": demanding(rng, dropout=0.5, penalty=0.2),
    }
    for name, model in models.items():
        yield (
            f"{name}: loss before",
            lambda: one_step(model, loss_fn, x, y, rate),
            given,
        )
        yield f"{name}: weights afterwards", model.get_weights(), given
    for _ in range(2):
        loss = one_step(plain, loss_fn, x, y, rate)
    yield "loss before the third step", loss, given
    yield "weights after three steps", plain.get_weights(), given
    model = models["all that needs care"]
    model.layers[0].trainable = False
    one_step(model, loss_fn, x, y, 2 * rate)
    yield "weights, the first layer frozen", model.get_weights(), given


check("07/sgd_step", evidence)

# %% mistake: only the loss belongs inside the tape
"""You call the model before the `with` block, so the tape never sees the weights in
use, and all gradients are None. Everything from the weights to the loss goes inside."""


def sgd_step(model, loss_fn, x, y, learning_rate):
    predictions = model(x, training=True)
    with tf.GradientTape() as tape:
        loss = loss_fn(y, predictions) + sum(model.losses)
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(learning_rate * gradient)
    return float(loss)


# %% mistake: a model knows when it is trained
"""You call `model(x)`, which behaves as in `predict`: Dropout is off, and the moving
averages of BatchNormalization never move. Say `training=True`."""


def sgd_step(model, loss_fn, x, y, learning_rate):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x)) + sum(model.losses)
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(learning_rate * gradient)
    return float(loss)


# %% mistake: the loss function knows of penalties
"""`loss_fn` sees targets and predictions, no layers. Their penalties wait in
`model.losses`: add them inside the tape, or they do nothing."""


def sgd_step(model, loss_fn, x, y, learning_rate):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(learning_rate * gradient)
    return float(loss)


# %% mistake: predictions and targets are all that a step needs
"""Two things are missing: `training=True`, or Dropout is off and no average of
BatchNormalization moves; and `sum(model.losses)`, the penalties of the layers."""


def sgd_step(model, loss_fn, x, y, learning_rate):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x))
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(learning_rate * gradient)
    return float(loss)


# %% mistake: penalties may be added after the tape
"""You add `model.losses` outside of the `with` block. The number that you return is
right, but the tape never saw the addition, so the penalty has no gradient."""


def sgd_step(model, loss_fn, x, y, learning_rate):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    loss += sum(model.losses)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(learning_rate * gradient)
    return float(loss)


# %% mistake: a variable is changed with a minus sign
"""`variable = variable - ...` puts a new tensor under that name, and the model keeps
its variable as it was. `assign_sub` changes the variable in place."""


def sgd_step(model, loss_fn, x, y, learning_rate):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable = variable - learning_rate * gradient
    return float(loss)


# %% mistake: a step goes along the gradient
"""The gradient points to where the loss **grows**. You add it, so the loss goes up:
subtract it."""


def sgd_step(model, loss_fn, x, y, learning_rate):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_add(learning_rate * gradient)
    return float(loss)


# %% mistake: all weights have a gradient
"""You ask for `model.weights`. Moving averages and frozen weights are among them: the
first have no gradient (None), the others should stay. Take `trainable_variables`."""


def sgd_step(model, loss_fn, x, y, learning_rate):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
    gradients = tape.gradient(loss, model.weights)
    for variable, gradient in zip(model.weights, gradients, strict=True):
        variable.assign_sub(learning_rate * gradient)
    return float(loss)


# %% mistake: the loss may be computed again afterwards
"""You return the loss of the changed weights, from a second call that also moves the
averages of BatchNormalization again. Keep the loss that the tape has seen."""


def sgd_step(model, loss_fn, x, y, learning_rate):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(learning_rate * gradient)
    return float(loss_fn(y, model(x, training=True)) + sum(model.losses))


# %% mistake: penalties are not part of the returned loss
"""You minimise the penalties and return `loss_fn` alone. The loss of the step is what
it minimises: return the sum."""


def sgd_step(model, loss_fn, x, y, learning_rate):
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        data_loss = loss_fn(y, model(x, training=True))
        loss = data_loss + sum(model.losses)
    gradients = tape.gradient(loss, variables)
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(learning_rate * gradient)
    return float(data_loss)


# %% [markdown]
# ## Where the gradient gets lost
#
# Back to the model that does not learn. One tape call on one batch is enough. Left: the
# **norm** of each kernel's gradient, the length of all its numbers taken as one arrow.
# Right: how far a step of plain gradient descent with rate 0.1 (not of the Adam from
# above) would move the kernel, as a share of the kernel's own norm. About one
# thousandth per step is healthy.


# %%
# rows: G1
def flow(model, x, y, learning_rate=0.1):
    kernels = [layer.kernel for layer in model.layers]
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    gradients = tape.gradient(loss, kernels)
    norms = np.array([np.linalg.norm(g) for g in gradients])
    sizes = np.array([np.linalg.norm(kernel.numpy()) for kernel in kernels])
    return {"gradient": norms, "step": learning_rate * norms / sizes}


x, y = x_train[:64], y_train[:64]
flows = {name: flow(deep(name), x, y) for name in ("sigmoid", "relu")}
first = flows["sigmoid"]["gradient"]
print("sigmoid, last layer / first layer:", f"{first[-1] / first[0]:.0e}")
plots.gradient_flow(flows, "Through sigmoids, little comes back to the first layers")

# %% [markdown]
# The slope of a sigmoid is at most one quarter, and on its way back the gradient is
# multiplied by such a slope in every layer. What arrives at the first layer is far too
# small to move anything. ReLU has slope 1 where it is on.
#
# **Try it.** Add `"tanh"` to the pair in the last cell: where does its line run? Then
# make `range(7)` in `deep` a `range(15)`. Which of the three survives twice the depth?
# (Compare the dots on the far left.)
#
# <details><summary>What you get</summary>
#
# tanh: 0.5 becomes 0.4 in the first layer, with slope 1 around 0. ReLU falls from 0.08
# to 0.007, the sigmoids from 3e-5 to 3e-10.
#
# </details>
#
# Habit: if training does not start, look at the norms first.

# %% [markdown]
# ## The loop around the step
#
# *A good place to stop. When you come back, run all cells above this one.*
#
# An epoch is a loop over batches, training is a loop over epochs, and in between you do
# what you like: here, a line for every second batch.


# %%
# rows: G3
def train_step(model, optimizer, x, y):
    with tf.GradientTape() as tape:
        loss = mse(y, model(x, training=True)) + sum(model.losses)
    variables = model.trainable_variables
    optimizer.apply(tape.gradient(loss, variables), variables)
    return float(loss)


rng = np.random.default_rng(2)
x, y = rng.normal(size=(12, 3)).astype("float32"), rng.normal(size=(12, 2))
batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
model, optimizer = demanding(np.random.default_rng(0)), keras.optimizers.SGD(0.1)
for step, (x_batch, y_batch) in enumerate(batches):
    loss = train_step(model, optimizer, x_batch, y_batch)
    if step % 2 == 0:
        print(f"batch {step}: loss {loss:.4f} before its step")

# %% [markdown]
# `fit` is no magic: it is this loop. Whether that is true to the last digit, you will
# see when the two run side by side.
#
# ## Metrics: create, update, read, reset
#
# Create a metric once, before the loops. `update_state` adds a batch, `result` reads,
# `reset_state` empties. Calling the metric updates it, and returns the result so far.

# %%
# rows: G5, G9
keras.utils.set_random_seed(1)
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
optimizer = keras.optimizers.Adam(0.01)
digits = tf.data.Dataset.from_tensor_slices((x_train, y_train)).batch(256)
reset, kept = [keras.metrics.SparseCategoricalAccuracy() for _ in range(2)]
print("nothing seen yet:", float(reset.result()))
curves = {"reset in every epoch": [], "never reset": []}
for _ in range(8):
    reset.reset_state()
    for x, y in digits:
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss = loss_fn(y, logits)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        running = [metric(y, logits) for metric in (reset, kept)]
    for values, value in zip(curves.values(), running, strict=True):
        values.append(float(value))
print("rows counted:    ", int(reset.count), "and", int(kept.count))

# %%
# rows: G5
title = "Without reset, old epochs pull the accuracy down"
plots.curves(range(1, 9), curves, title, "epoch", "accuracy")

# %% [markdown]
# The lower curve mixes the accuracy of all epochs so far: after eight epochs it has
# counted every row eight times. Nothing looks broken, the model only seems slow.
# Habit: `reset_state()` is the first line of an epoch.
#
# ## The validation loop
#
# It is the same loop without a tape and with `training=False`. Below, 64 rows in
# batches of 24, 24 and 16. As in lesson 01 every **row** counts once: hand `Mean` the
# number of rows.

# %%
# rows: G6
rng = np.random.default_rng(5)
x, y = rng.normal(size=(64, 3)).astype("float32"), rng.normal(size=(64, 2))
y[48:] *= 2  # the last rows are harder
batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(24)
model = demanding(np.random.default_rng(0), penalty=0.0)
model.compile("sgd", mse)
over_rows, over_batches = [keras.metrics.Mean() for _ in range(2)]
for x_batch, y_batch in batches:
    loss = mse(y_batch, model(x_batch, training=False))
    over_rows.update_state(loss, len(x_batch))
    over_batches.update_state(loss)
print(f"evaluate:       {model.evaluate(batches, verbose=0):.4f}")
print(f"mean over rows: {float(over_rows.result()):.4f}")
print(f"over batches:   {float(over_batches.result()):.4f}")

# %% [markdown]
# ### Exercise: the training loop
#
# Write `train(model, optimizer, loss_fn, metric, dataset, epochs)`: it trains as `fit`
# does. The dataset yields batches `(x, y)`, the last one smaller. For every epoch it
# gives a pair of numbers, `(loss, metric)`, in a list: the mean over **rows** of what
# was minimised, penalties included, and the result of `metric` over this epoch. Both
# come from the predictions of the training steps, as in `fit`. The metric may hold
# something at the beginning. Write both loops yourself, without `fit` or
# `train_on_batch`. 25 minutes.
#
# <details><summary>Hint 1</summary>
#
# Which of your lines run once, which once per epoch, which once per batch? Write the
# two loops first, with comments in them.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Per epoch: reset. Per batch: predictions and loss inside the tape, gradients, apply,
# then update both means. The predictions of the step are still there.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `mean = keras.metrics.Mean()` once; per batch `mean.update_state(loss, len(x))` and
# `metric.update_state(y, predictions)`.
#
# </details>


# %% exercise: train
def train(model, optimizer, loss_fn, metric, dataset, epochs):
    """Train as fit does; returns [(loss, metric), ...], one pair an epoch."""
    ### BEGIN SOLUTION
    mean, results = keras.metrics.Mean(), []
    for _ in range(epochs):
        mean.reset_state()
        metric.reset_state()
        for x, y in dataset:
            with tf.GradientTape() as tape:
                predictions = model(x, training=True)
                loss = loss_fn(y, predictions) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            mean.update_state(loss, len(x))
            metric.update_state(y, predictions)
        results.append((float(mean.result()), float(metric.result())))
    return results
    ### END SOLUTION


# %% check: train, 5 points
def evidence(train, rng):
    n, size = int(rng.integers(7, 10)), 5
    x = rng.normal(size=(n, 3)).astype("float32")
    y = rng.normal(size=(n, 2)).astype("float32")
    y[size:] *= 2
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(size)
    loss_fn = keras.losses.MeanSquaredError()
    metric = keras.metrics.RootMeanSquaredError()
    metric.update_state([[0.0]], [[5.0]])
    rate, found = float(rng.uniform(0.02, 0.2)), {}
    given = {"rows": n, "batch_size": size, "learning_rate": rate, "epochs": 2}
    model = demanding(rng, dropout=0.5)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9)

    def write_it_yourself(*args, **kwargs):
        raise RuntimeError("the loop is to be written without fit")

    kind, bans = keras.Model, ("fit", "train_on_batch")
    built_in = {name: getattr(kind, name) for name in bans}

    def run():
        for name in bans:
            setattr(kind, name, write_it_yourself)
        try:
            pairs = train(model, optimizer, loss_fn, metric, dataset, 2)
        finally:
            for name in bans:
                setattr(kind, name, built_in[name])
        found["losses"], found["metrics"] = zip(*pairs, strict=True)
        return found["losses"][0]

    yield "loss of the first epoch", run, given
    yield "loss of the second epoch", lambda: found["losses"][1], given
    yield "metric of the first epoch", lambda: found["metrics"][0], given
    yield "metric of the second epoch", lambda: found["metrics"][1], given
    trained, averages = model.trainable_variables, model.layers[1].non_trainable_weights
    yield "trained weights", trained, given
    yield "averages of BatchNormalization", averages, given
    yield "steps of the optimizer", int(optimizer.iterations), given


check("07/train", evidence)

# %% mistake: a loss per batch is averaged over batches
"""You take the plain mean of the batch losses, so each row of the smaller last batch
counts more. Weigh each batch by its rows: `mean.update_state(loss, len(x))`."""


def train(model, optimizer, loss_fn, metric, dataset, epochs):
    mean, results = keras.metrics.Mean(), []
    for _ in range(epochs):
        mean.reset_state()
        metric.reset_state()
        for x, y in dataset:
            with tf.GradientTape() as tape:
                predictions = model(x, training=True)
                loss = loss_fn(y, predictions) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            mean.update_state(loss)
            metric.update_state(y, predictions)
        results.append((float(mean.result()), float(metric.result())))
    return results


# %% mistake: a metric starts afresh in every epoch
"""You never reset the metric. It still holds what was there before, and mixes the first
epoch into the second. `reset_state()` is the first line of an epoch."""


def train(model, optimizer, loss_fn, metric, dataset, epochs):
    mean, results = keras.metrics.Mean(), []
    for _ in range(epochs):
        mean.reset_state()
        for x, y in dataset:
            with tf.GradientTape() as tape:
                predictions = model(x, training=True)
                loss = loss_fn(y, predictions) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            mean.update_state(loss, len(x))
            metric.update_state(y, predictions)
        results.append((float(mean.result()), float(metric.result())))
    return results


# %% mistake: one reset before training is enough
"""You reset before the first epoch only, so every later epoch also counts the earlier
ones. Move both resets into the loop over epochs."""


def train(model, optimizer, loss_fn, metric, dataset, epochs):
    mean, results = keras.metrics.Mean(), []
    metric.reset_state()
    for _ in range(epochs):
        for x, y in dataset:
            with tf.GradientTape() as tape:
                predictions = model(x, training=True)
                loss = loss_fn(y, predictions) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            mean.update_state(loss, len(x))
            metric.update_state(y, predictions)
        results.append((float(mean.result()), float(metric.result())))
    return results


# %% mistake: calling the model trains it
"""You call `model(x)` in the training step. Then Dropout is off and the moving averages
of BatchNormalization stay at their start, so later predictions are poor. Say
`training=True`."""


def train(model, optimizer, loss_fn, metric, dataset, epochs):
    mean, results = keras.metrics.Mean(), []
    for _ in range(epochs):
        mean.reset_state()
        metric.reset_state()
        for x, y in dataset:
            with tf.GradientTape() as tape:
                predictions = model(x)
                loss = loss_fn(y, predictions) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            mean.update_state(loss, len(x))
            metric.update_state(y, predictions)
        results.append((float(mean.result()), float(metric.result())))
    return results


# %% mistake: loss_fn gives all there is to minimise
"""You leave `model.losses` out: the penalties of the layers do nothing, and the weights
grow as if there were none."""


def train(model, optimizer, loss_fn, metric, dataset, epochs):
    mean, results = keras.metrics.Mean(), []
    for _ in range(epochs):
        mean.reset_state()
        metric.reset_state()
        for x, y in dataset:
            with tf.GradientTape() as tape:
                predictions = model(x, training=True)
                loss = loss_fn(y, predictions)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            mean.update_state(loss, len(x))
            metric.update_state(y, predictions)
        results.append((float(mean.result()), float(metric.result())))
    return results


# %% mistake: predictions and targets are all that a loop needs
"""Two things are missing: `training=True`, or Dropout is off and no average of
BatchNormalization moves; and `sum(model.losses)`, the penalties of the layers."""


def train(model, optimizer, loss_fn, metric, dataset, epochs):
    mean, results = keras.metrics.Mean(), []
    for _ in range(epochs):
        mean.reset_state()
        metric.reset_state()
        for x, y in dataset:
            with tf.GradientTape() as tape:
                predictions = model(x)
                loss = loss_fn(y, predictions)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            mean.update_state(loss, len(x))
            metric.update_state(y, predictions)
        results.append((float(mean.result()), float(metric.result())))
    return results


# %% mistake: penalties are not part of the logged loss
"""You minimise the penalties, but report `loss_fn` alone. What `fit` logs is what it
minimises: report the sum."""


def train(model, optimizer, loss_fn, metric, dataset, epochs):
    mean, results = keras.metrics.Mean(), []
    for _ in range(epochs):
        mean.reset_state()
        metric.reset_state()
        for x, y in dataset:
            with tf.GradientTape() as tape:
                predictions = model(x, training=True)
                loss = loss_fn(y, predictions)
                total = loss + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(total, variables), variables)
            mean.update_state(loss, len(x))
            metric.update_state(y, predictions)
        results.append((float(mean.result()), float(metric.result())))
    return results


# %% mistake: an epoch is measured when it is over
"""You predict again after each step, for the metric. That is another number than in
`fit`, costs a second pass, and moves the averages of BatchNormalization twice. Use the
predictions of the step."""


def train(model, optimizer, loss_fn, metric, dataset, epochs):
    mean, results = keras.metrics.Mean(), []
    for _ in range(epochs):
        mean.reset_state()
        metric.reset_state()
        for x, y in dataset:
            with tf.GradientTape() as tape:
                loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            mean.update_state(loss, len(x))
            metric.update_state(y, model(x, training=True))
        results.append((float(mean.result()), float(metric.result())))
    return results


# %% mistake: the last batch tells how the epoch went
"""You report the loss of the last batch. The loss of an epoch is the mean over all its
rows."""


def train(model, optimizer, loss_fn, metric, dataset, epochs):
    results = []
    for _ in range(epochs):
        metric.reset_state()
        for x, y in dataset:
            with tf.GradientTape() as tape:
                predictions = model(x, training=True)
                loss = loss_fn(y, predictions) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            metric.update_state(y, predictions)
        results.append((float(loss), float(metric.result())))
    return results


# %% mistake: a reset at the end of each epoch is enough
"""You reset after every epoch, so the first one also counts what the metric held when
it was given to you. `reset_state()` is the first line of an epoch."""


def train(model, optimizer, loss_fn, metric, dataset, epochs):
    mean, results = keras.metrics.Mean(), []
    for _ in range(epochs):
        for x, y in dataset:
            with tf.GradientTape() as tape:
                predictions = model(x, training=True)
                loss = loss_fn(y, predictions) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            mean.update_state(loss, len(x))
            metric.update_state(y, predictions)
        results.append((float(mean.result()), float(metric.result())))
        mean.reset_state()
        metric.reset_state()
    return results


# %% mistake: the metric wants predictions as in predict
"""After each step you predict again, with `training=False`. `fit` reports what the step
itself predicted, before the weights moved. Use those predictions."""


def train(model, optimizer, loss_fn, metric, dataset, epochs):
    mean, results = keras.metrics.Mean(), []
    for _ in range(epochs):
        mean.reset_state()
        metric.reset_state()
        for x, y in dataset:
            with tf.GradientTape() as tape:
                predictions = model(x, training=True)
                loss = loss_fn(y, predictions) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            mean.update_state(loss, len(x))
            metric.update_state(y, model(x, training=False))
        results.append((float(mean.result()), float(metric.result())))
    return results


# %% [markdown]
# ### Exercise: the evaluation loop
#
# Write `evaluate_loop(model, loss_fn, metric, dataset)`: it gives the pair
# `(loss, metric)` that `evaluate` would report, as two numbers. No tape, no update: the
# model is called as in `predict`, and its state stays as it is. The loss is a mean over
# rows, penalties included; the batches may have any sizes. The metric may hold
# something at the beginning. `evaluate` itself does not count. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# Take your training loop and cross out what changes the model.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `training=False`, no tape, no optimizer, a single pass. The penalty is still in
# `model.losses`.
#
# </details>


# %% exercise: evaluate_loop
def evaluate_loop(model, loss_fn, metric, dataset):
    """Loss and metric as evaluate reports them: (float, float)."""
    ### BEGIN SOLUTION
    mean = keras.metrics.Mean()
    metric.reset_state()
    for x, y in dataset:
        predictions = model(x, training=False)
        mean.update_state(loss_fn(y, predictions) + sum(model.losses), len(x))
        metric.update_state(y, predictions)
    return float(mean.result()), float(metric.result())
    ### END SOLUTION


# %% check: evaluate_loop, 3 points
def evidence(evaluate_loop, rng):
    n = int(rng.integers(8, 12))
    x = rng.normal(size=(n, 3)).astype("float32")
    y = rng.normal(size=(n, 2)).astype("float32")
    y[6:] *= 3
    model, found = demanding(rng, dropout=0.5), {}
    loss_fn = keras.losses.MeanSquaredError()
    metric = keras.metrics.RootMeanSquaredError()
    metric.update_state([[0.0]], [[5.0]])

    def write_it_yourself(*args, **kwargs):
        raise RuntimeError("the loop is to be written without evaluate")

    kind, bans = keras.Model, ("evaluate", "test_on_batch")
    built_in = {name: getattr(kind, name) for name in bans}
    rows = tf.data.Dataset.from_tensor_slices((x, y))
    cases = {
        "all rows at once": rows.batch(n),
        "a smaller last batch": rows.batch(6),
        "row by row": rows.skip(n - 3).batch(1),
    }
    for name, dataset in cases.items():
        given = {"rows": n, "batches": name}

        def run():
            for name in bans:
                setattr(kind, name, write_it_yourself)
            try:
                pair = evaluate_loop(model, loss_fn, metric, dataset)
            finally:
                for name in bans:
                    setattr(kind, name, built_in[name])
            found["loss"], found["metric"] = pair
            return found["loss"]

        yield f"{name}: loss", run, given
        yield f"{name}: metric", lambda: found["metric"], given
    label = "loss of a second pass, and the weights afterwards"
    yield label, lambda: [run(), *model.get_weights()], given


check("07/evaluate_loop", evidence)

# %% mistake: evaluation is training without a step
"""You call the model with `training=True`. Then units are dropped, and every pass moves
the averages of BatchNormalization: evaluation changes the model. Say
`training=False`."""


def evaluate_loop(model, loss_fn, metric, dataset):
    mean = keras.metrics.Mean()
    metric.reset_state()
    for x, y in dataset:
        predictions = model(x, training=True)
        mean.update_state(loss_fn(y, predictions) + sum(model.losses), len(x))
        metric.update_state(y, predictions)
    return float(mean.result()), float(metric.result())


# %% mistake: batch losses are averaged as they are
"""The smaller last batch gets as much say as a full one. Weigh each batch loss by its
rows."""


def evaluate_loop(model, loss_fn, metric, dataset):
    losses = []
    metric.reset_state()
    for x, y in dataset:
        predictions = model(x, training=False)
        losses.append(float(loss_fn(y, predictions) + sum(model.losses)))
        metric.update_state(y, predictions)
    return float(np.mean(losses)), float(metric.result())


# %% mistake: a metric of an epoch is the mean of its batches
"""You average the metric over batches. For a root of a mean, a precision or an AUC that
is another number. Update one metric with all batches, then read it once."""


def evaluate_loop(model, loss_fn, metric, dataset):
    mean, results = keras.metrics.Mean(), []
    for x, y in dataset:
        metric.reset_state()
        predictions = model(x, training=False)
        mean.update_state(loss_fn(y, predictions) + sum(model.losses), len(x))
        results.append(float(metric(y, predictions)))
    return float(mean.result()), float(np.mean(results))


# %% mistake: the metric is empty when you get it
"""The metric still held something, and later calls added to it. Reset it before the
first batch."""


def evaluate_loop(model, loss_fn, metric, dataset):
    mean = keras.metrics.Mean()
    for x, y in dataset:
        predictions = model(x, training=False)
        mean.update_state(loss_fn(y, predictions) + sum(model.losses), len(x))
        metric.update_state(y, predictions)
    return float(mean.result()), float(metric.result())


# %% mistake: penalties belong to training only
"""`evaluate` reports the penalties, too, so that validation loss and training loss can
be compared. Add `model.losses`."""


def evaluate_loop(model, loss_fn, metric, dataset):
    mean = keras.metrics.Mean()
    metric.reset_state()
    for x, y in dataset:
        predictions = model(x, training=False)
        mean.update_state(loss_fn(y, predictions), len(x))
        metric.update_state(y, predictions)
    return float(mean.result()), float(metric.result())


# %% mistake: penalties add up over the batches
"""You add the penalty once per batch and divide nothing, or you divide only the data
loss. The penalty belongs to each batch loss, and is averaged with it."""


def evaluate_loop(model, loss_fn, metric, dataset):
    total, rows = 0.0, 0
    metric.reset_state()
    for x, y in dataset:
        predictions = model(x, training=False)
        total += float(loss_fn(y, predictions)) * len(x)
        total += float(sum(model.losses))
        rows += len(x)
        metric.update_state(y, predictions)
    return total / rows, float(metric.result())


# %% [markdown]
# ## Fit beside tape, step by step
#
# Your loop runs, the loss falls, the accuracy rises. Is it right? Nearly every mistake
# in a training loop looks like this: no error, only a model that is a little worse than
# it could be. `fit` is your measure: from the same weights, on the same batches, your
# loop has to do the same. Here is a model with three things that loops like to forget,
# and a step that forgets some of them.

# %%
(x_train, y_train), _ = data.load_digits()
digit_batches = (
    tf.data.Dataset.from_tensor_slices((x_train, y_train)).batch(64).take(12)
)
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def digit_model():
    keras.utils.set_random_seed(0)
    penalty = keras.regularizers.L2(0.01)
    layers = [
        keras.layers.Dense(32, kernel_regularizer=penalty, use_bias=False, name="a"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.ReLU(),
        keras.layers.Dense(10, name="logits"),
    ]
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.compile(keras.optimizers.SGD(0.5), loss_fn)
    return model


# %% [markdown]
# `parity.steps` notes weights, statistics and the optimizer's state, lets `fit` take a
# step, puts everything back, lets your step do the same batch, and compares. Up to the
# first difference, each of your steps begins where `fit` stands, and that difference is
# all it tells: what comes later may follow from it. `(then also: ...)` lists what else
# differs in that step; an *optimizer slot* is what the optimizer keeps for each weight,
# such as its momentum. `step(x, y)` returns its loss, a dict of logs, or nothing.
#
# Before you run the cell: which two things does `hasty_step` leave out?


# %%
# rows: G3, G4, G7
def hasty_step(x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x))
    variables = model.trainable_variables
    model.optimizer.apply(tape.gradient(loss, variables), variables)
    return loss


model = digit_model()
report = parity.steps(hasty_step, model, digit_batches)
print(report)
report.show()

# %% [markdown]
# On the left both losses fall. Alone, yours would please you; beside it, `fit` ends at
# half of it. On the right the weights part in step 1 and never meet again.
#
# The sentence names both causes. The layer `norm` keeps a running mean, and it stands
# still: outside of `fit` a model is called as for predictions, unless you say
# otherwise. And the penalty of the first layer is missing. Penalties are in
# `model.losses`, fresh after every call: add them **inside** the tape. (The model needs
# no second start, because a comparison leaves it as it was.)


# %%
# rows: G3, G7
def right_step(x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
    variables = model.trainable_variables
    model.optimizer.apply(tape.gradient(loss, variables), variables)
    return loss


report = parity.steps(right_step, model, digit_batches)
print(report)
report.show()

# %% [markdown]
# What is left lies in the blue band: rounding, in the last digits of a number.
# Habit: before you trust a loop of your own, let it run beside `fit` for ten batches.
#
# `parity.loop(train, model, dataset, epochs)` compares whole loops. `train(model,
# dataset, epochs)` returns, for each epoch, a dict of logs or a pair `(loss, metric)`.
# Mistakes of loops live between the steps: at the end of an epoch, and in the last
# batch. The next loop does every step right. What is wrong with it?


# %%
# rows: G3, G9
def hasty_loop(model, dataset, epochs):
    logs = []
    for _ in range(epochs):
        losses = [float(right_step(x, y)) for x, y in dataset]
        logs.append({"loss": np.mean(losses)})
    return logs


uneven = tf.data.Dataset.from_tensor_slices((x_train[:150], y_train[:150])).batch(64)
print(parity.loop(hasty_loop, model, uneven))

# %% [markdown]
# Batches of 64, 64 and 22 rows: in the mean of three means each row of the last one has
# three times the say. The weights are right: only the report is not.
#
# **Try it.** Change one thing in `right_step`, and predict the sentence: `loss = 2 *
# loss` inside the tape; `apply` called twice; lists that end one entry early, `[:-1]`
# on both; `keras.optimizers.SGD(0.1)`, made outside of the step. Change it back
# afterwards.
#
# <details><summary>What it says</summary>
#
# The loss is 6.03 (fit: 3.015), and all gradients are 2.00 times fit's. The optimizer
# took 2 updates where fit took 1. `logits/bias` was not updated. The learning rate is
# 0.1 (fit: 0.5).
#
# With Adam, a doubled gradient moves the weights as before: Adam divides it out again.
# The loss that you return, and what the optimizer remembers, tell them apart.
#
# </details>

# %% [markdown]
# And your own `train`, from above? It takes more arguments than `parity.loop` gives, so
# wrap it.


# %%
# rows: G9
def mine(model, dataset, epochs):
    metric = keras.metrics.SparseCategoricalAccuracy()
    return train(model, model.optimizer, loss_fn, metric, dataset, epochs)


print(parity.loop(mine, digit_model(), uneven))

# %% [markdown]
# ### Exercise: the first step apart
#
# Write `first_apart(step, model, batches)`, a small `parity.steps` of your own. `model`
# is built and compiled and may have been trained before; `batches` is a list of
# `(x, y)`; `step(x, y)` updates the model in some way. Let `model.train_on_batch(x, y)`
# run over all batches, then let `step` run over all of them, both from the state that
# you were given. Return the number of the first step, counted from 1, after which any
# entry of any array in `model.get_weights()` is more than 0.0001 apart, and `None` if
# there is no such step. What `step` returns does not matter. At the end weights and
# optimizer are as before. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# Where does the state of a training live? Weights, and one more place. What would
# momentum, the sum of old gradients that SGD carries along, do in the second run if it
# still remembered the first?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `model.optimizer.variables` is a list with everything that the optimizer knows, its
# counter too. Note `variable.numpy()` of each, and `assign` it later. Keep
# `model.get_weights()` after every step.
#
# </details>
# <details><summary>Hint 3</summary>
#
# An inner function helps: `def run(step):` puts the state back, then returns
# `[model.get_weights()` after each `step(x, y)]`. Call it with `model.train_on_batch`
# and with `step`, put the state back, and compare the two lists entry by entry.
#
# </details>


# %% exercise: first_apart
def first_apart(step, model, batches):
    """The first step (from 1) after which weights differ from fit's; None if none."""
    ### BEGIN SOLUTION
    weights = model.get_weights()
    state = [variable.numpy() for variable in model.optimizer.variables]

    def put_back():
        model.set_weights(weights)
        for variable, value in zip(model.optimizer.variables, state, strict=True):
            variable.assign(value)

    def run(step):
        put_back()
        found = []
        for x, y in batches:
            step(x, y)
            found.append(model.get_weights())
        return found

    both = zip(run(model.train_on_batch), run(step), strict=True)
    put_back()
    for number, (fit, mine) in enumerate(both, 1):
        if any(np.abs(a - b).max() > 1e-4 for a, b in zip(fit, mine, strict=True)):
            return number
    return None
    ### END SOLUTION


# %% check: first_apart, 4 points
def evidence(first_apart, rng):
    d, where = int(rng.integers(2, 5)), int(rng.integers(1, 3))

    class Remembering(keras.layers.Dense):
        def build(self, shape):
            super().build(shape)
            self.memory = self.add_weight(shape=(2,), trainable=False)

    dense = Remembering(4)
    model = keras.Sequential([keras.Input((d,)), dense])
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(optimizer, "mse", run_eagerly=True)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    optimizer.build(model.trainable_variables)
    for variable in optimizer.variables:
        if len(
            variable.shape
        ):  # what momentum remembers; the others are single numbers
            variable.assign(rng.normal(size=variable.shape))
    batches = [(rng.normal(size=(5, d)), rng.normal(size=(5, 4))) for _ in range(3)]
    late, drift = (3, 4.2e-5) if where == 2 else (2, 6e-5)
    given = {"batches": 3, "the steps deviate after": [where] * 3 + [late]}
    done = []

    def case(change):
        """What comes out for fit's own step, with a change after each call."""
        calls = iter(range(1, 4))

        def step(x, y):
            model.train_on_batch(x, y)
            change(next(calls))

        def found():
            result = first_apart(step, model, batches)
            done.append(result)
            return result

        return lambda: found()

    def push(variable, size):
        variable.assign(variable + size)

    one = np.zeros((d, 4))
    one[int(rng.integers(d)), int(rng.integers(4))] = 3e-4

    def deviate(size):
        return lambda at: at == where and push(dense.kernel, size)

    def once(at):
        if at in (where, where + 1):
            push(dense.memory, 0.01 if at == where else -0.01)

    def all_cases():
        drifts = [lambda at: push(dense.bias, -drift)]
        changes = [deviate(one), deviate(-one), once, *drifts]
        return [case(change)() for change in changes]

    def after(values):
        return done[-1:] and values

    yield "a step like fit's", case(lambda at: None), given
    label = "four steps: one weight goes up, goes down; what training does not move"
    yield f"{label} goes up and back; all drift", all_cases, given
    yield "a step that deviates by 0.000001", case(lambda at: push(dense.bias, 1e-6))
    yield "the weights afterwards", lambda: after(model.get_weights())
    state = [variable.numpy() for variable in optimizer.variables]
    yield "the optimizer afterwards", lambda: after(state)


check("07/first_apart", evidence)

# %% mistake: weights are all that training changes
"""The second run began with the momentum and the counter of the first. Both live in
`model.optimizer.variables`: note them, and put them back before each run."""


def first_apart(step, model, batches):
    weights = model.get_weights()
    runs = []
    for function in (model.train_on_batch, step):
        model.set_weights(weights)
        runs.append([(function(x, y), model.get_weights())[1] for x, y in batches])
    model.set_weights(weights)
    for number, (fit, mine) in enumerate(zip(*runs, strict=True), 1):
        if any(np.abs(a - b).max() > 1e-4 for a, b in zip(fit, mine, strict=True)):
            return number
    return None


# %% mistake: the optimizer is put back once, at the end
"""The second run began with the momentum and the counter of the first. Put back
`model.optimizer.variables` before each run, as you do with the weights."""


def first_apart(step, model, batches):
    weights = model.get_weights()
    state = [variable.numpy() for variable in model.optimizer.variables]
    runs = []
    for function in (model.train_on_batch, step):
        model.set_weights(weights)
        runs.append([(function(x, y), model.get_weights())[1] for x, y in batches])
    model.set_weights(weights)
    for variable, value in zip(model.optimizer.variables, state, strict=True):
        variable.assign(value)
    for number, (fit, mine) in enumerate(zip(*runs, strict=True), 1):
        if any(np.abs(a - b).max() > 1e-4 for a, b in zip(fit, mine, strict=True)):
            return number
    return None


# %% mistake: an optimizer begins with zeros
"""You set the optimizer to zero before each run. The model may have been trained
before: begin from the momentum that you were given, and put that back at the end."""


def first_apart(step, model, batches):
    weights = model.get_weights()

    def begin():
        model.set_weights(weights)
        for variable in model.optimizer.variables:
            if "learning_rate" not in variable.name:
                variable.assign(np.zeros(variable.shape))

    runs = []
    for function in (model.train_on_batch, step):
        begin()
        runs.append([(function(x, y), model.get_weights())[1] for x, y in batches])
    begin()
    for number, (fit, mine) in enumerate(zip(*runs, strict=True), 1):
        if any(np.abs(a - b).max() > 1e-4 for a, b in zip(fit, mine, strict=True)):
            return number
    return None


# %% mistake: a comparison may leave the model as it ends
"""After your comparison the model is a trained one. Somebody who compares before they
train would start from there: put weights and optimizer back at the end, too."""


def first_apart(step, model, batches):
    weights = model.get_weights()
    state = [variable.numpy() for variable in model.optimizer.variables]
    runs = []
    for function in (model.train_on_batch, step):
        model.set_weights(weights)
        for variable, value in zip(model.optimizer.variables, state, strict=True):
            variable.assign(value)
        runs.append([(function(x, y), model.get_weights())[1] for x, y in batches])
    for number, (fit, mine) in enumerate(zip(*runs, strict=True), 1):
        if any(np.abs(a - b).max() > 1e-4 for a, b in zip(fit, mine, strict=True)):
            return number
    return None


# %% mistake: at the end only the weights are put back
"""Afterwards the optimizer is that of the second run: whoever trains next goes on with
its momentum and counter. Put `model.optimizer.variables` back at the end, too."""


def first_apart(step, model, batches):
    weights = model.get_weights()
    state = [variable.numpy() for variable in model.optimizer.variables]
    runs = []
    for function in (model.train_on_batch, step):
        model.set_weights(weights)
        for variable, value in zip(model.optimizer.variables, state, strict=True):
            variable.assign(value)
        runs.append([(function(x, y), model.get_weights())[1] for x, y in batches])
    model.set_weights(weights)
    for number, (fit, mine) in enumerate(zip(*runs, strict=True), 1):
        if any(np.abs(a - b).max() > 1e-4 for a, b in zip(fit, mine, strict=True)):
            return number
    return None


# %% mistake: equal means equal in every digit
"""You compare exactly. Two right ways to calculate a number differ in its last digit,
because float32 rounds: allow 0.0001."""


def first_apart(step, model, batches):
    weights = model.get_weights()
    state = [variable.numpy() for variable in model.optimizer.variables]
    runs = []
    for function in (model.train_on_batch, step, None):
        model.set_weights(weights)
        for variable, value in zip(model.optimizer.variables, state, strict=True):
            variable.assign(value)
        if function:
            runs.append([(function(x, y), model.get_weights())[1] for x, y in batches])
    for number, (fit, mine) in enumerate(zip(*runs, strict=True), 1):
        if any((a != b).any() for a, b in zip(fit, mine, strict=True)):
            return number
    return None


# %% mistake: the end tells it all
"""You compare once, after the last step. That cannot tell where the two parted, and
what went wrong and came back is missed: compare after every step."""


def first_apart(step, model, batches):
    weights = model.get_weights()
    state = [variable.numpy() for variable in model.optimizer.variables]
    ends = []
    for function in (model.train_on_batch, step, None):
        model.set_weights(weights)
        for variable, value in zip(model.optimizer.variables, state, strict=True):
            variable.assign(value)
        if function:
            for x, y in batches:
                function(x, y)
            ends.append(model.get_weights())
    apart = any(np.abs(a - b).max() > 1e-4 for a, b in zip(*ends, strict=True))
    return len(batches) if apart else None


# %% mistake: only what has a gradient can go wrong
"""You compare the trainable weights. What has no gradient, as BatchNorm's statistics,
belongs to the result, too: compare all of `model.get_weights()`."""


def first_apart(step, model, batches):
    weights = model.get_weights()
    state = [variable.numpy() for variable in model.optimizer.variables]
    runs = []
    for function in (model.train_on_batch, step, None):
        model.set_weights(weights)
        for variable, value in zip(model.optimizer.variables, state, strict=True):
            variable.assign(value)
        found = []
        for x, y in batches if function else []:
            function(x, y)
            found.append([v.numpy() for v in model.trainable_variables])
        runs.append(found)
    for number, (fit, mine) in enumerate(zip(*runs[:2], strict=True), 1):
        if any(np.abs(a - b).max() > 1e-4 for a, b in zip(fit, mine, strict=True)):
            return number
    return None


# %% mistake: steps are counted from 0
"""You count from 0. The first step is step 1: `enumerate(..., 1)`."""


def first_apart(step, model, batches):
    weights = model.get_weights()
    state = [variable.numpy() for variable in model.optimizer.variables]
    runs = []
    for function in (model.train_on_batch, step, None):
        model.set_weights(weights)
        for variable, value in zip(model.optimizer.variables, state, strict=True):
            variable.assign(value)
        if function:
            runs.append([(function(x, y), model.get_weights())[1] for x, y in batches])
    for number, (fit, mine) in enumerate(zip(*runs, strict=True)):
        if any(np.abs(a - b).max() > 1e-4 for a, b in zip(fit, mine, strict=True)):
            return number
    return None


# %% mistake: every step may begin where fit stands
"""You put your step on the state of `fit` before each batch. A step that drifts a
little each time never goes far from there. Both run over all batches from one start."""


def first_apart(step, model, batches):
    weights = model.get_weights()
    state = [variable.numpy() for variable in model.optimizer.variables]

    def put(weights, state):
        model.set_weights(weights)
        for variable, value in zip(model.optimizer.variables, state, strict=True):
            variable.assign(value)

    def now():
        return model.get_weights(), [v.numpy() for v in model.optimizer.variables]

    both = []
    for x, y in batches:
        here = now()
        model.train_on_batch(x, y)
        after_fit = now()
        put(*here)
        step(x, y)
        both.append((after_fit[0], model.get_weights()))
        put(*after_fit)
    put(weights, state)
    for number, (fit, mine) in enumerate(both, 1):
        if any(np.abs(a - b).max() > 1e-4 for a, b in zip(fit, mine, strict=True)):
            return number
    return None


# %% mistake: a difference is positive
"""You look for the largest difference without `np.abs`. Where your weights are larger
than those of `fit`, the difference is negative and stays unseen."""


def first_apart(step, model, batches):
    weights = model.get_weights()
    state = [variable.numpy() for variable in model.optimizer.variables]

    def put_back():
        model.set_weights(weights)
        for variable, value in zip(model.optimizer.variables, state, strict=True):
            variable.assign(value)

    def run(step):
        put_back()
        found = []
        for x, y in batches:
            step(x, y)
            found.append(model.get_weights())
        return found

    both = zip(run(model.train_on_batch), run(step), strict=True)
    put_back()
    for number, (fit, mine) in enumerate(both, 1):
        if any((a - b).max() > 1e-4 for a, b in zip(fit, mine, strict=True)):
            return number
    return None


# %% [markdown]
# ## Compile the step, and count traces
#
# *A good place to stop. When you come back, run all cells above this one.*
#
# A line of Python around every operation takes longer than the small operations
# themselves. `fit` avoids that: it records your code as a graph (lesson 01).
# `tf.function` does it for a function of yours. It runs your Python **once**, writes
# down the operations (a *trace*), and from then on runs only what was written. Same
# numbers, much faster. The price: an error is harder to find, so write and debug
# without it, compile last.


# %%
# rows: G8, G16
def make(model):
    optimizer = keras.optimizers.Adam(0.1)

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = mse(y, model(x, training=True)) + sum(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return step


rows = [(x, tf.cast(y, "float32")) for x, y in batches]  # 64 rows, from above
eager = make(demanding(np.random.default_rng(0)))
compiled = tf.function(make(demanding(np.random.default_rng(0))))
for name, step in {"eager": eager, "compiled": compiled}.items():
    print(f"{name:9}", [f"{float(step(*batch)):.4f}" for batch in rows])

# %% [markdown]
# When does it trace again? For every *new kind* of call. `count` calls a function for
# each value; its `seen.append` is Python, so it runs while tracing only, and the length
# of the list counts traces. In the second cell each line makes five calls. Guess first:
# how many traces?

# %%
# rows: G16
tf.get_logger().setLevel("ERROR")  # it would warn of every trace from the fifth on


def count(values, fresh=False, **settings):
    seen = []

    def double(x):
        seen.append("traced")
        return 2 * x

    compiled = tf.function(double, **settings)
    for value in values:
        (tf.function(double) if fresh else compiled)(value)
    return len(values), len(seen)


# %%
# rows: G16
same, sizes = [tf.ones(4)] * 5, [tf.ones(n) for n in range(1, 6)]
signature = [tf.TensorSpec([None], "float32")]
counts = {
    "tensors of one shape": count(same),
    "a smaller last batch": count([*same[1:], tf.ones(3)]),
    "five shapes": count(sizes),
    "... reduce_retracing=True": count(sizes, reduce_retracing=True),
    "... input_signature": count(sizes, input_signature=signature),
    "five Python numbers": count([1, 2, 3, 4, 5]),
    "... as tensors": count([tf.constant(n) for n in range(1, 6)]),
    "tf.function inside the loop": count(same, fresh=True),
}
plots.traces(counts)

# %% [markdown]
# A tensor counts by shape and dtype, a Python number **by value**: a step counter or a
# learning rate as Python number means a trace per step. A new `tf.function` in the loop
# forgets everything each time. One more trace for the last batch is fine.
#
# All other Python runs while tracing only, as in lessons 01 and 02: a `print` prints
# once, a list gets placeholders, a number is frozen. So what may change must be a
# variable or a tensor, and what you want to know is **returned** (or printed by
# `tf.print`).
#
# State is created outside, once. Below, a metric is made inside of the function, and an
# optimizer that knows one model meets a second.


# %%
# rows: G17
def reason(action):
    try:
        return f"works, {float(action()):.1f}"
    except ValueError as error:
        sentences = str(error).split("ValueError: ")[-1].split("<")
        return f"ValueError: {sentences[0][:50]}..."


@tf.function
def inside(x):
    return keras.metrics.Mean()(x)


outside = tf.function(keras.metrics.Mean())
print("metric made outside:", reason(lambda: outside(tf.ones(3))))
print("metric made inside: ", reason(lambda: inside(tf.ones(3))))

# %%
# rows: G17
models = [demanding(np.random.default_rng(0)) for _ in range(2)]
shared = keras.optimizers.SGD(0.1)
for place, model in enumerate(models):
    zeros = [tf.zeros(w.shape) for w in model.trainable_variables]
    used = reason(lambda: shared.apply(zeros, model.trainable_variables) or 0.0)
    print(f"one optimizer, model {place + 1}:", used)

# %% [markdown]
# "Singleton" means: a variable may be created in the first call only. And an optimizer
# belongs to its first model, compiled or not. Habit: one model, one optimizer, one
# step, and one function that makes the step, as `make` above.

# %% [markdown]
# ### Quiz: the slow loop
#
# A step function takes `(x, y, epoch)`, with `epoch` from `range(100)`. Every epoch has
# 50 full batches and a smaller one. How many traces does a training of 100 epochs cost?
#
# <details><summary>2</summary>
#
# No: that would be so with `epoch` as a tensor. A Python number counts by value.
#
# </details>
# <details><summary>200</summary>
#
# Right: each epoch is a new value, and each needs a trace for the full and for the
# smaller batch. Pass `tf.constant(epoch)`, and two are left.
#
# </details>
# <details><summary>5100, one for every call</summary>
#
# No: within an epoch, the 50 full batches share a trace.
#
# </details>
# <details><summary>1, since it was compiled once</summary>
#
# No: `tf.function` compiles when it is called, for each kind of call anew.
#
# </details>

# %% [markdown]
# ### Exercise: a compiled step
#
# Write `make_step(model, optimizer, loss_fn)`. It returns a compiled function
# `step(x, y)` that trains the model on a batch (penalties included, called as in
# training) and returns the loss from before the step as a scalar tensor. Full and
# smaller batches may cost one trace each, later calls none. `x` and `y` are float32
# tensors or arrays. Steps for two models work side by side, and a new
# `optimizer.learning_rate` takes effect. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# Write the step without `tf.function` first. What does it need that is not an argument,
# and where does that come from?
#
# </details>
# <details><summary>Hint 2</summary>
#
# An array counts like a tensor: by shape and dtype. Define `step` inside `make_step`
# with `@tf.function` above it, and return it.
#
# </details>


# %% exercise: make_step
def make_step(model, optimizer, loss_fn):
    """A compiled training step for this model: step(x, y) -> loss."""
    ### BEGIN SOLUTION

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return step
    ### END SOLUTION


# %% check: make_step, 4 points
def evidence(make_step, rng):
    x = rng.normal(size=(4, 3)).astype("float32")
    y = rng.normal(size=(4, 2)).astype("float32")
    full = tf.constant(x), tf.constant(y)
    part = tf.constant(x[:3]), tf.constant(y[:3])
    rate, runs = float(rng.uniform(0.05, 0.2)), []
    loss_fn = keras.losses.MeanSquaredError()
    given = {"learning_rate": rate}

    class Counted(keras.layers.Dense):
        def call(self, x, training=None):
            runs.append("line by line" if tf.executing_eagerly() else "traced")
            return super().call(x) * (2.0 if training else 1.0)

    models, optimizers, steps = [], [], []
    for _ in range(2):
        layer = Counted(2, kernel_regularizer=keras.regularizers.L2(0.1))
        models.append(draw_weights(keras.Sequential([keras.Input((3,)), layer]), rng))
        optimizers.append(keras.optimizers.SGD(rate, momentum=0.9))
        steps.append(make_step(models[-1], optimizers[-1], loss_fn))
    del runs[:]
    yield "loss of the first batch", lambda: steps[0](*full), given
    yield "loss of a smaller batch", lambda: steps[0](*part), given
    yield "weights afterwards", models[0].get_weights(), given
    yield "whether it was traced too often", len(runs) > 4, given
    yield "loss of a second model", lambda: steps[1](*full), given
    yield "weights of the second model", models[1].get_weights(), given
    before = len(runs)
    yield "loss of a later batch", lambda: steps[0](*full), given
    yield "how often Python ran again", len(runs) - before, given
    yield "how the model was run", sorted(set(runs)), given
    optimizers[0].learning_rate = 10 * rate
    yield "loss of a later smaller batch", lambda: steps[0](*part), given
    label = "weights after a step with another learning rate"
    yield label, models[0].get_weights(), {"learning_rate": 10 * rate}


check("07/make_step", evidence)

# %% mistake: a loop is fast if its parts are
"""Your step is right, but runs as plain Python, line by line, in every call. Put
`@tf.function` above it."""


def make_step(model, optimizer, loss_fn):
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return step


# %% mistake: compiling can be done in every call
"""You make a new `tf.function` in each call. It knows nothing of the trace before, and
traces again. Make it once, outside of the step."""


def make_step(model, optimizer, loss_fn):
    def step(x, y):
        @tf.function
        def compiled(x, y):
            with tf.GradientTape() as tape:
                loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            return loss

        return compiled(x, y)

    return step


# %% mistake: a list collects what happens inside
"""You append to a list inside the compiled function. That runs while tracing only, and
what it appends is a placeholder. Return the loss."""


def make_step(model, optimizer, loss_fn):
    losses = []

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        losses.append(loss)

    def run(x, y):
        step(x, y)
        return losses[-1]

    return run


# %% mistake: the optimizer may be made inside
"""You make an optimizer inside the compiled function. It has variables, and a compiled
function may create those in its first call only. Use the one that you are given."""


def make_step(model, optimizer, loss_fn):
    rate = float(optimizer.learning_rate)

    @tf.function
    def step(x, y):
        inner = keras.optimizers.SGD(rate)
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        inner.apply(gradients, model.trainable_variables)
        return loss

    return step


# %% mistake: a Python number inside is read in every call
"""You read the learning rate as a Python number. It was written into the trace, and
stays what it was. Let the optimizer apply the gradients: its rate is a variable."""


def make_step(model, optimizer, loss_fn):
    rate = float(optimizer.learning_rate)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        for variable, gradient in zip(
            model.trainable_variables, gradients, strict=True
        ):
            variable.assign_sub(rate * gradient)
        return loss

    return step


# %% mistake: the number is inside of the tensor
"""`.numpy()` needs a number, and inside the compiled function there is none yet. Return
the tensor, and read its number outside."""


def make_step(model, optimizer, loss_fn):
    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss.numpy()

    return step


# %% mistake: compiling switches training on
"""A compiled step still calls the model as you wrote it. `model(x)` behaves as in
`predict`: say `training=True`."""


def make_step(model, optimizer, loss_fn):
    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x)) + sum(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return step


# %% mistake: a compiled loss includes the penalties
"""`loss_fn` sees no layers, compiled or not. Add `sum(model.losses)` inside the
tape."""


def make_step(model, optimizer, loss_fn):
    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return step


# %% mistake: a compiled step does what fit does
"""Two things are missing, compiled or not: `training=True`, or layers behave as in
`predict`; and `sum(model.losses)`, the penalties of the layers."""


def make_step(model, optimizer, loss_fn):
    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return step


# %% [markdown]
# ## Loops that are fast
#
# Your loop does what `fit` does, and it often takes several times as long. Overnight
# becomes a weekend. It is not the arithmetic: a small network has hardly any. Something
# else is slow, and without it a loop of your own is several times **faster** than
# `fit`. Below, the same updates are made in six ways.

# %%
size, steps = 64, 100
x_many = tf.random.stateless_uniform((steps * size, 784), (0, 1))
y_many = tf.random.stateless_uniform((steps * size,), (0, 2), 0, 10, "int64")
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def ready():
    """A compiled network and its step in plain Python."""
    hidden = keras.layers.Dense(64, activation="relu")
    model = keras.Sequential([keras.Input((784,)), hidden, keras.layers.Dense(10)])
    model.compile("sgd", loss_fn)

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True))
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, variables), variables)

    return model, step


# %% [markdown]
# Three ways call the step once per batch: as it stands, compiled by `tf.function`, and
# compiled by XLA as well, which melts many operations into few. Another one puts the
# loop **into** the function: there, `tf.range` becomes a loop of the graph, so Python
# makes one call per epoch. Two are `fit`, and `fit` with fifty steps per call.


# %%
def by_batch(step, count=steps):
    def run():
        for start in range(0, count * size, size):
            step(x_many[start : start + size], y_many[start : start + size])
        return count

    return run


def by_epoch(step):
    @tf.function
    def epoch(x, y):
        for start in tf.range(0, steps * size, size):
            step(x[start : start + size], y[start : start + size])

    return lambda: epoch(x_many, y_many) or steps


# %%
def by_fit(model, steps_per_execution=1):
    model.compile("sgd", loss_fn, steps_per_execution=steps_per_execution)
    x, y = x_many.numpy(), y_many.numpy()
    settings = {"batch_size": size, "shuffle": False, "verbose": 0}
    return lambda: model.fit(x, y, **settings) and steps


def milliseconds(run):
    run()  # the first call traces and compiles
    times = [(time.perf_counter(), run(), time.perf_counter()) for _ in range(3)]
    return min(1000 * (end - begin) / count for begin, count, end in times)


# %% [markdown]
# Guess first: how many times as fast as eager steps is the best way? Each one runs once
# to get warm and three times by the clock. The fastest of the three counts: what
# happens by chance is always a delay.

# %% varies: times depend on the machine and on what else it does
# rows: G8, G16
ways = {
    "step, eager": by_batch(ready()[1], min(steps, 20)),
    "fit": by_fit(ready()[0]),
    "fit, 50 steps a call": by_fit(ready()[0], 50),
    "step, tf.function": by_batch(tf.function(ready()[1])),
    "step, XLA": by_batch(tf.function(ready()[1], jit_compile=True)),
    "epoch, tf.function": by_epoch(ready()[1]),
}
times = {name: milliseconds(run) for name, run in ways.items()}
faster = times["step, eager"] / times["epoch, tf.function"]
print(f"eager takes {times['step, eager'] / times['fit']:.1f} times as long as fit")
plots.loop_times(
    times, f"One call per epoch: {faster:.0f} times as fast as eager steps"
)

# %% [markdown]
# Where does the time go? **Eager** steps ask for each operation from Python, more than
# a hundred times a step. `fit` asks once per step, but around it fetches a batch, runs
# callbacks and updates metrics; with fifty steps per call it pays for that once. Around
# a compiled step there is still Python's loop; around an epoch in one call not even
# that.
#
# The price: no `print`, no growing list, no look at the loss. And where a step is half
# a second of arithmetic, all bars have one length. Habit: first right, then compiled,
# whole epochs where it pays.
#
# **Try it.** Set `size, steps = 1024, 40` and run this section again. Which bars come
# closer?
#
# <details><summary>What happens</summary>
#
# All of them do: with 16 times the arithmetic, from slowest to fastest it is a factor
# of four. `fit` may come last: it copies each batch.
#
# </details>

# %% [markdown]
# ### Exercise: an epoch in one call
#
# Write `make_epoch(model, optimizer, loss_fn, batch_size)`. It returns a function of
# `(x, y)`, arrays or tensors, that trains `model` on them for one epoch and returns the
# epoch's mean loss, a number or a tensor. Go through the rows in the order given, in
# batches of `batch_size`; the last one may be smaller. Each batch does what a step of
# `fit` does, penalties of the model and `training=True` included, with the given
# `optimizer`. In the mean loss each row counts once, as in `fit`'s log. The loop over
# the batches is part of **one** compiled function, its size does not grow with the
# number of batches, and further epochs trace nothing new.
# 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# Write it first for one batch that is all of the data. Which number must each batch's
# loss be multiplied by, so that the sum over batches divided by all rows is right?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Inside `@tf.function`, `for start in tf.range(0, rows, batch_size)` becomes a loop of
# the graph; `range` would write out every step. Get `rows` from `tf.shape(x)[0]`. A
# running total must be a float before the loop already.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `end = tf.minimum(start + batch_size, rows)`, then a step on `x[start:end]` and
# `y[start:end]` as before, then `total += loss * tf.cast(end - start, tf.float32)`.
#
# </details>


# %% exercise: make_epoch
def make_epoch(model, optimizer, loss_fn, batch_size):
    """A compiled function of x and y: one epoch, returns its mean loss."""

    ### BEGIN SOLUTION
    @tf.function(jit_compile=True)  # XLA: not asked for, a little faster
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    @tf.function(reduce_retracing=True)
    def epoch(x, y):
        rows, total = tf.shape(x)[0], 0.0
        for start in tf.range(0, rows, batch_size):
            end = tf.minimum(start + batch_size, rows)
            loss = step(x[start:end], y[start:end])
            total += loss * tf.cast(end - start, tf.float32)
        return total / tf.cast(rows, tf.float32)

    return epoch
    ### END SOLUTION


# %% check: make_epoch, 5 points
def evidence(make_epoch, rng):
    import sys

    d, batch_size = int(rng.integers(2, 5)), int(rng.integers(3, 6))
    rows = 5 * batch_size + int(rng.integers(1, batch_size - 1))
    x = rng.normal(size=(rows, d)).astype("float32")
    y = rng.normal(size=(rows, 2)).astype("float32")
    calls = []

    class Memory(keras.layers.Layer):
        """Doubles and notes the last mean in training, as BatchNorm would."""

        def build(self, shape):
            self.mean = self.add_weight(shape=shape[1:], trainable=False)

        def call(self, x, training=False):
            calls.append(1)
            if training:
                self.mean.assign(keras.ops.mean(x, axis=0))
            return 2 * x if training else x

    penalty = keras.regularizers.L2(rng.uniform(0.05, 0.2))
    dense = keras.layers.Dense(2, use_bias=False, kernel_regularizer=penalty)
    memory = Memory()
    model = keras.Sequential([keras.Input((d,)), memory, dense])
    dense.kernel.assign(rng.normal(size=(d, 2)))
    calls.clear()
    optimizer = keras.optimizers.SGD(rng.uniform(0.02, 0.1), momentum=0.9)
    loss_fn = keras.losses.MeanSquaredError()
    made = {}
    given = {"rows": rows, "batch_size": batch_size}

    def epoch(x=x, y=y):
        if not made:
            made["epoch"] = make_epoch(model, optimizer, loss_fn, batch_size)
        return float(made["epoch"](x, y))

    def weights():
        return [variable.numpy() for variable in model.trainable_variables]

    yield "mean loss of epoch 1", epoch, given
    first = len(calls)
    yield "weights after it", weights(), given
    yield "what a layer noted in training", memory.mean.numpy(), given
    yield "mean loss of epoch 2, tensors", lambda: epoch(tf.constant(x), tf.constant(y))
    order = rng.permutation(rows)
    yield "mean loss of epoch 3, other order", lambda: epoch(x[order], y[order]), given
    yield "weights after epoch 3", weights(), given
    yield "updates so far", int(optimizer.iterations), given
    yield "the model is traced for every batch", first > 4
    yield "how often it is traced in epochs 2 and 3", len(calls) - first
    many = [np.tile(array, (5, 1)) for array in (x, y)]
    yield "mean loss of epoch 4, five times the rows", lambda: epoch(*many)

    def python_calls(x, y):
        """How many Python functions run while an epoch does."""
        events, before = [], sys.getprofile()
        sys.setprofile(lambda frame, event, argument: events.append(event))
        try:
            epoch(x, y)
        finally:
            sys.setprofile(before)
        return events.count("call")

    def grows():
        return python_calls(*many) > 2 * python_calls(x, y)

    yield "Python runs for every batch", grows


check("07/make_epoch", evidence)

# %% mistake: all batches are full
"""You leave out the rows after the last full batch. `fit` trains on them, too: let the
last batch end where the rows end, `tf.minimum(start + batch_size, rows)`."""


def make_epoch(model, optimizer, loss_fn, batch_size):
    @tf.function(reduce_retracing=True)
    def epoch(x, y):
        steps, total = tf.shape(x)[0] // batch_size, 0.0
        for step in tf.range(steps):
            start = step * batch_size
            with tf.GradientTape() as tape:
                y_pred = model(x[start : start + batch_size], training=True)
                loss = loss_fn(y[start : start + batch_size], y_pred)
                loss += sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += loss
        return total / tf.cast(steps, tf.float32)

    return epoch


# %% mistake: the mean of the batches' means is the mean
"""You add the batches' losses and divide by their number, so a row in the last, smaller
batch counts more than others. Multiply each loss by the rows of its batch, and divide
the sum by all rows."""


def make_epoch(model, optimizer, loss_fn, batch_size):
    @tf.function(reduce_retracing=True)
    def epoch(x, y):
        rows, total, count = tf.shape(x)[0], 0.0, 0.0
        for start in tf.range(0, rows, batch_size):
            end = tf.minimum(start + batch_size, rows)
            with tf.GradientTape() as tape:
                y_pred = model(x[start:end], training=True)
                loss = loss_fn(y[start:end], y_pred) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            total, count = total + loss, count + 1.0
        return total / count

    return epoch


# %% mistake: a model knows that it is being trained
"""You call the model without `training=True`, so BatchNorm takes its running statistics
and never moves them. Inside a function of your own nobody else says it."""


def make_epoch(model, optimizer, loss_fn, batch_size):
    @tf.function(reduce_retracing=True)
    def epoch(x, y):
        rows, total = tf.shape(x)[0], 0.0
        for start in tf.range(0, rows, batch_size):
            end = tf.minimum(start + batch_size, rows)
            with tf.GradientTape() as tape:
                loss = loss_fn(y[start:end], model(x[start:end])) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += loss * tf.cast(end - start, tf.float32)
        return total / tf.cast(rows, tf.float32)

    return epoch


# %% mistake: inside the graph, len is a Python number
"""In a loop of the graph the length of a slice is an int *tensor*, and TensorFlow does
not multiply float tensors by int tensors: `tf.cast(len(x), "float32")`."""


def make_epoch(model, optimizer, loss_fn, batch_size):
    @tf.function
    def epoch(x, y):
        total = 0.0
        for start in tf.range(0, len(x), batch_size):
            xb, yb = x[start : start + batch_size], y[start : start + batch_size]
            with tf.GradientTape() as tape:
                loss = loss_fn(yb, model(xb, training=True)) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += loss * len(xb)
        return total / len(x)

    return epoch


# %% mistake: the loss function is the whole loss
"""You leave out the model's penalties. `fit` adds `sum(model.losses)` in every step,
inside the tape."""


def make_epoch(model, optimizer, loss_fn, batch_size):
    @tf.function(reduce_retracing=True)
    def epoch(x, y):
        rows, total = tf.shape(x)[0], 0.0
        for start in tf.range(0, rows, batch_size):
            end = tf.minimum(start + batch_size, rows)
            with tf.GradientTape() as tape:
                loss = loss_fn(y[start:end], model(x[start:end], training=True))
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += loss * tf.cast(end - start, tf.float32)
        return total / tf.cast(rows, tf.float32)

    return epoch


# %% mistake: tf.function turns every loop into one of the graph
"""You loop over Python's `range`. Tracing runs it and writes out every batch one after
the other: the function grows with the data, and compiling takes longer than training.
`tf.range` becomes a loop of the graph."""


def make_epoch(model, optimizer, loss_fn, batch_size):
    @tf.function
    def epoch(x, y):
        rows, total = x.shape[0], 0.0
        for start in range(0, rows, batch_size):
            end = min(start + batch_size, rows)
            with tf.GradientTape() as tape:
                y_pred = model(x[start:end], training=True)
                loss = loss_fn(y[start:end], y_pred) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += loss * (end - start)
        return total / rows

    return epoch


# %% mistake: a compiled step makes a compiled epoch
"""Your step is compiled, and Python still cuts out every batch and calls it: one call
per batch instead of one per epoch. Put the loop inside the function."""


def make_epoch(model, optimizer, loss_fn, batch_size):
    @tf.function(reduce_retracing=True)
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def epoch(x, y):
        total = 0.0
        for start in range(0, len(x), batch_size):
            batch = x[start : start + batch_size], y[start : start + batch_size]
            total += float(step(*batch)) * len(batch[0])
        return total / len(x)

    return epoch


# %% mistake: eager is fast enough
"""Nothing is compiled: the model's Python code runs for every batch of every epoch.
Decorate the function that holds the loop with `@tf.function`."""


def make_epoch(model, optimizer, loss_fn, batch_size):
    def epoch(x, y):
        total = 0.0
        for start in range(0, len(x), batch_size):
            part = slice(start, min(start + batch_size, len(x)))
            with tf.GradientTape() as tape:
                y_pred = model(x[part], training=True)
                loss = loss_fn(y[part], y_pred) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += float(loss) * (part.stop - part.start)
        return total / len(x)

    return epoch


# %% mistake: penalties are not part of the logged loss
"""You minimise the penalties, but report `loss_fn` alone. What `fit` logs is what it
minimises: report the sum."""


def make_epoch(model, optimizer, loss_fn, batch_size):

    @tf.function(reduce_retracing=True)
    def epoch(x, y):
        rows, total = tf.shape(x)[0], 0.0
        for start in tf.range(0, rows, batch_size):
            end = tf.minimum(start + batch_size, rows)
            with tf.GradientTape() as tape:
                y_pred = model(x[start:end], training=True)
                data_loss = loss_fn(y[start:end], y_pred)
                loss = data_loss + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += data_loss * tf.cast(end - start, tf.float32)
        return total / tf.cast(rows, tf.float32)

    return epoch


# %% [markdown]
# ## A batch that does not fit into memory
#
# *A good place to stop. When you come back, run all cells above this one.*
#
# A batch of 32 does not fit, two of 16 do. Add up their gradients, then step once: that
# is **gradient accumulation**. The loss is a mean over rows, so the gradient is one,
# too: average, do not add.

# %%
# rows: G20
rng = np.random.default_rng(7)
x, y = rng.normal(size=(32, 3)).astype("float32"), rng.normal(size=(32, 2))
model = draw_weights(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), rng)


def gradients_of(rows):
    with tf.GradientTape() as tape:
        loss = mse(y[rows], model(x[rows], training=True))
    return [g.numpy() for g in tape.gradient(loss, model.trainable_variables)]


whole = gradients_of(slice(None))
halves = gradients_of(slice(16)), gradients_of(slice(16, None))
added = [a + b for a, b in zip(*halves, strict=True)]
print(f"sum of both differs by  {max(distances(whole, added)):.4f}")
mean = [gradient / 2 for gradient in added]
print(f"mean of both differs by {max(distances(whole, mean)):.4f}")

# %%
# rows: G20
optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
for rows in (slice(16), slice(16, None)):
    optimizer.apply(gradients_of(rows), model.trainable_variables)
    print("built in: updates so far", int(optimizer.iterations))

# %% [markdown]
# The sum is a step twice as long. The optimizer can do it by itself, and for equal
# parts that is enough: it averages over *calls*. Parts of different sizes you have to
# weigh by their rows.
#
# BatchNormalization does notice: it sees 16 rows at a time. (Dropout draws other
# numbers, too.)
#
# ## Clip: which direction do you go?
#
# One odd batch can have a gradient a thousand times too large. Clipping shortens it.
# Two tensors below, with gradients [3, 4] (norm 5) and [0, 12] (norm 12). With a rate
# of 1, what an optimizer subtracts is what it makes of the gradient.

# %%
# rows: G18, G19
gradients = [tf.constant([3.0, 4.0]), tf.constant([0.0, 12.0])]


def subtracted(**settings):
    variables = [keras.Variable([0.0, 0.0]) for _ in gradients]
    keras.optimizers.SGD(1.0, **settings).apply(gradients, variables)
    return [0.0 - variable.numpy() for variable in variables]


for settings in ({"clipvalue": 1.0}, {"clipnorm": 2.5}, {"global_clipnorm": 6.5}):
    print(settings, [part.tolist() for part in subtracted(**settings)])
print(outcome(lambda: keras.optimizers.SGD(clipnorm=1.0, clipvalue=1.0)))
by_value = [tf.clip_by_value(g, -1.0, 1.0) for g in gradients]
by_norm = [tf.clip_by_norm(g, 2.5) for g in gradients]
by_global, norm = tf.clip_by_global_norm(gradients, 6.5)
print("by hand:", [g.numpy().tolist() for g in (*by_value, *by_norm, *by_global)])
print("global norm:", float(norm))

# %%
# rows: G18, G19
ways = {
    "clipnorm": subtracted(clipnorm=2.5),
    "global_clipnorm": subtracted(global_clipnorm=6.5),
}
plots.clipping(gradients, ways, ("first tensor", "second tensor"))

# %% [markdown]
# Right: the gradient of all tensors, as one arrow, becomes shorter and keeps its
# direction. Left: each tensor is clipped alone, and the arrow **turns**: the second
# tensor had most to learn, now both move alike. Habit: `global_clipnorm`.
#
# Two more things an optimizer does to weights, gradient or not. `weight_decay` shrinks
# them a little in every step. `use_ema` keeps the moving average of lesson 06; `fit`
# puts it in place of the weights at its end, in your loop **you** do, with
# `optimizer.finalize_variable_values(variables)`.


# %%
# rows: G21
def after(times, gradient, optimizer):
    weight = keras.Variable(1.0)
    for _ in range(times):
        optimizer.apply([tf.constant(gradient)], [weight])
    value = round(float(weight), 4)
    optimizer.finalize_variable_values([weight])
    return f"{value}, finalized {float(weight):.4g}"


for kind in (keras.optimizers.SGD, keras.optimizers.AdamW):
    decay = kind(0.1, weight_decay=0.5)
    print(f"gradient 0, decay, {kind.__name__:6}", after(1, 0.0, decay))
ema = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5)
print("three steps of -1, EMA:   ", after(3, 1.0, ema))

# %% [markdown]
# ### Exercise: accumulate and clip
#
# Write `accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm)`: **one**
# update from a list of pairs `(x, y)` of different sizes, as if all their rows were one
# batch. What counts is the mean of `loss_fn` over all rows plus the penalties of the
# layers, once. If the global norm of its gradient (the length of all tensors together)
# is above `clip_norm`, scale the whole gradient down to it. Apply it once, and return
# the norm from before clipping as one number. The model is called as in training, one
# micro-batch at a time: all rows at once do not fit. It has neither Dropout nor
# BatchNormalization. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# A micro-batch of 3 rows out of 10 has which share in the mean over all rows?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Per micro-batch: gradients of `loss_fn(...) + sum(model.losses)`, times
# `len(x) / rows`, added to what is there. The shares add up to 1, so the penalty counts
# once.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `tf.clip_by_global_norm(gradients, clip_norm)` returns the clipped gradients and the
# norm from before.
#
# </details>


# %% exercise: accumulate_step
def accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm):
    """One clipped update from several batches; returns the norm before clipping."""
    ### BEGIN SOLUTION
    variables = model.trainable_variables
    rows = sum(len(x) for x, _ in micro_batches)
    total = [tf.zeros(variable.shape) for variable in variables]
    for x, y in micro_batches:
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        part = tape.gradient(loss, variables)
        total = [t + len(x) / rows * p for t, p in zip(total, part, strict=True)]
    clipped, norm = tf.clip_by_global_norm(total, clip_norm)
    optimizer.apply(clipped, variables)
    return float(norm)
    ### END SOLUTION


# %% check: accumulate_step, 4 points
def evidence(accumulate_step, rng):
    sizes = [int(size) for size in rng.permutation([1, 3, 6])]
    x = rng.normal(size=(10, 3)).astype("float32")
    y = (5 * rng.normal(size=(10, 2))).astype("float32")
    ends = np.cumsum(sizes)[:-1]
    parts = list(zip(np.split(x, ends), np.split(y, ends), strict=True))
    loss_fn = keras.losses.MeanSquaredError()
    called_with = []

    class Counting(keras.layers.Dense):
        def call(self, x, training=None):
            called_with.append(x.shape[0])
            return super().call(x) * (2.0 if training else 1.0)

    hidden = Counting(4, "tanh", kernel_regularizer=keras.regularizers.L2(0.1))
    network = [keras.Input((3,)), hidden, keras.layers.Dense(2)]
    model = draw_weights(keras.Sequential(network), rng)
    rate = float(rng.uniform(0.05, 0.2))
    optimizer = keras.optimizers.SGD(rate, momentum=0.9)
    cases = {"far below": 1000.0, "clipped": float(rng.uniform(0.5, 1.5))}
    for name, clip_norm in cases.items():
        given = {"sizes": sizes, "clip_norm": clip_norm, "learning_rate": rate}

        def run(batches=parts):
            return accumulate_step(model, optimizer, loss_fn, batches, clip_norm)

        yield f"{name}: norm before clipping", run, given
        yield f"{name}: weights", model.trainable_variables, given
        yield f"{name}: updates so far", int(optimizer.iterations), given
    yield "whether all rows went through at once", 10 in called_with, given
    yield "clipped, one batch: norm", lambda: run([(x, y)]), given
    yield "clipped, one batch: weights", model.trainable_variables, given


check("07/accumulate_step", evidence)

# %% mistake: gradients of parts add up
"""You add the gradients of the micro-batches. Each is a mean over its rows, so the sum
is as many times too large as there are parts. Weigh each by its share of the rows."""


def accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm):
    variables = model.trainable_variables
    total = [tf.zeros(variable.shape) for variable in variables]
    for x, y in micro_batches:
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        part = tape.gradient(loss, variables)
        total = [t + p for t, p in zip(total, part, strict=True)]
    clipped, norm = tf.clip_by_global_norm(total, clip_norm)
    optimizer.apply(clipped, variables)
    return float(norm)


# %% mistake: every micro-batch has the same share
"""You divide by the number of micro-batches. That is right for equal sizes; here a
single row would count as much as six. Weigh by rows."""


def accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm):
    variables = model.trainable_variables
    total = [tf.zeros(variable.shape) for variable in variables]
    for x, y in micro_batches:
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        part = tape.gradient(loss, variables)
        share = 1 / len(micro_batches)
        total = [t + share * p for t, p in zip(total, part, strict=True)]
    clipped, norm = tf.clip_by_global_norm(total, clip_norm)
    optimizer.apply(clipped, variables)
    return float(norm)


# %% mistake: each tensor is clipped by itself
"""You clip every tensor to `clip_norm`. That turns the gradient as a whole into another
direction. Scale all of them by the same factor: `tf.clip_by_global_norm`."""


def accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm):
    variables = model.trainable_variables
    rows = sum(len(x) for x, _ in micro_batches)
    total = [tf.zeros(variable.shape) for variable in variables]
    for x, y in micro_batches:
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        part = tape.gradient(loss, variables)
        total = [t + len(x) / rows * p for t, p in zip(total, part, strict=True)]
    norm = tf.linalg.global_norm(total)
    optimizer.apply([tf.clip_by_norm(t, clip_norm) for t in total], variables)
    return float(norm)


# %% mistake: micro-batches may be joined
"""You join the micro-batches and call the model with all rows. The numbers are right,
but the memory for all rows at once is just what was missing."""


def accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm):
    variables = model.trainable_variables
    x, y = (np.concatenate(parts) for parts in zip(*micro_batches, strict=True))
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
    gradients = tape.gradient(loss, variables)
    clipped, norm = tf.clip_by_global_norm(gradients, clip_norm)
    optimizer.apply(clipped, variables)
    return float(norm)


# %% mistake: clipping belongs to every micro-batch
"""You clip each micro-batch before you add. What has to be limited is the step, so clip
once, at the end."""


def accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm):
    variables = model.trainable_variables
    rows = sum(len(x) for x, _ in micro_batches)
    total = [tf.zeros(variable.shape) for variable in variables]
    for x, y in micro_batches:
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        part, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), clip_norm)
        total = [t + len(x) / rows * p for t, p in zip(total, part, strict=True)]
    optimizer.apply(total, variables)
    return float(tf.linalg.global_norm(total))


# %% mistake: accumulating means applying in turn
"""You step after every micro-batch, so the later ones are computed with other weights,
and the optimizer counts several updates. Collect first, apply once."""


def accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm):
    variables = model.trainable_variables
    rows = sum(len(x) for x, _ in micro_batches)
    norms = []
    for x, y in micro_batches:
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        part = [len(x) / rows * p for p in tape.gradient(loss, variables)]
        clipped, norm = tf.clip_by_global_norm(part, clip_norm)
        optimizer.apply(clipped, variables)
        norms.append(float(norm))
    return float(np.sum(norms))


# %% mistake: clipping makes the norm equal to clip_norm
"""You always scale to `clip_norm`. A gradient that is smaller stays as it is: the
factor is never above 1."""


def accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm):
    variables = model.trainable_variables
    rows = sum(len(x) for x, _ in micro_batches)
    total = [tf.zeros(variable.shape) for variable in variables]
    for x, y in micro_batches:
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        part = tape.gradient(loss, variables)
        total = [t + len(x) / rows * p for t, p in zip(total, part, strict=True)]
    norm = tf.linalg.global_norm(total)
    optimizer.apply([clip_norm / norm * t for t in total], variables)
    return float(norm)


# %% mistake: the norm is measured after clipping
"""You return the norm after clipping, which says only that you clipped. Before
clipping it tells how wild the batch was."""


def accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm):
    variables = model.trainable_variables
    rows = sum(len(x) for x, _ in micro_batches)
    total = [tf.zeros(variable.shape) for variable in variables]
    for x, y in micro_batches:
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) + sum(model.losses)
        part = tape.gradient(loss, variables)
        total = [t + len(x) / rows * p for t, p in zip(total, part, strict=True)]
    clipped, _ = tf.clip_by_global_norm(total, clip_norm)
    optimizer.apply(clipped, variables)
    return float(tf.linalg.global_norm(clipped))


# %% mistake: penalties come once per micro-batch
"""You add the whole penalty in every micro-batch, on top of the weighted losses. It
belongs to the update once: weigh it with the loss, the shares add up to 1."""


def accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm):
    variables = model.trainable_variables
    rows = sum(len(x) for x, _ in micro_batches)
    total = [tf.zeros(variable.shape) for variable in variables]
    for x, y in micro_batches:
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True)) * len(x) / rows
            loss += sum(model.losses)
        part = tape.gradient(loss, variables)
        total = [t + p for t, p in zip(total, part, strict=True)]
    clipped, norm = tf.clip_by_global_norm(total, clip_norm)
    optimizer.apply(clipped, variables)
    return float(norm)


# %% mistake: penalties are not for micro-batches
"""You leave `model.losses` out. The update has to be that of the whole batch, penalties
included."""


def accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm):
    variables = model.trainable_variables
    rows = sum(len(x) for x, _ in micro_batches)
    total = [tf.zeros(variable.shape) for variable in variables]
    for x, y in micro_batches:
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True))
        part = tape.gradient(loss, variables)
        total = [t + len(x) / rows * p for t, p in zip(total, part, strict=True)]
    clipped, norm = tf.clip_by_global_norm(total, clip_norm)
    optimizer.apply(clipped, variables)
    return float(norm)


# %% mistake: without Dropout a call is a call
"""You call the model without `training=True`. A layer of any kind may ask whether it is
trained, not Dropout and BatchNormalization alone: say so in every training step."""


def accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm):
    variables = model.trainable_variables
    rows = sum(len(x) for x, _ in micro_batches)
    total = [tf.zeros(variable.shape) for variable in variables]
    for x, y in micro_batches:
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x)) + sum(model.losses)
        part = tape.gradient(loss, variables)
        total = [t + len(x) / rows * p for t, p in zip(total, part, strict=True)]
    clipped, norm = tf.clip_by_global_norm(total, clip_norm)
    optimizer.apply(clipped, variables)
    return float(norm)


# %% mistake: penalties come after clipping
"""You clip the gradient of the data and add that of the penalties afterwards. What has
to be limited is the whole step: first the sum, then the norm."""


def accumulate_step(model, optimizer, loss_fn, micro_batches, clip_norm):
    variables = model.trainable_variables
    rows = sum(len(x) for x, _ in micro_batches)
    total = [tf.zeros(variable.shape) for variable in variables]
    for x, y in micro_batches:
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True))
        part = tape.gradient(loss, variables)
        total = [t + len(x) / rows * p for t, p in zip(total, part, strict=True)]
    clipped, norm = tf.clip_by_global_norm(total, clip_norm)
    with tf.GradientTape() as tape:
        penalty = sum(model.losses)
    more = tape.gradient(penalty, variables, unconnected_gradients="none")
    pairs = zip(clipped, more, strict=True)
    clipped = [c if m is None else c + m for c, m in pairs]
    optimizer.apply(clipped, variables)
    return float(norm)


# %% [markdown]
# ## What fit brought along: checkpoints and callbacks
#
# Your loop has no `ModelCheckpoint`, but `tf.train.Checkpoint` keeps whatever you name:
# model, optimizer, a step counter. The manager deletes the oldest. The proof that
# nothing was lost: after restoring into fresh objects, the next loss is the same.


# %%
# rows: G22
def fresh(seed):
    model = demanding(np.random.default_rng(seed))
    parts = {"model": model, "optimizer": keras.optimizers.Adam(0.1)}
    return parts, tf.train.Checkpoint(**parts, step=tf.Variable(0))


with tempfile.TemporaryDirectory() as folder:
    parts, checkpoint = fresh(seed=0)
    manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=2)
    for _ in range(4):
        train_step(**parts, x=x, y=y)
        checkpoint.step.assign_add(1)
        manager.save()
    print("files kept:", len(manager.checkpoints))
    print(f"next loss:       {train_step(**parts, x=x, y=y):.4f}")
    parts, checkpoint = fresh(seed=1)
    checkpoint.restore(manager.latest_checkpoint)
    print(f"after restoring: {train_step(**parts, x=x, y=y):.4f}", end=", ")
    print("at step", int(checkpoint.step))

# %% [markdown]
# Callbacks work in your loop, too, if you call their hooks yourself. `CallbackList`
# does it for all of them at once. `EarlyStopping` sets `model.stop_training`, as in
# lesson 06: look at it, nobody else will. And say `mode=`: of a model that was never
# compiled, Keras knows the direction of the loss only.

# %%
# rows: G23
parts, _ = fresh(seed=0)
stop = keras.callbacks.EarlyStopping(
    "loss", mode="min", patience=2, restore_best_weights=True
)
model = parts["model"]
callbacks = keras.callbacks.CallbackList([stop], add_history=True, model=model)
model.stop_training = False
callbacks.on_train_begin()
for epoch in range(100):
    callbacks.on_epoch_begin(epoch)
    callbacks.on_epoch_end(epoch, {"loss": train_step(**parts, x=x, y=y)})
    if model.stop_training:
        break
callbacks.on_train_end()
losses = model.history.history["loss"]
print(f"{len(losses)} epochs, the best was number {np.argmin(losses) + 1}")

# %% [markdown]
# ## Two networks in turns
#
# Now what `fit` cannot do at all. Real numbers lie around 4. A *forger* adds `shift` to
# noise and wants to pass; a *critic* wants to tell its numbers from real ones. Each has
# its own loss, its own optimizer and its own list of variables: the list decides who
# moves. The critic's step takes the forgeries as they are. The forger's step goes
# **through** the critic and leaves it alone. The cell takes some seconds.

# %%
# rows: G24
rng = np.random.default_rng(0)
real = rng.normal(4, 1, (128, 1)).astype("float32")
noise = rng.normal(0, 1, (128, 1)).astype("float32")
bce, ones = keras.losses.BinaryCrossentropy(from_logits=True), np.ones((128, 1))
critic = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.5))
critic.build((None, 1))
shift, optimizers = tf.Variable(0.0), [keras.optimizers.SGD(0.2) for _ in range(2)]
path = []
for _ in range(250):
    path.append(float(shift))
    with tf.GradientTape() as tape:
        told = bce(ones, critic(real)) + bce(0 * ones, critic(noise + shift))
        told += sum(critic.losses)
    weights = critic.trainable_variables
    optimizers[0].apply(tape.gradient(told, weights), weights)
    with tf.GradientTape() as tape:
        passed = bce(ones, critic(noise + shift))
    optimizers[1].apply(tape.gradient(passed, [shift]), [shift])

# %%
# rows: G24
title = "The forger finds the real numbers, past them and back"
lines = {"shift": path[::10], "mean of the real numbers": [real.mean()] * 25}
plots.curves(range(0, 250, 10), lines, title, "round", "number")

# %% [markdown]
# Nobody told the forger where 4 is: all it knows comes as a gradient through the
# critic. Such games swing, and only the critic's penalty calms them. **Try it.** Set
# the L2 to 0.0 and run both cells again. Does it still come to rest? (No: it runs on to
# 5.6, where it stopped at 4.7 before, and after 250 rounds it still swings.)
#
# Lists of variables also give each part of *one* model its own learning rate: two
# optimizers, two lists, one tape. Asked for `[weights_of_body, weights_of_head]`,
# `tape.gradient` answers with two lists.

# %% [markdown]
# ### Exercise: a round of the game
#
# Write `alternate(generator, critic, generator_optimizer, critic_optimizer, loss_fn,
# noise, real)`: one round, first the critic, then the generator, each with its own
# optimizer. The critic maps samples to logits `(n, 1)`, the generator maps noise to
# samples; there may be more real samples than noise, or fewer. `loss_fn(y, logits)` is
# a mean over rows.
#
# The critic lowers `loss_fn(1, critic(real)) + loss_fn(0, critic(fake))`. Then the
# generator lowers `loss_fn(1, critic(fake))` for the critic as it is **now**, with
# forgeries made from the same noise. (1 and 0 stand for arrays of shape `(n, 1)`.) Call
# both as in training, and add no penalties. Return both losses, the critic's first, as
# two numbers. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# Two tapes, two lists. Which weights does each of the two losses move?
#
# </details>
# <details><summary>Hint 2</summary>
#
# For the generator's step, `generator(noise)` has to be called inside the second tape:
# there must be a way from the loss back to its weights.
#
# </details>


# %% exercise: alternate
def alternate(
    generator, critic, generator_optimizer, critic_optimizer, loss_fn, noise, real
):
    """One round; returns (critic's loss, generator's loss)."""
    ### BEGIN SOLUTION
    yes, no = np.ones((len(real), 1)), np.zeros((len(noise), 1))
    fake = generator(noise, training=True)
    with tf.GradientTape() as tape:
        told = loss_fn(yes, critic(real, training=True))
        told += loss_fn(no, critic(fake, training=True))
    weights = critic.trainable_variables
    critic_optimizer.apply(tape.gradient(told, weights), weights)
    with tf.GradientTape() as tape:
        fake = generator(noise, training=True)
        passed = loss_fn(no + 1, critic(fake, training=True))
    weights = generator.trainable_variables
    generator_optimizer.apply(tape.gradient(passed, weights), weights)
    return float(told), float(passed)
    ### END SOLUTION


# %% check: alternate, 3 points
def evidence(alternate, rng):
    noise = rng.normal(size=(5, 2)).astype("float32")
    real = rng.normal(2, 1, (int(rng.integers(6, 9)), 3)).astype("float32")
    loss_fn = keras.losses.BinaryCrossentropy(from_logits=True)
    penalty = keras.regularizers.L2(0.2)

    class Doubled(keras.layers.Dense):
        """Twice as much in training, and a penalty that nobody asked for."""

        def __init__(self, units):
            super().__init__(units, "tanh", kernel_regularizer=penalty)

        def call(self, x, training=None):
            return super().call(x) * (2.0 if training else 1.0)

    generator = keras.Sequential([keras.Input((2,)), Doubled(3)])
    hidden = Doubled(4)
    critic = keras.Sequential([keras.Input((3,)), hidden, keras.layers.Dense(1)])
    for model in (generator, critic):
        draw_weights(model, rng)
        small = [0.4 * weight for weight in model.get_weights()]
        model.set_weights(small)  # or a tanh is flat, and nothing moves
    rates = [float(rate) for rate in rng.uniform([0.1, 0.5], [0.3, 0.9])]
    optimizers = [keras.optimizers.SGD(rate, momentum=0.9) for rate in rates]
    given = {"rates of generator and critic": rates, "real rows": len(real)}
    for number in ("first", "second"):

        def run():
            told, passed = alternate(
                generator, critic, *optimizers, loss_fn, noise, real
            )
            return [told, passed]

        yield f"{number} round: both losses", run, given
        yield f"{number} round: weights of the critic", critic.get_weights(), given
        label = f"{number} round: weights of the generator"
        yield label, generator.get_weights(), given
    yield "updates of each", [int(o.iterations) for o in optimizers], given


check("07/alternate", evidence)

# %% mistake: both networks learn from both losses
"""In each step you move the weights of both networks. Then the critic also learns to be
fooled. Ask for the gradients of one list only, and apply those."""


def alternate(
    generator, critic, generator_optimizer, critic_optimizer, loss_fn, noise, real
):
    yes, no = np.ones((len(real), 1)), np.zeros((len(noise), 1))
    both = [generator, critic]
    losses = []
    for optimizer in (critic_optimizer, generator_optimizer):
        with tf.GradientTape() as tape:
            fake = critic(generator(noise, training=True), training=True)
            if optimizer is critic_optimizer:
                loss = loss_fn(yes, critic(real, training=True)) + loss_fn(no, fake)
            else:
                loss = loss_fn(no + 1, fake)
        weights = [w for model in both for w in model.trainable_variables]
        optimizer.apply(tape.gradient(loss, weights), weights)
        losses.append(float(loss))
    return losses


# %% mistake: one forgery serves both steps
"""You use the forgeries from before for the generator's step. They were made outside of
its tape, so there is no way back to the generator: all gradients are None."""


def alternate(
    generator, critic, generator_optimizer, critic_optimizer, loss_fn, noise, real
):
    yes, no = np.ones((len(real), 1)), np.zeros((len(noise), 1))
    fake = generator(noise, training=True)
    with tf.GradientTape() as tape:
        told = loss_fn(yes, critic(real, training=True))
        told += loss_fn(no, critic(fake, training=True))
    weights = critic.trainable_variables
    critic_optimizer.apply(tape.gradient(told, weights), weights)
    with tf.GradientTape() as tape:
        passed = loss_fn(no + 1, critic(fake, training=True))
    weights = generator.trainable_variables
    generator_optimizer.apply(tape.gradient(passed, weights), weights)
    return float(told), float(passed)


# %% mistake: one optimizer serves two models
"""You use one optimizer for both networks. It was built for the variables of the first
and refuses those of the second (`Unknown variable`). One model, one optimizer."""


def alternate(
    generator, critic, generator_optimizer, critic_optimizer, loss_fn, noise, real
):
    yes, no = np.ones((len(real), 1)), np.zeros((len(noise), 1))
    fake = generator(noise, training=True)
    with tf.GradientTape() as tape:
        told = loss_fn(yes, critic(real, training=True))
        told += loss_fn(no, critic(fake, training=True))
    weights = critic.trainable_variables
    critic_optimizer.apply(tape.gradient(told, weights), weights)
    with tf.GradientTape() as tape:
        fake = generator(noise, training=True)
        passed = loss_fn(no + 1, critic(fake, training=True))
    weights = generator.trainable_variables
    critic_optimizer.apply(tape.gradient(passed, weights), weights)
    return float(told), float(passed)


# %% mistake: the generator answers the old critic
"""You compute both losses with the critic from before its step. In turns means: the
critic moves first, and the generator answers the new one."""


def alternate(
    generator, critic, generator_optimizer, critic_optimizer, loss_fn, noise, real
):
    yes, no = np.ones((len(real), 1)), np.zeros((len(noise), 1))
    with tf.GradientTape(persistent=True) as tape:
        judged = critic(generator(noise, training=True), training=True)
        told = loss_fn(yes, critic(real, training=True)) + loss_fn(no, judged)
        passed = loss_fn(no + 1, judged)
    weights = critic.trainable_variables, generator.trainable_variables
    gradients = tape.gradient(told, weights[0]), tape.gradient(passed, weights[1])
    critic_optimizer.apply(gradients[0], weights[0])
    generator_optimizer.apply(gradients[1], weights[1])
    return float(told), float(passed)


# %% mistake: the generator lowers the critic's loss
"""You let the generator lower the loss for the target 0: it learns to be caught. It
wants its samples to be taken for real: target 1."""


def alternate(
    generator, critic, generator_optimizer, critic_optimizer, loss_fn, noise, real
):
    yes, no = np.ones((len(real), 1)), np.zeros((len(noise), 1))
    fake = generator(noise, training=True)
    with tf.GradientTape() as tape:
        told = loss_fn(yes, critic(real, training=True))
        told += loss_fn(no, critic(fake, training=True))
    weights = critic.trainable_variables
    critic_optimizer.apply(tape.gradient(told, weights), weights)
    with tf.GradientTape() as tape:
        fake = generator(noise, training=True)
        passed = loss_fn(no, critic(fake, training=True))
    weights = generator.trainable_variables
    generator_optimizer.apply(tape.gradient(passed, weights), weights)
    return float(told), float(passed)


# %% mistake: the generator goes first
"""You let the generator move before the critic. The round was to begin with the
critic."""


def alternate(
    generator, critic, generator_optimizer, critic_optimizer, loss_fn, noise, real
):
    yes, no = np.ones((len(real), 1)), np.zeros((len(noise), 1))
    with tf.GradientTape() as tape:
        fake = generator(noise, training=True)
        passed = loss_fn(no + 1, critic(fake, training=True))
    weights = generator.trainable_variables
    generator_optimizer.apply(tape.gradient(passed, weights), weights)
    fake = generator(noise, training=True)
    with tf.GradientTape() as tape:
        told = loss_fn(yes, critic(real, training=True))
        told += loss_fn(no, critic(fake, training=True))
    weights = critic.trainable_variables
    critic_optimizer.apply(tape.gradient(told, weights), weights)
    return float(told), float(passed)


# %% mistake: a network knows that the game is training
"""You call both networks as in `predict`. Dropout, BatchNormalization and other layers
ask whether they are trained: say `training=True`."""


def alternate(
    generator, critic, generator_optimizer, critic_optimizer, loss_fn, noise, real
):
    yes, no = np.ones((len(real), 1)), np.zeros((len(noise), 1))
    fake = generator(noise)
    with tf.GradientTape() as tape:
        told = loss_fn(yes, critic(real))
        told += loss_fn(no, critic(fake))
    weights = critic.trainable_variables
    critic_optimizer.apply(tape.gradient(told, weights), weights)
    with tf.GradientTape() as tape:
        fake = generator(noise)
        passed = loss_fn(no + 1, critic(fake))
    weights = generator.trainable_variables
    generator_optimizer.apply(tape.gradient(passed, weights), weights)
    return float(told), float(passed)


# %% mistake: real and forged rows are one batch
"""You take one mean over all rows. The critic lowers the sum of two means, one of the
real and one of the forged rows: yours is about half of it, and the larger set counts
more."""


def alternate(
    generator, critic, generator_optimizer, critic_optimizer, loss_fn, noise, real
):
    yes, no = np.ones((len(real), 1)), np.zeros((len(noise), 1))
    fake = generator(noise, training=True)
    with tf.GradientTape() as tape:
        rows = tf.concat([real, fake], 0)
        told = loss_fn(np.concatenate([yes, no]), critic(rows, training=True))
    weights = critic.trainable_variables
    critic_optimizer.apply(tape.gradient(told, weights), weights)
    with tf.GradientTape() as tape:
        fake = generator(noise, training=True)
        passed = loss_fn(no + 1, critic(fake, training=True))
    weights = generator.trainable_variables
    generator_optimizer.apply(tape.gradient(passed, weights), weights)
    return float(told), float(passed)


# %% mistake: to fool is to raise the loss of the critic
"""You let the generator raise the loss for the target 0. That has another slope: it is
nearly flat where the critic sees through all forgeries. Lower the loss for target 1."""


def alternate(
    generator, critic, generator_optimizer, critic_optimizer, loss_fn, noise, real
):
    yes, no = np.ones((len(real), 1)), np.zeros((len(noise), 1))
    fake = generator(noise, training=True)
    with tf.GradientTape() as tape:
        told = loss_fn(yes, critic(real, training=True))
        told += loss_fn(no, critic(fake, training=True))
    weights = critic.trainable_variables
    critic_optimizer.apply(tape.gradient(told, weights), weights)
    with tf.GradientTape() as tape:
        fake = generator(noise, training=True)
        passed = -loss_fn(no, critic(fake, training=True))
    weights = generator.trainable_variables
    generator_optimizer.apply(tape.gradient(passed, weights), weights)
    return float(told), float(passed)


# %% [markdown]
# ## Your step inside fit
#
# Often you want your own step, and `fit` around it: its callbacks, validation, history,
# speed. Then write a `train_step` of a `keras.Model`, and nothing else. Five things it
# must do.


# %%
# rows: X1
class Own(keras.Sequential):
    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)  # 1: take apart
        with tf.GradientTape() as tape:  # 2: loss, with penalties and row weights
            predictions = self(x, training=True)
            loss = self.compute_loss(x, y, predictions, weights, training=True)
        variables = self.trainable_variables  # 3: step
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        for metric in self.metrics:  # 4: books
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=ops.shape(x)[0])
            else:
                metric.update_state(y, predictions, weights)
        return self.get_metrics_result()  # 5: say what the metrics hold


# %% [markdown]
# The books are what is forgotten. `Bookless` makes the same steps, updates no metric,
# and returns the loss of the batch; `Talkative` returns it under two names. What will
# their histories say? Ten rows come in batches of 8 and 2; the last two have large
# errors.


# %%
# rows: X2
class Bookless(keras.Sequential):
    keys = ("loss",)

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True), training=True)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return dict.fromkeys(self.keys, loss)


class Talkative(Bookless):
    keys = ("loss", "last")


# %%
# rows: X1, X2
rng = np.random.default_rng(4)
x, y = rng.normal(size=(10, 3)), rng.normal(size=(10, 1))
y[8:] *= 5
for kind in (keras.Sequential, Own, Bookless, Talkative):
    model = kind([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=True)
    run = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
    history = model.fit(x, y, **run).history
    shown = {name: np.round(values, 3).tolist() for name, values in history.items()}
    print(f"{kind.__name__:10}", shown)

# %% [markdown]
# `Own` is `fit`. The others train as well. But if you return a key for each metric and
# no other, `fit` reads the metrics themselves at the end of an epoch: **0.0**, for
# nobody updated them. With a key that is no metric it takes what the last step
# returned: the loss of the **last batch**, two rows.
#
# So what you want to log becomes a `keras.metrics.Mean` that is an attribute of the
# model: `fit` finds it in `self.metrics` and resets it. `evaluate` finds it, too, and
# reports 0.0 for it, unless your `test_step` takes it out.
#
# To change only the *loss*, override `compute_loss` (`compute_metrics` for what is
# reported); everything else stays.


# %%
# rows: X3, X4
class Plus(keras.Sequential):
    extra = 7.0

    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs) + self.extra

    def compute_metrics(self, *args, **kwargs):
        return {**super().compute_metrics(*args, **kwargs), "extra": self.extra}


class FromOlderCode(keras.Sequential):
    def train_step(self, data):
        x, y = data
        predictions = self(x, training=True)
        loss = self.compiled_loss(y, predictions)
        self.compiled_metrics.update_state(y, predictions)
        return {metric.name: metric.result() for metric in self.metrics}


# %%
# rows: X3, X4
for kind in (keras.Sequential, Plus, FromOlderCode):
    model = kind([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    run = {"validation_data": (x, y), "verbose": 0}
    print(f"{kind.__name__:13}", outcome(lambda: model.fit(x, y, **run).history))
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    print(" " * 8, "then", {name: round(float(found[name]), 4) for name in found})
print(f"mean prediction {model.predict(x, verbose=0).mean():.4f}")

# %% [markdown]
# <!-- rows: X5 -->
# `compute_loss` reaches `loss`, `val_loss` and `evaluate`, all at once. The last model
# follows older guides: it runs, with a warning, and what it logs as the loss of
# training is the mean **prediction**. (This one does not train at all.)
#
# `fit` compiles your step, with all that lesson 02 said of a loss: no `if` on numbers,
# no NumPy. And `extra` is frozen at 7 from the first `fit` on, until you compile anew.
# What should change is a `keras.Variable`.

# %% [markdown]
# ### Exercise: a model that clips and tells
#
# Write the class `ClippedModel(network, max_norm)`, a `keras.Model` that answers as
# `network` does, and trains in `fit` with its own `train_step`: as `fit` does by
# default (row weights, penalties, metrics, smaller last batch), except that the
# gradient is scaled down to the global norm `max_norm` where it is larger. The history
# also has `"grad_norm"`: the mean over the **batches** of an epoch of the norm before
# clipping. `evaluate` and `val_` logs have no such entry. 25 minutes.
#
# <details><summary>Hint 1</summary>
#
# Take `Own` and change two places. And what has to be a metric?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `self.metrics` holds the loss, your own `Mean` and the compiled metrics, told apart by
# their `name`. Each wants another update.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `def test_step(self, data)`: `logs = super().test_step(data)`, then leave
# `"grad_norm"` out of the dict that you return.
#
# </details>


# %% exercise: ClippedModel
class ClippedModel(keras.Model):
    """A network that is trained with a clipped gradient and logs its norm."""

    def __init__(self, network, max_norm):
        ### BEGIN SOLUTION
        super().__init__()
        self.network, self.max_norm = network, max_norm
        self.grad_norm = keras.metrics.Mean(name="grad_norm")

    def call(self, x, training=None):
        return self.network(x, training=training)

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predictions = self(x, training=True)
            loss = self.compute_loss(x, y, predictions, weights, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        clipped, norm = tf.clip_by_global_norm(gradients, self.max_norm)
        self.optimizer.apply(clipped, variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=ops.shape(x)[0])
            elif metric.name == "grad_norm":
                metric.update_state(norm)
            else:
                metric.update_state(y, predictions, weights)
        return self.get_metrics_result()

    def test_step(self, data):
        logs = super().test_step(data)
        return {name: logs[name] for name in logs if name != "grad_norm"}

    ### END SOLUTION


# %% check: ClippedModel, 4 points
def evidence(ClippedModel, rng):
    x = rng.normal(size=(7, 3)).astype("float32")
    y = (3 * rng.normal(size=(7, 2))).astype("float32")
    weights = rng.uniform(0.2, 3, 7).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(4)
    hidden = keras.layers.Dense(
        3, "tanh", kernel_regularizer=keras.regularizers.L2(0.1)
    )
    layers = [keras.Input((3,)), hidden, keras.layers.Dropout(0.5, seed=1)]
    network = keras.Sequential([*layers, keras.layers.Dense(2)])
    draw_weights(network, rng)
    rate = float(rng.uniform(0.02, 0.1))
    cases = {"never clipped": 1000.0, "always clipped": float(rng.uniform(0.3, 0.6))}
    for case, max_norm in cases.items():
        given = {"max_norm": max_norm, "batches": [4, 3], "learning_rate": rate}
        epochs = 2 if case == "never clipped" else 1
        model, found = ClippedModel(network, max_norm), {}
        model.compile(
            keras.optimizers.SGD(rate),
            "mse",
            weighted_metrics=["mae"],
            run_eagerly=True,
        )

        def logs():
            run = {"epochs": epochs, "shuffle": False, "verbose": 0}
            history = model.fit(dataset, **run).history
            found.update({name: history.get(name) for name in history})
            return found["loss"]

        yield f"{case}: loss of each epoch", logs, given
        yield f"{case}: grad_norm of each epoch", lambda: found["grad_norm"], given
        yield f"{case}: mae of each epoch", lambda: found["mae"], given
        yield f"{case}: weights afterwards", network.trainable_variables, given
    parts = [tf.TensorSpec([None, size], "float32") for size in (3, 2)]
    signature = [*parts, tf.TensorSpec([None], "float32")]

    @tf.function(input_signature=signature, autograph=False)  # as fit compiles
    def compiled(*data):
        model.train_step(data)

    def step():
        compiled(x[:3], y[:3], weights[:3])
        return network.trainable_variables

    yield "weights after a compiled step, any number of rows", step, given
    run = {"verbose": 0, "return_dict": True}
    label = "evaluate, with row weights"
    yield label, lambda: model.evaluate(dataset, **run), given


check("07/ClippedModel", evidence)

# %% mistake: the loss logs itself
"""You never update the metric called `loss`, so the history says 0.0: at the end of
an epoch `fit` reads the metrics, not what you return."""


class ClippedModel(keras.Model):
    def __init__(self, network, max_norm):
        super().__init__()
        self.network, self.max_norm = network, max_norm
        self.grad_norm = keras.metrics.Mean(name="grad_norm")

    def call(self, x, training=None):
        return self.network(x, training=training)

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predictions = self(x, training=True)
            loss = self.compute_loss(x, y, predictions, weights, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        clipped, norm = tf.clip_by_global_norm(gradients, self.max_norm)
        self.optimizer.apply(clipped, variables)
        for metric in self.metrics:
            if metric.name == "grad_norm":
                metric.update_state(norm)
            elif metric.name != "loss":
                metric.update_state(y, predictions, weights)
        return self.get_metrics_result()

    def test_step(self, data):
        logs = super().test_step(data)
        return {name: logs[name] for name in logs if name != "grad_norm"}


# %% mistake: batch losses weigh the same
"""You update the loss without the number of rows, so a smaller last batch counts as
much as a full one. Pass the rows as its `sample_weight`."""


class ClippedModel(keras.Model):
    def __init__(self, network, max_norm):
        super().__init__()
        self.network, self.max_norm = network, max_norm
        self.grad_norm = keras.metrics.Mean(name="grad_norm")

    def call(self, x, training=None):
        return self.network(x, training=training)

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predictions = self(x, training=True)
            loss = self.compute_loss(x, y, predictions, weights, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        clipped, norm = tf.clip_by_global_norm(gradients, self.max_norm)
        self.optimizer.apply(clipped, variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            elif metric.name == "grad_norm":
                metric.update_state(norm)
            else:
                metric.update_state(y, predictions, weights)
        return self.get_metrics_result()

    def test_step(self, data):
        logs = super().test_step(data)
        return {name: logs[name] for name in logs if name != "grad_norm"}


# %% mistake: data means x and y
"""You drop the row weights: unpack three things, and pass the third to `compute_loss`
and to the metrics."""


class ClippedModel(keras.Model):
    def __init__(self, network, max_norm):
        super().__init__()
        self.network, self.max_norm = network, max_norm
        self.grad_norm = keras.metrics.Mean(name="grad_norm")

    def call(self, x, training=None):
        return self.network(x, training=training)

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predictions = self(x, training=True)
            loss = self.compute_loss(x, y, predictions, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        clipped, norm = tf.clip_by_global_norm(gradients, self.max_norm)
        self.optimizer.apply(clipped, variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=ops.shape(x)[0])
            elif metric.name == "grad_norm":
                metric.update_state(norm)
            else:
                metric.update_state(y, predictions)
        return self.get_metrics_result()

    def test_step(self, data):
        logs = super().test_step(data)
        return {name: logs[name] for name in logs if name != "grad_norm"}


# %% mistake: data means x and y, and batch losses weigh the same
"""Two things are missing: the row weights, third in `data`, for `compute_loss` and the
metrics; and the rows of the batch, when you update the loss."""


class ClippedModel(keras.Model):
    def __init__(self, network, max_norm):
        super().__init__()
        self.network, self.max_norm = network, max_norm
        self.grad_norm = keras.metrics.Mean(name="grad_norm")

    def call(self, x, training=None):
        return self.network(x, training=training)

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predictions = self(x, training=True)
            loss = self.compute_loss(x, y, predictions, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        clipped, norm = tf.clip_by_global_norm(gradients, self.max_norm)
        self.optimizer.apply(clipped, variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            elif metric.name == "grad_norm":
                metric.update_state(norm)
            else:
                metric.update_state(y, predictions)
        return self.get_metrics_result()

    def test_step(self, data):
        logs = super().test_step(data)
        return {name: logs[name] for name in logs if name != "grad_norm"}


# %% mistake: what train_step returns is the log
"""You return the norm beside the metrics. `fit` takes such a key as it is, from the
last batch of the epoch. To get the mean, make it a `keras.metrics.Mean`."""


class ClippedModel(keras.Model):
    def __init__(self, network, max_norm):
        super().__init__()
        self.network, self.max_norm = network, max_norm

    def call(self, x, training=None):
        return self.network(x, training=training)

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predictions = self(x, training=True)
            loss = self.compute_loss(x, y, predictions, weights, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        clipped, norm = tf.clip_by_global_norm(gradients, self.max_norm)
        self.optimizer.apply(clipped, variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=ops.shape(x)[0])
            else:
                metric.update_state(y, predictions, weights)
        return {**self.get_metrics_result(), "grad_norm": norm}


# %% mistake: a metric of training stays in training
"""Your metric is an attribute of the model, so `evaluate` reports it, too: 0.0, since
nobody updated it there. Take it out in `test_step`."""


class ClippedModel(keras.Model):
    def __init__(self, network, max_norm):
        super().__init__()
        self.network, self.max_norm = network, max_norm
        self.grad_norm = keras.metrics.Mean(name="grad_norm")

    def call(self, x, training=None):
        return self.network(x, training=training)

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predictions = self(x, training=True)
            loss = self.compute_loss(x, y, predictions, weights, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        clipped, norm = tf.clip_by_global_norm(gradients, self.max_norm)
        self.optimizer.apply(clipped, variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=ops.shape(x)[0])
            elif metric.name == "grad_norm":
                metric.update_state(norm)
            else:
                metric.update_state(y, predictions, weights)
        return self.get_metrics_result()


# %% mistake: clipping looks at one tensor at a time
"""You clip each tensor by itself, which turns the gradient as a whole. Scale all of
them by one factor: `tf.clip_by_global_norm`."""


class ClippedModel(keras.Model):
    def __init__(self, network, max_norm):
        super().__init__()
        self.network, self.max_norm = network, max_norm
        self.grad_norm = keras.metrics.Mean(name="grad_norm")

    def call(self, x, training=None):
        return self.network(x, training=training)

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predictions = self(x, training=True)
            loss = self.compute_loss(x, y, predictions, weights, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        norm = tf.linalg.global_norm(gradients)
        clipped = [tf.clip_by_norm(g, self.max_norm) for g in gradients]
        self.optimizer.apply(clipped, variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=ops.shape(x)[0])
            elif metric.name == "grad_norm":
                metric.update_state(norm)
            else:
                metric.update_state(y, predictions, weights)
        return self.get_metrics_result()

    def test_step(self, data):
        logs = super().test_step(data)
        return {name: logs[name] for name in logs if name != "grad_norm"}


# %% mistake: the norm that counts is the one applied
"""You log the norm after clipping. It is never above `max_norm` and hides what you
wanted to see."""


class ClippedModel(keras.Model):
    def __init__(self, network, max_norm):
        super().__init__()
        self.network, self.max_norm = network, max_norm
        self.grad_norm = keras.metrics.Mean(name="grad_norm")

    def call(self, x, training=None):
        return self.network(x, training=training)

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predictions = self(x, training=True)
            loss = self.compute_loss(x, y, predictions, weights, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        clipped, norm = tf.clip_by_global_norm(gradients, self.max_norm)
        self.optimizer.apply(clipped, variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=ops.shape(x)[0])
            elif metric.name == "grad_norm":
                metric.update_state(tf.linalg.global_norm(clipped))
            else:
                metric.update_state(y, predictions, weights)
        return self.get_metrics_result()

    def test_step(self, data):
        logs = super().test_step(data)
        return {name: logs[name] for name in logs if name != "grad_norm"}


# %% mistake: train_step is called in training mode
"""You call the model without `training=True`. Being in `train_step` does not switch
Dropout on."""


class ClippedModel(keras.Model):
    def __init__(self, network, max_norm):
        super().__init__()
        self.network, self.max_norm = network, max_norm
        self.grad_norm = keras.metrics.Mean(name="grad_norm")

    def call(self, x, training=None):
        return self.network(x, training=training)

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predictions = self(x, training=False)
            loss = self.compute_loss(x, y, predictions, weights, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        clipped, norm = tf.clip_by_global_norm(gradients, self.max_norm)
        self.optimizer.apply(clipped, variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=ops.shape(x)[0])
            elif metric.name == "grad_norm":
                metric.update_state(norm)
            else:
                metric.update_state(y, predictions, weights)
        return self.get_metrics_result()

    def test_step(self, data):
        logs = super().test_step(data)
        return {name: logs[name] for name in logs if name != "grad_norm"}


# %% mistake: every metric is a mean over rows
"""You weigh the norm by the rows of its batch. A norm belongs to a batch, and the mean
was to be one over batches: update it with the norm alone."""


class ClippedModel(keras.Model):
    def __init__(self, network, max_norm):
        super().__init__()
        self.network, self.max_norm = network, max_norm
        self.grad_norm = keras.metrics.Mean(name="grad_norm")

    def call(self, x, training=None):
        return self.network(x, training=training)

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predictions = self(x, training=True)
            loss = self.compute_loss(x, y, predictions, weights, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        clipped, norm = tf.clip_by_global_norm(gradients, self.max_norm)
        self.optimizer.apply(clipped, variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=ops.shape(x)[0])
            elif metric.name == "grad_norm":
                metric.update_state(norm, sample_weight=ops.shape(x)[0])
            else:
                metric.update_state(y, predictions, weights)
        return self.get_metrics_result()

    def test_step(self, data):
        logs = super().test_step(data)
        return {name: logs[name] for name in logs if name != "grad_norm"}


# %% mistake: row weights are for the loss
"""You pass the row weights to the loss only. `weighted_metrics` want them, too:
`metric.update_state(y, predictions, weights)`."""


class ClippedModel(keras.Model):
    def __init__(self, network, max_norm):
        super().__init__()
        self.network, self.max_norm = network, max_norm
        self.grad_norm = keras.metrics.Mean(name="grad_norm")

    def call(self, x, training=None):
        return self.network(x, training=training)

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predictions = self(x, training=True)
            loss = self.compute_loss(x, y, predictions, weights, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        clipped, norm = tf.clip_by_global_norm(gradients, self.max_norm)
        self.optimizer.apply(clipped, variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=ops.shape(x)[0])
            elif metric.name == "grad_norm":
                metric.update_state(norm)
            else:
                metric.update_state(y, predictions)
        return self.get_metrics_result()

    def test_step(self, data):
        logs = super().test_step(data)
        return {name: logs[name] for name in logs if name != "grad_norm"}


# %% [markdown]
# ## Slopes of anything, by anything
#
# *A good place to stop. When you come back, run all cells above this one.*
#
# A tape answers more questions. Where should **no** slope pass? `tf.stop_gradient`
# takes a value as a constant, `tape.stop_recording` looks away for some lines, and
# `tf.custom_gradient` lets you write the way back yourself. In the second cell: of
# several values, `gradient` gives the slope of their **sum**, `jacobian` the slope of
# each, and a tape around a tape the slope of a slope.

# %%
# rows: G13
v = tf.Variable(2.0)


@tf.custom_gradient
def clipped(x):
    return x, lambda upstream: tf.clip_by_norm(upstream, 0.5)


with tf.GradientTape(persistent=True) as tape:
    with tape.stop_recording():
        unseen = 3.0 * v
    values = {
        "v * v": v * v,
        "v * stop_gradient(v)": v * tf.stop_gradient(v),
        "v * v + unseen": v * v + unseen,
        "clipped(v) * 3": clipped(v) * 3.0,
    }
for name, value in values.items():
    print(f"{name:21} is {float(value):4}, slope {float(tape.gradient(value, v))}")

# %%
# rows: G14
x = tf.Variable([1.0, 2.0])
with tf.GradientTape(persistent=True) as tape:
    squares = x**2
print("gradient (of the sum):", tape.gradient(squares, x).numpy())
print("jacobian (of each):   ", tape.jacobian(squares, x).numpy().tolist())
v = tf.Variable(2.0)
with tf.GradientTape() as outer:
    with tf.GradientTape() as inner:
        cube = v**3
    slope_of_cube = inner.gradient(cube, v)
print("slope of v ** 3:", float(slope_of_cube), end=", ")
print("slope of the slope:", float(outer.gradient(slope_of_cube, v)))

# %% [markdown]
# And the slope with respect to the **input** says which pixels a score hangs on: its
# *saliency*. `batch_jacobian` gives it for all ten classes; below, each image with the
# slopes of its own class.

# %%
# rows: G14
keras.utils.set_random_seed(1)
layers = [keras.layers.Dense(32, "relu"), keras.layers.Dense(10)]
model = keras.Sequential([keras.Input((64,)), *layers])
model.compile(keras.optimizers.Adam(0.01), loss_fn)
model.fit(x_train, y_train, epochs=8, batch_size=64, verbose=0)
images = tf.constant(x_test[:4])
with tf.GradientTape() as tape:
    tape.watch(images)
    scores = model(images, training=False)
pixels = tape.batch_jacobian(scores, images).numpy()  # (4, 10, 64)
own = [pixels[row, label].reshape(8, 8) for row, label in enumerate(y_test[:4])]
titles = [f"{'an' if label == 8 else 'a'} {label}" for label in y_test[:4]]
plots.saliency_maps(x_test[:4].reshape(-1, 8, 8), own, titles)

# %% [markdown]
# Look at the pixels in the hole of the 0: which sign do their slopes have, and what
# would ink there do to the score? **Try it.** Take
# `pixels[row, (label + 1) % 10]`, the slopes of a class that is *not* there. What has
# to be added to make the model believe in it?
#
# <details><summary>What you get</summary>
#
# Ink where it is blue: for the 0, which is asked for a 1, in the middle of the hole.
# (The titles still name what is there.)
#
# </details>

# %% [markdown]
# ### Exercise: saliency
#
# Write `saliency(model, x, class_id)`: for every row of `x` the slope of the score of
# class `class_id` with respect to the numbers of that row. The model maps `x` of shape
# `(n, ...)`, an array or tensor, to scores `(n, classes)`; it is used as in `predict`.
# The result has the shape of `x`. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# `x` is no variable. And the rows do not depend on each other: what does that say about
# the slope of the sum of their scores?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `scores[:, class_id]` inside the tape, then one call of `tape.gradient`.
#
# </details>


# %% exercise: saliency
def saliency(model, x, class_id):
    """Slope of one class's score with respect to the input, shaped as x."""
    ### BEGIN SOLUTION
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = model(x, training=False)[:, class_id]
    return tape.gradient(score, x)
    ### END SOLUTION


# %% check: saliency, 2 points
def evidence(saliency, rng):
    x = rng.normal(size=(4, 3)).astype("float32")
    k = int(rng.integers(3, 6))
    linear = keras.Sequential([keras.Input((3,)), keras.layers.Dense(k)])
    flat = [keras.Input((2, 2, 1)), keras.layers.Flatten()]
    inner = [keras.layers.Dense(4, "tanh"), keras.layers.Dense(k)]
    models = {
        "a linear model": draw_weights(linear, rng),
        "BatchNormalization and Dropout": demanding(rng, outputs=k, dropout=0.5),
        "images": draw_weights(keras.Sequential([*flat, *inner]), rng),
    }
    pictures = rng.normal(size=(2, 2, 2, 1)).astype("float32")
    for name, model in models.items():
        rows = pictures if name == "images" else x
        scores = ops.convert_to_numpy(model(rows))
        class_id = int(scores[0].argmin())  # not what the model answers
        given = {"class_id": class_id, "classes": k}
        before = model.get_weights()
        yield name, lambda: saliency(model, rows, class_id), given
        rows = tf.constant(rows)
        label = f"{name}, x is a tensor, and how far the weights moved"

        def again():
            slopes = saliency(model, rows, class_id)
            return [slopes, max(distances(before, model.get_weights()))]

        yield label, again, given


check("07/saliency", evidence)

# %% mistake: the input is watched by itself
"""A tape watches variables. Of an input it knows nothing until you call
`tape.watch(x)`, and gives None."""


def saliency(model, x, class_id):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        score = model(x, training=False)[:, class_id]
    return tape.gradient(score, x)


# %% mistake: a tape means training
"""You call the model as in training: units are dropped, BatchNormalization uses this
batch, and moves its averages. Asking for slopes is no training: `training=False`."""


def saliency(model, x, class_id):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = model(x, training=True)[:, class_id]
    return tape.gradient(score, x)


# %% mistake: the score that counts is the highest
"""You take each row's highest score. Asked for was the class `class_id`, whatever the
model answers."""


def saliency(model, x, class_id):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = tf.reduce_max(model(x, training=False), axis=-1)
    return tape.gradient(score, x)


# %% mistake: all scores belong to the answer
"""You take the slope of all scores together. Pick the column `class_id` inside of the
tape."""


def saliency(model, x, class_id):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        scores = model(x, training=False)
    return tape.gradient(scores, x)


# %% mistake: the score is a probability
"""You put a softmax on the scores. Then the slope also depends on the other classes,
and vanishes where the model is sure. Take the score itself."""


def saliency(model, x, class_id):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = tf.nn.softmax(model(x, training=False))[:, class_id]
    return tape.gradient(score, x)


# %% mistake: rows are averaged
"""You take the mean over the rows, so every slope is divided by their number. Each row
has its own score, and no other depends on it."""


def saliency(model, x, class_id):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = tf.reduce_mean(model(x, training=False)[:, class_id])
    return tape.gradient(score, x)


# %% mistake: only the size of a slope matters
"""You return absolute values. The sign says whether more of this pixel raises or lowers
the score: keep it."""


def saliency(model, x, class_id):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = model(x, training=False)[:, class_id]
    return tf.abs(tape.gradient(score, x))


# %% [markdown]
# ## Where the NaN came from
#
# The loss is NaN. Since when, and where did it begin? From the loss it goes through the
# gradient into all weights at once, so afterwards everything is NaN. Below, a learning
# rate that is far too high; the weights explode, the square overflows, and infinity
# minus infinity is no number.

# %%
# rows: X10
x, y = np.ones((4, 1)), -np.ones((4, 1))
model = keras.Sequential(
    [keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")]
)
model.compile(keras.optimizers.SGD(1e10), "mse", run_eagerly=True)
losses = model.fit(x, y, epochs=6, verbose=0).history["loss"]
print("six epochs:     ", [f"{value:.0e}" for value in losses])
print("log(-1) goes on:", float(tf.math.log(tf.constant(-1.0))))
tf.debugging.enable_check_numerics()
print("with the alarm: ", outcome(lambda: tf.math.log(tf.constant(-1.0))).split(":")[0])
tf.debugging.disable_check_numerics()

# %% [markdown]
# `TerminateOnNaN` of lesson 06 would have ended `fit` at the first inf. But what made
# it? `enable_check_numerics` stops at the very **operation**, with a traceback to your
# line; it is slow, so switch it off again. With `run_eagerly=True` you may put
# a `print` anywhere. Look at the first bad number: a `log` of 0, a division by 0, or
# a step that was too long.

# %% [markdown]
# ## The clinic
#
# Six functions from real notebooks, for a last look back: you have met every one of
# these illnesses. Each runs without complaint or stops where nothing is wrong. Read
# each one before you run the cell, and say what its symptom will be.


# %%
def sick_slopes(model, loss_fn, x, y):
    predictions = model(x, training=True)
    loss = loss_fn(y, predictions)
    with tf.GradientTape() as tape:
        total = loss
    return tape.gradient(total, model.trainable_variables)


def sick_log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.constant(np.log(1.0 + (w.numpy() * x) ** 2).mean())
    return tape.gradient(cost, w)


rng = np.random.default_rng(6)
x, y = rng.normal(size=(5, 3)).astype("float32"), rng.normal(size=(5, 2))
model = demanding(rng)
print("slopes:   ", sick_slopes(model, mse, x, y))
print("log_slope:", sick_log_slope(tf.Variable(0.5), x))


# %%
def sick_descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w = w - learning_rate * tape.gradient(loss, w)
    return float(w)


def sick_two_norms(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        losses = [loss_fn(y, model(x, training=True)), sum(model.losses)]
    found = [tape.gradient(loss, model.trainable_variables) for loss in losses]
    return [float(tf.linalg.global_norm(part)) for part in found]


print("descend:  ", outcome(lambda: sick_descend(0.0, 2, 0.1)))
print("two_norms:", outcome(lambda: sick_two_norms(model, mse, x, y)))

# %% [markdown]
# The last two run on a list of three weights. `update` gets no gradient for the middle
# one, so that should stay; `clip_and_update` gets three.


# %%
def sick_update(optimizer, gradients, variables):
    known = [g for g in gradients if g is not None]
    optimizer.apply_gradients(zip(known, variables))


def sick_clip_and_update(optimizer, gradients, variables, most):
    pairs = zip(gradients, variables)
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


weights = [keras.Variable([1.0]) for _ in range(3)]
slopes_of_three = [tf.constant([1.0]), None, tf.constant([5.0])]
sick_update(keras.optimizers.SGD(0.1), slopes_of_three, weights)
print("update:         ", [round(float(weight[0]), 2) for weight in weights])
call = keras.optimizers.SGD(0.1), [tf.constant([1.0])] * 3, weights, 9.0
print("clip_and_update:", outcome(lambda: sick_clip_and_update(*call)))

# %% [markdown]
# ### Exercise: six patients
#
# Write the six functions, without `sick_`, doing what their first line says, and
# `diagnose(name)`, the letter of the illness.
#
# | | illness |
# |---|---|
# | A | it leaves TensorFlow |
# | B | computed before the tape was on |
# | C | a tensor replaced the variable |
# | D | the tape had answered already |
# | E | gradients and variables out of step |
# | F | an iterator was used up |
#
# `slopes` calls the model as in training, without penalties. In `two_norms`, a variable
# out of reach adds nothing (`unconnected_gradients` cannot help with Keras' weights).
# `clip_and_update` scales gradients whose global norm is above `most` down to it.
# 25 minutes.
#
# <details><summary>Hint 1</summary>
#
# For None: draw the chain from the variable to the result. Which link is missing, or
# was made before anybody took notes?
#
# </details>
# <details><summary>Hint 2</summary>
#
# A tape answers once, unless it is persistent; `tf.linalg.global_norm` skips each None.
# A `zip` can be read once, a list as often as you like. And a pair has to be kept or
# dropped as a pair.
#
# </details>


# %% exercise: slopes
def slopes(model, loss_fn, x, y):
    """Gradients of the loss for the trainable variables, as a list."""
    ### BEGIN SOLUTION
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)
    ### END SOLUTION


def log_slope(w, x):
    """Slope of the mean of log(1 + (w * x) ** 2) for w, a scalar tf.Variable."""
    ### BEGIN SOLUTION
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)
    ### END SOLUTION


def descend(start, steps, learning_rate):
    """Where w ends after some steps down (w - 3) ** 2, as a number."""
    ### BEGIN SOLUTION
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign_sub(learning_rate * tape.gradient(loss, w))
    return float(w)
    ### END SOLUTION


def two_norms(model, loss_fn, x, y):
    """Norms of two gradients, of the loss and of the penalties: two numbers."""
    ### BEGIN SOLUTION
    with tf.GradientTape(persistent=True) as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]
    ### END SOLUTION


def update(optimizer, gradients, variables):
    """One update; a variable whose gradient is None stays as it is."""
    ### BEGIN SOLUTION
    pairs = zip(gradients, variables, strict=True)
    known = [(g, v) for g, v in pairs if g is not None]
    optimizer.apply_gradients(known)
    ### END SOLUTION


def clip_and_update(optimizer, gradients, variables, most):
    """One clipped update; returns the global norm before clipping as a number."""
    ### BEGIN SOLUTION
    pairs = list(zip(gradients, variables, strict=True))
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)
    ### END SOLUTION


def diagnose(name):
    """Letter of the illness of the patient with this name."""
    ### BEGIN SOLUTION
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]
    ### END SOLUTION


# %% check: slopes, 4 points
def evidence(
    slopes, log_slope, descend, two_norms, update, clip_and_update, diagnose, rng
):
    x = rng.normal(size=(5, 3)).astype("float32")
    y = rng.normal(size=(5, 2)).astype("float32")
    loss_fn = keras.losses.MeanSquaredError()
    model = demanding(rng, penalty=0.3)
    start, rate = (float(number) for number in rng.uniform([-2, 0.1], [2, 0.4]))
    w, most = tf.Variable(start), float(rng.uniform(0.5, 1.0))
    yield "slopes", lambda: slopes(model, loss_fn, x, y)
    yield "log_slope", lambda: log_slope(w, x), {"w": start}
    steps = int(rng.integers(2, 6))
    given = {"start": start, "steps": steps, "learning_rate": rate}
    yield "descend", lambda: descend(start, steps, rate), given
    yield "two_norms", lambda: two_norms(model, loss_fn, x, y)
    numbers = rng.uniform(1, 2, (4, 3)).astype("float32")

    def moved(act, gradients):
        variables = [keras.Variable(row) for row in numbers]
        told = act(keras.optimizers.SGD(rate, momentum=0.9), gradients, variables)
        return [told, [variable.numpy() for variable in variables]]

    draws = [tf.constant(row) for row in rng.normal(size=(4, 3)).astype("float32")]
    missing = int(rng.integers(3))
    some = [None if place == missing else g for place, g in enumerate(draws)]
    given = {"None at": missing, "learning_rate": rate}

    def twice(optimizer, gradients, variables):
        update(optimizer, draws, variables)
        update(optimizer, gradients, variables)

    label = "update twice, the second time one is None"
    yield label, lambda: moved(twice, some)[1], given
    for size in (most, 100.0):

        def clip(optimizer, gradients, variables):
            return clip_and_update(optimizer, gradients, variables, size)

        yield (
            f"clip_and_update, {'small' if size == most else 'large'} `most`",
            (lambda: moved(clip, draws)),
            {"most": size, "learning_rate": rate},
        )
    names = ["slopes", "log_slope", "descend", "two_norms", "update", "clip_and_update"]
    yield "diagnose", lambda: {name: str(diagnose(name)).upper() for name in names}


check("07/slopes", evidence)

# %% mistake: only the loss has to be inside
"""`slopes`: you call the model before the tape is on. Everything from the weights to
the loss has to be inside, the model's call first of all."""


def slopes(model, loss_fn, x, y):
    predictions = model(x, training=True)
    with tf.GradientTape() as tape:
        loss = loss_fn(y, predictions)
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign_sub(learning_rate * tape.gradient(loss, w))
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape(persistent=True) as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    pairs = zip(gradients, variables, strict=True)
    known = [(g, v) for g, v in pairs if g is not None]
    optimizer.apply_gradients(known)


def clip_and_update(optimizer, gradients, variables, most):
    pairs = list(zip(gradients, variables, strict=True))
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% mistake: a NumPy result can be made a tensor again
"""`log_slope`: the value comes back as a tensor, but without a past. Once NumPy has
computed, there is no way back to `w`."""


def slopes(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.constant(np.log(1.0 + (w.numpy() * x) ** 2).mean())
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign_sub(learning_rate * tape.gradient(loss, w))
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape(persistent=True) as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    pairs = zip(gradients, variables, strict=True)
    known = [(g, v) for g, v in pairs if g is not None]
    optimizer.apply_gradients(known)


def clip_and_update(optimizer, gradients, variables, most):
    pairs = list(zip(gradients, variables, strict=True))
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% mistake: assign takes the change
"""`descend`: `assign` sets a variable **to** a value. You set it to the step alone;
`assign_sub` subtracts the step."""


def slopes(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign(-learning_rate * tape.gradient(loss, w))
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape(persistent=True) as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    pairs = zip(gradients, variables, strict=True)
    known = [(g, v) for g, v in pairs if g is not None]
    optimizer.apply_gradients(known)


def clip_and_update(optimizer, gradients, variables, most):
    pairs = list(zip(gradients, variables, strict=True))
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% mistake: a variable stays one
"""`descend`: `w = w - ...` puts a tensor in the place of the variable, and the next
tape does not watch it: its gradient is None. Change the variable with `assign_sub`."""


def slopes(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w = w - learning_rate * tape.gradient(loss, w)
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape(persistent=True) as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    pairs = zip(gradients, variables, strict=True)
    known = [(g, v) for g, v in pairs if g is not None]
    optimizer.apply_gradients(known)


def clip_and_update(optimizer, gradients, variables, most):
    pairs = list(zip(gradients, variables, strict=True))
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% mistake: out of reach is a matter of unconnected_gradients
"""`two_norms`: `unconnected_gradients` is for tensors and `tf.Variable`; with weights
of Keras it stops. Leave it out: `tf.linalg.global_norm` skips each None."""


def slopes(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign_sub(learning_rate * tape.gradient(loss, w))
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape(persistent=True) as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    variables, zero = model.trainable_variables, tf.UnconnectedGradients.ZERO
    found = [
        tape.gradient(part, variables, unconnected_gradients=zero) for part in both
    ]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    pairs = zip(gradients, variables, strict=True)
    known = [(g, v) for g, v in pairs if g is not None]
    optimizer.apply_gradients(known)


def clip_and_update(optimizer, gradients, variables, most):
    pairs = list(zip(gradients, variables, strict=True))
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% mistake: a tape may be asked twice
"""`two_norms`: after its first answer a tape throws its notes away. Make it persistent,
or use two tapes."""


def slopes(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign_sub(learning_rate * tape.gradient(loss, w))
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    pairs = zip(gradients, variables, strict=True)
    known = [(g, v) for g, v in pairs if g is not None]
    optimizer.apply_gradients(known)


def clip_and_update(optimizer, gradients, variables, most):
    pairs = list(zip(gradients, variables, strict=True))
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% mistake: a persistent tape is all it takes
"""`two_norms`: the tape may be asked twice now, but the first loss still includes the
penalty. Keep both apart."""


def slopes(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign_sub(learning_rate * tape.gradient(loss, w))
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape(persistent=True) as tape:
        penalty_and = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
        data_loss = penalty_and + penalty
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    pairs = zip(gradients, variables, strict=True)
    known = [(g, v) for g, v in pairs if g is not None]
    optimizer.apply_gradients(known)


def clip_and_update(optimizer, gradients, variables, most):
    pairs = list(zip(gradients, variables, strict=True))
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% mistake: leaving out the None ones is enough
"""`update`: you drop the missing gradients and keep all variables. From the first None
on, every gradient meets the variable of another. Drop pairs."""


def slopes(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign_sub(learning_rate * tape.gradient(loss, w))
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape(persistent=True) as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    known = [g for g in gradients if g is not None]
    optimizer.apply_gradients(zip(known, variables))


def clip_and_update(optimizer, gradients, variables, most):
    pairs = list(zip(gradients, variables, strict=True))
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% mistake: a zip can be read again
"""`clip_and_update`: a `zip` gives its pairs once. After the norm it is empty, and
nothing is left to apply. Make it a list."""


def slopes(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign_sub(learning_rate * tape.gradient(loss, w))
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape(persistent=True) as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    pairs = zip(gradients, variables, strict=True)
    known = [(g, v) for g, v in pairs if g is not None]
    optimizer.apply_gradients(known)


def clip_and_update(optimizer, gradients, variables, most):
    pairs = zip(gradients, variables, strict=True)
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% mistake: norms of tensors add up
"""`clip_and_update`: the norm of all gradients is the root of the sum of their
**squares**, not the sum of their norms."""


def slopes(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign_sub(learning_rate * tape.gradient(loss, w))
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape(persistent=True) as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    pairs = zip(gradients, variables, strict=True)
    known = [(g, v) for g, v in pairs if g is not None]
    optimizer.apply_gradients(known)


def clip_and_update(optimizer, gradients, variables, most):
    pairs = list(zip(gradients, variables, strict=True))
    norm = sum(tf.norm(g) for g, _ in pairs)
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% mistake: None means that NumPy was used
"""`diagnose`: None has more than one cause. In `slopes` all is TensorFlow, but it was
computed before the tape was on."""


def slopes(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign_sub(learning_rate * tape.gradient(loss, w))
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape(persistent=True) as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    pairs = zip(gradients, variables, strict=True)
    known = [(g, v) for g, v in pairs if g is not None]
    optimizer.apply_gradients(known)


def clip_and_update(optimizer, gradients, variables, most):
    pairs = list(zip(gradients, variables, strict=True))
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "A", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% mistake: clipping makes the norm equal to most
"""`clip_and_update`: you always scale to `most`, so a small gradient becomes larger.
The factor is never above 1: `tf.minimum(1.0, most / norm)`."""


def slopes(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign_sub(learning_rate * tape.gradient(loss, w))
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape(persistent=True) as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    pairs = zip(gradients, variables, strict=True)
    known = [(g, v) for g, v in pairs if g is not None]
    optimizer.apply_gradients(known)


def clip_and_update(optimizer, gradients, variables, most):
    pairs = list(zip(gradients, variables, strict=True))
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = most / norm
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% mistake: each tensor is clipped by itself
"""`clip_and_update`: you clip every tensor to `most`. That turns the gradient as a
whole into another direction. Scale all of them by one factor."""


def slopes(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign_sub(learning_rate * tape.gradient(loss, w))
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape(persistent=True) as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    pairs = zip(gradients, variables, strict=True)
    known = [(g, v) for g, v in pairs if g is not None]
    optimizer.apply_gradients(known)


def clip_and_update(optimizer, gradients, variables, most):
    pairs = list(zip(gradients, variables, strict=True))
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    optimizer.apply_gradients([(tf.clip_by_norm(g, most), v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% mistake: no gradient means a gradient of zero
"""`update`: you put zeros where there is no gradient. The optimizer then still moves
the variable: momentum goes on, and weight decay shrinks it. Leave the pair out."""


def slopes(model, loss_fn, x, y):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    return tape.gradient(loss, model.trainable_variables)


def log_slope(w, x):
    with tf.GradientTape() as tape:
        cost = tf.reduce_mean(tf.math.log(1.0 + (w * x) ** 2))
    return tape.gradient(cost, w)


def descend(start, steps, learning_rate):
    w = tf.Variable(start)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = (w - 3.0) ** 2
        w.assign_sub(learning_rate * tape.gradient(loss, w))
    return float(w)


def two_norms(model, loss_fn, x, y):
    with tf.GradientTape(persistent=True) as tape:
        data_loss = loss_fn(y, model(x, training=True))
        penalty = sum(model.losses)
    both = [data_loss, penalty]
    found = [tape.gradient(part, model.trainable_variables) for part in both]
    return [float(tf.linalg.global_norm(part)) for part in found]


def update(optimizer, gradients, variables):
    pairs = zip(gradients, variables, strict=True)
    known = [(tf.zeros(v.shape) if g is None else g, v) for g, v in pairs]
    optimizer.apply_gradients(known)


def clip_and_update(optimizer, gradients, variables, most):
    pairs = list(zip(gradients, variables, strict=True))
    norm = tf.linalg.global_norm([g for g, _ in pairs])
    factor = tf.minimum(1.0, most / norm)
    optimizer.apply_gradients([(factor * g, v) for g, v in pairs])
    return float(norm)


def diagnose(name):
    letters = {"slopes": "B", "log_slope": "A", "descend": "C"}
    letters |= {"two_norms": "D", "update": "E", "clip_and_update": "F"}
    return letters[name]


# %% [markdown]
# <details><summary><b>If you meet this in older code</b></summary>
#
# | there | today |
# |---|---|
# | `optimizer.minimize(loss, variables)` | a tape, then `optimizer.apply` |
# | `optimizer.get_gradients`, `K.gradients` | `tape.gradient` |
# | `self.compiled_loss(y, predictions)` | `self.compute_loss(x, y, predictions)` |
# | `self.compiled_metrics.update_state` | a loop over `self.metrics` |
# | `keras.optimizers.legacy.Adam` | `keras.optimizers.Adam` |
# | `Adam(decay=...)` | a schedule, or `weight_decay` |
# | `experimental_relax_shapes=True` | `reduce_retracing=True` |
# | `model.fit` in turns with `trainable = False` | two tapes, two lists of variables |
#
# </details>

# %% [markdown]
# ### In your own words
#
# A colleague wants to clip gradients, log their norm per epoch, and train a second
# network from time to time. She has begun to rewrite everything as a loop. Which of the
# three needs a loop, and what is the smallest thing that does each of the others? Name
# two things that she would have to write herself once she leaves `fit`, and how she
# could find out that her loop is right. Four or five sentences; your teacher reads
# them. 5 minutes.

# %% answer: when_to_leave_fit, 2 points [markdown]
# Clipping is an argument of the optimizer, `global_clipnorm`. The norm per epoch needs
# a `train_step` with a `Mean` as metric, and `fit` stays around it. Only the second
# network, with a loss of its own, really asks for two tapes, in a loop or in a
# `train_step`. Without `fit` she has to reset the metrics, average over rows, call the
# callbacks, run the validation and save checkpoints herself. To see that the loop is
# right she trains the first network alone, from equal weights on unshuffled batches,
# with `fit` and with her loop: losses and weights have to agree.

# %%
progress("07")

# %% [markdown]
# ## Six habits from this lesson
#
# | habit | because |
# |---|---|
# | everything from weights to loss inside the tape | what is outside has no way back |
# | `training=True` and `sum(model.losses)` | `fit` does it, a bare call does not |
# | reset per epoch, average over rows | old epochs and small batches distort |
# | `zip(..., strict=True)` | a shorter list fails silently |
# | tensors in, results out of a compiled step | Python runs while tracing only |
# | compare with `fit` before you trust a loop | equal weights are the proof |

# %% [markdown]
# ## You can now
#
# - take gradients of anything, check them, and say why one is None;
# - write loops that equal `fit` and `evaluate`, and compile them without retracing;
# - change what a step does: accumulate, clip, train in turns, inside `fit` or outside.
#
# Next: lesson 08, a project with all of it.
