"""Watch what Keras does: which rows a model sees, and what a call comes to."""

import contextlib
import io
import re
import warnings

import keras
import numpy as np
import tensorflow as tf


class Recorder(keras.Model):
    """A small model that notes the first number of every row it is given.

    Number the rows in the first column, and you can read off which rows training and
    validation saw, in which order and in which batches. Compile it with
    `run_eagerly=True`; `recorder()` gives one that is compiled already.

    Attributes:
        trained: list of int arrays, one per training batch.
        watched: list of int arrays, one per batch of validation, evaluation or
            prediction.
        labels: array, the labels of all training rows as they came.
    """

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, kernel_initializer="ones")
        self.log = {"trained": [], "watched": [], "labels": []}

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        self._note("trained", data)
        return super().train_step(data)

    def test_step(self, data):
        self._note("watched", data)
        return super().test_step(data)

    def predict_step(self, data):
        self._note("watched", data)
        return super().predict_step(data)

    def _note(self, kind, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        rows = keras.ops.convert_to_numpy(x)[:, 0]
        self.log[kind].append(rows.astype(int))
        if kind == "trained":
            self.log["labels"].append(keras.ops.convert_to_numpy(y).ravel())

    @property
    def trained(self):
        return list(self.log["trained"])

    @property
    def watched(self):
        return list(self.log["watched"])

    @property
    def labels(self):
        return np.concatenate([np.zeros(0), *self.log["labels"]])

    def epochs(self, rows):
        """Training rows by epoch, each an int array of `rows` numbers."""
        seen = np.concatenate([np.zeros(0, int), *self.trained])
        return [seen[start : start + rows] for start in range(0, len(seen), rows)]


def recorder(**settings):
    """A `Recorder`, compiled so that nothing moves; `settings` go to `compile`."""
    model = Recorder()
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True, **settings)
    return model


def fit_log(rows, epochs=1, most=25, **settings):
    """Let a `recorder()` fit, and tell what each epoch saw.

    Args:
        rows: what `fit` takes as `x`, with its labels inside.
        most: int, after how many batches of training and validation it is stopped,
            if it has no end.
        settings: go to `fit`.

    Returns:
        `(epochs, text)`: for each epoch a list of batches, lists of row numbers; and
        what the call came to, see `outcome`: how many epochs the history has.
    """
    model, starts, count = recorder(), [], iter(range(1, most))

    def stop(batch, logs=None):
        if next(count, None) is None:
            raise RuntimeError(f"no end after {most} batches")

    note = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: starts.append(len(model.trained)),
        on_train_batch_end=stop,
    )
    note.on_test_batch_end = stop
    callbacks = [note, *settings.pop("callbacks", [])]
    settings = {"callbacks": callbacks, "shuffle": False, "verbose": 0, **settings}
    text = outcome(lambda: len(model.fit(rows, epochs=epochs, **settings).epoch))
    ends = [*starts[1:], len(model.trained)]
    spans = zip(starts, ends, strict=False)
    return [[b.tolist() for b in model.trained[i:j]] for i, j in spans], text


HOOKS = tuple(
    f"{part}_{end}"
    for part in ("train", "epoch", "train_batch", "test", "test_batch")
    for end in ("begin", "end")
)


class HookLog(keras.callbacks.Callback):
    """Notes every hook that `fit` calls: list `calls` of `(hook, number or None)`."""

    def __init__(self):
        super().__init__()
        self.calls = []
        for hook in HOOKS:
            setattr(self, f"on_{hook}", self._noting(hook))

    def _noting(self, hook):
        def note(*arguments, logs=None):  # (logs), (number, logs) or (number, logs=...)
            number = arguments[0] if isinstance(arguments[0], int) else None
            self.calls.append((hook, number))

        return note


def hook_calls(epochs=2, batches=2, test_batches=1, callbacks=()):
    """The hooks that a real `fit` with validation calls, in their order.

    Args:
        epochs, batches, test_batches: ints, how much is trained and validated.
        callbacks: list of callbacks that take part, too.

    Returns:
        List of `(hook, number)`: a name such as "epoch_end", and the number of the
        epoch or batch, None where there is none.
    """
    model, log = stand_in(), HookLog()
    train, test = (
        tf.data.Dataset.from_tensors((np.ones((1, 1)), np.zeros((1, 1)))).repeat(count)
        for count in (batches, test_batches)
    )
    run = {"validation_data": test, "callbacks": [log, *callbacks], "verbose": 0}
    model.fit(train, epochs=epochs, shuffle=False, **run)
    return log.calls


def stand_in(learning_rate=0.1):
    """A compiled model with a single weight, for callbacks that need some model."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(keras.optimizers.SGD(learning_rate), "mse", run_eagerly=True)
    return model


def drive(callbacks, logs, learning_rate=0.1, model=None):
    """Hand callbacks made-up epochs, as `fit` would; nothing is trained.

    At the end of epoch k the weight of the model is k, so it tells afterwards which
    epoch's weights were kept.

    Args:
        callbacks: a callback, or a list of them.
        logs: list of dicts, what each epoch reports.
        learning_rate: float, at the beginning.
        model: a `stand_in()` that is used again, by default a new one.

    Returns:
        A dict: `epochs`, how many ran until a callback stopped the training;
        `weights`, the epoch (from 0) whose weights the model has at the end;
        `learning_rates`, the one that each epoch used; `logs`, what the callbacks
        made of the logs.
    """
    model, rates, left = model or stand_in(learning_rate), [], []
    own = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    last = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda _, logs: left.append(logs)
    )
    settings = {"model": model, "epochs": len(logs), "steps": 1, "verbose": 0}
    hooks = keras.callbacks.CallbackList([*own, last], **settings)
    model.stop_training = False
    hooks.on_train_begin()
    for epoch, values in enumerate(logs):
        hooks.on_epoch_begin(epoch)
        rates.append(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))
        model.set_weights([np.array([[float(epoch)]])])
        hooks.on_epoch_end(epoch, dict(values))
        if model.stop_training:
            break
    hooks.on_train_end(left[-1])
    kept = int(model.get_weights()[0].item())
    found = {"epochs": len(left), "weights": kept, "learning_rates": rates}
    return {**found, "logs": left}


def measure(loss, y_true, y_pred, weights=None, batch_size=32, **settings):
    """What `evaluate` reports for predictions that you choose.

    The model behind it returns its input, so only the comparison is left to do.

    Args:
        loss: as for `compile`.
        y_true, y_pred: arrays (n, ...), targets and predictions.
        weights: array (n,), the `sample_weight`.
        settings: for `compile`, for example `metrics`.

    Returns:
        A dict from "loss" and the names of the metrics to their values.
    """
    width = np.shape(y_pred)[1:]
    model = keras.Sequential([keras.Input(width), keras.layers.Identity()])
    model.compile("sgd", loss, run_eagerly=True, **settings)
    rows = {"x": y_pred, "y": y_true, "sample_weight": weights}
    return model.evaluate(**rows, batch_size=batch_size, return_dict=True, verbose=0)


def outcome(action):
    """What a call comes to, in one line: its value with a warning, or its error.

    Args:
        action: function without arguments.

    Returns:
        str, about 100 characters at most.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                text = _brief(action())
        except Exception as error:
            return f"{type(error).__name__}: {_first_line(error)}"
    caught = [w for w in caught if issubclass(w.category, UserWarning)]
    return f"{text}; UserWarning: {_first_line(caught[0].message)}" if caught else text


def _first_line(message):
    # without colours, and without the place in TensorFlow's graph
    text = re.sub(r"\x1b\[[0-9;]*m|\{\{\w+_node \S*\}\} ?", "", str(message))
    lines = text.strip().strip('"').splitlines() or [""]
    if lines[0].startswith("Exception encountered when calling"):
        lines = [line for line in lines[1:] if line.strip()] or lines  # the reason
    return lines[0] if len(lines[0]) <= 72 else lines[0][:69] + "..."


def _brief(value):
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_brief(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_brief(item) for item in value) + "]"
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    return str(value) if isinstance(value, (int, str, type(None))) else "works"
