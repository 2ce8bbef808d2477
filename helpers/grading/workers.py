"""Doctor and execute submissions, several at a time, each result kept as it comes."""

import collections
import contextlib
import multiprocessing
import os
import resource
import signal
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from nbgrader.utils import parse_utc

from helpers.grading import doctor, needed, store, warm
from helpers.grading.execute import run_notebook
from helpers.grading.sandbox import NotIsolated, die_with_parent
from helpers.lessons import notebooks

NOTHING = {"cells": [], "evidence": {}, "logs": {}, "flags": []}
NOTHING |= {"seconds": 0.0, "peak_gb": 0.0}
RUNS = 3  # of a submission whose kernel was killed, and not by us
MOST_MEMORY = 4 * 2**30  # bytes of addresses of one of these processes
MOST_READING = 60.0  # seconds that one file may take
TOO_LONG = f"Reading the file took more than {MOST_READING:g} seconds."
KILLED = "The grader's process was killed while it ran; is there enough memory?"


def execute_all(course, todo, prints, settings, jobs):
    """Execute submissions in `jobs` processes; yields each as soon as it is done.

    Args:
        course: the class folder.
        todo: `classroom.Submission`s of one lesson.
        prints: fingerprints of today's checks, kept with the result.
        settings: `execute.Settings`.
    """
    left = collections.deque(todo)
    while left:
        suspects = {}  # what was being executed when a process was killed
        yield from _until_killed(course, left, prints, settings, jobs, suspects)
        for one in suspects.values():
            try:
                with _pool(1) as pool:
                    _submit(pool, course, one, prints, settings).result()
            except BrokenProcessPool:
                result = {**NOTHING, **_why_killed(course, one)}
                _keep(course, one, prints, settings, result, _untouched(course, one))
            yield one


def _until_killed(course, left, prints, settings, jobs, running):
    """Yield what is done until nothing is left, or one of the processes is killed.

    Each process has one more waiting, so that it need not wait for the gradebook.
    """
    with contextlib.suppress(BrokenProcessPool), _pool(jobs) as pool:
        try:
            while left or running:
                while left and len(running) < 2 * jobs:
                    job = _submit(pool, course, left[0], prints, settings)
                    running[job] = left.popleft()
                for job in wait(running, return_when=FIRST_COMPLETED).done:
                    job.result()
                    yield running.pop(job)
        finally:  # nobody asks for the others any more
            pool.shutdown(wait=False, cancel_futures=True)


def _pool(jobs):
    """Fresh processes: a fork would share this one's sockets and threads."""
    fresh = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, fresh, _end_with_grader)


def _submit(pool, *arguments):
    """Hand on a submission; a process that starts for it hears no Ctrl-C at first."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(execute, *arguments)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_grader():
    """In a worker: be killed when the grader is, or it would wait for work for ever.

    Ctrl-C in a terminal reaches all of them at once: the grader tells, workers end.
    """
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, lambda *_: os._exit(1))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    if os.getppid() != multiprocessing.parent_process().pid:
        os._exit(1)


def _untouched(course, one):
    """The released notebook in place of one that no process got through."""
    released = notebooks.read(notebooks.notebook_path(notebooks.NOTEBOOKS, one.lesson))
    repaired = doctor.Repaired(released)
    _keep_notebook(course, one, repaired)
    return repaired


def execute(course, one, prints, settings):
    """Doctor and execute one submission, and keep what came of it."""
    released = notebooks.read(notebooks.notebook_path(notebooks.NOTEBOOKS, one.lesson))
    with _bounded_reading(course, one):
        repaired, left_out = _read(course, one, released)
    result = _outcome(repaired, left_out, settings)
    _keep(course, one, prints, settings, result, repaired)


def _read(course, one, released):
    """The repaired notebook, kept, and the ids of what need not run."""
    try:
        repaired = doctor.repair(store.submitted(one.path), released)
        _keep_notebook(course, one, repaired)
        return repaired, needed.left_out(repaired.notebook, released)
    except OSError:  # no room on the disk: nothing can go on
        raise
    except Exception as error:  # whatever is in a file, the class goes on
        what = "memory" if isinstance(error, MemoryError) else type(error).__name__
        problem = f"The file cannot be read ({what}); look at it by hand."
        repaired = doctor.Repaired(released, problem=problem)
        _keep_notebook(course, one, repaired)
        return repaired, set()


@contextlib.contextmanager
def _bounded_reading(course, one):
    """End this process where reading takes too long: nothing else stops a pattern.

    What is left behind tells why, see `_why_killed`.
    """
    mark = _mark(course, one)
    mark.touch()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, MOST_READING)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        mark.unlink(missing_ok=True)


def _mark(course, one):
    name = store.sha256(f"{one.student} {one.lesson}")[:16]
    return store.scratch(course) / f"reading-{name}"


def _why_killed(course, one):
    """What a process was at when it was killed: state and reason."""
    if _mark(course, one).exists():
        return {"state": "damaged", "reason": TOO_LONG}
    return {"state": "our fault", "reason": KILLED}


def _keep_notebook(course, one, repaired):
    place = Path(course, store.REPAIRED, one.student, one.lesson)
    text = doctor.as_text(repaired.notebook)
    store.write_text(place / f"{one.lesson}.ipynb", text)
    repaired.repairs += _copy_time(one.path.with_name("timestamp.txt"), place)


def _copy_time(stamp, place):
    """nbgrader reads from this file when something was handed in, or stops."""
    content = store.submitted(stamp)
    if content is None:
        return []
    try:
        text = content[:100].decode().strip()
        parse_utc(text)
    except (ValueError, OverflowError):  # not UTF-8, or no time
        return ["The time in timestamp.txt cannot be read; it was left out."]
    store.write_text(place / stamp.name, text)
    return []


def _keep(course, one, prints, settings, result, repaired):
    renamed = [] if one.path.stem == one.lesson else [_renamed(one)]
    result |= {
        "submission": store.sha256(store.submitted(one.path) or b""),
        "prints": prints,
        "seeds": list(settings.seeds),
        "repairs": [*renamed, *repaired.repairs],
        "flags": [*repaired.flags, *result["flags"]],
        "own_prose": repaired.own_prose,
    }
    path = store.folder_of(course, one.lesson, "results", f"{one.student}.json")
    store.write_json(path, _bounded(result))


def _bounded(result):
    """A result that can be read again: without what only fills the disk."""
    parts = ("outputs", "evidence")
    for part in (name for name in parts if not store.fits(result)):
        result["flags"].append(f"Its {part} were too large to be kept.")
        if part == "outputs":
            for cell in result["cells"]:
                cell["outputs"] = []
        else:
            result["evidence"] = {}
    return result


def _outcome(repaired, left_out, settings):
    if repaired.problem:
        return {**NOTHING, "state": "damaged", "reason": repaired.problem}
    begin = time.monotonic()
    for _ in range(RUNS):
        result = _tried(repaired, left_out, settings)
        took = time.monotonic() - begin
        if not _may_be_bad_luck(result) or took > settings.seconds:
            break
    return result


def _tried(repaired, left_out, settings):
    try:
        return _run(repaired.notebook, left_out, settings)
    except (NotIsolated, OSError):  # no sandbox, no room on the disk: nothing can go on
        raise
    except Exception as error:  # whatever it is, the class goes on
        reason = f"The grader stopped with {type(error).__name__}: {error}"
        return {**NOTHING, "state": "our fault", "reason": reason[:500]}


def _may_be_bad_luck(result):
    """Whether something else than the learner's code may have killed a kernel.

    The system kills one where memory is short; who kills their own is killed again.
    """
    return result["state"] == "our fault" or warm.KILLED in result["reason"]


def _run(notebook, left_out, settings):
    """Run what the answers need; all of it, should a name be missing all the same."""
    result = run_notebook(notebook, settings, left_out)
    if needed.misses(result, notebook, left_out):
        result = run_notebook(notebook, settings)
    return result


def _renamed(one):
    name = store.printable(one.path.name)
    return f"The file was called {name}; it counts as {one.lesson}.ipynb."
