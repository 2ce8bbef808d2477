"""From a learning platform's files to a class folder, and marks back as a table.

`collect` understands what Moodle, Canvas, Blackboard and Brightspace give as "all
submissions" (a zip file, or the folder it was unpacked to), and plain folders:
`STUDENT/anything.ipynb`, `STUDENT.ipynb` or `STUDENT_LESSON.ipynb`, all of them inside
one more folder where there is one.
"""

import csv
import io
import re
import time
import unicodedata
import zipfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from nbgrader.api import Gradebook
from tqdm import tqdm

from helpers.grading.classroom import RENAME, is_unusable, printable
from helpers.grading.gradebook import find_alembic
from helpers.grading.marking import trouble_of
from helpers.grading.store import (
    MOST_SUBMITTED,
    folder_of,
    read_json,
    submitted,
    write_bytes,
)
from helpers.lessons.script import LessonError

# "Jane Doe_123_assignsubmission_file_/x.ipynb", with or without a folder each
MOODLE = re.compile(r"(?P<student>.+_\d+)_assignsubmission_[a-z]+(_|$)")
# "doejane_LATE_12_345_x.ipynb": name, number of the student, number of the file
CANVAS = re.compile(r"(?P<name>[^_]+)(_LATE)?_(?P<number>\d+)_\d+_.+")
# "Exercise 1_jdoe_attempt_2026-06-11-20-50-44_x.ipynb"
BLACKBOARD = re.compile(r".+_(?P<student>[^_]+)_attempt_(?P<time>\d{4}(-\d\d){5})\D.*")
# "397063-2557369 - Jane Doe - Sep 24, 2026 926 PM", a folder or with " - x.ipynb"
BRIGHTSPACE = re.compile(
    r"(?P<number>\d+)-\d+ - (?P<name>.+?) ?- [^-]*\d{4}[^-]*( - .+)?"
)
IGNORED = ("__MACOSX", ".ipynb_checkpoints", ".DS_Store", "desktop.ini", "Thumbs.db")
COLUMNS = ("student", "lesson", "points", "of", "to be read by a person", "note")
WHOSE = "whose is it? Put it into a folder that is named after the student"


@dataclass
class File:
    """One file of a platform: where it lay, when it was made, how to read it.

    What lies in a student's own zip file belongs to whom the zip file belongs to, and
    is as old: its `owner` is the place of the zip file.
    """

    place: PurePosixPath
    made: float
    read: object = field(repr=False)
    owner: PurePosixPath = None


def files(source):
    """All files below a folder or in a zip file, those in inner zip files, too.

    Raises:
        LessonError: where `source` is neither.
    """
    source = Path(source)
    if source.is_dir():
        found = [path for path in sorted(source.rglob("*")) if not path.is_dir()]
        return [file for path in found for file in _on_disk(path, source)]
    try:
        return _in_zip(zipfile.ZipFile(source))
    except Exception as error:  # damaged in one of many ways
        raise LessonError(
            f"{source} is neither a folder nor a zip file ({error}). Give what your "
            'platform calls "download all submissions".'
        ) from None


def _on_disk(path, source):
    place = PurePosixPath(path.relative_to(source).as_posix())
    file = File(place, path.lstat().st_mtime, lambda: submitted(path))
    return _opened(file) if path.suffix.lower() == ".zip" else [file]


def _in_zip(archive):
    found = []
    for info in archive.infolist():
        if info.is_dir():
            continue
        made = time.mktime((*info.date_time, 0, 0, -1))
        read = partial(_member, lambda: archive, info)
        file = File(PurePosixPath(info.filename), made, read)
        found += _opened(file) if file.place.suffix.lower() == ".zip" else [file]
    return found


def _member(open_archive, info):
    """The bytes of a file in a zip file, no more than we take; None if unreadable."""
    try:
        with open_archive().open(info) as file:
            return file.read(MOST_SUBMITTED)
    except Exception:  # damaged in one of many ways, or locked
        return None


def _opened(file):
    """What is in a student's own zip file; the file itself where it is none.

    The zip file is opened again for each member that is wanted: a class full of them
    would not fit into memory.
    """

    def open_archive():
        return zipfile.ZipFile(io.BytesIO(file.read() or b""))

    try:
        members = [info for info in open_archive().infolist() if not info.is_dir()]
    except Exception:  # damaged in one of many ways
        return [file]
    above, read = file.place.parent, partial(partial, _member, open_archive)
    return [
        File(above / info.filename, file.made, read(info), owner=file.place)
        for info in members
    ]


def student_of(place, lesson):
    """Whose file it is, by its place; "" where that cannot be told."""
    place = PurePosixPath(unicodedata.normalize("NFC", str(place)))
    if place.is_absolute() or ".." in place.parts:  # a zip file may hold anything
        return ""
    for part in place.parts:
        if found := MOODLE.match(part):
            return found["student"]
    if found := BLACKBOARD.fullmatch(place.name):
        return found["student"]
    for pattern, parts in ((BRIGHTSPACE, place.parts), (CANVAS, place.parts[-1:])):
        for part in parts:
            if found := pattern.fullmatch(part):
                return f"{found['name']}_{found['number']}"
    if len(place.parts) > 1:
        return place.parts[0]
    return re.sub(rf"^{lesson}$|^{lesson}[ _.-]+|[ _.-]+{lesson}$", "", place.stem)


@dataclass
class Collected:
    """What became of a platform's files."""

    taken: dict = field(default_factory=dict)  # student -> (place, new/replaced/same)
    left: list = field(default_factory=list)  # (place, reason)


def collect(course, lesson, source, write=True):
    """Put each student's notebook where grading looks for it.

    Args:
        course: the class folder, made where it is missing.
        lesson: name of the lesson that was handed in.
        source: folder or zip file as downloaded.
        write: False looks only.

    Returns:
        A `Collected`. Of several notebooks of a student the one named after the lesson
        is taken, then the newest.
    """
    found, report = {}, Collected()
    wanted = [file for file in files(source) if not _is_ignored(file.place)]
    around = _around([file.owner or file.place for file in wanted])
    for file in wanted:
        place = PurePosixPath(*(file.owner or file.place).parts[around:])
        student = student_of(place, lesson).strip()
        if file.place.suffix != ".ipynb":
            report.left.append((file.place, "not a notebook"))
        elif not student or student.startswith("."):
            report.left.append((file.place, WHOSE))
        elif is_unusable(student):
            report.left.append((file.place, RENAME))
        else:
            found.setdefault(student, []).append(file)
    for student, mine in tqdm(sorted(found.items()), desc="collected"):
        mine.sort(key=lambda file: _rank(file, lesson))
        report.left += [(file.place, "another one was taken") for file in mine[:-1]]
        _take(course, lesson, student, mine[-1], report, write)
    return report


def _is_ignored(place):
    return any(part in IGNORED or part.startswith("._") for part in place.parts)


def _around(places):
    """How many folders lie around the whole class: 1 where it is in one folder."""
    firsts = {place.parts[0] for place in places}
    seconds = {place.parts[1:2] for place in places if len(place.parts) > 2}
    deep = all(len(place.parts) > 1 for place in places)
    return 1 if deep and len(firsts) == 1 and len(seconds) > 1 else 0


def _rank(file, lesson):
    """The best of a student's notebooks: last attempt, named after the lesson, new."""
    attempt = BLACKBOARD.fullmatch(file.place.name)
    named = lesson in file.place.name
    return attempt["time"] if attempt else "", named, file.made


def _take(course, lesson, student, file, report, write):
    content = file.read()
    if content is None:
        report.left.append((file.place, "it cannot be read"))
        return
    path = Path(course, "submitted", student, lesson, f"{lesson}.ipynb")
    old = submitted(path)
    state = "new" if old is None else "same" if old == content else "replaced"
    if write and state != "same":
        write_bytes(path, content)
    report.taken[student] = file.place, state


def print_collected(report):
    """Print who handed in which file, and what was left."""
    for student, (place, state) in report.taken.items():
        print(f"{state:9} {student}: {printable(place)}")
    for place, reason in report.left:
        print(f"left      {printable(place)}: {reason}")
    print(f"{len(report.taken)} students, {len(report.left)} files left.")


# Marks


def write_marks(course, path, lessons=()):
    """Write a table of marks for a platform or a spreadsheet; returns its rows.

    Args:
        course: the class folder.
        path: of a CSV file (UTF-8, commas). No cell of it is taken for a formula.
        lessons: names; all that were graded where empty.

    Returns:
        Tuples as in `COLUMNS`. Who did not hand in, or could not be graded, has a row
        without points: that is no 0. The note says so, and what was cut short.
    """
    rows = _marks(course, lessons)
    text = io.StringIO(newline="")
    csv.writer(text).writerows([COLUMNS, *([_plain(v) for v in row] for row in rows)])
    write_bytes(Path(path), text.getvalue().encode())
    return rows


def _marks(course, lessons):
    database = Path(course, "gradebook.db")
    if not database.exists():
        raise LessonError(f"{course} has no gradebook.db; grade it first.")
    find_alembic()
    with Gradebook(f"sqlite:///{database}") as book:
        return [
            _row(course, lesson, student)
            for lesson in book.assignments
            for student in sorted(student.id for student in book.students)
            if not lessons or lesson.name in lessons
        ]


def _row(course, lesson, student):
    mine = [one for one in lesson.submissions if one.student_id == student]
    state, reason = _trouble(course, lesson.name, student)
    note = f"{state}: {reason}" if state else ""
    if not mine or state == "our fault":
        return student, lesson.name, "", lesson.max_score, "", note or "not handed in"
    (one,) = mine
    to_read = sum(
        grade.needs_manual_grade
        for notebook in one.notebooks
        for grade in notebook.grades
    )
    points = max(0.0, one.score - (one.late_submission_penalty or 0.0))
    return student, lesson.name, points, lesson.max_score, to_read, note


def _trouble(course, lesson, student):
    kept = [
        read_json(folder_of(course, lesson, kind, f"{student}.json"))
        for kind in ("results", "verdicts")
    ]
    return (all(kept) and trouble_of(*kept)) or ("", "")


def _plain(value):
    """A cell that no spreadsheet takes for a formula."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") else text
