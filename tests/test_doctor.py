"""Whatever was handed in, the answers that are still in it are found."""

import copy
import functools
import json

import damage
import nbformat
import pytest
from sample_class import released, right

from helpers.grading import doctor
from helpers.grading.doctor import repair
from helpers.lessons import build

LESSONS = build.find(["00", "02"])
CASES = [*damage.CELLS, *damage.FORMATS, *damage.BYTES]
WRITTEN = "leaked_statistics"


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
    nbformat.validate(nbformat.reads(doctor.as_text(found.notebook), 4))
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
