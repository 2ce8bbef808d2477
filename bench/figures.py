"""Print the course's figures: checks, set-up, lessons; with `--tests` the tests, too.

Figures depend on the machine; what is compared is measured side by side in one run.
"""

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["COURSE_PROGRESS"] = "off"

REPEATS = 5
SET_UP = """
import time
begin = time.perf_counter()
{first}
middle = time.perf_counter()
{second}
print(middle - begin, time.perf_counter() - middle)
"""

PEAK = """
import resource
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)  # KB to GB, on Linux
"""


def seconds(action, *arguments, **settings):
    """How long a call takes, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        begin = time.perf_counter()
        action(*arguments, **settings)
        return time.perf_counter() - begin


def plain_run(evidence, seeds):
    """Run the answer as evidence does, without anything of ours around it."""
    import inspect

    import numpy as np

    own_file = evidence.__code__.co_filename
    for seed in seeds:
        names = dict(evidence.__globals__, rng=np.random.default_rng(seed))
        wanted = inspect.signature(evidence).parameters
        for _, value, *_ in evidence(**{name: names[name] for name in wanted}):
            if inspect.isfunction(value) and value.__code__.co_filename == own_file:
                with contextlib.suppress(Exception):
                    value()


def check_overheads():
    """Milliseconds that `check` adds to the answer's own time, per exercise."""
    from helpers.checks import check
    from helpers.lessons import build, keys
    from helpers.lessons.answers import Trial, base_namespace

    found = {}
    for lesson in build.find():
        base = base_namespace(lesson)
        for exercise in lesson.exercises:
            source = exercise.answer.source
            trial = Trial(lesson, exercise, "reference", source, base)
            name, evidence, _ = trial.calls[0]
            plain_run(evidence, keys.PUBLIC_SEEDS)
            pairs = [
                (
                    seconds(check, name, evidence),
                    seconds(plain_run, evidence, keys.PUBLIC_SEEDS),
                )
                for _ in range(REPEATS)
            ]
            found[name] = 1000 * statistics.median(a - b for a, b in pairs)
    return found


def set_up_seconds():
    """Seconds of importing TensorFlow, and of the set-up cells beyond that."""
    from helpers.lessons import build
    from helpers.lessons.notebooks import solution_notebook

    found = {}
    for lesson in build.find():
        cells = [c for c in solution_notebook(lesson).cells if c.cell_type == "code"]
        second = "\n".join(cell.source for cell in cells[:2])
        code = SET_UP.format(first="import tensorflow, keras", second=second)
        out = subprocess.check_output([sys.executable, "-c", code], text=True)
        found[lesson.name] = [float(part) for part in out.split("\n")[-2].split()]
    return found


def cold_runs():
    """Of each solution notebook: seconds from starting a kernel to the end, peak GB."""
    from nbformat.v4 import new_code_cell

    from helpers.lessons import build, notebooks

    found = {}
    for lesson in build.find():
        notebook = notebooks.solution_notebook(lesson)
        notebook.cells.append(new_code_cell(PEAK))
        took = seconds(notebooks.execute, notebook, lesson)
        found[lesson.name] = took, float(notebook.cells[-1].outputs[0].text)
    return found


def test_seconds():
    """Seconds of each test file on one core, and of nbval."""
    from helpers.lessons.paths import ROOT

    pytest = [sys.executable, "-m", "pytest", "-q"]
    parts = {path.name: [str(path)] for path in sorted(ROOT.glob("tests/test_*.py"))}
    nbval = ["--nbval", "--nbval-sanitize-with", "tests/nbval.cfg", "solutions"]
    found = {}
    for name, arguments in {**parts, "nbval": nbval}.items():
        command = [*pytest, *arguments]
        out = subprocess.DEVNULL
        found[name] = seconds(subprocess.run, command, cwd=ROOT, stdout=out)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", action="store_true", help="time the tests, too")
    options = parser.parse_args()
    overheads = check_overheads()
    print("Overhead of a check beyond the answer's run time (2 seeds):")
    for name, value in overheads.items():
        print(f"  {name:20} {value:6.1f} ms")
    print(f"  median of all        {statistics.median(overheads.values()):6.1f} ms")
    print("Set-up cells:")
    for name, (first, second) in set_up_seconds().items():
        print(
            f"  {name:20} {second:5.2f} s beyond importing TensorFlow ({first:.1f} s)"
        )
    print("Lessons, cold, every cell:")
    for name, (took, peak) in cold_runs().items():
        print(f"  {name:22} {took:5.1f} s, {peak:.2f} GB at most")
    if options.tests:
        found = test_seconds()
        print(f"Tests, one after the other: {sum(found.values()):.0f} s")
        for name, value in found.items():
            print(f"  {name:22} {value:6.1f} s")


if __name__ == "__main__":
    main()
