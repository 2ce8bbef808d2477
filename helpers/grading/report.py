"""A lesson's report for the teacher: one HTML page that needs no network, no scripts.

Figures, with n submissions that were read:

- share of points: the mean over all submissions, an item's difficulty (1 is easiest);
- discrimination: Pearson correlation between an exercise's points and the sum of all
  others (corrected item-rest correlation; Henrysson 1963). Near 0 or below, good and
  weak submissions fare alike: look at the exercise.
"""

import html
from collections import Counter, defaultdict
from pathlib import Path
from urllib.parse import quote

import numpy as np

from helpers.checks.show import inline
from helpers.grading.marking import trouble_of, with_persons_points
from helpers.grading.store import folder_of, read_json, write_text

FEW = 30  # submissions below which the figures are hardly more than noise
FEWER = 5  # below which they are not shown: they would tell of single students
STATES = (
    "right",
    "wrong",
    "not attempted",
    "crashed",
    "out of time",
    "out of memory",
    "damaged",
    "tampered",
    "our fault",
    "marked by hand",
)
CUT_SHORT = STATES[STATES.index("crashed") : STATES.index("our fault") + 1]
STYLE = """\
body{font:16px/1.5 system-ui,sans-serif;max-width:64em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:.5em 0 1.5em}caption{text-align:left}
th,td{text-align:left;padding:.2em 1em .2em 0;vertical-align:top}
td.number,th.number{text-align:right}tbody tr{border-top:1px solid #ccc}
svg text{font:12px system-ui,sans-serif}.note{color:#555}"""


def write(course, lesson):
    """Write `report/LESSON.html` into a class folder; returns its path.

    Args:
        lesson: a `script.Lesson`.
    """
    path = Path(course, "report", f"{lesson.name}.html")
    write_text(path, page(lesson, found(course, lesson)))
    return path


def found(course, lesson):
    """What is known of each submission: dict from student to (result, verdicts)."""
    pairs = {}
    for path in sorted(folder_of(course, lesson.name, "results").glob("*.json")):
        verdicts = read_json(folder_of(course, lesson.name, "verdicts", path.name))
        result = read_json(path)
        if result and verdicts:
            state, reason = trouble_of(result, verdicts) or ("ran", "")
            by_hand = (verdicts.get("kept") or {}).get("by_hand") or {}
            told = {**result, "state": state, "reason": reason, "by_hand": by_hand}
            pairs[path.stem] = told, with_persons_points(verdicts)
    return pairs


def page(lesson, pairs):
    """The report as HTML."""
    title = html.escape(f"{lesson.number} {lesson.title}")
    if not pairs:
        body = "<p>Nothing has been graded yet: run <code>course grade</code>.</p>"
    else:
        parts = (_summary, _distribution, _exercises, _misconceptions, _first, _marks)
        body = "".join(part(lesson, pairs) for part in parts)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>\n"
    )


def points(pairs, name=None):
    """Points per submission: of one exercise, or of all checked ones together."""
    return np.array(
        [
            sum(one["earned"] for key, one in verdicts.items() if name in (None, key))
            for _, verdicts in pairs.values()
        ]
    )


def discrimination(pairs, name):
    """Corrected item-rest correlation, or None where nobody differs."""
    mine = points(pairs, name)
    rest = points(pairs) - mine
    if len(mine) < 3 or mine.std() == 0 or rest.std() == 0:
        return None
    return float(np.corrcoef(mine, rest)[0, 1])


def _summary(lesson, pairs):
    most = sum(exercise.check.points for exercise in lesson.exercises)
    all_points, count = points(pairs), len(pairs)
    states = Counter(result["state"] for result, _ in pairs.values())
    told = ", ".join(f"{number} {state}" for state, number in states.most_common())
    few = ""
    if count < FEWER:
        few = f"with fewer than {FEWER} submissions these two stay empty."
    elif count < FEW:
        few = f"with fewer than {FEW} submissions both are rough."
    if few:
        told_of = "Share of points (difficulty) and discrimination: "
        few = f'<p class="note">{told_of}{few}</p>'
    return (
        f"<p>{count} submissions ({told}). Checked exercises: median "
        f"{_number(np.median(all_points))} of {most:g} points, from "
        f"{_number(all_points.min())} to {_number(all_points.max())}. Written "
        f"answers are not in these figures.</p>{few}"
    )


def _number(points):
    return f"{round(float(points), 2):g}"


def _distribution(lesson, pairs):
    """A histogram as SVG with its counts in words."""
    most = sum(exercise.check.points for exercise in lesson.exercises)
    edges = np.linspace(0, most, 11)
    counts, _ = np.histogram(points(pairs), edges)
    high = max(counts.max(), 1)
    bars = "".join(
        f'<rect x="{40 + 44 * k}" y="{110 - 90 * n / high:.1f}" width="38" '
        f'height="{90 * n / high:.1f}" fill="#3366aa"/>'
        f'<text x="{59 + 44 * k}" y="{105 - 90 * n / high:.1f}" '
        f'text-anchor="middle">{n}</text>'
        for k, n in enumerate(counts)
    )
    bars += "".join(
        f'<text x="{37 + 44 * k}" y="126" text-anchor="middle">{edge:.3g}</text>'
        for k, edge in enumerate(edges)
    )
    told = "; ".join(
        f"{n} with {edges[k]:.3g} to {edges[k + 1]:.3g} points"
        for k, n in enumerate(counts)
        if n
    )
    return (
        '<h2>Points</h2><svg viewBox="0 0 500 135" width="500" role="img" '
        f'aria-label="Submissions by points: {told}.">{bars}</svg>'
    )


def _exercises(lesson, pairs):
    heads = ("exercise", "share of points", "discrimination", *STATES)
    rows = []
    for exercise in lesson.exercises:
        states = Counter(v[exercise.name]["state"] for _, v in pairs.values())
        share = points(pairs, exercise.name).mean() / exercise.check.points
        told = discrimination(pairs, exercise.name)
        shown = len(pairs) >= FEWER
        rows.append(
            (
                exercise.name,
                f"{share:.2f}" if shown else "–",
                f"{told:.2f}" if shown and told is not None else "–",
                *(states[state] or "" for state in STATES),
            )
        )
    used = [0, 1, 2, *(k for k in range(3, len(heads)) if any(row[k] for row in rows))]
    return "<h2>Exercises</h2>" + _table(
        [heads[k] for k in used], [[row[k] for k in used] for row in rows]
    )


def _table(heads, rows):
    """An HTML table; strings are escaped, `Raw` ones are not."""
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Raw(str):
    """Text that is HTML already."""


def _cell(value):
    return value if isinstance(value, Raw) else html.escape(str(value))


def _link(lesson, student, name=""):
    """A link to a student's feedback, at the check of an exercise."""
    place = f"#check-{name}" if name else ""
    path = f"../feedback/{quote(student)}/{lesson.name}/{lesson.name}.html{place}"
    return f'<a href="{path}">{html.escape(student)}</a>'


def _misconceptions(lesson, pairs):
    cases = defaultdict(list)
    for student, (_, verdicts) in pairs.items():
        for name, one in verdicts.items():
            for belief in one["diagnosis"]:
                cases[name, belief].append(student)
    if not cases:
        return ""
    ordered = sorted(cases.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = [
        (
            len(students),
            Raw(inline(belief)),
            name,
            Raw(" ".join(_link(lesson, student, name) for student in students)),
        )
        for (name, belief), students in ordered
    ]
    return "<h2>Misconceptions</h2>" + _table(
        ("how often", "belief", "exercise", "who"), rows
    )


def _first(lesson, pairs):
    """Submissions that a person should look at first, and why."""
    rows = []
    for student, (result, verdicts) in pairs.items():
        why = [*result["flags"]]
        if result["state"] != "ran":
            why.insert(0, f"{result['state']}: {result['reason']}")
        why += [
            f"{name} {one['state']}"
            for name, one in verdicts.items()
            if one["state"] in CUT_SHORT
        ]
        if why:
            rows.append((Raw(_link(lesson, student)), "; ".join(why[:5])))
    if not rows:
        return ""
    return "<h2>Look at these first</h2>" + _table(("who", "why"), rows)


def _marks(lesson, pairs):
    """Points of every check and of every answer that a person reads."""
    names = [exercise.name for exercise in lesson.exercises]
    read = [cell.name for cell in lesson.cells if cell.role == "answer"]
    rows = []
    for student, (result, verdicts) in pairs.items():
        checked = [verdicts[name]["earned"] for name in names]
        written = [_written(result["by_hand"].get(name)) for name in read]
        total = sum(checked) + sum(number or 0 for number in written)
        shown = ["–" if number is None else _number(number) for number in written]
        told = [*map(_number, checked), *shown, _number(total)]
        rows.append((Raw(_link(lesson, student)), *told))
    return "<h2>Marks</h2>" + _table(("who", *names, *read, "in all"), rows)


def _written(given):
    """Points that a person gave to a written answer; None while nobody has read it."""
    if not given or given["points"] is None:
        return None
    return given["points"] + (given["extra"] or 0)
