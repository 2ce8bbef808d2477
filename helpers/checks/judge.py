"""Form a verdict from evidence and a key. No learner's code ever runs in here.

A key holds, per public seed, what the reference answer yields, and what each known
mistake yields where it differs from the reference.
"""

import re
from dataclasses import dataclass, field

import numpy as np

STUB = "raise NotImplementedError()"
COMPARED = 40  # characters of an error message, of one that stopped everything: more
COMPARED_STOP = 100
KINDS = ("None", "text", "numbers", "a list", "a dict")  # of what is compared
OTHER_WORDS = (  # of one error, by version: Python 3.12, Keras 3.13
    (r"(max|min)\(\) iterable argument is empty", r"\1() arg is an empty sequence"),
    (r"ListWrapper\((\[.*?\])\)", r"\1"),
)
NOT_REACHED = {"type": "not reached", "message": ""}


@dataclass
class Promise:
    """One promise of an exercise and what became of it."""

    label: str
    weight: float = 1.0
    held: bool = False
    reached: bool = False
    is_free: bool = False  # guessed whatever the seed, or kept by doing nothing
    expected: object = None
    yours: object = None
    given: object = None
    error: dict = None
    difference: str = ""


@dataclass
class Verdict:
    """What a check found: points, promises, and the misconception behind it."""

    exercise: str
    points: float
    earned: float
    promises: list
    diagnosis: list = field(default_factory=list)  # [{"belief", "explanation"}]
    more_wrong: bool = False  # the diagnosis does not explain all that broke
    error: dict = None
    attempted: bool = True
    log: dict = field(default_factory=dict)

    @property
    def solved(self):
        return all(promise.held for promise in self.promises)


def judge(key, evidence):
    """The verdict on one answer.

    Args:
        key: dict of one exercise, see `helpers.lessons.keys`.
        evidence: dict from seed (str, one that the key holds) to a list of records
            as `evidence.run` returns it.

    Returns:
        A `Verdict`. A promise holds where it holds for every seed.
    """
    seeds = [(key["seeds"][seed], records) for seed, records in evidence.items()]
    promises = _promises(key, seeds)
    share = _share(promises)
    error = next((promise.error for promise in promises if promise.error), None)
    error = error or _last_error(evidence)
    verdict = Verdict(
        exercise=key["id"],
        points=key["points"],
        earned=_points(key["points"], share),
        promises=promises,
        error=error,
        attempted=not (_is_stub(error) and not share),
    )
    if not verdict.solved and verdict.attempted:
        verdict.diagnosis, verdict.more_wrong = diagnose(key, evidence)
    return verdict


def judge_seed_by_seed(key, evidence_of):
    """The verdict after the first seed that breaks a promise, or after all of them.

    Args:
        key: as for `judge`.
        evidence_of: function from a seed (int) to its records.
    """
    records = {}
    for seed in key["seeds"]:
        records[seed] = evidence_of(int(seed))
        verdict = judge(key, records)
        if not verdict.solved:
            break  # one counterexample is enough to learn from
    return verdict


def _is_stub(error):
    """Whether an error is that of nbgrader's untouched starter."""
    if not error or error["type"] != "NotImplementedError" or error["message"]:
        return False
    return error.get("line", STUB) == STUB


def _last_error(evidence):
    for records in evidence.values():
        if records and "label" not in records[-1]:
            return records[-1]["error"]
    return None


def _promises(key, seeds):
    promises = []
    for index, label in enumerate(key["promises"]):
        promise = Promise(label, weight=key["weights"][index])
        promise.is_free = index in key["fixed"] or index in key["idle"]
        for reference, records in seeds:
            if not _judge_promise(promise, key, reference, records, index):
                break
        promises.append(promise)
    return promises


def _judge_promise(promise, key, reference, records, index):
    """Update `promise` from one seed's record; returns whether it holds there."""
    expected = reference[index]
    record = records[index] if index < len(records) else {}
    promise.expected, promise.given = expected.get("value"), record.get("given")
    if "label" not in record:
        promise.held = promise.reached = False
        return False
    promise.reached = True
    promise.yours, promise.error = record.get("value"), record.get("error")
    promise.difference = record_difference(expected, record, key)
    promise.held = promise.difference == ""
    return promise.held


def _share(promises):
    """Share kept, by weight. What comes for free counts only beside all the rest."""
    earned = [promise for promise in promises if not promise.is_free]
    counted = promises if all(promise.held for promise in earned) else earned
    held = sum(promise.weight for promise in counted if promise.held)
    return held / sum(promise.weight for promise in promises) if promises else 0.0


def _points(points, share):
    """Points for a share, to two decimals and never rounded up to full marks."""
    if share == 1:  # sums of the same weights in the same order: exactly 1
        return float(points)
    cents = min(np.floor(round(points * share * 100, 6)), points * 100 - 1)
    return float(max(cents, 0) / 100)


# Comparing


def record_difference(expected, record, tolerance):
    """Why a record is not the expected one, in a few words; "" where it is."""
    if "error" in record or "error" in expected:
        return "" if _same_error(expected, record) else "stopped with an error"
    return difference(expected["value"], record["value"], tolerance)


def _same_error(first, second):
    if "error" not in first or "error" not in second:
        return False
    one, two = first["error"], second["error"]
    return one["type"] == two["type"] and _plain(one) == _plain(two)


def _plain(error, length=COMPARED):
    """The begin of an error message, without numbers: they change from run to run."""
    text = re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?(e[+-]?\d+)?", "#", error["message"])
    for pattern, words in OTHER_WORDS:
        text = re.sub(pattern, words, text)
    return text[:length]


def difference(expected, yours, tolerance):
    """Why two frozen values are not the same, in a few words; "" where they are."""
    if isinstance(expected, dict) and "compare" in expected:
        return _named_difference(expected, yours, tolerance)
    kinds = _kind(expected), _kind(yours)
    if kinds[0] != kinds[1]:
        return f"{kinds[1]} instead of {kinds[0]}"
    if kinds[0] == "numbers":
        return _number_difference(expected, yours, tolerance)
    if kinds[0] == "a dict":
        return _dict_difference(expected["dict"], yours["dict"], tolerance)
    if kinds[0] == "a list":
        return _list_difference(expected["list"], yours["list"], tolerance)
    return "" if expected == yours else "not the same"


def _kind(value):
    if value is None:
        return "None"
    if isinstance(value, str):
        return "text"
    if "shape" in value:
        return "numbers"
    if "dict" in value:
        return "a dict"
    if "list" in value:
        return "a list"
    name = value.get("not data", "something that cannot be compared")
    return f"an object named {name}" if name in KINDS else name


def _named_difference(expected, yours, tolerance):
    if not isinstance(yours, dict) or yours.get("compare") != expected["compare"]:
        return "the evidence was changed"
    if expected["compare"] == "any order":
        first, second = _sorted_rows(expected["value"]), _sorted_rows(yours["value"])
        return difference(first, second, tolerance)
    return _pair_difference(expected, yours, tolerance)


def _pair_difference(expected, yours, tolerance):
    (first, other), (mine, second) = expected["value"]["list"], yours["value"]["list"]
    if _kind(first) != _kind(mine):
        return difference(first, mine, tolerance)
    wanted = difference(first, other, tolerance) == ""
    found = difference(mine, second, tolerance) == ""
    if wanted == found:
        return ""
    if wanted:
        return "two different values where they should be equal"
    return "two equal values where they should differ"


def _sorted_rows(value):
    if _kind(value) != "numbers" or not value["shape"] or not value["data"]:
        return value
    rows = _array(value).reshape(value["shape"][0], -1)
    order = np.lexsort(rows.T[::-1])
    return {**value, "data": rows[order].ravel().tolist()}


def _array(value):
    return np.array(value["data"], dtype=float).reshape(value["shape"])


def _number_difference(expected, yours, tolerance):
    if expected["shape"] != yours["shape"]:
        return f"{_shape(yours)} where {_shape(expected)} was expected"
    first, second = _array(expected), _array(yours)
    close = np.isclose(
        second, first, tolerance["rtol"], tolerance["atol"], equal_nan=True
    )
    if close.all():
        return ""
    if np.isnan(second[~close]).any():
        return "NaN (not a number) where a number was expected"
    wrong = int((~close).sum())
    if close.size == 1:
        return "another number"
    return f"{wrong} of {close.size} numbers differ"


def _shape(value):
    shape = tuple(value["shape"])
    return "one number" if not shape else f"shape {shape}"


def _dict_difference(expected, yours, tolerance):
    for key in expected:
        if key not in yours:
            return f"no entry {key!r}"
    for key in yours:
        if key not in expected:
            return f"an entry {key!r} too many"
    for key in expected:
        found = difference(expected[key], yours[key], tolerance)
        if found:
            return f"entry {key!r}: {found}"
    return ""


def _list_difference(expected, yours, tolerance):
    if len(expected) != len(yours):
        entries = "1 entry" if len(yours) == 1 else f"{len(yours)} entries"
        return f"{entries} where {len(expected)} were expected"
    for index, (first, second) in enumerate(zip(expected, yours, strict=True)):
        found = difference(first, second, tolerance)
        if found:
            return f"entry {index}: {found}"
    return ""


# Diagnosing


def diagnose(key, evidence):
    """Known mistakes whose every symptom shows in the evidence.

    A symptom is a promise for which the mistake yields something else than the
    reference. The mistake is named where all its symptoms show, number by number. If
    more broke than it explains, its symptoms must contain numbers that no other
    answer yields by chance: never a guess.

    Returns:
        `(mistakes, more_wrong)`: dicts with `belief` and `explanation`, and whether
        promises broke that none of them explains.
    """
    broken = _broken(key, evidence)
    found = []
    for mistake in key["mistakes"]:
        symptoms = _shown_symptoms(key, mistake, evidence)
        if symptoms and (symptoms == broken or _telling(key, mistake, symptoms)):
            found.append((symptoms, mistake))
    found = [
        (symptoms, mistake)
        for symptoms, mistake in found
        if not any(symptoms < others for others, _ in found)
    ]
    explained = set().union(*(symptoms for symptoms, _ in found))
    names = [
        {"belief": mistake["belief"], "explanation": mistake["explanation"]}
        for _, mistake in found
    ]
    return names, bool(broken - explained)


def _broken(key, evidence):
    return {
        (seed, index)
        for seed, records in evidence.items()
        for index, expected in enumerate(key["seeds"][seed])
        if record_difference(expected, _get(records, index), key)
    }


def _get(records, index):
    """The record of a promise; for one that was not reached, why it was not."""
    if index < len(records):
        return records[index]
    if records and "label" not in records[-1]:
        return records[-1]
    return {"error": NOT_REACHED}


def _shown_symptoms(key, mistake, evidence):
    """The mistake's symptoms `(seed, promise)`, or an empty set if one is missing.

    That promises were not reached is no symptom by itself: any error stops them.
    """
    symptoms, said = set(), False
    for seed, records in evidence.items():
        for index, symptom in mistake["seeds"][seed].items():
            if not _is_symptom(symptom, _get(records, int(index)), key):
                return set()
            symptoms.add((seed, int(index)))
            said |= symptom.get("error") != NOT_REACHED
    return symptoms if said else set()


def _is_symptom(symptom, record, key):
    if record_difference(symptom, record, key):
        return False
    if "label" in record:
        return True
    stops = symptom["error"], record["error"]  # of all promises that were not reached
    return len({_plain(stop, COMPARED_STOP) for stop in stops}) == 1


def _telling(key, mistake, symptoms):
    """Whether a symptom is a number that depends on the seed, not a mere error."""
    return any(
        index not in key["fixed"] and "value" in mistake["seeds"][seed][str(index)]
        for seed, index in symptoms
    )
