"""`course doctor FILE`: what a learner is told before handing in."""

import copy
import json
import os
import signal
import subprocess
import sys

import pytest
from damage import as_bytes, cell_of, code, place_of
from sample_class import released

from helpers.grading import checkup
from helpers.lessons import build, notebooks
from helpers.lessons.cli import main

LESSON = build.find(["00"])[0]


@pytest.fixture(scope="module")
def solved():
    """Lesson 00 as it was saved after everything was run from top to bottom."""
    notebook = json.loads(json.dumps(notebooks.read(notebooks.paths(LESSON)[0])))
    number = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            number += 1
            cell["execution_count"] = number
    return notebook


def put_in(notebook, place, *cells):
    notebook["cells"][place:place] = cells


@pytest.fixture(scope="module")
def hidden(solved):
    """Names that only the learner's kernel had, and what else a fresh start shows."""
    notebook = copy.deepcopy(solved)
    # The answer's helper is further down, the other name is gone.
    cell_of(notebook, "xent")["source"] = (
        "def xent(logits, labels):\n    return loss_of(logits, labels)"
    )
    place = place_of(notebook, "check-xent")
    helper = "def loss_of(a, b):\n    return keras.ops.logsumexp(a, axis=1)"
    put_in(notebook, place + 1, code(helper, id="mine", execution_count=5))
    cell_of(notebook, "mlp")["source"] = "def mlp(*sizes):\n    return layers_of(sizes)"
    shown = {"output_type": "stream", "name": "stdout", "text": "0.5\n"}
    put_in(
        notebook,
        place_of(notebook, "holdout"),
        code("print(rate)", id="mine-2", execution_count=90, outputs=[shown]),
        code("1 / 0", id="mine-3"),
    )
    cell_of(notebook, "environment")["execution_count"] = None
    empty = cell_of({"cells": released(LESSON).cells}, "standardise")["source"]
    cell_of(notebook, "standardise")["source"] = empty
    notebook["cells"].remove(cell_of(notebook, "leaked_statistics"))
    return notebook


@pytest.fixture(scope="module")
def found(hidden, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hidden")
    path, before = folder / "00_warm_up.ipynb", as_bytes(hidden)
    path.write_bytes(before)
    looked = checkup.examine(path, folder / "mended.ipynb")
    assert path.read_bytes() == before
    return looked, folder


def told(sentences, *parts):
    """Whether one of the sentences has all these parts."""
    return any(all(part in one for part in parts) for one in sentences)


def test_a_name_from_further_down_is_told_with_its_place(found):
    to_do = found[0].to_do
    assert told(to_do, "check of xent gave 3 of 3", "gives 0 from a fresh start")
    assert told(to_do, "xent", "`loss_of` is defined further down, in cell")
    assert told(to_do, "(`def loss_of(a, b):`): move it up.")


def test_a_name_whose_cell_is_gone_is_told(found):
    to_do = found[0].to_do
    assert told(to_do, "check of mlp", "`layers_of` is defined nowhere")
    assert told(to_do, "`print(rate)`", "stops with NameError", "it worked when you")
    assert told(to_do, "`print(rate)`", "`rate` is defined nowhere")
    assert told(to_do, "`1 / 0`", "ZeroDivisionError")
    assert not told(to_do, "`1 / 0`", "it worked when you ran it")


def test_a_name_from_further_down_is_told_without_stored_outputs(hidden, tmp_path):
    notebook = copy.deepcopy(hidden)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    path = tmp_path / "00_warm_up.ipynb"
    path.write_bytes(as_bytes(notebook))
    to_do = checkup.examine(path).to_do
    assert told(to_do, "check of xent gives 0 of 3", "defined further down, in cell")
    assert told(to_do, "check of mlp gives 0 of", "`layers_of` is defined nowhere")
    assert not told(to_do, "check of standardise")  # "is not answered yet" says enough


def test_a_name_in_a_cell_that_python_cannot_read_is_not_told_to_be_gone(
    solved, tmp_path
):
    notebook = copy.deepcopy(solved)
    cell = cell_of(notebook, "mean_loss")
    cell["source"] = "def mean_loss(losses, sizes)\n    return 1"
    path = tmp_path / "00_warm_up.ipynb"
    path.write_bytes(as_bytes(notebook))
    to_do = checkup.examine(path).to_do
    assert told(to_do, "(`def mean_loss(", "stops with SyntaxError")
    assert told(to_do, "`mean_loss` stands in cell", "which is no Python yet.")
    assert not told(to_do, "`mean_loss` is defined nowhere")


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_is_one_word(hidden, tmp_path):
    path = tmp_path / "00_warm_up.ipynb"
    path.write_bytes(as_bytes(hidden))
    process = subprocess.Popen(
        [sys.executable, "-m", "helpers.lessons.cli", "doctor", os.fspath(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    said = b""
    while said.count(b"\r") < 2:  # a first cell is done
        said += process.stderr.read1()
    os.killpg(process.pid, signal.SIGINT)
    out, rest = process.communicate(timeout=60)
    assert process.returncode == 130 and not out
    assert (said + rest).decode().split("\r")[-1].strip() == "Stopped."


def test_missing_and_untouched_answers_are_told(found):
    to_do = found[0].to_do
    assert "standardise is not answered yet." in to_do
    assert told(to_do, "The answer leaked_statistics is missing")


def test_the_order_of_execution_is_told(found):
    notes = found[0].notes
    assert told(notes, "Never run:", "`def environment(modules):`", "`1 / 0`")
    assert told(notes, "Run out of order:", "`def loss_of(a, b):`")


def test_points_are_those_of_the_fresh_start(found):
    points = {name: earned for name, earned, _ in found[0].points}
    assert len(points) == len(LESSON.exercises)
    assert points["holdout"] == 3 and points["xent"] == points["mlp"] == 0


def test_a_mended_copy_is_written_once(found, capsys):
    copy_of, file = found[1] / "mended.ipynb", str(found[1] / "00_warm_up.ipynb")
    cells = json.loads(copy_of.read_text())["cells"]
    assert "leaked_statistics" in [cell["id"] for cell in cells]
    assert main(["doctor", file, "--repaired", str(copy_of)]) == 1
    error = capsys.readouterr().err
    assert "writes one new file" in error and "Traceback" not in error


def test_a_notebook_that_works_is_ready(solved, tmp_path, capsys):
    path = tmp_path / "hw (1).ipynb"
    path.write_bytes(as_bytes(solved))
    assert main(["doctor", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].endswith("is lesson 00_warm_up.")
    assert out.splitlines()[-1] == "Ready to hand in."
    assert "19 of 19" in out and "To do" not in out and "Note" not in out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "The file is empty."),
        (b"PK\x03\x04", "a zip archive or an office document"),
        (b'{"nbformat": 4, "cells": []}', "none of the course's notebooks"),
        (
            as_bytes({"cells": [code('check("77/nothing", evidence)')], "nbformat": 4}),
            "Its checks belong to lesson 77, which is not here",
        ),
    ],
)
def test_what_cannot_be_looked_at_is_one_sentence(content, sentence, tmp_path, capsys):
    path = tmp_path / "00_warm_up.ipynb"
    path.write_bytes(content)
    assert main(["doctor", str(path), str(tmp_path), str(tmp_path / "gone")]) == 1
    out = capsys.readouterr().out
    assert sentence in out and "It is a folder" in out and "no such file" in out
    assert "Ready" not in out


def test_the_courses_own_copy_is_not_the_learners(capsys):
    path = notebooks.notebook_path(notebooks.NOTEBOOKS, LESSON.name)
    assert main(["doctor", str(path)]) == 1
    assert "the course's own copy" in capsys.readouterr().out
