"""Evidence becomes plain data, and no answer gets out of `run`."""

import os
import time

import numpy as np
import pytest

from helpers.checks.evidence import MOST_NUMBERS, AnyOrder, EqualOrNot, freeze, run
from helpers.checks.limits import LimitReached, limits


def numbers(shape, kind, data):
    return {"shape": shape, "kind": kind, "data": data}


@pytest.mark.parametrize(
    ("value", "frozen"),
    [
        (None, None),
        ("text", "text"),
        (True, numbers([], "i", [1])),
        (3, numbers([], "i", [3])),
        (0.5, numbers([], "f", [0.5])),
        (np.float32(0.1), numbers([], "f", [0.100000001])),
        ([1, 2], numbers([2], "i", [1, 2])),
        ([1, 2.5], numbers([2], "f", [1, 2.5])),
        (((1, 2), (3, 4)), numbers([2, 2], "i", [1, 2, 3, 4])),
        (np.ones((1, 2)), numbers([1, 2], "f", [1.0, 1.0])),
        ([np.ones(2), np.zeros(2)], numbers([2, 2], "f", [1.0, 1.0, 0.0, 0.0])),
        ([], {"list": []}),
        ([[1], [1, 2]], {"list": [numbers([1], "i", [1]), numbers([2], "i", [1, 2])]}),
        ({"b": 1, "a": None}, {"dict": {"a": None, "b": numbers([], "i", [1])}}),
        (np.array(["x"]), {"list": ["x"]}),
        ((n for n in "ab"), {"not data": "a generator"}),
        (len, {"not data": "the builtin_function_or_method len"}),
        (object(), {"not data": "an object object"}),
        (np.array([None]), {"not data": "an array with entries of type object"}),
    ],
)
def test_freeze(value, frozen):
    assert freeze(value) == frozen


def test_freeze_keeps_comparisons():
    assert freeze(AnyOrder([1]))["compare"] == "any order"
    assert freeze(EqualOrNot(1, 2))["compare"] == "equal or not"


def test_freeze_tensors_and_variables():
    keras = pytest.importorskip("keras")
    tensor = keras.ops.convert_to_tensor([[1.0, 2.0]])
    assert freeze(tensor) == numbers([1, 2], "f", [1.0, 2.0])
    assert freeze(keras.Variable([1.0])) == numbers([1], "f", [1.0])
    assert "not data" in freeze(keras.Input((2,)))


def test_what_is_too_large_is_not_copied():
    assert "a list with" in freeze([0.0] * (MOST_NUMBERS + 1))["not data"]
    huge = np.broadcast_to(np.float64(0), (1 << 17, 1 << 10))
    assert freeze(huge)["not data"] == "an array of shape (131072, 1024) (1,024 MB)"


def evidence_of(answer):
    def evidence(answer, rng):
        x = rng.normal(size=3)
        yield "value", lambda: answer(x), {"x": x}
        yield "twice", lambda: 2 * answer(x)

    return lambda seed=1: run(evidence, seed, {"answer": answer}, seconds=1.0)


def test_records_have_label_value_and_given():
    first, second = evidence_of(np.sum)()
    assert first["label"] == "value" and first["given"]["dict"]["x"]["shape"] == [3]
    assert second["value"]["data"][0] == pytest.approx(2 * first["value"]["data"][0])


def test_a_seed_repeats_and_another_differs():
    answers = evidence_of(np.sum)
    assert answers(1) == answers(1) != answers(2)


def test_an_undefined_answer_is_a_record():
    def evidence(missing, rng):
        yield "value", missing()

    (record,) = run(evidence, 1, {})
    assert record["error"] == {"type": "Undefined", "message": "missing"}


def test_an_error_costs_its_promise_and_names_the_line():
    source = "def answer(x):\n    y = x + 1\n    return y / undefined_name\n"
    names = {}
    exec(compile(source, "<cell answer>", "exec"), names)
    import linecache

    lines = source.splitlines(keepends=True)
    linecache.cache["<cell answer>"] = (len(source), None, lines, "<cell answer>")
    first, second = evidence_of(names["answer"])()
    assert first["error"]["type"] == second["error"]["type"] == "NameError"
    assert first["error"]["where"] == "line 3 of your cell"
    assert first["error"]["line"] == "return y / undefined_name"


def test_an_error_of_tensorflow_tells_its_reason_only():
    tf = pytest.importorskip("tensorflow")

    def evidence(answer, rng):
        yield "gather", lambda: next(iter(answer(lambda x: tf.gather([1, 2], x))))
        yield "fill", lambda: next(iter(answer(lambda x: tf.reshape(x, [3, 5]))))
        yield "eagerly", lambda: tf.constant([1, 2]) + tf.constant([1, 2, 3])

    rows = tf.data.Dataset.range(7).batch(7)
    records = run(evidence, 1, {"answer": lambda way: rows.map(way).prefetch(1)})
    gather, fill, eagerly = (record["error"]["message"] for record in records)
    assert gather.startswith("indices[2] = 2 is not in [0, 2)")
    assert fill.startswith("Input to reshape is a tensor with 7 values")
    assert eagerly == "Incompatible shapes: [2] vs. [3] [Op:AddV2]"
    assert not any(word in gather + fill + eagerly for word in ("node", "Iterator"))


def endless(x):
    while True:
        try:
            time.sleep(5)
        except Exception:
            pass


def swallowing(x):
    while True:
        try:
            time.sleep(5)
        except BaseException as error:
            if time.monotonic() - started > 3:
                raise error


def hoarding(x):
    kept = []
    while True:
        kept.append(np.ones(1 << 22))


@pytest.mark.parametrize("answer", [endless, hoarding])
def test_limits_stop_an_answer(answer):
    begin = time.monotonic()
    (record,) = evidence_of(answer)()
    assert record["error"]["type"] == "LimitReached"
    assert time.monotonic() - begin < 10


def test_a_swallowed_limit_comes_again():
    global started
    started = time.monotonic()
    (record,) = evidence_of(swallowing)()
    assert record["error"]["type"] == "LimitReached"


def test_a_bare_except_is_no_way_out():
    source = (
        "import time\ndef answer(x):\n    while True:\n        try:\n"
        "            time.sleep(1)\n        except:\n            pass\n"
    )
    names = {}
    exec(compile(source, "<cell endless>", "exec"), names)
    (record,) = evidence_of(names["answer"])()
    assert record["error"]["type"] == "LimitReached"


def test_limits_restore_the_signal():
    import signal

    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(LimitReached), limits(0.3):
        time.sleep(5)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError])
def test_no_exception_leaves_run(error):
    def answer(x):
        raise error("reason")

    records = evidence_of(answer)()
    assert records[0]["error"]["type"] == error.__name__
    assert "reason" in records[0]["error"]["message"]


def test_evidence_that_is_no_generator():
    (record,) = run(lambda answer, rng: None, 1, {"answer": 1})
    assert record["error"]["type"] == "TypeError"


def test_output_is_kept_and_stderr_is_silent(capfd):
    from helpers.checks.evidence import run_logged

    def answer(x):
        print("looking at", len(x))
        os.write(2, b"noise")
        return x.sum()

    def evidence(answer, rng):
        yield "value", answer(rng.normal(size=3))

    _, log = run_logged(evidence, 1, {"answer": answer})
    assert log["printed"] == "looking at 3"
    assert capfd.readouterr() == ("", "")


def test_global_state_is_restored():
    def answer(x):
        np.random.seed(0)
        import keras

        keras.config.set_dtype_policy("float16")
        return 1.0

    import keras

    before = np.random.get_state()[1].tolist()
    evidence_of(answer)()
    assert np.random.get_state()[1].tolist() == before
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("seed", [None, 7])
def test_a_seed_that_an_answer_sets_does_not_outlive_the_check(seed):
    import tensorflow as tf

    def answer():
        found.append(tf.compat.v1.get_seed(0)[0])
        tf.random.set_seed(3)
        return 1.0

    def evidence(answer):
        yield "value", answer()

    found = []
    for before in (4, seed):
        tf.random.set_seed(before)
        run(evidence, 1, {"answer": answer})
        outside = tf.compat.v1.get_seed(before)
        assert outside == ((before, before) if before else (None, None))
    assert found[0] == found[1]  # whatever was set, evidence starts alike
    tf.random.set_seed(None)
