"""Grade randomly damaged notebooks: do answers that are undamaged keep their marks?

Run as `python bench/damage.py --count 40`. Every file of lesson 00 is damaged one to
four times; one in ten is no notebook at all. `tests/test_doctor.py` holds 500 of them
to the same without executing; this goes the whole way to the gradebook.
"""

import argparse
import collections
import html
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import damage as damage  # noqa: E402
from sample_class import right, submit  # noqa: E402

from helpers.grading.classroom import grade  # noqa: E402
from helpers.lessons import build  # noqa: E402


def write_class(folder, lesson, count, first):
    """Damaged submissions; returns the undamaged answers by student."""
    whole = json.loads(json.dumps(right(lesson)))
    exercises = {exercise.name for exercise in lesson.exercises}
    alive = {}
    for seed in range(first, first + count):
        content, names = damage.random_damage(seed, whole)
        alive[f"seed_{seed}"] = names & exercises
        submit(folder, f"seed_{seed}", lesson, content)
    for number, (content, _) in enumerate(list(damage.NO_NOTEBOOK.values())):
        if number < count // 10:
            alive[f"other_{number}"] = set()
            submit(folder, f"other_{number}", lesson, content)
    path = folder / "submitted" / "folder" / lesson.name / f"{lesson.name}.ipynb"
    path.mkdir(parents=True)
    alive["folder"] = set()
    return alive


def shown(folder, report, who):
    """Whether the feedback tells every repair of a submission."""
    page = folder / "feedback" / who[0] / who[1] / f"{who[1]}.html"
    text = html.unescape(page.read_text(encoding="utf-8"))
    return all(one in text for one in report.repairs[who])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--first", type=int, default=1000, help="the first seed")
    options = parser.parse_args()
    (lesson,) = build.find(["00"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alive = write_class(folder, lesson, options.count, options.first)
        report = grade(folder)
        silent = [who for who in report.repairs if not shown(folder, report, who)]
    marks = {(mark.student, mark.exercise): mark for mark in report.marks}
    graded = {mark.student for mark in report.marks}
    pairs = [(student, one) for student, names in alive.items() for one in names]
    lost = [pair for pair in pairs if marks[pair].points != marks[pair].most]
    states = collections.Counter(state for state, _ in report.troubles.values())
    told = sum(map(len, report.repairs.values()))
    print(f"handed in {len(alive)}, graded {len(graded)}, repairs told {told}")
    print("not run to the end:", dict(states) or "none")
    print(f"undamaged answers {len(pairs)}, of these with full marks", end=" ")
    print(len(pairs) - len(lost))
    print(f"feedback tells the repairs of {len(report.repairs) - len(silent)}", end=" ")
    print(f"of {len(report.repairs)} repaired submissions", *silent)
    for pair in lost:
        print("  lost:", *pair, marks[pair].state, marks[pair].note)
    return 1 if lost or silent or graded != set(alive) else 0


if __name__ == "__main__":
    sys.exit(main())
