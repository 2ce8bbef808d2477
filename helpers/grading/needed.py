"""Which cells of a submission have to run, so that its answers are graded as they are.

Exercises rest on the set-up cell alone, and every lesson's proof holds them to that. So
an example that stands there as it was released is left out, unless something that the
learner wrote uses what it makes. Where that cannot be read off the source, all cells
run.
"""

import ast
import re
import symtable
from dataclasses import dataclass, field

from IPython.core.inputtransformer2 import TransformerManager

# Ways to a name that are not spelled as the name; and IPython's memory of results.
HIDDEN_NAMES = re.compile(
    r"eval|exec|get_ipython|globals|locals|vars|dir|__import__|_i*\d+|_i+|__+|_[od]h"
    r"|In|Out"
)
HIDDEN_PARTS = {"*", "__main__", "_getframe", "modules", "import_module"}
# What a learner sets for the whole process; an example may set it back, or otherwise.
SETTINGS = {"set_global_policy", "set_dtype_policy", "set_floatx", "set_backend"}
SETTINGS |= {"run_functions_eagerly", "set_image_data_format", "clear_session"}
HIDDEN_PARTS |= SETTINGS


@dataclass
class Names:
    """Global names of a cell: bound, used, and those whose objects it may change."""

    binds: set = field(default_factory=set)
    uses: set = field(default_factory=set)
    changes: set = field(default_factory=set)


def left_out(notebook, released):
    """Ids of the example cells that need not run.

    Args:
        notebook: the repaired submission, as `doctor.repair` makes it.
        released: the released notebook.

    Returns:
        A set of cell ids; empty where every cell has to run.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    set_up = _set_up(released)
    as_released = {cell.id: cell.source for cell in released.cells}
    own = {cell.id for cell in cells if as_released.get(cell.id) != cell.source}
    examples = {
        cell.id
        for cell in cells
        if cell.id not in {*own, *set_up} and "nbgrader" not in cell.metadata
    }
    try:
        known = {cell.id: names(cell, strict=cell.id in own) for cell in cells}
    except (SyntaxError, ValueError, RecursionError, MemoryError, Unclear):
        return set()
    while found := _still_needed(cells, examples, known, set_up):
        examples -= found
    return examples


def _set_up(released):
    """Ids of the two cells that set up a lesson: its files, and what answers rest on.

    No lesson changes in place what they make: a test sees to that.
    """
    code = [cell.id for cell in released.cells if cell.cell_type == "code"]
    return set(code[:2])


class Unclear(Exception):
    """What a cell uses cannot be read off its source."""


def names(cell, strict=True):
    """The `Names` of a cell; none where a mistake in writing stops all of it.

    Args:
        cell: a code cell.
        strict: refuse what may use names without spelling them.

    Raises:
        Unclear: where it was refused, or has a magic command.
    """
    tree = _parsed(cell.source)
    if tree is None:
        return Names()
    found = Names(uses=_asked_for(cell, tree))
    _scopes(symtable.symtable(cell.source, "cell", "exec"), found, top=True)
    found.changes = _changed(tree)
    if strict and any(map(_is_hidden_way, ast.walk(tree))):
        raise Unclear
    return found


def _parsed(source):
    """A cell as Python reads it, or None where neither Python nor IPython can."""
    try:
        return ast.parse(source)
    except SyntaxError:
        pass
    try:
        ast.parse(TransformerManager().transform_cell(source))
    except SyntaxError:
        return None
    raise Unclear


def _asked_for(cell, tree):
    """A check's `evidence` asks for globals by the names of its arguments."""
    if not cell.metadata.get("nbgrader", {}).get("locked"):
        return set()
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    asked = {arg.arg for function in functions for arg in function.args.args}
    return asked - {"rng"}


def _scopes(table, found, top=False):
    for symbol in table.get_symbols():
        if not (top or symbol.is_global()):
            continue
        if symbol.is_assigned() or symbol.is_imported():
            found.binds.add(symbol.get_name())
        if symbol.is_referenced():
            found.uses.add(symbol.get_name())
    for child in table.get_children():
        _scopes(child, found)


def _changed(tree):
    """Names whose objects may change: they call, are given to a call, are set."""
    found, left = set(), [tree]
    while left:
        node = left.pop()
        sets = isinstance(node, ast.Attribute | ast.Subscript)
        if isinstance(node, ast.Call) or sets and not isinstance(node.ctx, ast.Load):
            inside = ast.walk(node)  # once: calls inside this one add no other names
            found |= {part.id for part in inside if isinstance(part, ast.Name)}
        else:
            left += ast.iter_child_nodes(node)
    return found


def _is_hidden_way(node):
    if isinstance(node, ast.Name):
        return bool(HIDDEN_NAMES.fullmatch(node.id))
    if isinstance(node, ast.Attribute):
        return node.attr in HIDDEN_PARTS
    if isinstance(node, ast.Import | ast.ImportFrom):
        spelled = [getattr(node, "module", ""), *(alias.name for alias in node.names)]
        parts = {part for name in spelled for part in (name or "").split(".")}
        return bool(parts & HIDDEN_PARTS)
    return False


def _still_needed(cells, examples, known, set_up):
    """Of these examples, those that make or change what a later cell uses."""
    run = [cell.id for cell in cells if cell.id not in examples]
    made = set().union(*(known[name].binds for name in run if name not in set_up))
    found, used = set(), set()
    for cell in reversed(cells):
        mine = known[cell.id]
        if cell.id not in examples:
            used |= mine.uses
        elif mine.binds & used or mine.changes & used & made:
            found.add(cell.id)
    return found


def misses(result, notebook, left_out):
    """Whether something stopped for want of a name that a left out cell makes.

    Args:
        result: dict as `execute.run_notebook` gives it.
        notebook, left_out: what was run, and the ids of what was not.
    """
    outputs = [output for cell in result["cells"] for output in cell["outputs"]]
    seeds = [seed for found in result["evidence"].values() for seed in found.values()]
    errors = [record.get("error") for records in seeds for record in records]
    told = [output.get("evalue") for output in outputs]
    told += [error.get("message") for error in errors if isinstance(error, dict)]
    undefined = r"(?:name|variable) '(\w+)' is not defined"  # pandas says "variable"
    missing = set(re.findall(undefined, " ".join(map(str, told))))
    cells = [cell for cell in notebook.cells if cell.id in left_out]
    return any(names(cell, strict=False).binds & missing for cell in cells)
