"""Turn a lesson into the executed solution notebook and the learner's notebook."""

import hashlib
import os
import re

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.preprocessors import (
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
)

from helpers.lessons.paths import NOTEBOOKS, SOLUTIONS, repository
from helpers.lessons.script import LessonError

# As in nbgrader's `generate_assignment`, less what talks to its database.
RELEASE_STEPS = (
    LockCells,
    ClearSolutions,
    ClearOutput,
    ComputeChecksums,
    ClearHiddenTests,
    ClearMarkScheme,
    ComputeChecksums,
)
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}
BOOTSTRAP = """\
# Set-up: run this cell first. It installs nothing where the course is installed.
import importlib.util, os, subprocess, sys

if importlib.util.find_spec("helpers") is None:
    course = os.environ.get("COURSE_SOURCE", "{source}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", course]
    subprocess.run(pip, check=True)

from helpers import runtime

runtime.start()"""
# A check is folded: its first line is all that Colab and JupyterLab show of it.
TITLE = (
    "# @title Check: {cell.name}, {cell.points:g} points (run it; no need to read it)"
)
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}}
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{slug}/blob/main/notebooks/{name}/"
    "{name}.ipynb)"
)


def solution_notebook(lesson):
    """The solution notebook of a lesson, not yet executed."""
    used, cells = set(), []
    for cell in lesson.cells:
        if cell.role == "mistake":
            continue
        cells.append(_notebook_cell(cell, _cell_id(cell, used)))
        if len(cells) == 1:
            cells[0].source += "\n\n" + badge(lesson)
            cells.append(_bootstrap_cell())
    return new_notebook(cells=cells, metadata=METADATA)


def badge(lesson):
    """Markdown of the "Open in Colab" badge for this copy of the course."""
    slug = repository().removeprefix("https://github.com/")
    return BADGE.format(slug=slug, name=lesson.name)


def _bootstrap_cell():
    source = BOOTSTRAP.format(source=f"git+{repository()}")
    tags = {"tags": ["nbval-ignore-output"]}  # versions and device
    return new_code_cell(source, id="set-up", metadata=tags)


def _cell_id(cell, used):
    """An id that stays the same when other cells come and go."""
    if cell.role in ("exercise", "answer"):
        name = cell.name
    elif cell.role == "check":
        name = f"check-{cell.name}"
    else:
        name = hashlib.sha1(cell.source.encode()).hexdigest()[:8]
    while name in used:
        name += "-again"
    used.add(name)
    return name


def _notebook_cell(cell, name):
    make = new_markdown_cell if cell.markdown else new_code_cell
    metadata = {}
    if cell.role in ("exercise", "check", "answer"):
        metadata["nbgrader"] = _flags(cell, name)
    if cell.role == "varies":
        metadata["tags"] = ["nbval-ignore-output"]
    if cell.role == "check":
        source = f"{TITLE.format(cell=cell)}\n{cell.source}"
        return make(source, id=name, metadata={**metadata, **FOLDED})
    return make(cell.source, id=name, metadata=metadata)


def _flags(cell, name):
    """nbgrader's five flags, which all follow from the cell's role."""
    flags = {
        "grade": cell.role in ("check", "answer"),
        "grade_id": name,
        "locked": cell.role == "check",
        "schema_version": 3,
        "solution": cell.role in ("exercise", "answer"),
        "task": False,
    }
    return flags | ({"points": cell.points} if flags["grade"] else {})


def learner_notebook(solution):
    """What `nbgrader generate_assignment` makes of a solution notebook."""
    notebook, resources = nbformat.from_dict(solution), {}
    for step in RELEASE_STEPS:
        notebook, resources = step().preprocess(notebook, resources)
    return notebook


def execute(notebook, lesson, on_cell=None):
    """Run a notebook in its folder and keep the outputs, less what changes by itself.

    Raises:
        LessonError: where a cell stops, or writes to standard error.
    """
    folder = SOLUTIONS / lesson.name
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=300,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
        on_cell_executed=on_cell,
        extra_arguments=["--Application.log_level=40"],  # for errors only
    )
    try:
        client.execute(env=kernel_environment())
    except CellExecutionError as error:
        raise LessonError(f"{lesson.path.name}: a cell stops.\n{error}") from None
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        _clean_outputs(lesson, cell)
    return notebook


def kernel_environment():
    """Environment in which a lesson gives the same outputs everywhere."""
    return {
        **os.environ,
        "COURSE_PROGRESS": "off",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONHASHSEED": "0",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }


def _clean_outputs(lesson, cell):
    for output in cell.get("outputs", []):
        output.pop("metadata", None) if output.output_type == "stream" else None
        if output.output_type == "stream" and output.name == "stderr":
            raise LessonError(
                f"{lesson.path.name}: this cell writes to standard error, which "
                f"nbgrader would count as failed:\n{cell.source}\n{output.text}"
            )
    if re.search(r"ipykernel_\d+|/(home|root|Users)/", str(cell.get("outputs", ""))):
        raise LessonError(
            f"{lesson.path.name}: the output of this cell names a path of this "
            f"machine:\n{cell.source}\n{cell.outputs}"
        )


def notebook_path(folder, name):
    """Where the notebook of a lesson stands below `solutions/` or `notebooks/`."""
    return folder / name / f"{name}.ipynb"


def write(notebook, path):
    """Write a notebook as nbgrader does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def read(path):
    """Read a notebook, or None where there is none that can be read."""
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError):
        return None


def paths(lesson):
    """The solution notebook's and the learner's notebook's paths."""
    return notebook_path(SOLUTIONS, lesson.name), notebook_path(NOTEBOOKS, lesson.name)
