"""Compare a whole training loop with fit, and find where they part."""

import functools
import itertools

import keras
import numpy as np
import tensorflow as tf

from helpers.parity.bench import (
    Bench,
    ParityError,
    counter_of,
    number,
    numbers,
    quiet_warnings,
    rate_of,
    refused,
    takes,
    told_of,
)
from helpers.parity.compare import (
    are_broken,
    counted,
    kind_of,
    name,
    same,
    show,
    suffix,
    tolerance,
)
from helpers.parity.report import First, Report
from helpers.parity.stepwise import (
    Stepwise,
    copied,
    error_found,
    exploding,
    gathered,
    listed,
)

MOST_STEPS = 5000  # of one epoch
FEW_STEPS = 40  # below this, tracing a function costs more than it saves
LOOKS = 6  # steps from the beginning that are looked at one by one


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
            f"`train` takes {counted(number, 'argument')}; give a function "
            "`train(model, dataset, epochs)` that runs whole epochs."
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


def frozen(dataset):
    """The dataset with its order fixed, and its batches as a list."""
    if not isinstance(dataset, tf.data.Dataset):
        if isinstance(dataset, keras.utils.PyDataset):
            dataset = read_all(dataset)
        given = gathered(dataset, MOST_STEPS + 1)
        if len(given) > MOST_STEPS:
            raise ParityError(
                f"There are more than {MOST_STEPS} batches; give the first 20."
            )
        return given, listed(given, MOST_STEPS)
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ParityError(
            "The dataset has no end, so no epoch has one; give `dataset.take(20)`."
        )
    given = dataset.cache()
    batches = listed(given, MOST_STEPS + 1)
    if len(batches) > MOST_STEPS:
        raise ParityError(
            f"The dataset has more than {MOST_STEPS} batches; give `dataset.take(20)`."
        )
    return given, batches


def read_all(batches):
    """The batches of a `PyDataset`, as a list."""
    try:
        return [batches[place] for place in range(len(batches))]
    except Exception as error:
        raise ParityError(f"The batches stopped with {told_of(error)}") from None


class Run:
    """What one run over epochs left: logs per epoch, logs per batch, states."""

    def __init__(self, after=None):
        self.logs, self.running, self.ends, self.after = [], [], [], after


class Loop:
    """The comparison of a whole loop; `report` runs it."""

    def __init__(self, bench, train, given, batches, epochs):
        self.bench, self.train, self.given = bench, train, given
        self.batches, self.epochs = batches, epochs
        self.names = [n for n in bench.results() if n != "loss"]
        self.mode = "eager"
        if len(batches) * epochs > FEW_STEPS and not bench.model.run_eagerly:
            self.mode = "compiled"
        self.sizes = [len(keras.tree.flatten(b[0])[0]) for b in batches]
        self.begin = bench.begin
        self.elsewhere = False  # whether the loop takes its batches from elsewhere
        self.unread, self.random, self.chance = "", False, False
        self.returned = epochs  # how many epochs of logs the loop returned

    # Both runs

    def report(self):
        fit = self.fit()
        if told := exploding([logs.get("loss") for logs in fit.running]):
            raise ParityError(f"{told} Compare with a smaller learning rate.")
        mine = self.theirs(self.given, self.epochs)
        if mine.error:
            return self._stopped(mine, fit)
        found = self._differences(fit, mine)
        if any(found):
            twins = [self.fit(nudge=seed) for seed in (1, 2)]
            found = self._differences(fit, mine, twins)
        self.random = any(found) and self._is_random()
        if self.random:
            fit, found = self._by_xla(fit, mine, found)
        rows = self._rows(fit, mine)
        if not any(found):
            return Report(None, self._nothing(fit, mine), rows, "epoch")
        return self._located(fit, mine, *found, rows)

    def fit(self, mode=None, nudge=None, anew=(), reset=True, finalise=True):
        """What fit does, a `Run`.

        Args:
            nudge: seed; begin with weights that differ in their last digit.
            anew: ids of variables that are set back to their beginning every epoch.
            reset: False keeps the metrics over all epochs.
            finalise: False leaves out what fit does at its very end (use_ema).
        """
        bench, run = self.bench, Run()
        bench.put(self.begin)
        bench.reset_metrics()
        if nudge is not None:
            rng = np.random.default_rng(nudge)
            for variable in bench.trainable():
                signs = rng.choice([-2e-7, 2e-7], tuple(variable.shape))
                variable.assign(variable * tf.cast(1 + signs, variable.dtype))
        for _ in range(self.epochs):
            if reset:
                bench.reset_metrics()
            if run.ends and anew:
                bench.put({**bench.note(), **{key: self.begin[key] for key in anew}})
            for batch in self.batches:
                try:
                    run.running.append(numbers(bench.step(batch, mode or self.mode)))
                except Exception as error:
                    if mode:
                        raise
                    raise refused(error, "one of the batches") from None
            run.logs.append(bench.results())
            run.ends.append(bench.note())
        if finalise:
            bench.finalise()
        run.after = bench.note()
        return run

    def theirs(self, given, epochs):
        """The learner's `Outcome`, with logs as a list of dicts, one per epoch."""
        bench = self.bench
        bench.put(self.begin)
        bench.reset_metrics()
        read = functools.partial(self._read, epochs)
        if isinstance(given, list):
            given = copied(given)
        call = functools.partial(self.train, bench.model, given, epochs)
        return bench.theirs(call, "your loop", read)

    def _read(self, epochs, returned):
        rows = read_epochs(returned, self.names)
        if returned is not None and not rows:
            self.unread = (
                " What your loop returned could not be read as logs; return a list of "
                "dicts, one per epoch."
            )
        self.returned = len(rows)
        if rows and len(rows) != epochs:
            self.unread = (
                f" Your loop returned {len(rows)} logs for {epochs} epochs; they were "
                "not compared."
            )
            rows = []
        return (rows[-1].get("loss") if rows else None), rows

    # What differs

    def _differences(self, fit, mine, twins=()):
        """Logs, update counts and variables that differ: three lists."""
        return (
            self._wrong_logs(fit, mine, twins),
            self._counts(fit, mine),
            self._apart(fit, mine, twins),
        )

    def _counts(self, fit, mine):
        """How many updates yours and fit took, if not as many; else []."""
        key = id(counter_of(self.bench.fit_optimizer))
        counts = [int(run.after[key]) - int(self.begin[key]) for run in (mine, fit)]
        return counts if counts[0] and counts[0] != counts[1] else []

    def _wrong_logs(self, fit, mine, twins=()):
        """Pairs (epoch from 0, name of the log) that differ."""
        rtol, found = tolerance(self.bench.model), []
        for epoch, (logs, expected) in enumerate(
            zip(mine.logs, fit.logs, strict=False)
        ):
            for key, value in logs.items():
                if key not in expected:
                    continue
                noise = [abs(twin.logs[epoch][key] - expected[key]) for twin in twins]
                apart = np.abs(np.asarray(value) - expected[key]).max()
                if not same(
                    value, expected[key], 2 * rtol, 1.0 if key != "loss" else 0
                ):
                    if not apart <= 10 * np.max(noise, initial=0.0):
                        found.append((epoch, key))
        return found

    def _apart(self, fit, mine, twins=()):
        """Variables that end elsewhere."""
        bench, found = self.bench, []
        slots = self._slots(fit) if self._uses(mine) else []
        for variable in [*bench.trainable(), *bench.others(), *slots]:
            key = id(variable)
            others = [twin.after[key] for twin in twins]
            if is_apart(
                self.begin[key], fit.after[key], mine.after[key], others, bench.model
            ):
                found.append(variable)
        return found

    def _uses(self, mine):
        """Whether the learner's loop moved the model's own optimizer."""
        key = id(counter_of(self.bench.fit_optimizer))
        return int(mine.after[key]) != int(self.begin[key])

    def _slots(self, fit):
        """What the optimizer keeps per weight, without what is only rounding."""
        shapes = {tuple(v.shape) for v in self.bench.trainable()} - {()}
        slots = [
            v for v in self.bench.fit_optimizer.variables if tuple(v.shape) in shapes
        ]
        sizes = {id(v): np.abs(fit.after[id(v)]).max(initial=0.0) for v in slots}
        most = {}
        for slot in slots:
            kind = name(slot).rsplit("_", 1)[-1]
            most[kind] = max(most.get(kind, 0.0), sizes[id(slot)])
        return [
            v for v in slots if sizes[id(v)] > 1e-5 * most[name(v).rsplit("_", 1)[-1]]
        ]

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
        if not counts and self._is_chance(mine):
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

    def _is_chance(self, mine):
        """Whether two runs of the same loop differ as well, or may for their draws."""
        if self.random:
            return not self._same_draws()
        again = self.theirs(self.given, self.epochs)
        return not again.error and bool(self._apart(again, mine))

    def _first_is_right(self):
        """Whether one epoch of yours, alone, is fit's but for rounding."""
        fit, mine, twins = self._one_epoch()
        right = not mine.error and not self._counts(fit, mine)
        return right and not self._apart(fit, mine, twins)

    def _same_draws(self):
        """Whether one epoch of yours, alone, is fit's with its random numbers."""
        fit, mine, _ = self._one_epoch()
        return self.epochs > 1 and not mine.error and not self._apart(fit, mine)

    def _one_epoch(self):
        """Runs over a single epoch: fit's, yours, fit's from weights a digit away."""
        whole, self.epochs = self.epochs, 1
        try:
            twins = [self.fit(nudge=seed) for seed in (1, 2)]
            return self.fit(), self.theirs(self.given, 1), twins
        finally:
            self.epochs = whole

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

    def _after(self, count):
        """The state after the learner's loop over the first batches."""
        self._start()
        return self.bench.theirs(self._call_on(count), "your loop").after

    def _is_apart_after(self, count):
        """Whether the learner's loop over the first batches ends elsewhere than fit."""
        whole = self.batches, self.epochs
        self.batches, self.epochs = whole[0][:count], 1
        try:
            mine = Run(self._after(count))
            twins = [self.fit(nudge=seed) for seed in (1, 2)]
            return bool(self._apart(self.fit(), mine, twins))
        finally:
            self.batches, self.epochs = whole

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
        whole, places = (self.batches, self.epochs), order or range(step + 1)
        self.batches, self.epochs = [whole[0][place] for place in places], 1
        try:
            return not self._apart(self.fit("eager"), yours)
        finally:
            self.batches, self.epochs = whole

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

    def _start(self):
        self.bench.put(self.begin)
        self.bench.reset_metrics()
        return self.bench.note()

    def _call_on(self, count, skip=0):
        """Run the learner's loop for one epoch on some of the batches."""
        if isinstance(self.given, list):
            part = copied(self.given[skip : skip + count])
        else:
            part = self.given.skip(skip).take(count)

        def call():
            rows = self._read(1, self.train(self.bench.model, part, 1))[1]
            return rows[-1] if rows else None

        return call

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
        whole, pairs = self.epochs, [None]
        try:
            for self.epochs in range(1, whole):
                pairs.append((self.fit(), self.theirs(self.given, self.epochs)))
                if pairs[-1][1].error or self._is_epoch_apart(*pairs[-1]):
                    return self.epochs, pairs[-2:]
        finally:
            self.epochs = whole
        return whole, [pairs[-1], (fit, mine)]

    def _is_epoch_apart(self, fit, mine):
        twins = [self.fit(nudge=seed) for seed in (1, 2)]
        return bool(self._apart(fit, mine, twins))

    def _stands_still(self, runs, epoch):
        """What moves in all epochs of fit, and in yours not in this one; or None.

        Returns:
            `(quantity, where, words, yours, expected)`.
        """
        if runs[0] is None or runs[1][1].error:
            return None
        (_, early), (fit, mine) = runs

        def is_still(variable):
            key = id(variable)
            moved = not np.array_equal(runs[0][0].after[key], fit.after[key])
            return moved and np.array_equal(early.after[key], mine.after[key])

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
        logs = f"{self.returned} logs for {self.epochs} epochs"
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
            run = self.fit(anew=keys)
            if not self._apart(run, mine) and not self._wrong_logs(run, mine):
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

    def _epoch_logs(self, fit, mine, wrong, rows):
        """A `Report`, and whether a known mistake gives the very number."""
        epoch, key = wrong[0]
        yours, expected = mine.logs[epoch][key], fit.logs[epoch][key]
        quantity = "loss" if key.endswith("loss") else "metric"
        words, known = f"`{key}` is {show(yours, expected)}", False
        for reason, kind, value in self._other_logs(fit, epoch, key):
            scale = 0.0 if key.endswith("loss") else 1.0
            if same(yours, value, 5 * tolerance(self.bench.model), scale):
                words, quantity = f"{words}: {reason}", kind or quantity
                known = True
                break
        first = First(epoch + 1, None, quantity, key, yours, expected)
        return Report(first, sentence_of(epoch + 1, words), rows, "epoch"), known

    def _other_logs(self, fit, epoch, key):
        """`(reason, quantity, value)` of what a learner may log by mistake."""
        count, none = len(self.batches), None
        running = fit.running[epoch * count : (epoch + 1) * count]
        running = [logs[key] for logs in running]
        if epoch:
            kept = self.fit(reset=False).logs[epoch][key]
            reason = f"not reset between epochs, it is that of {epoch + 1} together"
            yield reason, none, kept
        yield from other_means(running, np.asarray(self.sizes, float))
        yield "0 means that nothing was counted", none, 0.0
        for training in (False, True):
            later = self._evaluated(fit.ends[epoch], training).get(key)
            if later is not None:
                reason = "it is calculated after the epoch, with its last weights"
                yield reason, none, later
        for other, logs in enumerate(fit.logs):
            if other != epoch:
                yield f"it is the value of epoch {other + 1}", none, logs[key]

    def _evaluated(self, state, training):
        """Logs of all batches with the weights of a state."""
        bench, model = self.bench, self.bench.model
        bench.put(state)
        try:
            with quiet_warnings():
                model.reset_metrics()
                for batch in self.batches:
                    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
                    if not training:
                        keras.Model.test_step(model, batch)
                        continue
                    y_pred = model(x, training=True)
                    model.compute_metrics(x, y, y_pred, sample_weight=weights)
                return numbers(model.get_metrics_result())
        except Exception:
            return {}

    # Words

    def _pair(self, variable, mine, fit):
        """The entry of a variable that differs most: yours and fit's."""
        yours, fits = (
            np.asarray(run.after[id(variable)], float) for run in (mine, fit)
        )
        place = np.unravel_index(np.argmax(np.abs(yours - fits)), fits.shape)
        return float(yours[place]), float(fits[place])

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
    if "the step itself is right" not in at_step.sentence or epoch.quantity != "loss":
        return True
    ratios = [one.yours / one.expected for one in (step, epoch) if one.expected]
    return len(ratios) < 2 or same(ratios[0], ratios[1], 1e-2)


def apart_most(bench, fit, mine):
    """The largest difference of any weight."""
    return max(
        (
            float(
                np.abs(
                    np.asarray(mine.after[id(v)], float)
                    - np.asarray(fit.after[id(v)], float)
                ).max(initial=0.0)
            )
            for v in bench.trainable()
        ),
        default=0.0,
    )


def is_apart(begin, fit, mine, twins, model):
    """Whether a variable ends elsewhere than rounding could lead it.

    `twins` are ends of fit from weights that differ in the last digit: as far as these
    get, rounding gets, too.
    """
    fit, mine, begin = (np.asarray(a, "float64") for a in (fit, mine, begin))
    if are_broken(mine, fit):
        return False
    factor = tolerance(model) / 2e-5
    noise = max((rms(np.asarray(twin, "float64") - fit) for twin in twins), default=0.0)
    allowed = factor * (2e-4 * rms(fit - begin) + 1e-6 * rms(fit)) + 10 * noise
    return not rms(mine - fit) <= allowed + 1e-12


def rms(array):
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(array)))) if array.size else 0.0


def other_means(running, sizes):
    """`(reason, quantity, value)` of ways to sum up batches that are not fit's.

    Args:
        running: the means over rows after each batch.
        sizes: rows of each batch.
    """
    parts, count = batch_values(running, sizes), len(sizes)
    none, last = None, "last partial batch"
    yield "the last, smaller batch counts as much as a full one", last, np.mean(parts)
    yield "it is the value of the last batch alone", none, parts[-1]
    yield "it is the value of the first batch alone", none, parts[0]
    yield "it is the mean of the running means", none, np.mean(running)
    yield f"it is the sum over {count} batches", none, np.sum(parts)
    share = np.sum(parts * sizes) / (count * sizes[0])
    yield "it is divided by as many rows as full batches would have", last, share
    if count > 1:
        yield "the last batch is left out", last, running[-2]
        too_many = np.sum(parts) / (count - 1)
        yield "it is divided by one batch too few", none, too_many


def batch_values(running, sizes):
    """The values of single batches, from running means weighted by batch sizes."""
    totals = np.asarray(running, "float64") * np.cumsum(sizes)
    return np.diff(totals, prepend=0.0) / sizes


def sentence_of(epoch, words):
    begin = f"Epoch {epoch}: " if epoch else ""
    return begin + words + ("" if words.endswith("?") else ".")


def read_epochs(returned, names):
    """Logs of a loop as a list of dicts, one per epoch; [] for what holds none.

    Args:
        names: the compiled metrics; with exactly one of them, the second entry of
            `(loss, metric)` has a sure meaning.
    """
    returned = getattr(returned, "history", returned)
    if isinstance(returned, dict):
        columns = {str(k): as_list(v) for k, v in returned.items()}
        columns = {k: v for k, v in columns.items() if v}
        rows = itertools.zip_longest(*columns.values())
        return [pack(dict(zip(columns, row, strict=True))) for row in rows]
    if isinstance(returned, tuple) and all(isinstance(r, list) for r in returned):
        returned = list(zip(*returned, strict=False))
    if number(returned) is not None and np.ndim(number(returned)) == 0:
        returned = [returned]
    if not isinstance(returned, (list, tuple, np.ndarray)):
        return []
    keys = ["loss", *(names if len(names) == 1 else [])]
    rows = []
    for entry in returned:
        if not isinstance(entry, dict):
            parts = entry if isinstance(entry, (list, tuple, np.ndarray)) else [entry]
            if not is_readable(parts, names):
                return []
            entry = dict(zip(keys, parts, strict=False))
        rows.append(pack(entry))
    return rows if all(rows) else []


def is_readable(parts, names):
    """Whether a list or tuple of an epoch may be `(loss, metric)`.

    It is not where it has more entries, begins with a whole number (the epoch's), or
    has a second number that the only metric cannot be.
    """
    if len(parts) > 1 + max(1, len(names)) or isinstance(parts[0], int):
        return False
    shares = ("accuracy", "acc", "precision", "recall", "auc")
    is_share = len(names) == 1 and names[0].endswith(shares)
    second = number(parts[1]) if len(parts) > 1 else None
    return not (is_share and second is not None and np.max(second) > 1 + 1e-6)


def as_list(value):
    value = number(value) if not isinstance(value, list) else value
    return list(value) if np.ndim(value) else [value]


def pack(entry):
    """One epoch's logs as numbers; what is no number is left out."""
    found = {str(key): number(value) for key, value in entry.items()}
    return {key: v for key, v in found.items() if v is not None and np.ndim(v) == 0}
