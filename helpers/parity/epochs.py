"""Compare a whole training loop with fit, and find where they part."""

import numpy as np

from helpers.parity.bench import Bench, ParityError, counter_of, takes
from helpers.parity.causes import UNEXPLAINED
from helpers.parity.compare import counted, name, same, show, tolerance
from helpers.parity.first_epoch import FirstEpoch
from helpers.parity.later import LaterEpochs, sentence_of
from helpers.parity.logs import other_logs
from helpers.parity.report import First, Report
from helpers.parity.runs import Run, apart_most, frozen, way
from helpers.parity.stepwise import error_found, exploding

CHANCE = 0.05  # of the way to fit: two runs of one loop that are further apart


def loop(train, model, dataset, epochs=2):
    """Run your training loop and fit on the same batches, and find where they part.

    The order of the batches is fixed first: a shuffled Dataset comes in the same order
    on both sides and in all epochs. Where the results differ, your loop is run again
    on the first batches only, to find the step. The model is put back at the end.

    Args:
        train: `train(model, dataset, epochs)`; runs whole epochs. It may return logs
            per epoch: a list of dicts, of `(loss, metric)` or of losses, a dict of
            lists, or what fit returns.
        model: compiled `keras.Model`.
        dataset: a Dataset of tuples `(x, y)` or `(x, y, sample_weight)`, or a list.
        epochs: int.

    Returns:
        A `Report`: `first`, `sentence`, `show()`.

    Raises:
        ParityError: nothing can be compared, with the reason in one sentence.
    """
    if not callable(train):
        raise ParityError(f"`train` is a {type(train).__name__}; give a function.")
    least, most = takes(train)
    if least > 3 or most < 3:
        number = most if most < 3 else least
        raise ParityError(
            f"`train` takes {counted(number, 'argument')}; give, or wrap yours as, a "
            "function `train(model, dataset, epochs)` that runs whole epochs."
        )
    whole = isinstance(epochs, (int, np.integer)) and not isinstance(epochs, bool)
    if not whole or epochs < 1:
        shown = repr(epochs) if np.isscalar(epochs) else f"a {type(epochs).__name__}"
        raise ParityError(f"`epochs` is {shown}; give a whole number from 1 on.")
    given, batches = frozen(dataset)
    bench = Bench(model, batches[0], train)
    try:
        return Loop(bench, train, given, batches, epochs).report()
    finally:
        bench.put(bench.begin)


class Loop(FirstEpoch, LaterEpochs):
    """The comparison of a whole loop; `report` runs it."""

    def report(self):
        fit = self.fit()
        if told := exploding([logs.get("loss") for logs in fit.running]):
            raise ParityError(f"{told} Compare with a smaller learning rate.")
        mine = self.theirs(self.given, self.epochs)
        if mine.error:
            return self._stopped(mine, fit)
        found = self._differences(fit, mine)
        if any(found):
            found = self._differences(fit, mine, self._twins())
        self.random = any(found) and self._is_random()
        if self.random:
            fit, found = self._by_xla(fit, mine, found)
        rows = self._rows(fit, mine)
        if not any(found):
            return Report(None, self._nothing(fit, mine), rows, "epoch")
        return self._located(fit, mine, *found, rows)

    def _is_random(self):
        seeds = self.bench.seeds()
        if not seeds:
            return False
        self.bench.put(self.begin)
        after = self.bench.fit(self.batches[0]).after
        return any(not np.array_equal(self.begin[id(s)], after[id(s)]) for s in seeds)

    def _by_xla(self, fit, mine, found):
        """The same against fit with the random numbers that XLA draws."""
        try:
            other = self.fit("XLA")
        except Exception:  # not every model can be compiled by XLA
            return fit, found
        again = self._differences(other, mine)
        return (fit, found) if any(again) else (other, again)

    # Where they part

    def _located(self, fit, mine, wrong_logs, counts, apart, rows):
        """The `Report` on a difference that is there for sure."""
        if not counts and apart and self._no_average(mine):
            words = (
                "the optimizer has use_ema, and fit replaces the weights by their "
                "averages at the very end: `finalize_variable_values` is not called"
            )
            pair = self._pair(apart[0], mine, fit)
            first = First(self.epochs, None, "optimizer", name(apart[0]), *pair)
            return Report(first, sentence_of(self.epochs, words), rows, "epoch")
        of_logs = None
        if wrong_logs and not apart and not counts:
            of_logs, is_known = self._epoch_logs(fit, mine, wrong_logs, rows)
            if is_known:
                return of_logs
        if counts and (missing := self._epoch_is_missing(counts)):
            return Report(*missing, rows, "epoch")
        at_step = None
        if wrong_logs or self.epochs == 1 or not self._first_is_right():
            at_step = self._step_by_step(mine, bool(apart or counts))
        if at_step and at_step.first.step == 1 and (outside := self._outside()):
            return Report(*outside, rows, "epoch")
        if at_step and of_logs and not is_told_by(at_step, of_logs):
            return of_logs
        if at_step or of_logs and not self.random:
            return at_step or of_logs
        if not counts and self.random and self._draws_less(fit, mine):
            return self._later(fit, mine, counts, apart, rows)
        if not counts and self._is_chance(fit, mine, apart):
            self.chance = True
            return Report(None, self._nothing(fit, mine), rows, "epoch", chance=True)
        return self._later(fit, mine, counts, apart, rows)

    def _epoch_is_missing(self, counts):
        """`(First, sentence)` where a loop runs one epoch less than it is asked for."""
        yours, expected = counts
        if yours * self.epochs != expected * (self.epochs - 1):
            return None
        alone = self._one_epoch()[1]
        if alone.error or self._uses(alone):
            return None
        words = (
            f"the optimizer took {counted(yours, 'update')} where fit took {expected}, "
            f"and none where one epoch is asked for: does your loop run one less?"
        )
        first = First(self.epochs, None, "updates", "iterations", yours, expected)
        return first, sentence_of(self.epochs, words)

    def _outside(self):
        """What the loop does to the model without any batch: `(First, sentence)`."""
        bench = self.bench
        part = [] if isinstance(self.given, list) else self.given.take(0)
        start = self._start()
        mine = bench.theirs(lambda: self.train(bench.model, part, 1), "your loop")
        moved = [
            variable
            for variable in [*bench.trainable(), *bench.others()]
            if not np.array_equal(start[id(variable)], mine.after[id(variable)])
        ]
        key = id(counter_of(bench.fit_optimizer))
        stepped = int(mine.after[key]) != int(start[key])  # it has batches of its own
        if stepped or not moved:  # an error comes later: there is nothing to divide by
            return None
        words = f"`{name(moved[0])}` is changed outside of the steps, at the begin or "
        words += "end of an epoch: your loop does so even without a batch"
        pair = self._pair(moved[0], mine, Run(start))
        first = First(1, None, self._kind(moved[0]), name(moved[0]), *pair)
        return first, sentence_of(1, words)

    def _is_chance(self, fit, mine, apart):
        """Whether two runs of the same loop differ as well, or may for their draws."""
        if self.random:
            return not self._same_draws()
        again = self.theirs(self.given, self.epochs)
        if again.error:
            return False
        return any(way(again, mine, v) > CHANCE * way(fit, mine, v) for v in apart)

    def _first_is_right(self):
        """Whether one epoch of yours, alone, is fit's but for rounding."""
        fit, mine, twins = self._one_epoch()
        right = not mine.error and not self._counts(fit, mine)
        return right and not self._apart(fit, mine, twins)

    def _same_draws(self):
        """Whether one epoch of yours, alone, is fit's with its random numbers."""
        fit, mine, _ = self._one_epoch()
        return self.epochs > 1 and not mine.error and not self._apart(fit, mine)

    def _draws_less(self, fit, mine):
        """Whether some seed moves on in fewer steps than in fit."""
        for seed in self.bench.seeds():
            key = id(seed)
            begin, fits, yours = (
                s[key][-1] for s in (self.begin, fit.after, mine.after)
            )
            if begin < yours < fits:
                return True
        return False

    def _no_average(self, mine):
        if not getattr(self.bench.fit_optimizer, "use_ema", False):
            return False
        modes = [None, "XLA"] if self.random else [None]
        return any(not self._apart(self.fit(m, finalise=False), mine) for m in modes)

    def _epoch_logs(self, fit, mine, wrong, rows):
        """A `Report`, and whether a known mistake gives the very number."""
        epoch, key = wrong[0]
        yours, expected = mine.logs[epoch][key], fit.logs[epoch][key]
        quantity = "loss" if key.endswith("loss") else "metric"
        words, known = f"`{key}` is {show(yours, expected)}", False
        for reason, kind, value in other_logs(self, fit, epoch, key):
            scale = 0.0 if key.endswith("loss") else 1.0
            if same(yours, value, 5 * tolerance(self.bench.model), scale):
                words, quantity = f"{words}: {reason}", kind or quantity
                known = True
                break
        first = First(epoch + 1, None, quantity, key, yours, expected)
        return Report(first, sentence_of(epoch + 1, words), rows, "epoch"), known

    # Words

    def _stopped(self, mine, fit):
        quantity, where, yours, expected, words = error_found(mine)
        first = First(None, None, quantity, where, yours, expected)
        return Report(
            first, f"{words[0].upper()}{words[1:]}.", self._rows(fit, mine), "epoch"
        )

    def _nothing(self, fit, mine):
        what = "logs, weights" if mine.logs else "weights"
        text = (
            f"No difference in {counted(self.epochs, 'epoch')} of "
            f"{counted(len(self.batches), 'step')}: {what} and statistics are fit's."
        )
        if not mine.logs and not self.unread:
            text += " Your loop returned no logs, so none were compared."
        known = {key for logs in mine.logs for key in logs}
        if mine.logs and not known & set(fit.logs[0]):
            told = ", ".join(f"`{key}`" for key in sorted(known)[:3])
            text = text.replace("logs, weights", "weights")
            text += f" None of your logs ({told}) has a name of fit's to compare with."
        if self.chance:
            text = (
                "No difference that can be told from chance: the first steps of your "
                "loop do what fit does, and over all steps it draws other random "
                "numbers (dropout, noise) or another order of the rows (does it "
                "shuffle?)."
            )
        return text + self.unread

    def _rows(self, fit, mine):
        rows = []
        for epoch, logs in enumerate(fit.logs):
            yours = mine.logs[epoch].get("loss") if mine.logs else None
            rows.append({"yours": yours, "fit": logs.get("loss"), "difference": None})
        rows[-1]["difference"] = apart_most(self.bench, fit, mine)
        return rows


def is_told_by(at_step, of_epoch):
    """Whether a report on one batch tells what is wrong with the logs of an epoch.

    A loop that divides by a number of its own is wrong in another way on one batch.
    """
    step, epoch = at_step.first, of_epoch.first
    if UNEXPLAINED not in at_step.sentence or epoch.quantity != "loss":
        return True
    ratios = [one.yours / one.expected for one in (step, epoch) if one.expected]
    return len(ratios) < 2 or same(ratios[0], ratios[1], 1e-2)
