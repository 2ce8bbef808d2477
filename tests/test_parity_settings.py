"""The parity trainer where a learner changes the model, or only a later epoch."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_parity import (
    BATCHES,
    DATASET,
    ENTROPY,
    WEIGHTED,
    X,
    Y,
    adam,
    dropped,
    momentum,
    normed,
    of_loop,
    plain,
    stack,
    tape_loop,
    tape_step,
)

from helpers import parity

# Steps: the model is changed in one of them


def freezing(model, name="hidden", before=True):
    """A layer is frozen in the step, for good."""
    right = tape_step(model)

    def step(x, y):
        if before:
            model.get_layer(name).trainable = False
        loss = right(x, y)
        model.get_layer(name).trainable = False
        return loss

    return step


def slower_statistics(model):
    """After the first step, BatchNorm has another momentum."""
    right = tape_step(model)

    def step(x, y):
        loss = right(x, y)
        model.get_layer("bn").momentum = 0.5
        return loss

    return step


def stronger_penalty(model):
    right = tape_step(model)

    def step(x, y):
        model.get_layer("hidden").kernel_regularizer.l2 = 0.2
        return right(x, y)

    return step


def with_penalty():
    penalty = keras.regularizers.L2(0.02)
    hidden = keras.layers.Dense(6, kernel_regularizer=penalty, name="hidden")
    return stack(hidden)


def unscaled():
    """The loss is not scaled, and the optimizer divides the gradients all the same."""
    return stack(optimizer=keras.optimizers.LossScaleOptimizer(momentum()))


def hidden_optimizer(model):
    """Made inside, so it cannot be seen: its rate is not fit's."""
    own = []

    def step(x, y):
        if not own:
            own.append(type("Box", (), {"o": keras.optimizers.Adam(0.02)}))
            own[0].o.build(model.trainable_variables)
        return tape_step(model, apply=own[0].o.apply)(x, y)

    return step


class Logits(keras.Model):
    """Its metric gets no softmax, but the sum of both classes' scores."""

    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(3)

    def call(self, x):
        return self.head(x)

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            p = self(x, training=True)
            loss = self.compute_loss(x, y, p)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=len(x))
            else:
                metric.update_state(y, -p)
        return {metric.name: metric.result() for metric in self.metrics}


def logits():
    keras.utils.set_random_seed(3)
    model = Logits()
    model.compile("sgd", ENTROPY, metrics=["accuracy"])
    return model


STEPS = {  # name: (model, step of the model, step, quantity, words)
    "frozen before the tape": (plain, freezing, 1, "weights", "`hidden/kernel`"),
    "frozen after a step": (
        plain,
        lambda m: freezing(m, before=False),
        2,
        "weights",
        "`hidden/kernel`",
    ),
    "BatchNorm frozen": (
        normed,
        lambda m: freezing(m, "bn"),
        1,
        "BatchNorm",
        "moving_mean of `bn` did not move",
    ),
    "another momentum": (
        lambda: normed(adam()),
        slower_statistics,
        2,
        "BatchNorm",
        "moving_",
    ),
    "a stronger penalty": (with_penalty, stronger_penalty, 1, "loss", "the loss is"),
    "loss not scaled": (unscaled, tape_step, 1, "gradient", "3.05e-05 times"),
    "a hidden optimizer": (
        lambda: plain(adam()),
        hidden_optimizer,
        1,
        "updates",
        "twice the learning rate?",
    ),
    "metrics in a dict": (logits, lambda m: m.train_step, 1, "metric", "`accuracy`"),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_changes_the_model_is_named(name):
    build, make, step, quantity, words = STEPS[name]
    model = build()
    report = parity.steps(make(model), model, BATCHES)
    assert report.first is not None, report
    found = report.first
    assert (found.step, found.quantity.split()[0]) == (step, quantity), report
    assert words in report.sentence, report


def test_a_step_that_adds_a_layer_is_told():
    model = plain()
    right = tape_step(model)

    def step(x, y):
        loss = right(x, y)
        model.add(keras.layers.Dense(3, name="more"))
        return loss

    report = parity.steps(step, model, BATCHES)
    assert report.sentence.startswith("Step 1: your step changed the model: `")
    assert "more" in report.sentence


# Loops


def by_epoch(change):
    """A right loop; `change(model, epoch)` comes before each epoch, from 0."""

    def train(model, dataset, epochs):
        logs = []
        for epoch in range(epochs):
            change(model, epoch)
            logs += tape_loop()(model, dataset, 1)
        return logs

    return train


def freeze_second(model, epoch):
    model.get_layer("hidden").trainable = epoch == 0


def compile_again(model, epoch):
    model.compile(adam(), ENTROPY, metrics=["accuracy"])


def compile_as_text(model, epoch):
    if epoch == 0:
        model.compile(adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])


def compiled_inside(model, dataset, epochs):
    compile_as_text(model, 0)
    return model.fit(dataset, epochs=epochs, verbose=0, shuffle=False)


def uphill_later(model, dataset, epochs):
    for epoch in range(epochs):
        tape_loop(factor=-1.0 if epoch else 1.0)(model, dataset, 1)


LOOPS = {  # name: (case, epoch, quantity, words)
    "dropout, optimizer made anew": (
        of_loop(lambda: dropped(adam()), own=adam),
        2,
        "optimizer",
        "the optimizer starts anew in every epoch",
    ),
    "dropout, slower each epoch": (
        of_loop(dropped, decay=0.5),
        2,
        "learning",
        "the learning rate is 0.05",
    ),
    "dropout, uphill in epoch 2": (
        lambda: parity.loop(uphill_later, dropped(), DATASET),
        2,
        "weights",
        "epoch 1 is right",
    ),
    "frozen in epoch 2": (
        lambda: parity.loop(by_epoch(freeze_second), plain(adam()), DATASET),
        2,
        "weights",
        "epoch 1 is right",
    ),
    "another loss": (
        lambda: parity.loop(compiled_inside, plain(adam()), DATASET),
        1,
        "loss",
        "loss",
    ),
    "compiled in every epoch": (
        lambda: parity.loop(by_epoch(compile_again), plain(adam()), DATASET),
        2,
        "optimizer",
        "starts anew in every epoch",
    ),
    "use_ema, slower each epoch": (
        of_loop(lambda: plain(adam(use_ema=True)), decay=0.5, finalise=True),
        2,
        "learning",
        "the learning rate is 0.005",
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_what_is_wrong_in_a_later_epoch_or_in_the_model_is_named(name):
    case, epoch, quantity, words = LOOPS[name]
    report = case()
    assert report.first is not None, report
    found = report.first
    assert (found.epoch, found.quantity.split()[0]) == (epoch, quantity), report
    assert words in report.sentence, report


@pytest.mark.parametrize("change", [freeze_second, compile_as_text])
def test_what_a_loop_sets_in_the_model_is_put_back(change):
    model = plain(adam())
    optimizer = model.optimizer
    parity.loop(by_epoch(change), model, DATASET)
    assert model.get_layer("hidden").trainable
    assert len(model.trainable_variables) == 4
    assert model.loss is ENTROPY and model.optimizer is optimizer
    model.fit(X, Y, verbose=0)


# Right ones


def arrays_step(model):
    """Batches come as they were given, so arrays have NumPy's methods."""
    right = tape_step(model)
    return lambda x, y: right(x.astype("float32"), y.reshape(-1))


def remembering():
    lstm = keras.layers.LSTM(4, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(8, 5, 1)), lstm])
    model.add(keras.layers.Dense(3))
    model.compile(adam(), ENTROPY)
    return model


def remembering_step(model):
    return tf.function(tape_step(model))


def test_a_step_on_arrays_has_no_difference():
    model = plain()
    report = parity.steps(arrays_step(model), model, BATCHES)
    assert report.first is None, report


def test_a_layer_that_remembers_the_last_batch_has_no_difference():
    model = remembering()
    rows = [(x[..., None], y) for x, y in BATCHES[:2]]
    for make in (tape_step, remembering_step):
        report = parity.steps(make(model), model, rows)
        assert report.first is None, report


def test_weights_of_rows_reach_the_learner_as_arrays():
    model, seen = plain(), []
    right = tape_step(model)

    def step(x, y, w):
        seen.append(type(w))
        return right(x, y, w)

    assert parity.steps(step, model, WEIGHTED).first is None
    assert set(seen) == {np.ndarray}
