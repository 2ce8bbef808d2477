"""Answers of others, right and wrong, in all styles: none refused, none let through.

`answers.jsonl` holds one answer a line: exercise, kind (right, known, wrong), source.
They were written from the statements alone, before the checks had their final form.
"""

import json
from collections import Counter

import pytest
from sample_class import in_other_style, style_path

from helpers.checks.judge import judge_seed_by_seed
from helpers.checks.keys import exercise_key
from helpers.lessons import build
from helpers.lessons.answers import Trial, base_namespace
from helpers.lessons.paths import ROOT

LINES = (ROOT / "tests" / "answers.jsonl").read_text(encoding="utf-8").splitlines()
ANSWERS = [json.loads(line) for line in LINES]
LESSONS = build.find()
# Others have written answers to these.
TRIED = {"00", "01", "02", "03", "04", "05", "06", "07", "08", "09"}
IN_OTHER_STYLE = {lesson.number for lesson in LESSONS if style_path(lesson).exists()}


def exercises(numbers):
    """Parameters for the exercises of the lessons with these numbers."""
    return pytest.mark.parametrize(
        ("lesson", "exercise"),
        [(one, e) for one in LESSONS if one.number in numbers for e in one.exercises],
        ids=lambda found: found.name,
    )


LEAST_NAMED = 0.4  # share of an exercise's restated mistakes that are named
bases = {}


def verdict(lesson, exercise, source):
    """As `check` judges."""
    base = bases.setdefault(lesson.name, None) or base_namespace(lesson)
    bases[lesson.name] = base
    trial = Trial(lesson, exercise, "answer", source, base)
    key = exercise_key(f"{lesson.number}/{exercise.name}")
    return judge_seed_by_seed(key, trial.evidence)


@exercises(TRIED)
def test_right_ones_get_full_marks_and_wrong_ones_do_not(lesson, exercise):
    name = f"{lesson.number}/{exercise.name}"
    mine = [answer for answer in ANSWERS if answer["exercise"] == name]
    named = Counter()
    wanted = {"right", "wrong"} | ({"known"} if lesson.number < "08" else set())
    assert {answer["kind"] for answer in mine} == wanted
    for answer in mine:
        found = verdict(lesson, exercise, answer["source"])
        assert found.solved == (answer["kind"] == "right"), answer["source"]
        if answer["kind"] == "known":
            named[bool(found.diagnosis)] += 1
    assert named[True] >= LEAST_NAMED * sum(named.values())


@exercises(IN_OTHER_STYLE)
def test_another_style_gets_full_marks(lesson, exercise):
    assert verdict(lesson, exercise, in_other_style(lesson)[exercise.name]).solved


def test_lessons_that_others_have_tried_are_among_those_in_another_style():
    assert TRIED <= IN_OTHER_STYLE
