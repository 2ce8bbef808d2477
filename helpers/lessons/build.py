"""Build lessons, and find out whether what is built still fits its script."""

import hashlib
import json
import re
from pathlib import Path

from tqdm import tqdm

from helpers.checks.keys import KEYS
from helpers.lessons import keys, notebooks
from helpers.lessons.paths import ROOT, SOLUTIONS, repository
from helpers.lessons.script import LessonError, read

LESSON = "[0-9][0-9]_*"
ALWAYS = ("checks", "lessons", "runtime")  # helpers that every lesson rests on
NEVER = ("build", "cli", "coverage", "course_map", "pages")  # no notebook rests on them
UNFINISHED = ""  # digest of a key whose notebooks are not written yet


def find(names=()):
    """The lessons with these names or numbers; all of them where none is given.

    Raises:
        LessonError: for a name that no lesson has.
    """
    scripts = {path.stem: path for path in SOLUTIONS.glob(f"{LESSON}/{LESSON}.py")}
    return [read(scripts[name]) for name in _chosen(names, scripts)]


def released(names=()):
    """The same as names, of the notebooks that are handed out: no script is needed."""
    pattern = f"{LESSON}/{LESSON}.ipynb"
    return _chosen(names, {path.stem for path in notebooks.NOTEBOOKS.glob(pattern)})


def _chosen(names, known):
    """Of the known lessons those with these names or numbers, all without names."""
    chosen, known = [], sorted(known)
    for name in names:
        fits = [one for one in known if name in (one, one[:2])]
        if not fits:
            told = ", ".join(known) or "none at all"
            raise LessonError(f"There is no lesson `{name}`; there are {told}.")
        chosen += fits
    return chosen if names else known


def digest(lesson):
    """Fingerprint of everything that a lesson's notebooks and key are made from."""
    found = hashlib.sha256(lesson.path.read_bytes())
    for file in _helpers_of(lesson):
        found.update(file.read_bytes())
    return found.hexdigest()[:16]


def _helpers_of(lesson):
    """The files that its outputs depend on: of all parts of `helpers` that it names."""
    source = lesson.path.read_text(encoding="utf-8")
    for part in sorted((ROOT / "helpers").iterdir()):
        if part.stem in ALWAYS or re.search(rf"\b{part.stem}\b", source):
            files = sorted(part.rglob("*.py")) if part.is_dir() else [part]
            yield from (file for file in files if file.stem not in NEVER)


def build(lesson, solutions=None, force=False):
    """Build key and notebooks of a lesson; returns whether anything had to be done.

    Args:
        lesson: a `script.Lesson`.
        solutions: whether `solution(...)` shows something; None leaves it as it is.
        force: build even what fits.
    """
    if solutions is None:
        solutions = shows_solutions(lesson)
    if not force and is_built(lesson):
        return any([_show_solutions(lesson, solutions), _put_address(lesson)])
    began = digest(lesson)  # what changes from now on has not been built
    bar = tqdm(total=len(lesson.exercises) + len(lesson.cells), desc=lesson.name)

    def advance(items):
        for item in items:
            yield item
            bar.update()

    with bar:
        key = keys.lesson_key(lesson, solutions, advance)
        keys.write_key(key, UNFINISHED)
        notebook = notebooks.solution_notebook(lesson)
        notebooks.execute(notebook, lesson, lambda **event: bar.update())
        bar.update(bar.total - bar.n)
        solution_path, learner_path = notebooks.paths(lesson)
        notebooks.write(notebook, solution_path)
        notebooks.write(notebooks.learner_notebook(notebook), learner_path)
        keys.write_key(key, began)  # last: says that all of it was built
    return True


def _show_solutions(lesson, show):
    """Change nothing in a built lesson but whether `solution(...)` shows something."""
    if shows_solutions(lesson) == show:
        return False
    key = built_key(lesson)
    for entry, exercise in zip(key["exercises"], lesson.exercises, strict=True):
        entry["solution"] = keys.shown_solution(exercise) if show else None
    keys.write_key(key, key["digest"])
    return True


def shows_solutions(lesson):
    """Whether `solution(...)` shows something, as the lesson was built last."""
    key = built_key(lesson) or {"exercises": []}
    return all(entry["solution"] is not None for entry in key["exercises"])


def _put_address(lesson):
    """Write the repository's address into badge and set-up cell, if it is a new one.

    No digest covers it: nothing is computed from it, so nothing has to run again.
    """
    place, learners = notebooks.paths(lesson)
    built = notebooks.read(place)
    if built is None:
        return False
    made = {cell.id: cell.source for cell in notebooks.solution_notebook(lesson).cells}
    slug = repository().removeprefix("https://github.com/")
    stale = [
        cell
        for cell in built.cells
        if slug in made.get(cell.id, "") and cell.source != made[cell.id]
    ]
    for cell in stale:
        cell.source = made[cell.id]
    if stale:
        notebooks.write(built, place)
        notebooks.write(notebooks.learner_notebook(built), learners)
    return bool(stale)


def is_built(lesson):
    """Whether the files of a lesson exist and were made from what stands there now."""
    key = built_key(lesson)
    return (
        key is not None
        and key["digest"] == digest(lesson)
        and all(path.exists() for path in notebooks.paths(lesson))
    )


def built_key(lesson):
    """The lesson's key as it stands in `helpers/keys/`, or None."""
    try:
        return json.loads((KEYS / f"{lesson.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def drift(lesson):
    """Sentences on built files whose content does not fit; outputs are nbval's job."""
    return notebook_drift(lesson) + _told(lesson, _key_drift(lesson))


def notebook_drift(lesson):
    """Sentences on the two notebooks of a lesson, see `drift`."""
    solution_path, learner_path = notebooks.paths(lesson)
    solution, learner = notebooks.read(solution_path), notebooks.read(learner_path)
    wanted = notebooks.solution_notebook(lesson)
    found = _notebook_drift(lesson, solution_path, solution, wanted)
    if solution is not None:
        release = notebooks.learner_notebook(solution)
        found += _notebook_drift(lesson, learner_path, learner, release)
    return _told(lesson, found)


def _told(lesson, found):
    return [f"{text} Mend it with `course build {lesson.name}`." for text in found]


def _notebook_drift(lesson, path, have, want):
    name = path.relative_to(ROOT)
    if have is None:
        return [f"{name} does not exist or is damaged."]
    if len(have.cells) != len(want.cells):
        return [f"{name} has {len(have.cells)} cells, {len(want.cells)} were expected."]
    for number, (one, two) in enumerate(zip(have.cells, want.cells, strict=True), 1):
        if _content(one) != _content(two):
            return [f"{name} differs in cell {number} (`{two.id}`)."]
    return []


def _content(cell):
    return cell.cell_type, cell.id, cell.source, cell.metadata


def _key_drift(lesson):
    have = built_key(lesson)
    if have is None:
        return [f"helpers/keys/{lesson.name}.json does not exist or is damaged."]
    found = keys.key_difference(have, keys.lesson_key(lesson))
    return [f"helpers/keys/{lesson.name}.json differs in {found}."] if found else []


def stray_files():
    """Files among the built ones that no lesson makes."""
    lessons = {path.parent.name for path in Path(SOLUTIONS).glob("*/*.py")}
    built = [*KEYS.glob("*"), *notebooks.NOTEBOOKS.glob("*/*"), *SOLUTIONS.glob("*/*")]
    return [
        f"{path.relative_to(ROOT)} belongs to no lesson; delete it."
        for path in built
        if path.stem not in lessons and not path.name.startswith(("__", "."))
    ]
