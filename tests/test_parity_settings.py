"""The parity trainer where a learner changes the model, or only a later epoch."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_parity import (
    BATCHES,
    DATASET,
    ENTROPY,
    ROWS,
    SIZE,
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


def setting(key, value, of="optimizer"):
    """A right step that sets an attribute first."""

    def make(model):
        right = tape_step(model)

        def step(x, y):
            part = model.optimizer if of == "optimizer" else model.get_layer(of)
            setattr(part, key, value)
            return right(x, y)

        return step

    return make


def every_second(model):
    """Under accumulation, only every second step reaches the optimizer."""
    right, count = tape_step(model), []

    def step(x, y):
        count.append(1)
        return right(x, y) if len(count) % 2 == 0 else None

    return step


def forgetful(model):
    """A state that should be kept is set back after every step."""
    right = tape_step(model)

    def step(x, y):
        loss = right(x, y)
        model.layers[0].reset_state()
        return loss

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


def called_again(model):
    """The model is called once more after the update, for a metric."""
    right = tape_step(model)

    def step(x, y):
        loss = right(x, y)
        model(x, training=True)
        return loss

    return step


def frozen():
    model = plain()
    model.get_layer("hidden").trainable = False
    model.compile(model.optimizer, ENTROPY)
    return model


def moves_frozen(model):
    right = tape_step(model)

    def step(x, y):
        loss = right(x, y)
        model.get_layer("hidden").bias.assign_add([0.1] * 6)
        return loss

    return step


def pops(model):
    def step(x, y):
        loss = tape_step(model)(x, y)
        if len(model.layers) > 1:
            model.pop()
        return loss

    return step


def exchanges(model):
    """Another layer of the same name stands in the place of the last one."""
    right = tape_step(model)

    def step(x, y):
        loss, name = right(x, y), model.layers[-1].name
        model.pop()
        model.add(keras.layers.Dense(3, name=name))
        return loss

    return step


STEPS = {  # name: (model, step of the model, step, quantity, words)
    "a layer exchanged": (plain, exchanges, 1, "error", "is no longer in it"),
    "called again": (normed, called_again, 1, "BatchNorm", "called twice"),
    "frozen weights moved": (frozen, moves_frozen, 1, "non-trainable", "is it frozen"),
    "a layer removed": (plain, pops, 1, "error", "is no longer in it"),
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
    "a stronger penalty": (
        with_penalty,
        stronger_penalty,
        1,
        "regularisation",
        "count 10.00 times",
    ),
    "loss not scaled": (unscaled, tape_step, 1, "gradient", "scale_loss"),
    "a hidden optimizer": (
        lambda: plain(adam()),
        hidden_optimizer,
        1,
        "updates",
        "twice the learning rate?",
    ),
    "clipnorm set": (
        plain,
        setting("clipnorm", 0.01),
        1,
        "gradient",
        "your code sets the optimizer's `clipnorm` from None to 0.01",
    ),
    "a schedule set": (
        plain,
        setting("learning_rate", keras.optimizers.schedules.CosineDecay(0.2, 99)),
        1,
        "gradient",
        "`learning_rate` from Variable to CosineDecay",
    ),
    "an activation set": (
        plain,
        setting("activation", keras.activations.tanh, "hidden"),
        1,
        "loss",
        "the loss is",
    ),
    "accumulation left out": (
        lambda: plain(adam(gradient_accumulation_steps=2)),
        every_second,
        1,
        "updates",
        "0 updates where fit took 1",
    ),
    "metrics in a dict": (logits, lambda m: m.train_step, 1, "metric", "`accuracy`"),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_changes_the_model_is_named(name):
    build, make, step, quantity, words = STEPS[name]
    model = build()
    before = vars(model.optimizer).get("clipnorm"), model.optimizer.learning_rate
    report = parity.steps(make(model), model, BATCHES)
    after = vars(model.optimizer).get("clipnorm"), model.optimizer.learning_rate
    assert before[0] == after[0] and type(before[1]) is type(after[1])
    assert report.first is not None, report
    found = report.first
    assert (found.step, found.quantity.split()[0]) == (step, quantity), report
    assert words in report.sentence, report


def test_of_an_error_with_an_array_in_it_the_reason_is_told():
    def step(x, y):
        with tf.GradientTape() as tape:
            tape.watch(x)

    rows = [(x.repeat(20, 0), y.repeat(20)) for x, y in BATCHES]
    report = parity.steps(step, plain(), rows)
    words = "ValueError: Passed in object [...] of type 'ndarray', not tf.Tensor"
    assert words in report.sentence


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


def set_statistics_back(model, epoch):
    norm = model.get_layer("bn")
    norm.moving_mean.assign(0 * norm.moving_mean)
    norm.moving_variance.assign(0 * norm.moving_variance + 1)


def forget_head(model, epoch):
    for slot in model.optimizer.variables:
        if epoch and "dense" in slot.path:
            slot.assign(0 * slot)


def forget_past(model, epoch):
    for slot in model.optimizer.variables:
        if epoch and len(slot.shape):
            slot.assign(0 * slot)


def clip_later(model, epoch):
    model.optimizer.global_clipnorm = 0.05 if epoch else None


def shrink(model, epoch):
    kernel = model.get_layer("hidden").kernel
    kernel.assign(0.9 * kernel)


def in_place(model, dataset, epochs):
    for _ in range(epochs):
        for x, y in dataset:
            tape_loop()(model, [(x, y)], 1)
            x *= 0.5


def rows_mixed(model, dataset, epochs):
    rows = dataset.unbatch().shuffle(ROWS).batch(SIZE)
    return tape_loop()(model, rows, epochs)


def from_step(number, **wrong):
    """A loop of which only the steps from `number` on are wrong."""

    def train(model, dataset, epochs):
        for _ in range(epochs):
            for place, batch in enumerate(dataset, 1):
                settings = wrong if place >= number else {}
                tape_step(model, **settings)(*batch)

    return train


def first_batch_only(model, dataset, epochs):
    for _ in range(epochs):
        for _ in dataset:
            tape_step(model)(*next(iter(dataset)))


def one_less(model, dataset, epochs):
    return tape_loop()(model, dataset, epochs - 1)


def ends_early(model, dataset, epochs):
    return tape_loop()(model, dataset, min(epochs, 2))


def forget_momentum(model, dataset, epochs):
    """The end of an epoch sets back what the optimizer keeps."""
    logs = []
    for _ in range(epochs):
        logs += tape_loop()(model, dataset, 1)
        for slot in model.optimizer.variables[2:]:
            slot.assign(0 * slot)
    return logs


def best_of_all(model, dataset, epochs):
    """The weights of the first epoch come back at the end."""
    logs = tape_loop()(model, dataset, 1)
    best = model.get_weights()
    logs += tape_loop()(model, dataset, epochs - 1)
    model.set_weights(best)
    return logs


def own_count(model, dataset, epochs):
    """The losses of batches, divided by a number that is not theirs."""
    step, count = tape_step(model), range(epochs)
    return [sum(float(step(x, y)) * SIZE for x, y in dataset) / 100 for _ in count]


MANY = tf.data.Dataset.from_tensor_slices((X[:20], Y[:20])).batch(2)


LOOPS = {  # name: (case, epoch, quantity, words)
    "one epoch less": (
        lambda: parity.loop(one_less, plain(), DATASET, 3),
        3,
        "updates",
        "does your loop run one less?",
    ),
    "two epochs of four": (
        lambda: parity.loop(ends_early, plain(), DATASET, 4),
        3,
        "updates",
        "returned 2 logs for 4 epochs: does it end early?",
    ),
    "momentum forgotten at the end": (
        lambda: parity.loop(forget_momentum, plain(momentum()), DATASET),
        1,
        "optimizer",
        "the optimizer's `",
    ),
    "the best weights come back": (
        lambda: parity.loop(best_of_all, plain(), DATASET, 3),
        2,
        "weights",
        "epoch 1 is right",
    ),
    "divided by a number of its own": (
        lambda: parity.loop(own_count, plain(), DATASET),
        1,
        "loss",
        "Epoch 1: `loss` is",
    ),
    "statistics set back": (
        lambda: parity.loop(by_epoch(set_statistics_back), normed(), DATASET),
        2,
        "BatchNorm",
        "`bn/moving_mean` and `bn/moving_variance` start anew in every epoch",
    ),
    "a part of the optimizer set back": (
        lambda: parity.loop(by_epoch(forget_head), plain(momentum()), DATASET),
        2,
        "optimizer",
        "what the optimizer keeps of `dense",
    ),
    "momentum set back": (
        lambda: parity.loop(by_epoch(forget_past), plain(adam()), DATASET),
        2,
        "optimizer",
        "what the optimizer keeps of past gradients starts anew in every epoch",
    ),
    "clipped in epoch 2": (
        lambda: parity.loop(by_epoch(clip_later), plain(), DATASET),
        2,
        "optimizer",
        "your loop sets the optimizer's `global_clipnorm` from None to 0.05",
    ),
    "changed outside of the steps": (
        lambda: parity.loop(by_epoch(shrink), plain(), DATASET),
        1,
        "weights",
        "`hidden/kernel` is changed outside of the steps",
    ),
    "batches changed in place": (
        lambda: parity.loop(in_place, plain(), [(x.copy(), y) for x, y in BATCHES]),
        2,
        "weights",
        "epoch 1 is right",
    ),
    "rows in another order": (
        lambda: parity.loop(rows_mixed, plain(), DATASET),
        1,
        "order",
        "does it shuffle the rows",
    ),
    "training forgotten from step 8 on": (
        lambda: parity.loop(from_step(8, training=False), normed(), MANY),
        1,
        "BatchNorm",
        "Epoch 1, step 8: moving_mean of `bn` did not move",
    ),
    "the same batch in every step": (
        lambda: parity.loop(first_batch_only, plain(), MANY),
        1,
        "batch",
        "those of the batch before",
    ),
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
        "`hidden/kernel` is not updated in epoch 2",
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


def forget_all(model, epoch):
    for slot in model.optimizer.variables:
        slot.assign(0 * slot if epoch else slot)


def require_named(name):
    case, epoch, quantity, words = LOOPS[name]
    report = case()
    assert report.first is not None, report
    found = report.first
    assert (found.epoch, found.quantity.split()[0]) == (epoch, quantity), report
    assert words in report.sentence, report


@pytest.mark.parametrize("name", LOOPS)
def test_what_is_wrong_in_a_later_epoch_or_in_the_model_is_named(name):
    require_named(name)


def test_logs_are_counted_of_the_whole_loop_only():
    report = parity.loop(by_epoch(forget_all), plain(adam()), DATASET)
    assert "there is no update in epoch 2" in report.sentence
    assert "returned" not in report.sentence, report


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


def test_a_layer_that_forgets_the_last_batch_is_told():
    model = remembering()
    rows = [(x[..., None], y) for x, y in BATCHES[:2]]
    report = parity.steps(forgetful(model), model, rows)
    assert report.first.step == 1
    assert "Step 1: rnn_state of `lstm" in report.sentence, report


def reversed_apply(optimizer):
    """Gradients and variables in another order than the model's, with own slots."""
    return lambda grads, variables: optimizer.apply(grads[::-1], variables[::-1])


@pytest.mark.parametrize("own", [adam, momentum])
def test_an_optimizer_may_know_the_variables_in_any_order(own):
    layers = [keras.layers.Dense(5, name=name) for name in "ab"]
    model = stack(*layers, optimizer=own())
    right = tape_step(model, apply=reversed_apply(own()))
    report = parity.steps(right, model, BATCHES)
    assert report.first is None, report
    wrong = tape_step(model, apply=reversed_apply(own()), factor=2.0)
    report = parity.steps(wrong, model, BATCHES)
    assert "2.00 times fit's" in report.sentence, report


def test_what_explodes_in_fit_is_compared_up_to_there():
    wild = stack(keras.layers.Dense(9), optimizer=keras.optimizers.SGD(1e4))
    wild.compile(wild.optimizer, "mse")
    rows = [(x, np.ones((len(x), 3), "float32")) for x, _ in BATCHES * 4]
    mse = keras.losses.MeanSquaredError()
    report = parity.steps(tape_step(wild, loss_fn=mse), wild, rows)
    assert report.first is None, report
    assert "it explodes. What comes then is not compared." in report.sentence
    with pytest.raises(parity.ParityError, match="explodes. Compare with a smaller"):
        parity.loop(lambda *_: None, wild, rows)


def with_validation(model, dataset, epochs):
    losses = [loss for loss, _ in tape_loop()(model, dataset, epochs)]
    return losses, [1.2] * epochs  # more than any accuracy


def of_batches(model, dataset, epochs):
    tape_loop()(model, dataset, epochs)
    return [[1.0, 2.0, 3.0]] * epochs


@pytest.mark.parametrize("train", [with_validation, of_batches])
def test_what_may_be_other_numbers_is_not_taken_for_logs(train):
    report = parity.loop(train, plain(), DATASET)
    assert report.first is None, report
    assert "could not be read as logs" in report.sentence


def test_weights_of_rows_reach_the_learner_as_arrays():
    model, seen = plain(), []
    right = tape_step(model)

    def step(x, y, w):
        seen.append(type(w))
        return right(x, y, w)

    assert parity.steps(step, model, WEIGHTED).first is None
    assert set(seen) == {np.ndarray}


class OwnMetrics(keras.Sequential):
    """As in older guides: only the metrics of one's own, updated by hand."""

    def __init__(self, layers, names=None):
        super().__init__(layers)
        self.mean = keras.metrics.Mean("loss")

    @property
    def metrics(self):
        return [self.mean]

    def train_step(self, data):
        self.mean.update_state(tape_step(self)(*data))
        return {"loss": self.mean.result()}


class InTurn(keras.Sequential):
    """All of the model's metrics in one loop, the loss among them."""

    def train_step(self, data):
        told = []
        tape_step(self, returns=lambda *found: told.extend(found))(*data)
        loss, y, p = told
        for metric in self.metrics:
            parts = (loss,) if metric.name == "loss" else (y, p)
            metric.update_state(*parts)
        return {metric.name: metric.result() for metric in self.metrics}


@pytest.mark.parametrize("kind", [OwnMetrics, InTurn])
def test_a_train_step_with_metrics_by_hand_has_no_difference(kind):
    keras.utils.set_random_seed(3)
    model = kind([keras.Input((5,)), keras.layers.Dense(3)])
    model.compile("sgd", ENTROPY)
    even = [(x, y) for x, y in BATCHES if len(x) == SIZE]
    own = tape_step(model)
    for step in (model.train_step, lambda x, y: model.train_step((x, y)), own):
        report = parity.steps(step, model, even)
        assert report.first is None, report
    dataset = tf.data.Dataset.from_tensor_slices((X[: 2 * SIZE], Y[: 2 * SIZE]))

    def train(model, dataset, epochs):
        return model.fit(dataset, epochs=epochs, verbose=0)

    report = parity.loop(train, model, dataset.batch(SIZE))
    assert report.first is None, report
    assert "logs, weights and statistics are fit's" in report.sentence


def test_what_made_no_difference_is_told_all_the_same():
    model, own = plain(adam()), adam(epsilon=1e-8)
    right = tape_step(model, apply=own.apply, returns=lambda loss, *_: {"acc": 0.5})
    report = parity.steps(right, model, BATCHES, optimizer=own)
    assert report.first is None, report
    assert "`acc`: fit logs nothing of that name" in report.sentence
    assert "your optimizer has epsilon 1e-08 (fit: 1e-07)" in report.sentence


def test_where_nothing_can_be_compared_the_reason_is_told():
    model = plain()
    with pytest.raises(parity.ParityError, match="`train` takes 2 arguments; give"):
        parity.loop(lambda x, y: None, model, DATASET)
    odd = [(x.astype(object), y) for x, y in BATCHES]
    with pytest.raises(parity.ParityError, match="a float in an array of dtype object"):
        parity.steps(tape_step(model), model, odd)
    nothing = [(x * np.nan, y) for x, y in BATCHES]
    with pytest.raises(parity.ParityError, match="There is nothing to compare with"):
        parity.steps(tape_step(model), model, nothing)


def test_a_step_that_ends_python_is_told():
    def step(x, y):
        raise SystemExit("enough")

    report = parity.steps(step, plain(), BATCHES)
    assert report.sentence == "Step 1: your step stopped with SystemExit: enough."


optimizer = adam()  # another one, which no step uses


def test_an_attribute_is_not_taken_for_the_global_of_its_name():
    model = plain()

    def twice(x, y):
        with tf.GradientTape() as tape:
            loss = ENTROPY(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)
        return loss

    report = parity.steps(twice, model, BATCHES)
    assert "took 2 updates where fit took 1" in report.sentence, report
