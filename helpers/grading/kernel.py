"""What happens in a fork of the warm process: it becomes a kernel.

A sandboxed one takes three forks: a helper that leaves this machine's namespaces and
ends; process 1 of the new world, which builds the mount tree and waits; and the
kernel, which gives up all rights before it listens.
"""

import contextlib
import gc
import json
import os
import random
import re
import select
import signal
import socket
import sys
import tempfile
import traceback
from functools import partial

from ipykernel.kernelapp import IPKernelApp
from IPython.display import display
from jupyter_client.session import Session
from traitlets import default

from helpers import checks
from helpers.checks.evidence import run_logged
from helpers.grading import sandbox

EVIDENCE = "application/vnd.course.evidence+json"
CHANGED = "changed"  # in the place of evidence: which function of ours was replaced
OWN = ("helpers.checks", "helpers.grading.kernel")
MOST_EVIDENCE = 2 * 2**20  # characters of JSON, for one exercise and one seed
MOST_TEXT = 100_000  # characters a cell may print
MOST_MESSAGE = 3 * 2**20  # bytes; beyond `execute.MOST_MESSAGE` nothing arrives
SECONDS = 20.0  # for a check that names no limit, as in helpers.lessons.answers
NO_SEED = 0
DEBUGGER = re.compile(r"pdb\S*\s*$", re.IGNORECASE)  # its prompt: "(Pdb) ", "ipdb> "


# In the helper and in process 1


def become(request, report, life):
    """Turn this fork into the kernel that `request` describes. Never returns.

    Args:
        request: dict, see `warm.start_kernel`.
        report: socket on which the warm process hears how far we are.
        life: socket that reads as ended as soon as the warm process has.
    """
    try:
        os.setsid()
        close_all({report.fileno(), life.fileno()})
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        if request["sandbox"] is None:
            life.close()
            sandbox.die_with_parent(signal.SIGKILL)
            _kernel(request, report)
        else:
            _helper(request, report, life, _limits(request))
    except BaseException as error:
        with contextlib.suppress(OSError):
            problem = f"{type(error).__name__}: {error}"[:1000]
            tell(report, problem=problem, details=traceback.format_exc()[-5000:])
    finally:
        os._exit(70)


def tell(report, files=(), **message):
    """Send one message, with open files if need be."""
    socket.send_fds(report, [json.dumps(message).encode()], list(files))


def close_all(keep):
    """Close every inherited file but `keep`, and point the streams to nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _limits(request):
    return sandbox.Limits(**request["sandbox"])


def _helper(request, report, life, limits):
    user = sandbox.free_user(os.getpid()) if os.getuid() == 0 else None
    sandbox.leave(limits.allow)
    first = os.fork()
    if first:
        tell(report, first=first)
        os._exit(0)
    if "processes" in limits.allow:
        sandbox.control(36, 1)  # at least collect what loses its parent
    if "files" in limits.allow:
        room = _without_walls(request, user)
    else:
        room = sandbox.build_tree(request["stage"], limits)
    tell(report, files=[room], room=True)
    os.close(room)
    kernel = os.fork()
    if kernel == 0:
        life.close()
        sandbox.give_up(limits, user)
        _kernel(request, report)
    report.close()
    sandbox.give_up(limits, user)
    _wait(kernel, life)


def _without_walls(request, user):
    """Where the system lacks mounts, and that was allowed: a folder of its own."""
    place = request["stage"]
    if user is not None:
        os.chown(place, user, user)
    request["connection"]["ip"] = f"{place}/k"
    request["cwd"] = f"{place}/work"
    request["env"] |= {"HOME": place, "TMPDIR": place, "IPYTHONDIR": f"{place}/i"}
    return os.open(place, os.O_PATH | os.O_DIRECTORY)


def _wait(kernel, life):
    """Process 1: pass signals on, collect the dead, end with the kernel.

    When process 1 ends, the system ends all others of its world at once.
    """
    awake, wake = socket.socketpair()
    awake.setblocking(False)
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(kernel, number))
    while True:
        ready, _, _ = select.select([awake, life], [], [])
        if life in ready:
            _end(137)
        with contextlib.suppress(BlockingIOError):
            awake.recv(4096)
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == kernel:
                    code = os.waitstatus_to_exitcode(found[1])
                    _end(code if code >= 0 else 128 - code)


def _end(code):
    if os.getpid() != 1:  # the system lacks process namespaces, and that was allowed
        for pid in sandbox.family(os.getpid())[1:]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
    os._exit(code)


# In the kernel


class CappedSession(Session):
    """Keeps one cell's output small, for the sake of honest learners.

    Who wants to get around this can; the grader has its own limits. But those cut the
    line, and a forgotten `print` in a loop should not cost the outputs after it.
    """

    def __init__(self, **settings):
        super().__init__(**settings)
        self.cell, self.left = None, MOST_TEXT

    def send(self, stream, msg_or_type, content=None, parent=None, *rest, **more):
        message = msg_or_type if isinstance(msg_or_type, dict) else None
        kind = message["msg_type"] if message else msg_or_type
        body = message["content"] if message else content
        if kind == "stream":
            cell = (message or {}).get("parent_header", parent or {}).get("msg_id")
            if not self._shorten(body, cell):
                return None
        elif kind in ("display_data", "execute_result", "update_display_data"):
            self._leave_out(body)
        return super().send(stream, msg_or_type, content, parent, *rest, **more)

    def _shorten(self, content, cell):
        if cell != self.cell:
            self.cell, self.left = cell, MOST_TEXT
        if self.left <= 0:
            return False
        text, self.left = content["text"], self.left - len(content["text"])
        if self.left <= 0:
            kept = text[
                : MOST_TEXT if self.left < -len(text) else len(text) + self.left
            ]
            content["text"] = f"{kept}\n... the rest of this output is left out.\n"
        return True

    @staticmethod
    def _leave_out(content):
        data = content.get("data", {})
        size = sum(len(value) for value in data.values() if isinstance(value, str))
        if size > MOST_MESSAGE:
            text = f"[an output of {size / 2**20:.0f} MB is left out]"
            content["data"] = {"text/plain": text}


class KernelApp(IPKernelApp):
    """The usual IPython kernel with a bounded output."""

    @default("session")
    def _bounded(self):
        return CappedSession(parent=self)


def _kernel(request, report):
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _surroundings(request)
    if request["seeds"] is not None:
        checks.grading = partial(publish, request["seeds"])
    handle, path = tempfile.mkstemp(".json")
    with os.fdopen(handle, "w") as file:
        json.dump(request["connection"], file)
    app = KernelApp.instance()
    app.initialize(["-f", path, *request["arguments"]])
    os.unlink(path)
    if request["seeds"] is not None:  # `quit()` in an answer: the next cells still run
        app.shell.ask_exit = lambda: None
        app.kernel.raw_input = _nobody_types
        _watch_own_code(app.shell)
    gc.unfreeze()
    tell(report, ready=True)
    report.close()
    app.start()
    app.close()
    os._exit(0)  # TensorFlow takes more than a second to leave; nothing needs it to


def _nobody_types(prompt=""):
    """What `input()` gives; a debugger, which would ask for ever, hears the end."""
    if DEBUGGER.search(prompt):
        raise EOFError
    return ""


def _watch_own_code(shell):
    """Put back what a submission replaces of ours, and tell the grader, see `CHANGED`.

    What comes then is no evidence of anything. Who wants to get around this can; but
    who does not know of it is seen. A module that was only loaded again is put back
    without a word.
    """
    modules = [sys.modules[name] for name in sys.modules if name.startswith(OWN)]
    before = [(module, _parts(module)) for module in modules]
    marks = {"AnyOrder": checks.AnyOrder, "EqualOrNot": checks.EqualOrNot}
    told = set()

    def tell(name):
        if name not in told:
            told.add(name)
            _tell_changed(name)

    def look(cell):
        for module, parts in before:
            for key in _put_back(module, parts):
                tell(f"{module.__name__}.{key}")
        if cell.raw_cell.startswith("# @title Check"):
            if not callable(shell.user_ns.get("check")):  # a variable of the learner's
                shell.user_ns["check"] = checks.check
            for name, mark in marks.items():  # what a check marks its evidence with
                found = shell.user_ns.get(name, mark)
                if found is mark:
                    continue
                shell.user_ns[name] = mark
                if not _is_loaded_again(found, mark):
                    tell(name)

    shell.events.register("pre_run_cell", look)


def _tell_changed(name):
    display({EVIDENCE: {CHANGED: name}, "text/plain": ""}, raw=True)


def _parts(module):
    """A module's functions and classes, with the code that the functions run."""
    found = {key: value for key, value in vars(module).items() if callable(value)}
    return {key: (one, getattr(one, "__code__", None)) for key, one in found.items()}


def _put_back(module, parts):
    """Names of what was replaced in a module, which is as it was afterwards."""
    changed, again = [], []
    for key, (part, code) in parts.items():
        now = vars(module).get(key)
        if now is part and getattr(part, "__code__", None) is code:
            continue
        setattr(module, key, part)
        if code:
            part.__code__ = code
        loaded = now is not part and _is_loaded_again(now, part)
        (again if loaded else changed).append((key, now))
    # `grading` is None in a module that was just loaded.
    return [key for key, now in changed if not (now is None and again)]


def _is_loaded_again(now, part):
    """Whether one thing comes from the same source as the other."""
    if isinstance(part, type) and isinstance(now, type):
        return _codes(now) == _codes(part)
    code = getattr(part, "__code__", None)
    return code is not None and getattr(now, "__code__", None) == code


def _codes(kind):
    return {k: v.__code__ for k, v in vars(kind).items() if hasattr(v, "__code__")}


def _surroundings(request):
    os.environ.clear()
    os.environ.update(request["env"])
    folder = request["cwd"]
    if request["sandbox"] is not None:
        os.makedirs(folder, exist_ok=True)
        _seed()
    os.chdir(folder)
    tempfile.tempdir = None
    if "" not in sys.path:
        sys.path.insert(0, "")


def _seed():
    """The same random numbers in every kernel, where a notebook sets no seed."""
    import keras

    random.seed(NO_SEED)
    keras.utils.set_random_seed(NO_SEED)


def publish(seeds, exercise, evidence, seconds=None):
    """What `check` does while a grader listens: evidence for its seeds, no verdict."""
    for seed in seeds:
        records, log = run_logged(evidence, seed, seconds=seconds or SECONDS)
        # As text: JSON in Jupyter's messages knows no NaN and no infinity.
        text = json.dumps(records)
        if len(text) > MOST_EVIDENCE:
            problem = {"type": "TooMuch", "message": "evidence of more than 2 MB"}
            text = json.dumps([{"error": {**problem, "where": "", "line": ""}}])
        data = {"exercise": exercise, "seed": seed, "records": text, "log": log}
        bundle = {EVIDENCE: data, "text/plain": f"evidence of {exercise}"}
        display(bundle, raw=True)
