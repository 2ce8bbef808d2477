"""Scores, comparisons and diagnoses, on evidence written by hand."""

import math

import numpy as np
import pytest

from helpers.checks.evidence import AnyOrder, EqualOrNot, freeze
from helpers.checks.judge import KINDS, diagnose, difference, judge

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def record(label, value):
    return {"label": label, "value": freeze(value)}


def error(kind, message="", label=None):
    found = {"error": {"type": kind, "message": message}}
    return {"label": label, **found} if label else found


def make_key(reference, mistakes=(), fixed=(), idle=(), seed="1"):
    return {
        "id": "09/thing",
        "points": 4.0,
        "promises": list(reference),
        "weights": [1] * len(reference),
        "fixed": list(fixed),
        "idle": list(idle),
        "seeds": {seed: [record(*item) for item in reference.items()]},
        "mistakes": [
            {"belief": name, "explanation": "why", "seeds": {seed: symptoms}}
            for name, symptoms in mistakes
        ],
        **TOLERANCE,
    }


def verdict(key, values, seed="1"):
    records = [
        value if isinstance(value, dict) and "error" in value else record(label, value)
        for label, value in zip(key["promises"], values, strict=False)
    ]
    return judge(key, {seed: records})


REFERENCE = {"one": 1.0, "two": [1.0, 2.0], "three": "yes", "four": 4}


def test_all_kept_is_full_marks():
    found = verdict(make_key(REFERENCE), REFERENCE.values())
    assert found.earned == 4.0 and found.solved


def test_partial_credit_is_the_share_of_promises():
    assert verdict(make_key(REFERENCE), [1.0, [1.0, 3.0], "yes", 4]).earned == 3.0
    assert verdict(make_key(REFERENCE), [1.0]).earned == 1.0


def test_what_can_be_guessed_counts_only_beside_all_the_rest():
    key = make_key(REFERENCE, fixed=[2, 3])
    assert verdict(key, [1.0, [0, 0], "yes", 4]).earned == 1.0
    assert verdict(key, [1.0, [1.0, 2.0], "no", 4]).earned == 3.0


def test_what_an_answer_keeps_that_does_nothing_counts_only_beside_all_the_rest():
    key = make_key(REFERENCE, idle=[1])
    assert verdict(key, [2.0, [1.0, 2.0], "no", 3]).earned == 0.0
    assert verdict(key, [1.0, [1.0, 2.0], "yes", 3]).earned == 2.0
    assert verdict(key, REFERENCE.values()).earned == 4.0


def test_points_are_never_rounded_up_to_full_marks():
    reference = {str(number): number for number in range(1000)}
    key = {**make_key(reference), "points": 1.0}
    found = verdict(key, [-1, *range(1, 1000)])
    assert found.earned == 0.99 and not found.solved
    light = {**key, "weights": [1e-12, *[1] * 999]}
    assert verdict(light, [-1, *range(1, 1000)]).earned == 0.99


def test_a_promise_counts_by_its_weight():
    key = {**make_key(REFERENCE, fixed=[3]), "weights": [5, 1, 1, 3]}
    assert verdict(key, [1.0, [0, 0], "no", 4]).earned == 2.0
    assert verdict(key, [0.0, [1.0, 2.0], "yes", 4]).earned == 0.8
    assert verdict(key, [1.0, [1.0, 2.0], "yes", 3]).earned == 2.8
    thirds = {**key, "weights": [0.1, 0.2, 0.3, 0.7]}
    assert verdict(thirds, REFERENCE.values()).earned == 4.0


def test_points_are_not_spoiled_by_binary_fractions():
    key = {**make_key({str(n): n for n in range(5)}), "points": 3.0}
    assert verdict(key, [0, 1, 2]).earned == 1.8


def test_a_promise_must_hold_on_every_seed():
    key = make_key(REFERENCE)
    key["seeds"]["2"] = key["seeds"]["1"]
    good = [record(*item) for item in REFERENCE.items()]
    bad = [record("one", 9.0), *good[1:]]
    assert judge(key, {"1": good, "2": bad}).earned == 3.0


@pytest.mark.parametrize(
    ("expected", "yours", "words"),
    [
        (1.0, 1.00001, ""),
        (1.0, 1, ""),
        (1, 1.0, ""),
        (True, 1, ""),
        ([1, 2], (1, 2), ""),
        (1.0, 1.1, "another number"),
        (1.0, math.nan, "NaN"),
        (math.nan, math.nan, ""),
        (math.inf, math.inf, ""),
        ([1.0, 2.0], [1.0, 2.5], "1 of 2 numbers differ"),
        ([1.0, 2.0], [[1.0, 2.0]], "shape (1, 2) where shape (2,) was expected"),
        ([1.0, 2.0], 1.5, "one number where shape (2,) was expected"),
        (1.0, None, "None instead of numbers"),
        (1.0, "1.0", "text instead of numbers"),
        ("a", "b", "not the same"),
        ({"a": 1}, {"b": 1}, "no entry 'a'"),
        ({"a": 1}, {"a": 1, "b": 1}, "an entry 'b' too many"),
        ({"a": 1}, {"a": 2}, "entry 'a': another number"),
        ([None, 1], [None, 2], "entry 1: another number"),
        ([None, 1], [None], "1 entry where 2 were expected"),
        (AnyOrder([1, 2, 3]), AnyOrder([3, 1, 2]), ""),
        (AnyOrder([[1, 2], [3, 4]]), AnyOrder([[1, 4], [3, 2]]), "2 of 4"),
        (AnyOrder([1, 2]), [1, 2], "the evidence was changed"),
        (AnyOrder([[1, 2]]), AnyOrder(np.zeros((0, 2))), "shape (0, 2) where"),
        (AnyOrder(np.zeros((0, 2))), AnyOrder(np.zeros((0, 2))), ""),
        (EqualOrNot(1, 1), EqualOrNot(5, 5), ""),
        (
            EqualOrNot(1, 1),
            EqualOrNot(5, 6),
            "different values where they should be equal",
        ),
        (EqualOrNot(1, 2), EqualOrNot(7, 8), ""),
        (EqualOrNot(1, 2), EqualOrNot(7, 7), "equal values where they should differ"),
        (EqualOrNot(1, 2), EqualOrNot("a", "b"), "text instead of numbers"),
    ],
)
def test_differences_in_words(expected, yours, words):
    found = difference(freeze(expected), freeze(yours), TOLERANCE)
    assert words in found if words else found == ""


@pytest.mark.parametrize("word", KINDS)
def test_forged_evidence_with_the_judges_own_words_is_only_wrong(word):
    forged = {"not data": word}
    for value in (1.0, None, "text", [None], {"a": 1}):
        assert f"named {word} instead" in difference(freeze(value), forged, TOLERANCE)
    rows, pair = freeze(AnyOrder([1, 2])), freeze(EqualOrNot(1, 1))
    assert difference(rows, {**rows, "value": forged}, TOLERANCE)
    both = {"list": [forged, forged]}
    assert difference(pair, {**pair, "value": both}, TOLERANCE)


SIGN = ("the sign", {"0": record("one", -1.0), "1": record("two", [-1.0, -2.0])})
HALF = ("the half", {"0": record("one", 0.5)})
STOP = ("it stops", {"0": error("ValueError", "shape (3,) is bad", "one")})


def beliefs(key, values):
    found = verdict(key, values)
    return [mistake["belief"] for mistake in found.diagnosis], found.more_wrong


@pytest.mark.parametrize(
    ("values", "names", "more"),
    [
        ([-1.0, [-1.0, -2.0], "yes", 4], ["the sign"], False),
        ([0.5, [1.0, 2.0], "yes", 4], ["the half"], False),
        ([0.5, [1.0, 2.0], "no", 4], ["the half"], True),
        ([0.7, [1.0, 2.0], "yes", 4], [], True),
        ([-1.0, [1.0, 2.0], "yes", 4], [], True),
        ([1.0, [1.0, 2.0], "yes", 4], [], False),
    ],
)
def test_a_mistake_is_named_where_all_its_symptoms_show(values, names, more):
    key = make_key(REFERENCE, [SIGN, HALF])
    assert beliefs(key, values) == (names, more)


def test_errors_are_compared_without_their_numbers():
    key = make_key(REFERENCE, [STOP])
    same = error("ValueError", "shape (7,) is bad", "one")
    other = error("ValueError", "something else", "one")
    assert beliefs(key, [same, *list(REFERENCE.values())[1:]])[0] == ["it stops"]
    assert beliefs(key, [other, *list(REFERENCE.values())[1:]])[0] == []


@pytest.mark.parametrize(
    ("built", "elsewhere"),
    [
        ("max() arg is an empty sequence", "max() iterable argument is empty"),
        ("min() arg is an empty sequence", "min() iterable argument is empty"),
        ("Expected keys ['a', 'b'] in", "Expected keys ListWrapper(['a', 'b']) in"),
    ],
)
def test_an_error_is_the_same_in_the_words_of_other_versions(built, elsewhere):
    mistake = ("it stops", {"0": error("ValueError", built)})
    key = make_key(REFERENCE, [mistake])
    shown = error("ValueError", elsewhere, "one")
    assert beliefs(key, [shown, *list(REFERENCE.values())[1:]])[0] == ["it stops"]


def test_an_error_alone_is_no_proof_if_more_is_wrong():
    key = make_key(REFERENCE, [STOP])
    same = error("ValueError", "shape (7,) is bad", "one")
    assert beliefs(key, [same, [1.0, 2.0], "no", 4]) == ([], True)


def test_a_stop_is_told_by_more_of_its_message_than_an_error_that_costs_a_promise():
    begin = "an error that begins in the same way as many others do"
    key = make_key(REFERENCE, [("it", dict.fromkeys("0123", error("E", begin + "!")))])
    for end, names in (("!", ["it"]), ("?", [])):
        found = judge(key, {"1": [error("E", begin + end)]})
        assert [mistake["belief"] for mistake in found.diagnosis] == names


def test_not_to_reach_a_promise_is_no_symptom_by_itself():
    missing = error("not reached")
    key = make_key(REFERENCE, [("ends early", {"2": missing, "3": missing})])
    assert beliefs(key, [1.0, [1.0, 2.0]]) == ([], True)
    shown = {"1": record("two", [0.0, 0.0]), "2": missing, "3": missing}
    key = make_key(REFERENCE, [("ends early", shown)])
    assert beliefs(key, [1.0, [0.0, 0.0]]) == (["ends early"], False)


def test_the_larger_set_of_symptoms_wins():
    both = ("both", {"0": record("one", 0.5), "2": record("three", "no")})
    key = make_key(REFERENCE, [HALF, both])
    assert beliefs(key, [0.5, [1.0, 2.0], "no", 4]) == (["both"], False)


def test_an_untouched_stub_is_not_attempted():
    key = make_key(REFERENCE)
    found = judge(key, {"1": [error("NotImplementedError")]})
    assert not found.attempted and found.earned == 0 and not found.diagnosis


def test_diagnose_needs_a_symptom():
    key = make_key(REFERENCE, [("nothing", {})])
    assert diagnose(key, {"1": [record("one", 5.0)]})[0] == []
