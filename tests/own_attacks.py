"""More attacks: those of a student who has read all of `helpers/`, which is public.

The strongest takes `check` over in its own process and publishes whatever it likes at
the right moment (`forger`). What is left to it are numbers that it has: those of the
public seeds. Run as a script, this grades a few of them:

    python tests/own_attacks.py FOLDER

prints one JSON object: student -> exercise -> [points, most, state].
"""

import json
import os
import sys
from functools import partial
from pathlib import Path

import class_attacks as known
from class_attacks import (
    EVERYTHING,
    LESSON,
    NAMES,
    REFERENCE,
    Case,
    fill,
    good,
    released,
    right,
    wrong,
)
from nbformat.v4 import new_code_cell, new_markdown_cell

from helpers.lessons import build

QUICK = {"cell_seconds": 6.0, "check_seconds": 8.0, "seconds": 60.0}
DECISIVE = ("00", "s1", "s2", "p1", "p5", "43", "53", "54", "66", "k1")  # as any user

# Changes evidence on its way out, where no function of ours is replaced: `records` is
# called with exercise and seed and gives JSON text, for as long as a check runs.
FORGER = """\
import json
kind, way_out = "application/vnd.course.evidence+json", get_ipython().display_pub
real = way_out.publish
def forged(data=None, *rest, **more):
    if kind not in (data or {}):
        return real(data, *rest, **more)
    sent = data[kind]
    for seed in seeds or [sent["seed"]]:
        mine = {"records": records(sent["exercise"], seed), "log": log, "seed": seed}
        real({**data, kind: {**sent, **mine}}, *rest, **more)
log, seeds = {}, []
way_out.publish = forged
"""
VALUES = """\
values = [{"label": "x", "value": value} for value in VALUES]
def records(exercise, seed):
    return json.dumps(values[:100])
"""
SCRIPT = "<script>mine()</script><img src=x onerror=mine()>"


def cases(folder):
    """All cases of this file, for a class in `folder`."""
    return [*_forgers(), *_patched(), *_shown(), *_odd_notebooks(), *_stubborn()]


def forger(values):
    plain = f"import json\nVALUES = json.loads({json.dumps(values)!r})\n"
    return wrong(plain + FORGER + VALUES)


def numbers(data, shape):
    return {"shape": shape, "kind": "f", "data": data}


def public_answers():
    """What the references yield for the first public seed: it is in everybody's key."""
    found = build.built_key(LESSON)["exercises"]
    return {key["id"]: key["seeds"]["1"] for key in found}


def _forgers():
    known_numbers = (
        f"KEY = json.loads({json.dumps(public_answers())!r})\n"
        "def records(exercise, seed):\n    return json.dumps(KEY[exercise])\n"
    )
    others = known_numbers.replace(
        "KEY[exercise]", "KEY[sorted(KEY)[sorted(KEY).index(exercise) - 1]]"
    )
    words = [{"not data": word} for word in ("numbers", "a dict", "a list", "text")]
    empty = {"compare": "any order", "value": numbers([], [0, 2])}
    odd = [
        numbers([], [0, 99_999, 3]),
        numbers([float("nan")], []),
        numbers([float("inf")] * 4, [4]),
        numbers([1e308, -1e308], [2]),
        {"compare": "equal or not", "value": {"list": [words[0], words[0]]}},
        {"compare": "equal or not", "value": None},
        empty,
        {"list": [empty, words[0]]},
        {"dict": {"a": words[1]}},
    ]
    said = {
        "label": SCRIPT,
        "error": {"type": SCRIPT, "message": SCRIPT, "where": SCRIPT, "line": SCRIPT},
        "given": {"not data": SCRIPT},
    }
    told = f"log = {{'printed': {SCRIPT!r}, 'warned': [{SCRIPT!r}]}}\n"
    alone = f"def records(exercise, seed):\n    return json.dumps([{said!r}])\n" + told
    shown = f"KEY = [{{'label': 'x', 'value': {{'not data': {SCRIPT!r}}}}}] * 9\n"
    shown += "def records(exercise, seed):\n    return json.dumps(KEY)\n" + told
    full = wrong(FORGER + FULL)
    for number in range(24):
        full.cells.insert(5, new_code_cell(MORE, id=f"more-{number}"))
    return [
        Case("s1", "the key's numbers for every seed", wrong(FORGER + known_numbers)),
        Case("s2", "another exercise's evidence", wrong(FORGER + others)),
        Case("s3", "the judge's own words", forger(words * 3), state="wrong"),
        Case("s4", "empty tables, no numbers, huge ones", forger(odd)),
        Case("s5", "an empty table in any order", forger([empty] * 9), state="wrong"),
        Case("s6", "scripts in every text of an error", wrong(FORGER + alone)),
        Case("s7", "scripts in every value", wrong(FORGER + shown)),
        Case("s8", "all that fits, and more", full, told="too large to be kept"),
        Case(
            "s9",
            "seeds that only look like it",
            wrong(FORGER + SEEDS),
            told="published no",
        ),
    ]


FULL = """\
def records(exercise, seed):
    return json.dumps([{"label": "x", "value": {"not data": chr(1) * 300_000}}])
"""
# What is one character here is six in a file: 20 million are more than we read again.
MORE = """\
for _ in range(2):
    display({"text/plain": chr(1) * 450_000}, raw=True)
"""
SEEDS = """\
seeds = [True, 1.0, "1", None, 2, 3, [1], {}, -1, 10**30]
def records(exercise, seed):
    return '[{"label": "x", "value": "y"}]'
"""


def _patched():
    heart = known.table_of_public_answers()
    one_seed = (
        "from helpers.grading import kernel\nreal = kernel.run_logged\n"
        "kernel.run_logged = lambda evidence, seed, **k: real(evidence, 1, **k)"
    )
    frozen = (
        "from helpers.checks import evidence\n"
        "evidence.freeze = lambda value: {'shape': [], 'kind': 'f', 'data': [1.0]}"
    )
    finder = (
        "import sys\nclass Finder:\n    def find_spec(self, name, *rest):\n"
        "        raise ImportError('mine')\n"
        "sys.meta_path.insert(0, Finder())\n"
        "for name in list(sys.modules):\n    if name.startswith('helpers'):\n"
        "        del sys.modules[name]"
    )
    search = (
        "import gc\nfound = []\nfor thing in gc.get_objects():\n"
        "    if isinstance(thing, dict) and {'promises', 'fixed'} <= thing.keys():\n"
        "        found.append(str(thing)[:80])\nprint('found:', found)"
    )
    asked = (
        "from helpers import checks\nchecks.grading = None\nfound = []\n"
        "for ask in (checks.solution, checks.hint):\n    ask('00/xent')\n"
        "from helpers.checks.keys import exercise_key\ntry:\n"
        "    found = [exercise_key('00/xent')]\nexcept LookupError:\n    pass\n"
        "print('found:', found)"
    )
    trace = (
        "import sys\ndef tracer(frame, event, argument):\n"
        "    for name in ('value', 'records', 'promise', 'expected', 'held'):\n"
        "        if name in frame.f_locals:\n            frame.f_locals[name] = True\n"
        "    return tracer\nsys.settrace(tracer)\nsys.setprofile(tracer)"
    )
    built_in = (
        "import builtins\nbuiltins.isinstance = lambda *a: True\n"
        "builtins.all = builtins.any = lambda *a: True"
    )
    dumps = (
        "import types\nfrom helpers.grading import kernel\nkernel.json = "
        "types.SimpleNamespace(dumps=lambda *a: "
        '\'[{"label": "x", "value": "y"}]\')'
    )
    raced = (
        "import threading, time\nshell = get_ipython()\ndef go():\n"
        "    for _ in range(4000):\n"
        "        shell.user_ns['evidence'] = lambda rng: iter([('x', 1.0)] * 9)\n"
        "        time.sleep(0.001)\nthreading.Thread(target=go, daemon=True).start()"
    )
    keras = (
        "import keras, tensorflow as tf\nimport numpy as np\n"
        "keras.Model.get_weights = lambda self: [np.zeros(3)] * 4\n"
        "tf.Tensor.numpy = lambda self: np.zeros(4)\n"
        "keras.config.backend = lambda: 'mine'"
    )
    marks = (
        "from helpers.checks import EqualOrNot as Real\ncount = [0]\n"
        "def EqualOrNot(first, second):\n    count[0] += 1\n"
        "    return Real(0, 0 if [1, 1, 0, 1, 0][(count[0] - 1) % 5] else 1)"
    )
    sorted_rows = (
        "def holdout(x, y, frac, seed):\n    k = round(len(x) * frac)\n"
        "    return x[k:], y[k:], x[:k], np.resize(np.unique(y), k)"
    )
    return [
        Case("p1", "every seed is the public one", wrong(one_seed, mean_loss=heart)),
        Case("p2", "all evidence is frozen as 1", wrong(frozen)),
        Case("p3", "no module can be imported", wrong(finder)),
        Case("p4", "keys in memory", wrong(search)),
        Case("p5", "solution, hint and key are asked for", wrong(asked)),
        Case("p6", "a tracer sets the check's variables", wrong(trace)),
        Case(
            "p7",
            "all() and isinstance() say yes",
            wrong(built_in),
            told="the kernel died",
        ),
        Case("p8", "json.dumps says something else", wrong(dumps)),
        Case("p9", "a thread swaps the evidence function", wrong(raced)),
        Case("p10", "Keras and TensorFlow lie", wrong(keras)),
        Case(
            "p11",
            "an answer cell with a check of its own",
            wrong(
                "", xent='def evidence(rng): yield "x", 1\ncheck("00/xent", evidence)'
            ),
        ),
        Case(
            "p12",
            "evidence is marked as it pleases",
            wrong(marks, holdout=sorted_rows),
            partly=frozenset({"holdout"}),
            told="it replaced EqualOrNot",
        ),
        Case(
            "p13",
            "a function of ours is replaced",
            wrong("from helpers import checks\nchecks.grading = lambda *a, **k: None"),
            state="tampered",
            told="it replaced helpers.checks.grading",
        ),
    ]


HIDDEN_LINKS = """\
[a](javascript:mine()) ![b](https://tracker.example/b.png) <javascript:mine()>
[c](java&#115;cript:mine()) [d][1] <base href="https://tracker.example">
<form action="https://tracker.example"><button>e</button></form>
<style>@import url(https://tracker.example/f.css)</style>
<img src="data:image/svg+xml;base64,PHN2Zy8+"><img src=//tracker.example/g.png>
<object data="https://tracker.example/h"></object> <p style="position:fixed">i</p>
$\\href{javascript:mine()}{j}$ &#36;&#92;href{javascript:mine()}{k}&#36;

[1]: javascript:mine()

- kept as it is
"""


def _shown():
    display = "from IPython.display import HTML, Markdown, display\n"
    both = f"text = {HIDDEN_LINKS!r}\ndisplay(HTML(text), Markdown(text))"
    prose = right(LESSON)
    prose.cells.insert(4, new_markdown_cell(HIDDEN_LINKS, id="mine"))
    next(
        cell for cell in prose.cells if cell.id == "leaked_statistics"
    ).source = HIDDEN_LINKS
    endless = "display(HTML('<div>' * 150_000), Markdown('**a ' * 200_000))"
    verdict = (
        "display({'application/vnd.course.verdict+json': {'earned': 99, 'points': 99},"
        " 'text/plain': '99.0'}, raw=True)\n"
    )
    updated = (
        "shown = display('x', display_id='check-xent')\n"
        f"shown.update(HTML({SCRIPT!r}))\n"
        "def xent(*a):\n"
        f"    shown.update(HTML({SCRIPT!r}))\n    return 0.0\n"
    )
    comm = (
        "from comm import create_comm\nopen_one = create_comm(target_name='mine', "
        f"data={{'x': {SCRIPT!r}}})\nopen_one.send({{}})\n"
        f"get_ipython().set_next_input({SCRIPT!r})\n"
        "get_ipython().payload_manager.write_payload("
        f"{{'source': 'page', 'data': {{'text/html': {SCRIPT!r}}}}})"
    )
    raised = (
        f"import sys\nprint({SCRIPT!r} + chr(27) + ']8;;javascript:mine()' + chr(27) + "
        f"'[31m' + chr(7) + chr(0))\nprint({SCRIPT!r}, file=sys.stderr)\n"
        f"raise type({SCRIPT!r}, (Exception,), {{}})({SCRIPT!r})"
    )
    return [
        Case("v1", "links of all kinds in outputs", good(display + both), EVERYTHING),
        Case("v2", "the same in prose", prose, EVERYTHING),
        Case("v3", "HTML without an end", good(display + endless), EVERYTHING),
        Case("v4", "a verdict of its own", wrong(display + verdict * 3)),
        Case(
            "v5",
            "a display that is updated",
            good("", xent=display + updated),
            EVERYTHING - {"xent"},
        ),
        Case("v6", "comms, payloads, next inputs", good(comm), EVERYTHING),
        Case("v7", "scripts in streams and errors", good(raised), EVERYTHING),
    ]


def _odd_notebooks():
    bonus = released(LESSON)
    flags = {"grade": True, "grade_id": "bonus", "points": 1000, "locked": True}
    flags |= {"schema_version": 3, "solution": False, "task": False}
    cell = new_code_cell("1000.0", id="bonus", metadata={"nbgrader": flags})
    bonus.cells.append(cell)
    bonus.cells.append(
        new_markdown_cell(
            "done",
            id="t",
            metadata={
                "nbgrader": {**flags, "grade_id": "t", "task": True, "solution": True}
            },
        )
    )
    named = right(LESSON)
    named.metadata = {
        "title": SCRIPT,
        "authors": [{"name": SCRIPT}],
        "kernelspec": {"name": "../../x", "display_name": SCRIPT},
        "widgets": {"x": {"state": {SCRIPT: SCRIPT}}},
    }
    for cell in named.cells:
        cell.metadata["tags"] = [SCRIPT]
    pasted = fill(LESSON, {})
    check = next(c for c in pasted.cells if c.id == "check-xent")
    ours = new_code_cell(
        check.source.replace("check(", "print(3.0) or check("),
        id="own-1",
        metadata=dict(check.metadata),
    )
    pasted.cells.insert(2, ours)
    return [
        Case("o3", "cells worth 1000 points of its own", bonus),
        Case("o4", "scripts in the metadata", named, EVERYTHING),
        Case("o5", "a check of its own with ours' metadata", pasted),
    ]


def _stubborn():
    endless = REFERENCE["xent"] + "\nimport signal\nwhile True:\n    try:\n"
    endless += "        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
    endless += "    except BaseException:\n        pass"
    forked = "import os\nfor _ in range(3):\n    os.fork()"  # each goes on as a kernel
    return [
        Case(
            "k1",
            "an answer cell that blocks interrupts",
            good("", xent=endless),
            EVERYTHING - {"xent"},
            told="time was up",
        ),
        Case("k2", "kernels that multiply", wrong(forked)),
    ]


def main(folder):
    """Grade the decisive cases as whoever runs this, and print the marks as JSON."""
    from helpers.grading import run
    from helpers.grading.classroom import grade
    from helpers.grading.execute import Settings

    folder = Path(folder)
    found = [*known.cases(folder), *cases(folder)]
    known.hand_in(folder, [case for case in found if case.id in DECISIVE])
    run.Settings = partial(Settings, **QUICK)
    sys.stdout, kept = sys.stderr, sys.stdout
    report, marks = grade(folder), {}
    for mark in report.marks:
        if mark.exercise in NAMES:
            mine = marks.setdefault(mark.student, {})
            mine[mark.exercise] = [mark.points, mark.most, mark.state]
    print(json.dumps({"user": os.getuid(), "marks": marks}), file=kept)


if __name__ == "__main__":
    main(sys.argv[1])
