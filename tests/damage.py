"""What learners, editors, converters and disks do to a notebook, one function each.

A damage takes the notebook as a dict, which it may change, and gives a dict or bytes.
Its `Case` says which answers are lost by it and what has to be told.
"""

import copy
import json
import random
from dataclasses import dataclass

import nbformat


@dataclass(frozen=True)
class Case:
    """One damage, and what the doctor must make of it.

    name: of the damage.
    make: function from notebook (dict, may be changed) to dict or bytes.
    told: part of a sentence among repairs, flags and problem; "" for none needed.
    lost: exercises whose answers are gone.
    """

    name: str
    make: object
    told: str = ""
    lost: tuple = ()


def place_of(notebook, name):
    """Where the cell with an id stands."""
    return next(k for k, c in enumerate(notebook["cells"]) if c.get("id") == name)


def cell_of(notebook, name):
    return notebook["cells"][place_of(notebook, name)]


def as_bytes(notebook):
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode()


def code(source, **more):
    """A code cell as Jupyter writes it."""
    empty = {"execution_count": None, "metadata": {}, "outputs": []}
    return {"cell_type": "code", **empty, "source": source, **more}


def prose(source):
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def anonymous(notebook):
    """No ids, no metadata."""
    for cell in notebook["cells"]:
        cell.pop("id", None)
        cell["metadata"] = {}
    return notebook


# Cells


def copied(name):
    def make(notebook):
        place = place_of(notebook, name)
        double = copy.deepcopy(notebook["cells"][place])
        double["id"] += "-copy"
        notebook["cells"].insert(place + 1, double)
        return notebook

    return make


def deleted(name):
    def make(notebook):
        del notebook["cells"][place_of(notebook, name)]
        return notebook

    return make


def moved(name, to=0, lose_ids=False):
    def make(notebook):
        cell = notebook["cells"].pop(place_of(notebook, name))
        notebook["cells"].insert(to if to >= 0 else len(notebook["cells"]), cell)
        return anonymous(notebook) if lose_ids else notebook

    return make


def edited(name, source):
    def make(notebook):
        cell_of(notebook, name)["source"] = source
        return notebook

    return make


def commented(name):
    """Its first line, a comment, is gone; others came. The code is the same."""

    def make(notebook):
        cell = cell_of(notebook, name)
        cell["source"] = "# mine\n" + cell["source"].split("\n", 1)[1] + "  # done"
        return notebook

    return make


def retyped(name, kind):
    def make(notebook):
        cell = cell_of(notebook, name)
        cell["cell_type"] = kind
        if kind != "code":
            cell.pop("outputs", None)
            cell.pop("execution_count", None)
        else:
            cell |= {"outputs": [], "execution_count": None}
        return notebook

    return make


def split(name, at, same_id=False, apart=False):
    """A cell in two: before the line that begins with `at`, and from there on."""

    def make(notebook):
        place = place_of(notebook, name)
        cell = notebook["cells"][place]
        before, after = cell["source"].split(at, 1)
        cell["source"] = before.rstrip("\n")
        second = {**copy.deepcopy(cell), "source": at + after}
        if not same_id:
            second |= {"id": "another", "metadata": {}}
        # Where it was split, or behind its check, where the learner ran it before.
        notebook["cells"].insert(place + (2 if apart else 1), second)
        return notebook

    return make


def merged(*names, without_id=False):
    """Cells that follow each other, or not, put into the first of them."""

    def make(notebook):
        cells = [cell_of(notebook, name) for name in names]
        cells[0]["source"] = "\n".join(cell["source"] for cell in cells)
        gone = [cell for cell in cells[1:]]
        notebook["cells"] = [c for c in notebook["cells"] if c not in gone]
        if without_id:
            cells[0] |= {"id": "another", "metadata": {}}
        return notebook

    return make


def merged_with_its_text(notebook):
    """The statement and the answer below it in one cell, with the statement's type."""
    place = place_of(notebook, "xent")
    text, answer = notebook["cells"][place - 1 : place + 1]
    text["source"] += "\n" + answer["source"]
    del notebook["cells"][place]
    return notebook


def merged_into_its_text(notebook):
    """The same, with the answer's type."""
    place = place_of(notebook, "xent")
    text, answer = notebook["cells"][place - 1 : place + 1]
    answer["source"] = text["source"] + "\n" + answer["source"]
    del notebook["cells"][place - 1]
    return notebook


PROMPT = "YOUR ANSWER HERE"


def written_beside(step, prompt=PROMPT):
    """The written answer in a cell of its own, above (0) or below (1) the prompt."""

    def make(notebook):
        place = place_of(notebook, "leaked_statistics")
        text = prose(notebook["cells"][place]["source"])
        notebook["cells"][place]["source"] = prompt
        notebook["cells"].insert(place + step, text)
        return notebook

    return make


def written_below_question(notebook):
    place = place_of(notebook, "leaked_statistics")
    question, answer = notebook["cells"][place - 1 : place + 1]
    question["source"] += "\n\n" + answer["source"]
    answer["source"] = PROMPT
    return notebook


def all_in_one(times=1):
    """All code in cells of the learner's own, at the end; the others are empty."""

    def make(notebook):
        cells = [
            cell
            for cell in notebook["cells"]
            if cell["metadata"].get("nbgrader", {}).get("solution")
            and cell["cell_type"] == "code"
        ]
        source = "\n\n".join(cell["source"] for cell in cells)
        for cell in cells:
            cell["source"] = "raise NotImplementedError()"
        notebook["cells"] += [code(source + f"\n# {n}") for n in range(times)]
        return notebook

    return make


def swapped(one, other):
    """The sources of two cells change places."""

    def make(notebook):
        first, second = cell_of(notebook, one), cell_of(notebook, other)
        first["source"], second["source"] = second["source"], first["source"]
        return notebook

    return make


def pasted_into(target, name):
    """An answer below what stands in another cell; its own is empty again."""

    def make(notebook):
        source = cell_of(notebook, name)["source"]
        cell_of(notebook, target)["source"] += "\n\n" + source
        cell_of(notebook, name)["source"] = ""
        return notebook

    return make


def fenced(name):
    def make(notebook):
        retyped(name, "markdown")(notebook)
        cell = cell_of(notebook, name)
        cell["source"] = f"```python\n{cell['source']}\n```"
        return notebook

    return make


def first_line(name, line):
    """A magic or shell command on top of an answer."""

    def make(notebook):
        cell = cell_of(notebook, name)
        cell["source"] = f"{line}\n{cell['source']}"
        return notebook

    return make


def tried_out(notebook):
    """A copy of an answer, with its metadata, that was made a trial of it."""
    copied("xent")(notebook)
    cell_of(notebook, "xent-copy")["source"] = "xent([[1.0, 2.0]], [0])"
    return notebook


def old_try(notebook):
    """An older, unfinished copy below the answer."""
    copied("xent")(notebook)
    source = "def xent(logits, labels):\n    return logits -"
    cell_of(notebook, "xent-copy")["source"] = source
    return notebook


def stub_below(notebook):
    """A fresh copy of the released cell below the answer, with a comment in it."""
    copied("xent")(notebook)
    source = "def xent(logits, labels):\n    # later\n    raise NotImplementedError()"
    cell_of(notebook, "xent-copy")["source"] = source
    return notebook


def redefined_later(notebook):
    last = code("def xent(a, b):\n    return 0", id="mine")
    notebook["cells"] += [last, code("holdout = None", id="mine-2")]
    return notebook


def no_imports(notebook):
    """The cell that everything rests on is emptied."""
    second = [c for c in notebook["cells"] if c["cell_type"] == "code"][1]
    second["source"] = "import numpy as np"
    return notebook


# Metadata and formats


def no_metadata(notebook):
    for cell in notebook["cells"]:
        cell["metadata"] = {}
    return notebook


def no_ids(notebook):
    for cell in notebook["cells"]:
        cell.pop("id", None)
    return notebook


def all_the_same_id(notebook):
    for cell in notebook["cells"]:
        cell["id"] = "same"
        cell["metadata"].pop("nbgrader", None)
    return notebook


def odd_metadata(notebook):
    for number, cell in enumerate(notebook["cells"]):
        cell["metadata"] = [[], None, "text", 7][number % 4]
        cell["id"] = [number, None, {}, ""][number % 4]
    return notebook


def colab(notebook):
    """As Colab saves a notebook of its own: ids in metadata, nothing of nbgrader."""
    for number, cell in enumerate(notebook["cells"]):
        cell["metadata"] = {"id": f"aB3_{number}xYz"}
        cell.pop("id", None)
        if cell["cell_type"] == "code":
            cell["metadata"]["outputId"] = "0c1d-22"
            cell["execution_count"] = number
            text = {"output_type": "stream", "name": "stdout", "text": ["hello\n"]}
            cell["outputs"] = [text]
        cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
    notebook["metadata"] = {
        "colab": {"provenance": [], "toc_visible": True},
        "accelerator": "GPU",
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
    }
    return notebook | {"nbformat_minor": 0}


def vs_code(notebook):
    """As Visual Studio Code saves: new ids, other metadata, lists of lines."""
    for number, cell in enumerate(notebook["cells"]):
        cell["id"] = f"{number:08x}"
        cell["metadata"] = {"vscode": {"languageId": "python"}}
        cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
    kernel = {"name": ".venv", "display_name": ".venv (3)"}
    notebook["metadata"] = {"kernelspec": kernel}
    return notebook


def kernelspec(value):
    def make(notebook):
        notebook["metadata"] = {"kernelspec": value}
        return notebook

    return make


def format_3(notebook):
    node = nbformat.from_dict(copy.deepcopy(notebook))
    for cell in node.cells:
        cell.pop("id", None)
    node.nbformat_minor = 4
    return json.loads(nbformat.writes(nbformat.convert(node, 3), version=3))


def says(**values):
    return lambda notebook: notebook | values


def less(name):
    def make(notebook):
        notebook.pop(name)
        return notebook

    return make


def wrapped(notebook):
    """As Jupyter's server answers."""
    return {"type": "notebook", "format": "json", "content": notebook}


# Size


def many_cells(notebook):
    more = [code(f"x_{number} = {number}") for number in range(6000)]
    return notebook | {"cells": more + notebook["cells"]}


def huge_output(notebook):
    text = {"output_type": "stream", "name": "stdout", "text": "line\n" * 4_000_000}
    cell_of(notebook, "xent")["outputs"] = [text]
    return notebook


def huge_source(notebook):
    notebook["cells"].append(code("x = '" + "a" * 2_000_000 + "'"))
    return notebook


# Bytes


def bytes_(change):
    """A damage of the file's bytes."""
    return lambda notebook: change(as_bytes(notebook))


def text_(change):
    return lambda notebook: change(as_bytes(notebook).decode()).encode()


def text_in(codec):
    return lambda notebook: as_bytes(notebook).decode().encode(codec)


def trailing_commas(text):
    return text.replace('"\n  }', '",\n  }').replace("\n  }\n ]", "\n  },\n ]")


OTHER = {"xent": "def xent(a, b):\n    return 7", "leaked_statistics": "As I said."}
EMPTY = {
    "xent": "def xent(a, b):\n    raise NotImplementedError()",
    "leaked_statistics": "YOUR ANSWER HERE",
}


def _sides(upper, lower):
    return ["<<<<<<< HEAD", *upper, "=======", *lower, ">>>>>>> theirs"]


def conflict(name, other, swap=False):
    """A merge conflict in an answer, which is the lower side after `swap`."""

    def make(notebook):
        source = cell_of(notebook, name)["source"]
        old, new = json.dumps(source), json.dumps(other)
        lines = as_bytes(notebook).decode().splitlines()
        at = next(k for k, one in enumerate(lines) if old in one)
        sides = [[lines[at]], [lines[at].replace(old, new)]]
        lines[at : at + 1] = _sides(*(sides[::-1] if swap else sides))
        # And one in a number, as after every run.
        at = next(k for k, one in enumerate(lines) if '"execution_count"' in one)
        new = lines[at].replace("null", "7")
        lines[at : at + 1] = _sides([lines[at]], [new])
        return "\n".join(lines).encode()

    return make


def conflict_in_a_cell(name, other, swap=False):
    """The same in the cell's text, as by somebody who pasted both."""

    def make(notebook):
        cell = cell_of(notebook, name)
        sides = [cell["source"].splitlines(), other.splitlines()]
        cell["source"] = "\n".join(_sides(*(sides[::-1] if swap else sides)))
        return notebook

    return make


def conflict_in_a_line(notebook):
    cell = cell_of(notebook, "xent")
    head, *body = cell["source"].splitlines()
    other = f"    return 0 * {head[9:14]}"
    cell["source"] = "\n".join([head, *_sides(body, [other])])
    return notebook


CONFLICTS = [
    Case(
        f"{name}: {kind.__name__}, {'upper' if not swap else 'lower'} counts, {what}",
        kind(name, others[name], swap),
        f"merge conflict; the {'lower' if swap else 'upper'} side counts",
    )
    for name in OTHER
    for kind in (conflict, conflict_in_a_cell)
    for what, others, swap in [
        ("both are answered", OTHER, False),
        ("the other is the starter", EMPTY, False),
        ("the other is the starter", EMPTY, True),
    ]
]


def output_broken(notebook):
    """Garbage in an output: the cell is no JSON, but its source is whole."""
    stream = {"output_type": "stream", "name": "stdout", "text": "HERE"}
    cell = cell_of(notebook, "xent")
    cell["outputs"] = [stream]
    cell["source"] = cell.pop("source")  # behind the outputs, as nbformat sorts
    return as_bytes(notebook).replace(b'"HERE"', b'"\n\x01 "" {[')


def broken_after_a_short_cell(old, new):
    """One character of an answer's cell is another; a short cell stands above it."""

    def make(notebook):
        place = place_of(notebook, "xent")
        answer = notebook["cells"][place]
        answer["source"] = answer["source"].splitlines(keepends=True)
        notebook["cells"].insert(place, prose("Short."))
        whole = as_bytes(notebook)
        begin = whole.rindex(b"\n  {\n", 0, whole.index(b'"id": "xent"'))
        return whole[:begin] + whole[begin:].replace(old, new, 1)

    return make


def cut_off(notebook):
    """Cut in the middle of the last exercise but one."""
    content = as_bytes(notebook)
    return content[: content.index(b'"id": "mlp"') + 300]


CUT = ("leaked_statistics", "mlp", "history_rows")  # what is gone by it


def one_bad_byte(notebook):
    notebook["cells"][0]["source"] += "\n\nÄÖÜ é ß ✔ ✘"
    return as_bytes(notebook).replace(b"Warm-up", b"Warm\xff-up", 1)


def latin_1(notebook):
    notebook["cells"][0]["source"] = "Lösung von André"
    return as_bytes(notebook).decode().encode("cp1252", "replace")


HALF = "half of a character"


def half_of(name):
    """Half of an emoji in an answer, as an editor leaves it that cuts text."""

    def make(notebook):
        cell_of(notebook, name)["source"] += "  # HERE"
        return as_bytes(notebook).replace(b"HERE", b"\\ud83d")

    return make


def half_in_metadata(notebook):
    """The same in what is no answer: an id, an output, a picture's name."""
    output = {"output_type": "stream", "name": "stdout", "text": "HERE"}
    picture = {"HERE": {"image/png": "aGVsbG8="}}
    text = prose("![](attachment:HERE)") | {"attachments": picture, "id": "HERE"}
    notebook["cells"] += [code("x = 1", outputs=[output]), text]
    return as_bytes(notebook).replace(b"HERE", b"\\ude00")


def repeated(notebook):
    """Two files in one: the released one behind the learner's."""
    return as_bytes(notebook) + b"\n" + as_bytes(notebook)


TRIAL = 'def evidence(xent, rng):\n    yield "all", 1\n\n\ncheck("00/xent", evidence)'

# All of lesson 00, on answers that are right.
CELLS = [
    Case("check copied", copied("check-xent"), "check-xent is there 2 times"),
    Case("answer copied", copied("xent"), "xent is there 2 times"),
    Case("check deleted", deleted("check-xent"), "check-xent was missing"),
    Case("answer deleted", deleted("xent"), "answer xent is missing", ("xent",)),
    Case("answer emptied", edited("xent", " \n"), "answer xent is missing", ("xent",)),
    Case("answer moved up", moved("xent", 0)),
    Case("answer moved down", moved("environment", -1)),
    Case("check moved", moved("check-xent", 3)),
    Case("moved and ids lost", moved("xent", 3, lose_ids=True), "found by its name"),
    Case("check edited", edited("check-xent", "2.0"), "check-xent was edited"),
    Case("check commented", commented("check-xent")),
    Case("check edited in part", edited("check-xent", TRIAL), "check-xent was edited"),
    Case(
        "check as text",
        retyped("check-xent", "markdown"),
        "type of the check",
    ),
    Case("answer as text", retyped("xent", "markdown"), "xent was in a text cell"),
    Case("answer as raw", retyped("xent", "raw"), "xent was in a text cell"),
    Case("answer in a fence", fenced("xent"), "xent was in a text cell"),
    Case(
        "written answer as code",
        retyped("leaked_statistics", "code"),
        "leaked_statistics was in a code cell",
    ),
    Case(
        "split between functions",
        split("standardise", "def apply_standardiser"),
        "stood in 2 cells",
    ),
    Case(
        "split, same id",
        split("standardise", "def apply_standardiser", same_id=True),
        "stood in 2 cells",
    ),
    Case(
        "split, half of it behind the check",
        split("standardise", "def apply_standardiser", apart=True),
        "stood in 2 cells",
    ),
    Case("split in a function", split("holdout", "    return"), "was split"),
    Case(
        "split in a function, same id",
        split("holdout", "    return", same_id=True),
        "was split",
    ),
    Case("merged with its check", merged("xent", "check-xent"), "merged"),
    Case("merged into its check", merged("check-xent", "xent"), "merged"),
    Case("two answers merged", merged("xent", "mlp"), "mlp was found by its name"),
    Case(
        "two answers and a check merged, new id",
        merged("xent", "check-xent", "mlp", without_id=True),
        "merged",
    ),
    Case("merged with its statement", merged_with_its_text, "merged with text"),
    Case("merged into its statement", merged_into_its_text, "merged with text"),
    Case(
        "pasted into the written answer",
        pasted_into("leaked_statistics", "xent"),
        "merged with text",
    ),
    Case("written above the prompt", written_beside(0), "found by its place"),
    Case("written below the prompt", written_beside(1), "found by its place"),
    Case("written above no prompt", written_beside(0, "\n"), "found by its place"),
    Case("written below no prompt", written_beside(1, "\n"), "found by its place"),
    Case(
        "written beside the prompt, ids lost",
        lambda notebook: vs_code(written_beside(1)(notebook)),
        "found by its place",
    ),
    Case("written below the question", written_below_question, "its question's cell"),
    Case(
        "written below the question, ids lost",
        lambda notebook: vs_code(written_below_question(notebook)),
        "its question's cell",
    ),
    Case("all in one cell", all_in_one(), "history_rows was found by its name"),
    Case("all in two cells", all_in_one(2), "history_rows is there 2 times"),
    Case("check and answer swapped", swapped("check-xent", "xent"), "xent was found"),
    Case("two answers swapped", swapped("mlp", "xent"), "xent was found"),
    Case("pasted into another answer", pasted_into("mlp", "xent"), "xent was found"),
    Case("pasted into the set-up", pasted_into("73d9e520", "xent"), "xent was found"),
    Case("pasted into a check", pasted_into("check-mlp", "xent"), "merged"),
    Case("a trial with the answer's id", tried_out),
    Case("an unfinished copy below", old_try, "xent is there 2 times"),
    Case("a stub below", stub_below, "xent is there 2 times"),
    Case("redefined by own cells", redefined_later),
    Case("imports gone", no_imports, "set-up cell was changed"),
    Case("a magic on top", first_line("xent", "%%time")),
    Case("a shell command on top", first_line("xent", "!pip install keras")),
    Case("conflict in a line", conflict_in_a_line, "conflict; the upper side counts"),
]
FORMATS = [
    Case("metadata lost", no_metadata),
    Case("ids lost", no_ids),
    Case("both lost", anonymous, "found by its name"),
    Case("one id for all", all_the_same_id, "found by its name"),
    Case("odd metadata and ids", odd_metadata, "found by its name"),
    Case("Colab", colab, "found by its name"),
    Case("VS Code", vs_code, "found by its name"),
    Case("wrong kernelspec", kernelspec({"name": "julia-1.9", "language": "julia"})),
    Case("no kernelspec", kernelspec(None)),
    Case("no metadata at all", less("metadata")),
    Case("format 3", format_3, "old format (3)"),
    Case("no format", less("nbformat"), "no format instead of 4"),
    Case("an odd format", says(nbformat="four", nbformat_minor=-2), "said format"),
    Case("an odd minor format", says(nbformat_minor=99)),
    Case("wrapped by a server", wrapped),
    Case("6000 cells more", many_cells, "5000 cells"),
    Case("20 MB of output", huge_output),
    Case("2 MB of source", huge_source, "million characters"),
]
BYTES = [
    Case("cut off", cut_off, "file is damaged", CUT),
    Case("trailing commas", text_(trailing_commas), "commas too many"),
    Case("two files in one", repeated, "file is damaged"),
    Case("single quotes", lambda nb: repr(nb).encode(), "single quotes"),
    Case("garbage in an output", output_broken, "file is damaged"),
    Case("a cell's brace", broken_after_a_short_cell(b"{", b"["), "file is damaged"),
    Case("no brace", broken_after_a_short_cell(b"{", b""), "file is damaged"),
    Case("a comma", broken_after_a_short_cell(b'\\n",', b'\\n"\x01'), "is damaged"),
    Case("a bracket", broken_after_a_short_cell(b'"\n   ]', b'"\n   }'), "is damaged"),
    Case("a name", broken_after_a_short_cell(b'"source', b'"sourc'), "name 'sourc'"),
    Case("BOM", bytes_(lambda content: b"\xef\xbb\xbf" + content)),
    Case("Latin-1", latin_1, "Windows text"),
    Case("one bad byte", one_bad_byte, "1 characters"),
    Case("NUL in a cell", text_(lambda t: t.replace("Warm-up", "Warm\\u0000-up"))),
    Case("NUL at the end", bytes_(lambda content: content + b"\0" * 4096)),
    Case("NUL between", bytes_(lambda c: c.replace(b"\n", b"\0\n\0")), "zero bytes"),
    Case("Windows line ends", bytes_(lambda c: c.replace(b"\n", b"\r\n"))),
    Case("half a character in text", half_of("leaked_statistics"), HALF),
    Case("half a character in code", half_of("xent"), HALF),
    Case("half a character in metadata", half_in_metadata, HALF),
    Case("both halves", text_(lambda t: t.replace("Warm", "\\ud83d\\ude00Warm"))),
    Case("no half", text_(lambda t: t.replace("Warm", "\\\\ud83dWarm"))),
]
CODECS = ("utf-16", "utf-16-le", "utf-16-be", "utf-32")
BYTES += [
    Case(codec, text_in(codec), "not UTF-8; it was converted") for codec in CODECS
]
THESIS = {
    "nbformat": 4,
    "cells": [prose("# My thesis"), code("import keras\nx = 1", id="a1b2"), code("x")],
}
OTHERS = "This is no notebook of lesson 00: none of its cells was found."
NO_NOTEBOOK = {
    "a thesis": (as_bytes(THESIS), OTHERS),
    "an empty list of cells": (as_bytes({"nbformat": 4, "cells": []}), OTHERS),
    "cells that are none": (as_bytes({"nbformat": 4, "cells": [1, None, "a"]}), OTHERS),
    "empty": (b"", "is empty"),
    "blank": (b" \n\t", "is empty"),
    "zeros": (b"\0" * 5000, "is empty"),
    "a zip": (b"PK\x03\x04" + bytes(range(256)), "a zip archive or an office document"),
    "a PDF": (b"%PDF-1.7 ...", "a PDF"),
    "a web page": (b"<!DOCTYPE html>\n<html></html>", "a web page"),
    "a sentence": (b"I could not do it, sorry.", "no cell could be read"),
    "a script": (b"import keras\n\n\ndef xent(a, b):\n    pass\n", "a Python script"),
    "a number": (b"7", "no notebook"),
    "a list": (b"[1, 2]", "no notebook"),
    "no cells": (b'{"nbformat": 4}', "no cells"),
    "cells of no kind": (b'{"nbformat": 4, "cells": {"a": 1}}', "no cells"),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "deep cells": (b'{"cell_type": ' * 50_000, "nested too deeply"),
    "a long number": (b'{"nbformat": ' + b"9" * 10_000 + b"}", "no cell could be"),
    "noise": (random.Random(0).randbytes(20_000), "no cell could be read"),
}


# At random

WRITTEN = ("leaked_statistics", "equal_to_the_last_digit")


def random_damage(seed, notebook):
    """One to four damages at once.

    Returns:
        `(content, alive)`: bytes, and the names of the answers of which every cell
        that has anything of them is whole and as it was.
    """
    rng = random.Random(seed)
    answers = {
        cell["id"]: cell["source"]
        for cell in notebook["cells"]
        if cell["metadata"].get("nbgrader", {}).get("solution")
    }
    notebook = copy.deepcopy(notebook)
    steps = rng.randint(1, 4)
    in_bytes = rng.randint(0, min(steps, 2))
    for _ in range(steps - in_bytes):
        notebook = _random_change(rng, list(answers), notebook)
    if rng.random() < 0.3:
        lose = (no_metadata, no_ids, anonymous, colab, vs_code, all_the_same_id)
        lose += (wrapped_text,)
        notebook = rng.choice(lose)(notebook)
    before = content = as_bytes(notebook)
    for _ in range(in_bytes):
        content = rng.choice(BYTE_DAMAGES)(rng, content)
    alive = {n for n, source in answers.items() if _alive(source, notebook, content)}
    if content == before and rng.random() < 0.2:
        content = content.decode().encode(rng.choice(CODECS))
    return content, alive


def _random_change(rng, names, notebook):
    written = next(n for n in names if n in WRITTEN)
    one, other = rng.sample([name for name in names if name != written], 2)
    anything = rng.choice([one, f"check-{one}", f"check-{other}", written])
    change = rng.choice(
        [
            *(copied(anything), deleted(anything), moved(anything, rng.randrange(60))),
            *(retyped(anything, "markdown"), retyped(anything, "raw"), fenced(one)),
            *(edited(anything, "x ="), edited(anything, ""), edited(anything, "1 + 1")),
            *(merged(one, f"check-{one}"), merged(f"check-{one}", one)),
            *(merged(one, other), merged(one, other, without_id=True)),
            *(swapped(one, other), swapped(one, f"check-{one}")),
            *(
                pasted_into(other, one),
                pasted_into(written, one),
                pasted_into(f"check-{other}", one),
            ),
            *(first_line(one, "%%time"), first_line(one, "!pip list")),
            *(kernelspec({"name": "ir"}), less("metadata"), says(nbformat_minor=0)),
            *(no_imports, huge_source),
        ]
    )
    try:
        return change(copy.deepcopy(notebook))
    except (StopIteration, KeyError):  # an earlier damage took what it needs
        return notebook


def wrapped_text(notebook):
    """Lines instead of text, and other line ends."""
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"]).replace("\n", "\r\n")
        cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
    return notebook


def _alive(source, notebook, content):
    """Whether all cells that hold this answer are whole in the damaged file."""
    cells = notebook["cells"]
    texts = ["".join(cell["source"]).replace("\r\n", "\n") for cell in cells]
    holders = [c for c, text in zip(cells, texts, strict=True) if source in text]
    return bool(holders) and all(_block(cell) in content for cell in holders)


def _block(cell):
    """A cell as it stands in a file."""
    text = json.dumps(cell, indent=1, ensure_ascii=False)
    return "\n".join(f"  {line}" for line in text.split("\n")).encode()


def _span(rng, content, most):
    begin = rng.randrange(len(content))
    return begin, begin + rng.randint(1, most)


def flipped(rng, content):
    """A few bytes are others."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 5)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut_at_random(rng, content):
    """The end is gone, as after a broken download."""
    return content[: rng.randrange(200, len(content))]


def gap(rng, content):
    begin, end = _span(rng, content, 3000)
    return content[:begin] + content[end:]


def doubled(rng, content):
    begin, end = _span(rng, content, 5000)
    return content[:end] + content[begin:end] + content[end:]


def garbage(rng, content):
    begin, size = _span(rng, content, 1)[0], rng.randint(1, 300)
    return content[:begin] + rng.randbytes(size) + content[begin:]


def zeroed(rng, content):
    begin, end = _span(rng, content, 512)
    return content[:begin] + bytes(end - begin) + content[end:]


BYTE_DAMAGES = (flipped, cut_at_random, gap, doubled, garbage, zeroed)
