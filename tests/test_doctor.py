"""Damaged notebooks: what can be read counts, and what was done is told."""

import nbformat
import pytest
from damage import BY_HAND, HOPELESS, LESSON, NAMES, by_chance, solved

from helpers.grading import checkup, doctor
from helpers.grading.checkup import Findings
from helpers.lessons import cli, notebooks
from helpers.lessons.script import LessonError

RELEASED = notebooks.read(notebooks.paths(LESSON)[1])
ANSWERS = {cell["id"]: "".join(cell["source"]) for cell in solved()["cells"]}


def repaired(content):
    found = doctor.repair(content, RELEASED)
    cells = {cell.id: cell for cell in found.notebook.cells}
    nbformat.validate(found.notebook)
    order = [cell.id for cell in found.notebook.cells if cell.id in set(released_ids())]
    assert order == released_ids()
    for cell in RELEASED.cells:
        if cell.metadata.get("nbgrader", {}).get("locked"):
            assert cells[cell.id].source == cell.source
            assert cells[cell.id].metadata == cell.metadata
    return found, cells


def released_ids():
    return [cell.id for cell in RELEASED.cells]


@pytest.mark.parametrize("damage", BY_HAND, ids=lambda damage: damage.__name__)
def test_answers_survive_and_the_repair_is_told(damage):
    found, cells = repaired(damage(solved()))
    assert not found.problem
    together = "\n".join(
        cell.source for cell in found.notebook.cells if cell.cell_type == "code"
    )
    for name in NAMES:
        for part in ANSWERS[name].split("\n\n\n"):
            assert part in together, name
    if BY_HAND[damage]:
        assert BY_HAND[damage] in " ".join(found.repairs)
    else:
        assert not any("missing" in sentence for sentence in found.repairs)


@pytest.mark.parametrize("name", HOPELESS)
def test_what_cannot_be_read_is_told_in_one_sentence(name):
    content, told = HOPELESS[name]
    found, _ = repaired(content)
    assert told in found.problem and found.problem.endswith(".")
    assert "\n" not in found.problem


def test_500_notebooks_damaged_by_chance():
    """None stops the doctor; answers that no damage touched are there unchanged."""
    kept = 0
    for seed in range(500):
        content, left = by_chance(seed)
        _, cells = repaired(content)
        for name in left:
            assert cells[name].source == ANSWERS[name], (seed, name)
        kept += len(left)
    assert kept > 1000  # else the damages are so great that nothing was tested


# `course doctor`


def hand_in(path, change=lambda notebook: None):
    notebook = solved()
    change(notebook)
    path.write_bytes(damage_text(notebook))
    return path


def damage_text(notebook):
    from damage import text

    return text(notebook)


def test_a_learner_is_told_what_a_fresh_kernel_does_not_know(tmp_path, capsys):
    """One run: a name made further down, one that is gone, an answer not written."""

    def change(notebook):
        stream = {"output_type": "stream", "name": "stdout", "text": "3"}
        for place, source in ((4, "print(below)"), (5, "print(gone)")):
            cell = {"cell_type": "code", "id": f"n{place}", "metadata": {}}
            more = {"source": source, "outputs": [stream], "execution_count": 9}
            notebook["cells"].insert(place, {**cell, **more})
        cell = {"cell_type": "code", "id": "late", "metadata": {}, "outputs": []}
        notebook["cells"].append({**cell, "source": "below = 3"})
        stub = next(c for c in RELEASED.cells if c.id == "xent").source
        next(c for c in notebook["cells"] if c["id"] == "xent")["source"] = stub

    path = hand_in(tmp_path / "hw (1).ipynb", change)
    before = path.read_bytes()
    target = tmp_path / "repaired.ipynb"
    assert cli.main(["doctor", str(path), "--repaired", str(target)]) == 1
    told = capsys.readouterr().out
    assert "`below` is only made further down" in told
    assert "no cell makes `gone`" in told
    assert "xent is as it was released" in told
    assert "00/holdout               3 of 3" in told and "00/xent" in told
    assert told.rstrip().endswith("run all cells, save.")
    assert path.read_bytes() == before
    assert ANSWERS["holdout"] in [c.source for c in notebooks.read(target).cells]
    with pytest.raises(LessonError, match="exists"):
        checkup._write_new(target, "")


def test_a_sound_notebook_is_ready(capsys):
    checkup.tell(Findings("00_warm_up", points={"00/xent": (3.0, 3.0)}))
    assert "Ready to hand in: 3 of 3 points" in capsys.readouterr().out


def test_an_answer_that_lost_its_ground_is_named():
    def check(earned):
        verdict = {"exercise": "00/xent", "earned": earned, "points": 3.0}
        return [nbformat.from_dict({"data": {checkup.MIME: verdict}})]

    (told,) = checkup._other_points(check(3.0), check(0.0))
    assert "gave 3 points when you saved, and 0 from a fresh kernel" in told
    assert not checkup._other_points(check(0.0), check(3.0))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("missing.ipynb", None, "There is no file"),
        ("notes.ipynb", b'{"cells": []}', "is no notebook of this course"),
        ("folder.ipynb", "folder", "is a folder"),
    ],
)
def test_what_is_no_notebook_of_ours_is_told(tmp_path, capsys, name, content, told):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    assert cli.main(["doctor", str(path)]) == 1
    said = capsys.readouterr().err
    assert told in said and len(said.strip().splitlines()) == 1


def test_a_file_that_cannot_be_read_is_not_ready(tmp_path, capsys):
    path = tmp_path / f"{LESSON.name}.ipynb"
    path.write_bytes(b"")
    assert cli.main(["doctor", str(path)]) == 1
    assert "Not ready: The file is empty." in capsys.readouterr().out
