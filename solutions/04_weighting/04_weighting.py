# %% [markdown]
# # Weighting: rows that count more, less, or not at all
#
# Your model is right 95 times out of 100, and it never finds the thing you built it
# for: the fraud, the illness, the broken part. Weights tell training which rows matter.
# They also change what every logged number means, and some ways of passing them do
# nothing at all, without a word.
#
# Eight exercises (29 points) and a question (2 points), about three hours. After the
# exercise on weighted validation is a good place for a break. You need lessons 02 and
# 03.

# %%
import keras
import numpy as np
import tensorflow as tf

from helpers import data, plots
from helpers.checks import check, hint, progress, solution
from helpers.watch import outcome

# %% [markdown]
# ## 95 percent, and useless
#
# `make_rare` draws two overlapping clouds: 950 points of a common class 0 and 50 of a
# rare class 1. Three numbers describe a model that says "rare" above a threshold.
# *Accuracy*: the share of right answers. *Recall*: the share of rare rows that it
# finds. *Precision*: the share of its alarms that are right.

# %%
# rows: W22
x, y = data.make_rare(1000, share=0.05, seed=0)
x_new, y_new = data.make_rare(4000, share=0.05, seed=1)


def describe(y, p, threshold=0.5):
    yes, rare = p >= threshold, y == 1
    accuracy, recall = np.mean(yes == rare), np.mean(yes[rare])
    precision = np.sum(yes & rare) / max(np.sum(yes), 1)
    return f"accuracy {accuracy:.2f}, recall {recall:.2f}, precision {precision:.2f}"


print("always 'common':", describe(y_new, np.zeros(4000)))
print("always 'rare':  ", describe(y_new, np.ones(4000)))

# %% [markdown]
# So 0.95 is what a model gets that never looks at its input. Now a real one: logistic
# regression, a single unit. `LiveCurves` draws its loss while it trains.


# %%
# rows: W22
def logistic():
    layers = [keras.Input((2,)), keras.layers.Dense(1, "sigmoid", name="head")]
    model = keras.Sequential(layers)
    model.set_weights([np.zeros((2, 1)), np.zeros(1)])
    return model


def train(model, epochs=20, **settings):
    keras.utils.set_random_seed(0)
    model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy")
    return model.fit(x, y, batch_size=250, epochs=epochs, verbose=0, **settings)


plain = logistic()
train(plain, callbacks=[plots.LiveCurves()])
print(describe(y_new, plain.predict(x_new, verbose=0)[:, 0]))

# %% [markdown]
# The loss falls as it should, accuracy says that all is well, and the model finds
# hardly any rare row. Train it again, and let a row of class 1 count ten times and one
# of class 0 about half (these are the *balanced* weights, which come soon). The grey
# side is where the model says "rare".

# %%
# rows: W22, W3
weighted = logistic()
train(weighted, class_weight={0: 0.53, 1: 10.0})
print(describe(y_new, weighted.predict(x_new, verbose=0)[:, 0]))
models = {"all rows count the same": plain, "a rare row counts more": weighted}
plots.boundaries(x, y, models, "Weights push the border into the common class")

# %% [markdown]
# Most rare points are on the grey side now, and so are many common ones. Accuracy
# *fell*, because every false alarm costs as much there as a missed case. Whether that
# is a good trade is your decision; weights are how you tell the model. Another way is
# to *draw* rare rows more often (oversampling), for Datasets with
# `sample_from_datasets` (lesson 03). It moves the border in much the same way.
#
# **Try it.** Change `10.0` to `3.0`. Where does the border go? Predict first.
#
# <details><summary>What you get</summary>
#
# Between the other two. About half of the rare points are found (recall 0.49 instead of
# 0.80), and a third of the alarms is right (precision 0.33 instead of 0.15). Then
# change it back and run the cell again: a later part uses this model.
#
# </details>

# %% [markdown]
# ## What a weight does to the logged loss
#
# Weights change the numbers that you read, too. To see how, take a model that returns
# its input and a target of 0: the squared errors `e` of these four rows are 1, 4, 9
# and 1.


# %%
# rows: W1
def logs_of(w=None, reduction="sum_over_batch_size", batch_size=4, **settings):
    layer = settings.pop("layer", None) or keras.layers.Identity()
    model = keras.Sequential([keras.Input((1,)), layer])
    loss = keras.losses.MeanSquaredError(reduction=reduction)
    model.compile("sgd", loss, run_eagerly=True, **settings)
    call = {"sample_weight": w, "batch_size": batch_size, "return_dict": True}
    return model.evaluate(guess, truth, **call, verbose=0)


guess, truth = np.array([[1.0], [2.0], [3.0], [1.0]]), np.zeros(4)
e, w = np.array([1.0, 4.0, 9.0, 1.0]), np.array([3.0, 1.0, 1.0, 0.0])
reported = logs_of(w)["loss"]
sums = {"Σ e / n": e.mean(), "Σ w·e / n": (w * e).sum() / 4}
sums["Σ w·e / Σ w"] = (w * e).sum() / w.sum()
plots.ways_to_divide(sums, reported, "Keras divides by the number of rows")

# %% [markdown]
# It is **not** a weighted mean. The loss of every row is multiplied, then the sum is
# divided by the number of rows, whatever the weights are. Double all weights, and the
# loss doubles.
#
# The `reduction` of a loss object decides, as lesson 02 showed. New here are weights
# that are all zero, and smaller batches.

# %%
# rows: W1, W5
names = ("sum_over_batch_size", "sum", "mean_with_sample_weight")
for reduction in names:
    value = logs_of(w, reduction)["loss"]
    print(
        f"{reduction:24} {value:6.3f}   all zero: {logs_of(0 * w, reduction)['loss']}"
    )
for size in (4, 2, 1):
    found = [logs_of(w, name, size)["loss"] for name in names]
    print(f"all three, batches of {size}:", *(f"{value:6.3f}" for value in found))

# %% [markdown]
# `mean_with_sample_weight` is the weighted mean, and it is 0 where all weights are. But
# look at the last lines: each **batch** has its own mean, so the logged number (on the
# right) depends on the batch size. So does `sum`, in the middle: smaller batches have
# smaller sums. The default, on the left, does not depend on it.
#
# Habit: before you compare two weighted losses, ask what each was divided by.
#
# A weight of 0 is a mask: the row gives no gradient at all. But in the default's
# denominator it still counts, so the loss looks smaller than it is.


# %%
# rows: W5
def line_after(y, w):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.set_weights([np.ones((1, 1)), np.zeros(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    history = model.fit(guess, y, sample_weight=w, verbose=0)
    return model.get_weights()[0].item(), history.history["loss"][0]


mask = np.array([1.0, 1.0, 0.0, 0.0])
wild = np.array([0.0, 0.0, 777.0, -777.0])
for name, labels in (("as they are", truth), ("wild under the mask", wild)):
    kernel, loss = line_after(labels, mask)
    print(f"labels {name:20} kernel {kernel:.3f}, loss {loss:.3f}")
print(f"mean over the kept rows: {e[:2].mean():.3f}")

# %% [markdown]
# ### Exercise: four reductions
#
# Write `weighted_loss(e, w, reduction)` with NumPy. `e` and `w` are float arrays
# `(n,)`: the loss of each row and its weight; `w` may be `None`, then all weights
# are 1. Return what a Keras loss with this `reduction` gives for one batch: a float
# for `"sum_over_batch_size"`, `"sum"` and `"mean_with_sample_weight"` (0.0 if all
# weights are 0), an array `(n,)` for `"none"`. For `e = [1, 4]`, `w = [1, 3]` these are
# 6.5, 13, 3.25 and `[1, 12]`. Leave `e` and `w` unchanged. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# All four begin with `w * e`. What differs is what comes after it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Rows of weight 0 are rows, too: the default divides by `len(e)`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# For the weighted mean: `total / w.sum() if w.sum() else 0.0`.
#
# </details>


# %% exercise: weighted_loss
def weighted_loss(e, w, reduction):
    """What a Keras loss with this reduction gives for one batch."""
    ### BEGIN SOLUTION
    w = np.ones(len(e)) if w is None else w
    each = w * e
    if reduction == "none":
        return each
    if reduction == "sum_over_batch_size":
        return float(each.sum() / len(e))
    if reduction == "mean_with_sample_weight":
        return float(each.sum() / w.sum()) if w.sum() else 0.0
    return float(each.sum())
    ### END SOLUTION


# %% check: weighted_loss, 4 points
def evidence(weighted_loss, rng):
    n = int(rng.integers(5, 9))
    e, w = rng.uniform(0.5, 4, n), rng.uniform(0.2, 3, n)
    w[rng.integers(n)] = 0.0
    mask = np.concatenate([[0.0, 1.0], rng.integers(0, 2, n - 2)])
    given = {"e": e, "w": w}
    default, mean = "sum_over_batch_size", "mean_with_sample_weight"

    def after():
        for reduction in (default, "none", "sum", mean):
            weighted_loss(e, w, reduction)
        return [e, w]

    def value(w, reduction):
        return lambda: weighted_loss(e.copy(), w, reduction)

    def values(w, *reductions):
        return lambda: [value(w, reduction)() for reduction in reductions]

    yield "the default", value(w.copy(), default), given
    yield "sum", value(w.copy(), "sum"), given
    yield "the weighted mean", value(w.copy(), mean), given
    yield "none: a number per row", value(w.copy(), "none"), given
    masked = {"e": e, "w": mask}
    yield "the default with a 0/1 mask", value(mask, default), masked
    without = {"e": e, "w": None}
    yield "without weights: default, sum", values(None, default, "sum"), without
    label = "without weights: the weighted mean, and none"
    yield label, values(None, mean, "none"), without
    light = w / (2 * w.sum())
    label = "the weighted mean of weights that sum to less than 1"
    yield label, value(light, mean), {"e": e, "w": light}
    zeros = np.zeros(n)
    yield "all weights 0: the weighted mean", value(zeros, mean), {"w": zeros}
    label = "all weights 0: default, sum and none"
    yield label, values(zeros, default, "sum", "none"), {"e": e, "w": zeros}
    yield "e and w after four calls", after, given


check("04/weighted_loss", evidence)

# %% mistake: a weighted loss is a weighted mean
"""You divide by the sum of the weights. The default, `"sum_over_batch_size"`, divides
by the number of rows; the weighted mean is `"mean_with_sample_weight"`."""


def weighted_loss(e, w, reduction):
    w = np.ones(len(e)) if w is None else w
    if reduction == "none":
        return w * e
    if reduction == "sum":
        return float(np.sum(w * e))
    return float(np.sum(w * e) / w.sum()) if w.any() else 0.0


# %% mistake: a row of weight 0 is not counted
"""You divide by the number of rows whose weight is not 0. A masked row gives nothing to
the sum, but the default still counts it as a row."""


def weighted_loss(e, w, reduction):
    w = np.ones(len(e)) if w is None else w
    if reduction == "none":
        return w * e
    total = float(np.sum(w * e))
    if reduction == "sum_over_batch_size":
        return total / max(np.count_nonzero(w), 1)
    if reduction == "mean_with_sample_weight":
        return total / w.sum() if w.any() else 0.0
    return total


# %% mistake: the loss may be averaged before it is weighted
"""You average the errors first and multiply by the weights afterwards: then it does not
matter any more which row had which weight. Keep one loss per row until the weights are
in; a custom loss that returns a single number makes the same mistake inside Keras."""


def weighted_loss(e, w, reduction):
    w = np.ones(len(e)) if w is None else w
    mean = float(np.mean(e))
    if reduction == "none":
        return mean * w
    if reduction == "sum":
        return mean * float(w.sum())
    if reduction == "mean_with_sample_weight":
        return mean if w.any() else 0.0
    return mean * float(w.mean())


# %% mistake: every mean divides by the number of rows
"""`"mean_with_sample_weight"` is the one reduction that divides by the sum of the
weights. Yours divides by the number of rows, as the default does."""


def weighted_loss(e, w, reduction):
    each = e if w is None else w * e
    if reduction == "none":
        return each
    return float(each.sum() if reduction == "sum" else each.mean())


# %% mistake: without reduction there are no weights
"""`"none"` leaves out the summing, not the weights: it gives `w * e`, row by row."""


def weighted_loss(e, w, reduction):
    if reduction == "none":
        return e.copy()
    w = np.ones(len(e)) if w is None else w
    total = float(np.sum(w * e))
    if reduction == "sum_over_batch_size":
        return total / len(e)
    if reduction == "mean_with_sample_weight":
        return total / w.sum() if w.any() else 0.0
    return total


# %% mistake: weights are never all zero
"""If all weights are 0 you divide 0 by 0, which is NaN. A batch of padding does that in
practice; Keras gives 0.0 there."""


def weighted_loss(e, w, reduction):
    w = np.ones(len(e)) if w is None else w
    if reduction == "mean_with_sample_weight":
        return float(np.sum(w * e) / np.sum(w))
    if reduction == "none":
        return w * e
    total = float(np.sum(w * e))
    return total if reduction == "sum" else total / len(e)


# %% mistake: average takes any weights
"""`np.average` stops where all weights are 0. A batch of padding does that in practice;
Keras gives 0.0 there, so look at the sum of the weights first."""


def weighted_loss(e, w, reduction):
    w = np.ones(len(e)) if w is None else w
    if reduction == "mean_with_sample_weight":
        return float(np.average(e, weights=w))
    if reduction == "none":
        return w * e
    total = float(np.sum(w * e))
    return total if reduction == "sum" else total / len(e)


# %% mistake: a sum of weights below 1 is an accident
"""You divide by at least 1. That is a trick for 0/1 weights, whose sum is 0 or at least
1; weights of 0.1 may well sum to less than 1. Treat only a sum of 0 apart."""


def weighted_loss(e, w, reduction):
    w = np.ones(len(e)) if w is None else w
    if reduction == "none":
        return w * e
    total = float(np.sum(w * e))
    if reduction == "mean_with_sample_weight":
        return total / max(w.sum(), 1.0)
    return total if reduction == "sum" else total / len(e)


# %% [markdown]
# ## Balance the classes
#
# Which weights are fair? A common answer: every class gets the same **total** weight,
# and an average row the weight 1. Class c then weighs n / (k · count of c), for k
# classes in n rows; scikit-learn calls it "balanced". What balances is the *ratio*:
# where one class has 10 rows and the other 20, weights of 1 and 0.5 give equal totals,
# too.

# %%
# rows: W4
labels = np.array([0] * 90 + [1] * 10)
count = np.bincount(labels)
balanced = len(labels) / (2 * count)
print("balanced:", balanced.round(3), "mean weight of a row:", balanced[labels].mean())
print("total weight of each class:", (count * balanced).round(3))
print(f"10 rows of weight 1: total {10 * 1.0}; 20 of weight 0.5: total {20 * 0.5}")
weights = {"rows": np.ones(100), "balanced": balanced[labels]}
weights["upside down"] = count[labels] * 100 / (count**2).sum()
plots.class_totals(labels, weights, "Total weight of each class")

# %% [markdown]
# "Upside down" is the most expensive slip here: weights that *follow* the
# frequency turn 90 : 10 into 81 : 1 (of 100 in all, about 99 : 1), and the rare class
# is all but gone. Nothing warns you. Habit: print the total weight of each class.

# %% [markdown]
# ### Exercise: balanced class weights
#
# Write `balanced_class_weight(y)`. `y` holds class numbers, `(n,)`, as an integer array
# of any dtype or a list; the numbers need not be 0, 1, 2, ... Return a dict from class
# number (a Python or NumPy integer) to its weight n / (k · count), where k is the
# number of classes that occur. For `[3, 3, 3, 7]`: `{3: 0.667, 7: 2.0}`, unrounded.
# Classes that do not occur are no keys. 8 minutes.
#
# <details><summary>Hint 1</summary>
#
# `np.unique(y, return_counts=True)` gives the classes that occur, and how often.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Rare classes need *large* weights: the count belongs under the fraction line.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A dict comprehension over `zip(classes, counts)`, with `int(c)` as key.
#
# </details>


# %% exercise: balanced_class_weight
def balanced_class_weight(y):
    """Dict from class number to n / (k * count)."""
    ### BEGIN SOLUTION
    classes, counts = np.unique(y, return_counts=True)
    share = len(y) / len(classes)
    return {
        int(c): float(share / count) for c, count in zip(classes, counts, strict=True)
    }
    ### END SOLUTION


# %% check: balanced_class_weight, 3 points
def evidence(balanced_class_weight, rng):
    k = int(rng.integers(3, 6))
    ids = np.sort(rng.choice(np.arange(2, 20), k, replace=False))
    counts = rng.choice(np.arange(2, 30), k, replace=False)
    y = rng.permutation(np.repeat(ids, counts))
    weights = balanced_class_weight(y.copy())
    given = {"class numbers": ids, "how often each": counts}
    yield "the weight of each class", lambda: [weights[int(c)] for c in ids], given

    def totals():
        return [weights[int(c)] * n for c, n in zip(ids, counts, strict=True)]

    yield "the total weight of each class", totals, given
    yield "how many keys", lambda: len(weights), given
    table = [weights.get(c, -1.0) for c in range(max(weights) + 1)]
    yield "looked up class by class, -1 where there is no key", table, given
    bits = rng.permutation(np.repeat([0, 1], [rng.integers(130, 250), counts[0]]))
    small = balanced_class_weight(bits.astype("uint8"))
    yield "0 and 1 as uint8", lambda: [small[0], small[1]], {"y has rows": len(bits)}
    listed = balanced_class_weight(bits.tolist())
    yield "a list", lambda: [listed[0], listed[1]], {"y has rows": len(bits)}


check("04/balanced_class_weight", evidence)

# %% mistake: frequent classes deserve the larger weight
"""Your weights grow with the count, so the frequent class counts twice over: by its
rows and by its weight. Rare classes need the larger weight: n / (k · count)."""


def balanced_class_weight(y):
    classes, counts = np.unique(y, return_counts=True)
    return {
        int(c): float(len(classes) * n / len(y))
        for c, n in zip(classes, counts, strict=True)
    }


# %% mistake: the keys are text
"""Your keys are strings such as `"3"`. Keras looks up the integer 3, does not find it,
and, with arrays, gives every row the weight 1 without a word. Use `int(c)`."""


def balanced_class_weight(y):
    classes, counts = np.unique(y, return_counts=True)
    return {
        str(c): float(len(y) / len(classes) / n)
        for c, n in zip(classes, counts, strict=True)
    }


# %% mistake: a list of weights is a class weight
"""You return the weights as a list or an array. Keras asks a **dict** for the weight of
a class, and a list stops with "no attribute 'get'". Return class number → weight."""


def balanced_class_weight(y):
    classes, counts = np.unique(y, return_counts=True)
    return len(y) / (len(classes) * counts)


# %% mistake: one over the count is balanced
"""1 / count gives the classes equal totals, but a row then weighs far less than 1 on
average: the loss and the steps of SGD shrink with it. Multiply by n / k."""


def balanced_class_weight(y):
    classes, counts = np.unique(y, return_counts=True)
    return {int(c): 1.0 / n for c, n in zip(classes, counts, strict=True)}


# %% mistake: n over the count is balanced
"""You forget k. The totals are equal, but an average row weighs k instead of 1, and the
loss is k times as large. Divide by the number of classes: n / (k · count)."""


def balanced_class_weight(y):
    classes, counts = np.unique(y, return_counts=True)
    return {int(c): float(len(y) / n) for c, n in zip(classes, counts, strict=True)}


# %% mistake: weights sum to 1
"""You scale the *classes'* weights to sum to 1. What should be 1 is the weight of an
average row, and frequent classes have more rows: n / (k · count)."""


def balanced_class_weight(y):
    classes, counts = np.unique(y, return_counts=True)
    weights = (1 / counts) / np.sum(1 / counts)
    return {int(c): float(w) for c, w in zip(classes, weights, strict=True)}


# %% mistake: a class weighs what its share is
"""You return the share of each class, so the frequent class counts twice over: by its
rows and by its weight. Rare classes need the larger weight: n / (k · count)."""


def balanced_class_weight(y):
    classes, counts = np.unique(y, return_counts=True)
    return {int(c): float(n / len(y)) for c, n in zip(classes, counts, strict=True)}


# %% mistake: every number up to the largest needs a key
"""You list classes that never occur, too. No row looks their weights up; the task wants
no keys for them."""


def balanced_class_weight(y):
    classes, counts = np.unique(y, return_counts=True)
    table = {c: 0.0 for c in range(int(np.max(y)) + 1)}
    for c, n in zip(classes, counts, strict=True):
        table[int(c)] = float(len(y) / len(classes) / n)
    return table


# %% mistake: the most frequent class weighs 1
"""You divide by the count of the most frequent class. The totals are equal, but the
average weight of a row is above 1, and the loss grows with it. Use n / (k · count)."""


def balanced_class_weight(y):
    classes, counts = np.unique(y, return_counts=True)
    return {int(c): float(counts.max() / n) for c, n in zip(classes, counts)}


# %% mistake: classes are numbered from 0
"""You number the classes 0, 1, 2, ... in the order in which they are counted. The keys
must be the class numbers themselves, such as 3 and 7."""


def balanced_class_weight(y):
    _, counts = np.unique(y, return_counts=True)
    return {c: float(len(y) / len(counts) / n) for c, n in enumerate(counts)}


# %% mistake: classes without rows count in k
"""You let k count all numbers up to the largest class, also those that never occur.
Only classes with rows can be balanced."""


def balanced_class_weight(y):
    counts = np.bincount(y)
    return {c: float(len(y) / len(counts) / n) for c, n in enumerate(counts) if n}


# %% [markdown]
# ## Two ways to say it
#
# `class_weight` is a short form: Keras looks up the weight of each row's label, and
# from there on it is a `sample_weight`. Here with digits, where a 5 counts twice.

# %%
# rows: W2, W3
(digits, number), _ = data.load_digits()
digits, number = digits[:300], number[:300]


def digits_after(**weights):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    rows = {"batch_size": 100, "epochs": 3, "shuffle": False}
    history = model.fit(digits, number, **rows, **weights, verbose=0)
    return model.get_weights()[0], history.history["loss"][-1]


twice = np.where(number == 5, 2.0, 1.0)
one, loss = digits_after(class_weight={5: 2.0})
two, same = digits_after(sample_weight=twice)
print(
    f"loss {loss:.3f} and {same:.3f}; equal kernels:", np.allclose(one, two, atol=1e-6)
)

# %% [markdown]
# The labels may also be one-hot rows or `(n, 1)`. But a row with *several* ones is read
# by `argmax` as well: `[1, 1, 0]` counts as class 0, and the weight of class 1 is not
# looked at. For such labels make row weights yourself. Labels that are no integers are
# *rounded*: 0.6 is class 1.
#
# To see it, `fit_loss` trains with a rate of 0 and returns the logged losses, or the
# error.


# %%
# rows: W12
import re


def logged(fit):
    try:
        logs = fit().history
    except Exception as error:
        shapes = re.search(r"\[[\d,]+\] vs. \[[\d,]+\]", str(error))
        reason = shapes[0] if shapes else str(error).split("}} ")[-1].split("\n")[0]
        return f"{type(error).__name__}: {reason[:70]}"
    return ", ".join(f"{name} {value[0]:.4f}" for name, value in logs.items())


def fit_loss(labels, loss, **settings):
    model = keras.Sequential([keras.Input((3,))])
    model.add(keras.layers.Dense(3, "softmax", kernel_initializer="identity"))
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    fit = {"x": logits, "y": labels, "shuffle": False, "verbose": 0}
    return logged(lambda: model.fit(**{**fit, **settings}))


# %%
# rows: W12, W9
logits = np.array([[2.0, 0, 0], [0, 1, 0], [0, 0, 3], [1, 0, 0]])
three, sparse = np.array([0, 1, 2, 2]), "sparse_categorical_crossentropy"
one_hot, five = np.eye(3)[three], {"class_weight": {1: 5.0}}
print("no weights           ", fit_loss(three, sparse))
print("numbers              ", fit_loss(three, sparse, **five))
print("(n, 1)               ", fit_loss(three[:, None], sparse, **five))
print("one-hot              ", fit_loss(one_hot, "categorical_crossentropy", **five))
several = np.array([[1, 1, 0]] * 4)
print("[1, 1, 0], no weights", fit_loss(several, "binary_crossentropy"))
print("[1, 1, 0], weights   ", fit_loss(several, "binary_crossentropy", **five))
parts = np.full((4, 1), 0.6)
print("0.6, class 1 weighs 0", fit_loss(parts, "mse", class_weight={1: 0.0}))

# %% [markdown]
# ## What is silently wrong
#
# Now the dangerous part. The same `class_weight` means different things for arrays or a
# `PyDataset` and for a `tf.data.Dataset`. In this table, 0.6093 is the loss without any
# weights.


# %%
# rows: W7, W8, W9
class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return logits, three


def ways(class_weight):
    batches = tf.data.Dataset.from_tensor_slices((logits, three)).batch(4)
    for source in ({}, {"x": Batches(), "y": None}, {"x": batches, "y": None}):
        found = fit_loss(three, sparse, class_weight=class_weight, **source)
        yield found.split(":")[0]


print(f"{'class_weight':24}{'arrays':16}{'PyDataset':16}Dataset")
for table in (None, {0: 1, 1: 5, 2: 1}, {1: 5}, {"1": 5}, [1, 5, 1], "balanced"):
    print(f"{table!s:24}" + "".join(f"{found:16}" for found in ways(table)))

# %% [markdown]
# Read it line by line. A dict with every class works everywhere. Arrays and a
# `PyDataset` agree: a missing class weighs 1, and text keys are ignored in silence. A
# Dataset differs: it stops at labels beyond your largest key, and at text keys. Lists
# and names stop everywhere.
#
# Habit: build the dict from `range(k)` with integer keys, then check that the loss
# changed.
#
# `class_weight` and `sample_weight` exclude each other: multiply them yourself. The
# weights of a Dataset travel inside it, as a third element. With arrays,
# `sample_weight` may be a NumPy array, a tensor or a pandas object, `(n,)` or `(n, 1)`.
# A list, or a wrong length, is refused. A negative weight is **not**: it rewards
# mistakes.

# %%
# rows: W6, W10, B24
ones = np.ones(4)
by_class = {"class_weight": {0: 1.0, 1: 5.0, 2: 1.0}}
print("both:        ", fit_loss(three, sparse, sample_weight=ones, **by_class))
w = np.array([1.0, 0.5, 2.0, 0.0])
triples = tf.data.Dataset.from_tensor_slices((logits, three, w)).batch(4)
print("arrays:      ", fit_loss(three, sparse, sample_weight=w))
print("Dataset:     ", fit_loss(None, sparse, x=triples))
print("and class:   ", fit_loss(None, sparse, x=triples, **by_class))
print("beside it:   ", fit_loss(None, sparse, x=triples, sample_weight=w))
model = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
print("predict takes only x:", model.predict(triples, verbose=0).shape)

# %%
# rows: W16
kinds = {"tensor": tf.constant(w), "(n, 1)": w[:, None], "list": w.tolist()}
kinds |= {"too short": w[:3], "minus": -w}
for name, weight in kinds.items():
    print(f"{name:10}", fit_loss(three, sparse, sample_weight=weight).split(":")[0])

# %% [markdown]
# ### Exercise: class weights become row weights
#
# Write `to_sample_weight(y, class_weight, base=None)`: a float32 array `(n,)` with a
# weight for each row.
#
# | labels `y` | weight of a row |
# |---|---|
# | class numbers `(n,)` or `(n, 1)`, ints or whole floats | that of its class |
# | zeros and ones `(n, k)` with k > 1 | the **largest** among the classes that it has |
#
# Classes that are no keys of the dict weigh 1.0, a row without any class, too. Keys are
# ints. `base`, if given, is an array `(n,)` of row weights to be combined with those of
# the classes. Change none of the arguments. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# `class_weight.get(int(c), 1.0)` is the weight of class `c`, listed or not.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `np.flatnonzero(row)` gives the classes of a row of zeros and ones; `max` has a
# `default` for rows that have none.
#
# </details>
# <details><summary>Hint 3</summary>
#
# First make a list of lists: the classes of each row. `y.ravel()[:, None]` does it for
# class numbers. Then one comprehension serves both; combine by multiplying.
#
# </details>


# %% exercise: to_sample_weight
def to_sample_weight(y, class_weight, base=None):
    """One float32 weight per row, from class weights and row weights."""
    ### BEGIN SOLUTION
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] > 1:
        classes = [np.flatnonzero(row) for row in y]
    else:
        classes = y.reshape(-1, 1)
    weights = np.array(
        [max((class_weight.get(int(c), 1.0) for c in r), default=1.0) for r in classes]
    )
    return (weights if base is None else weights * base).astype("float32")
    ### END SOLUTION


# %% check: to_sample_weight, 4 points
def evidence(to_sample_weight, rng):
    n, k = int(rng.integers(9, 14)), 4
    low, high = float(rng.uniform(0.2, 0.8)), float(rng.uniform(2, 5))
    rare, unlisted, nothing = (int(c) for c in rng.permutation([1, 2, 3]))
    class_weight = {0: low, rare: high, nothing: 0.0, 9: 7.0}
    y = rng.permutation(np.concatenate([np.arange(k), rng.integers(0, k, n - k)]))
    several = rng.integers(0, 2, (n, k))
    several[:5] = 0
    several[0, [0, rare]] = 1  # two listed classes; none; one that is not listed
    several[2, unlisted] = 1
    several[3, [0, unlisted]] = 1  # a listed one below 1 and one not listed
    several[4, nothing] = 1
    base = rng.uniform(0.5, 3, n).astype("float32")
    given = {"class_weight": class_weight, "y": y}

    def weights(y, base=None):
        return lambda: to_sample_weight(y.copy(), dict(class_weight), base)

    def after():
        table, rows = dict(class_weight), base.copy()
        for labels in (y, several):
            to_sample_weight(labels, table, rows)
        return [rows, [table.get(c, -1) for c in range(10)], y, several]

    yield "class numbers (n,)", weights(y), given
    yield "whole floats (n, 1)", weights(y[:, None].astype("float32")), given
    yield "one-hot rows", weights(np.eye(k, dtype="float32")[y]), given
    table = {"class_weight": class_weight, "y": several}
    yield "rows with several classes or none", weights(several), table
    yield "combined with row weights", weights(y, base.copy()), {**given, "base": base}
    both = {**table, "base": base}
    yield "several classes and row weights", weights(several, base.copy()), both
    column = (np.arange(n) % 2)[:, None]
    bits = {"class_weight": class_weight, "y": column, "base": base}
    yield "labels (n, 1) of 0 and 1, row weights", weights(column, base.copy()), bits
    yield "a single row with two classes", weights(several[:1]), {"y": several[:1]}
    bases = {"no": None, "a float32": base, "a float64": base.astype("float64")}
    for kind, rows in bases.items():
        label = f"the dtype with {kind} base"
        yield label, lambda: np.asarray(weights(y, rows)()).dtype.name, given
    yield "the arguments afterwards", after, given


check("04/to_sample_weight", evidence)

# %% mistake: row weights replace class weights
"""Where `base` is given you return it as it is, and the class weights are lost. Both
count: multiply them, row by row. Keras refuses to take both, so this is your job."""


def to_sample_weight(y, class_weight, base=None):
    y = np.asarray(y)
    if base is not None:
        return np.array(base, "float32")
    many = y.ndim == 2 and y.shape[1] > 1
    rows = [np.flatnonzero(r) for r in y] if many else y.reshape(-1, 1)
    of = [[class_weight.get(int(c), 1.0) for c in row] or [1.0] for row in rows]
    return np.array([max(row) for row in of], "float32")


# %% mistake: weights are added
"""You add the row weight to the class weight. A row that counts 2 times, in a class
that counts 5 times, counts 10 times: multiply."""


def to_sample_weight(y, class_weight, base=None):
    y = np.asarray(y)
    many = y.ndim == 2 and y.shape[1] > 1
    rows = [np.flatnonzero(r) for r in y] if many else y.reshape(-1, 1)
    of = [[class_weight.get(int(c), 1.0) for c in row] or [1.0] for row in rows]
    weights = np.array([max(row) for row in of], "float32")
    return np.float32(weights if base is None else weights + base)


# %% mistake: the keys may be looked up as text
"""You look up `str(c)`. The keys are integers, so nothing is found, and every row gets
1.0. Keras does the same with arrays when your dict has text keys: no error, no
effect."""


def to_sample_weight(y, class_weight, base=None):
    y = np.asarray(y)
    many = y.ndim == 2 and y.shape[1] > 1
    rows = [np.flatnonzero(r) for r in y] if many else y.reshape(-1, 1)
    of = [[class_weight.get(str(int(c)), 1.0) for c in r] or [1.0] for r in rows]
    weights = np.array([max(row) for row in of], "float32")
    return np.float32(weights if base is None else weights * base)


# %% mistake: a class that is not listed does not count
"""Classes that are not in the dict get weight 0, so their rows are thrown away. What
nobody mentioned should count as usual: 1.0."""


def to_sample_weight(y, class_weight, base=None):
    y = np.asarray(y)
    many = y.ndim == 2 and y.shape[1] > 1
    rows = [np.flatnonzero(r) for r in y] if many else y.reshape(-1, 1)
    of = [[class_weight.get(int(c), 0.0) for c in row] or [1.0] for row in rows]
    weights = np.array([max(row) for row in of], "float32")
    return np.float32(weights if base is None else weights * base)


# %% mistake: argmax finds the class of any row
"""`argmax` finds the *first* of several ones, and class 0 where there is none. Keras
does the same with `class_weight`, so rows with several classes get the wrong weight."""


def to_sample_weight(y, class_weight, base=None):
    y = np.asarray(y)
    many = y.ndim == 2 and y.shape[1] > 1
    classes = y.argmax(axis=1) if many else y.ravel()
    weights = np.array([class_weight.get(int(c), 1.0) for c in classes], "float32")
    return np.float32(weights if base is None else weights * base)


# %% mistake: weights keep the shape of the labels
"""For labels `(n, 1)` your weights are `(n, 1)` as well, and multiplied by row weights
`(n,)` they become `(n, n)`. Weights are one number per row: flatten the labels."""


def to_sample_weight(y, class_weight, base=None):
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] > 1:
        of = [[class_weight.get(int(c), 1.0) for c in np.flatnonzero(r)] for r in y]
        weights = np.array([max(row, default=1.0) for row in of], "float32")
    else:
        weights = np.vectorize(lambda c: class_weight.get(int(c), 1.0))(y)
    return (weights if base is None else weights * base).astype("float32")


# %% mistake: a row with two classes counts for both
"""You add up the weights of all classes of a row. Asked is the largest of them: a row
is one row, however many classes it has."""


def to_sample_weight(y, class_weight, base=None):
    y = np.asarray(y)
    many = y.ndim == 2 and y.shape[1] > 1
    rows = [np.flatnonzero(r) for r in y] if many else y.reshape(-1, 1)
    of = [[class_weight.get(int(c), 1.0) for c in row] or [1.0] for row in rows]
    weights = np.array([sum(row) for row in of], "float32")
    return np.float32(weights if base is None else weights * base)


# %% mistake: only listed classes are compared
"""You take the largest weight among the *listed* classes of a row. One that is not
listed weighs 1.0 and takes part: beside a class of weight 0.5 it wins."""


def to_sample_weight(y, class_weight, base=None):
    y = np.asarray(y)
    many = y.ndim == 2 and y.shape[1] > 1
    rows = [np.flatnonzero(r) for r in y] if many else y.reshape(-1, 1)
    of = [[class_weight[int(c)] for c in r if int(c) in class_weight] for r in rows]
    weights = np.array([max(row, default=1.0) for row in of], "float32")
    return np.float32(weights if base is None else weights * base)


# %% mistake: NumPy makes float32
"""Your weights are float64, NumPy's usual kind of number. The task wants float32, as
Keras uses it: end with `astype("float32")`."""


def to_sample_weight(y, class_weight, base=None):
    y = np.asarray(y)
    many = y.ndim == 2 and y.shape[1] > 1
    rows = [np.flatnonzero(r) for r in y] if many else y.reshape(-1, 1)
    of = [[class_weight.get(int(c), 1.0) for c in row] or [1.0] for row in rows]
    weights = np.array([max(row) for row in of])
    return weights if base is None else weights * base


# %% mistake: float32 times anything stays float32
"""Where `base` is float64, so is the product: NumPy takes the larger type of the two.
Convert last, after the multiplication."""


def to_sample_weight(y, class_weight, base=None):
    y = np.asarray(y)
    many = y.ndim == 2 and y.shape[1] > 1
    rows = [np.flatnonzero(r) for r in y] if many else y.reshape(-1, 1)
    of = [[class_weight.get(int(c), 1.0) for c in row] or [1.0] for row in rows]
    weights = np.array([max(row) for row in of], "float32")
    return weights if base is None else weights * base


# %% mistake: a weight of 0 is no weight
"""You write `... or 1.0`, and to `or` a 0 is the same as nothing. A class of weight 0
is to be left out: `class_weight.get(c, 1.0)` replaces missing ones only."""


def to_sample_weight(y, class_weight, base=None):
    y = np.asarray(y)
    many = y.ndim == 2 and y.shape[1] > 1
    rows = [np.flatnonzero(r) for r in y] if many else y.reshape(-1, 1)
    of = [[class_weight.get(int(c)) or 1.0 for c in row] or [1.0] for row in rows]
    weights = np.array([max(row) for row in of])
    return np.float32(weights if base is None else weights * base)


# %% mistake: weights should average to 1
"""You scale the weights so that their mean is 1. That may be sensible, but nobody asked
for it: the caller's weights no longer mean what the caller said."""


def to_sample_weight(y, class_weight, base=None):
    y = np.asarray(y)
    many = y.ndim == 2 and y.shape[1] > 1
    rows = [np.flatnonzero(r) for r in y] if many else y.reshape(-1, 1)
    of = [[class_weight.get(int(c), 1.0) for c in row] or [1.0] for row in rows]
    weights = np.array([max(row) for row in of], "float32")
    weights = weights if base is None else weights * base
    return np.float32(weights / weights.mean())


# %% [markdown]
# ## What weights do not touch
#
# Plain `metrics` ignore weights; `weighted_metrics` are real weighted means. Both may
# have the same name: only then does the weighted one get the prefix `weighted_`. Alone
# it is just `mae`, as in the second line. Penalties are not weighted: with all weights
# 0, exactly the L2 term is left. Here are the rows and weights of the section on the
# logged loss again.

# %%
# rows: W11, W18
w = np.array([3.0, 1.0, 1.0, 0.0])
both = logs_of(w, metrics=["mae"], weighted_metrics=["mae"])
print({name: round(value, 3) for name, value in both.items()})
alone = logs_of(w, weighted_metrics=["mae"])
print({name: round(value, 3) for name, value in alone.items()}, "(the weighted one!)")
l2 = {"kernel_initializer": "ones", "kernel_regularizer": keras.regularizers.L2(0.1)}
for weight in (np.ones(4), np.zeros(4)):
    found = logs_of(weight, layer=keras.layers.Dense(1, **l2))
    print(f"with L2, all weights {weight[0]:.0f}: loss {found['loss']:.3f}")

# %% [markdown]
# `class_weight` belongs to training alone: `evaluate` refuses it (lesson 01), and the
# validation of `fit` does not use it. Row weights of the training do not reach separate
# validation data either; only `validation_split` cuts them with the rows. In the next
# cell we set weights to 0: losses that do not become 0 were not weighted.
#
# So `loss` and `val_loss` may measure different things, and the gap between them means
# nothing. Habit: give validation its own weights, as a third part, if you want to
# compare.

# %%
# rows: W11, W17, B24, B30, B34
val = {"validation_data": (logits, three)}
nothing = {0: 0.0, 1: 0.0, 2: 0.0}
print("none:        ", fit_loss(three, sparse, **val))
print("class_weight:", fit_loss(three, sparse, class_weight=nothing, **val))
print("row weights: ", fit_loss(three, sparse, sample_weight=0 * w, **val))
val = {"validation_data": (logits, three, 0 * w)}
print("three parts: ", fit_loss(three, sparse, **val))
last = {"sample_weight": np.array([1.0, 1.0, 0.0, 0.0]), "validation_split": 0.5}
print("split, 1 1 | 0 0:", fit_loss(three, sparse, **last))
unlabelled = {"validation_data": logits}
print("no labels:   ", outcome(lambda: fit_loss(three, sparse, **unlabelled)))

# %% [markdown]
# ### Quiz: faster with weights?
#
# A colleague trains with Adam and class weights `{0: 1, 1: 10}`. "Too slow. With
# `{0: 100, 1: 1000}` it will learn faster", they say. What changes?
#
# <details><summary>A. Training goes about a hundred times faster.</summary>
#
# No: with SGD the steps would be a hundred times longer (and training would probably
# blow up). Adam divides its steps by the size of the gradients, and a factor that all
# of them share cancels.
#
# </details>
# <details><summary>B. The logged loss, and next to nothing else.</summary>
#
# Right: the loss becomes a hundred times larger. For Adam, only the *ratio* of the
# weights matters. The next cell shows it.
#
# </details>
# <details><summary>C. The rare class gets still more attention.</summary>
#
# No: the ratio is 1 : 10 before and after.
#
# </details>


# %%
# rows: W19
def kernel_after(optimizer, factor):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.set_weights([np.ones((1, 1)), np.zeros(1)])
    model.compile(optimizer, "mse", run_eagerly=True)
    rows = {"sample_weight": factor * np.ones(4), "epochs": 3, "verbose": 0}
    model.fit(guess, truth, **rows)
    return f"{model.get_weights()[0].item():.3f}"


SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam
print("SGD,  weights 1: ", kernel_after(SGD(0.001), 1))
print("SGD,  weights 10:", kernel_after(SGD(0.001), 10))
print("SGD,  rate x 10: ", kernel_after(SGD(0.01), 1))
print("Adam, weights 1: ", kernel_after(Adam(0.01), 1))
print("Adam, weights 10:", kernel_after(Adam(0.01), 10))

# %% [markdown]
# ### Exercise: weighted validation
#
# Write `fit_weighted(model, optimizer, train, val, class_weight, epochs)`. `model` is a
# softmax classifier that is not compiled. `train` and `val` are tuples of arrays
# `(x, y, w)`: rows, class numbers `(n,)`, row weights `(n,)`.
#
# Compile with `optimizer`, `"sparse_categorical_crossentropy"` and accuracy, both
# plain and weighted, so that the history has the keys `loss`, `accuracy`,
# `weighted_accuracy` and the same with `val_`. Train for `epochs` epochs with
# `shuffle=False` and the default batch size; return the `History` of all of them. A
# training row counts its own weight times that of its class (1.0 if the class is no
# key); a validation row counts its own weight only. Leave the arrays as they are.
# 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# `fit` does not take `class_weight` and `sample_weight` together. What did you do in
# the last exercise?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `metrics=["accuracy"], weighted_metrics=["accuracy"]` gives exactly these keys: the
# names collide, so one of them gets the prefix.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `factor = np.array([class_weight.get(int(c), 1.0) for c in y])`, then
# `sample_weight=w * factor` and `validation_data=val`.
#
# </details>


# %% exercise: fit_weighted
def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    """Train and validate with weights; returns the History."""
    ### BEGIN SOLUTION
    x, y, w = train
    model.compile(
        optimizer,
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=["accuracy"],
    )
    factor = np.array([class_weight.get(int(c), 1.0) for c in y])
    settings = {"epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(x, y, sample_weight=w * factor, validation_data=val, **settings)
    ### END SOLUTION


# %% check: fit_weighted, 4 points
class Eager(keras.Sequential):
    """Runs step by step, which is faster for so few rows."""

    def compile(self, *arguments, **settings):
        super().compile(*arguments, **{**settings, "run_eagerly": True})


def evidence(fit_weighted, rng):
    k = int(rng.integers(4, 6))
    kernel, bias = rng.normal(size=(2, k)), rng.normal(size=k)
    epochs, rate = int(rng.integers(2, 4)), float(rng.uniform(0.02, 0.05))
    low, nothing = (int(c) for c in rng.permutation(k - 1)[:2])  # others: not listed
    class_weight = {k - 1: float(rng.uniform(2, 5)), nothing: 0.0}
    class_weight[low] = float(rng.uniform(0.2, 0.6))

    def rows(n):
        x = rng.normal(size=(n, 2)).astype("float32")
        y = np.argmax(x @ kernel + bias, axis=1)
        y[::2] = rng.integers(0, k, len(y[::2]))  # half of the answers are right
        y[:k] = range(k)
        return x, y, rng.uniform(0.2, 3, n).astype("float32")

    train, val = rows(40), rows(26)  # 40 are two batches
    arrays = [[part.copy() for part in rows] for rows in (train, val)]
    model = Eager([keras.Input((2,)), keras.layers.Dense(k, "softmax")])
    model.set_weights([kernel, bias])
    optimizer = keras.optimizers.SGD(rate)
    given_rows = [tuple(rows) for rows in arrays]
    history = fit_weighted(model, optimizer, *given_rows, dict(class_weight), epochs)
    logs = getattr(history, "history", history)
    given = {"rows": [40, 26], "class_weight": class_weight, "epochs": epochs}
    for key in ("loss", "accuracy", "weighted_accuracy"):
        yield f"training: {key}", lambda key=key: logs[key], given
        yield f"validation: {key}", lambda key=key: logs[f"val_{key}"], given
    yield "the model's weights afterwards", model.get_weights(), given
    yield "the keys of the history", lambda: sorted(logs), given
    yield "the epochs of the History", lambda: list(history.epoch), given
    yield "train and val afterwards", arrays, given


check("04/fit_weighted", evidence)

# %% mistake: fit multiplies class weights and row weights
"""`fit` refuses to take `class_weight` and `sample_weight` together. Multiply them
yourself, row by row."""


def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    x, y, w = train
    loss = "sparse_categorical_crossentropy"
    names = ["accuracy"]
    model.compile(optimizer, loss, metrics=names, weighted_metrics=names)
    settings = {"epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(
        x,
        y,
        sample_weight=w,
        class_weight={**dict.fromkeys(range(int(y.max()) + 1), 1.0), **class_weight},
        validation_data=val,
        **settings,
    )


# %% mistake: metrics know about weights
"""What stands in `metrics` never sees a weight, whatever its name is. For weighted
numbers use `weighted_metrics`."""


def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    x, y, w = train
    named = keras.metrics.SparseCategoricalAccuracy(name="weighted_accuracy")
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy", named])
    w = w * np.array([class_weight.get(int(c), 1.0) for c in y])
    settings = {"epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(x, y, sample_weight=w, validation_data=val, **settings)


# %% mistake: validation is weighted when training is
"""You pass `val` without its weights, so every validation row counts 1. Training
weights do not carry over: pass all three parts, `validation_data=(x, y, w)`."""


def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    x, y, w = train
    loss = "sparse_categorical_crossentropy"
    names = ["accuracy"]
    model.compile(optimizer, loss, metrics=names, weighted_metrics=names)
    w = w * np.array([class_weight.get(int(c), 1.0) for c in y])
    settings = {"epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(x, y, sample_weight=w, validation_data=val[:2], **settings)


# %% mistake: class weights belong to validation, too
"""You multiply the validation weights by the class weights as well. Class weights steer
the training; validation here counts each row by its own weight."""


def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    def rows(x, y, w):
        return x, y, w * np.array([class_weight.get(int(c), 1.0) for c in y])

    x, y, w = rows(*train)
    loss = "sparse_categorical_crossentropy"
    names = ["accuracy"]
    model.compile(optimizer, loss, metrics=names, weighted_metrics=names)
    settings = {"epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(x, y, sample_weight=w, validation_data=rows(*val), **settings)


# %% mistake: class weights make row weights unnecessary
"""You train with the class weights only, and the training rows' own weights are lost.
Multiply both into one `sample_weight`."""


def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    x, y, _ = train
    loss = "sparse_categorical_crossentropy"
    names = ["accuracy"]
    model.compile(optimizer, loss, metrics=names, weighted_metrics=names)
    settings = {"epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(x, y, class_weight=class_weight, validation_data=val, **settings)


# %% mistake: row weights make class weights unnecessary
"""You train with the row weights only, and the class weights are lost. Multiply both
into one `sample_weight`."""


def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    x, y, w = train
    loss = "sparse_categorical_crossentropy"
    names = ["accuracy"]
    model.compile(optimizer, loss, metrics=names, weighted_metrics=names)
    settings = {"epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(x, y, sample_weight=w, validation_data=val, **settings)


# %% mistake: weights make a weighted accuracy
"""You pass weights but ask for the plain accuracy only. Weighted numbers of metrics
come from `weighted_metrics` alone; ask for both."""


def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    x, y, w = train
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy"])
    w = w * np.array([class_weight.get(int(c), 1.0) for c in y])
    settings = {"epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(x, y, sample_weight=w, validation_data=val, **settings)


# %% mistake: the History is a dict
"""You return `.history`, the dict inside. The task wants the `History` itself, as `fit`
returns it; it knows the epochs, too."""


def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    x, y, w = train
    loss = "sparse_categorical_crossentropy"
    names = ["accuracy"]
    model.compile(optimizer, loss, metrics=names, weighted_metrics=names)
    w = w * np.array([class_weight.get(int(c), 1.0) for c in y])
    settings = {"epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(x, y, sample_weight=w, validation_data=val, **settings).history


# %% mistake: the next fit continues the History
"""You call `fit` once per epoch. Each call begins a new `History`, and you return the
last: all epochs before it are lost. Call `fit` once, with `epochs=epochs`."""


def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    x, y, w = train
    loss = "sparse_categorical_crossentropy"
    names = ["accuracy"]
    model.compile(optimizer, loss, metrics=names, weighted_metrics=names)
    w = w * np.array([class_weight.get(int(c), 1.0) for c in y])
    settings = {"sample_weight": w, "validation_data": val, "verbose": 0}
    for _ in range(epochs):
        history = model.fit(x, y, shuffle=False, **settings)
    return history


# %% mistake: a class weight of 0 is no weight
"""You write `... or 1.0`, and to `or` a 0 is the same as nothing: rows of a class that
was to be left out count fully. `class_weight.get(c, 1.0)` replaces missing ones
only."""


def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    x, y, w = train
    loss = "sparse_categorical_crossentropy"
    names = ["accuracy"]
    model.compile(optimizer, loss, metrics=names, weighted_metrics=names)
    w = w * np.array([class_weight.get(int(c)) or 1.0 for c in y])
    settings = {"epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(x, y, sample_weight=w, validation_data=val, **settings)


# %% mistake: an array that I was given is mine
"""You multiply the class weights into the caller's array. The next training with the
same rows then has them twice. `w * factor` makes a new array, `w *= factor` does
not."""


def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    x, y, w = train
    loss = "sparse_categorical_crossentropy"
    names = ["accuracy"]
    model.compile(optimizer, loss, metrics=names, weighted_metrics=names)
    for c, weight in class_weight.items():
        w[y == c] *= weight
    settings = {"epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(x, y, sample_weight=w, validation_data=val, **settings)


# %% mistake: weighted metrics are called so by themselves
"""You ask for the weighted accuracy only. Alone, it is logged as `accuracy`; it gets
the name `weighted_accuracy` where the plain one is there as well. Ask for both."""


def fit_weighted(model, optimizer, train, val, class_weight, epochs):
    x, y, w = train
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, weighted_metrics=["accuracy"])
    w = w * np.array([class_weight.get(int(c), 1.0) for c in y])
    settings = {"epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(x, y, sample_weight=w, validation_data=val, **settings)


# %% [markdown]
# ## Sequences: a weight for every step
#
# *A good place for a break. When you come back, run all cells above this one.*
#
# A tagger gives an answer for each step, so targets have the shape (sequences, steps),
# and so may weights. Here are four sequences of three steps, with one weight per row,
# per step, and in shapes in between. An error names the two shapes that do not fit.


# %%
# rows: W14, W15
def tagger(y, w=None, steps=None, loss=sparse, masking=False, metrics=(), **settings):
    layers = [keras.layers.Masking()] if masking else []
    dense = keras.layers.Dense(3, "softmax", kernel_initializer="identity")
    model = keras.Sequential([keras.Input((None, 3)), *layers, dense])
    rate = keras.optimizers.SGD(0.0)
    model.compile(rate, loss, metrics=list(metrics), run_eagerly=True)
    fit = {"x": steps, "y": y, "sample_weight": w, "shuffle": False, "verbose": 0}
    return logged(lambda: model.fit(**fit, **settings))


rng = np.random.default_rng(0)
steps, tags = rng.normal(size=(4, 3, 3)), rng.integers(0, 3, (4, 3))
w = rng.integers(1, 6, (4, 3)).astype(float)
for name, weight in {"(n, T)": w, "(n, T, 1)": w[..., None], "none": None}.items():
    print(f"{name:10}", tagger(tags, weight, steps))
print("(n, 1)    ", tagger(tags, w[:, :1], steps))
print("(n,)      ", tagger(tags, w[:, 0], steps))

# %% [markdown]
# The documentation promises that `(n,)` works; for sequences it stops, and `(n, 1)` is
# what you want. Worse: it stops only while the number of rows in a batch is neither the
# number of steps nor 1. With a batch of **three** rows, each with three steps, the
# shapes fit by accident, and the weights go to the steps. A batch of one row fits
# always: that is why the four rows below, in batches of three and one, run through.

# %%
# rows: W15
short = {"y": tags[:3], "steps": steps[:3]}
print("rows of weight (n,):   ", tagger(w=w[:3, 0], **short))
print("the same, as (n, 1):   ", tagger(w=w[:3, :1], **short))
print("what (n,) did, (n, T): ", tagger(w=np.tile(w[:3, 0], (3, 1)), **short))
print("four rows, 3 + 1, (n,):", tagger(tags, w[:, 0], steps, batch_size=3))
print("four rows, 3 + 1, right:", tagger(tags, w[:, :1], steps, batch_size=3))
prices = rng.normal(size=(4, 3))
for name, weight in {"(n,)": w[:, 0], "(n, 1)": w[:, :1], "(n, 3)": w}.items():
    found = fit_loss(prices, "mse", sample_weight=weight)
    print(f"three prices per row, {name:7}", found)

# %% [markdown]
# The last lines are another case: an output of three *numbers* has one loss per row, so
# there, `(n, 3)` is one dimension too much. The rule behind both: **weights have the
# shape of the loss**, before it is averaged over the batch. Class numbers `(n, T)` give
# a loss for every step, `(n, T)`; numbers `(n, 3)` with "mse" give one per row, `(n,)`.
#
# And `class_weight`? The documentation promises it for sequences, too. It holds only
# for a Dataset whose targets have one axis more than the steps: `(n, T, 1)` or `(n, T,
# k)`.

# %%
# rows: W13
by_tag = {0: 1.0, 1: 5.0, 2: 2.0}
each = np.array([1.0, 5.0, 2.0])[tags]
print("right:              ", tagger(tags, each, steps))
shapes = {"(n, T)": tags, "(n, T, 1)": tags[..., None], "(n, T, k)": np.eye(3)[tags]}
for name, target in shapes.items():
    loss = "categorical_crossentropy" if "k" in name else sparse
    batches = tf.data.Dataset.from_tensor_slices((steps, target)).batch(4)
    arrays = tagger(target, None, steps, loss, class_weight=by_tag)
    dataset = tagger(None, None, batches, loss, class_weight=by_tag)
    print(f"{name:9}  arrays: {arrays.split(':')[0]:22} Dataset: {dataset}")

# %% [markdown]
# ### Exercise: weights for sequences
#
# Habit: for sequences, forget `class_weight` and attach the weights yourself. Write
# `attach_weights(ds, class_weight, default=1.0)`. `ds` is a `tf.data.Dataset` of
# batches `(x, y)` with labels `y` of shape `(b, T)`, int32 or int64; `b` and `T` may
# change from batch to batch. Return a Dataset of `(x, y, w)`, with `x` and `y` as they
# were and float32 weights `w` of shape `(b, T)`: for each step the weight of its label,
# `default` for labels that are no keys. Labels may be larger than every key, and the
# dict may be empty. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# `ds.map(function)` calls `function(x, y)` for each batch.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A table and `tf.gather` stop (or worse) at labels beyond the table. Start with
# `default` everywhere and put in one class after the other.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `w = tf.fill(tf.shape(y), default)`, then for each class
# `w = tf.where(y == label, weight, w)`.
#
# </details>


# %% exercise: attach_weights
def attach_weights(ds, class_weight, default=1.0):
    """A Dataset of (x, y, w), with a weight for every step."""

    ### BEGIN SOLUTION
    def attach(x, y):
        w = tf.fill(tf.shape(y), tf.constant(default, "float32"))
        for label, weight in class_weight.items():
            w = tf.where(y == label, tf.constant(weight, "float32"), w)
        return x, y, w

    return ds.map(attach)
    ### END SOLUTION


# %% check: attach_weights, 4 points
def evidence(attach_weights, rng):
    def first(*arguments):
        return next(iter(attach_weights(*arguments).take(1)))[2]  # a Dataset has take

    lengths = [int(n) for n in rng.choice(np.arange(3, 8), 2, replace=False)]
    sizes = [int(n) for n in rng.choice(np.arange(2, 7), 2, replace=False)]
    key = int(rng.integers(1, 4))
    class_weight = {0: float(rng.uniform(2, 4)), key: float(rng.uniform(5, 9)), 4: 0.0}
    default = float(rng.uniform(0.2, 0.8))
    rows = []
    for size, length in zip(sizes, lengths, strict=True):
        y = rng.integers(0, 7, (size, length)).astype("int32")
        y.flat[:6] = [0, key, 6, 5, 4, 10**6]
        rows.append((rng.normal(size=(size, length, 2)).astype("float32"), y))
    one, two = [tf.data.Dataset.from_tensors(batch) for batch in rows]
    ds = one.concatenate(two)  # its shapes are (None, None, 2) and (None, None)
    given = {"class_weight": class_weight, "default": default}
    made = []

    def batches():
        """All batches, read anew each time; an element that fails costs its promise."""
        if not made:
            made.append(attach_weights(ds, class_weight, default))
        return [list(batch) for batch in made[0].take(9)]

    for i, word in enumerate(("first", "second")):
        labels = {**given, "y": rows[i][1]}
        yield f"weights of the {word} batch", lambda i=i: batches()[i][2], labels
    yield "rows and labels are still there", lambda: [b[:2] for b in batches()], given
    long = one.map(lambda x, y: (x, tf.cast(y, "int64")))
    mixed = {0: float(key), key: class_weight[key]}  # a weight that is a label, too
    alike = {"class_weight": mixed, "y": rows[0][1]}
    label = "int64 labels, a weight that equals one of them, no default given"
    yield label, lambda: first(long, mixed), alike
    empty = {"class_weight": {}, "default": default}
    yield "no class weights at all", lambda: first(one, {}, default), empty
    yield "the dtype of the weights", lambda: batches()[0][2].dtype.name, given


check("04/attach_weights", evidence)

# %% mistake: no label lies beyond the table
"""You look labels up in a table that ends somewhere, for instance at the largest key,
and a label beyond it cannot be looked up. `fit` with a Dataset and `class_weight` has
the same problem. Start from `default`, and let the dict change only what it lists."""


def attach_weights(ds, class_weight, default=1.0):
    size = max(class_weight, default=0) + 1
    table = tf.constant([float(class_weight.get(c, default)) for c in range(size)])
    return ds.map(lambda x, y: (x, y, tf.gather(table, y)))


# %% mistake: the largest key is the largest label
"""Your table ends at the largest key: a label beyond it cannot be looked up, and an
empty dict has no largest key at all. Start from `default`, and let the dict change only
what it lists."""


def attach_weights(ds, class_weight, default=1.0):
    size = max(class_weight) + 1
    table = tf.constant([float(class_weight.get(c, default)) for c in range(size)])
    return ds.map(lambda x, y: (x, y, tf.gather(table, y)))


# %% mistake: labels beyond the table weigh what the last one does
"""You cut labels down to the largest key, so all larger ones get the weight of that
key. What is not listed weighs `default`: start from it, and let the dict change only
what it lists."""


def attach_weights(ds, class_weight, default=1.0):
    size = max(class_weight, default=0) + 1
    table = tf.constant([float(class_weight.get(c, default)) for c in range(size)])
    return ds.map(lambda x, y: (x, y, tf.gather(table, tf.minimum(y, size - 1))))


# %% mistake: weights need a last axis
"""Your weights are `(b, T, 1)`. `fit` would take them, but the task wants the shape of
the loss, `(b, T)`, so that they can be multiplied with it."""


def attach_weights(ds, class_weight, default=1.0):
    def attach(x, y):
        w = tf.fill(tf.shape(y), default)
        for label, weight in class_weight.items():
            w = tf.where(y == label, weight, w)
        return x, y, w[..., None]

    return ds.map(attach)


# %% mistake: labels need a last axis
"""You give the labels a last axis. That makes `class_weight` work in `fit`; weights of
your own do not need it, and whoever uses your Dataset wants the labels as they were,
`(b, T)`, and the weights in the same shape."""


def attach_weights(ds, class_weight, default=1.0):
    def attach(x, y):
        y = y[..., None]
        w = tf.fill(tf.shape(y), default)
        for label, weight in class_weight.items():
            w = tf.where(y == label, weight, w)
        return x, y, w

    return ds.map(attach)


# %% mistake: labels can be replaced one after the other
"""You replace labels by weights in one and the same array. A weight that happens to
equal a later label is then replaced again. Compare with `y`, which never changes."""


def attach_weights(ds, class_weight, default=1.0):
    def attach(x, y):
        known, w = tf.zeros_like(y, "bool"), tf.cast(y, "float32")
        for label, weight in class_weight.items():
            known |= y == label
            w = tf.where(w == label, weight, w)
        return x, y, tf.where(known, w, default)

    return ds.map(attach)


# %% mistake: a sequence has one class
"""You give every sequence one weight, found by `argmax` over its steps: the *place* of
the largest label. That is how `fit` misreads `class_weight` for sequences in arrays.
Each step has a label of its own, and so a weight of its own."""


def attach_weights(ds, class_weight, default=1.0):
    def attach(x, y):
        place = tf.argmax(y, axis=1)
        w = tf.fill(tf.shape(place), default)
        for label, weight in class_weight.items():
            w = tf.where(place == label, weight, w)
        return x, y, w

    return ds.map(attach)


# %% mistake: a sequence has one weight
"""You average the weights of a sequence to one number per row, shape `(b,)`. With
targets `(b, T)` Keras stops at such weights, or spreads them over the steps where b and
T are equal. Keep a weight for every step."""


def attach_weights(ds, class_weight, default=1.0):
    def attach(x, y):
        w = tf.fill(tf.shape(y), default)
        for label, weight in class_weight.items():
            w = tf.where(y == label, weight, w)
        return x, y, tf.reduce_mean(w, axis=1)

    return ds.map(attach)


# %% mistake: labels without a weight count 1
"""You start from ones and never use `default`. The caller decides what an unlisted
label counts; 1.0 is only the value if nothing is said."""


def attach_weights(ds, class_weight, default=1.0):
    def attach(x, y):
        w = tf.ones(tf.shape(y))
        for label, weight in class_weight.items():
            w = tf.where(y == label, weight, w)
        return x, y, w

    return ds.map(attach)


# %% mistake: a step of weight 0 has no weight yet
"""You add up the weights of the listed labels and put `default` where the sum is 0. A
listed label may weigh 0, and its steps are to be left out. Start from `default`."""


def attach_weights(ds, class_weight, default=1.0):
    def attach(x, y):
        w = tf.zeros(tf.shape(y))
        for label, weight in class_weight.items():
            w = w + weight * tf.cast(y == label, "float32")
        return x, y, tf.where(w == 0, default, w)

    return ds.map(attach)


# %% mistake: unlisted labels do not count
"""You start from zeros, so steps whose label is not in the dict are masked out."""


def attach_weights(ds, class_weight, default=1.0):
    def attach(x, y):
        w = tf.zeros(tf.shape(y))
        for label, weight in class_weight.items():
            w = w + weight * tf.cast(y == label, "float32")
        return x, y, w

    return ds.map(attach)


# %% mistake: weights come second
"""The order in a Dataset is `(x, y, w)`. Keras goes by position: your weights would be
taken for the targets."""


def attach_weights(ds, class_weight, default=1.0):
    def attach(x, y):
        w = tf.fill(tf.shape(y), default)
        for label, weight in class_weight.items():
            w = tf.where(y == label, weight, w)
        return x, w, y

    return ds.map(attach)


# %% [markdown]
# ## Padding: masks enter the loss by themselves
#
# Sequences in a batch must be equally long, so short ones are filled up, often with
# zeros. `Embedding(mask_zero=True)` and `Masking` mark those steps, and Keras then does
# something that it does not do for weights of 0: it divides by the steps that count.
# Below are a batch, and four ways to divide its loss; `Masking` reports the marked one,
# 0/1 *weights* would give the second.

# %%
# rows: W20
tokens = np.array([[4, 7, 2, 9, 5], [3, 8, 0, 0, 0], [6, 0, 0, 0, 0]])
plots.padded_batch(tokens, tokens != 0, "Eight of fifteen steps are real")

# %%
# rows: W20, W5
real = tokens != 0
inputs = np.where(real[..., None], rng.normal(size=(3, 5, 3)), 0.0)
targets = rng.integers(0, 3, (3, 5))
p = np.exp(inputs) / np.exp(inputs).sum(axis=-1, keepdims=True)
e = -np.log(np.take_along_axis(p, targets[..., None], axis=-1))[..., 0]
sums = {"Σ e / all steps": e.mean(), "Σ mask·e / all steps": (real * e).mean()}
sums["Σ mask·e / real steps"] = e[real].mean()
sums["mean of row means"] = np.mean([e[i][real[i]].mean() for i in range(3)])
reported = float(tagger(targets, None, inputs, masking=True).removeprefix("loss "))
plots.ways_to_divide(sums, reported, "A mask divides by the real steps")

# %% [markdown]
# With row or step weights on top, the sum is weighted and the denominator stays: the
# number of real steps. Metrics are masked as well, plain ones, too (last line). And
# because each batch divides by its own real steps, the logged loss depends on how rows
# are batched.

# %%
# rows: W20
w = rng.integers(1, 5, (3, 5)).astype(float)
by_hand = (w * real * e).sum() / real.sum()
print(f"by hand Σ mask·w·e / real steps: {by_hand:.4f}")
print("mask and weights (n, T):", tagger(targets, w, inputs, masking=True))
print("mask and weights (n, 1):", tagger(targets, w[:, :1], inputs, masking=True))
print("mask and weights (n,):  ", tagger(targets, w[:, 0], inputs, masking=True))
print("0/1 weights instead:    ", tagger(targets, real.astype(float), inputs))
for size in (3, 2, 1):
    found = tagger(targets, None, inputs, masking=True, batch_size=size)
    print(f"masked, batches of {size}:   {found}")
hits = inputs.argmax(axis=-1) == targets
print(f"right answers, all steps {hits.mean():.4f}, real steps {hits[real].mean():.4f}")
print("a plain metric:", tagger(targets, None, inputs, masking=True, metrics=["acc"]))

# %% [markdown]
# A mask travels with the data from layer to layer, but not every layer passes it on.
# Where it is lost, padding counts in the loss again. Flatten, Conv1D and layers of your
# own warn; watch for it in your logs.


# %%
# rows: W21
class Double(keras.layers.Layer):
    def call(self, x):
        return 2 * x


kept = Double()
kept.supports_masking = True
named = {"Dense": keras.layers.Dense(2), "Flatten": keras.layers.Flatten()}
named |= {"LSTM, sequences": keras.layers.LSTM(2, return_sequences=True)}
named |= {"Conv1D": keras.layers.Conv1D(2, 1), "my own": Double()}
named |= {"my own, supports_masking": kept}
for name, layer in named.items():
    found = outcome(lambda layer=layer: layer(keras.layers.Masking()(inputs)))
    output = layer(keras.layers.Masking()(inputs)) if "Warn" not in found else None
    mask = "kept" if getattr(output, "_keras_mask", None) is not None else "lost"
    print(f"{name:25} {mask} {'(UserWarning)' if 'Warn' in found else ''}")

# %% [markdown]
# ### Exercise: average over real steps
#
# Without mask layers, do it yourself. Write two functions:
#
# - `padding_weights(tokens, pad_id)`: for integers `(n, T)`, a float32 array `(n, T)`,
#   0 where a token equals `pad_id`, else 1;
# - `step_loss(y, p, w)`: for labels `y` `(n, T)`, probabilities `p` `(n, T, k)` and
#   such weights `w` `(n, T)`: one number, the cross-entropy -log(p of the label),
#   averaged over **all** real steps of the batch. If there are none, it is 0, and so
#   are its gradients.
#
# `p` is a softmax, each step sums to 1. Use `keras.ops` or `keras.losses` in
# `step_loss`, so that gradients flow through `p` to the logits. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# `keras.losses.sparse_categorical_crossentropy(y, p)` gives a loss for every step,
# shape `(n, T)`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Multiply by `w`, sum everything, divide once, by the number of real steps in the whole
# batch.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `keras.ops.maximum(keras.ops.sum(w), 1.0)` as denominator is safe when nothing is
# real.
#
# </details>


# %% exercise: padding_weights
def padding_weights(tokens, pad_id):
    """1.0 for real steps, 0.0 for padding."""
    ### BEGIN SOLUTION
    return (np.asarray(tokens) != pad_id).astype("float32")
    ### END SOLUTION


def step_loss(y, p, w):
    """Cross-entropy, averaged over the real steps of the batch."""
    ### BEGIN SOLUTION
    each = keras.losses.sparse_categorical_crossentropy(y, p)
    count = keras.ops.maximum(keras.ops.sum(w), 1.0)
    return keras.ops.sum(w * each) / count
    ### END SOLUTION


# %% check: padding_weights, 4 points
def evidence(padding_weights, step_loss, rng):
    n, steps = int(rng.integers(3, 6)), int(rng.integers(6, 9))
    k = int(rng.integers(3, 7))
    pad_id = int(rng.integers(2, 5))
    tokens = rng.integers(5, 20, (n, steps))
    lengths = np.concatenate([[0, 1, steps], rng.integers(2, steps, n - 3)])
    lengths = rng.permutation(lengths)
    tokens[np.arange(steps) >= lengths[:, None]] = pad_id
    tokens[tokens == 5] = 0  # a real token, if padding is something else
    tokens[lengths.argmax(), :3] = [0, 7, 1]
    given = {"tokens": tokens, "pad_id": pad_id}
    yield "weights", lambda: padding_weights(tokens.copy(), pad_id), given
    others = [int(tokens.max()), 1]

    def with_others():
        return [padding_weights(tokens.copy(), other) for other in others]

    yield "other numbers as pad_id", with_others, {"tokens": tokens, "pad_id": others}

    def dtype():
        return np.asarray(padding_weights(tokens.copy(), pad_id)).dtype.name

    yield "the dtype of the weights", dtype, given
    w = (np.arange(steps) < lengths[:, None]).astype("float32")
    y = rng.integers(0, k, (n, steps))
    p = rng.dirichlet(np.ones(k), (n, steps)).astype("float32")
    logits = tf.constant(np.log(0.9 * p + 0.025))  # the softmax of which sums to 1

    def value(w):
        return lambda: np.asarray(step_loss(y, tf.nn.softmax(logits), tf.constant(w)))

    def gradient(w):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = step_loss(y, tf.nn.softmax(logits), tf.constant(w))
        found = tape.gradient(loss, logits) if tf.is_tensor(loss) else None
        return "the loss does not depend on p" if found is None else np.asarray(found)

    few = np.zeros_like(w)
    few[lengths.argmax(), : int(rng.integers(2, 4))] = 1
    lengths = {"real steps of each row": lengths}
    yield "the loss", value(w), lengths
    yield "its gradients, for the logits", lambda: gradient(w), lengths
    yield "the loss where hardly a step is real", value(few), {"w": few}
    yield "the loss of padding alone", value(0 * w), lengths
    yield "the gradients of padding alone", lambda: gradient(0 * w), lengths
    yield "the loss where every step is real", value(0 * w + 1), lengths


check("04/padding_weights", evidence)

# %% mistake: padding is always 0
"""You compare with 0 instead of `pad_id`. Which number means padding is the caller's
choice, and 0 may be a real token."""


def padding_weights(tokens, pad_id):
    return (np.asarray(tokens) != 0).astype("float32")


def step_loss(y, p, w):
    each = keras.losses.sparse_categorical_crossentropy(y, p)
    return keras.ops.sum(w * each) / keras.ops.maximum(keras.ops.sum(w), 1.0)


# %% mistake: zero weights take padding out of the mean
"""You average `w * loss` over all steps. Padding adds nothing to the sum, but you still
count it in the denominator, so the loss is too small: divide by the real steps."""


def padding_weights(tokens, pad_id):
    return (np.asarray(tokens) != pad_id).astype("float32")


def step_loss(y, p, w):
    each = keras.losses.sparse_categorical_crossentropy(y, p)
    return keras.ops.mean(w * each)


# %% mistake: True and False are weights
"""You return `True` and `False`. They may work as a mask, but a multiplication with
losses wants numbers of the same kind: `astype("float32")`."""


def padding_weights(tokens, pad_id):
    return np.asarray(tokens) != pad_id


def step_loss(y, p, w):
    each = keras.losses.sparse_categorical_crossentropy(y, p)
    return keras.ops.sum(w * each) / keras.ops.maximum(keras.ops.sum(w), 1.0)


# %% mistake: every sequence counts the same
"""You average over each sequence first and over the sequences afterwards. A step of a
short sequence then counts more than one of a long sequence. Divide once, by all real
steps of the batch."""


def padding_weights(tokens, pad_id):
    return (np.asarray(tokens) != pad_id).astype("float32")


def step_loss(y, p, w):
    each = keras.losses.sparse_categorical_crossentropy(y, p)
    counts = keras.ops.maximum(keras.ops.sum(w, axis=1), 1.0)
    return keras.ops.mean(keras.ops.sum(w * each, axis=1) / counts)


# %% mistake: the loss is one number before weights come
"""You average the cross-entropy to one number first. Multiplying that by weights and
dividing by their sum changes nothing: padding is still inside. Keep a loss for every
step until the weights are in."""


def padding_weights(tokens, pad_id):
    return (np.asarray(tokens) != pad_id).astype("float32")


def step_loss(y, p, w):
    each = keras.losses.sparse_categorical_crossentropy(y, p)
    total = keras.ops.sum(w * keras.ops.mean(each))
    return total / keras.ops.maximum(keras.ops.sum(w), 1.0)


# %% mistake: there is always a real step
"""In a batch of padding alone you divide 0 by 0, and NaN spreads from there through all
weights of a model. Keep the denominator away from 0."""


def padding_weights(tokens, pad_id):
    return (np.asarray(tokens) != pad_id).astype("float32")


def step_loss(y, p, w):
    each = keras.losses.sparse_categorical_crossentropy(y, p)
    return keras.ops.sum(w * each) / keras.ops.sum(w)


# %% mistake: a number that is right has the right gradients
"""For a batch of padding you return a constant. It is 0, as it should be, but it does
not depend on `p`, so there is nothing to take gradients of, and training stops there.
Keep the one formula, and keep its denominator away from 0."""


def padding_weights(tokens, pad_id):
    return (np.asarray(tokens) != pad_id).astype("float32")


def step_loss(y, p, w):
    if float(keras.ops.sum(w)) == 0:
        return 0.0
    each = keras.losses.sparse_categorical_crossentropy(y, p)
    return keras.ops.sum(w * each) / keras.ops.sum(w)


# %% mistake: weights mark the padding
"""Your weights are 1 at the padding and 0 at the real steps: the model would learn from
nothing but padding."""


def padding_weights(tokens, pad_id):
    return (np.asarray(tokens) == pad_id).astype("float32")


def step_loss(y, p, w):
    each = keras.losses.sparse_categorical_crossentropy(y, p)
    return keras.ops.sum(w * each) / keras.ops.maximum(keras.ops.sum(w), 1.0)


# %% mistake: a mean over the batch divides by its rows
"""You divide by the number of rows. What is averaged are steps: divide by the number of
real ones."""


def padding_weights(tokens, pad_id):
    return (np.asarray(tokens) != pad_id).astype("float32")


def step_loss(y, p, w):
    each = keras.losses.sparse_categorical_crossentropy(y, p)
    return keras.ops.sum(w * each) / len(y)


# %% [markdown]
# ## A better start
#
# Back to the rare class. Our fresh model has a kernel (the weights that multiply the
# inputs) of 0 and says 0.5 to everything. It spends its first epochs on learning that
# most rows are 0. You can tell it: with a kernel of 0 the output is sigmoid(bias), and
# it equals the share p of class 1 if the bias is log(p / (1 - p)).

# %%
# rows: W22
p = y.mean()
cold, warm = logistic(), logistic()
warm.get_layer("head").bias.assign([np.log(p / (1 - p))])
for name, model in (("bias 0", cold), ("bias log(p/(1-p))", warm)):
    model.compile("sgd", "binary_crossentropy")
    print(f"{name:18} first loss {model.evaluate(x, y, verbose=0):.3f}")
settings = {"epochs": 12, "shuffle": False}
starts = {"from 0": train(cold, **settings).history["loss"]}
starts["from the share"] = train(warm, **settings).history["loss"]
title = "The right bias saves the first epochs"
plots.curves(np.arange(1, 13), starts, title, "epoch", "training loss")

# %% [markdown]
# ### Quiz: bias and balanced weights
#
# You train with *balanced* class weights. With a kernel of 0, which start bias gives
# the lowest first (weighted) loss?
#
# <details><summary>A. log(p / (1 - p)), as always.</summary>
#
# No: that fits the rows as they come. The weighted loss sees another share.
#
# </details>
# <details><summary>B. 0.</summary>
#
# Right: balanced weights give both classes the same total, so the share that the loss
# sees is one half, and log(0.5 / 0.5) is 0. It also means that after such a training
# the outputs are no probabilities of the real world any more.
#
# </details>
# <details><summary>C. A large positive number.</summary>
#
# No: then the model says "rare" to everything, and all the weight of class 0 is wrong.
#
# </details>

# %% [markdown]
# ### Exercise: start at the base rate
#
# Write `start_bias(model, y, w=None)`. `model` ends with a `Dense(1, "sigmoid")` layer;
# `y` holds 0 and 1, shape `(n,)` or `(n, 1)`, and `w`, if given, row weights `(n,)`.
# Set the **bias** of this last layer, and nothing else, so that with a kernel of 0 the
# output is the share of class 1, weighted by `w`. Return that bias as a float.
# Both classes occur with a weight above 0. For `y = [0, 0, 0, 1]` it is log(1/3),
# about -1.0986. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# log(p / (1 - p)) equals log(total weight of class 1 / total weight of class 0).
#
# </details>
# <details><summary>Hint 2</summary>
#
# `(n, 1)` times `(n,)` makes `(n, n)`: flatten `y` first.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `model.layers[-1].bias.assign([bias])` leaves the kernel alone.
#
# </details>


# %% exercise: start_bias
def start_bias(model, y, w=None):
    """Set the last layer's bias to the log odds of class 1; returns it."""
    ### BEGIN SOLUTION
    y = np.ravel(y)
    w = np.ones(len(y)) if w is None else w
    bias = float(np.log(np.sum(w[y == 1]) / np.sum(w[y == 0])))
    model.layers[-1].bias.assign([bias])
    return bias
    ### END SOLUTION


# %% check: start_bias, 3 points
def evidence(start_bias, rng):
    n, rare = int(rng.integers(20, 40)), int(rng.integers(2, 7))
    y = rng.permutation(np.arange(n) < rare).astype("int64")
    w = rng.uniform(0.2, 1, n) * np.where(y == 1, rng.uniform(2, 4), 1)
    d, hidden = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    x = rng.normal(size=(n, d)).astype("float32")
    depth = int(rng.integers(2, 4))
    first = [keras.layers.Dense(hidden, "tanh") for _ in range(depth)]
    last = keras.layers.Dense(1, "sigmoid", kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((d,)), *first, last])
    weights = [rng.normal(size=np.shape(v)) for v in model.get_weights()]
    given = {"rows": n, "of class 1": rare, "layers": depth + 1}

    def start(y, w=None, kernel=0.0):
        model.set_weights([*weights[:-2], kernel * weights[-2], weights[-1]])
        return start_bias(model, y, w)

    def outputs(y, w=None, kernel=0.0):
        start(y, w, kernel)
        return np.asarray(model(x[:3]))

    yield "the bias", lambda: start(y), given
    yield "the output then, with a kernel of 0", lambda: outputs(y), given
    column = y[:, None].astype("float32")
    yield "labels (n, 1)", lambda: start(column), given
    yield "with row weights", lambda: start(y, w.copy()), {**given, "w": w}
    yield "labels (n, 1) and row weights", lambda: start(column, w.copy()), given
    yield "the output with row weights", lambda: outputs(y, w.copy()), given

    def others():
        start(y, kernel=1.0)
        return model.get_weights()[:-1]

    yield "all other weights afterwards", others, given
    yield "the output with its own kernel", lambda: outputs(y, kernel=1.0), given


check("04/start_bias", evidence)

# %% mistake: the bias is the share
"""You set the bias to the share itself. It goes through the sigmoid first: you need the
number whose sigmoid is the share, log(p / (1 - p))."""


def start_bias(model, y, w=None):
    bias = float(np.average(np.ravel(y), weights=w))
    model.layers[-1].bias.assign([bias])
    return bias


# %% mistake: the log of the share is enough
"""You take log(p). For small shares it is close, but sigmoid needs the log of the
*odds*: p divided by what is left, 1 - p."""


def start_bias(model, y, w=None):
    bias = float(np.log(np.average(np.ravel(y), weights=w)))
    model.layers[-1].bias.assign([bias])
    return bias


# %% mistake: the odds are of class 0
"""Your sign is wrong: you start with the share of class 0. A rare class 1 needs a
negative bias."""


def start_bias(model, y, w=None):
    p = np.average(np.ravel(y), weights=w)
    bias = float(np.log((1 - p) / p))
    model.layers[-1].bias.assign([bias])
    return bias


# %% mistake: the share is counted in rows
"""You count rows and forget their weights. The weighted loss sees the weighted share;
with balanced weights that is one half, and the bias 0."""


def start_bias(model, y, w=None):
    p = np.mean(y)
    bias = float(np.log(p / (1 - p)))
    model.layers[-1].bias.assign([bias])
    return bias


# %% mistake: weights average to 1
"""You divide the weighted number of class 1 by the number of rows. A weighted share
divides by the sum of the weights, which need not be n."""


def start_bias(model, y, w=None):
    p = np.mean(np.ravel(y) if w is None else np.ravel(y) * w)
    bias = float(np.log(p / (1 - p)))
    model.layers[-1].bias.assign([bias])
    return bias


# %% mistake: the kernel must be 0 as well
"""You also set the kernel to 0. The task is the bias alone: the caller decides about
the kernel, and a kernel that was trained would be lost."""


def start_bias(model, y, w=None):
    p = np.average(np.ravel(y), weights=w)
    bias = float(np.log(p / (1 - p)))
    kernel = model.layers[-1].get_weights()[0]
    model.layers[-1].set_weights([np.zeros_like(kernel), np.array([bias])])
    return bias


# %% mistake: labels of any shape multiply with weights
"""Labels `(n, 1)` times weights `(n,)` make a table `(n, n)`: every label with every
weight. The share comes out as if there were no weights. Flatten the labels."""


def start_bias(model, y, w=None):
    y = np.asarray(y, "float64")
    w = np.ones(len(y)) if w is None else w
    bias = float(np.log(np.sum(w * y) / np.sum(w * (1 - y))))
    model.layers[-1].bias.assign([bias])
    return bias


# %% mistake: computing the bias sets it
"""You compute the right number and return it, but the model never hears of it: assign
it to the bias of the last layer."""


def start_bias(model, y, w=None):
    p = np.average(np.ravel(y), weights=w)
    return float(np.log(p / (1 - p)))


# %% [markdown]
# ## Choose the threshold, not the default
#
# Weights moved the border. But a border is a threshold, and you may choose that without
# training again. How well a model *ranks* rows does not depend on it; the number for
# that is the AUC: how often a rare row gets a higher score than a common one.

# %%
# rows: W22
p_plain = plain.predict(x_new, verbose=0)[:, 0]
p_weighted = weighted.predict(x_new, verbose=0)[:, 0]
for name, p in (("plain", p_plain), ("weighted", p_weighted)):
    auc = keras.metrics.AUC(num_thresholds=2000)
    auc.update_state(y_new, p)
    print(f"{name:9} AUC {float(auc.result()):.2f}; at 0.5:", describe(y_new, p))
plots.precision_and_recall(
    y_new, p_plain, "At 0.15 the plain model finds half of them", 0.15
)

# %% [markdown]
# The two models rank almost equally well. The plain one, asked at 0.15 instead of 0.5,
# finds a good part of the rare rows, too. For one unit, balanced weights mostly shift
# the threshold; in larger models they also change what is learned.
#
# **Try it.** Draw `p_weighted` with a mark at 0.8, and the title "The weighted model".
# Would you rather use this model at 0.8 or the plain one at 0.15?
#
# <details><summary>What you get</summary>
#
# They are much alike, as AUC says: the weighted one finds 43 % at precision 0.37, the
# plain one 53 % at 0.31.
#
# </details>
#
# To choose, you need one number. F1 is common: 2 · hits / (alarms + rare rows), where
# alarms are all rows called rare, and hits those of them that are. It is high only if
# precision *and* recall are. Accuracy is no help: it rewards finding nothing.

# %% [markdown]
# ### Exercise: the best threshold
#
# Write `best_threshold(y, p)` for labels `y` (0 or 1) and scores `p`, both arrays
# `(n,)`: a float `t` such that saying "yes" where `p >= t` gives the highest F1,
# 2 · hits / (alarms + positives), where hits are the positives among the alarms. If
# several thresholds are equally good, return any of them. Scores may be equal to each
# other or almost equal, may lie anywhere from 0.0 to 1.0, both included, and may all be
# tiny. If `y` has no positives, return a number above every score. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# Which thresholds make a difference? Only those that are scores of the data.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Write the F1 of one threshold as a small function, then try `np.unique(p)`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `max(np.unique(p), key=f1)` with `yes = p >= t` and
# `2 * np.sum(yes & (y == 1)) / (np.sum(yes) + np.sum(y))`.
#
# </details>


# %% exercise: best_threshold
def best_threshold(y, p):
    """A threshold t for which p >= t has the highest F1."""

    ### BEGIN SOLUTION
    def f1(t):
        yes = p >= t
        return 2 * np.sum(yes & (y == 1)) / (np.sum(yes) + np.sum(y == 1))

    if not np.any(y == 1):
        return float(np.max(p)) + 1.0
    return float(max(np.unique(p), key=f1))
    ### END SOLUTION


# %% check: best_threshold, 3 points
def evidence(best_threshold, rng):
    few, more = int(rng.integers(5, 8)), int(rng.integers(6, 9))
    wrong, rest = more + int(rng.integers(1, 3)), int(rng.integers(250, 280))
    runs = [(0, 1), (1, 1), (0, 1), (1, few), (0, 2), (1, 3)]  # the best precision, and
    runs += [(0, wrong), (1, more)]  # accuracy, lie before the best F1, which is here
    last = sum(count for _, count in runs) - 1
    runs += [(0, 8), (1, 1), (0, rest), (1, 1)]
    y = np.concatenate([np.full(count, label) for label, count in runs])
    n, order = len(y), rng.permutation(len(y))

    def scores(low, high):
        return np.sort(rng.uniform(low, high, n))[::-1]

    def threshold(y, p, order=order):
        return float(best_threshold(y[order].copy(), p[order].copy()))

    def reached(y, p, order=order):
        yes = p >= threshold(y, p, order)
        return [2 * np.sum(y[yes]) / (np.sum(yes) + np.sum(y)), np.sum(yes)]

    high, tiny, low = scores(0.35, 1.0), scores(0.0, 0.004), scores(0.05, 0.4)
    high[0] = 1.0
    given = {"rows": n, "positives": int(y.sum())}
    label = "F1 and number of alarms"
    yield label, lambda: reached(y, high), given
    yield f"{label}, low scores", lambda: reached(y, low), {**given, "up to": 0.4}
    yield f"{label}, tiny scores", lambda: reached(y, tiny), {**given, "up to": 0.004}
    tied, close, top = high.copy(), low.copy(), high.copy()
    tied[last - 2 : last + 7] = tied[last]  # the last three good rows and six bad ones
    orders = [rng.permutation(n) for _ in range(4)]

    def shuffled():
        return [reached(y, tied, rows) for rows in orders]

    yield f"{label}, equal scores, rows in four orders", shuffled, given
    close[last + 1] = close[last] - 1e-9
    yield f"{label}, with scores 1e-9 apart", lambda: reached(y, close), given
    top[:few], first = 1.0, 1 * (np.arange(n) < few)
    alone = {"rows": n, "positives": few, "their scores": 1.0}
    yield f"{label}, all positives at the top", lambda: reached(first, top), alone
    everybody = {"rows": n, "positives": n}
    yield f"{label}, only positives", lambda: reached(0 * y + 1, low), everybody

    def none():
        t = threshold(0 * y, high)
        return [np.sum(high >= t), np.sum(high < t)]

    nobody = {"rows": n, "positives": 0, "highest score": 1.0}
    yield "no positives: alarms, and scores below the threshold", none, nobody


check("04/best_threshold", evidence)

# %% mistake: the best threshold has the best accuracy
"""You look for the highest accuracy. With a rare class that is reached by saying "no"
to almost everything, which is the problem that this lesson began with. Look at F1."""


def best_threshold(y, p):
    if not np.any(y == 1):
        return float(np.max(p)) + 1.0
    return float(max(np.unique(p), key=lambda t: np.mean((p >= t) == (y == 1))))


# %% mistake: 0.5 is the border
"""You return 0.5 whatever the data are. For a rare class, good scores are often far
below 0.5. Take the threshold from the scores."""


def best_threshold(y, p):
    return 0.5 if np.any(y == 1) else float(np.max(p)) + 1.0


# %% mistake: a grid of thresholds is fine enough
"""Your threshold is not fine enough: you try a grid such as 0.01, 0.02, ..., or you
round what you found. Between two such numbers may lie many rows, or all. Try the scores
themselves, and return one as it is: between two scores nothing changes."""


def best_threshold(y, p):
    def f1(t):
        yes = p >= t
        return 2 * np.sum(yes & (y == 1)) / (np.sum(yes) + np.sum(y == 1))

    if not np.any(y == 1):
        return float(np.max(p)) + 1.0
    return float(max(np.linspace(0.01, 1, 100), key=f1))


# %% mistake: a grid that begins at 0 is fine enough
"""Your threshold is not fine enough: you try a grid such as 0, 0.01, 0.02, ..., or you
round what you found. Between two such numbers may lie many rows, or all. Try the scores
themselves, and return one as it is: between two scores nothing changes."""


def best_threshold(y, p):
    def f1(t):
        yes = p >= t
        return 2 * np.sum(yes & (y == 1)) / (np.sum(yes) + np.sum(y == 1))

    if not np.any(y == 1):
        return float(np.max(p)) + 1.0
    return float(max(np.linspace(0, 1, 101), key=f1))


# %% mistake: recall minus false alarms finds the same
"""You look for the largest recall minus share of false alarms (Youden's index). With
many common rows, a hundred false alarms are a small *share*, so it says "yes" too
often. F1 counts them one by one."""


def best_threshold(y, p):
    rare, cuts = y == 1, np.unique(p)
    if not np.any(rare):
        return float(np.max(p)) + 1.0
    if np.all(rare):
        return float(cuts[0])
    gain = [np.mean(p[rare] >= t) - np.mean(p[~rare] >= t) for t in cuts]
    return float(cuts[np.argmax(gain)])


# %% mistake: equal scores can be cut apart
"""You sort the rows and cut after the best one, also in the middle of equal scores. A
threshold cannot do that: rows with the same score get the same answer. Judge only cuts
between different scores."""


def best_threshold(y, p):
    if not np.any(y == 1):
        return float(np.max(p)) + 1.0
    order = np.lexsort((-y, -p))
    hits = np.cumsum(y[order])
    f1 = 2 * hits / (np.arange(1, len(y) + 1) + np.sum(y))
    return float(p[order][np.argmax(f1)])


# %% mistake: the border row itself is a no
"""You measure with `p > t` but the caller says yes at `p >= t`. The row whose score you
return gets the other answer."""


def best_threshold(y, p):
    def f1(t):
        yes = p > t
        return 2 * np.sum(yes & (y == 1)) / (np.sum(yes) + np.sum(y == 1))

    if not np.any(y == 1):
        return float(np.max(p)) + 1.0
    return float(max([0.0, *np.unique(p)], key=f1))


# %% mistake: no row reaches the highest score
"""Without positives you return the highest score, or 1.0, which may be one. The row
that has this score is called yes, because `p >= t` holds there. Go above it."""


def best_threshold(y, p):
    def f1(t):
        yes = p >= t
        return 2 * np.sum(yes & (y == 1)) / (np.sum(yes) + np.sum(y == 1))

    return float(max(np.unique(p), key=f1)) if np.any(y == 1) else float(np.max(p))


# %% mistake: without positives any threshold will do
"""Where `y` has no positives your threshold lets rows through, and all of them are
false alarms. Return a number above every score."""


def best_threshold(y, p):
    def f1(t):
        yes = p >= t
        return 2 * np.sum(yes & (y == 1)) / max(np.sum(yes) + np.sum(y == 1), 1)

    return float(max(np.unique(p), key=f1))


# %% mistake: find every rare row
"""Your threshold is so low that no positive is missed. One that looks like the common
class then drags it down, and precision with it. F1 weighs both."""


def best_threshold(y, p):
    if not np.any(y == 1):
        return float(np.max(p)) + 1.0
    return float(np.min(p[y == 1]))


# %% [markdown]
# ## The whole workflow
#
# Now in a row, as for a real problem: hold out validation rows, start at the base rate
# (with balanced weights that is a bias of 0), train with and without weights, choose a
# threshold on the *validation* rows, and report on test rows that nothing has seen or
# been tried on. `x_new` is no longer such a set: you looked for thresholds there.

# %%
# rows: W22
x_val, y_val = data.make_rare(2000, share=0.05, seed=2)
x_test, y_test = data.make_rare(4000, share=0.05, seed=3)


def f1(y, p, t):
    return 2 * np.sum(y[p >= t]) / (np.sum(p >= t) + np.sum(y))


base_rate = np.log(np.mean(y) / (1 - np.mean(y)))
balanced = {0: 0.53, 1: 10.0}
for name, bias, table in (("plain", base_rate, None), ("weighted", 0.0, balanced)):
    model = logistic()
    model.get_layer("head").bias.assign([bias])
    train(model, class_weight=table)
    p = model.predict(x_val, verbose=0)[:, 0]
    best = max(np.unique(p), key=lambda t, p=p: f1(y_val, p, t))
    p = model.predict(x_test, verbose=0)[:, 0]
    for t in (0.5, best):
        found = describe(y_test, p, t)
        print(f"{name:9} at {t:.2f}: F1 {f1(y_test, p, t):.2f}, {found}")

# %% [markdown]
# At 0.5 the two look like different models. At their own thresholds they are almost the
# same, while accuracy at 0.5 would have told you to keep the one that finds hardly any
# rare row. Habit: report precision and recall together with the threshold, or the AUC.
#
# A *confusion matrix* has all counts behind these numbers: a row for each true class, a
# column for each answer. Here is that of the weighted model at its own threshold.

# %%
# rows: W22
print(tf.math.confusion_matrix(y_test, p >= best).numpy())

# %% [markdown]
# <details><summary><b>If you meet this in older code</b></summary>
#
# | old | today | write |
# |---|---|---|
# | `compile(sample_weight_mode="temporal")` | TypeError | weights of shape `(n, T)` |
# | `class_weight="balanced"`, `"auto"`, a list | AttributeError | a dict |
# | `class_weight={"out": {0: 1, 1: 9}}` | ignored with arrays! | row weights |
# | a class weight per output | ValueError | a row weight per output |
# | `fit_generator(..., class_weight=)` | gone | `fit(Dataset of (x, y, w))` |
# | `losses.Reduction.SUM`, `"auto"` | gone, ValueError | `"sum"`, no argument |
# | `loss_weights` for classes | weights *outputs* | `class_weight` |
#
# </details>

# %%
# rows: W9, W14
model = logistic()
print(outcome(lambda: model.compile("sgd", "mse", sample_weight_mode="temporal")))
model.compile(SGD(0.0), "mse", run_eagerly=True)
print(outcome(lambda: model.fit(x[:8], y[:8], class_weight="auto")))
by_name = {"head": {0: 0.0, 1: 0.0}}  # were it read, the loss would be 0
print(outcome(lambda: model.fit(x[:8], y[:8], class_weight=by_name).history), "(!)")
print("is there a fit_generator?", hasattr(model, "fit_generator"), end=" ")
print("losses.Reduction?", hasattr(keras.losses, "Reduction"))
print(outcome(lambda: keras.losses.MeanSquaredError(reduction="auto"))[:46])
inputs = keras.Input((2,))
heads = {name: keras.layers.Dense(1)(inputs) for name in ("one", "two")}
model = keras.Model(inputs, heads)
model.compile("sgd", "mse", run_eagerly=True)
pair = {"one": y[:8], "two": y[:8]}
print(outcome(lambda: model.fit(x[:8], pair, class_weight={0: 1.0, 1: 9.0})))

# %% [markdown]
# ### In your own words
#
# You trained a model for a rare illness with balanced class weights. Accuracy fell from
# 0.95 to 0.76, and a colleague concludes: "Class weights make the model worse." Answer
# in three or four sentences: why accuracy fell, what you would show instead, and what
# else than weights would have had much the same effect. Your teacher reads this one.
# 5 minutes.

# %% answer: accuracy_fell, 2 points [markdown]
# Accuracy counts a false alarm as much as a missed case, and 95 of 100 cases are
# healthy: saying "healthy" always gets 0.95 and finds nobody. With weights the model
# finds most of the ill, at the price of more false alarms. I would show recall and
# precision at the threshold that we use, or the AUC, which hardly changed. Choosing a
# lower threshold for the unweighted model would have moved the same trade-off.

# %%
progress("04")

# %% [markdown]
# ## Five habits from this lesson
#
# | habit | because |
# |---|---|
# | print the total weight of each class | upside-down weights give no warning |
# | a dict of `range(k)`, integer keys | arrays ignore gaps and text, a Dataset stops |
# | check that the loss changed | ignored weights are silent |
# | weights in the shape of the loss | `(n,)` may fit sequences by accident |
# | recall, precision, AUC before accuracy | accuracy rewards finding nothing |

# %% [markdown]
# ## You can now
#
# - compute every weighted or masked loss and metric by hand, denominator included;
# - make weights from classes, rows, steps and padding, and deliver them so that they
#   arrive;
# - take an imbalanced problem from the first bias to a threshold that you can defend.
#
# Next: lesson 05, where a model has several inputs and outputs.
