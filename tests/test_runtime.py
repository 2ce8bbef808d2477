"""Where you run, tried in real processes: TensorFlow decides some things only once."""

import importlib.util
import os
import subprocess
import sys

import pytest

from helpers import runtime
from helpers.lessons.paths import ROOT

WITHOUT_TENSORFLOW = "import sys\nsys.modules['tensorflow'] = None\n"
START = "from helpers import runtime\nruntime.start()\n"


def run(script, **environment):
    """What a fresh process prints, and what it writes to standard error."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    settings = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **settings, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout, done.stderr


def test_the_set_up_cell_leaves_time_to_make_logical_cpus():
    script = f"{START}runtime.logical_cpus(2)\nruntime.logical_cpus(2)\n"
    script += "import tensorflow as tf\nprint(tf.constant(1.0).device)\n"
    script += "runtime.logical_cpus(2)\n"
    out, error = run(script)
    assert out.count("2 logical CPUs: CPU:0, CPU:1\n") == 3
    assert "device:CPU:0" in out and error == ""


def test_too_late_is_told_in_one_sentence():
    script = f"{START}import keras\nkeras.ops.ones(1)\nruntime.logical_cpus(2)\n"
    out, error = run(script)
    assert "logical CPUs:" not in out
    assert error == (
        "TensorFlow runs already with 1 logical CPU, 2 were asked for, and this cannot "
        "be changed any more: restart the kernel, run the cells from the top.\n"
    )


def test_products_of_float32_are_not_rounded_to_10_bits_on_a_newer_gpu():
    asked = "tf.config.experimental.tensor_float_32_execution_enabled()"
    out, _ = run(f"import tensorflow as tf\nprint({asked})\n{START}print({asked})")
    assert (out.splitlines()[0], out.splitlines()[-1]) == ("True", "False")


def test_every_test_process_has_two_logical_cpus():
    assert runtime.split_cpu(5) == 2


def test_exercises_of_all_lessons_run_in_one_process_in_any_order():
    script = """
from helpers.lessons import build
from helpers.lessons.answers import base_namespace
from helpers.lessons.keys import refusals

for lesson in build.find(["00", "09", "00"]):
    base = base_namespace(lesson)
    for exercise in lesson.exercises[:2]:
        print(refusals(lesson, exercise, base, [1], most_seconds=9))
"""
    out, _ = run(script)
    assert out == "[]\n" * 6


def test_without_tensorflow_it_stops_with_what_to_choose():
    out, error = run(WITHOUT_TENSORFLOW + START, KERAS_BACKEND="tensorflow")
    assert (out, error) == ("", runtime.NO_TENSORFLOW + "\n")
    assert "Traceback" not in error


needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is not installed"
)


@needs_jax
def test_without_tensorflow_you_may_choose_jax():
    script = WITHOUT_TENSORFLOW + START + "import keras\nprint(keras.backend.backend())"
    out, error = run(script, KERAS_BACKEND="jax")
    line, told, backend = out.splitlines()
    assert "JAX" in line and told == runtime.ON_JAX and backend == "jax"
    assert error == ""


SAY = "import keras; print(keras.backend.backend())"


def test_a_script_runs_on_the_backend_that_was_asked_for():
    assert runtime.run_on("tensorflow", SAY) == "tensorflow"
    assert "stops on tensorflow: ValueError: 7" in runtime.run_on(
        "tensorflow", "raise ValueError(7)"
    )


@needs_jax
def test_a_script_runs_on_jax():
    assert runtime.run_on("jax", SAY) == "jax"


def test_a_backend_that_is_missing_is_told():
    assert runtime.run_on("no_such_backend", SAY) == (
        "no_such_backend is not installed here."
    )
