"""Which of a student's notebooks counts: first what is inside, then name and age.

Used by `course collect` for a platform's files and by `course grade` for a folder that
holds several notebooks.
"""

import functools
import json
import re
from dataclasses import dataclass, field, fields

from helpers.grading import doctor, reading
from helpers.lessons.notebooks import NOTEBOOKS, notebook_path, read

MOST_LOOKED_INTO = 64 * 2**20  # bytes; what is larger is taken unseen
MOST_MENDED = 2**20  # bytes; to mend more could take minutes, grading has limits
UNREAD, OTHER, DAMAGED, UNKNOWN, OURS = range(5)  # from nothing to this lesson's own
DEFINES = re.compile(r"(?m)^(?:(?:async +)?def|class) +(\w+)")
AT_THE_END = re.compile(r"[-_ (]+(\d+)\)?$")  # x-10, x (2)
WHY = {
    "changed": "untouched",
    "attempt": "an earlier attempt",
    "named": "not named after the lesson",
    "made": "older",
    "numbers": "of a lower number",
    "answers": "fewer answers",
}


@dataclass(order=True)
class Rank:
    """How good a notebook is; the greatest of a student's counts."""

    kind: int  # UNREAD to OURS
    changed: bool  # whether any answer differs from the released one
    attempt: str  # when it was handed in, where the platform says so
    named: bool  # after the lesson
    made: float  # seconds since 1970
    numbers: tuple  # in its name: at the end, then of the platform
    answers: int  # how many cells hold a changed answer
    said: str = field(compare=False)  # what is wrong with it, "" where nothing is

    def below(self, best):
        """Why it is not the one that counts, in a few words."""
        if self.kind < best.kind:
            return self.said
        names = [one.name for one in fields(self) if one.name in WHY]
        less = (name for name in names if getattr(self, name) < getattr(best, name))
        return WHY[next(less)] if self < best else "as good and as new"


class Choice:
    """Ranks notebooks for one lesson, by its name."""

    def __init__(self, lesson):
        self.lesson = lesson
        released = read(notebook_path(NOTEBOOKS, lesson))
        self.number = doctor.number_of(released.cells)
        self.sources = {_squeezed(cell.source) for cell in released.cells}
        flags = {c.id: c.metadata.get("nbgrader", {}) for c in released.cells}
        self.checks = {name for name, one in flags.items() if one.get("locked")}
        self.answers = {name for name, one in flags.items() if one.get("solution")}
        stubs = [c.source for c in released.cells if c.id in self.answers]
        self.wanted = {name for source in stubs for name in DEFINES.findall(source)}

    def rank(self, content, name, made, attempt="", number=0):
        """The `Rank` of one file.

        Args:
            content: its bytes, or None where it cannot be read.
            name: of the file.
            made: seconds since 1970.
            attempt, number: as the platform says.
        """
        stem = re.split(r"(?i)\.(?:ipynb|json)", name)[0]
        last = AT_THE_END.search(stem)
        numbers = int(last[1]) if last else 0, number
        named = _plain(self.lesson) in _plain(stem)
        kind, answers, said = self._look(content)
        name_and_age = attempt, named, made, numbers
        return Rank(kind, answers > 0, *name_and_age, answers, said)

    def _look(self, content):
        """Kind of a file, how many answers it holds, and what is wrong with it."""
        if content is None:
            return UNREAD, 0, "it cannot be read"
        if len(content) > MOST_LOOKED_INTO:
            return UNKNOWN, 0, "too large to look into"
        if len(content) > MOST_MENDED and not is_notebook(content):
            return DAMAGED, 0, "damaged"
        try:
            cells, _ = reading.read_cells(content)
        except reading.Unreadable as error:
            return DAMAGED, 0, str(error).split(". ")[0].rstrip(".")
        names, theirs = {n for c in cells for n in c.names}, doctor.number_of(cells)
        if theirs not in ("", self.number) and not names & self.checks:
            return OTHER, 0, f"notebook of lesson {theirs}"
        changed = self._changed(cells)
        if theirs or changed or names & (self.checks | self.answers):
            return OURS, changed, ""
        return UNKNOWN, 0, "nothing of this lesson is in it"

    def _changed(self, cells):
        """How many cells hold an answer, by their id or by the name they define."""
        own = [c for c in cells if _squeezed(c.source) not in self.sources | {""}]
        return sum(
            bool(self.answers.intersection(cell.names))
            or cell.kind == "code"
            and bool(self.wanted.intersection(DEFINES.findall(cell.source)))
            for cell in own
        )


@functools.cache
def of_lesson(lesson):
    """The `Choice` for a lesson, by its name."""
    return Choice(lesson)


def best_of(ranked):
    """Choose among several.

    Args:
        ranked: list of `(file, Rank)`.

    Returns:
        `(file, rank, others)`: the one that counts, and `(file, reason)` of the others.
    """
    place = max(range(len(ranked)), key=lambda k: (ranked[k][1], k))
    file, best = ranked[place]
    others = [(o, rank.below(best)) for o, rank in ranked if o is not file]
    return file, best, others


def is_notebook(content):
    """Whether bytes are a notebook, whatever their file is called."""
    try:
        found = json.loads(content or b"", strict=False)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and ("cells" in found or "worksheets" in found)


def _squeezed(source):
    return " ".join(source.split())


def _plain(name):
    return re.sub(r"[\W_]+", "_", name.lower())
