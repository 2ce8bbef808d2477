"""Why a step differs: repeat fit's step with a known mistake, and see which one fits.

A cause is named only where the mistake reproduces the learner's numbers.
"""

import itertools
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from helpers.parity.bench import Outcome, numbers, quiet_warnings, rate_of
from helpers.parity.compare import Comparison, counted, name, plain_sgd, same, show
from helpers.parity.patterns import alike, clipped, flat, proportion, times

UNEXPLAINED = "the step itself is right"  # of a loss that no known mistake gives


@dataclass(frozen=True)
class Mistake:
    """How a step deviates from fit's; as it stands here, not at all."""

    training: bool = True
    penalty: float = 1.0  # how often `model.losses` counts
    weighted: bool = True
    factor: float = 1.0  # on the loss
    times: int = 1  # updates with one gradient
    by_weights: bool = False  # divided by the sum of weights, not by the rows
    logits: bool = False  # from_logits the other way round
    scaled: bool = True  # for an optimizer that scales the loss
    masked: bool = True  # padded steps are left out of the loss


# A field of `Mistake` that is not as it stands there: the quantity, and words
SIMPLE = {
    "weighted": ("sample weights", "the sample weights are not used"),
    "by_weights": (
        "sample weights",
        "the loss is divided by the sum of the sample weights, where fit divides by "
        "the number of rows",
    ),
    "logits": (
        "loss",
        "`from_logits` is the other way round than in fit's loss: is softmax missing "
        "or taken twice?",
    ),
    "scaled": (
        "gradient",
        "the optimizer divides by a scale that the loss was not multiplied by: is "
        "`optimizer.scale_loss(loss)` missing inside the tape?",
    ),
    "masked": (
        "mask",
        "padded steps count in your loss: fit leaves out what the layers mask, as a "
        "`keras.losses.Loss` object does and a plain function does not",
    ),
}


def wrong_step(model, batch, mistake):
    """One step by a tape, with a mistake; returns the loss that it minimised."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    with tf.GradientTape() as tape:
        y_pred = model(x, training=mistake.training)
        if not mistake.masked:  # the mask is on the tensor, and copies have none
            y_pred = keras.tree.map_structure(tf.identity, y_pred)
        given = weights if mistake.weighted else None
        if mistake.by_weights:
            given = weights / tf.reduce_mean(weights)
        loss = model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=given)
        if mistake.logits:
            other = other_logits(model.loss)
            loss = other(y, y_pred, sample_weight=given) + sum(model.losses)
        loss += (mistake.penalty - 1) * sum(model.losses)
        loss *= mistake.factor
        goal = model.optimizer.scale_loss(loss) if mistake.scaled else loss
    variables = model.trainable_variables
    gradients = tape.gradient(goal, variables)
    for _ in range(mistake.times):
        model.optimizer.apply(gradients, variables)
    return float(loss)


def other_logits(loss):
    """A compiled loss with `from_logits` the other way round; None if it has none."""
    config = loss.get_config() if isinstance(loss, keras.losses.Loss) else {}
    if "from_logits" not in config:
        return None
    return type(loss).from_config({**config, "from_logits": not config["from_logits"]})


class Detective:
    """Looks for the cause of the differences between two outcomes of one step.

    Args:
        comparison: the `Comparison`, with at least one difference.
        batch: the tuple that both were given.
        mode: how fit's step was run, see `Bench.fit`.
        earlier: list of the gradients that fit read in the steps before.
        last: the batch of the step before, None in the first step.
    """

    def __init__(self, comparison, batch, earlier=(), last=None):
        self.comparison, self.bench = comparison, comparison.bench
        self.batch, self.earlier, self.last = batch, list(earlier), last
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
        first = self.comparison.differences[0].quantity
        looks = [self._loss_alone, self._gradients, self._metric]
        if first == "weights":
            looks = [self._exchange]
        elif first in ("BatchNorm statistics", "non-trainable variable"):
            looks = [self._called_twice, *looks]
        for look in [self._state, self._forgets, self._other_batch, *looks]:
            found = look()
            if found and found[0] == "loss":
                return self._still(self.comparison.differences[:1]) or found
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
            yield from self._shares()
        for training in (True, False):
            for penalty in (1.0, 0.0) if self.penalty else (1.0,):
                start = {"training": training, "penalty": penalty}
                yield Mistake(**start, factor=float(self.size))
                yield Mistake(**start, factor=-1.0)
        if self.has("updates") or not plain_sgd(self.bench.fit_optimizer):
            yield Mistake(times=2)
        if weighted:
            yield Mistake(by_weights=True)
        if other_logits(self.bench.model.loss):
            yield Mistake(logits=True)
        if isinstance(self.bench.fit_optimizer, keras.optimizers.LossScaleOptimizer):
            yield Mistake(scaled=False)
        yield Mistake(masked=False)

    def _shares(self):
        """The penalties times the factor that the loss tells, if it is one."""
        loss = self.yours.loss
        if loss is not None and np.ndim(loss) == 0 and np.isfinite(loss):
            yield Mistake(penalty=float(1 + (loss - self.fit.loss) / self.penalty))

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
        for field, (what, words) in SIMPLE.items():
            if getattr(mistake, field) != getattr(Mistake(), field):
                quantity = what
                parts.append(words)
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
            parts.append(self._twice())
        return quantity, "; and ".join(parts)

    def _twice(self):
        if self.comparison.used:
            return "the optimizer took 2 updates where fit took 1"
        return (  # an optimizer that was not seen, so its updates were not counted
            "the step is as long as two of fit's: two updates, or twice the learning "
            "rate?"
        )

    def _regularisation(self, penalty, loss_differs):
        what = f"the layers' penalties ({self.penalty:.4g})"
        if penalty == 2:
            return (
                f"{what} count twice: is `model.losses` added to a loss that has it "
                "already, as that of `compute_loss`?"
            )
        if penalty != 0:
            return f"{what} count {times(penalty)} times, and for fit once"
        if loss_differs or self.yours.loss is None:
            return f"{what} are not in the gradient: add `model.losses` inside the tape"
        return (
            f"the loss is smaller than fit's by exactly {what}: `model.losses` is not "
            "added"
        )

    def _inference(self):
        return self._still(self.comparison.differences) or (
            "dropout",
            "the numbers are those of a model without dropout: was the model called "
            "with training=True?",
        )

    def _still(self, differences):
        """Statistics among `differences` that did not move, as a cause; or None."""
        for one in differences:
            if "did not move" in one.words:
                words = f"{one.words}: was the model called with training=True?"
                return one.quantity, words
        return None

    # The state is fit's, but from another optimizer or batch

    def _forgets(self):
        """Whether the step is fit's with an optimizer without memory."""
        optimizer = self.bench.fit_optimizer
        if self.comparison.used not in (None, optimizer) or plain_sgd(optimizer):
            return None
        if not self.has("weights", "gradient", "optimizer slot"):
            return None
        fresh = type(optimizer).from_config(optimizer.get_config())
        fresh.build(self.comparison.trainable)
        begins = {name(v).split("/")[-1]: v.numpy() for v in fresh.variables}
        new, count = {}, None
        for old in optimizer.variables:
            key = name(old).split("/")[-1]
            begin = begins.get(key)
            if begin is None or begin.shape != tuple(old.shape):
                return None
            if key == "iteration":
                count = {id(old): begin}
            elif key != "learning_rate":
                new[id(old)] = begin
        if all(np.array_equal(self.before[key], new[key]) for key in new):
            return None
        for state in (new, {**new, **(count or {})}):
            if self._fits({**self.before, **state}, self.batch, {"loss", "metric"}):
                return "optimizer slot", (
                    "the step is that of an optimizer that has forgotten the steps "
                    "before (momentum and other slots): is it made or set back in "
                    "every step?"
                )
        return None

    def _other_batch(self):
        """Whether the step is fit's with the batch before, or with fewer rows."""
        if not self.has("weights", "gradient"):
            return None
        if self.last is not None and self._fits(self.before, self.last, {"metric"}):
            return (
                "batch",
                "the numbers are those of the batch before: is it used late, or again?",
            )
        for dropped in {1, 2, 4, 8, 16, self.size // 2} & set(range(1, self.size)):
            part = keras.tree.map_structure(
                lambda a, count=self.size - dropped: None if a is None else a[:count],
                self.batch,
            )
            if self._fits(self.before, part, {"metric"}):
                return "batch", (
                    f"the numbers are those of the first {self.size - dropped} of "
                    f"{self.size} rows: the others are left out"
                )
        return None

    def _fits(self, state, batch, besides):
        """Whether fit's step from a state, with a batch, does what yours did."""
        self.bench.put(state)
        try:
            outcome = self.bench.fit(batch)
        except Exception:  # a batch of other shapes
            return False
        more = {"start": self.before}
        again = Comparison(self.bench, state, outcome, self.yours, **more)
        if {d.quantity for d in again.differences} - besides:
            return False
        return not self._is_harmless(outcome)

    def _called_twice(self):
        """Whether statistics are those of two calls of the model."""
        first = self.comparison.differences[0]
        others, rtol = self.bench.others(), self.comparison.rtol
        for after in (self._called_before(), self._called_after()):
            if all(same(self.yours.after[id(v)], after[id(v)], rtol) for v in others):
                return first.quantity, (
                    f"{first.words}: is the model called twice with training=True?"
                )
        return None

    def _called_before(self):
        """The state where the model is called, and then fit makes its step."""
        self.bench.put(self.before)
        self._call()
        return self.bench.fit(self.batch).after

    def _called_after(self):
        """The state where the model is called again after fit's step."""
        self.bench.put(self.fit.after)
        self._call()
        return self.bench.note()

    def _call(self):
        with quiet_warnings():
            self.bench.model(self.batch[0], training=True)

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
                if "lacks the layers' penalties" in words:
                    return "regularisation", words + self._of_state()
                return "loss", f"the loss is {show(yours, self.fit.loss)}: {words}"
        if alone:
            ratio = times(yours / self.fit.loss if self.fit.loss else 0)
            often = f", {ratio} times fit's" if np.isfinite(yours) else ""
            return "loss", (
                f"the loss that is returned is {show(yours, self.fit.loss)}{often}; "
                f"{UNEXPLAINED}"
            )
        return None

    def _of_state(self):
        """Words for what differs besides the loss."""
        others = (
            d.words
            for d in self.comparison.differences
            if d.quantity not in ("loss", "metric")
        )
        words = next(others, "")
        return f"; and {words}" if words else ""

    def _other_losses(self):
        """`(words, number)` of losses that a learner may return by mistake."""
        fit = self.fit.loss
        if self.penalty:
            yield (
                "the loss that is returned lacks the layers' penalties "
                f"({self.penalty:.4g}): `model.losses` is not in it",
                fit - self.penalty,
            )
            yield "the layers' penalties count twice", fit + self.penalty
        yield (
            f"a sum over the {self.size} rows, where fit takes the mean",
            fit * self.size,
        )
        yield "0 means that nothing was counted", 0.0
        for words, state, mistake in self._other_moments():
            number = self._loss_at(state, mistake)
            if number is not None:
                yield words, number
                yield f"{words}, and without penalties", number - self.penalty
        yield from self._other_outputs()

    def _other_moments(self):
        """`(words, state, mistake)`: when and how else a loss may be taken."""
        inference, unweighted = Mistake(training=False), Mistake(weighted=False)
        after = "it is taken after the update"
        yield after, self.fit.after, Mistake()
        yield f"{after}, with training=False", self.fit.after, inference
        yield "it is taken with training=False", self.before, inference
        if len(self.batch) > 2 and self.batch[2] is not None:
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
        mine, fits = flat(yours), flat(expected)
        if not np.isfinite(mine).all() and np.isfinite(fits).all():
            return "gradient", "the gradient is not finite"
        for words, other in self._other_gradients(fits):
            if alike(mine, other) and not alike(fits, other):
                return "gradient", words
        words = clipped(yours, expected)
        ratio = proportion(mine, fits)
        if ratio is not None:
            words = self._scaled(ratio) + (f" ({words})" if words else "")
        if words:
            return "gradient", words
        return self._exchanged(yours, expected) or self._parts(yours, expected)

    def _scaled(self, ratio):
        """What is told of a gradient or step that is a multiple of fit's."""
        first = f"(`{name(self.comparison.trainable[0])}` and the others)"
        if self.comparison.used is not None:
            return f"all gradients {first} are {times(ratio)} times fit's"
        return (
            f"all steps {first} are {times(ratio)} times fit's: is it the gradient or "
            f"the learning rate{self._old_rate(ratio)}?"
        )

    def _old_rate(self, ratio):
        """Words for a rate that stays where a schedule began; "" if it does not."""
        now = self.fit.rates.get(id(self.bench.fit_optimizer))
        self.bench.put(self.bench.begin)
        begin = rate_of(self.bench.fit_optimizer)
        if now and begin and same(begin / now, ratio, 1e-3):
            return f", still that of step 1 ({begin:.4g}, fit: {now:.4g})"
        return ""

    def _unclipped(self):
        """`(words, gradient)` of fit before it clips, if it does."""
        config = self.bench.fit_optimizer.get_config()
        keys = ("clipnorm", "global_clipnorm", "clipvalue")
        used = [f"{key}={config[key]}" for key in keys if config.get(key)]
        given, wanted = self.fit.gradients, self.comparison.trainable
        if used and len(given) == len(wanted):
            zeros = [np.zeros(tuple(v.shape)) for v in wanted]
            whole = [z if g is None else g for g, z in zip(given, zeros, strict=True)]
            yield f"the gradient is not clipped: fit has {used[0]}", flat(whole)

    def _other_gradients(self, now):
        yield from self._unclipped()
        if not self.earlier:
            return
        before = flat(self.earlier[-1])
        total = sum(flat(gradients) for gradients in self.earlier)
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
        has_weights = len(self.batch) > 2 and self.batch[2] is not None
        for moment, state, training, weighted in (
            *([("without sample weights", self.before, True, False)] * has_weights),
            ("after the update", self.fit.after, True, True),
            ("after the update", self.fit.after, False, True),
            ("with training=False", self.before, False, True),
        ):
            logs = self._logs_at(state, training, weighted)
            if same(logs.get(key, 0.0), wrong[0].expected, self.comparison.rtol):
                continue  # would not be told apart
            if key in logs and same(yours, logs[key], self.comparison.rtol):
                words = f"{wrong[0].words}, its value {moment}: is it taken so?"
                return "metric", words
        return None

    def _logs_at(self, state, training, weighted=True):
        self.bench.put(state)
        model = self.bench.model
        x, y, weights = keras.utils.unpack_x_y_sample_weight(self.batch)
        try:
            with quiet_warnings():
                model.reset_metrics()
                weights = weights if weighted else None
                y_pred = model(x, training=training)
                logs = model.compute_metrics(x, y, y_pred, sample_weight=weights)
            return numbers(logs)
        except Exception:
            return {}


def batch_size(batch):
    """How many rows a batch has."""
    first = [part for part in keras.tree.flatten(batch[0]) if part is not None]
    return int(first[0].shape[0])
