"""The parity trainer: planted mistakes are found by step and name, right ones are not.

Every mistake is one that a learner makes: a step or loop in another way than fit's.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import parity
from helpers.parity import ParityError

ROWS, SIZE = 22, 8  # batches of 8, 8 and 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 5)).astype("float32")
Y = RNG.integers(0, 3, ROWS)
W = RNG.uniform(0.2, 3, ROWS).astype("float32")
ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def cut(*arrays):
    return [tuple(a[i : i + SIZE] for a in arrays) for i in range(0, ROWS, SIZE)]


BATCHES, WEIGHTED = cut(X, Y), cut(X, Y, W)
DATASET = tf.data.Dataset.from_tensor_slices((X, Y)).batch(SIZE)


@pytest.fixture(autouse=True)
def seeded():
    """Layers choose their seed when they are made, some before `stack` sets one."""
    keras.utils.set_random_seed(3)


# Models


def stack(*layers, optimizer=None, **settings):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((5,)), *layers, keras.layers.Dense(3)])
    optimizer = optimizer or keras.optimizers.SGD(0.1)
    model.compile(optimizer, ENTROPY, metrics=["accuracy"], **settings)
    return model


def plain(optimizer=None, **settings):
    hidden = keras.layers.Dense(6, activation="relu", name="hidden")
    return stack(hidden, optimizer=optimizer, **settings)


def penalised(optimizer=None):
    hidden = keras.layers.Dense(
        6,
        activation="relu",
        kernel_regularizer=keras.regularizers.L2(0.02),
        activity_regularizer=keras.regularizers.L2(0.01),
    )
    return stack(hidden, optimizer=optimizer)


def normed(optimizer=None):
    hidden = keras.layers.Dense(6, name="hidden")  # with a bias that has no gradient
    norm = keras.layers.BatchNormalization(name="bn")
    return stack(hidden, norm, keras.layers.ReLU(), optimizer=optimizer)


def dropped(optimizer=None):
    penalty = keras.regularizers.L2(0.02)
    hidden = keras.layers.Dense(16, activation="relu", kernel_regularizer=penalty)
    return stack(hidden, keras.layers.Dropout(0.5, seed=1), optimizer=optimizer)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.a = keras.layers.Dense(6, activation="tanh", name="a")
        self.b = keras.layers.Dense(3, name="b")

    def call(self, x, training=False):
        h = self.a(x)
        if training:
            self.add_loss(0.01 * keras.ops.mean(h**2))
        return self.b(h)


def subclassed(optimizer=None):
    keras.utils.set_random_seed(3)
    model = Subclassed()  # not built, and neither is its optimizer
    model.compile(optimizer or "sgd", ENTROPY, metrics=["accuracy"])
    return model


def two_outputs(optimizer=None):
    keras.utils.set_random_seed(3)
    x = keras.Input((5,))
    h = keras.layers.Dense(6, activation="relu")(x)
    heads = {"score": keras.layers.Dense(1, name="score")(h)}
    heads["kind"] = keras.layers.Dense(3, name="kind")(h)
    model = keras.Model(x, heads)
    losses = {"score": "mse", "kind": ENTROPY}
    weights = {"score": 0.5, "kind": 2.0}
    model.compile(optimizer or "sgd", losses, loss_weights=weights)
    return model


def two_loss(y, p):
    mse = tf.reduce_mean((tf.cast(y["score"], "float32") - p["score"]) ** 2)
    return mse, ENTROPY(y["kind"], p["kind"])


TWO = [(x, {"score": x[:, :1] * 2, "kind": y}) for x, y in BATCHES]


def adam(**settings):
    return keras.optimizers.Adam(0.01, **settings)


def momentum(**settings):
    return keras.optimizers.SGD(0.1, momentum=0.9, **settings)


def decaying():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    return keras.optimizers.SGD(schedule)


# Steps: right by default, each option is a mistake


def tape_step(
    model,
    training=True,
    penalty=1,
    factor=1.0,
    times=1,
    keep=None,
    weighted=True,
    returns=lambda loss, y, p: loss,
    change=lambda gradients, variables: gradients,
    before=lambda number: None,
    loss_fn=ENTROPY,
    apply=None,
):
    count = iter(range(1, 1000))

    def step(x, y, w=None):
        before(next(count))
        with tf.GradientTape() as tape:
            p = model(x, training=training)
            loss = loss_fn(y, p, w) if weighted and w is not None else loss_fn(y, p)
            loss += penalty * sum(model.losses)
            goal = factor * loss
        variables = model.trainable_variables
        gradients = change(tape.gradient(goal, variables), variables)
        for _ in range(times):
            (apply or model.optimizer.apply)(gradients[:keep], variables[:keep])
        return returns(loss, y, p)

    return step


def of_step(build, batches=BATCHES, **mistake):
    """A case: the report of `tape_step` with a mistake."""

    def case():
        model = build()
        return parity.steps(tape_step(model, **mistake), model, batches)

    return case


def only_later(step_number, wrong):
    """Change gradients from a step on, counted here."""
    count = iter(range(1, 1000))

    def change(gradients, variables):
        return wrong(gradients) if next(count) >= step_number else gradients

    return change


def clip_each(gradients, variables):
    return [tf.clip_by_norm(g, 0.05) for g in gradients]


def rotate(gradients, variables):
    """The two biases change places, where they have one shape."""
    places = [i for i, g in enumerate(gradients) if g.shape == (6,)]
    gradients = list(gradients)
    gradients[places[0]], gradients[places[1]] = (
        gradients[places[1]],
        gradients[places[0]],
    )
    return gradients


def summing():
    """Gradients add up from step to step."""
    sums = []

    def change(gradients, variables):
        sums[:] = (
            gradients
            if not sums
            else [a + b for a, b in zip(sums, gradients, strict=True)]
        )
        return list(sums)

    return change


def rate_case():
    model = plain()

    def before(number):
        if number == 3:
            model.optimizer.learning_rate = 0.05

    return parity.steps(tape_step(model, before=before), model, BATCHES)


def other_optimizer(own, build):
    model = build()
    step = tape_step(model, apply=own.apply)
    return parity.steps(step, model, BATCHES, optimizer=own)


def twice_called():
    """A second call in training mode, only to look: the statistics move twice."""
    model = normed()
    right = tape_step(model)

    def step(x, y):
        model(x, training=True)
        return right(x, y)

    return parity.steps(step, model, BATCHES)


def by_hand(factor, build=plain):
    """SGD without an optimizer."""
    model = build()

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = ENTROPY(y, model(x, training=True))
        variables = model.trainable_variables
        for v, g in zip(variables, tape.gradient(loss, variables), strict=True):
            v.assign_sub(factor * 0.1 * g)
        return loss

    return parity.steps(step, model, BATCHES)


def outside_the_tape():
    model = plain()

    def step(x, y):
        p = model(x, training=True)
        with tf.GradientTape() as tape:
            loss = ENTROPY(y, p)
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return parity.steps(step, model, BATCHES)


def two_step(combine):
    model = two_outputs()
    step = tape_step(model, loss_fn=lambda y, p: combine(*two_loss(y, p)))
    return parity.steps(step, model, TWO)


def compiled(build, batches=BATCHES, jit=False, **mistake):
    model = build()
    mistake.setdefault("before", lambda number: None)
    step = tf.function(tape_step(model, **mistake), jit_compile=jit)
    return parity.steps(step, model, batches)


def traced_before():
    """A step that was compiled and used before anybody looks."""
    model = plain(momentum())
    step = tf.function(tape_step(model, factor=0.5), reduce_retracing=True)
    for x, y in BATCHES:
        step(x, y)
    return parity.steps(step, model, BATCHES)


def frozen_statistics():
    """Right, but somebody sets one running statistic back after step 2."""
    model = normed()
    right, count = tape_step(model), iter(range(1, 99))

    def step(x, y):
        old = model.get_layer("bn").moving_variance.numpy()
        loss = right(x, y)
        if next(count) >= 2:
            model.get_layer("bn").moving_variance.assign(old)
        return loss

    return parity.steps(step, model, BATCHES)


def labels_of_before():
    model, last = plain(), []
    right = tape_step(model)

    def step(x, y):
        late = last[-1][: len(y)] if last else y
        last.append(y)
        return right(x, late)

    return parity.steps(step, model, BATCHES)


def same_mask():
    """The seed of a dropout layer is set back before every step."""
    model = dropped()
    right, state = tape_step(model), model.layers[1].seed_generator.state
    begin = state.numpy()

    def step(x, y):
        state.assign(begin)
        return right(x, y)

    return parity.steps(step, model, BATCHES)


def constrained():
    bound = keras.constraints.MaxNorm(0.5)
    return stack(keras.layers.Dense(6, kernel_constraint=bound))


class OwnStep(keras.Model):
    """Overrides `train_step`, in a way that `kind` names."""

    kind = "right"

    def train_step(self, batch):
        x, y, w = keras.utils.unpack_x_y_sample_weight(batch)
        with tf.GradientTape() as tape:
            p = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=p, sample_weight=w)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        if self.kind == "no tracker":
            return {"loss": loss}
        for metric in self.metrics:
            if metric.name == "loss":
                size = None if self.kind == "no sizes" else tf.shape(x)[0]
                value = tf.reduce_mean(p) if self.kind == "prediction" else loss
                metric.update_state(value, sample_weight=size)
            else:
                metric.update_state(y, p, sample_weight=w)
        return {metric.name: metric.result() for metric in self.metrics}


def own_step(kind, metrics=("accuracy",)):
    keras.utils.set_random_seed(3)
    x = keras.Input((5,))
    model = OwnStep(x, keras.layers.Dense(3)(keras.layers.Dense(6)(x)))
    model.kind = kind
    model.compile("sgd", ENTROPY, metrics=list(metrics))
    return model


def fit_loop(model, dataset, epochs):
    return model.fit(dataset, epochs=epochs, verbose=0)


def tracker(kind, **settings):
    return parity.loop(fit_loop, own_step(kind, **settings), DATASET)


# What a fresh examiner planted


def normed_and_dropped():
    norm, drop = keras.layers.BatchNormalization(), keras.layers.Dropout(0.2, seed=1)
    return stack(keras.layers.Dense(16, name="a"), norm, keras.layers.ReLU(), drop)


def dropout_off(from_step=1):
    """Dropout is off, BatchNorm on: layers are called one by one."""
    model, count = normed_and_dropped(), iter(range(1, 99))

    def call(x, training):
        off = keras.layers.Dropout if next(count) >= from_step else ()
        for layer in model.layers:
            x = layer(x, training=not isinstance(layer, off))
        return x

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = ENTROPY(y, call(x, True))
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return parity.steps(step, model, BATCHES)


def set_back(optimizer, all_of_it):
    """The optimizer's slots are set to zero before every update."""
    model = plain(optimizer)

    def before(number):
        for variable in model.optimizer.variables:
            slot = variable.shape.rank
            if slot or all_of_it and "iteration" in variable.path:
                variable.assign(tf.zeros_like(variable))

    return parity.steps(tape_step(model, before=before), model, BATCHES)


def new_optimizer(build):
    model = plain(build())
    step = tape_step(model, apply=lambda g, v: build().apply(g, v))
    return parity.steps(step, model, BATCHES)


def clipped_by_hand(change, optimizer=None):
    """SGD without an optimizer, with gradients that are changed first."""
    model = plain(optimizer)

    def apply(gradients, variables):
        for v, g in zip(variables, gradients, strict=True):
            v.assign_sub(0.1 * g)

    step = tape_step(model, change=change, apply=apply)
    return parity.steps(step, model, BATCHES)


def clip_together(gradients, variables):
    return tf.clip_by_global_norm(gradients, 0.05)[0]


def clip_values(gradients, variables):
    return [tf.clip_by_value(g, -0.02, 0.02) for g in gradients]


def nearly(gradients, variables):
    return [0.999 * g for g in gradients]


def batch_of_before():
    model, seen = plain(), []
    right = tape_step(model)

    def step(x, y):
        seen.append((x, y))
        return right(*seen[max(len(seen) - 2, 0)])

    return parity.steps(step, model, cut(X[:16], Y[:16]))


def rows_left_out():
    model = plain()
    right = tape_step(model)
    return parity.steps(lambda x, y: right(x[:-2], y[:-2]), model, BATCHES)


def by_sum_of_weights(y, p, w):
    rows = keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)
    return tf.reduce_sum(rows * w) / tf.reduce_sum(w)


def by_full_size(y, p):
    rows = keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)
    return tf.reduce_sum(rows) / SIZE


def unweighted_accuracy():
    model = plain(weighted_metrics=["accuracy"])

    def returns(loss, y, p):
        accuracy = keras.metrics.sparse_categorical_accuracy(y, p)
        logs = {"loss": loss, "weighted_accuracy": tf.reduce_mean(accuracy)}
        names = model.get_metrics_result()
        return {k: logs.get(k, logs["weighted_accuracy"]) for k in names}

    return parity.steps(tape_step(model, returns=returns), model, WEIGHTED)


PROBABILITIES = keras.losses.SparseCategoricalCrossentropy()


def softmax_twice():
    model = stack(keras.layers.Dense(6, activation="relu"))
    # A Softmax layer's logits are known to Keras's losses, which then take these.
    model.add(keras.layers.Activation(lambda p: tf.nn.softmax(p)))
    model.compile(keras.optimizers.SGD(0.1), PROBABILITIES)
    return parity.steps(tape_step(model), model, BATCHES)


def mask_forgotten():
    """A plain function as loss, on padded sequences: it counts the padding, too."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Embedding(9, 4, mask_zero=True),
            keras.layers.SimpleRNN(5, return_sequences=True),
            keras.layers.Dense(3),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), ENTROPY)
    rng = np.random.default_rng(0)
    words = rng.integers(1, 9, (16, 6)) * (np.arange(6) < rng.integers(2, 6, (16, 1)))
    batch = words, rng.integers(0, 3, (16, 6))

    def step(x, y):
        with tf.GradientTape() as tape:
            found = keras.losses.sparse_categorical_crossentropy(
                y, model(x, training=True), from_logits=True
            )
            loss = tf.reduce_mean(found)
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return parity.steps(step, model, [batch])


STEPS = {  # name: (case, step, quantity, words of the sentence)
    "no training": (of_step(normed, training=False), 1, "BatchNorm", "training=True"),
    "no training, compiled": (
        lambda: compiled(lambda: normed(adam()), training=False),
        1,
        "BatchNorm",
        "moving_mean of `bn` did not move",
    ),
    "no dropout": (of_step(dropped, training=False), 1, "dropout", "training=True"),
    "no penalties": (of_step(penalised, penalty=0), 1, "regularisation", "exactly"),
    "no penalties, subclassed": (
        of_step(subclassed, penalty=0),
        1,
        "regularisation",
        "model.losses",
    ),
    "no penalties, dropout": (
        of_step(dropped, penalty=0),
        1,
        "regularisation",
        "model.losses",
    ),
    "penalties twice": (of_step(penalised, penalty=2), 1, "regularisation", "twice"),
    "half of the penalties": (
        of_step(penalised, penalty=0.5),
        1,
        "regularisation",
        "count 0.50 times",
    ),
    "penalties by the row, Adam": (
        of_step(lambda: penalised(adam()), penalty=1 / 32),
        1,
        "regularisation",
        "count 0.03",
    ),
    "penalties only reported": (
        of_step(penalised, returns=lambda loss, y, p: ENTROPY(y, p)),
        1,
        "regularisation",
        "that is returned lacks",
    ),
    "gradient doubled": (of_step(plain, factor=2.0), 1, "gradient", "2.00 times"),
    "gradient halved, Adam": (
        of_step(lambda: normed(adam()), factor=0.5),
        1,
        "gradient",
        "0.50 times",
    ),
    "uphill": (of_step(plain, factor=-1.0), 1, "gradient", "sign"),
    "sum over the batch": (of_step(plain, factor=8.0), 1, "gradient", "8 times"),
    "twice applied": (of_step(plain, times=2), 1, "updates", "2 updates"),
    "twice applied, Adam": (
        of_step(lambda: penalised(adam()), times=2),
        1,
        "updates",
        "2 updates",
    ),
    "never applied": (of_step(plain, times=0), 1, "weights", "no weight moved"),
    "list too short": (of_step(plain, keep=-2), 1, "weights", "not updated"),
    "list too short, momentum": (
        of_step(lambda: plain(momentum()), keep=-1),
        1,
        "weights",
        "bias` was not updated",
    ),
    "gradients of others": (
        of_step(lambda: normed(), change=rotate),
        1,
        "gradient",
        "same order",
    ),
    "clipped one by one": (of_step(plain, change=clip_each), 1, "gradient", "gradient"),
    "gradients add up": (
        of_step(plain, change=summing()),
        2,
        "gradient",
        "added",
    ),
    "wrong from step 3": (
        of_step(plain, change=only_later(3, lambda g: [1.5 * one for one in g])),
        3,
        "gradient",
        "1.50 times",
    ),
    "no sample weights": (
        of_step(plain, WEIGHTED, weighted=False),
        1,
        "sample weights",
        "not used",
    ),
    "a step without weights": (
        lambda: (lambda m: parity.steps(lambda x, y: tape_step(m)(x, y), m, WEIGHTED))(
            plain()
        ),
        1,
        "sample weights",
        "not used",
    ),
    "losses of rows": (
        of_step(
            plain,
            returns=lambda loss, y, p: keras.losses.sparse_categorical_crossentropy(
                y, p, from_logits=True
            ),
        ),
        1,
        "loss",
        "shape (8,)",
    ),
    "loss as a sum": (
        of_step(plain, returns=lambda loss, y, p: loss * len(y)),
        1,
        "loss",
        "sum over the 8 rows",
    ),
    "learning rate set in step 3": (rate_case, 3, "learning rate", "From step 3 on"),
    "own optimizer, no momentum": (
        lambda: other_optimizer(keras.optimizers.SGD(0.1), lambda: plain(momentum())),
        2,
        "weights",
        "momentum",
    ),
    "own optimizer, other rate": (
        lambda: other_optimizer(keras.optimizers.Adam(0.02), lambda: plain(adam())),
        1,
        "learning rate",
        "0.02 (fit: 0.01)",
    ),
    "no schedule": (
        lambda: other_optimizer(keras.optimizers.SGD(0.1), lambda: plain(decaying())),
        2,
        "learning rate",
        "learning rate",
    ),
    "no clipnorm": (
        lambda: other_optimizer(adam(), lambda: plain(adam(clipnorm=0.01))),
        1,
        "gradient",
        "clipnorm",
    ),
    "called twice": (twice_called, 1, "BatchNorm", "called twice"),
    "by hand, twice as far": (lambda: by_hand(2.0), 1, "gradient", "2.00 times"),
    "by hand, without constraint": (
        lambda: by_hand(1.0, constrained),
        1,
        "weights",
        "kernel` becomes",
    ),
    "labels of the batch before": (labels_of_before, 2, "loss", "gradient"),
    "dropout with one mask": (same_mask, 2, "dropout", "seed does not move on"),
    "outside the tape": (outside_the_tape, 1, "gradient", "inside the tape"),
    "one output only": (
        lambda: two_step(lambda a, b: 2 * b),
        1,
        "weights",
        "`score/kernel` and `score/bias` were not updated",
    ),
    "no loss weights": (
        lambda: two_step(lambda a, b: a + b),
        1,
        "loss",
        "their weights",
    ),
    "compiled before": (traced_before, 1, "gradient", "0.50 times"),
    "XLA": (lambda: compiled(plain, jit=True, factor=3.0), 1, "gradient", "3.00"),
    "statistics set back": (frozen_statistics, 2, "BatchNorm", "moving_variance"),
    "wrong accuracy": (
        of_step(
            plain,
            returns=lambda loss, y, p: {"loss": loss, "accuracy": 0.123},
        ),
        1,
        "metric",
        "accuracy",
    ),
    "dropout off, BatchNorm on": (dropout_off, 1, "dropout", "drew no random numbers"),
    "dropout off from step 2 on": (lambda: dropout_off(2), 2, "dropout", "is off"),
    "momentum set to zero": (
        lambda: set_back(momentum(), False),
        2,
        "optimizer slot",
        "forgotten the steps before",
    ),
    "Adam's slots set to zero": (
        lambda: set_back(adam(), False),
        2,
        "optimizer slot",
        "forgotten the steps before",
    ),
    "Adam set back whole": (
        lambda: set_back(adam(), True),
        2,
        "optimizer slot",
        "forgotten the steps before",
    ),
    "a new Adam in every step": (
        lambda: new_optimizer(adam),
        2,
        "optimizer slot",
        "is it made or set back in every step",
    ),
    "by hand, schedule ignored": (
        lambda: clipped_by_hand(lambda g, v: g, decaying()),
        2,
        "gradient",
        "2.00 times fit's: is it the gradient or the learning rate, still that of step",
    ),
    "by hand, other rate": (
        lambda: by_hand(0.3),
        1,
        "gradient",
        "all steps (`hidden/kernel` and the others) are 0.30 times fit's: is it the",
    ),
    "nearly fit's gradient": (
        of_step(plain, change=nearly),
        1,
        "gradient",
        "0.999 times",
    ),
    "nearly fit's gradient, Adam": (
        of_step(lambda: plain(adam()), change=nearly),
        1,
        "gradient",
        "0.999 times",
    ),
    "by hand, not clipped": (
        lambda: clipped_by_hand(
            lambda g, v: g, keras.optimizers.SGD(0.1, global_clipnorm=0.05)
        ),
        1,
        "gradient",
        "not clipped: fit has global_clipnorm=0.05",
    ),
    "clipped together": (
        of_step(plain, change=clip_together),
        1,
        "gradient",
        "the norm of all together is 0.05: clipped",
    ),
    "clipped by value": (
        of_step(plain, change=clip_values),
        1,
        "gradient",
        "each entry to 0.02",
    ),
    "clipped one by one, Adam": (
        of_step(lambda: plain(adam()), change=clip_each),
        1,
        "gradient",
        "each gradient is clipped to the norm 0.05",
    ),
    "the batch of before": (batch_of_before, 2, "batch", "of the batch before"),
    "rows left out": (rows_left_out, 1, "batch", "first 6 of 8 rows"),
    "divided by the weights' sum": (
        of_step(plain, WEIGHTED, loss_fn=by_sum_of_weights),
        1,
        "sample weights",
        "sum of the sample weights",
    ),
    "divided by the full size": (
        of_step(plain, loss_fn=by_full_size),
        3,
        "loss",
        "this is the last, smaller batch",
    ),
    "metric without weights": (
        unweighted_accuracy,
        1,
        "metric",
        "without sample weights",
    ),
    "from_logits forgotten": (
        of_step(plain, loss_fn=PROBABILITIES),
        1,
        "loss",
        "`from_logits` is the other way round",
    ),
    "mask forgotten": (mask_forgotten, 1, "mask", "padded steps count"),
    "softmax twice": (softmax_twice, 1, "loss", "softmax missing or taken twice"),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_wrong_step_is_found_and_named(name):
    case, step, quantity, words = STEPS[name]
    report = case()
    assert report.first is not None, report
    assert (report.first.step, report.first.quantity.split()[0]) == (
        step,
        quantity.split()[0],
    ), report
    assert words in report.sentence, report
    assert repr(report) == report.sentence


# Loops


def tape_loop(
    training=True,
    penalty=1,
    reset=True,
    sizes=True,
    full=False,
    times=1,
    factor=1.0,
    function=False,
    own=None,
    decay=None,
    log=None,
    finalise=False,
):
    """A loop with logs as `(loss, accuracy)`: right by default."""

    def train(model, dataset, epochs):
        accuracy = keras.metrics.SparseCategoricalAccuracy()
        optimizer = model.optimizer

        def step(x, y):
            with tf.GradientTape() as tape:
                p = model(x, training=training)
                loss = ENTROPY(y, p) + penalty * sum(model.losses)
                goal = factor * loss
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(goal, variables), variables)
            accuracy.update_state(y, p)
            return loss

        run = tf.function(step, reduce_retracing=True) if function else step
        logs = []
        for _ in range(epochs):
            if reset:
                accuracy.reset_state()
            if own:
                optimizer = own()
            losses, rows = [], []
            for x, y in dataset:
                if full and len(x) < SIZE:
                    continue
                for _ in range(times):
                    losses.append(float(run(x, y)))
                    rows.append(len(x) if sizes else 1)
            if decay:
                optimizer.learning_rate = decay * float(optimizer.learning_rate)
            value = np.average(losses, weights=rows)
            logs.append((log(losses) if log else value, float(accuracy.result())))
        if finalise:
            optimizer.finalize_variable_values(model.trainable_variables)
        return logs

    return train


def of_loop(build, dataset=DATASET, epochs=2, **mistake):
    return lambda: parity.loop(tape_loop(**mistake), build(), dataset, epochs)


def restarting(model, dataset, epochs):
    """Every epoch begins from the first weights."""
    weights = model.get_weights()
    for _ in range(epochs):
        model.set_weights(weights)
        tape_loop()(model, dataset, 1)


def backwards(model, dataset, epochs):
    for _ in range(epochs):
        for x, y in reversed(list(dataset)):
            model.train_on_batch(x, y)


def running_on(model, dataset, epochs):
    """The sum of losses is not set back after an epoch."""
    logs, total, rows, step = [], 0.0, 0, tape_step(model)
    for _ in range(epochs):
        for x, y in dataset:
            total += float(step(x, y)) * len(x)
            rows += len(x)
        logs.append({"loss": total / rows})
    return logs


def training_at_first(model, dataset, epochs):
    for epoch in range(epochs):
        tape_loop(training=epoch == 0)(model, dataset, 1)


def used_up(model, dataset, epochs):
    """One iterator for all epochs."""
    batches, step = iter(dataset), tape_step(model)
    for _ in range(epochs):
        for x, y in batches:
            step(x, y)


def halved_from_epoch(first):
    """The rate is set at the beginning of an epoch."""

    def train(model, dataset, epochs):
        for epoch in range(1, epochs + 1):
            if epoch == first:
                model.optimizer.learning_rate = 0.05
            tape_loop()(model, dataset, 1)

    return train


def without_weights(model, dataset, epochs):
    return fit_loop(model, dataset.map(lambda x, y, w: (x, y)), epochs)


LOOPS = {  # name: (case, epoch, step, quantity, words)
    "no training": (
        of_loop(normed, training=False),
        1,
        1,
        "BatchNorm",
        "training=True",
    ),
    "no penalties": (of_loop(penalised, penalty=0), 1, 1, "regularisation", "exactly"),
    "not reset": (
        of_loop(lambda: plain(keras.optimizers.SGD(1.0)), reset=False),
        2,
        None,
        "metric",
        "not reset",
    ),
    "no sizes": (
        of_loop(plain, sizes=False),
        1,
        None,
        "last partial batch",
        "counts as much as a full one",
    ),
    "full batches only": (of_loop(plain, full=True), 1, 3, "updates", "last, smaller"),
    "full batches only, Adam": (
        of_loop(lambda: penalised(adam()), full=True, function=True),
        1,
        3,
        "updates",
        "0 updates",
    ),
    "new optimizer": (
        of_loop(lambda: plain(momentum()), own=momentum),
        2,
        None,
        "optimizer slot",
        "anew",
    ),
    "rate decays": (of_loop(plain, decay=0.5), 2, None, "learning rate", "0.1"),
    "rate decays, three epochs": (
        of_loop(lambda: plain(keras.optimizers.SGD(0.5)), epochs=3, decay=0.5),
        2,
        None,
        "learning rate",
        "Epoch 2: the learning rate is 0.25 (fit: 0.5)",
    ),
    "rate set in epoch 3": (
        lambda: parity.loop(halved_from_epoch(3), plain(), DATASET, epochs=4),
        3,
        None,
        "learning rate",
        "Epoch 3: the learning rate is 0.05 (fit: 0.1)",
    ),
    "training in epoch 1 only": (
        lambda: parity.loop(training_at_first, normed(), DATASET),
        2,
        None,
        "BatchNorm",
        "stands still in epoch 2: is training=True",
    ),
    "dropout in epoch 1 only": (
        lambda: parity.loop(training_at_first, dropped(), DATASET),
        2,
        None,
        "dropout",
        "no new numbers in epoch 2: is training=True",
    ),
    "iterator used up": (
        lambda: parity.loop(used_up, plain(), DATASET),
        2,
        None,
        "updates",
        "no update in epoch 2: is an iterator used up?",
    ),
    "two updates": (of_loop(plain, times=2), 1, 1, "updates", "2 updates"),
    "loss not reset": (
        lambda: parity.loop(running_on, plain(), DATASET),
        2,
        None,
        "loss",
        "not reset",
    ),
    "sample weights dropped": (
        lambda: parity.loop(
            without_weights,
            plain(),
            tf.data.Dataset.from_tensor_slices((X, Y, W)).batch(SIZE),
        ),
        1,
        1,
        "sample weights",
        "not used",
    ),
    "last loss": (
        of_loop(plain, log=lambda losses: losses[-1]),
        1,
        None,
        "loss",
        "last batch alone",
    ),
    "sum of losses": (of_loop(plain, log=sum), 1, None, "loss", "sum over 3 batches"),
    "doubled, Adam": (
        of_loop(lambda: normed(adam()), factor=2.0),
        1,
        1,
        "gradient",
        "2.",
    ),
    "no average": (
        of_loop(lambda: plain(momentum(use_ema=True, ema_momentum=0.5))),
        2,
        None,
        "optimizer",
        "use_ema",
    ),
    "starts anew": (
        lambda: parity.loop(restarting, plain(), DATASET),
        2,
        None,
        "weights",
        "anew",
    ),
    "backwards": (
        lambda: parity.loop(backwards, plain(), cut(X[:16], Y[:16]) and DATASET),
        1,
        2,
        "order",
        "another order",
    ),
    "tracker not updated": (
        lambda: tracker("no tracker"),
        1,
        None,
        "loss",
        "last batch",
    ),
    "tracker not updated, no metric": (
        lambda: tracker("no tracker", metrics=[]),
        1,
        None,
        "loss",
        "nothing was counted",
    ),
    "tracker without sizes": (
        lambda: tracker("no sizes"),
        1,
        None,
        "last partial batch",
        "smaller",
    ),
    "mean prediction": (lambda: tracker("prediction"), 1, None, "loss", "loss"),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_wrong_loop_is_found_and_named(name):
    case, epoch, step, quantity, words = LOOPS[name]
    report = case()
    assert report.first is not None, report
    found = report.first
    assert (found.epoch, found.quantity.split()[0]) == (epoch, quantity.split()[0]), (
        report
    )
    assert step is None or found.step == step, report
    assert words in report.sentence, report


# No difference where there is none


def logs_step(model):
    """Returns logs from own metrics, running over the steps."""
    metric = keras.metrics.SparseCategoricalAccuracy()

    def returns(loss, y, p):
        return {"loss": loss, "accuracy": metric(y, p), "grad_norm": 7.0}

    return tape_step(model, returns=returns)


def own_copy(model):
    """An optimizer of one's own, like the model's, found without being named."""
    own = type(model.optimizer).from_config(model.optimizer.get_config())
    return tape_step(model, apply=own.apply)


def in_double(x, y):
    """Labels in another type, the same loss in another formula."""
    return tf.cast(y, "int32")


def other_formula(model):
    def loss_fn(y, p, w=None):
        rows = tf.nn.sparse_softmax_cross_entropy_with_logits(y, p)
        return tf.reduce_sum(rows) / tf.cast(tf.size(rows), "float32")

    return tape_step(model, loss_fn=loss_fn)


RIGHT_STEPS = {  # name: (model, step of the model, batches)
    "eager": (plain, tape_step, BATCHES),
    "weighted": (plain, tape_step, WEIGHTED),
    "penalties": (lambda: penalised(adam()), tape_step, BATCHES),
    "BatchNorm, Adam": (lambda: normed(adam()), tape_step, BATCHES),
    "dropout": (lambda: dropped(momentum()), tape_step, BATCHES),
    "subclassed": (lambda: subclassed("adam"), tape_step, BATCHES),
    "function": (
        lambda: normed(adam(clipnorm=0.1)),
        lambda m: tf.function(tape_step(m)),
        BATCHES,
    ),
    "dropout, function": (
        lambda: dropped(adam(use_ema=True)),
        lambda m: tf.function(tape_step(m), reduce_retracing=True),
        BATCHES,
    ),
    "XLA": (
        lambda: normed(adam()),
        lambda m: tf.function(tape_step(m), jit_compile=True),
        BATCHES,
    ),
    "XLA, dropout": (
        dropped,
        lambda m: tf.function(tape_step(m), jit_compile=True),
        BATCHES[:2],
    ),
    "train_on_batch": (
        lambda: penalised(momentum(nesterov=True)),
        lambda m: lambda x, y: m.train_on_batch(x, y),
        BATCHES,
    ),
    "train_step": (lambda: own_step("right"), lambda m: m.train_step, WEIGHTED),
    "two outputs": (
        two_outputs,
        lambda m: tape_step(
            m, loss_fn=lambda y, p: 0.5 * two_loss(y, p)[0] + 2 * two_loss(y, p)[1]
        ),
        TWO,
    ),
    "own logs": (plain, logs_step, BATCHES),
    "own optimizer": (lambda: plain(adam()), own_copy, BATCHES),
    "schedule": (lambda: plain(decaying()), tape_step, BATCHES),
    "other formula": (plain, other_formula, BATCHES),
    "no loss": (plain, lambda m: tape_step(m, returns=lambda *_: None), BATCHES),
    "RMSprop": (lambda: normed(keras.optimizers.RMSprop(0.01)), tape_step, BATCHES),
    "accumulating": (
        lambda: plain(adam(gradient_accumulation_steps=2)),
        tape_step,
        BATCHES,
    ),
}


@pytest.mark.parametrize("name", RIGHT_STEPS)
def test_a_right_step_has_no_difference(name):
    build, make, batches = RIGHT_STEPS[name]
    model = build()
    report = parity.steps(make(model), model, batches)
    assert report.first is None, report
    assert report.sentence.startswith("No difference in ")


def whole_epoch(model, dataset, epochs):
    """An epoch in one compiled function, with the data closed over."""
    optimizer = model.optimizer

    @tf.function
    def epoch(dataset):
        total = 0.0
        for x, y in dataset:
            with tf.GradientTape() as tape:
                loss = ENTROPY(y, model(x, training=True)) + sum(model.losses)
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += loss * tf.cast(tf.shape(x)[0], "float32")
        return total / ROWS

    return [float(epoch(dataset)) for _ in range(epochs)]


def from_arrays(model, dataset, epochs):
    """Takes its data from elsewhere, as a compiled epoch of tensors does."""
    return model.fit(X, Y, batch_size=SIZE, shuffle=False, epochs=epochs, verbose=0)


def as_dicts(model, dataset, epochs):
    names = ("loss", "accuracy")
    return [
        dict(zip(names, row, strict=True))
        for row in tape_loop()(model, dataset, epochs)
    ]


def as_columns(model, dataset, epochs):
    rows = tape_loop()(model, dataset, epochs)
    return {"loss": [row[0] for row in rows], "lr": [0.1] * epochs}


RIGHT_LOOPS = {  # name: (model, loop, dataset)
    "fit": (lambda: normed(adam()), fit_loop, DATASET),
    "fit, shuffled": (lambda: plain(momentum()), fit_loop, DATASET.shuffle(3)),
    "fit, dropout and average": (
        lambda: dropped(adam(use_ema=True, ema_momentum=0.5)),
        fit_loop,
        DATASET,
    ),
    "eager": (lambda: penalised(adam()), tape_loop(), DATASET),
    "function": (lambda: normed(adam()), tape_loop(function=True), DATASET),
    "averaged": (
        lambda: plain(momentum(use_ema=True, ema_momentum=0.5)),
        tape_loop(finalise=True),
        DATASET,
    ),
    "dropout": (lambda: dropped(momentum()), tape_loop(function=True), DATASET),
    "a list": (plain, tape_loop(), BATCHES),
    "own optimizer": (
        lambda: plain(momentum()),
        lambda m, d, e: tape_loop()(m, d, e),
        DATASET,
    ),
    "whole epoch": (lambda: penalised(adam()), whole_epoch, DATASET),
    "own data": (lambda: plain(momentum()), from_arrays, DATASET),
    "dicts": (plain, as_dicts, DATASET),
    "columns": (plain, as_columns, DATASET),
    "train_step": (lambda: own_step("right"), fit_loop, DATASET),
}


@pytest.mark.parametrize("name", RIGHT_LOOPS)
def test_a_right_loop_has_no_difference(name):
    build, train, dataset = RIGHT_LOOPS[name]
    report = parity.loop(train, build(), dataset)
    assert report.first is None, report


# The model is as before, and errors are one sentence


def everything(model):
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables]]


def failing(model):
    right, count = tape_step(model), iter(range(1, 99))

    def step(x, y):
        right(x, y)
        if next(count) == 2:
            raise RuntimeError("out of luck.")

    return step


@pytest.mark.parametrize("make", [tape_step, failing], ids=["right", "failing"])
def test_the_model_is_put_back(make):
    model = dropped(adam())
    model.fit(X, Y, verbose=0)
    before = everything(model)
    report = parity.steps(make(model), model, BATCHES)
    after = everything(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    if make is failing:
        assert (report.first.step, report.first.quantity) == (2, "error")
        assert report.sentence == (
            "Step 2: your step stopped with RuntimeError: out of luck."
        )


def test_what_a_step_refers_to_is_put_back():
    model, metric = plain(), keras.metrics.SparseCategoricalAccuracy()
    own = adam()
    step = tape_step(
        model, apply=own.apply, returns=lambda loss, y, p: (loss, metric(y, p))
    )
    own.build(model.trainable_variables)
    step(*BATCHES[0])
    before = [v.numpy() for v in [*own.variables, *metric.variables]]
    parity.steps(step, model, BATCHES)
    after = [v.numpy() for v in [*own.variables, *metric.variables]]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_loop_that_fails_is_told():
    model = plain()
    report = parity.loop(lambda m, d, e: 1 / 0, model, DATASET)
    assert report.sentence == (
        "Your loop stopped with ZeroDivisionError: division by zero."
    )


def test_a_step_without_an_end_is_stopped(monkeypatch):
    from helpers.parity import bench

    def step(x, y):
        while True:
            pass

    monkeypatch.setattr(bench, "MOST_SECONDS", 0.5)
    report = parity.steps(step, plain(), BATCHES)
    assert "did not come to an end" in report.sentence


def running_dry():
    yield BATCHES[0]
    raise OSError("the disk is gone")


ENDLESS = tf.data.Dataset.from_tensors((X, Y)).repeat()
REFUSED = {
    "not compiled": (
        lambda: parity.steps(print, keras.Sequential([keras.Input((2,))]), BATCHES),
        "The model is not compiled",
    ),
    "no model": (lambda: parity.steps(print, 3, BATCHES), "`model` is a int"),
    "no function": (lambda: parity.steps(3, plain(), BATCHES), "`step` is a int"),
    "no batches": (lambda: parity.steps(print, plain(), []), "There is no batch"),
    "no tuples": (lambda: parity.steps(print, plain(), [X]), "A batch is a ndarray"),
    "a number": (lambda: parity.steps(print, plain(), 3), "`batches` is a int"),
    "no end": (
        lambda: parity.loop(fit_loop, plain(), ENDLESS),
        "The dataset has no end",
    ),
    "no loop": (lambda: parity.loop(None, plain(), DATASET), "`train` is a NoneType"),
    "wrong width": (
        lambda: parity.steps(print, plain(), [(X[:, :2], Y)]),
        "fit itself cannot train on the first batch",
    ),
    "a second batch of another width": (
        lambda: parity.steps(print, plain(), [BATCHES[0], (X[:, :2], Y)]),
        "fit itself cannot train on one of the batches",
    ),
    "the same for a loop": (
        lambda: parity.loop(print, plain(), [BATCHES[0], (X[:, :2], Y)]),
        "fit itself cannot train on one of the batches",
    ),
    "no epoch": (
        lambda: parity.loop(print, plain(), DATASET, 0),
        "`epochs` is 0; give a whole number from 1 on",
    ),
    "epochs as text": (
        lambda: parity.loop(print, plain(), DATASET, "2"),
        "`epochs` is '2'",
    ),
    "batches that stop": (
        lambda: parity.steps(print, plain(), running_dry()),
        "The batches stopped with OSError: the disk is gone",
    ),
    "a second batch that is no tuple": (
        lambda: parity.steps(print, plain(), [BATCHES[0], 3]),
        "A batch is a int",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compared_is_one_sentence(name):
    case, words = REFUSED[name]
    with pytest.raises(ParityError, match=words) as caught:
        case()
    assert "\n" not in str(caught.value)
