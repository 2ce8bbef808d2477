# %% [markdown]
# # Feeding data: Datasets, generators, DataFrames
#
# Your model learned well from arrays. Then you put the same rows into a
# `tf.data.Dataset`, changed nothing else, and it stopped learning: training accuracy
# looks fine, test accuracy is hardly better than guessing. No error, no warning.
# In this lesson you find out what each epoch of a pipeline sees, row by row, and you
# build pipelines that hold no surprises.
#
# Eight exercises (30 points) and a question (2 points), about three and a half hours.
# Half-way, after the exercise on tables, is a good place for a break. You need lesson
# 01.

# %%
import collections
import time

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from helpers import data, plots
from helpers.checks import AnyOrder, EqualOrNot, check, hint, progress, solution
from helpers.watch import fit_log, outcome, recorder

# %% [markdown]
# ## The only change was a Dataset
#
# Files often lie in one folder per class, so data arrives **sorted by class**.
# Here are the digits in that order: all zeros first, all nines last.
# As arrays they do no harm. Then the same rows come from a Dataset in batches of 32,
# and nothing else changes. The picture shows what the model answers after an epoch.
# (`shuffle=False` changes nothing: `fit` never shuffles a Dataset, it would only warn.)

# %%
# rows: D4
(x_train, y_train), test = data.load_digits()
by_class = np.argsort(y_train, kind="stable")
x_sorted, y_sorted = x_train[by_class], y_train[by_class]


def digit_model():
    dense = keras.layers.Dense(32, "relu"), keras.layers.Dense(10)
    model = keras.Sequential([keras.Input((64,)), *dense])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
    return model


model = digit_model()
model.fit(x_sorted, y_sorted, epochs=4, verbose=0)
accuracy = model.evaluate(*test, verbose=0)[1]
print("arrays: test accuracy above 0.8?", accuracy > 0.8)

# %% varies: a few predictions depend on the version and the processor
# rows: D4, D7
sorted_rows = tf.data.Dataset.from_tensor_slices((x_sorted, y_sorted))
model = digit_model()
history = model.fit(sorted_rows.batch(32), shuffle=False, verbose=0).history
print("Dataset: training accuracy above 0.5?", history["accuracy"][0] > 0.5)
predicted = model.predict(test[0], verbose=0).argmax(axis=1)
answers = {"test labels": test[1], "predicted": predicted}
plots.class_counts(
    answers, "After an epoch of sorted rows, nearly all answers are nines"
)

# %% [markdown]
# The model answers with the class that it saw last. Its training accuracy looks good
# because each batch is tested right after others of the same class.
# Do more epochs help? Each ends with the nines again. Look at the test accuracy, first
# that of the arrays from above.

# %% varies: accuracies depend on the version and the processor
# rows: D4
print(f"mixed rows,   4 epochs: test accuracy {accuracy:.2f}")
for more, total in ((4, 5), (5, 10), (10, 20)):
    model.fit(sorted_rows.batch(32), epochs=more, shuffle=False, verbose=0)
    later = model.evaluate(*test, verbose=0)[1]
    print(f"sorted rows, {total:2} epochs: test accuracy {later:.2f}")

# %% [markdown]
# They help slowly: after twenty, the model is still behind what mixed rows reached in
# four.
# With arrays, `fit` mixed the rows for you. With a Dataset, the order is **your** job.
#
# ## A Dataset is a recipe
#
# A Dataset holds no rows. It is a recipe, carried out from the start each time somebody
# iterates. Every method returns a **new** recipe and leaves the old one alone. Habit:
# write `rows = rows.batch(4)`, never `rows.batch(4)` alone.
#
# A **tuple** keeps inputs and labels apart; a **list** is stacked into one tensor. The
# *static shape* is what is known before any row is read; `None` is a number that is
# not.

# %%
# rows: D6, D39, D43
x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
Dataset = tf.data.Dataset
rows = Dataset.from_tensor_slices((x, y))
shapes = [tuple(part.shape) for part in rows.element_spec]
print("slices of a tuple:", len(rows), "elements of shapes", shapes)
print("from_tensors:     ", len(Dataset.from_tensors((x, y))), "element, all at once")
stacked = Dataset.from_tensor_slices([x, x])
print(
    "slices of a list: ", len(stacked), "elements of shape", stacked.element_spec.shape
)
print("unequal lengths:  ", outcome(lambda: Dataset.from_tensor_slices((x, y[:5]))))
rows.batch(4)  # the result is thrown away
print("after rows.batch(4):", len(rows))
for batches in (rows.batch(4), rows.batch(4, drop_remainder=True)):
    shape = batches.element_spec[1].shape
    print("batch sizes", [len(y) for _, y in batches], "static shape", shape)

# %% [markdown]
# ### Quiz: three lines
#
# ```python
# rows = tf.data.Dataset.from_tensor_slices((x, y))
# rows.shuffle(1000).batch(32)
# model.fit(rows, batch_size=32)
# ```
#
# What does the model see in one step?
#
# <details><summary>A. 32 shuffled rows</summary>
#
# No: the second line makes a shuffled, batched Dataset and throws it away.
#
# </details>
# <details><summary>B. 32 rows in their old order</summary>
#
# No: `batch_size` next to a Dataset is ignored without a word, so nothing makes
# batches.
#
# </details>
# <details><summary>C. One row without a batch axis</summary>
#
# Right: `rows` is unchanged, and each element is one row of shape `(d,)`. Most layers
# stop with an error about shapes.
#
# </details>

# %% [markdown]
# ## What fit takes, and what it refuses
#
# The same rows give the same loss in many forms. Refused are plain Python lists, of
# numbers or of rows: a list is read as "several inputs". So `[x]` is one input in a
# list, and a dict gives inputs by name. This model was built from a single input, not
# from a list or dict, so Keras warns, and takes them all the same.
#
# A Dataset brings its own batches, labels and weights, as the second cell shows. What
# you pass next to it is refused, all but `batch_size` (lesson 01).
# (`recorder()`, a small compiled model that notes its rows, comes back below.)


# %%
# rows: D1, D2
def loss_of(x, y=None, **settings):
    features = keras.Input((2,), name="features")
    outputs = keras.layers.Dense(1, kernel_initializer="ones")(features)
    model = keras.Model(features, outputs)
    model.compile("sgd", "mse", run_eagerly=True)
    return outcome(lambda: model.evaluate(x, y, verbose=0, **settings))


print("arrays:    ", loss_of(x, y))
print("tensors:   ", loss_of(tf.constant(x), tf.constant(y)))
print("DataFrame: ", loss_of(pd.DataFrame(x), pd.Series(y)))
print("Dataset:   ", loss_of(rows.batch(4)))
print("[x]:       ", loss_of([x], y))
print("dict:      ", loss_of({"features": x}, y))
print("numbers:   ", loss_of(x.tolist(), y.tolist()))
print("row arrays:", loss_of(list(x), y))

# %%
# rows: D3, D5, D18, D19
print("10 and 5 rows:   ", loss_of(x, y[:5]))
print("no batch:        ", loss_of(rows))
print("y next to it:    ", loss_of(rows.batch(4), y))
print("weights:         ", loss_of(rows.batch(4), sample_weight=y))
print("batch_size:      ", loss_of(rows.batch(4), batch_size=2), "(ignored)")
fit = recorder().fit
print("validation_split:", outcome(lambda: fit(rows.batch(4), validation_split=0.2)))

# %% [markdown]
# The elements must be `x`, `(x,)`, `(x, y)` or `(x, y, weights)`. What counts is the
# **place in the tuple**, not a name: the names of a namedtuple are ignored,
# and a dict is taken as inputs only. (The layer below adds the mean of its inputs to
# the loss, here 1.5, so that there is a loss without labels, too.)


# %%
class AddMean(keras.layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(x))
        return x


x1, y1, none = np.arange(4.0)[:, None], np.ones((4, 1)), np.zeros(4)
named = collections.namedtuple
right, swapped = named("Right", "x y"), named("Swapped", "y x")


# %%
# rows: D20, D21, D22
def with_tuples(verb, parts, loss="mse"):
    inputs = keras.Input((1,), name="x")
    model = keras.Model(inputs, AddMean()(inputs))
    model.compile("sgd", loss, run_eagerly=True)
    batches = Dataset.from_tensor_slices(parts).batch(2)
    return outcome(lambda: getattr(model, verb)(batches, verbose=0)).split("; User")[0]


print("x, y:       ", with_tuples("evaluate", right(x1, y1)))
print("y, x:       ", with_tuples("evaluate", swapped(y1, x1)), "(swapped, no error)")
weights_at_zero = named("Third", "x y note")(x1, y1, none)
print("third field:", with_tuples("evaluate", weights_at_zero), "(weights of the loss)")
print("four parts: ", with_tuples("evaluate", (x1, y1, none, none)))
print("one dict:   ", with_tuples("fit", {"x": x1, "y": y1}))
print("(x,):       ", with_tuples("evaluate", (x1,), None), "(a layer adds this loss)")

# %% [markdown]
# ## Shuffle: how far the buffer reaches
#
# `shuffle(b)` keeps a buffer of the next `b` rows and draws from it. No row can come
# more than `b - 1` places early. The pictures show where each row of the
# sorted digits ends up.

# %%
# rows: D7
places = tf.data.Dataset.range(len(x_sorted))
orders = {
    f"shuffle({buffer})": np.array(list(places.shuffle(buffer, seed=1)))
    for buffer in (1, 64, len(x_sorted))
}
plots.reach(orders, "A small buffer leaves sorted rows sorted")

# %%
# rows: D7
firsts = {name: y_sorted[order[:32]] for name, order in orders.items()}
plots.class_counts(firsts, "With a small buffer, the first batch holds one class")

# %% [markdown]
# Habit: `shuffle(len(x))`, before `batch`. After `batch`, it moves whole batches.
#
# Every pass starts the recipe again, and `shuffle` draws a new order; with a `seed` of
# its own, the same series of orders whenever you run the program.
# Here are three epochs of four pipelines over twelve rows; a box is a batch.
#
# **Try it.** In the last entry of `pipelines`, write `shuffle(1, seed=1)` instead of
# `shuffle(12, seed=1)`. What becomes of the last three lines of the picture? Predict
# first.
#
# <details><summary>What you get</summary>
#
# The three lines of `batch(4)`: a buffer that holds one batch has nothing to choose
# from.
#
# </details>


# %%
# rows: D8, D9
def passes(batches, epochs=3):
    """What `epochs` passes over a Dataset of numbers give, batch by batch."""
    return [[np.ravel(batch).tolist() for batch in batches] for _ in range(epochs)]


twelve = tf.data.Dataset.range(12)
once = twelve.shuffle(12, seed=1, reshuffle_each_iteration=False)
pipelines = {
    "batch(4)": passes(twelve.batch(4)),
    "shuffle(12).batch(4)": passes(twelve.shuffle(12, seed=1).batch(4)),
    "shuffle(12, reshuffle_each_iteration=False).batch(4)": passes(once.batch(4)),
    "batch(4).shuffle(12)": passes(twelve.batch(4).shuffle(12, seed=1)),
}
plots.epochs_seen(pipelines, "Only shuffle before batch mixes rows anew")

# %% [markdown]
# ### Exercise: a training pipeline
#
# Write `make_train_ds(x, y, batch_size, seed)`: a Dataset for `fit`, from an array `x`
# `(n, d)` of any number type and labels `y` `(n,)`.
#
# - Its elements are batches `(x, y)` of `batch_size` rows. The last one may be smaller.
# - Each epoch sees every row once, in a new random order, in which any row can come
#   first, however long `x` is.
# - Inputs are float32; labels keep their type, and stay with their rows.
# - `len(...)` gives the number of batches.
# - The same `seed` gives the same orders again, another seed others. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# Which comes first, `shuffle` or `batch`? And how large must the buffer be, so that the
# last row can come first?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Every method returns a new Dataset. Chain the calls, and return the end of the chain.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))`, then
# `.shuffle(len(x), seed=seed)`, then `.batch(batch_size)`.
#
# </details>


# %% exercise: make_train_ds
def make_train_ds(x, y, batch_size, seed):
    """Batches (x, y), rows in a new, repeatable random order in every epoch."""
    ### BEGIN SOLUTION
    rows = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))
    return rows.shuffle(len(x), seed=seed).batch(batch_size)
    ### END SOLUTION


# %% check: make_train_ds, 4 points
def evidence(make_train_ds, rng):
    batch_size = int(rng.integers(40, 60))
    n = int(rng.integers(10, 15)) * batch_size + int(rng.integers(5, 30))
    seed, keys = int(rng.integers(1000)), rng.permutation(30_000)[:n]
    x, y = np.stack([keys, keys % 7 + 0.25], axis=1), (keys // 10).astype("int32")
    place = {int(key): number for number, key in enumerate(keys)}
    step, many = int(rng.integers(102_500, 103_900)), np.arange(105_000)

    def epochs(seed, count, most):
        batches = make_train_ds(x.copy(), y.copy(), batch_size, seed)
        capped = batches.take(most)  # it may be endless
        return batches, [list(capped) for _ in range(count)]

    def numbers(epoch):
        return np.concatenate([np.reshape(part, (-1, 2)) for part, _ in epoch])

    def order(epoch):
        return numbers(epoch)[:, 0].astype(int).tolist()

    def short():
        """Of 80 epochs of five rows: who came first, and who came right after whom."""
        batches = make_train_ds(x[:5].copy(), y[:5].copy(), 1, seed)
        rows, _ = next(iter(batches.repeat(80).take(400).batch(400)))
        rows = np.reshape(rows, (80, 5, 2))[:, :, 0].astype(int)
        pairs = zip(rows[:, :-1].ravel(), rows[:, 1:].ravel(), strict=True)
        return [len(set(rows[:, 0])), min(len(set(pairs)), 12)]

    batches, seen = epochs(seed, 3, most=20)
    orders = [order(epoch) for epoch in seen]
    given = {"rows": n, "batch_size": batch_size, "seed": seed, "x": x.dtype.name}
    yield "how many rows each epoch sees", [len(set(o)) for o in orders], given
    sizes = sorted(len(rows) for rows, _ in seen[0])
    yield "sizes of the batches, in order of size", sizes, given
    labels = np.concatenate([np.ravel(part) for _, part in seen[0]])
    alien = [*(np.array(orders[0]) // 10 != labels), True].index(True)
    yield "rows before the first one with another's label", alien, given
    wanted = x[[place.get(key, 0) for key in orders[0]]]
    off = float(np.abs(numbers(seen[0]) - wanted).max())
    yield "how far an input is from the one in x, at most", off, given
    yield "the number of batches is known", lambda: len(batches), given
    pairs = zip([keys.tolist(), *orders], orders, strict=False)
    moved = [sum(a != b for a, b in zip(*pair, strict=False)) for pair in pairs]
    text = "rows with a new place in the epochs 1, 2, 3 (counted up to half of them)"
    yield text, [min(count, n // 2) for count in moved], given
    large, size = (np.stack([many, many % 7], axis=1), many), 2000
    rows, labels = list(make_train_ds(*large, size, seed).take(1))[0]
    spread = int(np.ptp(np.reshape(rows, (-1, 2))[:, 0])) // step * step
    text = "how far apart the rows of a first batch lie (in whole steps)"
    yield text, spread, {"rows": len(many), "step": step, "batch_size": size}
    text = "in 80 epochs of five rows: rows that came first, pairs that met (up to 12)"
    yield text, short, {"rows": 5, "batch_size": 1, "seed": seed}
    types = [np.asarray(part).dtype.name for part in (*seen[0][0], rows, labels)]
    yield "types of inputs and labels, for labels of int32 and of int64", types, given
    batch = sorted(place.get(key, 0) for key in order(seen[0][:1]))[:20]
    apart = EqualOrNot(batch, np.arange(batch[0], batch[0] + len(batch)))
    yield "rows that were neighbours do not stay together", apart, given
    firsts = [o[:20] for o in orders[:2]]
    same = [order(epoch)[:20] for epoch in epochs(seed, 2, most=1)[1]]
    yield "the same seed gives the same orders", EqualOrNot(firsts, same), given
    other = order(epochs(seed + 1, 1, most=1)[1][0])[:20]
    yield "another seed gives another order", EqualOrNot(firsts[0], other), given


check("03/make_train_ds", evidence)

# %% mistake: fit makes the batches
"""Your elements are single rows. `fit` does not batch a Dataset, and ignores
`batch_size` next to it: call `.batch(batch_size)`."""


def make_train_ds(x, y, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))
    return rows.shuffle(len(x), seed=seed)


# %% mistake: shuffle after batch
"""You shuffle whole batches: the same neighbours always meet, and sorted data stays
sorted inside each batch. Shuffle first, then batch."""


def make_train_ds(x, y, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))
    return rows.batch(batch_size).shuffle(len(x), seed=seed)


# %% mistake: a buffer smaller than the data will do
"""With a buffer smaller than the data, of a fixed size or a part of `len(x)`, no row
comes more than that many places early: sorted data stays nearly sorted. For a full mix
the buffer must hold all rows, `shuffle(len(x))`."""


def make_train_ds(x, y, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))
    return rows.shuffle(1000, seed=seed).batch(batch_size)


# %% mistake: some rows may wait behind the buffer
"""Your buffer does not hold all rows. Some wait behind it when the first one is drawn,
so the last row of the data can never come first. Let the buffer hold all of them,
`shuffle(len(x))`."""


def make_train_ds(x, y, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))
    return rows.shuffle(len(x) - 1, seed=seed).batch(batch_size)


# %% mistake: methods change the Dataset
"""You call `rows.shuffle(...)` and drop what it returns. Datasets never change; each
method gives you a new one. Write `rows = rows.shuffle(...)`, or chain the calls."""


def make_train_ds(x, y, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))
    rows.shuffle(len(x), seed=seed)
    return rows.batch(batch_size)


# %% mistake: from_tensors cuts arrays into rows
"""`from_tensors` makes **one** element of everything, so there is nothing to shuffle.
`from_tensor_slices` cuts along the first axis."""


def make_train_ds(x, y, batch_size, seed):
    rows = tf.data.Dataset.from_tensors((x.astype("float32"), y))
    return rows.shuffle(len(x), seed=seed).batch(batch_size)


# %% mistake: several epochs need repeat
"""`repeat()` without a number never ends, so the first epoch never does, unless `fit`
is told `steps_per_epoch`. `fit` starts a finite Dataset again for every epoch by
itself."""


def make_train_ds(x, y, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))
    return rows.shuffle(len(x), seed=seed).batch(batch_size).repeat()


# %% mistake: all batches must be equally large
"""`drop_remainder=True` throws the last, smaller batch away: some rows are not seen in
this epoch."""


def make_train_ds(x, y, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))
    rows = rows.shuffle(len(x), seed=seed)
    return rows.batch(batch_size, drop_remainder=True)


# %% mistake: shuffling once is shuffling always
"""Your order is drawn once, and every epoch repeats it. `shuffle` draws a new one for
each epoch, unless you say `reshuffle_each_iteration=False`."""


def make_train_ds(x, y, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))
    rows = rows.shuffle(len(x), seed=seed, reshuffle_each_iteration=False)
    return rows.batch(batch_size)


# %% mistake: random needs no seed
"""You do not pass `seed` on, so your orders cannot be repeated."""


def make_train_ds(x, y, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))
    return rows.shuffle(len(x)).batch(batch_size)


# %% mistake: the seed may be a constant
"""Your orders are the same whatever `seed` says. Pass it on: `seed=seed`."""


def make_train_ds(x, y, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))
    return rows.shuffle(len(x), seed=1).batch(batch_size)


# %% mistake: a Dataset converts numbers for me
"""A Dataset keeps the type of the array. Layers compute in float32, and TensorFlow
refuses to mix types: convert with `x.astype("float32")`."""


def make_train_ds(x, y, batch_size, seed):
    rows = tf.data.Dataset.from_tensor_slices((x, y))
    return rows.shuffle(len(x), seed=seed).batch(batch_size)


# %% mistake: inputs and labels may be shuffled apart
"""You shuffle inputs and labels each on its own, so rows lose their labels, and the
model learns noise. Keep them in one tuple, and shuffle the pairs."""


def make_train_ds(x, y, batch_size, seed):
    inputs = tf.data.Dataset.from_tensor_slices(x.astype("float32"))
    labels = tf.data.Dataset.from_tensor_slices(y).shuffle(len(x), seed=seed + 7)
    rows = tf.data.Dataset.zip((inputs.shuffle(len(x), seed=seed), labels))
    return rows.batch(batch_size)


# %% [markdown]
# ## A part to hold out
#
# `validation_split` does not work for a Dataset. So people write `take` and `skip`, and
# a shuffled Dataset is a trap: each pass draws a new order. A line below is one pass:
# first the validation part, then the training part. Look for validation rows in a
# training box of any line: the model trains on them, and your validation score is a
# lie.
#
# A shuffle that draws its order **once** (the second group) does not leak, if what
# comes before it has a fixed order. Nor does `split_dataset`: it reads all rows once
# and keeps them. But then every epoch trains in the same order. Habit: split first,
# shuffle the training part afterwards.


# %%
# rows: D18
def parts(val, train):
    return [[[int(row) for row in part] for part in (val, train)] for _ in range(3)]


ten = tf.data.Dataset.range(10)
mixed, fixed = (ten.shuffle(10, 1, reshuffle_each_iteration=r) for r in (True, False))
left, right = keras.utils.split_dataset(mixed, left_size=3)
pipelines = {
    "shuffle, then take and skip": parts(mixed.take(3), mixed.skip(3)),
    "shuffle once, then take and skip": parts(fixed.take(3), fixed.skip(3)),
    "keras.utils.split_dataset": parts(left, right),
}
plots.epochs_seen(pipelines, "A reshuffling shuffle leaks validation rows", "pass")

# %% [markdown]
# ### Exercise: a split that does not leak
#
# Write `split_ds(ds, n_val)`. `ds` is a Dataset of single rows `(x, y)`. It fits into
# memory, and its length is known; whoever made it may have shuffled it, with a new
# order in every pass.
# Return two Datasets of single rows, `(train, val)`.
#
# - `val` has `n_val` rows, the same ones in the same order in every pass. Which ones is
#   up to you.
# - `train` has all the others, in a new random order in every pass, in which any
#   can come first; also if `ds` is not shuffled.
# - Rows keep their labels, shapes and types, and `len` is known.
# - It holds whichever part is read first. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# Whatever reads `ds` twice sees two orders. How often may you read it?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Read it once, keep what you read, and make new Datasets from that. Then look at the
# last line of the picture: what is still missing in its training box?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `ds.batch(len(ds)).get_single_element()` is a tuple of arrays with all rows. Make a
# Dataset of it, and use `take`, `skip` and `shuffle`, in an order that does not leak.
#
# </details>


# %% exercise: split_ds
def split_ds(ds, n_val):
    """Two Datasets (train, val) without a common row, however `ds` is shuffled."""
    ### BEGIN SOLUTION
    parts = ds.batch(len(ds)).get_single_element()
    rows = tf.data.Dataset.from_tensor_slices(parts)
    train = rows.skip(n_val).shuffle(len(ds) - n_val)
    return train, rows.take(n_val)
    ### END SOLUTION


# %% check: split_ds, 3 points
def evidence(split_ds, rng):
    n, n_val = int(rng.integers(20, 30)), int(rng.integers(5, 9))
    keys, seed = rng.permutation(1000)[:n], int(rng.integers(1000))
    x = np.stack([keys, keys % 7, rng.permutation(n)], axis=1).astype("float32")

    def split():
        ds = tf.data.Dataset.from_tensor_slices((x, keys * 3)).shuffle(n, seed=seed)
        train, val = split_ds(ds, n_val)  # a part may be endless
        return train, val, [part.take(2 * n).batch(2 * n) for part in (train, val)]

    def read(part):
        """All rows of one pass, each with its label."""
        (x, y), *_ = part
        return np.column_stack(
            [np.reshape(x, (len(x), -1)), np.reshape(y, (len(y), -1))]
        )

    def mixed():
        """Of 80 passes over five rows: who came first, and who came after whom."""
        few = x[:7], keys[:7] * 3
        train, _ = split_ds(tf.data.Dataset.from_tensor_slices(few), 2)
        rows, _ = next(iter(train.repeat(80).take(400).batch(400)))
        rows = np.reshape(rows, (400, -1))[:, 0].astype(int).reshape(80, 5)
        pairs = zip(rows[:, :-1].ravel(), rows[:, 1:].ravel(), strict=True)
        return [min(len(set(rows[:, 0])), 5), min(len(set(pairs)), 12)]

    def common(used, held):
        return len(np.intersect1d(np.vstack(used)[:, 0], np.vstack(held)[:, 0]))

    train, val, (train_pass, val_pass) = split()
    held, used = zip(
        *[(read(val_pass), read(train_pass)) for _ in range(3)], strict=True
    )
    given = {"rows": n, "n_val": n_val}
    yield "rows held out in each pass", [len(rows) for rows in held], given
    yield "rows to train on in each pass", [len(rows) for rows in used], given
    yield "both lengths are known", lambda: [len(train), len(val)], given
    both = np.concatenate([held[0], used[0]])
    rows = np.column_stack([x, keys * 3])
    whole = EqualOrNot(both[both[:, 0].argsort()], rows[rows[:, 0].argsort()])
    yield "together they are all rows with their labels", whole, given
    none = EqualOrNot(common(used, held), 0)
    yield "no row is in both parts, in three passes that read val first", none, given
    _, _, fresh = split()
    used_first, held_next = [read(part) for part in fresh]
    none = EqualOrNot(common([used_first], [held_next]), 0)
    yield "no row is in both parts, in a pass that reads train first", none, given
    yield "the second pass holds out the same rows", EqualOrNot(*held[:2]), given
    yield "the third pass holds out the same rows", EqualOrNot(*held[1:]), given
    yield "the second pass trains in another order", EqualOrNot(*used[:2]), given
    text = "of a ds in one order, 80 passes: rows that came first, pairs met (up to 12)"
    yield text, mixed, {"rows": 7, "n_val": 2}
    parts = [np.asarray(part) for one in (train, val) for part in list(one.take(1))[0]]
    kinds = [[list(part.shape), part.dtype.name] for part in parts]
    yield "shapes and types of the first row of each part", kinds, given


check("03/split_ds", evidence)

# %% mistake: take and skip split a shuffled Dataset
"""A shuffle before `take` and `skip`, that of `ds` or one of your own, draws a new
order in each pass, so they cut other rows each time: validation rows end up in
training. Read `ds` once, split what you have read, and only then shuffle `train`."""


def split_ds(ds, n_val):
    return ds.skip(n_val), ds.take(n_val)


# %% mistake: a place in `ds` has the same row in each pass
"""Both parts read `ds` anew, and it comes in a new order in each pass: at the same
places stand other rows each time, and validation rows end up in training. (A shuffle
that draws once fixes places, not rows.) Read `ds` once, then split what you read."""


def split_ds(ds, n_val):
    ds = ds.shuffle(len(ds), reshuffle_each_iteration=False)
    train = ds.skip(n_val)
    return train.shuffle(len(train)), ds.take(n_val)


# %% mistake: cache keeps the first rows that were read
"""A cache counts only once it was read to its end: reading `n_val` rows of it leaves
nothing behind, and the next pass draws a new order. It works only if somebody happens
to read the training part first."""


def split_ds(ds, n_val):
    kept = ds.cache()
    return kept.skip(n_val), kept.take(n_val)


# %% mistake: all rows may be trained on
"""You hold rows out, and train on them all the same: `train` is still everything.
Leave out what `val` contains."""


def split_ds(ds, n_val):
    parts = ds.batch(len(ds)).get_single_element()
    rows = tf.data.Dataset.from_tensor_slices(parts)
    return rows.shuffle(len(ds)), rows.take(n_val)


# %% mistake: the order of the two parts does not matter
"""You return `(val, train)`; asked is `(train, val)`: now `n_val` rows are trained on,
and all others held out."""


def split_ds(ds, n_val):
    parts = ds.batch(len(ds)).get_single_element()
    rows = tf.data.Dataset.from_tensor_slices(parts)
    return rows.take(n_val).shuffle(n_val), rows.skip(n_val)


# %% mistake: validation rows should be shuffled, too
"""You shuffle the validation part: each pass gives another order. It does not leak, but
with `validation_steps` you would measure other rows each time. Shuffle only `train`."""


def split_ds(ds, n_val):
    parts = ds.batch(len(ds)).get_single_element()
    rows = tf.data.Dataset.from_tensor_slices(parts)
    train = rows.skip(n_val).shuffle(len(ds) - n_val)
    return train, rows.take(n_val).shuffle(n_val, seed=3)


# %% mistake: the training part may keep its order
"""Your split does not leak, but every epoch trains on the rows in the same order. They
are not shuffled after the split, or only once, as `reshuffle_each_iteration=False`
says. Let `train`, and only that, draw a new order in each pass: `.shuffle(len(train))`
and nothing else."""


def split_ds(ds, n_val):
    parts = keras.utils.split_dataset(ds, left_size=n_val)
    return parts[1], parts[0]


# %% mistake: the caller has shuffled
"""You hold rows out for good, but the order of `train` is whatever `ds` has. If nobody
shuffled it, every epoch is the same. Shuffle the training part yourself."""


def split_ds(ds, n_val):
    val = list(ds.take(n_val).as_numpy_iterator())
    held = tf.constant(np.stack([x for x, _ in val]))
    n_train = tf.data.experimental.assert_cardinality(len(ds) - n_val)

    def is_free(x, y):
        return ~tf.reduce_any(tf.reduce_all(x == held, axis=-1))

    parts = tuple(np.stack(part) for part in zip(*val, strict=True))
    return ds.filter(is_free).apply(n_train), tf.data.Dataset.from_tensor_slices(parts)


# %% mistake: a small buffer mixes the training part
"""The buffer of your shuffle is smaller than the training part: rows come only a few
places early, and the last ones can never come first. Use one that holds all of them,
`shuffle(len(train))`."""


def split_ds(ds, n_val):
    parts = ds.batch(len(ds)).get_single_element()
    rows = tf.data.Dataset.from_tensor_slices(parts)
    return rows.skip(n_val).shuffle(n_val), rows.take(n_val)


# %% [markdown]
# ## How long is an epoch?
#
# Without further words, an epoch is one pass. `steps_per_epoch` cuts it into shorter
# ones, and `fit` **goes on** where the last epoch stopped, as it does with arrays
# (lesson 01); the data may end in the middle of an epoch. New with a Dataset: it may
# never end.
#
# `fit_log` lets a recorder fit, and gives back what each epoch saw and what the call
# came to. Below, a Dataset of five batches, numbered 0 to 4, in four epochs.


# %%
# rows: D9, D10, D11, D12
def numbered(n):
    x = np.stack([np.arange(n), np.ones(n)], axis=1).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, np.ones(n, "float32")))


five, two = numbered(5).batch(1), {"steps_per_epoch": 2}
pipelines = {
    "fit(five)": fit_log(five, 4)[0],
    "fit(five, steps_per_epoch=2)": fit_log(five, 4, **two)[0],
    "fit(five.take(2))": fit_log(five.take(2), 4)[0],
    "fit(five.repeat(), steps_per_epoch=2)": fit_log(five.repeat(), 4, **two)[0],
}
plots.epochs_seen(pipelines, "steps_per_epoch goes on, take begins again")

# %% [markdown]
# The second group is the surprise: the third epoch has **one** batch, then the data
# is used up; the fourth begins again. Keras warns that data ran out (Python may hide
# repeats); the history still has four entries (the 4 below). An endless Dataset
# **needs** `steps_per_epoch`: without it the first epoch never ends (`fit_log` stops
# after 25 batches).
#
# `-1`, in older code, means "to the end".
#
# After `filter`, or with a generator, nobody knows the number of batches. The warning
# can be false, and worse, an epoch can get **lost**: if the steps divide the
# batches, Keras notices the end only in the next epoch, which is empty (the last two
# lines). If you know the number, say so: `assert_cardinality`.

# %%
# rows: D10, D12, D13, D14, D17, B39
endless, small = five.repeat(), five.filter(lambda x, y: x[0, 0] < 4)
sure = small.apply(tf.data.experimental.assert_cardinality(4))
print("5 batches, 2 steps: ", fit_log(five, 4, **two)[1])
print("4 batches, 2 steps: ", fit_log(five.take(4), 4, **two)[1])
print("endless, 2 steps:   ", fit_log(endless, 4, **two)[1])
print("endless:            ", fit_log(endless, 4)[1])
print("endless, len:       ", outcome(lambda: len(endless)))
print("endless, -1 steps:  ", fit_log(endless, 4, steps_per_epoch=-1)[1])
print("5 batches, -1 steps:", fit_log(five, 4, steps_per_epoch=-1)[1])
print("endless validation: ", fit_log(five, 4, validation_data=endless)[1])
print("filtered:           ", fit_log(small, 4)[1])
print("filtered, len:      ", outcome(lambda: len(small)))
print("asserted:           ", fit_log(sure, 4)[1], "| len:", len(sure))
print("filtered, 2 steps:  ", fit_log(small, 4, **two)[0])
print("asserted, 2 steps:  ", fit_log(sure, 4, **two)[0])

# %% [markdown]
# A validation Dataset is read from its start after every epoch, to its end, or for
# `validation_steps` batches: always the same first ones. Unless it is shuffled:
# then "the first ones" are others each time, and your validation curve is noise.
# Below are the batches of two validations; the last line asks for more than there are.


# %%
# rows: D15, D16
def validated(val, **settings):
    model = recorder()
    settings = {"validation_data": val, "shuffle": False, "verbose": 0, **settings}
    text = outcome(lambda: len(model.fit(five, epochs=2, **settings).epoch))
    return [batch.tolist() for batch in model.watched], text.partition(" ")[2]


pairs = numbered(6).batch(2)
print("all:              ", *validated(pairs))
print("2 steps:          ", *validated(pairs, validation_steps=2))
shuffled = numbered(6).shuffle(6, seed=1).batch(2)
print("2 steps, shuffled:", *validated(shuffled, validation_steps=2))
print("4 steps of 3:     ", *validated(pairs, validation_steps=4))

# %% [markdown]
# `repeat` is a step like any other, so its place matters. Below, one pass over seven
# rows, twice: before `batch`, the end of one epoch and the start of the next
# share a batch; before `shuffle`, even the epochs mix, and a row can come twice before
# another came once.

# %%
# rows: D42
seven = tf.data.Dataset.range(7)
pipelines = {
    "batch(3).repeat(2)": passes(seven.batch(3).repeat(2), 1),
    "repeat(2).batch(3)": passes(seven.repeat(2).batch(3), 1),
    "shuffle(7).repeat(2).batch(7)": passes(
        seven.shuffle(7, seed=2).repeat(2).batch(7), 1
    ),
    "repeat(2).shuffle(7).batch(7)": passes(
        seven.repeat(2).shuffle(7, seed=2).batch(7), 1
    ),
}
plots.epochs_seen(pipelines, "Shuffle, repeat, batch: the order matters", "pass")

# %% [markdown]
# ### Exercise: the plan of an epoch
#
# Write `epoch_plan(n_batches, steps, epochs)`: for each epoch, the list of the batches
# that `fit(ds, steps_per_epoch=steps, epochs=epochs)` trains on, when `ds` is a finite
# Dataset of known length, `n_batches` batches, numbered from 0, without shuffle.
# `steps` is at least 1, or `None` (whole passes).
# Example: `epoch_plan(5, 2, 4)` is `[[0, 1], [2, 3], [4], [0, 1]]`. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# Keep a pointer to the next batch over all epochs. Where does it stand after an epoch
# that ran out of data?
#
# </details>
# <details><summary>Hint 2</summary>
#
# An epoch ends after `steps` batches, or with the last batch. It never wraps around.
# After the last batch, the next epoch starts at 0.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Per epoch: `epoch = list(range(start, min(start + steps, n_batches)))`, then
# `start = (epoch[-1] + 1) % n_batches`.
#
# </details>


# %% exercise: epoch_plan
def epoch_plan(n_batches, steps, epochs):
    """Batch numbers that each epoch trains on, a list of lists of ints."""
    ### BEGIN SOLUTION
    plan, start = [], 0
    for _ in range(epochs):
        stop = min(start + (steps or n_batches), n_batches)
        plan.append(list(range(start, stop)))
        start = stop % n_batches
    return plan
    ### END SOLUTION


# %% check: epoch_plan, 4 points
def evidence(epoch_plan, rng):
    steps, times = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    rest = int(rng.integers(1, steps))
    cases = {
        "steps that divide the batches": (steps * times, steps),
        "a last epoch that is short": (steps * times + rest, steps),
        "more steps than batches": (steps, steps + int(rng.integers(1, 4))),
        "as many steps as batches": (steps + times, steps + times),
        "no steps given": (steps + times, None),
        "one batch": (1, steps),
        "one step": (steps + rest, 1),
    }
    for label, (n_batches, steps) in cases.items():
        epochs = times + 2 + int(rng.integers(3))
        given = {"n_batches": n_batches, "steps": steps, "epochs": epochs}
        answer = (n_batches, steps, epochs)
        yield label, lambda a=answer: [list(e) for e in epoch_plan(*a)], given


check("03/epoch_plan", evidence)

# %% mistake: each epoch takes the first batches
"""You start every epoch at batch 0. That is what `take(steps)` does; with
`steps_per_epoch`, `fit` goes on where the last epoch stopped."""


def epoch_plan(n_batches, steps, epochs):
    return [list(range(min(steps or n_batches, n_batches))) for _ in range(epochs)]


# %% mistake: the data starts again within an epoch
"""You fill a short epoch up with batches from the start, as `ds.repeat()` does. A
finite Dataset ends the epoch early; only the next epoch starts again."""


def epoch_plan(n_batches, steps, epochs):
    steps = steps or n_batches
    return [[(e * steps + i) % n_batches for i in range(steps)] for e in range(epochs)]


# %% mistake: training stops when the data is used up
"""After the short epoch you plan nothing more. Old TensorFlow stopped there; today the
next epoch starts the Dataset again."""


def epoch_plan(n_batches, steps, epochs):
    if not steps:
        return [list(range(n_batches)) for _ in range(epochs)]
    plan = []
    for start in range(0, min(epochs * steps, n_batches), steps):
        plan.append(list(range(start, min(start + steps, n_batches))))
    return plan


# %% mistake: the end is noticed only in the next epoch
"""If the steps divide the batches exactly, you plan an epoch without any batch. That is
so where nobody knows the length. Here it is known: Keras notices the end and starts the
next epoch at batch 0."""


def epoch_plan(n_batches, steps, epochs):
    plan, start = [], 0
    for _ in range(epochs):
        plan.append(list(range(start, min(start + (steps or n_batches), n_batches))))
        start = 0 if len(plan[-1]) < (steps or n_batches + 1) else start + steps
    return plan


# %% mistake: a short epoch is left out
"""You only count whole epochs: the last, short group of batches is never trained on.
`fit` trains on it, in an epoch of its own."""


def epoch_plan(n_batches, steps, epochs):
    steps = min(steps or n_batches, n_batches)
    whole = n_batches // steps
    starts = [(epoch % whole) * steps for epoch in range(epochs)]
    return [list(range(start, start + steps)) for start in starts]


# %% mistake: batches are numbered from one
"""The first batch has the number 0."""


def epoch_plan(n_batches, steps, epochs):
    plan, start = [], 0
    for _ in range(epochs):
        stop = min(start + (steps or n_batches), n_batches)
        plan.append(list(range(start + 1, stop + 1)))
        start = stop % n_batches
    return plan


# %% [markdown]
# ## Tables
#
# A DataFrame may go straight into `fit`. Keras turns it into a plain array and forgets
# its index: rows and labels are matched **by position**. Habit: bring labels into
# the order of the rows while you are in pandas, `labels.loc[table.index]`.
#
# A second difference is silent: a Series reaches the model with shape `(n, 1)`, an
# array `(n,)` as it is. Mixing both on one compiled model can stop with an error about
# ranks. A dict of columns feeds a model with one **named input per column**.
#
# All columns become **one** array. Bools next to ints give it the type `object`, which
# TensorFlow refuses; next to float64 columns they work. `table.astype("float32")` is
# safe.

# %%
# rows: D23
table = pd.DataFrame({"rooms": [0, 1, 2, 3], "size": [1.0, 2.0, 3.0, 4.0]})
price = pd.Series([1.0, 2.0, 0.0, 4.0])
print("DataFrame and Series:    ", loss_of(table, price))
print("as arrays:               ", loss_of(table.to_numpy(), price.to_numpy()))
print("labels in reverse order: ", loss_of(table, price[::-1]), "(index ignored)")
print("only the index reversed: ", loss_of(table, price.set_axis([3, 2, 1, 0])))
print("a missing number:        ", loss_of(table.replace(3.0, np.nan), price))
print("a column of text:        ", loss_of(table.assign(size=list("abcd")), price))
bools = table.assign(size=True)
print("ints and bools:          ", loss_of(bools, price))
print("the same as float32:     ", loss_of(bools.astype("float32"), price))
predicted = recorder().predict(table.astype("float32"), verbose=0)
print("predict gives:           ", type(predicted).__name__, predicted.shape)


# %%
# rows: D24, D23
class Shapes(keras.Model):
    def test_step(self, parts):
        print("target and weights:", *(tuple(part.shape) for part in parts[1:]))
        return {"loss": 0.0}


model = Shapes()
model.compile(run_eagerly=True)
result = model.evaluate(table, price, sample_weight=price, verbose=0)
result = model.evaluate(table, price.values, sample_weight=price.values, verbose=0)

inputs = {name: keras.Input((1,), name=name) for name in table}
both = keras.layers.Concatenate()([inputs["rooms"], inputs["size"]])
named = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(both))
columns = {name: table[name].to_numpy("float32")[:, None] for name in table}
print("by name:", named(columns).numpy().ravel())

# %% [markdown]
# ### Exercise: from a table to named inputs
#
# Write `frame_to_ds(table, labels, batch_size)`: a Dataset for a model with one input
# per column. `table` is a DataFrame with columns of ints, floats or bools; `labels` is
# a Series of numbers with **the same index in another order**: what belongs together
# has the same index entry, a number or a text, and no entry comes twice.
# An element is `({column: (b, 1), ...}, (b,))`, all float32. Rows come in the order of
# `table`, `batch_size` at a time; the last batch may be smaller. 15 minutes.
#
# <details><summary>Hint 1</summary>
#
# Which pandas operation gives `labels` in the order of `table.index`?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `from_tensor_slices` takes nested structures: a tuple of a dict and an array. It
# slices each array along its first axis.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `columns = {name: table[name].to_numpy("float32")[:, None] for name in table}` and
# `labels.loc[table.index].to_numpy("float32")`.
#
# </details>


# %% exercise: frame_to_ds
def frame_to_ds(table, labels, batch_size):
    """Batches ({column: (b, 1)}, (b,)) in the order of the table's rows."""
    ### BEGIN SOLUTION
    columns = {name: table[name].to_numpy("float32")[:, None] for name in table}
    targets = labels.loc[table.index].to_numpy("float32")
    return tf.data.Dataset.from_tensor_slices((columns, targets)).batch(batch_size)
    ### END SOLUTION


# %% check: frame_to_ds, 3 points
def evidence(frame_to_ds, rng):
    batch_size = int(rng.integers(4, 7))
    n = 2 * batch_size + int(rng.integers(1, batch_size))
    words = ["rooms", "size", "age", "floor", "garden", "noise", "height", "rent"]
    names = [str(name) for name in rng.permutation(words)[:3]]
    index = rng.permutation(1000)[:n]
    columns = rng.integers(0, 90, n), rng.normal(size=n), rng.random(n) < 0.5
    table = pd.DataFrame(dict(zip(names, columns, strict=True)), index=index)
    labels = pd.Series(rng.normal(size=n), index=index)
    labels = labels.iloc[rng.permutation(n)]
    given = {"columns": names, "rows": n, "batch_size": batch_size}
    batches = list(frame_to_ds(table.copy(), labels.copy(), batch_size).take(n))
    yield "the inputs' names", lambda: sorted(batches[0][0].keys()), given
    for name in names:
        column = [np.ravel(inputs[name]) for inputs, _ in batches]
        yield f"the column {names.index(name) + 1}, batch by batch", column, given
    yield "labels, batch by batch", [np.ravel(y) for _, y in batches], given
    inputs, targets = batches[0]
    shapes = [list(np.asarray(inputs[name]).shape) for name in names]
    yield "shapes of the inputs", shapes, given
    yield "shape of the labels", list(np.asarray(targets).shape), given
    parts = [*(inputs[name] for name in names), targets]
    yield "types", [np.asarray(part).dtype.name for part in parts], given

    def labels_by_text():
        texts = [f"house {number}" for number in range(1000)]
        small = table.set_axis([texts[i] for i in index]).iloc[:batch_size]
        mixed = labels.set_axis([texts[i] for i in labels.index])
        mixed = mixed[mixed.index.isin(small.index)]
        batches = list(frame_to_ds(small, mixed, batch_size).take(n))
        return [np.ravel(y) for _, y in batches]

    given = {"rows": batch_size, "batch_size": batch_size}
    yield "labels, where the index has texts", labels_by_text, given


check("03/frame_to_ds", evidence)

# %% mistake: the index brings labels to their rows
"""Only pandas looks at the index. In a Dataset, as in `fit`, rows and labels are
matched by position: bring the labels into the table's order first, with
`labels.loc[table.index]`."""


def frame_to_ds(table, labels, batch_size):
    columns = {name: table[name].to_numpy("float32")[:, None] for name in table}
    targets = labels.to_numpy("float32")
    return tf.data.Dataset.from_tensor_slices((columns, targets)).batch(batch_size)


# %% mistake: sorting both keeps the order
"""You sort both by their index. Rows and labels fit, but the rows no longer come in the
order of the table."""


def frame_to_ds(table, labels, batch_size):
    table, labels = table.sort_index(), labels.sort_index()
    columns = {name: table[name].to_numpy("float32")[:, None] for name in table}
    targets = labels.to_numpy("float32")
    return tf.data.Dataset.from_tensor_slices((columns, targets)).batch(batch_size)


# %% mistake: the table follows the labels
"""You bring the table into the order of the labels. Rows and labels fit, but the rows
no longer come in the order of the table. It is the labels that move:
`labels.loc[table.index]`."""


def frame_to_ds(table, labels, batch_size):
    table = table.loc[labels.index]
    columns = {name: table[name].to_numpy("float32")[:, None] for name in table}
    targets = labels.to_numpy("float32")
    return tf.data.Dataset.from_tensor_slices((columns, targets)).batch(batch_size)


# %% mistake: a column is an input as it is
"""Your inputs have shape `(b,)`. An input of one number per row has the shape `(b, 1)`:
add an axis to each column with `[:, None]`."""


def frame_to_ds(table, labels, batch_size):
    columns = {name: table[name].to_numpy("float32") for name in table}
    targets = labels.loc[table.index].to_numpy("float32")
    return tf.data.Dataset.from_tensor_slices((columns, targets)).batch(batch_size)


# %% mistake: a Dataset converts types
"""A Dataset keeps the types of your columns: int64, float64, bool. Convert each to
float32."""


def frame_to_ds(table, labels, batch_size):
    columns = {name: table[name].to_numpy()[:, None] for name in table}
    targets = labels.loc[table.index].to_numpy()
    return tf.data.Dataset.from_tensor_slices((columns, targets)).batch(batch_size)


# %% mistake: inputs are one array
"""You give one array with all columns side by side. A model with an input per column
wants a dict from each column's name to its values."""


def frame_to_ds(table, labels, batch_size):
    rows = table.to_numpy("float32")
    targets = labels.loc[table.index].to_numpy("float32")
    return tf.data.Dataset.from_tensor_slices((rows, targets)).batch(batch_size)


# %% mistake: labels need a second axis, too
"""Your labels have the shape `(b, 1)`; asked is `(b,)`. Only the inputs get an axis."""


def frame_to_ds(table, labels, batch_size):
    columns = {name: table[name].to_numpy("float32")[:, None] for name in table}
    targets = labels.loc[table.index].to_numpy("float32")[:, None]
    return tf.data.Dataset.from_tensor_slices((columns, targets)).batch(batch_size)


# %% mistake: the last rows do not matter
"""`drop_remainder=True` throws the last, smaller batch away."""


def frame_to_ds(table, labels, batch_size):
    columns = {name: table[name].to_numpy("float32")[:, None] for name in table}
    targets = labels.loc[table.index].to_numpy("float32")
    rows = tf.data.Dataset.from_tensor_slices((columns, targets))
    return rows.batch(batch_size, drop_remainder=True)


# %% [markdown]
# ## Rows from Python code
#
# *A good place for a break. When you come back, run all cells above this one.*
#
# Data that does not fit into memory often comes from a generator: a function with
# `yield`. `fit` takes one if each item is a **tuple** `(x, y)` of a whole batch. To
# learn the shapes, it looks at the first two batches: where they differ, the axis stays
# open; where they agree, it is fixed, and a later batch may stop the training. Only the
# number of rows stays open in any case.
#
# A generator runs **once**. What would you expect of three epochs?
# The picture in the second cell tells.


# %%
# rows: D25, D27
def pairs_from(n):
    for i in range(n):
        yield np.array([[i, 1.0]], "float32"), np.ones(1, "float32")


def texts(*lengths):
    for length in lengths:
        yield np.ones((2, length, 1), "float32"), np.ones(2, "float32")


print("tuples:      ", fit_log(pairs_from(5), 1)[1])
print("lists:       ", fit_log(([x, y] for x, y in pairs_from(5)), 1)[1])
print("inputs only: ", fit_log((x for x, _ in pairs_from(5)), 1)[1])
print("a dict:      ", fit_log(({"x": x, "y": y} for x, y in pairs_from(5)), 1)[1])
print("class_weight:", fit_log(pairs_from(5), 1, class_weight={1: 2.0})[1])
model = keras.Sequential([keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)])
model.compile("sgd", "mse", run_eagerly=True)
for lengths in ((3, 4, 5), (3, 3, 4)):
    text = outcome(lambda: model.fit(texts(*lengths), shuffle=False, verbose=0))
    print(f"lengths {lengths}:", text.split(":")[0])


# %%
# rows: D26, D25
def endless_pairs():
    while True:
        yield from pairs_from(5)


spec = tf.TensorSpec((1, 2)), tf.TensorSpec((1,))
restarted = tf.data.Dataset.from_generator(lambda: pairs_from(5), output_signature=spec)
pipelines = {
    "fit(pairs_from(5))": fit_log(pairs_from(5), 3)[0],
    "fit(endless_pairs(), steps_per_epoch=5)": fit_log(
        endless_pairs(), 3, steps_per_epoch=5
    )[0],
    "fit(Dataset.from_generator(...))": fit_log(restarted, 3)[0],
}
plots.epochs_seen(pipelines, "A finite generator: two batches from epoch 2 on")

# %% [markdown]
# Epochs 2 and 3 replay the two batches that Keras had kept from its first look. All you
# get is the warning that data ran out; the loss goes down nicely, on two batches.
#
# Habit: give `fit` something that can be **started again**.
# `from_generator` takes the function, not a running generator, and calls it for each
# pass.

# %% [markdown]
# ### Exercise: from a generator to a Dataset
#
# Write `gen_to_ds(make_rows, d, n, batch_size)`. `make_rows()` starts a generator
# that yields `n` rows `(features, label)`: `d` floats (list or array) and an int.
# Return a Dataset of batches `(x, y)`: float32 `(b, d)` and int64 `(b,)`, the last
# batch smaller if need be.
#
# - It works for any number of epochs.
# - `len` gives the number of batches, and `element_spec` the shapes `(None, d)` and
#   `(None,)`.
# - The rows may not fit into memory: nothing is read before somebody iterates, the
#   first batch does not wait for all rows, and no row is kept for the next epoch.
#   20 minutes.
#
# <details><summary>Hint 1</summary>
#
# `make_rows` or `make_rows()`: which of both can be started again?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `output_signature` is a tuple of one `tf.TensorSpec(shape, dtype)` per part, for a
# single row. A generator does not know its length: `assert_cardinality` does.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `tf.data.Dataset.from_generator(make_rows, output_signature=...)`, then
# `.apply(tf.data.experimental.assert_cardinality(n))`, then `.batch(batch_size)`.
#
# </details>


# %% exercise: gen_to_ds
def gen_to_ds(make_rows, d, n, batch_size):
    """Batches (x, y) from a generator that is started anew for each epoch."""
    ### BEGIN SOLUTION
    row = tf.TensorSpec((d,), tf.float32), tf.TensorSpec((), tf.int64)
    rows = tf.data.Dataset.from_generator(make_rows, output_signature=row)
    rows = rows.apply(tf.data.experimental.assert_cardinality(n))
    return rows.batch(batch_size)
    ### END SOLUTION


# %% check: gen_to_ds, 4 points
def evidence(gen_to_ds, rng):
    d, batch_size = int(rng.integers(2, 6)), int(rng.integers(3, 6))
    n = batch_size + int(rng.integers(1, batch_size))
    x, y = rng.normal(size=(2 * batch_size, d)), rng.integers(0, 100, 2 * batch_size)
    drawn = []

    def make_rows(count=n, features=x.tolist()):
        for i in range(count):
            drawn.append(i)
            yield features[i % len(x)], int(y[i % len(x)])

    given = {"d": d, "n": n, "batch_size": batch_size}
    batches = gen_to_ds(make_rows, d, n, batch_size)
    yield "rows read before anybody iterates", len(drawn), given
    yield "the number of batches is known", lambda: len(batches), given
    shapes = lambda: [str(part.shape) for part in batches.element_spec]  # noqa: E731
    yield "shapes in element_spec", shapes, given
    capped = batches.take(n)
    epochs = {"first": list(capped), "second": list(capped)}
    yield "rows that two epochs take from the generator", len(drawn), given
    sizes = [[len(part) for _, part in epoch] for epoch in epochs.values()]
    yield "sizes of the batches in two epochs", sizes, given
    for name, epoch in epochs.items():
        yield f"inputs of the {name} epoch", [np.asarray(x) for x, _ in epoch], given
        yield f"labels of the {name} epoch", [np.asarray(y) for _, y in epoch], given
    types = [np.asarray(part).dtype.name for part in epochs["first"][0]]
    yield "types of inputs and labels", types, given

    def full(count):
        """How many batches are promised, and the sizes of those that come."""
        batches = gen_to_ds(lambda: make_rows(count), d, count, batch_size)
        return [len(batches), [len(part) for _, part in batches.take(n)]]

    even = {**given, "n": 2 * batch_size}
    text = "number and sizes of the batches where the last one is full"
    yield text, lambda: full(2 * batch_size), even
    long, half = {**given, "n": 500 * n}, 250 * n
    rows = gen_to_ds(lambda: make_rows(2 * half, x), d, 2 * half, batch_size)
    drawn.clear()
    begin = lambda: [np.asarray(part) for part in list(rows.take(1))[0]]  # noqa: E731
    yield "first batch of a long generator that yields arrays", begin, long
    text = "rows of a long generator that one batch leaves unread (in whole halves)"
    yield text, lambda: (2 * half - len(drawn)) // half * half, long


check("03/gen_to_ds", evidence)

# %% mistake: a generator can be read again
"""You start the generator once. It runs dry in the first epoch, and later epochs get
nothing. Give `from_generator` the function, so that each epoch starts a new one."""


def gen_to_ds(make_rows, d, n, batch_size):
    row = tf.TensorSpec((d,), tf.float32), tf.TensorSpec((), tf.int64)
    running = make_rows()
    rows = tf.data.Dataset.from_generator(lambda: running, output_signature=row)
    rows = rows.apply(tf.data.experimental.assert_cardinality(n))
    return rows.batch(batch_size)


# %% mistake: a Dataset counts its rows by itself
"""Nobody knows how long a generator runs, so `len` fails, and `fit` warns that the data
ran out. You know `n`: say it with `assert_cardinality(n)`."""


def gen_to_ds(make_rows, d, n, batch_size):
    row = tf.TensorSpec((d,), tf.float32), tf.TensorSpec((), tf.int64)
    rows = tf.data.Dataset.from_generator(make_rows, output_signature=row)
    return rows.batch(batch_size)


# %% mistake: n counts the batches
"""You promise `n` batches, but there are `n` **rows**: the Dataset stops with an error
when the batches end too early. Assert the number before `batch`."""


def gen_to_ds(make_rows, d, n, batch_size):
    row = tf.TensorSpec((d,), tf.float32), tf.TensorSpec((), tf.int64)
    rows = tf.data.Dataset.from_generator(make_rows, output_signature=row)
    return rows.batch(batch_size).apply(tf.data.experimental.assert_cardinality(n))


# %% mistake: n // batch_size + 1 rounds up
"""Where `batch_size` divides `n`, you promise a batch too many, and the Dataset stops
when it does not come. Count the rows, with `assert_cardinality(n)` before `batch`, or
round up with `-(-n // batch_size)`."""


def gen_to_ds(make_rows, d, n, batch_size):
    row = tf.TensorSpec((d,), tf.float32), tf.TensorSpec((), tf.int64)
    rows = tf.data.Dataset.from_generator(make_rows, output_signature=row)
    count = tf.data.experimental.assert_cardinality(n // batch_size + 1)
    return rows.batch(batch_size).apply(count)


# %% mistake: all rows may be read at once
"""You read the whole generator into memory before training starts. With data that
does not fit, this is the end. `from_generator` reads rows when they are needed."""


def gen_to_ds(make_rows, d, n, batch_size):
    x, y = zip(*make_rows(), strict=True)
    parts = np.array(x, "float32"), np.array(y, "int64")
    return tf.data.Dataset.from_tensor_slices(parts).batch(batch_size)


# %% mistake: a generator may collect its rows
"""The first batch waits until all rows are in memory, in a list or in the buffer of a
shuffle. With data that does not fit, this is the end. Pass each row on as it comes."""


def gen_to_ds(make_rows, d, n, batch_size):
    def collected():
        yield from list(make_rows())

    row = tf.TensorSpec((d,), tf.float32), tf.TensorSpec((), tf.int64)
    rows = tf.data.Dataset.from_generator(collected, output_signature=row)
    rows = rows.apply(tf.data.experimental.assert_cardinality(n))
    return rows.batch(batch_size)


# %% mistake: a second epoch needs a cache
"""`cache` keeps every row in memory, and these rows may not fit. `from_generator`
starts the generator again for each epoch by itself."""


def gen_to_ds(make_rows, d, n, batch_size):
    row = tf.TensorSpec((d,), tf.float32), tf.TensorSpec((), tf.int64)
    rows = tf.data.Dataset.from_generator(make_rows, output_signature=row)
    rows = rows.apply(tf.data.experimental.assert_cardinality(n))
    return rows.cache().batch(batch_size)


# %% mistake: shapes take care of themselves
"""You leave the shape of a row open, `TensorSpec(None)`. Layers such as `Dense` need
to know the last axis: say `(d,)`."""


def gen_to_ds(make_rows, d, n, batch_size):
    row = tf.TensorSpec(None, tf.float32), tf.TensorSpec((), tf.int64)
    rows = tf.data.Dataset.from_generator(make_rows, output_signature=row)
    rows = rows.apply(tf.data.experimental.assert_cardinality(n))
    return rows.batch(batch_size)


# %% mistake: a dict of inputs and labels is a pair
"""Each element is a dict, and Keras takes a dict as inputs only: no labels are left.
Yield a tuple `(x, y)`."""


def gen_to_ds(make_rows, d, n, batch_size):
    row = {"x": tf.TensorSpec((d,), tf.float32), "y": tf.TensorSpec((), tf.int64)}

    def dicts():
        for x, y in make_rows():
            yield {"x": x, "y": y}

    rows = tf.data.Dataset.from_generator(dicts, output_signature=row)
    rows = rows.apply(tf.data.experimental.assert_cardinality(n))
    return rows.batch(batch_size)


# %% mistake: all batches must be equally large
"""`drop_remainder=True` throws the last, smaller batch away."""


def gen_to_ds(make_rows, d, n, batch_size):
    row = tf.TensorSpec((d,), tf.float32), tf.TensorSpec((), tf.int64)
    rows = tf.data.Dataset.from_generator(make_rows, output_signature=row)
    rows = rows.apply(tf.data.experimental.assert_cardinality(n))
    return rows.batch(batch_size, drop_remainder=True)


# %% mistake: Python's floats are float32
"""Your inputs are float64. A Python float has 64 bits, but layers compute in float32:
say so in the signature."""


def gen_to_ds(make_rows, d, n, batch_size):
    row = tf.TensorSpec((d,), tf.float64), tf.TensorSpec((), tf.int64)
    rows = tf.data.Dataset.from_generator(make_rows, output_signature=row)
    rows = rows.apply(tf.data.experimental.assert_cardinality(n))
    return rows.batch(batch_size)


# %% [markdown]
# ## Prepare while the model trains
#
# Reading and preparing a batch takes time, and meanwhile the model waits.
# `prefetch` prepares the next batches in the background. Here is a small model of
# both: 6 ms to prepare a batch, 4 ms to train on it.


# %%
# rows: D38
def schedule(ahead, batches=6, prepare=6, train=4):
    """When each batch is prepared and trained on, `(start, end)` in milliseconds."""
    prepared, trained = [(0, prepare)], [(prepare, prepare + train)]
    for _ in range(batches - 1):
        start = trained[-1][0 if ahead else 1]  # when training begins, or ends
        prepared.append((start, start + prepare))
        begin = max(prepared[-1][1], trained[-1][1])
        trained.append((begin, begin + train))
    return prepared, trained


plan = {"no prefetch": schedule(False), "prefetch(1)": schedule(True)}
plots.timeline(plan, "With prefetch, preparing hides behind training")
print("the same rows:", *tf.data.Dataset.range(6).prefetch(2).as_numpy_iterator())

# %% [markdown]
# Now the slower of the two sets the pace, not their sum. `prefetch` changes no value
# and no order. Habit: `.prefetch(tf.data.AUTOTUNE)` at the end of every pipeline.
#
# **Try it.** Change `train=4` to `train=12`. How much does `prefetch` save now?
# Predict first.
#
# <details><summary>What you get</summary>
#
# 78 ms instead of 108: it saves 30, before it was 20 of 60. Each batch but the first
# hides its 6 ms behind 12 ms of training. More than that it can never save: now
# training sets the pace.
#
# </details>
#
# ## map, cache, and what runs how often
#
# The function that you give to `map` is not called for every row. It is **traced**:
# called once, to record TensorFlow operations, and only these run for each row.
# `tf.numpy_function` wraps real Python code. We count calls, first while tracing, then
# over three epochs of six rows.

# %%
# rows: D40, D41
six, calls = tf.data.Dataset.range(6), []


def costly(x):
    calls.append(1)
    return x


def counted(*passes):
    calls.clear()
    return [len(list(rows)) for rows in passes], "rows,", len(calls), "calls"


drawn = set(six.map(lambda x: costly(np.random.normal())).as_numpy_iterator())
print("plain Python:       ", len(calls), "call,", len(drawn), "number for six rows")
rows = six.map(lambda x: tf.numpy_function(costly, [x], tf.int64))
kept, partly = rows.cache(), rows.cache()
print("no cache:           ", *counted(rows, rows, rows))
print("cache after map:    ", *counted(kept, kept, kept))
print("cache, read in part:", *counted(partly.take(3), partly, partly))

# %% [markdown]
# So Python code in `map` runs once, not per row: a counter stays at 1, a `print` prints
# once, and `np.random` draws **one** number for all rows. Use TensorFlow's operations.
#
# `cache` keeps what was computed before it, once the Dataset was read to its end.
#
# ## Random on purpose
#
# Augmentation should show other noise in each epoch. Here is the noise of four rows in
# three epochs, after a global seed, as good notebooks set it.

# %%
# rows: D40, D45
keras.utils.set_random_seed(3)
zeros = tf.data.Dataset.from_tensor_slices(np.zeros(4, "float32"))
generator = tf.random.Generator.from_seed(3)
layer = keras.layers.GaussianNoise(1.0, seed=3)
by_tf = zeros.map(lambda x: x + tf.random.normal(()))
by_generator = zeros.map(lambda x: x + generator.normal(()))
by_layer = zeros.batch(4).map(lambda x: layer(x, training=True))
pipelines = {
    "tf.random.normal in map": passes(by_tf.batch(4)),
    "tf.random.normal in map, repeat(3)": passes(by_tf.repeat(3).batch(4), 1),
    "a Generator in map": passes(by_generator.batch(4)),
    "a Generator in map, then cache": passes(by_generator.batch(4).cache()),
    "the layer GaussianNoise in map": passes(by_layer),
}
plots.epochs_seen(pipelines, "After a seed, tf.random repeats in every epoch")

# %% [markdown]
# The first group is the surprise: with a global seed, `tf.random.normal` starts from
# the same state in **every epoch**. Your augmentation is one fixed change of the data,
# and no message says so. A `tf.random.Generator` remembers where it stopped; so does a
# Keras layer, and a stream from `repeat` never starts again.
#
# The fourth group is frozen by `cache`, which keeps the noise with the rows.
# Habit: prepare, cache, shuffle, augment with a Generator, batch, prefetch.

# %% [markdown]
# ### Quiz: where does cache go?
#
# ```python
# rows = files.map(decode)        # A
# rows = rows.shuffle(1000)       # B
# rows = rows.map(augment)        # C
# rows = rows.batch(32)           # D
# ```
#
# After which line do you write `rows = rows.cache()`?
#
# <details><summary>After A</summary>
#
# Right: decoding is costly and always gives the same. All that should differ from epoch
# to epoch comes later.
#
# </details>
# <details><summary>After B</summary>
#
# No: the order of the first epoch would be kept for good.
#
# </details>
# <details><summary>After C</summary>
#
# No: order and augmentation of the first epoch would be kept for good.
#
# </details>
# <details><summary>After D, because batches are faster to keep</summary>
#
# No: even the batches would be the same in each epoch. Speed is no use if the model
# sees one fixed data set.
#
# </details>

# %% [markdown]
# ### Exercise: augment without repeating yourself
#
# Write `augmenting_ds(x, y, prepare, sigma, batch_size)`: a Dataset of batches `(x, y)`
# for `fit`, one epoch long, rows in their order, the last batch smaller if need be.
# `x` is float32 `(n, d)`, `y` has shape `(n,)`.
#
# - `prepare(row)` is a costly TensorFlow function from a row `(d,)` to a row `(d,)`. It
#   always gives the same for a row, so over all epochs (each read to its end) it runs
#   **once per row**.
# - Each epoch adds new Gaussian noise with standard deviation `sigma` to the prepared
#   rows, another number at each place; even if `keras.utils.set_random_seed` was
#   called before.
# - Labels stay as they are, and keep their type. 25 minutes.
#
# <details><summary>Hint 1</summary>
#
# Three steps: prepare, keep, add noise. Only what stands before `cache` is kept.
#
# </details>
# <details><summary>Hint 2</summary>
#
# After a global seed, `tf.random.normal` in `map` repeats itself in every epoch.
# What remembers where it stopped?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `generator = tf.random.Generator.from_non_deterministic_state()` outside of `map`;
# in it `x + generator.normal(tf.shape(x), stddev=sigma)`.
#
# </details>


# %% exercise: augmenting_ds
def augmenting_ds(x, y, prepare, sigma, batch_size):
    """Batches of prepared rows (computed once) with new noise in every epoch."""
    ### BEGIN SOLUTION
    generator = tf.random.Generator.from_non_deterministic_state()

    def add_noise(x, y):
        return x + generator.normal(tf.shape(x), stddev=sigma), y

    rows = tf.data.Dataset.from_tensor_slices((x, y))
    rows = rows.map(lambda x, y: (prepare(x), y)).cache()
    return rows.batch(batch_size).map(add_noise)
    ### END SOLUTION


# %% check: augmenting_ds, 4 points
def evidence(augmenting_ds, rng):
    batch_size, d = int(rng.integers(3, 6)), 1000
    n = 2 * batch_size + int(rng.integers(1, batch_size))
    keys, y = rng.permutation(100)[:n], rng.integers(0, 10, n).astype("int16")
    x = np.repeat(keys[:, None], d, axis=1).astype("float32")
    # 1 / sqrt(sigma) is a whole number of tenths: nothing is rounded now up, now down
    sigma = float(rng.choice([0.35, 0.39, 0.44, 0.51, 0.59]))
    shift = int(rng.integers(1, 9))
    calls = []

    def costly(row):
        calls.append(1)
        return 2 * row + np.float32(shift)

    def prepare(row):
        return tf.ensure_shape(tf.numpy_function(costly, [row], tf.float32), (d,))

    keras.utils.set_random_seed(int(rng.integers(1000)))
    batches = augmenting_ds(x.copy(), y.copy(), prepare, sigma, batch_size)
    count = 2 * -(-n // batch_size)
    twice, once = list(batches.repeat(2).take(count)), list(batches.take(count))
    given = {"rows": n, "batch_size": batch_size, "sigma": sigma}
    yield "how often prepare ran, in three epochs", len(calls), given
    sizes = [[len(part) for _, part in epochs] for epochs in (twice, once)]
    yield "sizes of the batches, in two epochs and in one", sizes, given
    labels = [np.concatenate([part for _, part in e]) for e in (twice, once)]
    yield "labels, in two epochs and in one", labels, given
    seen = np.concatenate([part for part, _ in twice + once])
    means = seen.mean(axis=1, keepdims=True).round()
    yield "rounded means of the rows, as of the prepared rows", means.ravel(), given
    noise = seen - means
    spread = sigma * np.round(noise.std() / sigma, 1)
    yield "standard deviation of the noise, to a tenth of sigma", spread, given

    def own(rows):
        """How many rows are not, but for rounding, a copy of an earlier one."""
        close = np.abs(rows[:, None, :10] - rows[None, :, :10]).max(axis=2) < 1e-3
        return int(np.sum(~np.tril(close, -1).any(axis=1)))

    first, repeated, started = (noise[k * n : (k + 1) * n] for k in range(3))
    yield "different rows of noise in one epoch", own(first), given
    again = own(np.concatenate([first, repeated]))
    yield "different rows of noise in an epoch and its repeat", again, given
    again = own(np.concatenate([first, started]))
    yield "different rows of noise in two epochs of `fit`", again, given
    stretches = own(noise[0].reshape(-1, 10))
    yield "different stretches of ten numbers, in the noise of a row", stretches, given
    far = float(np.mean(np.abs(noise) > 2 * sigma))
    tails = EqualOrNot(far > 0.02, True)
    yield "some noise lies beyond two sigma (of Gaussian noise, 4.6 %)", tails, given
    yield "the type of the labels", np.asarray(once[0][1]).dtype.name, given


check("03/augmenting_ds", evidence)

# %% mistake: noise that is drawn once will do
"""Every epoch has the noise of the first one: it was drawn before the Dataset was made,
or before `cache`, which keeps everything before it. Cache what never changes, and draw
noise after that."""


def augmenting_ds(x, y, prepare, sigma, batch_size):
    generator = tf.random.Generator.from_non_deterministic_state()

    def add_noise(x, y):
        return prepare(x) + generator.normal(tf.shape(x), stddev=sigma), y

    rows = tf.data.Dataset.from_tensor_slices((x, y)).map(add_noise)
    return rows.batch(batch_size).cache()


# %% mistake: tf.random in map is new in every epoch
"""A global seed was set, and then `tf.random.normal` inside `map` starts from the same
state in every epoch: always the same "random" noise. Use a `tf.random.Generator` made
outside of `map`, or a Keras layer."""


def augmenting_ds(x, y, prepare, sigma, batch_size):
    def add_noise(x, y):
        return x + tf.random.normal(tf.shape(x), stddev=sigma), y

    rows = tf.data.Dataset.from_tensor_slices((x, y))
    rows = rows.map(lambda x, y: (prepare(x), y)).cache()
    return rows.batch(batch_size).map(add_noise)


# %% mistake: np.random in map draws for every row
"""`map` calls your function once, to trace it. What `np.random` returned then is a
constant: the same noise for all rows and epochs. Use TensorFlow's random numbers."""


def augmenting_ds(x, y, prepare, sigma, batch_size):
    def add_noise(x, y):
        noise = np.random.normal(0, sigma, x.shape)
        return x + tf.cast(noise, tf.float32), y

    rows = tf.data.Dataset.from_tensor_slices((x, y))
    rows = rows.map(lambda x, y: (prepare(x), y)).cache()
    return rows.map(add_noise).batch(batch_size)


# %% mistake: a Dataset remembers what it computed
"""`prepare` runs again for every row in every epoch. A Dataset is a recipe and keeps
nothing, unless `.cache()` stands **after** the costly step."""


def augmenting_ds(x, y, prepare, sigma, batch_size):
    generator = tf.random.Generator.from_non_deterministic_state()

    def add_noise(x, y):
        return prepare(x) + generator.normal(tf.shape(x), stddev=sigma), y

    rows = tf.data.Dataset.from_tensor_slices((x, y)).cache()
    return rows.map(add_noise).batch(batch_size)


# %% mistake: the noise comes by itself
"""No noise arrives: you add none, or a layer that does it only in training. In `map`
nobody says that this is training: call `layer(x, training=True)`."""


def augmenting_ds(x, y, prepare, sigma, batch_size):
    layer = keras.layers.GaussianNoise(sigma)
    rows = tf.data.Dataset.from_tensor_slices((x, y))
    rows = rows.map(lambda x, y: (prepare(x), y)).cache()
    return rows.batch(batch_size).map(lambda x, y: (layer(x), y))


# %% mistake: one draw serves a whole batch
"""You draw `d` numbers and add them to all rows of a batch. Each row needs noise of its
own: draw as many numbers as the batch has, `tf.shape(x)`."""


def augmenting_ds(x, y, prepare, sigma, batch_size):
    generator = tf.random.Generator.from_non_deterministic_state()

    def add_noise(x, y):
        return x + generator.normal(tf.shape(x)[1:], stddev=sigma), y

    rows = tf.data.Dataset.from_tensor_slices((x, y))
    rows = rows.map(lambda x, y: (prepare(x), y)).cache()
    return rows.batch(batch_size).map(add_noise)


# %% mistake: sigma is the variance
"""You take the root of `sigma`. It is the standard deviation already: write
`stddev=sigma`."""


def augmenting_ds(x, y, prepare, sigma, batch_size):
    generator = tf.random.Generator.from_non_deterministic_state()

    def add_noise(x, y):
        return x + generator.normal(tf.shape(x), stddev=sigma**0.5), y

    rows = tf.data.Dataset.from_tensor_slices((x, y))
    rows = rows.map(lambda x, y: (prepare(x), y)).cache()
    return rows.batch(batch_size).map(add_noise)


# %% mistake: noise belongs to the raw rows
"""You add noise first and prepare then: `prepare` changes the noise, too, and runs
again for every row in every epoch. Prepare, cache, and add noise to what comes out."""


def augmenting_ds(x, y, prepare, sigma, batch_size):
    generator = tf.random.Generator.from_non_deterministic_state()

    def add_noise(x, y):
        return prepare(x + generator.normal(tf.shape(x), stddev=sigma)), y

    rows = tf.data.Dataset.from_tensor_slices((x, y)).map(add_noise)
    return rows.batch(batch_size)


# %% [markdown]
# ## PyDataset: batches by number
#
# A generator can only go forward. A `keras.utils.PyDataset` answers a question: "give
# me batch number `i`". So batches can be counted, shuffled, and made by several workers
# at once. You write `__len__` and `__getitem__`, which returns a **whole batch**.


# %%
# rows: D28, D29
x10 = np.stack([np.arange(10.0), np.ones(10)], axis=1).astype("float32")
y10 = np.ones(10, "float32")


class Batches(keras.utils.PyDataset):
    def __init__(self, count=3, rows=4, **settings):
        super().__init__(**settings)
        self.count, self.rows, self.told = count, rows, []

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        self.told.append(i)
        first = self.rows * i
        return x10[first : first + self.rows], y10[first : first + self.rows]


print("batches:", fit_log(Batches(), 1)[0][0])

# %%
# rows: D28, D29


class SingleRows(Batches):
    def __getitem__(self, i):
        return x10[i], y10[i]


class NoLength(keras.utils.PyDataset):
    def __getitem__(self, i):
        return x10[:2], y10[:2]


class Forever(NoLength):
    num_batches = None


print("Sequence, the old name: ", keras.utils.Sequence is keras.utils.PyDataset)
print("len = 10 // 4:          ", fit_log(Batches(10 // 4), 1)[0][0])
print("single rows:            ", fit_log(SingleRows(10), 1)[1])
print("no __len__:             ", fit_log(NoLength(), 1)[1])
print("num_batches None, steps:", fit_log(Forever(), 1, steps_per_epoch=3)[0][0])

# %% [markdown]
# Rounding **down** loses the last rows in every epoch, without a word. Habit:
# `-(-n // batch_size)`, or `math.ceil`.
#
# There are two hooks for work between epochs. Look at when they are called, and at
# what `fit(shuffle=True)` does to a PyDataset. A second cell adds weights, as the third
# part of a batch, and uses a PyDataset everywhere.


# %%
# rows: D30, D31, D36
class Telling(Batches):
    def on_epoch_begin(self):
        self.told.append("begin")

    def on_epoch_end(self):
        self.told.append("end")


telling = Telling()
log = fit_log(telling, 2)
print("two epochs:         ", *telling.told)
mixed = fit_log(Batches(), 9, shuffle=True)[0]
orders = {str([batch[0] for batch in epoch]) for epoch in mixed}
print("shuffle=True:        more than one order of batches?", len(orders) > 1)
contents = sorted({tuple(batch) for epoch in mixed for batch in epoch})
print("  rows in a batch:  ", *contents)
print("3 epochs of 2 steps:", fit_log(Batches(), 3, steps_per_epoch=2)[0])


# %%
# rows: D35, D36
class Weighted(Batches):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x, y, 3 * y


def loss_after(x, y=None, **settings):
    fit, settings = recorder().fit, {"shuffle": False, "verbose": 0, **settings}
    return outcome(lambda: fit(x, y, **settings).history["loss"][0])


cw = {"class_weight": {1: 3.0}}
print("weights 1 and 3:  ", loss_after(Batches()), "and", loss_after(Weighted()))
print("class_weight:     ", loss_after(Batches(), **cw), loss_after(x10, y10, **cw))
print("weights and class:", loss_after(Weighted(), **cw))
print("y next to it:     ", loss_after(Batches(), y10))
print("validation_split: ", loss_after(Batches(), validation_split=0.2))
print("validation_data:  ", loss_after(Batches(), validation_data=Batches()))
print("evaluate:         ", outcome(lambda: recorder().evaluate(Batches(), verbose=0)))
print("predict:          ", outcome(lambda: recorder().predict(Batches(), verbose=0)))

# %% [markdown]
# `fit` looks at batches 0 and 1 before it starts, and calls `on_epoch_end` once before
# the first epoch: **three** times for two epochs. So never count epochs in it.
# And `shuffle=True` changes the order of batches only: the same rows always meet.
#
# Batches can be made in the background: `workers` threads (or processes, with
# `use_multiprocessing=True`) fill a queue of at most `max_queue_size` batches. Give
# them to the **constructor**, and pass them on, or they are lost: `Lost` below forgets.
# Begin with threads: a process works on a copy, and what it notes in `self` never comes
# back. (2 + 2 is the queue and one batch in the hands of each worker.)


# %%
# rows: D32, D33, D34
class Lost(Batches):
    def __init__(self, **settings):  # does not call super().__init__
        self.count, self.rows, self.told = 3, 4, []


def most_ahead(size):
    rows, ahead = Telling(10, 1, workers=2, max_queue_size=size), []

    def slow(batch, logs=None):
        time.sleep(0.03)
        ahead.append(len(rows.told) - rows.told.index("begin") - batch - 2)

    fit_log(rows, callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=slow)])
    return max(ahead)


print("batches ahead at most 2 + 2:", most_ahead(2) <= 4)
for made in (Batches(workers=4, use_multiprocessing=True, max_queue_size=3), Lost()):
    print(outcome(lambda: made.workers), made.use_multiprocessing, made.max_queue_size)

# %% [markdown]
# ### Exercise: your own PyDataset
#
# Write a PyDataset `ArrayBatches(x, y, batch_size, weights=None, seed=0, **settings)`.
#
# - Batch `i` is `(x, y)` or `(x, y, weights)`: a tuple (or list) of NumPy arrays that
#   keep their types, of `batch_size` rows; the last may be smaller. `len` counts them.
# - In every epoch, the first included, each row comes once, in a new random order with
#   new neighbours. Asked twice in an epoch, a batch is the same.
#   Add `on_epoch_begin(self)` or `on_epoch_end(self)`: `fit` calls them before and
#   after each epoch, the latter also at the start, after two reads.
# - The same `seed` gives the same orders, whatever else runs.
# - All `settings` reach Keras. The arrays stay as they are. 30 minutes.
#
# <details><summary>Hint 1</summary>
#
# Keep an array with the order of the rows, and cut your batch numbers from **it**. When
# do you draw a new one: in `__getitem__`, or between two epochs?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Make `np.random.default_rng(seed)` once, in the constructor. Each call of its
# `permutation(n)` gives the next order.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `super().__init__(**settings)`; `rows = self.order[i * b : (i + 1) * b]`;
# `return tuple(part[rows] for part in self.parts)`; in `on_epoch_end`
# `self.order = self.rng.permutation(n)`.
#
# </details>


# %% exercise: ArrayBatches
class ArrayBatches(keras.utils.PyDataset):
    """Batches (x, y[, weights]) of arrays, in a new, repeatable order in each epoch."""

    def __init__(self, x, y, batch_size, weights=None, seed=0, **settings):
        ### BEGIN SOLUTION
        super().__init__(**settings)
        self.parts = (x, y) if weights is None else (x, y, weights)
        self.batch_size, self.rng = batch_size, np.random.default_rng(seed)
        self.order = self.rng.permutation(len(x))
        ### END SOLUTION

    def __len__(self):
        ### BEGIN SOLUTION
        return -(-len(self.order) // self.batch_size)
        ### END SOLUTION

    def __getitem__(self, i):
        ### BEGIN SOLUTION
        rows = self.order[i * self.batch_size : (i + 1) * self.batch_size]
        return tuple(part[rows] for part in self.parts)

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.order))
        ### END SOLUTION


# %% check: ArrayBatches, 4 points
def evidence(ArrayBatches, rng):
    batch_size = int(rng.integers(4, 8))
    n = 4 * batch_size + int(rng.integers(1, batch_size))
    keys, seed = rng.permutation(1000)[:n], int(rng.integers(1000))
    x, y, weights = np.stack([keys, keys % 7], axis=1), keys * 2, keys * 3.0
    arrays = x.copy(), y.copy(), weights.copy()

    def made(seed=seed, **settings):
        return ArrayBatches(x.copy(), y.copy(), batch_size, seed=seed, **settings)

    def kept(batch):
        """A copy, as the answer may go on working in its arrays."""
        return [np.array(part) for part in batch]

    def epochs(*all_batches):
        """Two epochs of each, in step, with the calls that `fit` makes."""
        found = [[] for _ in all_batches]
        for batches in all_batches:
            _ = batches[0], batches[1]
            batches.on_epoch_end()
        for _ in range(2):
            for batches, epoch in zip(all_batches, found, strict=True):
                batches.on_epoch_begin()
                first = kept(batches[0])
                rest = [kept(batches[i]) for i in range(1, len(batches))]
                epoch.append([first, *rest])
                batches.on_epoch_end()
        return found

    def order(epoch):
        return [int(row[0]) for batch in epoch for row in np.reshape(batch[0], (-1, 2))]

    def early(numbers, others):
        """How many come before the first that is not the other's."""
        return [*(np.ravel(numbers) != np.ravel(others)), True].index(True)

    def neighbours(rows):
        return {frozenset(pair) for pair in zip(rows[1:], rows, strict=False)}

    given = {"rows": n, "batch_size": batch_size, "seed": seed}
    settings = {"workers": 4, "max_queue_size": 7, "use_multiprocessing": True}
    one, even = made(), (part[: 4 * batch_size].copy() for part in arrays[:2])
    weighted = ArrayBatches(*arrays[:2], batch_size, arrays[2], seed + 1)
    count = [len(one), len(ArrayBatches(*even, batch_size))]
    yield "the number of batches, and where the last one is full", count, given
    yield "parts of a batch, without and with weights", [len(one[0]), len(weighted[0])]
    seen, other = epochs(one, weighted)
    yield "sizes of the batches", [len(np.atleast_1d(b[1])) for b in seen[0]], given
    orders = [order(epoch) for epoch in seen]
    different = [[len(set(numbers)), sum(set(numbers))] for numbers in orders]
    yield "how many different rows each epoch sees, and their sum", different, given
    rows, labels = (np.concatenate([batch[k] for batch in other[0]]) for k in (0, 1))
    mine = early(labels, 2 * rows[:, 0])
    yield "rows before the first one with another's label", mine, given
    heavy = lambda: np.concatenate([batch[2] for batch in other[0]])  # noqa: E731
    mine = lambda: early(heavy(), 3 * rows[:, 0])  # noqa: E731
    yield "rows before the first one with another's weight", mine, given
    met = [neighbours(rows) for rows in (keys.tolist(), *orders)]
    new = [min(len(b - a), n // 2) for a, b in zip(met, met[1:], strict=False)]
    text = "rows with a new neighbour in epochs 1 and 2 (counted up to half of them)"
    yield text, new, given
    another = EqualOrNot(order(other[0]), orders[0])
    yield "another seed gives another order", another, given
    begin = [kept(one[i])[1] for i in (0, 1)]
    np.random.shuffle(np.arange(9))  # somebody else draws numbers
    asked = EqualOrNot(begin, [kept(one[i])[1] for i in (0, 1)])
    yield "the same two batches when they are asked for again", asked, given
    again = [[order(epoch) for epoch in found] for found in epochs(made(), made())]
    same = EqualOrNot([orders] * 2, again)
    yield "the same seed gives the same orders", same, given
    reached = lambda: [getattr(made(**settings), k) for k in settings]  # noqa: E731
    yield "the settings as Keras knows them", reached, settings
    raw = weighted[0]
    kinds = [[type(part).__name__, np.asarray(part).dtype.name] for part in raw]
    yield "types of the parts of a batch", kinds, given
    pairs = zip(arrays, (x, y, weights), strict=True)
    changed = any(np.any(mine != before) for mine, before in pairs)
    yield "are the arrays passed in changed?", changed, given


check("03/ArrayBatches", evidence)

# %% mistake: the number of batches is n // batch_size
"""You round down, so the last, smaller batch is never asked for: in every epoch some
rows are not seen. Round up: `-(-n // batch_size)`."""


class ArrayBatches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, weights=None, seed=0, **settings):
        super().__init__(**settings)
        self.parts = (x, y) if weights is None else (x, y, weights)
        self.batch_size, self.rng = batch_size, np.random.default_rng(seed)
        self.order = self.rng.permutation(len(x))

    def __len__(self):
        return len(self.order) // self.batch_size

    def __getitem__(self, i):
        rows = self.order[i * self.batch_size : (i + 1) * self.batch_size]
        return tuple(part[rows] for part in self.parts)

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.order))


# %% mistake: an item is a row
"""Your `__getitem__` returns a single row, and `len` counts rows. `fit` makes no
batches of them: an item is a whole batch."""


class ArrayBatches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, weights=None, seed=0, **settings):
        super().__init__(**settings)
        self.parts = (x, y) if weights is None else (x, y, weights)
        self.rng = np.random.default_rng(seed)
        self.order = self.rng.permutation(len(x))

    def __len__(self):
        return len(self.order)

    def __getitem__(self, i):
        return tuple(part[self.order[i]] for part in self.parts)

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.order))


# %% mistake: Keras starts every PyDataset with its settings
"""You take `settings` and do not pass them on: without `super().__init__(**settings)`
Keras falls back to one worker, and warns."""


class ArrayBatches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, weights=None, seed=0, **settings):
        self.parts = (x, y) if weights is None else (x, y, weights)
        self.batch_size, self.rng = batch_size, np.random.default_rng(seed)
        self.order = self.rng.permutation(len(x))

    def __len__(self):
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, i):
        rows = self.order[i * self.batch_size : (i + 1) * self.batch_size]
        return tuple(part[rows] for part in self.parts)

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.order))


# %% mistake: each batch may draw its own rows
"""You draw random rows in `__getitem__`. Within an epoch some rows come twice and
others never, and `fit`, which asks for the first batches twice, gets others the
second time. Draw one order per epoch, and cut it."""


class ArrayBatches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, weights=None, seed=0, **settings):
        super().__init__(**settings)
        self.parts = (x, y) if weights is None else (x, y, weights)
        self.batch_size, self.rng = batch_size, np.random.default_rng(seed)

    def __len__(self):
        return -(-len(self.parts[0]) // self.batch_size)

    def __getitem__(self, i):
        left = len(self.parts[0]) - i * self.batch_size
        rows = self.rng.permutation(len(self.parts[0]))[: min(left, self.batch_size)]
        return tuple(part[rows] for part in self.parts)


# %% mistake: one order serves all epochs
"""All your epochs have the same order: it is drawn once, or from a generator that you
start anew with the same seed. Make the generator once, in the constructor, and draw
the next order from it between two epochs."""


class ArrayBatches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, weights=None, seed=0, **settings):
        super().__init__(**settings)
        self.parts = (x, y) if weights is None else (x, y, weights)
        self.batch_size, self.seed = batch_size, seed
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, i):
        rows = self.order[i * self.batch_size : (i + 1) * self.batch_size]
        return tuple(part[rows] for part in self.parts)

    def on_epoch_end(self):
        self.order = np.random.default_rng(self.seed).permutation(len(self.parts[0]))


# %% mistake: random numbers may be shared
"""Your orders depend on more than `seed`: on NumPy's global numbers, which everybody
draws from, or on something else that was drawn or asked for before. Keep a
`np.random.default_rng(seed)` in each object, and draw only between two epochs."""


class ArrayBatches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, weights=None, seed=0, **settings):
        super().__init__(**settings)
        self.parts = (x, y) if weights is None else (x, y, weights)
        self.batch_size = batch_size
        np.random.seed(seed)
        self.order = np.random.permutation(len(x))

    def __len__(self):
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, i):
        rows = self.order[i * self.batch_size : (i + 1) * self.batch_size]
        return tuple(part[rows] for part in self.parts)

    def on_epoch_end(self):
        self.order = np.random.permutation(len(self.order))


# %% mistake: batch 0 means a new epoch
"""You draw a new order whenever batch 0 is asked for. But `fit` asks for it before it
starts, workers may ask in any order, and you may look at it yourself: the order then
changes in the middle of an epoch. Draw in `on_epoch_begin` or `on_epoch_end` only."""


class ArrayBatches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, weights=None, seed=0, **settings):
        super().__init__(**settings)
        self.parts = (x, y) if weights is None else (x, y, weights)
        self.batch_size, self.rng = batch_size, np.random.default_rng(seed)
        self.order = self.rng.permutation(len(x))

    def __len__(self):
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, i):
        if i == 0:
            self.order = self.rng.permutation(len(self.order))
        rows = self.order[i * self.batch_size : (i + 1) * self.batch_size]
        return tuple(part[rows] for part in self.parts)


# %% mistake: the arrays may be reordered in place
"""You shuffle the arrays that you were given. They belong to the caller: all else that
reads them, another PyDataset or a picture, finds its rows in other places. Keep an
order, and cut your batches from `part[order]`."""


class ArrayBatches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, weights=None, seed=0, **settings):
        super().__init__(**settings)
        self.parts = (x, y) if weights is None else (x, y, weights)
        self.batch_size, self.rng = batch_size, np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.parts[0]) // self.batch_size)

    def __getitem__(self, i):
        rows = slice(i * self.batch_size, (i + 1) * self.batch_size)
        return tuple(part[rows] for part in self.parts)

    def on_epoch_end(self):
        order = self.rng.permutation(len(self.parts[0]))
        for part in self.parts:
            part[:] = part[order]


# %% mistake: n // batch_size + 1 rounds up
"""Where `batch_size` divides `n`, you count a batch too many: the last one is empty.
Round up with `-(-n // batch_size)`, or `math.ceil`."""


class ArrayBatches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, weights=None, seed=0, **settings):
        super().__init__(**settings)
        self.parts = (x, y) if weights is None else (x, y, weights)
        self.batch_size, self.rng = batch_size, np.random.default_rng(seed)
        self.order = self.rng.permutation(len(x))

    def __len__(self):
        return len(self.order) // self.batch_size + 1

    def __getitem__(self, i):
        rows = self.order[i * self.batch_size : (i + 1) * self.batch_size]
        return tuple(part[rows] for part in self.parts)

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.order))


# %% mistake: only inputs and labels are shuffled
"""You reorder inputs and labels, and cut the weights from their old order: each row
gets the weight of another one."""


class ArrayBatches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, weights=None, seed=0, **settings):
        super().__init__(**settings)
        self.x, self.y, self.weights = x, y, weights
        self.batch_size, self.rng = batch_size, np.random.default_rng(seed)
        self.order = self.rng.permutation(len(x))

    def __len__(self):
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, i):
        part = slice(i * self.batch_size, (i + 1) * self.batch_size)
        rows = self.order[part]
        batch = self.x[rows], self.y[rows]
        return batch if self.weights is None else (*batch, self.weights[part])

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.order))


# %% mistake: fit shuffles the rows of a PyDataset
"""You keep the rows in their order. `fit(shuffle=True)` changes the order of your
batches only: the same rows always meet. Draw the order of the rows yourself."""


class ArrayBatches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, weights=None, seed=0, **settings):
        super().__init__(**settings)
        self.parts = (x, y) if weights is None else (x, y, weights)
        self.batch_size = batch_size

    def __len__(self):
        return -(-len(self.parts[0]) // self.batch_size)

    def __getitem__(self, i):
        rows = slice(i * self.batch_size, (i + 1) * self.batch_size)
        return tuple(part[rows] for part in self.parts)


# %% [markdown]
# ## Series, uneven rows, uneven classes
#
# To forecast, a model reads a stretch of a series and predicts a number that comes
# later. `window` cuts such stretches, each shifted by one place.
# `horizon` says how far ahead: 1 is the next number.

# %%
# rows: D44
series = np.sin(np.arange(12) / 2).round(2)
cut = tf.data.Dataset.range(12).window(5, shift=1, drop_remainder=True)
places = [part.numpy() for part in cut.flat_map(lambda part: part.batch(5))]
cuts = [(part[0], part[3], part[4]) for part in places]
plots.windows_over(series, cuts, "Windows of 4, horizon 1: one for each place")

# %% [markdown]
# Orange always stands to the right of blue. If a target lies **inside** what the model
# reads, it has only to copy: perfect scores, and a useless model.
#
# Keras has a helper. It takes the series, and the target of each window in order: the
# first window reads the numbers 0, 1, 2, so its target is `numbers[3]`.

# %%
# rows: D44
numbers = np.arange(8.0)
ready = keras.utils.timeseries_dataset_from_array(numbers, numbers[3:], 3, batch_size=9)
(x, y), *_ = ready
print("reads:   ", x.numpy().tolist())
print("predicts:", y.numpy().tolist())

# %% [markdown]
# Sentences differ in length, so `batch` cannot stack them. `padded_batch` fills up with
# zeros, `ragged_batch` keeps the lengths, and `bucket_by_sequence_length` puts similar
# lengths together: below, those shorter than 3 and the others, two in a batch.


# %%
# rows: D46
def sentences():
    return iter([[1], [2, 2, 2, 2], [3], [4, 4, 4]])


spec = tf.TensorSpec((None,), tf.int32)
rows = tf.data.Dataset.from_generator(sentences, output_signature=spec)
print("batch:       ", outcome(lambda: list(rows.batch(2))).split(":")[0])
print("padded_batch:", [part.numpy().tolist() for part in rows.padded_batch(2)])
print("ragged_batch:", [part.to_list() for part in rows.ragged_batch(2)])
buckets = rows.bucket_by_sequence_length(lambda row: tf.shape(row)[0], [3], [2, 2])
print("buckets:     ", [part.numpy().tolist() for part in buckets])
pool = keras.layers.GlobalAveragePooling1D()
model = keras.Sequential([keras.layers.Embedding(5, 2), pool, keras.layers.Dense(1)])
model.compile("sgd", "mse", run_eagerly=True)
labels = tf.data.Dataset.from_tensor_slices(np.ones(4)).batch(2)
ragged = tf.data.Dataset.zip((rows.ragged_batch(2), labels))
result = outcome(lambda: model.fit(ragged, shuffle=False, verbose=0))
print("fit, ragged: ", result.split(";")[0])

# %% [markdown]
# A class may be rare. `sample_from_datasets` evens it out: it draws from a Dataset for
# each class, as often as you say. (`rejection_resample` throws rows away instead.)

# %%
# rows: D44
y_rare = (np.arange(1000) % 10 == 0).astype("int64")
rows = tf.data.Dataset.from_tensor_slices(y_rare)
classes = [rows.filter(lambda y, k=k: y == k).repeat() for k in (0, 1)]
even = tf.data.Dataset.sample_from_datasets(classes, [0.5, 0.5], seed=1)
share = np.mean([int(y) for y in even.take(1000)])
print(f"share of the rare class: {y_rare.mean():.2f}, sampled {share:.1f}")
print("there is rejection_resample:", hasattr(rows, "rejection_resample"))

# %% [markdown]
# ### Exercise: windows
#
# Write `windows(series, length, horizon, batch_size)`: a Dataset of batches `(x, y)`,
# both float32, for forecasting. `series` is an array `(t,)` of any number type. Window
# `i` reads the numbers `i` to `i + length - 1`; its target is the number `horizon`
# places after the last one that it reads. Give every window whose target exists, in
# order of time, as `x` `(b, length)` and `y` `(b,)`; the last batch may be smaller.
#
# Example: `windows(np.arange(6), 3, 2, 9)` has one batch, `x` is
# `[[0, 1, 2], [1, 2, 3]]`, `y` is `[4, 5]`. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# The target of window `i` has the index `i + length - 1 + horizon`. How many windows
# are there?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `np.lib.stride_tricks.sliding_window_view(series, length)` gives all windows, also the
# last ones, which have no target.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `y = series[length - 1 + horizon :]` and `x = all_windows[: len(y)]`, then
# `from_tensor_slices((x, y)).batch(batch_size)`.
#
# </details>


# %% exercise: windows
def windows(series, length, horizon, batch_size):
    """Batches (x, y): stretches of a series and the number `horizon` places later."""
    ### BEGIN SOLUTION
    series = np.asarray(series, "float32")
    y = series[length - 1 + horizon :]
    x = np.lib.stride_tricks.sliding_window_view(series, length)[: len(y)]
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
    ### END SOLUTION


# %% check: windows, 4 points
def evidence(windows, rng):
    length, horizon = int(rng.integers(3, 6)), int(rng.integers(2, 5))
    batch_size = length + int(rng.integers(1, 4))
    count = batch_size + length
    series = rng.normal(0, 100, count + length - 1 + horizon)
    whole = rng.permutation(500)[: batch_size + length + 2]  # one window is left over
    given = {"length": length, "horizon": horizon, "batch_size": batch_size}

    def read(series, length, horizon):
        batches = windows(series.copy(), length, horizon, batch_size)
        return list(batches.take(len(series)))

    batches = read(series, length, horizon)
    following = {**given, "length": length + 1, "horizon": 1, "numbers": len(whole)}
    given = {**given, "numbers": len(series)}
    sizes = [len(np.atleast_1d(y)) for _, y in batches]
    yield "sizes of the batches", sizes, given
    x, y = (
        [np.asarray(part) for part in parts] for parts in zip(*batches, strict=True)
    )
    yield "what the windows read", lambda: np.concatenate(x), given
    yield "what they predict", lambda: np.concatenate(y), given
    text = "batches of a longer window, horizon 1, of a series of whole numbers"
    longer = [[np.asarray(part) for part in b] for b in read(whole, length + 1, 1)]
    yield text, longer, following
    kinds = [part.dtype.name for part in (x[0], y[0], *longer[0])]
    yield "types, of a series of float64 and of int64", kinds, given


check("03/windows", evidence)

# %% mistake: the horizon counts from the window's end
"""You take the number at `i + length + horizon`, one too late. `i + length` is already
the next number: horizon 1."""


def windows(series, length, horizon, batch_size):
    series = np.asarray(series, "float32")
    y = series[length + horizon :]
    x = np.lib.stride_tricks.sliding_window_view(series, length)[: len(y)]
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)


# %% mistake: the horizon counts from the last number that is read, itself included
"""You look one place too near: with horizon 1 the target is the last number that the
model reads. It only has to copy it, and its scores mean nothing."""


def windows(series, length, horizon, batch_size):
    series = np.asarray(series, "float32")
    y = series[length - 2 + horizon :]
    x = np.lib.stride_tricks.sliding_window_view(series, length)[: len(y)]
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)


# %% mistake: the next number is always the target
"""You ignore `horizon` and predict the next number. The target lies `horizon` places
after the last number of the window."""


def windows(series, length, horizon, batch_size):
    series = np.asarray(series, "float32")
    y = series[length:]
    x = np.lib.stride_tricks.sliding_window_view(series, length)[: len(y)]
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)


# %% mistake: windows follow each other without overlap
"""Each of your windows starts where the last one ended. Asked is a window for every
place: shift by 1."""


def windows(series, length, horizon, batch_size):
    series = np.asarray(series, "float32")
    y = series[length - 1 + horizon :: length]
    x = np.lib.stride_tricks.sliding_window_view(series, length)[::length][: len(y)]
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)


# %% mistake: cut the end off before making windows
"""You shorten the series and cut windows from what is left, so the last windows are
missing, although their targets exist. Make all windows first, then keep as many as
there are targets."""


def windows(series, length, horizon, batch_size):
    series = np.asarray(series, "float32")
    y = series[length - 1 + horizon :]
    short = series[: len(series) - length - horizon + 1]
    x = np.lib.stride_tricks.sliding_window_view(short, length)
    return tf.data.Dataset.from_tensor_slices((x, y[: len(x)])).batch(batch_size)


# %% mistake: all batches must be equally large
"""`drop_remainder=True` throws away the last windows, the newest ones."""


def windows(series, length, horizon, batch_size):
    series = np.asarray(series, "float32")
    y = series[length - 1 + horizon :]
    x = np.lib.stride_tricks.sliding_window_view(series, length)[: len(y)]
    rows = tf.data.Dataset.from_tensor_slices((x, y))
    return rows.batch(batch_size, drop_remainder=True)


# %% mistake: range stops at the last window
"""Your last window is missing: `range(n)` ends at `n - 1`, so `n` is the number of
windows, `len(series) - length - horizon + 1`."""


def windows(series, length, horizon, batch_size):
    series = np.asarray(series, "float32")
    places = range(len(series) - length - horizon)
    x = np.array([series[i : i + length] for i in places])
    y = np.array([series[i + length - 1 + horizon] for i in places])
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)


# %% mistake: windows may come in any order
"""You shuffle the windows; asked is the order of time."""


def windows(series, length, horizon, batch_size):
    series = np.asarray(series, "float32")
    y = series[length - 1 + horizon :]
    x = np.lib.stride_tricks.sliding_window_view(series, length)[: len(y)]
    rows = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(y), seed=1)
    return rows.batch(batch_size)


# %% mistake: a Dataset converts numbers for me
"""A Dataset keeps the type of the array. Convert to float32 first."""


def windows(series, length, horizon, batch_size):
    y = series[length - 1 + horizon :]
    x = np.lib.stride_tricks.sliding_window_view(series, length)[: len(y)]
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)


# %% [markdown]
# ## All habits in one pipeline
#
# Prepare, cache, shuffle, augment, batch, prefetch. Below, preparing multiplies the row
# number by ten, and augmentation adds a number from 0 to 9: the front digit tells
# the row, the last one the noise. Every epoch has all eight rows once, in a new order
# and with new noise, and `prepare` ran once per row.


# %%
# rows: D40, D41
def prepare(row):
    calls.append(1)
    return 10 * row


calls, generator = [], tf.random.Generator.from_seed(4)
rows = tf.data.Dataset.range(1, 9)
rows = rows.map(lambda row: tf.numpy_function(prepare, [row], tf.int64)).cache()
rows = rows.shuffle(8, seed=4)
rows = rows.map(lambda row: row + generator.uniform((), 0, 10, tf.int64))
rows = rows.batch(3).prefetch(tf.data.AUTOTUNE)
epochs = {"prepare, cache, shuffle, augment, batch, prefetch": passes(rows)}
plots.epochs_seen(epochs, "Every epoch: all rows once, new order, new noise")
print("calls of prepare in three epochs of eight rows:", len(calls))

# %% [markdown]
# ## Which one to take
# <!-- rows: D1, D37 -->
#
# | your data | take |
# |---|---|
# | fits into memory | arrays; a Dataset if you augment or set seeds |
# | a stream, many files | `tf.data.Dataset` |
# | made by Python code, by number | `PyDataset` |
# | made by Python code, one after the other | `from_generator` |
# | a PyTorch `DataLoader`, a grain loader | that loader, as it is (not shown here) |
#
# <details><summary><b>If you meet this in older code</b></summary>
#
# | old | today |
# |---|---|
# | `keras.utils.Sequence` | `keras.utils.PyDataset` (the same class) |
# | `fit(workers=...)` | `workers` goes to the PyDataset's constructor |
# | `fit(use_multiprocessing=..., max_queue_size=...)` | so do these |
# | `fit_generator`, `predict_generator` | `fit`, `predict` |
# | `ds.make_one_shot_iterator().get_next()` | `for x, y in ds:` |
# | `steps_per_epoch=-1` | leave it out |
# | `tf.data.experimental.rejection_resample` | `ds.rejection_resample` |
#
# </details>

# %% [markdown]
# ### In your own words
#
# A colleague trains on photos, after `keras.utils.set_random_seed(1)`, with this
# pipeline:
#
# ```python
# rows = files.shuffle(100).map(decode).map(flip_at_random).cache().batch(32)
# ```
#
# There are 50,000 files, sorted by class, and `flip_at_random` uses `tf.random`.
# "Augmentation brings nothing", says the colleague. Name at least three faults, what
# each does to the epochs, and write the line as it should be.
# Your teacher reads this one. 10 minutes.

# %% answer: repair_pipeline, 2 points [markdown]
# `shuffle(100)` mixes neighbours only, so batches hold one class; `cache` after
# `shuffle` and flip keeps order and flips of the first epoch, so every epoch is the
# same; even without the cache, `tf.random` after a seed repeats its numbers in every
# epoch. Better, with a `flip` that draws from a `tf.random.Generator`:
# `files.shuffle(50_000).map(decode).map(flip).batch(32).prefetch(2)`. If the decoded
# photos fit into memory, begin with `files.map(decode).cache().shuffle(50_000)`.
# (These are four faults. One point for three with their effects, one for the line.)

# %%
progress("03")

# %% [markdown]
# ## Five habits from this lesson
#
# | habit | because |
# |---|---|
# | `rows = rows.batch(4)` | every method returns a new recipe |
# | cache before you shuffle and augment | it freezes what comes before |
# | split before you shuffle | each epoch draws anew, and the parts would mix |
# | `shuffle(len(x))`, before `batch` | a small buffer leaves sorted rows sorted |
# | labels by the table's index, in pandas | `fit` matches rows by position |

# %% [markdown]
# ## You can now
#
# - build a pipeline from arrays, tables, generators or Python code, and predict which
#   rows each epoch sees, in which batches;
# - split, cache and augment without leaks and without frozen noise;
# - make windows of a series, and choose between arrays, Dataset and PyDataset.
#
# Next: lesson 04, where rows get weights.
