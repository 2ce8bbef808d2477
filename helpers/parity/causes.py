"""Why a step differs: repeat fit's step with a known mistake, and see which one fits.

A cause is named only where the mistake reproduces the learner's numbers.
"""

import itertools
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from helpers.parity.bench import Outcome, numbers, quiet_warnings
from helpers.parity.compare import Comparison, counted, name, plain_sgd, same, show


@dataclass(frozen=True)
class Mistake:
    """How a step deviates from fit's; as it stands here, not at all."""

    training: bool = True
    penalty: float = 1.0  # how often `model.losses` counts
    weighted: bool = True
    factor: float = 1.0  # on the loss
    times: int = 1  # updates with one gradient


def wrong_step(model, batch, mistake):
    """One step by a tape, with a mistake; returns the loss that it minimised."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    with tf.GradientTape() as tape:
        y_pred = model(x, training=mistake.training)
        given = weights if mistake.weighted else None
        loss = model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=given)
        loss += (mistake.penalty - 1) * sum(model.losses)
        loss *= mistake.factor
    variables = model.trainable_variables
    gradients = tape.gradient(loss, variables)
    for _ in range(mistake.times):
        model.optimizer.apply(gradients, variables)
    return float(loss)


class Detective:
    """Looks for the cause of the differences between two outcomes of one step.

    Args:
        comparison: the `Comparison`, with at least one difference.
        batch: the tuple that both were given.
        mode: how fit's step was run, see `Bench.fit`.
        earlier: list of the gradients that fit read in the steps before.
    """

    def __init__(self, comparison, batch, earlier=()):
        self.comparison, self.bench = comparison, comparison.bench
        self.batch, self.earlier = batch, list(earlier)
        self.before, self.fit = comparison.before, comparison.fit
        self.yours = comparison.yours
        self.size = batch_size(batch)
        self.penalty = self._penalty()

    def _penalty(self):
        """The sum of `model.losses` at the beginning of the step."""
        self.bench.put(self.before)
        x = self.batch[0]
        with quiet_warnings():
            self.bench.model(x, training=True)
            return float(sum(self.bench.model.losses))

    def cause(self):
        """`(quantity, words)`, or None where no known mistake fits."""
        looks = [self._state, self._loss_alone, self._gradients, self._metric]
        if self.comparison.differences[0].quantity == "weights":
            looks = [self._state, self._exchange]
        for look in looks:
            found = look()
            if found:
                return found
        return None

    def has(self, *quantities):
        return any(d.quantity in quantities for d in self.comparison.differences)

    # The state differs: repeat the step with mistakes

    def _state(self):
        if not self.has(
            "weights", "gradient", "BatchNorm statistics", "updates", "optimizer slot"
        ):
            return None
        for mistake in self._mistakes():
            outcome = self._run(mistake)
            if outcome is None:
                continue
            again = Comparison(self.bench, self.before, outcome, self.yours)
            left = {d.quantity for d in again.differences}
            if left <= {"loss", "metric"} and not self._is_harmless(outcome):
                return self._words(mistake, outcome, "loss" in left)
        return None

    def _is_harmless(self, outcome):
        """Whether the mistake changes nothing that could tell it apart."""
        again = Comparison(self.bench, self.before, self.fit, outcome)
        return not {d.quantity for d in again.differences} - {"loss", "metric"}

    def _mistakes(self):
        flags = itertools.product(
            (True, False), (1.0, 0.0) if self.penalty else (1.0,), (True, False)
        )
        weighted = len(self.batch) > 2 and self.batch[2] is not None
        several = [Mistake(*flag) for flag in flags]
        several = [m for m in several if m.weighted or weighted]
        several = sorted(several, key=lambda m: -m.training - m.penalty - m.weighted)
        yield from several[1:]
        if self.penalty:
            yield Mistake(penalty=2.0)
        for training in (True, False):
            for penalty in (1.0, 0.0) if self.penalty else (1.0,):
                start = {"training": training, "penalty": penalty}
                yield Mistake(**start, factor=float(self.size))
                yield Mistake(**start, factor=-1.0)
        if self.has("updates") or not plain_sgd(self.bench.fit_optimizer):
            yield Mistake(times=2)

    def _run(self, mistake):
        self.bench.put(self.before)
        try:
            with quiet_warnings():
                loss = wrong_step(self.bench.model, self.batch, mistake)
        except Exception:  # a model that cannot be called so
            return None
        gradients = self.fit.gradients
        outcome = Outcome(loss, {}, {}, gradients, self.bench.note(), self.fit.rates)
        return outcome

    def _words(self, mistake, outcome, loss_differs):
        parts, quantity = [], "gradient"
        if not mistake.weighted:
            quantity = "sample weights"
            parts.append("the sample weights are not used")
        if mistake.penalty != 1:
            quantity = "regularisation"
            parts.append(self._regularisation(mistake.penalty, loss_differs))
        if not mistake.training:
            quantity, words = self._inference()
            parts.insert(0, words)
            if len(parts) > 1:
                parts[0] = words.split(": was")[0] + " (is training=True missing?)"
        if mistake.factor == -1:
            parts.append("the gradient has the wrong sign: the step goes uphill")
        elif mistake.factor != 1:
            parts.append(
                f"the gradient is {self.size} times that of fit, as many times as the "
                "batch has rows: a sum where fit takes the mean"
            )
        if mistake.times == 2:
            quantity = "updates"
            parts.append("the optimizer took 2 updates where fit took 1")
        return quantity, "; and ".join(parts)

    def _regularisation(self, penalty, loss_differs):
        what = f"the regularisation ({self.penalty:.4g})"
        if penalty == 2:
            return f"{what} counts twice: `compute_loss` has added `model.losses`"
        if loss_differs or self.yours.loss is None:
            return f"{what} is not in the gradient: add `model.losses` inside the tape"
        return (
            f"the loss is smaller than fit's by exactly {what}: `model.losses` is not "
            "added"
        )

    def _inference(self):
        still = [d for d in self.comparison.differences if "did not move" in d.words]
        if still:
            return (
                still[0].quantity,
                f"{still[0].words}: was the model called with training=True?",
            )
        return (
            "dropout",
            "the numbers are those of a model without dropout: was the model called "
            "with training=True?",
        )

    # Only what is returned differs

    def _loss_alone(self):
        quantities = {d.quantity for d in self.comparison.differences}
        if "loss" not in quantities:
            return None
        yours = self.yours.loss
        if np.ndim(yours):
            return None
        alone = quantities <= {"loss", "metric"}
        for words, number in self._other_losses():
            if same(number, self.fit.loss, self.comparison.rtol):
                continue  # would not be told apart
            if same(yours, number, self.comparison.rtol):
                if "lacks the regularisation" in words:
                    return "regularisation", words
                return "loss", f"the loss is {show(yours, self.fit.loss)}: {words}"
        if alone:
            ratio = yours / self.fit.loss if self.fit.loss else 0
            return "loss", (
                f"the loss that is returned is {show(yours, self.fit.loss)}, "
                f"{ratio:.3g} times fit's; the step itself is right"
            )
        return None

    def _other_losses(self):
        """`(words, number)` of losses that a learner may return by mistake."""
        fit = self.fit.loss
        if self.penalty:
            yield (
                "the loss that is returned lacks the regularisation "
                f"({self.penalty:.4g}): `model.losses` is not in it",
                fit - self.penalty,
            )
            yield "the regularisation counts twice", fit + self.penalty
        yield (
            f"a sum over the {self.size} rows, where fit takes the mean",
            fit * self.size,
        )
        yield "0 means that nothing was counted", 0.0
        for words, state, mistake in self._other_moments():
            number = self._loss_at(state, mistake)
            if number is not None:
                yield words, number
                yield f"{words}, and without regularisation", number - self.penalty
        yield from self._other_outputs()

    def _other_moments(self):
        """`(words, state, mistake)`: when and how else a loss may be taken."""
        inference, unweighted = Mistake(training=False), Mistake(weighted=False)
        after = "it is taken after the update"
        yield after, self.fit.after, Mistake()
        yield f"{after}, with training=False", self.fit.after, inference
        yield "it is taken with training=False", self.before, inference
        yield "the sample weights are not in it", self.before, unweighted

    def _other_outputs(self):
        """`(words, number)` of other combinations of the outputs' losses."""
        parts = {k: v for k, v in self.fit.logs.items() if k.endswith("_loss")}
        for key, part in parts.items():
            yield f"it is `{key}` alone", part
        if parts:
            total = sum(parts.values())
            yield "the outputs' losses are added without their weights", total
            yield "the outputs' losses are averaged, not added", total / len(parts)

    def _loss_at(self, state, mistake):
        self.bench.put(state)
        x, y, weights = keras.utils.unpack_x_y_sample_weight(self.batch)
        try:
            with quiet_warnings():
                y_pred = self.bench.model(x, training=mistake.training)
                return float(
                    self.bench.model.compute_loss(
                        x=x,
                        y=y,
                        y_pred=y_pred,
                        sample_weight=weights if mistake.weighted else None,
                    )
                )
        except Exception:
            return None

    # Gradients by their pattern

    def _gradients(self):
        if not self.has("gradient") or self.has("learning rate"):
            return None
        yours = [read.values for read in self.comparison.found]
        expected = [read.values for read in self.comparison.expected]
        flat = [
            np.concatenate([np.ravel(g) for g in side]) for side in (yours, expected)
        ]
        if not np.isfinite(flat[0]).all():
            return "gradient", "the gradient is not finite"
        for words, other in self._other_gradients(flat[1]):
            if alike(flat[0], other):
                return "gradient", words
        ratio = proportion(*flat)
        if ratio is not None:
            first = name(self.comparison.trainable[0])
            words = (
                f"the gradient of `{first}`, as of all, is {times(ratio)} times "
                "that of fit"
            )
            if self.comparison.used is None:
                return "gradient", f"{words} (or the learning rate is)"
            return "gradient", words
        return self._exchanged(yours, expected) or self._parts(yours, expected)

    def _other_gradients(self, now):
        if not self.earlier:
            return
        before = np.concatenate([np.ravel(g) for g in self.earlier[-1]])
        total = sum(np.concatenate([np.ravel(g) for g in e]) for e in self.earlier)
        yield "the gradient is that of the step before", before
        yield "the gradients of all steps so far are added up", now + total
        yield "the gradient of the step before is added", now + before
        count = len(self.earlier) + 1
        yield "the gradient is the mean over all steps so far", (now + total) / count

    def _exchange(self):
        """As `_exchanged`, for steps in which a variable does not move."""
        if not self.comparison.found or not self.comparison.expected:
            return None
        yours = [read.values for read in self.comparison.found]
        return self._exchanged(yours, [r.values for r in self.comparison.expected])

    def _exchanged(self, yours, expected):
        for (i, mine), (j, other) in itertools.product(
            enumerate(yours), enumerate(expected)
        ):
            if i != j and mine.shape == other.shape and np.abs(other).max() > 0:
                if alike(mine, other) and not alike(mine, expected[i]):
                    here, there = (
                        name(self.comparison.trainable[place]) for place in (i, j)
                    )
                    return "gradient", (
                        f"`{here}` is given the gradient of `{there}`: are gradients "
                        "and variables in the same order?"
                    )
        return None

    def _parts(self, yours, expected):
        """Which variables differ, and by which factor."""
        wrong = [d for d in self.comparison.differences if d.quantity == "gradient"]
        names = [name(v) for v in self.comparison.trainable]
        place = names.index(wrong[0].where)
        ratio = proportion(yours[place].ravel(), expected[place].ravel())
        words = wrong[0].words
        if ratio is not None:
            words = f"the gradient of `{wrong[0].where}` is {times(ratio)} times "
            words += "that of fit"
        elif not np.any(yours[place]):
            words = f"`{wrong[0].where}` gets no gradient"
        if len(wrong) < len(names):
            words += (
                f" (it differs for {counted(len(wrong), 'variable')} of {len(names)})"
            )
        return "gradient", words

    # Metrics

    def _metric(self):
        wrong = [d for d in self.comparison.differences if d.quantity == "metric"]
        if not wrong or self.comparison.differences[0].quantity != "metric":
            return None
        key, yours = wrong[0].where, wrong[0].yours
        for moment, state, training in (
            ("after the update", self.fit.after, True),
            ("after the update", self.fit.after, False),
            ("with training=False", self.before, False),
        ):
            logs = self._logs_at(state, training)
            if key in logs and same(yours, logs[key], self.comparison.rtol):
                words = f"{wrong[0].words}, its value {moment}: is it taken there?"
                return "metric", words
        return None

    def _logs_at(self, state, training):
        self.bench.put(state)
        model = self.bench.model
        x, y, weights = keras.utils.unpack_x_y_sample_weight(self.batch)
        try:
            with quiet_warnings():
                model.reset_metrics()
                y_pred = model(x, training=training)
                logs = model.compute_metrics(x, y, y_pred, sample_weight=weights)
            return numbers(logs)
        except Exception:
            return {}


def batch_size(batch):
    """How many rows a batch has."""
    first = [part for part in keras.tree.flatten(batch[0]) if part is not None]
    return int(first[0].shape[0])


def alike(one, other):
    """Whether two arrays are the same up to rounding, in units of the larger."""
    largest = np.abs(other).max(initial=0.0)
    return np.abs(one - other).max(initial=0.0) <= 1e-3 * largest


def proportion(yours, expected):
    """The factor between two arrays; None if there is none."""
    square = float(np.dot(expected, expected))
    if not square:
        return None
    ratio = float(np.dot(yours, expected)) / square
    if abs(ratio) < 1e-9 or abs(ratio - 1) < 5e-3:
        return None
    return ratio if alike(yours, ratio * expected) else None


def times(ratio):
    """A factor with two decimals, or three digits where it is small."""
    return f"{ratio:.2f}" if abs(ratio) >= 0.1 else f"{ratio:.3g}"
