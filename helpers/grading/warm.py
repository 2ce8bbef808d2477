"""One process that has imported TensorFlow, and forks a kernel per request.

The first who needs a kernel starts it; whoever comes later, with the same user and
the same installation, finds it at the same socket. It ends when it was unused for a
while. A connection is a kernel: when it is closed, or its owner dies, the kernel is
killed; and when the warm process dies, all its kernels do.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from helpers.grading import sandbox

IDLE = 300  # seconds without a kernel after which the warm process ends
AGAIN = 10  # the same for a private one that was killed and started anew
PATIENCE = 180  # seconds to wait for a kernel, the first import included
MOST_SESSIONS = 5  # of one kernel's processes: each may take as much time as others
TICK = 0.05  # seconds between two looks at the memory of sandboxed kernels
PACKET = 100_000  # bytes of one message
PRIVATE = "warm-"  # how a private warm process's folder is called

# Read once, at import or at the first operation: the same in every kernel.
FIXED = {
    "COURSE_PROGRESS": "off",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}
INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
INSIDE = {
    **FIXED,
    "CUDA_VISIBLE_DEVICES": "-1",
    "HOME": sandbox.SCRATCH,
    "IPYTHONDIR": f"{sandbox.SCRATCH}/.ipython",
    "LANG": "C.UTF-8",
    "MPLCONFIGDIR": f"{sandbox.SCRATCH}/.matplotlib",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}


KILLED = "it was stopped by signal 9 (SIGKILL)"
ORPHANED = "the process that had forked it has ended"


class KernelFailed(RuntimeError):
    """No kernel could be started; the message says why."""


# Finding the warm process, or starting it


def folder():
    """Where this user's sockets lie: nobody else may look in."""
    place = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    if len(place) > 60 or not os.access(place, os.W_OK):  # socket names are short
        place = "/tmp"
    path = Path(place) / f"course-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o777 != 0o700:
        raise KernelFailed(
            f"{path} must be a folder of yours that only you may open; remove it, or "
            "set TMPDIR to another place."
        )
    return path


def address():
    """The socket for this installation: another one after an update of it."""
    package = Path(__file__).resolve().parents[1]
    course = sorted(package.rglob("*.py"))
    parts = [sys.executable, package, *(path.stat().st_mtime_ns for path in course)]
    parts += [os.stat(sysconfig.get_path("purelib")).st_mtime_ns]
    name = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12]
    return folder() / f"warm-{name}"


def connect(path=None, idle=IDLE):
    """A connection to the warm process at `path`, which is started where need be."""
    path = Path(path or address())
    with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
        return _connected(path)
    with _alone(path):
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
            return _connected(path)
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(os.fspath(path))
            listener.listen(128)
            _launch(path, listener, idle)
        return _connected(path)


@contextlib.contextmanager
def _alone(path):
    """Nobody else starts or ends a warm process here at the same time."""
    with open(path.with_name("lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _connected(path):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(os.fspath(path))
    except OSError:
        connection.close()
        raise
    return connection


def _launch(path, listener, idle):
    """Start the warm process with an environment of which nothing is secret."""
    env = {name: os.environ[name] for name in INHERITED if name in os.environ}
    course = os.fspath(Path(__file__).resolve().parents[2])
    paths = [course, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    env |= {**FIXED, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    number = listener.fileno()
    command = [sys.executable, "-P", "-m", "helpers.grading.warm"]
    for _ in range(2):  # it may be killed before it stands
        with open(path.with_suffix(".log"), "w") as log:
            done = subprocess.run(
                [*command, os.fspath(path), str(number), str(idle)],
                env=env,
                cwd="/",
                pass_fds=[number],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if done.returncode == 0:
            return
    said = _log(path) or f"exit status {done.returncode}"
    raise KernelFailed(f"the warm process cannot start:\n{said}")


@contextlib.contextmanager
def private():
    """A warm process of one's own: it ends with the body, or with this process.

    Yields:
        Its socket, for `start_kernel(path=...)`.
    """
    with contextlib.ExitStack() as stack:
        with _alone(folder() / PRIVATE):
            _sweep()
            made = tempfile.TemporaryDirectory(
                dir=folder(), prefix=PRIVATE, ignore_cleanup_errors=True
            )
            place = Path(stack.enter_context(made))
            owner = stack.enter_context(open(place / "owner", "w"))
            fcntl.flock(owner, fcntl.LOCK_EX)
        path = place / "warm"
        connection = stack.enter_context(connect(path, idle=0))
        try:
            yield path
        finally:
            with contextlib.suppress(OSError):  # it was killed
                connection.shutdown(socket.SHUT_WR)
            _wait_for_end(path)


def _sweep():
    """Remove folders whose owner and whose warm process were both killed."""
    for place in folder().glob(f"{PRIVATE}*/"):
        with contextlib.suppress(OSError), open(place / "owner", "a") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails if it lives
            try:
                _connected(place / "warm").close()
            except OSError:
                shutil.rmtree(place)


def _wait_for_end(path, seconds=5):
    end = time.monotonic() + seconds
    while path.exists() and time.monotonic() < end:
        time.sleep(0.02)


# Kernels, from outside


class Kernel:
    """A kernel that runs in a fork of the warm process; behaves like a `Popen`.

    Attributes:
        room: descriptor of the folder with a sandboxed kernel's sockets.
        returncode: None while it runs; then its code, or minus the signal's number.
        reason: why it ended, in words.
        peak: bytes of memory it took at most, for a sandboxed one.
    """

    stdin = stdout = stderr = None
    _sent = False

    def __init__(self, connection):
        self.connection, self.room, self.pid = connection, None, None
        self.returncode, self.reason, self.peak = None, "", 0

    def _wait_for_start(self, patience):
        end = time.monotonic() + patience
        while True:
            self.connection.settimeout(max(0.01, end - time.monotonic()))
            try:
                message = self._receive()
            except TimeoutError:
                self.close()
                raise KernelFailed("no kernel answered in time.") from None
            if message is None or "problem" in message:
                self.close()
                text = (message or {}).get("problem", "the warm process has ended")
                raise KernelFailed(f"no kernel could be started: {text}")
            if "ready" in message:
                self.pid = message["ready"]
                self.connection.setblocking(False)
                return

    def _receive(self):
        data, files, _, _ = socket.recv_fds(self.connection, PACKET, 1)
        if files:
            if self.room is None:
                self.room = files[0]
            else:
                os.close(files[0])
        return json.loads(data) if data else None

    def fileno(self):
        """To wait for: there is something to read when the kernel has ended."""
        return self.connection.fileno()

    def poll(self):
        """The return code, or None while the kernel runs."""
        while self.returncode is None:
            try:
                message = self._receive()
            except BlockingIOError:
                return None
            except OSError:
                message = None
            if message is None:
                message = {"ended": -signal.SIGKILL, "peak": self.peak}
                message["reason"] = ORPHANED
            self._sent = self._sent or "sent" in message
            if "ended" in message:
                self.reason, self.peak = message["reason"], message["peak"]
                self.returncode = message["ended"]
        return self.returncode

    def wait(self, timeout=None):
        """Wait until the kernel has ended; returns its code."""
        end = None if timeout is None else time.monotonic() + timeout
        with selectors.DefaultSelector() as ready:
            if self.returncode is None:
                ready.register(self.connection, selectors.EVENT_READ)
            while self.poll() is None:
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError("the kernel runs on")
                ready.select(left)
        self.close()
        return self.returncode

    def send_signal(self, number):
        """Send the kernel a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(OSError):
                self.connection.send(json.dumps({"signal": int(number)}).encode())
                self._sent = False
                self._wait_until_sent()

    def _wait_until_sent(self, seconds=2):
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as ready:
            ready.register(self.connection, selectors.EVENT_READ)
            while self.poll() is None and not self._sent and time.monotonic() < end:
                ready.select(end - time.monotonic())

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def close(self):
        """Give up the connection; a kernel that still runs is killed."""
        self.connection.close()
        if self.room is not None:
            os.close(self.room)
            self.room = None


def start_kernel(connection, limits=None, path=None, **settings):
    """Start a kernel and wait until it listens.

    Args:
        connection: Jupyter's connection info as plain data; transport "ipc".
        limits: `sandbox.Limits`, or None for a kernel without sandbox.
        path: socket of a warm process, see `private`.
        settings: `env`, `cwd`, `arguments` (for IPython), `seeds` (of evidence that
            `check` publishes instead of a verdict).

    Raises:
        KernelFailed: with the reason.
    """
    request = {"env": {}, "cwd": "/", "arguments": [], "seeds": None, **settings}
    request |= {"connection": connection, "sandbox": None}
    if limits is not None:
        request |= {"sandbox": limits.plain(), "cwd": f"{sandbox.SCRATCH}/work"}
        request["env"] = {**INSIDE, "PATH": os.defpath, **request["env"]}
    for _ in range(2):  # the warm process may end just now, unused for too long
        kernel = Kernel(connect(path, AGAIN if path else IDLE))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            kernel.connection.send(json.dumps(request).encode())
            kernel._wait_for_start(PATIENCE)
            return kernel
        kernel.close()
    raise KernelFailed(f"the warm process cannot start:\n{_log(path)}")


def _log(path):
    with contextlib.suppress(OSError):
        return Path(path or address()).with_suffix(".log").read_text()[-2000:]
    return "no log"


# The warm process


class Fork:
    """One kernel, as the warm process knows it."""

    def __init__(self, connection):
        self.connection, self.report, self.limits = connection, None, None
        self.pid, self.reason, self.peak = None, "", 0
        self.ready, self.place, self.sockets = False, None, None
        # What was counted last: by which processes, what they share, when to look again
        self.counted, self.taken, self.shared, self.again = set(), 0, 0, 0.0


class Server:
    """Forks kernels, watches the sandboxed ones, tells their owners how they ended."""

    def __init__(self, path, listener, idle):
        self.path, self.listener, self.idle = path, listener, idle
        self.events = selectors.DefaultSelector()
        self.forks, self.ended, self.helpers = {}, {}, set()
        self.life, self.mine = socket.socketpair()
        self.stage = os.fspath(path.with_name("root"))  # empty; each covers its own
        os.makedirs(self.stage, exist_ok=True)
        self.unused_since, self.used = time.monotonic(), False

    def run(self):
        """Serve until nobody has needed a kernel for `idle` seconds."""
        sandbox.control(36, 1)  # kernels become our children when their helper ends
        awake, wake = socket.socketpair()
        awake.setblocking(False)
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.listener.setblocking(False)
        self.events.register(self.listener, selectors.EVENT_READ, self._accept)
        self.events.register(awake, selectors.EVENT_READ, lambda: awake.recv(4096))
        while not self._unused():
            for key, _ in self.events.select(self._pause()):
                key.data()
            self._collect()
            for fork in [fork for fork in self.forks.values() if fork.limits]:
                self._watch(fork)

    def _pause(self):
        if any(fork.limits for fork in self.forks.values()):
            return TICK
        return None if self.forks else max(self.idle / 10, 0.2)

    def _unused(self):
        """Whether it is time to end; nobody can connect any more if it is."""
        if self.forks:
            self.unused_since, self.used = time.monotonic(), True
        elif not self.path.exists():  # nobody can connect any more
            return True
        patience = self.idle if self.used else max(self.idle, 10)
        if self.forks or time.monotonic() - self.unused_since < patience:
            return False
        with _alone(self.path):
            self._accept()
            if self.forks:
                return False
            self.path.with_suffix(".log").unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
            if self.path.parent.name.startswith(PRIVATE):  # its owner may be killed
                shutil.rmtree(self.path.parent, ignore_errors=True)
            return True

    def _accept(self):
        with contextlib.suppress(BlockingIOError):
            connection, _ = self.listener.accept()
            connection.setblocking(False)
            fork = self.forks[connection] = Fork(connection)
            read = selectors.EVENT_READ
            self.events.register(connection, read, lambda: self._hear(fork))

    def _hear(self, fork):
        """A request from a kernel's owner; or the owner is gone."""
        try:
            data = fork.connection.recv(PACKET)
        except OSError:
            data = b""
        message = json.loads(data) if data else None
        if message is None:
            self._kill(fork, signal.SIGKILL)
            self._forget(fork)
        elif "signal" in message:
            self._kill(fork, message["signal"])
            self._tell(fork, {"sent": message["signal"]})
        elif fork.report is None:
            self._fork(fork, message)

    def _fork(self, fork, request):
        from helpers.grading import kernel

        fork.report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if request["sandbox"] is None:
            fork.sockets = request["connection"]["ip"]
        else:
            fork.limits = sandbox.Limits(**request["sandbox"])
        request["stage"] = self._stage(fork)
        try:
            pid = os.fork()
        except OSError as error:  # too many processes, or no memory: others live on
            self._tell(fork, {"problem": f"no fork: {error.strerror}"})
            return self._forget(fork)
        if pid == 0:
            kernel.become(request, theirs, self.mine)
        theirs.close()
        if fork.limits is None:
            fork.pid = pid
        else:
            self.helpers.add(pid)
        fork.report.setblocking(False)
        self.events.register(
            fork.report, selectors.EVENT_READ, lambda: self._progress(fork)
        )

    def _stage(self, fork):
        """The folder that a mount tree will cover, or one that is really used."""
        if fork.limits and "files" in fork.limits.allow:
            fork.place = tempfile.mkdtemp(prefix="course-", dir="/tmp")
            return fork.place
        return self.stage

    def _progress(self, fork):
        """What a fork says about itself before learners' code runs in it."""
        try:
            data, files, _, _ = socket.recv_fds(fork.report, PACKET, 1)
        except OSError:
            data, files = b"", []
        message = json.loads(data) if data else {}
        if "first" in message:
            fork.pid = message["first"]
            if fork.connection not in self.forks:
                self._kill(fork, signal.SIGKILL)
        fork.ready = fork.ready or "ready" in message
        if "details" in message:
            print(message.pop("details"), flush=True)  # to the log
        if not data:
            self.events.unregister(fork.report)
            fork.report.close()
            if not fork.ready:
                message = {"problem": "the kernel ended while it started"}
        if "ready" in message:
            message = {"ready": fork.pid}
        if message and "first" not in message:
            self._tell(fork, message, files)
        for file in files:
            os.close(file)

    def _tell(self, fork, message, files=()):
        with contextlib.suppress(OSError):
            socket.send_fds(fork.connection, [json.dumps(message).encode()], files)

    def _kill(self, fork, number):
        if fork.pid is not None and fork.pid not in self.ended:
            with contextlib.suppress(ProcessLookupError):
                if fork.limits is None:
                    os.killpg(fork.pid, number)
                elif number == signal.SIGKILL and "processes" in fork.limits.allow:
                    for pid in reversed(sandbox.family(fork.pid)):
                        os.kill(pid, number)
                else:
                    os.kill(fork.pid, number)

    def _collect(self):
        """Reap whatever has ended, and tell the owners."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] in self.helpers:
                    self.helpers.remove(found[0])
                else:
                    self.ended[found[0]] = os.waitstatus_to_exitcode(found[1])
        for fork in list(self.forks.values()):
            if fork.pid in self.ended:
                self._report_end(fork, self.ended[fork.pid])
                self._forget(fork)

    def _report_end(self, fork, code):
        if fork.limits and code > 128:
            code = 128 - code
        reason = fork.reason or _reason(code)
        if code == -signal.SIGKILL and fork.limits and not fork.reason:
            reason = f"{KILLED} when it took {fork.peak / 2**30:.1f} GB"
        message = {"ended": code, "reason": reason, "peak": fork.peak}
        self._tell(fork, message)

    def _forget(self, fork):
        self.forks.pop(fork.connection, None)
        self.ended.pop(fork.pid, None)
        with contextlib.suppress(KeyError, ValueError):
            self.events.unregister(fork.connection)
        fork.connection.close()
        if fork.place:
            shutil.rmtree(fork.place, ignore_errors=True)
        for number in range(1, 6) if fork.sockets else ():
            Path(f"{fork.sockets}-{number}").unlink(missing_ok=True)

    def _watch(self, fork):
        """Kill a sandboxed kernel whose processes take too much memory together."""
        if fork.pid is None or fork.reason:
            return
        pids = sandbox.family(fork.pid)[1:]
        taken = self._taken(fork, pids)
        fork.peak = max(fork.peak, taken)
        if taken > fork.limits.memory:
            fork.reason = f"it was killed at {taken / 2**30:.1f} GB of memory"
        elif len(pids) > MOST_SESSIONS and sandbox.sessions(pids) > MOST_SESSIONS:
            fork.reason = "it was killed: too many of its processes left its session"
        if fork.reason:
            self._kill(fork, signal.SIGKILL)

    def _taken(self, fork, pids):
        """Bytes of memory of a kernel's processes, or a little more.

        What they share is counted once. For many that takes long, and others wait: so
        it is counted again only where their sizes have grown by more than is left.
        """
        waiting = 0 if "network" in fork.limits.allow else sandbox.queued(fork.pid)
        room = fork.limits.memory - waiting
        taken = sum(sandbox.resident(pid) for pid in pids)
        if taken > room and len(pids) > 1:
            taken = self._counted_once(fork, sandbox.with_own_memory(pids), room)
        return taken + waiting

    def _counted_once(self, fork, pids, room):
        sizes, begin = sum(sandbox.resident(pid) for pid in pids), time.monotonic()
        known = sizes - fork.shared
        same = fork.counted <= set(pids)  # what has ended takes what it shared along
        if same and known <= room:
            return known
        if begin >= fork.again:
            fork.taken = sum(sandbox.share(pid) for pid in pids)
            fork.counted, fork.shared = set(pids), max(sizes - fork.taken, 0)
            end = time.monotonic()
            fork.again = end + 2 * (end - begin)
        return fork.taken


def _reason(code):
    if code < 0:
        name = signal.Signals(-code).name
        return f"it was stopped by signal {-code} ({name})"
    return "it ended by itself" + (f" with code {code}" if code else "")


def _import_all():
    """What kernels need, without a single operation: TensorFlow must not run yet."""
    import keras  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import pandas  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import sklearn.model_selection  # noqa: F401
    import sklearn.preprocessing  # noqa: F401
    import tensorflow  # noqa: F401

    from helpers import data, plots, runtime, watch  # noqa: F401
    from helpers.grading import kernel  # noqa: F401


def main(path, number, idle):
    """Serve kernels on an inherited socket, as a process that belongs to nobody."""
    import gc

    if os.fork():
        os._exit(0)
    listener = socket.socket(fileno=int(number))
    _import_all()
    gc.collect()
    gc.freeze()  # or the first collection in every kernel copies all pages
    Server(Path(path), listener, float(idle)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
