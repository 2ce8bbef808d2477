"""Pages in `docs/` that are made from the lesson scripts."""

from helpers.lessons import course_map, coverage
from helpers.lessons.paths import ROOT

PAGES = {"docs/coverage.md": coverage.page, "docs/course_map.md": course_map.page}


def outdated(lessons):
    """Names of the pages that do not say what the lessons say now."""
    return [name for name, page in PAGES.items() if _text(name) != page(lessons)]


def write(lessons):
    """Write the outdated pages; returns their names."""
    names = outdated(lessons)
    for name in names:
        (ROOT / name).write_text(PAGES[name](lessons), encoding="utf-8")
    return names


def _text(name):
    path = ROOT / name
    return path.read_text(encoding="utf-8") if path.exists() else None
