# %% [markdown]
# # Warm-up: tools, shapes, numbers
#
# Most bugs in training code are not about training.
# They are a wrong shape, a column scaled with the wrong numbers, validation rows that
# are all of one class, a probability where a score was expected.
# This lesson makes you safe in these small things; everything later rests on them.
#
# Seven exercises (19 points) and a question (2 points), about one and a half hours. You
# need Python, NumPy (shapes, `axis`, slices) and a rough idea of a neural network:
# layers, a loss, an optimizer, epochs.

# %%
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

from helpers import data, plots
from helpers.checks import AnyOrder, EqualOrNot, check, hint, progress, solution
from helpers.watch import outcome

# %% [markdown]
# ## How an exercise works
#
# You write the body of a function, run the cell, then run the check below it. A check
# is folded to one line; you need not open or read it. It calls your function on random
# inputs and compares what comes out with what the reference answer gives: how you write
# it is up to you. Each thing that it compares is a **promise**; the output lists them,
# ✔ kept or ✘ broken.
#
# Stuck? Open a hint under the task, or call `hint("00/environment")`.
# Give up? `solution("00/environment")`. Where am I? `progress()`.

# %% [markdown]
# ## Know your tools
#
# Keras is the library you write models with; TensorFlow does the computing underneath.
# You will meet the same classes under two names, `keras` and `tf.keras`: two doors to
# one house. The doors are two different objects, the rooms behind them are the same.
# This course writes `import keras`.

# %%
# rows: A2
print("same module?", tf.keras is keras)
print("same Model class?", tf.keras.Model is keras.Model)
print("same Dense class?", tf.keras.layers.Dense is keras.layers.Dense)

# %% [markdown]
# <!-- rows: A4 -->
# <details><summary><b>If you meet this in older code</b></summary>
#
# `%tensorflow_version 2.x`, `pip install tensorflow-gpu` and `from __future__ import
# ...` are years out of date: delete these lines. On Colab, TensorFlow is installed
# already; installing another version there breaks more than it mends.
#
# </details>

# %% [markdown]
# ### Exercise: which versions?
#
# A bug report begins with versions.
# Write `environment(modules)`: it returns a dict with one entry per module, from the
# module's `__name__` to its `__version__`, and one entry `"backend"` with the name of
# the engine that Keras computes with.
#
# `environment([keras, np])` gives, for example,
# `{"keras": "3.15.1", "numpy": "2.4.6", "backend": "tensorflow"}`. 5 minutes.
#
# <details><summary>Hint 1</summary>
#
# Every module carries its own name and version; you need no list of names.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The name of the engine is a string. Look for it with `keras.config.<Tab>`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Start with `{module.__name__: module.__version__ for module in modules}` and add the
# entry `"backend"`.
#
# </details>


# %% exercise: environment
def environment(modules):
    """Versions of the modules by name, and the name of Keras' backend."""
    ### BEGIN SOLUTION
    versions = {module.__name__: module.__version__ for module in modules}
    return {**versions, "backend": keras.config.backend()}
    ### END SOLUTION


# %% check: environment, 2 points
def evidence(environment, rng):
    versions = [f"{a}.{b}.{c}" for a, b, c in rng.integers(1, 30, (3, 3))]
    names = [f"library_{number}" for number in rng.integers(100, 999, 3)]
    modules = [
        SimpleNamespace(__name__=name, __version__=version)
        for name, version in zip(names, versions)
    ]
    found = environment(modules)
    yield "an entry for every module, and the backend", sorted(found), names
    yield "the version of every module", [found.get(name) for name in names], names
    yield "the backend by name", found.get("backend")


check("00/environment", evidence)

# %% mistake: `keras.backend` is the name of the backend
"""`keras.backend` is a module full of functions. The name of the engine is the string
that `keras.config.backend()` returns."""


def environment(modules):
    versions = {module.__name__: module.__version__ for module in modules}
    return {**versions, "backend": keras.backend}


# %% mistake: the first number of a version is enough
"""You keep only the part before the first dot. Keras 3.10 and 3.15 differ in many
details; a version is the whole string."""


def environment(modules):
    versions = {m.__name__: m.__version__.split(".")[0] for m in modules}
    return {**versions, "backend": keras.config.backend()}


# %% mistake: a version is a list of numbers
"""You took the version apart. Leave it the string that `__version__` holds: versions
such as "2.22.0rc0" are not made of numbers alone."""


def environment(modules):
    versions = {
        m.__name__: [int(part) for part in m.__version__.split(".")] for m in modules
    }
    return {**versions, "backend": keras.config.backend()}


# %% mistake: one entry called "modules"
"""You put all versions under one key. The task wants one entry per module, with the
module's own name as the key."""


def environment(modules):
    versions = {module.__name__: module.__version__ for module in modules}
    return {"modules": versions, "backend": keras.config.backend()}


# %% mistake: a function's name is its result
"""You stored the function `keras.config.backend` itself. To get what it returns, call
it: `keras.config.backend()`."""


def environment(modules):
    versions = {module.__name__: module.__version__ for module in modules}
    return {**versions, "backend": keras.config.backend}


# %% [markdown]
# ## Data that is always there
#
# `keras.datasets.mnist.load_data()` needs a network the first time. This course trains
# on digits that come with scikit-learn: 1797 images of 8 by 8.
# `data.load_digits("mnist")` gives the full MNIST in the same form, if you can download
# it.

# %%
# rows: A6
(x_train, y_train), (x_test, y_test) = data.load_digits()
for name, array in {"x_train": x_train, "y_train": y_train, "x_test": x_test}.items():
    print(f"{name:8} {array.shape!s:12} {array.dtype}")
print("values from", x_train.min(), "to", x_train.max())
plots.images(x_train, y_train, "Ten of 1437 training images")

# %% [markdown]
# The images are flat: 64 numbers a row, between 0 and 1, in `float32`.
# The labels are whole numbers 0 to 9. Here is the habit to build: before anything
# else, look at **shape, type and range**.

# %%
# rows: A6
print("rows per class:", np.bincount(y_train))

# %% [markdown]
# Preparing images by hand takes three steps: flatten, make `float32`, scale to [0, 1].
# Validation rows are then cut off at the end.

# %%
# rows: A7
raw = np.arange(10 * 4 * 4, dtype="uint8").reshape(10, 4, 4)
x = raw.reshape(10, -1).astype("float32") / 255
x_fit, x_val = x[:-3], x[-3:]
print(x.shape, x.dtype, f"{x.min():.2f} to {x.max():.2f}")
print("training rows", x_fit.shape, "validation rows", x_val.shape)

# %% [markdown]
# Why say `float32`? Keras turns `float64` into `float32` on its own.
# Whole numbers it leaves alone: a layer that expects fractions then gets integers.
# `Spy` below is a model that prints the type of what it is given. `run_eagerly=True`
# makes it print at every call; lesson 01 explains that.


# %%
# rows: A7
class Spy(keras.Model):
    def call(self, x):
        print("call gets", x.dtype)
        return keras.ops.cast(x, "float32")


for dtype in ("float64", "int64"):
    spy = Spy()
    spy.compile(loss="mse", run_eagerly=True)
    spy.evaluate(np.ones((2, 3), dtype), np.ones((2, 3)), verbose=0)

# %% [markdown]
# Labels are more forgiving. Whole numbers stored as `int32`, `uint8` or `float32` give
# the same loss. A label beyond the last class is an error that names it, on a CPU; on a
# GPU there is no error, and the loss is NaN.

# %%
# rows: A8
probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], dtype="float32")
loss = keras.losses.SparseCategoricalCrossentropy()
for dtype in ("int32", "uint8", "float32"):
    print(f"{dtype:8} {float(loss(np.array([0, 1], dtype), probabilities)):.4f}")
try:
    print("label 3:", float(loss(np.array([0, 3]), probabilities)))
except tf.errors.InvalidArgumentError as error:
    message = error.message
    print("label 3:", message[message.index("Received") :].split(" which")[0])

# %% [markdown]
# ### Exercise: standardise
#
# Columns on very different scales slow training down. Give each column mean 0 and
# standard deviation 1, **with numbers measured on the training rows only**.
#
# Write two functions. `fit_standardiser(x)` returns the mean and the standard deviation
# of each column (divided by `n`, as NumPy does). `apply_standardiser(x, mean, std,
# eps=1e-7)` returns `(x - mean) / (std + eps)`; `eps` saves you where a column never
# changes. Results stay `float32`. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# One mean per column: rows disappear, columns stay. Which axis is that?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `apply_standardiser` never looks at the statistics of its own `x`. It uses the two
# arrays that it is given.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `x.mean(axis=0)`, `x.std(axis=0)`, and the formula from the task, as it stands.
#
# </details>


# %% exercise: standardise
def fit_standardiser(x):
    """Mean and standard deviation of each column: two arrays of shape (d,)."""
    ### BEGIN SOLUTION
    return x.mean(axis=0), x.std(axis=0)
    ### END SOLUTION


def apply_standardiser(x, mean, std, eps=1e-7):
    """`x` of shape (n, d), standardised with the given statistics."""
    ### BEGIN SOLUTION
    return (x - mean) / (std + eps)
    ### END SOLUTION


# %% check: standardise, 3 points
def evidence(fit_standardiser, apply_standardiser, rng):
    x = rng.normal(rng.uniform(-5, 5, 4), rng.uniform(1, 9, 4), (12, 4))
    x = x.astype("float32")
    x[:, 2] = rng.integers(1, 6)  # a column that never changes
    before = x.copy()
    mean, std = fit_standardiser(x)
    yield "one mean per column", mean, {"x": x}
    yield "one standard deviation per column", std, {"x": x}
    flat = apply_standardiser(x, before.mean(axis=0), before.std(axis=0))
    yield "a column that never changes becomes 0", flat, {"x": x}
    yield "stays float32", [np.asarray(part).dtype.name for part in (mean, std, flat)]
    yield "your x is left as it was", EqualOrNot(x, before)
    other = rng.normal(0, 3, (5, 4)).astype("float32")
    mean, std = rng.uniform(1, 2, (2, 4)).astype("float32")
    given = {"x": other, "mean": mean, "std": std, "eps": 0.5}
    yield "uses what it is given", apply_standardiser(other, mean, std, eps=0.5), given


check("00/standardise", evidence, rtol=1e-3)

# %% mistake: one mean for the whole table
"""You average over all numbers at once. A column of ages and a column of incomes must
not share a mean: take it along `axis=0`, so that every column keeps its own."""


def fit_standardiser(x):
    return x.mean(), x.std()


def apply_standardiser(x, mean, std, eps=1e-7):
    return (x - mean) / (std + eps)


# %% mistake: a mean for every row
"""`axis=1` walks along a row and gives one number per **row**. The columns are what
you want to make comparable, so the rows must disappear: `axis=0`."""


def fit_standardiser(x):
    return x.mean(axis=1), x.std(axis=1)


def apply_standardiser(x, mean, std, eps=1e-7):
    return (x - mean) / (std + eps)


# %% mistake: new rows are scaled with their own statistics
"""`apply_standardiser` measures mean and standard deviation again, on the rows it is
given. Then the same image gets different numbers in different batches. Use the
statistics of the training rows, which come in as `mean` and `std`."""


def fit_standardiser(x):
    return x.mean(axis=0), x.std(axis=0)


def apply_standardiser(x, mean, std, eps=1e-7):
    return (x - x.mean(axis=0)) / (x.std(axis=0) + eps)


# %% mistake: variance is standard deviation
"""You return the variance. The standard deviation is its square root, in the units of
the column itself."""


def fit_standardiser(x):
    return x.mean(axis=0), x.var(axis=0)


def apply_standardiser(x, mean, std, eps=1e-7):
    return (x - mean) / (std + eps)


# %% mistake: no column is constant
"""A column that never changes has standard deviation 0, and 0 / 0 is NaN: not a number.
One NaN spreads through the whole network. Add `eps` to the standard deviation."""


def fit_standardiser(x):
    return x.mean(axis=0), x.std(axis=0)


def apply_standardiser(x, mean, std, eps=1e-7):
    return (x - mean) / std


# %% mistake: divide by n - 1
"""You divide by n - 1 (as `ddof=1` and pandas do). `np.std` divides by n, and so does
everybody who standardises inputs of a network."""


def fit_standardiser(x):
    return x.mean(axis=0), x.std(axis=0, ddof=1)


def apply_standardiser(x, mean, std, eps=1e-7):
    return (x - mean) / (std + eps)


# %% [markdown]
# ## Split without fooling yourself
#
# Many data sets come sorted by class. Cut the last rows off such a table, and you
# validate on classes that training never saw.

# %%
order = np.argsort(y_train, kind="stable")
plots.split_classes(y_train[order], 1150, "Sorted rows: the tail holds other classes")

# %% [markdown]
# Shuffling first mends it. Shuffle `x` and `y` **together**: one permutation, used
# twice.

# %%
rng = np.random.default_rng(0)
order = rng.permutation(len(y_train))
print("first rows after shuffling:", order[:6])
plots.split_classes(y_train[order], 1150, "Shuffled rows: all classes on both sides")

# %% [markdown]
# **Try it.** Change `default_rng(0)` to another seed and run the cell again. The row
# numbers will change. Will all ten classes still have dots on both sides of the line?
# Predict first.
#
# <details><summary>What you get</summary>
#
# Yes. With 287 rows drawn from anywhere, all ten classes are on both sides, whatever
# the seed.
#
# </details>

# %% [markdown]
# ### Exercise: hold rows out
#
# Write `holdout(x, y, frac, seed)`: shuffle the rows, then return
# `x_train, y_train, x_val, y_val`, with `round(n * frac)` rows for validation and all
# others for training. The same seed gives the same split, another seed another one.
# 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# Make a list of row numbers, shuffle that, and use it on `x` and on `y`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `np.random.default_rng(seed).permutation(n)` gives shuffled row numbers, the same for
# the same seed.
#
# </details>
# <details><summary>Hint 3</summary>
#
# With `order` shuffled and `cut = n - round(n * frac)`: train on `order[:cut]`,
# validate
# on `order[cut:]`.
#
# </details>


# %% exercise: holdout
def holdout(x, y, frac, seed):
    """Shuffled split into x_train, y_train, x_val, y_val."""
    ### BEGIN SOLUTION
    order = np.random.default_rng(seed).permutation(len(x))
    cut = len(x) - round(len(x) * frac)
    train, val = order[:cut], order[cut:]
    return x[train], y[train], x[val], y[val]
    ### END SOLUTION


# %% check: holdout, 3 points
def evidence(holdout, rng):
    n, classes = 4 * int(rng.integers(40, 4000)) + 1, int(rng.integers(3, 6))
    seed = int(rng.integers(1000))
    x = np.c_[np.arange(n), rng.normal(size=n)].astype("float32")
    y = np.sort(np.arange(n) % classes)
    before = x.copy()
    parts = holdout(x, y, 0.25, seed)
    given = {"rows": n, "frac": 0.25, "seed": seed}
    yield "sizes of the parts", [len(part) for part in parts], given
    more = holdout(np.r_[x, x[:2]], np.r_[y, y[:2]], 0.25, seed)
    yield "sizes for two rows more", [len(part) for part in more], {"rows": n + 2}
    kept = np.array_equal(x, before)
    yield "your arrays are left as they were", EqualOrNot(kept, True)
    x_train, y_train, x_val, y_val = parts
    rows = np.concatenate([x_train, x_val])[:, 0].astype(int)
    yield "how many different rows there are", len(np.unique(rows)), given
    labels = np.concatenate([y_train, y_val])
    own = np.array_equal(labels, y[rows % n])
    yield "every row has its own label", EqualOrNot(own, True), given
    sorted_rows = {"sorted rows": n, "classes": classes}
    yield "all classes of sorted rows in validation", np.unique(y_val), sorted_rows
    as_before = np.array_equal(rows[: len(x_train)], np.sort(rows[: len(x_train)]))
    yield "rows are shuffled", EqualOrNot(as_before, True), given
    again, other = (holdout(x, y, 0.25, one)[2] for one in (seed, seed + 1))
    same, equal = np.array_equal(x_val, again), np.array_equal(x_val, other)
    yield "same seed, same split", EqualOrNot(same, True), {"seed": seed}
    yield "another seed, another split", EqualOrNot(equal, True), {"seed": seed + 1}


check("00/holdout", evidence)

# %% mistake: the tail is a fair sample
"""You cut the last rows off without shuffling. If the table is sorted by class, your
validation rows hold classes that training never sees. Shuffle the row numbers first."""


def holdout(x, y, frac, seed):
    cut = len(x) - round(len(x) * frac)
    return x[:cut], y[:cut], x[cut:], y[cut:]


# %% mistake: inputs and labels are shuffled separately
"""Two permutations: one for `x`, another for `y`. Now almost every image carries
somebody else's label. Make **one** permutation and use it for both."""


def holdout(x, y, frac, seed):
    rng = np.random.default_rng(seed)
    x, y = x[rng.permutation(len(x))], y[rng.permutation(len(y))]
    cut = len(x) - round(len(x) * frac)
    return x[:cut], y[:cut], x[cut:], y[cut:]


# %% mistake: shuffling needs no seed
"""Your split is another one at every call, whatever the seed. Then no result can be
repeated. Pass `seed` to the generator that shuffles."""


def holdout(x, y, frac, seed):
    order = np.random.default_rng().permutation(len(x))
    cut = len(x) - round(len(x) * frac)
    return x[order[:cut]], y[order[:cut]], x[order[cut:]], y[order[cut:]]


# %% mistake: the seed is a constant
"""You never use `seed`: every seed gives the same split. With it, a reader can see how
much a result depends on the luck of one split."""


def holdout(x, y, frac, seed):
    order = np.random.default_rng(0).permutation(len(x))
    cut = len(x) - round(len(x) * frac)
    return x[order[:cut]], y[order[:cut]], x[order[cut:]], y[order[cut:]]


# %% mistake: training keeps the validation rows
"""You train on all rows, the validation rows among them. A model that has seen the
questions does well in the exam: a row belongs to one part only."""


def holdout(x, y, frac, seed):
    order = np.random.default_rng(seed).permutation(len(x))
    val = order[len(x) - round(len(x) * frac) :]
    return x[order], y[order], x[val], y[val]


# %% mistake: `frac` is the share of training rows
"""`frac` is the share held out for **validation**; you gave training that share."""


def holdout(x, y, frac, seed):
    order = np.random.default_rng(seed).permutation(len(x))
    cut = round(len(x) * frac)
    return x[order[:cut]], y[order[:cut]], x[order[cut:]], y[order[cut:]]


# %% mistake: the four parts may come in any order
"""You return the parts in another order (`x_train, x_val, y_train, y_val`, as
scikit-learn does). The task asks for `x_train, y_train, x_val, y_val`."""


def holdout(x, y, frac, seed):
    order = np.random.default_rng(seed).permutation(len(x))
    cut = len(x) - round(len(x) * frac)
    train, val = order[:cut], order[cut:]
    return x[train], x[val], y[train], y[val]


# %% mistake: shuffling in place harms nobody
"""`shuffle` mixes the caller's own arrays, first `x`, then `y` in another way. Rows
lose
their labels, and the data of whoever called you are spoiled. Index with a permutation
instead: it makes new arrays."""


def holdout(x, y, frac, seed):
    np.random.seed(seed)
    np.random.shuffle(x)
    np.random.shuffle(y)
    cut = len(x) - round(len(x) * frac)
    return x[:cut], y[:cut], x[cut:], y[cut:]


# %% [markdown]
# ## Scores and probabilities
#
# The last layer of a classifier may return **logits** (any numbers, the largest wins)
# or **probabilities** (between 0 and 1, summing to 1). Softmax turns the first into the
# second. A loss must be told which of the two it gets. The usual one is the
# **cross-entropy**: minus the logarithm of the probability of the right class, 0 for a
# sure hit, large for a sure miss. In Keras it is `SparseCategoricalCrossentropy`;
# `Sparse` means that labels are class numbers.

# %%
# rows: B2
logits = np.array([[4.0, 0.0, 0.0]], dtype="float32")
probabilities = np.array(keras.ops.softmax(logits))
label = np.array([0])
from_logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
from_probabilities = keras.losses.SparseCategoricalCrossentropy()
print("logits, told so            ", f"{float(from_logits(label, logits)):.5f}")
print(
    "probabilities, told so     ",
    f"{float(from_probabilities(label, probabilities)):.5f}",
)
print("probabilities called logits", f"{float(from_logits(label, probabilities)):.5f}")
print("logits called probabilities", f"{float(from_probabilities(label, logits)):.1e}")

# %% [markdown]
# No error, no warning: Keras cannot see where an array comes from. The first wrong line
# says 0.57 for a nearly perfect answer, the second almost 0.
# The picture shows what the doubled softmax does: however sure the model becomes, its
# loss never falls below 0.55.

# %%
# rows: B2
sure = np.linspace(0, 10, 21).astype("float32")
logits = np.stack([sure, 0 * sure, 0 * sure], axis=1)
labels = np.zeros(21, dtype="int64")
probabilities = np.array(keras.ops.softmax(logits))
crossentropy = keras.losses.sparse_categorical_crossentropy
right = crossentropy(labels, logits, from_logits=True)
twice = crossentropy(labels, probabilities, from_logits=True)
lines = {"logits": np.array(right), "softmax applied twice": np.array(twice)}
plots.curves(
    sure,
    lines,
    "Softmax twice: the loss gets stuck",
    "logit of the right class",
    "loss",
)

# %% [markdown]
# ### Exercise: a loss from saved outputs
#
# Somebody hands you the outputs of a model as an array, and says what they are.
# Write `mean_loss(outputs, labels, kind)`: the mean cross-entropy as a float. `outputs`
# has the shape `(n, k)`, `labels` holds class numbers `(n,)`, and `kind` is `"logits"`
# or `"probabilities"`. Use a loss of Keras. 5 minutes.
#
# <details><summary>Hint 1</summary>
#
# Labels that are class numbers go with the `Sparse` loss.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `from_logits` is True or False. Which of the two does `kind == "logits"` give?
#
# </details>


# %% exercise: mean_loss
def mean_loss(outputs, labels, kind):
    """Mean cross-entropy of saved outputs, as a float."""
    ### BEGIN SOLUTION
    logits = kind == "logits"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    return float(loss(labels, outputs))
    ### END SOLUTION


# %% check: mean_loss, 2 points
def evidence(mean_loss, rng):
    n, k = int(rng.integers(4, 9)), int(rng.integers(3, 6))
    logits = rng.normal(0, 2, (n, k)).astype("float32")
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = rng.integers(0, k, n)
    cases = {
        "from logits": (logits, "logits"),
        "from probabilities": (probabilities, "probabilities"),
        "from logits that are all between 0 and 1": (probabilities**2, "logits"),
    }
    for name, (outputs, kind) in cases.items():
        given = {"outputs": outputs, "labels": labels, "kind": kind}
        yield name, lambda: mean_loss(outputs, labels, kind), given


check("00/mean_loss", evidence)

# %% mistake: probabilities are logits
"""You say `from_logits=True` whatever comes in, so softmax is applied to probabilities
once more. Even a perfect answer then has a loss of log(1 + (k - 1) / e): 0.55 for three
classes, 1.46 for ten."""


def mean_loss(outputs, labels, kind):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return float(loss(labels, outputs))


# %% mistake: a loss knows what it gets
"""You never say `from_logits=True`, so logits are taken for probabilities and clipped
to [0, 1]. The loss cannot see where an array comes from: tell it."""


def mean_loss(outputs, labels, kind):
    return float(keras.losses.SparseCategoricalCrossentropy()(labels, outputs))


# %% mistake: logits and probabilities are swapped
"""You tell the loss the opposite: `from_logits` must be True exactly for `"logits"`."""


def mean_loss(outputs, labels, kind):
    swapped = kind != "logits"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=swapped)
    return float(loss(labels, outputs))


# %% mistake: class numbers go with CategoricalCrossentropy
"""`CategoricalCrossentropy` wants one-hot rows `(n, k)`. Your labels are class numbers
`(n,)`: use `SparseCategoricalCrossentropy`."""


def mean_loss(outputs, labels, kind):
    loss = keras.losses.CategoricalCrossentropy(from_logits=kind == "logits")
    return float(loss(labels, outputs))


# %% mistake: the mean is a sum
"""You add the losses of the rows. The mean divides by their number, so that batches of
different sizes can be compared."""


def mean_loss(outputs, labels, kind):
    logits = kind == "logits"
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=logits, reduction="sum"
    )
    return float(loss(labels, outputs))


# %% mistake: a loss function returns the mean
"""`keras.losses.sparse_categorical_crossentropy` returns one loss per row. Take the
mean,
or use the class `SparseCategoricalCrossentropy`, which does."""


def mean_loss(outputs, labels, kind):
    logits = kind == "logits"
    losses = keras.losses.sparse_categorical_crossentropy
    return losses(labels, outputs, from_logits=logits)


# %% mistake: outputs come first
"""A Keras loss is called with the truth first: `loss(labels, outputs)`."""


def mean_loss(outputs, labels, kind):
    logits = kind == "logits"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    return float(loss(outputs, labels))


# %% [markdown]
# Computing this loss yourself shows why libraries prefer logits. The textbook formula
# takes the exponential of a score, and the exponential of 100 is too large for
# `float32`.

# %%
scores = keras.ops.convert_to_tensor([[100.0, 0.0]])
naive = -keras.ops.log(keras.ops.exp(scores) / keras.ops.sum(keras.ops.exp(scores)))
print("naive:", naive.numpy()[0])
print("what it should be: 0 and 100")

# %% [markdown]
# ### Exercise: cross-entropy that stays finite
#
# Write `xent(logits, labels)`, the cross-entropy of each row, with `keras.ops`
# (so that it also runs inside `tf.function`, which compiles Python code to a graph):
# $$\text{loss}_i = \log \sum_j e^{\text{logits}_{ij}} -
# \text{logits}_{i,\,\text{labels}_i}$$
#
# Shapes: logits `(n, k)`, labels `(n,)` whole numbers, result `(n,)`. It must stay
# finite for logits of 10,000. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# Subtracting the largest logit of a row from the whole row does not change the loss.
# Afterwards no exponential is larger than 1.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `keras.ops.logsumexp(logits, axis=1)` does exactly that. What is left is to pick one
# logit per row.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `keras.ops.sum(logits * keras.ops.one_hot(labels, logits.shape[1]), axis=1)` picks the
# logit of the label.
#
# </details>


# %% exercise: xent
def xent(logits, labels):
    """Cross-entropy of each row, shape (n,), from logits (n, k) and labels (n,)."""
    ### BEGIN SOLUTION
    chosen = logits * keras.ops.one_hot(labels, logits.shape[1])
    return keras.ops.logsumexp(logits, axis=1) - keras.ops.sum(chosen, axis=1)
    ### END SOLUTION


# %% check: xent, 3 points
def evidence(xent, rng):
    n, k = int(rng.integers(4, 7)), int(rng.integers(3, 6))
    scores, classes = rng.normal(0, 2, (n, k)), rng.integers(0, k, n)
    scores[:, 0] = rng.uniform(1, 3, n)
    classes[0], classes[1] = scores[0].argmin(), scores[1].argmax()
    logits = keras.ops.convert_to_tensor(scores, "float32")
    labels = keras.ops.convert_to_tensor(classes, "int32")
    given = {"logits": logits, "labels": labels}
    yield "one loss per row", lambda: xent(logits, labels), given
    given = {"logits": 10_000 * logits, "labels": labels}
    yield "finite for huge logits", lambda: xent(10_000 * logits, labels), given
    yield "runs inside tf.function", lambda: tf.function(xent)(logits, labels)


check("00/xent", evidence, rtol=1e-3, atol=1e-3)

# %% mistake: the loss of a batch is one number
"""You return the mean over the rows. Keep one loss per row: weights and metrics are
applied to rows, and Keras takes the mean afterwards."""


def xent(logits, labels):
    chosen = logits * keras.ops.one_hot(labels, logits.shape[1])
    losses = keras.ops.logsumexp(logits, axis=1) - keras.ops.sum(chosen, axis=1)
    return keras.ops.mean(losses)


# %% mistake: softmax first, then the logarithm
"""Softmax rounds a tiny probability to exactly 0, and log(0) is minus infinity. Stay
with logits: `logsumexp` takes both steps at once without ever leaving the range of
`float32`."""


def xent(logits, labels):
    chosen = keras.ops.one_hot(labels, logits.shape[1]) * keras.ops.softmax(logits)
    return -keras.ops.log(keras.ops.sum(chosen, axis=1))


# %% mistake: exponentials fit into float32
"""You take the exponential of the logits as they are. e to the power of 89 is already
too large for `float32`. Subtract the largest logit of each row first, or use
`logsumexp`."""


def xent(logits, labels):
    chosen = logits * keras.ops.one_hot(labels, logits.shape[1])
    total = keras.ops.log(keras.ops.sum(keras.ops.exp(logits), axis=1))
    return total - keras.ops.sum(chosen, axis=1)


# %% mistake: the sign of the loss does not matter
"""Your loss is the negative of what it should be. Training would make it ever smaller:
that is, make the model ever worse. A cross-entropy is never below 0."""


def xent(logits, labels):
    chosen = logits * keras.ops.one_hot(labels, logits.shape[1])
    return keras.ops.sum(chosen, axis=1) - keras.ops.logsumexp(logits, axis=1)


# %% mistake: NumPy runs inside tf.function
"""Inside `tf.function` your code gets placeholders without values, and NumPy cannot
compute with those. Write the same steps with `keras.ops`."""


def xent(logits, labels):
    logits, labels = np.array(logits), np.array(labels)
    top = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return total - logits[np.arange(len(labels)), labels]


# %% mistake: the sum runs over the rows
"""You sum over `axis=0`, that is, over the rows of the batch. The classes of one row
compete with each other; rows know nothing of each other. Sum over `axis=1`."""


def xent(logits, labels):
    one_hot = keras.ops.one_hot(labels, logits.shape[1])
    chosen = keras.ops.sum(logits * one_hot, axis=1)
    return keras.ops.mean(keras.ops.logsumexp(logits, axis=0)) - chosen


# %% mistake: brackets pick numbers by a list of labels
"""`x[:, labels]` and `x[rows, labels]` are ideas from NumPy (and the first would pick
whole columns there). TensorFlow takes no list of places in brackets. To pick one number
per row, multiply with the one-hot labels and sum over the row."""


def xent(logits, labels):
    return keras.ops.logsumexp(logits, axis=1) - logits[:, labels]


# %% mistake: logsumexp works row by row
"""Without `axis=1`, `logsumexp` adds up the whole table, so the rows of a batch disturb
each other."""


def xent(logits, labels):
    chosen = logits * keras.ops.one_hot(labels, logits.shape[1])
    return keras.ops.logsumexp(logits) - keras.ops.sum(chosen, axis=1)


# %% [markdown]
# ## One model, three spellings
#
# Keras lets you stack layers in a list, connect them as functions, or write a class.
# Which one you choose does not matter to training: start the three from the same
# weights, and they give the same losses.

# %%
# rows: A1
dense = keras.layers.Dense
stacked = keras.Sequential([keras.Input((64,)), dense(8, "relu"), dense(10)])

inputs = keras.Input((64,))
connected = keras.Model(inputs, dense(10)(dense(8, "relu")(inputs)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.head = dense(8, "relu"), dense(10)

    def call(self, x):
        return self.head(self.hidden(x))


# %% [markdown]
# Train all three on the same rows, in the same order:

# %%
# rows: A1
written = Subclassed()
written(x_train[:1])  # a subclassed model makes its weights at the first call
start = stacked.get_weights()
for name, model in {
    "stacked": stacked,
    "connected": connected,
    "class": written,
}.items():
    model.set_weights(start)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    history = model.fit(x_train, y_train, epochs=2, shuffle=False, verbose=0)
    print(f"{name:10}", [f"{value:.4f}" for value in history.history["loss"]])

# %% [markdown]
# Because models and optimizers carry their own state, build them in a **function**:
# each call gives fresh weights. Two models must not share one optimizer object either.
# (`outcome` calls what you give it and returns an error as one line, so that the
# notebook goes on. You will meet it in every lesson.)


# %%
# rows: A9
def small():
    return keras.Sequential([keras.Input((2,)), dense(1)])


optimizer = keras.optimizers.SGD()
first, second = small(), small()
print("same weights?", np.array_equal(first.get_weights()[0], second.get_weights()[0]))
for model in (first, second):
    model.compile(optimizer, "mse")
first.fit(np.ones((4, 2)), np.ones(4), verbose=0)
print(outcome(lambda: second.fit(np.ones((4, 2)), np.ones(4), verbose=0)))

# %% [markdown]
# Models pile up in a notebook. `keras.utils.clear_session()` cleans up behind them and
# starts the numbering of layer names again. It seeds nothing, and models that you still
# use stay as they are.

# %%
# rows: A3
before = first.get_weights()[0]
keras.utils.clear_session()
print("name of the next layer:", small().layers[0].name)
print("weights kept?", np.array_equal(before, first.get_weights()[0]))

# %% [markdown]
# <!-- rows: A5 -->
# `summary()` lists the layers of a model; the total includes two numbers of the
# optimizer, its rate and its count of steps. For a diagram there is
# `keras.utils.plot_model(model)`, which needs `pydot` and Graphviz.

# %%
# rows: A5
stacked.summary(line_length=60)

# %% [markdown]
# ### Exercise: a model factory
#
# Write `mlp(d, hidden, k)`: it returns a new model for rows of `d` numbers, with one
# ReLU layer for each width in the list `hidden`, and `k` **logits** at the end.
# `mlp(64, [32, 16], 10)` has the layers 32, 16 and 10. `hidden` may be empty: then
# there is only the last layer. Make the layers from input to output, so that
# `get_weights()` lists them in this order. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# Begin with `keras.Input((d,))`, then loop over `hidden`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Logits are what a `Dense` layer gives without any activation.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `layers = [keras.Input((d,))]`, then `layers.append(keras.layers.Dense(width,
# "relu"))`
# for each width, then one more `Dense(k)`; `keras.Sequential(layers)`.
#
# </details>


# %% exercise: mlp
def mlp(d, hidden, k):
    """A new model: d inputs, ReLU layers of the given widths, k logits."""
    ### BEGIN SOLUTION
    layers = [keras.Input((d,))]
    for width in hidden:
        layers.append(keras.layers.Dense(width, activation="relu"))
    return keras.Sequential([*layers, keras.layers.Dense(k)])
    ### END SOLUTION


# %% check: mlp, 3 points
def evidence(mlp, rng):
    d, k = (int(number) for number in rng.integers(3, 8, 2))
    hidden = [int(width) for width in rng.choice([3, 4, 5, 6, 7, 8], 3, replace=False)]
    widths, x = list(hidden), rng.normal(size=(20, d)).astype("float32")
    model, other = mlp(d, hidden, k), mlp(d, hidden, k)
    model(x), other(x)  # a model without Input makes its weights at the first call
    given = {"d": d, "hidden": widths, "k": k}
    first, second = model.get_weights(), other.get_weights()
    yield "shapes of the weights", [list(weight.shape) for weight in first], given
    yield "the list of widths is left as it was", EqualOrNot(hidden, widths)
    yield "every call starts from other weights", EqualOrNot(first[0], second[0])
    weights = [rng.normal(size=weight.shape) for weight in first]
    for part in weights[-2:]:  # ReLU yields nothing below 0, so the first logit is
        part[..., 0] = -np.abs(part[..., 0])
    model.set_weights(weights)
    yield "logits for given weights", model(x, training=True), given
    other.set_weights([np.ones(weight.shape) for weight in second])
    yield "a second call gives another model", model(x), given
    plain = mlp(d, [], k)
    plain(x)
    shapes = [list(weight.shape) for weight in plain.get_weights()]
    yield "no hidden layer", shapes, {"d": d, "hidden": [], "k": k}


check("00/mlp", evidence, rtol=1e-3, atol=1e-3)

# %% mistake: a classifier ends with softmax
"""Your model ends with softmax, so it returns probabilities. The task wants logits:
leave the last layer without activation, and let the loss do the rest."""


def mlp(d, hidden, k):
    layers = [keras.layers.Dense(width, activation="relu") for width in hidden]
    head = keras.layers.Dense(k, activation="softmax")
    return keras.Sequential([keras.Input((d,)), *layers, head])


# %% mistake: a Dense layer bends by itself
"""Your hidden layers have no activation. Then the whole model is one straight line,
however many layers it has: say `activation="relu"`."""


def mlp(d, hidden, k):
    layers = [keras.layers.Dense(width) for width in hidden]
    return keras.Sequential([keras.Input((d,)), *layers, keras.layers.Dense(k)])


# %% mistake: ReLU at the end, too
"""The last layer has a ReLU, so no logit is ever negative. A logit may be any number:
leave the last layer without activation."""


def mlp(d, hidden, k):
    layers = [keras.layers.Dense(width, activation="relu") for width in (*hidden, k)]
    return keras.Sequential([keras.Input((d,)), *layers])


# %% mistake: all hidden layers have the first width
"""Every hidden layer of yours has the width `hidden[0]`. Take the widths one after the
other."""


def mlp(d, hidden, k):
    layers = [keras.layers.Dense(hidden[0], activation="relu") for _ in hidden]
    return keras.Sequential([keras.Input((d,)), *layers, keras.layers.Dense(k)])


# %% mistake: one model serves every call
"""Your function hands out the same model again. Whoever trains the second one changes
the first. Build the layers inside the function, at every call."""

models = {}


def mlp(d, hidden, k):
    if (d, *hidden, k) not in models:
        layers = [keras.layers.Dense(width, activation="relu") for width in hidden]
        layers = [keras.Input((d,)), *layers, keras.layers.Dense(k)]
        models[(d, *hidden, k)] = keras.Sequential(layers)
    return models[(d, *hidden, k)]


# %% [markdown]
# ## Read a training history
#
# `fit` returns a `History`. Its `history` is a dict of lists: one list per quantity,
# one number per epoch.


# %%
def network():
    layers = [keras.Input((64,)), dense(32, "relu"), dense(10)]
    return keras.Sequential(layers)


keras.utils.set_random_seed(1)
model = network()
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"])
history = model.fit(
    x_train, y_train, epochs=8, validation_split=0.2, validation_freq=2, verbose=0
)
print({name: len(values) for name, values in history.history.items()})

# %% [markdown]
# With `validation_freq=2`, Keras validates after every second epoch only. So the
# `val_` lists are shorter, and the second entry of `val_loss` belongs to epoch 4.
# Put them side by side without thinking, and you compare different epochs.

# %%
train_loss = np.array(history.history["loss"])[1::2]
val_loss = np.array(history.history["val_loss"])
lines = {"training loss": train_loss, "validation loss": val_loss}
plots.curves([2, 4, 6, 8], lines, "Losses of the same epochs", "epoch", "loss")

# %% [markdown]
# A seed makes a run repeatable: weights, shuffling and dropout (a layer that strikes
# out numbers at random in training) come out the same. It does not make two layers
# equal, and it has a side effect that lesson 01 uncovers.

# %%
keras.utils.set_random_seed(5)
one, two = network().get_weights()[0], network().get_weights()[0]
keras.utils.set_random_seed(5)
again = network().get_weights()[0]
print("two models after one seed equal?", np.array_equal(one, two))
print("same seed again, same model?    ", np.array_equal(one, again))

# %% [markdown]
# ### Exercise: a row per epoch
#
# Tables want rows. Write `history_rows(history, validation_freq=1)`: it turns a dict of
# lists into a list of dicts, one per epoch, each with `"epoch"` (counting from 1) and
# every key of `history`.
# Values whose key begins with `val_` belong to every `validation_freq`-th epoch; where
# an epoch has no value, put `None`.
#
# An empty history has no rows. `history_rows({"loss": [3, 2], "val_loss": [4]}, 2)`
# gives
# `[{"epoch": 1, "loss": 3, "val_loss": None}, {"epoch": 2, "loss": 2, "val_loss": 4}]`.
# 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# How many epochs were there? Count the entries of a key that does not begin with
# `val_`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Epoch `e` was validated if `e % validation_freq == 0`, and its value stands at place
# `e // validation_freq - 1`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Write a small function `value(key, epoch)` that returns the number or `None`. The rest
# is `[{"epoch": e, **{key: value(key, e) for key in history}} for e in range(1, n +
# 1)]`.
#
# </details>


# %% exercise: history_rows
def history_rows(history, validation_freq=1):
    """One dict per epoch: "epoch" from 1, and every key of `history` or None."""

    ### BEGIN SOLUTION
    def value(key, epoch):
        every = validation_freq if key.startswith("val_") else 1
        return history[key][epoch // every - 1] if epoch % every == 0 else None

    epochs = max((len(v) for k, v in history.items() if k[:4] != "val_"), default=0)
    return [
        {"epoch": epoch, **{key: value(key, epoch) for key in history}}
        for epoch in range(1, epochs + 1)
    ]
    ### END SOLUTION


# %% check: history_rows, 3 points
def evidence(history_rows, rng):
    epochs, freq = ((8, 4), (9, 3), (10, 5))[int(rng.integers(3))]
    loss, interval = rng.uniform(0, 2, (2, epochs)).round(3).tolist()
    val_loss = rng.uniform(0, 2, epochs // freq).round(3).tolist()
    history = {"interval": interval, "loss": loss}
    yield "a row per epoch", lambda: history_rows(history), history
    full = {"loss": loss, "val_loss": interval}
    yield "validation after every epoch", lambda: history_rows(full), full
    gaps = {"val_loss": val_loss, "loss": loss, "interval": interval}
    given = {**gaps, "validation_freq": freq}
    yield "validation now and then", lambda: history_rows(gaps, freq), given
    rest = {"val_loss": val_loss[:1], "loss": loss[: 2 * freq - 1]}
    given = {**rest, "validation_freq": freq}
    yield (
        "some epochs after the last validation",
        lambda: history_rows(rest, freq),
        given,
    )
    yield "no epoch, no row", lambda: history_rows({}), {}


check("00/history_rows", evidence)

# %% mistake: all lists are as long as the shortest
"""You stop at the shortest list (as `zip` does) and lose epochs. Every epoch has a loss
and deserves a row; what it lacks is `None`."""


def history_rows(history, validation_freq=1):
    rows = zip(*history.values())
    return [
        {"epoch": epoch, **dict(zip(history, row))} for epoch, row in enumerate(rows, 1)
    ]


# %% mistake: validation values belong to the first epochs
"""You fill the validation values in from the top, and leave the end empty. With
`validation_freq=2` the first value belongs to epoch 2, the second to epoch 4."""


def history_rows(history, validation_freq=1):
    epochs = len(history["loss"]) if history else 0
    return [
        {
            "epoch": e + 1,
            **{k: v[e] if e < len(v) else None for k, v in history.items()},
        }
        for e in range(epochs)
    ]


# %% mistake: the first epoch is epoch 0
"""Your epochs count from 0. The task counts from 1, as Keras does in its progress bar
(its callbacks count from 0)."""


def history_rows(history, validation_freq=1):
    def value(key, epoch):
        every = validation_freq if key.startswith("val_") else 1
        return history[key][epoch // every - 1] if epoch % every == 0 else None

    epochs = len(history["loss"]) if history else 0
    return [
        {"epoch": e - 1, **{key: value(key, e) for key in history}}
        for e in range(1, epochs + 1)
    ]


# %% mistake: every `validation_freq`-th epoch starts with the first
"""You validate in epoch 1 and then in every `validation_freq`-th. Keras validates when
the number of the epoch can be divided by `validation_freq`: the first time **after**
that many epochs."""


def history_rows(history, validation_freq=1):
    def value(key, epoch):
        every = validation_freq if key.startswith("val_") else 1
        return history[key][(epoch - 1) // every] if (epoch - 1) % every == 0 else None

    epochs = len(history["loss"]) if history else 0
    return [
        {"epoch": e, **{key: value(key, e) for key in history}}
        for e in range(1, epochs + 1)
    ]


# %% mistake: a missing value is 0
"""You write 0 where an epoch was not validated. A loss of 0 looks like a perfect epoch;
`None` says what is true: there is no value."""


def history_rows(history, validation_freq=1):
    def value(key, epoch):
        every = validation_freq if key.startswith("val_") else 1
        return history[key][epoch // every - 1] if epoch % every == 0 else 0

    epochs = len(history["loss"]) if history else 0
    return [
        {"epoch": e, **{key: value(key, e) for key in history}}
        for e in range(1, epochs + 1)
    ]


# %% mistake: every list has a value for every epoch
"""You read a value for every epoch from every list, and a `val_` list is too short for
that. Where an epoch was not validated, put `None`."""


def history_rows(history, validation_freq=1):
    epochs = len(history["loss"]) if history else 0
    return [
        {"epoch": e + 1, **{key: history[key][e] for key in history}}
        for e in range(epochs)
    ]


# %% [markdown]
# ### In your own words
#
# A friend standardises the whole table first and splits off validation rows afterwards.
# The model looks a little better in validation than it will in use. Explain in two or
# three sentences why. Your teacher reads this one. 5 minutes.

# %% answer: leaked_statistics, 2 points [markdown]
# The mean and the standard deviation were measured on all rows, so the training rows
# carry a trace of the validation rows. Validation then no longer stands for data that
# nobody has seen. Split first, measure on the training rows, and apply these numbers to
# both parts.

# %%
progress("00")

# %% [markdown]
# ## You can now
# <!-- rows: A10 -->
#
# - prepare arrays so that shape, type and range are what Keras expects, and split them
#   honestly;
# - tell logits from probabilities, and compute with both without overflow;
# - build models that share nothing, and read what `fit` recorded.
#
# Next: lesson 01, where `compile`, `fit`, `evaluate` and `predict` show what they
# really do. Loops of your own come in lesson 07, several devices in lesson 09.
