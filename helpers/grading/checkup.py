"""`course doctor`: what a learner wants to know before handing a notebook in.

It says what a grader would have to repair, and runs the notebook from a fresh kernel:
what only worked because of cells that are gone, or were run in another order, stops
there. It runs with the learner's own rights and writes nothing over their file.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

from helpers.checks.show import MIME
from helpers.grading import doctor, needed, store
from helpers.lessons import build, notebooks
from helpers.lessons.script import LessonError

SECONDS = 600  # for one cell
KINDS = "Hand in the notebook itself, `NN_name.ipynb`."


@dataclass
class Findings:
    """What was found in one notebook; sentences, in the order in which to read them."""

    lesson: str
    repairs: list = field(default_factory=list)
    to_do: list = field(default_factory=list)  # answers that are missing or untouched
    hidden: list = field(default_factory=list)  # what a fresh kernel does not know
    points: dict = field(default_factory=dict)  # exercise -> (earned, most)
    problem: str = ""

    @property
    def ready(self):
        return not (self.problem or self.hidden)


def examine(path, repaired=None):
    """Examine a notebook, and run it from a fresh kernel.

    Args:
        path: of the learner's notebook; it is not changed.
        repaired: where to write the repaired notebook; nowhere by default.

    Returns:
        `Findings`.

    Raises:
        LessonError: where there is no such file, or no lesson of ours in it.
    """
    path = Path(path)
    content = _content(path)
    lesson = _lesson_of(path, content)
    released = notebooks.read(notebooks.notebook_path(notebooks.NOTEBOOKS, lesson))
    found = doctor.repair(content, released)
    findings = Findings(lesson, [*found.repairs, *found.flags], problem=found.problem)
    if found.problem:
        return findings
    if repaired:
        _write_new(Path(repaired), doctor.as_text(found.notebook))
    findings.to_do = _untouched(found.notebook, released)
    saved = _saved_outputs(content)
    _run(found.notebook, path.parent, lesson)
    findings.hidden = _hidden_state(found.notebook, saved)
    findings.points = {e: (v["earned"], v["points"]) for e, v in _verdicts(found)}
    return findings


def _content(path):
    if not path.exists():
        raise LessonError(f"There is no file {path}.")
    content = store.submitted(path)
    if content is None:
        raise LessonError(f"{path} is a folder or a link, not a notebook. {KINDS}")
    return content


def _lesson_of(path, content):
    """The lesson that a file belongs to: by its name, else by the checks in it."""
    names = {lesson.number: lesson.name for lesson in build.find()}
    for name in names.values():
        if path.stem.startswith(name):
            return name
    calls = re.findall(rb"check\(\s*\\?[\"'](\d\d)/", content)
    numbers = [call.decode() for call in calls if call.decode() in names]
    if not numbers:
        raise LessonError(f"{path.name} is no notebook of this course. {KINDS}")
    return names[max(set(numbers), key=numbers.count)]


def _write_new(path, text):
    if path.exists():
        raise LessonError(f"{path} exists; name a new file, nothing is written over.")
    store.write_text(path, text)


def _untouched(notebook, released):
    answers = {
        cell.id: cell.source
        for cell in released.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }
    return [
        f"{cell.id} is as it was released: nothing was written there."
        for cell in notebook.cells
        if cell.id in answers and cell.source.strip() == answers[cell.id].strip()
    ]


# Running


def _run(notebook, folder, lesson):
    """Run every cell in a fresh kernel; what stops is kept as an output."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    with tqdm(total=len(code), desc=f"{lesson}, from a fresh kernel") as bar:
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=SECONDS,
            allow_errors=True,
            interrupt_on_timeout=True,
            resources={"metadata": {"path": str(folder.resolve())}},
            on_cell_executed=lambda **event: bar.update(),
        )
        try:
            client.execute(env=notebooks.kernel_environment())
        except RuntimeError as error:  # nbclient's DeadKernelError is one
            raise LessonError(f"The kernel died while {lesson} ran: {error}") from None


def _verdicts(found):
    """Exercise and verdict of every check cell that showed one."""
    for cell in found.notebook.cells:
        for output in cell.get("outputs", []):
            if MIME in output.get("data", {}):
                verdict = output["data"][MIME]
                yield verdict["exercise"], verdict


def _saved_outputs(content):
    """Outputs as they were saved, by the cell's source; as far as they can be read."""
    try:
        notebook = nbformat.reads(content.decode("utf-8-sig"), as_version=4)
    except Exception:  # whatever is damaged there: the doctor has told
        return {}
    return {
        _squeezed(cell.source): cell.outputs
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def _squeezed(source):
    return re.sub(r"\s+", "", source)


def _hidden_state(notebook, saved):
    """Sentences on cells that did well when they were saved, and do not any more."""
    found = []
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for place, cell in enumerate(cells):
        before = saved.get(_squeezed(cell.source))
        if not before:
            continue  # never run, or not as it stands now: nothing to compare
        error = _error(cell.outputs)
        if error and not _error(before):
            where = _where(error, cells, place)
            found.append(f"Cell {_called(cell)} stops from a fresh kernel: {where}")
        found += _other_points(before, cell.outputs)
    return found


def _called(cell):
    first = cell.source.strip().split("\n")[0][:50]
    return f"{cell.id} (`{first}`)"


def _error(outputs):
    stops = [output for output in outputs if output.output_type == "error"]
    return stops[0] if stops else None


def _where(error, cells, place):
    """What is wrong, and for a missing name, where it is made."""
    missing = re.search(r"name '(\w+)' is not defined", error.evalue)
    if not missing:
        return f"{error.ename}: {error.evalue[:200]}"
    name = missing[1]
    makers = [cell for cell in cells[place + 1 :] if name in _binds(cell)]
    if makers:
        return f"`{name}` is only made further down, in cell {_called(makers[0])}."
    return f"no cell makes `{name}`: the one that did is gone, or was changed."


def _binds(cell):
    try:
        return needed.names(cell, strict=False).binds
    except (SyntaxError, ValueError):
        return set()


def _other_points(before, after):
    old, new = (
        next((o["data"][MIME] for o in outputs if MIME in o.get("data", {})), None)
        for outputs in (before, after)
    )
    if old and new and old["earned"] > new["earned"]:
        return [
            f"The check of {new['exercise']} gave {old['earned']:g} points when you "
            f"saved, and {new['earned']:g} from a fresh kernel: the answer rests on "
            "something that is not in the notebook any more."
        ]
    return []


def tell(findings):
    """Print what was found, the decisive line last."""
    print(f"{findings.lesson}")
    for title, sentences in (
        ("A grader would have to repair", findings.repairs),
        ("Not written yet", findings.to_do),
        ("Only works in your running kernel", findings.hidden),
    ):
        if sentences:
            print(f"{title}:", *sentences, sep="\n  - ")
    for exercise, (earned, most) in findings.points.items():
        print(f"  {exercise:24} {earned:g} of {most:g}")
    if findings.problem:
        print(f"Not ready: {findings.problem} {KINDS}")
    elif findings.hidden:
        print("Not ready: mend the cells named above, run all cells, save.")
    else:
        earned, most = (
            sum(part) for part in zip(*findings.points.values(), strict=True)
        )
        print(f"Ready to hand in: {earned:g} of {most:g} points by its own checks.")
