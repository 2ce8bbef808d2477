"""Print how many submissions a minute are graded: stock nbgrader, ours, and the limit.

All grade the same submissions, in one run. The limit is what a learner's cells take in
forks of one process that has imported TensorFlow, spread over the cores: no kernel, no
sandbox, no gradebook, no feedback. It is measured for all cells, which stock executes,
and for those that the answers need, which are all that we execute.

    python bench/grading.py [--lesson 02] [--submissions 20]
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["COURSE_PROGRESS"] = "off"
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from sample_class import students, submit  # noqa: E402

STOCK = """
c = get_config()
c.CourseDirectory.root = {folder!r}
c.CourseDirectory.source_directory = {solutions!r}
c.CourseDirectory.ignore = ["*.py"]
c.Execute.timeout = 120
c.Autograde.create_student = True
"""
STOPS_STOCK = ("copied_check", "deleted_check", "cut_off")


def write(folder, lesson, number):
    """Submissions of the sample class, again and again, without damaged ones."""
    makers = [m for name, m in students(lesson).items() if name not in STOPS_STOCK]
    for k in range(number):
        submit(folder, f"s{k:03}", lesson, makers[k % len(makers)](lesson))


def seconds(command, folder):
    """How long a command takes; stops with what it said where it fails."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    took = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return took


def stock(folder, lesson):
    """Seconds of nbgrader's own `autograde`, which executes in usual kernels."""
    from helpers.lessons.paths import SOLUTIONS

    text = STOCK.format(folder=str(folder), solutions=str(SOLUTIONS))
    (folder / "nbgrader_config.py").write_text(text)
    nbgrader = [sys.executable, "-m", "nbgrader"]
    seconds([*nbgrader, "generate_assignment", lesson.name], folder)
    return seconds([*nbgrader, "autograde", lesson.name], folder)


def ours(folder, lesson):
    """Seconds of `course grade`, with gradebook and feedback."""
    course = [sys.executable, "-m", "helpers.lessons.cli", "grade", str(folder)]
    return seconds([*course, lesson.name], folder)


def limit(folder, lesson, whole=True):
    """Seconds of the cells in bare forks of a warm process, one for each core."""
    import keras  # noqa: F401

    from helpers.grading import doctor, needed
    from helpers.lessons import notebooks

    released = notebooks.read(notebooks.paths(lesson)[1])
    todo = []
    for path in sorted(folder.glob(f"submitted/*/{lesson.name}/*.ipynb")):
        notebook = doctor.repair(path.read_bytes(), released).notebook
        skipped = () if whole else needed.left_out(notebook, released)
        cells = [c for c in notebook.cells if c.cell_type == "code"]
        todo.append([cell.source for cell in cells if cell.id not in skipped])
    fork = multiprocessing.get_context("fork")
    running, begin = [], time.perf_counter()
    for sources in todo:
        while (
            len([process for process in running if process.is_alive()])
            >= os.cpu_count()
        ):
            time.sleep(0.01)
        running.append(fork.Process(target=bare, args=(sources,)))
        running[-1].start()
    for process in running:
        process.join()
    return time.perf_counter() - begin


def bare(sources):
    """Run cells as a grader's kernel would, checks yielding evidence for two seeds."""
    from helpers import checks
    from helpers.grading import kernel

    kernel.display = lambda *_, **__: None
    checks.grading = partial(kernel.publish, (1234, 5678))
    namespace = {"__name__": "__main__"}
    with (
        tempfile.TemporaryDirectory() as place,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        os.chdir(place)
        for source in sources:
            with contextlib.suppress(Exception):
                exec(compile(source, "<cell>", "exec"), namespace)
    os._exit(0)


def main():
    from helpers.lessons import build

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lesson", default="02")
    parser.add_argument("--submissions", type=int, default=20)
    options = parser.parse_args()
    (lesson,) = build.find([options.lesson])
    number, found = options.submissions, {}
    measures = {
        "all cells": limit,
        "needed cells": partial(limit, whole=False),
        "course grade": ours,
        "stock": stock,
    }
    for name, measure in measures.items():
        with tempfile.TemporaryDirectory(prefix="class-") as place:
            write(Path(place), lesson, number)
            found[name] = measure(Path(place), lesson)
            rate = 60 * number / found[name]
            print(f"{name:14} {found[name]:6.1f} s, {rate:5.1f} a minute", flush=True)
    print(f"{found['stock'] / found['course grade']:.1f} times as many as stock")
    for name in ("all cells", "needed cells"):
        print(f"{found[name] / found['course grade']:.0%} of the limit of {name}")


if __name__ == "__main__":
    main()
