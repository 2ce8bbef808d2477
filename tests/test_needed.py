"""Which cells a grader runs, told from their source."""

import ast

import pytest
from nbformat.v4 import new_code_cell, new_notebook
from sample_class import fill, right

from helpers.grading import needed
from helpers.lessons import build
from helpers.lessons.notebooks import NOTEBOOKS, notebook_path, read

LESSONS = build.find()
MODULES = {"data", "keras", "np", "ops", "tf"}  # a check may replace a function
LOCKED = {"nbgrader": {"locked": True, "grade": True}}
ANSWER = {"nbgrader": {"solution": True}}
RELEASED = new_notebook(
    cells=[
        new_code_cell("import course", id="set-up"),
        new_code_cell("import numpy as np\nx_train = np.ones(3)", id="names"),
        new_code_cell("shown = x_train.sum()", id="example"),
        new_code_cell("def own_mean(x):\n    ...", id="own_mean", metadata=ANSWER),
        new_code_cell(
            "def evidence(own_mean, rng):\n    yield own_mean\n"
            "check('09/own_mean', evidence)",
            id="check-own_mean",
            metadata=LOCKED,
        ),
        new_code_cell("history = []\nhistory.append(shown)", id="later"),
        new_code_cell("print(history)", id="last"),
    ]
)
ALL = {"example", "later", "last"}


def left_out(**changed):
    """What is left out where these cells were changed; a new name is a new cell."""
    notebook = new_notebook(cells=[])
    for cell in RELEASED.cells:
        source = changed.pop(cell.id.replace("-", "_"), cell.source)
        notebook.cells.append(new_code_cell(source, id=cell.id, metadata=cell.metadata))
    for number, (name, source) in enumerate(changed.items()):
        place = -1 if name == "at_the_end" else 3
        notebook.cells.insert(place, new_code_cell(source, id=f"own-{number}"))
    return needed.left_out(notebook, RELEASED)


def test_untouched_examples_are_left_out_and_nothing_else():
    assert left_out() == ALL
    assert left_out(own_mean="def own_mean(x):\n    return np.mean(x_train)") == ALL


def test_what_an_answer_uses_is_run_with_all_that_makes_and_changes_it():
    use = "def own_mean(x):\n    return x - {}"
    assert left_out(own_mean=use.format("shown")) == ALL - {"example"}
    assert left_out(at_the_end="print(history)") == {"last"}
    inside = (
        "class Own:\n    def f(self):\n        return lambda: shown\nown_mean = Own"
    )
    assert left_out(own_mean=inside) == ALL - {"example"}


def test_a_changed_example_runs():
    assert left_out(last="print(len(history))") == set()
    assert left_out(example="shown = 3") == ALL - {"example"}


def test_what_a_later_cell_makes_is_not_needed_before():
    assert left_out(own_mean="def own_mean(x):\n    return len(history)") == ALL


@pytest.mark.parametrize(
    "source",
    [
        "%time x = 3",
        "eval('shown')",
        "globals()['shown']",
        "from __main__ import shown",
        "import sys\nsys.modules['__main__'].shown",
        "Out[3]",
        "x = vars()['shown']",
        "assert 'shown' in dir()",
        "locals()['shown']",
        "__import__('__main__').shown",
        "import importlib\nimportlib.import_module('__main__').shown",
        "import keras\nkeras.mixed_precision.set_global_policy('mixed_float16')",
        "from keras.utils import clear_session\nclear_session()",
        "!pip install shown",
        "    own = shown",  # IPython takes the spaces away
        ">>> own = shown",
        "%%time\ndef broken(",
    ],
)
def test_where_names_may_be_hidden_everything_runs(source):
    assert left_out(own=source) == set()


@pytest.mark.parametrize("source", ["def broken(", "return shown +", "print shown"])
def test_a_cell_that_cannot_run_needs_nothing(source):
    assert left_out(own=source) == ALL
    assert left_out(own_mean=source) == ALL
    assert left_out(own=source, own_mean="own_mean = shown") == ALL - {"example"}


def test_a_missing_name_that_an_example_makes_is_noticed():
    def stopped(name):
        told = {"output_type": "error", "evalue": f"name '{name}' is not defined"}
        return {"cells": [{"outputs": [told]}], "evidence": {}}

    def in_evidence(name):
        error = {"type": "NameError", "message": f"name '{name}' is not defined"}
        records = {"5": [{"label": "one", "error": error}]}
        return {"cells": [], "evidence": {"09/own_mean": records}}

    def in_pandas(name):
        told = f"local variable '{name}' is not defined"  # by `table.query("n < @x")`
        return {"cells": [{"outputs": [{"evalue": told}]}], "evidence": {}}

    for result in (stopped, in_evidence, in_pandas):
        assert needed.misses(result("shown"), RELEASED, ALL)
        assert not needed.misses(result("a_typing_error"), RELEASED, ALL)
        assert not needed.misses(result("shown"), RELEASED, set())


def released(lesson):
    return read(notebook_path(NOTEBOOKS, lesson.name))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda found: found.name)
def test_most_examples_of_every_lesson_are_left_out(lesson):
    """Where a lesson breaks its own rule, that answers rest on the set-up alone."""
    notebook = right(lesson)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    examples = [cell for cell in code[2:] if "nbgrader" not in cell.metadata]
    assert len(needed.left_out(notebook, released(lesson))) > len(examples) / 2
    assert needed.left_out(fill(lesson, {}), released(lesson))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda found: found.name)
def test_no_lesson_changes_in_place_what_its_set_up_makes(lesson):
    """`needed` counts on that; to bind a name anew is another thing, and seen."""
    code = [cell for cell in released(lesson).cells if cell.cell_type == "code"]
    made = set().union(*(needed.names(c, strict=False).binds for c in code[:2]))
    in_place = {"sort", "fill", "resize", "put", "itemset", "setflags", "shuffle"}
    for cell in code[2:]:
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Attribute | ast.Subscript):
                changes = not isinstance(node.ctx, ast.Load)
                changes |= getattr(node, "attr", "") in in_place
                base = node.value
                if changes and isinstance(base, ast.Name):
                    assert base.id not in made - MODULES, cell.source
