"""Make a small class of submissions from the lessons, as a teacher would collect it.

Run as `python tests/sample_class.py FOLDER`: writes `FOLDER/submitted/...`.
"""

import copy
import shutil
import sys
from functools import partial
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook

from helpers.lessons import build, notebooks
from helpers.lessons.answers import answers

# Full marks in another style than the reference's, per exercise.
OTHER_STYLE = Path(__file__).parent / "other_style"


def released(lesson):
    """A fresh copy of a lesson's released notebook."""
    return copy.deepcopy(notebooks.read(notebooks.paths(lesson)[1]))


def fill(lesson, chosen):
    """The released notebook with answers: dict from exercise name to source."""
    notebook = released(lesson)
    for cell in notebook.cells:
        if cell.id in chosen:
            cell.source = chosen[cell.id]
    return notebook


def sources(lesson):
    """All answers by exercise: reference, stub and mistakes, by name."""
    return {exercise.name: dict(answers(exercise)) for exercise in lesson.exercises}


def with_mistake(lesson, number):
    """Every exercise with its mistake of this number, or right where it has none."""
    chosen = {}
    for name, known in sources(lesson).items():
        right, _, *wrong = known.values()
        chosen[name] = wrong[number] if number < len(wrong) else right
    return fill(lesson, chosen)


def right(lesson):
    """Full marks with the reference answers and a written answer."""
    chosen = {name: known["reference"] for name, known in sources(lesson).items()}
    written = {cell.name: cell.source for cell in lesson.cells if cell.role == "answer"}
    return fill(lesson, {**chosen, **written})


def style_path(lesson):
    """Where answers in another style stand."""
    return OTHER_STYLE / f"{lesson.name}.py"


def in_other_style(lesson):
    """Right answers that are written differently, by exercise."""
    script = style_path(lesson).read_text(encoding="utf-8")
    parts = script.split("# %% ")[1:]
    return {part.split("\n")[0]: part.split("\n", 1)[1].strip() for part in parts}


def other_style(lesson):
    """Full marks by answers that are written differently."""
    return fill(lesson, in_other_style(lesson))


def half_finished(lesson):
    """The first half right, the rest untouched, one cell that does not even run."""
    known = sources(lesson)
    names = list(known)
    half = names[: len(names) // 2]
    chosen = {name: known[name]["reference"] for name in half}
    chosen[names[len(half)]] = "def unfinished(x):\n    return x +"
    return fill(lesson, chosen)


def copied_check(lesson):
    """A check cell copied and pasted, with its metadata: nbgrader refuses it."""
    notebook = right(lesson)
    place = next(i for i, c in enumerate(notebook.cells) if c.id.startswith("check-"))
    double = copy.deepcopy(notebook.cells[place])
    double.id += "-copy"
    notebook.cells.insert(place + 1, double)
    return notebook


def deleted_check(lesson):
    """All right, but the first check cell is gone."""
    notebook = right(lesson)
    place = next(i for i, c in enumerate(notebook.cells) if c.id.startswith("check-"))
    del notebook.cells[place]
    return notebook


def edited_check(lesson):
    """All untouched, but the check cells are made to say full marks."""
    notebook = released(lesson)
    for cell in notebook.cells:
        if cell.id.startswith("check-"):
            cell.source = str(cell.metadata.nbgrader.points)
    return notebook


def students(lesson):
    """Name of a student -> function that makes the notebook, or text if damaged."""
    most = max(len(exercise.mistakes) for exercise in lesson.exercises)
    return {
        "right": right,
        "other_style": other_style,
        **{f"mistake_{k + 1}": partial(with_mistake, number=k) for k in range(most)},
        "half_finished": half_finished,
        "untouched": released,
        "copied_check": copied_check,
        "deleted_check": deleted_check,
        "edited_check": edited_check,
        "cut_off": lambda lesson: nbformat.writes(right(lesson))[:5000],
    }


def write_class(folder, lessons, few=()):
    """Write the submissions below `folder/submitted`.

    Args:
        lessons: the first is handed in by all students.
        few: the students who hand in the other lessons; all where it is empty.
    """
    submitted = Path(folder) / "submitted"
    shutil.rmtree(submitted, ignore_errors=True)
    for lesson in lessons:
        for student, make in students(lesson).items():
            if few and lesson is not lessons[0] and student not in few:
                continue
            submit(folder, student, lesson, make(lesson))


def submit(folder, student, lesson, notebook, name=""):
    """Hand in a notebook, or the text or bytes of a file that is none."""
    content = notebook
    if not isinstance(content, str | bytes):
        content = nbformat.writes(notebook)
    if isinstance(content, str):
        content = content.encode()
    path = Path(folder, "submitted", student, lesson.name)
    path.mkdir(parents=True, exist_ok=True)
    (path / (name or f"{lesson.name}.ipynb")).write_bytes(content)


def in_gradebook(folder, lesson):
    """All that nbgrader's gradebook holds of each student, times aside."""
    found = {}
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        for submission in book.assignment_submissions(lesson.name):
            (notebook,) = submission.notebooks
            grades = sorted(
                (one.name, one.auto_score, one.manual_score, one.max_score)
                + (one.extra_credit, one.needs_manual_grade, one.failed_tests)
                for one in notebook.grades
            )
            told = sorted(
                (one.name, one.auto_comment or "", one.manual_comment or "")
                for one in notebook.comments
            )
            total = submission.score, submission.max_score
            found[submission.student.id] = (total, grades, told)
    return found


if __name__ == "__main__":
    write_class(sys.argv[1], build.find(), few=["right", "mistake_1"])
