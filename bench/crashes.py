"""Kill processes of a grading run at random moments; the marks must not change.

A small class is graded once in peace. Then it is graded again and again in new folders
while something out of the grader, its group, a worker, the warm process, a kernel and
the key maker is killed every few seconds; what ended is started again, until it comes
to its end. Each time gradebook, verdicts and feedback are compared with the first ones.

    python bench/crashes.py [--kills 100] [--seed 0] [--pause 6]
"""

import argparse
import collections
import contextlib
import difflib
import json
import os
import pprint
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from sample_class import fill, in_gradebook, sources, students, submit  # noqa: E402
from tqdm import tqdm  # noqa: E402

WHO = ("right", "mistake_1", "mistake_2", "half_finished", "untouched", "copied_check")
WHO += ("deleted_check", "edited_check", "cut_off")
PARTS = {
    "worker": b"spawn_main",
    "key maker": b"helpers.grading.judging",
    "warm": b"helpers.grading.warm",
}
KINDS = ("grader", "group", "worker", "warm", "kernel", "key maker")
NUMBER = re.compile(r"-?\d[\d.,e+-]*|\bnan\b|-?\binf\b")


# The class


def write(folder, lesson):
    """Ten submissions; one of them ends its kernel."""
    makers = students(lesson)
    made = {name: makers[name](lesson) for name in WHO}
    known = {name: every["reference"] for name, every in sources(lesson).items()}
    second = list(known)[1]
    ends = {**known, second: "import os\nos._exit(1)"}
    made["ends_the_kernel"] = fill(lesson, ends)
    for name, notebook in made.items():
        submit(folder, name, lesson, notebook)


def begin(folder, home):
    """Start `course grade` in a process group of its own; its scratch is `home`.

    What it starts has one of the two variables, and is found by it.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COURSE_PROGRESS": "off"}
    env |= {"TMPDIR": str(home), "XDG_RUNTIME_DIR": str(home)}
    command = [sys.executable, "-m", "helpers.lessons.cli", "grade", str(folder)]
    with (folder / "said.txt").open("ab") as said:
        return subprocess.Popen(
            command, env=env, stdout=said, stderr=said, start_new_session=True
        )


# Whom to kill


def processes(home):
    """Process id -> command line, of all that a grading run has started."""
    wanted = {f"{name}={home}".encode() for name in ("TMPDIR", "XDG_RUNTIME_DIR")}
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted & set((entry / "environ").read_bytes().split(b"\0")):
                found[int(entry.name)] = (entry / "cmdline").read_bytes()
    return found


def parent(pid):
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def victims(kind, grader, home):
    """Ids of processes of one kind, as they are just now."""
    if kind in ("grader", "group"):
        return [grader.pid]
    found = processes(home)
    part = PARTS.get(kind, PARTS["warm"])
    pids = [pid for pid, command in found.items() if part in command]
    if kind in ("warm", "kernel"):  # a kernel is a fork of the warm process
        forks = [pid for pid in pids if parent(pid) in pids]
        pids = forks if kind == "kernel" else [pid for pid in pids if pid not in forks]
    return sorted(pids)


def kill_one(rng, grader, home, patience=10):
    """Kill something of a random kind; returns the kind, or None if none came.

    Kernels and key makers are short-lived: one is waited for, `patience` seconds long.
    """
    kind = rng.choice(KINDS)
    end = time.monotonic() + patience
    found = victims(kind, grader, home)
    while not found and grader.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
        found = victims(kind, grader, home)
    if not found or grader.poll() is not None:
        return None
    time.sleep(rng.uniform(0, 1))  # not always just born
    with contextlib.suppress(ProcessLookupError):
        if kind == "group":
            os.killpg(grader.pid, signal.SIGKILL)
        else:
            os.kill(rng.choice(found), signal.SIGKILL)
        return kind
    return None


def disturbed(folder, home, rng, pause, bar, count):
    """Grade `folder` while processes are killed, until a run comes to its end."""
    while True:
        grader = begin(folder, home)
        while grader.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                grader.wait(rng.uniform(0, 2 * pause))
            if bar.n < bar.total:
                kind = kill_one(rng, grader, home)
                if kind:
                    count[kind] += 1
                    bar.update()
        if grader.returncode == 0:
            return


# What must be the same


def verdicts(folder, lesson):
    """State, points and diagnosis of each exercise, by student."""
    found = {}
    for path in sorted((folder / "evidence" / lesson.name / "verdicts").glob("*.json")):
        exercises = json.loads(path.read_text())["exercises"]
        text = json.dumps(exercises, sort_keys=True)
        found[path.stem] = (
            NUMBER.sub("#", text),
            [
                (name, one["earned"], one["points"], one["state"], one["diagnosis"])
                for name, one in exercises.items()
            ],
        )
    return found


def pages(folder):
    """Each feedback page; numbers aside."""
    return {
        str(path.relative_to(folder)): NUMBER.sub("#", path.read_text())
        for path in sorted(folder.glob("feedback/**/*.html"))
    }


def twin(folder, home, lesson, seeds):
    """Feedback of an undisturbed grading with these secret seeds."""
    from helpers.lessons.build import digest

    write(folder, lesson)
    run = folder / "evidence" / lesson.name / "run.json"
    run.parent.mkdir(parents=True)
    content = {"digest": digest(lesson), "seeds": seeds, "open": True}
    run.write_text(json.dumps(content))
    begin(folder, home).wait()
    found = pages(folder)
    shutil.rmtree(folder)
    return found


def undisturbed_pages(folder, place, home, lesson):
    """Feedback that the students of `folder` get in peace, each with his own seeds.

    A submission that was "our fault" in one run is executed in the next one, with new
    seeds, so that a class may have several.
    """
    found = {}
    for path in (folder / "evidence" / lesson.name / "results").glob("*.json"):
        seeds = tuple(json.loads(path.read_text())["seeds"])
        found.setdefault(seeds, []).append(f"feedback/{path.stem}/")
    wanted = {}
    for seeds, places in found.items():
        for name, page in twin(place, home, lesson, seeds).items():
            if name.startswith(tuple(places)):
                wanted[name] = page
    return wanted


def everything(folder, lesson):
    files = {str(p.relative_to(folder)) for p in folder.glob("autograded/**/*")}
    return {
        "gradebook": in_gradebook(folder, lesson),
        "verdicts": verdicts(folder, lesson),
        "feedback": pages(folder),
        "autograded files": dict.fromkeys(sorted(files), True),
    }


def differences(wanted, found):
    """One line for each student or file that is not the same."""
    lines = []
    for part, before in wanted.items():
        for name in sorted(before.keys() | found[part].keys()):
            one, other = before.get(name), found[part].get(name)
            if one != other:
                shown = [
                    f"{line:.300}"
                    for line in difflib.unified_diff(
                        pprint.pformat(one).split("\\n"),
                        pprint.pformat(other).split("\\n"),
                        lineterm="",
                        n=0,
                    )
                ]
                lines.append("\n   ".join([f"{part} of {name}", *shown[:12]]))
    return lines


def leftovers(folder, home):
    """Processes, scratch, drafts and mounts that should be gone."""
    end = time.monotonic() + 15
    while processes(home) and time.monotonic() < end:
        time.sleep(0.2)
    lines = [f"process {pid}: {text}" for pid, text in processes(home).items()]
    kept = [path for path in home.rglob("*") if not path.is_dir()]
    kept += list(home.glob("*/warm-*"))
    lines += [f"scratch {path}" for path in kept if path.name != "lock"]
    drafts = [path for path in folder.rglob(".*") if path.name != ".ipynb_checkpoints"]
    drafts += [*folder.rglob("*-journal"), *folder.glob("evidence/scratch/*")]
    lines += [f"draft {path}" for path in drafts]
    with open("/proc/self/mounts") as mounts:
        lines += [f"mount {line}" for line in mounts if str(home) in line]
    return lines


def main():
    from helpers.lessons import build

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pause", type=float, default=6, help="mean seconds to a kill")
    options = parser.parse_args()
    (lesson,) = build.find(["00"])
    with tempfile.TemporaryDirectory(prefix="crash-", dir="/tmp") as place:
        bad = compare(Path(place), lesson, options)
    sys.exit(bad)


def compare(place, lesson, options):
    """Grade in peace, then disturbed until all kills are made; 1 if it differs."""
    home, peace = place / "h", place / "peace"
    home.mkdir()
    write(peace, lesson)
    if begin(peace, home).wait():
        sys.exit((peace / "said.txt").read_text()[-3000:])
    wanted, count, bad = everything(peace, lesson), collections.Counter(), []
    rng, rounds = random.Random(options.seed), 0
    with tqdm(total=options.kills, desc="kills") as bar:
        while bar.n < bar.total:
            rounds += 1
            folder = place / f"round_{rounds}"
            write(folder, lesson)
            disturbed(folder, home, rng, options.pause, bar, count)
            begin(folder, home).wait()  # once more in peace
            wanted["feedback"] = undisturbed_pages(folder, place / "twin", home, lesson)
            found = differences(wanted, everything(folder, lesson))
            found += leftovers(folder, home)
            said = (folder / "said.txt").read_text()
            found += ["a traceback"] * ("Traceback" in said)
            if found:
                bad += found
                tqdm.write(f"round {rounds}:\n" + "\n".join(found))
                shutil.copy(folder / "said.txt", f"/tmp/crashes_{rounds}.txt")
            shutil.rmtree(folder)
    kinds = ", ".join(f"{number} times the {kind}" for kind, number in count.items())
    print(
        f"{sum(count.values())} kills ({kinds}) in {rounds} gradings of a class of "
        f"{len(WHO) + 1}: {len(bad)} differences"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    main()
