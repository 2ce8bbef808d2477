"""The judge: verdicts on what submissions yielded. No learner's code runs in here.

Every run has a secret seed, and marks are earned on it alone: what the reference yields
for it is found by running `solutions/`, in a process of its own (`python -m
helpers.grading.judging`), never in one that holds a submission. Evidence for a public
seed is taken, too: full marks need both, and known mistakes are recognised by it.
What a submission yielded is data from a stranger: it is checked before it is judged.
"""

import math
import secrets
import signal
import sys
from dataclasses import replace

from helpers.checks.evidence import MOST_NUMBERS, MOST_PROMISES
from helpers.checks.judge import judge, record_difference
from helpers.lessons.script import LessonError

PUBLIC = 1  # the seed that the learner's own check judges first
MOST_TEXT, MOST_DEPTH = 20_000, 12
WORDS = {"seconds": "out of time", "memory": "out of memory"}
FITTED = {
    "belief": "the numbers that the check draws are all that matter",
    "explanation": "Your answer is right for the numbers of the notebook's own check, "
    "and wrong for new ones. Compute what is asked for from the arguments alone.",
}


def new_seeds():
    """Seeds of a run: one that nobody can know before, and the public one."""
    return [secrets.randbelow(2**31 - 10) + 10, PUBLIC]


def reference_records(lesson, seeds):
    """What a lesson's references yield: exercise -> seed (str) -> records.

    Runs the references, so it wants a process of its own.

    Raises:
        LessonError: where one of them stops.
    """
    from helpers.lessons.answers import Trial, base_namespace

    base, found = base_namespace(lesson), {}
    for exercise in lesson.exercises:
        trial = Trial(lesson, exercise, "reference", exercise.answer.source, base)
        found[exercise.name] = {str(seed): trial.evidence(seed) for seed in seeds}
        for seed, records in found[exercise.name].items():
            if not records or "label" not in records[-1]:
                raise LessonError(f"The reference of {exercise.name} stops on {seed}.")
    return found


def verdict_on(key, reference, records_by_seed):
    """The verdict on one exercise.

    Args:
        key: dict of the exercise, with public seeds and known mistakes.
        reference: dict from the secret seed (str) to the reference's records.
        records_by_seed: what the submission's process sent: dict from seed (str) to
            records, or anything else.

    Returns:
        A `helpers.checks.judge.Verdict`, or None where nothing usable was sent.
    """
    if not isinstance(records_by_seed, dict):
        return None
    secret = {seed: clean_records(records_by_seed.get(seed)) for seed in reference}
    public = {str(PUBLIC): clean_records(records_by_seed.get(str(PUBLIC)))}
    if None in secret.values():
        return None
    fixed = [*key["fixed"], *_by_heart(key, reference, secret)]
    key_of_run = {**key, "seeds": reference, "mistakes": [], "fixed": fixed}
    verdict = judge(key_of_run, secret)
    shown = None if None in public.values() else judge(key, public)
    if verdict.solved:
        return shown  # full marks need both
    if shown and verdict.attempted:
        verdict.diagnosis, verdict.more_wrong = shown.diagnosis, shown.more_wrong
        if shown.solved:
            verdict.diagnosis = [FITTED]
    return verdict


def _by_heart(key, reference, sent):
    """Promises that ask for the same as on a public seed, where that was replayed.

    With few values to draw from, some do. Who answers the secret seed with the public
    one's numbers elsewhere, too, has not earned these; they then count as what could
    be guessed does.
    """
    (expected,), (records,) = reference.values(), sent.values()
    free = {*key["fixed"], *key["idle"]}
    drawn = [i for i in range(len(expected)) if i not in free]
    found = set()
    for public in key["seeds"].values():
        same, told = (_alike(public, others, key) for others in (expected, records))
        if any(i in told and i not in same for i in drawn):
            found |= same & set(drawn)
    return sorted(found)


def _alike(records, others, key):
    """At which places two lists of records say the same."""
    pairs = enumerate(zip(records, others, strict=False))
    return {i for i, pair in pairs if not record_difference(*pair, key)}


def state_of(verdict, result):
    """One word for what became of an exercise, and a sentence where it was cut short.

    Args:
        verdict: as `verdict_on` gives it.
        result: dict, what became of the whole submission: `state` and `reason`.
    """
    if verdict is None:
        if result["state"] != "ran":
            return result["state"], result["reason"]
        return (
            "tampered",
            "The check ran but left no evidence: something stood in its way, such as "
            "another thing that is called `check`.",
        )
    if verdict.solved:
        return "right", ""
    if not verdict.attempted:
        return "not attempted", ""
    if result["state"] != "ran":
        return result["state"], result["reason"]
    error = verdict.error or {}
    if error.get("type") == "LimitReached":
        word = next((w for part, w in WORDS.items() if part in error["message"]), "")
        return word or "out of time", f"Stopped: it took {error['message']}."
    return "wrong", ""


def empty_verdict(key, state, reason):
    """A verdict of no points for an exercise that left no evidence."""
    verdict = judge(key, {str(PUBLIC): []})
    if state == "not attempted":
        return replace(verdict, attempted=False, diagnosis=[])
    error = {"type": state, "message": reason, "where": "", "line": ""}
    return replace(verdict, error=error, diagnosis=[], more_wrong=False)


# What a stranger sent


def clean_records(value):
    """Records as `evidence.run` makes them, with nothing else in them; None if not."""
    if not isinstance(value, list) or len(value) > MOST_PROMISES + 1:
        return None
    records = [_clean_record(record) for record in value]
    return None if None in records else records


def _clean_record(record):
    if not isinstance(record, dict):
        return None
    clean = {}
    if isinstance(record.get("label"), str):
        clean["label"] = record["label"][:MOST_TEXT]
    if "error" in record:
        error = record["error"] if isinstance(record["error"], dict) else {}
        names = ("type", "message", "where", "line")
        clean["error"] = {name: _text(error.get(name)) for name in names}
    elif "label" in clean and is_value(record.get("value")):
        clean["value"] = record.get("value")
    else:
        return None
    if is_value(record.get("given")):
        clean["given"] = record["given"] if "given" in record else None
    return clean


def _text(value):
    return value[:300] if isinstance(value, str) else ""


def is_value(value, depth=0):
    """Whether data has the form that `evidence.freeze` gives to evidence."""
    if value is None or isinstance(value, str):
        return value is None or len(value) <= MOST_TEXT
    if not isinstance(value, dict) or depth > MOST_DEPTH:
        return False
    match sorted(value):
        case ["data", "kind", "shape"]:
            return _is_array(value)
        case ["list"]:
            return _all_values(value["list"], list, depth)
        case ["dict"]:
            return _all_values(value["dict"], dict, depth)
        case ["not data"]:
            return isinstance(value["not data"], str) and len(value["not data"]) < 300
        case ["compare", "value"]:
            return _is_compared(value, depth)
    return False


def _is_array(value):
    shape, data = value["shape"], value["data"]
    if not isinstance(shape, list) or not isinstance(data, list):
        return False
    if len(shape) > 32 or len(data) > MOST_NUMBERS or value["kind"] not in ("i", "f"):
        return False
    sizes = all(type(size) is int and 0 <= size <= MOST_NUMBERS for size in shape)
    return (
        sizes
        and math.prod(shape) == len(data)
        and math.prod(size or 1 for size in shape) <= MOST_NUMBERS
        and all(type(x) is float or (type(x) is int and abs(x) < 2**64) for x in data)
    )


def _all_values(value, kind, depth):
    if not isinstance(value, kind) or len(value) > MOST_NUMBERS:
        return False
    if kind is dict and any(len(key) > MOST_TEXT for key in value):
        return False
    items = value.values() if kind is dict else value
    return all(is_value(item, depth + 1) for item in items)


def _is_compared(value, depth):
    if not is_value(value["value"], depth + 1):
        return False
    if value["compare"] == "any order":
        return True
    pair = value["value"]
    return (
        value["compare"] == "equal or not"
        and isinstance(pair, dict)
        and len(pair.get("list", ())) == 2
    )


def main(name, path, *seeds):
    """Write the `reference_records` of lesson `name` for `seeds` to `path`, as JSON."""
    from pathlib import Path

    from helpers.grading.sandbox import die_with_parent
    from helpers.grading.store import write_json
    from helpers.lessons import build

    die_with_parent(signal.SIGKILL)  # the next run starts its own
    (lesson,) = build.find([name])
    write_json(Path(path), reference_records(lesson, [int(seed) for seed in seeds]))


if __name__ == "__main__":
    main(*sys.argv[1:])
