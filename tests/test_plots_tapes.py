"""Pictures of lesson 07 tell what they show in words, made from the data."""

import numpy as np

from helpers import plots


def told(capsys):
    """What the last picture told a reader without a screen."""
    return capsys.readouterr().out


def test_a_chain_tells_values_and_gradients_and_where_there_is_no_way(capsys):
    values = {"w": 0.5, "w * x": 1.0, "round": 1.0, "squared": 4.0}
    plots.tape_chain(values, [None, None, -4.0, 1.0], "No way back")
    assert told(capsys) == (
        "No way back. From left to right: w is 0.5 with gradient None; w * x is 1 with "
        "gradient None; round is 1 with gradient -4; squared is 4 with gradient 1.\n"
    )


def test_step_widths_tell_the_best_one(capsys):
    errors = {"one side": [0.3, 0.1, 0.2], "both sides": [0.3, 0.02, 0.01]}
    plots.difference_errors([1e-3, 1e-2, 1e-1], errors)
    assert "one side is best at 1e-02; both sides is best at 1e-01" in told(capsys)


def test_a_flow_tells_the_first_and_the_last_layer(capsys):
    flow = {"gradient": np.array([1e-5, 0.1]), "step": np.array([1e-6, 0.01])}
    plots.gradient_flow({"sigmoid": flow}, "It vanishes")
    assert "sigmoid: 1e-05 in the first layer, 1e-01 in the last" in told(capsys)


def test_traces_are_told_beside_the_calls(capsys):
    plots.traces({"tensors": (5, 1), "numbers": (5, 5)})
    assert told(capsys) == "Traces. tensors: 1 in 5 calls; numbers: 5 in 5 calls.\n"


def test_clipping_tells_which_way_keeps_the_direction(capsys):
    before = [np.array([3.0, 4.0]), np.array([0.0, 12.0])]
    ways = {
        "each": [before[0] / 2, np.array([0.0, 2.5])],
        "all": [part / 2 for part in before],
    }
    plots.clipping(before, ways, ("first", "second"))
    text = told(capsys)
    assert text.startswith("Norms (5, 12) before; each: (2.5, 2.5); all: (2.5, 6)")
    assert "Direction kept: all." in text


def test_saliency_tells_the_strongest_pixel_of_each_image(capsys):
    slopes = np.zeros((2, 3, 3))
    slopes[0, 1, 2], slopes[1, 0, 0] = -5.0, 2.0
    plots.saliency_maps(np.ones((2, 3, 3)), slopes, ["a 4", "a 7"])
    text = told(capsys)
    assert "a 4: strongest at row 1, column 2" in text
    assert "a 7: strongest at row 0, column 0" in text
