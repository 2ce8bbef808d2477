"""Pictures of two runs side by side, and of what a step costs: what they tell."""

from helpers import plots


def told(capsys):
    return capsys.readouterr().out.strip()


def rows(*numbers):
    return [
        {"yours": yours, "fit": fit, "difference": difference}
        for yours, fit, difference in numbers
    ]


def test_two_runs_that_agree(capsys):
    plots.side_by_side(rows((3.0, 3.0, 0.0), (2.0, 2.0, 1e-8)))
    assert told(capsys) == (
        "Losses and weights of your run and of fit over 2 steps. Your loss goes from 3 "
        "to 2. fit's goes from 3 to 2. They agree: no weight differs by more than "
        "rounding."
    )


def test_two_runs_that_part(capsys):
    found = rows((3.0, 3.0, 0.0), (2.5, 2.0, 0.25), (2.0, 1.0, 0.5))
    plots.side_by_side(found, place=2, word="gradient")
    assert told(capsys).endswith(
        "The first difference at step 2: gradient. At the end a weight differs by 0.5."
    )


def test_what_is_not_known_is_left_open(capsys):
    found = [{"fit": 3.0}, {"fit": 2.0, "difference": 0.5}]
    plots.side_by_side(found, unit="epoch", word="error")
    assert told(capsys) == (
        "Losses and weights of your run and of fit over 2 epochs. Your loss is not "
        "known. fit's goes from 3 to 2. The first difference: error. At the end a "
        "weight differs by 0.5."
    )


def test_times_of_loops(capsys):
    plots.loop_times({"eager": 10.0, "fit": 2.0, "epoch": 0.25}, "Eager steps are slow")
    assert told(capsys) == (
        "Time of one step: eager 10 ms; fit 2 ms; epoch 0.25 ms. The slowest takes 40 "
        "times as long as the fastest."
    )
