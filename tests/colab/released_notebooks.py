"""Run the released notebooks as on Colab, set-up cell included; see `make test-colab`.

The environment has TensorFlow 2.20, Keras 3.13 and IPython 7, no nbgrader and not
this course: the set-up cell installs it from a wheel.
"""

import copy
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted(path.parent.name for path in ROOT.glob("notebooks/*/*.ipynb"))
MIME = "application/vnd.course.verdict+json"


def notebook(folder, lesson):
    return nbformat.read(ROOT / folder / lesson / f"{lesson}.ipynb", as_version=4)


@pytest.fixture(autouse=True)
def course_not_installed():
    pip = [sys.executable, "-m", "pip", "uninstall", "-q", "-y"]
    subprocess.run([*pip, "from-fit-to-gradienttape"], check=True)


def with_reference_answers(lesson):
    """The released notebook with the solution cells of the solution notebook."""
    answers = {cell.id: cell.source for cell in notebook("solutions", lesson).cells}
    released = copy.deepcopy(notebook("notebooks", lesson))
    for cell in released.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = answers[cell.id]
    return released


def test_this_is_the_colab_like_set():
    versions = {name: importlib.metadata.version(name) for name in ("keras", "ipython")}
    assert sys.version_info[:2] == (3, 13)
    assert importlib.metadata.version("tensorflow").startswith("2.20")
    assert versions["keras"].startswith("3.13") and versions["ipython"] == "7.34.0"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("nbgrader")


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_check_passes_with_the_same_keys(lesson, tmp_path):
    (wheel,) = (ROOT / "build" / "wheel").glob("*.whl")
    before = subprocess.check_output([sys.executable, "-m", "pip", "freeze"], text=True)
    released = with_reference_answers(lesson)
    client = NotebookClient(
        released,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute(env={**os.environ, "COURSE_SOURCE": str(wheel)})
    verdicts = [
        output["data"][MIME]
        for cell in released.cells
        for output in cell.get("outputs", [])
        if MIME in output.get("data", {})
    ]
    unsolved = [v for v in verdicts if v["earned"] != v["points"]]
    assert not unsolved, json.dumps(unsolved, indent=1)
    key = json.loads((ROOT / "helpers" / "keys" / f"{lesson}.json").read_text())
    assert [v["exercise"] for v in verdicts] == [e["id"] for e in key["exercises"]]
    after = subprocess.check_output([sys.executable, "-m", "pip", "freeze"], text=True)
    others = [line for line in after.splitlines() if "from-fit-to" not in line]
    assert others == before.splitlines(), "the set-up cell changed other packages"
