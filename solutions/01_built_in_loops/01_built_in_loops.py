# %% [markdown]
# # Built-in loops: compile, fit, evaluate, predict
#
# You can train a model with four calls and still be wrong about every number they
# print. Which rows were validated? What does the logged loss average? Why does
# `evaluate` disagree?
# This lesson takes the four calls apart until each number can be computed by hand.
#
# Nine exercises (32 points) and a question (2 points), about three hours. The break is
# half-way, after the exercise on reshuffling. You need lesson 00.

# %%
import contextlib
import io
import warnings

import keras
import numpy as np
import tensorflow as tf

from helpers import data, plots
from helpers.checks import AnyOrder, EqualOrNot, check, hint, progress, solution
from helpers.watch import outcome, recorder

# %% [markdown]
# ## Four verbs
#
# `compile` says what to optimise, `fit` trains, `evaluate` measures, `predict` answers.
# Here is the whole story on the digits from lesson 00; a fifth of the training rows is
# held out to see how the model does on rows that it does not train on.

# %%
# rows: B1, B44
(x_train, y_train), (x_test, y_test) = data.load_digits()


def digit_model():
    layers = [
        keras.Input((64,)),
        keras.layers.Dense(32, "relu"),
        keras.layers.Dense(10),
    ]
    return keras.Sequential(layers)


model = digit_model()
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"])
history = model.fit(x_train, y_train, epochs=20, validation_split=0.2, verbose=0)
plots.learning_curves(history)

# %% [markdown]
# At first the orange curve lies *below* the blue one: better on rows that the model
# never saw? By the end of this lesson you can say why.
#
# `fit` returned a `History`: for each quantity a list with one number per epoch.
# `evaluate` gives the loss and then the metrics, `predict` what the last layer gives,
# here ten logits per image. `verbose` decides what is printed on the way: `0` nothing,
# `1` (the default in a notebook) a moving bar, `2` two short lines per epoch. Use 0 in
# loops and in programs.

# %%
# rows: B1, B44
print("keys:  ", list(history.history), "epochs:", len(history.epoch))
print("params:", history.params)
results = model.evaluate(x_test, y_test, verbose=0)
print("evaluate:", type(results).__name__, "of", len(results))
logits = model.predict(x_test, verbose=0)
print("predict: ", type(logits).__name__, logits.shape, logits.dtype)
print(f"test accuracy at least 0.9? {results[1] >= 0.9}")


# %%
# rows: B27, B50, B59
def lines(action):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        action()
    return len(out.getvalue().splitlines())


for verbose in (0, 1, 2):
    fit = lines(lambda: model.fit(x_train, y_train, epochs=3, verbose=verbose))
    test = lines(lambda: model.evaluate(x_test, y_test, verbose=verbose))
    pred = lines(lambda: model.predict(x_test, verbose=verbose))
    fit = "many" if fit > 9 else fit
    print(f"verbose={verbose}: fit {fit}, evaluate {test}, predict {pred} lines")

# %% [markdown]
# ## A loss that fits the last layer
#
# You may name a loss, pass a function, or pass an object, each also in a list: the
# first four lines are the same. A name takes probabilities; an object can be told that
# your model returns logits. `loss_weights` multiplies a loss; with one output it is one
# number.


# %%
# rows: B5, B7
def line():
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def loss_of(loss, **settings):
    model = line()
    model.compile("sgd", loss, **settings)
    return round(model.evaluate(x, y, verbose=0), 4)


x = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0]])
y = np.array([1.0, 0.0, 2.0])
print("a name:    ", loss_of("mse"))
print("a function:", loss_of(keras.losses.mean_squared_error))
print("an object: ", loss_of(keras.losses.MeanSquaredError()))
print("in a list: ", loss_of(["mse"]))
print("3 times:   ", *(loss_of("mse", loss_weights=w) for w in (3.0, [3.0])))

# %% [markdown]
# Mistakes in `compile` show at different times. Most are refused at once, an unknown
# loss only when you first use it, and a `decay=` from an old example is ignored, with
# a warning.
#
# The last lines answer another question: which learning rate did you get if you wrote
# only a name? SGD starts at 0.01, nearly all others at 0.001.


# %%
# rows: B4, B5, B8
def fit_with(**settings):
    model = line()
    model.compile(**{"optimizer": "sgd", "loss": "mse", **settings})
    return lambda: model.fit(x, y, verbose=0)


print(outcome(lambda: fit_with(optimizer="adamm")))
print(outcome(lambda: fit_with(optimizer=keras.optimizers.SGD(decay=0.1))))
print(outcome(lambda: fit_with(metrics="accuracy")))
print(outcome(lambda: fit_with(loss="mean_squared")), "(compile)")
print(outcome(fit_with(loss="mean_squared")), "(fit)")
for name in ("sgd", "rmsprop", "adam", "adamw"):
    model = line()
    model.compile(name, "mse")
    print(f"{name:8} {float(model.optimizer.learning_rate):.4f}")

# %% [markdown]
# For classes, the loss must fit the **labels**: `sparse_categorical_crossentropy` wants
# class numbers `(n,)`, `categorical_crossentropy` wants one-hot rows `(n, k)`. Mixed
# up, they stop with an error about shapes. `"mse"` does not stop: it spreads class
# numbers, `(n,)` or `(n, 1)`, over all outputs, and you get a number that means
# nothing. The name `"crossentropy"` (or `"ce"`) lets Keras choose by the shapes. The
# documentation promises it for metrics, too; there it is unknown.

# %%
# rows: B6, B11
numbers = np.array([0, 2, 1])
one_hot = np.eye(3)[numbers]


def loss_for(loss, labels):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax")])
    model.set_weights([np.ones((2, 3)), np.zeros(3)])
    model.compile("sgd", loss)
    return outcome(lambda: model.evaluate(x, labels, verbose=0))


print("sparse, numbers      ", loss_for("sparse_categorical_crossentropy", numbers))
print("sparse, one-hot      ", loss_for("sparse_categorical_crossentropy", one_hot))
print("categorical, one-hot ", loss_for("categorical_crossentropy", one_hot))
print("categorical, numbers ", loss_for("categorical_crossentropy", numbers))
print("mse, numbers         ", loss_for("mse", numbers))
print("mse, numbers (n, 1)  ", loss_for("mse", numbers[:, None]))
print("crossentropy, numbers", loss_for("crossentropy", numbers))
print("ce, one-hot          ", loss_for("ce", one_hot))
print("crossentropy, metric ", outcome(fit_with(metrics=["crossentropy"])))

# %% [markdown]
# And it must fit the **last layer**, as in lesson 00. Keras helps in one case: if a
# softmax is the very last step of the model and the loss is told `from_logits=True`, it
# warns, and computes with the logits in front of the softmax. Put anything after the
# softmax, and the help is gone: even a perfect answer costs 0.551, the floor that you
# know from lesson 00.


# %%
# rows: B3
def perfect(*layers):
    head = keras.layers.Dense(3, kernel_initializer="identity")
    model = keras.Sequential([keras.Input((3,)), head, *layers])
    model.compile("sgd", logit_loss)
    return outcome(lambda: model.evaluate(100 * np.eye(3), np.arange(3), verbose=0))


logit_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
softmax, nothing = keras.layers.Softmax(), keras.layers.Rescaling(1.0)
print("logits:           ", perfect())
print("softmax:          ", perfect(softmax))
print("softmax, then more:", perfect(softmax, nothing))

# %% [markdown]
# ## Metrics are chosen for you, unless you choose
#
# `"accuracy"` is not one metric. Keras looks at the shapes and takes one of three:
# `SparseCategoricalAccuracy` for class numbers, `CategoricalAccuracy` for one-hot rows,
# `BinaryAccuracy` for one output. For classes that is right. But several yes/no answers
# per row look like one-hot rows, so only the largest is compared; and prices have one
# output, so Keras asks whether "above 0.5" equals the price.


# %%
# rows: B10
def measured(labels, outputs, metric="accuracy"):
    width = np.shape(outputs)[1]
    model = keras.Sequential([keras.Input((width,)), keras.layers.Identity()])
    model.compile("sgd", "mse", metrics=[metric])
    return round(model.evaluate(np.array(outputs), np.array(labels), verbose=0)[1], 3)


guesses = [[0.9, 0.8, 0.1], [0.2, 0.6, 0.7]]
print("class numbers:  ", measured([[0], [2]], guesses))
print("one-hot rows:   ", measured([[1, 0, 0], [0, 0, 1]], guesses))
print("several yes/no: ", measured([[1, 1, 0], [0, 0, 1]], guesses), "(argmax!)")
print("BinaryAccuracy: ", measured([[1, 1, 0], [0, 0, 1]], guesses, "binary_accuracy"))
print("prices:         ", measured([[0.0], [2.5]], [[0.4], [2.5]]))

# %% [markdown]
# Three ways to name a metric, and three keys in the history: a string gives the string
# as you typed it, a function its name, an object its `name`. Not every abbreviation
# exists. And mind signs (last lines): similarity as a **loss** is negated, so that
# smaller is better.

# %%
# rows: B8, B9, B22
named = keras.metrics.MeanAbsoluteError(name="off_by")
model = line()
model.compile("sgd", "mse", metrics=["mae", keras.metrics.mean_absolute_error, named])
print(list(model.evaluate(x, y, return_dict=True, verbose=0)))
for name in ("auc", "precision", "f1_score", "rmse"):
    print(f"{name:10}", outcome(lambda: type(keras.metrics.get(name)).__name__))
equal = np.array([[1.0, 2.0]])
print(f"cosine loss   {float(keras.losses.CosineSimilarity()(equal, equal)):.1f}")
print(f"cosine metric {float(keras.metrics.CosineSimilarity()(equal, equal)):.1f}")

# %% [markdown]
# Plain `metrics` never look at sample weights; `weighted_metrics` do. Below, the errors
# are 1 and 2, with weights 5 and 0. The plain mean is (1 + 2) / 2, the weighted one (5
# · 1 + 0 · 2) / (5 + 0). The loss divides by the number of **rows**: (5 · 1 + 0 · 4) /
# 2. Which number belongs to which name? More of this in lesson 04.
#
# Nor do metrics know whether your model returns logits. `BinaryAccuracy` says "yes"
# above 0.5, and for a logit the border is 0.

# %%
# rows: B12, B13, B56
model = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mae"])
guess, truth, weight = (
    np.array([[1.0], [2.0]]),
    np.array([0.0, 0.0]),
    np.array([5.0, 0.0]),
)
both = model.evaluate(guess, truth, sample_weight=weight, return_dict=True, verbose=0)
print({name: round(value, 3) for name, value in both.items()})

# %% [markdown]
# ### Exercise: three kinds of classifier
#
# Write `classifier(d, k, kind)`: a compiled model with one `Dense` layer on `d` inputs,
# whose loss and metric fit the kind of question.
#
# | `kind` | labels | units |
# |---|---|---|
# | `"one of k"` | class numbers `(n,)` | `k` |
# | `"yes or no"` | 0 or 1 (integers), `(n, 1)` | 1 |
# | `"any of k"` | 0 or 1 (integers) for each class, `(n, k)` | `k` |
#
# The loss is the cross-entropy; the one metric is the share of right answers (of each
# yes/no separately for `"any of k"`). Logits or probabilities: you decide, as long as
# everything fits. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# Decide for logits or probabilities first. Then loss **and** metric have to know:
# an answer is "yes" above probability 0.5, that is, above logit 0.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Softmax makes the `k` outputs of a row share 1 between them; over a single unit it is
# always exactly 1. Where every output answers its own question, use sigmoid.
#
# </details>
# <details><summary>Hint 3</summary>
#
# With probabilities: softmax, `"sparse_categorical_crossentropy"`,
# `"sparse_categorical_accuracy"` for the first kind; sigmoid, `"binary_crossentropy"`,
# `"binary_accuracy"` for the other two.
#
# </details>


# %% exercise: classifier
def classifier(d, k, kind):
    """A compiled one-layer model for `d` inputs and the given kind of question."""
    ### BEGIN SOLUTION
    name = "sparse_categorical" if kind == "one of k" else "binary"
    activation = "softmax" if kind == "one of k" else "sigmoid"
    units = 1 if kind == "yes or no" else k
    layers = [keras.Input((d,)), keras.layers.Dense(units, activation=activation)]
    model = keras.Sequential(layers)
    model.compile("adam", f"{name}_crossentropy", metrics=[f"{name}_accuracy"])
    return model
    ### END SOLUTION


# %% check: classifier, 5 points
def evidence(classifier, rng):
    n, d, k = 160, int(rng.integers(3, 6)), int(rng.integers(3, 6))
    x = rng.normal(size=(n, d)).astype("float32")
    weights, bias = rng.normal(size=(d, k)), 0.2 * rng.normal(size=k)
    logits = x @ weights + bias
    noise = rng.normal(0, 1, (n, k))
    logits += np.where(np.abs(logits) < 0.6, 0, noise)  # near the border all are right
    labels = {
        "one of k": logits.argmax(axis=1),
        "yes or no": (logits[:, :1] > 0).astype("int64"),
        "any of k": (logits > 0).astype("int64"),
    }

    def with_weights(kind):
        model = classifier(d, k, kind)
        model.run_eagerly = True
        model(x)  # a subclassed model makes its weights at the first call
        units = 1 if kind == "yes or no" else k
        model.set_weights([weights[:, :units], bias[:units]])
        return model

    def measured(kind):
        model = with_weights(kind)
        results = model.evaluate(x, labels[kind], 40, return_dict=True, verbose=0)
        loss = results.pop("loss")
        return {"loss": loss, "right answers": sorted(results.values())}

    def ranked():
        outputs = np.array(with_weights("one of k")(x[:10]))
        if np.allclose(outputs.sum(axis=1), 1, atol=1e-3):  # probabilities
            outputs = np.log(outputs)
        return outputs - outputs.max(axis=1, keepdims=True)

    for kind in labels:
        yield f"{kind}: loss and metric", lambda: measured(kind), {"d": d, "k": k}
    yield "one of k: outputs are logits, or probabilities that sum to 1", ranked


check("01/classifier", evidence, rtol=1e-3)

# %% mistake: a loss name works for logits, too
"""Your model returns logits, but a loss given by name expects probabilities: it clips
logits to [0, 1] and computes nonsense. Add the activation, or pass the loss as an
object with `from_logits=True`."""


def classifier(d, k, kind):
    name = "sparse_categorical" if kind == "one of k" else "binary"
    dense = keras.layers.Dense(1 if kind == "yes or no" else k)
    model = keras.Sequential([keras.Input((d,)), dense])
    zero = keras.metrics.BinaryAccuracy(threshold=0.0)
    metric = "sparse_categorical_accuracy" if kind == "one of k" else zero
    model.compile("adam", f"{name}_crossentropy", metrics=[metric])
    return model


# %% mistake: categorical losses take class numbers
"""`categorical_crossentropy` wants one-hot rows, but the labels of `"one of k"` are
class numbers. For numbers, use the `sparse_` variant."""


def classifier(d, k, kind):
    first = kind == "one of k"
    units = 1 if kind == "yes or no" else k
    dense = keras.layers.Dense(units, activation="softmax" if first else "sigmoid")
    model = keras.Sequential([keras.Input((d,)), dense])
    name = "categorical" if first else "binary"
    model.compile("adam", f"{name}_crossentropy", metrics=["accuracy"])
    return model


# %% mistake: softmax over one unit gives a probability
"""Softmax makes the outputs of a row sum to 1, so a single unit is always exactly 1:
your yes/no model says yes to everything and cannot learn. Use sigmoid."""


def classifier(d, k, kind):
    units = 1 if kind == "yes or no" else k
    activation = "sigmoid" if kind == "any of k" else "softmax"
    dense = keras.layers.Dense(units, activation=activation)
    model = keras.Sequential([keras.Input((d,)), dense])
    name = "sparse_categorical" if kind == "one of k" else "binary"
    model.compile("adam", f"{name}_crossentropy", metrics=[f"{name}_accuracy"])
    return model


# %% mistake: "accuracy" means the same for every kind
"""For several yes/no answers per row, `"accuracy"` becomes `CategoricalAccuracy`, which
only compares the position of the largest number. Name the metric that you mean:
`"binary_accuracy"`."""


def classifier(d, k, kind):
    first = kind == "one of k"
    units = 1 if kind == "yes or no" else k
    dense = keras.layers.Dense(units, activation="softmax" if first else "sigmoid")
    model = keras.Sequential([keras.Input((d,)), dense])
    name = "sparse_categorical" if first else "binary"
    model.compile("adam", f"{name}_crossentropy", metrics=["accuracy"])
    return model


# %% mistake: the threshold of a logit is 0.5
"""Your loss knows that the model returns logits, but `binary_accuracy` still says "yes"
above 0.5. A probability of 0.5 is a logit of 0: use
`keras.metrics.BinaryAccuracy(threshold=0.0)`."""


def classifier(d, k, kind):
    first = kind == "one of k"
    dense = keras.layers.Dense(1 if kind == "yes or no" else k)
    model = keras.Sequential([keras.Input((d,)), dense])
    if first:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    else:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    metric = "sparse_categorical_accuracy" if first else "binary_accuracy"
    model.compile("adam", loss, metrics=[metric])
    return model


# %% mistake: one metric needs no list
"""`metrics` must be a list, even for a single metric: `metrics=["binary_accuracy"]`."""


def classifier(d, k, kind):
    first = kind == "one of k"
    units = 1 if kind == "yes or no" else k
    dense = keras.layers.Dense(units, activation="softmax" if first else "sigmoid")
    model = keras.Sequential([keras.Input((d,)), dense])
    name = "sparse_categorical" if first else "binary"
    model.compile("adam", f"{name}_crossentropy", metrics=f"{name}_accuracy")
    return model


# %% mistake: any of k is one of k
"""For `"any of k"` you use softmax and a categorical loss, as if exactly one class were
right. There, every class has its own yes or no: sigmoid and binary cross-entropy."""


def classifier(d, k, kind):
    one = kind == "yes or no"
    activation = "sigmoid" if one else "softmax"
    dense = keras.layers.Dense(1 if one else k, activation=activation)
    model = keras.Sequential([keras.Input((d,)), dense])
    names = {"one of k": "sparse_categorical", "yes or no": "binary"}
    name = names.get(kind, "categorical")
    model.compile("adam", f"{name}_crossentropy", metrics=[f"{name}_accuracy"])
    return model


# %% mistake: "accuracy" knows about logits
"""Your loss knows that the model returns logits, the metric does not: `"accuracy"` says
"yes" above 0.5 (a logit of 0 is the border), and for several answers per row it looks
only at the largest. Use `keras.metrics.BinaryAccuracy(threshold=0.0)`."""


def classifier(d, k, kind):
    first = kind == "one of k"
    dense = keras.layers.Dense(1 if kind == "yes or no" else k)
    model = keras.Sequential([keras.Input((d,)), dense])
    if first:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    else:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


# %% mistake: sigmoid picks one of k
"""With sigmoid, the `k` outputs of a row do not compete: their sum is not 1, so they
are
no probabilities of "one of k". Use softmax there."""


def classifier(d, k, kind):
    first = kind == "one of k"
    units = 1 if kind == "yes or no" else k
    dense = keras.layers.Dense(units, activation="sigmoid")
    model = keras.Sequential([keras.Input((d,)), dense])
    name = "sparse_categorical" if first else "binary"
    model.compile("adam", f"{name}_crossentropy", metrics=[f"{name}_accuracy"])
    return model


# %% mistake: "crossentropy" fits every kind
"""`"crossentropy"` is chosen from the shapes, and `k` yes/no answers look like one-hot
rows: you get the categorical loss. Say `"binary_crossentropy"`."""


def classifier(d, k, kind):
    first = kind == "one of k"
    units = 1 if kind == "yes or no" else k
    dense = keras.layers.Dense(units, activation="softmax" if first else "sigmoid")
    model = keras.Sequential([keras.Input((d,)), dense])
    name = "sparse_categorical" if first else "binary"
    model.compile("adam", "crossentropy", metrics=[f"{name}_accuracy"])
    return model


# %% [markdown]
# ## What compile keeps and what it drops
#
# A model can predict without `compile`. Everything else needs it, and a loss: here that
# of `compile`, in lesson 02 also one that a layer adds. A compiled model also remembers
# how many axes its targets had. Evaluate it with `(n,)` first and with `(n, 1)` later,
# and it may stop with a message about an unknown rank (last lines). Keep one shape per
# model, or compile again.

# %%
# rows: B18, B19, B76
model = line()
print("predict: ", outcome(lambda: model.predict(x, verbose=0)))
print("fit:     ", outcome(lambda: model.fit(x, y, verbose=0)))
print("evaluate:", outcome(lambda: model.evaluate(x, y, verbose=0)))
model.compile("sgd")
print("no loss: ", outcome(lambda: model.fit(x, y, verbose=0)))
model = line()
model.compile("sgd", "mse")
print("(n,):             ", outcome(lambda: model.evaluate(x, y, verbose=0)))
column = y[:, None]
print("then (n, 1):      ", outcome(lambda: model.evaluate(x, column, verbose=0)))
model.compile("sgd", "mse")
print("compiled again:   ", outcome(lambda: model.evaluate(x, column, verbose=0)))

# %% [markdown]
# Compiling again is **not** starting again. The weights stay; the optimizer is new,
# with all its memory gone. If you give no loss, the old one stays; if you give neither
# `metrics` nor `weighted_metrics`, so do the old ones.

# %%
# rows: B20, B45
model = line()
model.compile("adam", "mse", metrics=["mae"])
model.fit(x, y, epochs=4, verbose=0)
before = model.get_weights()[0]
print("updates so far:", int(model.optimizer.iterations))
model.compile("adam")
print("after compile: ", int(model.optimizer.iterations))
print("weights kept?  ", np.array_equal(before, model.get_weights()[0]))
print("still measured:", list(model.evaluate(x, y, return_dict=True, verbose=0)))
again = model.fit(x, y, epochs=2, verbose=0)
print("epochs restart at", again.epoch[0], "updates", int(model.optimizer.iterations))

# %% [markdown]
# Freezing a layer after `compile` works only until the first `fit`: then the training
# step is built, and later changes of `trainable` are ignored, silently, until you
# compile again.


# %%
# rows: B21
def moved(model):
    before = model.get_weights()[0]
    model.fit(x, y, verbose=0)
    return not np.array_equal(before, model.get_weights()[0])


layers = [keras.Input((2,)), keras.layers.Dense(2), keras.layers.Dense(1)]
model = keras.Sequential(layers)
model.compile("sgd", "mse")
model.layers[0].trainable = False
print("frozen before the first fit: moved?", moved(model))
model.layers[0].trainable = True
print("thawed, not compiled again:  moved?", moved(model))
model.compile("sgd", "mse")
print("thawed and compiled again:   moved?", moved(model))

# %% [markdown]
# ### Exercise: try learning rates
#
# A fair comparison starts every run from the same place.
# Write `try_rates(build, x, y, rates, epochs)`. For each learning rate, take a fresh
# model from `build()`, compile it with `keras.optimizers.SGD(rate)`, the loss `"mae"`
# and **no metrics**, train it for `epochs` epochs with `shuffle=False`, and
# measure its loss on the same rows when training is over.
# Return the losses as a list of floats. `build()` returns a model that somebody has
# compiled already, with another loss and with metrics. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# What stays from the first compile if you say nothing about it? Look at "Compiling
# again is **not** starting again".
#
# </details>
# <details><summary>Hint 2</summary>
#
# The loss that `fit` reports was measured while the weights were moving. Which call
# measures afterwards?
#
# </details>
# <details><summary>Hint 3</summary>
#
# In a loop over `rates`: `model = build()`, `model.compile(..., metrics=[])`,
# `model.fit(...)`, `model.evaluate(x, y, verbose=0)`.
#
# </details>


# %% exercise: try_rates
def try_rates(build, x, y, rates, epochs):
    """Loss after training, one float for each learning rate."""
    ### BEGIN SOLUTION
    losses = []
    for rate in rates:
        model = build()
        model.compile(keras.optimizers.SGD(rate), "mae", metrics=[])
        model.fit(x, y, epochs=epochs, shuffle=False, verbose=0)
        losses.append(model.evaluate(x, y, verbose=0))
    return losses
    ### END SOLUTION


# %% check: try_rates, 4 points
def evidence(try_rates, rng):
    x = rng.normal(size=(40, 3)).astype("float32")
    y = (x @ rng.normal(size=3) + 3 * rng.normal(size=40)).astype("float32")
    weights = [rng.normal(size=(3, 1)), rng.normal(size=1)]
    slow, fast = rng.uniform(0.02, 0.08), rng.uniform(0.12, 0.2)
    rates, epochs = [float(fast), float(slow)], int(rng.integers(2, 4))
    keras.utils.set_random_seed(int(rng.integers(1000)))

    def build():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.set_weights(weights)
        model.compile("adam", "mse", metrics=["mse"])
        return model

    warnings.filterwarnings("ignore", "Even though the `tf.config")  # of the next line
    tf.config.run_functions_eagerly(True)  # compiling each model would take longer
    losses = try_rates(build, x, y, rates, epochs)
    given = {"rates": rates, "epochs": epochs}
    yield "the first rate", lambda: losses[0], given
    yield "the second rate, from the same start", lambda: losses[1], given
    yield "one number per rate", lambda: np.shape(losses), given


check("01/try_rates", evidence)

# %% mistake: compile starts the model again
"""You build one model and compile it again for every rate. `compile` renews the
optimizer, not the weights: the second rate continues where the first one stopped.
Call `build()` inside the loop."""


def try_rates(build, x, y, rates, epochs):
    model, losses = build(), []
    for rate in rates:
        model.compile(keras.optimizers.SGD(rate), "mae", metrics=[])
        model.fit(x, y, epochs=epochs, shuffle=False, verbose=0)
        losses.append(model.evaluate(x, y, verbose=0))
    return losses


# %% mistake: metrics that are left out are switched off
"""`compile` without `metrics` keeps the metrics of the compile before, so `evaluate`
returns a list instead of one number. Say `metrics=[]`."""


def try_rates(build, x, y, rates, epochs):
    losses = []
    for rate in rates:
        model = build()
        model.compile(keras.optimizers.SGD(rate), "mae")
        model.fit(x, y, epochs=epochs, shuffle=False, verbose=0)
        losses.append(model.evaluate(x, y, verbose=0))
    return losses


# %% mistake: the logged loss is the loss after training
"""You read the last entry of the history. It was averaged over batches while the
weights were moving, so it is the loss of no single model. Measure with `evaluate`."""


def try_rates(build, x, y, rates, epochs):
    losses = []
    for rate in rates:
        model = build()
        model.compile(keras.optimizers.SGD(rate), "mae", metrics=[])
        history = model.fit(x, y, epochs=epochs, shuffle=False, verbose=0)
        losses.append(history.history["loss"][-1])
    return losses


# %% mistake: a name is enough for the optimizer
"""You compile with `"sgd"`, which always learns at 0.01. To use a rate of your own,
pass
`keras.optimizers.SGD(rate)`."""


def try_rates(build, x, y, rates, epochs):
    losses = []
    for _ in rates:
        model = build()
        model.compile("sgd", "mae", metrics=[])
        model.fit(x, y, epochs=epochs, shuffle=False, verbose=0)
        losses.append(model.evaluate(x, y, verbose=0))
    return losses


# %% mistake: a model that is compiled needs no new loss
"""You kept the loss that the model came with: `"mse"`. Compile with the loss that you
want to compare, `"mae"`."""


def try_rates(build, x, y, rates, epochs):
    losses = []
    for rate in rates:
        model = build()
        model.compile(keras.optimizers.SGD(rate), metrics=[])
        model.fit(x, y, epochs=epochs, shuffle=False, verbose=0)
        losses.append(model.evaluate(x, y, verbose=0))
    return losses


# %% mistake: the order of rows does not matter
"""You did not say `shuffle=False`, so `fit` mixes the rows, and each rate sees other
batches. A fair comparison gives all of them the same."""


def try_rates(build, x, y, rates, epochs):
    losses = []
    for rate in rates:
        model = build()
        model.compile(keras.optimizers.SGD(rate), "mae", metrics=[])
        model.fit(x, y, epochs=epochs, verbose=0)
        losses.append(model.evaluate(x, y, verbose=0))
    return losses


# %% [markdown]
# ## What one epoch sees
#
# From here on we watch a model at work. `recorder()` is a small compiled model that
# notes the first number of every row it is given; number the rows, and you can read off
# what `fit` does with them: `trained` has them by batch, `watched` those it was only
# tested on, `epochs(n)` cuts them into epochs of `n` rows. A `tf.data.Dataset` hands
# out rows one after the other, and `.batch(20)` makes batches of them (lesson 03).

# %%
# rows: B25, B23
rows = np.arange(70.0)
x70 = np.stack([rows, np.ones(70)], axis=1)
model = recorder()
model.fit(x70, rows, verbose=0)
print("default batches:", [len(batch) for batch in model.trained])
model = recorder()
model.fit(x70, rows, batch_size=16, verbose=0)
print("batch_size=16:  ", [len(batch) for batch in model.trained])
ready = tf.data.Dataset.from_tensor_slices((x70, rows)).batch(20)
model = recorder()
model.fit(ready, batch_size=16, verbose=0, shuffle=False)
print("a Dataset has its own batches:", [len(batch) for batch in model.trained])
print("x alone:    ", outcome(lambda: recorder().fit(x70, verbose=0)))
print("Dataset, y: ", outcome(lambda: recorder().fit(ready, rows, verbose=0)))

# %% [markdown]
# The last batch is smaller, and it is kept. `batch_size` next to a Dataset is ignored
# without a word.
#
# `shuffle=True` is the default for arrays. With `"batch"` only the rows inside each
# batch are mixed; with a Dataset it does nothing but warn.

# %%
# rows: B36
x8 = np.stack([np.arange(8.0), np.ones(8)], axis=1)
for shuffle in (False, True, "batch"):
    model = recorder()
    model.fit(x8, np.ones(8), batch_size=4, shuffle=shuffle, verbose=0)
    print(f"shuffle={shuffle!s:6}", *(batch.tolist() for batch in model.trained))
batches = tf.data.Dataset.from_tensor_slices((x8, np.ones(8))).batch(4)
print("Dataset:", outcome(lambda: recorder().fit(batches, verbose=0)))

# %% [markdown]
# `steps_per_epoch` cuts an epoch short. With arrays, the next epoch **goes on** where
# the last one stopped; without a batch size, the rows are divided into that many
# batches. For Datasets, and for data whose length nobody knows, see lesson 03.

# %%
# rows: B38
x10 = np.stack([np.arange(10.0), np.ones(10)], axis=1)
model = recorder()
model.fit(x10, np.ones(10), steps_per_epoch=3, shuffle=False, verbose=0)
print("3 steps, no batch size:", [batch.tolist() for batch in model.trained])
model = recorder()
model.fit(
    x10,
    np.ones(10),
    batch_size=3,
    steps_per_epoch=2,
    epochs=2,
    shuffle=False,
    verbose=0,
)
print("batch_size=3, epoch 1: ", [batch.tolist() for batch in model.trained[:2]])
print("batch_size=3, epoch 2: ", [batch.tolist() for batch in model.trained[2:]])

# %% [markdown]
# Now the surprise. The set-up cell seeded everything, as good notebooks do. Let us look
# at the order of rows in six epochs.

# %%
# rows: B37
x40 = np.stack([np.arange(40.0), np.ones(40)], axis=1)
keras.utils.set_random_seed(7)
model = recorder()
model.fit(x40, np.ones(40), epochs=6, batch_size=10, shuffle=True, verbose=0)
plots.seen_rows(model.epochs(40), "After a seed, fit shuffles once and for all")

# %% [markdown]
# Every line is the same! With a global seed, on the TensorFlow backend, `fit` draws
# **one** order and uses it in every epoch and in every later `fit`. The documentation
# says "before each epoch".
#
# A Dataset does what you expect: with a seed of its own it gives a new order every
# epoch, and the same orders when you run it again.
#
# **Try it.** Write `shuffle(4, seed=1)` instead of `shuffle(40, seed=1)`. It then draws
# from four waiting rows at a time, not from all 40: what does that change in the
# picture? Predict first.
#
# <details><summary>What you get</summary>
#
# Every line still runs from light to dark: a row may come out late, but hardly early,
# so each epoch sees the rows nearly in the order of the file. Only a buffer as large as
# the data shuffles all of it.
#
# </details>

# %%
# rows: B37
rows40 = tf.data.Dataset.from_tensor_slices((x40, np.ones(40)))
keras.utils.set_random_seed(7)
model = recorder()
model.fit(rows40.shuffle(40, seed=1).batch(10), epochs=6, verbose=0, shuffle=False)
plots.seen_rows(model.epochs(40), "Dataset.shuffle: a new order in every epoch")

# %% [markdown]
# ### Exercise: reshuffle for real
#
# Write `fit_shuffled(model, x, y, epochs, batch_size, seed)`: it trains the model and
# returns the `History`. Each epoch sees every row once, in a new random order; batches
# have `batch_size` rows (the last one may be smaller). The same `seed` gives the same
# orders again, another seed others, even after `keras.utils.set_random_seed`.
# 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# After a global seed you cannot leave the shuffling of arrays to `fit`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `tf.data.Dataset.from_tensor_slices((x, y))` keeps rows and labels together. Shuffle
# rows, not batches: which of `shuffle` and `batch` comes first?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `.shuffle(len(x), seed=seed).batch(batch_size)`, and give that to `model.fit`.
#
# </details>


# %% exercise: fit_shuffled
def fit_shuffled(model, x, y, epochs, batch_size, seed):
    """Train with a new, repeatable order in every epoch; returns the History."""
    ### BEGIN SOLUTION
    rows = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=seed)
    return model.fit(rows.batch(batch_size), epochs=epochs, verbose=0)
    ### END SOLUTION


# %% check: fit_shuffled, 4 points
def evidence(fit_shuffled, rng):
    batch_size = int(rng.integers(7, 10))
    n = 4 * batch_size + int(rng.integers(2, 6))
    seed, keys = int(rng.integers(1000)), rng.permutation(1000)
    rows = keys[:n].astype("float32")
    x, y = np.stack([rows, np.ones(n, "float32")], axis=1), rows / 100 + 1
    keras.utils.set_random_seed(int(rng.integers(1000)))

    def train(seed, epochs):
        model = recorder()
        return model, fit_shuffled(model, x, y, epochs, batch_size, seed)

    model, history = train(seed, 3)
    epochs, sizes = model.epochs(n), [len(batch) for batch in model.trained]
    given = {"rows": n, "batch_size": batch_size, "epochs": 3, "seed": seed}
    different = [np.intersect1d(epoch, rows) for epoch in epochs]
    told = [[len(numbers), int(sum(numbers))] for numbers in different]
    yield "how many different rows each epoch sees, and their sum", told, given
    yield "sizes of all batches", AnyOrder(sizes), given
    seen = np.concatenate(model.trained or [[]])
    labels = EqualOrNot(np.round(model.labels, 2), np.round(seen / 100 + 1, 2))
    yield "labels stay with their rows", labels, given
    yield "the History tells of all epochs", len(history.history["loss"]), given
    yield "the first epoch is shuffled, too", EqualOrNot(epochs[0], rows), given
    new = EqualOrNot([epochs[0]] * 2, epochs[1:])
    yield "a new order in every epoch", new, given
    count = -(-n // batch_size)  # batches in an epoch
    batches = [sorted(batch.tolist()) for batch in model.trained]
    mixed = EqualOrNot(sorted(batches[:count]), sorted(batches[count : 2 * count]))
    yield "other rows meet in a batch each time", mixed, given
    place = {row: number for number, row in enumerate(rows.astype(int).tolist())}
    ahead = [place.get(int(row), 0) - i for e in epochs for i, row in enumerate(e)]
    far = EqualOrNot(max(ahead) > batch_size, True)
    yield "rows come from far behind", far, given
    same, other = train(seed, 2)[0].epochs(n), train(seed + 1, 2)[0].epochs(n)
    yield "the same seed gives the same orders", EqualOrNot(epochs[:2], same), given
    yield "another seed gives other orders", EqualOrNot(epochs[:2], other), given


check("01/fit_shuffled", evidence)

# %% mistake: `shuffle=True` gives a new order in every epoch
"""After a global seed, `fit` shuffles arrays once and uses that order in all epochs.
Make a `tf.data.Dataset`, and let its `shuffle` do the work."""


def fit_shuffled(model, x, y, epochs, batch_size, seed):
    return model.fit(
        x, y, batch_size=batch_size, epochs=epochs, shuffle=True, verbose=0
    )


# %% mistake: shuffling once is shuffling always
"""The order is drawn once, before training, and every epoch repeats it. `fit` does so
with arrays after a global seed, whichever seed you set; a Dataset does so only with
`reshuffle_each_iteration=False`. Let `Dataset.shuffle` mix anew in each epoch."""


def fit_shuffled(model, x, y, epochs, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x, y))
    rows = rows.shuffle(len(x), seed=seed, reshuffle_each_iteration=False)
    return model.fit(rows.batch(batch_size), epochs=epochs, verbose=0)


# %% mistake: shuffle after batch
"""You shuffle the batches, not the rows: the same rows always meet in the same batch.
Call `shuffle` before `batch`."""


def fit_shuffled(model, x, y, epochs, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
    return model.fit(rows.shuffle(len(x), seed=seed), epochs=epochs, verbose=0)


# %% mistake: a shuffle needs no seed of its own
"""You shuffle without passing `seed`, so your orders cannot be repeated, and the
argument does nothing."""


def fit_shuffled(model, x, y, epochs, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x))
    return model.fit(rows.batch(batch_size), epochs=epochs, verbose=0)


# %% mistake: the last rows do not matter
"""`drop_remainder=True` throws the last, smaller batch away: in every epoch some rows
are not seen at all."""


def fit_shuffled(model, x, y, epochs, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=seed)
    batches = rows.batch(batch_size, drop_remainder=True)
    return model.fit(batches, epochs=epochs, verbose=0)


# %% mistake: inputs and labels may be shuffled separately
"""You shuffle `x` and `y` each on its own. Rows and labels come apart, and the model
learns noise. Shuffle them as pairs."""


def fit_shuffled(model, x, y, epochs, batch_size, seed):
    inputs = tf.data.Dataset.from_tensor_slices(x).shuffle(len(x), seed=seed)
    labels = tf.data.Dataset.from_tensor_slices(y).shuffle(len(x), seed=seed + 1)
    rows = tf.data.Dataset.zip((inputs, labels))
    return model.fit(rows.batch(batch_size), epochs=epochs, verbose=0)


# %% mistake: a small buffer mixes all rows
"""`shuffle(k)` draws each row from a buffer of the next `k` rows. With a small buffer
the
first rows always come early, the last ones late. For a full mix, the buffer must hold
all rows: `shuffle(len(x))`."""


def fit_shuffled(model, x, y, epochs, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(batch_size, seed=seed)
    return model.fit(rows.batch(batch_size), epochs=epochs, verbose=0)


# %% mistake: the seed may be a constant
"""Your orders are the same whatever `seed` says. Pass it on: `shuffle(len(x),
seed=seed)`."""


def fit_shuffled(model, x, y, epochs, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=1)
    return model.fit(rows.batch(batch_size), epochs=epochs, verbose=0)


# %% [markdown]
# ## Validation, row by row
#
# *A good place for a break. When you come back, run all cells above this one.*
#
# `validation_split=0.3` takes the **last** rows, before anything is shuffled: the same
# rows in every epoch. If the table is sorted, that tail is not a fair sample.
#
# How many rows is it? `int(n * (1 - split))` are trained on, in floating point. 10 · (1
# − 0.8) is 1.9999999999999996 there: a split of 0.8 trains on **one** row. A negative
# split is not refused; it leaves nothing to validate.

# %%
# rows: B31, B32
model = recorder()
model.fit(x10, np.ones(10), validation_split=0.3, epochs=2, verbose=0)
for epoch in range(2):
    trained, watched = model.trained[epoch].tolist(), model.watched[epoch].tolist()
    print(f"epoch {epoch + 1}: trained on {trained}, validated on {watched}")


def sizes(split):
    model = recorder()
    model.fit(x10, np.ones(10), validation_split=split, verbose=0)
    return [sum(map(len, part)) for part in (model.trained, model.watched)]


print("split: rows trained and validated")
for split in (0.05, 0.25, 0.8, 0.9, 1.0, -0.5):
    print(f"{split:5}:", outcome(lambda: sizes(split)))

# %% [markdown]
# A split works on arrays, tensors and pandas tables, not on a Dataset: there, nobody
# knows where the end is. If you pass `validation_data` as well, the split is ignored.

# %%
# rows: B33, B35
import pandas as pd


def trained_rows(x, y=None, **settings):
    model = recorder()
    model.fit(x, y, validation_split=0.3, verbose=0, **settings)
    return sum(map(len, model.trained))


ones = np.ones(10)
pairs = tf.data.Dataset.from_tensor_slices((x10, ones)).batch(2)
print("array:  ", outcome(lambda: trained_rows(x10, ones)))
print("tensor: ", outcome(lambda: trained_rows(tf.constant(x10), ones)))
print("pandas: ", outcome(lambda: trained_rows(pd.DataFrame(x10), ones)))
print("Dataset:", outcome(lambda: trained_rows(pairs)))
print("both:   ", outcome(lambda: trained_rows(x10, ones, validation_data=(x8, x8))))

# %% [markdown]
# Validation has batches, steps and a rhythm of its own. `steps_per_epoch=1`, as in an
# old example, trains on one batch, and still validates on the entire tail (last line).

# %%
# rows: B40, B41, B42, B43
x20 = np.stack([np.arange(20.0), np.ones(20)], axis=1)


def validation(**settings):
    model = recorder()
    history = model.fit(x20, np.ones(20), verbose=0, **settings)
    entries = len(history.history["val_loss"])
    batches = [len(batch) for batch in model.watched]
    print(", ".join(f"{k}={v}" for k, v in settings.items() if k[-4:] != "data"))
    print(f"    {len(model.trained)} steps, validated {batches}, {entries} val_loss")


eight = (x8, np.ones(8))
validation(validation_split=0.5, batch_size=4)
validation(validation_split=0.5, batch_size=4, validation_batch_size=6)
validation(validation_split=0.5, batch_size=4, validation_steps=2)
validation(validation_split=0.5, validation_steps=2)
validation(validation_data=eight, epochs=6, validation_freq=2)
validation(validation_data=eight, epochs=6, validation_freq=[1, 5])
validation(validation_split=0.5, batch_size=4, steps_per_epoch=1)

# %% [markdown]
# What is `val_loss`? Exactly what `evaluate` gives on these rows with these weights.
# Dropout is off: with a learning rate of 0 the value stays the same. The penalty that
# a regularizer puts on the weights, however, is **included**.

# %%
# rows: B29
head = keras.layers.Dense(10, kernel_regularizer=keras.regularizers.L2(0.1))
model = keras.Sequential([keras.Input((64,)), keras.layers.Dropout(0.5), head])
model.compile(keras.optimizers.SGD(0.0), logit_loss)
test = (x_test, y_test)
history = model.fit(x_train, y_train, epochs=2, validation_data=test, verbose=0)
first, second = history.history["val_loss"]
evaluated = model.evaluate(*test, verbose=0)
crossentropy = float(logit_loss(y_test, model(x_test)))
print("the same in both epochs:", np.isclose(first, second))
print("equal to evaluate:      ", np.isclose(second, evaluated))
print("more than cross-entropy:", evaluated > crossentropy + 1)

# %% [markdown]
# ### Exercise: exactly these rows
#
# Write `fit_tail(model, x, y, n_val, epochs, batch_size)`: train on all rows but the
# last `n_val`, validate on **exactly** these `n_val` rows after every epoch, and return
# the `History`. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# How sure are you that a fraction becomes the number of rows that you want?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Cut the arrays yourself, and hand the second part over as `validation_data`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `x[:-n_val]` are the training rows and `x[-n_val:]` the validation rows; the same for
# `y`.
#
# </details>


# %% exercise: fit_tail
def fit_tail(model, x, y, n_val, epochs, batch_size):
    """Train on all but the last n_val rows, validate on these; returns the History."""
    ### BEGIN SOLUTION
    return model.fit(
        x[:-n_val],
        y[:-n_val],
        validation_data=(x[-n_val:], y[-n_val:]),
        epochs=epochs,
        batch_size=batch_size,
        verbose=0,
    )
    ### END SOLUTION


# %% check: fit_tail, 3 points
def evidence(fit_tail, rng):
    epochs, batch_size = int(rng.integers(2, 4)), int(rng.integers(2, 5))
    for n, n_val in ((13, 4), (10, 8)):
        rows = rng.permutation(1000)[:n].astype("float32")
        x, y = np.stack([rows, rows], axis=1), rows / 10
        model = recorder()
        history = fit_tail(model, x, y, n_val, epochs, batch_size)
        case = f"{n} rows, {n_val} validated: "
        given = {"n_val": n_val, "epochs": epochs, "first numbers of the rows": rows}
        nothing = np.zeros(0, int)
        trained = np.concatenate([nothing, *model.trained])
        yield case + "which rows are trained on", np.unique(trained), given
        yield case + "how often", len(trained), given
        watched = np.concatenate([nothing, *model.watched])
        yield case + "validation rows in order", watched, given
        sizes = [len(batch) for batch in model.trained]
        yield case + "sizes of the batches", AnyOrder(sizes), given
        yield case + "the history", history.history, given


check("01/fit_tail", evidence)

# %% mistake: a fraction becomes exactly the rows you want
"""`validation_split=n_val / n` is rounded in floating point: for 8 of 10 rows, Keras
trains on 1 row and validates on 9. For an exact number of rows, cut the arrays
yourself and pass `validation_data`."""


def fit_tail(model, x, y, n_val, epochs, batch_size):
    return model.fit(
        x,
        y,
        validation_split=n_val / len(x),
        epochs=epochs,
        batch_size=batch_size,
        verbose=0,
    )


# %% mistake: validation rows may train, too
"""You validate on the right rows but train on all of them. A model is no witness about
rows that it was trained on: give `fit` only `x[:-n_val]`."""


def fit_tail(model, x, y, n_val, epochs, batch_size):
    return model.fit(
        x,
        y,
        validation_data=(x[-n_val:], y[-n_val:]),
        epochs=epochs,
        batch_size=batch_size,
        verbose=0,
    )


# %% mistake: validation takes the first rows
"""You hold out the first rows. The task (and `validation_split`) takes the last."""


def fit_tail(model, x, y, n_val, epochs, batch_size):
    return model.fit(
        x[n_val:],
        y[n_val:],
        validation_data=(x[:n_val], y[:n_val]),
        epochs=epochs,
        batch_size=batch_size,
        verbose=0,
    )


# %% mistake: one evaluation at the end is validation
"""You train without validation data, so the history has no `val_loss`: nobody can see
in which epoch the model was best. Pass `validation_data` to `fit`."""


def fit_tail(model, x, y, n_val, epochs, batch_size):
    history = model.fit(
        x[:-n_val], y[:-n_val], epochs=epochs, batch_size=batch_size, verbose=0
    )
    model.evaluate(x[-n_val:], y[-n_val:], verbose=0)
    return history


# %% mistake: the batch size is Keras' business
"""You do not pass `batch_size` on, so Keras uses 32, and the model is updated less
often
than the caller asked for."""


def fit_tail(model, x, y, n_val, epochs, batch_size):
    return model.fit(
        x[:-n_val],
        y[:-n_val],
        validation_data=(x[-n_val:], y[-n_val:]),
        epochs=epochs,
        verbose=0,
    )


# %% [markdown]
# ## What the logged loss averages
#
# During an epoch Keras measures the loss of each batch **before** its update, and logs
# the mean over all rows so far. So the loss of an epoch belongs to no single model: it
# averages over all the models on the way. Below, a `LambdaCallback` calls a function of
# ours after each batch (lesson 06). Even that is told running means; differences give
# the single batches back. The last batch has 40 rows, not 64, and counts less.

# %%
# rows: B46
keras.utils.set_random_seed(2)
model = digit_model()
model.compile(keras.optimizers.SGD(0.5), logit_loss)
running = []
watcher = keras.callbacks.LambdaCallback(
    on_train_batch_end=lambda batch, logs: running.append(logs["loss"])
)
some = (x_train[:1000], y_train[:1000])
history = model.fit(*some, batch_size=64, callbacks=[watcher], verbose=0)
after = model.evaluate(*some, verbose=0)

sizes = np.array([64] * 15 + [40])
totals = np.array(running) * np.cumsum(sizes)
batch_losses = np.diff(totals, prepend=0.0) / sizes
by_rows = np.sum(batch_losses * sizes) / np.sum(sizes)
print("mean over rows is the log:", np.isclose(by_rows, history.history["loss"][0]))
plots.running_loss(batch_losses, sizes, after)

# %% [markdown]
# ### Exercise: compute the log
#
# Write `epoch_loss(batch_losses, sizes)`, the loss that Keras logs for an epoch, and
# `running_losses(batch_losses, sizes)`, the list of what it shows after each batch.
# `epoch_loss([4.0, 1.0], [3, 1])` is 3.25. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# A batch of three rows has three times the say of a batch of one row.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Sum of loss times size, divided by the sum of sizes. For the running list, use sums
# over the batches so far.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Make arrays first: `losses, sizes = np.array(batch_losses), np.array(sizes)`. Then
# `np.cumsum(losses * sizes) / np.cumsum(sizes)` is the whole second function, and its
# last entry is the first.
#
# </details>


# %% exercise: epoch_loss
def epoch_loss(batch_losses, sizes):
    """The loss that Keras logs for an epoch: one float."""
    ### BEGIN SOLUTION
    return float(np.average(batch_losses, weights=sizes))
    ### END SOLUTION


def running_losses(batch_losses, sizes):
    """What Keras shows after each batch: a list of floats."""
    ### BEGIN SOLUTION
    return (np.cumsum(np.multiply(batch_losses, sizes)) / np.cumsum(sizes)).tolist()
    ### END SOLUTION


# %% check: epoch_loss, 3 points
def evidence(epoch_loss, running_losses, rng):
    count = int(rng.integers(4, 8))
    losses = rng.uniform(0.5, 3, count).round(3).tolist()
    sizes = [32] * (count - 1) + [int(rng.integers(1, 9))]
    given = {"batch_losses": losses, "sizes": sizes}
    yield "the loss of the epoch", lambda: epoch_loss(losses, sizes), given
    yield "after each batch", lambda: running_losses(losses, sizes), given
    yield "a single batch", lambda: epoch_loss(losses[:1], sizes[:1]), given
    mixed = rng.integers(1, 50, count).tolist()
    given = {"batch_losses": losses, "sizes": mixed}
    yield "batches of all sizes", lambda: epoch_loss(losses, mixed), given
    yield "batches of all sizes, running", lambda: running_losses(losses, mixed), given


check("01/epoch_loss", evidence)

# %% mistake: every batch has the same say
"""You average over batches. Keras averages over **rows**: a last batch of 3 rows must
not weigh as much as one of 32."""


def epoch_loss(batch_losses, sizes):
    return float(np.mean(batch_losses))


def running_losses(batch_losses, sizes):
    return (np.cumsum(batch_losses) / np.arange(1, len(batch_losses) + 1)).tolist()


# %% mistake: the logged loss is the last batch's
"""You report the loss of the last batch. The log is the mean over all rows of the epoch
so far."""


def epoch_loss(batch_losses, sizes):
    return batch_losses[-1]


def running_losses(batch_losses, sizes):
    return list(batch_losses)


# %% mistake: the running log shows single batches
"""Your loss of the epoch is right, but the running list holds the losses of single
batches. What Keras shows after a batch is the mean over all rows so far."""


def epoch_loss(batch_losses, sizes):
    return float(np.average(batch_losses, weights=sizes))


def running_losses(batch_losses, sizes):
    return list(batch_losses)


# %% mistake: losses add up
"""You sum the batch losses times their sizes and forget to divide by the number of
rows. A loss in Keras is a mean per row."""


def epoch_loss(batch_losses, sizes):
    return float(np.sum(np.multiply(batch_losses, sizes)))


def running_losses(batch_losses, sizes):
    return np.cumsum(np.multiply(batch_losses, sizes)).tolist()


# %% mistake: divide by the number of batches
"""You weigh by size, but then divide by the number of batches. Divide by the number of
rows: the sum of `sizes`."""


def epoch_loss(batch_losses, sizes):
    return float(np.sum(np.multiply(batch_losses, sizes)) / len(sizes))


def running_losses(batch_losses, sizes):
    totals = np.cumsum(np.multiply(batch_losses, sizes))
    return (totals / np.arange(1, len(sizes) + 1)).tolist()


# %% mistake: lists multiply number by number
"""`batch_losses` and `sizes` are lists, and Python does not multiply lists number by
number. Make arrays of them first: `np.array(batch_losses) * np.array(sizes)`."""


def epoch_loss(batch_losses, sizes):
    return sum(batch_losses * sizes) / sum(sizes)


def running_losses(batch_losses, sizes):
    return np.cumsum(batch_losses * sizes) / np.cumsum(sizes)


# %% [markdown]
# ## Evaluate, by name
#
# `evaluate` takes the same kinds of data as `fit`, and they all give the same number.
# The batch size changes nothing but the speed, and no measurement leaks into the next.
# `steps` measures the first batches only. Arguments that belong to `fit` are refused.

# %%
# rows: B48, B49, B51, B53
model = line()
model.compile("sgd", "mse")
y10 = np.arange(10.0)
batches = tf.data.Dataset.from_tensor_slices((x10, y10)).batch(3)


def evaluated(*data, **settings):
    return outcome(lambda: model.evaluate(*data, verbose=0, **settings))


print("array:       ", evaluated(x10, y10))
print("pandas table:", evaluated(pd.DataFrame(x10), y10))
print("Dataset:     ", evaluated(batches))
print("batch size 7:", evaluated(x10, y10, batch_size=7))
print("first 3 rows:", evaluated(x10[:3], y10[:3]))
print("steps=1:     ", evaluated(x10, y10, batch_size=3, steps=1))
print("class_weight:", evaluated(x10, y10, class_weight={1: 2.0}))

# %% [markdown]
# What comes back depends on how the model was compiled: a float, or a list, and with
# `return_dict=True` always a dict. Older code pairs the list with
# `model.metrics_names`. Today that name list is something else, and the pairing loses
# your metrics without an error.

# %%
# rows: B54, B55
model.compile("sgd", "mse", metrics=["mae", "mape"])
values = model.evaluate(x10, y10, verbose=0)
print("list of", len(values))
print("metrics_names:", model.metrics_names)
print("old idiom:  ", list(dict(zip(model.metrics_names, values))))
print("return_dict:", list(model.evaluate(x10, y10, return_dict=True, verbose=0)))

# %% [markdown]
# ### Exercise: scores by name
#
# Write `scores(models, x, y, batch_size)`. `models` is a dict from a name to a compiled
# model; the models have different numbers of metrics, from none to three.
# Return a dict from each name to a dict of that model's values by name (`"loss"`
# included), and leave the models as they are. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# The order of a list tells you nothing. Ask for names.
#
# </details>
# <details><summary>Hint 2</summary>
#
# One argument of `evaluate` gives you names and values together.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `{name: model.evaluate(..., return_dict=True, verbose=0) for name, model in ...}`
#
# </details>


# %% exercise: scores
def scores(models, x, y, batch_size):
    """Every model's loss and metrics by name: a dict of dicts."""
    ### BEGIN SOLUTION
    return {
        name: model.evaluate(x, y, batch_size, verbose=0, return_dict=True)
        for name, model in models.items()
    }
    ### END SOLUTION


# %% check: scores, 3 points
def evidence(scores, rng):
    n, batch_size = 11, int(rng.integers(3, 6))
    x, y = rng.normal(size=(n, 2)), rng.normal(size=(n, 1)) + 2
    metrics = {"plain": None, "single": ["mae"], "several": ["mape", "mae", "mse"]}
    models = {"watched": recorder()}
    for name, chosen in metrics.items():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.set_weights([rng.normal(size=(2, 1)), rng.normal(size=1)])
        model.compile("sgd", "mse", metrics=chosen, run_eagerly=True)
        models[name] = model
    before = [model.get_weights() for model in models.values()]
    found = scores(models, x, y, batch_size)
    given = {"batch_size": batch_size, "rows": n}
    for name in metrics:
        yield f"{name}: values by name", lambda: dict(found[name]), given
    yield "a dict entry for each model", lambda: sorted(found), given
    largest = max((len(batch) for batch in models["watched"].watched), default=0)
    yield "rows in a full batch", largest, given
    after = [model.get_weights() for model in models.values()]
    yield "the models' weights are as before", EqualOrNot(before, after)
    updates = [int(model.optimizer.iterations) for model in models.values()]
    yield "the optimizers have made no update", updates
    again = models["single"].evaluate(x, y, return_dict=True, verbose=0)
    yield "the models measure what they measured", again


check("01/scores", evidence, rtol=1e-3)

# %% mistake: metrics_names are the names of the values
"""`model.metrics_names` is `["loss", "compile_metrics"]` today, so your pairing drops
or
mislabels every metric. Use `evaluate(..., return_dict=True)`."""


def scores(models, x, y, batch_size):
    found = {}
    for name, model in models.items():
        values = model.evaluate(x, y, batch_size, verbose=0)
        values = values if isinstance(values, list) else [values]
        found[name] = dict(zip(model.metrics_names, values))
    return found


# %% mistake: the last batch counts like the others
"""You measure batch by batch and average over batches. The last batch is smaller and
must count less; `evaluate` does that for you."""


def scores(models, x, y, batch_size):
    found = {}
    for name, model in models.items():
        parts = [
            model.evaluate(
                x[i : i + batch_size],
                y[i : i + batch_size],
                verbose=0,
                return_dict=True,
            )
            for i in range(0, len(x), batch_size)
        ]
        found[name] = {
            key: float(np.mean([part[key] for part in parts])) for key in parts[0]
        }
    return found


# %% mistake: fit measures, too
"""You call `fit` to get the numbers, and that trains the models. Measuring must leave a
model as it was: `evaluate`."""


def scores(models, x, y, batch_size):
    found = {}
    for name, model in models.items():
        history = model.fit(x, y, batch_size=batch_size, shuffle=False, verbose=0)
        found[name] = {key: value[0] for key, value in history.history.items()}
    return found


# %% mistake: evaluate returns a list
"""Without metrics, `evaluate` returns a single float, and your code expects a list. Ask
for a dict: it has the same form for every model."""


def scores(models, x, y, batch_size):
    found = {}
    for name, model in models.items():
        values = model.evaluate(x, y, batch_size, verbose=0)
        names = ["loss"] + [f"metric_{i}" for i in range(1, len(values))]
        found[name] = dict(zip(names, values))
    return found


# %% mistake: names and values pair up
"""Two traps at once. Without metrics `evaluate` returns a single float, which has no
items to pair; and `model.metrics_names` does not hold the names of your metrics. Use
`return_dict=True`."""


def scores(models, x, y, batch_size):
    found = {}
    for name, model in models.items():
        values = model.evaluate(x, y, batch_size, verbose=0)
        found[name] = dict(zip(model.metrics_names, values))
    return found


# %% [markdown]
# ## Predict
#
# `predict` works through the rows in batches and returns one array, in the order of the
# rows. From a Dataset it takes `x` and leaves labels and weights alone. The result has
# the structure of the model's outputs: array, list or dict. And `predict` always wants
# a **batch** of rows, even if it is a batch of one.

# %%
# rows: B57, B58, B60
outputs = model.predict(x10, verbose=0)


def same(x, **settings):
    return np.allclose(model.predict(x, verbose=0, **settings), outputs)


print("tensor:        ", same(tf.constant(x10)))
print("pandas table:  ", same(pd.DataFrame(x10)))
print("(x, y) Dataset:", same(batches))
print("batch size 7:  ", same(x10, batch_size=7))
print("a generator:   ", outcome(lambda: same((x10[i : i + 5],) for i in (0, 5))))
endless = tf.data.Dataset.from_tensors(x10).repeat()
print("3 steps of 10: ", model.predict(endless, steps=3, verbose=0).shape)

# %%
# rows: B62, B63
inputs = keras.Input((2,))
a, b = keras.layers.Dense(1)(inputs), keras.layers.Dense(2)(inputs)
listed, named = keras.Model(inputs, [a, b]), keras.Model(inputs, {"a": a, "b": b})
print("list outputs:", outcome(lambda: listed.predict(x10, verbose=0)))
print("dict outputs:", outcome(lambda: named.predict(x10, verbose=0)))
print("x[0]:  ", outcome(lambda: named.predict(x10[0], verbose=0)))
print("x[:1]: ", outcome(lambda: named.predict(x10[:1], verbose=0)))

# %% [markdown]
# For a small input, calling the model is much faster than `predict`, which sets up a
# data pipeline each time. Both give the same numbers: layers such as dropout are off
# unless you say `training=True`. Never say that to get predictions: dropout then
# strikes out numbers at random, and batch normalisation even **changes the model**.

# %% varies: it measures time
# rows: B64
import time

start = time.perf_counter()
for _ in range(20):
    model.predict(x10, verbose=0)
middle = time.perf_counter()
for _ in range(20):
    model(x10, training=False)
end = time.perf_counter()
print(f"predict is {(middle - start) / (end - middle):.0f} times as slow for 10 rows")

# %%
# rows: B64, B65
norm = keras.layers.BatchNormalization()
normal = keras.Sequential([keras.Input((2,)), norm])
called = normal(x10)
print("call equals predict:", np.allclose(called, normal.predict(x10, verbose=0)))
mean = norm.get_weights()[2]
normal(x10, training=False)
print("training=False: mean moved?", not np.array_equal(mean, norm.get_weights()[2]))
normal(x10, training=True)
print("training=True:  mean moved?", not np.array_equal(mean, norm.get_weights()[2]))
dropped = keras.layers.Dropout(0.5, seed=1)(np.ones((100, 100)), training=True)
print(f"dropped: about {np.mean(np.array(dropped) == 0):.1f}")

# %% [markdown]
# ### Exercise: from outputs to labels
#
# Write two functions for a model whose last layer is a `head` of the kind `"logits"`
# (k of them), `"softmax"`, or `"sigmoid"` (one unit).
# `predict_labels(model, x, head, threshold=0.5)` returns class numbers `(n,)`; for
# `"sigmoid"`, 1 where the probability is above `threshold`, else 0.
# `label_of(model, row, head, threshold=0.5)` does the same for a single row of shape
# `(d,)` and returns one whole number. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# The class is the position of the largest number **in a row**. Which axis is that?
#
# </details>
# <details><summary>Hint 2</summary>
#
# With one sigmoid unit the outputs have the shape `(n, 1)`; the result has `(n,)`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `row[None]` is a batch of one row. So `label_of` is
# `int(predict_labels(model, row[None], head, threshold)[0])`.
#
# </details>


# %% exercise: predict_labels
def predict_labels(model, x, head, threshold=0.5):
    """Class numbers of shape (n,) for the rows of x."""
    ### BEGIN SOLUTION
    outputs = model.predict(x, verbose=0)
    if head == "sigmoid":
        return (outputs[:, 0] > threshold).astype("int64")
    return outputs.argmax(axis=1)
    ### END SOLUTION


def label_of(model, row, head, threshold=0.5):
    """The class number of a single row of shape (d,)."""
    ### BEGIN SOLUTION
    return int(predict_labels(model, row[None], head, threshold)[0])
    ### END SOLUTION


# %% check: predict_labels, 4 points
def evidence(predict_labels, label_of, rng):
    d, weights = 3, rng.normal(size=(3, 4))
    middle = rng.choice([-1.5, 1.5], d)  # far from what BatchNormalization begins with
    models, inputs = {}, rng.normal(middle, 2, (24, d)).astype("float32")
    spread = np.outer(np.linspace(-3, 3, 13), weights[:, 0])  # logits from -3 to 3
    spread = (spread / np.sum(weights[:, 0] ** 2)).astype("float32")
    for head, units in (("logits", 4), ("softmax", 4), ("sigmoid", 1)):
        activation = None if head == "logits" else head
        dense = keras.layers.Dense(units, activation=activation)
        layers = [keras.Input((d,)), keras.layers.BatchNormalization(), dense]
        model = models[head] = keras.Sequential(layers)
        dense.set_weights([weights[:, :units], np.zeros(units)])
        model.run_eagerly = True
    kinds = {"i": "whole numbers", "u": "whole numbers", "b": "True and False"}
    for head, model in models.items():
        x = spread if head == "sigmoid" else inputs
        labels = predict_labels(model, x, head)
        yield f"{head}: labels", labels, {"head": head, "x": x}
        kind = np.asarray(labels).dtype.kind
        yield f"{head}: what labels are", kinds.get(kind, "no whole numbers")
        one = label_of(model, x[4], head)
        yield f"{head}: label of one row", one, {"head": head, "row": x[4]}
    for threshold in (0.2, 0.8):
        given, model = {"head": "sigmoid", "threshold": threshold}, models["sigmoid"]
        labels = predict_labels(model, spread, "sigmoid", threshold)
        yield f"threshold {threshold}: labels", labels, given
        one = label_of(model, spread[6], "sigmoid", threshold)  # its logit is 0
        yield f"threshold {threshold}: label of a single row", one, given


check("01/predict_labels", evidence)

# %% mistake: argmax works for one unit, too
"""With one sigmoid unit there is only one number per row, so `argmax` is always 0.
Compare
that number with the threshold."""


def predict_labels(model, x, head, threshold=0.5):
    return model.predict(x, verbose=0).argmax(axis=1)


def label_of(model, row, head, threshold=0.5):
    return int(predict_labels(model, row[None], head, threshold)[0])


# %% mistake: argmax along the rows
"""`argmax(axis=0)` gives, for each class, the row where it is largest. You want, for
each
**row**, the class that is largest: `axis=1`."""


def predict_labels(model, x, head, threshold=0.5):
    outputs = model.predict(x, verbose=0)
    if head == "sigmoid":
        return (outputs[:, 0] > threshold).astype("int64")
    return outputs.argmax(axis=0)


def label_of(model, row, head, threshold=0.5):
    return int(predict_labels(model, row[None], head, threshold)[0])


# %% mistake: a row is a batch
"""A single row has the shape `(d,)`, and `predict` wants `(1, d)`: a batch of one row.
Write `row[None]`."""


def predict_labels(model, x, head, threshold=0.5):
    outputs = model.predict(x, verbose=0)
    if head == "sigmoid":
        return (outputs[:, 0] > threshold).astype("int64")
    return outputs.argmax(axis=1)


def label_of(model, row, head, threshold=0.5):
    return int(predict_labels(model, row, head, threshold)[0])


# %% mistake: the threshold is always one half
"""You compare with 0.5, whatever `threshold` says."""


def predict_labels(model, x, head, threshold=0.5):
    outputs = model.predict(x, verbose=0)
    if head == "sigmoid":
        return (outputs[:, 0] > 0.5).astype("int64")
    return outputs.argmax(axis=1)


def label_of(model, row, head, threshold=0.5):
    return int(predict_labels(model, row[None], head, threshold)[0])


# %% mistake: labels keep the shape of the outputs
"""For one sigmoid unit your labels have the shape `(n, 1)`. Compared with labels of
shape
`(n,)` they would spread to an n by n table. Take the only column: `outputs[:, 0]`."""


def predict_labels(model, x, head, threshold=0.5):
    outputs = model.predict(x, verbose=0)
    if head == "sigmoid":
        return (outputs > threshold).astype("int64")
    return outputs.argmax(axis=1)


def label_of(model, row, head, threshold=0.5):
    return int(predict_labels(model, row[None], head, threshold).ravel()[0])


# %% mistake: predict with training=True
"""You call the model with `training=True`. Batch normalisation then uses the statistics
of this very batch, so the same row gets another answer in other company. For answers,
use `predict`, or `training=False`."""


def predict_labels(model, x, head, threshold=0.5):
    outputs = np.array(model(x, training=True))
    if head == "sigmoid":
        return (outputs[:, 0] > threshold).astype("int64")
    return outputs.argmax(axis=1)


def label_of(model, row, head, threshold=0.5):
    return int(predict_labels(model, row[None], head, threshold)[0])


# %% mistake: argmax looks at each row by itself
"""`argmax()` without an axis looks at the whole table and returns one number. Say
`axis=1` to get one class per row."""


def predict_labels(model, x, head, threshold=0.5):
    outputs = model.predict(x, verbose=0)
    if head == "sigmoid":
        return (outputs[:, 0] > threshold).astype("int64")
    return outputs.argmax()


def label_of(model, row, head, threshold=0.5):
    outputs = model.predict(row[None], verbose=0)[0]
    return int(outputs[0] > threshold) if head == "sigmoid" else int(outputs.argmax())


# %% mistake: True is a class number
"""A comparison gives True and False. Class numbers are whole numbers: add
`.astype("int64")`."""


def predict_labels(model, x, head, threshold=0.5):
    outputs = model.predict(x, verbose=0)
    if head == "sigmoid":
        return outputs[:, 0] > threshold
    return outputs.argmax(axis=1)


def label_of(model, row, head, threshold=0.5):
    return int(predict_labels(model, row[None], head, threshold)[0])


# %% [markdown]
# ## Go on where you stopped
#
# `fit` again simply continues. To number the epochs on, pass `initial_epoch`. Read
# `epochs` as "train **until** this epoch", not as "this many more".


# %%
# rows: B26
def epochs_run(**settings):
    return recorder().fit(x8, np.ones(8), verbose=0, **settings).epoch


print("epochs=5, initial_epoch=3:", epochs_run(epochs=5, initial_epoch=3))
print("epochs=3, initial_epoch=3:", epochs_run(epochs=3, initial_epoch=3))
print("epochs=0:                 ", epochs_run(epochs=0))

# %% [markdown]
# ### Exercise: train until
#
# Write `train_until(model, x, y, done, total, batch_size)`: `done` epochs are behind
# the model; train it until `total` epochs are done, numbered from `done` on, and return
# the `History`. If nothing is left to do, nothing is trained and the History is empty
# (`fit` sees to that). 5 minutes.
#
# <details><summary>Hint 1</summary>
#
# Two arguments of `fit` belong together here.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `epochs` is where to stop, `initial_epoch` where to start counting.
#
# </details>


# %% exercise: train_until
def train_until(model, x, y, done, total, batch_size):
    """Train from epoch `done` until epoch `total`; returns the History."""
    ### BEGIN SOLUTION
    return model.fit(
        x, y, batch_size=batch_size, epochs=total, initial_epoch=done, verbose=0
    )
    ### END SOLUTION


# %% check: train_until, 3 points
def evidence(train_until, rng):
    n, batch_size = 10, int(rng.integers(2, 6))
    done = int(rng.integers(2, 4))
    x, y = rng.normal(size=(n, 2)), rng.normal(size=n)
    for total in (2 * done + 1, done + 1, done):
        model = recorder()
        history = train_until(model, x, y, done, total, batch_size)
        case = f"{total - done} more" if total > done else "nothing left"
        case = "far more" if total == 2 * done + 1 else case
        given = {"done": done, "total": total, "batch_size": batch_size, "rows": n}
        yield f"{case}: numbers of the epochs", getattr(history, "epoch", []), given
        yield f"{case}: updates", int(model.optimizer.iterations), given
        yield f"{case}: the history", history.history, given


check("01/train_until", evidence)

# %% mistake: `epochs` counts additional epochs
"""You pass the number of epochs that are left as `epochs`. It is the number of the
**last** epoch: with `initial_epoch=3, epochs=2` nothing is trained at all."""


def train_until(model, x, y, done, total, batch_size):
    return model.fit(
        x, y, batch_size=batch_size, epochs=total - done, initial_epoch=done, verbose=0
    )


# %% mistake: every fit starts at epoch 0
"""You train the right number of epochs, but they are numbered from 0. Schedules and
callbacks that look at the number would start over: pass `initial_epoch=done`."""


def train_until(model, x, y, done, total, batch_size):
    return model.fit(
        x, y, batch_size=batch_size, epochs=max(total - done, 0), verbose=0
    )


# %% mistake: fit knows how far you were
"""You train `total` epochs on top of those that are done. The model does not remember
how long it was trained: pass `initial_epoch=done`."""


def train_until(model, x, y, done, total, batch_size):
    return model.fit(x, y, batch_size=batch_size, epochs=total, verbose=0)


# %% mistake: the batch size stays what it was
"""You do not pass `batch_size`, so Keras takes 32 and makes one update per epoch
here."""


def train_until(model, x, y, done, total, batch_size):
    return model.fit(x, y, epochs=total, initial_epoch=done, verbose=0)


# %% mistake: nothing to do means nothing to return
"""If all epochs are done you return nothing, and the caller, who expects a History,
stumbles over None. `fit` copes with that case: it trains nothing and returns an empty
History."""


def train_until(model, x, y, done, total, batch_size):
    if done < total:
        return model.fit(
            x, y, batch_size=batch_size, epochs=total, initial_epoch=done, verbose=0
        )


# %% [markdown]
# ## One batch at a time
#
# Below `fit` lie three calls that handle exactly one batch: `train_on_batch` makes one
# update, `test_on_batch` only measures, `predict_on_batch` answers. The loss that
# comes back was measured **before** the update.
#
# Weights work as in `fit`: twice the weight, twice the loss. `class_weight`, a weight
# for each class, is for training only (second cell).
#
# Mind the version. Keras 3.15 starts each call with fresh metrics, so the loss belongs
# to this batch alone. Keras 3.13, which Colab has, goes on averaging over all calls
# since the last `model.reset_metrics()`. Call that yourself: it is right with both.

# %%
# rows: B66, B67, B70, B71, B73, B74
model = line()
model.compile(keras.optimizers.SGD(0.01), "mse", metrics=["mae"])
xb, yb = x10[:4] / 10, np.arange(4.0)[:, None]
tested = model.test_on_batch(xb, yb)
print("test changes nothing:", np.allclose(tested, model.test_on_batch(xb, yb)))
trained = model.train_on_batch(xb, yb, return_dict=True)
print("loss before the update:", np.allclose(trained["loss"], tested[0]))
print("updates:", int(model.optimizer.iterations))
print("as a dict:", list(model.test_on_batch(xb, yb, return_dict=True)))
predicted = model.predict_on_batch(xb)
print("same as predict:", np.allclose(predicted, model.predict(xb, verbose=0)))
lists = [[1.0, 2.0]] * 3, [1.0] * 3
print("Python lists:", outcome(lambda: model.train_on_batch(*lists)))


# %%
# rows: B68, B69, B72
def on_batch(action):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax")])
    model.set_weights([np.ones((2, 3)), np.zeros(3)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return outcome(lambda: action(model))


ones, twos, weights = np.ones(4, int), np.full(4, 2.0), {1: 2.0}
calls = {
    "train": lambda m: m.train_on_batch(xb, ones),
    "train, sample_weight": lambda m: m.train_on_batch(xb, ones, sample_weight=twos),
    "train, class_weight": lambda m: m.train_on_batch(xb, ones, class_weight=weights),
    "train, both": lambda m: m.train_on_batch(xb, ones, twos, weights),
    "test, sample_weight": lambda m: m.test_on_batch(xb, ones, sample_weight=twos),
    "test, class_weight": lambda m: m.test_on_batch(xb, ones, class_weight=weights),
}
for name, action in calls.items():
    print(f"{name:21}", on_batch(action))

# %% [markdown]
# ### Exercise: fit by hand
#
# Write `fit_by_batches(model, x, y, batch_size, epochs)` with `train_on_batch`. It does
# exactly what `fit(..., shuffle=False)` does to the weights, and returns the list of
# losses that `fit` would log, one float per epoch. Call `model.reset_metrics()` before
# each batch, so that it works with every Keras. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# Two loops: over epochs, and over `range(0, len(x), batch_size)`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The loss of an epoch is the mean over rows. You wrote that function in this lesson.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Collect `loss * rows in this batch` in a list; the epoch's loss is its sum divided by
# `len(x)`.
#
# </details>


# %% exercise: fit_by_batches
def fit_by_batches(model, x, y, batch_size, epochs):
    """Train with train_on_batch, in order; returns the loss of every epoch."""
    ### BEGIN SOLUTION
    losses = []
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            model.reset_metrics()
            total += float(model.train_on_batch(x[rows], y[rows])) * len(x[rows])
        losses.append(total / len(x))
    return losses
    ### END SOLUTION


# %% check: fit_by_batches, 3 points
def evidence(fit_by_batches, rng):
    n, batch_size, rate = 10, int(rng.choice([3, 4, 6])), float(rng.uniform(0.02, 0.1))
    x, y = rng.normal(size=(n, 2)).astype("float32"), rng.normal(size=(n, 1)) + 1
    weights = [rng.normal(size=(2, 1)), rng.normal(size=1)]
    optimizers = {
        "SGD": keras.optimizers.SGD(rate),
        "momentum": keras.optimizers.SGD(rate, momentum=0.9),
        "Adam": keras.optimizers.Adam(rate),
    }
    for epochs, (name, optimizer) in enumerate(optimizers.items(), start=1):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.set_weights(weights)
        model.compile(optimizer, "mse", run_eagerly=True)
        given = {"rows": n, "batch_size": batch_size, "epochs": epochs}
        losses = fit_by_batches(model, x, y, batch_size, epochs)
        yield f"{name}: losses", losses, given
        yield f"{name}: weights afterwards", model.get_weights(), given


check("01/fit_by_batches", evidence, rtol=1e-3)

# %% mistake: the epoch's loss is the mean of the batch losses
"""You average the losses of the batches. The last batch has fewer rows and must count
less: weigh each loss with the number of its rows."""


def fit_by_batches(model, x, y, batch_size, epochs):
    losses = []
    for _ in range(epochs):
        parts = []
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            model.reset_metrics()
            parts.append(float(model.train_on_batch(x[rows], y[rows])))
        losses.append(float(np.mean(parts)))
    return losses


# %% mistake: each call starts with fresh metrics
"""Keras 3.13, which Colab has, goes on averaging: what comes back is the mean over all
calls so far. Call `model.reset_metrics()` before each batch."""


def fit_by_batches(model, x, y, batch_size, epochs):
    losses, seen, so_far = [], 0, 0.0
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            model.reset_metrics()  # and then, by hand, what Keras 3.13 does without it
            so_far += float(model.train_on_batch(x[rows], y[rows])) * len(x[rows])
            seen += len(x[rows])
            total += so_far / seen * len(x[rows])
        losses.append(total / len(x))
    return losses


# %% mistake: only full batches count
"""You leave out the rows after the last full batch. `fit` trains on them, too, as a
smaller batch."""


def fit_by_batches(model, x, y, batch_size, epochs):
    losses = []
    for _ in range(epochs):
        parts = []
        for start in range(0, len(x) - batch_size + 1, batch_size):
            rows = slice(start, start + batch_size)
            model.reset_metrics()
            parts.append(float(model.train_on_batch(x[rows], y[rows])))
        losses.append(float(np.mean(parts)))
    return losses


# %% mistake: the last batch's loss is the epoch's
"""You return the loss of the last batch of each epoch. The log is the mean over all
rows of the epoch."""


def fit_by_batches(model, x, y, batch_size, epochs):
    losses = []
    for _ in range(epochs):
        for i in range(0, len(x), batch_size):
            model.reset_metrics()
            value = model.train_on_batch(x[i : i + batch_size], y[i : i + batch_size])
        losses.append(float(value))
    return losses


# %% mistake: testing trains
"""You call `test_on_batch`, which measures and never updates. The weights stay where
they were: use `train_on_batch`."""


def fit_by_batches(model, x, y, batch_size, epochs):
    losses = []
    for _ in range(epochs):
        total = 0.0
        for i in range(0, len(x), batch_size):
            part = x[i : i + batch_size]
            model.reset_metrics()
            total += float(model.test_on_batch(part, y[i : i + batch_size])) * len(part)
        losses.append(total / len(x))
    return losses


# %% mistake: measure when the epoch is over
"""You evaluate after each epoch. That is a sensible number, but not the one that `fit`
logs: its loss is measured on the way, before each update."""


def fit_by_batches(model, x, y, batch_size, epochs):
    losses = []
    for _ in range(epochs):
        for i in range(0, len(x), batch_size):
            model.train_on_batch(x[i : i + batch_size], y[i : i + batch_size])
        losses.append(model.evaluate(x, y, verbose=0))
    return losses


# %% [markdown]
# ## How fit runs your code
#
# `fit` does not run your model's Python code for every batch. It runs it a few times to
# **record** the operations as a **graph**, which is also called *tracing*, and then
# executes only the graph. So a `print` in `call` appears while recording, not at every
# batch. `run_eagerly=True` runs the Python code each time: slow, and the way to find
# out what happens inside. (`recorder()` uses it.)


# %%
# rows: B14
class Counting(keras.Model):
    calls = 0

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        Counting.calls += 1
        return self.dense(x)


for eager in (False, True):
    Counting.calls = 0
    model = Counting()
    model.compile("sgd", "mse", run_eagerly=eager)
    model.fit(x_train[:1000], y_train[:1000], batch_size=100, epochs=3, verbose=0)
    often = "at least 30" if Counting.calls >= 30 else "only a few"
    print(f"run_eagerly={eager!s:5}: {often} calls for 30 batches")

# %% [markdown]
# For reference: `steps_per_execution=N` runs N batches before Python gets a word in.
# That is faster for small models, but callbacks are called once per group, and a stop
# takes effect only after it. The losses are the same. A callback gets the number of the
# last batch that a full group would have had: 5 or 99, although the last one is 3 here.
# `jit_compile` and `auto_scale_loss` are for lesson 09.


# %%
# rows: B15, B47
def batch_ends(group):
    ends = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(batch)
    )
    model = line()
    model.compile("sgd", "mse", steps_per_execution=group)
    rows = {"x": x8, "y": np.ones(8), "batch_size": 2, "shuffle": False}
    history = model.fit(**rows, callbacks=[note], verbose=0)
    return f"ends {ends}, loss {history.history['loss'][0]:.3f}"


for group in (1, 2, 3, 100):
    print(f"steps_per_execution={group:<3}", batch_ends(group))
gone = [name for name in ("fit_generator", "predict_classes") if hasattr(line(), name)]
print("still there:", gone, outcome(lambda: line().fit(x8, workers=2)))

# %% [markdown]
# <details><summary><b>If you meet this in older code</b></summary>
#
# `fit_generator`, `predict_classes` and `fit(workers=...)` are gone (last line above).
# Write `fit` (it takes generators), `predict(...).argmax(axis=1)` (for k classes), and
# give `workers` to a `PyDataset`, an object that hands out batches (lesson 03). Newer
# than most tutorials are the optimizers `AdamW`, `Lion` and `Muon`, the losses `Dice`
# and the focal ones, and the metrics `F1Score` and `R2Score`.
#
# </details>

# %% [markdown]
# ### In your own words
#
# In your last run `fit` logged a training loss of 0.41, while `evaluate` on the same
# rows gave 0.29. A colleague says: "That is a bug in Keras." Explain in two or three
# sentences where the difference comes from, and which of the two you would report.
# Your teacher reads this one. 5 minutes.

# %% answer: two_losses, 2 points [markdown]
# The logged loss averages over all batches of the epoch, each measured before its
# update, with the weights of that moment (and with dropout on). `evaluate` measures all
# rows with the final weights, dropout off. To describe the trained model, report
# `evaluate`.

# %%
progress("01")

# %% [markdown]
# ## Five habits from this lesson
#
# | habit | because |
# |---|---|
# | give losses and metrics as objects | names cannot know about logits |
# | `evaluate(..., return_dict=True)` | positions in a list mean nothing |
# | `Dataset.shuffle` after a seed | `fit` shuffles arrays only once |
# | cut validation rows yourself | fractions are rounded |
# | report `evaluate`, not the log | the log averages over moving weights |

# %% [markdown]
# ## You can now
#
# - compile a model whose loss, labels, last layer and metrics fit together;
# - say which rows were trained on and validated, in which order, and make it so;
# - compute every number that `fit`, `evaluate` and `predict` report, and resume where
#   you stopped.
#
# Next: lesson 02, where you write losses and metrics of your own.
