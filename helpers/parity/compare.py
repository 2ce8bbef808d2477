"""Which quantities of one step differ, each in its own unit of rounding.

Both steps start from the same state, so rounding has no time to grow. A gradient is not
asked for but read from what the optimizer did, which works for compiled steps, too.
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from helpers.parity.bench import counter_of

EPSILON = float(np.finfo("float32").eps)
ADAPTIVE_FLOOR = 1e-5  # of the largest gradient: what rounding can make of a zero

# Optimizer -> its slot that a gradient flows into, and the share the old value keeps:
# new = keep * old + (1 - keep) * gradient ** power.
SLOTS = {
    "adam": ("momentum", "beta_1", 1),
    "adamw": ("momentum", "beta_1", 1),
    "adamax": ("momentum", "beta_1", 1),
    "nadam": ("momentum", "beta_1", 1),
    "lamb": ("momentum", "beta_1", 1),
    "lion": ("momentum", "beta_2", 1),
    "rmsprop": ("velocity", "rho", 2),
}


@dataclass
class Difference:
    """One quantity that is not the same on both sides."""

    quantity: str
    where: str
    yours: object
    expected: object
    words: str = ""


def tolerance(model):
    """How large a relative difference rounding makes: by precision and device."""
    dtypes = {getattr(layer, "compute_dtype", "") for layer in model.layers}
    if dtypes & {"float16", "bfloat16"}:
        return 2e-2
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    return 2e-3 if tf32 and tf.config.list_physical_devices("GPU") else 2e-5


def same(yours, expected, rtol, scale=0.0):
    """Whether two numbers or arrays are equal up to rounding; NaN equals NaN."""
    yours, expected = np.asarray(yours, float), np.asarray(expected, float)
    if yours.shape != expected.shape:
        return False
    atol = rtol * 0.1 * scale + 1e-9
    return np.allclose(yours, expected, rtol=rtol, atol=atol, equal_nan=True)


def name(variable):
    """The last two parts of a variable's path, as in `dense/kernel`."""
    path = getattr(variable, "path", None) or variable.name
    return "/".join(path.split("/")[-2:])


def kind_of(variable):
    """What a variable without a gradient is called in a report."""
    return (
        "BatchNorm statistics"
        if "moving_" in name(variable)
        else "non-trainable variable"
    )


def is_finite(array):
    return bool(np.isfinite(array).all())


def are_broken(yours, fit):
    """Whether both have numbers that are not finite: nothing is left to compare."""
    return not is_finite(yours) and not is_finite(fit)


class Comparison:
    """All differences between two outcomes of one step from the same state.

    Args:
        bench: the `Bench`.
        before: the state that both began with.
        fit, yours: `Outcome`.
        scale: number, the largest loss so far.
        start: the state that yours began with, `before` by default; a loop that runs
            anew for every step begins earlier.
        late: whether yours may have set the learning rate after its last update.
    """

    def __init__(self, bench, before, fit, yours, scale=0.0, start=None, late=False):
        self.bench, self.before, self.fit, self.yours = bench, before, fit, yours
        self.start = before if start is None else start
        self.rtol, self.scale = tolerance(bench.model), scale
        self.trainable = bench.trainable()
        # A learner may update without any optimizer, or with one nobody knows of.
        moved = self._moved(bench.optimizer, self.start)
        self.used = bench.optimizer if moved else None
        self.rate = self._rate()
        rate = fit.rates.get(id(bench.fit_optimizer)) if late else None
        self.expected = read_gradients(bench.fit_optimizer, self.trainable, before, fit)
        reader = self.used or plain_sgd(bench.fit_optimizer)
        self.found = reader and read_gradients(
            reader, self.trainable, before, yours, rate
        )
        gradients, weights = list(self._gradients()), list(self._weights())
        if self._has_momentum() and not weights:  # what the step left was set anew
            gradients = []
        self.differences = [
            *self._updates(),
            *self._statistics(unmoved=True),
            *self._unmoved(),
            *self._loss(),
            *gradients,
            *self._slots(),
            *weights,
            *self._statistics(unmoved=False),
            *self._metrics(),
        ]
        if self.rate and (self.differences or not late):
            self.differences.insert(0, self.rate)

    def _has_momentum(self):
        """Whether gradients are read from the momentum of SGD, and move weights so."""
        optimizer = getattr(self.used, "inner_optimizer", self.used)
        is_sgd = isinstance(optimizer, keras.optimizers.SGD)
        return is_sgd and bool(optimizer.get_config()["momentum"])

    def _moved(self, optimizer, start):
        return any(
            not np.array_equal(start.get(id(v), 0), self.yours.after[id(v)])
            for v in optimizer.variables
            if name(v).split("/")[-1] != "learning_rate"
        )

    def states(self, variable):
        """A variable before, after fit's step, after yours: float64 arrays."""
        key = id(variable)
        three = self.before[key], self.fit.after[key], self.yours.after[key]
        return [np.asarray(values, "float64") for values in three]

    def noise(self, gradients=None):
        """What rounding alone may add to any entry of these gradients."""
        gradients = self.fit.gradients if gradients is None else gradients
        largest = [np.abs(g).max(initial=0.0) for g in gradients if g is not None]
        return ADAPTIVE_FLOOR * max(largest, default=0.0) * (self.rtol / 2e-5)

    def is_noise(self, index):
        gradient = self.fit.gradients
        gradient = gradient[index] if index < len(gradient) else None
        return gradient is not None and np.abs(gradient).max() <= self.noise()

    def _loss(self):
        yours, expected = self.yours.loss, self.fit.loss
        if yours is None or expected is None:
            return
        if np.shape(yours) not in ((), (1,), (1, 1)):
            words = (
                f"the loss that your step returns has shape {np.shape(yours)}; fit's "
                "is one number, the mean over the batch"
            )
            yield Difference("loss", "shape", np.shape(yours), (), words)
            return
        yours = float(np.reshape(yours, ()))
        choices = [expected, self.fit.running.get("loss", expected)]
        if not any(same(yours, choice, self.rtol, self.scale) for choice in choices):
            words = f"the loss is {show(yours, expected)}"
            yield Difference("loss", "loss", yours, expected, words)

    def _metrics(self):
        for key, yours in self.yours.logs.items():
            expected = self.fit.logs.get(key)
            if key == "loss" or expected is None:
                continue
            choices = [expected, self.fit.running.get(key, expected)]
            if not any(same(yours, choice, self.rtol, 1.0) for choice in choices):
                words = f"`{key}` is {show(yours, expected)}"
                yield Difference("metric", key, yours, expected, words)

    def _rate(self):
        mine, other = self.bench.optimizer, self.bench.fit_optimizer
        expected = self.fit.rates.get(id(other))
        yours = self.yours.rates.get(id(mine))
        if self.used is None or expected is None or yours is None:
            return None
        variable = rate_variable(mine)
        if variable is not None and variable is rate_variable(other):
            yours, expected = (float(v) for v in self.states(variable)[:0:-1])
        elif variable is not None:
            yours = float(self.yours.after[id(variable)])
        if same(yours, expected, 1e-5):
            return None
        words = f"the learning rate is {show(yours, expected)}"
        return Difference("learning rate", "learning_rate", yours, expected, words)

    def _updates(self):
        if self.used is None and not self._is_idle():
            return
        steps = [self._count(self.bench.fit_optimizer, self.fit)]
        steps.append(self._count(self.used or self.bench.optimizer, self.yours))
        expected, yours = steps
        if yours != expected:
            words = (
                f"the optimizer took {counted(yours, 'update')} where fit took "
                f"{expected}"
            )
            key = id(counter_of(self.bench.fit_optimizer))
            anew = self.start.get(key) != self.before.get(key)  # yours began earlier
            if yours <= 0 and self._has_moved() and not anew:
                words = (
                    f"weights move, and the optimizer's count of updates is {yours} "
                    f"(fit: {expected}): is it set back?"
                )
            yield Difference("updates", "iterations", yours, expected, words)

    def _is_idle(self):
        """Whether nothing moved in yours, and in fit only the optimizer.

        So it is where gradients accumulate over several steps.
        """
        fit_moved = any(
            not np.array_equal(before, after)
            for before, after, _ in map(self.states, self.trainable)
        )
        own = self.bench.optimizer is not self.bench.fit_optimizer
        return not (own or fit_moved or self._has_moved())

    def _has_moved(self):
        """Whether any weight moved in yours."""
        return any(
            not np.array_equal(before, after)
            for before, _, after in map(self.states, self.trainable)
        )

    def _count(self, optimizer, outcome):
        key = id(counter_of(optimizer))
        return int(outcome.after[key]) - int(self.before.get(key, 0))

    def _unmoved(self):
        still, all_names = [], []
        for index, variable in enumerate(self.trainable):
            before, fit, yours = self.states(variable)
            if not np.array_equal(before, fit) and not self.is_noise(index):
                all_names.append(name(variable))
                if np.array_equal(yours, before):
                    still.append(variable)
        if still:
            names = " and ".join(f"`{name(v)}`" for v in still[:3])
            names += f" and {len(still) - 3} more" if len(still) > 3 else ""
            words = f"{names} {'was' if len(still) == 1 else 'were'} not updated"
            if len(still) == len(all_names):
                words = "no weight moved"
            yours, expected = self._extreme(still[0])
            yield Difference("weights", name(still[0]), yours, expected, words)

    def _extreme(self, variable):
        """The entry with the largest difference: yours and fit's."""
        _, fit, yours = self.states(variable)
        place = np.unravel_index(np.argmax(np.abs(yours - fit)), np.shape(fit))
        return float(yours[place]), float(fit[place])

    def _gradients(self):
        if not self.found or not self.expected:
            return
        noise = self.noise([read.values for read in self.expected])
        for variable, yours, fit in zip(
            self.trainable, self.found, self.expected, strict=True
        ):
            largest = max(np.abs(fit.values).max(), np.abs(yours.values).max())
            allowed = 5 * self.rtol * largest + noise + fit.rounding + yours.rounding
            errors = np.abs(yours.values - fit.values)
            if are_broken(yours.values, fit.values):
                continue
            if not (errors <= allowed).all():
                place = np.unravel_index(np.argmax(errors - allowed), errors.shape)
                pair = float(yours.values[place]), float(fit.values[place])
                words = f"the gradient of `{name(variable)}` is {show(*pair)}"
                yield Difference("gradient", name(variable), *pair, words)

    def _slots(self):
        if self.used is not self.bench.fit_optimizer:
            return
        shapes = {tuple(v.shape) for v in self.trainable}
        tiny = {suffix(v) for i, v in enumerate(self.trainable) if self.is_noise(i)}
        for slot in self.used.variables:
            if tuple(slot.shape) not in shapes or not tuple(slot.shape):
                continue
            if any(part in name(slot) for part in tiny):
                continue
            _, fit, yours = self.states(slot)
            allowed = 50 * self.rtol * np.abs(fit).max() + self.noise() + 1e-12
            if not (np.abs(yours - fit) <= allowed).all() and is_finite(fit):
                pair = self._extreme(slot)
                words = f"the optimizer's `{name(slot)}` is {show(*pair)}"
                yield Difference("optimizer slot", name(slot), *pair, words)

    def _weights(self):
        for index, variable in enumerate(self.trainable):
            before, fit, yours = self.states(variable)
            update = np.abs(fit - before)
            gradient = self.fit.gradients
            gradient = gradient[index] if index < len(gradient) else None
            doubt = 0.0
            if gradient is not None:
                # An adaptive optimizer makes a full step of a gradient near zero.
                size = np.abs(np.asarray(gradient, "float64"))
                doubt = np.where(size > 0, self.noise() / np.maximum(size, 1e-30), 0)
            reach = max(update.max(), np.abs(self._rate_now()))
            allowed = 3 * self.rtol * update.max() + reach * np.minimum(doubt, 2.5)
            allowed = allowed + 8 * EPSILON * np.abs(fit) * (self.rtol / 2e-5)
            errors = np.abs(yours - fit)
            if self.is_noise(index) or are_broken(yours, fit):
                continue
            if not (errors <= allowed).all():
                pair = self._extreme(variable)
                words = f"`{name(variable)}` becomes {show(*pair)}"
                yield Difference("weights", name(variable), *pair, words)

    def _rate_now(self):
        return self.fit.rates.get(id(self.bench.fit_optimizer)) or 0.0

    def _statistics(self, unmoved):
        for variable in self.bench.others():
            before, fit, yours = self.states(variable)
            still = np.array_equal(before, yours)
            moved = np.abs(fit - before).max(initial=0.0)
            allowed = 10 * self.rtol * moved + 0.5 * self.rtol * np.abs(fit).max(
                initial=0.0
            )
            errors = np.abs(yours - fit)
            if (errors <= allowed).all() or unmoved != (still and moved > 0):
                continue
            if are_broken(yours, fit):
                continue
            quantity = kind_of(variable)
            pair = self._extreme(variable)
            layer, _, short = name(variable).rpartition("/")
            words = f"{short} of `{layer}` " + (
                "did not move" if still else f"becomes {show(*pair)}"
            )
            if not moved and quantity != "BatchNorm statistics":
                words += ", which fit does not move: is it frozen?"
            yield Difference(quantity, name(variable), *pair, words)


@dataclass
class Read:
    """A gradient as an optimizer's state tells it, and how exactly it does."""

    values: np.ndarray
    rounding: float


def read_gradients(optimizer, trainable, before, outcome, rate=None):
    """The gradients that an optimizer was given, read from what it left behind.

    SGD: gradient = (old - new) / learning_rate, or from its momentum; Adam and its
    relatives: m_new = beta_1 * m_old + (1 - beta_1) * gradient (Kingma & Ba, 2015).
    Of RMSprop only the sizes can be read.

    Args:
        rate: the learning rate; by default what the optimizer has at the end.

    Returns:
        A list of `Read`, one per variable, after clipping; None where nothing can be
        read.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    config, kind = optimizer.get_config(), type(optimizer).__name__.lower()
    if kind == "sgd" and not config.get("momentum"):
        rate = rate or _effective_rate(optimizer, outcome)
        bound = any(getattr(v, "constraint", None) for v in trainable)
        if not rate or bound or config.get("weight_decay"):
            return None
        return [_from_step(v, rate, before, outcome) for v in trainable]
    if kind == "sgd":
        slot, keep, power, share = "momentum", config["momentum"], 1, None
        share = -(rate or _effective_rate(optimizer, outcome) or 0.0)
    elif kind in SLOTS:
        slot, key, power = SLOTS[kind]
        keep = float(config[key])
        share = 1 - keep
    else:
        return None
    slots = slots_of(optimizer, trainable, slot)
    if slots is None or not share:
        return None
    return [_from_slot(s, keep, share, power, before, outcome) for s in slots]


def slots_of(optimizer, trainable, slot):
    """An optimizer's slots of one kind, in the order of the variables; None if unclear.

    An optimizer keeps them in the order in which it first met the variables.
    """
    found = [v for v in optimizer.variables if name(v).endswith(f"_{slot}")]
    by_name = {name(v).split("/")[-1]: v for v in found}
    names = [f"{suffix(v)}_{slot}" for v in trainable]
    if len(by_name) == len(found) and set(names) == set(by_name):
        return [by_name[key] for key in names]
    if [tuple(v.shape) for v in found] == [tuple(v.shape) for v in trainable]:
        return found
    return None


def _from_step(variable, rate, before, outcome):
    old = np.asarray(before[id(variable)], "float64")
    new = np.asarray(outcome.after[id(variable)], "float64")
    size = max(np.abs(old).max(initial=0.0), np.abs(new).max(initial=0.0))
    return Read((old - new) / rate, 2 * EPSILON * size / rate)


def _from_slot(slot, keep, share, power, before, outcome):
    new = np.asarray(outcome.after[id(slot)], "float64")
    old = before.get(id(slot))
    old = np.zeros_like(new) if old is None else np.asarray(old, "float64")
    size = max(np.abs(old).max(initial=0.0), np.abs(new).max(initial=0.0))
    read = (new - keep * old) / share
    rounding = 8 * EPSILON * size / abs(share)
    if power == 2:
        return Read(np.sqrt(np.maximum(read, 0)), np.sqrt(rounding))
    return Read(read, rounding)


def _effective_rate(optimizer, outcome):
    variable = rate_variable(optimizer)
    if variable is not None:  # what the step itself may have set
        return float(outcome.after[id(variable)])
    return outcome.rates.get(id(optimizer))


def rate_variable(optimizer):
    """The variable that holds the learning rate; None if a schedule does."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    for variable in optimizer.variables:
        if name(variable).split("/")[-1] == "learning_rate":
            return variable
    return None


def plain_sgd(optimizer):
    """The optimizer if it is SGD without momentum, which needs no state; else None."""
    if isinstance(optimizer, keras.optimizers.SGD):
        return optimizer if not optimizer.get_config().get("momentum") else None
    return None


def suffix(variable):
    """How an optimizer calls the slots of a variable."""
    return getattr(variable, "path", variable.name).replace("/", "_")


def show(yours, expected):
    """Two numbers with as many digits as it takes to tell them apart."""
    if np.ndim(yours) or np.ndim(expected):
        return f"{np.round(yours, 4)} (fit: {np.round(expected, 4)})"
    for digits in range(4, 10):
        both = [f"{float(value):.{digits}g}" for value in (yours, expected)]
        if both[0] != both[1]:
            break
    return f"{both[0]} (fit: {both[1]})"


def counted(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"
