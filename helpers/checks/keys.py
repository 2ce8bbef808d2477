"""Find and read the answer keys that are installed with the course."""

import functools
import json
from pathlib import Path

KEYS = Path(__file__).resolve().parents[1] / "keys"


class KeyMissing(LookupError):
    """There is no key for an exercise; the message says what to do."""


def lesson_names():
    """Names of all lessons that have a key, in order."""
    return sorted(path.stem for path in KEYS.glob("[0-9][0-9]_*.json"))


def lesson_key(name):
    """The key of a lesson, as a dict."""
    path = KEYS / f"{name}.json"
    return _read(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _read(path, changed):
    return json.loads(path.read_text(encoding="utf-8"))


def exercise_key(exercise):
    """The key of an exercise, named as in "01/configure".

    Raises:
        KeyMissing: where there is no such exercise.
    """
    number, _, name = str(exercise).partition("/")
    for lesson in lesson_names():
        if lesson.split("_")[0] == number:
            names = {entry["id"]: entry for entry in lesson_key(lesson)["exercises"]}
            if exercise in names:
                return names[exercise]
            raise KeyMissing(
                f'There is no exercise "{exercise}" in lesson {lesson}; it has '
                f"{', '.join(names)}."
            )
    raise KeyMissing(
        f'There is no exercise "{exercise}"; write the number of a lesson, a slash and '
        f"a name, for example {_example()}."
    )


def _example():
    for lesson in lesson_names():
        for entry in lesson_key(lesson)["exercises"]:
            return f'"{entry["id"]}"'
    return '"00/holdout"'
