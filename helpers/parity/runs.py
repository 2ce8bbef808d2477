"""Run fit and a learner's loop from the same start, and compare what they left."""

import contextlib
import functools

import keras
import numpy as np
import tensorflow as tf

from helpers.parity.bench import ParityError, counter_of, numbers, refused, told_of
from helpers.parity.compare import are_broken, counted, name, same, tolerance
from helpers.parity.logs import read_epochs
from helpers.parity.stepwise import copied, gathered, listed

MOST_STEPS = 5000  # of one epoch
FEW_STEPS = 40  # below this, tracing a function costs more than it saves


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


class Runs:
    """Runs of fit and of the learner's loop from the same start, and what differs."""

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
                f" Your loop returned {counted(len(rows), 'log')} for {epochs} epochs: "
                "give one for each; they were not compared."
            )
            rows = []
        return (rows[-1].get("loss") if rows else None), rows

    @contextlib.contextmanager
    def _only(self, batches=None, epochs=1):
        """Run on other batches and for another number of epochs inside."""
        whole = self.batches, self.epochs, self.returned
        self.batches, self.epochs = batches or self.batches, epochs
        try:
            yield
        finally:
            self.batches, self.epochs, self.returned = whole

    def _twins(self, anew=()):
        """Runs of fit from weights that differ in their last digit."""
        return [self.fit(nudge=seed, anew=anew) for seed in (1, 2)]

    def _one_epoch(self):
        """Runs over a single epoch: fit's, yours, fit's from weights a digit away."""
        with self._only():
            twins = self._twins()
            return self.fit(), self.theirs(self.given, 1), twins

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
            whole = self.returned, self.unread
            rows = self._read(1, self.train(self.bench.model, part, 1))[1]
            self.returned, self.unread = whole  # what is told is told of whole runs
            return rows[-1] if rows else None

        return call

    def _after(self, count):
        """The state after the learner's loop over the first batches."""
        self._start()
        return self.bench.theirs(self._call_on(count), "your loop").after

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


def way(one, other, variable):
    """How far a variable is apart at the ends of two runs: its largest change."""
    ends = (np.asarray(run.after[id(variable)], float) for run in (one, other))
    return np.abs(np.subtract(*ends)).max(initial=0.0)


def rms(array):
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(array)))) if array.size else 0.0
