"""Lesson 09 against what it teaches: TensorFlow's strategy, Keras' optimizer, JAX."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from test_runtime import needs_jax

from helpers import runtime
from helpers.checks.evidence import run
from helpers.lessons import build
from helpers.lessons.answers import Trial, base_namespace, execute

LESSON = build.find(["09"])[0]
EXERCISES = {exercise.name: exercise for exercise in LESSON.exercises}
BASE = base_namespace(LESSON)


def reference(name):
    source = EXERCISES[name].answer.source
    return execute(source, f"09/{name}", dict(BASE))[name]


@pytest.mark.parametrize("replicas", [1, 2])
def test_parts_of_a_batch_are_those_of_the_strategy(replicas):
    devices = [f"CPU:{number}" for number in range(replicas)]
    strategy = tf.distribute.MirroredStrategy(devices)
    for rows, batch_size in [(19, 8), (17, 8), (19, 7), (5, 7), (9, 2), (3, 1)]:
        dataset = tf.data.Dataset.range(rows).batch(batch_size)
        found = [
            [len(part) for part in strategy.experimental_local_results(batch)]
            for batch in strategy.experimental_distribute_dataset(dataset)
        ]
        assert reference("replica_batches")(rows, batch_size, replicas) == found


MORE_REPLICAS = """
import tensorflow as tf
from helpers import runtime

runtime.split_cpu(4)
for replicas in (3, 4):
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
    for rows, batch_size in CASES:
        dataset = tf.data.Dataset.range(rows).batch(batch_size)
        print([
            [len(part) for part in strategy.experimental_local_results(batch)]
            for batch in strategy.experimental_distribute_dataset(dataset)
        ])
"""


def test_parts_of_a_batch_for_more_replicas():
    cases = [(19, 8), (17, 8), (20, 10), (11, 3), (9, 2)]
    script = MORE_REPLICAS.replace("CASES", str(cases))
    want = [
        str(reference("replica_batches")(rows, batch_size, replicas))
        for replicas in (3, 4)
        for rows, batch_size in cases
    ]
    assert runtime.run_on("tensorflow", script).splitlines() == want


def test_scaling_by_hand_is_what_the_loss_scale_optimizer_does():
    rng = np.random.default_rng(0)
    for _ in range(40):
        n, steps, growth = int(rng.integers(1, 5)), 12, int(rng.integers(1, 5))
        w = rng.normal(size=n).astype("float32")
        gradients = np.exp(rng.normal(0, 4, (steps, n))).astype("float32")
        gradients[rng.random((steps, n)) < 0.05] = np.nan
        scale, rate = float(2.0 ** rng.integers(4, 14)), float(rng.uniform(0.01, 1))
        found, scales = reference("scaled_sgd")(w, gradients, rate, scale, growth)
        weight = keras.Variable(w)
        optimizer = keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(rate), scale, growth
        )
        optimizer.build([weight])
        used = []
        for gradient in gradients:
            used.append(float(optimizer.scale_loss(1.0)))
            with np.errstate(over="ignore"):
                arrived = (gradient * used[-1]).astype("float16")
            optimizer.apply([ops.convert_to_tensor(arrived)], [weight])
        assert scales == used
        np.testing.assert_allclose(found, ops.convert_to_numpy(weight), rtol=1e-5)


# What goes wrong on a replica ends with a verdict, and spoils no later check.

REPLICA = """
import time

def distributed_step(strategy, model, optimizer, x, y, batch_size):
    def replica_step(x, y):
        {body}

    return strategy.run(replica_step, args=(x, y))
"""
BROKEN = {
    "ValueError": "raise ValueError('on a replica')",
    "SystemExit": "raise SystemExit('on a replica')",
    "InvalidArgumentError": "return tf.matmul(tf.ones((2, 3)), tf.ones((2, 3)))",
}


def evidence_of(source, seconds=20.0):
    trial = Trial(LESSON, EXERCISES["distributed_step"], "answer", source, BASE)
    return run(trial.calls[0][1], 1, seconds=seconds)


@pytest.mark.parametrize("error", BROKEN)
def test_an_error_on_a_replica_is_told_and_forgotten(error):
    records = evidence_of(REPLICA.format(body=BROKEN[error]))
    assert [r["error"]["type"] for r in records[::2]] == [error] * 4
    right = evidence_of(EXERCISES["distributed_step"].answer.source)
    assert not any("error" in record for record in right)


def test_a_replica_that_does_not_end_is_stopped():
    body = "begin = time.time()\n        while time.time() < begin + 4: pass"
    begin = time.time()
    records = evidence_of(REPLICA.format(body=body), seconds=1.0)
    assert records[-1]["error"]["type"] == "LimitReached"
    assert time.time() - begin < 4


# What the lesson says about JAX; only where it is installed.


def script():
    (cell,) = [c for c in LESSON.cells if c.source.startswith("script = ")]
    names = execute(cell.source, "script", {"runtime": runtime})
    return names["script"]


@needs_jax
def test_the_script_of_the_lesson_does_on_jax_what_the_lesson_says():
    assert runtime.run_on("jax", script()).splitlines() == [
        "jax keras_loss 1 epoch",
        "jax tf_loss stops: TracerArrayConversionError",
    ]


OWN_LOOP = """
import jax, keras, numpy as np
from keras import ops

x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
y = x[:, :1] * 2

def build():
    dense = keras.layers.Dense(1, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((3,)), dense])
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    return model, optimizer

def values(variables):
    return [variable.value for variable in variables]

model, optimizer = build()
LOOP
weights, rest = values(model.trainable_variables), values(model.non_trainable_variables)
state = values(optimizer.variables)
for k in range(0, 32, 8):
    weights, rest, state, loss = step(weights, rest, state, x[k:k+8], y[k:k+8])
fitted, _ = build()
fitted.compile(keras.optimizers.SGD(0.1), "mse")
fitted.fit(x, y, batch_size=8, shuffle=False, verbose=0)
print(max(abs(np.array(a) - b).max() for a, b in zip(weights, fitted.get_weights())))
"""


@needs_jax
def test_the_loop_for_jax_equals_fit():
    (cell,) = [c for c in LESSON.cells if "jax.value_and_grad" in c.source]
    loop = cell.source.split("```python\n")[1].split("```")[0]
    assert float(runtime.run_on("jax", OWN_LOOP.replace("LOOP", loop))) < 1e-6


LOSS = """
import keras, numpy as np
from keras import ops

ANSWER

x = np.arange(8, dtype="float32").reshape(4, 2)
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", relative_error)
print(len(model.fit(x, np.arange(4).reshape(4, 1), verbose=0).epoch))
"""


@needs_jax
def test_the_check_for_every_backend_says_what_happens_on_jax():
    exercise = EXERCISES["relative_error"]
    right = LOSS.replace("ANSWER", exercise.answer.source)
    assert runtime.run_on("jax", right) == "1"
    tf_only = exercise.mistakes[0].source
    wrong = LOSS.replace("ANSWER", "import tensorflow as tf\n" + tf_only)
    assert "The script stops on jax" in runtime.run_on("jax", wrong)
