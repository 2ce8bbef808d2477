"""Run somebody's code without its noise, and leave no trace of it behind.

What the code prints is kept (up to a size). Standard error is kept away from the
cell: nbgrader counts any text there as a failed test.
"""

import contextlib
import io
import os
import random
import re
import sys
import warnings

import numpy as np

MOST_PRINTED = 4000  # characters of output that are kept


class _Capped(io.TextIOBase):
    """A text stream that keeps the first characters and counts the others."""

    def __init__(self):
        self.parts, self.left = [], MOST_PRINTED

    def writable(self):
        return True

    def write(self, text):
        text = str(text)
        self.parts.append(text[: max(self.left, 0)])
        self.left -= len(text)
        return len(text)

    def text(self):
        dropped = f"\n... and {-self.left:,} more characters" if self.left < 0 else ""
        return "".join(self.parts) + dropped


@contextlib.contextmanager
def quiet(seed):
    """Capture output and warnings of the body; restore random states and settings.

    In the body Python's and NumPy's global random numbers start from `seed`, so that
    an answer which draws from them gives the same evidence again.

    Yields:
        A dict that holds `printed` (str) and `warned` (list of str) after the body.
    """
    log = {}
    stream = _Capped()
    with _restored(seed), no_stderr(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(_Capped()):
            yield log
    log["printed"] = _plain(stream.text())
    log["warned"] = _own_warnings(caught)


def _plain(text):
    """Text without colours and without what a progress bar has overwritten."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = [re.split(r"[\r\b]", line.rstrip("\r\b"))[-1] for line in text.split("\n")]
    return "\n".join(lines).strip()


def _own_warnings(caught):
    texts = []
    for warning in caught:
        text = str(warning.message).strip().split("\n")[0][:200]
        if issubclass(warning.category, UserWarning) and text not in texts:
            texts.append(text)
    return texts[:3]


@contextlib.contextmanager
def no_stderr():
    """Send file descriptor 2 to nowhere: TensorFlow's C++ code writes to it."""
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextlib.contextmanager
def _restored(seed):
    """Put back Python's, NumPy's and Keras' global state, and compute on the CPU."""
    random_state, numpy_state = random.getstate(), np.random.get_state()
    folder, depth = _folder(), sys.getrecursionlimit()
    random.seed(seed)
    np.random.seed(seed)
    try:
        with _restored_keras(), np.errstate():
            yield
    finally:
        with contextlib.suppress(OSError):
            os.chdir(folder)
        sys.setrecursionlimit(depth)
        random.setstate(random_state)
        np.random.set_state(numpy_state)


def _folder():
    """The current folder; the home folder where that one is gone."""
    try:
        return os.getcwd()
    except OSError:
        return os.path.expanduser("~")


NO_SEED = 87654321  # what TensorFlow reports where no global seed was set


@contextlib.contextmanager
def _restored_seed(tf):
    """No global seed of TensorFlow's in the body; afterwards, the one from before.

    Only the seed can be asked for, not how much was drawn from it: what follows a
    check draws from the seed's beginning.
    """
    before = tf.compat.v1.get_seed(0)[0]
    tf.random.set_seed(None)
    try:
        yield
    finally:
        tf.random.set_seed(None if before == NO_SEED else before)


@contextlib.contextmanager
def _restored_keras():
    keras, tf = sys.modules.get("keras"), sys.modules.get("tensorflow")
    if keras is None:
        yield
        return
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    interactive = keras.config.is_interactive_logging_enabled()
    eager = tf.config.functions_run_eagerly() if tf else None
    try:
        seed = _restored_seed(tf) if tf else contextlib.nullcontext()
        with keras.device("cpu:0"), seed:
            yield
    finally:
        keras.config.set_dtype_policy(policy)
        keras.config.set_floatx(floatx)
        if interactive:
            keras.config.enable_interactive_logging()
        if tf:
            tf.config.run_functions_eagerly(eager)
