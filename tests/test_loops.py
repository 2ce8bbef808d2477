"""The fast loop of the benchmark does what fit does."""

import importlib.util

import pytest

from helpers.lessons.paths import ROOT

spec = importlib.util.spec_from_file_location("loops", ROOT / "bench" / "loops.py")
loops = importlib.util.module_from_spec(spec)
spec.loader.exec_module(loops)


@pytest.mark.parametrize("make", [loops.make_epoch, loops.reference_answer])
@pytest.mark.parametrize("optimizer", loops.OPTIMIZERS)
def test_an_epoch_in_one_function_gives_the_weights_of_fit(optimizer, make):
    weights, loss = loops.same_weights(optimizer, make, rows=150)  # smaller last batch
    assert weights < 1e-5 and loss < 1e-5


def test_every_way_is_measured():
    found = loops.measure("SGD", rows=200, repeats=1)
    assert found.keys() == loops.WAYS.keys()
    assert all(value > 0 for values in found.values() for value in values)
