"""Answers of others, right and wrong, in all styles: none refused, none let through.

`answers.jsonl` holds one answer a line: exercise, kind (right, known, wrong), source.
They were written from the statements alone, before the checks had their final form.
"""

import json
from collections import Counter

import pytest
from sample_class import in_other_style

from helpers.checks.judge import judge
from helpers.checks.keys import exercise_key
from helpers.lessons import build
from helpers.lessons.answers import Trial, base_namespace
from helpers.lessons.paths import ROOT

LINES = (ROOT / "tests" / "answers.jsonl").read_text(encoding="utf-8").splitlines()
ANSWERS = [json.loads(line) for line in LINES]
EXERCISES = [
    (lesson, exercise) for lesson in build.find() for exercise in lesson.exercises
]
LEAST_NAMED = 0.4  # share of an exercise's restated mistakes that are named
bases = {}


def verdict(lesson, exercise, source):
    """As `check` judges: seed by seed, until one shows a broken promise."""
    base = bases.setdefault(lesson.name, None) or base_namespace(lesson)
    bases[lesson.name] = base
    trial = Trial(lesson, exercise, "answer", source, base)
    key, records = exercise_key(f"{lesson.number}/{exercise.name}"), {}
    for seed in key["seeds"]:
        records[seed] = trial.evidence(int(seed))
        found = judge(key, records)
        if not found.solved:
            break
    return found


@pytest.mark.parametrize(
    ("lesson", "exercise"), EXERCISES, ids=lambda found: found.name
)
def test_right_ones_get_full_marks_and_wrong_ones_do_not(lesson, exercise):
    name = f"{lesson.number}/{exercise.name}"
    mine = [answer for answer in ANSWERS if answer["exercise"] == name]
    named = Counter()
    assert {answer["kind"] for answer in mine} == {"right", "known", "wrong"}
    for answer in mine:
        found = verdict(lesson, exercise, answer["source"])
        assert found.solved == (answer["kind"] == "right"), answer["source"]
        if answer["kind"] == "known":
            named[bool(found.diagnosis)] += 1
    assert named[True] >= LEAST_NAMED * sum(named.values())


@pytest.mark.parametrize(
    ("lesson", "exercise"), EXERCISES, ids=lambda found: found.name
)
def test_another_style_gets_full_marks(lesson, exercise):
    assert verdict(lesson, exercise, in_other_style(lesson)[exercise.name]).solved
