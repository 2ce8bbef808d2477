"""Where you run: versions, device and seed, said in one line."""

import importlib.util
import os
import subprocess
import sys

from helpers.checks.quiet import no_stderr

NO_TENSORFLOW = (
    "This runtime has no TensorFlow (Colab's TPU runtimes come without it), and the "
    "lessons need it. Choose Runtime > Change runtime type > CPU or GPU, then run this "
    "cell again. To use a TPU for built-in loops of your own, restart, set "
    'os.environ["KERAS_BACKEND"] = "jax" first, and run this cell again.'
)
ON_JAX = (
    "No TensorFlow here: compile, fit, evaluate, predict and callbacks of your own "
    "models run on JAX. GradientTape and tf.data do not, nor do the lessons, whose "
    "set-up cells import TensorFlow."
)
TOO_LATE = (
    "TensorFlow runs already with {have} logical CPU{s}, {count} were asked for, and "
    "this cannot be changed any more: restart the kernel, run the cells from the top."
)


def start(seed=7):
    """Import TensorFlow without its start-up noise, seed everything, say where you run.

    Where there is no TensorFlow, `KERAS_BACKEND=jax` says that you want Keras on JAX.

    Args:
        seed: int for Python's, NumPy's and TensorFlow's random numbers.

    Raises:
        SystemExit: with one sentence, where there is no TensorFlow.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if importlib.util.find_spec("tensorflow") is None:
        if backend != "jax" or importlib.util.find_spec("jax") is None:
            raise SystemExit(NO_TENSORFLOW)
        return _start_on_jax(seed)
    with no_stderr():
        import keras
        import tensorflow as tf

    on = "" if backend == "tensorflow" else f" on {backend}"
    for gpu in tf.config.list_physical_devices("GPU"):
        _grow(tf, gpu)
    # On an A100 or L4, TensorFlow rounds float32 products to 10 bits unless told so:
    # 5e-4 off, and what lesson and checks call equal would not be.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.get_logger().setLevel("ERROR")  # "triggered tf.function retracing" and the like
    keras.utils.set_random_seed(seed)
    print(
        f"Python {sys.version.split()[0]}, TensorFlow {tf.__version__}, "
        f"Keras {keras.__version__}{on}, {device(tf)}, seed {seed}"
    )


def _start_on_jax(seed):
    with no_stderr():
        import jax
        import keras

        devices = jax.devices()
    keras.utils.set_random_seed(seed)
    print(
        f"Python {sys.version.split()[0]}, JAX {jax.__version__}, "
        f"Keras {keras.__version__}, {len(devices)} {devices[0].platform.upper()}, "
        f"seed {seed}"
    )
    print(ON_JAX)


def split_cpu(count=2):
    """Make `count` logical devices of the CPU, as if there were that many.

    TensorFlow fixes them with its first operation. After it, this changes nothing.

    Returns:
        int, how many logical CPUs there are.
    """
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * count
    try:
        tf.config.set_logical_device_configuration(cpu, parts)
    except RuntimeError:  # TensorFlow runs already
        return len(tf.config.list_logical_devices("CPU"))
    return count


def logical_cpus(count):
    """As `split_cpu`, for a notebook: says what there is, or why it cannot be.

    Raises:
        SystemExit: with one sentence, where TensorFlow runs already with fewer.
    """
    have = split_cpu(count)
    if have < count:
        plural = "" if have == 1 else "s"
        raise SystemExit(TOO_LATE.format(have=have, s=plural, count=count))
    names = ", ".join(f"CPU:{number}" for number in range(have))
    print(f"{have} logical CPUs: {names}")


def run_on(backend, script, seconds=120):
    """Run a script in a process of its own, on the CPU, with another Keras backend.

    Args:
        backend: "tensorflow", "jax" or "torch".
        script: Python source.

    Returns:
        What it printed, or one sentence on why it could not run.
    """
    if importlib.util.find_spec(backend) is None:
        return f"{backend} is not installed here."
    on_cpu = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **on_cpu, **quiet, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return f"The script stops on {backend}: {lines[-1]}"
    return done.stdout.strip()


def _grow(tf, gpu):
    """Take GPU memory as it is needed, so that two notebooks share one GPU."""
    try:
        tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:  # TensorFlow runs already: nothing left to decide
        pass


def device(tf):
    """The device that TensorFlow will use, in words."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return f"{len(gpus)} GPU" + ("s" if len(gpus) > 1 else "")
    return f"CPU with {os.cpu_count()} cores"
