"""`course doctor`: what a learner wants to know before handing a notebook in.

Is every answer there, and does the notebook still work from a fresh start, as the
grader will run it? What is found is told in sentences; the learner's file is only read.
"""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbformat.v4 import new_code_cell
from tqdm import tqdm

from helpers.grading import doctor, needed, reading
from helpers.lessons.notebooks import kernel_environment, read
from helpers.lessons.paths import NOTEBOOKS
from helpers.lessons.script import LessonError

SECONDS = 300  # for one cell
POINTS = re.compile(r": ([\d.]+) of ([\d.]+) points")
OUR_COPY = (
    "this is the course's own copy, with which answers are compared. Keep yours in "
    "work/: `course work` makes that folder; copy this file into it."
)
NO_NAME = re.compile(r"name '(\w+)' is not defined|`(\w+)` is not defined")


@dataclass
class Checkup:
    """What was found in one notebook."""

    lesson: str
    to_do: list = field(default_factory=list)  # sentences: not ready without
    notes: list = field(default_factory=list)  # sentences: good to know
    unanswered: set = field(default_factory=set)  # exercises
    points: list = field(default_factory=list)  # (exercise, earned, most), fresh


def main(files, repaired=""):
    """Look at each file and print what was found; 0 where all are ready, else 1."""
    if repaired and (len(files) > 1 or Path(repaired).exists()):
        raise LessonError(
            f"--repaired writes one new file, for one FILE; {repaired} may not exist "
            "yet."
        )
    ready = True
    for file in files:
        try:
            found = examine(Path(file), repaired)
        except reading.Unreadable as error:
            print(f"{file}\n  To do: {error}")
            ready = False
            continue
        _print(file, found)
        ready = ready and not found.to_do
    return 0 if ready else 1


def _print(file, found):
    print(f"{file} is lesson {found.lesson}.")
    for sentence in found.notes:
        print(f"  Note: {sentence}")
    for sentence in found.to_do:
        print(f"  To do: {sentence}")
    if found.points:
        earned, most = (sum(one[k] for one in found.points) for k in (1, 2))
        less = [f"{name} {e:g} of {m:g}" for name, e, m in found.points if e < m]
        tail = f" ({', '.join(less)})" if less else ""
        print(f"  From a fresh start your answers get {earned:g} of {most:g}{tail}.")
    things = f"{len(found.to_do)} thing{'s' if len(found.to_do) > 1 else ''}"
    print(
        f"Not ready: mend {things} above, save, and run this again."
        if found.to_do
        else "Ready to hand in."
    )


def examine(path, repaired=""):
    """Look at one notebook, as it was saved and from a fresh start: a `Checkup`.

    Args:
        path: the learner's file; it is only read.
        repaired: where to write the repaired notebook; nowhere where empty.

    Raises:
        reading.Unreadable: one sentence, where there is no notebook of this course.
    """
    if NOTEBOOKS.resolve() in path.resolve().parents:
        raise reading.Unreadable(OUR_COPY)
    content = reading.read_file(path)
    name, released = lesson_of(content, path)
    mended = doctor.repair(content, released)
    if mended.problem:
        raise reading.Unreadable(mended.problem)
    if repaired:
        Path(repaired).write_text(doctor.as_text(mended.notebook), encoding="utf-8")
    found = Checkup(name, notes=[*mended.repairs, *mended.flags])
    found.notes = [text for text in found.notes if not text.endswith(" is missing.")]
    _tell_unanswered(found, mended, released)
    _tell_order(found, mended)
    _Fresh(found, mended, path.parent).run()
    return found


def lesson_of(content, path):
    """Name and released notebook of the lesson that a file belongs to.

    Raises:
        reading.Unreadable: where it is no notebook, or none of this course.
    """
    cells, _ = reading.read_cells(content)
    known = {one.stem: one for one in sorted(NOTEBOOKS.glob("[0-9]*/[0-9]*.ipynb"))}
    number = doctor.number_of(cells) or path.name[:2]
    found = next((name for name in known if name[:2] == number), "")
    names = {name for cell in cells for name in cell.names}
    released = read(known[found]) if found else None
    own_ids = (
        {c.id for c in released.cells if "nbgrader" in c.metadata} if found else ()
    )
    if not (doctor.number_of(cells) or names & set(own_ids)):
        raise reading.Unreadable(
            "This is none of the course's notebooks: no check of a lesson is in it. "
            f"There are {', '.join(known)}."
        )
    if not found:
        raise reading.Unreadable(
            f"Its checks belong to lesson {number}, which is not here; there are "
            f"{', '.join(known)}."
        )
    return found, released


# As it was saved


def _tell_unanswered(found, mended, released):
    stubs = {cell.id: cell.source for cell in released.cells}
    for cell in mended.notebook.cells:
        if not cell.metadata.get("nbgrader", {}).get("solution"):
            continue
        if cell.id not in mended.origins:
            found.to_do.append(
                f"The answer {cell.id} is missing: its cell is empty or gone."
            )
        elif cell.source == stubs[cell.id]:
            found.to_do.append(f"{cell.id} is not answered yet.")
            found.unanswered.add(cell.id)


def _tell_order(found, mended):
    """Cells that were never run, and cells that were run in another order."""
    cells = [mended.origins.get(c.id) for c in mended.notebook.cells]
    cells = [one for one in cells if one and one.kind == "code" and one.source.strip()]
    run = [one for one in cells if isinstance(one.count, int)]
    if not run:
        found.notes.append("No cell was run since it was opened or cleared.")
        return
    never = [_title(one) for one in cells if one not in run]
    if never:
        found.notes.append(f"Never run: {_listed(never)}.")
    late = [
        f"{_title(below)} before {_title(above)}"
        for above, below in zip(run, run[1:], strict=False)
        if below.count < above.count
    ]
    if late:
        found.notes.append(f"Run out of order: {_listed(late)}.")


def _listed(names, most=4):
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _title(cell):
    """How a learner finds a cell: its number and its first line."""
    lines = [one for one in cell.source.splitlines() if one.strip()] or [""]
    return f"cell {cell.number} (`{lines[0].strip()[:40]}`)"


# From a fresh start


def _run_beside(client):
    """Execute in a thread: in the main one nbclient keeps Ctrl-C for itself."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.execute, env=kernel_environment())
        try:
            running.result()
        except KeyboardInterrupt:
            if client.km and client.km.has_kernel:
                os.kill(client.km.provisioner.pid, signal.SIGKILL)
            raise


class _Fresh:
    """Runs a repaired notebook in a new kernel, and compares with what was saved."""

    def __init__(self, found, mended, folder):
        self.found, self.mended, self.folder = found, mended, folder
        self.notebook = mended.notebook

    def run(self):
        died = self._execute()
        for cell in self.notebook.cells:
            if cell.cell_type != "code":
                continue
            if cell.id.startswith("check-"):
                self._compare(cell)
            else:
                self._tell_stop(cell)
        if died:
            self.found.to_do.append(died)

    def _execute(self):
        """Run all cells; returns a sentence where that came to an early end."""
        code = [cell for cell in self.notebook.cells if cell.cell_type == "code"]
        with tqdm(total=len(code), desc="from a fresh start", leave=False) as bar:
            client = NotebookClient(
                self.notebook,
                kernel_name="python3",
                timeout=SECONDS,
                interrupt_on_timeout=True,
                allow_errors=True,
                resources={"metadata": {"path": str(self.folder)}},
                on_cell_executed=lambda **_: bar.update(),
                extra_arguments=["--Application.log_level=40"],  # for errors only
            )
            try:
                _run_beside(client)
            except (DeadKernelError, CellControlSignal, RuntimeError):
                done = [cell for cell in code if cell.get("execution_count")]
                where = self._title((code[len(done) :] or code[-1:])[0])
                return f"From a fresh start the kernel dies in {where}."
        return ""

    def _title(self, cell):
        origin = self.mended.origins.get(cell.id)
        return _title(origin) if origin else f"the cell {cell.id}"

    def _tell_stop(self, cell):
        error = _error(cell.outputs)
        if not error:
            return
        saved = self.mended.origins.get(cell.id)
        worked = saved and isinstance(saved.count, int) and not _error(saved.outputs)
        although = ", although it worked when you ran it" if worked else ""
        self.found.to_do.append(
            f"From a fresh start, {self._title(cell)} stops with {error}{although}."
            + self._hidden(error, saved)
        )

    def _compare(self, check):
        """The check's verdict now and when it was saved."""
        fresh, saved = _verdict(check.outputs), None
        origin = self.mended.origins.get(check.id)
        if origin:
            saved = _verdict(origin.outputs)
        name = check.id.removeprefix("check-")
        if fresh is None:
            told = _error(check.outputs) or "it said nothing"
            self.found.to_do.append(f"The check of {name} did not finish: {told}.")
            return
        self.found.points.append((name, *fresh[:2]))
        if saved is None:
            self._tell_hidden(name, fresh, origin)
            return
        if saved[0] == fresh[0]:
            return
        told = (
            f"The check of {name} gave {saved[0]:g} of {saved[1]:g} points when you "
            f"ran it, and gives {fresh[0]:g} from a fresh start."
        )
        if fresh[0] > saved[0]:
            self.found.notes.append(told)
        else:
            self.found.to_do.append(told + self._hidden(fresh[2], origin))

    def _tell_hidden(self, name, fresh, origin):
        """For a notebook that was saved without outputs."""
        hidden = self._hidden(fresh[2], origin)
        if hidden and name not in self.found.unanswered:
            earned = f"{fresh[0]:g} of {fresh[1]:g} points"
            self.found.to_do.append(f"The check of {name} gives {earned}.{hidden}")

    def _hidden(self, text, origin):
        """Where the name is that a cell has not, as a sentence."""
        missing = NO_NAME.search(text)
        if not missing:
            return ""
        name = missing[1] or missing[2]
        makers = [c for c in self._submitted() if name in _binds(c)]
        number = origin.number if origin else 0
        below = [cell for cell in makers if cell.number > number]
        if below:
            return (
                f" `{name}` is defined further down, in {_title(below[0])}: move it up."
            )
        if makers:
            return f" `{name}` is defined in {_title(makers[-1])}: does that cell stop?"
        for cell in self._submitted():
            if doctor.plain_python(cell.source) is None and name in cell.source:
                return f" `{name}` stands in {_title(cell)}, which is no Python yet."
        return f" `{name}` is defined nowhere: the cell that made it is gone."

    def _submitted(self):
        cells = self.mended.origins.values()
        return sorted((c for c in cells if c.kind == "code"), key=lambda c: c.number)


def _binds(cell):
    source = doctor.plain_python(cell.source)
    if source is None:
        return set()
    return needed.names(new_code_cell(source), strict=False).binds


def _error(outputs):
    """The error that a cell ended with, in a few words; "" where it did not."""
    for output in outputs:
        if output.get("output_type") == "error":
            lines = str(output.get("evalue")).strip().splitlines() or [""]
            return f"{output.get('ename')}: {lines[0][:150]}".rstrip(": .")
    return ""


def _verdict(outputs):
    """Points, most points and text of a check's verdict; None where there is none."""
    for output in outputs:
        data = output.get("data")
        text = data.get("text/plain", "") if isinstance(data, dict) else ""
        text = "".join(text) if isinstance(text, list) else str(text)
        if told := POINTS.search(text):
            return float(told[1]), float(told[2]), text
    return None
