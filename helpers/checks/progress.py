"""The learner's own progress, in one small local file beside the lesson folders."""

import html
import json
import os
import re
from pathlib import Path

from helpers.checks.keys import lesson_key, lesson_names
from helpers.checks.show import CELL, display_bundle

FILE = ".course_progress.json"
memory = {}  # what this session knows, wherever the file cannot be read or written


def progress_file():
    """Where progress is kept: `COURSE_PROGRESS`, or beside the lesson folders.

    Returns:
        A path, or None where `COURSE_PROGRESS=off` asks to keep nothing.
    """
    wish = os.environ.get("COURSE_PROGRESS")
    if wish == "off":
        return None
    if wish:
        return Path(wish)
    here = Path.cwd()
    in_lesson = re.match(r"\d\d_", here.name)
    return (here.parent if in_lesson else here) / FILE


def load():
    """All records by exercise; a damaged or missing file costs nothing but memory."""
    records = _read(progress_file())
    for name, record in memory.items():
        records[name] = _merged(records.get(name, {}), record)
    return records


def _read(path):
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        return {name: _valid(record) for name, record in records.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return {}


def _valid(record):
    return {name: float(record[name]) for name in ("earned", "tries", "hints", "seen")}


def _merged(old, new):
    return {name: max(old.get(name, 0.0), new[name]) for name in new}


def remember(exercise, earned=0.0, tries=0, hints=0, seen=0):
    """Record points (the best count), tries, hints read and a solution seen."""
    records = load()
    old = records.get(exercise, {})
    records[exercise] = memory[exercise] = {
        "earned": max(old.get("earned", 0.0), float(earned)),
        "tries": old.get("tries", 0.0) + tries,
        "hints": max(old.get("hints", 0.0), float(hints)),
        "seen": max(old.get("seen", 0.0), float(seen)),
    }
    _write(progress_file(), records)


def _write(path, records):
    """Write by renaming, so that a crash never leaves half a file."""
    if path is None:
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(records, indent=1), encoding="utf-8")
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True) if os.access(path.parent, os.W_OK) else None


def progress(lesson=""):
    """Show exercises with their state and points, the sum, and what is next.

    Args:
        lesson: number of a lesson, as in "01"; all of them by default.
    """
    records = load()
    names = [name for name in lesson_names() if name.startswith(str(lesson))]
    lessons = [lesson_key(name) for name in names]
    rows = [_row(entry, records) for key in lessons for entry in key["exercises"]]
    earned, points = sum(row[2] for row in rows), sum(row[3] for row in rows)
    upcoming = next((row for row in rows if row[1] != "solved"), None)
    last = (
        f"Next: {upcoming[0]}, {upcoming[4]}." if upcoming else "All exercises solved."
    )
    total = f"{earned:g} of {points:g} points."
    display_bundle(_text(rows, total, last), **{"text/html": _html(rows, total, last)})


def _row(entry, records):
    record = records.get(entry["id"])
    minutes = f"{entry['minutes']} minutes"
    earned = min(record["earned"], entry["points"]) if record else 0.0
    return entry["id"], _state(record, entry), earned, entry["points"], minutes


def _state(record, entry):
    if not record or not (record["tries"] or record["hints"] or record["seen"]):
        return "open"
    solved = record["earned"] >= entry["points"]
    state = "solved" if solved else "started"
    return state + (", solution seen" if record["seen"] and not solved else "")


def _text(rows, total, last):
    width = max(len(row[0]) for row in rows) if rows else 0
    lines = [
        f"{name:<{width}}  {state:<8} {earned:>5g} / {points:g}"
        for name, state, earned, points, _ in rows
    ]
    return "\n".join([*lines, "", total, last])


def _html(rows, total, last):
    signs = {"solved": "✔", "started": "✘", "open": "–"}
    body = "".join(
        f'<tr><td style="{CELL}">{html.escape(name)}</td>'
        f'<td style="{CELL}">{signs[state.split(",")[0]]} {state}</td>'
        f'<td style="{CELL}">{earned:g} / {points:g}</td></tr>'
        for name, state, earned, points, _ in rows
    )
    return (
        "<table><caption>Your progress</caption><thead><tr>"
        f'<th scope="col" style="{CELL}">exercise</th>'
        f'<th scope="col" style="{CELL}">state</th>'
        f'<th scope="col" style="{CELL}">points</th></tr></thead>'
        f"<tbody>{body}</tbody></table><p>{total} {last}</p>"
    )
