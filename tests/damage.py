"""What happens to notebooks on their way to a teacher, by hand and by chance."""

import copy
import json
import random

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell
from sample_class import right

from helpers.lessons import build

(LESSON,) = build.find(["00"])
NAMES = [exercise.name for exercise in LESSON.exercises]


def solved():
    """A notebook with all answers, as plain data."""
    return json.loads(nbformat.writes(right(LESSON)))


def find(notebook, name):
    return next(cell for cell in notebook["cells"] if cell["id"] == name)


def place_of(notebook, name):
    return notebook["cells"].index(find(notebook, name))


def text(notebook, **settings):
    return json.dumps(notebook, indent=1, ensure_ascii=False, **settings).encode()


# By hand: each takes a solved notebook and gives the bytes of a file.


def without_metadata(notebook):
    for cell in notebook["cells"]:
        cell["metadata"] = {}
    return text(notebook)


def without_ids(notebook):
    for cell in notebook["cells"]:
        del cell["id"]
    return text(notebook)


def without_both(notebook):
    for cell in notebook["cells"]:
        del cell["id"]
        cell["metadata"] = {}
    return text({**notebook, "nbformat_minor": 4})


def as_colab_saves_it(notebook):
    for number, cell in enumerate(notebook["cells"]):
        name = cell.pop("id")
        cell["metadata"] = {"id": f"c0{number}Xy", "outputId": "abc", "was": name}
        if cell["cell_type"] == "code":
            cell["metadata"]["colab"] = {"base_uri": "https://localhost:8080/"}
    notebook["metadata"] = {"colab": {"provenance": []}, "accelerator": "GPU"}
    return text({**notebook, "nbformat_minor": 0})


def as_vs_code_saves_it(notebook):
    for cell in notebook["cells"]:
        cell["metadata"]["vscode"] = {"languageId": "python"}
        cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
    return text(notebook)


def sources_as_lists(notebook):
    for cell in notebook["cells"]:
        cell["source"] = list("".join(cell["source"]))
    return text(notebook)


def all_ids_alike(notebook):
    for cell in notebook["cells"]:
        cell["id"] = "same"
    return text(notebook)


def answers_moved_to_the_end(notebook):
    moved = [cell for cell in notebook["cells"] if cell["id"] in NAMES]
    notebook["cells"] = [c for c in notebook["cells"] if c["id"] not in NAMES] + moved
    return text(notebook)


def cells_backwards(notebook):
    notebook["cells"].reverse()
    return text(notebook)


def check_and_answer_swapped(notebook):
    one, two = place_of(notebook, "xent"), place_of(notebook, "check-xent")
    cells = notebook["cells"]
    cells[one], cells[two] = cells[two], cells[one]
    return text(notebook)


def answer_split_in_two(notebook):
    """Below what the cell was split at, the second half has no id of ours."""
    cell = find(notebook, "standardise")
    head, tail = "".join(cell["source"]).split("\n\n\n")
    place = place_of(notebook, "standardise")
    cell["source"] = head
    extra = json.loads(json.dumps(new_code_cell(tail)))
    notebook["cells"].insert(place + 1, extra)
    return text(notebook)


def answer_in_a_new_cell(notebook):
    """The answer's own cell was deleted, the answer is pasted elsewhere."""
    cell = find(notebook, "xent")
    place = place_of(notebook, "xent")
    notebook["cells"][place] = json.loads(json.dumps(new_code_cell(cell["source"])))
    return text(notebook)


def answer_beside_the_stub(notebook):
    """The starter is still there; the answer is in a cell of its own below."""
    from helpers.lessons import notebooks

    released = notebooks.read(notebooks.paths(LESSON)[1])
    stub = next(cell for cell in released.cells if cell.id == "xent").source
    cell = find(notebook, "xent")
    extra = json.loads(json.dumps(new_code_cell(cell["source"])))
    cell["source"] = stub
    notebook["cells"].insert(place_of(notebook, "xent") + 1, extra)
    return text(notebook)


def two_answers_in_one_cell(notebook):
    first, second = find(notebook, "mean_loss"), find(notebook, "xent")
    both = "".join(first["source"]) + "\n\n\n" + "".join(second["source"])
    first["source"] = both
    notebook["cells"].remove(second)
    return text(notebook)


def answer_copied_by_mistake(notebook):
    """A copy with the same ids stands below; both are the same."""
    place = place_of(notebook, "xent")
    notebook["cells"].insert(place + 1, copy.deepcopy(notebook["cells"][place]))
    return text(notebook)


def all_cells_twice(notebook):
    notebook["cells"] += copy.deepcopy(notebook["cells"])
    return text(notebook)


def a_magic_in_an_answer(notebook):
    cell = find(notebook, "xent")
    cell["source"] = "%load_ext autoreload\n" + "".join(cell["source"])
    return text(notebook)


def other_kernel(notebook):
    notebook["metadata"] = {"kernelspec": {"name": "ir", "language": "R"}}
    return text(notebook)


def no_notebook_metadata(notebook):
    del notebook["metadata"]
    return text(notebook)


def odd_format_numbers(notebook):
    return text({**notebook, "nbformat": "4", "nbformat_minor": -3})


def format_3(notebook):
    cells = []
    for cell in notebook["cells"]:
        cell = {**cell, "language": "python"}
        if cell["cell_type"] == "code":
            cell["input"] = cell.pop("source")
        cells.append(cell)
    found = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}}
    return text({**found, "worksheets": [{"cells": cells}]})


def broken_outputs(notebook):
    for cell in notebook["cells"]:
        cell["outputs"] = [{"output_type": "nonsense"}, 3, None]
    return text(notebook)


def null_cells(notebook):
    notebook["cells"][2:2] = [None, 3, [], {}, {"cell_type": "heading"}]
    return text(notebook)


def byte_order_mark(notebook):
    return b"\xef\xbb\xbf" + text(notebook)


def utf_16(notebook):
    return text(notebook).decode().encode("utf-16")


def latin_1(notebook):
    notebook["cells"][0]["source"] = "# Übung für José"
    return text(notebook).decode().encode("latin-1", "replace")


def windows_line_ends(notebook):
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"]).replace("\n", "\r\n")
    return text(notebook).replace(b"\n", b"\r\n")


def trailing_comma(notebook):
    return text(notebook).rstrip()[:-1].rstrip() + b",\n}"


def merge_conflict(notebook):
    lines = text(notebook).split(b"\n")
    return b"\n".join([*lines[:9], b"<<<<<<< HEAD", b"=======", *lines[9:]])


def file_twice(notebook):
    return text(notebook) * 2


def something_in_front(notebook):
    return b"<!DOCTYPE html>\n" + text(notebook)


def nul_at_the_end(notebook):
    return text(notebook) + bytes(100)


BY_HAND = {
    damage: told
    for damage, told in [
        (without_metadata, ""),
        (without_ids, ""),
        (without_both, "found by its name"),
        (as_colab_saves_it, "found by its name"),
        (as_vs_code_saves_it, ""),
        (sources_as_lists, ""),
        (all_ids_alike, ""),
        (answers_moved_to_the_end, ""),
        (cells_backwards, ""),
        (check_and_answer_swapped, ""),
        (answer_split_in_two, ""),
        (answer_in_a_new_cell, "xent was found by its name"),
        (answer_beside_the_stub, "xent was found by its name"),
        (two_answers_in_one_cell, "xent is missing"),
        (answer_copied_by_mistake, "xent is there 2 times"),
        (all_cells_twice, "is there 2 times"),
        (a_magic_in_an_answer, ""),
        (other_kernel, ""),
        (no_notebook_metadata, ""),
        (odd_format_numbers, "said format '4'"),
        (format_3, "old format"),
        (broken_outputs, ""),
        (null_cells, ""),
        (byte_order_mark, ""),
        (utf_16, "UTF-16"),
        (latin_1, "not UTF-8"),
        (windows_line_ends, ""),
        (trailing_comma, "is damaged"),
        (merge_conflict, "is damaged"),
        (file_twice, "is damaged"),
        (something_in_front, "is damaged"),
        (nul_at_the_end, ""),
    ]
}
# What nothing can be read from, and what is told.
HOPELESS = {
    "empty": (b"", "is empty"),
    "only white space": (b" \n\t\x00", "is empty"),
    "a web page": (b"<html><body>404</body></html>", "does not begin like a notebook"),
    "an archive": (b"PK\x03\x04" + bytes(range(256)) * 9, "no valid JSON"),
    "a script": (b"def xent(logits, labels):\n    return 0\n", "no valid JSON"),
    "a number": (b"42", "no notebook: it holds no object"),
    "a list": (b"[1, 2]", "no notebook: it holds no object"),
    "no cells": (b'{"nbformat": 4}', "it has no cells"),
    "cells that are none": (b'{"nbformat": 4, "cells": "many"}', "it has no cells"),
    "nested": (b'{"cells":' + b"[" * 10**5, "nested too deeply"),
    "no file": (None, "not a file"),
}


# By chance


def by_chance(seed):
    """A damaged file, and the names of the answers that were left alone.

    One to four damages to cells, to the file's bytes, or to both. An answer was left
    alone where no damage touched its cell.
    """
    rng = random.Random(seed)
    notebook, left = solved(), set(NAMES)
    for _ in range(rng.randint(0, 3)):
        rng.choice(TO_CELLS)(rng, notebook, left)
    content = text(notebook)
    whole = {name: text_of(notebook, name) for name in left}
    for _ in range(rng.randint(0 if len(left) < len(NAMES) else 1, 2)):
        content = rng.choice(TO_BYTES)(rng, content)
    left = {name for name in left if whole[name] and whole[name] in content}
    return content, left


def text_of(notebook, name):
    """The bytes of an answer's cell in the file."""
    cells = [cell for cell in notebook["cells"] if cell.get("id") == name]
    wanted = "".join(cells[0]["source"]) if cells else ""
    cells = [c for c in cells if "".join(c["source"]) == wanted]
    if not cells:
        return b""
    lines = text(cells[0]).split(b"\n")
    return b"\n".join(line if n == 0 else b"  " + line for n, line in enumerate(lines))


def touch(cell, left):
    left.discard(cell.get("id"))


def drop_cell(rng, notebook, left):
    touch(notebook["cells"].pop(rng.randrange(len(notebook["cells"]))), left)


def copy_cell(rng, notebook, left):
    cells = notebook["cells"]
    cells.insert(rng.randrange(len(cells)), copy.deepcopy(rng.choice(cells)))


def move_cell(rng, notebook, left):
    cells = notebook["cells"]
    cells.insert(rng.randrange(len(cells)), cells.pop(rng.randrange(len(cells))))


def edit_cell(rng, notebook, left):
    cell = rng.choice(notebook["cells"])
    source = "".join(cell["source"])
    place = rng.randrange(len(source) + 1)
    cell["source"] = source[:place] + rng.choice(["\n", "x", "'''", "%%", "\\", "é"])
    cell["source"] += source[place:]
    touch(cell, left)


def lose_metadata(rng, notebook, left):
    for cell in rng.sample(notebook["cells"], 10):
        cell["metadata"] = {}


def turn_type(rng, notebook, left):
    cell = rng.choice(notebook["cells"])
    kinds = {"code": "markdown", "markdown": "code"}
    cell["cell_type"] = kinds.get(cell["cell_type"], "raw")
    touch(cell, left)


def add_cell(rng, notebook, left):
    make = rng.choice([new_code_cell, new_markdown_cell])
    cell = json.loads(json.dumps(make(rng.choice(["x = 1", "1/0", "def", "# mine"]))))
    notebook["cells"].insert(rng.randrange(len(notebook["cells"])), cell)


def odd_value(rng, notebook, left):
    cell = rng.choice(notebook["cells"])
    name = rng.choice(["metadata", "outputs", "execution_count", "attachments"])
    cell[name] = rng.choice([None, 3, "text", [], [None], {"nbgrader": 3}])


TO_CELLS = [drop_cell, copy_cell, move_cell, edit_cell, lose_metadata]
TO_CELLS += [turn_type, add_cell, odd_value]


def cut(rng, content):
    return content[: rng.randrange(len(content) + 1)]


def lose_bytes(rng, content):
    place = rng.randrange(len(content) + 1)
    return content[:place] + content[place + rng.randint(1, 2000) :]


def repeat_bytes(rng, content):
    begin = rng.randrange(len(content) + 1)
    end = begin + rng.randint(1, 2000)
    return content[:end] + content[begin:]


def flip_bytes(rng, content):
    found = bytearray(content)
    for _ in range(rng.randint(1, 5) if found else 0):
        found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found)


def add_garbage(rng, content):
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.randbytes(rng.randint(1, 50)) + content[place:]


TO_BYTES = [cut, lose_bytes, repeat_bytes, flip_bytes, add_garbage]
