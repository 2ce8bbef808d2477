"""Data for the lessons: real digits that are always there, and small made-up sets.

`load_digits()` needs no network. `load_digits("mnist")` is the full MNIST: from the
cache folder, from Keras' own cache, or downloaded once. Nothing runs on import.
"""

import contextlib
import gzip
import hashlib
import io
import math
import os
import threading
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np

# File name -> SHA-256 of its unpacked bytes: the same data zipped anew is as good.
MNIST_FILES = {
    "train-images-idx3-ubyte.gz": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte.gz": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}
MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
MNIST_CACHE = "~/.cache/from-fit-to-gradienttape/mnist"
KERAS_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"

READ_TIMEOUT = 10  # seconds without a single byte
FILE_TIMEOUT = 120  # seconds for one whole file, however steadily it drips
SIZE_CAP = 20_000_000  # bytes of a download; the largest MNIST file has 9.9 million
UNPACKED_CAP = 60_000_000  # bytes of a file unpacked; the largest has 47,040,016


class DataError(RuntimeError):
    """Data could not be read or downloaded; the message says what to do."""


def load_digits(source="embedded", flat=True):
    """Return handwritten digits as `(x_train, y_train), (x_test, y_test)`.

    source: "embedded" is scikit-learn's bundled set: 1797 images of 8x8, always
        split into the same 1437 to train and 360 to test (UCI, Alpaydin & Kaynak).
        "mnist" is the full MNIST: 60,000 and 10,000 images of 28x28 (LeCun, Cortes
        & Burges). It is downloaded once, into ~/.cache/from-fit-to-gradienttape/mnist,
        unless it is there already, gzipped by anyone, or Keras has its mnist.npz.
        The environment variable COURSE_CACHE names another folder for the files,
        COURSE_MNIST_URL another address to get them from.
    flat: True for x of shape (n, height * width), False for (n, height, width, 1).

    x is float32, grey levels from 0 (background) to 1 (ink); y is int64, shape (n,),
    the digit 0 to 9.

    Raises ValueError for another source, DataError if MNIST cannot be had.
    """
    if source == "embedded":
        arrays, white = _load_embedded(), 16
    elif source == "mnist":
        arrays, white = _load_mnist(), 255
    else:
        raise ValueError(f'source must be "embedded" or "mnist", not {source!r}.')
    x_train, y_train, x_test, y_test = arrays
    train = _scale(x_train, white, flat), y_train.astype(np.int64)
    test = _scale(x_test, white, flat), y_test.astype(np.int64)
    return train, test


def load_leaning(measured=0.6):
    """Return leaning digits as `(x_train, y_train), (x_test, y_test)`.

    x is that of `load_digits(flat=False)`. y is a dict: "digit", int64 (n,), and
    "lean", float32 (n, 1), in degrees: 0 is upright, positive leans to the right. In
    training only the share `measured` of the rows has a lean, always the same rows; it
    is NaN in the others. In the test part all are known.
    """
    parts = load_digits(flat=False)
    train, test = ({"digit": y, "lean": lean_of(x)} for x, y in parts)
    gaps = np.random.default_rng(8).permutation(len(train["lean"]))
    train["lean"][gaps[round(measured * len(gaps)) :]] = np.nan
    return (parts[0][0], train), (parts[1][0], test)


def lean_of(images):
    """Return how far images (n, height, width, 1) lean: float32 (n, 1), in degrees.

    It is the angle of the line through the ink that tells, row by row, where the ink
    lies sideways (least squares, weighted by the grey level); 0 for an empty image.
    """
    ink = np.asarray(images, np.float64)[..., 0]
    up, right = -np.arange(ink.shape[1])[:, np.newaxis], np.arange(ink.shape[2])
    total = np.maximum(ink.sum((1, 2), keepdims=True), 1e-9)
    up = up - (ink * up).sum((1, 2), keepdims=True) / total
    right = right - (ink * right).sum((1, 2), keepdims=True) / total
    slope = (ink * up * right).sum((1, 2)) / np.maximum((ink * up**2).sum((1, 2)), 1e-9)
    return np.degrees(np.arctan(slope)).astype(np.float32)[:, np.newaxis]


def read_idx(path):
    """Return the uint8 array in an IDX file (MNIST's format), gzipped or plain.

    The shape is the one the file states, such as (10000, 28, 28) for images and
    (10000,) for labels.

    Raises DataError if the file cannot be read, is not gzip although named .gz, is
    not an IDX file of unsigned bytes, or holds fewer or more bytes than it states.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        # Named .gz or not, gzip starts with these two bytes, and IDX never does.
        if path.suffix == ".gz" or content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} could not be read: {_reason(error)}.") from None
    return _parse_idx(path, content)


def make_blobs(n, classes=3, features=2, spread=1.0, seed=0):
    """Return n points around one random centre per class: x (n, features), y (n,).

    x is float32 and y int64, 0 to classes - 1; the classes are equally large (give or
    take one point) and in random order. The centres lie in -10 to 10; `spread` is the
    standard deviation around them. Draw once and split: another seed has other centres.
    """
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-10, 10, (classes, features))
    y = rng.permutation(np.arange(n) % classes)
    x = centers[y] + rng.normal(0, spread, (n, features))
    return x.astype(np.float32), y.astype(np.int64)


def make_rare(n, share=0.05, distance=1.5, seed=0):
    """Return n points of a common class 0 and a rare class 1: x (n, 2), y (n,).

    x is float32 and y int64; round(share * n) rows are of class 1, in random order.
    Both classes are round clouds of standard deviation 1 that overlap; their centres
    are `distance` apart, and the same for every seed.
    """
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) < round(share * n)).astype(np.int64)
    x = rng.normal(0, 1, (n, 2)) + y[:, np.newaxis] * distance / np.sqrt(2)
    return x.astype(np.float32), y


def make_line(n, slope=2.0, intercept=-1.0, noise=0.1, seed=0):
    """Return n noisy points of a line: x (n, 1) in -1 to 1, and y (n, 1), float32.

    y = slope * x + intercept + noise, where `noise` is its standard deviation.
    """
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 1))
    y = slope * x + intercept + rng.normal(0, noise, (n, 1))
    return x.astype(np.float32), y.astype(np.float32)


def make_two_tower(n, steps=12, seed=0):
    """Return n written digits with how the pen moved: dicts `x` and `y` of arrays.

    x["img_input"] (n, 8, 8, 1): images of the digits 0 to 4; x["ts_input"] (n, steps,
    3): speed, pressure and tilt of a made-up pen; y["score_output"] (n, 1): the seconds
    it took, 2 to 10, which the speed tells; y["class_output"] (n,): the digit. All
    float32, the digit int64.
    """
    rng = np.random.default_rng(seed)
    (images, digits), _ = load_digits(flat=False)
    rows = rng.choice(np.flatnonzero(digits < 5), n)
    seconds = rng.uniform(2, 10, (n, 1))
    pen = rng.normal(0, 0.3, (n, steps, 3))
    pen[..., 0] += 10 / seconds
    x = {"img_input": images[rows], "ts_input": pen.astype(np.float32)}
    y = {"score_output": seconds.astype(np.float32), "class_output": digits[rows]}
    return x, y


def _scale(images, white, flat):
    x = images.astype(np.float32)
    x /= white  # in place: full MNIST takes 188 MB already
    return x.reshape(len(x), -1) if flat else x[..., np.newaxis]


def _load_embedded():
    # Imported here, so that `import helpers.data` stays fast.
    from sklearn.datasets import load_digits as bundled_digits

    digits = bundled_digits()
    x, y = digits.images, digits.target
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1437], order[1437:]
    return x[train], y[train], x[test], y[test]


def _load_mnist():
    folder = _folder("COURSE_CACHE", MNIST_CACHE)
    missing = [name for name in MNIST_FILES if not _is_right(name, folder / name)]
    if missing:
        with contextlib.suppress(OSError):  # there is no file from Keras
            path = _folder("KERAS_HOME", "~/.keras") / "datasets" / "mnist.npz"
            keras = path.read_bytes()
            if hashlib.sha256(keras).hexdigest() == KERAS_SHA256:
                arrays = np.load(io.BytesIO(keras))
                return [arrays[n] for n in ("x_train", "y_train", "x_test", "y_test")]
    url = (os.environ.get("COURSE_MNIST_URL") or MNIST_URL).rstrip("/")
    for name in missing:
        _download(f"{url}/{name}", folder / name)
    return [read_idx(folder / name) for name in MNIST_FILES]


def _folder(variable, default):
    return Path(os.path.expanduser(os.environ.get(variable) or default))


def _is_right(name, file):
    """Tell whether a path or open file holds this MNIST file, gzipped by anyone."""
    try:
        with gzip.open(file) as unpacked:
            content = unpacked.read(UNPACKED_CAP)  # not all: it may be a gzip bomb
    except (OSError, EOFError, zlib.error):  # no file, not gzip, truncated or damaged
        return False
    return hashlib.sha256(content).hexdigest() == MNIST_FILES[name]


def _parse_idx(path, content):
    """Return the array in the bytes of an IDX file; `path` is for the messages."""
    # An IDX file starts with 0, 0, 8 for "unsigned byte" and how many dimensions.
    if content[:3] != b"\0\0\x08" or content[3:4] not in (b"\1", b"\2", b"\3"):
        magic = content[:4].hex(" ") or "nothing"
        raise DataError(f"{path} is no IDX file of bytes: it starts with {magic}.")
    start = 4 + 4 * content[3]
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise DataError(
            f"{path} is damaged: it holds {len(content):,} bytes, "
            f"and its header announces {expected:,}."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _download(url, path):
    """Put one MNIST file in its place, whole and checked, or raise DataError."""
    # Only a finished file gets the real name; the process id is there for two
    # notebooks that download at once.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(_fetch(url, path.name))
        os.replace(part, path)
    except (OSError, DataError) as error:
        raise DataError(
            f"{path} is missing or not the published file, and it could not be "
            f'downloaded from {url}: {error}; use load_digits("embedded"), which '
            "needs no network, or put the four MNIST .gz files into that folder, or "
            "into another one that COURSE_CACHE names."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _fetch(url, name):
    """Return a MNIST file from an address, or raise DataError with the reason."""
    deadline = time.monotonic() + FILE_TIMEOUT
    with _progress_bar(name) as bar:
        reader = _Reader(url, bar)
        reader.start()
        try:
            while reader.is_alive() and time.monotonic() < deadline:
                reader.join(0.1)
        finally:
            reader.cancelled = True  # out of time, or the learner pressed stop
    if reader.problem:
        raise DataError(reader.problem)
    if not _is_right(name, io.BytesIO(reader.data)):
        raise DataError("what came is not the published file")
    return reader.data


def _progress_bar(name):
    try:
        from tqdm import tqdm
    except ImportError:
        print(f"Downloading {name} ...")
        return contextlib.nullcontext()
    return tqdm(desc=name, unit="B", unit_scale=True)


class _Reader(threading.Thread):
    """Reads one address into `data`, in the background.

    A thread, because no time-out of urllib covers a whole file: each byte that drips
    in starts it anew, and looking up the host's name has none at all.
    """

    def __init__(self, url, bar):
        super().__init__(daemon=True)  # never keeps Python from ending
        self.url = url
        self.bar = bar  # shows the progress; None without tqdm
        self.data = bytearray()
        self.problem = f"it was not complete after {FILE_TIMEOUT} seconds"  # so far
        self.cancelled = False

    def run(self):
        try:
            with urllib.request.urlopen(self.url, timeout=READ_TIMEOUT) as reply:
                self.read(reply, int(reply.headers.get("Content-Length") or 0))
        except Exception as error:  # nobody would see it here: hand it over
            self.problem = _reason(error)

    def read(self, reply, size):
        # read1 returns what has come so far; read would wait for a whole block.
        while block := reply.read1(65_536):
            if self.cancelled:
                return
            self.data += block
            if self.bar is not None:
                self.bar.total = size or None
                self.bar.update(len(block))
            if len(self.data) > SIZE_CAP:
                raise DataError(f"the file is larger than {SIZE_CAP:,} bytes")
        if len(self.data) < size:
            raise DataError(f"only {len(self.data):,} of {size:,} bytes came")
        self.problem = None


def _reason(error):
    """Return in a few plain words why something failed."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
    elif isinstance(error, urllib.error.URLError):
        error = error.reason  # the error that it wraps, or a text
    if isinstance(error, TimeoutError):
        return f"the server sent nothing for {READ_TIMEOUT} seconds"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = " ".join(text.split()).replace(". ", "; ")  # it becomes part of a sentence
    return text.rstrip(".")[:200]
