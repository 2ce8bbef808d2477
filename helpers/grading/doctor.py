"""Make a notebook that can be graded out of whatever was handed in.

The released notebook is the skeleton: its checks always, its other cells as the learner
left them. Answers are found by nbgrader's id, by the cell's id, by the name that they
define, or by their place. Cells of the learner's own stay where they were. Every repair
is one sentence; what cannot be read is a problem, and the rest of the class goes on.
"""

import ast
import copy
import json
import re
from dataclasses import dataclass, field

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

MOST_BYTES = 200 * 2**20  # of a file; stored outputs may be large
MOST_SOURCE = 2**20  # characters of one cell
MOST_OWN_CELLS = 5000
CHECK = re.compile(r"""\bcheck\(\s*["'](\d\d/\w+)["']""")


@dataclass
class Repaired:
    """A notebook that can be executed, and what had to be done to it."""

    notebook: object
    repairs: list = field(default_factory=list)  # sentences, harmless
    flags: list = field(default_factory=list)  # sentences, a teacher may want to look
    problem: str = ""  # why nothing could be read; the notebook is then untouched
    own_prose: list = field(default_factory=list)  # ids of prose that the learner wrote


def repair(content, released):
    """Put a submission into the form of the released notebook.

    Args:
        content: bytes of the submitted file, or None where it is no file.
        released: the released notebook (nbformat node); it is not changed.

    Returns:
        A `Repaired`. Whatever `content` is, no exception leaves this function.
    """
    try:
        cells, repairs = read_cells(content)
    except Unreadable as error:
        return Repaired(copy.deepcopy(released), problem=str(error))
    return _Merge(cells, released, repairs).done()


# Reading


class Unreadable(ValueError):
    """There is no notebook in the file; the message says why, in one sentence."""


@dataclass
class Submitted:
    """One cell of a submission: what counts of it."""

    kind: str  # "code" or "markdown"
    source: str
    names: tuple  # ids that it carries: nbgrader's, its own, Colab's
    where: str = ""  # the released cell that it belongs to


def read_cells(content):
    """The cells of a submitted file, and a sentence for each repair: `(cells, list)`.

    Raises:
        Unreadable: with one sentence.
    """
    if content is None:
        raise Unreadable("A link, a folder or a pipe was handed in, not a file.")
    if len(content) > MOST_BYTES:
        raise Unreadable(f"The file has {len(content) / 2**20:.0f} MB; 200 are read.")
    if not content.strip(b"\x00 \t\r\n"):
        raise Unreadable("The file is empty.")
    text, repairs = _decoded(content)
    value = _parsed(text, repairs)
    cells = [cell for raw in _raw_cells(value, repairs) if (cell := _cell(raw))]
    if len(cells) > MOST_OWN_CELLS:
        repairs.append(f"Only the first {MOST_OWN_CELLS} of {len(cells)} cells count.")
    for cell in cells:
        if len(cell.source) > MOST_SOURCE:
            cell.source = ""
            repairs.append("A cell of more than a million characters was left out.")
    return cells[:MOST_OWN_CELLS], repairs


def _decoded(content):
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace"), ["The file was UTF-16, not UTF-8."]
    try:
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
        return text, ["The file was not UTF-8; it was read as Windows text."]


def _parsed(text, repairs):
    try:
        return json.loads(text.strip("\x00"), strict=False)
    except RecursionError:
        raise Unreadable("The file is nested too deeply to be a notebook.") from None
    except ValueError as error:
        found = _rescued(text)
        if not found:
            hint = text.lstrip()[:1] != "{" and "; it does not begin like a notebook"
            raise Unreadable(
                f"The file is no valid JSON{hint or ''}: {error}."
            ) from None
        repairs.append(f"The file is damaged; {len(found)} cells could be read.")
        return {"nbformat": 4, "cells": found}


def _rescued(text):
    """All whole cells of a damaged file, wherever they stand."""
    decoder, found, place = json.JSONDecoder(strict=False), [], 0
    starts = re.compile(r'\{\s*"(?:cell_type|attachments|execution_count|id|metadata)"')
    while match := starts.search(text, place):
        try:
            value, place = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            place = match.start() + 1
            continue
        if isinstance(value, dict) and "cell_type" in value:
            found.append(value)
    return found


def _raw_cells(value, repairs):
    """Cells as dicts, from any version of the notebook format."""
    if not isinstance(value, dict):
        raise Unreadable("The file is JSON, but no notebook: it holds no object.")
    if isinstance(value.get("worksheets"), list):
        repairs.append("The notebook had an old format (3); it was converted.")
        sheets = [sheet for sheet in value["worksheets"] if isinstance(sheet, dict)]
        return [cell for sheet in sheets for cell in _list(sheet.get("cells"))]
    cells = value.get("cells")
    if not isinstance(cells, list):
        raise Unreadable("The file is JSON, but no notebook: it has no cells.")
    if value.get("nbformat") != 4:
        repairs.append(f"The notebook said format {value.get('nbformat')!r}, not 4.")
    return cells


def _list(value):
    return value if isinstance(value, list) else []


def _cell(raw):
    if not isinstance(raw, dict):
        return None
    kind = "code" if raw.get("cell_type") == "code" else "markdown"
    source = raw.get("source", raw.get("input", ""))
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    metadata = raw.get("metadata") if isinstance(raw.get("metadata"), dict) else {}
    flags = metadata.get("nbgrader")
    grade_id = flags.get("grade_id") if isinstance(flags, dict) else None
    names = (grade_id, raw.get("id"), metadata.get("id"))
    source = source if isinstance(source, str) else ""
    names = tuple(name for name in names if isinstance(name, str))
    return Submitted(kind, source.replace("\x00", "").replace("\r\n", "\n"), names)


# Finding the learner's cells


class _Merge:
    """Finds which submitted cell is which released one, and puts them together."""

    def __init__(self, cells, released, repairs):
        self.cells, self.released = cells, copy.deepcopy(released)
        self.repairs, self.flags = repairs, []
        self.roles = {cell.id: _role(cell) for cell in self.released.cells}
        self.taken = {}  # id of a released cell -> the submitted one that counts

    def done(self):
        self._find_by_id()
        self._find_by_source()
        self._find_answers_by_name()
        self._find_prose_by_place()
        self._choose()
        own_prose = self._put_in()
        self._tell_missing()
        return Repaired(self.released, self.repairs, self.flags, "", own_prose)

    def _find_by_id(self):
        for cell in self.cells:
            known = [name for name in cell.names if name in self.roles]
            fits = [n for n in known if self._kind_fits(self.roles[n], cell)]
            cell.where = (fits or [""])[0]
            if known and not fits and self.roles[known[0]] == "check":
                self.flags.append(f"The type of the cell {known[0]} was changed.")

    def _kind_fits(self, role, cell):
        if role == "answer" or role == "prose":
            return cell.kind == "markdown"
        return cell.kind == "code"

    def _find_by_source(self):
        plain = {}
        for cell in self.released.cells:
            plain.setdefault(_squeezed(cell.source), cell.id)
        for cell in self.cells:
            if not cell.where:
                cell.where = plain.get(_squeezed(cell.source), "")
            found = CHECK.search(cell.source) if cell.kind == "code" else None
            if not cell.where and found and not _defines(cell.source, ()):
                name = f"check-{found[1].split('/')[1]}"
                cell.where = name if name in self.roles else ""

    def _find_answers_by_name(self):
        """An answer whose cell lost its ids: it defines what the exercise asks for."""
        for name, role in self.roles.items():
            if role != "exercise":
                continue
            wanted = _defined(self._released(name).source)
            claimed = [cell for cell in self.cells if cell.where == name]
            worked_on = [c for c in claimed if not self._untouched(c, name)]
            if any(_defines(cell.source, wanted) for cell in worked_on):
                continue
            lost = [c for c in self.cells if not c.where and c.kind == "code"]
            for cell in lost:
                if wanted and _defines(cell.source, wanted):
                    cell.where = name
                    self.repairs.append(f"The answer {name} was found by its name.")

    def _find_prose_by_place(self):
        """A written answer that lost its id: it follows its question."""
        order = [cell.id for cell in self.released.cells]
        for name, role in self.roles.items():
            if role != "answer" or any(cell.where == name for cell in self.cells):
                continue
            question = order[order.index(name) - 1]
            for one, following in zip(self.cells, self.cells[1:], strict=False):
                if one.where == question and not following.where:
                    if following.kind == "markdown":
                        following.where = name
                        self.repairs.append(
                            f"The answer {name} was found by its place."
                        )
                    break

    # Putting together

    def _choose(self):
        for name, role in self.roles.items():
            copies = [cell for cell in self.cells if cell.where == name]
            if not copies:
                continue
            changed = [c for c in copies if not self._untouched(c, name)]
            if role == "check":
                self._note_check(name, copies, changed)
            elif len(copies) > 1 and role in ("exercise", "answer"):
                self.repairs.append(
                    f"The answer {name} is there {len(copies)} times; the last that "
                    "was changed counts."
                )
            working = [c for c in changed if role != "exercise" or _parses(c.source)]
            self.taken[name] = (working or changed or copies)[-1]

    def _note_check(self, name, copies, changed):
        if len(copies) > 1:
            self.repairs.append(f"The check {name} is there {len(copies)} times.")
        if changed:
            self.flags.append(f"The check {name} was edited; the released one counts.")

    def _untouched(self, cell, name):
        return _squeezed(cell.source) == _squeezed(self._released(name).source)

    def _released(self, name):
        return next(cell for cell in self.released.cells if cell.id == name)

    def _put_in(self):
        """Fill the released notebook; returns the ids of the learner's prose."""
        own_prose, number = [], 0
        places = {cell.id: [cell] for cell in self.released.cells}
        for cell in self.released.cells:
            cell.pop("outputs", None) if cell.cell_type != "code" else None
            mine = self.taken.get(cell.id)
            if mine and self.roles[cell.id] not in ("check", "set-up"):
                if cell.cell_type != "code" and not self._untouched(mine, cell.id):
                    own_prose.append(cell.id)
                cell.source = mine.source
        before = [cell.id for cell in self.released.cells][:1]
        for cell in self.cells:
            if cell.where:
                before = [cell.where]
            elif cell.source.strip() and not _is_solo_check(cell.source):
                number += 1
                own = _own_cell(cell, f"own-{number}")
                if cell.kind == "markdown":
                    own_prose.append(own.id)
                places[before[0]].append(own)
        self.released.cells = [
            c for cell in self.released.cells for c in places[cell.id]
        ]
        return own_prose

    def _tell_missing(self):
        for name, role in self.roles.items():
            if name in self.taken:
                continue
            if role in ("exercise", "answer"):
                self.repairs.append(f"The answer {name} is missing.")
            elif role == "check":
                self.repairs.append(f"The check {name} was missing; it was put back.")


def _role(cell):
    if cell.id == "set-up":
        return "set-up"
    flags = cell.metadata.get("nbgrader", {})
    if flags.get("locked"):
        return "check"
    if flags.get("solution"):
        return "exercise" if cell.cell_type == "code" else "answer"
    return "example" if cell.cell_type == "code" else "prose"


def _own_cell(cell, name):
    make = new_code_cell if cell.kind == "code" else new_markdown_cell
    return make(cell.source, id=name)


def _squeezed(source):
    return re.sub(r"\s+", " ", source).strip()


def _parses(source):
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _defined(source):
    """Names that a cell defines at its top level; by eye where it does not parse."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(re.findall(r"(?m)^(?:def|class)\s+(\w+)", source))
    names = {
        one.name for one in body if isinstance(one, ast.FunctionDef | ast.ClassDef)
    }
    for one in body:
        targets = one.targets if isinstance(one, ast.Assign) else []
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _defines(source, wanted):
    found = _defined(source)
    return bool(found & set(wanted)) if wanted else bool(found)


def _is_solo_check(source):
    """Whether a cell does nothing but call a check: it would be run twice."""
    return bool(re.fullmatch(r"\s*check\([^()]*\)\s*", source))


def as_text(notebook):
    """The notebook as it is written to a file."""
    return nbformat.writes(notebook, version=4)
