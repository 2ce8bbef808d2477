"""The cells of whatever was handed in under the name of a notebook.

Damaged files are read as far as they go: first as JSON, then with the usual damages
mended, then cell by cell, then field by field. What is no notebook is named for what it
is.
"""

import ast
import bisect
import difflib
import json
import re
from dataclasses import dataclass, field

MOST_BYTES = 200 * 2**20  # of a file; stored outputs may be large
MOST_CELLS = 20_000  # of a file; a lesson has a few hundred
MOST_PARTS = 10**6  # brackets in a file: each may become a thing in memory
MOST_SOURCE = 2**20  # characters of one cell
DAMAGED = "The file is damaged"  # and only a part could be read
MOST_MENDED = 20 * 2**20  # characters of a text that is mended as a whole
SAVE_AS = "Save it as a notebook (.ipynb) and hand that in."
KINDS = (
    (b"PK\x03\x04", "a zip archive or an office document"),
    (b"\x1f\x8b", "a compressed archive"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x89HDF", "a saved model"),
    (b"\xd0\xcf\x11\xe0", "an office document"),
    (b"{\\rtf", "a text document"),
)
PICTURES = ("image/png", "image/jpeg", "image/gif")
MOST_PICTURE = 8 * 2**20  # characters
BASE64 = re.compile(r"[A-Za-z0-9+/=\s]+")
SAYS_NOTHING = ("code", "markdown", "raw", "heading")
# Halves of a character as JSON and Python write them; whole ones are group 2.
HIGH, LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
ESCAPED = re.compile(rf"(?<!\\)((?:\\\\)*)(?:({HIGH}{LOW})|{HIGH}|{LOW})")
LINE = r'"(?:[^"\\]|\\.)*"(?!\s*:)'  # no name of a field
LINES = re.compile(rf'(?<="source"):(?:[^"]{{0,20}}{LINE})+', re.DOTALL)


class Unreadable(ValueError):
    """There is no notebook in the file; the message says why, in one sentence."""


@dataclass
class Submitted:
    """One cell of a submission: what counts of it."""

    kind: str  # "code" or "markdown"
    source: str
    names: tuple  # ids that it carries: nbgrader's, its own, Colab's
    where: str = ""  # the released cell that it belongs to
    count: object = None  # its number in the order of execution
    outputs: tuple = ()
    number: int = 0  # of the cell in the file, from 1
    pictures: dict = field(default_factory=dict)  # pasted ones: name -> {kind: base64}
    side: str = ""  # of a merge conflict in the file: "upper" or "lower"


def read_file(path):
    """The bytes of a learner's own file.

    Raises:
        Unreadable: for a folder and everything else that is no file.
    """
    if path.is_dir():
        raise Unreadable("It is a folder, not a file.")
    if not path.is_file():
        raise Unreadable("There is no such file.")
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Unreadable(f"It cannot be read: {error.strerror}.") from None


def read_cells(content):
    """The cells of a submitted file, and a sentence for each repair: `(cells, list)`.

    Raises:
        Unreadable: with one sentence.
    """
    if content is None:
        raise Unreadable("A link, a folder or a pipe was handed in, not a file.")
    if len(content) > MOST_BYTES:
        raise Unreadable("The file has more than 200 MB; clear its outputs.")
    if not content.strip(b"\x00 \t\r\n"):
        raise Unreadable("The file is empty.")
    text, repairs = _decoded(content)
    text = _without_halves(text, repairs)
    if text.count("{") + text.count("[") > MOST_PARTS:
        raise Unreadable("The file holds endless lists; clear its outputs.")
    try:
        cells = _parsed(text, repairs)
    except Unreadable as error:
        raise Unreadable(_named(content, text) or str(error)) from None
    if len(cells) > MOST_CELLS:
        raise Unreadable(f"The file has {len(cells):,} cells; keep the lesson's own.")
    for raw in cells:
        _mend_name(raw, repairs)
    cells = [cell for raw in cells if (cell := _cell(raw))]
    for number, cell in enumerate(cells, start=1):
        cell.number = number
        if len(cell.source) > MOST_SOURCE:
            cell.source = ""
            repairs.append("A cell of more than a million characters was left out.")
    return cells, repairs


# Bytes to text


def _decoded(content):
    wide = _wide(content)
    if wide:
        return content.decode(wide, "replace"), [
            f"The file was {wide[:6].upper()}, not UTF-8; it was converted."
        ]
    try:
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        pass
    text = content.decode("utf-8-sig", "replace")
    lost = text.count("\ufffd")
    if sum(map(text.count, set(re.findall(r"[^\x00-\x7f]", text)))) >= 2 * lost:
        return text, [f"{lost} characters of the file are damaged (not UTF-8)."]
    text = content.decode("cp1252", "replace")
    return text, ["The file was not UTF-8; it was read as Windows text (Latin-1)."]


def _wide(content):
    """The encoding of a text of two or four bytes a character, or ""."""
    if content[:4] in (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff"):
        return "utf-32"
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    start = content[:400]
    for name, zeros, letters in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
        if start[zeros::2].count(0) > 100 > 10 > start[letters::2].count(0):
            return name
    return ""


def _without_halves(text, repairs):
    """Without halves of characters: Python reads them, but no file can hold them."""
    whole = ESCAPED.sub(lambda one: one[0] if one[2] else f"{one[1]}\ufffd", text)
    if whole != text:
        repairs.append(
            "The file held half of a character, as of an emoji; it is \ufffd now."
        )
    return whole


def _named(content, text):
    """What a file is that is no notebook, as a sentence; "" where it is unknown."""
    kind = next((name for start, name in KINDS if content.startswith(start)), "")
    start = text[:5000].lstrip().lower()
    if start.startswith(("<!doctype", "<html", "<?xml", "<head")):
        kind = "a web page"
    elif not kind and not start.startswith(("{", "[")) and _is_python(text):
        kind = "a Python script"
    return f"The file is {kind}, no notebook. {SAVE_AS}" if kind else ""


def _is_python(text):
    return bool(
        re.search(r"(?m)^(# %%|# In\[|import |from \w+ import|def |class )", text)
    )


# Text to cells


def _parsed(text, repairs):
    """Cells as dicts; `repairs` is told what was mended."""
    text, deep = text.strip("\x00 \t\r\n"), False
    for mend, told in MENDS:
        try:
            changed = mend(text) if mend else text
            if changed is not None:
                cells = _raw_cells(_loaded(changed), repairs)
                repairs.extend([told] if told else [])
                return cells
        except Unreadable:
            if mend is None:
                raise
        except (ValueError, SyntaxError, MemoryError, TypeError, AttributeError):
            continue
        except RecursionError:
            deep = True
    found = _rescued(text)
    if found:
        repairs.append(f"{DAMAGED}; {len(found)} cells could be read.")
        return found
    if deep:
        raise Unreadable("The file is nested too deeply to be a notebook.")
    raise Unreadable("The file is no valid notebook, and no cell could be read in it.")


def _loaded(value):
    return json.loads(value, strict=False) if isinstance(value, str) else value


def _without_zeros(text):
    return text.replace("\x00", "") if "\x00" in text else None


def _without_commas(text):
    """Without commas before a closing bracket."""
    if len(text) > MOST_MENDED:
        return None
    # A string without an end is taken whole: looked for again and again, it would take
    # a time that grows as a square.
    parts = re.compile(r'("(?:[^"\\]|\\.)*(?:"|\\?\Z))|,(?=\s*[\]}])', re.DOTALL)
    return parts.sub(lambda found: found[1] or "", text)


def _from_python(text):
    """A notebook in single quotes, as Python prints it."""
    if len(text) > MOST_MENDED // 4 or not re.match(r"\{\s*'", text):
        return None
    words = {"null": "None", "true": "True", "false": "False"}
    quoted = r"""'(?:[^'\\]|\\.)*(?:'|\\?\Z)|"(?:[^"\\]|\\.)*(?:"|\\?\Z)"""
    parts = re.compile(rf"({quoted})|\b(null|true|false)\b", re.DOTALL)
    return ast.literal_eval(parts.sub(lambda one: one[1] or words[one[2]], text))


def _unconflicted(text):
    """Both sides of a file with a merge conflict: where they differ, the lower first.

    Of two answers the last one counts, unless it is the untouched starter.
    """
    sides = conflict_sides(text)
    if not sides:
        return None
    upper, lower = ([c for c in _cells_of(s) if isinstance(c, dict)] for s in sides)
    seen, new = [_same(cell) for cell in upper], [_same(cell) for cell in lower]
    known, cells = set(seen), []
    steps = difflib.SequenceMatcher(None, seen, new).get_opcodes()
    for step, *above, begin, end in steps:
        mine = upper[slice(*above)]
        if step != "equal":
            mine = [cell | {"side": "upper"} for cell in mine]
            theirs = [k for k in range(begin, end) if new[k] not in known]
            cells += [lower[k] | {"side": "lower"} for k in theirs]
        cells += mine
    return {"nbformat": 4, "cells": cells}


def conflict_sides(text):
    """A text with a merge conflict as `(upper, lower)`; None where there is none."""
    if not all(re.search(rf"(?m)^[ \t]*{mark}{{7}}", text) for mark in "<>"):
        return None
    sides, place = ([], []), None
    for line in text.splitlines(keepends=True):
        mark = line.lstrip()[:7]
        if mark in ("<<<<<<<", "|||||||", "=======", ">>>>>>>"):
            place = {"<": 0, "|": 2, "=": 1, ">": None}[mark[0]]
            continue
        for number in (0, 1):
            if place in (None, number):
                sides[number].append(line)
    return "".join(sides[0]), "".join(sides[1])


def _cells_of(text):
    try:
        return _raw_cells(_loaded(text), [])
    except ValueError:
        return _rescued(text)


def _same(raw):
    return str((raw.get("id"), raw.get("source")))


MENDS = (
    (None, ""),
    (_without_zeros, "The file held zero bytes; they were taken out."),
    (_without_commas, "The file had commas too many; they were taken out."),
    (
        _unconflicted,
        "The file held a merge conflict; the upper side counts, or the lower one where "
        "only that is answered.",
    ),
    (_from_python, "The file was in single quotes, no JSON; it was converted."),
)


def _rescued(text):
    """All cells of a damaged file: whole ones, else what they say of themselves."""
    decoder, found, ends, place = json.JSONDecoder(strict=False), [], [], 0
    begin = re.compile(
        r'\{\s*"(?:cell_type|attachments|execution_count|id|metadata|source)"'
    )
    while match := begin.search(text, place):
        try:
            value, after = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            value, after = None, match.start() + 1
        if _is_cell(value):
            found.append((match.start(), value))
            ends.append(after)
            place = after
        else:
            place = match.start() + 1 if value is None else after
    whole = [(start, end) for (start, _), end in zip(found, ends, strict=True)]
    found += _in_pieces(text, whole, decoder)
    return [value for _, value in sorted(found, key=lambda pair: pair[0])]


def _is_cell(value):
    """Whether it is a whole cell; nbgrader's metadata have a `cell_type`, too."""
    known = isinstance(value, dict) and "cell_type" in value
    return known and ("source" in value or "input" in value)


def _in_pieces(text, whole, decoder):
    """Cells that are broken somewhere else than in their source.

    whole: begin and end of all cells that are not broken, in order.
    """
    begin = r'(?:"nbgrader"\s*:\s*\{\s*)?"cell_type"\s*:'
    marks = [one.start() for one in re.finditer(begin, text) if one[0][1] == "c"]
    for mark, following in zip(marks, [*marks[1:], len(text)], strict=False):
        before = bisect.bisect(whole, (mark, 0)) - 1
        if before >= 0 and mark < whole[before][1]:
            continue
        piece, cell = text[mark:following], {}
        for name in ("cell_type", "source", "id", "grade_id"):
            if value := _field(piece, name, decoder):
                cell[name] = value
        if "source" in cell and cell.get("cell_type") in SAYS_NOTHING:
            cell["metadata"] = {"nbgrader": {"grade_id": cell.pop("grade_id", None)}}
            yield mark, cell


def _field(piece, name, decoder):
    """The value of a field; of a source also what is left of its list of lines."""
    for found in re.finditer(rf'"{name}"\s*:\s*', piece):
        try:
            return decoder.raw_decode(piece, found.end())[0]
        except (ValueError, RecursionError):
            continue
    found = LINES.search(piece) if name == "source" else None
    lines = re.findall(LINE, found[0]) if found else []
    try:
        return [json.loads(line, strict=False) for line in lines]
    except ValueError:
        return None


def _raw_cells(value, repairs):
    """Cells as dicts, from any version of the notebook format."""
    if isinstance(value, dict) and isinstance(value.get("content"), dict):
        value = value["content"]  # as Jupyter's server gives it
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
        said = "no format" if "nbformat" not in value else f"{value['nbformat']!r:.20}"
        repairs.append(f"The notebook said format {said} instead of 4.")
    return cells


def _list(value):
    return value if isinstance(value, list) else []


def _mend_name(raw, repairs):
    """Find a cell's source under a name that has a damaged letter."""
    if not isinstance(raw, dict) or {"source", "input"} & set(raw):
        return
    names = [name for name in raw if isinstance(name, str)]
    for name in difflib.get_close_matches("source", names, n=1, cutoff=0.8):
        raw["source"] = raw[name]
        repairs.append(f"The source of a cell was found under the name {name!r}.")


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
    source = source.replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")
    names = tuple(name for name in names if isinstance(name, str))
    count = raw.get("execution_count", raw.get("prompt_number"))
    outputs = tuple(one for one in _list(raw.get("outputs")) if isinstance(one, dict))
    found = Submitted(kind, source, names, "", count, outputs)
    found.pictures = _pictures(raw.get("attachments"))
    found.side = raw["side"] if raw.get("side") in ("upper", "lower") else ""
    return found


def _pictures(attachments):
    """Of a cell's attachments the pictures; nothing else can be shown."""
    found = {}
    for name, kinds in attachments.items() if isinstance(attachments, dict) else ():
        for kind, data in kinds.items() if isinstance(kinds, dict) else ():
            if kind in PICTURES and isinstance(data, str) and len(data) < MOST_PICTURE:
                if BASE64.fullmatch(data):
                    found[name] = {kind: data}
    return found
