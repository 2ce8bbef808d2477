"""Grade a large class in one run and print what grows: memory, files, processes.

Looks at the run from outside, each time so many submissions are done.

    python bench/class300.py [--submissions 300]
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from crashes import PARTS, begin, leftovers, parent, processes  # noqa: E402
from grading import write  # noqa: E402
from tqdm import tqdm  # noqa: E402

from helpers.grading.sandbox import share  # noqa: E402


def parts(grader, home):
    """The processes of a run: name -> list of ids."""
    found = processes(home)
    of = {
        name: [pid for pid, command in found.items() if part in command]
        for name, part in PARTS.items()
    }
    first = [pid for pid in of["warm"] if parent(pid) not in of["warm"]]
    return {
        "grader": [grader.pid],
        "workers": of["worker"],
        "warm process": first,
        "kernels": [pid for pid in of["warm"] if pid not in first],
    }


def look(grader, home):
    """Per part: MB, descriptors and processes; and how much scratch lies about."""
    rows = {}
    for name, pids in parts(grader, home).items():
        files = 0
        for pid in pids:
            try:
                files += len(os.listdir(f"/proc/{pid}/fd"))
            except OSError:  # it has ended just now
                continue
        rows[name] = sum(map(share, pids)) / 2**20, files, len(pids)
    return rows, sum(not path.is_dir() for path in home.rglob("*"))


def watch(grader, folder, home, number):
    """What is there after 10 %, a third, two thirds and (nearly) all submissions."""
    marks = sorted({max(1, int(number * part)) for part in (0.1, 1 / 3, 2 / 3, 0.98)})
    seen, begin = [], time.monotonic()
    with tqdm(total=number, desc="graded") as bar:
        while grader.poll() is None:
            time.sleep(0.5)
            bar.update(len(list(folder.glob("feedback/*/*/*.html"))) - bar.n)
            if marks and bar.n >= marks[0]:
                marks.pop(0)
                seen.append((bar.n, time.monotonic() - begin, *look(grader, home)))
    return seen


def main():
    from helpers.lessons import build

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submissions", type=int, default=300)
    options = parser.parse_args()
    (lesson,) = build.find(["00"])
    with tempfile.TemporaryDirectory(prefix="class-", dir="/tmp") as place:
        folder, home = Path(place, "class"), Path(place, "h")
        home.mkdir()
        write(folder, lesson, options.submissions)
        grader = begin(folder, home)
        for done, seconds, rows, scratch in watch(
            grader, folder, home, options.submissions
        ):
            print(f"after {done} submissions, {seconds:.0f} s: {scratch} scratch files")
            for name, (size, files, count) in rows.items():
                print(
                    f"  {name:12} {size:6.0f} MB {files:4} descriptors, {count} there"
                )
        print("\n".join(leftovers(folder, home)) or "nothing is left of the run")
        if grader.returncode:
            sys.exit((folder / "said.txt").read_text()[-3000:])


if __name__ == "__main__":
    main()
