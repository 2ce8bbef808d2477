"""The sample class through nbgrader: marks, diagnoses, feedback, damaged files."""

import os
import re
import signal

import pytest
from nbgrader.api import Gradebook
from sample_class import sources, students, write_class

from helpers.grading import classroom
from helpers.lessons import build

LESSONS = build.find()
WHOLE = LESSONS[0]  # handed in by the whole class
FEW = ("right", "mistake_1")  # who hand in every lesson
GIVEN_UP = {"copied_check", "cut_off"}  # what nbgrader itself refuses
pytestmark = pytest.mark.xdist_group("class")  # in one process: it is graded once


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Folder and report of the whole class, graded once."""
    folder = tmp_path_factory.mktemp("class")
    write_class(folder, LESSONS, few=FEW)
    found = classroom.submissions(folder)
    return folder, classroom.grade_all(folder, found)


def marks(graded, student, lesson):
    return {
        mark.exercise: mark
        for mark in graded[1].marks
        if (mark.student, mark.lesson) == (student, lesson.name)
    }


def checked(graded, student, lesson):
    """The marks of one student without the written answer."""
    names = {exercise.name for exercise in lesson.exercises}
    found = marks(graded, student, lesson)
    return {name: mark for name, mark in found.items() if name in names}


every_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda found: found.name)


def test_only_what_is_no_notebook_any_more_is_given_up(graded):
    failures = graded[1].failures
    assert {student for student, _ in failures} == GIVEN_UP
    for (student, _), reason in failures.items():
        words = {"copied_check": "is there 2 times", "cut_off": "file is damaged"}
        assert words[student] in reason


@pytest.mark.parametrize(
    ("student", "lesson"),
    [*(("right", lesson) for lesson in LESSONS), ("other_style", WHOLE)],
    ids=lambda value: getattr(value, "name", value),
)
def test_right_answers_get_full_marks(graded, student, lesson):
    found = checked(graded, student, lesson)
    assert len(found) == len(lesson.exercises)
    assert {name: mark.points for name, mark in found.items()} == {
        name: mark.most for name, mark in found.items()
    }


@every_lesson
def test_every_known_mistake_loses_points_and_is_named(graded, lesson):
    most = None if lesson is WHOLE else 1
    for exercise in lesson.exercises:
        for number, mistake in enumerate(exercise.mistakes[:most], start=1):
            mark = checked(graded, f"mistake_{number}", lesson)[exercise.name]
            assert mark.points < mark.most
            assert mark.note == mistake.name


@every_lesson
def test_marks_are_those_of_the_learners_own_check(graded, lesson):
    """Partial credit as the judge gives it, read by nbgrader from the cell."""
    from helpers.checks.judge import judge_seed_by_seed
    from helpers.checks.keys import exercise_key
    from helpers.lessons.answers import Trial, base_namespace

    base = base_namespace(lesson)
    for exercise in lesson.exercises:
        key = exercise_key(f"{lesson.number}/{exercise.name}")
        _, _, *wrong = sources(lesson)[exercise.name].items()
        (name, source), number = wrong[0], 1
        trial = Trial(lesson, exercise, name, source, base)
        wanted = judge_seed_by_seed(key, trial.evidence).earned
        mark = checked(graded, f"mistake_{number}", lesson)[exercise.name]
        assert mark.points == pytest.approx(wanted)


def test_half_finished_and_untouched(graded):
    half = list(checked(graded, "half_finished", WHOLE).values())
    first = len(half) // 2
    assert all(mark.points == mark.most for mark in half[:first])
    assert all(mark.points == 0 for mark in half[first:])
    assert half[first].note == "stopped with Undefined"
    untouched = checked(graded, "untouched", WHOLE).values()
    assert {(mark.points, mark.note) for mark in untouched} == {(0, "not attempted")}


def test_damage_to_check_cells(graded):
    edited = checked(graded, "edited_check", WHOLE).values()
    assert sum(mark.points for mark in edited) == 0
    deleted = checked(graded, "deleted_check", WHOLE)
    assert [mark.points for mark in deleted.values()].count(None) <= 1
    rest = list(deleted.values())[1:]
    assert all(mark.points == mark.most for mark in rest)


@every_lesson
def test_written_answers_wait_for_a_person(graded, lesson):
    names = {exercise.name for exercise in lesson.exercises}
    (answer,) = [
        mark
        for name, mark in marks(graded, "right", lesson).items()
        if name not in names
    ]
    assert answer.note == "to be read by a person"


@every_lesson
def test_feedback_shows_verdicts_with_descriptions_and_no_mistakes_of_others(
    graded, lesson
):
    path = graded[0] / "feedback" / "mistake_1" / lesson.name / f"{lesson.name}.html"
    page = path.read_text(encoding="utf-8")
    name = lesson.exercises[0].mistakes[0].name
    assert "You assumed:" in page and name.split("`")[0] in page
    assert not re.search(r"<img(?![^>]*alt=)", page)
    assert "No description has been provided" not in page


def test_the_gradebook_has_every_student(graded):
    with Gradebook(f"sqlite:///{graded[0] / 'gradebook.db'}") as book:
        names = {student.id for student in book.students}
    assert names >= set(students(LESSONS[0])) - GIVEN_UP


def test_the_table_names_student_exercise_points_and_diagnosis(graded, capsys):
    classroom.print_table(graded[1])
    out = capsys.readouterr().out
    assert re.search(
        r"mistake_1 +00/holdout +\d\S* / 3 +the tail is a fair sample", out
    )
    assert re.search(r"cut_off +00 +- +not graded: the file is damaged", out)


def kill(folder, student, lesson):
    if student == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    return ""


def test_a_killed_process_costs_one_submission_not_the_class(monkeypatch, tmp_path):
    monkeypatch.setattr(classroom, "grade_one", kill)
    found = [(student, "00") for student in ("killer", "ada", "max")]
    graded = dict(classroom._in_processes(tmp_path, found, 2))
    assert "was killed" in graded[("killer", "00")]
    assert [graded[("ada", "00")], graded[("max", "00")]] == ["", ""]


def test_an_empty_folder_is_told(tmp_path, capsys):
    assert classroom.grade(tmp_path) == 1
    assert "Nothing to grade: no notebook is in" in capsys.readouterr().out
