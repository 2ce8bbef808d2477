"""What all tests share: two logical CPUs, and which tests run in one process."""

import signal

import pytest

from helpers import runtime

runtime.split_cpu()  # before any test lets TensorFlow run: lesson 09 needs two CPUs

# Each of these prepares something large once: a graded class, warm processes; the
# released notebooks install the course into the environment that they share.
TOGETHER = ("test_class_attacks.py", "test_crashes.py", "test_grade.py")
TOGETHER += ("test_sandbox.py", "test_warm.py", "released_notebooks.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give the files of `TOGETHER` to one process each, all other tests to any.

    The mark `xdist_group` would say the same, but pytest 9.2 takes no notice of how
    pytest-xdist 3.8 passes it on.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::")[0]
            return file if file.endswith(TOGETHER) else nodeid

    return None if config.getoption("nbval", False) else ByFile(config, log)


@pytest.fixture
def ctrl_c():
    """Ctrl-C acts as in a terminal; what a shell starts with `&` would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
