# %% [markdown]
# # Several inputs and outputs
#
# One model answers two questions about a pen stroke: which digit was written, and how
# many seconds did it take? You train it, the loss falls from 38 to 6, and you are
# pleased. But which of the two answers got better, and did the other one get worse?
# The total says nothing about that. In this lesson every question gets its own name,
# loss, metric and weight, and you can read off who did what.
#
# Eight exercises (29 points) and a question (2 points), about three hours. After the
# exercise on losses is a good place for a break. You need lesson 04.

# %%
import keras
import numpy as np
import tensorflow as tf

from helpers import data, plots
from helpers.checks import AnyOrder, EqualOrNot, check, hint, progress, solution
from helpers.watch import outcome

# %% [markdown]
# ## One sample, two views, two questions
#
# The data come as dicts: an array for each input and one for each question, all with
# the same number of rows. Row 7 of each belongs to the same stroke. The images are real
# digits, the movements of the pen are made up: the faster, the fewer seconds. The three
# curves are its speed, pressure and tilt.
#
# A program that reads forms needs both answers: it asks the writer again where the
# digit is unsure **and** the stroke was slow.

# %%
x_train, y_train = data.make_two_tower(400)
for name, array in {**x_train, **y_train}.items():
    print(f"{name:13}", array.shape, array.dtype)
digit, seconds = y_train["class_output"][7], y_train["score_output"][7, 0]
title = f"A {digit}, written in {seconds:.1f} seconds"
names = ("speed", "pressure", "tilt")
plots.two_inputs(x_train["img_input"][7], x_train["ts_input"][7], names, title)

# %% [markdown]
# ## Build it: towers, a joint, two heads
#
# Each input gets its own **tower**, a few layers that fit its shape. A convolution
# looks at neighbours, three at a time here, in an image or along time; pooling takes
# the mean over all places; `Flatten` writes them into one row. `concatenate` joins what
# the towers found, and each question gets a **head** with as many units as its answer
# needs: one for the seconds, five for the digits, 0 to 4. Inputs and outputs go into
# `keras.Model` as dicts: their keys are the names that you will use everywhere else.


# %%
def pen_model():
    image = keras.Input((8, 8, 1), name="img_input")
    series = keras.Input((None, 3), name="ts_input")
    a = keras.layers.Conv2D(6, 3, activation="relu", name="img_conv")(image)
    a = keras.layers.Flatten(name="img_flat")(a)
    b = keras.layers.Conv1D(8, 3, activation="relu", name="ts_conv")(series)
    b = keras.layers.GlobalAveragePooling1D(name="ts_mean")(b)
    both = keras.layers.Concatenate(name="joint")([a, b])
    score = keras.layers.Dense(1, name="seconds")(both)
    digit = keras.layers.Dense(5, name="digit")(both)
    outputs = {"score_output": score, "class_output": digit}
    return keras.Model({"img_input": image, "ts_input": series}, outputs, name="pen")


plots.drawing(pen_model(), "Two towers, one joint, two heads")

# %% [markdown]
# Read the picture from left to right. `n` is the number of rows, `T` stands for any
# number of steps: the model leaves it open. After `ts_conv` these are two fewer,
# `T-2`.
# The model answers with a dict, too. How long may a series be?
# Longer than in training is fine. Before you run the next cell: the kernel of `ts_conv`
# spans 3 steps. What happens with a series of 2?


# %%
# rows: M1
def answers(steps):
    x = {"img_input": np.ones((4, 8, 8, 1)), "ts_input": np.ones((4, steps, 3))}
    found = model.predict(x, verbose=0)
    return {name: f"{a.shape}, NaN: {np.isnan(a).any()}" for name, a in found.items()}


model = pen_model()
for steps in (100, 3, 2, 1):
    print(f"{steps:3} steps:", outcome(lambda: answers(steps)))

# %% [markdown]
# One step short: no error in `predict`, only NaN, the mean of nothing. (Called
# directly, the model refuses.) Two steps short: an error. Padding closes the gap:
# `padding="same"` adds zeros around the series, so that even one step is enough. Habit:
# try the shortest input that can ever come before you train.
#
# **Try it.** Add it to `ts_conv` in `pen_model` and run both cells again. What changes
# in the picture? Predict first. Then take it out again.
#
# <details><summary>What you get</summary>
#
# `ts_conv` keeps all `T` steps, and a series of one step gives numbers.
#
# </details>
#
# Keras has its own drawing, `plot_model`. It needs Graphviz and `pydot` on the machine.
# `summary()` always works, and so does a loop over the layers.

# %%
# rows: M2
lines = []  # `summary()` hands its text to `append` here, instead of printing it
model.summary(print_fn=lines.append)
named = all(layer.name in "".join(lines) for layer in model.layers)
print("summary() names every layer:", named)
for layer in model.layers[-3:]:
    print(f"{layer.name:8}", layer.output.shape, layer.count_params(), "parameters")

# %% varies: it depends on what is installed
# rows: M2
print(outcome(lambda: keras.utils.plot_model(model, "model.png", show_shapes=True)))

# %% [markdown]
# ### Exercise: two towers
#
# Write `two_tower(img_shape, n_features, k)`: a new, uncompiled model that is called
# with a dict and answers with a dict.
#
# | name | shape | |
# |---|---|---|
# | `img_input` | `(n, *img_shape)` | (height, width, channels), sides 4 to 9 |
# | `ts_input` | `(n, T, n_features)` | any `T` from 1 on, not fixed |
# | `score_output` | `(n, 1)` | any number, however large, of either sign |
# | `class_output` | `(n, k)` | logits: again any numbers |
#
# Each output depends on both inputs, and every call makes new weights. Everything else
# is up to you. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# Take `pen_model` apart: which numbers in it have to become arguments?
#
# </details>
# <details><summary>Hint 2</summary>
#
# An open length is `None` in the shape of the input. Then you need something that makes
# a fixed number of values out of any number of steps: a pooling layer or an LSTM. A
# convolution before it must survive a single step.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `keras.Input((None, n_features), name="ts_input")`, `Conv1D(8, 3, padding="same")`,
# `GlobalAveragePooling1D()`; heads without activation: `Dense(1)` and `Dense(k)`.
#
# </details>


# %% exercise: two_tower
def two_tower(img_shape, n_features, k):
    """An uncompiled model with two inputs and two outputs, called with a dict."""
    ### BEGIN SOLUTION
    image = keras.Input(img_shape, name="img_input")
    series = keras.Input((None, n_features), name="ts_input")
    a = keras.layers.Flatten()(image)
    b = keras.layers.Conv1D(8, 3, padding="same", activation="relu")(series)
    b = keras.layers.GlobalAveragePooling1D()(b)
    both = keras.layers.Concatenate()([a, b])
    outputs = {
        "score_output": keras.layers.Dense(1)(both),
        "class_output": keras.layers.Dense(k)(both),
    }
    return keras.Model({"img_input": image, "ts_input": series}, outputs)
    ### END SOLUTION


# %% check: two_tower, 5 points
def evidence(two_tower, rng):
    n, steps = int(rng.integers(10, 60)), int(rng.integers(4, 9))
    sides = rng.permutation([4, rng.integers(5, 10)])
    img_shape = (*(int(side) for side in sides), int(rng.integers(2, 4)))
    n_features, k = int(rng.integers(2, 6)), int(rng.integers(3, 8))
    given = {"img_shape": img_shape, "n_features": n_features, "k": k, "rows": n}
    model = two_tower(img_shape, n_features, k)
    images = rng.normal(size=(n, *img_shape)).astype("float32")
    series = rng.normal(size=(n, steps + 9, n_features)).astype("float32")

    def answers(images=images, series=series, model=model):
        found = model({"img_input": images, "ts_input": series}, training=False)
        if not isinstance(found, dict):
            return [np.asarray(values) for values in found]
        return {name: np.asarray(found[name]) for name in found}

    def shapes():
        found = answers(series=series[:, :steps])
        if isinstance(found, list):
            return [values.shape for values in found]
        return {name: values.shape for name, values in found.items()}

    def finite(count):
        try:
            found = answers(series=series[:, :count])
        except (ValueError, tf.errors.InvalidArgumentError):  # by version and device
            return {name: 0 for name in ("class_output", "score_output")}
        return {name: int(np.isfinite(found[name]).sum()) for name in found}

    yield "names and shapes of the outputs", shapes, given
    for count in (steps + 9, 2, 1):
        label = f"{count if count < 3 else 'many'} steps: how many numbers are finite"
        yield label, lambda: finite(count), given
    fresh = [rng.normal(size=part.shape).astype("float32") for part in (images, series)]
    cases = {"the image": (fresh[0], series), "the series": (images, fresh[1])}
    before = answers()
    for what, case in cases.items():
        after = answers(*case)
        for name in ("score_output", "class_output"):
            label = f"{name} changes with {what}"
            yield label, lambda: EqualOrNot(before[name], after[name]), given
    second = two_tower(img_shape, n_features, k)
    kept = answers(model=second)
    ends = {
        "below": lambda values: np.maximum(values, -1e4),
        "above": lambda values: np.minimum(values, 1e4),
    }
    drawn = {"score_output": [], "class_output": []}

    def far(name, end):
        """Outputs for weights of any size and sign, and the same cut at one end."""
        return EqualOrNot(np.array(drawn[name]), ends[end](np.array(drawn[name])))

    def draw():
        """Until all outputs have been far below and far above 0."""
        for size in [1.0, 30.0, 1e3, 1e5] * 6:
            for weight in model.trainable_variables:
                weight.assign(size * rng.normal(size=weight.shape))
            found = answers()
            for name in drawn:
                drawn[name].append(found[name])
            pairs = [far(name, end) for name in drawn for end in ends]
            if all(np.any(pair.first != pair.second) for pair in pairs):
                return

    def can_be_far(name, end):
        if not drawn[name]:
            draw()
        return far(name, end)

    for name in drawn:
        for end in ends:
            label = f"{name} can be far {end} 0"
            yield label, lambda: can_be_far(name, end), given
    yield (
        "a second model has weights of its own",
        EqualOrNot(kept, answers(model=second)),
        given,
    )
    yield "whether it is compiled", bool(model.compiled), given
    yield "whether it is a Keras model", isinstance(model, keras.Model), given


check("05/two_tower", evidence)

# %% mistake: a convolution works for every length
"""With fewer steps than its kernel spans, `Conv1D` has no place to stand: one step
short gives NaN without an error. Use `padding="same"`."""


def two_tower(img_shape, n_features, k):
    image = keras.Input(img_shape, name="img_input")
    series = keras.Input((None, n_features), name="ts_input")
    b = keras.layers.Conv1D(8, 3, activation="relu")(series)
    b = keras.layers.GlobalAveragePooling1D()(b)
    both = keras.layers.Concatenate()([keras.layers.Flatten()(image), b])
    outputs = {
        "score_output": keras.layers.Dense(1)(both),
        "class_output": keras.layers.Dense(k)(both),
    }
    return keras.Model({"img_input": image, "ts_input": series}, outputs)


# %% mistake: a kernel of 2 fits into every series
"""Your convolution spans 2 steps, so a series of a single step leaves it no place to
stand, and the mean of nothing is NaN. Use `padding="same"`."""


def two_tower(img_shape, n_features, k):
    image = keras.Input(img_shape, name="img_input")
    series = keras.Input((None, n_features), name="ts_input")
    b = keras.layers.Conv1D(8, 2, activation="relu")(series)
    b = keras.layers.GlobalAveragePooling1D()(b)
    both = keras.layers.Concatenate()([keras.layers.Flatten()(image), b])
    outputs = {
        "score_output": keras.layers.Dense(1)(both),
        "class_output": keras.layers.Dense(k)(both),
    }
    return keras.Model({"img_input": image, "ts_input": series}, outputs)


# %% mistake: class_output holds probabilities
"""`class_output` was asked for as logits, which may be any numbers; yours stay in a
fixed range, as after a softmax. A loss that is told `from_logits=True` would take
probabilities for logits: leave the activation out."""


def two_tower(img_shape, n_features, k):
    image = keras.Input(img_shape, name="img_input")
    series = keras.Input((None, n_features), name="ts_input")
    b = keras.layers.Conv1D(8, 3, padding="same", activation="relu")(series)
    b = keras.layers.GlobalAveragePooling1D()(b)
    both = keras.layers.Concatenate()([keras.layers.Flatten()(image), b])
    outputs = {
        "score_output": keras.layers.Dense(1)(both),
        "class_output": keras.layers.Dense(k, activation="softmax")(both),
    }
    return keras.Model({"img_input": image, "ts_input": series}, outputs)


# %% mistake: what fits a long series and a softmax loss fits everything
"""Two slips at once. `Conv1D` without `padding="same"` has no place to stand on a
series shorter than its kernel; and softmax turns `class_output` into probabilities,
where logits were asked for. Pad the convolution, and leave the head's activation
out."""


def two_tower(img_shape, n_features, k):
    image = keras.Input(img_shape, name="img_input")
    series = keras.Input((None, n_features), name="ts_input")
    b = keras.layers.Conv1D(8, 3, activation="relu")(series)
    b = keras.layers.GlobalMaxPooling1D()(b)
    both = keras.layers.Concatenate()([keras.layers.Flatten()(image), b])
    outputs = {
        "score_output": keras.layers.Dense(1)(both),
        "class_output": keras.layers.Dense(k, activation="softmax")(both),
    }
    return keras.Model({"img_input": image, "ts_input": series}, outputs)


# %% mistake: a score lies between two bounds
"""Your score cannot leave a fixed range: a sigmoid, for instance, keeps it between 0
and 1. The score may be any number: a head for numbers has no activation."""


def two_tower(img_shape, n_features, k):
    image = keras.Input(img_shape, name="img_input")
    series = keras.Input((None, n_features), name="ts_input")
    b = keras.layers.Conv1D(8, 3, padding="same", activation="relu")(series)
    b = keras.layers.GlobalAveragePooling1D()(b)
    both = keras.layers.Concatenate()([keras.layers.Flatten()(image), b])
    outputs = {
        "score_output": keras.layers.Dense(1, activation="sigmoid")(both),
        "class_output": keras.layers.Dense(k)(both),
    }
    return keras.Model({"img_input": image, "ts_input": series}, outputs)


# %% mistake: an activation that lets large numbers through lets all through
"""You end the score with an activation such as ELU or softplus: upwards it goes as far
as you like, downwards it stops near 0. A head for any number has no activation."""


def two_tower(img_shape, n_features, k):
    image = keras.Input(img_shape, name="img_input")
    series = keras.Input((None, n_features), name="ts_input")
    b = keras.layers.Conv1D(8, 3, padding="same", activation="relu")(series)
    b = keras.layers.GlobalAveragePooling1D()(b)
    both = keras.layers.Concatenate()([keras.layers.Flatten()(image), b])
    outputs = {
        "score_output": keras.layers.Dense(1, activation="elu")(both),
        "class_output": keras.layers.Dense(k)(both),
    }
    return keras.Model({"img_input": image, "ts_input": series}, outputs)


# %% mistake: one question, one tower
"""The score sees only the series, the classes only the image: these are two models in
one. Join the towers with `Concatenate` and put both heads on the joint."""


def two_tower(img_shape, n_features, k):
    image = keras.Input(img_shape, name="img_input")
    series = keras.Input((None, n_features), name="ts_input")
    b = keras.layers.Conv1D(8, 3, padding="same", activation="relu")(series)
    b = keras.layers.GlobalAveragePooling1D()(b)
    outputs = {
        "score_output": keras.layers.Dense(1)(b),
        "class_output": keras.layers.Dense(k)(keras.layers.Flatten()(image)),
    }
    return keras.Model({"img_input": image, "ts_input": series}, outputs)


# %% mistake: names of layers are names of outputs
"""You named the layers and return a list. The call then gives a list, and position is
all that tells the answers apart. Return a dict: its keys are the outputs' names."""


def two_tower(img_shape, n_features, k):
    image = keras.Input(img_shape, name="img_input")
    series = keras.Input((None, n_features), name="ts_input")
    b = keras.layers.Conv1D(8, 3, padding="same", activation="relu")(series)
    b = keras.layers.GlobalAveragePooling1D()(b)
    both = keras.layers.Concatenate()([keras.layers.Flatten()(image), b])
    score = keras.layers.Dense(1, name="score_output")(both)
    classes = keras.layers.Dense(k, name="class_output")(both)
    return keras.Model([image, series], [score, classes])


# %% mistake: all series are as long as the first
"""You fixed the number of steps in the input's shape. Write `None` there: it stands for
any length."""


def two_tower(img_shape, n_features, k):
    image = keras.Input(img_shape, name="img_input")
    series = keras.Input((12, n_features), name="ts_input")
    b = keras.layers.Conv1D(8, 3, padding="same", activation="relu")(series)
    b = keras.layers.GlobalAveragePooling1D()(b)
    both = keras.layers.Concatenate()([keras.layers.Flatten()(image), b])
    outputs = {
        "score_output": keras.layers.Dense(1)(both),
        "class_output": keras.layers.Dense(k)(both),
    }
    return keras.Model({"img_input": image, "ts_input": series}, outputs)


# %% mistake: a score has one unit per class
"""Your score has `k` units. One number per row needs one unit: `Dense(1)`."""


def two_tower(img_shape, n_features, k):
    image = keras.Input(img_shape, name="img_input")
    series = keras.Input((None, n_features), name="ts_input")
    b = keras.layers.Conv1D(8, 3, padding="same", activation="relu")(series)
    b = keras.layers.GlobalAveragePooling1D()(b)
    both = keras.layers.Concatenate()([keras.layers.Flatten()(image), b])
    outputs = {
        "score_output": keras.layers.Dense(k)(both),
        "class_output": keras.layers.Dense(k)(both),
    }
    return keras.Model({"img_input": image, "ts_input": series}, outputs)


# %% [markdown]
# ## A loss for every question
#
# Seconds are numbers, digits are classes: each head needs its own loss. In `compile`,
# write a dict from output name to loss. The total is the sum of the parts, and every
# part is reported under `<output>_loss`. Train, and watch the parts grow and shrink:
# the height of a bar is the total.

# %%
# rows: M4, M5
losses = {
    "score_output": "mse",
    "class_output": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
}
keras.utils.set_random_seed(0)
model = pen_model()
model.compile("adam", losses)
live = plots.LiveParts({"score_output": 1, "class_output": 1})
batches = {"batch_size": 50, "epochs": 20, "verbose": 0}
history = model.fit(x_train, y_train, **batches, callbacks=[live])
print("reported:", sorted(history.history))

# %% [markdown]
# There is the answer to the opening question. At first nearly everything is seconds,
# squared. The total falls because that part falls, and the sliver of the digits hardly
# shows. A mean squared error of seconds and a cross-entropy have different units:
# adding them is a decision that somebody has to make.
#
# To see how Keras wires names to losses, take a model small enough to calculate by
# hand. The score of a row `[a, b]` is `a + b`, the logits are `a`, `b` and 0.
# It exists with dict outputs, the style to use, and with list outputs, the style of
# older code.


# %%
def small(outputs="dict", **more):
    x = keras.Input((2,), name="x")
    ones, same = {"kernel_initializer": "ones"}, {"kernel_initializer": "identity"}
    score = keras.layers.Dense(1, name="score_output", **ones, **more)(x)
    digit = keras.layers.Dense(3, name="class_output", **same)(x)
    both = {"score_output": score, "class_output": digit}
    return keras.Model(x, both if outputs == "dict" else list(both.values()))


x4 = np.array([[1.0, 2.0], [0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
y4 = {"score_output": np.array([1.0, 3, 2, 0]), "class_output": np.array([0, 1, 0, 2])}
for name, answer in small()(x4).items():
    print(name, answer.numpy().tolist())

# %% [markdown]
# The scores are wrong by 2, -2, 0 and 2, so their mean squared error is 3. The
# cross-entropy of the classes is 1.0151. The total should be 4.0151. Which of these
# `compile` calls get there? Guess before you run it.


# %%
# rows: M3, M4, M5
def measured(outputs="dict", y=y4, weights=None, build=small, **settings):
    model = build(outputs)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True, **settings)
    rows = {"x": x4, "y": y, "sample_weight": weights}
    return outcome(lambda: model.evaluate(**rows, return_dict=True, verbose=0))


entropy = losses["class_output"]
one_hot = {**y4, "class_output": np.eye(3)[y4["class_output"]]}
typo = {"score_output": "mse", "class": entropy}
print("dict:     ", measured(loss=losses))
print("list:     ", measured("list", loss=["mse", entropy]))
print("one:      ", measured(y=one_hot, loss="mse"))
print("too short:", measured("list", loss=["mse"]))
print("too long: ", measured("list", loss=["mse", entropy, "mse"]))
print("typo:     ", measured("list", loss=typo))

# %% [markdown]
# One loss for all outputs runs and trains the classes as if they were measurements
# (`one` has them one-hot: class numbers would not fit the shape of the logits). A
# list that is too short runs, too: the second head has no loss and never learns. Only
# wrong names and too many entries are refused.
# Habit: one dict, one entry per output.
#
# With dict outputs the **keys** of the dict are the names, whatever the layers are
# called. Ours are called `seconds` and `digit`. And Keras sorts the outputs by key:
# what you wrote first need not come first.

# %%
# rows: M17
model = pen_model()
print("you wrote:   ", list(model.output))
print("output_names:", model.output_names)
print("last weights:", [weight.path for weight in model.weights[-4::2]])
model.compile("sgd", {"seconds": "mse", "digit": entropy})
print("layer names: ", outcome(lambda: model.evaluate(x_train, y_train, verbose=0)))

# %% [markdown]
# `output_names` shows layers, in the order of the sorted keys, and losses by layer name
# are refused. Lists of losses follow the sorted order, too. So what happens with a list
# in the order that you wrote? Your `"mse"` goes to the classes. That stops as long as
# the shapes do not fit; in the last line, one-hot classes and a cross-entropy for them
# make them fit.

# %%
# rows: M17
print("list, sorted:    ", measured(loss=[entropy, "mse"]))
print("yours:           ", measured(loss=["mse", entropy]).split(":")[0])
fits = keras.losses.CategoricalCrossentropy()
print("yours, it fits:  ", measured(y=one_hot, loss=["mse", fits]))

# %% [markdown]
# Numbers without meaning, and no error.
# Habit: name the layer as its key, and never count places in dict outputs.

# %% [markdown]
# ## Metrics for every question
#
# The same pattern: a dict from output name to a list of metrics. They are reported as
# `<output>_<metric>`. An output may be left out. In a plain list, entry 1 belongs to
# output 1 and entry 2 to output 2: it is **not** a list for everyone.

# %%
# rows: M6, M7, M8
each = {"score_output": ["mae"], "class_output": ["accuracy"]}
hits = {"class_output": ["accuracy"]}
print("dict:      ", measured(loss=losses, metrics=each))
print("partly:    ", measured(loss=losses, metrics=hits))
print("wrong key: ", measured(loss=losses, metrics={"class": ["accuracy"]}))
listed = {"outputs": "list", "loss": ["mse", entropy]}
print("nested:    ", measured(**listed, metrics=[None, ["accuracy"]]))
print("flat, two: ", measured(**listed, metrics=["mae", "accuracy"]))
print("flat, one: ", measured(**listed, metrics=["accuracy"]))
error = keras.metrics.MeanSquaredError(name="error")
shared = {"score_output": [error], "class_output": [error]}
print("shared:    ", measured(y=one_hot, loss="mse", metrics=shared))

# %% [markdown]
# One `Metric` object for two outputs is one counter: both keys show the same pooled
# value, which is the error of neither.
# Habit: a new object, or a name in quotes, for each output.
#
# ## How much does each question count?
#
# `loss_weights` multiplies the parts before they are added. The parts are reported
# **unweighted**, so that runs with different weights can be compared.

# %%
# rows: M9
print("1 and 1:   ", measured(loss=losses))
counts = {"score_output": 2.0, "class_output": 0.5}
print("2 and 0.5: ", measured(loss=losses, loss_weights=counts))
only = {"score_output": 2.0}
print("dict, one: ", measured(loss=losses, loss_weights=only))
print("list, one: ", measured("list", loss=losses, loss_weights=only))
typo = {"score_output": 2.0, "digit": 0.5}
print("dict, typo:", measured(loss=losses, loss_weights=typo))

# %% [markdown]
# The last line should worry you: a name that does not exist, and no complaint. Where
# did the 0.5 go? Now mix the containers: losses in a list, weights in a dict. By the
# names, the total should be 2 · 3 + 1 · 1.0151 = 7.0151.

# %%
# rows: M10
weights = {"score_output": 2.0, "class_output": 1.0}
print("dict and dict:", measured("list", loss=losses, loss_weights=weights))
print("list and list:", measured(**listed, loss_weights=[2.0, 1.0]))
print("list and dict:", measured(**listed, loss_weights=weights))
plots.weight_order(weights, small("list").output_names)

# %% [markdown]
# ### Quiz: whose weight is it?
#
# A model has the list outputs `[zoom, angle]`. You compile it with
# `loss=["mse", "mae"]` and `loss_weights={"zoom": 10, "angle": 1}`. What happens?
#
# <details><summary>A. The squared error of zoom counts ten times.</summary>
#
# No: that is what you meant. With a list of losses, nobody reads the keys.
#
# </details>
# <details><summary>B. The absolute error of angle counts ten times.</summary>
#
# Right: sorted by key, the weights are 1 (angle) and 10 (zoom). The first goes to the
# first loss, zoom, and the 10 goes to angle.
#
# </details>
# <details><summary>C. Keras refuses to mix a list and a dict.</summary>
#
# No: it should, and it does not. The only sign is a total that you did not expect.
#
# </details>
# <details><summary>D. Both count ten times.</summary>
#
# No: every loss gets exactly one weight, only not its own.
#
# </details>

# %% [markdown]
# Nobody reads the names. The dict is flattened in the order of the alphabet and dealt
# out to the list. `class_output` comes before `score_output`, so each weight lands on
# the other loss: 1 · 3 + 2 · 1.0151 = 5.0303. The typo worked for the same reason:
# `digit` took the first place, `score_output` the second, and that was right by luck.
# Habit: dict with dict, and the same keys in both.
#
# **Try it.** Train `pen_model` again with `loss_weights` 0.05 for the seconds and 1 for
# the digits, and give `LiveParts` the same weights. Predict the first bar.
#
# <details><summary>The first bar</summary>
#
# About 3.5: the seconds count 0.05 · 36.8 = 1.84, the digits 1.66 as before.
#
# </details>

# %% [markdown]
# ### Exercise: losses by name
#
# Write `compile_two(model, w_score, w_class)`. It compiles a model whose outputs are
# `score_output` (numbers, `(n, 1)`) and `class_output` (logits for class numbers
# `(n,)`), as a dict or as a list `[score_output, class_output]`. The total is `w_score`
# times the mean squared error plus `w_class` times the cross-entropy. Evaluation
# reports exactly `loss`, `score_output_loss`, `class_output_loss` (both unweighted),
# `score_output_mae` and `class_output_accuracy`. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# Which container works for both kinds of model, and cannot be mixed up?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Three dicts with the same two keys. The cross-entropy must know about logits, and that
# only an object can be told.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `loss={"score_output": "mse", "class_output": ...}`,
# `metrics={"score_output": ["mae"], "class_output": ["accuracy"]}`, and
# `loss_weights={"score_output": w_score, ...}`.
#
# </details>


# %% exercise: compile_two
def compile_two(model, w_score, w_class):
    """Compile with MSE and cross-entropy from logits, weighted."""
    ### BEGIN SOLUTION
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        "adam",
        loss={"score_output": "mse", "class_output": entropy},
        loss_weights={"score_output": w_score, "class_output": w_class},
        metrics={"score_output": ["mae"], "class_output": ["accuracy"]},
    )
    ### END SOLUTION


# %% check: compile_two, 4 points
def evidence(compile_two, rng):
    n, d, k = int(rng.integers(6, 12)), int(rng.integers(2, 5)), int(rng.integers(3, 6))
    w_score, w_class = (float(w) for w in rng.uniform([0.2, 2], [0.8, 5]))
    x, score = rng.normal(size=(n, d)), rng.normal(size=(n, 1)) + 2
    y = {"score_output": score, "class_output": rng.integers(0, k, n)}
    weights = {"score_output": rng.normal(size=(d, 1)), "class_output": None}
    weights["class_output"] = 2 * rng.normal(size=(d, k))

    def report(kind):
        inputs = keras.Input((d,))
        heads = {
            name: keras.layers.Dense(w.shape[1], use_bias=False, name=name)
            for name, w in weights.items()
        }
        outputs = {name: head(inputs) for name, head in heads.items()}
        for name, head in heads.items():
            head.set_weights([weights[name]])
        listed = kind == "list"
        model = keras.Model(inputs, list(outputs.values()) if listed else outputs)
        compile_two(model, w_score, w_class)
        model.run_eagerly = True
        targets = list(y.values()) if listed else y
        model.reset_metrics()
        logs = model.test_on_batch(x, targets, return_dict=True)
        return {name: float(value) for name, value in logs.items()}

    given = {"w_score": w_score, "w_class": w_class, "rows": n, "classes": k}
    for kind in ("dict", "list"):
        logs = {}

        def names():
            logs.update(report(kind))
            return sorted(logs)

        yield f"{kind} outputs: names that are reported", names, given
        yield f"{kind} outputs: the total", lambda: logs["loss"], given
        for part in ("score_output_loss", "class_output_loss"):
            yield f"{kind} outputs: {part}", lambda: logs[part], given
        for metric in ("score_output_mae", "class_output_accuracy"):
            yield f"{kind} outputs: {metric}", lambda: logs[metric], given


check("05/compile_two", evidence)

# %% mistake: loss weights are read by name, whatever they meet
"""With list outputs, each loss got the weight of the other one. That comes of a list of
weights in the wrong order, or of a list of losses with a dict of weights: the dict is
dealt out by the alphabet. Use a dict for both."""


def compile_two(model, w_score, w_class):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = {"score_output": "mse", "class_output": entropy}
    metrics = {"score_output": ["mae"], "class_output": ["accuracy"]}
    model.compile(
        "adam",
        loss=[losses[name] for name in model.output_names],
        loss_weights={"score_output": w_score, "class_output": w_class},
        metrics=[metrics[name] for name in model.output_names],
    )


# %% mistake: dict outputs keep the order in which they were written
"""You pass lists, score first. A model with dict outputs keeps them sorted by key, so
its first output is `class_output`. With dicts no order matters."""


def compile_two(model, w_score, w_class):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        "adam",
        loss=["mse", entropy],
        loss_weights=[w_score, w_class],
        metrics=[["mae"], ["accuracy"]],
    )


# %% mistake: a flat list of metrics is for all outputs
"""In a flat list of metrics, each entry belongs to one output, in their order, and dict
outputs are in the order of the alphabet. Write a dict from output to its metrics."""


def compile_two(model, w_score, w_class):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        "adam",
        loss={"score_output": "mse", "class_output": entropy},
        loss_weights={"score_output": w_score, "class_output": w_class},
        metrics=["mae", "accuracy"],
    )


# %% mistake: one loss fits every question
"""`loss="mse"` is used for every output, so the classes are trained as if their numbers
were measurements. Give each output its own loss, in a dict."""


def compile_two(model, w_score, w_class):
    model.compile(
        "adam",
        loss="mse",
        loss_weights={"score_output": w_score, "class_output": w_class},
        metrics={"score_output": ["mae"], "class_output": ["accuracy"]},
    )


# %% mistake: a loss given by name knows about logits
"""`"sparse_categorical_crossentropy"` as a string expects probabilities. The head gives
logits: use the object with `from_logits=True`."""


def compile_two(model, w_score, w_class):
    model.compile(
        "adam",
        loss={
            "score_output": "mse",
            "class_output": "sparse_categorical_crossentropy",
        },
        loss_weights={"score_output": w_score, "class_output": w_class},
        metrics={"score_output": ["mae"], "class_output": ["accuracy"]},
    )


# %% mistake: a loss can just as well carry its weight
"""You multiplied the losses themselves. The total is right, but the parts are reported
with the weights in them, and runs with other weights cannot be compared. Leave the
losses plain and use `loss_weights`."""


def compile_two(model, w_score, w_class):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    squared = keras.losses.MeanSquaredError()
    model.compile(
        "adam",
        loss={
            "score_output": lambda y, found: w_score * squared(y, found),
            "class_output": lambda y, found: w_class * entropy(y, found),
        },
        metrics={"score_output": ["mae"], "class_output": ["accuracy"]},
    )


# %% mistake: every output gets every metric
"""You ask for all metrics of all outputs. An accuracy of measurements or the mean error
of class scores says nothing: list for each output only what fits it."""


def compile_two(model, w_score, w_class):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    names = ("score_output", "class_output")
    model.compile(
        "adam",
        loss={"score_output": "mse", "class_output": entropy},
        loss_weights={"score_output": w_score, "class_output": w_class},
        metrics={name: ["mae", "accuracy"] for name in names},
    )


# %% mistake: the first weight belongs to the first key of the alphabet
"""You gave each loss the weight of the other one. `w_score` multiplies the squared
error, `w_class` the cross-entropy."""


def compile_two(model, w_score, w_class):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        "adam",
        loss={"score_output": "mse", "class_output": entropy},
        loss_weights={"score_output": w_class, "class_output": w_score},
        metrics={"score_output": ["mae"], "class_output": ["accuracy"]},
    )


# %% mistake: the total is always the plain sum
"""You compile without `loss_weights`, so both parts count once. The total has to be
`w_score` times one part plus `w_class` times the other."""


def compile_two(model, w_score, w_class):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        "adam",
        loss={"score_output": "mse", "class_output": entropy},
        metrics={"score_output": ["mae"], "class_output": ["accuracy"]},
    )


# %% [markdown]
# ## Feed it by name
#
# *A good place for a break. When you come back, run all cells above this one.*
#
# Inputs and targets may come as lists, in the model's order, or as dicts. Where two
# arrays have the same shape, a swap in a list is silent. The model below computes
# `a - b`, so 5 - 2 should be 3. The last two lines hand it one input more than it has.


# %%
# rows: M13, M14
def minus(inputs="dict"):
    a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
    both = {"a": a, "b": b} if inputs == "dict" else [a, b]
    return keras.Model(both, keras.layers.Subtract(name="out")([a, b]))


five, two, nine = (np.array([[number]]) for number in (5.0, 2.0, 9.0))
more = {"a": five, "a_old": nine, "b": two}
print("list, right:   ", minus("list")([five, two]).numpy().item())
print("list, swapped: ", minus("list")([two, five]).numpy().item())
print("dict:          ", minus()({"b": two, "a": five}).numpy().item())
print("one missing:   ", outcome(lambda: minus()({"a": five})))
print("more, list:    ", outcome(lambda: minus("list")(more).numpy().item()))
print("more, dict:    ", outcome(lambda: minus()(more).numpy().item()))

# %% [markdown]
# With dicts, order does not matter and a missing input is named. But look at the last
# line: an input too many is dropped by a model with list inputs, while a model with
# dict inputs warns and computes 5 - 9. It sorts what it got, and `a_old` slips into the
# place of `b`. Habit: read warnings, and hand over exactly `{name: x[name] for name in
# model.input_names}`.
#
# Targets are stricter with names:

# %%
# rows: M13, M14, M15
score, digit = y4["score_output"][:, None], y4["class_output"]
wide = [score, one_hot["class_output"]]
print("list, right:  ", measured("list", wide, loss="mse"))
print("list, swapped:", measured("list", wide[::-1], loss="mse"))
wrong = {"score_output": score, "digit": digit}
print("wrong name:   ", measured(y=wrong, loss=losses))
for loss, y in (({"out": "mse"}, two), ("mse", {"out": two})):
    model = minus()
    model.compile("sgd", loss, run_eagerly=True)
    found = outcome(lambda: model.evaluate({"a": five, "b": two}, y, verbose=0))
    print(f"one output, {'dict' if isinstance(y, dict) else 'array'}:", found)

# %% [markdown]
# Swapped targets of shapes that broadcast are silent, too. A wrong name is refused,
# though the message hides it well: "cannot convert 'digit'" means that Keras was handed
# a dict where it expected numbers. And a model with **one** output that is not in a
# dict takes no dict of targets at all, only a dict of losses.
#
# <details><summary>Two more</summary>
#
# The order of the keys in a dict of targets does not matter. One target too many is
# refused: "y_true and y_pred have different structures".
#
# </details>
#
# Real data rarely come tidy: they come as records, one after the other, and here and
# there an answer is missing.

# %% [markdown]
# ### Exercise: pack the records
#
# Write `pack(records)`. A record is a dict with `"image"` (h rows of w numbers) and
# `"readings"` (T steps of f numbers; T differs between records), and perhaps `"score"`
# (number) and `"class"` (whole number). Either may be missing. Return three dicts of
# arrays, rows in the order of the records.
#
# - `x`: `img_input` `(n, h, w, 1)`, `ts_input` `(n, longest T, f)`, shorter series
#   filled with 0 **at the end**; float32.
# - `y`: `score_output` `(n, 1)` float32, `class_output` `(n,)` whole numbers; 0 where
#   missing.
# - `w`: for each output float32 `(n,)`, 1 where the target is known, 0 where missing.
#
# Leave the records as they are. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# A target that is 0 is known. How do you ask a dict whether it has a key at all?
#
# </details>
# <details><summary>Hint 2</summary>
#
# For the series, make an array of zeros that is long enough for all, and copy each
# record's steps into the beginning of its row.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `np.array([[r.get("score", 0)] for r in records], "float32")` and
# `np.array(["score" in r for r in records], "float32")`.
#
# </details>


# %% exercise: pack
def pack(records):
    """The records as dicts of arrays `x, y, w`."""
    ### BEGIN SOLUTION
    steps = max(len(r["readings"]) for r in records)
    series = np.zeros((len(records), steps, len(records[0]["readings"][0])), "float32")
    for row, r in zip(series, records):
        row[: len(r["readings"])] = r["readings"]
    images = np.array([r["image"] for r in records], "float32")
    x = {"img_input": images[..., None], "ts_input": series}
    y = {
        "score_output": np.array([[r.get("score", 0)] for r in records], "float32"),
        "class_output": np.array([r.get("class", 0) for r in records], "int64"),
    }
    w = {
        "score_output": np.array(["score" in r for r in records], "float32"),
        "class_output": np.array(["class" in r for r in records], "float32"),
    }
    return x, y, w
    ### END SOLUTION


# %% check: pack, 4 points
def evidence(pack, rng):
    n, height, width, features = (
        int(i) for i in rng.integers([7, 2, 5, 2], [10, 5, 8, 5])
    )
    known = {"score": rng.permutation(n), "class": rng.permutation(n)}
    records, longest = [], int(rng.integers(3, 7))
    for row in range(n):
        image = rng.uniform(0, 16, (height, width)).tolist()
        steps = rng.normal(size=(row % longest + 1, features))
        record = {"image": image, "readings": steps.tolist()}
        if known["score"][row] > 1:  # one that is known is zero
            record["score"] = float(rng.normal()) * (known["score"][row] > 2)
        if known["class"][row] > 2:
            drawn = int(rng.integers(130, 250))  # too large for int8
            record["class"] = drawn * (int(known["class"][row]) > 3)
        records.append(record)
    records = [records[i] for i in rng.permutation(n)]
    given = {"records": [sorted(r) for r in records], "longest": longest}
    found = pack(records)
    kinds = {"i": "whole numbers", "u": "whole numbers"}
    places = (
        (0, "img_input"),
        (0, "ts_input"),
        (1, "score_output"),
        (1, "class_output"),
        (2, "score_output"),
        (2, "class_output"),
    )
    for place, name in places:
        label = f"{'xyw'[place]}[{name!r}]"
        yield label, lambda: np.asarray(found[place][name]), given

    def types():
        arrays = [np.asarray(found[place][name]) for place, name in places]
        return [kinds.get(array.dtype.kind, array.dtype.name) for array in arrays]

    yield "types of the six arrays", types, given
    yield "names in x, y and w", lambda: [sorted(part) for part in found], given
    yield "what the records hold afterwards", records, given


check("05/pack", evidence)

# %% mistake: a target of zero is missing
"""You ask whether the value is truthy, and 0 is not. A score of 0.0 and the class 0 are
answers like any other: ask whether the **key** is there, `"score" in record`."""


def pack(records):
    steps = max(len(r["readings"]) for r in records)
    series = np.zeros((len(records), steps, len(records[0]["readings"][0])), "float32")
    for row, r in zip(series, records):
        row[: len(r["readings"])] = r["readings"]
    images = np.array([r["image"] for r in records], "float32")
    x = {"img_input": images[..., None], "ts_input": series}
    y = {
        "score_output": np.array([[r.get("score", 0)] for r in records], "float32"),
        "class_output": np.array([r.get("class", 0) for r in records], "int64"),
    }
    w = {
        "score_output": np.array([bool(r.get("score")) for r in records], "float32"),
        "class_output": np.array([bool(r.get("class")) for r in records], "float32"),
    }
    return x, y, w


# %% mistake: a record that lacks an answer is no use
"""You drop records with a missing target. Their other answer is lost with them: keep
the row and give the missing target the weight 0."""


def pack(records):
    records = [r for r in records if "score" in r and "class" in r]
    steps = max(len(r["readings"]) for r in records)
    series = np.zeros((len(records), steps, len(records[0]["readings"][0])), "float32")
    for row, r in zip(series, records):
        row[: len(r["readings"])] = r["readings"]
    images = np.array([r["image"] for r in records], "float32")
    x = {"img_input": images[..., None], "ts_input": series}
    y = {
        "score_output": np.array([[r["score"]] for r in records], "float32"),
        "class_output": np.array([r["class"] for r in records], "int64"),
    }
    w = {name: np.ones(len(records), "float32") for name in y}
    return x, y, w


# %% mistake: a row has one weight for all its questions
"""A row counts in neither output as soon as one target is missing. The answers are
known separately: each output has weights of its own."""


def pack(records):
    steps = max(len(r["readings"]) for r in records)
    series = np.zeros((len(records), steps, len(records[0]["readings"][0])), "float32")
    for row, r in zip(series, records):
        row[: len(r["readings"])] = r["readings"]
    images = np.array([r["image"] for r in records], "float32")
    x = {"img_input": images[..., None], "ts_input": series}
    y = {
        "score_output": np.array([[r.get("score", 0)] for r in records], "float32"),
        "class_output": np.array([r.get("class", 0) for r in records], "int64"),
    }
    both = np.array(["score" in r and "class" in r for r in records], "float32")
    return x, y, {"score_output": both, "class_output": both}


# %% mistake: the names of the data are the names of the model
"""Your dicts use the keys of the records. Keras looks for the names of the model's
inputs and outputs: `img_input`, `ts_input`, `score_output`, `class_output`."""


def pack(records):
    steps = max(len(r["readings"]) for r in records)
    series = np.zeros((len(records), steps, len(records[0]["readings"][0])), "float32")
    for row, r in zip(series, records):
        row[: len(r["readings"])] = r["readings"]
    images = np.array([r["image"] for r in records], "float32")
    x = {"image": images[..., None], "readings": series}
    y = {
        "score": np.array([[r.get("score", 0)] for r in records], "float32"),
        "class": np.array([r.get("class", 0) for r in records], "int64"),
    }
    w = {
        "score": np.array(["score" in r for r in records], "float32"),
        "class": np.array(["class" in r for r in records], "float32"),
    }
    return x, y, w


# %% mistake: series are filled up at the beginning
"""You put the zeros in front. That is a custom for some recurrent models; here the
series start at step 0 and the zeros follow."""


def pack(records):
    steps = max(len(r["readings"]) for r in records)
    series = np.zeros((len(records), steps, len(records[0]["readings"][0])), "float32")
    for row, r in zip(series, records):
        row[-len(r["readings"]) :] = r["readings"]
    images = np.array([r["image"] for r in records], "float32")
    x = {"img_input": images[..., None], "ts_input": series}
    y = {
        "score_output": np.array([[r.get("score", 0)] for r in records], "float32"),
        "class_output": np.array([r.get("class", 0) for r in records], "int64"),
    }
    w = {
        "score_output": np.array(["score" in r for r in records], "float32"),
        "class_output": np.array(["class" in r for r in records], "float32"),
    }
    return x, y, w


# %% mistake: all series are as long as the shortest
"""You cut every series to the length of the shortest one and lose readings. Fill the
short ones up instead."""


def pack(records):
    steps = min(len(r["readings"]) for r in records)
    series = np.array([r["readings"][:steps] for r in records], "float32")
    images = np.array([r["image"] for r in records], "float32")
    x = {"img_input": images[..., None], "ts_input": series}
    y = {
        "score_output": np.array([[r.get("score", 0)] for r in records], "float32"),
        "class_output": np.array([r.get("class", 0) for r in records], "int64"),
    }
    w = {
        "score_output": np.array(["score" in r for r in records], "float32"),
        "class_output": np.array(["class" in r for r in records], "float32"),
    }
    return x, y, w


# %% mistake: pad_sequences keeps the numbers as they are
"""`pad_sequences` makes whole numbers (int32) unless you say otherwise, and your
readings lost their decimals. Pass `dtype="float32"`."""


def pack(records):
    readings = [r["readings"] for r in records]
    series = keras.utils.pad_sequences(readings, padding="post").astype("float32")
    images = np.array([r["image"] for r in records], "float32")
    x = {"img_input": images[..., None], "ts_input": series}
    y = {
        "score_output": np.array([[r.get("score", 0)] for r in records], "float32"),
        "class_output": np.array([r.get("class", 0) for r in records], "int64"),
    }
    w = {
        "score_output": np.array(["score" in r for r in records], "float32"),
        "class_output": np.array(["class" in r for r in records], "float32"),
    }
    return x, y, w


# %% mistake: a gap may be filled in the records themselves
"""You write the zeros into the records. They are not yours to change, and afterwards
every target looks known. `record.get("score", 0)` fills the gap in your array only."""


def pack(records):
    for r in records:
        r.setdefault("score", 0)
        r.setdefault("class", 0)
    steps = max(len(r["readings"]) for r in records)
    series = np.zeros((len(records), steps, len(records[0]["readings"][0])), "float32")
    for row, r in zip(series, records):
        row[: len(r["readings"])] = r["readings"]
    images = np.array([r["image"] for r in records], "float32")
    x = {"img_input": images[..., None], "ts_input": series}
    y = {
        "score_output": np.array([[r["score"]] for r in records], "float32"),
        "class_output": np.array([r["class"] for r in records], "int64"),
    }
    w = {name: np.ones(len(records), "float32") for name in y}
    return x, y, w


# %% mistake: NumPy picks the right type
"""You leave the types to NumPy, which makes float64 of decimals and int64 of whole
numbers. A model computes in float32: say it when you make the array."""


def pack(records):
    steps = max(len(r["readings"]) for r in records)
    series = np.zeros((len(records), steps, len(records[0]["readings"][0])))
    for row, r in zip(series, records):
        row[: len(r["readings"])] = r["readings"]
    images = np.array([r["image"] for r in records])
    x = {"img_input": images[..., None], "ts_input": series}
    y = {
        "score_output": np.array([[r.get("score", 0)] for r in records]),
        "class_output": np.array([r.get("class", 0) for r in records]),
    }
    w = {
        "score_output": np.array([1.0 * ("score" in r) for r in records]),
        "class_output": np.array([1.0 * ("class" in r) for r in records]),
    }
    return x, y, w


# %% [markdown]
# ## A Dataset of dicts
#
# A Dataset for such a model has elements `(inputs, targets)` or
# `(inputs, targets, weights)`, and each of them is a dict. The outer tuple has at most
# three parts, whatever the number of inputs. Flat elements go wrong: Keras takes the
# second part for targets and the third for weights. And one dict of everything counts
# as inputs: sorted by name, `class_output` arrives at `img_input`.


# %%
# rows: M16
def fed(rows):
    model = pen_model()
    model.compile("sgd", losses, run_eagerly=True)
    found = model.evaluate(rows, return_dict=True, verbose=0)
    return "works" if len(found) == 3 else "something else"


slices = tf.data.Dataset.from_tensor_slices
a, b, s, c = (v[:8] for v in (*x_train.values(), *y_train.values()))
x8, y8 = {"img_input": a, "ts_input": b}, {"score_output": s, "class_output": c}
zipped = tf.data.Dataset.zip(
    ({"img_input": slices(a), "ts_input": slices(b)}, slices(y8))
)
elements = {"(x, y)": slices((x8, y8)), "zip": zipped, "(a, b, s)": slices((a, b, s))}
elements |= {"(a, b, s, c)": slices((a, b, s, c)), "{**x, **y}": slices({**x8, **y8})}
for name, rows in elements.items():
    print(f"{name:12}", outcome(lambda: fed(rows.batch(4))))

# %% [markdown]
# ### Exercise: a Dataset for several outputs
#
# Write `multi_ds(x, y, w, batch_size)`. `x`, `y` and `w` are dicts of arrays with the
# same number of rows; `w` may also be `None`. Return a `tf.data.Dataset` for `fit`,
# whose elements are `(x, y, w)`, or `(x, y)` without weights: dicts with the same
# names, in batches of `batch_size` rows. All rows come once, in order, each time that
# one goes through the Dataset; the last batch may be smaller. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# `from_tensor_slices` takes any nest of tuples and dicts and slices each array in it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The nest that you pass in is the nest that comes out, row by row. What does it have to
# be without weights?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `parts = (x, y) if w is None else (x, y, w)`, then slice and `batch`.
#
# </details>


# %% exercise: multi_ds
def multi_ds(x, y, w, batch_size):
    """A Dataset of batches (x, y, w), or (x, y) where `w` is None; each part a dict."""
    ### BEGIN SOLUTION
    parts = (x, y) if w is None else (x, y, w)
    return tf.data.Dataset.from_tensor_slices(parts).batch(batch_size)
    ### END SOLUTION


# %% check: multi_ds, 3 points
def evidence(multi_ds, rng):
    batch_size = int(rng.integers(3, 6))
    n = 2 * batch_size + int(rng.integers(1, batch_size))
    x = {"left": rng.normal(size=(n, 2)), "right": rng.normal(size=(n, 3))}
    y = {"price": rng.normal(size=(n, 1)), "kind": rng.integers(0, 9, n)}
    w = {"price": rng.uniform(size=n), "kind": rng.uniform(size=n)}
    given = {"rows": n, "batch_size": batch_size}
    for weights in (w, None):
        case = "without weights" if weights is None else "with weights"
        dataset = multi_ds(x, y, weights, batch_size)
        batches, again = list(dataset.take(9)), list(dataset.take(9))
        places = [(0, "left"), (0, "right"), (1, "price"), (1, "kind")]
        places += [(2, "price"), (2, "kind")] if weights else []

        def rows(place, name, batches):
            found = [np.asarray(b[place][name]) for b in batches]
            return np.concatenate(found) if found else found

        def names():
            return [
                [sorted(part) for part in b if isinstance(part, dict)] for b in batches
            ]

        def in_order(batches):
            found = [rows(*place, batches) for place in places]
            return EqualOrNot(found, [(x, y, w)[part][name] for part, name in places])

        def sizes():
            return [[len(b[part][name]) for b in batches] for part, name in places]

        yield f"{case}: parts of an element", lambda: [len(b) for b in batches], given
        yield f"{case}: rows in each batch", sizes, given
        yield f"{case}: names in the parts", names, given
        for place, name in places:
            label = f"{case}: rows of {name} in part {place + 1}, in any order"
            yield label, lambda: AnyOrder(rows(place, name, batches)), given
        yield f"{case}: the rows come in order", lambda: in_order(batches), given
        yield f"{case}: and a second time", lambda: in_order(again), given


check("05/multi_ds", evidence)

# %% mistake: an element lists all arrays
"""Your elements are flat: all inputs, targets and weights side by side. Keras knows at
most three parts: put the inputs into one dict, the targets into another, the weights
into a third."""


def multi_ds(x, y, w, batch_size):
    parts = (*x.values(), *y.values(), *(w or {}).values())
    return tf.data.Dataset.from_tensor_slices(parts).batch(batch_size)


# %% mistake: one dict holds everything
"""You merged inputs and targets into one dict. Then there is nothing that says what is
what: a part of its own for each, `(x, y)` or `(x, y, w)`."""


def multi_ds(x, y, w, batch_size):
    return tf.data.Dataset.from_tensor_slices({**x, **y}).batch(batch_size)


# %% mistake: weights are given to fit, not to the Dataset
"""You leave the weights out. With a Dataset, `fit` refuses `sample_weight`: they have
to be the third part of every element."""


def multi_ds(x, y, w, batch_size):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)


# %% mistake: rows for training have to be shuffled here
"""You shuffle. That is often wise, but here the rows were to stay in their order; who
wants them shuffled can still do it."""


def multi_ds(x, y, w, batch_size):
    parts = (x, y) if w is None else (x, y, w)
    rows = tf.data.Dataset.from_tensor_slices(parts)
    return rows.shuffle(1000, seed=1).batch(batch_size)


# %% mistake: only full batches count
"""`drop_remainder=True` throws away the rows after the last full batch. Leave it
out."""


def multi_ds(x, y, w, batch_size):
    parts = (x, y) if w is None else (x, y, w)
    rows = tf.data.Dataset.from_tensor_slices(parts)
    return rows.batch(batch_size, drop_remainder=True)


# %% mistake: None is a part like any other
"""Without weights you still make weights, all 1. The result is the same, but every
element has three parts where two were asked for."""


def multi_ds(x, y, w, batch_size):
    n = len(next(iter(x.values())))
    w = {name: np.ones(n) for name in y} if w is None else w
    return tf.data.Dataset.from_tensor_slices((x, y, w)).batch(batch_size)


# %% mistake: rows that were read are still there
"""Your Dataset reads from one generator, and that is used up after the first pass: the
second epoch finds nothing. Slice the arrays, or hand over a function that makes a new
generator each time."""


def multi_ds(x, y, w, batch_size):
    parts = (x, y) if w is None else (x, y, w)
    rows = tf.data.Dataset.from_tensor_slices(parts).batch(batch_size)
    once = iter(list(rows))
    return tf.data.Dataset.from_generator(
        lambda: once, output_signature=rows.element_spec
    )


# %% mistake: fit makes the batches
"""You do not batch. `fit` takes the elements of a Dataset as they are, so each row
would count as a batch: call `.batch(batch_size)`."""


def multi_ds(x, y, w, batch_size):
    parts = (x, y) if w is None else (x, y, w)
    return tf.data.Dataset.from_tensor_slices(parts)


# %% [markdown]
# ## Train one head only
#
# Sometimes a question has no answers in today's data. With dict outputs, leave its key
# out of the losses **and** of the targets. A model with list outputs wants an entry for
# each output: `None` means no loss.

# %%
# rows: M11, M12
y_class, loss = {"class_output": digit}, {"class_output": entropy}
explicit = {"score_output": None, "class_output": entropy}
print("dict outputs, key left out:", measured(y=y_class, loss=loss))
print("list outputs, key left out:", measured("list", loss=loss))
print("list outputs, None:        ", measured("list", [score, digit], loss=explicit))
print("... and only one target:   ", measured("list", [digit], loss=explicit))
print("list of losses, one target:", measured("list", [digit], loss=[None, entropy]))

# %% [markdown]
# With list outputs, a dict of losses wants a target for every output; a list of losses
# also takes the one.
#
# <details><summary>Other ways to write it</summary>
#
# With `[None, entropy]`, the targets may be `[None, digit]`, `[digit]` or just `digit`.
# With the dict, a dict of targets that lacks the score stops with the same `KeyError`.
#
# </details>
#
# What moves in such a training? The chosen head and everything in front of it. The
# other head gets no gradient; Keras warns about that, and here you want it so. But mind
# what it means for that head: the layers that it rests on are changing under it.

# %%
# rows: M11
model = pen_model()
model.compile(keras.optimizers.SGD(0.1), {"class_output": entropy}, run_eagerly=True)
before = {layer.name: layer.get_weights() for layer in model.layers}
only = {"class_output": y_train["class_output"]}
rows = {"x": x_train, "y": only, "batch_size": 200, "verbose": 0}
print("epochs:", outcome(lambda: len(model.fit(**rows).epoch)))
changes = {
    layer.name: max(float(abs(a - b).max()) for a, b in zip(old, layer.get_weights()))
    for layer in model.layers
    if (old := before[layer.name])
}
plots.weight_changes(changes, "Training the digits leaves only the seconds alone")

# %% [markdown]
# With plain SGD and no regularizer the weight 0 does the same,
# `loss_weights={"score_output": 0.0, ...}`: the part is still measured and reported,
# but it pulls at nothing. For that you need targets.
#
# Which kind of model do you have? `model.output` is a dict or a list, and
# `model.output_names` says which place belongs to whom.

# %% [markdown]
# ### Exercise: train one head
#
# Write `train_only(model, head, x, y, learning_rate, epochs)`. `model` is functional,
# with the outputs `score_output` and `class_output` as a dict (its layers may be called
# otherwise, as in `pen_model`) or as a list in either order; `model.output` tells.
# `head` is one of these names, `y` a dict with the targets of this head only.
#
# Compile with `keras.optimizers.SGD(learning_rate)`; only this head's loss counts: mean
# squared error for `score_output`, sparse cross-entropy from logits for `class_output`.
# Train for `epochs` epochs with the default batch size, and return the `History`. The
# other head must not move (no loss, or made-up targets and the loss weight 0); all in
# front of `head`, the *trunk*, must. Leave no layer frozen. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# Two kinds of model: which one wants an entry for every output? The first cell of this
# section shows it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `isinstance(model.output, dict)` tells the cases apart. For a list, build the list of
# losses from `model.output_names`, with `None` for the other head.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Dict: `loss={head: loss}` and `y`. List:
# `[loss if name == head else None for name in model.output_names]` and `[y[head]]`.
#
# </details>


# %% exercise: train_only
def train_only(model, head, x, y, learning_rate, epochs):
    """Train one head and what it rests on; returns the History."""
    ### BEGIN SOLUTION
    losses = {
        "score_output": "mse",
        "class_output": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    }
    if isinstance(model.output, dict):
        loss = {head: losses[head]}
    else:
        loss = [losses[n] if n == head else None for n in model.output_names]
        y = [y[head]]
    model.compile(keras.optimizers.SGD(learning_rate), loss)
    return model.fit(x, y, epochs=epochs, verbose=0)
    ### END SOLUTION


# %% check: train_only, 4 points
def evidence(train_only, rng):
    n, d, k = int(rng.integers(6, 12)), int(rng.integers(2, 5)), int(rng.integers(3, 6))
    rate, many = float(rng.uniform(0.05, 0.2)), int(rng.integers(40, 60))
    few = {"x": rng.normal(size=(n, d)), "score_output": rng.normal(size=(n, 1)) + 2}
    few["class_output"] = rng.integers(0, k, n)
    # rows that are all alike: the same batches, however they are shuffled
    alike = {name: np.repeat(rows[:1], many, 0) for name, rows in few.items()}
    trunk, score, classes = (
        rng.normal(size=shape) for shape in ((d, 4), (4, 1), (4, k))
    )

    class Eager(keras.Model):  # however it is compiled
        def compile(self, *args, **settings):
            super().compile(*args, **{**settings, "run_eagerly": True})

    def trained(head, names, rows, epochs):
        inputs = keras.Input((d,))
        before = keras.layers.Dense(4, use_bias=False, name="trunk")
        called = both if names else ["seconds", "digit"]  # dict: other layer names
        heads = {
            name: keras.layers.Dense(units, use_bias=False, name=layer)
            for name, layer, units in zip(both, called, (1, k))
        }
        outputs = {name: heads[name](before(inputs)) for name in heads}
        order = [outputs[name] for name in names] if names else outputs
        model = Eager(inputs, order)
        layers = {"trunk": before, **heads}
        for layer, values in zip(layers.values(), (trunk, score, classes)):
            layer.set_weights([values])
        history = train_only(
            model, head, rows["x"].copy(), {head: rows[head].copy()}, rate, epochs
        )
        found = {name: layer.get_weights()[0] for name, layer in layers.items()}
        found["trainable"] = [layer.trainable for layer in layers.values()]
        return found | {"loss": history.history["loss"]}

    both = ["score_output", "class_output"]
    layouts = {"a dict": None, "a list": both, "a list, class first": both[::-1]}
    for layout, names in layouts.items():
        for head, rows, epochs in zip(both, (alike, few), (1, 2)):
            given = {"head": head, "learning_rate": rate, "epochs": epochs}
            given["rows"] = len(rows["x"])
            case, found = f"{layout}, train {head.split('_')[0]}", {}

            def losses():
                found.update(trained(head, names, rows, epochs))
                return found["loss"]

            yield f"{case}: loss of every epoch", losses, given
            yield f"{case}: the trunk afterwards", lambda: found["trunk"], given
            label = f"{case}: the heads afterwards, and which layers are trainable"
            yield label, lambda: [found[n] for n in (*both, "trainable")], given


check("05/train_only", evidence)

# %% mistake: a key that is left out means no loss
"""Leaving out the key works for dict outputs. A model with list outputs demands an
entry for every output: give it a list of losses with `None` for the other head."""


def train_only(model, head, x, y, learning_rate, epochs):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loss = {head: "mse" if head == "score_output" else entropy}
    model.compile(keras.optimizers.SGD(learning_rate), loss)
    return model.fit(x, y, epochs=epochs, verbose=0)


# %% mistake: one loss for one head
"""A list with a single loss belongs to the **first** output, whichever you mean.
Nothing warns you where the shapes happen to fit. Write an entry per output, `None` for
the one that rests."""


def train_only(model, head, x, y, learning_rate, epochs):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loss = "mse" if head == "score_output" else entropy
    if isinstance(model.output, dict):
        model.compile(keras.optimizers.SGD(learning_rate), {head: loss})
    else:
        model.compile(keras.optimizers.SGD(learning_rate), [loss])
        y = [y[head]]
    return model.fit(x, y, epochs=epochs, verbose=0)


# %% mistake: the name of a loss says that it gets logits
"""`"sparse_categorical_crossentropy"` as a string expects probabilities. The head gives
logits: use the object with `from_logits=True`."""


def train_only(model, head, x, y, learning_rate, epochs):
    loss = "mse" if head == "score_output" else "sparse_categorical_crossentropy"
    if isinstance(model.output, dict):
        losses = {head: loss}
    else:
        losses = [loss if name == head else None for name in model.output_names]
        y = [y[head]]
    model.compile(keras.optimizers.SGD(learning_rate), losses)
    return model.fit(x, y, epochs=epochs, verbose=0)


# %% mistake: targets by name go with None, too
"""With list outputs and `None` for a head, Keras cannot match a dict of targets that
lacks this head. Pass the targets as a list, `[y[head]]`."""


def train_only(model, head, x, y, learning_rate, epochs):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = dict.fromkeys(model.output_names)
    losses[head] = "mse" if head == "score_output" else entropy
    model.compile(keras.optimizers.SGD(learning_rate), losses)
    return model.fit(x, y, epochs=epochs, verbose=0)


# %% mistake: training a head freezes the rest
"""You froze all layers but the head (and the head as well, where its layer is called
otherwise). What lies in front of it was to be trained, too: only the other head rests,
and it does so by itself, without a loss."""


def train_only(model, head, x, y, learning_rate, epochs):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loss = "mse" if head == "score_output" else entropy
    for layer in model.layers:
        layer.trainable = layer.name == head
    if isinstance(model.output, dict):
        model.compile(keras.optimizers.SGD(learning_rate), {head: loss})
    else:
        names = model.output_names
        losses = [loss if name == head else None for name in names]
        model.compile(keras.optimizers.SGD(learning_rate), losses)
        y = [y[head]]
    return model.fit(x, y, epochs=epochs, verbose=0)


# %% mistake: no target is a target of zero
"""You made up zeros as targets for the other head, and gave it a loss. It learns them,
and pulls the trunk along. A head without targets must have no loss."""


def train_only(model, head, x, y, learning_rate, epochs):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = {"score_output": "mse", "class_output": entropy}
    n = len(y[head])
    y = {"score_output": np.zeros((n, 1)), "class_output": np.zeros(n, int), **y}
    if not isinstance(model.output, dict):
        y = [y[name] for name in model.output_names]
    model.compile(keras.optimizers.SGD(learning_rate), losses)
    return model.fit(x, y, epochs=epochs, verbose=0)


# %% mistake: the score is always the first output
"""You take the order of a list for granted, score first. `model.output_names` says
which place belongs to which head."""


def train_only(model, head, x, y, learning_rate, epochs):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if isinstance(model.output, dict):
        loss = {head: "mse" if head == "score_output" else entropy}
    else:
        loss = ["mse", None] if head == "score_output" else [None, entropy]
        y = [y[head]]
    model.compile(keras.optimizers.SGD(learning_rate), loss)
    return model.fit(x, y, epochs=epochs, verbose=0)


# %% [markdown]
# ## Rows may weigh differently for each question
#
# `pack` gave you weights per output: a row whose digit is unknown counts for the
# seconds only. Pass them in the container of the outputs: a dict for dict outputs, a
# list for list outputs. Below, the squared errors 4, 4, 0, 4 get the weights 3, 1, 0,
# 0, so the part should be (12 + 4) / 4 = 4.

# %%
# rows: M19, M20
w_score, w_class = np.array([3.0, 1, 0, 0]), np.array([0.0, 2, 2, 0])
w = {"score_output": w_score, "class_output": w_class}
targets = {"outputs": "list", "y": [score, digit], "loss": losses}
print("dict, dict:      ", measured(weights=w, loss=losses))
print("list, list:      ", measured(**targets, weights=[w_score, w_class]))
print("one for both:    ", measured(weights=w_score, loss=losses))
print("list, dict:      ", measured(**targets, weights=w))
model = small()
model.compile("sgd", losses, run_eagerly=True)
by_class = {"class_weight": {0: 1.0, 1: 2.0, 2: 1.0}, "verbose": 0}
print("class_weight:    ", outcome(lambda: model.fit(x4, y4, **by_class)))

# %% [markdown]
# Three traps in five lines. A single array silently weighs **every** output. A dict of
# weights with list outputs stops, with dicts of targets, too. And `class_weight`
# is not possible at all, because nobody could say whose classes are meant.
# Habit: turn class weights into row weights yourself, as `to_sample_weight` does in
# lesson 04, and pass them for the output that has classes.
# In a list, `None` stands for weights that are all 1.

# %% [markdown]
# ### Exercise: weights per output
#
# Write `fit_by_output(model, x, y, score_weight, class_weight, batch_size)`: one epoch
# of `fit` on a model that is compiled already (leave that as it is), with the outputs
# `score_output` and `class_output`, as a dict (whose layers may be called otherwise) or
# as a list in either order. `y` is a dict with both targets, class numbers `(n,)`.
#
# `score_weight` `(n,)` holds the weights of the rows for the score. `class_weight` is a
# dict from class number to weight, meant for `class_output` only; classes that it does
# not name weigh 1, and it may name some that never come. Return the `History`.
# 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# From class weights to row weights: look up every label.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `dict.get(label, 1.0)` knows what to do with a class that is not named. Keys are plain
# `int`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Make a dict of weights. If `model.output` is no dict, turn targets **and** weights
# into lists: `[y[name] for name in model.output_names]`.
#
# </details>


# %% exercise: fit_by_output
def fit_by_output(model, x, y, score_weight, class_weight, batch_size):
    """One epoch with weights of its own for each output; returns the History."""
    ### BEGIN SOLUTION
    rows = np.array([class_weight.get(int(c), 1.0) for c in y["class_output"]])
    w = {"score_output": score_weight, "class_output": rows}
    if not isinstance(model.output, dict):
        y, w = ([part[name] for name in model.output_names] for part in (y, w))
    return model.fit(x, y, sample_weight=w, batch_size=batch_size, verbose=0)
    ### END SOLUTION


# %% check: fit_by_output, 4 points
def evidence(fit_by_output, rng):
    k, batch_size = int(rng.integers(4, 6)), int(rng.integers(4, 7))
    n, d = 2 * batch_size, int(rng.integers(2, 5))
    x, score = rng.normal(size=(n, d)), rng.normal(size=(n, 1)) + 2
    labels = rng.permutation(np.arange(n) % k)
    y = {"score_output": score, "class_output": labels}
    score_weight = rng.uniform(0, 3, n)
    named = [*rng.permutation(k)[2:], k + 3]  # two are not named, one never comes
    class_weight = {int(c): float(rng.uniform(2, 4)) for c in named}
    class_weight[int(named[0])] = 0.0
    kernels = {"score_output": rng.normal(size=(d, 1))}
    kernels["class_output"] = rng.normal(size=(d, k))
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def logged(names):
        inputs, outputs = keras.Input((d,)), {}
        called = both if names else ["seconds", "digit"]  # dict: other layer names
        for layer, (name, kernel) in zip(called, kernels.items()):
            head = keras.layers.Dense(kernel.shape[1], use_bias=False, name=layer)
            outputs[name] = head(inputs)
            head.set_weights([kernel])
        order = [outputs[name] for name in names] if names else outputs
        model = keras.Model(inputs, order)
        losses = {"score_output": "mse", "class_output": entropy}
        model.compile(
            keras.optimizers.SGD(0.0),
            losses,
            loss_weights={"score_output": 0.5, "class_output": 3.0},
            metrics={"class_output": ["accuracy"]},
            run_eagerly=True,
        )
        args = x, dict(y), score_weight.copy(), dict(class_weight), batch_size
        history = fit_by_output(model, *args)
        return history.history | {"updates": int(model.optimizer.iterations)}

    both = ["score_output", "class_output"]
    cases = {"dict": None, "list": both, "list, class first": both[::-1]}
    given = {"class_weight": class_weight, "labels": labels, "batch_size": batch_size}
    for case, names in cases.items():
        logs = {}

        def part():
            logs.update(logged(names))
            return logs["score_output_loss"]

        yield f"{case}: score_output_loss", part, given
        yield f"{case}: class_output_loss", lambda: logs["class_output_loss"], given
        yield f"{case}: the total", lambda: logs["loss"], given
        yield f"{case}: accuracy", lambda: logs["class_output_accuracy"], given
        yield f"{case}: updates", lambda: logs["updates"], given


check("05/fit_by_output", evidence)

# %% mistake: a dict of weights fits every model
"""Weights by name work for dict outputs only. With list outputs, targets and weights
have to be lists in the order of `model.output_names`."""


def fit_by_output(model, x, y, score_weight, class_weight, batch_size):
    rows = np.array([class_weight.get(int(c), 1.0) for c in y["class_output"]])
    w = {"score_output": score_weight, "class_output": rows}
    return model.fit(x, y, sample_weight=w, batch_size=batch_size, verbose=0)


# %% mistake: fit takes class weights for the head that has classes
"""`class_weight` is for models with a single output. With several, turn it into weights
of the rows and pass these in `sample_weight`, for `class_output`."""


def fit_by_output(model, x, y, score_weight, class_weight, batch_size):
    w = {"score_output": score_weight, "class_output": np.ones(len(score_weight))}
    if not isinstance(model.output, dict):
        y, w = ([part[name] for name in model.output_names] for part in (y, w))
    return model.fit(
        x,
        y,
        sample_weight=w,
        class_weight=class_weight,
        batch_size=batch_size,
        verbose=0,
    )


# %% mistake: a row has one weight
"""You multiply both weights into one array, and a single array weighs every output.
Pass one array per output."""


def fit_by_output(model, x, y, score_weight, class_weight, batch_size):
    rows = np.array([class_weight.get(int(c), 1.0) for c in y["class_output"]])
    if not isinstance(model.output, dict):
        y = [y[name] for name in model.output_names]
    w = rows * score_weight
    return model.fit(x, y, sample_weight=w, batch_size=batch_size, verbose=0)


# %% mistake: a class that is not named does not count
"""Classes without a weight get 0 in your answer and drop out of the loss. They were to
weigh 1, as they do everywhere in Keras."""


def fit_by_output(model, x, y, score_weight, class_weight, batch_size):
    rows = np.array([class_weight.get(int(c), 0.0) for c in y["class_output"]])
    w = {"score_output": score_weight, "class_output": rows}
    if not isinstance(model.output, dict):
        y, w = ([part[name] for name in model.output_names] for part in (y, w))
    return model.fit(x, y, sample_weight=w, batch_size=batch_size, verbose=0)


# %% mistake: a weight of 0 is none
"""You write `... or 1.0`, and to `or` a 0 is the same as nothing: a class that was to
be left out counts fully. `class_weight.get(c, 1.0)` replaces missing ones only."""


def fit_by_output(model, x, y, score_weight, class_weight, batch_size):
    rows = np.array([class_weight.get(int(c)) or 1.0 for c in y["class_output"]])
    w = {"score_output": score_weight, "class_output": rows}
    if not isinstance(model.output, dict):
        y, w = ([part[name] for name in model.output_names] for part in (y, w))
    return model.fit(x, y, sample_weight=w, batch_size=batch_size, verbose=0)


# %% mistake: output_names holds the keys of a dict
"""You look the arrays up under `model.output_names`. These are the names of **layers**:
for list outputs that is right, for a dict its keys count, whatever the layers are
called. Pass dicts on as they are."""


def fit_by_output(model, x, y, score_weight, class_weight, batch_size):
    rows = np.array([class_weight.get(int(c), 1.0) for c in y["class_output"]])
    w = {"score_output": score_weight, "class_output": rows}
    y, w = ({name: part[name] for name in model.output_names} for part in (y, w))
    if not isinstance(model.output, dict):
        y, w = list(y.values()), list(w.values())
    return model.fit(x, y, sample_weight=w, batch_size=batch_size, verbose=0)


# %% mistake: weights have to have the mean 1
"""You scale the weights to a mean of 1 before you use them. Keras multiplies with the
weights that it gets and divides by the number of rows: pass them as they are."""


def fit_by_output(model, x, y, score_weight, class_weight, batch_size):
    rows = np.array([class_weight.get(int(c), 1.0) for c in y["class_output"]])
    w = {
        "score_output": score_weight / score_weight.mean(),
        "class_output": rows / rows.mean(),
    }
    if not isinstance(model.output, dict):
        y, w = ([part[name] for name in model.output_names] for part in (y, w))
    return model.fit(x, y, sample_weight=w, batch_size=batch_size, verbose=0)


# %% mistake: the list begins with the score
"""Your lists always begin with the score. The order of a list model's outputs is in
`model.output_names`; go by it."""


def fit_by_output(model, x, y, score_weight, class_weight, batch_size):
    rows = np.array([class_weight.get(int(c), 1.0) for c in y["class_output"]])
    w = {"score_output": score_weight, "class_output": rows}
    if not isinstance(model.output, dict):
        names = ["score_output", "class_output"]
        y, w = ([part[name] for name in names] for part in (y, w))
    return model.fit(x, y, sample_weight=w, batch_size=batch_size, verbose=0)


# %% [markdown]
# ## Do the parts add up?
#
# The total is each part times its weight, plus what layers add themselves. With an
# L2 regularizer on the score's kernel, ones of shape `(2, 1)`, that is a penalty of
# 0.1 · (1 + 1) = 0.2.

# %%
# rows: M22
model = small(kernel_regularizer=keras.regularizers.L2(0.1))
counts = {"score_output": 2.0, "class_output": 0.5}
model.compile(keras.optimizers.SGD(0.0), losses, loss_weights=counts, run_eagerly=True)
logs = model.evaluate(x4, y4, return_dict=True, verbose=0)
parts = sum(counts[name] * logs[f"{name}_loss"] for name in counts)
print(f"total {logs['loss']:.4f}, weighted parts {parts:.4f}")
print(
    f"missing {logs['loss'] - parts:.4f}, model.losses {float(sum(model.losses)):.4f}"
)

# %% [markdown]
# So far everything was one batch of four rows. Now let the last batch be smaller: three
# rows, then one. The true parts are still 3 and 1.0151. Which numbers stay right?


# %%
# rows: M21
def logged(batch_size, eager=False):
    model = small()
    model.compile("sgd", losses, run_eagerly=eager)
    return model.evaluate(x4, y4, batch_size, return_dict=True, verbose=0)


for size, eager in ((2, False), (3, True), (3, False)):
    logs = logged(size, eager)
    a, b, total = logs["score_output_loss"], logs["class_output_loss"], logs["loss"]
    how = "eager" if eager else "graph"
    print(f"batches of {size}, {how}: {a:.3f} + {b:.3f} = {a + b:.3f}, {total=:.3f}")
true = {"score_output": 3.0, "class_output": 1.0151}
plots.parts_and_total(logs, true, "Where a batch is partial, parts miss the total")

# %% [markdown]
# ### Quiz: which number may you quote?
#
# 1000 rows, batch size 64, no eager mode. `evaluate` reports loss 2.10,
# `score_output_loss` 1.50 and `class_output_loss` 0.62. All loss weights are 1.
#
# <details><summary>A. All three: they are means over 1000 rows.</summary>
#
# No: 1.50 + 0.62 is 2.12. Something is averaged differently.
#
# </details>
# <details><summary>B. None: numbers that do not add up are wrong.</summary>
#
# No: the total is computed with the right number of rows in every batch.
#
# </details>
# <details><summary>C. The total. The parts are slightly off.</summary>
#
# Right: the last batch has 40 rows and counts in the parts like one of 64. With
# `batch_size=100` the parts would be right, too.
#
# </details>

# %% [markdown]
# The total is a mean over rows, as in lesson 01. The parts are means over **batches**:
# the single row of the last batch counts as much as the three before it. The reason is
# the graph. It is recorded for batches of any size, so the parts do not know how many
# rows to count. Run eagerly, they know.
#
# **Try it.** Change `(3, False)` to `(1, False)`: will the parts add up?
#
# <details><summary>What you get</summary>
#
# Yes: with one row per batch no batch is smaller than the others, so the mean over
# batches is the mean over rows. It has its price, four steps instead of two.
#
# </details>
#
# Habit: trust the total. For the parts, choose a batch size that divides the number of
# rows, or measure with `evaluate` in one batch.

# %% [markdown]
# ### Exercise: the total from its parts
#
# Write `total_from_parts(logs, loss_weights, extra=0.0, n=None, batch_size=None)`.
# `logs` is a dict from name to number, as one epoch of `fit` reports it, but without
# `loss`. `loss_weights` is a dict from the name of each output to its weight; `extra`
# is what the layers added. Return the total **training** loss as a float.
#
# If `n` rows and `batch_size` are **both** given and not all batches have the same
# size, the parts do not add up: return `None`. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# Which keys belong to an output called `name`? Others may look alike: `val_...`, or
# metrics.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The logged parts are unweighted. And if there is only one batch, all batches have the
# same size.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `sum(weight * logs[f"{name}_loss"] for name, weight in loss_weights.items()) + extra`;
# sizes differ where `n > batch_size and n % batch_size`.
#
# </details>


# %% exercise: total_from_parts
def total_from_parts(logs, loss_weights, extra=0.0, n=None, batch_size=None):
    """The total training loss, or None where the parts cannot tell it."""
    ### BEGIN SOLUTION
    if n and batch_size and n > batch_size and n % batch_size:
        return None
    parts = [weight * logs[f"{name}_loss"] for name, weight in loss_weights.items()]
    return float(sum(parts) + extra)
    ### END SOLUTION


# %% check: total_from_parts, 3 points
def evidence(total_from_parts, rng):
    names = ["group", "value", "age_group", "age"]  # they may contain each other

    def drawn(count):
        chosen = [str(name) for name in rng.permutation(names[-count:])]
        weights = {name: float(rng.uniform(0.1, 4)) for name in chosen}
        suffixes = ("_loss", "_mae")
        keys = [p + n + s for p in ("", "val_") for n in weights for s in suffixes]
        keys = rng.permutation([*keys, "val_loss"])
        return {str(key): float(rng.uniform(0.5, 5)) for key in keys}, weights

    def total(**rest):
        return total_from_parts(dict(logs), dict(weights), **rest)

    for count in (2, 3, 4):
        logs, weights = drawn(count)
        given = {"logs": logs, "loss_weights": weights}
        more = {"extra": float(rng.uniform(1, 2))}
        yield f"{count} outputs", total, given
        yield f"{count} outputs and an extra", lambda: total(**more), {**given, **more}
    size = int(rng.integers(4, 9))
    rest = int(rng.integers(2, size))
    cases = {
        "batches that divide the rows": {"n": 4 * size, "batch_size": size},
        "a last batch of one row": {"n": 4 * size + 1, "batch_size": size},
        "a smaller last batch": {"n": 4 * size + rest, "batch_size": size},
        "one full batch and a smaller one": {"n": size + rest, "batch_size": size},
        "a single batch, not full": {"n": size, "batch_size": size + 5},
        "`n` without `batch_size`": {"n": 4 * size + 1},
        "`batch_size` without `n`": {"batch_size": size},
    }
    for case, rows in cases.items():
        more = {"extra": 0.5, **rows}
        yield case, lambda: total(**more), {**given, **more}


check("05/total_from_parts", evidence)

# %% mistake: the logged parts are weighted already
"""You add the parts as they are. Keras logs them **unweighted**: multiply each by its
loss weight."""


def total_from_parts(logs, loss_weights, extra=0.0, n=None, batch_size=None):
    if n and batch_size and n > batch_size and n % batch_size:
        return None
    return sum(logs[f"{name}_loss"] for name in loss_weights) + extra


# %% mistake: parts always add up
"""You return a total in every case. With a smaller last batch the logged parts are
means over batches, and no sum of them is the total."""


def total_from_parts(logs, loss_weights, extra=0.0, n=None, batch_size=None):
    return sum(w * logs[f"{name}_loss"] for name, w in loss_weights.items()) + extra


# %% mistake: a batch that is not full is a smaller last batch
"""With fewer rows than `batch_size` there is only one batch, so nothing is averaged
wrongly. Only where several batches differ in size do the parts miss the total."""


def total_from_parts(logs, loss_weights, extra=0.0, n=None, batch_size=None):
    if n and batch_size and n % batch_size:
        return None
    return sum(w * logs[f"{name}_loss"] for name, w in loss_weights.items()) + extra


# %% mistake: loss weights are shares of one
"""You divide by the sum of the weights. The total is the weighted **sum** of the parts:
twice the weights give twice the loss."""


def total_from_parts(logs, loss_weights, extra=0.0, n=None, batch_size=None):
    if n and batch_size and n > batch_size and n % batch_size:
        return None
    total = sum(w * logs[f"{name}_loss"] for name, w in loss_weights.items())
    return total / sum(loss_weights.values()) + extra


# %% mistake: every key with the name of an output is its part
"""You add validation losses, too: `val_score_loss` also ends with `score_loss`. Ask for
the one key `f"{name}_loss"`."""


def total_from_parts(logs, loss_weights, extra=0.0, n=None, batch_size=None):
    if n and batch_size and n > batch_size and n % batch_size:
        return None
    total = extra
    for name, weight in loss_weights.items():
        for key, value in logs.items():
            if key.endswith(f"{name}_loss"):
                total += weight * value
    return total


# %% mistake: the total of training is made of the parts of validation
"""You add the validation parts. The training total is made of the training parts, and
their names have no `val_`."""


def total_from_parts(logs, loss_weights, extra=0.0, n=None, batch_size=None):
    if n and batch_size and n > batch_size and n % batch_size:
        return None
    parts = [w * logs[f"val_{name}_loss"] for name, w in loss_weights.items()]
    return float(sum(parts) + extra)


# %% mistake: the extra is part of the parts
"""You ignore `extra`. What layers add themselves, such as a regularizer, is in the
total and in none of the logged parts."""


def total_from_parts(logs, loss_weights, extra=0.0, n=None, batch_size=None):
    if n and batch_size and n > batch_size and n % batch_size:
        return None
    return sum(w * logs[f"{name}_loss"] for name, w in loss_weights.items())


# %% [markdown]
# ## Stop when one question is answered best
#
# `keras.callbacks.EarlyStopping(monitor, patience=3)`, in the list that `fit` takes as
# `callbacks`, looks up **one** number after each epoch, and ends the training once it
# was not better for `patience` epochs in a row. `restore_best_weights=True` brings the
# weights of the best epoch back at the end. (Lesson 06 looks inside; here you need no
# more.)
#
# Now there are many numbers. And which way is better? From `val_loss` it can tell. With
# several outputs it gives up even on a loss. A 1 below means that one epoch ran, as it
# should.

# %%
# rows: M6
model = small()
metrics = {"class_output": ["accuracy"]}
model.compile("sgd", losses, metrics=metrics, run_eagerly=True)


def watched(monitor, **settings):
    stop = keras.callbacks.EarlyStopping(monitor, **settings)
    run = {"validation_data": (x4, y4), "callbacks": [stop], "verbose": 0}
    return outcome(lambda: len(model.fit(x4, y4, **run).epoch))


print("val_loss:                    ", watched("val_loss"))
print("val_class_output_loss:       ", watched("val_class_output_loss"))
print("val_class_output_accuracy:   ", watched("val_class_output_accuracy"))
print("... with mode='max':         ", watched("val_class_output_accuracy", mode="max"))

# %% [markdown]
# Habit: with several outputs, always say `mode="min"` or `mode="max"`. A wrong one is
# not refused: the training then stops while it is getting better.

# %% [markdown]
# ### Exercise: stop on one question
#
# Write `stopper(output, metric, patience)`: a callback for one call of `fit` that
# watches the **validation** value of one output. `metric` is `"loss"`, `"mae"` or
# `"accuracy"`. Training stops after `patience` epochs in a row without a better value
# (any gain counts, be it 0.00001, an equal value is none, from the first epoch on). In
# the end the model has the weights of its best epoch, also if the epochs ran out before
# the patience. 5 minutes.
#
# <details><summary>Hint 1</summary>
#
# What is this number called in the history, from left to right?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Errors should be small, accuracies large. And `EarlyStopping` keeps the last weights
# unless you ask for the best, with `restore_best_weights`.
#
# </details>


# %% exercise: stopper
def stopper(output, metric, patience):
    """A callback that stops on one output and restores the best weights."""
    ### BEGIN SOLUTION
    return keras.callbacks.EarlyStopping(
        f"val_{output}_{metric}",
        mode="max" if metric == "accuracy" else "min",
        patience=patience,
        restore_best_weights=True,
    )
    ### END SOLUTION


# %% check: stopper, 2 points
def evidence(stopper, rng):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")

    def dips(level, count):
        """Values that are no better than `level`; the first one is as good."""
        depths = rng.uniform(0.02, 0.3, count) * (np.arange(count) > 0)
        return (level - depths).tolist()  # Python's floats, as in the logs of fit

    def curve(best, patience):
        """20 values: tiny gains up to `best`, with dips that do not last."""
        values, level = [], 0.5
        while len(values) < best:
            level += rng.uniform(1e-5, 3e-5)
            values += [level, *dips(level, patience - 1)]
        level += 2e-5
        return [*values[:best], level, *dips(level, 19 - best)]

    def run(output, metric, patience, values):
        """Hand the callback made-up logs, the weights being the number of the epoch."""
        sign = 1 if metric == "accuracy" else -1
        callback = stopper(output, metric, patience)
        callback.set_model(model)
        callback.set_params({"epochs": 20})
        model.stop_training = False
        callback.on_train_begin()
        for epoch, value in enumerate(values):
            model.set_weights([np.array([[float(epoch)]])])
            logs = {"val_loss": 50.0 - sign * epoch, "loss": 50.0 + sign * epoch}
            logs[other] = 50.0 - sign * abs(epoch - 3)  # in training, 3 is the best
            logs[f"val_{other}"] = sign * value
            callback.on_epoch_begin(epoch)
            callback.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        callback.on_train_end()
        return {"last epoch": epoch, "weights of epoch": model.get_weights()[0].item()}

    cases = [(m, b) for m in ("accuracy", "loss", "mae") for b in ("early", "late")]
    cases.append((str(rng.choice(["accuracy", "loss", "mae"])), "near the end"))
    for metric, when in cases:
        output = str(rng.choice(["score", "class_output", "side"]))
        patience, other = int(rng.integers(2, 5)), f"{output}_{metric}"
        spans = {"early": (0, 3), "late": (6, 12), "near the end": (18, 19)}
        best = int(rng.integers(*spans[when]))
        values, found = curve(best, patience), {}
        given = {"output": output, "metric": metric, "patience": patience, "best": best}

        def last():
            found.update(run(output, metric, patience, values))
            return found["last epoch"]

        case = f"{metric}, best {when}"
        yield f"{case}: the last epoch", last, given
        yield f"{case}: weights afterwards", lambda: found["weights of epoch"], given


check("05/stopper", evidence)

# %% mistake: Keras knows what is better
"""Without `mode`, `EarlyStopping` cannot tell for the numbers of one output which way
is better, and stops with an error. Say `mode="max"` or `mode="min"`."""


def stopper(output, metric, patience):
    return keras.callbacks.EarlyStopping(
        f"val_{output}_{metric}", patience=patience, restore_best_weights=True
    )


# %% mistake: larger is better
"""`mode="max"` is right for an accuracy. For `loss` and `mae` it takes the worst epoch
for the best."""


def stopper(output, metric, patience):
    return keras.callbacks.EarlyStopping(
        f"val_{output}_{metric}",
        mode="max",
        patience=patience,
        restore_best_weights=True,
    )


# %% mistake: smaller is better
"""`mode="min"` is right for errors. For an accuracy it stops while the answers get
better, and gives the worst weights back."""


def stopper(output, metric, patience):
    return keras.callbacks.EarlyStopping(
        f"val_{output}_{metric}",
        mode="min",
        patience=patience,
        restore_best_weights=True,
    )


# %% mistake: the training value tells when to stop
"""You watch the value on the training rows, which goes on improving while the model
learns them by heart. The validation value has the prefix `val_`."""


def stopper(output, metric, patience):
    return keras.callbacks.EarlyStopping(
        f"{output}_{metric}",
        mode="max" if metric == "accuracy" else "min",
        patience=patience,
        restore_best_weights=True,
    )


# %% mistake: a gain must be worth its epoch
"""You let only gains above some `min_delta` count. That may be wise, but here any gain
was to count, however small: leave `min_delta` at 0."""


def stopper(output, metric, patience):
    return keras.callbacks.EarlyStopping(
        f"val_{output}_{metric}",
        min_delta=0.001,
        mode="max" if metric == "accuracy" else "min",
        patience=patience,
        restore_best_weights=True,
    )


# %% mistake: the model is left at its best
"""You stop in time and keep the weights of the last epoch, `patience` epochs too late.
Ask for `restore_best_weights=True`."""


def stopper(output, metric, patience):
    return keras.callbacks.EarlyStopping(
        f"val_{output}_{metric}",
        mode="max" if metric == "accuracy" else "min",
        patience=patience,
    )


# %% mistake: the total tells when one question is answered
"""You watch `val_loss`, the sum over all outputs. It can fall while the output that you
asked for gets worse."""


def stopper(output, metric, patience):
    return keras.callbacks.EarlyStopping(
        "val_loss", mode="min", patience=patience, restore_best_weights=True
    )


# %% [markdown]
# ## Where the names come from
#
# Without names, Keras takes what it finds. In a functional model with a list of outputs
# it is the layer's name, numbered if you gave none. A subclassed model that returns a
# list has no output names at all. Return a dict, and every subclassed model has them.
#
# Three things to look for below. A subclassed model with a list reports under the names
# of its losses, such as `mse_loss`. Of two equal losses only one is reported, the other
# is in the total alone. And `metrics_names` does not name the numbers of `evaluate`:
# `compile_metrics` stands for all metrics together. Ask for `return_dict=True`.


# %%
# rows: M18, M23
class Heads(keras.Model):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.score = kind, keras.layers.Dense(1, kernel_initializer="ones")
        self.digit = keras.layers.Dense(3, kernel_initializer="identity")

    def call(self, x):
        score, digit = self.score(x), self.digit(x)
        both = {"score_output": score, "class_output": digit}
        return both if self.kind == "dict" else [score, digit]


# %%
# rows: M18, M23
lists = {"loss": ["mse", entropy], "metrics": [["mae"], ["accuracy"]]}
print("list:", measured("list", [score, digit], build=Heads, **lists))
equal = measured("list", wide, build=Heads, loss=["mse", "mse"])
print("list, equal losses:", equal)
dicts = {"loss": losses, "loss_weights": counts, "metrics": metrics}
print("dict:", measured("dict", build=Heads, **dicts))
keras.utils.clear_session()
x = keras.Input((2,))
heads = [keras.layers.Dense(1)(x), keras.layers.Dense(3)(x)]
model = keras.Model(x, heads)
print("functional, unnamed:", model.output_names)
model.compile("sgd", ["mse", entropy], metrics=[["mae"], []], run_eagerly=True)
print("evaluate:", len(model.evaluate(x4, [score, digit], verbose=0)), "numbers for")
print("metrics_names:", model.metrics_names)

# %% [markdown]
# <details><summary><b>If you meet this in older code</b></summary>
#
# | there | today |
# |---|---|
# | `metrics=["accuracy"]` for all outputs | an entry per output; write a dict |
# | a loss left out of the dict | fine for dict outputs, else `None` |
# | `class_weight` with several outputs | refused: use row weights |
# | `zip(model.metrics_names, ...)` | `evaluate(..., return_dict=True)` |
# | `plot_model` prints a warning | an error, in some notebooks a message |
# | `fit(x, {"out": y})`, one output | pass the array |
# | `sample_weight={"a": ...}` with list outputs | a list, or dict outputs |
#
# </details>

# %% [markdown]
# ### In your own words
#
# Look at the picture of the first training again. A colleague reads `score_output_loss:
# 5.3, class_output_loss: 0.4` and says: "The digits are learned, the seconds are
# thirteen times worse. Let us train the seconds more." What is wrong with that
# comparison? Which numbers would you look at instead, and what would you change if the
# digits mattered more? Three or four sentences; your teacher reads them. 5 minutes.

# %% answer: compare_heads, 2 points [markdown]
# The parts have different units: squared seconds and a cross-entropy cannot be
# compared, and in minutes the first would be 3600 times smaller with the same model. I
# would give each output a metric of its own, the mean absolute error in seconds and the
# accuracy, on validation rows, and compare each with what is needed or with a simple
# baseline. If the digits mattered more, I would raise their loss weight, since what a
# part pulls at the shared layers grows with its share of the total.

# %% [markdown]
# ## Five habits from this lesson
#
# | habit | because |
# |---|---|
# | dicts for data, losses, metrics, weights | lists follow the sorted keys |
# | never a list with a dict | weights are dealt out by the alphabet |
# | one metric object per output | a shared one pools both |
# | batch sizes that divide the rows | parts count batches, the total counts rows |
# | `mode=` whenever you watch one output | Keras cannot guess it |

# %%
progress("05")

# %% [markdown]
# ## You can now
#
# - build and feed a model with several named inputs and outputs;
# - give every output its own loss, metrics, loss weight and row weights;
# - read the reported parts, and say how they make up the total.
#
# Next: lesson 06, where you step into a running `fit`, stop it and resume it.
