"""The course on one page, `docs/course_map.md`: lessons, what they need, exercises."""

HEAD = """\
# Course map

What each lesson asks of you and which ones it rests on. Minutes are those that the
exercises name, plus the reading at 60 words a minute, examples run and pictures looked
at. Made by `course build` from the lesson scripts.

```mermaid
flowchart LR
"""
TABLE = """\
```

| lesson | needs | exercises | points | minutes |
|---|---|---|---|---|
"""


def page(lessons):
    """The text of `docs/course_map.md`."""
    boxes = [f'    L{one.number}["{one.number} {short(one)}"]\n' for one in lessons]
    arrows = [
        f"    L{need} --> L{one.number}\n" for one in lessons for need in one.needs
    ]
    rows = "".join(_row(one) for one in lessons)
    total = (
        f"| **all** | | {sum(len(one.exercises) for one in lessons)} | "
        f"{sum(one.points for one in lessons):g} | "
        f"{sum(one.minutes for one in lessons)} |\n"
    )
    parts = "".join(_part(one) for one in lessons)
    return "".join([HEAD, *boxes, *arrows, TABLE, rows, total, parts])


def short(lesson):
    """A lesson's title without what follows the colon."""
    return lesson.title.split(":")[0]


def _row(lesson):
    link = f"../notebooks/{lesson.name}/{lesson.name}.ipynb"
    return (
        f"| [{lesson.number} {short(lesson)}]({link}) | {', '.join(lesson.needs)} | "
        f"{len(lesson.exercises)} | {lesson.points:g} | {lesson.minutes} |\n"
    )


def _part(lesson):
    can = "".join(f"- {line}\n" for line in lesson.can)
    rows = "".join(
        f"| `{one.name}` | {one.title.removeprefix('Exercise: ')} | "
        f"{one.check.points:g} | {one.minutes} |\n"
        for one in lesson.exercises
    )
    return (
        f"\n## {lesson.number} {lesson.title}\n\nAfterwards you can:\n\n{can}\n"
        f"| exercise | | points | minutes |\n|---|---|---|---|\n{rows}"
    )
