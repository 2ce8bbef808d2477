"""Pictures of callbacks and schedules: described from their data, and readable."""

import pytest

from helpers import plots


@pytest.fixture
def told(capsys):
    """What a picture tells where there is only text."""

    def tell(picture, *data, **settings):
        picture(*data, **settings)
        return capsys.readouterr().out.strip()

    return tell


CALLS = [
    ("train_begin", None),
    ("epoch_begin", 0),
    ("train_batch_begin", 0),
    ("train_batch_end", 0),
    ("epoch_end", 0),
    ("train_end", None),
]


def test_the_lit_hook_is_told_with_its_places(told):
    text = told(plots.hook_lanes, CALLS, lit="epoch_end")
    assert text.startswith(
        "on_epoch_end is called 1 times in this training: at place 5 of"
    )
    assert "train_begin, epoch_begin 0, train_batch_begin 0, train_batch_end 0" in text


def test_a_hook_that_is_never_called_can_be_lit(told):
    assert "is called 0 times" in told(plots.hook_lanes, CALLS, lit="test_begin")


def test_the_batch_where_the_running_mean_misleads_most_is_told(told):
    text = told(plots.running_means, [[4.0, 3.0], [2.0, 2.5]], [[4.0, 2.0], [2.0, 3.0]])
    assert "differ most at batch 2: told 3.000, the loss of the batch is 2.000" in text


def test_early_stopping_is_told_by_what_ran_and_what_is_kept(told):
    run = {"epochs": 4, "weights": 1}
    text = told(plots.early_stop, [3.0, 1.0, 2.0, 2.0, 0.5], run)
    assert text == (
        "Best at epoch 2, stopped after 4 of 5; the model keeps the weights of epoch 2."
    )


def test_the_direction_of_an_early_stop_can_be_up(told):
    run = {"epochs": 3, "weights": 2}
    text = told(plots.early_stop, [0.5, 0.9, 0.7], run, "accuracy", mode="max")
    assert text.startswith("Best at epoch 2")


def test_schedules_are_told_by_start_top_and_end(told):
    lines = {"warm": [0.1, 0.2, 0.1], "flat": [0.1, 0.1, 0.1]}
    text = told(plots.rates, lines, "A title", steps_per_epoch=2)
    assert "warm starts at 0.1, is highest at step 1 with 0.2 and ends at 0.1" in text
    assert text.startswith("A title. ") and "flat starts" in text


@pytest.mark.parametrize(
    ("used", "when"),
    [
        ([1, 1, 1], "none"),
        ([1, 1, 0.5], "epoch 2"),
        ([1, 0.5, 0.25], "epochs 1 and 2"),
    ],
)
def test_cuts_of_the_learning_rate_are_told(told, used, when):
    text = told(plots.plateau, [1.0, 1.0, 1.0], used)
    assert text.startswith(f"The learning rate is cut after {when}.") or when == "none"
    assert (when == "none") == text.startswith("The learning rate is never cut.")


def test_only_an_exact_resumption_is_called_exact(told):
    whole = [4.0, 2.0, 1.0, 0.5]
    text = told(plots.two_halves, whole, {"a": [1.0, 0.5], "b": [1.0, 0.6]}, half=2)
    assert text.startswith("Exact after the restart: a.")
    assert "b is off by up to 0.1" in text


def test_a_range_test_is_told_by_its_lowest_loss(told):
    text = told(plots.range_test, [0.1, 1.0, 10.0], [2.0, 1.0, 9.0])
    assert "is lowest, 1, at a learning rate of 1, and ends at 9" in text
