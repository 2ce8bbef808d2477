"""Grade a class: what a teacher asks for, and what they are told.

The folder is an nbgrader course folder: `submitted/STUDENT/LESSON/LESSON.ipynb` is
there; `gradebook.db`, `autograded/` and `feedback/` are made as nbgrader makes them,
`evidence/` holds what the submissions yielded.
"""

import contextlib
import difflib
import fcntl
import itertools
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from helpers.grading import choosing, gradebook, marking, store
from helpers.lessons import build
from helpers.lessons.script import LessonError

# nbgrader takes names of folders as patterns: `*` would be all students. Control
# characters and halves of characters (a name that is not UTF-8) fit into no page.
UNUSABLE = re.compile(  # patterns, control characters, and what cannot be seen
    r"[*?[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    r"\ud800-\udfff]"
)
LONGEST = 150  # bytes of a folder's name: files are named after it
# macOS writes "._" files beside the real ones, Office "~$" files, Windows adds ".txt"
A_NOTEBOOK = re.compile(r"(?i)(?!\.|~\$).+\.ipynb(\.txt)?")
NO_NOTEBOOK = "there is no .ipynb file in its folder, or the folder's name is wrong"
RENAME = (
    "a folder's name must not have `*`, `?`, `[`, control or invisible characters, "
    "begin with a dot, begin or end with a space, must be UTF-8, and not be longer "
    f"than {LONGEST} bytes; rename it"
)


@dataclass(frozen=True)
class Submission:
    """One file to grade."""

    student: str
    lesson: str
    path: Path


@dataclass
class Mark:
    """One line of the table: what a student got for one exercise, and why."""

    student: str
    lesson: str
    exercise: str
    points: float
    most: float
    state: str
    note: str


@dataclass(frozen=True)
class Options:
    """What a teacher asks for.

    lessons: names or numbers; all that were handed in where empty.
    student: this one only.
    again: execute even what has been executed.
    execute: False judges kept evidence anew and executes nothing.
    jobs: kernels at a time; one per core by default.
    allow: safety mechanisms that may be missing, see `sandbox.MECHANISMS`.
    """

    lessons: tuple = ()
    student: str = ""
    again: bool = False
    execute: bool = True
    jobs: int = 0
    allow: tuple = ()


@dataclass
class Report:
    """Marks of a class; what was repaired, flagged, cut short and changed."""

    marks: list = field(default_factory=list)
    repairs: dict = field(default_factory=dict)  # (student, lesson) -> sentences
    flags: dict = field(default_factory=dict)
    troubles: dict = field(default_factory=dict)  # (student, lesson) -> (state, reason)
    # (student, lesson, exercise, before, after): points; diagnoses where points stay
    changes: list = field(default_factory=list)
    rediagnosed: list = field(default_factory=list)
    executed: int = 0

    def add(self, one, result, verdicts, manual):
        """Take up what became of one submission."""
        who = one.student, one.lesson
        before = verdicts["before"]["exercises"]
        shown = marking.with_persons_points(verdicts)
        for name, found in verdicts["exercises"].items():
            self._mark(one, name, shown[name]["earned"], found["points"], shown[name])
            old = before.get(name, found)
            if old["earned"] != found["earned"]:
                self.changes.append((*who, name, old["earned"], found["earned"]))
            elif _note(old) != _note(found):
                self.rediagnosed.append((*who, name, _note(old), _note(found)))
        for name, (points, most, state) in manual.items():
            self._mark(one, name, points, most, {"state": state})
        for kept, told in ((self.repairs, "repairs"), (self.flags, "flags")):
            if result[told]:
                kept[who] = result[told]
        if trouble := marking.trouble_of(result, verdicts):
            self.troubles[who] = trouble

    def _mark(self, one, name, points, most, found):
        mark = Mark(one.student, one.lesson, name, points, most, found["state"], "")
        mark.note = _note(found)
        self.marks.append(mark)


def _note(found):
    """Why an exercise got what it got, in a few words."""
    if found["state"] == "right":
        return ""
    if found.get("diagnosis"):
        return "; ".join(f'"{belief}"' for belief in found["diagnosis"])
    if found["state"] != "wrong":
        return found["state"] + (f": {found['reason']}" if found.get("reason") else "")
    if found["error"]:
        return f"stopped with {found['error']}"
    broken = [name for name, what in found["promises"].items() if what != "kept"]
    return f"broken: {broken[0]}"


def grade(folder, options=None):
    """Grade the submissions below `folder`; returns a `Report`.

    Raises:
        LessonError: one sentence, where nothing can be graded or another run is on.
        sandbox.NotIsolated: where this machine cannot shut submissions in.
    """
    from helpers.grading.run import LessonRun

    options, course = options or Options(), Path(folder).resolve()
    gradebook.find_alembic()
    found = submissions(course, options)
    if not found:
        raise LessonError(_nothing(course, options))
    report, refused = Report(), not_graded(course, options)
    for (student, lesson), reason in refused.items():
        report.troubles[store.printable(student), lesson] = "not graded", reason
    found = [one for one in found if (one.student, one.lesson) not in refused]
    with _alone(course):
        store.remove_drafts(course)
        names = sorted({one.lesson for one in found})
        # All are looked at before the first is graded: one may not fit its script.
        runs = [LessonRun(course, *build.find([n]), options, report) for n in names]
        for name, of_lesson in zip(names, runs, strict=True):
            of_lesson.grade([one for one in found if one.lesson == name])
        store.remove_drafts(course)
    return report


def _nothing(course, options):
    """Why there is nothing to grade, in one sentence."""
    place = course / "submitted"
    if not place.is_dir():
        where = course if course.is_dir() else f"{course}, which does not exist"
        return f"There is no folder submitted/ in {where}."
    students = sorted(path.name for path in place.iterdir() if path.is_dir())
    if options.student and options.student not in students:
        close = difflib.get_close_matches(options.student, students)
        told = f"; did you mean {', '.join(close)}?" if close else "."
        return f"{options.student} has no folder in {place}{told}"
    whose = options.student or "STUDENT"
    lesson = " or ".join(options.lessons) or "LESSON"
    return f"Nothing to grade: {place}/{whose}/{lesson}/ has no notebook."


def is_unusable(name):
    odd = UNUSABLE.search(name) or name.startswith(".") or name != name.strip()
    return bool(odd) or len(os.fsencode(name)) > LONGEST


def submissions(course, options=None):
    """The submitted files of a class that `options` asks for, in order."""
    return [
        Submission(student, lesson, _best(files))
        for student, lesson, files in _handed_in(course, options or Options())
        if files
    ]


def not_graded(course, options):
    """Why there can be no marks: dict from (student, lesson) to a reason."""
    return {
        (student, lesson): RENAME if files else NO_NOTEBOOK
        for student, lesson, files in _handed_in(course, options)
        if is_unusable(student) or not files
    }


def _handed_in(course, options):
    """`(student, lesson, notebooks)` of each folder of a lesson, misspelled or not."""
    known = {lesson.name for lesson in build.find(options.lessons)}
    for folder in sorted(Path(course, "submitted").glob("*/*")):
        student, lesson = folder.parent.name, folder.name
        if lesson.strip() in known and options.student in ("", student):
            yield student, lesson, _notebooks(folder) if lesson in known else []


def _notebooks(folder):
    files = sorted(folder.glob("*"))
    return [path for path in files if A_NOTEBOOK.fullmatch(path.name)]


def _best(files):
    """The one of a student's notebooks that counts; says so where there are several."""
    if len(files) == 1:
        return files[0]
    student, lesson = files[0].parts[-3:-1]
    choice = choosing.of_lesson(lesson)
    ranked = [
        (path, choice.rank(store.submitted(path), path.name, path.lstat().st_mtime))
        for path in files
    ]
    path, _, others = choosing.best_of(ranked)
    left = ", ".join(f"{other.name} ({why})" for other, why in others)
    told = f"{student}, {lesson[:2]}: {path.name} is graded; left {left}."
    tqdm.write(store.printable(told), sys.stderr)
    return path


@contextlib.contextmanager
def _alone(course):
    """Keep a second grading of the same folder out."""
    path = course / "evidence" / "lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LessonError(
                f"Another grading of {course.name} is running; wait for it or stop it."
            ) from None
        yield


def print_table(report):
    """Print every mark; then what was repaired, flagged and cut short."""
    rows = [("student", "exercise", "points", "what is wrong")]
    marks = sorted(report.marks, key=lambda mark: (mark.lesson, mark.student))
    for _, mine in itertools.groupby(marks, lambda mark: (mark.lesson, mark.student)):
        rows += _rows(list(mine))
    rows = [tuple(map(store.printable, row)) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[3]]).rstrip())
    for title, told in (("Repaired", report.repairs), ("To look at", report.flags)):
        _print_sentences(title, told)
    cut = {
        who: [f"{state}: {reason}"] for who, (state, reason) in report.troubles.items()
    }
    _print_sentences("Cut short", cut)
    _print_changes(report)


def _rows(marks):
    """A line for each mark of one student in one lesson, and their sum."""
    rows = []
    for mark in marks:
        name = f"{mark.lesson[:2]}/{mark.exercise}"
        points = "-" if mark.points is None else f"{mark.points:g}"
        rows.append((mark.student, name, f"{points} / {mark.most:g}", mark.note))
    points = sum(mark.points or 0 for mark in marks)
    most, unread = sum(mark.most for mark in marks), _unread(marks)
    note = f"{unread} to be read by a person" if unread else ""
    first = marks[0]
    sums = f"{points:g} / {most:g}"
    return [*rows, (first.student, f"{first.lesson[:2]} in all", sums, note)]


def _unread(marks):
    return sum(mark.points is None for mark in marks)


def print_next(folder, report):
    """Print where feedback is, and what is left to do for a person."""
    count = len({(mark.student, mark.lesson) for mark in report.marks})
    if not count:
        print("\nNothing was graded.")
        return
    before = count - report.executed
    told = f", {before} of them as executed before" if before else ""
    print(f"\n{count} graded{told}. Feedback: {folder}/feedback/STUDENT/.")
    if unread := _unread(report.marks):
        print(f"Answers that a person reads, in nbgrader's formgrader: {unread}.")
    print(f"Next: course report {folder}, course marks {folder}.")


def _print_changes(report):
    told = {}
    for *who, name, before, after in report.changes:
        told.setdefault(tuple(who), []).append(
            f"{name}: {before:g} -> {after:g} points"
        )
    for *who, name, before, after in report.rediagnosed:
        sentence = f"{name}: {before or 'right'} -> {after or 'right'}"
        told.setdefault(tuple(who), []).append(sentence)
    _print_sentences("Changed since the last grading", told)


def _print_sentences(title, told):
    if told:
        print(f"\n{title}:")
    for (student, lesson), sentences in told.items():
        for sentence in sentences:
            print(store.printable(f"  {student}, {lesson[:2]}: {sentence}"))
