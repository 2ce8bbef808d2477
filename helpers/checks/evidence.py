"""Run a check's evidence on an answer and turn what it yields into plain data.

Evidence is a generator function. Its parameters are the names a learner defines, and
`rng`. It yields `label, value` or `label, value, given`; `value` may be a function
without arguments, so that an error there costs that one promise alone.
Nothing here knows what is right: that is the job of `judge`.
"""

import inspect
import linecache
import re
import traceback
from dataclasses import dataclass

import numpy as np

from helpers.checks.limits import LimitReached, is_cell, limits
from helpers.checks.quiet import quiet

MOST_NUMBERS = 100_000
MOST_PROMISES = 100
# What TensorFlow writes around the reason of an error: where in its graph it arose
NOISE = (
    r"\{\{function_node \S*\}\} ?"
    r"|Error in user-defined function passed to \S+ transformation"
    r" with iterator: \S+: "
    r"|\[\[\{\{node [^]]*\]\]"
    r"|\[Op:IteratorGetNext\]| name: $"
)


@dataclass(frozen=True)
class AnyOrder:
    """Evidence that is judged by its rows, in whatever order they come."""

    value: object


@dataclass(frozen=True)
class EqualOrNot:
    """Evidence of which only counts whether its two sides are equal to each other.

    For what is random by right: the reference's two sides say which of both it must be.
    """

    first: object
    second: object


def freeze(value):
    """Plain data (None, str, dicts) for anything that evidence may yield.

    Numbers, arrays, tensors and regular nested lists of numbers become
    `{"shape": [...], "kind": "i" or "f", "data": [...]}`; other lists and dicts keep
    their structure. What cannot be evidence becomes `{"not data": why}`.
    """
    if value is None or isinstance(value, str):
        return value if value is None else str.__str__(value)
    if isinstance(value, AnyOrder):
        return {"compare": "any order", "value": freeze(value.value)}
    if isinstance(value, EqualOrNot):
        both = [freeze(value.first), freeze(value.second)]
        return {"compare": "equal or not", "value": {"list": both}}
    if isinstance(value, dict):
        return _freeze_dict(value)
    if isinstance(value, (list, tuple)):
        return _freeze_list(value)
    return _freeze_array(value)


def _freeze_dict(value):
    if len(value) > MOST_NUMBERS:
        return {"not data": f"a dict with {len(value):,} entries"}
    return {"dict": {str(key): freeze(value[key]) for key in sorted(value, key=str)}}


def _freeze_list(value):
    if len(value) > MOST_NUMBERS:
        return {"not data": f"a list with {len(value):,} entries"}
    items = [freeze(item) for item in value]
    shapes = [item.get("shape") if isinstance(item, dict) else None for item in items]
    if items and shapes[0] is not None and all(shape == shapes[0] for shape in shapes):
        return _stack(items)
    return {"list": items}


def _stack(items):
    kind = "f" if any(item["kind"] == "f" for item in items) else "i"
    data = [number for item in items for number in item["data"]]
    if len(data) > MOST_NUMBERS:
        return {"not data": f"a list with {len(data):,} numbers"}
    return {"shape": [len(items), *items[0]["shape"]], "kind": kind, "data": data}


def _freeze_array(value):
    array = _to_numpy(value)
    if array is None:
        return {"not data": _describe(value)}
    if array.size > MOST_NUMBERS:
        size = array.nbytes / 2**20
        return {"not data": f"an array of shape {array.shape} ({size:,.0f} MB)"}
    if array.dtype.kind in "biu":
        kind, data = "i", array.astype(int).ravel().tolist()
    elif array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        numbers = array.astype("float64").ravel()
        kind, data = "f", [float(f"{number:.9g}") for number in numbers]
    elif array.dtype.kind == "U":
        return {"list": array.ravel().tolist()} if array.ndim else str(array)
    else:
        return {"not data": f"an array with entries of type {array.dtype}"}
    return {"shape": list(array.shape), "kind": kind, "data": data}


def _to_numpy(value):
    """A NumPy array for a number, array, tensor, variable or pandas object, or None."""
    if isinstance(value, (bool, int, float, np.ndarray, np.generic)):
        try:
            return np.asarray(value)
        except (ValueError, OverflowError):
            return None
    if hasattr(value, "__array__") or hasattr(value, "numpy"):
        try:
            return np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        except Exception:  # a symbolic tensor, a sparse one: no numbers in it
            return None
    return None


def _describe(value):
    if inspect.isgenerator(value):
        return "a generator"
    if callable(value):
        return f"the {type(value).__name__} {getattr(value, '__name__', '')}".strip()
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name} object"


def run(evidence, seed, names=None, seconds=20.0):
    """Evidence of the answer that `names` holds, for one seed.

    Args:
        evidence: the generator function.
        seed: int, makes the `rng` that the evidence draws its inputs from.
        names: dict from a learner's name to what they defined; by default the
            globals of `evidence`, that is, the notebook.
        seconds: time limit for the whole run.

    Returns:
        A list of dicts, one per promise: `label`, `value` (see `freeze`) or `error`
        (`type`, `message`, `where`, `line`), and `given` where the evidence says it.
        The last record has no `label` where the evidence stopped between two promises.
    """
    return run_logged(evidence, seed, names, seconds)[0]


def run_logged(evidence, seed, names=None, seconds=20.0):
    """As `run`, with what the answer printed and warned: `(records, log)`."""
    names = evidence.__globals__ if names is None else names
    arguments, missing = {}, []
    for name in inspect.signature(evidence).parameters:
        if name == "rng":
            arguments[name] = np.random.default_rng(seed)
        elif name in names:
            arguments[name] = names[name]
        else:
            missing.append(name)
    if missing:
        return [{"error": {"type": "Undefined", "message": " and ".join(missing)}}], {}
    with quiet(seed) as log:
        records = _collect(evidence, arguments, seconds)
    return records, log


def _collect(evidence, arguments, seconds):
    records = []
    own_file = evidence.__code__.co_filename
    try:
        with limits(seconds):
            for promise in evidence(**arguments):
                records.append(_record(promise, own_file))
                if len(records) == MOST_PROMISES:
                    break
    except BaseException as error:  # SystemExit and Ctrl-C are verdicts, too
        records.append({"error": describe_error(error, own_file)})
    return records


def _record(promise, own_file):
    label, value, *rest = promise
    record = {"label": label}
    if rest:
        record["given"] = freeze(rest[0])
    try:
        if _is_own_function(value, own_file):
            value = value()
        record["value"] = freeze(value)
    except (LimitReached, KeyboardInterrupt):
        raise
    except BaseException as error:
        record["error"] = describe_error(error, own_file)
    return record


def _is_own_function(value, own_file):
    """Whether the check wrote this function to be called, not the answer."""
    return inspect.isfunction(value) and value.__code__.co_filename == own_file


def describe_error(error, own_file=""):
    """An exception in plain data: type, message, and the learner's own line."""
    where, line = _own_line(error, own_file)
    return {
        "type": type(error).__name__,
        "message": _message(error),
        "where": where,
        "line": line,
    }


def _message(error):
    try:
        text = str(error)
    except Exception:  # an exception class of the learner's that cannot be printed
        text = ""
    text = re.sub(r"\x1b\[[0-9;]*m|" + NOISE, "", text)
    paragraphs = text.strip().split("\n\n")
    if paragraphs[0].startswith("Exception encountered when calling"):
        paragraphs = paragraphs[1:] or paragraphs  # Keras says the reason below
    if paragraphs[0].startswith("in user code"):
        paragraphs = paragraphs[-1:]  # inside tf.function: the reason comes last
    return " ".join(paragraphs[0].split())[:300]


def _own_line(error, own_file):
    """Line number and text of the innermost line that the learner wrote."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_cell(frame.filename)]
    answer = [frame for frame in own if frame.filename != own_file]
    if answer:
        frame = answer[-1]
        return f"line {frame.lineno} of your cell", _source(frame)
    if own:
        return "the check", _source(own[-1])
    return "", ""


def _source(frame):
    return (frame.line or linecache.getline(frame.filename, frame.lineno)).strip()
