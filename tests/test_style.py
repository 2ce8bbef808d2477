"""The code keeps to its own rules."""

import re
import subprocess
import sys

import pytest

from helpers.lessons.paths import ROOT


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff(command):
    run = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_learners_part_imports_nothing_that_colab_lacks():
    allowed = {"IPython", "helpers", "keras", "matplotlib", "numpy", "pandas"}
    allowed |= {"sklearn", "tensorflow", "tqdm"} | sys.stdlib_module_names
    allowed |= {"jax"}  # where a TPU runtime has it instead of TensorFlow
    parts = ("", "checks/", "parity/", "plots/")
    learners = [path for part in parts for path in ROOT.glob(f"helpers/{part}*.py")]
    for path in learners:
        text = path.read_text(encoding="utf-8")
        found = re.findall(r"^ *(?:import|from) (\w+)", text, re.MULTILINE)
        assert set(found) <= allowed, path
        assert not re.search(
            r"(?m)^ *(import|from) helpers\.(lessons|grading)", text
        ), path


def test_functions_are_short():
    """At most 40 lines with docstring and arguments; most are a quarter of that."""
    import ast

    long = [
        f"{path.name}: {node.name} has {lines} lines"
        for path in ROOT.glob("helpers/**/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and (lines := node.end_lineno - node.lineno + 1) > 40
    ]
    assert not long
