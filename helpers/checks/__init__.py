"""Check an answer, ask for a hint, see the solution, follow your progress."""

from helpers.checks.evidence import AnyOrder, EqualOrNot, run_logged
from helpers.checks.judge import judge_seed_by_seed
from helpers.checks.keys import KeyMissing, exercise_key
from helpers.checks.progress import load, progress, remember
from helpers.checks.show import display_bundle, show
from helpers.checks.summary import summary

__all__ = [
    "AnyOrder",
    "EqualOrNot",
    "check",
    "hint",
    "progress",
    "solution",
    "summary",
]


grading = None  # set in a grader's kernel: takes evidence, see `check`


class Points(float):
    """The points of a check: a number for nbgrader, a short line for the reader."""

    def __new__(cls, earned, points):
        self = super().__new__(cls, earned)
        self.points = points
        return self

    def __repr__(self):
        return repr(float(self))

    def _repr_html_(self):
        return f"<small>{float(self):g} of {self.points:g} points recorded</small>"


def check(exercise, evidence, rtol=None, atol=None, seconds=None, weights=None):
    """Judge your answer, show the verdict and return the points.

    Args:
        exercise: its name, as in "01/configure".
        evidence: generator function that runs the answer on random inputs and yields
            what came out. Its parameters are the names that you define, and `rng`.
        rtol, atol, seconds: tolerances and time limit that differ from the usual
            ones. They count when the lesson is built; here the key's are used.
        weights: dict from a promise to how many times it counts, where some promises
            are worth more points than others; 1 for the rest. Used as `rtol` is.

    Returns:
        The points as a float, which nbgrader reads as partial credit. Whatever the
        answer does, no exception leaves this function. While a class is graded:
        None, and the evidence goes to the grader, who alone holds the key.
    """
    if grading is not None:
        return grading(exercise, evidence, seconds)
    try:
        key = exercise_key(exercise)
    except KeyMissing as error:
        print(error)
        return Points(0.0, 0.0)
    try:
        verdict = _verdict(key, evidence)
        show(verdict)
        remember(key["id"], earned=verdict.earned, tries=int(verdict.attempted))
    except Exception as error:
        print(
            f"The check itself failed ({type(error).__name__}), which should never "
            "happen. Restart the kernel, run the set-up cell and this exercise again; "
            "if it stays so, tell your teacher."
        )
        return Points(0.0, key["points"])
    return Points(verdict.earned, key["points"])


def _verdict(key, evidence):
    log = {}

    def records_of(seed):
        records, log["last"] = run_logged(evidence, seed, seconds=key["seconds"])
        return records

    verdict = judge_seed_by_seed(key, records_of)
    verdict.log = log["last"]
    return verdict


def _key(exercise):
    """The key of an exercise; where there is none, None after a sentence about it."""
    if grading is not None:
        print("While a class is graded, there are no hints and no solutions.")
        return None
    try:
        return exercise_key(exercise)
    except KeyMissing as error:
        print(error)
        return None


def hint(exercise=""):
    """Show the next hint for an exercise: a nudge, an idea, then almost the code."""
    key = _key(exercise)
    if key is None:
        return
    hints, record = key["hints"], load().get(key["id"], {})
    number = min(int(record.get("hints", 0)), len(hints) - 1)
    remember(key["id"], hints=number + 1)
    last = " (the last one)" if number + 1 == len(hints) else ""
    text = f"**Hint {number + 1} of {len(hints)}{last}.** {hints[number]}"
    display_bundle(text, **{"text/markdown": text})


def solution(exercise=""):
    """Show the reference answer of an exercise, where this release contains it."""
    key = _key(exercise)
    if key is None:
        return
    if key["solution"] is None:
        print("This release of the course comes without solutions. Ask your teacher.")
        return
    remember(key["id"], seen=1)
    text = f"```python\n{key['solution']}\n```"
    display_bundle(key["solution"], **{"text/markdown": text})
