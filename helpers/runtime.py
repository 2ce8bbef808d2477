"""Where you run: versions, device and seed, said in one line."""

import importlib.util
import os
import sys

from helpers.checks.quiet import no_stderr

NO_TENSORFLOW = (
    "This runtime has no TensorFlow (Colab's TPU runtimes come without it). "
    "Choose Runtime > Change runtime type > CPU or GPU, then run this cell again."
)


def start(seed=7):
    """Import TensorFlow without its start-up noise, seed everything, say where you run.

    Args:
        seed: int for Python's, NumPy's and TensorFlow's random numbers.

    Raises:
        SystemExit: with one sentence, where there is no TensorFlow.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if importlib.util.find_spec("tensorflow") is None:
        raise SystemExit(NO_TENSORFLOW)
    with no_stderr():
        import keras
        import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        _grow(tf, gpu)
    tf.get_logger().setLevel("ERROR")  # "triggered tf.function retracing" and the like
    keras.utils.set_random_seed(seed)
    print(
        f"Python {sys.version.split()[0]}, TensorFlow {tf.__version__}, "
        f"Keras {keras.__version__}, {device(tf)}, seed {seed}"
    )


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
