"""Which inventory row is taught where, and how: `docs/coverage.md`.

`inventory.csv` names what the course covers. A lesson's cells name their rows; a row is
*shown* where nbval compares an output of the cell, *checked* in an exercise, and *told*
in prose.
"""

import csv
from collections import defaultdict
from pathlib import Path

from helpers.lessons import notebooks

INVENTORY = Path(__file__).with_name("inventory.csv")
HEAD = """\
# Coverage

What the course covers, row by row, and where. *Shown*: a cell runs it, and its output
is compared by the tests. *Checked*: an exercise is judged on it. *Told*: in words only.
Made by `course build`; edit the `rows:` lines of the lesson scripts instead.

| row | what | where | how |
|---|---|---|---|
"""


def inventory():
    """Dict from a row's id to what it is about, in the order of the inventory."""
    with INVENTORY.open(encoding="utf-8", newline="") as file:
        return {line["row"]: line["capability"] for line in csv.DictReader(file)}


def coverage(lessons):
    """Dict from a row's id to its places: tuples (lesson, section, how)."""
    found = defaultdict(list)
    for lesson in lessons:
        outputs = _outputs(lesson)
        section = lesson.title
        for cell in lesson.cells:
            if cell.markdown:
                section = _section(cell) or section
            for row in cell.rows:
                place = (lesson.number, section, _how(cell, outputs))
                if place not in found[row]:
                    found[row].append(place)
    return dict(found)


def _outputs(lesson):
    """Sources of the cells of the built notebook that have an output."""
    built = notebooks.read(notebooks.paths(lesson)[0])
    cells = built.cells if built else []
    return {cell.source for cell in cells if cell.get("outputs")}


def _how(cell, outputs):
    if cell.role in ("exercise", "check"):
        return "checked"
    return "shown" if cell.role == "example" and cell.source in outputs else "told"


def _section(cell):
    headings = [line for line in cell.source.split("\n") if line.startswith("## ")]
    return headings[-1].removeprefix("## ") if headings else ""


def page(lessons):
    """Text of `docs/coverage.md`."""
    found = coverage(lessons)
    lines = []
    for row, capability in inventory().items():
        places = found.get(row, [])
        where = "; ".join(sorted({f"{number} {name}" for number, name, _ in places}))
        how = ", ".join(sorted({how for _, _, how in places}))
        about = capability.replace("|", "\\|")
        lines.append(f"| {row} | {about} | {where or 'not yet'} | {how or '-'} |")
    return HEAD + "\n".join(lines) + "\n"
