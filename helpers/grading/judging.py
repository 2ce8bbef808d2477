"""The judge: verdicts on what submissions yielded. No learner's code runs in here.

A run's seeds are secret. The key for them is made by running `solutions/`, in a process
of its own (`python -m helpers.grading.judging`), never in one that holds a submission.
What a submission yielded is data from a stranger: it is checked before it is judged.
"""

import math
import secrets
import sys
from dataclasses import replace

from helpers.checks.evidence import MOST_NUMBERS, MOST_PROMISES
from helpers.checks.judge import judge_seed_by_seed

NUM_SEEDS = 2  # as many as the learner's own check judges
MOST_TEXT, MOST_DEPTH = 20_000, 12
WORDS = {"seconds": "out of time", "memory": "out of memory"}


def new_seeds():
    """Seeds that nobody can know before the run."""
    return [secrets.randbelow(2**31 - 10) + 10 for _ in range(NUM_SEEDS)]


def make_key(lesson, seeds):
    """The key of a lesson (see `helpers.lessons.keys`) for these seeds.

    Runs the reference and every known mistake, so it wants a process of its own.
    """
    from helpers.lessons import keys
    from helpers.lessons.answers import base_namespace

    base = base_namespace(lesson)
    return {
        exercise.name: keys.exercise_key(lesson, exercise, base, seeds, False)
        for exercise in lesson.exercises
    }


def verdict_on(key, records_by_seed):
    """The verdict on one exercise.

    Args:
        key: dict of the exercise, for the run's seeds.
        records_by_seed: what the submission's process sent: dict from seed (str) to
            records, or anything else.

    Returns:
        A `helpers.checks.judge.Verdict`, or None where nothing usable was sent.
    """
    if not isinstance(records_by_seed, dict):
        return None
    found = {
        seed: records
        for seed in key["seeds"]
        if (records := clean_records(records_by_seed.get(seed))) is not None
    }
    if not found or next(iter(key["seeds"])) not in found:
        return None
    key = {**key, "seeds": {seed: key["seeds"][seed] for seed in found}}
    verdict = judge_seed_by_seed(key, lambda seed: found[str(seed)])
    if verdict.solved and len(found) < NUM_SEEDS:
        return None  # full marks need all seeds
    return verdict


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
            "The check ran but left no evidence: something stood in its way.",
        )
    if verdict.solved:
        return "right", ""
    if not verdict.attempted:
        return "not attempted", ""
    error = verdict.error or {}
    if error.get("type") == "LimitReached":
        word = next((w for part, w in WORDS.items() if part in error["message"]), "")
        return word or "out of time", f"Stopped: it took {error['message']}."
    return "wrong", ""


def empty_verdict(key, state, reason):
    """A verdict of no points for an exercise that left no evidence."""
    from helpers.checks.judge import judge

    seed = next(iter(key["seeds"]))
    verdict = judge(key, {seed: []})
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
            return isinstance(value["not data"], str)
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
        and all(type(x) is float or (type(x) is int and abs(x) < 2**64) for x in data)
    )


def _all_values(value, kind, depth):
    if not isinstance(value, kind) or len(value) > MOST_NUMBERS:
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
    """Write the key of lesson `name` for `seeds` to `path`, as JSON."""
    from pathlib import Path

    from helpers.grading.store import write_json
    from helpers.lessons import build

    (lesson,) = build.find([name])
    write_json(Path(path), make_key(lesson, [int(seed) for seed in seeds]))


if __name__ == "__main__":
    main(*sys.argv[1:])
