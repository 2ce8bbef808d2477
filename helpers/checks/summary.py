"""A page that a learner may keep: what is solved, and what they can do now."""

import datetime
import html
from pathlib import Path

from helpers.checks.keys import lesson_key, lesson_names
from helpers.checks.progress import lesson_sums, load, progress_file, rows_of
from helpers.checks.show import SIGNS, inline

FILE = "course_summary.html"
STYLE = """\
body{font:16px/1.5 system-ui,sans-serif;max-width:46em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.2em .8em .2em 0}
td.number{text-align:right;white-space:nowrap}h2{margin:1.6em 0 .3em}
progress{width:9em}footer{margin-top:3em;font-size:.9em}
@media print{body{margin:0}h2{break-after:avoid}}"""
FOOTER = (
    "Made from this learner's own file of results. It is a record to look back at, not "
    "a certificate: nobody else has checked it, and written answers are not in it."
)


def summary(name="", file=FILE):
    """Write a page of all that you have solved, to keep, print or show.

    Args:
        name: your name, if it shall stand on the page.
        file: where to write it, beside the lesson folders; another folder if the path
            is absolute. The page needs no network and no scripts.
    """
    progress = progress_file()
    path = (progress.parent if progress else Path.cwd()) / file
    try:
        path.write_text(page(name), encoding="utf-8")
    except OSError as error:
        print(
            f"The page could not be written to {file} ({error.strerror}). Name a file "
            'in a folder that exists and is yours: summary(file="my_page.html").'
        )
        return
    place = "beside the lesson folders" if progress else "in this notebook's folder"
    print(f"Written: {path.name}, {place}. Open it in a browser.")


def page(name=""):
    """The whole page as HTML.

    Args:
        name: text, shown as it is.
    """
    records = load()
    lessons = [lesson_key(lesson) for lesson in lesson_names()]
    sums = [lesson_sums(key, records) for key in lessons]
    earned, points = (sum(row[k] for row in sums) for k in ("earned", "points"))
    solved, count = (sum(row[k] for row in sums) for k in ("solved", "exercises"))
    title = "From fit() to GradientTape"
    whose = f"<p><strong>{html.escape(name)}</strong></p>" if name else ""
    body = "".join(
        _lesson(key, row, records) for key, row in zip(lessons, sums, strict=True)
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}'
        f'</title><meta name="viewport" content="width=device-width">'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>{whose}"
        f"<p>{datetime.date.today():%d %B %Y}: {solved} of {count} exercises solved, "
        f"{earned:g} of {points:g} points.</p>{_overview(lessons, sums)}{body}"
        f"<footer>{FOOTER}</footer></body></html>\n"
    )


def _overview(lessons, sums):
    rows = "".join(
        f'<tr><th scope="row">{key["lesson"][:2]} {html.escape(key["title"])}</th>'
        f'<td><progress max="{row["points"]:g}" value="{row["earned"]:g}" '
        f'aria-label="points in lesson {key["lesson"][:2]}"></progress></td>'
        f'<td class="number">{row["earned"]:g} of {row["points"]:g} points</td></tr>'
        for key, row in zip(lessons, sums, strict=True)
    )
    return f"<table>{rows}</table>"


def _lesson(key, row, records):
    if not row["started"]:
        return ""
    heading = f"<h2>{key['lesson'][:2]} {html.escape(key['title'])}</h2>"
    can = "".join(f"<li>{inline(line)}</li>" for line in key["can"])
    whole = row["solved"] == row["exercises"]
    learned = f"<p>I can now</p><ul>{can}</ul>" if whole else ""
    titles = {
        entry["id"]: html.escape(entry["title"].removeprefix("Exercise: "))
        for entry in key["exercises"]
    }
    lines = "".join(
        f"<tr><td>{SIGNS['kept'] if state == 'solved' else SIGNS['not reached']} "
        f'{state}</td><td>{titles[name]}</td><td class="number">{earned:g} / '
        f"{points:g}</td></tr>"
        for name, state, earned, points, _ in rows_of(key, records)
    )
    return f"{heading}{learned}<table>{lines}</table>"
