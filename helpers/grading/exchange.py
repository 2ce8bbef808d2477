"""From a learning platform's files to a class folder, and marks back as a table.

`collect` understands what Moodle, Canvas, Blackboard and Brightspace give as "all
submissions" (a zip file, or the folder it was unpacked to), and plain folders:
`STUDENT/anything.ipynb`, `STUDENT.ipynb`, `STUDENT_LESSON.ipynb` or `STUDENT_00.ipynb`,
all of them inside one more folder where there is one.
"""

import csv
import io
import os
import re
import time
import unicodedata
import zipfile
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from nbgrader.api import Gradebook
from tqdm import tqdm

from helpers.grading import choosing
from helpers.grading.classroom import (
    A_NOTEBOOK,
    RENAME,
    Options,
    is_unusable,
    not_graded,
)
from helpers.grading.gradebook import find_alembic
from helpers.grading.marking import trouble_of
from helpers.grading.reading import DAMAGED
from helpers.grading.store import (
    MOST_SUBMITTED,
    folder_of,
    printable,
    read_json,
    submitted,
    write_bytes,
)
from helpers.lessons.script import LessonError

# "Jane Doe_123_assignsubmission_file_/x.ipynb", with or without a folder each
MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_[a-z]+(_.*)?")
BLIND = re.compile(r"(.+-)?Participant")  # Moodle's name for all who are marked blind
# "doejane_LATE_12_345_x.ipynb": name, number of the student, number of the file
CANVAS = re.compile(
    r"(?P<name>[^_]+)(?P<late>_LATE)?_(?P<number>\d+)_((?P<file>\d+)_.+|text\.html)"
)
# "Exercise 1_jdoe_attempt_2026-06-11-20-50-44_x.ipynb"
BLACKBOARD = re.compile(r".+?_(?P<name>[^_]+)_attempt_(?P<time>\d{4}(-\d\d){5})\D.*")
# "397063-2557369 - Jane Doe - Sep 24, 2026 926 PM", a folder or with " - x.ipynb"
BRIGHTSPACE = re.compile(
    r"(?P<number>\d+)-\d+ - (?P<name>.+?) ?- [^-]*\d{4}[^-]*( - .+)?"
)
PLATFORMS = (MOODLE, BLACKBOARD, BRIGHTSPACE, CANVAS)
MOST_MEMBERS = 1000  # of a zip file of one student
MOST_UNPACKED = 250 * 2**20  # bytes of all of them
A_CLASS = 3  # so many notebooks in one folder, each with another name
IGNORED = ("__MACOSX", ".ipynb_checkpoints", ".DS_Store", "desktop.ini", "Thumbs.db")
MAY_BE_ONE = ("", ".json", ".txt")  # endings that a browser gives to a notebook
COLUMNS = ("student", "lesson", "points", "of", "to be read by a person", "note")
WHOSE = "whose is it? Put it into a folder that is named after the student"
NONE = "not a notebook"
CLOSED = (
    "a zip file that is damaged, inside another one, too large or of too many files"
)


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
    if not source.exists():
        raise LessonError(f"There is no file or folder {source}.")
    if source.is_dir():
        found = [path for path in sorted(source.rglob("*")) if not path.is_dir()]
        return [file for path in found for file in _on_disk(path, source)]
    try:
        return _in_zip(zipfile.ZipFile(source))
    except Exception as error:  # damaged in one of many ways
        if (submitted(source) or b"").startswith(b"PK"):
            raise LessonError(
                f"{source} is a zip file that cannot be read ({error}). Its end may be "
                "missing: download it again."
            ) from None
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
    for info in _members(archive):
        made = time.mktime((*info.date_time, 0, 0, -1))
        read = partial(_member, lambda: archive, info)
        file = File(_place(info), made, read)
        found += _opened(file) if file.place.suffix.lower() == ".zip" else [file]
    return found


def _members(archive):
    return [one for one in archive.infolist() if not one.filename.endswith(("/", "\\"))]


def _place(info):
    """Where a member lay; some programs on Windows write `\\` between folders."""
    return PurePosixPath(info.filename.replace("\\", "/"))


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
        members = _members(open_archive())
    except Exception:  # damaged in one of many ways
        return [file]
    too_large = sum(info.file_size for info in members) > MOST_UNPACKED
    if too_large or len(members) > MOST_MEMBERS:
        return [file]  # as it is told: one file that was not opened
    above, read = file.place.parent, partial(partial, _member, open_archive)
    return [
        File(above / _place(info), file.made, read(info), owner=file.place)
        for info in members
    ]


@dataclass(frozen=True)
class Owner:
    """Whose file it is, as far as its place says."""

    name: str  # "" where that cannot be told
    number: str = ""  # Moodle's: another one in each assignment
    late: bool = False
    sure: bool = True  # False: only the file's own name says so


@dataclass(frozen=True)
class Download:
    """What all files of a download say together, so that no single one says it.

    A student chooses the end of a file's name, and all names inside a folder or a zip
    file: these must not make somebody else of them.
    """

    platform: re.Pattern | None  # whose names are the most
    title: str  # with which Blackboard's names begin: a user's name may have a "_", too
    by_folder: bool = False  # the names of inner folders tell, too
    by_file: bool = False  # the names of files tell, in whatever folders they lie

    @classmethod
    def of(cls, places):
        """The `Download` of these places (PurePosixPath)."""
        counts = {
            pattern: sum(any(map(pattern.fullmatch, place.parts)) for place in places)
            for pattern in PLATFORMS
        }
        platform = max(PLATFORMS, key=counts.get)
        if not counts[platform]:
            return cls(None, "")
        names = [place.name for place in places if platform.fullmatch(place.name)]
        starts = {name.split("_attempt_")[0] for name in names}
        common = os.path.commonprefix(sorted(starts)) if len(starts) > 1 else ""
        title = common[: common.rfind("_") + 1] if platform is BLACKBOARD else ""
        outer = {place.parts[0] for place in places}
        inside = [p for p in places if any(map(platform.fullmatch, p.parts[1:-1]))]
        by_folder = 2 * len({place.parts[0] for place in inside}) > len(outer)
        return cls(platform, title, by_folder, by_file=len(names) == len(places))

    def owner(self, place):
        """The `Owner` whom the platform names, the outermost name first; or None."""
        names = place.parts[:1]
        names += place.parts[1:-1] if self.by_folder else ()
        names += place.parts[1:][-1:] if self.by_file else ()
        for part in names:
            if found := self.platform and self.platform.fullmatch(part):
                return self._owner(part, found)
        return None

    def _owner(self, part, found):
        if self.platform is MOODLE:
            return Owner(found["name"].strip(), found["number"])
        if self.platform is BLACKBOARD:
            before = part.split("_attempt_")[0]
            known = self.title and before.startswith(self.title)
            name = before[len(self.title) :] if known else ""
            return Owner((name or found["name"]).strip())
        late = bool(found.groupdict().get("late"))
        return Owner(f"{found['name']}_{found['number']}".strip(), late=late)


def owner_of(place, lesson, download=None):
    """The `Owner` of a file, by its place in the download and a lesson's name.

    Args:
        download: the `Download` it is part of; by default of this file alone.
    """
    place = PurePosixPath(unicodedata.normalize("NFC", str(place)))
    # A zip file may hold anything.
    if place.is_absolute() or ".." in place.parts or place.parts[0][1:] == ":":
        return Owner("")
    if owner := (download or Download.of([place])).owner(place):
        return owner
    if len(place.parts) > 1:
        return Owner(place.parts[0].strip())
    stem = re.sub(r"(?i)(\.ipynb|\.txt|\.json|\.zip)+$", "", place.name)
    stem = re.sub(r" ?\(\d+\)$", "", stem)  # a browser's second copy
    this = f"({lesson}|{lesson[:2]})"
    name = re.sub(rf"^{this}$|^{this}[ _.-]+|[ _.-]+{this}$", "", stem)
    return Owner(name.strip(), sure=False)


@dataclass
class Taken:
    """The file that counts for a student."""

    place: PurePosixPath
    state: str  # "new", "replaced" or "same"
    notes: list  # what a teacher may want to know, in a few words each


@dataclass
class Collected:
    """What became of a platform's files."""

    taken: dict = field(default_factory=dict)  # student -> Taken
    without: dict = field(default_factory=dict)  # student -> [(place, reason)]
    left: list = field(default_factory=list)  # (place, reason)
    warnings: list = field(default_factory=list)  # sentences


def collect(course, lesson, source, write=True):
    """Put each student's notebook where grading looks for it.

    Args:
        course: the class folder, made where it is missing.
        lesson: name of the lesson that was handed in.
        source: folder or zip file as downloaded.
        write: False looks only.

    Returns:
        A `Collected`. Of several notebooks of a student `choosing` finds the one that
        counts; a notebook of another lesson never does.
    """
    report, notebooks = Collected(), {}
    owned = _owned(files(source), lesson, report)
    names = _names({owner for _, owner in owned}, report)
    _warn_of_twins(course, names, report)
    for file, owner in owned:
        student, is_one = names[owner], _is_notebook(file)
        if is_one and student and not is_unusable(student):
            notebooks.setdefault(student, []).append((file, owner))
        elif is_one:
            hidden = not student or student.startswith(".")
            report.left.append((file.place, WHOSE if hidden else RENAME))
        else:
            reason = CLOSED if file.place.suffix.lower() == ".zip" else NONE
            known = student and (owner.sure or file.owner) and not is_unusable(student)
            mine = report.without.setdefault(student, []) if known else report.left
            mine.append((file.place, reason))
    for student, mine in tqdm(sorted(notebooks.items()), desc="collected"):
        _take(course, lesson, student, mine, report, write)
    for student in report.taken.keys() & report.without.keys():
        report.left += report.without.pop(student)
    report.left.sort()
    return report


def _owned(found, lesson, report):
    """Each file that counts, and whose it is: list of `(File, Owner)`."""
    wanted = [file for file in found if not _is_ignored(file.place)]
    places = [file.owner or file.place for file in wanted]
    around = _around(places)
    if not around and _is_flat_class(places, lesson):
        around = 1
        report.warnings.append(
            f"All notebooks lie in the folder {printable(places[0].parts[0])}: each "
            "counts as another student's, named after its file. If they are one "
            "student's, put that folder into another one, beside a second student's."
        )
    places = [PurePosixPath(*place.parts[around:]) for place in places]
    download, pairs = Download.of(places), zip(wanted, places, strict=True)
    return [(file, owner_of(place, lesson, download)) for file, place in pairs]


def _names(owners, report):
    """A student's name for each `Owner`, with Moodle's number only where it must be."""
    numbers, told = defaultdict(set), set()
    for one in owners:
        numbers[one.name].add(one.number)
    names = {one: one.name for one in owners}
    for one in owners:
        if one.number and (len(numbers[one.name]) > 1 or BLIND.fullmatch(one.name)):
            names[one] = f"{one.name}_{one.number}"
            told.add(names[one])
    if told:
        some = ", ".join(map(printable, sorted(told)[:4]))
        more = f" and {len(told) - 4} more" if len(told) > 4 else ""
        report.warnings.append(
            f"Several students have the same name, or none: {some}{more}. Moodle gives "
            "them other numbers in each assignment, so their marks cannot be matched "
            "across lessons."
        )
    return names


def _warn_of_twins(course, names, report):
    """Say which student of an earlier download may be one of Moodle's under two names.

    That comes of a second student of the same name, who was in one download only.
    """
    known = {path.name for path in Path(course, "submitted").glob("*")}
    plain = {owner.name for owner in names if owner.number}
    for one in sorted(known - set(names.values())):
        if re.sub(r"_\d+$", "", one) in plain:
            report.warnings.append(
                f"submitted/{printable(one)} is there already, and this download has "
                "the same name with another number or without one: if it is the same "
                "student, give both folders one name."
            )


def _is_ignored(place):
    return any(part in IGNORED or part[:2] in ("._", "~$") for part in place.parts)


def _is_notebook(file):
    """Whether a file is one by its name or, where that says little, by its content."""
    name, suffix = file.place.name.lower(), file.place.suffix.lower()
    if suffix == ".ipynb":
        return True
    unclear = suffix in MAY_BE_ONE or A_NOTEBOOK.fullmatch(name)
    return bool(unclear) and choosing.is_notebook(file.read())


def _around(places):
    """How many folders lie around the whole class: 1 where it is in one folder."""
    firsts = {place.parts[0] for place in places}
    seconds = {place.parts[1:2] for place in places if len(place.parts) > 2}
    deep = all(len(place.parts) > 1 for place in places)
    return 1 if deep and len(firsts) == 1 and len(seconds) > 1 else 0


def _is_flat_class(places, lesson):
    """Whether one folder holds nothing but notebooks of many students."""
    places = set(places)
    in_one = len({place.parent for place in places}) == 1
    if len(places) < A_CLASS or not in_one or len(min(places).parts) != 2:
        return False
    owners = [owner_of(place.name, lesson) for place in places]
    names = {owner.name for owner in owners if not owner.sure} - {""}
    return len(names) == len(places)


def _rank(file, lesson):
    """How good a file is, see `choosing.Rank`."""
    above = file.owner or file.place
    attempt, canvas = BLACKBOARD.fullmatch(above.name), CANVAS.fullmatch(above.name)
    return choosing.of_lesson(lesson).rank(
        file.read(),
        file.place.name,
        file.made,
        attempt["time"] if attempt else "",
        int((canvas and canvas["file"]) or 0),
    )


def _take(course, lesson, student, mine, report, write):
    """Keep the best of a student's notebooks, a list of `(File, Owner)`."""
    ranked = [(pair, _rank(pair[0], lesson)) for pair in mine]
    (file, owner), rank, others = choosing.best_of(ranked)
    if rank.kind in (choosing.UNREAD, choosing.OTHER):
        told = [(one.place, its.said) for (one, _), its in ranked]
        report.without.setdefault(student, [])[:0] = told
        return
    for (other, _), why in others:
        same = other.place.name == file.place.name
        told = file.place if same else file.place.name
        report.left.append((other.place, f"{why}; {told} was taken"))
    path = Path(course, "submitted", student, lesson, f"{lesson}.ipynb")
    content, old = file.read(), submitted(path)
    state = "new" if old is None else "same" if old == content else "replaced"
    if write and state != "same":
        write_bytes(path, content)
    notes = [note for note in ("late" if owner.late else "", rank.said) if note]
    report.taken[student] = Taken(file.place, state, notes)


def print_collected(report):
    """Print who handed in which file, who handed in none, and what was left."""
    for student, one in report.taken.items():
        notes = f" ({', '.join(one.notes)})" if one.notes else ""
        print(f"{one.state:9} {student}: {printable(one.place)}{notes}")
    for student, mine in sorted(report.without.items()):
        told = "; ".join(f"{printable(place)}: {reason}" for place, reason in mine)
        print(f"{'none':9} {student}: {told}")
    for place, reason in report.left:
        print(f"{'left':9} {printable(place)}: {printable(reason)}")
    for sentence in report.warnings:
        print(sentence)
    print(
        f"Students with a notebook: {len(report.taken)}, with other files only: "
        f"{len(report.without)}; files left: {len(report.left)}."
    )


# Marks


def write_marks(course, path, lessons=()):
    """Write a table of marks for a platform or a spreadsheet; returns its rows.

    Args:
        course: the class folder.
        path: of a CSV file: commas, UTF-8 with the mark at the start that Excel needs.
            No cell of it is taken for a formula.
        lessons: names; all that were graded where empty.

    Returns:
        Tuples as in `COLUMNS`. Who did not hand in, or could not be graded, has a row
        without points: that is no 0. The note says so, and what was cut short.

    Raises:
        LessonError: where nothing of these lessons was graded; no file is written.
    """
    rows = _marks(course, lessons)
    if not rows:
        named = ", ".join(name[:2] for name in lessons) or "any lesson"
        raise LessonError(
            f"Nothing of {named} was graded in {course}; run `course grade` first."
        )
    text = io.StringIO(newline="")
    table = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)  # some split at ";", too
    table.writerows([COLUMNS, *([_plain(v) for v in row] for row in rows)])
    write_bytes(Path(path), text.getvalue().encode("utf-8-sig"))
    return rows


def _marks(course, lessons):
    database = Path(course, "gradebook.db")
    if not database.exists():
        raise LessonError(f"{course} has no gradebook.db; grade it first.")
    find_alembic()
    refused = {
        (printable(student), lesson.strip()): f"not graded: {reason}"
        for (student, lesson), reason in not_graded(course, Options()).items()
    }
    with Gradebook(f"sqlite:///{database}") as book:
        students = {student.id for student in book.students}
        return [
            _row(course, lesson, student, refused.get((student, lesson.name)))
            for lesson in book.assignments
            for student in sorted(students | {student for student, _ in refused})
            if not lessons or lesson.name in lessons
        ]


def _row(course, lesson, student, refused):
    mine = [one for one in lesson.submissions if one.student_id == student]
    state, reason = _trouble(course, lesson.name, student)
    note = f"{state}: {reason}" if state else ""
    if not mine or state == "our fault":
        note = note or refused or "not handed in"
        return student, lesson.name, "", lesson.max_score, "", note
    note = note or _damage(course, lesson.name, student)
    (one,) = mine
    to_read = sum(
        grade.needs_manual_grade and grade.cell.cell_type != "code"  # code: a check
        for notebook in one.notebooks
        for grade in notebook.grades
    )
    points = max(0.0, one.score - (one.late_submission_penalty or 0.0))
    return student, lesson.name, points, lesson.max_score, to_read, note


def _damage(course, lesson, student):
    """What the doctor said of a file of which only a part could be read, or ""."""
    result = read_json(folder_of(course, lesson, "results", f"{student}.json")) or {}
    return next((f for f in result.get("flags", ()) if f.startswith(DAMAGED)), "")


def _trouble(course, lesson, student):
    kept = [
        read_json(folder_of(course, lesson, kind, f"{student}.json"))
        for kind in ("results", "verdicts")
    ]
    return (all(kept) and trouble_of(*kept)) or ("", "")


def _plain(value):
    """A cell that no spreadsheet takes for a formula."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"'{text}" if text[:1] in tuple("=+-@\t\r＝＋－＠") else text
