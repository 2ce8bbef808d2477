"""The ways to install the course name the same versions, and no download address."""

import re
import tomllib

import pytest

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
