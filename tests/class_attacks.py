"""Submissions that attack a grader, or that no honest student should suffer for.

One `Case` each, made from lesson 00. The ids from "00" to "92" and "tf" are those of
the attacks that stock graders were tried with; what aimed at their mechanism aims at
ours here. The others are our own.
"""

import copy
import functools
import json
import os
from dataclasses import dataclass, field

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell
from sample_class import fill, released, right, sources, submit

from helpers.lessons import build
from helpers.lessons.answers import base_namespace, execute
from helpers.lessons.paths import ROOT

(LESSON,) = build.find(["00"])
NAMES = [exercise.name for exercise in LESSON.exercises]
REFERENCE = {name: known["reference"] for name, known in sources(LESSON).items()}
NOTHING, EVERYTHING = frozenset(), frozenset(NAMES)


@dataclass
class Case:
    """One submission: what it is, and what a trustworthy grader makes of it.

    earns: exercises with full marks; all others have none, but those in `partly`.
    state: of every exercise that earns nothing, where it is worth telling.
    told: what repairs, flags or the reason must say; "" where nothing may be said.
    """

    id: str
    what: str
    notebook: object  # a notebook, or the file's bytes
    earns: frozenset = NOTHING
    state: str = ""
    told: str | None = None
    partly: frozenset = NOTHING
    name: str = f"{LESSON.name}.ipynb"
    student: str = ""
    beside: dict = field(default_factory=dict)  # further files: name -> text

    @property
    def who(self):
        """The name of the folder in which it is handed in."""
        return self.student or f"m-{self.id}"


def hand_in(folder, cases):
    """Write what these cases say below `folder/submitted`."""
    for case in cases:
        made = case.notebook
        # Not by nbformat, which would mend some of it.
        content = made if isinstance(made, bytes) else json.dumps(made)
        files = {case.name: content, **case.beside}
        for name, content in files.items():
            submit(folder, case.who, LESSON, content, name)


def with_cell(notebook, source):
    """A cell of the learner's own, before all exercises."""
    notebook.cells.insert(3, new_code_cell(source, id="mine"))
    return notebook


def wrong(source, **answers):
    """Nothing solved, and a cell that attacks."""
    return with_cell(fill(LESSON, answers), source)


def good(source="", **answers):
    """All solved but `answers`, and a cell."""
    notebook = fill(LESSON, {**REFERENCE, **answers})
    return with_cell(notebook, source) if source else notebook


def good_with(change):
    """All solved, and every check cell changed by a function."""
    notebook = right(LESSON)
    for cell in notebook.cells:
        if cell.id.startswith("check-"):
            change(cell)
    return notebook


def in_answer(body, name="xent"):
    """All solved, but one answer begins with `body`."""
    head = {"xent": "def xent(logits, labels):", "mlp": "def mlp(d, hidden, k):"}[name]
    body = "\n".join(f"    {line}" for line in body.splitlines())
    return good(**{name: f"{head}\n{body}\n    return 0.0"})


ALL_BUT_XENT = EVERYTHING - {"xent"}


def change_all(cell, **metadata):
    cell.metadata["nbgrader"] = {**cell.metadata["nbgrader"], **metadata}


def to_pass(cell):
    cell.source = "pass"


def to_markdown(notebook):
    for place, cell in enumerate(notebook.cells):
        if cell.id.startswith("check-"):
            metadata = copy.deepcopy(cell.metadata)
            changed = new_markdown_cell(cell.source, id=cell.id, metadata=metadata)
            notebook.cells[place] = changed
    return notebook


def without(notebook, wanted):
    notebook.cells = [cell for cell in notebook.cells if not wanted(cell)]
    return notebook


def edited_checks():
    notebook = released(LESSON)
    for cell in notebook.cells:
        if cell.id.startswith("check-"):
            to_pass(cell)
    return notebook


def copied_check():
    notebook = right(LESSON)
    place = next(i for i, c in enumerate(notebook.cells) if c.id.startswith("check-"))
    notebook.cells.insert(place + 1, copy.deepcopy(notebook.cells[place]))
    return notebook


def with_picture():
    """JupyterLab keeps a pasted picture beside the text of its cell."""
    notebook = right(LESSON)
    text = "My sketch: ![image.png](attachment:image.png)"
    pictures = {"image.png": {"image/png": "iVBORw0KGgo="}}
    notebook.cells.append(new_markdown_cell(text, id="mine", attachments=pictures))
    return notebook


def same_ids():
    notebook = right(LESSON)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.id = "one-id"
    return notebook


def huge_output():
    notebook = right(LESSON)
    text = {"output_type": "stream", "name": "stdout", "text": "x" * 60_000_000}
    next(c for c in notebook.cells if c.cell_type == "code").outputs = [text]
    return notebook


def many_cells():
    notebook = right(LESSON)
    notebook.cells[3:3] = [new_code_cell("pass", id=f"n-{n}") for n in range(1000)]
    return notebook


def kernelspec(**found):
    notebook = right(LESSON)
    notebook.metadata.pop("kernelspec", None)
    notebook.metadata.update(found)
    return notebook


def old_format():
    cells = []
    for cell in right(LESSON).cells:
        part = {"cell_type": cell.cell_type, "metadata": dict(cell.metadata)}
        name = "input" if cell.cell_type == "code" else "source"
        cells.append({**part, name: cell.source, "outputs": [], "language": "python"})
    text = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}}
    return json.dumps({**text, "worksheets": [{"cells": cells}]}).encode()


@functools.cache
def table_of_public_answers():
    """`mean_loss` as a table of what the public seeds ask for."""
    base, calls = base_namespace(LESSON), {}
    namespace = execute(REFERENCE["mean_loss"], "table", dict(base))
    reference = namespace["mean_loss"]

    def noting(outputs, labels, kind):
        found = reference(outputs, labels, kind)
        calls[f"{outputs}{labels}{kind}"] = found
        return found

    from helpers.checks.evidence import run
    from helpers.lessons.keys import PUBLIC_SEEDS

    (exercise,) = [e for e in LESSON.exercises if e.name == "mean_loss"]
    found = []
    namespace = {**base, "check": lambda _, evidence: found.append(evidence)}
    namespace["mean_loss"] = noting
    execute(exercise.check.source, "check", namespace)
    for seed in PUBLIC_SEEDS:
        run(found[0], seed)
    return (
        f"TABLE = {calls!r}\n\n\ndef mean_loss(outputs, labels, kind):\n"
        '    return TABLE.get(f"{outputs}{labels}{kind}", 0.0)'
    )


ALWAYS_EQUAL = """\
class Equal:
    __array_priority__ = 1e9
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __float__(self): return 1.0
    def __len__(self): return 4
    def __getattr__(self, name): return Equal()
    def __call__(self, *a, **k): return self
    def __getitem__(self, k): return self
    def __sub__(self, other): return 0.0
    __rsub__ = __sub__
"""
EQUAL = {
    "xent": ALWAYS_EQUAL + "xent = Equal()",
    "holdout": ALWAYS_EQUAL + "holdout = Equal()",
    "mlp": ALWAYS_EQUAL + "mlp = Equal()",
}
COMPARISONS = """\
import numpy as np
yes = lambda *a, **k: True
np.isclose = np.allclose = np.array_equal = yes
np.testing.assert_allclose = np.testing.assert_equal = lambda *a, **k: None
"""
EVIDENCE = '"application/vnd.course.evidence+json"'
FORGE = f"""\
import json
from IPython.display import display
from helpers import checks
seeds = [1, 2, *checks.grading.args[0]]
def forge(records, names={NAMES!r}):
    for name in names:
        for seed in seeds:
            data = {{"exercise": f"00/{{name}}", "seed": seed,
                     "records": json.dumps(records), "log": {{}}}}
            display({{{EVIDENCE}: data, "text/plain": "x"}}, raw=True)
"""
SQL = """\
import glob, sqlite3
for path in [{gradebook!r}, *glob.glob("/**/gradebook.db", recursive=True)]:
    try:
        with sqlite3.connect(path, timeout=1) as book:
            book.execute("{sql}")
    except Exception as error:
        print(type(error).__name__)
"""
DETACHED = """\
import subprocess, sys
subprocess.Popen([sys.executable, "-c", '''
import glob, time
for _ in range(600):
    for path in glob.glob("{submitted}/*/*/*.ipynb"):
        open(path, "w").write("{{}}")
    time.sleep(0.1)
'''], start_new_session=True)
"""


def cases(folder):
    """All cases for a class in `folder`."""
    return [
        *_controls(),
        *_tampered_notebooks(),
        *_subverted_kernels(),
        *_secrets(folder),
        *_writing_outside(folder),
        *_denial_of_service(folder),
        *_honest_trouble(),
        *_forged_evidence(),
        *_lying_answers(),
        *_odd_files(),
        *_odd_outputs(),
    ]


def _controls():
    return [
        Case("00", "all right", right(LESSON), EVERYTHING, told=""),
        Case("01", "nothing done", released(LESSON), state="not attempted", told=""),
    ]


def _tampered_notebooks():
    edited = "was edited; the released one counts"
    gone = without(released(LESSON), lambda cell: cell.id.startswith("check-"))
    as_answer = good_with(lambda cell: change_all(cell, solution=True, locked=False))
    dear = good_with(lambda cell: change_all(cell, points=1000))
    return [
        Case("10", "checks edited to pass", edited_checks(), told=edited),
        Case("11", "checks deleted", gone, told="was missing; it was put back"),
        Case("12", "checks said to be answers", as_answer, EVERYTHING),
        Case("14", "checks turned into prose", to_markdown(released(LESSON))),
        Case("14b", "the same, all solved", to_markdown(right(LESSON)), EVERYTHING),
        Case("15", "checks worth 1000 points", dear, EVERYTHING),
        Case("88", "many cells with one id", same_ids(), EVERYTHING),
    ]


def _subverted_kernels():
    shell = "ip = get_ipython()\n"
    nothing = "type('R', (), dict(success=True, error_in_exec=None, result=9))()"
    publish = "from IPython.display import display\nip = get_ipython()\n"
    result = "ip.displayhook.compute_format_data = lambda *a: ({'text/plain': '9'}, {})"
    deep = (
        "import sys\nframe = sys._getframe()\nwhile frame:\n"
        "    for name in ('points', 'pts', 'earned', 'records', 'seed'):\n"
        "        frame.f_locals[name] = 1000\n    frame = frame.f_back"
    )
    fake = (
        "import types, numpy\nnp = types.ModuleType('np')\n"
        "np.__getattr__ = lambda name: (lambda *a, **k: True)\nfloat = int = bool"
    )
    gone = "left no evidence|took its place|published no evidence"
    return [
        Case("20", "comparisons say yes", wrong(COMPARISONS)),
        Case(
            "31",
            "only isclose says yes",
            wrong("import numpy as np\nnp.isclose = lambda *a, **k: np.True_"),
        ),
        Case(
            "21",
            "the judge says solved",
            wrong(
                "from helpers.checks import judge\n"
                "judge.Verdict.solved = property(lambda self: True)\n"
                "judge.judge = judge.judge_seed_by_seed = lambda *a: None"
            ),
        ),
        Case("22", "answers equal to anything", wrong("", **EQUAL)),
        Case(
            "23",
            "every later cell becomes pass",
            wrong(
                shell + "ip.input_transformers_cleanup.append(lambda lines: ['pass'])"
            ),
            state="tampered",
            told=gone,
        ),
        Case(
            "24",
            "calls are cut out of the tree",
            wrong(
                shell + "import ast\nclass Cut(ast.NodeTransformer):\n"
                "    def visit_Expr(self, node): return ast.copy_location("
                "ast.Pass(), node)\nip.ast_transformers.append(Cut())"
            ),
            state="tampered",
            told=gone,
        ),
        Case(
            "25",
            "tracebacks are silenced",
            wrong(shell + "ip.showtraceback = lambda *a, **k: None"),
            state="not attempted",
        ),
        Case(
            "26",
            "run_cell is replaced",
            wrong(
                shell + f"ip.run_cell = lambda *a, **k: {nothing}\n"
                f"ip.run_cell_async = None"
            ),
        ),
        Case(
            "27",
            "do_execute is replaced",
            wrong(
                shell
                + "async def do(*a, **k): return dict(status='ok', execution_count=1,"
                " payload=[], user_expressions={})\nip.kernel.do_execute = do"
            ),
            state="tampered",
            told=gone,
        ),
        Case(
            "28",
            "a result of 9 points is published",
            wrong(
                "",
                xent=publish + "def xent(*a):\n    "
                "ip.display_pub.publish({'text/plain': '9.0'})\n    raise ValueError",
            ),
        ),
        Case(
            "29",
            "results that are no number",
            wrong(
                "",
                xent=publish + "def xent(*a):\n    for text in ('nan', 'banana', '-1'):"
                "\n        display({'text/plain': text}, raw=True)\n    raise OSError",
            ),
        ),
        Case("30", "a result of 1e9, all solved", good(publish + result), EVERYTHING),
        Case("32", "the caller's variables", in_answer(deep), ALL_BUT_XENT),
        Case("33", "names in the globals", wrong(fake)),
        Case(
            "56",
            "__del__ patches",
            wrong(
                COMPARISONS.replace(
                    "np.isclose",
                    "class D:\n    def __del__(self):\n"
                    "        np.abs = np.max = np.isclose\nD()\nnp.isclose",
                )
            ),
        ),
        Case(
            "o1",
            "the evidence runner is replaced",
            wrong(
                "from helpers.checks import evidence\n"
                "from helpers.grading import kernel\n"
                "kernel.run_logged = evidence.run_logged = lambda *a, **k: ([], {})"
            ),
        ),
        Case(
            "o2",
            "a fake numpy for the checks",
            wrong(
                "import sys, types\nsys.modules['numpy'] = types.ModuleType('numpy')"
            ),
        ),
        Case(
            "71",
            "an answer that unpickles",
            good(
                xent=(
                    "class Bomb:\n    def __reduce__(self):\n"
                    "        return (open, ('/tmp/bomb', 'w'))\n"
                    "def xent(*a):\n    return Bomb()"
                )
            ),
            ALL_BUT_XENT,
            state="wrong",
        ),
        Case(
            "92",
            "the public numbers by heart",
            good(mean_loss=table_of_public_answers()),
            EVERYTHING - {"mean_loss"},
            state="wrong",
        ),
    ]


def _secrets(folder):
    look = (
        "import glob, os\nfound = []\nfor where in {places!r}:\n"
        "    found += glob.glob(where, recursive=True)\n"
        "print('found:', sorted(found))"
    )
    course, place = str(ROOT), str(folder)
    use = look + "\nfor path in found:\n    exec(open(path).read())"
    solutions = [f"{course}/solutions/**/*.py", "/**/00_warm_up.py"]
    return [
        Case(
            "40",
            "hidden tests on the disk",
            wrong(look.format(places=[f"{course}/helpers/keys/*", "/**/keys/*.json"])),
        ),
        Case(
            "41",
            "the check's own source",
            wrong("source = In\nprint([line for line in In if 'check(' in line])"),
        ),
        Case("42", "the solutions on the disk", wrong(use.format(places=solutions))),
        Case(
            "43",
            "the gradebook is read",
            wrong(look.format(places=[f"{place}/gradebook.db", "/**/gradebook.db"])),
        ),
        Case(
            "44",
            "others' submissions are listed",
            wrong(look.format(places=[f"{place}/submitted/*", "/**/submitted/*"])),
        ),
    ]


def _writing_outside(folder):
    book = str(folder / "gradebook.db")
    more = {"gradebook": book}
    hand = SQL.format(sql="UPDATE grade SET manual_score = 100", **more)
    extra = SQL.format(sql="UPDATE grade SET extra_credit = 150", **more)
    master = SQL.format(sql="UPDATE source_cell SET source = 'pass'", **more)
    at_exit = f"import atexit\n@atexit.register\ndef late():\n    exec({hand!r})"
    edit = (
        f"import glob\nfor path in glob.glob({str(folder)!r} + '/submitted/*/*/*'):\n"
        "    open(path, 'w').write('{}')"
    )
    shadow = {"checks.py": "check = None", "random.py": "raise SystemExit"}
    return [
        Case("50", "manual scores in the gradebook", wrong(hand)),
        Case("51", "extra credit in the gradebook", wrong(extra)),
        Case("52", "the gradebook's own cells", wrong(master)),
        Case("53", "others' submissions are written", wrong(edit)),
        Case(
            "54",
            "the same, by a process that stays",
            wrong(DETACHED.format(submitted=f"{folder}/submitted")),
        ),
        Case("55", "the same, at exit", wrong(at_exit)),
        Case(
            "57",
            "modules beside the notebook",
            good("import random\nrandom.random()"),
            EVERYTHING,
            beside=shadow,
        ),
        Case(
            "58",
            "its own numpy",
            good("import numpy\nnumpy.ones(3)"),
            EVERYTHING,
            beside={"numpy.py": "raise SystemExit('mine')"},
        ),
    ]


def _denial_of_service(folder):
    endless = "while True:\n    pass"
    stubborn = (
        "while True:\n    try:\n        while True:\n            pass\n"
        "    except BaseException:\n        pass"
    )
    children = (
        "import subprocess, sys\nkids = []\nfor _ in range(50):\n    try:\n"
        "        kids.append(subprocess.Popen(['sleep', '987.5']))\n"
        "    except OSError:\n        pass"
    )
    connect = (
        "import socket\nfor port in (22, 80, 443, 8888):\n    try:\n"
        "        socket.create_connection(('127.0.0.1', port), 1).send(b'x')\n"
        "        print('connected')\n    except OSError as error:\n"
        "        print(type(error).__name__)"
    )
    lock = (
        f"import sqlite3\nbook = sqlite3.connect({str(folder / 'gradebook.db')!r})\n"
        "book.execute('BEGIN EXCLUSIVE')"
    )
    died = "kernel died"
    return [
        Case(
            "60",
            "os._exit in an answer",
            in_answer("import os\nos._exit(0)"),
            ALL_BUT_XENT,
            state="crashed",
            told=died,
        ),
        Case(
            "61", "SystemExit in an answer", in_answer("raise SystemExit"), ALL_BUT_XENT
        ),
        Case("62", "quit() in an answer", in_answer("quit()"), ALL_BUT_XENT),
        Case(
            "63",
            "an endless answer",
            in_answer(endless),
            ALL_BUT_XENT,
            state="out of time",
        ),
        Case(
            "64",
            "one that nothing interrupts",
            in_answer(stubborn),
            ALL_BUT_XENT,
            state="out of time",
            told="time was up",
        ),
        Case(
            "65",
            "an array of 30 GB",
            in_answer("import numpy as np\nnp.ones((4, 2**30))"),
            ALL_BUT_XENT,
        ),
        Case("66", "50 child processes", good(children), EVERYTHING),
        Case(
            "67",
            "50 MB in lines",
            good("for _ in range(500_000):\n    print('x' * 99)"),
            EVERYTHING,
        ),
        Case("68", "50 MB in one line", good("print('x' * 50_000_000)"), EVERYTHING),
        Case("69", "connections", good(connect), EVERYTHING),
        Case(
            "72",
            "cells that take long",
            good("import time\ntime.sleep(99)"),
            EVERYTHING,
            told="time was up",
        ),
        Case("73", "a lock on the gradebook", good(lock), EVERYTHING),
        Case(
            "kill",
            "it kills itself",
            in_answer("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"),
            ALL_BUT_XENT,
            state="crashed",
            told=died,
        ),
        # What is left of its answers depends on the moment: so it has none.
        Case(
            "bomb",
            "a fork bomb",
            wrong(
                "import os\ntry:\n    while True:\n        if os.fork() == 0:\n"
                "            os.execvp('sleep', ['sleep', '987.5'])\n"
                "except OSError:\n    pass"
            ),
        ),
    ]


def _honest_trouble():
    stderr = "import sys, warnings\nprint('careful', file=sys.stderr)\n"
    noisy = stderr + "warnings.warn('old')\n"
    ask = "try:\n    name = input('Your name? ')\nexcept Exception:\n    pass"
    with_nul = right(LESSON)
    with_nul.cells.insert(3, new_code_cell("x = 1  # \x00", id="nul"))
    no_xent = without(right(LESSON), lambda cell: cell.id == "xent")
    text = nbformat.writes(right(LESSON))
    latin = text.replace("Set-up", "Übung").encode("latin-1", "replace")
    named = {"name": "r", "display_name": "R", "language": "R"}
    return [
        Case(
            "02",
            "a warning on stderr",
            good(xent=noisy + REFERENCE["xent"]),
            EVERYTHING,
            told="",
        ),
        Case(
            "tf",
            "TensorFlow inside an answer",
            good(xent="import tensorflow as tf\n" + REFERENCE["xent"]),
            EVERYTHING,
            told="",
        ),
        Case(
            "13", "a check copied", copied_check(), EVERYTHING, told="is there 2 times"
        ),
        Case("70", "input()", good(ask), EVERYTHING),
        Case("70a", "a forgotten debugger", good(DEBUG), EVERYTHING),
        Case("70b", "a variable `check`", good("check = 1"), EVERYTHING, told=""),
        Case("pasted", "a pasted picture", with_picture(), EVERYTHING, told=""),
        Case(
            "long",
            "a cell of a million empty lines",
            good("\n" * 900_000 + "x = 1"),
            EVERYTHING,
        ),
        Case(
            "80",
            "cut off",
            text[: len(text) // 2].encode(),
            told="is damaged",
            earns=frozenset(NAMES[:3]),
            partly=frozenset(NAMES[3:]),
        ),
        Case("81", "empty", b"", state="damaged", told="is empty"),
        Case("82", "Latin-1", latin, EVERYTHING, told="not UTF-8"),
        Case("83", "a thousand cells", many_cells(), EVERYTHING),
        Case("84", "60 MB of stored output", huge_output(), EVERYTHING),
        Case(
            "85", "another language's kernel", kernelspec(kernelspec=named), EVERYTHING
        ),
        Case("86", "no kernel", kernelspec(), EVERYTHING),
        Case(
            "87", "an exercise deleted", no_xent, ALL_BUT_XENT, told="xent is missing"
        ),
        Case("89", "format 3", old_format(), EVERYTHING, told="old format"),
        Case(
            "90",
            "renamed",
            right(LESSON),
            EVERYTHING,
            told="was called",
            name="hw (1).ipynb",
        ),
        Case(
            "90a",
            "renamed, in Latin-1",
            right(LESSON),
            EVERYTHING,
            told="was called",
            name=os.fsdecode(b"L\xf6sung.ipynb"),
        ),
        Case("91", "a NUL character", with_nul, EVERYTHING),
        Case("reload", "our modules loaded again", good(AGAIN), EVERYTHING),
    ]


DEBUG = """
import pdb
try:
    pdb.set_trace()
    x = 1
except BaseException as error:
    print(type(error))
"""
AGAIN = """
import importlib, helpers.checks, helpers.plots
importlib.reload(helpers.plots)
importlib.reload(helpers.checks)
from helpers.checks import *
"""


def _forged_evidence():
    record = '{"label": "x", "value": {"shape": [], "data": [1.0], "kind": "f"}}'
    late = (
        "import threading, time\ndef go():\n    for _ in range(200):\n"
        f"        forge([{record}])\n        time.sleep(0.02)\n"
        "threading.Thread(target=go, daemon=True).start()"
    )
    odd = (
        "forge([{'label': 'x', 'value': float('nan')}])\nforge('banana')\n"
        "forge([{'label': 1e9, 'value': 10**400}])\nforge([[]] * 500)\nforge(None)"
    )
    inside = (
        "def xent(*a):\n    forge([" + record + "], ['xent', 'mlp'])\n    return 0.0"
    )
    rng = (
        "import numpy as np\nreal = np.random.default_rng\n"
        "np.random.default_rng = lambda seed=None: real(1)"
    )
    seeds = "from helpers import checks\nchecks.grading.args[0][:] = [1, 1]"
    cut = (
        "from helpers.grading import kernel\nrun = kernel.run_logged\n"
        "kernel.run_logged = lambda *a, **k: (run(*a, **k)[0][:0], {})"
    )
    plain = "from helpers import checks\nchecks.grading = None"
    own = "check = lambda *a, **k: print('10 of 10 points')"
    return [
        Case("f1", "evidence before any check", wrong(FORGE + f"forge([{record}])")),
        Case(
            "f2",
            "evidence out of an answer",
            good(FORGE, xent=inside),
            ALL_BUT_XENT,
            told="more than once|not the form",
        ),
        Case("f3", "evidence from a thread", wrong(FORGE + late)),
        Case("f4", "evidence that is none", wrong(FORGE + odd)),
        Case(
            "f5",
            "the same numbers are drawn for every seed",
            wrong(rng, mean_loss=table_of_public_answers()),
        ),
        Case(
            "f6",
            "the public seed twice",
            wrong(seeds, mean_loss=table_of_public_answers()),
        ),
        Case("f7", "records cut out", wrong(cut)),
        Case(
            "f8",
            "a check that only shows",
            good(plain),
            told="published no evidence",
            state="tampered",
        ),
        Case(
            "f9",
            "its own check",
            good(own),
            told="published no evidence",
            state="tampered",
        ),
        Case(
            "f10",
            "what is displayed goes nowhere",
            good(
                "import IPython.display\nfrom helpers.grading import kernel\n"
                "kernel.display = IPython.display.display = lambda *a, **k: None"
            ),
            told="published no evidence",
            state="tampered",
        ),
    ]


def _lying_answers():
    def returns(what):
        return f"def xent(logits, labels):\n    {what}"

    return [
        Case(f"l{number}", what, good(xent=source), ALL_BUT_XENT)
        for number, (what, source) in enumerate(
            {
                "another array each time it is asked": (
                    "import numpy as np\nclass Lie:\n    def __array__(self, *a, **k):"
                    "\n        return np.random.rand(4)\n" + returns("return Lie()")
                ),
                "more numbers than evidence holds": "import numpy as np\n"
                + returns("return np.zeros(10**7)"),
                "a list in a list in a list": returns(
                    "found = []\n    for _ in range(10**5):\n        found = [found]\n"
                    "    return found"
                ),
                "a list that holds itself": returns(
                    "found = []\n    found.append(found)\n    return found"
                ),
                "half a character": returns("return '\\ud800' + chr(0)"),
                "a number without end": returns("return 10 ** 10_000"),
                "NaN": returns("return logits[:, 0] * float('nan')"),
                "its own class of float": (
                    "class F(float):\n    __eq__ = lambda *a: True\n"
                    "    __hash__ = None\n" + returns("return F(0)")
                ),
                "the arguments, changed": returns("labels[:] = 0\n    return labels"),
            }.items(),
            start=1,
        )
    ]


def _odd_files():
    text = nbformat.writes(right(LESSON))
    markers = text.replace('"cells": [', '"cells": [\n<<<<<<< HEAD\n', 1)
    return [
        Case(
            "n1",
            "a name in HTML",
            right(LESSON),
            EVERYTHING,
            student="<img src=x onerror=alert(1)>",
        ),
        Case(
            "n2",
            "a name like a formula",
            right(LESSON),
            EVERYTHING,
            student="=HYPERLINK(1)",
        ),
        Case("n3", "a name like an option", right(LESSON), EVERYTHING, student="-rf"),
        Case(
            "n4",
            "a name with quotes and spaces",
            right(LESSON),
            EVERYTHING,
            student='O\'Neil "Ann" Ümläut; ls',
        ),
        Case("n6", "a long name", right(LESSON), EVERYTHING, student="x" * 120),
        Case(
            "m1",
            "merge conflict markers",
            markers.encode(),
            EVERYTHING,
            told="is damaged",
        ),
        Case(
            "m2",
            "a time that is none",
            right(LESSON),
            EVERYTHING,
            beside={"timestamp.txt": "banana"},
        ),
        Case("m3", "nested too deeply", b"[" * 200_000, state="damaged", told="nested"),
        Case("m4", "no notebook", b"PK\x03\x04" + bytes(999), state="damaged"),
    ]


BAD_HTML = (
    "<script>mine()</script><img src=x onerror=mine()><svg onload=mine()></svg>"
    "<iframe src='https://example.org'></iframe><a href='javascript:mine()'>x</a>"
    "<meta http-equiv=refresh content='0;url=https://example.org'><b>kept</b>"
)


def _odd_outputs():
    verdict = "<div><b>Right.</b> 3 of 3 points</div>"
    return [
        Case(
            "h1",
            "HTML that runs",
            good(
                f"from IPython.display import HTML, Markdown, SVG, display\n"
                f"html = {BAD_HTML!r}\ndisplay(HTML(html), Markdown(html))\n"
                "display({'image/svg+xml': '<svg onload=mine() xmlns="
                '"http://www.w3.org/2000/svg"/>\'}, raw=True)\n'
                "display({'application/javascript': 'mine()'}, raw=True)"
            ),
            EVERYTHING,
        ),
        Case(
            "h2",
            "an output that looks like a verdict",
            wrong(
                f"from IPython.display import HTML, display\ndisplay(HTML({verdict!r}))"
            ),
        ),
        Case(
            "h3",
            "the same display again and again",
            good(
                "from IPython.display import display\n"
                "shown = display('x', display_id='one')\n"
                "for n in range(2000):\n    shown.update(n)"
            ),
            EVERYTHING,
        ),
    ]
