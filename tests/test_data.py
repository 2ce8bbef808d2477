"""Tests of helpers/data.py: no network beyond this machine, no TensorFlow."""

import contextlib
import errno
import gzip
import hashlib
import http.server
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from helpers import data

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
PINNED = data.MNIST_FILES
FIRST = "train-images-idx3-ubyte.gz"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def idx(array):
    """Return the bytes of an IDX file that holds a uint8 array."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def small_mnist():
    """Return the arrays of a tiny MNIST, by file name."""
    rng = np.random.default_rng(3)
    shapes = [(6, 28, 28), (6,), (4, 28, 28), (4,)]
    arrays = [rng.integers(0, 10, shape, np.uint8) for shape in shapes]
    return dict(zip(PINNED, arrays, strict=True))


ARRAYS = small_mnist()
FILES = {name: gzip.compress(idx(array), mtime=0) for name, array in ARRAYS.items()}
SUMS = {name: sha256(idx(array)) for name, array in ARRAYS.items()}


def one_sentence(error):
    """Check a message: one line, one full stop, no traceback of what came before."""
    message = str(error)
    assert "\n" not in message and message.endswith(".")
    assert not re.search(r"[.!?]\s", message), message
    shown = "".join(traceback.format_exception(error))
    assert "During handling" not in shown and "direct cause" not in shown
    return message


def fill(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def cached(folder):
    """Return what lies in the cache folder, by name."""
    paths = folder.iterdir() if folder.is_dir() else []
    return {path.name: path.read_bytes() for path in paths}


# Digits that are always there


def test_embedded():
    (x_train, y_train), (x_test, y_test) = data.load_digits()
    assert x_train.shape == (1437, 64) and x_test.shape == (360, 64)
    assert y_train.shape == (1437,) and y_test.shape == (360,)
    x = np.concatenate([x_train, x_test])
    assert x.dtype == np.float32 and x.min() == 0 and x.max() == 1
    assert len(np.unique(x, axis=0)) == 1797  # train and test are disjoint
    assert y_train.dtype == y_test.dtype == np.int64
    assert set(y_train) == set(y_test) == set(range(10))
    images = data.load_digits(flat=False)[1][0]
    assert images.shape == (360, 8, 8, 1) and images.dtype == np.float32
    assert np.array_equal(images.reshape(360, 64), x_test)


def test_embedded_is_the_same_everywhere():
    # Pinned: a change of NumPy's shuffling or of scikit-learn's set must be seen.
    expected = "c256dbd49c599f29034ea8dcdfd2eb1341831ef45f81b891609f5a304b57ea48"
    for _ in range(2):
        train, test = data.load_digits()
        content = b"".join(array.tobytes() for array in train + test)
        assert sha256(content) == expected
        train[0][:], train[1][:] = 0, 0  # the caller's own


@pytest.mark.parametrize("source", ["Embedded", None, ["mnist"]])
def test_unknown_source(source):
    with pytest.raises(ValueError) as caught:
        data.load_digits(source)
    expected = f'source must be "embedded" or "mnist", not {source!r}.'
    assert str(caught.value) == expected


def test_import_is_light():
    code = "import sys, helpers.data; print(*sys.modules)"
    root = Path(data.__file__).resolve().parents[1]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    assert not loaded & {"tensorflow", "keras", "sklearn", "tqdm", "pandas"}


# Generators


def test_blobs():
    x, y = data.make_blobs(50, classes=4, features=3, seed=5)
    assert x.shape == (50, 3) and x.dtype == np.float32
    assert y.shape == (50,) and y.dtype == np.int64
    assert sorted(np.bincount(y)) == [12, 12, 13, 13]
    assert not np.array_equal(y, np.arange(50) % 4)
    x, y = data.make_blobs(3000, spread=2.0)
    for label in range(3):
        assert x[y == label].std(axis=0) == pytest.approx([2, 2], rel=0.1)
    centers, _ = data.make_blobs(30, spread=0.0)
    assert len(np.unique(centers, axis=0)) == 3 and abs(centers).max() <= 10


def test_line():
    x, y = data.make_line(2000, slope=3.0, intercept=0.5, noise=0.2)
    assert x.shape == y.shape == (2000, 1)
    assert x.dtype == y.dtype == np.float32
    assert -1 <= x.min() and x.max() <= 1
    error = y - 3 * x - 0.5
    assert error.mean() == pytest.approx(0, abs=0.02)
    assert error.std() == pytest.approx(0.2, rel=0.1)


@pytest.mark.parametrize("make", [data.make_blobs, data.make_line])
def test_seeds(make):
    same = zip(make(20, seed=1), make(20, seed=1), strict=True)
    assert all(np.array_equal(one, two) for one, two in same)
    assert not np.array_equal(make(20, seed=1)[0], make(20, seed=2)[0])


# IDX files

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
IDX = idx(IMAGES)
ZIPPED = gzip.compress(IDX, mtime=0)


@pytest.mark.parametrize("name", ["plain-ubyte", "zipped.gz", "zipped-without-suffix"])
def test_read_idx(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(ZIPPED if "zipped" in name else IDX)
    for same in (path, str(path)):
        array = data.read_idx(same)
        assert array.dtype == np.uint8 and np.array_equal(array, IMAGES)
    array += 1  # not read-only


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("empty", b"", "starts with nothing"),
        ("image", b"\x89PNG" + IDX[4:], "starts with 89 50 4e 47"),
        ("floats", b"\0\0\x0d\3" + IDX[4:], "starts with 00 00 0d 03."),
        ("no-dimensions", b"\0\0\x08\0", "starts with 00 00 08 00"),
        ("half-a-header", IDX[:6], "holds 6 bytes, and its header announces 16"),
        ("truncated", IDX[:-1], "holds 39 bytes, and its header announces 40"),
        ("too-long", IDX + b"more", "holds 44 bytes, and its header announces 40"),
        ("plain.gz", IDX, "Not a gzipped file"),
        ("truncated.gz", ZIPPED[:-10], "ended before the end-of-stream marker"),
        ("damaged.gz", ZIPPED[:10] + b"\xff" * 20, "Error -3 while decompressing"),
        ("absent", None, "could not be read: No such file or directory"),
    ],
)
def test_read_idx_fails(tmp_path, name, content, reason):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(data.DataError) as caught:
        data.read_idx(path)
    message = one_sentence(caught.value)
    assert str(path) in message and reason in message


# Downloads: a small "MNIST" on a server of our own

OK = b"HTTP/1.0 200 OK\r\n"


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends the file asked for, or the pieces in `server.reply`, with pauses."""

    def do_GET(self):
        server = self.server
        server.requests.append(self.path)
        content = server.files[self.path.removeprefix("/mnist/")]
        size = b"Content-Length: %d\r\n" % len(content)
        if "t10k" in self.path:
            size = b""  # a server need not tell it
        for piece in server.reply or [OK, size, b"\r\n", content]:
            with contextlib.suppress(ConnectionError):  # the reader has given up
                self.wfile.write(piece)
            server.stop.wait(server.pause)

    def log_message(self, *args):
        pass


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The place of the cache folder, and the checksums of the tiny files."""
    monkeypatch.setattr(data, "MNIST_FILES", SUMS)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "a" / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # the home folder on Windows
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "a" / "cache"


@pytest.fixture
def server(folder, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.reply, server.pause, server.files = None, 0, dict(FILES)
    server.requests, server.stop = [], threading.Event()
    # The default of half a second would be the time of most tests here.
    serve = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    serve.start()
    port = server.server_address[1]
    monkeypatch.setenv("COURSE_MNIST_URL", f"http://127.0.0.1:{port}/mnist")
    yield server
    server.stop.set()
    server.shutdown()
    server.server_close()


def load_fails(folder):
    """Return the message of a load that fails and changes nothing in the folder."""
    before = cached(folder)
    with pytest.raises(data.DataError) as caught:
        data.load_digits("mnist")
    message = one_sentence(caught.value)
    assert f"{folder / FIRST} is missing or not the published file" in message
    assert 'use load_digits("embedded"), which needs no network' in message
    assert cached(folder) == before
    return message


def load_succeeds():
    arrays = list(ARRAYS.values())
    (x_train, y_train), (x_test, y_test) = data.load_digits("mnist")
    assert x_train.dtype == x_test.dtype == np.float32
    assert y_train.dtype == y_test.dtype == np.int64
    assert np.array_equal(y_train, arrays[1]) and np.array_equal(y_test, arrays[3])
    assert x_train == pytest.approx(arrays[0].reshape(6, 784) / 255)
    assert x_test == pytest.approx(arrays[2].reshape(4, 784) / 255)


def test_download_once(server, folder, capsys):
    load_succeeds()
    assert cached(folder) == FILES
    capsys.readouterr()
    load_succeeds()
    assert server.requests == [f"/mnist/{name}" for name in FILES]
    assert capsys.readouterr() == ("", "")
    (images, _), _ = data.load_digits("mnist", flat=False)
    assert images.shape == (6, 28, 28, 1)


def test_progress(server, folder, capsys, monkeypatch):
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "tqdm", None)
        data.load_digits("mnist")
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"Downloading {name} ..." for name in FILES]
    assert err == ""
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    shutil.rmtree(folder)
    data.load_digits("mnist")
    out, err = capsys.readouterr()
    assert out == "" and all(name in err for name in FILES)
    assert f"{FIRST}: 100%" in err


SIZE = b"Content-Length: 1000\r\n\r\n"
DRIPS = [b"x"] * 200  # for 4 seconds, should the reader not give up


@pytest.mark.parametrize(
    "reply, pause, reason",
    [
        ([OK, SIZE, *DRIPS], 0.02, "it was not complete after 0.3 seconds"),
        ([OK, *DRIPS], 0.02, "it was not complete after 0.3 seconds"),
        ([OK + SIZE + b"begin"], 5, "the server sent nothing for 0.2 seconds"),
        ([OK, SIZE, b"begin"], 0, "only 5 of 1,000 bytes came"),
        ([OK, b"\r\n", bytes(2_000_000)], 0, "the file is larger than 1,000,000 b"),
        ([OK, b"Content-Length: many\r\n\r\n"], 0, "invalid literal"),
        ([b"HTTP/1.0 404 Gone. Or no\r\n\r\n"], 0, "HTTP Error 404: Gone; Or no;"),
        ([b"220 ready. Hello\r\n\r\n"], 0, "220 ready; Hello"),
        ([b""], 0, "Remote end closed connection without response"),
    ],
)
def test_download_fails(server, folder, monkeypatch, reply, pause, reason):
    server.reply, server.pause = reply, pause
    # Only the limit under test is small, so that a busy machine changes nothing.
    monkeypatch.setattr(data, "READ_TIMEOUT", 0.2 if pause == 5 else 20)
    monkeypatch.setattr(data, "FILE_TIMEOUT", 0.3 if pause == 0.02 else 20)
    monkeypatch.setattr(data, "SIZE_CAP", 1_000_000)
    start = time.monotonic()
    assert f"/mnist/{FIRST}: {reason}" in load_fails(folder)
    assert time.monotonic() - start < 3
    assert len(server.requests) == 1
    server.reply, server.pause = None, 0
    load_succeeds()


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>please log in</html>", id="html"),
        pytest.param(idx(ARRAYS[FIRST]), id="not-zipped"),
        pytest.param(ZIPPED, id="other-data"),
        pytest.param(FILES[FIRST][:-1], id="truncated"),
        pytest.param(FILES[FIRST][:-8] + bytes(8), id="wrong-crc"),
        pytest.param(FILES[FIRST][:10] + b"\xff" * 20, id="damaged"),
        pytest.param(FILES[FIRST] + ZIPPED, id="too-long"),
    ],
)
def test_wrong_file(server, folder, wrong):
    fill(folder, FILES | {FIRST: wrong})
    server.files[FIRST] = wrong
    assert f"{FIRST}: what came is not the published file;" in load_fails(folder)
    server.files = FILES
    load_succeeds()
    assert cached(folder) == FILES
    assert server.requests == [f"/mnist/{FIRST}"] * 2  # and none of the right ones


def test_gzip_bomb(server, folder, monkeypatch):
    assert data.UNPACKED_CAP > 47_040_016  # the largest file
    monkeypatch.setattr(data, "UNPACKED_CAP", 1_000_000)
    bomb = gzip.compress(bytes(30_000_000))
    fill(folder, {FIRST: bomb})
    server.files[FIRST] = bomb
    tracemalloc.start()
    assert "what came is not the published file" in load_fails(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def test_files_zipped_anew_are_accepted(server, folder):
    files = {name: gzip.compress(idx(ARRAYS[name]), mtime=1) for name in FILES}
    assert all(files[name] != FILES[name] for name in FILES)
    server.files = files
    load_succeeds()
    load_succeeds()
    assert cached(folder) == files and len(server.requests) == 4


def test_checksum_table():
    sums = {*PINNED.values(), data.KERAS_SHA256}
    assert len(sums) == 5
    assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in sums)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real MNIST in shared/data is absent")
def test_real_files_are_accepted(server, folder, monkeypatch):
    # With the pinned checksums; only the train files, not in shared/data, are tiny.
    real = {name: PINNED[name] for name in PINNED if name.startswith("t10k")}
    monkeypatch.setattr(data, "MNIST_FILES", SUMS | real)
    fill(folder, {name: (REAL / name).read_bytes() for name in real})
    _, (x, y) = data.load_digits("mnist", flat=False)
    assert server.requests == [f"/mnist/{name}" for name in FILES if name not in real]
    assert x.shape == (10_000, 28, 28, 1) and x.min() == 0 and x.max() == 1
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(y).tolist() == counts


def test_interrupt_ends_the_thread_and_leaves_no_file(server, folder, monkeypatch):
    readers = []

    def interrupt(reader, timeout):
        readers.append(reader)
        raise KeyboardInterrupt

    server.reply, server.pause = [OK, SIZE, *DRIPS], 0.02
    with monkeypatch.context() as stop:
        stop.setattr(data._Reader, "join", interrupt)
        with pytest.raises(KeyboardInterrupt):
            data.load_digits("mnist")
    assert cached(folder) == {}
    assert readers[0].daemon
    readers[0].join(1)
    assert not readers[0].is_alive()


@pytest.mark.parametrize(
    "url, reason",
    [
        ("htp://127.0.0.1", "unknown url type"),
        ("http://127.0.0.1:x", "nonnumeric port"),
        ("http://127.0.0.1:1", "Connection refused"),
    ],
)
def test_bad_address(folder, monkeypatch, url, reason):
    monkeypatch.setenv("COURSE_MNIST_URL", url)
    assert f"downloaded from {url}/{FIRST}: {reason}" in load_fails(folder)


def test_folder_cannot_be_written(server, folder, monkeypatch):
    folder.parent.write_text("a file, not a folder")
    message = load_fails(folder)
    assert str(folder) in message and "COURSE_CACHE" in message
    assert server.requests == []


def test_full_disk(server, folder, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    assert "No space left on device" in load_fails(folder)


@pytest.mark.parametrize("name", ["keras", ".keras"])
def test_file_from_keras(server, folder, tmp_path, monkeypatch, name):
    if name == ".keras":
        monkeypatch.delenv("KERAS_HOME")  # in the home folder, then
    path = tmp_path / name / "datasets" / "mnist.npz"
    path.parent.mkdir(parents=True)
    names = ["x_train", "y_train", "x_test", "y_test"]
    np.savez(path, **dict(zip(names, ARRAYS.values(), strict=True)))
    monkeypatch.setattr(data, "KERAS_SHA256", sha256(path.read_bytes()))
    load_succeeds()
    assert server.requests == [] and not folder.exists()
    path.write_bytes(path.read_bytes()[:-1])  # damaged: not used
    load_succeeds()
    assert len(server.requests) == 4


def test_default_places(folder, tmp_path, monkeypatch):
    seen = []

    def fetch(url, name):
        seen.append(url)
        return FILES[name]

    monkeypatch.delenv("COURSE_CACHE")
    monkeypatch.delenv("COURSE_MNIST_URL", raising=False)
    monkeypatch.setattr(data, "_fetch", fetch)
    load_succeeds()
    base = "https://storage.googleapis.com/cvdf-datasets/mnist/"
    assert seen == [base + name for name in FILES]
    assert cached(tmp_path / ".cache" / "from-fit-to-gradienttape" / "mnist") == FILES
