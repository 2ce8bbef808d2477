"""Show a verdict: as text that needs nothing else, and as HTML for notebooks.

The HTML takes its colours from the page (light or dark) and never needs a colour to
be understood: every sign has a word beside it.
"""

import base64
import html
import re
import textwrap

import numpy as np

MIME = "application/vnd.course.verdict+json"  # for programs that read notebooks
FEW = 8  # up to so many numbers are written out
WIDTH = 80
SIGNS = {"kept": "✔", "broken": "✘", "not reached": "–"}
BOX = "border:1px solid;border-left-width:6px;border-radius:4px;padding:.5em 1em;"
CELL = "text-align:left;padding:.1em 1em .1em 0;vertical-align:top;"


def show(verdict):
    """Display a `Verdict` in a notebook, or print it where there is none."""
    display_bundle(
        as_text(verdict),
        **{"text/html": as_html(verdict), MIME: as_json(verdict)},
    )


def display_bundle(text, **formats):
    """Display `text` with richer formats beside it; print it outside IPython."""
    text, formats = _printable(text), {k: _printable(v) for k, v in formats.items()}
    if in_notebook():
        from IPython.display import display

        display({"text/plain": text, **formats}, raw=True)
    else:
        print(text)


def in_notebook():
    """Whether rich output can be displayed: in Jupyter, Colab and IPython."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return get_ipython() is not None


def _printable(value):
    """Text without lone surrogates, which no stream can take."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "backslashreplace").decode()


def as_json(verdict):
    """What a gradebook wants to know, in plain data."""
    return {
        "exercise": verdict.exercise,
        "points": verdict.points,
        "earned": verdict.earned,
        "attempted": verdict.attempted,
        "promises": {p.label: state(p) for p in verdict.promises},
        "diagnosis": [mistake["belief"] for mistake in verdict.diagnosis],
        "error": verdict.error["type"] if verdict.error else None,
    }


def state(promise):
    """One word for what became of a promise."""
    if promise.held:
        return "kept"
    return "broken" if promise.reached else "not reached"


def headline(verdict):
    """The one-line result: exercise, points, and whether it is solved."""
    points = f"{verdict.earned:g} of {verdict.points:g} points"
    if verdict.solved:
        return f"{SIGNS['kept']} {verdict.exercise} solved: {points}"
    if not verdict.attempted:
        return f"{SIGNS['not reached']} {verdict.exercise} not attempted yet: {points}"
    return f"{SIGNS['broken']} {verdict.exercise} not yet solved: {points}"


def advice(verdict):
    """What to try next, in one sentence."""
    ask = f'`hint("{verdict.exercise}")`'
    if verdict.solved:
        return ""
    if not verdict.attempted:
        return (
            "Replace `raise NotImplementedError()` in the cell above, run it, then run "
            f"this check again. {ask} gives you a start."
        )
    if verdict.diagnosis:
        return f"Mend this and run the check again; {ask} helps if you are stuck."
    broken = [p for p in verdict.promises if not p.held]
    if broken and broken[0].reached and not broken[0].error:
        return (
            f"Look at the first broken promise, “{broken[0].label}”: call your code on "
            f"a small input whose result you can work out by hand; or {ask}."
        )
    return f"Run your code on a small input of your own and watch it; or {ask}."


def trouble(verdict):
    """Sentences on an error that stopped the answer, or an empty list."""
    error = verdict.error
    if not error or not verdict.attempted:
        return []
    kind, message = error["type"], error["message"]
    if kind == "Undefined":
        names = " and ".join(f"`{name}`" for name in message.split(" and "))
        verb = "are" if " and " in message else "is"
        return [
            f"{names} {verb} not defined. Run the cell above, and look whether it "
            "stopped with an error."
        ]
    if kind == "LimitReached":
        return [f"Your code was stopped: it took {message}. Does a loop ever end?"]
    if kind in ("SystemExit", "KeyboardInterrupt"):
        why = "it asked Python to exit" if kind == "SystemExit" else "interrupted"
        return [f"Your code was stopped: {why}."]
    place = f" At {error['where']}: `{error['line']}`." if error.get("line") else ""
    if "NoneType" in message:
        place += f" Something is None: {_why_nothing(place + message)}"
    reason = f": {message.rstrip('.')}" if message else ""
    return [f"Your code stopped with {kind}{reason}.{place}"]


def _why_nothing(code):
    if re.search(r"grad|slope|tape|\bg\b", code):
        return "did a tape find no way to a variable, or did you return nothing?"
    return "did your function return its result?"


# Values


def brief(value):
    """A frozen value in one short line."""
    if value is None:
        return "None"
    if isinstance(value, str):
        return repr(value if len(value) < 60 else value[:57] + "...")
    if "shape" in value:
        return _brief_numbers(value)
    if "compare" in value:
        return brief(value["value"])
    if "dict" in value:
        items = [f"{key}: {brief(item)}" for key, item in value["dict"].items()]
        return "{" + _first(items, 6) + "}"
    if "list" in value:
        return "[" + _first([brief(item) for item in value["list"]], 6) + "]"
    return value["not data"]


def _first(items, most):
    return ", ".join(items[:most]) + (", ..." if len(items) > most else "")


def _brief_numbers(value):
    numbers = [_number(number) for number in value["data"]]
    if not value["shape"]:
        return numbers[0]
    text = "[" + _first(numbers, FEW) + "]"
    if len(value["shape"]) == 1 and len(numbers) <= FEW:
        return text
    return f"shape {tuple(value['shape'])}: {text}"


def _number(number):
    return f"{number:.5g}" if isinstance(number, float) else str(number)


def comparison(promise):
    """Rows of (what, text) for a broken promise: given, yours, expected, difference."""
    rows = []
    if promise.given is not None:
        rows.append(("given", brief(promise.given).strip("{}")))
    if _is_pair(promise.expected) and _is_pair(promise.yours) and not promise.error:
        return [*rows, *_pair_rows(promise)]
    if promise.error:
        rows.append(("yours", f"{promise.error['type']}: {promise.error['message']}"))
    elif promise.yours is None:
        rows.append(("yours", f"None: {_why_none(promise.label)}"))
    else:
        rows.append(("yours", brief(promise.yours)))
    rows.append(("expected", brief(promise.expected)))
    if not promise.error and len(promise.difference.split()) > 2:
        rows.append(("difference", promise.difference + _worst(promise)))
    return rows


def remark(promise, verdict):
    """Words behind a promise: kept for free, or broken by an earlier error; else ""."""
    if promise.held and promise.is_free and not verdict.solved:
        return " (counts once the others are kept)"
    if not promise.error:
        return ""
    before = verdict.promises[: verdict.promises.index(promise)]
    errors = [earlier.error for earlier in before if earlier.error]
    if any(_same_error(error, promise.error) for error in errors):
        return " (stopped by the same error)"
    # The check reads what the answer should have made, and that was never made.
    missing = promise.error["type"] == "KeyError"
    if errors and missing and promise.error.get("where") == "the check":
        return " (nothing is there, after that error)"
    return ""


def _same_error(one, other):
    return all(one[part] == other[part] for part in ("type", "message"))


def _is_pair(value):
    return isinstance(value, dict) and value.get("compare") == "equal or not"


def _pair_rows(promise):
    """Of two values that should, or should not, be equal: what both are."""
    first, second = (brief(side) for side in promise.yours["value"]["list"])
    if first == second:
        return [("yours", f"twice {first}"), ("problem", promise.difference)]
    return [("yours", f"{first} and {second}"), ("problem", promise.difference)]


def _why_none(label):
    if re.search("gradient|slope|tape", label):
        return (
            "no gradient gets there; NumPy code or `stop_gradient` cuts the path, or "
            "nothing is watched"
        )
    return "did you forget to return something?"


def _worst(promise):
    """Where the two arrays are furthest apart, as a clause."""
    pair = _pair(promise)
    if pair is None:
        return ""
    yours, expected = pair
    distance = np.abs(yours - expected)
    distance[np.isnan(yours) != np.isnan(expected)] = np.inf
    place = int(np.nanargmax(distance))
    where = np.unravel_index(place, promise.expected["shape"])
    index = ", ".join(str(int(part)) for part in where)
    return (
        f", most at [{index}]: {_number(float(yours[place]))} instead of "
        f"{_number(float(expected[place]))}"
    )


def _pair(promise):
    """Both sides as flat arrays where they are numbers of one shape, else None."""
    both = promise.yours, promise.expected
    if not all(isinstance(value, dict) and "shape" in value for value in both):
        return None
    if both[0]["shape"] != both[1]["shape"] or len(both[0]["data"]) < 2:
        return None
    yours, expected = (np.array(value["data"], dtype=float) for value in both)
    known = np.isfinite(yours) & np.isfinite(expected)
    return (yours, expected) if known.any() else None


def picture(promise):
    """An SVG of many numbers, yours beside the expected: `(svg, alt text)` or None."""
    pair = _pair(promise)
    if pair is None or len(pair[0]) <= FEW:
        return None
    yours, expected = (np.nan_to_num(side[:64], posinf=0, neginf=0) for side in pair)
    low = min(yours.min(), expected.min())
    high = max(yours.max(), expected.max())
    scale = (high - low) or 1.0

    def points(numbers):
        return [
            (round(8 + 284 * i / (len(numbers) - 1), 1), round(72 - 64 * y / scale, 1))
            for i, y in enumerate(numbers - low)
        ]

    line = " ".join(f"{x},{y}" for x, y in points(expected))
    dots = "".join(
        f'<circle cx="{x}" cy="{y}" r="2.5" fill="none" stroke="#ee7733"/>'
        for x, y in points(yours)
    )
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="80">'
        f'<polyline points="{line}" fill="none" stroke="#3366aa" stroke-width="1.5"/>'
        f"{dots}</svg>"
    )
    alt = f"Expected (line) and yours (circles): {promise.difference}{_worst(promise)}."
    return svg, alt


# Text


def as_text(verdict):
    """The whole verdict as text of at most 80 columns."""
    lines = [headline(verdict)]
    for mistake in verdict.diagnosis:
        lines += ["", *_wrapped(f"You assumed: {mistake['belief']}.")]
        lines += _wrapped(mistake["explanation"], "  ")
    if verdict.diagnosis and verdict.more_wrong:
        lines += ["", "Something else is wrong, too: see the promises."]
    lines += [""] if verdict.diagnosis else []
    for promise in verdict.promises:
        lines += _promise_lines(promise, verdict)
    for sentence in trouble(verdict):
        lines += ["", *_wrapped(sentence)]
    lines += _log_lines(verdict)
    if advice(verdict):
        lines += ["", *_wrapped("Next: " + advice(verdict))]
    return "\n".join(lines)


def _promise_lines(promise, verdict):
    if not verdict.attempted:
        return [f"  - {promise.label}"]
    what = state(promise)
    same = remark(promise, verdict)
    lines = [f"  {SIGNS[what]} {what}: {promise.label}{same}"]
    if what == "broken" and not same:
        for name, text in comparison(promise):
            lines += _wrapped(f"{name + ':':<12}{text}", "      ", " " * 18)
    return lines


def _log_lines(verdict):
    lines = []
    if verdict.log.get("warned") and not verdict.solved:
        lines += [
            "",
            *_wrapped("Your code warned: " + " / ".join(verdict.log["warned"])),
        ]
    if verdict.log.get("printed") and not verdict.solved:
        lines += ["", "Your code printed:", *verdict.log["printed"].split("\n")[:20]]
    return lines


def _wrapped(text, indent="", rest=None):
    lines = []
    for paragraph in text.split("\n\n"):
        lines += textwrap.wrap(
            " ".join(paragraph.split()),
            WIDTH,
            initial_indent=indent,
            subsequent_indent=indent if rest is None else rest,
            break_on_hyphens=False,
        ) or [""]
    return lines


# HTML


def as_html(verdict):
    """The whole verdict as one HTML element."""
    items = "".join(_promise_html(promise, verdict) for promise in verdict.promises)
    parts = [f"<strong>{html.escape(headline(verdict))}</strong>"]
    for mistake in verdict.diagnosis:
        parts.append(
            f"<p><strong>You assumed: {inline(mistake['belief'])}.</strong><br>"
            f"{inline(mistake['explanation'])}</p>"
        )
    if verdict.diagnosis and verdict.more_wrong:
        parts.append("<p>Something else is wrong, too: see the promises.</p>")
    parts.append(
        f'<ul style="list-style:none;padding-left:.5em;margin:.4em 0">{items}</ul>'
    )
    parts += [f"<p>{inline(sentence)}</p>" for sentence in trouble(verdict)]
    parts += _log_html(verdict)
    if advice(verdict):
        parts.append(f"<p>Next: {inline(advice(verdict))}</p>")
    return f'<div role="status" style="{BOX}">{"".join(parts)}</div>'


def _promise_html(promise, verdict):
    if not verdict.attempted:
        return f"<li>– {html.escape(promise.label)}</li>"
    what = state(promise)
    same = remark(promise, verdict)
    text = f"{SIGNS[what]} {what}: {html.escape(promise.label + same)}"
    shown = what == "broken" and not same
    return f"<li>{text}{_comparison_html(promise) if shown else ''}</li>"


def _comparison_html(promise):
    rows = "".join(
        f'<tr><th scope="row" style="{CELL}">{name}</th>'
        f'<td style="{CELL}font-family:monospace">{html.escape(text)}</td></tr>'
        for name, text in comparison(promise)
    )
    table = f'<table style="margin:.2em 0 .4em 1.2em">{rows}</table>'
    drawn = picture(promise)
    if drawn is None:
        return table
    data = base64.b64encode(drawn[0].encode()).decode()
    return (
        f'{table}<img alt="{html.escape(drawn[1])}" style="margin-left:1.2em" '
        f'src="data:image/svg+xml;base64,{data}"><br><small style="margin-left:1.2em">'
        "line: expected, circles: yours</small>"
    )


def _log_html(verdict):
    parts = []
    if verdict.log.get("warned") and not verdict.solved:
        warned = " / ".join(verdict.log["warned"])
        parts.append(f"<p>Your code warned: {html.escape(warned)}</p>")
    if verdict.log.get("printed") and not verdict.solved:
        printed = html.escape(verdict.log["printed"])
        parts.append(
            "<details><summary>Your code printed</summary>"
            f'<pre style="max-height:12em;overflow:auto">{printed}</pre></details>'
        )
    return parts


def inline(text):
    """Escaped text with `code`, **strong** and line breaks as HTML."""
    text = html.escape(text)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
    return text.replace("\n\n", "<br><br>").replace("\n", " ")
