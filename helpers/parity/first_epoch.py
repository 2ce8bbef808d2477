"""Find the step of the first epoch at which a loop leaves fit."""

import itertools

from helpers.parity.bench import counter_of
from helpers.parity.compare import same
from helpers.parity.report import First, Report
from helpers.parity.runs import Run, Runs, apart_most
from helpers.parity.stepwise import Stepwise

LOOKS = 6  # steps from the beginning that are looked at one by one


class FirstEpoch(Runs):
    """The first epoch, step by step: a loop over the first batches is right or not."""

    def _step_by_step(self, mine, state_differs):
        """A `Report` on the first step of epoch 1 that differs, or None.

        Where the state differs in the end, a step whose logs alone differ is told only
        if nothing else is found: a loop may divide by all rows, however few it gets.
        """
        bench, watch = self.bench, Stepwise(self.bench, self.train, "your loop")
        bench.finalises, watch.late = True, True
        bench.put(self.begin)
        bench.reset_metrics()
        fits, theirs, rows, later = bench.note(), self.begin, [], None
        looks = min(LOOKS, len(self.batches))
        for step in range(looks):
            call = self._call_on(step + 1)
            fits = {**theirs, **{k: fits[k] for k in watch.shared if k in fits}}
            fit, yours, found = watch.one(self.batches[step], fits, self._start(), call)
            if step == 0 and self._ignores_its_dataset(yours, mine):
                self.elsewhere = True
                return None
            rows.append({"yours": yours.loss, "fit": fit.running.get("loss")})
            rows[-1]["difference"] = apart_most(bench, fit, yours)
            late = found and found[0] == "updates" and self._is_fit_on(step, yours)
            if yours.error or late:  # over all batches it does not stop
                found = None
            if found:
                found = self._order(step, yours) or self._shuffled(step, yours) or found
                report = self._at_step(watch, found, step, rows)
                if not state_differs or watch.moves:
                    return report
                later = later or report
            fits, theirs, watch.last = fit.unfinished, yours.after, self.batches[step]
        if looks < len(self.batches):
            at_last = self._last_batch(watch, rows)
            return at_last or self._between(watch, looks, rows) or later
        return later

    def _between(self, watch, right, rows):
        """A `Report` on the first step after step `right` that differs, or None.

        Found by halving: a loop over the first batches is right, or it is not.
        """
        wrong = len(self.batches)
        if self.random or not self._is_apart_after(wrong):
            return None
        while wrong - right > 1:
            middle = (right + wrong) // 2
            apart = self._is_apart_after(middle)
            right, wrong = (right, middle) if apart else (middle, wrong)
        theirs = self._after(right)
        found = watch.one(
            self.batches[right], theirs, self._start(), self._call_on(right + 1)
        )[2]
        return self._at_step(watch, found, right, rows) if found else None

    def _is_apart_after(self, count):
        """Whether the learner's loop over the first batches ends elsewhere than fit."""
        with self._only(self.batches[:count]):
            mine, twins = Run(self._after(count)), self._twins()
            return bool(self._apart(self.fit(), mine, twins))

    def _order(self, step, yours):
        """What is found if the batches so far, in another order, give the state."""
        if not 1 <= step <= 2:
            return None
        for order in itertools.permutations(range(step + 1)):
            if self._is_fit_on(step, yours, order):
                if list(order) == sorted(order):  # the first: it is fit's
                    return None
                words = "the batches come in another order"
                return "order of batches", "dataset", list(order), None, words
        return None

    def _is_fit_on(self, step, yours, order=None):
        """Whether a state is fit's after the batches up to a step, in this order."""
        places = order or range(step + 1)
        with self._only([self.batches[place] for place in places]):
            return not self._apart(self.fit("eager"), yours)

    def _shuffled(self, step, yours):
        """What is found if the loop, run again, gives something else; or None."""
        if self.random or yours.error or step == 0:
            return None
        again = self._after(step + 1)
        weights = self.bench.trainable()
        if all(same(again[id(v)], yours.after[id(v)], 1e-4, 1.0) for v in weights):
            return None
        words = (
            "run twice from the same start, your loop gives different weights: does it "
            "shuffle the rows, or draw random numbers?"
        )
        return "order of rows", "dataset", None, None, words

    def _last_batch(self, watch, rows):
        """Whether the last batch, taken alone, is treated otherwise; a `Report`."""
        last = len(self.batches) - 1
        start = self._start()
        _, _, found = watch.one(
            self.batches[last], start, start, self._call_on(1, skip=last)
        )
        return self._at_step(watch, found, last, rows) if found else None

    def _ignores_its_dataset(self, yours, mine):
        """Whether the loop takes its batches from elsewhere than its argument."""
        key = id(counter_of(self.bench.fit_optimizer))
        begin = int(self.begin[key])
        one, all_of_them = int(yours.after[key]) - begin, int(mine.after[key]) - begin
        return len(self.batches) > 1 and one * self.epochs == all_of_them > one

    def _at_step(self, watch, found, step, rows):
        first, sentence = watch.told(found, step + 1, self.batches)
        words = sentence.split(": ", 1)[-1] if sentence.startswith("Step") else found[4]
        first = First(
            1, first.step, first.quantity, first.where, first.yours, first.expected
        )
        sentence = f"Epoch 1, step {first.step}: {words}"
        return Report(first, sentence if sentence[-1] in ".?" else f"{sentence}.", rows)
