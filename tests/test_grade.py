"""A class from files to marks: sandbox, judge, gradebook, feedback, report."""

import functools
import json
import os
import re
import signal

import pytest
from bs4 import BeautifulSoup
from nbconvert.exporters import HTMLExporter
from nbformat.v4 import new_code_cell, new_output
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from sample_class import fill, released, right, sources, students, submit, write_class
from traitlets.config import Config

from helpers.checks.judge import judge_seed_by_seed
from helpers.checks.keys import exercise_key
from helpers.grading import (
    classroom,
    doctor,
    exchange,
    gradebook,
    report,
    run,
    workers,
)
from helpers.grading.classroom import Options, Submission, grade
from helpers.grading.execute import Settings
from helpers.grading.gradebook import NOT_READ, FeedbackPage
from helpers.lessons import build, notebooks
from helpers.lessons.answers import Trial, base_namespace
from helpers.lessons.notebooks import solution_notebook
from helpers.lessons.script import LessonError

LESSONS = build.find(["00", "05"])
WHOLE = LESSONS[0]  # handed in by the whole class
FEW = ("right", "mistake_1")  # who hand in the other one, too
every_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda found: found.name)

WRITTEN = next(cell.name for cell in WHOLE.cells if cell.role == "answer")
FIRST, SECOND = (exercise.name for exercise in WHOLE.exercises[:2])
HONEST_TROUBLE = {
    # An answer that ends the kernel costs what comes after it, not what came before.
    "ends_the_kernel": {SECOND: "import os\nos._exit(1)"},
    "forges_the_check": {
        FIRST: "import helpers.checks\nhelpers.checks.check = lambda *a, **k: 99\n"
        "check = lambda *a, **k: 99"
    },
    "script_in_output": {
        FIRST: "from IPython.display import HTML, display\n"
        "display(HTML('<script>alert(1)</script><b>bold</b>'))"
    },
}


def a_picture():
    """Id and source of an example that draws, with a change: so it has to run."""
    for cell in solution_notebook(WHOLE).cells:
        if "nbgrader" not in cell.metadata and "plots." in cell.source:
            if cell.cell_type == "code":
                return {cell.id: f"{cell.source}\n# I tried this, too."}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Folder and report of the whole class, graded once."""
    folder = tmp_path_factory.mktemp("class")
    write_class(folder, LESSONS, few=FEW)
    known = {name: every["reference"] for name, every in sources(WHOLE).items()}
    for student, change in HONEST_TROUBLE.items():
        submit(folder, student, WHOLE, fill(WHOLE, {**known, **change}))
    submit(folder, "tries_things", WHOLE, fill(WHOLE, {**known, **a_picture()}))
    submit(folder, "renamed", WHOLE, right(WHOLE), "hw (1).ipynb")
    return folder, grade(folder)


def checked(found, student, lesson=WHOLE):
    """The marks of one student without the written answer."""
    names = {exercise.name for exercise in lesson.exercises}
    return {
        mark.exercise: mark
        for mark in found.marks
        if (mark.student, mark.lesson) == (student, lesson.name)
        and mark.exercise in names
    }


def full(marks):
    return all(mark.points == mark.most for mark in marks)


@pytest.mark.parametrize(
    ("student", "lesson"),
    [
        *(("right", lesson) for lesson in LESSONS),
        ("other_style", WHOLE),
        ("copied_check", WHOLE),
        ("deleted_check", WHOLE),
        ("renamed", WHOLE),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_right_answers_get_full_marks_whatever_became_of_the_file(
    graded, student, lesson
):
    found = checked(graded[1], student, lesson)
    assert len(found) == len(lesson.exercises) and full(found.values())
    assert {mark.state for mark in found.values()} == {"right"}


@every_lesson
def test_every_known_mistake_loses_points_and_is_named(graded, lesson):
    most = None if lesson is WHOLE else 1
    for exercise in lesson.exercises:
        for number, mistake in enumerate(exercise.mistakes[:most], start=1):
            mark = checked(graded[1], f"mistake_{number}", lesson)[exercise.name]
            assert mark.points < mark.most and mark.state == "wrong"
            assert mark.note == f'"{mistake.name}"'


@pytest.fixture(scope="module")
def own_check():
    """Function: what the learner's own check gives an answer, on its public seeds."""
    base = base_namespace(WHOLE)
    exercises = {exercise.name: exercise for exercise in WHOLE.exercises}

    @functools.cache
    def points(name, source):
        key = exercise_key(f"{WHOLE.number}/{name}")
        trial = Trial(WHOLE, exercises[name], "handed in", source, base)
        return judge_seed_by_seed(key, trial.evidence).earned

    return points


@pytest.mark.parametrize("student", students(WHOLE))
def test_marks_are_those_of_the_learners_own_check(graded, own_check, student):
    """Other seeds, the same marks: for the whole class, whatever became of its files.

    The answers are read from the file that was handed in, once it is mended.
    """
    path = graded[0] / "submitted" / student / WHOLE.name / f"{WHOLE.name}.ipynb"
    notebook = doctor.repair(path.read_bytes(), released(WHOLE)).notebook
    handed_in = {cell.id: cell.source for cell in notebook.cells}
    found = checked(graded[1], student)
    assert found.keys() == {exercise.name for exercise in WHOLE.exercises}
    for name, mark in found.items():
        assert mark.points == own_check(name, handed_in[name]), name


def test_half_finished_and_untouched(graded):
    half = list(checked(graded[1], "half_finished").values())
    first = len(half) // 2
    assert full(half[:first])
    assert all(mark.points == 0 for mark in half[first:])
    assert half[first].note == "stopped with SyntaxError"
    untouched = checked(graded[1], "untouched").values()
    assert {(mark.points, mark.note) for mark in untouched} == {(0, "not attempted")}


def test_edited_checks_count_for_nothing_and_are_told(graded):
    marks = checked(graded[1], "edited_check").values()
    assert sum(mark.points for mark in marks) == 0
    flags = graded[1].flags["edited_check", WHOLE.name]
    assert len(flags) == len(WHOLE.exercises) and "was edited" in flags[0]


def test_a_damaged_file_stops_nobody_and_keeps_what_can_be_read(graded):
    (told,) = graded[1].flags["cut_off", WHOLE.name]
    assert told.startswith("The file is damaged; ")
    assert marks_of(graded[0])["cut_off"][-1] == told
    page = report.write(graded[0], WHOLE).read_text(encoding="utf-8")
    assert told in page[page.index("<h2>Look at these first") :]
    assert len(checked(graded[1], "cut_off")) == len(WHOLE.exercises)


def test_a_dead_kernel_costs_its_exercise_alone(graded):
    marks = checked(graded[1], "ends_the_kernel")
    assert marks.pop(SECOND).points == 0 and full(marks.values())
    state, reason = graded[1].troubles["ends_the_kernel", WHOLE.name]
    assert marks_of(graded[0])["ends_the_kernel"][-1] == f"{state}: {reason}"
    assert state == "crashed" and "the kernel died" in reason


def test_a_forged_check_earns_nothing_and_is_told(graded):
    marks = checked(graded[1], "forges_the_check").values()
    assert sum(mark.points for mark in marks) == 0
    assert {mark.state for mark in marks} == {"tampered"}
    assert graded[1].flags["forges_the_check", WHOLE.name]


def written_mark(report, student, lesson):
    names = {cell.name for cell in lesson.cells if cell.role == "answer"}
    whose = (student, lesson.name)
    of_student = [m for m in report.marks if (m.student, m.lesson) == whose]
    (mark,) = [mark for mark in of_student if mark.exercise in names]
    return mark


@every_lesson
def test_written_answers_wait_for_a_person(graded, lesson):
    mark = written_mark(graded[1], "right", lesson)
    assert mark.points is None and mark.note == "to be read by a person"


def test_an_untouched_written_answer_has_no_points_and_keeps_nobody_waiting(graded):
    mark = written_mark(graded[1], "untouched", WHOLE)
    assert mark.points == 0 and mark.note == "nothing written"


def feedback(folder, student, lesson=WHOLE):
    path = folder / "feedback" / student / lesson.name / f"{lesson.name}.html"
    return path.read_text(encoding="utf-8")


@every_lesson
def test_feedback_shows_verdicts(graded, lesson):
    page = feedback(graded[0], "mistake_1", lesson)
    name = lesson.exercises[0].mistakes[0].name
    assert "You assumed:" in page and name.split("`")[0] in page


def test_an_example_runs_where_the_learner_changed_it(graded):
    """Its picture is in the feedback, with a description; others were left out."""
    assert full(checked(graded[1], "tries_things").values())
    page = feedback(graded[0], "tries_things")
    assert re.search(r'<img alt="[^"]{20,}" src="data:image/png', page)
    assert not re.search(r"<img(?![^>]*alt=)", page)


def test_feedback_tells_repairs_and_runs_nothing_of_the_learners(graded):
    assert "From the grader" in feedback(graded[0], "deleted_check")
    assert "From the grader" not in feedback(graded[0], "right")
    page = feedback(graded[0], "script_in_output")
    assert "<b>bold</b>" in page and "alert(1)</script>" not in page


def test_the_gradebook_has_every_student(graded):
    with Gradebook(f"sqlite:///{graded[0] / 'gradebook.db'}") as book:
        names = {student.id for student in book.students}
    assert names == {*students(WHOLE), *HONEST_TROUBLE, "tries_things", "renamed"}


def test_the_table_names_student_exercise_points_and_diagnosis(graded, capsys):
    classroom.print_table(graded[1])
    out = capsys.readouterr().out
    assert re.search(
        r'mistake_1 +00/holdout +\d\S* / 3 +"the tail is a fair sample"', out
    )
    assert re.search(r"right +00 in all +19 / 21 +1 to be read by a person", out)
    assert "Repaired:" in out and "To look at:" in out and "Cut short:" in out


def test_what_comes_next_is_said(graded, capsys):
    classroom.print_next("here", graded[1])
    out = capsys.readouterr().out
    assert re.search(r"\d+ graded\. Feedback: here/feedback/STUDENT/\.", out)
    assert re.search(r"formgrader: \d+\.", out) and "course report here" in out
    classroom.print_next("here", classroom.Report(graded[1].marks))
    assert "of them as executed before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("folder", "options", "told"),
    [
        ("nowhere", {}, "no folder submitted/ in .*nowhere, which does not exist"),
        ("", {"student": "rihgt"}, "rihgt has no folder in .* did you mean right"),
        (
            "",
            {"student": "right", "lessons": ["09"]},
            "submitted/right/09/ has no note",
        ),
    ],
)
def test_nothing_to_grade_says_why(graded, folder, options, told):
    place = graded[0] / folder if folder else graded[0]
    with pytest.raises(LessonError, match=told):
        grade(place, classroom.Options(**options))


def test_the_report_shows_exercises_misconceptions_and_whom_to_look_at(graded):
    page = report.write(graded[0], WHOLE).read_text(encoding="utf-8")
    assert not re.search(r"<script|https?:", page)
    assert "the tail is a fair sample" in page
    assert f"../feedback/mistake_1/{WHOLE.name}/{WHOLE.name}.html#check-holdout" in page
    look = page[page.index("Look at these first") : page.index("<h2>Marks")]
    assert "ends_the_kernel" in look and "forges_the_check" in look
    assert "crashed" in look
    assert ">right<" not in look


def test_items_that_tell_good_from_weak_correlate_with_the_rest(graded):
    pairs = report.found(graded[0], WHOLE)
    assert report.discrimination(pairs, "standardise") > 0.3
    alike = {name: pair for name, pair in pairs.items() if name in ("right", "renamed")}
    assert report.discrimination(alike, "standardise") is None


# A second run; these change the class


def test_nothing_is_done_twice(graded):
    again = grade(graded[0])
    assert again.executed == 0 and again.changes == []
    assert len(again.marks) == len(graded[1].marks)


def set_by_hand(folder, student, name, points, comment=None):
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        grade = book.find_grade(name, WHOLE.name, WHOLE.name, student)
        grade.manual_score, grade.needs_manual_grade = points, False
        if comment:
            found = book.find_comment(name, WHOLE.name, WHOLE.name, student)
            found.manual_comment = comment
        book.db.commit()


def is_to_be_read(folder, student, name):
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        grade = book.find_grade(name, WHOLE.name, WHOLE.name, student)
        return grade.needs_manual_grade


def test_what_a_person_gave_is_in_the_feedback_and_stays_read(graded):
    folder, options = graded[0], Options(lessons=("00",), student="right")
    assert not grade(folder, options).changes
    assert feedback(folder, "right").count(NOT_READ) == 1
    assert NOT_READ not in feedback(folder, "untouched")
    set_by_hand(folder, "right", WRITTEN, 1.5, "Well said.")
    set_by_hand(folder, "right", f"check-{FIRST}", 0.25)
    again = grade(folder, options)
    assert again.executed == 0
    assert "Well said." in feedback(folder, "right")
    assert NOT_READ not in feedback(folder, "right")
    mark = checked(again, "right")[FIRST]
    assert (mark.points, mark.state) == (0.25, "marked by hand")
    assert "set by hand; the check gave" in mark.note
    pairs = report.found(folder, WHOLE)
    assert pairs["right"][1][FIRST]["earned"] == 0.25
    place = folder / "evidence" / WHOLE.name / "verdicts" / "right.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "inputs": "others"}))
    grade(folder, options)  # autograded anew: nbgrader would have it read again
    assert not is_to_be_read(folder, "right", WRITTEN)
    set_by_hand(folder, "right", f"check-{FIRST}", None)


def test_nbgraders_own_list_has_the_lesson(graded):
    config = Config()
    config.CourseDirectory.root = str(graded[0])
    names = [one["name"] for one in NbGraderAPI(config=config).get_assignments()]
    assert WHOLE.name in names


def test_a_new_attempt_replaces_the_mark_and_a_persons_mark_stays(graded):
    folder, name = graded[0], WHOLE.name
    written = WRITTEN
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        book.find_grade(written, name, name, "mistake_2").manual_score = 1.5
        book.find_comment(written, name, name, "mistake_2").manual_comment = "Good."
        book.db.commit()
    submit(folder, "mistake_2", WHOLE, fill(WHOLE, {written: "Other words."}))
    again = grade(folder, Options(student="mistake_2"))
    assert again.executed == 1
    assert {mark.points for mark in checked(again, "mistake_2").values()} == {0}
    (mark,) = [mark for mark in again.marks if mark.exercise == written]
    changed = "marked by hand; changed since, to be read again"
    assert (mark.points, mark.state) == (1.5, changed)
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        comment = book.find_comment(written, name, name, "mistake_2")
        assert comment.manual_comment == "Good."
        assert book.find_submission(name, "mistake_2").score == 1.5
    page = report.write(folder, WHOLE).read_text(encoding="utf-8")
    marks = BeautifulSoup(page[page.index("<h2>Marks") :], "html.parser")
    (row,) = [one for one in marks("tr") if one.find(string="mistake_2")]
    assert [cell.text for cell in row("td")][-2:] == ["1.5", "1.5"]  # written, in all


def test_a_change_of_key_is_judged_without_executing(graded, monkeypatch, capsys):
    key = build.built_key(WHOLE)
    for exercise in key["exercises"]:
        if exercise["id"].endswith(f"/{FIRST}"):
            exercise["points"], exercise["weights"] = 1.0, [1, 1, 2]
        if exercise["id"].endswith(f"/{SECOND}"):
            was = exercise["mistakes"][0]["belief"]
            exercise["mistakes"][0]["belief"] = "another belief"
    monkeypatch.setattr(build, "built_key", lambda lesson: key)
    again = grade(graded[0], Options(lessons=("00",), execute=False))
    assert again.executed == 0
    assert ("right", WHOLE.name, FIRST, 2.0, 1.0) in again.changes
    # two of three promises kept; the third now counts twice
    assert ("mistake_1", WHOLE.name, FIRST, 1.33, 0.5) in again.changes
    was, new = f'"{was}"', '"another belief"'
    renamed = ("mistake_1", WHOLE.name, SECOND, was, new)
    assert renamed in again.rediagnosed
    classroom.print_table(again)
    told = capsys.readouterr().out.split("Changed since the last grading:")[1]
    assert f"right, 00: {FIRST}: 2 -> 1 points" in told
    assert f"mistake_1, 00: {SECOND}: {was} -> {new}" in told
    more = grade(graded[0], Options(lessons=("00",), execute=False))
    assert more.changes == more.rediagnosed == []  # told once
    monkeypatch.undo()
    grade(graded[0], Options(lessons=("00",), execute=False))


def test_judging_anew_tells_whom_it_has_no_evidence_of(graded, capsys):
    place = graded[0] / "evidence" / WHOLE.name / "results" / "right.json"
    kept = place.read_bytes()
    place.unlink()
    again = grade(graded[0], Options(("00",), "right", execute=False))
    place.write_bytes(kept)
    assert again.marks == []
    classroom.print_table(again)
    classroom.print_next(graded[0], again)
    told = capsys.readouterr().out
    assert "right, 00: not graded: it was not executed yet, or that is gone" in told
    assert "\nNothing was graded.\n" in told and "Feedback" not in told


def marks_of(folder):
    """What marks.csv says of each student: points, most, to be read, note."""
    rows = exchange.write_marks(folder, folder / "marks.csv", [WHOLE.name])
    return {student: rest for student, _, *rest in rows}


def test_what_nbgrader_cannot_take_costs_one_student_not_the_class(graded, monkeypatch):
    place = graded[0] / "evidence" / WHOLE.name / "verdicts" / "right.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "inputs": "others"}))
    failed = {"success": False, "log": "ValueError: not this one"}
    monkeypatch.setattr(NbGraderAPI, "autograde", lambda *a, **k: failed)
    options = Options(lessons=("00",), execute=False)
    again = grade(graded[0], options)
    state, reason = again.troubles["right", WHOLE.name]
    assert state == "our fault"
    assert reason.startswith("nbgrader failed: ValueError: not this one. The gradebook")
    assert full(checked(again, "renamed").values())
    points, *_, note = marks_of(graded[0])["right"]
    assert (points, note) == ("", f"our fault: {reason}")  # and not 0
    assert marks_of(graded[0])["renamed"][0] > 0
    page = report.page(WHOLE, report.found(graded[0], WHOLE))
    first = page.split("Look at these first")[1].split("<h2>")[0]
    assert "nbgrader failed: ValueError" in first
    monkeypatch.undo()
    assert full(checked(grade(graded[0], options), "right").values())
    points, *_, note = marks_of(graded[0])["right"]
    assert points > 0
    assert note == ""


def endless(*_, **__):
    while True:
        re.search("a", "b")


@pytest.mark.parametrize(
    ("kind", "method"),
    [("StoredOutputs", "preprocess"), ("FeedbackPage", "from_notebook_node")],
)
def test_an_endless_page_costs_one_student_not_the_class(
    kind, method, graded, monkeypatch
):
    place = graded[0] / "evidence" / WHOLE.name / "verdicts" / "right.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "inputs": "others"}))
    monkeypatch.setattr(run, "MOST_SECONDS", 3.0)
    monkeypatch.setattr(getattr(gradebook, kind), method, endless)
    options = Options(lessons=("00",), execute=False)
    again = grade(graded[0], options)
    state, reason = again.troubles["right", WHOLE.name]
    assert state == "our fault"
    assert "nbgrader failed: TimeoutError: it took more than 3 seconds" in reason
    assert full(checked(again, "renamed").values())
    monkeypatch.undo()
    assert full(checked(grade(graded[0], options), "right").values())


def test_a_second_grading_of_the_same_folder_is_kept_out(graded):
    with classroom._alone(graded[0]), pytest.raises(LessonError, match="is running"):
        grade(graded[0])


# Without a class


def kill_or_note(course, one, prints, settings):
    if one.student == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    (course / f"{one.student}.txt").write_text("done")


def test_a_killed_process_costs_one_submission_not_the_class(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "execute", kill_or_note)
    pools, make = [], workers._pool
    monkeypatch.setattr(workers, "_pool", lambda jobs: pools.append(jobs) or make(jobs))
    names = ["killer", *(f"s{k}" for k in range(12))]
    todo = [Submission(who, WHOLE.name, tmp_path / f"{who}.ipynb") for who in names]
    for one in todo:
        one.path.write_text("{}")
    done = list(workers.execute_all(tmp_path, todo, {}, Settings(), 2))
    assert sorted(one.student for one in done) == sorted(names)
    assert all((tmp_path / f"{who}.txt").exists() for who in names[1:])
    path = tmp_path / "evidence" / WHOLE.name / "results" / "killer.json"
    assert json.loads(path.read_text())["state"] == "our fault"
    # Alone goes only what may have been the reason.
    assert 1 <= pools.count(1) <= 4


def test_a_lesson_that_was_not_built_is_not_graded(tmp_path, monkeypatch):
    submit(tmp_path, "ada", WHOLE, released(WHOLE))
    monkeypatch.setattr(build, "digest", lambda lesson: "another")
    with pytest.raises(LessonError, match="course build 00_warm_up"):
        grade(tmp_path)


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(LessonError, match="no folder submitted/"):
        grade(tmp_path)
    (tmp_path / "submitted").mkdir()
    with pytest.raises(LessonError, match="has no notebook"):
        grade(tmp_path)


def test_of_several_notebooks_a_file_named_after_the_lesson_counts(tmp_path):
    def taken():
        (one,) = classroom.submissions(tmp_path)
        return one.path.name

    place = tmp_path / "submitted" / "ada" / WHOLE.name
    (place / f"{WHOLE.name}.ipynb").mkdir(parents=True)
    assert taken() == f"{WHOLE.name}.ipynb"  # a folder: reported as damaged
    for age, name in enumerate(("newest", "older", "oldest")):
        (place / f"{name}.ipynb").touch()
        os.utime(place / f"{name}.ipynb", (1e9 - age, 1e9 - age))
    assert taken() == "newest.ipynb"
    (place / f"{WHOLE.name}.ipynb").rmdir()
    (place / f"{WHOLE.name}.ipynb").touch()
    os.utime(place / f"{WHOLE.name}.ipynb", (1e8, 1e8))
    assert taken() == f"{WHOLE.name}.ipynb"


def test_a_feedback_page_is_the_one_that_nbconvert_makes():
    notebook = notebooks.read(notebooks.paths(WHOLE)[0])
    picture = new_output("display_data", {"image/png": "iVBORw0KGgo="})  # without alt
    notebook.cells.append(new_code_cell("1", outputs=[picture]))
    ours, _ = FeedbackPage().from_notebook_node(notebook)
    theirs, _ = HTMLExporter().from_notebook_node(notebook)
    assert "tabindex" in ours and "No description has been provided" in ours
    assert str(BeautifulSoup(ours, features="html.parser")) == theirs
