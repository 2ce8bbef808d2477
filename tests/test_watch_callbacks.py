"""The helpers that watch callbacks, and what lesson 06 says of Keras, against Keras."""

import keras
import numpy as np
import pytest

from helpers.lessons import build
from helpers.lessons.answers import base_namespace, execute
from helpers.watch import drive, hook_calls, stand_in


def test_hooks_come_in_the_order_of_fit():
    names = [hook for hook, _ in hook_calls(epochs=1, batches=2)]
    batch = ["train_batch_begin", "train_batch_end"]
    test = ["test_begin", "test_batch_begin", "test_batch_end", "test_end"]
    inside = [*batch, *batch, *test]
    assert names == ["train_begin", "epoch_begin", *inside, "epoch_end", "train_end"]


def test_hooks_are_told_the_numbers_of_epochs_and_batches():
    calls = hook_calls(epochs=2, batches=3)
    assert [n for hook, n in calls if hook == "train_batch_end"] == [0, 1, 2, 0, 1, 2]
    assert [n for hook, n in calls if hook == "epoch_begin"] == [0, 1]
    assert dict(calls)["train_end"] is None


def test_other_callbacks_take_part():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    calls = hook_calls(epochs=5, callbacks=[Stop()])
    assert [hook for hook, _ in calls].count("epoch_end") == 1


def test_driving_without_callbacks_runs_all_epochs():
    run = drive([], [{"loss": 1.0}] * 3)
    assert (run["epochs"], run["weights"]) == (3, 2)
    assert run["logs"] == [{"loss": 1.0}] * 3
    assert np.allclose(run["learning_rates"], 0.1)


def test_driving_hands_on_what_callbacks_add_and_leaves_its_input_alone():
    add = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(extra=epoch)
    )
    logs = [{"loss": 1.0}, {"loss": 2.0}]
    assert drive(add, logs)["logs"][1] == {"loss": 2.0, "extra": 1}
    assert logs[1] == {"loss": 2.0}


def test_a_model_that_was_stopped_can_be_driven_again():
    model = stand_in()
    model.stop_training = True
    assert drive([], [{}] * 2, model=model)["epochs"] == 2


@pytest.fixture(scope="module")
def references():
    """The reference answers of lesson 06 by name."""
    (lesson,) = build.find(["06"])
    base, found = base_namespace(lesson), {}
    for exercise in lesson.exercises:
        namespace = execute(exercise.answer.source, exercise.name, dict(base))
        found[exercise.name] = namespace[exercise.name]
    return found


def walk(rng):
    """A random walk on a grid of 1/8, where float32 and float64 agree."""
    steps = rng.integers(-3, 4, int(rng.integers(1, 18))) - 0.3
    return [float(value) for value in 4 + np.round(np.cumsum(steps)) / 8]


def test_the_rules_of_early_stopping_are_those_of_keras(references):
    rng, model = np.random.default_rng(0), stand_in()
    for _ in range(300):
        values = walk(rng)
        settings = {
            "patience": int(rng.integers(0, 5)),
            "min_delta": float(rng.choice([-0.25, 0.0, 0.125, 0.25])),
            "mode": str(rng.choice(["min", "max"])),
            "start_from_epoch": int(rng.integers(0, 5)),
            "baseline": [None, 3.0, 3.5, 4.0][rng.integers(4)],
            "restore_best_weights": bool(rng.integers(2)),
        }
        stop = keras.callbacks.EarlyStopping("loss", **settings)
        run = drive(stop, [{"loss": value} for value in values], model=model)
        predicted = references["simulate_early_stopping"](values, **settings)
        assert predicted == (run["epochs"], run["weights"]), (values, settings)


def test_the_rules_of_plateaus_are_those_of_keras(references):
    rng, model = np.random.default_rng(1), stand_in()
    for _ in range(200):
        values, start = walk(rng), float(rng.uniform(0.1, 1))
        settings = {
            "factor": float(rng.uniform(0.1, 0.9)),
            "patience": int(rng.integers(0, 4)),
            "min_delta": float(rng.choice([0.0, 0.125, 0.25])),
            "cooldown": int(rng.integers(0, 4)),
            "min_lr": float(rng.choice([0.0, 0.05, 0.2])),
        }
        model.optimizer.learning_rate = start
        reduce = keras.callbacks.ReduceLROnPlateau("loss", **settings)
        run = drive(reduce, [{"loss": value} for value in values], model=model)
        predicted = references["simulate_plateau"](values, start, **settings)
        np.testing.assert_allclose(predicted, run["learning_rates"], rtol=1e-5)


def test_true_batch_losses_are_those_of_single_batches(references):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(7, 1)).astype("float32")
    model, noted = stand_in(0.05), references["BatchLosses"]([3, 3, 1])
    run = {"batch_size": 3, "epochs": 2, "shuffle": False, "verbose": 0}
    model.fit(x, 3 * x, callbacks=[noted], **run)
    model, true = stand_in(0.05), []
    for start in [0, 3, 6] * 2:
        rows = slice(start, start + 3)
        model.reset_metrics()
        true.append(float(model.train_on_batch(x[rows], 3 * x[rows])))
    np.testing.assert_allclose(noted.losses, true, rtol=1e-4, atol=1e-6)


def test_a_training_in_two_halves_is_one_training(references, tmp_path):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(8, 1)).astype("float32")
    run = {"batch_size": 4, "shuffle": False, "verbose": 0}

    def new():
        model = stand_in()
        model.compile(keras.optimizers.Adam(0.2), "mse", run_eagerly=True)
        return model

    whole = new().fit(x, 3 * x, epochs=4, **run).history["loss"]
    name = str(tmp_path / "after_{epoch}.weights.h5")
    save = keras.callbacks.ModelCheckpoint(name, save_weights_only=True)
    new().fit(x, 3 * x, epochs=2, callbacks=[save], **run)
    model, done = references["make_or_restore"](tmp_path, new)
    rest = model.fit(x, 3 * x, initial_epoch=done, epochs=4, **run).history["loss"]
    assert done == 2
    np.testing.assert_allclose(rest, whole[2:], rtol=1e-6)


def test_the_schedule_is_the_rate_of_every_step_in_fit(references):
    schedule = references["WarmupCosine"](0.5, 1, 3, 4)
    model, rates = stand_in(), []
    model.compile(keras.optimizers.SGD(schedule), "mse")
    note = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: rates.append(
            float(model.optimizer.learning_rate)
        )
    )
    x = np.ones((4, 1))
    run = {"batch_size": 1, "epochs": 3, "callbacks": [note], "verbose": 0}
    model.fit(x, x, **run)
    steps = np.arange(12)
    down = 0.25 * (1 + np.cos(np.pi * (steps - 4) / 8))
    expected = np.where(steps < 4, 0.5 * (steps + 1) / 4, down)
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
