"""Whatever is killed, full, locked or damaged: nothing is lost, nothing done twice."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook
from sample_class import in_gradebook, right, submit, with_mistake

from helpers.grading import execute, run, store, warm, workers
from helpers.grading.classroom import Options, Submission, grade
from helpers.grading.doctor import Repaired
from helpers.lessons import build, cli
from helpers.lessons.script import LessonError

(LESSON,) = build.find(["00"])
MAKERS = {"ada": right, "max": partial(with_mistake, number=0)}
DIE = "lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A class of two, graded in one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for student, make in MAKERS.items():
        submit(folder, student, LESSON, make(LESSON))
    assert grade(folder, Options(jobs=1)).executed == 2
    return folder


@pytest.fixture
def graded(undisturbed, tmp_path):
    return shutil.copytree(undisturbed, tmp_path / "graded")


@pytest.fixture
def executed(graded):
    """The class with all results, and nothing judged yet."""
    (graded / "gradebook.db").unlink()
    for name in ("autograded", "feedback", f"evidence/{LESSON.name}/verdicts"):
        shutil.rmtree(graded / name)
    return graded


def inside(folder, *parts):
    return folder / "evidence" / LESSON.name / Path(*parts)


def started(code, *arguments):
    """A Python process of its own that runs `code`."""
    command = [sys.executable, "-c", f"import os, signal, sys\n{code}", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def killed_at(moment, folder):
    """Grade in a process that kills itself where it comes to `moment`."""
    code = f"""
from nbgrader.preprocessors import SaveAutoGrades
from nbgrader.apps import NbGraderAPI
from helpers.grading import classroom, marking, run
{moment} = {DIE}
classroom.grade(sys.argv[1], classroom.Options(jobs=1))
"""
    process = started(code, os.fspath(folder))
    said = process.communicate(timeout=200)[1]
    assert process.returncode == -signal.SIGKILL, said


def same_as(undisturbed, folder):
    assert in_gradebook(folder, LESSON) == in_gradebook(undisturbed, LESSON)
    pages = sorted(path.parent.parent.name for path in folder.glob("feedback/*/*/*"))
    assert pages == sorted(MAKERS)
    left = [path for path in folder.rglob(".*") if path.suffix != ".ipynb_checkpoints"]
    assert left == [] and list(folder.rglob("*-journal")) == []
    return True


def goes_on(undisturbed, folder):
    """The next run ends as if nothing had happened; the one after does nothing."""
    again = grade(folder, Options(jobs=1))
    assert same_as(undisturbed, folder)
    return again.executed


# Killed


@pytest.mark.parametrize(
    "moment",
    [
        "run.LessonRun._register",  # between verdict and gradebook
        "SaveAutoGrades.preprocess",
        "NbGraderAPI.generate_feedback",  # between autograde and feedback
        "marking.note_saved",
        "os.replace",  # while a file is written
    ],
)
def test_killed_between_two_steps_goes_on_without_executing(
    undisturbed, executed, moment
):
    killed_at(moment, executed)
    assert goes_on(undisturbed, executed) == 0


def test_killed_after_the_first_result_executes_the_second_alone(undisturbed, tmp_path):
    shutil.copytree(undisturbed / "submitted", tmp_path / "submitted")
    killed_at("run.LessonRun._seeds", tmp_path)  # it asks for the first result's
    (first,) = inside(tmp_path, "results").glob("*.json")
    seeds = json.loads(first.read_text())["seeds"]
    assert goes_on(undisturbed, tmp_path) == 1
    results = list(inside(tmp_path, "results").glob("*.json"))
    assert [json.loads(path.read_text())["seeds"] for path in results] == [seeds] * 2


def first_result(folder):
    return list(inside(folder, "results").glob("*.json"))


def starting_worker(folder):
    """A worker that has been started and imports what it needs."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            kind = b"multiprocessing.spawn" in (place / "cmdline").read_bytes()
            if kind and folder.name.encode() in (place / "environ").read_bytes():
                return True
    return False


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("moment", [first_result, starting_worker])
def test_ctrl_c_stops_with_one_sentence_and_the_next_run_goes_on(
    moment, undisturbed, tmp_path
):
    shutil.copytree(undisturbed / "submitted", tmp_path / "submitted")
    command = [sys.executable, "-m", "helpers.lessons.cli", "grade", "--jobs", "1"]
    process = subprocess.Popen(
        [*command, os.fspath(tmp_path), "00"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "WHOSE": tmp_path.name},
    )
    while not moment(tmp_path):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=100)[1]
    assert process.returncode == 1 and "Traceback" not in said
    assert said.endswith(
        "Ctrl-C.\nGrading has stopped. Nothing is lost: the next run goes on here.\n"
    )
    assert goes_on(undisturbed, tmp_path) <= 2


def test_a_warm_process_that_cannot_start_stops_with_one_sentence(
    undisturbed, tmp_path, monkeypatch, capsys
):
    shutil.copytree(undisturbed / "submitted", tmp_path / "submitted")
    monkeypatch.setitem(warm.FIXED, "PYTHONHOME", "/nowhere")
    assert cli.main(["grade", os.fspath(tmp_path), "00"])
    said = capsys.readouterr().err
    assert "the warm process cannot start" in said
    assert "Nothing is lost: the next run goes on here." in said
    monkeypatch.undo()
    goes_on(undisturbed, tmp_path)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_a_step_of_nbgrader_is_not_taken_for_a_failure():
    def step():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        except BaseException:  # as nbgrader does
            return {"success": False, "error": "KeyboardInterrupt"}
        return {"success": True}

    with pytest.raises(KeyboardInterrupt):
        run._done(step, "ada, 00", students_own=True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_workers_end_with_the_grader(tmp_path):
    code = """
import time
from pathlib import Path
from helpers.grading import workers
pool = workers._pool(2)
job = pool.submit(time.sleep, 60)
pids = [str(pid) for pid in pool._processes]
Path(sys.argv[1]).write_text(" ".join(pids))
job.result()
"""
    path = tmp_path / "pids"
    process = started(code, os.fspath(path))
    while not path.exists() or not path.read_text():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    pids = path.read_text().split()
    time.sleep(2)  # until they wait for work: one that just starts would end anyway
    process.kill()
    end = time.monotonic() + 20
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    return False


KILL = """\
import os, signal, time
x = bytearray(300_000_000)
x[::1000] = b"1" * 300_000
time.sleep(0.5)
os.kill(os.getpid(), signal.SIGKILL)"""


@pytest.fixture(scope="module")
def warm_path():
    with warm.private() as path:
        yield path


def test_a_killed_kernel_is_a_result_with_cell_and_memory(warm_path):
    notebook = new_notebook(cells=[new_code_cell("1"), new_code_cell(KILL)])
    result = execute.run_notebook(notebook, execute.Settings(warm_path=warm_path))
    assert result["state"] == "crashed"
    found = re.search(
        r"in cell 2 .*SIGKILL.* when it took (\d\.\d) GB", result["reason"]
    )
    assert found, result["reason"]


def test_a_killed_warm_process_is_our_fault_and_started_anew(warm_path, monkeypatch):
    """The learner's own code had no part in it: the submission runs once more."""
    states, real = [], (execute.Line.run, workers.run_notebook)

    def run_cell(line, *arguments):
        if not states:
            os.kill(server(warm_path), signal.SIGKILL)
        return real[0](line, *arguments)

    def run_notebook(*arguments):
        result = real[1](*arguments)
        states.append(result["state"])
        return result

    monkeypatch.setattr(execute.Line, "run", run_cell)
    monkeypatch.setattr(workers, "run_notebook", run_notebook)
    monkeypatch.setattr(workers.needed, "left_out", lambda *_: frozenset())
    slow = "import time\ntime.sleep(5)\nprint(1)"  # it must not be done before
    notebook = new_notebook(cells=[new_code_cell(slow)])
    settings = execute.Settings(warm_path=warm_path)
    result = workers._outcome(Repaired(notebook), notebook, settings)
    assert states == ["our fault", "ran"]
    assert result["cells"][0]["outputs"][0]["text"] == "1\n"


def server(path):
    """The id of the warm process at `path`; its kernels are its forks."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fspath(path).encode() in (entry / "cmdline").read_bytes():
                parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
                found[int(entry.name)] = int(parent)
    return next(pid for pid, parent in found.items() if parent not in found)


def test_a_file_that_kills_its_process_twice_stops_nobody(graded, monkeypatch):
    """Nothing of it was repaired yet, and there is something to put in the book."""
    shutil.rmtree(graded / "evidence" / "repaired" / "max")
    inside(graded, "results", "max.json").unlink()
    monkeypatch.setattr(workers, "execute", kill_itself)
    found = grade(graded, Options(jobs=1))
    state, reason = found.troubles["max", LESSON.name]
    assert state == "our fault" and "was killed" in reason
    assert in_gradebook(graded, LESSON)["max"][0][0] == 0


def kill_itself(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_key_maker_is_started_once_more(tmp_path, monkeypatch):
    references = run.References(tmp_path, LESSON, "digest")

    def start(seeds):
        store.write_json(references._path(seeds), {"made": "again"})

    monkeypatch.setattr(references, "start", start)
    dead = subprocess.Popen(["sleep", "60"], stderr=subprocess.PIPE, text=True)
    references.makers[1, 2] = dead
    dead.kill()
    assert references.get((1, 2)) == {"made": "again"}


def test_nothing_is_left_of_a_gradebook_that_was_being_made(tmp_path, monkeypatch):
    class Killed:
        def __init__(self, address):
            Path(tempfile.mkdtemp(), "alembic.ini").touch()
            Path(address.removeprefix("sqlite:///")).touch()
            raise KeyboardInterrupt

    monkeypatch.setattr(run.gradebook, "Gradebook", Killed)
    with pytest.raises(KeyboardInterrupt):
        run.gradebook.create(tmp_path)
    assert len(list(tmp_path.rglob("alembic.ini"))) == 1
    store.remove_drafts(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# Locked


def locking(folder):
    """A connection that has locked the gradebook."""
    run.gradebook.create(folder)
    other = sqlite3.connect(folder / "gradebook.db", check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    return other


def test_a_gradebook_that_is_released_is_waited_for(undisturbed, executed, monkeypatch):
    other = locking(executed)
    monkeypatch.setattr(run.time, "sleep", lambda _: other.rollback())
    assert goes_on(undisturbed, executed) == 0


@pytest.mark.parametrize("name", ["executed", "graded"])
def test_a_gradebook_that_stays_locked_is_told(
    undisturbed, request, name, monkeypatch, capsys
):
    folder = request.getfixturevalue(name)
    monkeypatch.setattr(run, "TRIES", 1)
    monkeypatch.setattr(run, "PAUSE", 0)
    other = locking(folder)
    assert cli.main(["grade", os.fspath(folder)]) == 1
    said = capsys.readouterr().err
    assert "is locked by another program" in said and "Traceback" not in said
    other.close()
    assert goes_on(undisturbed, folder) == 0


# No room, no right to write


def test_a_full_disk_while_our_files_are_written(
    undisturbed, executed, monkeypatch, capsys
):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.os, "fsync", full)
    assert cli.main(["grade", os.fspath(executed)]) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said and "Nothing is lost" in said
    monkeypatch.undo()
    assert goes_on(undisturbed, executed) == 0


@pytest.mark.parametrize("most", [1_000, 60_000, 200_000])
def test_no_room_for_larger_files_while_nbgrader_writes(undisturbed, executed, most):
    """A limit of the system, in a process of its own: real writes fail half-way."""
    code = f"""
import resource
from helpers.grading import run
from helpers.lessons import cli
run.TRIES, run.PAUSE = 2, 0
resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))
sys.exit(cli.main(["grade", sys.argv[1]]))
"""
    process = started(code, os.fspath(executed))
    said = process.communicate(timeout=200)[1]
    assert process.returncode == 1 and "Traceback" not in said, said
    assert "othing is lost" in said
    assert goes_on(undisturbed, executed) == 0


def test_a_folder_that_cannot_be_written_is_told(undisturbed, graded):
    inside(graded, "verdicts", "max.json").unlink()
    command = [sys.executable, "-m", "helpers.lessons.cli", "grade", os.fspath(graded)]
    if os.getuid() == 0:  # whom no permission stops
        shut = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; shift; exec "$@"'
        begin = ["unshare", "--mount", "sh", "-ec", shut, "sh", os.fspath(graded)]
        command = [*begin, *command]
    for path in (graded, *graded.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    for path in (graded, *graded.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search("Read-only file system|Permission denied", done.stderr)
    assert goes_on(undisturbed, graded) == 0


# Damaged


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_our_own_damaged_files_are_told_and_made_anew(undisturbed, graded, capsys):
    (keys,) = inside(graded, "keys").glob("*.json")
    damaged = [inside(graded, "results", "ada.json"), inside(graded, "run.json"), keys]
    damaged.append(inside(graded, "verdicts", "max.json"))
    for path in damaged:
        cut(path)
    assert goes_on(undisturbed, graded) == 1
    said = capsys.readouterr().err
    for path in damaged:
        assert f"{path.relative_to(graded)} is damaged" in said


@pytest.mark.parametrize("name", ["gradebook.db", "feedback/max", "autograded/max"])
def test_what_somebody_removed_is_made_anew(undisturbed, graded, name):
    path = graded / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert goes_on(undisturbed, graded) == 0
    assert path.exists()


def test_a_damaged_gradebook_is_told(graded):
    cut(graded / "gradebook.db")
    content = bytearray((graded / "gradebook.db").read_bytes())
    content[:16] = b"not a gradebook!"
    (graded / "gradebook.db").write_bytes(content)
    with pytest.raises(LessonError, match="gradebook cannot be used: .*not a database"):
        grade(graded)


def test_who_stops_asking_ends_the_work(tmp_path, monkeypatch):
    """An error while marks are saved does not wait for the whole class to run."""
    monkeypatch.setattr(workers, "execute", slow_note)
    todo = [Submission(f"s{k}", LESSON.name, tmp_path / f"{k}") for k in range(8)]
    work = workers.execute_all(tmp_path, todo, {}, execute.Settings(), 1)
    next(work)
    work.close()
    assert len(list(tmp_path.iterdir())) < len(todo)


def slow_note(course, one, prints, settings):
    time.sleep(0.5)
    (course / one.student).write_text("done")


# Reading without end, and with an error that nobody thought of


@pytest.mark.parametrize("error", [KeyError("x"), MemoryError(), RecursionError()])
def test_an_error_while_a_file_is_read_costs_that_file(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(workers.doctor, "repair", fail)
    one = Submission("eve", LESSON.name, tmp_path / "a.ipynb")
    workers.execute(tmp_path, one, {}, execute.Settings(seeds=(7, 1)))
    found = tmp_path / "evidence" / LESSON.name / "results" / "eve.json"
    result = json.loads(found.read_text())
    assert result["state"] == "damaged"
    assert result["reason"].startswith("The file cannot be read (")


def test_reading_without_end_ends_the_process_and_is_told_as_damage(
    tmp_path, monkeypatch
):
    one = Submission("eve", LESSON.name, tmp_path / "a.ipynb")
    monkeypatch.setattr(workers, "MOST_READING", 0.2)
    child = os.fork()
    if not child:
        with workers._bounded_reading(tmp_path, one):
            while True:
                pass
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGALRM
    found = workers._why_killed(tmp_path, one)
    assert found == {"state": "damaged", "reason": workers.TOO_LONG}
    with workers._bounded_reading(tmp_path, one):
        pass
    assert workers._why_killed(tmp_path, one)["state"] == "our fault"


def test_a_folder_that_is_called_like_a_draft_stays(tmp_path):
    odd = tmp_path / "evidence" / "repaired" / ".a.json.b"
    odd.mkdir(parents=True)
    store.remove_drafts(tmp_path)
    assert odd.is_dir()
