"""The ways to install the course name the same versions, and no download address."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from helpers.grading import sandbox
from helpers.lessons.paths import ROOT

LOCK = (ROOT / "requirements.txt").read_text()
CONDA = (ROOT / "environment.yml").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(text):
    """Every `name==version` of a requirements text, as a dict."""
    return dict(re.findall(r"^\s*(?:- )?([a-z0-9-]+)==([^\s;\\]+)", text, re.MULTILINE))


def test_conda_names_the_versions_of_the_lock():
    assert pins(CONDA).items() <= pins(LOCK).items()


def test_conda_installs_everything_that_the_project_asks_for():
    wanted = PROJECT["optional-dependencies"]["course"]
    assert {re.split("[=><]", name)[0] for name in wanted} == set(pins(CONDA))


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-colab.txt"])
def test_locks_have_hashes_and_no_download_address(name):
    text = (ROOT / name).read_text()
    assert text.count("--hash=sha256:") > text.count("==")
    assert not re.search(r"https?://|--index-url|--find-links", text)


def test_the_learner_part_needs_nothing_at_install():
    assert PROJECT["dependencies"] == []


@pytest.fixture
def lab(tmp_path):
    """JupyterLab as `make lab` starts it, but for browser and port: its address."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    env = {name: os.environ[name] for name in os.environ if name != "COURSE_PROGRESS"}
    env["JUPYTER_RUNTIME_DIR"] = str(tmp_path / "runtime")
    command = [Path(sys.executable).with_name("jupyter"), "lab", "--no-browser"]
    command += [f"--notebook-dir={tmp_path}", f"--port={port}", "--allow-root"]
    command += ["--IdentityProvider.token=here", "--ServerApp.port_retries=0"]
    log = (tmp_path / "log").open("w")
    server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):  # it starts in seconds, where nothing else runs
        with contextlib.suppress(OSError):
            asked(f"{address}/api/status")
            break
        time.sleep(0.2)
    yield address, server.pid
    server.terminate()
    server.wait(30)


def asked(address, data=None):
    request = Request(address, data, headers={"Authorization": "token here"})
    return json.load(urlopen(request, timeout=30))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_kernel_of_make_lab_keeps_progress(lab):
    address, pid = lab
    asked(f"{address}/api/kernels", json.dumps({"name": "python3"}).encode())
    found = [Path(f"/proc/{one}/environ").read_bytes() for one in sandbox.family(pid)]
    of_kernels = [env for env in found if b"JPY_PARENT_PID=" in env]
    assert of_kernels
    assert not any(b"COURSE_PROGRESS=" in env for env in of_kernels)


def test_jupyterlab_does_not_begin_with_a_question_about_news(lab):
    page = urlopen(f"{lab[0]}/lab?token=here", timeout=30).read().decode()
    config = page.partition('id="jupyter-config-data"')[2].partition(">")[2]
    disabled = json.loads(config.partition("</script>")[0])["disabledExtensions"]
    assert "@jupyterlab/apputils-extension:announcements" in disabled
