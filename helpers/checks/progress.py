"""The learner's own progress, in one small local file beside the lesson folders."""

import html
import json
import os
import re
from pathlib import Path

from helpers.checks.keys import lesson_key, lesson_names
from helpers.checks.show import CELL, SIGNS, display_bundle

NO_KEYS = "No lesson is installed here, so there is no progress to show."
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
    """Show what is solved, the points, and what is next.

    Args:
        lesson: number of a lesson, as in "01", for its exercises one by one; by default
            all lessons, one in a line.
    """
    records = load()
    keys = [lesson_key(name) for name in lesson_names()]
    chosen = [key for key in keys if key["lesson"].startswith(str(lesson))]
    if not chosen:
        known = ", ".join(key["lesson"][:2] for key in keys)
        print(f"There is no lesson {lesson}; there are {known}." if keys else NO_KEYS)
        return
    rows = [row for key in chosen for row in rows_of(key, records)]
    if lesson:
        table = [
            (name, state, earned, points) for name, state, earned, points, _ in rows
        ]
    else:
        table = [_lesson_line(key, lesson_sums(key, records)) for key in chosen]
    text = _last_lines(rows)
    display_bundle(_text(table, text), **{"text/html": _html(table, text)})


def rows_of(key, records):
    """A lesson's exercises: tuples (id, state, points earned, points, minutes)."""
    return [_row(entry, records) for entry in key["exercises"]]


def lesson_sums(key, records):
    """What became of one lesson, as a dict of numbers.

    Returns:
        `exercises`, `solved`, `earned`, `points`, `minutes` of what is not solved yet,
        and whether the lesson is `started`.
    """
    rows = rows_of(key, records)
    return {
        "exercises": len(rows),
        "solved": sum(row[1] == "solved" for row in rows),
        "earned": sum(row[2] for row in rows),
        "points": sum(row[3] for row in rows),
        "minutes": sum(row[4] for row in rows if row[1] != "solved"),
        "started": any(row[1] != "open" for row in rows),
    }


def _lesson_line(key, sums):
    state = f"{sums['solved']} of {sums['exercises']} solved"
    if sums["minutes"]:
        state += f", about {_hours(sums['minutes'])} to go"
    return f"{key['lesson'][:2]} {key['title']}", state, sums["earned"], sums["points"]


def _hours(minutes):
    return f"{minutes} min" if minutes < 60 else f"{minutes / 60:.1f} h"


def _last_lines(rows):
    earned, points = (sum(row[column] for row in rows) for column in (2, 3))
    upcoming = next((row for row in rows if row[1] != "solved"), None)
    last = (
        f"Next: {upcoming[0]}, {upcoming[4]} minutes."
        if upcoming
        else "All exercises solved. A written question is read by your teacher."
    )
    return f"{earned:g} of {points:g} points. {last}"


def _row(entry, records):
    record = records.get(entry["id"])
    earned = min(record["earned"], entry["points"]) if record else 0.0
    state = _state(record, entry)
    return entry["id"], state, earned, entry["points"], entry["minutes"]


def _state(record, entry):
    if not record or not (record["tries"] or record["hints"] or record["seen"]):
        return "open"
    solved = record["earned"] >= entry["points"]
    state = "solved" if solved else "started"
    return state + (", solution seen" if record["seen"] and not solved else "")


def _text(table, last):
    wide, state_wide = (max(len(row[column]) for row in table) for column in (0, 1))
    lines = [
        f"{name:<{wide}}  {state:<{state_wide}}  {earned:>5g} / {points:g}"
        for name, state, earned, points in table
    ]
    return "\n".join([*lines, "", last])


def _html(table, last):
    body = "".join(
        f'<tr><td style="{CELL}">{html.escape(name)}</td>'
        f'<td style="{CELL}">{_sign(earned, points, state)} {state}</td>'
        f'<td style="{CELL}"><progress max="{points:g}" value="{earned:g}" '
        f'aria-hidden="true" style="width:6em"></progress></td>'
        f'<td style="{CELL}">{earned:g} / {points:g}</td></tr>'
        for name, state, earned, points in table
    )
    return (
        "<table><caption>Your progress</caption><thead><tr>"
        + "".join(
            f'<th scope="col" style="{CELL}">{head}</th>'
            for head in ("what", "state", "", "points")
        )
        + f"</tr></thead><tbody>{body}</tbody></table><p>{last}</p>"
    )


def _sign(earned, points, state):
    if earned >= points:
        return SIGNS["kept"]
    return SIGNS["broken" if earned or state.startswith("started") else "not reached"]
