# %% [markdown]
# # Loops from scratch
#
# You stack eight layers, `fit` runs, and after five epochs the accuracy is 11 percent.
# A worse learning rate? A broken label? Or does the first layer never hear from the
# loss? `fit` cannot tell you: it computes a gradient for every weight and shows you
# none. Nor can it train two networks in turns, or do anything else between gradient and
# update. In this lesson you open it, and write its loop yourself.
#
# Ten exercises (36 points) and a question (2 points), about four hours. After the
# exercise on evaluation is a good place for a break.

# %%
import tempfile

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from helpers import data, plots
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
# What is watched, and how often may you ask? A tape watches trainable *variables*, by
# itself. Everything else you hand over with `tape.watch`, **before** it is used.

# %%
# rows: G10, G11
x = tf.constant(3.0)
with tf.GradientTape() as tape:
    y = x * x
print("a constant:        ", tape.gradient(y, x))
with tf.GradientTape() as tape:
    y = x * x
    tape.watch(x)
print("watched too late:  ", tape.gradient(y, x))
with tf.GradientTape() as tape:
    tape.watch(x)
    y = x * x
print("watched:           ", float(tape.gradient(y, x)))
print("asked again:       ", outcome(lambda: tape.gradient(y, x)))
with tf.GradientTape(persistent=True) as tape:
    tape.watch(x)
    y = x * x
print("persistent, twice: ", [float(tape.gradient(y, x)) for _ in range(2)])

# %% [markdown]
# `None` does not mean zero. It means: **I found no way** from here to there. No error,
# no warning. And after one answer the tape throws its notes away, unless it is
# `persistent=True`: then they stay in memory until you `del tape`.
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
    return None if gradient is None else round(float(gradient), 4)


print("v * v                  ", slope(lambda v: v * v))
print("relu(1 - v), flat there", slope(lambda v: tf.nn.relu(1 - v)))
print("v.numpy() ** 2         ", slope(lambda v: tf.constant(v.numpy() ** 2)))
print("round(v)               ", slope(tf.round))
print(
    "cast to int            ", slope(lambda v: tf.cast(tf.cast(v, "int32"), "float32"))
)
print("argmax                 ", slope(lambda v: tf.argmax([v, 1.0])))
print("not trainable          ", slope(lambda v: v * v, trainable=False))
print("an integer             ", slope(lambda v: v * v, value=3))

# %%
# rows: G12
w = tf.Variable(0.5)
with tf.GradientTape() as tape:
    prediction = w * 2.0
    rounded = tf.round(prediction * 1.4)
    loss = (rounded - 3.0) ** 2
values = {"w": w, "w * x": prediction, "round": rounded, "squared": loss}
gradients = tape.gradient(loss, list(values.values()))
plots.tape_chain(values, gradients, "After round() there is no way back")

# %% [markdown]
# The cross is where the way back ends: left of it all is `None`. Look for the first
# `None` from the right: the operation after it is the culprit.
#
# `model.predict` and NumPy functions cut the chain just as `.numpy()` does. Another
# cause hides in a loop: `w = w - ...` makes `w` a plain tensor, and the next tape does
# not watch it. `assign_sub` changes the variable in place.

# %%
# rows: G12
for how in ("w = w - ...", "w.assign_sub(...)"):
    w, seen = tf.Variable(1.0), []
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = w * w
        gradient = tape.gradient(loss, w)
        seen.append(None if gradient is None else round(float(gradient), 2))
        if how.startswith("w ="):
            w = w - 0.1 * seen[-1] if gradient is not None else w
        else:
            w.assign_sub(0.1 * gradient)
    print(f"{how:18} gradients {seen}, now a {type(w).__name__}")

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
# A colleague trains with `loss = tf.reduce_mean(model.predict(x) - y) ** 2` inside the
# tape. The loss has the right value, all gradients are None. Which change helps?
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
    given = {"x": x, "eps": eps}
    for name, f in functions.items():
        yield f"{name}: by tape", lambda: grad(f, x), given
        yield f"{name}: from values", lambda: numeric_grad(f, x, eps), given
    cubic = functions["a cubic"]
    for kind, make in {"tensor": tf.constant, "variable": tf.Variable}.items():
        made = make(x)
        yield f"x is a {kind}: by tape", lambda: grad(cubic, made), given
        label = f"x is a {kind}: from values, and x afterwards"
        yield label, lambda: [numeric_grad(cubic, made, eps), made], given
    yield "f does not use x", lambda: grad(lambda x: tf.constant(a[0]), x), given
    label = "x is an array: from values, and x afterwards"
    yield label, lambda: [numeric_grad(cubic, x, eps), x], given


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
# number. Row weights are its third argument.

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
print("swapped:       ", moved(lambda o, v: o.apply_gradients(zip(v, ones))))
pairs = iter(())  # a zip that was used up, in a loop before
print("used up:       ", moved(lambda o, v: o.apply_gradients(pairs)))
print("minimize:      ", moved(lambda o, v: o.minimize(None, v)))
print("two of four:   ", moved(lambda o, v: o.apply_gradients(zip(ones[:2], v))))

# %% [markdown]
# The last line is the one to remember: `zip` stops at the shorter list, and half of the
# model stays as it was, **silently**. Habit: `zip(..., strict=True)`, or `apply` with
# both lists.
#
# Three things that `fit` does are yours now. `training=True` switches Dropout and
# BatchNormalization on: a bare `model(x)` behaves as in `predict`. `model.losses` holds
# the penalties of the last call: add them. And only trainable weights have gradients.


# %%
# rows: G4, G7, G15
def after_steps(training, penalty):
    model = demanding(np.random.default_rng(0), penalty=0.5)
    for _ in range(50):
        with tf.GradientTape() as tape:
            loss = mse(y, model(x, training=training))
            loss += sum(model.losses) if penalty else 0.0
        variables = model.trainable_variables
        keras.optimizers.SGD(0.1).apply(tape.gradient(loss, variables), variables)
    norm, mean = np.linalg.norm(model.weights[0]), model.get_weights()[3]
    return f"norm of the first kernel {norm:.3f}, first moving mean {mean[0]:.3f}"


start = demanding(np.random.default_rng(0))
print("start:          ", f"{np.linalg.norm(start.weights[0]):.3f}", end=", ")
print(f"{start.get_weights()[3][0]:.3f}")
print("as fit does:    ", after_steps(training=True, penalty=True))
print("no model.losses:", after_steps(training=True, penalty=False))
print("no training:    ", after_steps(training=False, penalty=True))

# %%
# rows: G15
with tf.GradientTape() as tape:
    loss = mse(y, start(x, training=True))
gradients = tape.gradient(loss, start.weights)
for weight, gradient in zip(start.weights, gradients, strict=True):
    found = "None" if gradient is None else "gradient"
    print(f"{weight.path.split('/', 1)[1]:38} {found}")
start.layers[0].trainable = False
print("frozen:", len(start.trainable_variables), "of 5 trainable variables are left")
print("model.losses:", len(start.losses), "and their sum without any:", sum([]))

# %% [markdown]
# Moving averages are no result of the loss: None. So is the seed of a Dropout, which
# `get_weights()` leaves out. Freezing a layer works at once here; `fit` needs a new
# `compile`. And a sum over no penalties is 0, so you can always write it.
#
# Habit: `model(x, training=True)` and `sum(model.losses)` in every training step.

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
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    models = {
        "one layer": draw_weights(plain, rng),
        "penalty, BatchNormalization": demanding(rng, penalty=0.2),
        "Dropout": demanding(rng, dropout=0.5, penalty=0.2),
    }
    for name, model in models.items():
        yield (
            f"{name}: loss before",
            lambda: sgd_step(model, loss_fn, x, y, rate),
            given,
        )
        yield f"{name}: weights afterwards", model.get_weights(), given
    for _ in range(2):
        loss = sgd_step(plain, loss_fn, x, y, rate)
    yield "loss before the third step", loss, given
    yield "weights after three steps", plain.get_weights(), given
    model = models["Dropout"]
    model.layers[0].trainable = False
    sgd_step(model, loss_fn, x, y, 2 * rate)
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


# %% mistake: penalties may be added after the tape
"""You add `model.losses` outside of the `with` block. The number that you return is
right, but the tape never saw the addition, so the penalty has no gradient."""


def sgd_step(model, loss_fn, x, y, learning_rate):
    with tf.GradientTape() as tape:
        loss = loss_fn(y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(learning_rate * gradient)
    return float(loss + sum(model.losses))


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


# %% [markdown]
# ## Where the gradient gets lost
#
# Back to the model that does not learn. One tape call on one batch is enough: the norm
# of each kernel's gradient, and how far a step would move the kernel, measured by its
# own size. About one thousandth per step is healthy.


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
# **Try it.** Give `deep` more layers, or `"tanh"`. Then take `activation="sigmoid"`
# with a `BatchNormalization` after each layer (`flow` needs `layers` that have a
# kernel). Where does the line go? Habit: if training does not start, look at the norms
# first.

# %% [markdown]
# ## The loop around the step
#
# An epoch is a loop over batches, training is a loop over epochs, and in between you do
# what you like: here, a line for every second batch of the first run. Does that equal
# `fit`? The twin below has the same weights and the same batches, in the same order.


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
model = demanding(np.random.default_rng(0))
for step, (x_batch, y_batch) in enumerate(batches):
    loss = train_step(model, keras.optimizers.SGD(0.1), x_batch, y_batch)
    if step % 2 == 0:
        print(f"batch {step}: loss {loss:.4f} before its step")

# %%
# rows: G3, G4, G7
for name in ("SGD", "SGD with momentum", "Adam"):
    settings = {"momentum": 0.9} if "momentum" in name else {}
    make = keras.optimizers.Adam if name == "Adam" else keras.optimizers.SGD
    models = [demanding(np.random.default_rng(0), dropout=0.5) for _ in range(2)]
    optimizer, losses = make(0.1, **settings), []
    for _ in range(3):
        rows = [train_step(models[0], optimizer, *batch) for batch in batches]
        losses.append(np.mean(rows))
    models[1].compile(make(0.1, **settings), mse)
    history = models[1].fit(batches, epochs=3, verbose=0).history["loss"]
    pair = [model.get_weights() for model in models]
    print(f"{name:18} losses differ by {max(distances(losses, history)):.4f},", end=" ")
    print(f"weights by {max(distances(*pair)):.4f}")

# %% [markdown]
# Epoch by epoch the same losses, the same weights, BatchNormalization and penalty
# included; even the dropped units are the same, because the Dropout has a seed of its
# own. `fit` is no magic: it is this loop.
#
# ## Metrics: create, update, read, reset
#
# Create a metric once, before the loops. `update_state` adds a batch, `result` reads,
# `reset_state` empties. Calling the metric updates it, and returns the result so far.

# %%
# rows: G5, G9
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
draw_weights(model, np.random.default_rng(3))
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
# ## Average over rows, not over batches
#
# The mean of batch losses is the loss of the epoch only if all batches are equally
# large. The last one rarely is. Below, 64 rows in batches of 24, 24 and 16.

# %%
# rows: G6
rng = np.random.default_rng(5)
x, y = rng.normal(size=(64, 3)).astype("float32"), rng.normal(size=(64, 2))
y[48:] *= 2  # the last rows are harder
batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(24)
model = demanding(np.random.default_rng(0), penalty=0.0)
model.compile("sgd", mse)
losses = [float(mse(b, model(a, training=False))) for a, b in batches]
sizes = np.array([24, 24, 16])
print(f"evaluate:       {model.evaluate(batches, verbose=0):.4f}")
print(f"mean over rows: {np.sum(losses * sizes) / 64:.4f}")
print(f"over batches:   {np.mean(losses):.4f}")

# %%
# rows: G6
parts = {
    "mean over rows": losses * sizes / 64,
    "mean over batches": np.array(losses) / 3,
}
title = "A small batch counts too much in a mean over batches"
plots.paired_bars(range(1, 4), parts, title, "batch", "what it adds to the loss")

# %% [markdown]
# The 16 rows of the last batch get as much say as 24. `evaluate` and `fit` weigh each
# batch by its rows, and `keras.metrics.Mean` does it for you:
# `mean.update_state(loss, len(x))`.

# %% [markdown]
# ### Exercise: the training loop
#
# Write `train(model, optimizer, loss_fn, metric, dataset, epochs)`: it trains as `fit`
# does. The dataset yields batches `(x, y)`, the last one smaller. For every epoch it
# gives a pair of numbers, `(loss, metric)`, in a list: the mean over **rows** of what
# was minimised, penalties included, and the result of `metric` over this epoch. Both
# come from the predictions of the training steps, as in `fit`. The metric may hold
# something at the beginning. 25 minutes.
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

    def run():
        pairs = train(model, optimizer, loss_fn, metric, dataset, 2)
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


# %% [markdown]
# ### Exercise: the evaluation loop
#
# Write `evaluate_loop(model, loss_fn, metric, dataset)`: it gives the pair
# `(loss, metric)` that `evaluate` would report, as two numbers. No tape, no update: the
# model is called as in `predict`, and its state stays as it is. The loss is a mean over
# rows, penalties included; the batches may have any sizes. The metric may hold
# something at the beginning. 10 minutes.
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
    rows = tf.data.Dataset.from_tensor_slices((x, y))
    cases = {
        "all rows at once": rows.batch(n),
        "a smaller last batch": rows.batch(6),
        "row by row": rows.batch(1),
    }
    for name, dataset in cases.items():
        given = {"rows": n, "batches": name}

        def run():
            found["loss"], found["metric"] = evaluate_loop(
                model, loss_fn, metric, dataset
            )
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
# PLACE FOR: parity

# %% [markdown]
# ## Compile the step, and count traces
#
# A line of Python around every operation takes longer than the small operations
# themselves. `tf.function` runs your Python **once**, writes down the operations
# (a *trace*), and from then on runs only what was written. Same numbers, much faster.
# The price: an error is harder to find, so write and debug without it, compile last.

# %%
# rows: G8, G16
rng = np.random.default_rng(2)
x, y = rng.normal(size=(12, 3)).astype("float32"), rng.normal(size=(12, 2))
batches = tf.data.Dataset.from_tensor_slices((x, y.astype("float32"))).batch(4)


def make(model):
    optimizer = keras.optimizers.Adam(0.1)

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = mse(y, model(x, training=True)) + sum(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return step


eager = make(demanding(np.random.default_rng(0)))
compiled = tf.function(make(demanding(np.random.default_rng(0))))
for name, step in {"eager": eager, "compiled": compiled}.items():
    print(f"{name:9}", [f"{float(step(*batch)):.4f}" for batch in batches])

# %% [markdown]
# When does it trace again? For every *new kind* of call. In the function below,
# `seen.append` is Python, so it runs while tracing only: the length of the list counts
# traces. Guess before you run: five calls each, how many traces?


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
# What else runs only while tracing? Everything that is Python.

# %%
# rows: G16
kept, settings = [], {"rate": 0.1}


@tf.function
def side_effects(x):
    print("print: traced")
    kept.append(x * 2)
    return settings["rate"] * x


first = side_effects(tf.constant(1.0))
settings["rate"] = 0.5
second = side_effects(tf.constant(1.0))
print(f"results: {float(first):.1f}, {float(second):.1f} (the second should be 0.5)")
print("kept:   ", len(kept), "thing, of type", type(kept[0]).__name__)

# %% [markdown]
# One print for two calls. The list holds a placeholder without a number. And the
# setting is frozen at 0.1. What may change must be a variable or an argument that is a
# tensor; what you want to know must be **returned** (or printed by `tf.print`).
#
# State is created once, outside. The next cell makes a metric inside of the function,
# then uses one optimizer for two models.


# %%
# rows: G17
def reason(action):
    try:
        return f"works, {float(action()):.1f}"
    except ValueError as error:
        sentences = str(error).split("ValueError: ")[-1].split("<")
        return f"ValueError: {sentences[0][:50]}..."


metric = keras.metrics.Mean()


@tf.function
def outside(x):
    return metric(x)


@tf.function
def inside(x):
    return keras.metrics.Mean()(x)


print("metric made outside:", reason(lambda: outside(tf.ones(3))))
print("metric made inside: ", reason(lambda: inside(tf.ones(3))))
models = [demanding(np.random.default_rng(0)) for _ in range(2)]
shared = keras.optimizers.SGD(0.1)
for place, model in enumerate(models):
    zeros = [tf.zeros(w.shape) for w in model.trainable_variables]
    used = reason(lambda: shared.apply(zeros, model.trainable_variables) or 0.0)
    print(f"one optimizer, model {place + 1}:", used)

# %% [markdown]
# "Singleton" means: a variable may be created in the first call only, and never again.
# An optimizer creates its variables when it first sees a model, and belongs to that
# model from then on. Habit: one model, one optimizer, one step function, all made by
# one function that returns the step.

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
        optimizers.append(keras.optimizers.SGD(rate))
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


# %% [markdown]
# PLACE FOR: fast loops
