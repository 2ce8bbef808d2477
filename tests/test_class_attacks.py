"""A class full of attackers, graded once, with honest students among them."""

import json
import os
import re
import shutil
import sys
import tempfile
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import class_attacks
import other_user
import own_attacks
import pytest
from class_attacks import EVERYTHING, LESSON
from nbgrader.api import Gradebook
from own_attacks import QUICK
from sample_class import fill, right, submit

from helpers.grading import judging, marking, run
from helpers.grading.classroom import Options, grade
from helpers.grading.execute import Settings
from helpers.lessons import build

pytestmark = pytest.mark.skipif(os.name != "posix", reason="grading needs Linux")

HONEST = ("Ada", "a-first", "zoe-last")  # in the order of names: before, among, after


def all_cases(folder):
    return [*class_attacks.cases(folder), *own_attacks.cases(folder)]


CASES = {case.id: case for case in all_cases(class_attacks.ROOT)}
# Names of folders that nothing could be filed under, and how they are told.
UNUSABLE = {
    "[a-z]*": "[a-z]*",
    "line\nbreak": r"line\nbreak",
    os.fsdecode(b"no\xffutf8"): r"no\udcffutf8",
    "long" * 60: "long" * 60,
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The class folder, the report, and the cases as they were made for the folder."""
    folder = tmp_path_factory.mktemp("attacked")
    for student in HONEST:
        submit(folder, student, LESSON, right(LESSON))
    class_attacks.hand_in(folder, all_cases(folder))
    links = odd_kinds(folder)
    before = contents(folder / "submitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "Settings", partial(Settings, **QUICK))
        report = grade(folder)
    assert contents(folder / "submitted") == before
    return folder, report, links


def odd_kinds(folder):
    """Submissions that are no files: student -> what is told."""
    peer = folder / "submitted" / HONEST[0] / LESSON.name / f"{LESSON.name}.ipynb"
    kinds = {
        "k-link": lambda path: path.symlink_to(peer),
        "k-pipe": lambda path: os.mkfifo(path),
        "k-folder": lambda path: path.mkdir(),
        "k-nowhere": lambda path: path.symlink_to("/nowhere"),
        "k-loop": lambda path: path.symlink_to(path),
        "k-endless": lambda path: path.symlink_to("/dev/zero"),
    }
    for student, make in kinds.items():
        place = folder / "submitted" / student / LESSON.name
        place.mkdir(parents=True)
        make(place / f"{LESSON.name}.ipynb")
    for student in UNUSABLE:
        submit(folder, student, LESSON, right(LESSON))
    return list(kinds)


def contents(folder):
    """Every regular file below a folder, with its bytes."""
    paths = [path for path in sorted(folder.rglob("*")) if not path.is_symlink()]
    return {path: path.read_bytes() for path in paths if path.is_file()}


def marks(report, student):
    names = {exercise.name for exercise in LESSON.exercises}
    found = [mark for mark in report.marks if mark.student == student]
    return {mark.exercise: mark for mark in found if mark.exercise in names}


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.id)
def test_points_are_those_that_were_earned(graded, case):
    found = marks(graded[1], case.who)
    assert set(found) == EVERYTHING
    full = {name for name, mark in found.items() if mark.points == mark.most}
    none = {name for name, mark in found.items() if mark.points == 0}
    told = {name: (mark.points, mark.state, mark.note) for name, mark in found.items()}
    assert full - case.partly == case.earns, told
    if not case.earns or case.state in ("crashed", "tampered", "out of time"):
        assert none | case.partly | full == EVERYTHING, told


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.state], ids=lambda case: case.id
)
def test_every_result_says_what_it_is(graded, case):
    lost = EVERYTHING - case.earns
    found = marks(graded[1], case.who)
    assert {found[name].state for name in lost} == {case.state}


@pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if case.told is not None],
    ids=lambda case: case.id,
)
def test_what_happened_is_told(graded, case):
    who, report = (case.who, LESSON.name), graded[1]
    said = [*report.repairs.get(who, []), *report.flags.get(who, [])]
    said += report.troubles.get(who, [])
    said += [mark.note for mark in marks(report, who[0]).values()]
    if case.told:
        assert re.search(case.told, "\n".join(said))
    else:
        assert who not in report.repairs | report.flags | report.troubles


@pytest.mark.parametrize("student", HONEST)
def test_honest_students_are_unharmed(graded, student):
    found = marks(graded[1], student).values()
    assert all(mark.points == mark.most for mark in found) and found


def test_what_is_no_file_is_not_read(graded):
    for student in graded[2]:
        found = marks(graded[1], student).values()
        assert {(mark.points, mark.state) for mark in found} == {(0, "damaged")}


@pytest.mark.parametrize("student", UNUSABLE, ids=UNUSABLE.get)
def test_a_name_that_cannot_be_filed_is_not_graded_and_told(graded, student):
    state, reason = graded[1].troubles[UNUSABLE[student], LESSON.name]
    assert state == "not graded" and "rename it" in reason
    assert not marks(graded[1], student)


def pages(folder):
    return [
        path.read_text(encoding="utf-8")
        for path in [*folder.glob("feedback/*/*/*.html"), *folder.glob("report/*.html")]
    ]


class Active(HTMLParser):
    """Collects what a page would run or load for a learner, and its dangerous TeX."""

    def __init__(self, page):
        super().__init__()
        self.inside, self.found = "", []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        if tag in ("iframe", "object", "embed", "form", "base"):
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            text, bad = (
                f"{name}={value}",
                r"^on|^http-equiv|javascript:|mine\(|tracker\.",
            )
            if re.search(bad, text) and name != "alt":
                self.found.append(f"<{tag} {text}>")

    def handle_data(self, data):
        if self.inside in ("script", "style") and re.search("mine\\(|tracker", data):
            self.found.append(data)
        if self.inside not in ("pre", "span", "code") and r"\href{java" in data:
            self.found.append(data)


def test_no_page_runs_or_loads_what_a_learner_wrote(graded):
    found = pages(graded[0])
    assert len(found) == len(CASES) + len(HONEST) + len(graded[2])
    assert any("<b>kept</b>" in page for page in found)
    for page in found:
        assert Active(page).found == []
    shown = (
        graded[0] / "feedback" / "m-v2" / LESSON.name / f"{LESSON.name}.html"
    ).read_text()
    assert shown.count("kept as it is") == 2  # an own cell and a written answer


def test_the_gradebook_has_no_cells_of_the_learners(graded):
    with Gradebook(f"sqlite:///{graded[0] / 'gradebook.db'}") as book:
        found = book.find_submission_notebook(LESSON.name, LESSON.name, "m-o3")
        names = {grade.name for grade in found.grades}
        assert "bonus" not in names and "t" not in names
        assert found.score == 0 and found.max_score == 21


def test_no_page_shows_what_must_not_be_read(graded):
    for page in pages(graded[0]):
        assert "found: [&#39;" not in page and "found: ['" not in page
        assert "connected\n" not in page


def test_no_process_is_left():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        assert b"987.5" not in line and b"submitted" not in line


# These change the class


def test_a_dead_notebook_replaces_the_mark_of_an_earlier_one(graded):
    folder, before = graded[0], len(graded[1].marks)
    dead = class_attacks.REFERENCE["environment"] + "\nimport os\nos._exit(1)"
    answers = {**class_attacks.REFERENCE, "environment": dead}
    submit(folder, HONEST[0], LESSON, fill(LESSON, answers))
    again = grade(folder, Options(student=HONEST[0]))
    found = marks(again, HONEST[0])
    assert found["environment"].points == 0
    assert again.troubles[HONEST[0], LESSON.name][0] == "crashed"
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        score = book.find_submission(LESSON.name, HONEST[0]).score
    assert score == sum(mark.points for mark in found.values()) == 17
    assert before > len(again.marks)


# Without a class


def test_a_run_has_a_secret_that_the_next_one_does_not_have():
    secrets = {judging.new_seeds()[0] for _ in range(50)}
    assert len(secrets) > 45 and judging.PUBLIC not in secrets


def test_a_judge_that_stops_costs_one_exercise_not_the_class(monkeypatch):
    def stop(key, reference, sent):
        raise KeyError("shape") if key["id"] == "00/xent" else ValueError("all")

    monkeypatch.setattr(judging, "verdict_on", stop)
    keys = {key["id"][3:]: key for key in build.built_key(LESSON)["exercises"]}
    result = {"prints": dict.fromkeys(keys, ""), "evidence": {}, "cells": []}
    result |= {"state": "ran", "reason": "", "logs": {}}
    found = marking.judged(keys, dict.fromkeys(keys), result, result["prints"])
    told = found["exercises"]["xent"]
    assert told["state"] == "our fault" and "KeyError('shape')" in told["reason"]
    assert {one["earned"] for one in found["exercises"].values()} == {0}


def test_values_that_would_need_endless_memory_are_no_values():
    huge = {"kind": "i", "shape": [0, 99_999, 99_999, 99_999], "data": []}
    assert not judging.is_value(huge)
    assert judging.is_value({**huge, "shape": [0, 5]})
    assert not judging.is_value({"not data": "x" * 350_000})
    assert not judging.is_value({"dict": {"k" * 350_000: None}})


def test_an_empty_table_in_any_order_is_wrong_and_stops_no_judge():
    def rows(*shape):
        data = [0.0] * (shape[0] * shape[1])
        value = {"shape": list(shape), "kind": "f", "data": data}
        return [{"label": "rows", "value": {"compare": "any order", "value": value}}]

    seeds = {"1": rows(3, 2)}
    key = {"id": "00/x", "points": 2, "promises": ["rows"], "fixed": [], "mistakes": []}
    key["idle"] = []
    key |= {"weights": [1], "seeds": seeds, "rtol": 1e-5, "atol": 1e-8}
    for shape, earned in (((3, 2), 2), ((0, 2), 0)):
        sent = {"1": rows(*shape), "7": rows(*shape)}
        verdict = judging.verdict_on(key, {"7": rows(3, 2)}, sent)
        assert verdict.earned == earned


def test_the_public_numbers_earn_nothing_where_the_secret_seed_asks_for_the_same():
    """Honest answers keep such a promise; whoever replays the others, too, does not."""

    def records(*numbers):
        parts = {"kind": "f", "shape": []}
        return [
            {"label": str(n), "value": {**parts, "data": [float(number)]}}
            for n, number in enumerate(numbers)
        ]

    key = {"id": "00/x", "points": 3, "promises": ["0", "1", "2"], "fixed": []}
    key["idle"] = []
    key |= {
        "weights": [1, 1, 1],
        "mistakes": [],
        "rtol": 1e-5,
        "atol": 1e-8,
        "seeds": {"1": records(5, 6, 7), "2": records(5, 61, 8)},
    }
    reference = {"9": records(5, 60, 70)}
    public = records(5, 6, 7)
    for sent, earned in (
        (records(5, 0, 0), 1),  # one promise of three
        (records(5, 60, 0), 2),
        (records(5, 6, 7), 0),  # all of it is the public seed's
        (records(5, 60, 7), 1),
        (records(5, 6, 8), 0),  # as on the second public seed
    ):
        verdict = judging.verdict_on(key, reference, {"1": public, "9": sent})
        assert verdict.earned == earned


@pytest.mark.skipif(os.getuid() != 0, reason="whoever runs this is no root already")
def test_an_ordinary_user_grades_the_decisive_ones_as_root_does(graded):
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # others may not enter pytest's own
    os.chown(folder, other_user.NOBODY, other_user.NOBODY)
    command = [sys.executable, str(Path(own_attacks.__file__)), str(folder)]
    done = other_user.run_as_nobody(command, capture_output=True, text=True)
    shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["user"] == other_user.NOBODY
    for name in own_attacks.DECISIVE:
        found = said["marks"][f"m-{name}"]
        full = {one for one, (points, most, _) in found.items() if points == most}
        assert full == CASES[name].earns and set(found) == EVERYTHING
