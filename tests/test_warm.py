"""Warm kernels: by name in Jupyter, the same every time, nothing left behind."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from helpers.grading import execute, provisioner, sandbox, warm


@pytest.fixture(scope="module")
def warm_path():
    with warm.private() as path:
        yield path


@pytest.fixture(params=["course", "course-sandbox"])
def manager(request, warm_path, monkeypatch):
    """A manager for each installed kernel, with a kernel and a client."""
    monkeypatch.setattr(warm, "address", lambda: warm_path)
    specs = KernelSpecManager(kernel_dirs=[os.fspath(provisioner.SPECS)])
    found = KernelManager(kernel_name=request.param, kernel_spec_manager=specs)
    found.start_kernel()
    found.kernel_client = found.client()
    found.kernel_client.start_channels()
    found.kernel_client.wait_for_ready(timeout=60)
    yield found
    found.kernel_client.stop_channels()
    if found.is_alive():
        found.shutdown_kernel(now=True)


def printed(manager, source, timeout=60):
    """What a cell prints, or the name of its error."""
    parts = []

    def hear(message):
        content = message["content"]
        parts.append(content.get("text") or content.get("ename") or "")

    manager.kernel_client.execute_interactive(
        source, timeout=timeout, output_hook=hear, allow_stdin=False
    )
    return "".join(parts).strip()


def test_tensorflow_is_there_and_has_not_run(manager):
    source = """\
    import sys
    print("tensorflow" in sys.modules)
    from tensorflow.python.eager import context
    print(context.context()._initialized)
    import tensorflow as tf
    print(float(tf.reduce_sum(tf.ones((2, 3)))))"""
    assert printed(manager, source).split() == ["True", "False", "6.0"]


def test_fit_runs(manager):
    source = """\
    import keras, numpy as np
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    history = model.fit(np.ones((64, 3)), np.ones((64, 2)), epochs=2, verbose=0)
    print(len(history.history["loss"]))"""
    assert printed(manager, source) == "2"


def test_shell_commands_run(manager):
    assert printed(manager, "!echo hello") == "hello"


def test_interrupt(manager):
    client = manager.kernel_client
    source = "import time\nprint('up', flush=True)\ntime.sleep(60)"
    client.execute(source, stop_on_error=False)  # or the next cell may be dropped
    while client.get_iopub_msg(timeout=30)["msg_type"] != "stream":
        pass
    manager.interrupt_kernel()
    while (reply := client.get_shell_msg(timeout=20))["msg_type"] != "execute_reply":
        pass
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert printed(manager, "print(1 + 1)") == "2"


def test_restart(manager):
    assert printed(manager, "x = 1\nprint(x)") == "1"
    before = manager.provisioner.pid
    manager.restart_kernel()
    manager.kernel_client.wait_for_ready(timeout=60)
    assert manager.provisioner.pid != before
    assert printed(manager, "print(x)") == "NameError"


@pytest.mark.parametrize("now", [True, False])
def test_shutdown(manager, now):
    pid = manager.provisioner.pid
    manager.shutdown_kernel(now=now)
    assert not manager.is_alive()
    assert not Path(f"/proc/{pid}").exists()


def test_a_killed_kernel_is_dead_at_once(manager):
    process = manager.provisioner.process
    manager.kernel_client.execute("import os\nos._exit(3)")
    assert process.wait(timeout=20) == 3
    assert process.reason == "it ended by itself with code 3"
    assert not manager.is_alive()


def test_a_plain_kernel_sees_the_folder_it_was_started_in(manager, tmp_path):
    (tmp_path / "mine.py").write_text("value = 5")
    manager.restart_kernel(cwd=os.fspath(tmp_path))
    manager.kernel_client.wait_for_ready(timeout=60)
    inside = manager.kernel_name == "course-sandbox"
    wanted = "ModuleNotFoundError" if inside else "5"
    assert printed(manager, "import mine\nprint(mine.value)") == wanted


def test_nbclient_runs_a_notebook_by_the_kernels_name(warm_path, monkeypatch):
    monkeypatch.setattr(warm, "address", lambda: warm_path)
    notebook = new_notebook(cells=[new_code_cell("import os\nos.getcwd()")])
    specs = KernelSpecManager(kernel_dirs=[os.fspath(provisioner.SPECS)])
    manager = KernelManager(kernel_name="course-sandbox", kernel_spec_manager=specs)
    manager.client_class = "jupyter_client.asynchronous.AsyncKernelClient"
    NotebookClient(notebook, km=manager, shutdown_kernel="immediate").execute()
    manager.shutdown_kernel(now=True)
    text = notebook.cells[0].outputs[0]["data"]["text/plain"]
    assert text == "'/scratch/work'"


def test_the_kernels_can_be_installed(tmp_path):
    assert provisioner.install(tmp_path) == ["course", "course-sandbox"]
    folder = tmp_path / "share/jupyter/kernels"
    specs = KernelSpecManager(kernel_dirs=[os.fspath(folder)])
    assert set(specs.find_kernel_specs()) >= {"course", "course-sandbox"}


def test_the_provisioner_is_an_entry_point_of_this_project():
    import tomllib

    from helpers.lessons.paths import ROOT

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    group = project["entry-points"]["jupyter_client.kernel_provisioners"]
    assert group == {provisioner.NAME: "helpers.grading.provisioner:WarmProvisioner"}
    for path in provisioner.SPECS.glob("*/kernel.json"):
        assert f'"provisioner_name": "{provisioner.NAME}"' in path.read_text()


RANDOM = """\
import random, keras, numpy as np, tensorflow as tf
print(random.random(), np.random.rand(), float(tf.random.uniform(())), hash("a"))
x = np.random.rand(64, 3)
model = keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
model.compile("adam", "mse")
print(model.fit(x, x.sum(1), epochs=2, verbose=0).history["loss"])"""


def test_a_second_run_gives_the_same_numbers(warm_path):
    settings = execute.Settings(warm_path=warm_path)
    notebook = new_notebook(cells=[new_code_cell(RANDOM)])
    first, second = (execute.run_notebook(notebook, settings) for _ in range(2))
    outputs = first["cells"][0]["outputs"]
    assert outputs == second["cells"][0]["outputs"]
    assert "loss" not in str(outputs) and "Error" not in str(outputs)


def leftovers(path):
    """Descriptors, children and memory of a warm process that must not grow."""
    pids = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and os.fspath(path) in command(entry)
    ]
    (pid,) = [pid for pid in pids if pid not in children(pids)]
    return pid, len(os.listdir(f"/proc/{pid}/fd")), sandbox.resident(pid)


def command(entry):
    try:
        return (entry / "cmdline").read_bytes().decode()
    except OSError:
        return ""


def children(pids):
    found = set()
    for pid in pids:
        found |= set(sandbox.family(pid)[1:])
    return found


def start(path, limits):
    """Start one kernel, with sockets as the provisioner makes them."""
    names = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
    ip = f"{sandbox.ROOM}/k" if limits else os.fspath(path.with_name("plain"))
    info = {"ip": ip, "key": "a", "transport": "ipc", "signature_scheme": "hmac-sha256"}
    info |= {name: number for number, name in enumerate(names, start=1)}
    env = {} if limits else dict(os.environ)
    return warm.start_kernel(info, limits, path, env=env)


def test_kernels_leave_nothing_behind(warm_path):
    """The small version of `bench/warm.py`."""
    start(warm_path, sandbox.Limits()).close()
    time.sleep(0.5)
    pid, files, memory = leftovers(warm_path)
    gc.collect()  # the managers of earlier tests
    mine = len(os.listdir("/proc/self/fd"))
    for number in range(12):
        kernel = start(warm_path, sandbox.Limits() if number % 3 else None)
        if number % 2:
            kernel.kill()
            kernel.wait(20)
        else:
            kernel.close()
    end = time.monotonic() + 20
    while time.monotonic() < end:  # the last ones are collected a moment later
        if sandbox.family(pid) == [pid] and leftovers(warm_path)[1] <= files:
            break
        time.sleep(0.05)
    assert sandbox.family(pid) == [pid]
    assert not list(warm_path.parent.glob("plain-*"))
    assert leftovers(warm_path)[1] <= files
    assert len(os.listdir("/proc/self/fd")) <= mine  # earlier clients may go only now
    assert leftovers(warm_path)[2] - memory < 20 * 2**20


OWNER = """
import os, signal, sys, time
sys.path.insert(0, {tests!r})
from test_warm import start
from helpers.grading import sandbox, warm
with warm.private() as path:
    kernels = [start(path, limits) for limits in (None, sandbox.Limits())]
    print(path, *(kernel.pid for kernel in kernels), flush=True)
    time.sleep(300)
"""


def test_all_ends_when_the_owner_is_killed():
    script = OWNER.format(tests=os.path.dirname(__file__))
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    )
    path, *pids = owner.stdout.readline().split()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    end = time.monotonic() + 30
    while time.monotonic() < end and (
        Path(path).parent.exists() or any(Path(f"/proc/{pid}").exists() for pid in pids)
    ):
        time.sleep(0.1)
    assert not Path(path).parent.exists()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_kernels_end_when_the_warm_process_is_killed():
    with warm.private() as path:
        kernels = [start(path, limits) for limits in (None, sandbox.Limits())]
        os.kill(leftovers(path)[0], signal.SIGKILL)
        for kernel in kernels:
            assert kernel.wait(20) == -signal.SIGKILL
            assert "the process that had forked it has ended" in kernel.reason
        end = time.monotonic() + 20
        pids = [kernel.pid for kernel in kernels]
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < end
            time.sleep(0.05)
        path.unlink()


def killed_at_first(monkeypatch, times):
    """The first `times` warm processes are killed before they stand."""
    started, run = [], subprocess.run

    def killed(command, **settings):
        started.append(command)
        if len(started) > times:
            return run(command, **settings)
        return subprocess.CompletedProcess(command, -signal.SIGKILL)

    monkeypatch.setattr(warm.subprocess, "run", killed)


def test_a_warm_process_killed_while_it_starts_is_started_again(monkeypatch):
    killed_at_first(monkeypatch, times=1)
    with warm.private() as path:
        start(path, sandbox.Limits()).close()


def test_a_warm_process_that_never_starts_is_one_sentence(monkeypatch):
    killed_at_first(monkeypatch, times=100)
    with pytest.raises(warm.KernelFailed, match="cannot start:\nexit status -9"):
        with warm.private():
            pass


def test_a_kernel_that_cannot_start_says_why(warm_path):
    limits = sandbox.Limits(disk=1)
    with pytest.raises(warm.KernelFailed, match="no kernel could be started"):
        start(warm_path, limits)
    start(warm_path, sandbox.Limits()).close()


def test_a_folder_that_others_may_open_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")
    monkeypatch.setattr(warm.os, "getuid", lambda: 4_000_000)
    with pytest.raises(warm.KernelFailed, match="only you may open"):
        try:
            warm.folder()
        finally:
            Path("/tmp/course-4000000").rmdir()


def test_a_lesson_as_released_runs_to_its_end(warm_path):
    from helpers.lessons import build, notebooks

    lesson = build.find()[0]
    path = notebooks.notebook_path(notebooks.NOTEBOOKS, lesson.name)
    result = execute.run_notebook(
        nbformat.read(path, as_version=4), execute.Settings(warm_path=warm_path)
    )
    assert result["state"] == "ran" and result["flags"] == []
    names = {f"{lesson.number}/{exercise.name}" for exercise in lesson.exercises}
    assert result["evidence"].keys() == names
