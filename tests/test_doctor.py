"""Whatever was handed in, the answers that are still in it are found."""

import copy
import functools
import json
import signal
import textwrap

import damage as damage
import nbformat
import pytest
from sample_class import released, right

from helpers.grading import doctor, reading
from helpers.grading.doctor import repair
from helpers.lessons import build

LESSONS = build.find(["00", "02"])
CASES = [*damage.CELLS, *damage.FORMATS, *damage.BYTES, *damage.CONFLICTS]


@functools.cache
def handed_in(number=0):
    """A notebook with all answers right, as a dict; do not change it."""
    return json.loads(json.dumps(right(LESSONS[number])))


@functools.cache
def skeleton(number=0):
    return released(LESSONS[number])


def damaged(case, number=0):
    made = case.make(copy.deepcopy(handed_in(number)))
    return made if isinstance(made, bytes) else damage.as_bytes(made)


def answers_of(notebook):
    """Sources of what was asked for, by id."""
    roles = ("exercise", "answer")
    return {c.id: c.source for c in notebook.cells if doctor._role(c) in roles}


def assert_can_be_graded(found, number=0):
    """Valid, and the released one but for answers and own cells."""
    text = doctor.as_text(found.notebook).encode()  # which half a character is not
    nbformat.validate(nbformat.reads(text.decode(), 4))
    want = {c.id: c for c in skeleton(number).cells}
    have = [c for c in found.notebook.cells if not c.id.startswith("own-")]
    assert [c.id for c in have] == list(want)
    for cell in have:
        assert cell.cell_type == want[cell.id].cell_type
        assert cell.metadata == want[cell.id].metadata
        if doctor._role(cell) in ("check", "set-up"):
            assert cell.source == want[cell.id].source


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_answers_are_found_and_repairs_told(case):
    found = repair(damaged(case), skeleton())
    assert_can_be_graded(found)
    assert not found.problem
    want = {
        name: source
        for name, source in answers_of(right(LESSONS[0])).items()
        if name not in case.lost
    }
    have = answers_of(found.notebook)
    for name, source in want.items():
        assert without_blank_lines(source) in without_blank_lines(have[name]), name
    told = " ".join([*found.repairs, *found.flags])
    assert case.told in told, told
    if not case.told:
        assert told == ""
    for name in case.lost:
        assert f"The answer {name} is missing." in found.repairs


def without_blank_lines(source):
    return "\n".join(line for line in source.splitlines() if line.strip())


@pytest.mark.parametrize("case", damage.CONFLICTS, ids=lambda case: case.name)
def test_of_a_merge_conflict_one_side_is_left(case):
    found = repair(damaged(case), skeleton())
    assert answers_of(found.notebook) == answers_of(right(LESSONS[0]))
    assert not [c.id for c in found.notebook.cells if c.id.startswith("own-")]


def with_neighbour(cell, step, ids=True):
    """The written answer untouched, with one cell more above (0) or below (1) it."""
    notebook = copy.deepcopy(handed_in())
    damage.edited("leaked_statistics", damage.PROMPT)(notebook)
    place = damage.place_of(notebook, "leaked_statistics") + step
    notebook["cells"].insert(place, cell)
    return notebook if ids else damage.anonymous(notebook)


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("step", [0, 1])
def test_what_nobody_wrote_is_no_written_answer(step, ids):
    """Code of the learner's own, and released texts, damaged or not."""
    texts = [c.source for c in skeleton().cells if c.cell_type == "markdown"]
    texts = [one.replace("the", "teh") for one in texts[1:5]] + texts[1:5]
    cells = [damage.code("trial = 1"), *(damage.prose(text) for text in texts)]
    for cell in cells:
        made = with_neighbour(cell, step, ids)
        found = repair(damage.as_bytes(made), skeleton())
        have = answers_of(found.notebook)["leaked_statistics"]
        assert have == damage.PROMPT, cell["source"]


def told_of(name, change):
    """What is told of one answer after a damage of the notebook."""
    made = change(copy.deepcopy(handed_in()))
    found = repair(damage.as_bytes(made), skeleton())
    assert_can_be_graded(found)
    return [one for one in found.repairs if f" {name} " in one]


def beside_stubs(times):
    """All answers in cells of the learner's own; the released cells are untouched."""
    released_ones = answers_of(skeleton())

    def make(notebook):
        for cell in damage.all_in_one(times)(notebook)["cells"]:
            cell["source"] = released_ones.get(cell.get("id"), cell["source"])
        return notebook

    return make


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("    # raise NotImplementedError()", "end"),
        ("# raise NotImplementedError()", "begin"),
        ("said = 'raise NotImplementedError()'", "begin"),
    ],
)
def test_an_answer_may_speak_of_the_starters_line(line, where):
    """An experiment below the check does not take its place."""

    def spoken(source):
        return f"{source}\n{line}" if where == "end" else f"{line}\n{source}"

    assert_stays(spoken)


@pytest.mark.parametrize("head", ["if True:", "try:", "for _ in [1]:", "with tape():"])
def test_an_answer_may_stand_in_a_block(head):
    end = "\nexcept ValueError:\n    pass" if head == "try:" else ""
    assert_stays(lambda source: f"{head}\n{textwrap.indent(source, '    ')}{end}")


def assert_stays(change):
    """A changed answer stays in its place although it is defined again further down."""
    made = copy.deepcopy(handed_in())
    (cell,) = [c for c in made["cells"] if c.get("id") == "mean_loss"]
    cell["source"] = change("".join(cell["source"]))
    wrong = {"cell_type": "code", "metadata": {}, "outputs": [], "id": "mine"}
    wrong |= {"execution_count": None, "source": "def mean_loss(*_):\n    return 0"}
    made["cells"].append(wrong)
    found = repair(damage.as_bytes(made), skeleton())
    assert answers_of(found.notebook)["mean_loss"] == cell["source"]


@pytest.mark.parametrize(
    ("source", "stub"),
    [
        ('def f():\n    "Says."\n    raise NotImplementedError()', True),
        ("class A:\n    def f(self):\n        raise NotImplementedError()", True),
        ("def f(:\n    raise NotImplementedError()", True),
        ("def f(x):\n    if x:\n        raise NotImplementedError()", False),
        ("def f(x):\n    raise NotImplementedError(x)", False),
        ("def f(:\n    # raise NotImplementedError()", False),
        ("def f():\n    return 1\n    raise NotImplementedError()", False),
        ("def f():\n    def g():\n        raise NotImplementedError()", False),
        ("class B:\n    def f(self):\n        raise NotImplementedError()", False),
    ],
)
def test_a_starter_is_known_by_its_line(source, stub):
    assert doctor._is_stub(source, {"f", "A"}) == stub


def test_copies_are_those_that_were_handed_in():
    """Not those that the doctor made, nor the untouched cell beside an answer."""
    by_name = "The answer history_rows was found by its name."
    twice = (
        "The answer history_rows is there 2 times; the last that was changed and is "
        "whole counts, and one above its check before one below."
    )
    assert told_of("history_rows", beside_stubs(1)) == [by_name]
    assert told_of("history_rows", beside_stubs(2)) == [by_name, twice]
    halves = damage.split("standardise", "def apply_standardiser", same_id=True)
    told = "The answer standardise stood in 2 cells; they were joined."
    assert told_of("standardise", halves) == [told]


def test_what_is_not_damaged_is_left_as_it_is():
    found = repair(damage.as_bytes(handed_in()), skeleton())
    assert (found.repairs, found.flags, found.problem) == ([], [], "")
    want = [(c.id, c.source) for c in right(LESSONS[0]).cells]
    have = [(c.id, c.source) for c in found.notebook.cells]
    setup_and_checks = [c.id for c in skeleton().cells]
    assert [name for name, _ in have] == setup_and_checks
    assert have == want


@pytest.mark.parametrize("name", damage.NO_NOTEBOOK)
def test_what_is_no_notebook_is_named(name):
    content, told = damage.NO_NOTEBOOK[name]
    found = repair(content, skeleton())
    assert_can_be_graded(found)
    assert told in found.problem and len(found.problem) < 200
    assert found.problem.endswith(".") and "Traceback" not in found.problem


@pytest.mark.parametrize(
    "content",
    [
        b"{'cells': [], []: 1}",
        b'{"nbformat": 4, "metadata": {}, "cells": [\n<<<<<<< a\n1\n=======\n2\n'
        b">>>>>>> b\n]}",
    ],
)
def test_no_exception_leaves_the_doctor(content):
    assert repair(content, skeleton()).problem


def test_half_a_character_is_nowhere_in_what_goes_on():
    """Not in outputs either, which `course doctor` prints, nor in a picture's name."""
    case = next(one for one in CASES if one.name == "half a character in metadata")
    found = repair(damaged(case), skeleton())
    cells = [cell for name, cell in found.origins.items() if name.startswith("own-")]
    assert [len(cell.outputs) + len(cell.pictures) for cell in cells] == [1, 1]
    assert "\ufffd" in str(cells)
    assert "\\ude00" not in str(cells)  # as half a character is shown


def test_a_file_of_more_than_200_mb_is_named():
    found = repair(b" " * (200 * 2**20 + 1), skeleton())
    assert found.problem == "The file has more than 200 MB; clear its outputs."


@pytest.mark.parametrize("change", [dict, damage.anonymous, damage.colab])
def test_another_lessons_notebook_is_named(change):
    other = change(copy.deepcopy(handed_in(1)))
    found = repair(damage.as_bytes(other), skeleton())
    told = "This is the notebook of lesson 02; lesson 00 was expected."
    assert found.problem == told


@pytest.mark.parametrize("number", [0, 1], ids=["00", "02"])
def test_answers_survive_random_damages(number):
    """250 files for each of two lessons; a failure names its seed."""
    alive_in_all = 0
    for seed in range(number, 500, 2):
        content, alive = damage.random_damage(seed, handed_in(number))
        found = repair(content, skeleton(number))
        assert_can_be_graded(found, number)
        have = answers_of(found.notebook)
        for name in alive:
            source = answers_of(right(LESSONS[number]))[name]
            assert source in have[name], (seed, name)
        alive_in_all += len(alive)
    assert alive_in_all > 1200  # of about 2100: the damages do not kill everything


def test_a_file_of_endless_cells_is_one_sentence():
    cells = [{"sourc": 1}] * 30_000
    with pytest.raises(reading.Unreadable, match="has 30,000 cells"):
        reading.read_cells(json.dumps({"cells": cells}).encode())


def test_a_file_of_endless_lists_is_one_sentence():
    with pytest.raises(reading.Unreadable, match="endless lists"):
        reading.read_cells(b'{"cells": [' + b"[]," * 10**6 + b"1]}")


def test_a_copy_below_the_check_does_not_count():
    """JupyterLab copies what nbgrader knows of a cell, too."""
    made = copy.deepcopy(handed_in())
    (cell,) = [c for c in made["cells"] if c.get("id") == "mean_loss"]
    old = {**cell, "id": "copy", "source": "def mean_loss(*_):\n    return 0"}
    made["cells"].append(old)
    found = repair(damage.as_bytes(made), skeleton())
    assert answers_of(found.notebook)["mean_loss"] == "".join(cell["source"])
    (check,) = [c for c in made["cells"] if c.get("id") == "check-mean_loss"]
    made["cells"].append({**check, "id": "copy of the check"})
    found = repair(damage.as_bytes(made), skeleton())
    assert answers_of(found.notebook)["mean_loss"] == old["source"]


def mended(change):
    """The sources of a notebook's cells after a change of the one with all answers."""
    made = copy.deepcopy(handed_in())
    change(made["cells"], {c.get("id"): k for k, c in enumerate(made["cells"])})
    found = repair(damage.as_bytes(made), skeleton())
    assert_can_be_graded(found)
    return [cell.source for cell in found.notebook.cells], found.repairs


def own(source):
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "id": "of mine"}
    return cell | {"execution_count": None, "source": source}


def imports(cells):
    return next(c for c in cells if "from helpers.checks" in "".join(c["source"]))


@pytest.mark.parametrize("between", [True, False])
def test_an_example_that_was_copied_below_own_cells_runs_there_again(between):
    def change(cells, _):
        cells += [own("np = [1, 2]")] if between else []
        cells.append({**imports(cells), "id": "a copy"})

    sources, _ = mended(change)
    source = "".join(imports(handed_in()["cells"])["source"])
    assert sources.count(source) == 1 + between
    assert sources[-1] == source or not between


@pytest.mark.parametrize("where", ["above", "below", "instead"])
def test_what_was_added_to_the_cell_that_installs_runs_after_it(where):
    def change(cells, places):
        cell = cells[places["set-up"]]
        source = "".join(cell["source"])
        above, below = "import math\n" + source, source + "\nimport math"
        new = "!pip install this\nimport math"
        cell["source"] = {"above": above, "below": below, "instead": new}[where]

    sources, told = mended(change)
    assert sources.count("import math") == 1
    assert "What was added to the first code cell runs after it." in told


@pytest.mark.parametrize("call", ['check("00/xent", evidence)', '# check("00/xent")'])
def test_a_helper_stays_although_its_cell_calls_a_check(call):
    source = f"def helper(x):\n    return x\n\n\n{call}"
    sources, told = mended(lambda cells, places: cells.insert(9, own(source)))
    assert source in sources and not any("xent" in one for one in told)


def test_own_cells_are_kept_up_to_a_size(monkeypatch):
    monkeypatch.setattr(doctor, "MOST_OWN", 100)
    big = [own(f"x = {number * 'x'!r}") for number in (20, 40, 60)]
    _, told = mended(lambda cells, places: cells.extend(big))
    assert "Only 2 cells of your own were kept." in told


@pytest.mark.parametrize(
    "content",
    [
        b'{"cells":[{"cell_type":"code","source":["' + b'\\"' * 400_000,
        b"{'a':" + b"'\\" * 200_000,
    ],
)
def test_a_file_that_ends_inside_of_a_string_is_read_at_once(content):
    """It took hours: the end was looked for from each quote anew."""
    begin = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(60)
    try:
        reading.read_cells(content)
    except reading.Unreadable:
        pass
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, begin)


def test_endless_statements_of_a_set_up_cell_stay_one_cell():
    def change(cells, _):
        imports(cells)["source"] = "x = 1\n" * 20_000

    sources, _ = mended(change)
    assert sum("x = 1" in source for source in sources) == 1


def test_of_a_changed_set_up_cell_each_statement_runs_for_itself():
    def change(cells, _):
        cell = imports(cells)
        begin = "from google.colab import drive\n%matplotlib widget\nimport math\n"
        cell["source"] = begin + "".join(cell["source"])

    sources, told = mended(change)
    place = sources.index("import math")
    assert sources[place - 2] == "from google.colab import drive"
    assert "matplotlib" in sources[place - 1]
    assert "The set-up cell was changed; the released one runs before it." in told
