"""Run fit's own step and somebody else's on one model, and put everything back."""

import contextlib
import dis
import functools
import inspect
import itertools
import re
import signal
import types
import warnings
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from helpers.checks.evidence import describe_error
from helpers.checks.limits import LimitReached, limits
from helpers.parity import settings

ARRAYS = re.compile(r"\[\s*\[[\s\d.,e+\-\[\]]{20,}")  # in messages of TensorFlow
MOST_SECONDS = 120.0  # that one call of a step or loop may take
LIBRARIES = ("keras", "tensorflow", "numpy", "builtins", "helpers")
STATE = (
    keras.optimizers.Optimizer,
    keras.metrics.Metric,
    keras.layers.Layer,
    keras.random.SeedGenerator,
    keras.Variable,
    tf.Variable,
)


class ParityError(ValueError):
    """The comparison cannot be made; the message is one sentence that says why."""


@dataclass
class Outcome:
    """What one run left behind.

    Attributes:
        loss: number, array, or None where none was returned.
        logs: dict from a name to a number, of this batch alone.
        running: dict, the same logs as running means over the epoch; fit only.
        gradients: list of arrays or None, one per trainable variable; fit only.
        after: the state of all variables, see `Bench.note`.
        unfinished: the same before what fit does at its very end (use_ema); fit only.
        rates: dict from an optimizer's id to the learning rate it began with.
        changed: settings of the optimizer that it left otherwise, in words.
        error: what stopped it, in one sentence; "" if nothing did.
    """

    loss: object = None
    logs: dict = field(default_factory=dict)
    running: dict = field(default_factory=dict)
    gradients: list = field(default_factory=list)
    after: dict = field(default_factory=dict)
    unfinished: dict = field(default_factory=dict)
    rates: dict = field(default_factory=dict)
    changed: str = ""
    error: str = ""


class Bench:
    """A compiled model with everything that training changes in it.

    Args:
        model: compiled `keras.Model`.
        batch: a tuple, to build what is not built yet.
        learner: the function to compare; what it refers to is put back, too.
        optimizer: the learner's own optimizer, None for the model's.
    """

    def __init__(self, model, batch, learner, optimizer=None):
        require_compiled(model)
        require_optimizer(optimizer)
        require_function(learner)
        self.model, self.fit_optimizer = model, model.optimizer
        found = companions(learner)
        if optimizer is None:
            own = [f for f in found if isinstance(f, keras.optimizers.Optimizer)]
            own = [f for f in own if f is not model.optimizer]
            optimizer = own[0] if len(own) == 1 else model.optimizer
        self.optimizer = optimizer
        self.losses = keras.metrics.Mean()  # a model may have metrics of its own
        self.parts = [*found, optimizer, self.losses]
        self.known, self.compiled = {}, {}
        self.finalises = False  # whether a step counts as a whole training
        try:
            self._build(batch)
            self.weights = list(model.trainable_variables)
            self.states = settings.states_of(model)
            self.begin = self.note()
        except Exception as error:
            raise refused(error) from None
        self.settings = settings.noted(model)
        try:
            self.fit(batch)  # builds the metrics
            self.settings = settings.noted(model)
            self.whole = {id(v): v.path for v in model.weights}
        except Exception as error:
            raise refused(error) from None
        finally:
            self.put(self.begin)

    def _build(self, batch):
        model = self.model
        if not model.built or not model.weights:
            model(batch[0], training=False)
        if not self.fit_optimizer.built:
            self.fit_optimizer.build(model.trainable_variables)

    def variables(self):
        """Every variable of model, optimizers, metrics and of what the learner uses."""
        model = self.model
        every = [*model.variables, *model.metrics_variables]
        every += [*self.fit_optimizer.variables, *self.states]
        for part in self.parts:
            every += variables_of(part)
        unique = {id(variable): variable for variable in every}
        self.known.update(unique)
        return self.known

    def note(self):
        """The state: a dict from a variable's id to a copy of its values."""
        return {key: values(variable) for key, variable in self.variables().items()}

    def put(self, state):
        """Set every variable to a noted state; one made later starts from zero.

        What is set in the model (frozen layers, rates, `compile`) becomes what it was.
        """
        settings.put_back(self.settings)
        for key, variable in self.variables().items():
            old = state.get(key)
            if old is None:
                old = np.zeros(tuple(variable.shape), "int64")
            variable.assign(tf.cast(old, variable.dtype))

    def reset_metrics(self):
        self.model.reset_metrics()
        self.losses.reset_state()

    def results(self):
        """Logs over all of fit's steps since the metrics were reset."""
        logs = self.model.get_metrics_result()
        return numbers({**logs, "loss": self.losses.result()})

    def trainable(self):
        return self.weights

    def seeds(self):
        """Variables that count the random numbers drawn so far."""
        return [v for v in self.model.variables if v.path.endswith("generator_state")]

    def others(self):
        """Variables without a gradient that a step may move, as BatchNorm has them."""
        apart = {id(v) for v in [*self.trainable(), *self.seeds()]}
        every = [*self.model.variables, *self.states]
        return [v for v in every if id(v) not in apart]

    def advance(self, draws):
        """Move every seed on, as if random numbers had been drawn `draws` times."""
        for seed in self.seeds():
            seed.assign(seed + tf.constant([0, draws], seed.dtype))

    def fit(self, batch, mode="eager"):
        """What fit's own step does with a batch, from where the model stands.

        Returns:
            An `Outcome`, with `logs` of this batch alone and `running` over all
            batches since the metrics were reset.
        """
        before = self.note()
        rates = {id(self.fit_optimizer): rate_of(self.fit_optimizer)}
        with quiet_warnings():
            self.reset_metrics()
            logs, _ = self._fit_step(batch, mode)
            self.put(before)
            running, gradients = self._fit_step(batch, mode)
            unfinished = self.note()
            if self.finalises:
                self.finalise()
        logs, running = numbers(logs), numbers(running)
        gradients = [None if g is None else np.asarray(g) for g in gradients]
        outcome = Outcome(logs.get("loss"), logs, running, gradients, rates=rates)
        outcome.after, outcome.unfinished = self.note(), unfinished
        return outcome

    def step(self, batch, mode):
        """One step of fit, nothing else; returns its logs."""
        with quiet_warnings():
            return self._fit_step(batch, mode)[0]

    def finalise(self):
        """What fit does after all epochs: with use_ema, weights become averages."""
        self.fit_optimizer.finalize_variable_values(self.model.trainable_variables)

    def _fit_step(self, batch, mode):
        if mode == "eager":
            return fit_step(self.model, self.losses, batch)
        if mode not in self.compiled:
            step = functools.partial(fit_step, self.model, self.losses)
            self.compiled[mode] = tf.function(
                step, jit_compile=mode == "XLA", reduce_retracing=True
            )
        return self.compiled[mode](batch)

    def theirs(self, call, what, read=None):
        """The `Outcome` of the learner's `call()`.

        Args:
            what: names it in a message.
            read: turns what was returned into `(loss, logs)`; `read_step` by default.
        """
        rates = {id(o): rate_of(o) for o in (self.fit_optimizer, self.optimizer)}
        outcome = Outcome(rates=rates)
        try:
            with quiet_warnings(), time_limit():
                returned = call()
            outcome.loss, outcome.logs = (read or read_step)(returned)
        except LimitReached as reached:
            outcome.error = f"{what} did not come to an end: it took {reached}"
        except (Exception, SystemExit) as error:
            outcome.error = f"{what} stopped with {told_of(error)}"
        outcome.error = outcome.error or self._has_grown(what)
        outcome.changed = settings.changed(self.settings)
        outcome.after = self.note()
        return outcome

    def _has_grown(self, what):
        """What is told of a model that has other weights than it had; else ""."""
        now = {id(v): v.path for v in self.model.weights}
        for key in self.whole.keys() - now.keys():
            return f"{what} changed the model: `{self.whole[key]}` is no longer in it"
        for key in now.keys() - self.whole.keys():
            return f"{what} changed the model: `{now[key]}` was not in it before"
        return ""


def told_of(error):
    """An error in one sentence: its type, and its message where it has one."""
    told = describe_error(error)
    message = told["message"]
    if "[[" in message:  # an array is longer than what is kept of a message
        message = ARRAYS.sub("[...] ", " ".join(str(error).split()))[:300]
    return f"{told['type']}: {message}" if message else told["type"]


def refused(error, where="the first batch"):
    """The `ParityError` for a model on which fit itself cannot take a step."""
    reason = told_of(error).partition(": ")[2].rstrip(".") or type(error).__name__
    return ParityError(f"fit itself cannot train on {where}: {reason}.")


def require_compiled(model):
    if not isinstance(model, keras.Model):
        raise ParityError(
            f"`model` is a {type(model).__name__}; give a compiled keras.Model."
        )
    if not getattr(model, "compiled", False) or model.optimizer is None:
        raise ParityError(
            "The model is not compiled, so there is no fit to compare with; call "
            "`model.compile(optimizer, loss)` first."
        )


def require_optimizer(optimizer):
    if not isinstance(optimizer, (keras.optimizers.Optimizer, type(None))):
        raise ParityError(
            f"`optimizer` is a {type(optimizer).__name__}; give the object that your "
            "step uses, a keras optimizer."
        )


def require_function(learner):
    plain = getattr(learner, "python_function", learner)
    if inspect.isgeneratorfunction(plain) or inspect.iscoroutinefunction(plain):
        word = "yield" if inspect.isgeneratorfunction(plain) else "async"
        raise ParityError(
            f"Your function has `{word}`, so calling it runs nothing of it; give one "
            "that trains and returns."
        )


def fit_step(model, mean, batch):
    """One step of fit, whatever the model overrides: `(logs, gradients)`.

    Args:
        mean: `Mean` of the losses by rows, as fit logs them; updated.
    """
    gradients, losses, optimizer = [], [], model.optimizer
    apply, compute_loss = optimizer.apply, model.compute_loss

    def noting(grads, trainable_variables=None):
        gradients.extend(
            g if g is None else tf.cast(tf.convert_to_tensor(g), "float32")
            for g in grads
        )
        return apply(grads, trainable_variables)

    def noting_loss(*arguments, **settings):
        losses.append(compute_loss(*arguments, **settings))
        return losses[-1]

    optimizer.apply, model.compute_loss = noting, noting_loss
    try:
        logs = keras.Model.train_step(model, batch)
    finally:
        del optimizer.apply, model.compute_loss
    rows = tf.shape(keras.tree.flatten(batch[0])[0])[0]
    mean.update_state(losses[0], sample_weight=rows)
    return {**logs, "loss": mean.result()}, gradients


def values(variable):
    """A copy of a variable's values, an array."""
    return np.array(tf.convert_to_tensor(variable))


def rate_of(optimizer):
    """The learning rate of an optimizer's next step; None if it has none."""
    try:
        return float(tf.convert_to_tensor(optimizer.learning_rate))
    except (AttributeError, TypeError, ValueError):
        return None


def counter_of(optimizer):
    """The variable in which an optimizer counts its steps.

    Not `optimizer.iterations`: that is calculated where gradients accumulate.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return next(v for v in optimizer.variables if "iteration" in v.path)


def numbers(logs):
    """Logs as a dict of floats or arrays."""
    read = {name: np.asarray(value, "float64") for name, value in logs.items()}
    return {name: v.item() if v.size == 1 else v for name, v in read.items()}


def read_step(returned):
    """`(loss, logs)` of what a step returned: a number, logs, a tuple or None.

    Of a tuple only the first entry has a sure meaning, and none of what is no number.
    """
    if isinstance(returned, dict):
        inner = [v for v in returned.values() if isinstance(v, dict)]  # of all metrics
        logs = {k: number(v) for part in [returned, *inner] for k, v in part.items()}
        logs = {str(k): v for k, v in logs.items() if v is not None}
        return logs.get("loss"), logs
    if isinstance(returned, (tuple, list)):
        found = [number(part) for part in returned[:1]]
        if np.ndim(found) > 2:  # no loss: what the model answered comes first
            found = [n for n in map(number, returned[1:]) if np.ndim(n) == 0]
        return (found[0] if found else None), {}
    return number(returned), {}


def number(value):
    """A float, or an array where there are several numbers; None for anything else."""
    if isinstance(value, keras.metrics.Metric):
        value = value.result()
    if value is None or isinstance(value, (str, bytes, dict)):
        return None
    try:
        array = np.asarray(value, "float64")
    except (TypeError, ValueError, NotImplementedError):
        return None
    return array.item() if array.ndim == 0 else array


def takes(function):
    """How many positional arguments a function takes: `(least, most)`."""
    function = getattr(function, "python_function", function)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0, 99
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 0, 99
    positional = [
        p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return sum(p.default is p.empty for p in positional), len(positional)


def arguments(step, batch):
    """A batch as the arguments of a step: x, y, weights, as many as it takes."""
    least, most = takes(step)
    if most == 1 and len(batch) > 1:  # step(data), as `train_step` has it
        return (batch,)
    parts = list(batch)
    while len(parts) > max(least, 1) and (len(parts) > most or parts[-1] is None):
        parts.pop()
    return parts


def variables_of(part):
    """The variables of an optimizer, metric, layer, seed generator or variable."""
    if isinstance(part, (keras.Variable, tf.Variable)):
        return [part]
    if isinstance(part, keras.random.SeedGenerator):
        return [part.state]
    return list(part.variables)


def companions(function):
    """Optimizers, metrics, layers and variables that a function refers to."""
    found, seen = [], set()

    def look(thing, depth):
        if id(thing) in seen or depth > 6 or isinstance(thing, types.ModuleType):
            return
        seen.add(id(thing))
        if isinstance(thing, STATE):
            found.append(thing)
        for other in referred(thing):
            look(other, depth + 1)

    look(function, 0)
    return found


def referred(thing):
    """What a function, container or object of the learner's own holds."""
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, dict):
        return list(itertools.islice(thing.values(), 1000))
    if isinstance(thing, (list, tuple, set)):
        return list(itertools.islice(thing, 1000))
    if isinstance(thing, types.MethodType):
        return [thing.__func__, thing.__self__]
    if hasattr(thing, "python_function"):
        return [thing.python_function]
    module = getattr(thing, "__module__", None) or "builtins"
    if module.split(".")[0] in LIBRARIES or isinstance(thing, type):
        return []
    if isinstance(thing, types.FunctionType):
        names = names_in(thing.__code__)
        used = [thing.__globals__[n] for n in names if n in thing.__globals__]
        return used + list(cells(thing)) + list(thing.__defaults__ or ())
    return list(getattr(thing, "__dict__", {}).values())


def names_in(code):
    """Global names that a function's code uses, and the functions inside it."""
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    loads = ("LOAD_GLOBAL", "LOAD_NAME")  # not `model.optimizer`, an attribute
    used = {one.argval for one in dis.get_instructions(code) if one.opname in loads}
    return used | {name for part in inner for name in names_in(part)}


def cells(function):
    """What a function keeps of the function around it."""
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet
            yield cell.cell_contents


@contextlib.contextmanager
def quiet_warnings():
    """Without warnings: what they are about is compared anyway."""
    logger = tf.get_logger()
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel("ERROR")
        try:
            yield
        finally:
            logger.setLevel(level)


def time_limit():
    """A limit for one call; none where an outer one is ticking already."""
    if hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0]:
        return contextlib.nullcontext()
    return limits(MOST_SECONDS)
