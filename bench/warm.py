"""Print figures of warm kernels: start, memory of four at once, growth over many.

What is compared is measured side by side in one run.

    python bench/warm.py [--kernels 300]
"""

import argparse
import os
import statistics
import time
from pathlib import Path

from jupyter_client.manager import start_new_kernel
from nbformat.v4 import new_code_cell, new_notebook

from helpers.grading import execute, sandbox, warm

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

WORK = """\
import keras
import numpy as np
from helpers import data
rng = np.random.default_rng(0)
x, y = rng.normal(size=(4096, 64)), rng.normal(size=(4096, 1))
model = keras.Sequential([keras.layers.Dense(64, "relu"), keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x, y, epochs=3, verbose=0)
"""


def notebook(*sources):
    return new_notebook(cells=[new_code_cell(source) for source in sources])


def first_results(path, repeats=5):
    """Seconds until a first TensorFlow result: a usual kernel, and a warm sandbox."""
    source = "import tensorflow as tf\ntf.reduce_sum(tf.ones(3))"
    found = {"usual": [], "warm": []}
    for _ in range(repeats):
        begin = time.perf_counter()
        manager, client = start_new_kernel(kernel_name="python3")
        client.execute_interactive(source, output_hook=lambda message: None)
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        found["usual"].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        execute.run_notebook(notebook(source), execute.Settings(warm_path=path))
        found["warm"].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in found.items()}


def pss(path):
    """GB that the warm process and all its forks take, shared pages counted once."""
    return sum(sandbox.share(pid) for pid in sandbox.family(server(path))) / 2**30


def server(path):
    """The id of the warm process that listens at `path`."""
    wanted = os.fspath(path).encode()
    ids = {int(entry.name): entry for entry in Path("/proc").glob("[0-9]*")}
    found = [pid for pid, entry in ids.items() if wanted in command(entry)]
    return next(pid for pid in found if len(sandbox.family(pid)) == len(found))


def command(entry):
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def memory_of(number, path):
    """GB of `number` kernels at once, each after having trained a model."""
    lines = []
    settings = execute.Settings(warm_path=path)
    try:
        for _ in range(number):
            line = execute.Line(sandbox.allowed(settings.limits), settings)
            lines.append(line.__enter__())
            status = line.run(WORK, 120, execute.Nothing())
            assert status == ("ran", ""), status
        return pss(path)
    finally:
        for line in lines:
            line.__exit__()


def growth(kernels, path):
    """What the warm process and this one keep after many kernels, against after ten."""
    settings, marks = execute.Settings(warm_path=path), []
    pid = server(path)
    begin = time.perf_counter()
    for number in range(kernels + 1):
        if number in (10, kernels):
            marks.append([kept(pid), kept(os.getpid())])
        execute.run_notebook(notebook("x = 1"), settings)
    return marks, kernels / (time.perf_counter() - begin)


def kept(pid):
    """Descriptors, processes below it, and MB."""
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return files, len(sandbox.family(pid)) - 1, sandbox.share(pid) / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", type=int, default=300)
    options = parser.parse_args()
    with warm.private() as path:
        execute.run_notebook(notebook("1"), execute.Settings(warm_path=path))
        found = first_results(path)
        ratio = found["usual"] / found["warm"]
        print("From nothing to a first result of TensorFlow, and away again:")
        print(f"  usual kernel  {found['usual']:6.2f} s")
        print(f"  warm, shut in {found['warm']:6.2f} s, {ratio:.1f} times as fast")
        one, four = memory_of(1, path), memory_of(4, path)
        print("Memory (PSS) of the warm process and its kernels, after training:")
        print(
            f"  1 kernel {one:.2f} GB, 4 at once {four:.2f} GB: {four / one:.2f} times"
        )
        (early, late), rate = growth(options.kernels, path)
        print(f"After 10 and after {options.kernels} kernels, {rate:.1f} a second:")
        for name, a, b in zip(("warm process", "grader"), early, late, strict=True):
            print(
                f"  {name:12} {a[0]} and {b[0]} descriptors, {a[1]} and {b[1]} "
                f"processes, {a[2]:.0f} and {b[2]:.0f} MB"
            )


if __name__ == "__main__":
    main()
