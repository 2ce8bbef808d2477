"""Compare a step with fit's, batch by batch."""

import functools
import itertools

import keras
import numpy as np
import tensorflow as tf

from helpers.parity import settings
from helpers.parity.bench import Bench, ParityError, arguments, refused, told_of
from helpers.parity.causes import Detective, batch_size
from helpers.parity.compare import Comparison, same
from helpers.parity.report import First, Report

MOST_BATCHES = 200
SURE = {"updates", "learning rate", "error"}  # whatever random numbers were drawn


def steps(step, model, batches, optimizer=None):
    """Run your step and fit's on the same batches and find the first difference.

    Up to the first difference every step of yours begins where fit stands, so it is
    judged alone; from then on yours goes its own way. The model is put back at the end.

    Args:
        step: `step(x, y)` or `step(x, y, sample_weight)`; updates `model` once and
            returns the loss, a dict of logs, or None.
        model: compiled `keras.Model`.
        batches: tuples `(x, y)` or `(x, y, sample_weight)`, or a Dataset of them; the
            first 200 are used.
        optimizer: the optimizer that `step` uses, if it is not `model.optimizer` and
            cannot be seen in `step`.

    Returns:
        A `Report`: `first`, `sentence`, `show()`.

    Raises:
        ParityError: nothing can be compared, with the reason in one sentence.
    """
    if not callable(step):
        raise ParityError(f"`step` is a {type(step).__name__}; give a function.")
    given = gathered(batches, MOST_BATCHES)
    batches = listed(given, MOST_BATCHES)
    bench = Bench(model, batches[0], step, optimizer)
    try:
        return Stepwise(bench, step).report(batches, given)
    finally:
        bench.put(bench.begin)


def gathered(batches, most):
    """The batches as a list, as they are."""
    try:
        source = iter(batches)
    except TypeError:
        raise ParityError(
            f"`batches` is a {type(batches).__name__}; give tuples (x, y), as a list "
            "or a Dataset."
        ) from None
    try:
        return list(itertools.islice(source, most))
    except Exception as error:
        raise ParityError(f"The batches stopped with {told_of(error)}") from None


def listed(batches, most):
    """The batches as a list of tuples of tensors."""
    found = gathered(batches, most)
    if not found:
        raise ParityError("There is no batch to compare on; give at least one.")
    for batch in found:
        if not isinstance(batch, (tuple, list)):
            raise ParityError(
                f"A batch is a {type(batch).__name__}; give a list of tuples (x, y)."
            )
    return [tuple(tensors(part) for part in batch) for batch in found]


def tensors(part):
    """Arrays as tensors, float64 as float32, as fit does it."""

    def one(value):
        if value is None or tf.is_tensor(value):
            return value
        value = np.asarray(value)
        if value.dtype == object:
            raise ParityError(
                f"A batch holds a {type(value.flat[0]).__name__} in an array of dtype "
                "object; give arrays of numbers, all of one shape."
            )
        return tf.constant(value.astype("float32") if value.dtype == float else value)

    return keras.tree.map_structure(one, part)


class Stepwise:
    """The comparison itself; `report` runs it, `one` compares a single step.

    Args:
        bench: the `Bench`.
        step: the learner's function, only looked at and never called by `one`.
        what: what messages call it.
    """

    def __init__(self, bench, step, what="your step"):
        self.bench, self.step, self.what = bench, step, what
        self.scale, self.earlier, self.chance, self.draws = 0.0, [], False, ""
        self.last = None  # the batch of the step before
        self.moves = False  # whether the last step ended in another state than fit's
        self.settings = None  # those that the learner's last step left
        self.unknown, self.others = set(), ()  # logs and settings that are not fit's
        self.late = False  # whether a run may end with a new learning rate
        model = bench.model
        optimizer = bench.fit_optimizer.variables
        every = [*model.variables, *model.metrics_variables, *optimizer]
        every += bench.losses.variables
        self.shared = {id(variable) for variable in every}

    def report(self, batches, given):
        """Compare on all `batches`; the learner gets them as they were `given`."""
        bench, rows, first, sentence, returned = self.bench, [], None, "", False
        bench.put(bench.begin)
        bench.reset_metrics()
        fits = yours = bench.note()
        pairs, end = zip(batches, given, strict=True), ""
        for number, (batch, as_given) in enumerate(pairs, 1):
            call = functools.partial(step_on, self.step, copied(as_given))
            fit, mine, found = self.one(batch, fits, yours, call, first is None)
            returned |= mine.loss is not None
            self.unknown |= {key for key in mine.logs if key not in fit.logs}
            rows.append(row(bench, fit, mine))
            end = exploding([one["fit"] for one in rows])
            if end and number == 1:
                raise ParityError(f"{end} There is nothing to compare with.")
            if end:
                break
            if found and first is None:
                first, sentence = self.told(found, number, batches)
            fits, yours, self.last = fit.after, mine.after, batch
            if mine.error:
                break
            if first is None:  # begin the next step where fit stands
                yours = {**yours, **{k: fits[k] for k in self.shared if k in fits}}
                fits = yours
        if first is None:
            sentence = self.nothing(len(rows) - bool(end), returned)
            sentence += f" {end} What comes then is not compared." if end else ""
        return Report(first, sentence, rows, chance=first is None and self.chance)

    def one(self, batch, fits, yours, call, judge=True):
        """One step of fit from the state `fits`, and the learner's `call` from `yours`.

        Returns:
            `(fit, yours, found)`; `found` is None or what `told` needs.
        """
        bench = self.bench
        bench.put(fits)
        try:
            fit = bench.fit(batch)
        except Exception as error:
            raise refused(error, "one of the batches") from None
        bench.put(yours)
        if self.settings:
            settings.put_back(self.settings)
        if judge:  # what the model's metrics then say is of this batch alone
            bench.model.reset_metrics()
        self.start = yours
        mine = bench.theirs(call, self.what)
        if self.what == "your step":  # a loop begins with the model as it is given
            self.settings = settings.noted(bench.model)
        self._read_tracker(mine)
        if not judge:
            return fit, mine, None
        if mine.error:
            return fit, mine, error_found(mine)
        self.scale = max([self.scale, *finite(fit.loss)])
        comparison = self._compare(fits, fit, mine)
        self.others = tuple(settings_that_differ(comparison))
        quantities = {d.quantity for d in comparison.differences}
        self.moves = bool(quantities - {"loss", "metric"})
        if not comparison.differences:
            self._remember(comparison)
            return fit, mine, None
        fit, comparison, found = self._settle(batch, fits, fit, mine, comparison)
        return fit, mine, found

    def _compare(self, before, fit, mine):
        more = {"start": self.start, "late": self.late}
        return Comparison(self.bench, before, fit, mine, self.scale, **more)

    def _read_tracker(self, mine):
        """A model's own `train_step` is logged as its metrics say, not as returned."""
        owner, of = getattr(self.step, "__self__", None), self.bench.model
        if owner is of and getattr(self.step, "__name__", "") == "train_step":
            results = of.get_metrics_result()
            known = {k: float(np.asarray(v)) for k, v in results.items()}
            if mine.logs.keys() == known.keys():
                mine.logs, mine.loss = known, known.get("loss")

    def _remember(self, comparison):
        if comparison.expected:
            self.earlier.append([read.values for read in comparison.expected])
            self.earlier = self.earlier[-20:]

    def _settle(self, batch, before, fit, mine, comparison):
        """What is found, after random draws have been given the benefit of the doubt.

        Returns:
            `(fit, comparison, found)`, where `found` is None for no difference.
        """
        random = self._is_random(batch, before, fit)
        if random:
            for other in self._other_draws(batch, before, fit, mine):
                again = self._compare(before, other, mine)
                if not again.differences:
                    self._remember(again)
                    return other, again, None
                if is_closer(again, comparison):
                    fit, comparison = other, again
        cause = Detective(comparison, batch, self.earlier, self.last).cause()
        sure = {d.quantity for d in comparison.differences} & SURE
        again = random and self._draws_again(before, fit, mine)
        unsure = random and not sure and not again and not matches(comparison)
        if (
            unsure
            and not self._is_known(cause)
            and self._in_spread(batch, before, mine)
        ):
            self.chance = True
            self.draws = self._draws(before, fit, mine)
            return fit, comparison, None
        if again and not self._is_known(cause):
            cause = "dropout", self._without_draws(before)
        return fit, comparison, describe(comparison, cause)

    def _draws(self, before, fit, mine):
        """Words where a step draws random numbers more often than fit's; else ""."""
        for seed in self.bench.seeds():
            was, fits, yours = (
                int(s[id(seed)][-1]) for s in (before, fit.after, mine.after)
            )
            if fits > was and (yours - was) % (fits - was) == 0 and yours > fits:
                often = (yours - was) // (fits - was)
                return f" ({often} times as many: is the model called more than once?)"
        return ""

    def _draws_again(self, before, fit, mine):
        """Whether a seed that fit moves on stays where it is, or goes back."""
        for seed in self.bench.seeds():
            was, fits, yours = (
                s[id(seed)][-1] for s in (before, fit.after, mine.after)
            )
            if fits > was >= yours:
                return True
        return False

    def _without_draws(self, before):
        """Words for a seed that stays where it is."""
        begin = self.bench.begin
        if all(np.array_equal(begin[id(s)], before[id(s)]) for s in self.bench.seeds()):
            return (
                "dropout drew no random numbers, the model's seed is where it was: was "
                "it switched off?"
            )
        return (
            "the model's seed does not move on, so what is random in it (dropout, "
            "noise) is off, or the same in every step"
        )

    def _is_known(self, cause):
        """Whether a repeated mistake gave the very numbers, so it is no chance."""
        return bool(cause) and cause[0] not in ("gradient", "loss", "metric")

    def _is_random(self, batch, before, fit):
        """Whether fit's step draws random numbers, with seeds in the model or not."""
        for seed in self.bench.seeds():
            if not np.array_equal(before[id(seed)], fit.after[id(seed)]):
                return True
        self.bench.put(before)
        again = self.bench.fit(batch)
        return bool(Comparison(self.bench, before, fit, again).differences)

    def _other_draws(self, batch, before, fit, mine):
        """fit's step with other random numbers: those of XLA, or drawn later."""
        seeds = self.bench.seeds()
        if seeds and all(
            np.array_equal(before[id(s)], mine.after[id(s)]) for s in seeds
        ):
            return  # yours drew nothing
        for mode, draws in (("XLA", 0), ("eager", 1), ("eager", 2), ("eager", 3)):
            self.bench.put(before)
            self.bench.advance(draws)
            try:
                yield self.bench.fit(batch, mode)
            except Exception:  # not every model can be compiled by XLA
                continue

    def _in_spread(self, batch, before, mine):
        """Whether yours is as near to fit's runs as these are to each other."""
        runs = []
        for draw in range(8):
            self.bench.put(before)
            self.bench.advance(1000 + 7 * draw)
            runs.append(self.bench.fit(batch))
        if mine.loss is not None and np.ndim(mine.loss) == 0:
            if not inside(mine.loss, [run.loss for run in runs]):
                return False
        for variable in [*self.bench.trainable(), *self.bench.others()]:
            key = id(variable)
            lengths = [np.linalg.norm(run.after[key] - before[key]) for run in runs]
            if not inside(np.linalg.norm(mine.after[key] - before[key]), lengths):
                return False
        return True

    def told(self, found, number, batches):
        """`(First, sentence)` of what `one` found in step `number`."""
        quantity, where, yours, expected, words = found
        first = First(None, number, quantity, where, yours, expected)
        begin = f"Step {number}: "
        if quantity == "learning rate" and number > 1:
            begin = f"From step {number} on "
        if number == len(batches) and batch_size(batches[-1]) < batch_size(batches[0]):
            words = words.rstrip(".") + "; this is the last, smaller batch"
        return first, begin + words + ("" if words.endswith("?") else ".")

    def nothing(self, count, returned):
        step = f"{count} step{'' if count == 1 else 's'}"
        what = "loss, weights" if returned else "weights"
        sentence = f"No difference in {step}: {what} and statistics are fit's."
        if self.chance:
            sentence = (
                f"No difference in {step} that can be told from chance: the model "
                f"draws random numbers, and yours were others than fit's{self.draws}."
            )
        if not returned:
            sentence += " Your step returned no loss, so losses were not compared."
        if self.unknown:
            told = ", ".join(f"`{key}`" for key in sorted(self.unknown)[:3])
            sentence += f" {told}: fit logs nothing of that name to compare with."
        if self.others:
            told = "; ".join(self.others)
            sentence += f" All the same, {told}: here it made no difference."
        return sentence


def step_on(step, batch):
    """Call a step with as much of a batch as it takes."""
    return step(*arguments(step, batch))


def exploding(losses):
    """A sentence where fit's own loss grows beyond all bounds; "" if it does not.

    There, the last digit of a weight decides about the next step.
    """
    start = abs(losses[0]) if losses and losses[0] is not None else 0.0
    for place, loss in enumerate(losses, 1):
        if loss is not None and not abs(loss) < 1e9 * (1 + start):
            return f"fit's own loss is {loss:.3g} in step {place}: it explodes."
    return ""


def copied(batches):
    """The same batches in arrays of their own: a step may write into what it gets."""
    return keras.tree.map_structure(
        lambda part: part.copy() if isinstance(part, np.ndarray) else part, batches
    )


def error_found(mine):
    """What is told of a step that stopped."""
    words, quantity = mine.error, "error"
    if "No gradients provided" in words:
        quantity = "gradient"
        words = (
            "no weight gets a gradient: are the forward pass and the loss inside the "
            f"tape, and all of it in TensorFlow? ({words})"
        )
    return quantity, "", words, "a finished step", words.rstrip(".")


def describe(comparison, cause):
    """The first difference: `(quantity, where, yours, expected, words)`."""
    differences = comparison.differences
    first = differences[0]
    # An optimizer that is set back counts its updates anew, too.
    forgets = first.quantity == "updates" and cause and cause[0] == "optimizer slot"
    if (first.quantity in SURE or first.where == "shape") and not forgets:
        cause = None
    settings = "; ".join(settings_that_differ(comparison))
    if cause:
        quantity, words = cause
        loss = [d for d in differences if d.quantity == "loss"]
        if quantity == "gradient" and loss:  # the loss comes first
            quantity, words = "loss", f"{loss[0].words}; and {words}"
        same_kind = [d for d in differences if d.quantity == quantity]
        same_place = [d for d in differences if d.where in words]
        first = [*same_kind, *same_place, first][0]
        words += f"; {settings}" if settings else ""
        return quantity, first.where, first.yours, first.expected, words
    others = []
    for difference in differences[1:]:
        if difference.quantity not in [first.quantity, *others]:
            others.append(difference.quantity)
    words = first.words
    if settings:
        words += f"; {settings}"
    if others:
        words += f" (then also: {', '.join(others)})"
    return first.quantity, first.where, first.yours, first.expected, words


def settings_that_differ(comparison):
    """How the learner's optimizer is set up otherwise: words, one for each way."""
    fit, yours = comparison.bench.fit_optimizer, comparison.used
    if comparison.yours.changed:
        yield f"your code sets the optimizer's {comparison.yours.changed}"
    if yours is None or yours is fit:
        return
    if type(yours) is not type(fit):
        yield f"your optimizer is {type(yours).__name__}, fit's {type(fit).__name__}"
        return
    other = yours.get_config()
    wrong = [
        f"{key} {other.get(key)} (fit: {value})"
        for key, value in fit.get_config().items()
        if key not in ("name", "learning_rate") and other.get(key) != value
    ]
    if wrong:
        yield f"your optimizer has {' and '.join(wrong)}"


def matches(comparison):
    """Whether loss or weights are fit's: then the same random numbers were drawn."""
    found = {d.quantity for d in comparison.differences}
    loss = comparison.yours.loss is not None and "loss" not in found
    return loss or not found & {"weights", "gradient"}


def is_closer(one, other):
    """Whether a comparison agrees where another one does not."""
    if matches(one) != matches(other):
        return matches(one)
    return len(one.differences) < len(other.differences)


def inside(number, numbers):
    """Whether a number lies within a few ranges of others."""
    low, high = min(numbers), max(numbers)
    reach = 1.5 * (high - low) + 1e-9
    return same(number, low, 1e-4) or low - reach <= number <= high + reach


def finite(loss):
    return [abs(loss)] if loss is not None and np.isfinite(loss).all() else []


def row(bench, fit, mine):
    """One step of the picture."""
    apart = [
        np.abs(
            np.asarray(mine.after[id(v)], float) - np.asarray(fit.after[id(v)], float)
        ).max(initial=0.0)
        for v in bench.trainable()
    ]
    loss = mine.loss if np.ndim(mine.loss) == 0 else float(np.mean(mine.loss))
    return {"yours": loss, "fit": fit.loss, "difference": float(max(apart, default=0))}
