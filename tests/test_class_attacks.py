"""A class full of attackers, graded once, with honest students among them."""

import os
import re
from functools import partial
from pathlib import Path

import class_attacks
import pytest
from class_attacks import EVERYTHING, LESSON, SCRIPTS
from sample_class import right, write_notebook

from helpers.grading import run
from helpers.grading.classroom import grade
from helpers.grading.execute import Settings

pytestmark = pytest.mark.skipif(os.name != "posix", reason="grading needs Linux")

HONEST = ("Ada", "a-first", "zoe-last")  # in the order of names: before, among, after
QUICK = {"cell_seconds": 6.0, "check_seconds": 8.0, "seconds": 60.0}
CASES = {case.id: case for case in class_attacks.cases(class_attacks.ROOT)}


def name_of(case):
    return case.student or f"m-{case.id}"


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The class folder, the report, and the cases as they were made for the folder."""
    folder = tmp_path_factory.mktemp("attacked")
    for student in HONEST:
        write_notebook(folder, student, LESSON, right(LESSON))
    found = class_attacks.cases(folder)
    for case in found:
        place = folder / "submitted" / name_of(case) / LESSON.name
        place.mkdir(parents=True)
        (place / case.name).write_bytes(case.content())
        for name, text in case.beside.items():
            (place / name).write_text(text)
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
    }
    for student, make in kinds.items():
        place = folder / "submitted" / student / LESSON.name
        place.mkdir(parents=True)
        make(place / f"{LESSON.name}.ipynb")
    write_notebook(folder, "[a-z]*", LESSON, right(LESSON))
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
    found = marks(graded[1], name_of(case))
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
    found = marks(graded[1], name_of(case))
    assert {found[name].state for name in lost} == {case.state}


@pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if case.told is not None],
    ids=lambda case: case.id,
)
def test_what_happened_is_told(graded, case):
    who, report = (name_of(case), LESSON.name), graded[1]
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


def test_a_name_that_is_a_pattern_is_not_graded_and_told(graded):
    state, reason = graded[1].troubles["[a-z]*", LESSON.name]
    assert state == "not graded" and "rename it" in reason
    assert not marks(graded[1], "[a-z]*")


def pages(folder):
    return [
        path.read_text(encoding="utf-8")
        for path in [*folder.glob("feedback/*/*/*.html"), *folder.glob("report/*.html")]
    ]


def test_no_page_runs_what_a_learner_wrote(graded):
    found = pages(graded[0])
    assert len(found) == len(CASES) + len(HONEST) + len(graded[2])
    for page in found:
        shown = re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL)
        assert not SCRIPTS.search(shown)
    assert any("<b>kept</b>" in page for page in found)


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
