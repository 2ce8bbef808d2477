"""Print what one training step costs in seven loops, side by side in one run.

50,000 samples of 784 numbers in batches of 64, the network of the older guides. All
loops do the same updates; a first part checks that they end with the same weights.
The last loop is the reference answer of lesson 07 to the exercise `make_epoch`.
Times depend on the machine and on what else it does: read the ratios.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from helpers.lessons import build
from helpers.lessons.answers import execute

ROWS, FEATURES, CLASSES, BATCH_SIZE = 50_000, 784, 10, 64
EAGER_STEPS, REPEATS, PER_EXECUTION = 60, 5, 100


def make_data(rows=ROWS):
    """x (rows, 784) float32 and y (rows,) int64, drawn from a fixed seed."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(rows, FEATURES)).astype("float32")
    return x, rng.integers(0, CLASSES, rows)


def make_model(optimizer, **settings):
    """The network of the older guides, always with the same weights, compiled."""
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(CLASSES),
        ]
    )
    rng = np.random.default_rng(1)
    for weight in model.trainable_variables:
        weight.assign(rng.normal(0, 0.05, weight.shape))
    model.compile(OPTIMIZERS[optimizer](), LOSS, **settings)
    return model


LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(0.01),
    "Adam": lambda: keras.optimizers.Adam(0.001),
}


def make_step(model):
    """One update; returns the loss."""

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = LOSS(y, model(x, training=True)) + sum(model.losses)
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return step


def reference_answer(model):
    """An epoch as the reference answer of lesson 07 makes it, like `make_epoch`."""
    (lesson,) = build.find(["07"])
    source = {exercise.name: exercise.answer.source for exercise in lesson.exercises}
    answer = execute(source["make_epoch"], "make_epoch", {"tf": tf})["make_epoch"]
    return answer(model, model.optimizer, LOSS, BATCH_SIZE)


def make_epoch(model, batch_size=BATCH_SIZE):
    """One epoch in one compiled function of tensors x and y; returns its mean loss."""
    step = make_step(model)

    @tf.function(reduce_retracing=True)
    def epoch(x, y):
        rows = tf.shape(x)[0]
        total = tf.constant(0.0)
        for start in tf.range(0, rows, batch_size):
            end = tf.minimum(start + batch_size, rows)
            loss = step(x[start:end], y[start:end])
            total += loss * tf.cast(end - start, tf.float32)
        return total / tf.cast(rows, tf.float32)

    return epoch


def batches_of(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH_SIZE)


class Loops:
    """The ways to train, each a method that returns (seconds, steps)."""

    def __init__(self, optimizer, x, y):
        self.x, self.y = x, y
        self.tensors = tf.constant(x), tf.constant(y)
        self.few = batches_of(
            x[: EAGER_STEPS * BATCH_SIZE], y[: EAGER_STEPS * BATCH_SIZE]
        )
        self.all = batches_of(x, y)
        self.steps = -(-len(x) // BATCH_SIZE)
        self.models = {name: make_model(optimizer) for name in WAYS}
        many = make_model(optimizer, steps_per_execution=PER_EXECUTION)
        self.models["fit, 100 steps a call"] = many
        step = {name: make_step(model) for name, model in self.models.items()}
        self.eager = step["eager"]
        self.compiled = tf.function(step["tf.function"], reduce_retracing=True)
        self.xla = tf.function(step["tf.function, XLA"], jit_compile=True)
        self.epoch = make_epoch(self.models["epoch in one function"])
        self.reference = reference_answer(self.models["the reference answer"])

    def one(self, name):
        """Train once in a way; returns milliseconds per step."""
        begin = time.perf_counter()
        steps = WAYS[name](self) or self.steps
        return 1000 * (time.perf_counter() - begin) / steps

    def run_steps(self, step, dataset):
        count = 0
        for x, y in dataset:
            loss, count = step(x, y), count + 1
        float(loss)
        return count

    def fit(self, name):
        model = self.models[name]
        model.fit(self.x, self.y, batch_size=BATCH_SIZE, shuffle=False, verbose=0)


WAYS = {
    "eager": lambda loops: loops.run_steps(loops.eager, loops.few),
    "tf.function": lambda loops: loops.run_steps(loops.compiled, loops.all),
    "tf.function, XLA": lambda loops: loops.run_steps(loops.xla, loops.all),
    "fit": lambda loops: loops.fit("fit"),
    "fit, 100 steps a call": lambda loops: loops.fit("fit, 100 steps a call"),
    "epoch in one function": lambda loops: float(loops.epoch(*loops.tensors)) and None,
    "the reference answer": lambda loops: (
        float(loops.reference(*loops.tensors)) and None
    ),
}


def same_weights(optimizer, make, rows=1000, epochs=2):
    """The largest difference of a weight between fit and an epoch, trained alike.

    Args:
        make: `make_epoch` or `reference_answer`.

    Returns:
        `(weights, loss)`: floats, differences after `epochs` over `rows` samples.
    """
    x, y = make_data(rows)
    one, other = make_model(optimizer), make_model(optimizer)
    settings = {"batch_size": BATCH_SIZE, "epochs": epochs, "verbose": 0}
    losses = one.fit(x, y, shuffle=False, **settings).history["loss"]
    epoch = make(other)
    found = [float(epoch(tf.constant(x), tf.constant(y))) for _ in range(epochs)]
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    weights = max(float(np.abs(a - b).max()) for a, b in pairs)
    return weights, max(abs(a - b) for a, b in zip(losses, found, strict=True))


def measure(optimizer, rows=ROWS, repeats=REPEATS):
    """Milliseconds per step: dict from a way to a list, one number per repeat.

    The ways take turns, so what else the machine does falls on all of them.
    """
    loops = Loops(optimizer, *make_data(rows))
    found = {name: [] for name in WAYS}
    for repeat in range(repeats + 1):  # the first one traces and compiles
        for name in WAYS:
            value = loops.one(name)
            if repeat:
                found[name].append(value)
    return found


def show(optimizer, found):
    """Print medians, and how many times as fast as `fit` and as eager they are."""
    print(f"\n{optimizer:24}  ms a step   spread          x fit   x eager")
    for name, values in found.items():
        faster = [
            statistics.median(
                other / value for other, value in zip(found[key], values, strict=True)
            )
            for key in ("fit", "eager")
        ]
        spread = f"{min(values):.3f} to {max(values):.3f}"
        print(
            f"  {name:24}{statistics.median(values):9.3f}   {spread:16}"
            f"{faster[0]:5.1f}{faster[1]:10.1f}"
        )


def main():
    tf.get_logger().setLevel("ERROR")  # a function for every model is on purpose
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args()
    for optimizer in OPTIMIZERS:
        for make in (make_epoch, reference_answer):
            weights, loss = same_weights(optimizer, make)
            print(
                f"{optimizer}, {make.__name__}: after two epochs it differs from fit "
                f"by {weights:.0e} (weights), {loss:.0e} (loss)"
            )
            assert weights < 1e-5 and loss < 1e-5
    for optimizer in OPTIMIZERS:
        show(optimizer, measure(optimizer, arguments.rows, arguments.repeats))


if __name__ == "__main__":
    main()
