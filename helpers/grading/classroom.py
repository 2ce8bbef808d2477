"""Grade a class with nbgrader and tell what became of every exercise.

The folder is an nbgrader course folder: `submitted/STUDENT/LESSON/LESSON.ipynb` is
there, `gradebook.db`, `autograded/` and `feedback/` are made. Every submission is
graded on its own, so that a damaged one stops nobody else.
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import shutil
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from tqdm import tqdm
from traitlets.config import PyFileConfigLoader

from helpers.checks.show import MIME
from helpers.lessons.paths import ROOT, SOLUTIONS


@dataclass
class Mark:
    """One line of the table: what a student got for one exercise, and why."""

    student: str
    lesson: str
    exercise: str
    points: float
    most: float
    note: str


@dataclass
class Report:
    """Marks of a class, and the submissions that could not be graded."""

    marks: list = field(default_factory=list)
    failures: dict = field(default_factory=dict)  # (student, lesson) -> sentence


def grade(folder, jobs=None):
    """Grade every submission below `folder` and print the table.

    Args:
        folder: course folder that holds `submitted/`.
        jobs: how many submissions are graded at a time; one per core by default.

    Returns:
        0, or 1 where there is nothing to grade.
    """
    folder = Path(folder).resolve()
    found = submissions(folder)
    if not found:
        print(f"Nothing to grade: no notebook is in {folder.name}/submitted/*/*/.")
        return 1
    report = grade_all(folder, found, jobs)
    print_table(report)
    print(f"\nGradebook: {folder.name}/gradebook.db, feedback: {folder.name}/feedback/")
    return 0


def submissions(folder):
    """Student and lesson of every submitted notebook, in order."""
    notebooks = sorted((folder / "submitted").glob("*/*/*.ipynb"))
    return [(path.parts[-3], path.parts[-2]) for path in notebooks]


def grade_all(folder, found, jobs=None):
    """Grade submissions and read the marks; returns a `Report`."""
    bin_folder = str(Path(sys.executable).parent)  # nbgrader calls alembic by name
    os.environ["PATH"] = os.pathsep.join([bin_folder, os.environ.get("PATH", "")])
    api = NbGraderAPI(config=class_config(folder))
    for lesson in sorted({lesson for _, lesson in found}):
        _register(api, lesson)
    report = Report()
    graded = _in_processes(folder, found, jobs or os.cpu_count())
    for item, reason in tqdm(graded, total=len(found), desc="grading"):
        if reason:
            report.failures[item] = reason
    for student, lesson in found:
        if (student, lesson) not in report.failures:
            report.marks += marks(folder, student, lesson)
    return report


def _in_processes(folder, found, jobs):
    """Grade submissions in `jobs` processes; yields each with its failure or ""."""
    left = list(found)
    with contextlib.suppress(BrokenProcessPool), _pool(jobs) as pool:
        work = {pool.submit(grade_one, folder, *item): item for item in found}
        for job in concurrent.futures.as_completed(work):
            reason = job.result()
            left.remove(work[job])
            yield work[job], reason
    for item in left:  # a process was killed: one of these may be why
        yield item, _grade_alone(folder, item)


def _pool(jobs):
    """Fresh processes: a fork would share this one's sockets and threads."""
    fresh = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(jobs, mp_context=fresh)


def _grade_alone(folder, item):
    try:
        with _pool(1) as pool:
            return pool.submit(grade_one, folder, *item).result()
    except BrokenProcessPool:
        return "the process that graded it was killed; is there enough memory?"


def class_config(folder):
    """The project's nbgrader settings, for a class that lives in `folder`."""
    config = PyFileConfigLoader("nbgrader_config.py", path=str(ROOT)).load_config()
    config.CourseDirectory.root = str(folder)
    config.CourseDirectory.source_directory = str(SOLUTIONS)
    config.CourseDirectory.release_directory = "release"
    return config


def _register(api, lesson):
    """Enter a lesson's exercises into the gradebook."""
    result = api.generate_assignment(lesson, force=True)
    if not result["success"]:
        raise RuntimeError(result.get("error") or result.get("log"))


def grade_one(folder, student, lesson):
    """Grade one submission and write its feedback; returns why it failed, or ""."""
    api = NbGraderAPI(config=class_config(folder))
    result = api.autograde(lesson, student, force=True)
    if not result["success"]:
        shutil.rmtree(folder / "autograded" / student / lesson, ignore_errors=True)
        path = folder / "submitted" / student / lesson / f"{lesson}.ipynb"
        return _reason(path, result)
    api.generate_feedback(lesson, student, force=True)
    return ""


def _reason(path, result):
    """Why a submission could not be graded, in one sentence."""
    try:
        cells = nbformat.read(path, as_version=4).cells
    except Exception:  # cut off, no JSON, not UTF-8: whatever it is, no notebook
        return "the file is damaged and cannot be read as a notebook."
    names = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in cells]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        return f"the cell {twice[0]} is there {names.count(twice[0])} times; keep one."
    log = (result.get("log") or result.get("error") or "no reason given").splitlines()
    errors = [line.strip() for line in log if "Error" in line]
    return f"nbgrader says: {(errors or log)[-1][:200]}"


def marks(folder, student, lesson):
    """The marks of one graded submission, from nbgrader's gradebook."""
    notes = _notes(folder / "autograded" / student / lesson / f"{lesson}.ipynb")
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        submission = book.find_submission(lesson, student)
        return [
            _mark(student, lesson, grade, notes)
            for notebook in submission.notebooks
            for grade in notebook.grades
        ]


def _mark(student, lesson, grade, notes):
    name = grade.name.removeprefix("check-")
    note = notes.get(grade.name, "")
    if grade.needs_manual_grade:
        note = "to be read by a person"
    return Mark(student, lesson, name, grade.score, grade.max_score, note)


def _notes(path):
    """What each check said, by nbgrader's id of its cell."""
    notes = {}
    for cell in nbformat.read(path, as_version=4).cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        for output in cell.get("outputs", []):
            verdict = output.get("data", {}).get(MIME)
            if name and verdict:
                notes[name] = _note(verdict)
    return notes


def _note(verdict):
    if not verdict["attempted"]:
        return "not attempted"
    if verdict["diagnosis"]:
        return "; ".join(verdict["diagnosis"])
    broken = [name for name, what in verdict["promises"].items() if what != "kept"]
    if not broken:
        return ""
    if verdict["error"]:
        return f"stopped with {verdict['error']}"
    return f"broken: {broken[0]}"


def print_table(report):
    """Print every mark and every failure."""
    rows = [("student", "exercise", "points", "diagnosis")]
    for mark in report.marks:
        name = f"{mark.lesson[:2]}/{mark.exercise}"
        points = f"{mark.points:g} / {mark.most:g}"
        rows.append((mark.student, name, points, mark.note))
    for (student, lesson), reason in report.failures.items():
        rows.append((student, lesson[:2], "-", f"not graded: {reason}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[3]]).rstrip())
