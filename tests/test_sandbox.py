"""Attacks from inside the sandbox, as root and as an ordinary user."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import attacks
import other_user
import pytest

from helpers.grading import execute, sandbox, warm

SCRIPT = Path(attacks.__file__).resolve()
ROOT_USER = os.getuid() == 0
USERS = ["root", "ordinary"] if ROOT_USER else ["ordinary"]
# As the second user only what its way into the sandbox could change.
DECISIVE = [
    "kill -9",
    "memory of many",
    "memory in sockets",
    "endless",
    "processes",
    "a program that starts slowly",
    "bomb",
    "detached",
]
NAMES = [(user, name) for user in USERS for name in attacks.ATTEMPTS]
DEADLY = [
    (user, name)
    for user in USERS
    for name in (attacks.DEADLY if user == USERS[0] else DECISIVE)
]
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="grading needs Linux"
)

# Python itself may lie in the course's folder, as `make` puts it.
PYTHON = Path(sys.prefix)
COURSE = Path(attacks.ROOT)
PYTHON_IN_COURSE = PYTHON.parts[len(COURSE.parts) :][: COURSE in PYTHON.parents]

# What an attempt may get where it is not refused.
HARMLESS = {
    "keys": [],
    "course": sorted(["helpers", *PYTHON_IN_COURSE]),
    "hidden in Python's folder": "",
    "machine's users": 1,
    "any such file": [],
    "processes": [1, 2],
    "process 1": "sent",  # and ignored: later cells run
    "secrets in the environment": False,
    "secrets in memory": 0,
    "open files": [],
    "other process's files": [],
    "host name": "sandbox",
    "capabilities": [0, 0, 0, 0, 1, 2],
    "su": False,
    "files": [True, "No space left on device"],
}
REFUSALS = (
    "ConnectionRefusedError",
    "FileNotFoundError",
    "OSError",
    "PermissionError",
    "ProcessLookupError",
    "ValueError: not allowed to raise maximum limit",
)


# Rarely libzmq ends the process whose line was cut between two parts of a message. A
# grader's worker may die so: that costs one submission (tests/test_crashes.py). Here
# all attacks share one process, so that they are all made again, once.
LIBZMQ = "Assertion failed: !_more"


@pytest.fixture(scope="module")
def reports():
    """What all attacks got, by user; each user attacks once."""
    return {}


@pytest.fixture
def report(request, reports):
    user = request.param
    if user not in reports:
        names = [] if user == USERS[0] else DECISIVE
        command = [sys.executable, os.fspath(SCRIPT), *names]
        settings = {"capture_output": True, "text": True, "timeout": 400}
        run = subprocess.run
        if ROOT_USER and user == "ordinary":
            run = other_user.run_as_nobody
        done = run(command, **settings)
        if LIBZMQ in done.stderr:
            done = run(command, **settings)
        reports[user] = done.stderr if done.returncode else json.loads(done.stdout)
    assert isinstance(reports[user], dict), reports[user]
    return reports[user]


def test_this_machine_can_shut_submissions_in():
    """Without this, nothing below is tested: here it says what to do about it."""
    assert sandbox.missing() == []


@pytest.mark.parametrize(("report", "name"), NAMES, indirect=["report"])
def test_attempt(report, name):
    found = report["attempts"][name]
    if name == "disk":
        taken, error = found["got"]
        assert 250 <= taken <= 256 and error == "No space left on device"
    elif "refused" in found:
        assert found["refused"].startswith(REFUSALS)
    else:
        assert found == {"got": HARMLESS[name]}


@pytest.mark.parametrize("report", USERS, indirect=True)
def test_after_all_attempts_the_kernel_still_gives_evidence(report):
    assert report["after"]["state"] == "ran"
    assert list(report["after"]["evidence"]) == ["07/right"]


@pytest.mark.parametrize("user", USERS)
def test_each_user_was_who_it_says(reports, user):
    assert (reports[user]["uid"] == 0) == (user == "root")


@pytest.mark.parametrize("report", USERS, indirect=True)
def test_the_warm_process_ends_with_its_user(report):
    assert report["gone"], "the warm process outlived its user"


@pytest.mark.parametrize("report", USERS, indirect=True)
def test_nothing_was_written_and_nobody_is_left(report):
    assert report["left over"] == []
    targets = ["door", "gradebook.db", "submitted", "submitted/peer.ipynb"]
    assert report["written"] == targets


STATES = {
    "os._exit": ("crashed", "in cell 4 .* ended by itself with code 3"),
    "kill -9": ("crashed", "in cell 4 .*SIGKILL"),
    "abort": ("crashed", "in cell 4 .*SIGABRT"),
    "segmentation fault": ("crashed", "in cell 4 .*SIGSEGV"),
    "memory": ("out of memory", r"in cell 4 .* killed at [01]\.\d GB of memory"),
    "memory of many": ("out of memory", r"in cell 4 .* killed at \d\.\d GB of memory"),
    "many sessions": ("crashed", "in cell 4 .* too many of its processes left"),
    "memory in sockets": ("out of memory", r"in cell 4 .* killed at \d\.\d GB"),
    "endless": ("out of time", "in cell 4 .* did not react to an interrupt"),
    "stopped": ("out of time", "in cell 4 .* did not react to an interrupt"),
    "mute": ("crashed", "in cell 4"),
    "50 MB raw message": ("crashed", "larger than 4 MB"),
    "flood": ("crashed", "wrote more than 64 MB"),
    "message without an end": ("crashed", "wrote more than 64 MB"),
}


@pytest.mark.parametrize(("report", "name"), DEADLY, indirect=["report"])
def test_what_one_cell_does_costs_no_other(report, name):
    found = report["deadly"][name]
    state, reason = STATES.get(name, ("ran", "^$"))
    assert found["state"] == state
    assert re.search(reason, found["reason"]), found["reason"]
    earned = found["evidence"]
    assert earned["07/before"].keys() == {"1", "2"}
    if name == "own check":
        assert "07/right" not in earned
        assert "published no evidence" in found["flags"][0]
        return
    if name == "evidence that nobody can write":
        assert earned["07/right"] == {"1": [{"label": "?"}]}
        assert found["flags"] == [
            "the evidence of 07/right has not the form that ours has"
        ]
        return
    assert earned["07/right"] == report["after"]["evidence"]["07/right"]
    assert found["flags"] == []
    assert found["size"] < 1_100_000


def test_the_courses_own_folder_is_hidden_but_for_package_and_python(
    tmp_path, monkeypatch
):
    course = tmp_path / "course"
    for name in ("helpers/grading", ".venv/bin", ".git", "solutions", "notes"):
        (course / name).mkdir(parents=True)
    (course / "pyproject.toml").touch()
    monkeypatch.setattr(sandbox, "__file__", str(course / "helpers/grading/sandbox.py"))
    monkeypatch.setattr(sandbox.sys, "prefix", str(course / ".venv"))
    names = {path.name for path in sandbox.hidden()}
    assert names == {"keys", ".git", "solutions", "notes", "pyproject.toml"}
    (course / "pyproject.toml").unlink()  # installed among others
    assert {path.name for path in sandbox.hidden()} == {"keys"}


def test_a_missing_mechanism_stops_unless_it_is_allowed_by_name(monkeypatch):
    monkeypatch.setattr(sandbox, "_lacks", lambda: {"network": "no network walls."})
    with pytest.raises(sandbox.NotIsolated, match="no network walls"):
        sandbox.allowed(sandbox.Limits())
    with pytest.raises(sandbox.NotIsolated):
        sandbox.allowed(sandbox.Limits(allow=("files",)))
    assert sandbox.allowed(sandbox.Limits(allow=("network",))).allow == ("network",)


def test_a_kernel_that_cuts_its_line_stops_nobody():
    with warm.private() as path:
        settings = execute.Settings(warm_path=path)
        with execute.Line(settings.limits, settings) as line:
            source = attacks.SET_UP + attacks.CUT
            assert line.run(source, 20, execute.Nothing()) == ("ran", "")
            time.sleep(1)
            status, why = line.run("1", 20, execute.Nothing())
    assert status == "died" and "cut its line" in why


LACKS = ("files", "network", "processes")
LEFT = f"""
subprocess.Popen(["sleep", "{attacks.MARK}"], start_new_session=True)
print(os.path.exists("/etc/shadow"), len(socket.if_nameindex()) > 1, os.getpid() > 9)
"""


def test_allowing_what_is_there_gives_nothing_away():
    assert sandbox.allowed(sandbox.Limits(allow=tuple(sandbox.MECHANISMS))).allow == ()


@pytest.mark.parametrize("lack", ["files", "network", "processes"])
def test_without_an_allowed_mechanism_the_rest_still_holds(lack):
    """As on a machine that lacks it: the start leaves it out."""
    with warm.private() as path:
        settings = execute.Settings(warm_path=path, limits=sandbox.Limits())
        limits = sandbox.Limits(allow=(lack,))
        if lack == "files" and ROOT_USER and other_user.closed_to_others():
            # Root gives its rights up all the same, and then cannot read Python.
            with pytest.raises(warm.KernelFailed):
                execute.Line(limits, settings)
            return
        with execute.Line(limits, settings) as line:
            cell = attacks.new_code_cell(attacks.SET_UP + LEFT)
            run = execute.Run({"cells": [cell]}, settings, limits)
            run.all_in(line)
    printed = run.cells[0].outputs[0]["text"].split()
    assert printed == ["True" if name == lack else "False" for name in LACKS]
    assert attacks.left_over() == []


def test_missing_says_what_fails_and_what_helps(monkeypatch):
    def refuse(flag):
        raise PermissionError(1, "unshare: Operation not permitted")

    monkeypatch.setattr(sandbox, "_trial", refuse)
    found = dict(sandbox.missing())
    assert found.keys() == {"files", "network", "processes"}
    assert "cannot cut a submission off the network (unshare:" in found["network"]
    assert "seccomp=unconfined" in found["network"] or "sysctl" in found["network"]
