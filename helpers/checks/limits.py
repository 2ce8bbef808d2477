"""A limit on the time and memory of one check, so that no answer hangs a notebook."""

import contextlib
import itertools
import os
import signal
import sys
import threading

MOST_MEMORY = 2 * 2**30  # bytes that an answer may take beyond what was in use before
CELL_FILES = ("<cell", "<ipython-input")  # how a notebook cell is called as a file
TICK = 0.2  # seconds between two looks


class LimitReached(BaseException):
    """Out of time or memory. No `Exception`: `except Exception` must not hide it."""


def is_cell(filename):
    """Whether a code object's file is a notebook cell, not an installed module."""
    return filename.startswith(CELL_FILES) or "ipykernel_" in filename


@contextlib.contextmanager
def limits(seconds, memory=MOST_MEMORY):
    """Raise `LimitReached` in the body after `seconds` or beyond `memory` bytes.

    A timer signal looks at both, so it interrupts Python code and sleeping calls, not
    a long call inside compiled code. Where there is no such signal (Windows, or not
    in the main thread) the body runs without limits.
    """
    if not _can_limit():
        yield
        return
    looks, before = itertools.count(1), _memory_in_use()

    def look(signum, frame):
        # Looks are counted, not seconds: a suspended machine is not the answer's fault.
        if next(looks) * TICK > seconds:
            _stop(frame, f"more than {seconds:g} seconds")
        if _memory_in_use() - before > memory:
            _stop(frame, f"more than {memory / 2**30:.0f} GB of memory")

    previous, tracer = signal.signal(signal.SIGALRM, look), sys.gettrace()
    signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        sys.settrace(tracer)


def _stop(frame, reason):
    """Raise here and at every further line of a cell: `except:` is no way out."""

    def again(frame, event, argument):
        if event == "line" and is_cell(frame.f_code.co_filename):
            raise LimitReached(reason)
        return again

    while frame is not None:
        if is_cell(frame.f_code.co_filename):
            frame.f_trace = again
        frame = frame.f_back
    sys.settrace(again)
    raise LimitReached(reason)


def _can_limit():
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and hasattr(signal, "setitimer")


def _memory_in_use():
    """Resident memory of this process in bytes; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
