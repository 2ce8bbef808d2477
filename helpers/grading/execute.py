"""Run a submission in sandboxed kernels and bring back outputs and evidence.

All that comes out of a kernel is the learner's to forge: every message is bounded in
size, checked in form, and only plain data is kept.

Why forging evidence gains nothing. A check cell is ours, and while it runs we take
evidence for its exercise and the run's seeds, whoever sent it. The judge compares it
with what the reference yields for these seeds. The kernel knows the seeds, but neither
reference nor key; so whoever sends the right numbers has computed them, and to compute
them is to solve the exercise. For the same reason it does not matter whether the first
or the last record counts: the first one does, and more than one is told.
"""

import contextlib
import json
import os
import re
import signal
import time
import uuid
from dataclasses import dataclass, field

import zmq
from jupyter_client import BlockingKernelClient
from jupyter_client.session import Session

from helpers.grading import sandbox, warm

EVIDENCE = "application/vnd.course.evidence+json"
CHANGED = "changed"  # in the place of evidence, see `kernel`
MOST_MESSAGE = 4 * 2**20  # bytes; the line is cut by more
MOST_RECEIVED = 64 * 2**20  # bytes a cell may send, kept or not
MOST_GROWTH = 512 * 2**20  # bytes that this process may grow while a cell runs
LOOK = 0.25  # seconds between two looks at that
MOST_RECORDS = 101
MOST_DEPTH = 30
MOST_KERNELS = 4  # for one notebook: each death costs one
GRACE = 3.0  # seconds to react to an interrupt
LAST_WORDS = 3.0  # seconds between the reply and the end of a cell's output
KEPT = ("text/plain", "text/html", "text/markdown", "text/latex")
KEPT += ("image/png", "image/jpeg", "image/svg+xml")
CHECK = re.compile(r'^check\(\s*"([^"\n]+)"', re.MULTILINE)
LEFT_OUT = "\n... the rest of this output is left out.\n"


@dataclass(frozen=True)
class Settings:
    """How a notebook is run.

    seeds: of the evidence.
    limits: what a kernel may take.
    cell_seconds, check_seconds, seconds: time for a cell, for a check cell, in all.
    cell_output, output: characters of output kept per cell, and in all.
    warm_path: socket of a `warm.private` process; by default the user's common one.
    """

    seeds: tuple = (1, 2)
    limits: sandbox.Limits = field(default_factory=sandbox.Limits)
    cell_seconds: float = 60.0
    check_seconds: float = 120.0
    seconds: float = 900.0
    cell_output: int = 1_000_000
    output: int = 20_000_000
    warm_path: object = None


def run_notebook(notebook, settings=None, left_out=frozenset()):
    """Run the code cells of a notebook; what the learner's code does stops nothing.

    Where a kernel dies, everything before is kept. A fresh kernel repeats the cells
    before that one, without the checks, and goes on with the next: so a later
    exercise still gets its evidence.

    Args:
        notebook: an nbformat 4 dict whose check cells are the released ones. They are
            known by nbgrader's metadata, which must be the released, too.
        settings: `Settings`.
        left_out: ids of cells that are not run, as `needed.left_out` gives them.

    Returns:
        A dict that JSON can hold: `state` ("ran", "crashed", "out of time", "out of
        memory", "our fault"), `reason`, `cells` (`id`, `outputs`, `seconds`, `status`),
        `evidence` (exercise -> seed -> records), `logs`, `flags`, `seconds`, `peak_gb`.

    Raises:
        sandbox.NotIsolated: where this machine cannot shut the kernel in.
    """
    settings = settings or Settings()
    run = Run(notebook, settings, sandbox.allowed(settings.limits), left_out)
    run.all_cells()
    return run.result()


class Run:
    """One notebook on its way through one or more kernels."""

    def __init__(self, notebook, settings, limits, left_out=frozenset()):
        self.settings, self.limits = settings, limits
        self.begin = time.monotonic()
        self.state, self.reason, self.flags = "ran", "", []
        self.trusted = True  # no function of ours was replaced yet
        self.evidence, self.logs, self.displays = {}, {}, {}
        self.kernels, self.peak = 0, 0
        self.output_left = settings.output
        self.cells = [
            _Cell(number, cell, settings)
            for number, cell in enumerate(notebook["cells"], start=1)
            if cell["cell_type"] == "code" and _source(cell).strip()
            if cell.get("id") not in left_out
        ]

    def left(self):
        return self.settings.seconds - (time.monotonic() - self.begin)

    def all_cells(self):
        """Until every cell has run, or time or kernels are used up."""
        while any(cell.status == "not run" for cell in self.cells):
            if self.kernels == MOST_KERNELS:
                return self.note("crashed", f"{MOST_KERNELS} kernels died, one by one")
            if self.left() <= 0:
                return self.out_of_time()
            self.kernels += 1
            try:
                with Line(self.limits, self.settings) as line:
                    self.all_in(line)
                self.peak = max(self.peak, line.kernel.peak)
            except warm.KernelFailed as error:
                return self.note("our fault", str(error))

    def all_in(self, line):
        """Run what is left in one kernel, until it dies."""
        for cell in self.cells:
            if cell.deadly or (cell.status != "not run" and cell.exercise):
                continue
            if self.left() <= 0:
                return self.out_of_time()
            again = cell.status != "not run"
            self._one(line, cell, again)
            if line.dead:
                cell.deadly = True
                return None

    def _one(self, line, cell, again):
        sink = _Sink(self, cell, keep=not again)
        begin = time.monotonic()
        seconds = min(cell.limit, max(0.0, self.left()))
        status, why = line.run(cell.source, seconds, sink)
        if again:
            return
        self.output_left -= sink.most - max(sink.left, 0)
        cell.seconds, cell.status = time.monotonic() - begin, status
        if why:
            where = f"cell {cell.number}" + (f" ({cell.id})" if cell.id else "")
            self.note(line.state(status), f"in {where} {why}")
        if status == "ran" and cell.exercise and not sink.seeds and not sink.failed:
            self.flag(
                f"the check of {cell.exercise} ran and published no evidence: "
                "something took its place"
            )

    def out_of_time(self):
        total = self.settings.seconds
        self.note("out of time", f"the notebook took more than {total:g} seconds")

    def note(self, state, reason):
        """The first thing that went wrong names the state; further ones are added."""
        self.state = (
            state if self.state == "ran" or state == "our fault" else self.state
        )
        self.reason = f"{self.reason}; {reason}" if self.reason else reason

    def flag(self, sentence):
        if sentence not in self.flags and len(self.flags) < 50:
            self.flags.append(sentence)

    def result(self):
        return {
            "state": self.state,
            "reason": self.reason,
            "cells": [cell.plain() for cell in self.cells],
            "evidence": self.evidence,
            "logs": self.logs,
            "flags": self.flags,
            "seconds": round(time.monotonic() - self.begin, 3),
            "peak_gb": round(self.peak / 2**30, 3),
        }


def _source(cell):
    source = cell.get("source", "")
    return _text(source if isinstance(source, str) else "".join(source))


class _Cell:
    """A code cell and what became of it."""

    def __init__(self, number, cell, settings):
        flags = cell.get("metadata", {}).get("nbgrader", {})
        self.number, self.source = number, _source(cell)
        self.id = flags.get("grade_id") or cell.get("id", "")
        call = CHECK.search(self.source) if flags.get("locked") else None
        self.exercise = call[1] if call and flags.get("grade") else None
        self.limit = settings.check_seconds if self.exercise else settings.cell_seconds
        self.status, self.outputs, self.seconds = "not run", [], 0.0
        self.deadly = False

    def plain(self):
        return {
            "id": self.id,
            "number": self.number,
            "status": self.status,
            "outputs": self.outputs,
            "seconds": round(self.seconds, 3),
        }


# The line to a kernel


class GuardedSession(Session):
    """Counts what arrives, and turns what is no proper message into one to ignore."""

    received = 0

    def feed_identities(self, msg_list, copy=True):
        try:
            return super().feed_identities(msg_list, copy)
        except ValueError:  # no delimiter
            return [], []

    def deserialize(self, msg_list, *arguments, **settings):
        type(self).received += sum(len(part) for part in msg_list)
        try:
            message = super().deserialize(msg_list, *arguments, **settings)
            parts = ("header", "parent_header", "metadata", "content")
            if all(isinstance(message[part], dict) for part in parts):
                if isinstance(message["msg_type"], str):
                    return message
        except Exception:  # unsigned, repeated, no JSON, far too deep: whatever it is
            pass
        return {"msg_type": "", "parent_header": {}, "content": {}, "header": {}}


class Line:
    """A kernel and the sockets to it; a context that leaves nothing behind."""

    def __init__(self, limits, settings):
        self.dead, self.lost, self.settings = False, "", settings
        key = uuid.uuid4().hex
        info = {"key": key, "transport": "ipc", "signature_scheme": "hmac-sha256"}
        names = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
        info |= {name: number for number, name in enumerate(names, start=1)}
        inside = {**info, "ip": f"{sandbox.ROOM}/k"}
        self.kernel = warm.start_kernel(
            inside,
            limits,
            settings.warm_path,
            arguments=["--HistoryManager.enabled=False"],
            seeds=list(settings.seeds),
        )
        self._connect({**info, "ip": f"/proc/self/fd/{self.kernel.room}/k"})

    def _connect(self, info):
        self.context = zmq.Context()
        # For all sockets to come: a message that is too big, or a line that was cut,
        # is not tried again. Who could make us connect anew could choose where to.
        self.context.MAXMSGSIZE = MOST_MESSAGE
        self.context.RECONNECT_IVL = -1
        self.context.RCVHWM = 100
        self.context.LINGER = 0
        self.context.SNDTIMEO = 2000
        self.session = type("Counting", (GuardedSession,), {})()
        self.client = BlockingKernelClient(context=self.context, session=self.session)
        self.client.load_connection_info({**info, "key": info["key"].encode()})
        self.client.start_channels(stdin=False, hb=False, control=False)
        self.shell = self.client.shell_channel
        self.iopub = self.client.iopub_channel
        self.poller = zmq.Poller()
        for part in (self.shell.socket, self.iopub.socket, self.kernel.fileno()):
            self.poller.register(part, zmq.POLLIN)

    def __enter__(self):
        end = time.monotonic() + 30
        while time.monotonic() < end and self.kernel.poll() is None:
            with contextlib.suppress(zmq.Again):  # it had ended just now
                self.client.kernel_info()
            if self.iopub.socket.poll(300):  # we hear what it publishes
                return self
        why = self.kernel.reason or "the kernel started and did not answer"
        self.__exit__()
        raise warm.KernelFailed(why)

    def __exit__(self, *_):
        self.kernel.kill()
        with contextlib.suppress(TimeoutError):
            self.kernel.wait(10)
        self.kernel.close()
        self.client.stop_channels()
        self.context.destroy(linger=0)

    def run(self, source, seconds, sink):
        """Run one cell.

        Returns:
            `(status, why)`: "ran", "stopped" or "died", and what to tell about it.
        """
        type(self.session).received = 0
        try:
            asked = self.client.execute(source, allow_stdin=False, stop_on_error=False)
        except zmq.Again:
            self.lost = "the kernel had cut its line to us: it was killed"
            return self._end("", sink)
        if self._listen(asked, seconds, sink):
            return "ran", ""
        if not self.dead and not self.lost:
            self.kernel.send_signal(signal.SIGINT)
            if self._listen(asked, GRACE, sink):
                return "stopped", f"the time was up after {seconds:.0f} seconds"
            if not self.dead and not self.lost:
                self.lost = f"the time was up after {seconds:.0f} seconds, and the "
                self.lost += "kernel did not react to an interrupt: it was killed"
        return self._end(asked, sink)

    def _end(self, asked, sink):
        self.dead = True
        self.kernel.kill()
        with contextlib.suppress(TimeoutError):
            self.kernel.wait(10)
        while self.iopub.socket.poll(50):  # what it said before
            self._hear(asked, sink)
            if type(self.session).received > MOST_RECEIVED:
                break
        return "died", self.lost or f"the kernel died: {self.kernel.reason}"

    def state(self, status):
        """The word for what happened to the notebook."""
        if self.kernel.reason == warm.ORPHANED:
            return "our fault"
        if status == "stopped" or "time was up" in self.lost:
            return "out of time"
        return "out of memory" if "of memory" in self.kernel.reason else "crashed"

    def _listen(self, asked, seconds, sink):
        """Collect what a cell publishes, until it is done; False where it is not."""
        end, replied, idle = time.monotonic() + seconds, False, False
        before = sandbox.resident(os.getpid())
        while not (replied and idle):
            left = end - time.monotonic()
            if left <= 0:
                if replied:
                    self.lost = "the outputs broke off: one was larger than 4 MB"
                return False
            ready = dict(self.poller.poll(min(left, LOOK) * 1000))
            if self.iopub.socket in ready:
                idle = self._hear(asked, sink) or idle
            elif self.kernel.fileno() in ready:
                if self.kernel.poll() is not None:
                    self.dead = True
                    return False
            if self.shell.socket in ready and self._replied(asked, sink):
                replied, end = True, min(end, time.monotonic() + LAST_WORDS)
            if self._flooded(before):
                return False
        return True

    def _flooded(self, before):
        """Whether it wrote too much: what we took, or one message without an end."""
        growth = sandbox.resident(os.getpid()) - before
        if type(self.session).received > MOST_RECEIVED or growth > MOST_GROWTH:
            self.lost = f"it wrote more than {MOST_RECEIVED >> 20} MB: it was killed"
        return bool(self.lost)

    def _replied(self, asked, sink):
        message = self.shell.get_msg(timeout=0)
        if message["parent_header"].get("msg_id") != asked:
            return False
        if message["msg_type"] == "execute_reply":
            sink.failed = message["content"].get("status") != "ok"
            return True
        return False

    def _hear(self, asked, sink):
        """Take one published message; True where it says that the cell is done."""
        message = self.iopub.get_msg(timeout=0)
        if message["parent_header"].get("msg_id") != asked:
            return False
        if message["msg_type"] == "status":
            return message["content"].get("execution_state") == "idle"
        sink.take(message["msg_type"], message["content"])
        return False


# What a cell publishes


class Nothing:
    """Takes what a cell publishes, and keeps nothing."""

    failed = False

    def take(self, kind, content):
        pass


class _Sink:
    """Takes what one cell publishes: outputs for readers, evidence for the judge."""

    def __init__(self, run, cell, keep):
        self.run, self.cell, self.keep = run, cell, keep
        self.most = self.left = min(run.settings.cell_output, run.output_left)
        self.clear, self.failed = False, False
        self.seeds = set()

    def take(self, kind, content):
        """One message's content; what has not the expected form is dropped."""
        if not self.keep:
            return
        if kind == "stream":
            self._stream(content.get("name"), content.get("text"))
        elif kind in ("display_data", "execute_result"):
            self._display(kind, content)
        elif kind == "update_display_data":
            self._update(content)
        elif kind == "error":
            self._error(content)
        elif kind == "clear_output":
            self.clear = bool(content.get("wait"))
            if not self.clear:
                self.cell.outputs.clear()

    def _add(self, output, size):
        if self.clear:
            self.cell.outputs.clear()
            self.clear = False
        if self.left <= 0:
            return False
        self.left -= size + 100  # many small ones count, too
        if self.left <= 0:
            output = {"output_type": "stream", "name": "stdout", "text": LEFT_OUT}
        self.cell.outputs.append(output)
        return self.left > 0

    def _stream(self, name, text):
        if name not in ("stdout", "stderr") or not isinstance(text, str):
            return
        text = _text(text[: max(self.left, 0)])
        last = self.cell.outputs[-1] if self.cell.outputs and not self.clear else {}
        if last.get("name") == name and self.left > 0:
            last["text"] += text
            self.left -= len(text)
            if self.left <= 0:
                last["text"] += LEFT_OUT
        else:
            self._add({"output_type": "stream", "name": name, "text": text}, len(text))

    def _display(self, kind, content):
        data = content.get("data")
        if not isinstance(data, dict):
            return
        if EVIDENCE in data:
            self._evidence(data[EVIDENCE])
            return
        data, size = _kept(data)
        output = {"output_type": kind, "data": data, "metadata": {}}
        if kind == "execute_result":
            output["execution_count"] = None
        if self._add(output, size):
            name = _display_id(content)
            if name:
                self.run.displays.setdefault(name, []).append(output)

    def _update(self, content):
        data = content.get("data")
        if isinstance(data, dict):
            data, size = _kept(data)
            for output in self.run.displays.get(_display_id(content), [])[:100]:
                if self.left > 0:
                    output["data"] = data
                    self.left -= size + 100

    def _error(self, content):
        lines = content.get("traceback")
        lines = lines if isinstance(lines, list) else []
        lines = [_text(line[:5000]) for line in lines[:100] if isinstance(line, str)]
        name, value = (
            _text(str(content.get(part))[:2000]) for part in ("ename", "evalue")
        )
        output = {"output_type": "error", "ename": name, "evalue": value}
        self._add({**output, "traceback": lines}, sum(map(len, lines)))

    def _evidence(self, data):
        exercise = self.cell.exercise
        if isinstance(data, dict) and isinstance(data.get(CHANGED), str):
            name = _text(data[CHANGED][:100])
            self.run.flag(f"it replaced {name} of the course's own code while it ran")
            self.run.trusted &= not name.startswith("helpers.")
        if not exercise or not isinstance(data, dict) or not self.run.trusted:
            return
        seed, text = data.get("seed"), data.get("records")
        if data.get("exercise") != exercise or type(seed) is not int:
            return
        if seed not in self.run.settings.seeds:
            return
        if seed in self.seeds:
            self.run.flag(f"the evidence of {exercise} was published more than once")
            return
        records = _records(text)
        if records is None:
            self.run.flag(f"the evidence of {exercise} has not the form that ours has")
            return
        self.seeds.add(seed)
        self.run.evidence.setdefault(exercise, {})[str(seed)] = records
        self.run.logs[exercise] = _log(data.get("log"))


def _text(text):
    """Text that can be written to any file: without halves of characters."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _kept(data):
    """Only what a reader needs, as text, and its size."""
    kept = {n: _text(data[n]) for n in KEPT if isinstance(data.get(n), str)}
    return kept, sum(map(len, kept.values()))


def _display_id(content):
    transient = content.get("transient")
    name = transient.get("display_id") if isinstance(transient, dict) else None
    return name if isinstance(name, str) else None


def _records(text):
    """Records out of their JSON text, or None where it is nothing of the kind."""
    if not isinstance(text, str):
        return None
    try:
        records = _plain(json.loads(text))
    except (ValueError, RecursionError):
        return None
    if not isinstance(records, list) or not 0 < len(records) <= MOST_RECORDS:
        return None
    return records if all(isinstance(record, dict) for record in records) else None


def _plain(value, depth=0):
    """The same data, if whoever gets it can write it and compute with it.

    Raises:
        ValueError: where it is nested too deep, or holds a number that is far too long.
    """
    if depth > MOST_DEPTH:
        raise ValueError("nested too deep")
    if isinstance(value, dict):
        return {_text(name): _plain(part, depth + 1) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part, depth + 1) for part in value]
    if isinstance(value, int) and abs(value) >= 2**64:
        raise ValueError("a number of too many digits")
    return _text(value) if isinstance(value, str) else value


def _log(log):
    log = log if isinstance(log, dict) else {}
    printed, warned = log.get("printed"), log.get("warned")
    printed = printed if isinstance(printed, str) else ""
    warned = warned[:3] if isinstance(warned, list) else []
    return {
        "printed": _text(printed[:5000]),
        "warned": [_text(str(text)[:300]) for text in warned],
    }
