# %% [markdown]
# # Many devices, and smaller numbers
#
# You rent a machine with eight GPUs, change one line, and your loss curve is another
# one. Or you switch to 16-bit numbers, training runs twice as fast, and after an hour
# the loss is NaN. Both times nothing was refused. In this lesson you see what is
# divided among devices and what is added up again, and what a number with few bits can
# hold. It all runs on the CPU that you have: you check *results*, not speed.
#
# Optional: the course is whole without it. Five exercises (20 points) and a question (2
# points), about two hours. After the second exercise is a good place for a break. You
# need lesson 07.

# %%
import time

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from helpers import data, plots, runtime
from helpers.checks import check, hint, progress, solution
from helpers.watch import outcome

runtime.logical_cpus(2)

# %% [markdown]
# ## Two devices out of one CPU
#
# Code for several devices is hard to try without several devices. TensorFlow helps: it
# can show one CPU as two *logical* devices. The last line of the cell with the imports
# did that. Nothing gets faster, but all the dividing and adding happens as on two GPUs,
# so you can compare the result with one device, number by number.
#
# It has to be said before TensorFlow does anything at all. What if you are late?

# %%
# rows: X8
print([device.name for device in tf.config.list_logical_devices("CPU")])
print("a tensor lies on", ops.ones(3).device[-5:])
(cpu,) = tf.config.list_physical_devices("CPU")
three = [tf.config.LogicalDeviceConfiguration()] * 3
print(outcome(lambda: tf.config.set_logical_device_configuration(cpu, three)))

# %% [markdown]
# Too late is an error, and there is no way back: restart the kernel, run the cells from
# the top. What does not know of the second device goes on using `CPU:0`, or the GPU
# where there is one.

# %% [markdown]
# ## How a batch is divided
#
# `MirroredStrategy` keeps a copy of the model on each device, a **replica**. In every
# step each replica works on a part of the batch. So is `batch_size=8` on two devices
# 8 rows for each, or 4? And who gets the last 3 rows of 19? The numbers in the picture
# are row numbers.
#
# `cross_device_ops` says how replicas add up: here all is copied to one device. (What
# TensorFlow takes for CPUs by itself remembers earlier sums of the whole process, and
# stops with an error when this cell is run twice.)

# %%
# rows: X8
adding = tf.distribute.ReductionToOneDevice()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=adding)
rows = tf.data.Dataset.range(19).batch(8)
batches = [
    [part.numpy().tolist() for part in strategy.experimental_local_results(batch)]
    for batch in strategy.experimental_distribute_dataset(rows)
]
plots.divided_batches(batches, "batch_size counts the rows of all replicas together")

# %% [markdown]
# The batch that you write down is the **global batch**; each replica gets its part of
# it, in order. Every batch is cut anew, also the last: each replica in turn takes
# `rows / replicas`, *rounded up*, until no rows are left. 3 rows become 2 and 1. With
# four replicas, 9 rows become 3, 3, 3 and 0: the last one has nothing to do.
#
# **Try it.** Which parts do 17 rows make? Predict the last batch, then change 19 to 17.
#
# <details><summary>What you get</summary>
#
# The last batch has a single row. One replica takes it, the other gets no rows at all.
#
# </details>

# %% [markdown]
# ### Exercise: who gets how many rows
#
# Write `replica_batches(rows, batch_size, replicas)`: how a dataset of `rows` rows is
# divided, as above. Return a list with an entry for each global batch, and as this
# entry a list of `replicas` ints: the number of rows of each replica, 0 included.
# `replica_batches(19, 8, 2)` is `[[4, 4], [4, 4], [2, 1]]`. All three arguments are
# at least 1. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# Two loops: one over the batches, one over the replicas. How many rows does a batch
# have that begins at row `start`?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Rounded up without floats: `-(-n // replicas)`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# With `share = -(-n // replicas)`, replica `k` gets what is left of its share:
# `max(0, min(share, n - k * share))`.
#
# </details>


# %% exercise: replica_batches
def replica_batches(rows, batch_size, replicas):
    """Rows of each replica, a list per global batch."""
    ### BEGIN SOLUTION
    batches = []
    for start in range(0, rows, batch_size):
        n = min(batch_size, rows - start)
        share = -(-n // replicas)
        batches.append(
            [max(0, min(share, n - k * share)) for k in range(replicas)],
        )
    return batches
    ### END SOLUTION


# %% check: replica_batches, 3 points
def evidence(replica_batches, rng):
    few, many = int(rng.integers(2, 4)), int(rng.integers(3, 6))
    share = int(rng.integers(3, 7))
    rest = int(rng.integers(2, few * (share - 1) + 1))
    uneven = many * share + 1
    cases = {
        "batches that divide": (3 * few * share, few * share, few),
        "a last batch with fewer rows": (2 * few * share + rest, few * share, few),
        "more rows than equal parts": (2 * uneven, uneven, many),
        "both": (2 * uneven + many + 1, uneven, many),
        "fewer rows than replicas": (int(rng.integers(1, many - 1)), uneven, many),
        "a last batch of one row": (few * share + 1, few * share, few),
        "one replica": (2 * share + 1, share, 1),
    }
    for case, (rows, batch_size, replicas) in cases.items():
        given = {"rows": rows, "batch_size": batch_size, "replicas": replicas}
        yield case, lambda: replica_batches(rows, batch_size, replicas), given


check("09/replica_batches", evidence)

# %% mistake: every replica gets batch_size rows
"""You give `batch_size` rows to each replica. It counts the rows of a step on all
replicas together: with two replicas, each gets half."""


def replica_batches(rows, batch_size, replicas):
    batches = []
    for start in range(0, rows, batch_size * replicas):
        left = [rows - start - k * batch_size for k in range(replicas)]
        batches.append([max(0, min(batch_size, n)) for n in left])
    return batches


# %% mistake: rows that are left over are dealt out one by one
"""Your parts differ by at most one row. TensorFlow cuts otherwise: each replica takes
its share, rounded up, until nothing is left, so the last ones get less, or nothing."""


def replica_batches(rows, batch_size, replicas):
    batches = []
    for start in range(0, rows, batch_size):
        share, rest = divmod(min(batch_size, rows - start), replicas)
        batches.append([share + (k < rest) for k in range(replicas)])
    return batches


# %% mistake: the last replica takes what is left over
"""You round the share down and give the rest to the last replica. It is rounded **up**,
and the last replica gets what remains: less than the others, not more."""


def replica_batches(rows, batch_size, replicas):
    batches = []
    for start in range(0, rows, batch_size):
        n = min(batch_size, rows - start)
        share = n // replicas
        batches.append([share] * (replicas - 1) + [n - (replicas - 1) * share])
    return batches


# %% mistake: the last replica has what remains, whatever that is
"""The first replicas take a full share even when the rows have run out, and the last
one is left with less than nothing. Nobody gets more rows than are left."""


def replica_batches(rows, batch_size, replicas):
    batches = []
    for start in range(0, rows, batch_size):
        n = min(batch_size, rows - start)
        share = -(-n // replicas)
        batches.append([share] * (replicas - 1) + [n - (replicas - 1) * share])
    return batches


# %% mistake: the last batch is cut like a full one
"""You keep the share of a full batch for the last one, so the first replicas take all
its rows. Every batch is cut anew, by the rows that it has."""


def replica_batches(rows, batch_size, replicas):
    batches, share = [], -(-batch_size // replicas)
    for start in range(0, rows, batch_size):
        n = min(batch_size, rows - start)
        batches.append([max(0, min(share, n - k * share)) for k in range(replicas)])
    return batches


# %% mistake: a batch that is not full is dropped
"""You leave out the last rows. They make a global batch of their own; only a pipeline
with `drop_remainder=True` drops them."""


def replica_batches(rows, batch_size, replicas):
    share = -(-batch_size // replicas)
    full = [max(0, min(share, batch_size - k * share)) for k in range(replicas)]
    return [list(full) for _ in range(rows // batch_size)]


# %% mistake: a replica without rows is not part of the step
"""You leave out replicas that get no rows. Each of them takes part in every step, with
an empty batch: write a 0."""


def replica_batches(rows, batch_size, replicas):
    batches = []
    for start in range(0, rows, batch_size):
        n = min(batch_size, rows - start)
        share = -(-n // replicas)
        parts = [min(share, n - k * share) for k in range(replicas)]
        batches.append([part for part in parts if part > 0])
    return batches


# %% [markdown]
# ## `fit` on two devices
#
# For the built-in loops one line changes: build and compile the model inside
# `strategy.scope()`, so that every weight gets its copies. `fit` itself may stand
# anywhere. The model here has a penalty on its weights, too. Is the result the same as
# on one device?


# %%
# rows: X8
rng = np.random.default_rng(0)
x = rng.normal(size=(24, 3)).astype("float32")
y = x.sum(axis=1, keepdims=True) + 1


def linear(width=3, **settings):
    layer = keras.layers.Dense(1, kernel_initializer="zeros", **settings)
    return keras.Sequential([keras.Input((width,)), layer])


def fitted(n, batch_size=8):
    model = linear(kernel_regularizer=keras.regularizers.L2(0.01))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x[:n], y[:n], batch_size=batch_size, shuffle=False, verbose=0)
    return model.get_weights()[0].ravel()


# %%
# rows: X8
def apart(n, batch_size=8):
    with strategy.scope():
        two = fitted(n, batch_size)
    return f"{np.abs(two - fitted(n, batch_size)).max():.5f}"


for n in (24, 19, 17):
    print(n, "rows in batches of 8, largest difference:", apart(n))

# %% [markdown]
# With 24 rows all batches divide, and both trainings agree to five decimals. With 19
# they do not: the last batch has 2 + 1 rows, each replica takes the mean over **its
# own** rows, and the lone row counts as much as the two others together. With 17, the
# idle replica adds nothing and half of the step is missing.
#
# Two more slips, this time with an error: a global batch that does not divide from the
# very first on, and a model that was built outside the scope. (The second one's message
# is empty: remember it by its name.)

# %%
# rows: X8
outside = linear()
outside.compile("sgd", "mse")


def train(model):
    with strategy.scope():
        return model.fit(x, y, verbose=0)


print("batches of 7:       ", outcome(lambda: apart(21, 7)).split(":")[0])
print("built outside scope:", outcome(lambda: train(outside)))

# %% [markdown]
# Habits: build model and optimizer inside the scope. Choose a global batch that is a
# multiple of the number of replicas, and drop the remainder in training
# (`batch(..., drop_remainder=True)`). With more devices you will usually take larger
# global batches; then there are fewer steps, and the learning rate needs a second look.

# %% [markdown]
# ## Your own loop on two devices
#
# `strategy.run` calls your step once per replica, each with its part of the batch.
# Inside, `optimizer.apply` meets the other replicas: their gradients are **added up**,
# not averaged, and all copies take the same step. So it is your job to write a loss
# whose parts add up to the loss of the global batch.


# %%
# rows: X8
def own_loop(x, y, batch_size, loss):
    with strategy.scope():
        model = linear(x.shape[1], use_bias=False)
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables)

    def replica_step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return value

    step = tf.function(lambda *part: strategy.run(replica_step, args=part))
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
    for part in strategy.experimental_distribute_dataset(rows):
        values = strategy.experimental_local_results(step(*part))
    return model.get_weights()[0].ravel(), [float(value) for value in values]


# %%
# rows: X8
def mean_of_own_rows(y_true, y_pred):
    return ops.mean(ops.square(y_true - y_pred))


mse = keras.losses.MeanSquaredError()
one = linear(use_bias=False)
one.compile(keras.optimizers.SGD(0.1), mse)
loss = one.train_on_batch(x[:8], y[:8])
print(f"one device:        {one.get_weights()[0].ravel()}, loss {loss:.3f}")
for name, chosen in {"Keras loss": mse, "mean of own rows": mean_of_own_rows}.items():
    weights, values = own_loop(x[:8], y[:8], 8, chosen)
    print(f"{name:18} {weights}, losses {np.round(values, 3)}")

# %% [markdown]
# The losses of the two replicas, in the middle line, add up to the loss of one device,
# and the weights agree. That works because a Keras loss object notices that it is on a
# replica and divides by their number. A mean that you take yourself does not: added up
# over two replicas, the gradient is **twice** as long. With eight GPUs it is eight
# times as long, and no error is raised.
#
# To see what each *row* does, give row number `i` a weight of its own, number `i`:
# every weight then moves by as much as its row counts.

# %%
# rows: X8
n = 3
ways = {
    "mean of own rows": lambda y, p: ops.mean(ops.abs(y - p)),
    "Keras loss": keras.losses.MeanAbsoluteError(),
    "sum / rows of all": lambda y, p: ops.sum(ops.abs(y - p)) / n,
}
rows, above = np.eye(n, dtype="float32"), np.ones((n, 1), "float32")
pulls = {name: 10 * own_loop(rows, above, n, way)[0] for name, way in ways.items()}
title = "Divided by all rows, every row counts the same"
plots.row_pulls(pulls, [0, 0, 1], title)

# %% [markdown]
# On one device each row of three has a pull of 1/3. Only the last way gives that also
# when the parts differ. The other two let the lone row count double.
#
# **Try it.** Change the first line to `n = 4` and the list to `[0, 0, 1, 1]`. Which two
# panels become equal?
#
# <details><summary>What you get</summary>
#
# The last two: with equal parts the Keras loss gives every row 1/4, too. The first
# panel shows twice as much.
#
# </details>
#
# Habit: in a loop of your own, add the losses of the rows and divide by the number of
# rows of the **global** batch. Whatever is no sum over rows, such as a penalty on the
# weights, is added by every replica: divide it by the number of replicas.

# %% [markdown]
# ### Quiz: eight devices
#
# A loop on one device uses `ops.mean(row_losses)` and a learning rate of 0.1. You move
# it to eight devices with `strategy.run` and change nothing else. Which learning rate
# would do the same on one device (all parts equal)?
#
# <details><summary>0.1: a mean is a mean</summary>
#
# No: each replica's mean is about as large as the mean over all, and eight of these
# gradients are added.
#
# </details>
# <details><summary>0.1 / 8, since each device sees an eighth of the rows</summary>
#
# No: a mean over fewer rows is not smaller. The step would be shorter only if you had
# divided once too often.
#
# </details>
# <details><summary>0.8</summary>
#
# Right: the gradients of eight means are added, so the step is eight times as long.
#
# </details>

# %% [markdown]
# ### Exercise: one step on all replicas
#
# Write `distributed_step(strategy, model, optimizer, x, y, batch_size)`. `x` and `y`
# are parts of one global batch, as `strategy.run` takes them; their sizes may differ,
# `batch_size` is the number of rows of all parts. A row's loss is the mean of its
# squared errors. The loss of the batch is the mean over **all its rows**, plus the
# penalties in `model.losses` (none, one or more), once. Take one step of `optimizer`
# with the model in training mode, and return this loss, one number: loss and weights
# as on one device. There may be one replica or several; model and optimizer were
# built in the scope. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# Begin with `replica_step` above. What has to change so that parts of different sizes
# add up?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Each replica: the sum of its rows' losses divided by `batch_size`, plus
# `sum(model.losses)` divided by `strategy.num_replicas_in_sync`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `strategy.run` gives a loss per replica; `strategy.reduce("SUM", losses, axis=None)`
# adds them up.
#
# </details>


# %% exercise: distributed_step
def distributed_step(strategy, model, optimizer, x, y, batch_size):
    """One training step on all replicas; returns the loss of the global batch."""
    ### BEGIN SOLUTION

    def replica_step(x, y):
        with tf.GradientTape() as tape:
            row_losses = ops.mean(ops.square(y - model(x, training=True)), axis=-1)
            loss = ops.sum(row_losses) / batch_size
            loss += sum(model.losses) / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    losses = strategy.run(replica_step, args=(x, y))
    return strategy.reduce("SUM", losses, axis=None)
    ### END SOLUTION


# %% check: distributed_step, 5 points
class Louder(keras.layers.Layer):
    """Doubles its input while the model is trained."""

    def call(self, x, training=False):
        return 2 * x if training else x


def evidence(distributed_step, rng):
    adding = tf.distribute.ReductionToOneDevice()
    strategies = [
        tf.distribute.MirroredStrategy(devices, cross_device_ops=adding)
        for devices in (["CPU:0", "CPU:1"], ["CPU:0"])
    ]
    d, k = int(rng.integers(2, 5)), int(rng.integers(2, 4))
    kernel, bias = rng.normal(size=(d, k)), rng.normal(size=k)

    def start(strategy, **settings):
        with strategy.scope():
            layer = keras.layers.Dense(k, **settings)
            model = keras.Sequential([keras.Input((d,)), Louder(), layer])
            optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
            optimizer.build(model.trainable_variables)
        model.set_weights([kernel, bias])
        return strategy, model, optimizer

    def step(strategy, model, optimizer, sizes):
        def deal(width):
            rows = rng.normal(size=(sum(sizes), width)).astype("float32")
            parts = np.split(rows, np.cumsum(sizes)[:-1])
            return strategy.experimental_distribute_values_from_function(
                lambda replica: tf.constant(parts[replica.replica_id_in_sync_group])
            )

        both = deal(d), deal(k)
        return distributed_step(strategy, model, optimizer, *both, sum(sizes))

    half, part = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    more, penalty = part + int(rng.integers(2, 4)), keras.regularizers.L2(0.3)
    both = {"kernel_regularizer": penalty, "bias_regularizer": penalty}
    plain = start(strategies[0])
    runs = {
        "equal parts": (plain, [half, half]),
        "a second step, parts that differ": (plain, [more, part]),
        "with a penalty": (
            start(strategies[0], **both),
            [half] * 2,
        ),
        "one replica": (start(strategies[1], **both), [more]),
    }
    for name, (parts, sizes) in runs.items():
        given = {"rows of the parts": sizes, "numbers in a row": [d, k]}
        yield f"{name}: the loss", lambda: step(*parts, sizes), given
        yield f"{name}: weights afterwards", lambda: parts[1].get_weights(), given


check("09/distributed_step", evidence)

# %% mistake: gradients of replicas are averaged
"""Each replica takes the mean over its own rows. The gradients are added up, so your
step is twice as long on two replicas. Divide the sum by `batch_size`, the number of
rows of all parts."""


def distributed_step(strategy, model, optimizer, x, y, batch_size):
    def replica_step(x, y):
        with tf.GradientTape() as tape:
            loss = ops.mean(ops.square(y - model(x, training=True)))
            loss += sum(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return strategy.reduce("SUM", strategy.run(replica_step, args=(x, y)), axis=None)


# %% mistake: the mean of the replicas' means is the mean over all rows
"""Dividing each replica's mean by the number of replicas is right while all parts are
equally large. In a part with fewer rows each row then counts more. Add the losses of
the rows and divide by `batch_size`."""


def distributed_step(strategy, model, optimizer, x, y, batch_size):
    mean = keras.losses.MeanSquaredError()

    def replica_step(x, y):
        with tf.GradientTape() as tape:
            loss = mean(y, model(x, training=True))
            loss += sum(model.losses) / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return strategy.reduce("SUM", strategy.run(replica_step, args=(x, y)), axis=None)


# %% mistake: a penalty is added once, however many replicas there are
"""Your loss is right without a penalty. `model.losses` is there on every replica, so
what you add is added twice. Divide it by `strategy.num_replicas_in_sync`."""


def distributed_step(strategy, model, optimizer, x, y, batch_size):
    def replica_step(x, y):
        with tf.GradientTape() as tape:
            row_losses = ops.mean(ops.square(y - model(x, training=True)), axis=-1)
            loss = ops.sum(row_losses) / batch_size + sum(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return strategy.reduce("SUM", strategy.run(replica_step, args=(x, y)), axis=None)


# %% mistake: there are always two replicas
"""You divide the penalty by 2. On a machine with one device, or eight, that is wrong:
ask the strategy, `strategy.num_replicas_in_sync`."""


def distributed_step(strategy, model, optimizer, x, y, batch_size):
    def replica_step(x, y):
        with tf.GradientTape() as tape:
            row_losses = ops.mean(ops.square(y - model(x, training=True)), axis=-1)
            loss = ops.sum(row_losses) / batch_size + sum(model.losses) / 2
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return strategy.reduce("SUM", strategy.run(replica_step, args=(x, y)), axis=None)


# %% mistake: penalties come by themselves in a loop
"""You leave `model.losses` out. `fit` adds the penalties of the layers for you; in a
loop of your own, you do."""


def distributed_step(strategy, model, optimizer, x, y, batch_size):
    def replica_step(x, y):
        with tf.GradientTape() as tape:
            row_losses = ops.mean(ops.square(y - model(x, training=True)), axis=-1)
            loss = ops.sum(row_losses) / batch_size
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return strategy.reduce("SUM", strategy.run(replica_step, args=(x, y)), axis=None)


# %% mistake: a penalty belongs to the gradients, not to the loss
"""The step is right, but the loss that you return lacks the penalties. It is the number
that was made smaller, so report all of it."""


def distributed_step(strategy, model, optimizer, x, y, batch_size):
    def replica_step(x, y):
        with tf.GradientTape() as tape:
            row_losses = ops.mean(ops.square(y - model(x, training=True)), axis=-1)
            loss = ops.sum(row_losses) / batch_size
            total = loss + sum(model.losses) / strategy.num_replicas_in_sync
        gradients = tape.gradient(total, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return strategy.reduce("SUM", strategy.run(replica_step, args=(x, y)), axis=None)


# %% mistake: a layer has one penalty
"""You take the first of `model.losses` only. It is a list with an entry for every
regularizer: add up all of them."""


def distributed_step(strategy, model, optimizer, x, y, batch_size):
    def replica_step(x, y):
        with tf.GradientTape() as tape:
            row_losses = ops.mean(ops.square(y - model(x, training=True)), axis=-1)
            loss = ops.sum(row_losses) / batch_size
            loss += sum(model.losses[:1]) / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return strategy.reduce("SUM", strategy.run(replica_step, args=(x, y)), axis=None)


# %% mistake: a tape puts the model in training mode
"""You call the model without `training=True`, so it answers as in prediction: dropout
is off, and batch normalisation learns nothing."""


def distributed_step(strategy, model, optimizer, x, y, batch_size):
    def replica_step(x, y):
        with tf.GradientTape() as tape:
            row_losses = ops.mean(ops.square(y - model(x, training=False)), axis=-1)
            loss = ops.sum(row_losses) / batch_size
            loss += sum(model.losses) / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return strategy.reduce("SUM", strategy.run(replica_step, args=(x, y)), axis=None)


# %% mistake: the loss of the batch is the mean of the replicas' losses
"""The step is right, the number that you return is half of the loss: the replicas'
losses are parts of a sum. Reduce them with "SUM"."""


def distributed_step(strategy, model, optimizer, x, y, batch_size):
    def replica_step(x, y):
        with tf.GradientTape() as tape:
            row_losses = ops.mean(ops.square(y - model(x, training=True)), axis=-1)
            loss = ops.sum(row_losses) / batch_size
            loss += sum(model.losses) / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return strategy.reduce("MEAN", strategy.run(replica_step, args=(x, y)), axis=None)


# %% mistake: all replicas report the same loss
"""You return what the first replica found. Each has seen other rows: add their losses
up with `strategy.reduce`."""


def distributed_step(strategy, model, optimizer, x, y, batch_size):
    def replica_step(x, y):
        with tf.GradientTape() as tape:
            row_losses = ops.mean(ops.square(y - model(x, training=True)), axis=-1)
            loss = ops.sum(row_losses) / batch_size
            loss += sum(model.losses) / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    losses = strategy.run(replica_step, args=(x, y))
    return strategy.experimental_local_results(losses)[0]


# %% [markdown]
# ## Numbers with half the bits
#
# *A good place for a break. When you come back, run all cells above this one.*
#
# A number of 16 bits takes half the memory of the usual 32, and GPUs and TPUs multiply
# such numbers several times faster. But there are only 65,536 of them. Two formats
# spend the bits differently. Before you run the cell: which of these four numbers will
# survive in which format?

# %%
# rows: X7
numbers = [70000.0, 2049.0, 1.001, 1e-8]
print("asked for", numbers)
for dtype in ("float32", "float16", "bfloat16"):
    kept = [float(ops.cast(number, dtype)) for number in numbers]
    print(f"{dtype:9}", [float(f"{number:.5g}") for number in kept])

# %% [markdown]
# `float16` ends at 65,504 and knows nothing below 0.00000006; it counts in steps of 2
# from 2048 on. `bfloat16` reaches as far as `float32`, and is coarser still: no number
# between 1 and 1.0078.
#
# So **mixed precision** uses both: layers *compute* in 16 bits, *weights* stay in 32
# bits, because a small step would vanish in a coarse weight. A layer takes a policy by
# name.

# %%
# rows: X7
layers = [
    keras.layers.Dense(8, "relu", dtype="mixed_float16", name="hidden"),
    keras.layers.Dense(3, "softmax", dtype="mixed_float16", name="head"),
]
model = keras.Sequential([keras.Input((4,)), *layers])
for layer in layers:
    print(
        f"{layer.name:7} computes in {layer.compute_dtype}, keeps its weights in",
        end=" ",
    )
    print({weight.dtype for weight in layer.weights})
print("predict gives", model.predict(np.ones((2, 4)), verbose=0).dtype)

# %% [markdown]
# The answers come out in 16 bits, too, and the loss is computed from them. A
# probability of 0.00000002 becomes 0, and its logarithm is minus infinity. Habit: give
# the **head** `dtype="float32"`; everything before it may be mixed.
#
# Most often you set the policy once, for all layers that come after it. And when the
# whole model has the policy `mixed_float16`, `compile` changes your optimizer. Look at
# the last column.

# %%
# rows: X7, B17
for policy in ("float32", "mixed_float16", "mixed_bfloat16"):
    keras.config.set_dtype_policy(policy)
    model = linear(dtype="float32")
    names = []
    for scaled in (True, False):
        model.compile("sgd", "mse", auto_scale_loss=scaled)
        names.append(type(model.optimizer).__name__)
    print(f"{policy:15} {model.dtype_policy.name:15} {names}")
keras.config.set_dtype_policy("float32")

# %% [markdown]
# (The default is `auto_scale_loss=True`, the first name.) Why `mixed_float16` gets
# another optimizer is the subject of the next section. Note the last line of the cell:
# the policy is **global** and stays until you change it, also for models that have
# nothing to do with it.

# %% [markdown]
# ### Exercise: half the bits, with a head that knows better
#
# Write `mixed_model(n_features, units, k)`: a new, uncompiled model for `x` of shape
# `(n, n_features)` with two dense layers, both with bias. The first has `units` units
# and relu, computes in float16 and keeps its weights in float32. The second has `k`
# units and softmax and works in float32 altogether. Leave the global policy as it is.
# 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# Every layer takes `dtype=`: the name of a policy, or of a plain dtype.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `"float16"` would put the weights into 16 bits, too. `"mixed_float16"` does not.
#
# </details>


# %% exercise: mixed_model
def mixed_model(n_features, units, k):
    """A classifier: a hidden layer in mixed precision, a head in float32."""
    ### BEGIN SOLUTION
    hidden = keras.layers.Dense(units, "relu", dtype="mixed_float16")
    head = keras.layers.Dense(k, "softmax", dtype="float32")
    return keras.Sequential([keras.Input((n_features,)), hidden, head])
    ### END SOLUTION


# %% check: mixed_model, 3 points
def evidence(mixed_model, rng):
    d, units, k = (int(number) for number in rng.integers(3, 7, 3))
    given = {"n_features": d, "units": units, "k": k}
    model, ones = mixed_model(d, units, k), np.ones((2, d))

    def dtypes():
        return [keras.backend.standardize_dtype(w.dtype) for w in model.weights]

    def answer(x):
        return model(x.astype("float32"), training=False)

    name = keras.backend.standardize_dtype(answer(ones).dtype)
    yield "dtype of the answers", name, given
    yield "shapes of the weights", [w.shape for w in model.get_weights()], given
    yield "dtypes of the weights", dtypes, given

    x, weights = np.zeros((3, d)), [np.zeros(w.shape) for w in model.get_weights()]
    feature, unit, label = rng.integers(d), rng.integers(units), rng.integers(1, k)
    odd = 16 * rng.integers(44, 81, 3) + 1  # bfloat16 holds 16 n, and three times that
    x[:, feature] = odd  # three times this is odd: float16 counts in steps of 2 there
    shift = float(rng.uniform(0.2, 0.8))

    def gap(row, sign):
        """How far two logits lie apart: log of the ratio of their probabilities."""
        weights[0][feature, unit], weights[2][unit, label] = 3.0 * sign, 1.0
        hidden = float(np.float16(3.0 * odd[row])) if sign > 0 else 0.0
        weights[3][0] = hidden + shift
        model.set_weights(weights)
        p = np.asarray(answer(x[row : row + 1]), "float64")[0]
        return np.log(p[label] / p[0])

    about = {**given, "x": odd, "kernel": 3.0, "bias of the head beyond it": shift}
    label_one = "the hidden number, rounded to float16, minus a bias in float32"
    yield label_one, lambda: [gap(row, 1) for row in range(3)], about
    yield "the same where relu gives 0", lambda: gap(0, -1), about

    def fine(kernel, input, hidden):
        """The gap of two logits for one weight, beyond what `hidden` should be."""
        weights[0][feature, unit], weights[2][unit, label] = kernel, 1.0
        weights[3][0] = hidden + shift
        model.set_weights(weights)
        row = np.zeros((1, d))
        row[0, feature] = input
        p = np.asarray(answer(row), "float64")[0]
        return np.log(p[label] / p[0])

    low = -float(rng.uniform(0.5, 2))
    about = {**given, "kernel": 1.0, "x": low, "bias of the head": shift}
    yield "a hidden number somewhat below 0", lambda: fine(1.0, low, 0.0), about
    # In float16 this kernel is 1, and 2047 times it 2047. In float32 the product is
    # 2047.98, which float16 rounds to 2048.
    about = {**given, "kernel": 1.00048, "x": 2047, "bias of the head beyond it": shift}
    label_two = "a kernel that float16 cannot hold, minus a bias"
    yield label_two, lambda: fine(1.00048, 2047.0, 2047.0), about
    yield "the global policy afterwards", lambda: keras.config.dtype_policy().name
    yield "whether it is compiled", lambda: bool(model.compiled), given


check("09/mixed_model", evidence, rtol=0.01, atol=0.01)

# %% mistake: float16 is mixed precision
"""`dtype="float16"` keeps the weights in 16 bits, too: small steps vanish in them. The
policy `"mixed_float16"` computes in float16 and keeps weights in float32."""


def mixed_model(n_features, units, k):
    hidden = keras.layers.Dense(units, "relu", dtype="float16")
    head = keras.layers.Dense(k, "softmax", dtype="float32")
    return keras.Sequential([keras.Input((n_features,)), hidden, head])


# %% mistake: the head may have 16 bits like all others
"""Your head computes in float16, so logits are coarse and probabilities come out in 16
bits. Give it `dtype="float32"`."""


def mixed_model(n_features, units, k):
    hidden = keras.layers.Dense(units, "relu", dtype="mixed_float16")
    head = keras.layers.Dense(k, "softmax", dtype="mixed_float16")
    return keras.Sequential([keras.Input((n_features,)), hidden, head])


# %% mistake: only the softmax has to be float32
"""The softmax works in float32, but on logits that are already rounded to 16 bits: what
was lost before does not come back. Let the whole head compute in float32."""


def mixed_model(n_features, units, k):
    hidden = keras.layers.Dense(units, "relu", dtype="mixed_float16")
    logits = keras.layers.Dense(k, dtype="mixed_float16")
    softmax = keras.layers.Softmax(dtype="float32")
    return keras.Sequential([keras.Input((n_features,)), hidden, logits, softmax])


# %% mistake: a policy may stay set
"""You set the global policy, and every layer that anyone makes after you is mixed, too.
Give the policy to the layers: `dtype="mixed_float16"`."""


def mixed_model(n_features, units, k):
    keras.config.set_dtype_policy("mixed_float16")
    hidden = keras.layers.Dense(units, "relu")
    head = keras.layers.Dense(k, "softmax", dtype="float32")
    return keras.Sequential([keras.Input((n_features,)), hidden, head])


# %% mistake: bfloat16 is another name for float16
"""You chose `mixed_bfloat16`: as many bits, spent otherwise. It reaches further and is
eight times coarser; the exercise asks for float16."""


def mixed_model(n_features, units, k):
    hidden = keras.layers.Dense(units, "relu", dtype="mixed_bfloat16")
    head = keras.layers.Dense(k, "softmax", dtype="float32")
    return keras.Sequential([keras.Input((n_features,)), hidden, head])


# %% mistake: a float16 input makes a layer compute in float16
"""A layer turns its input into its own dtype before it computes. What decides is the
layer's policy, not what you feed."""


def mixed_model(n_features, units, k):
    x = keras.Input((n_features,), dtype="float16")
    hidden = keras.layers.Dense(units, "relu")(x)
    return keras.Model(x, keras.layers.Dense(k, "softmax")(hidden))


# %% [markdown]
# ## Gradients that vanish, and how to save them
#
# Backwards through a network the numbers get small: a mean over many rows, errors that
# are nearly zero. Below float16's smallest number they become 0, and what is behind
# them learns nothing. The remedy: multiply the loss by a large **scale** before the
# gradient is taken. All gradients grow with it. Afterwards divide by the scale, in
# float32.
#
# The picture shows the gradients that arrive at the hidden layer of a small network
# trained on digits, one for each row and unit.

# %%
# rows: X7
(x_train, y_train), _ = data.load_digits()
keras.utils.set_random_seed(0)
digits = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "relu")])
head = keras.layers.Dense(10)
trained = keras.Sequential([digits, head])
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
trained.compile(keras.optimizers.Adam(0.01), cross_entropy)
trained.fit(x_train, y_train, epochs=15, batch_size=128, verbose=0)
hidden = digits(x_train)
with tf.GradientTape() as tape:
    tape.watch(hidden)
    loss = cross_entropy(y_train, head(hidden))
arriving = tape.gradient(loss, hidden)
plots.gradient_range(arriving, 2.0**15, "A scale lifts gradients into float16's range")

# %% [markdown]
# `LossScaleOptimizer` does the book-keeping around any optimizer. In a loop of your
# own, call its `scale_loss` inside the tape; `apply` divides again. Forget
# `scale_loss`, and `apply` divides all the same. How far do the weights move then?


# %%
# rows: X7
def moved(scaled):
    model = linear(use_bias=False, dtype="mixed_float16")
    inner = keras.optimizers.SGD(0.1)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=1024.0)
    optimizer.build(model.trainable_variables)
    with tf.GradientTape() as tape:
        loss = mse(y, model(x, training=True))
        scaled_loss = optimizer.scale_loss(loss) if scaled else loss
    gradients = tape.gradient(scaled_loss, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    return model.get_weights()[0].ravel()


for name, scaled in {"with scale_loss": True, "without": False}.items():
    print(f"{name:16}", [f"{number:.1e}" for number in moved(scaled)])
print(f"with / without:  {(moved(True) / moved(False)).mean():.0f}")

# %% [markdown]
# The step is too short by the scale: 1024 times here, 32,768 times with the scale that
# Keras begins with. No error, and a loss that stands still. (With `fit` this cannot
# happen; it scales by itself.)
#
# Which scale is right? Nobody knows, so it is found out while training. It begins at
# 2¹⁵. Is any gradient inf or NaN, the scale was too large: this step is **skipped** and
# the scale **halved**. After a row of good steps (2000, here 4), it is **doubled**.

# %%
# rows: X7
weight = keras.Variable([1.0, 2.0])
settings = {"initial_scale": 1024.0, "dynamic_growth_steps": 4}
optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), **settings)
optimizer.build([weight])
scales, skipped = [], []
for step in range(20):
    scales.append(float(optimizer.scale_loss(1.0)))
    before = ops.convert_to_numpy(weight)
    bad = step in (6, 7, 13)
    optimizer.apply([ops.convert_to_tensor([1.0, np.inf if bad else 1.0])], [weight])
    if np.array_equal(before, ops.convert_to_numpy(weight)):
        skipped.append(step)
plots.loss_scales(scales, skipped, "inf halves the scale, four good steps double it")

# %% [markdown]
# At steps 6, 7 and 13 one of the two gradients was inf, and **both** weights stayed:
# a step is skipped as a whole. A skipped step also begins the count anew.
#
# So a few skipped steps at the start of training are normal. A scale that keeps
# falling is not: then the loss itself is NaN.
#
# **Try it.** Let every step after 10 be bad: `bad = step > 10`. Which scale does the
# last step use? Predict first.
#
# <details><summary>What you get</summary>
#
# 16. After steps 3 and 7 it doubles to 4096, and each of the eight bad steps from 11
# to 18 halves it.
#
# </details>

# %% [markdown]
# ### Exercise: scale, unscale, skip
#
# Write `scaled_sgd(w, gradients, learning_rate, scale, growth_steps)` with NumPy: train
# as above, by hand. `w` (n,) and `gradients` (steps, n) are float32 arrays. Each step:
#
# - `(gradient * scale).astype("float16")` is what arrives;
# - is all of it finite, divide it by `scale` **in float32**, and subtract
#   `learning_rate` times that from the weights; after `growth_steps` such steps in a
#   row, double the scale for the next step and count anew;
# - otherwise leave the weights, halve the scale and count anew.
#
# Return the new weights and a list with the scale that each step used. Leave `w` and
# `gradients` unchanged. 20 minutes.
#
# <details><summary>Hint 1</summary>
#
# Three things live on from step to step: the weights, the scale, and how many good
# steps there were in a row.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `np.isfinite(arrived).all()` asks for both inf and NaN;
# `arrived.astype("float32") / scale` divides in float32.
#
# </details>
# <details><summary>Hint 3</summary>
#
# NumPy warns of an overflow when it makes an inf. That is what you look for here, so
# `with np.errstate(over="ignore"):` is in order.
#
# </details>


# %% exercise: scaled_sgd
def scaled_sgd(w, gradients, learning_rate, scale, growth_steps):
    """SGD with a loss scale: the new weights (n,), and the scale of every step."""
    ### BEGIN SOLUTION
    scales, good = [], 0
    for gradient in gradients:
        scales.append(scale)
        with np.errstate(over="ignore"):
            arrived = (gradient * scale).astype("float16")
        if np.isfinite(arrived).all():
            w = w - learning_rate * (arrived.astype("float32") / scale)
            good += 1
            if good == growth_steps:
                scale, good = scale * 2, 0
        else:
            scale, good = scale / 2, 0
    return w, scales
    ### END SOLUTION


# %% check: scaled_sgd, 5 points
def evidence(scaled_sgd, rng):
    n, growth = int(rng.integers(2, 5)), int(rng.integers(3, 5))
    scale = float(2.0 ** rng.integers(8, 11))
    learning_rate = float(rng.uniform(0.05, 0.2))
    w = rng.normal(size=n).astype("float32")

    def draw(steps, broken=(), by=np.inf, size=1.0):
        gradients = (size * rng.uniform(0.3, 2, (steps, n))).astype("float32")
        for step in broken:
            gradients[step, int(rng.integers(n))] = by
        return gradients

    def too_large(steps):
        """A gradient that fits into float16 only after the scale was halved twice."""
        gradients = draw(steps)
        gradients[1:4, 0] = 65504 / scale * rng.uniform(2.2, 3.8, 3)
        return gradients

    broken = [growth - 1, 2 * growth + 1]
    cases = {
        "good steps only": (draw(2 * growth + 2), learning_rate),
        "an inf now and then": (draw(3 * growth + 3, broken), learning_rate),
        "a NaN": (draw(growth + 2, [1], np.nan), learning_rate),
        "gradients too large for the first scale": (too_large(6), learning_rate),
        "gradients below float16": (draw(growth, size=2.0**-28), 2.0**27),
    }
    for case, (gradients, rate) in cases.items():
        given = {"gradients": gradients, "scale": scale, "growth_steps": growth}
        given["learning_rate"] = rate

        def both():
            return scaled_sgd(w.copy(), gradients.copy(), rate, scale, growth)

        yield f"{case}: weights", lambda: both()[0], given
        yield f"{case}: scales", lambda: [float(used) for used in both()[1]], given

    def after():
        scaled_sgd(w, cases["good steps only"][0], learning_rate, scale, growth)
        return [w, cases["good steps only"][0][0]]

    yield "w and gradients after a call", after


check("09/scaled_sgd", evidence)

# %% mistake: a scaled gradient is the gradient
"""You take the step with the scaled gradient, so it is `scale` times too long. Divide
by the scale before the step."""


def scaled_sgd(w, gradients, learning_rate, scale, growth_steps):
    scales, good = [], 0
    for gradient in gradients:
        scales.append(scale)
        arrived = (gradient * scale).astype("float16")
        if np.isfinite(arrived).all():
            w = w - learning_rate * arrived.astype("float32")
            good += 1
            if good == growth_steps:
                scale, good = scale * 2, 0
        else:
            scale, good = scale / 2, 0
    return w, scales


# %% mistake: dividing may happen in float16
"""You divide in float16: what the scale had saved falls below the smallest number again
and becomes 0. Turn it into float32 first."""


def scaled_sgd(w, gradients, learning_rate, scale, growth_steps):
    scales, good = [], 0
    for gradient in gradients:
        scales.append(scale)
        arrived = (gradient * scale).astype("float16")
        if np.isfinite(arrived).all():
            w = w - learning_rate * (arrived / np.float16(scale)).astype("float32")
            good += 1
            if good == growth_steps:
                scale, good = scale * 2, 0
        else:
            scale, good = scale / 2, 0
    return w, scales


# %% mistake: a Python number makes float32 of float16
"""`arrived / scale` stays float16, for a Python number takes the array's dtype: what
the scale had saved becomes 0 again. Turn the array into float32 first."""


def scaled_sgd(w, gradients, learning_rate, scale, growth_steps):
    scales, good = [], 0
    for gradient in gradients:
        scales.append(scale)
        arrived = (gradient * scale).astype("float16")
        if np.isfinite(arrived).all():
            w = w - learning_rate * (arrived / scale)
            good += 1
            if good == growth_steps:
                scale, good = scale * 2, 0
        else:
            scale, good = scale / 2, 0
    return w, scales


# %% mistake: only the broken number is skipped
"""You leave out the entries that are inf or NaN and step with the others. The step is
skipped as a whole: a gradient with a hole in it points somewhere else."""


def scaled_sgd(w, gradients, learning_rate, scale, growth_steps):
    scales, good = [], 0
    for gradient in gradients:
        scales.append(scale)
        arrived = (gradient * scale).astype("float16").astype("float32")
        finite = np.isfinite(arrived)
        w = w - learning_rate * np.where(finite, arrived / scale, 0.0)
        if finite.all():
            good += 1
            if good == growth_steps:
                scale, good = scale * 2, 0
        else:
            scale, good = scale / 2, 0
    return w, scales


# %% mistake: a skipped step does not interrupt the count
"""You go on counting after a skipped step. The scale was too large a moment ago: only
`growth_steps` good steps **in a row** double it, so the count begins anew."""


def scaled_sgd(w, gradients, learning_rate, scale, growth_steps):
    scales, good = [], 0
    for gradient in gradients:
        scales.append(scale)
        arrived = (gradient * scale).astype("float16")
        if np.isfinite(arrived).all():
            w = w - learning_rate * (arrived.astype("float32") / scale)
            good += 1
            if good == growth_steps:
                scale, good = scale * 2, 0
        else:
            scale = scale / 2
    return w, scales


# %% mistake: once grown, the scale doubles with every good step
"""You do not count anew after doubling, so every further good step doubles the scale
again. Set the count back to 0."""


def scaled_sgd(w, gradients, learning_rate, scale, growth_steps):
    scales, good = [], 0
    for gradient in gradients:
        scales.append(scale)
        arrived = (gradient * scale).astype("float16")
        if np.isfinite(arrived).all():
            w = w - learning_rate * (arrived.astype("float32") / scale)
            good += 1
            if good >= growth_steps:
                scale = scale * 2
        else:
            scale, good = scale / 2, 0
    return w, scales


# %% mistake: skipping is enough
"""You skip the step and keep the scale: the next gradient is as large, and is skipped,
too. Halve the scale."""


def scaled_sgd(w, gradients, learning_rate, scale, growth_steps):
    scales, good = [], 0
    for gradient in gradients:
        scales.append(scale)
        arrived = (gradient * scale).astype("float16")
        if np.isfinite(arrived).all():
            w = w - learning_rate * (arrived.astype("float32") / scale)
            good += 1
            if good == growth_steps:
                scale, good = scale * 2, 0
        else:
            good = 0
    return w, scales


# %% mistake: a step may be taken in the caller's array
"""`w -= ...` changes the array that you were given, so the caller's old weights are
gone. `w = w - ...` makes a new one."""


def scaled_sgd(w, gradients, learning_rate, scale, growth_steps):
    scales, good = [], 0
    for gradient in gradients:
        scales.append(scale)
        arrived = (gradient * scale).astype("float16")
        if np.isfinite(arrived).all():
            w -= learning_rate * (arrived.astype("float32") / scale)
            good += 1
            if good == growth_steps:
                scale, good = scale * 2, 0
        else:
            scale, good = scale / 2, 0
    return w, scales


# %% mistake: inf is all that can go wrong
"""You look for inf alone. NaN arrives, too (inf minus inf is NaN), and one NaN in the
weights stays there for ever. `np.isfinite` asks for both."""


def scaled_sgd(w, gradients, learning_rate, scale, growth_steps):
    scales, good = [], 0
    for gradient in gradients:
        scales.append(scale)
        arrived = (gradient * scale).astype("float16")
        if not np.isinf(arrived).any():
            w = w - learning_rate * (arrived.astype("float32") / scale)
            good += 1
            if good == growth_steps:
                scale, good = scale * 2, 0
        else:
            scale, good = scale / 2, 0
    return w, scales


# %% [markdown]
# ## No faster on a CPU
#
# Half the bits, half the time? On GPUs and TPUs with units for 16-bit numbers, often.
# Most CPUs have none for float16; they turn numbers back and forth instead. Measure it:
# one epoch of the same `fit` with three policies, the best of five tries each.


# %% varies: timings
# rows: X7
def best_of_five(policy):
    keras.config.set_dtype_policy(policy)
    layers = [keras.layers.Dense(256, "relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((256,)), *layers, keras.layers.Dense(1)])
    keras.config.set_dtype_policy("float32")
    model.compile("sgd", "mse", auto_scale_loss=policy == "mixed_float16")
    tries = []
    for _ in range(6):  # the first one traces the step
        begin = time.perf_counter()
        model.fit(wide, wide[:, :1], batch_size=200, verbose=0)
        tries.append(time.perf_counter() - begin)
    return min(tries[1:])


wide = np.random.default_rng(0).normal(size=(2000, 256)).astype("float32")
policies = ("float32", "mixed_float16", "mixed_bfloat16")
seconds = {policy: best_of_five(policy) for policy in policies}
plots.call_seconds(seconds, "Half the bits, and not half the time")

# %% [markdown]
# The bars differ from machine to machine and from run to run: a little shorter, a
# little longer. What you will hardly see is half the time. On a CPU mixed precision is
# for trying out whether your code survives it. Before you decide, measure on the
# machine that will train.

# %% [markdown]
# ## Compile the step: XLA
#
# A step is hundreds of small operations, each started by itself, with its result
# written to memory. XLA compiles them into a few large ones. You ask for it with
# `jit_compile=True`, in `compile` or in `tf.function`. Say nothing, and `compile` takes
# it on a GPU and leaves it on a CPU. Results agree up to rounding; the time is spent
# elsewhere.


# %%
# rows: X9, B16
def network(jit_compile):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(64, "relu") for _ in range(3)]
    model = keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(10)])
    model.compile("adam", cross_entropy, jit_compile=jit_compile)
    return model


with runtime.no_stderr():  # in some versions XLA greets you when it begins
    losses = [network(jit).train_on_batch(x_train, y_train) for jit in (False, True)]
print(f"loss {losses[0]:.4f}, difference below 1e-6: {abs(np.diff(losses)[0]) < 1e-6}")
print("XLA, if you ask for nothing here:", network("auto").jit_compile)
python = tf.function(lambda v: tf.numpy_function(np.sort, [v], "float32"))
compiled = tf.function(python.python_function, jit_compile=True)
for name, function in {"plain": python, "XLA": compiled}.items():
    print(f"NumPy inside, {name}:", outcome(lambda: function(ops.ones(2)).shape))

# %% [markdown]
# XLA must know all that happens: NumPy code inside, and text, are refused. And it
# compiles for **one** shape. Watch which calls below are the slow ones: plain
# TensorFlow also records a step anew, but XLA then compiles it. The last batch of an
# epoch is often smaller.

# %% varies: timings
# rows: X9
seconds = {}
for jit_compile in (False, True):
    model = network(jit_compile)
    for call, n in {"first": 200, "second": 200, "other size": 199}.items():
        begin = time.perf_counter()
        model.train_on_batch(x_train[:n], y_train[:n])
        name = f"{'XLA' if jit_compile else 'plain'}, {call}"
        seconds[name] = time.perf_counter() - begin
plots.call_seconds(seconds, "XLA pays first, and again for each new shape")

# %% [markdown]
# Habit: drop the remainder (or pad it) when you use XLA, leave the first steps out of
# every timing, and compare whole trainings. For short ones the compiling is never paid
# back.

# %% [markdown]
# ## Another backend: JAX
#
# Colab's TPU runtimes come without TensorFlow: what runs there is Keras on **JAX**. The
# backend is fixed when Keras is imported, so it has to be chosen before: with the
# environment variable `KERAS_BACKEND`. `compile`, `fit`, `evaluate`, `predict` and
# callbacks are the same. A `GradientTape` loop runs on TensorFlow alone.
#
# Here is a small script with two losses that say the same thing in two languages.

# %%
# rows: X13
script = """
import keras, numpy as np
from keras import ops

def keras_loss(y, p):
    return ops.mean(ops.square(y - p), axis=-1)

def tf_loss(y, p):
    import tensorflow as tf
    return tf.reduce_mean(tf.square(y - p), axis=-1)

x = np.arange(8, dtype="float32").reshape(4, 2)
for loss in (keras_loss, tf_loss):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", loss)
    try: found = len(model.fit(x, x[:, :1], verbose=0).epoch), "epoch"
    except Exception as error: found = "stops:", type(error).__name__
    print(keras.backend.backend(), loss.__name__, *found)
"""
print(runtime.run_on("tensorflow", script))

# %% varies: JAX may be installed or not
# rows: X13
print(runtime.run_on("jax", script))

# %% [markdown]
# Where JAX is installed, the last cell prints one epoch for `keras_loss`, and for
# `tf_loss` that it stops (with JAX 0.7.2, a `TracerArrayConversionError`; without
# TensorFlow, a `ModuleNotFoundError`). Where it is not, as in this course's own
# environment, it says so. No harm: you can find out without JAX whether your code
# depends on TensorFlow.
#
# `keras.ops` takes anything: NumPy arrays, tensors of the backend, and `KerasTensor`, a
# placeholder that has a shape and a dtype and no numbers. `tf.` functions and NumPy's
# refuse placeholders.

# %%
# rows: X13
placeholder = keras.KerasTensor((None, 3))
tries = {
    "keras.ops": lambda: str(ops.mean(ops.square(placeholder), axis=-1).shape),
    "tensorflow": lambda: tf.reduce_mean(tf.square(placeholder), axis=-1),
    "numpy": lambda: np.mean(np.square(placeholder), axis=-1),
    "methods": lambda: placeholder.mean(axis=-1),
    "a minus, int and float": lambda: tf.constant([2]) - tf.constant([0.5]),
    "ops.subtract": lambda: str(ops.subtract(tf.constant([2]), tf.constant([0.5]))[0]),
}
for name, action in tries.items():
    print(f"{name:23}", outcome(action)[:58])

# %% [markdown]
# The last two lines show a trap. `-`, `*` and `/` between tensors belong to the
# *backend*: TensorFlow refuses an int tensor minus a float tensor, JAX takes it.
# `ops.subtract` works on both.
#
# <details><summary>And my own loop on JAX?</summary>
#
# It is written without a tape: weights go in, new weights come out. This one gives the
# same weights as `fit` (tried with JAX 0.7.2 on a CPU, 0.11.2 on a GPU). `weights`,
# `rest` and `state` are lists of the `.value` of `model.trainable_variables`,
# `model.non_trainable_variables` and `optimizer.variables`; at the end, `assign` them
# back. Several devices: `keras.distribution.DataParallel`; `MirroredStrategy` is
# TensorFlow's.
#
# ```python
# def compute_loss(weights, rest, x, y):
#     p, rest = model.stateless_call(weights, rest, x, training=True)
#     return ops.mean(ops.square(y - p)), rest
#
# @jax.jit
# def step(weights, rest, state, x, y):
#     slope = jax.value_and_grad(compute_loss, has_aux=True)
#     (loss, rest), gradients = slope(weights, rest, x, y)
#     weights, state = optimizer.stateless_apply(state, gradients, weights)
#     return weights, rest, state, loss
# ```
#
# </details>

# %% [markdown]
# ### Quiz: a TPU on Colab
#
# You choose a TPU runtime on Colab for a notebook that trains with `fit`, has a loss
# made of `keras.ops`, and a `GradientTape` loop at its end. What works there?
#
# <details><summary>All of it, with TPUStrategy</summary>
#
# No: `TPUStrategy` is part of TensorFlow, and that is not installed there.
#
# </details>
# <details><summary><code>fit</code> with the loss, on JAX; not the loop</summary>
#
# Right: built-in loops and `keras.ops` run on every backend. A tape is TensorFlow's:
# for that part choose a GPU or CPU runtime, or rewrite the loop for JAX.
#
# </details>
# <details><summary>Nothing: Keras needs TensorFlow</summary>
#
# No: Keras 3 runs on TensorFlow, JAX or PyTorch. Say which before you import it.
#
# </details>

# %% [markdown]
# ### Exercise: a loss for every backend
#
# Write `relative_error(y_true, y_pred)`: a loss for arrays `(n, d)` that returns
# `(n,)`. A number's error is `|y_true - y_pred|` divided by `|y_true|`, but by 1 where
# `|y_true|` is smaller than 1; a row's loss is the mean over its `d` numbers. For
# `[[4, 0]]` predicted as `[[3.0, 0.5]]`: `(1/4 + 0.5/1) / 2`, that is `[0.375]`.
# `y_true` may hold ints, `y_pred` floats; both may be NumPy arrays, tensors or
# placeholders (with any number of rows), and it works in a `tf.function`. 10 minutes.
#
# <details><summary>Hint 1</summary>
#
# For every step there is a function in `keras.ops` with NumPy's name.
#
# </details>
# <details><summary>Hint 2</summary>
#
# "By 1 where it is smaller" is `ops.maximum(..., 1.0)`. And ints minus floats?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `ops.abs(ops.subtract(y_true, y_pred))` for the error.
#
# </details>


# %% exercise: relative_error
def relative_error(y_true, y_pred):
    """Mean relative error of each row, on any backend: (n, d), (n, d) -> (n,)."""
    ### BEGIN SOLUTION
    error = ops.abs(ops.subtract(y_true, y_pred))
    size = ops.maximum(ops.abs(y_true), 1.0)
    return ops.mean(ops.divide(error, size), axis=-1)
    ### END SOLUTION


# %% check: relative_error, 4 points
def evidence(relative_error, rng):
    n, d = int(rng.integers(3, 7)), int(rng.integers(2, 5))
    sign = rng.choice([-1, 1], (n, d))
    y = (sign * rng.uniform(1.5, 9, (n, d))).astype("float32")
    p = (y + rng.normal(size=(n, d))).astype("float32")
    near = rng.uniform(-0.9, 0.9, (n, d)).astype("float32")
    whole = rng.integers(-9, 10, (n, d)).astype("int32")
    given = {"y_true": y, "y_pred": p}
    numbers = [ops.convert_to_tensor(array) for array in (y, p, near, whole)]
    y_tensor, p_tensor, near_tensor, whole_tensor = numbers

    def slope():
        with tf.GradientTape() as tape:
            tape.watch(p_tensor)
            total = ops.sum(relative_error(y_tensor, p_tensor))
        return tape.gradient(total, p_tensor)

    def placeholder():
        symbols = [keras.Input((d,)) for _ in range(2)]
        found = relative_error(*symbols)
        shape = [str(size) for size in found.shape]
        later = keras.Function(symbols, found)([y_tensor, p_tensor])
        return {"shape": shape, "dtype": found.dtype, "with numbers later": later}

    any_rows = tf.TensorSpec((None, d))
    settings = {"autograph": False, "input_signature": [any_rows, any_rows]}
    graph = tf.function(lambda *both: relative_error(*both), **settings)
    yield "tensors", lambda: relative_error(y_tensor, p_tensor), given
    yield "NumPy arrays", lambda: relative_error(y, p), given
    small = {"y_true": near, "y_pred": p}
    yield "targets near 0", lambda: relative_error(near_tensor, p_tensor), small
    ints = {"y_true": whole, "y_pred": p}
    yield "int targets", lambda: relative_error(whole_tensor, p_tensor), ints
    yield "in a tf.function", lambda: graph(y_tensor, p_tensor), given
    yield (
        "placeholders, as other backends see them",
        placeholder,
        {"shape": ["None", d]},
    )
    yield "the slope at each prediction", slope, given


check("09/relative_error", evidence)

# %% mistake: tf functions are Keras functions
"""Right on TensorFlow, and only there: `tf.` functions refuse placeholders and the
arrays of other backends. `keras.ops` has the same functions under NumPy's names."""


def relative_error(y_true, y_pred):
    y_true = tf.cast(y_true, "float32")
    error = tf.abs(y_true - y_pred) / tf.maximum(tf.abs(y_true), 1.0)
    return tf.reduce_mean(error, axis=-1)


# %% mistake: NumPy runs on every backend
"""NumPy needs numbers. In `fit` there are placeholders, on every backend, and the slope
gets lost. `keras.ops` has the same functions under the same names."""


def relative_error(y_true, y_pred):
    error = np.abs(np.subtract(y_true, y_pred)) / np.maximum(np.abs(y_true), 1.0)
    return np.mean(error, axis=-1).astype("float32")


# %% mistake: a minus is the same on every backend
"""Your operators meet tensors of different dtypes: TensorFlow refuses an int tensor
minus a float tensor. Use `ops.subtract`, or `ops.cast` the targets first."""


def relative_error(y_true, y_pred):
    error = ops.abs(y_true - y_pred)
    return ops.mean(error / ops.maximum(ops.abs(y_true), 1.0), axis=-1)


# %% mistake: arrays have methods everywhere
"""`.mean()` is a method of NumPy's arrays (and of JAX's). Tensors of TensorFlow and
placeholders have none: call `ops.mean(...)`."""


def relative_error(y_true, y_pred):
    error = ops.abs(ops.subtract(y_true, y_pred)) / ops.maximum(ops.abs(y_true), 1.0)
    return error.mean(axis=-1)


# %% mistake: every array has .numpy()
"""`.numpy()` is there only for TensorFlow's tensors with numbers in them: not for NumPy
arrays, not for placeholders. Use `keras.ops` from beginning to end."""


def relative_error(y_true, y_pred):
    y_true, y_pred = y_true.numpy(), y_pred.numpy()
    error = np.abs(y_true - y_pred) / np.maximum(np.abs(y_true), 1.0)
    return np.mean(error, axis=-1).astype("float32")


# %% mistake: a loss is one number
"""You average over everything. Return one value per row; the mean over rows belongs to
Keras, which multiplies by `sample_weight` first."""


def relative_error(y_true, y_pred):
    error = ops.abs(ops.subtract(y_true, y_pred))
    return ops.mean(ops.divide(error, ops.maximum(ops.abs(y_true), 1.0)))


# %% mistake: relative to the prediction
"""You divide by the size of the prediction. The error is relative to what is true:
`|y_true|`."""


def relative_error(y_true, y_pred):
    error = ops.abs(ops.subtract(y_true, y_pred))
    return ops.mean(ops.divide(error, ops.maximum(ops.abs(y_pred), 1.0)), axis=-1)


# %% mistake: 1 is added to the size
"""You add 1 to `|y_true|`, so every error is divided by too much. Only where the size
is **below** 1, it is replaced by 1: `ops.maximum`."""


def relative_error(y_true, y_pred):
    error = ops.abs(ops.subtract(y_true, y_pred))
    return ops.mean(ops.divide(error, ops.add(ops.abs(y_true), 1.0)), axis=-1)


# %% [markdown]
# <details><summary><b>If you meet this in older code</b></summary>
#
# | there | today |
# |---|---|
# | `optimizer.get_scaled_loss(loss)` | `optimizer.scale_loss(loss)` |
# | `get_unscaled_gradients(gradients)` | leave it out: `apply` divides |
# | `mixed_precision.experimental.set_policy` | `keras.config.set_dtype_policy` |
# | `LossScaleOptimizer(..., loss_scale="dynamic")` | `initial_scale=`, always dynamic |
# | `Reduction.NONE`, then `compute_average_loss` | sum, divided by the global batch |
# | `strategy.experimental_run_v2` | `strategy.run` |
# | `experimental_compile=True` | `jit_compile=True` |
# | `TPUStrategy` on Colab | Keras on JAX |
#
# </details>

# %% [markdown]
# ### In your own words
#
# A colleague moves her own tape loop from one GPU to four, and to `mixed_float16` on
# the same day. Each step now takes a third of the time, but the loss jumps around and
# then stands still at a high value. She wonders whether to buy better GPUs. Name two
# slips that would explain it, and for each a small test, with which numbers, that would
# show it on a laptop without a GPU. Four or five sentences; your teacher reads them.
# 8 minutes.

# %% answer: two_suspects, 2 points [markdown]
# Jumping fits a step that is too long: if each replica takes the mean over its own
# rows, the four gradients are added and the step is four times as long. On a laptop I
# would make two logical CPUs, take one step on a small even batch from given weights,
# and compare with one device: the change of the weights must be equal, not double.
# Standing still fits a missing `scale_loss`: `apply` divides by the scale anyway, and
# steps are 32,768 times too short. I would take one step with SGD in mixed precision
# and in float32: the changes should agree to about three digits. Better GPUs change
# neither.

# %% [markdown]
# ## Five habits from this lesson
#
# | habit | because |
# |---|---|
# | compare one step with one device | wrong sums raise no error |
# | losses of rows, summed, by the global batch | gradients of replicas are added |
# | batches that divide | a lone row counts more |
# | the head in float32 | rounding is worst where the loss looks |
# | `keras.ops` in losses and metrics | they run on every backend |

# %%
progress("09")

# %% [markdown]
# ## You can now
#
# - train on several devices with `fit` or a loop of your own, and prove it on a laptop;
# - use 16-bit numbers and say what each loss scale does to a step;
# - write code that runs on more than one backend, and tell which cannot.
#
# A page to keep, with all that you have solved: `from helpers.checks import summary`,
# then `summary("Your name")`.
#
# The course ends here. You can watch `fit` at work, write what it does yourself, and
# test that both agree: the next model is yours.
