"""Pictures of devices and number formats: described from their data."""

import numpy as np
import pytest

from helpers import plots


@pytest.fixture
def told(capsys):
    """The description of the picture that a call shows."""

    def show(function, *arguments):
        function(*arguments)
        return capsys.readouterr().out.strip()

    return show


def test_divided_batches_tell_the_parts_of_each_batch(told):
    batches = [[[0, 1], [2, 3]], [[4], []]]
    assert told(plots.divided_batches, batches, "Divided") == (
        "Divided. batch 1: 2 and 2 rows; batch 2: 1 and 0 rows."
    )


def test_row_pulls_tell_each_way_and_the_fair_share(told):
    pulls = {"mean": [0.5, 1.0], "sum": [0.5, 0.5]}
    assert told(plots.row_pulls, pulls, [0, 1], "Pulls") == (
        "Pulls. Pull of each row, on one device 0.500. "
        "mean: 0.500, 1.000; sum: 0.500, 0.500."
    )


def test_loss_scales_tell_range_and_skipped_steps(told):
    assert told(plots.loss_scales, [8.0, 8.0, 4.0], [1], "Scale") == (
        "Scale. The scale begins at 8, ends at 4, and lies between 4 and 8. "
        "Skipped steps: 1."
    )
    assert told(plots.loss_scales, [8.0], [], "Scale").endswith("steps: none.")


def test_gradient_range_counts_what_float16_loses(told):
    sizes = np.array([[2.0**-30, -(2.0**-26)], [2.0**-20, 0.0]], "float32")
    kept = np.float16(sizes[sizes != 0])
    assert np.mean(kept == 0) == pytest.approx(2 / 3)
    assert told(plots.gradient_range, sizes, 2.0**15, "Range") == (
        "Range. Sizes of 4 gradients in float16. "
        "plain: 67% become 0; times 32768: 0% become 0."
    )


@pytest.mark.parametrize("slow", [0.2, 20.0])
def test_call_seconds_tell_all_of_them(told, slow):
    assert told(plots.call_seconds, {"one": 0.1, "two": slow}, "Time") == (
        f"one: 0.1 s; two: {slow:.2g} s."
    )
