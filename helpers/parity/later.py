"""Find what parts a loop from fit between its steps or between its epochs."""

import numpy as np

from helpers.parity.bench import counter_of, rate_of
from helpers.parity.compare import counted, kind_of, name, same, show, suffix
from helpers.parity.report import First, Report
from helpers.parity.runs import Runs, way

STILL = 1e-3  # of fit's way: rounding, which on a GPU differs from run to run


class LaterEpochs(Runs):
    """What differs only between steps or between epochs."""

    def _later(self, fit, mine, counts, apart, rows):
        """What differs only later than the first steps: between batches or epochs."""
        epoch, runs = self._first_epoch(fit, mine)
        if not counts and not apart:  # a random model that draws too little
            apart = self.bench.trainable()
        still = self._stands_still(runs, epoch)
        if counts and not (still and still[0] == "updates"):
            words = (
                f"the optimizer took {counted(counts[0], 'update')} where fit took "
                f"{counts[1]}, in all"
            )
            if counts[0] * self.epochs == counts[1] and self.epochs > 1:
                words += (
                    ": as many as in one epoch; are the others missing, or is its "
                    "state set back in each?"
                )
            still = "updates", "iterations", words, *counts
        quantity, where, words, *pair = still or self._why(
            fit, mine, apart, epoch, runs
        )
        first = First(epoch, None, quantity, where, *pair)
        return Report(first, sentence_of(epoch, words), rows, "epoch")

    def _first_epoch(self, fit, mine):
        """The first epoch after which the states differ, and the runs up to there.

        Returns:
            `(epoch, runs)`: the epoch counts from 1; `runs` are pairs (fit, yours) of
            runs over `epoch - 1` epochs (None in epoch 1) and over `epoch`.
        """
        pairs = [None]
        for epoch in range(1, self.epochs):
            with self._only(epochs=epoch):
                pairs.append((self.fit(), self.theirs(self.given, epoch)))
                if pairs[-1][1].error or self._is_epoch_apart(*pairs[-1]):
                    return epoch, pairs[-2:]
        return self.epochs, [pairs[-1], (fit, mine)]

    def _is_epoch_apart(self, fit, mine):
        return bool(self._apart(fit, mine, self._twins()))

    def _stands_still(self, runs, epoch):
        """What moves in all epochs of fit, and in yours not in this one; or None.

        Returns:
            `(quantity, where, words, yours, expected)`.
        """
        if runs[0] is None or runs[1][1].error:
            return None
        (_, early), (fit, mine) = runs

        def is_still(variable):
            fits = way(runs[0][0], fit, variable)
            return 0 < fits and way(early, mine, variable) <= STILL * fits

        counter = counter_of(self.bench.fit_optimizer)
        weights_are = all(is_still(v) for v in self.bench.trainable())
        if self._uses(mine) and is_still(counter) and weights_are:
            counts = self._counts(fit, mine) or [None, None]
            return "updates", "iterations", self._without_update(epoch), *counts
        if weights_are:
            return None
        frozen = [v for v in self.bench.trainable() if is_still(v)]
        if frozen:
            words = f"`{name(frozen[0])}` is not updated in epoch {epoch}"
            pair = self._pair(frozen[0], mine, fit)
            return "weights", name(frozen[0]), words, *pair
        still = [v for v in self.bench.others() if is_still(v)]
        dropout = [seed for seed in self.bench.seeds() if is_still(seed)]
        ask = "is training=True used in every epoch"
        if still:
            words = f"`{name(still[0])}` stands still in epoch {epoch}: {ask}?"
            pair = self._pair(still[0], mine, fit)
            return kind_of(still[0]), name(still[0]), words, *pair
        if dropout:
            words = f"dropout draws no new numbers in epoch {epoch}: {ask}, and is "
            words += "no seed set back?"
            return "dropout", name(dropout[0]), words, None, None
        return None

    def _without_update(self, epoch):
        """Words for an epoch in which nothing is trained."""
        words = f"there is no update in epoch {epoch}"
        if not 0 < self.returned < self.epochs:
            return f"{words}: is an iterator used up?"
        logs = f"{counted(self.returned, 'log')} for {self.epochs} epochs"
        return f"{words}, and your loop returned {logs}: does it end early?"

    def _why(self, fit, mine, apart, epoch, runs):
        """`(quantity, where, words, yours, expected)` of weights that part."""
        where, pair = name(apart[0]), self._pair(apart[0], mine, fit)
        rates = self._rates(runs)
        if rates:
            words = f"the learning rate is {show(*rates)}"
            return "learning rate", "learning_rate", words, *rates
        if mine.changed:
            words = f"your loop sets the optimizer's {mine.changed}"
            return "optimizer settings", where, words, *pair
        for quantity, what, keys in self._restarts():
            if self._restarts_with(keys, fit, mine):
                words = f"{what} anew in every epoch"
                return quantity, where, words, *pair
        words = f"after it `{where}` is not what fit makes it"
        if epoch > 1:
            before = "epoch 1 is" if epoch == 2 else f"epochs 1 to {epoch - 1} are"
            words += (
                f"; {before} right, so look for what is left over or made anew "
                "between epochs"
            )
        else:
            words += (
                "; your loop takes its batches from elsewhere than the dataset it is "
                "given, so its steps could not be looked at one by one"
                if self.elsewhere
                else "; the first steps are right one by one, so look at the order of "
                "the batches and at what one step leaves to the next"
            )
        return self._kind(apart[0]), where, words, *pair

    def _restarts_with(self, keys, fit, mine):
        """Whether fit with these variables set back every epoch is what yours is."""
        run = self.fit(anew=keys)
        if not self._apart(run, mine) and not self._wrong_logs(run, mine):
            return True
        twins = self._twins(anew=keys)  # on a GPU rounding differs from run to run
        if not self._apart(run, fit, twins):
            return False
        return not self._apart(run, mine, twins) and not self._wrong_logs(
            run, mine, twins
        )

    def _kind(self, variable):
        if any(variable is one for one in self.bench.trainable()):
            return "weights"
        if any(variable is one for one in self.bench.others()):
            return kind_of(variable)
        return "optimizer slot"

    def _restarts(self):
        """`(quantity, words, ids)` of what may be made or set back between epochs."""
        bench = self.bench
        trainable, optimizer = bench.trainable(), bench.fit_optimizer.variables
        slots = {id(v) for v in optimizer} & self.begin.keys()
        yield "optimizer slot", "the optimizer starts", slots
        past = {id(v) for v in optimizer if len(v.shape)} & slots
        what = "what the optimizer keeps of past gradients starts"
        yield "optimizer slot", what, past
        yield "weights", "the weights start", {id(v) for v in trainable}
        others = {id(v) for v in bench.others()}
        if others:
            names = dict.fromkeys(f"`{name(v)}`" for v in bench.others())
            what = " and ".join(list(names)[:2])
            yield kind_of(bench.others()[0]), f"{what} start", others
        for layer in list(dict.fromkeys(name(v).split("/")[0] for v in trainable))[:9]:
            inside = [v for v in trainable if name(v).split("/")[0] == layer]
            yield "weights", f"the weights of `{layer}` start", {id(v) for v in inside}
            ends = tuple(f"{suffix(v)}_" for v in inside)
            kept = {id(v) for v in optimizer if any(e in name(v) for e in ends)}
            what = f"what the optimizer keeps of `{layer}` starts"
            yield "optimizer slot", what, kept & self.begin.keys()

    def _rates(self, runs):
        """The learning rates, yours and fit's, that an epoch begins or ends with.

        Only if they differ; the rate at its beginning comes first, for a loop that sets
        it at the end of every epoch ends with that of the next one.
        """
        for pair in runs:
            if pair is None or pair[1].error:
                continue
            fit_rate, mine_rate = (self._rate(run.after) for run in pair)
            if mine_rate is not None and not same(mine_rate, fit_rate, 1e-5):
                return mine_rate, fit_rate
        return None

    def _rate(self, state):
        self.bench.put(state)
        return rate_of(self.bench.fit_optimizer)

    def _pair(self, variable, mine, fit):
        """The entry of a variable that differs most: yours and fit's."""
        yours, fits = (
            np.asarray(run.after[id(variable)], float) for run in (mine, fit)
        )
        place = np.unravel_index(np.argmax(np.abs(yours - fits)), fits.shape)
        return float(yours[place]), float(fits[place])


def sentence_of(epoch, words):
    begin = f"Epoch {epoch}: " if epoch else ""
    return begin + words + ("" if words.endswith("?") else ".")
