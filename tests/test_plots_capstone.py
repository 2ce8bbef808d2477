"""What the pictures of the capstone tell a reader who cannot see them."""

import numpy as np
import pytest

from helpers import data, plots


@pytest.fixture
def matrix():
    """Three digits: 4 of 6 right; 0 is taken for 2 twice."""
    return np.array([[1, 0, 2], [0, 2, 0], [0, 0, 1]])


def test_leans_are_told(capsys):
    (x, y), _ = data.load_leaning(measured=1.0)
    plots.leaning(x[:2], [[-7.4], [12.0]], "Two digits")
    told = capsys.readouterr().out
    assert "2 digits" in told and "they lean -7, 12 degrees to the right" in told


def test_a_confusion_matrix_names_its_largest_errors(matrix, capsys):
    plots.confusion(matrix)
    told = capsys.readouterr().out
    assert told == (
        "Confusion matrix: 4 of 6 on the diagonal; most often 0 read as 2 2 times.\n"
    )


def test_a_perfect_confusion_matrix_has_no_errors(capsys):
    plots.confusion(np.eye(3, dtype=int))
    assert "3 of 3 on the diagonal; no errors" in capsys.readouterr().out


def test_confused_pairs_are_told_with_their_counts(capsys):
    x = np.ones((4, 8, 8, 1))
    plots.confused_pairs(x, [0, 0, 1, 2], [2, 2, 1, 2], [(0, 2, 2)])
    assert "0 read as 2: 2 images" in capsys.readouterr().out
    counted = np.array([(0, 2, 2)])  # an array of NumPy's numbers will do as well
    plots.confused_pairs(x, [0, 0, 1, 2], [2, 2, 1, 2], counted)
    assert "0 read as 2: 2 images" in capsys.readouterr().out
    plots.confused_pairs(x, [0, 0, 1, 2], [2, 0, 1, 2], [(0, 2, 1)])
    assert "0 read as 2: 1 image." in capsys.readouterr().out
    plots.confused_pairs(x, [0, 0, 1, 2], [0, 0, 1, 2], [])
    assert capsys.readouterr().out == "Nothing was confused.\n"


def test_accuracy_of_every_class_is_told(matrix, capsys):
    plots.class_accuracy(matrix)
    assert "0: 0.33, 1: 1.00, 2: 1.00" in capsys.readouterr().out


def test_norms_above_the_limit_are_counted(capsys):
    plots.gradient_norms([{"grad_norm": norm} for norm in (5.0, 3.0, 1.0)], 2.0)
    told = capsys.readouterr().out
    assert told.startswith("In 2 of 3 epochs") and "from 5.00 to 1.00" in told


def test_the_report_page_tells_its_four_panels(matrix, capsys):
    lean, mistakes = ([1.0, 4.0], [2.0, 2.0]), (np.ones((2, 8, 8, 1)), ["a", "b"])
    plots.report_page("A reader", [0.2, 0.9, 0.8], matrix, lean, mistakes)
    told = capsys.readouterr().out
    assert "best 0.900 at epoch 2" in told and "accuracy 0.667" in told
    assert "1.5 degrees off" in told and "2 surest mistakes" in told


def test_a_reader_without_mistakes_has_a_page_too(capsys):
    mistakes = np.ones((0, 8, 8, 1)), []
    plots.report_page("A reader", [1.0], np.eye(3, dtype=int), ([1.0], [1.0]), mistakes)
    assert "no errors" in capsys.readouterr().out


def test_leaning_digits_have_gaps_in_training_only():
    (x, y), (x_test, y_test) = data.load_leaning()
    assert x.shape == (1437, 8, 8, 1) and y["lean"].shape == (1437, 1)
    assert np.isnan(y["lean"]).sum() == 575 and not np.isnan(y_test["lean"]).any()
    (_, again), _ = data.load_leaning()
    np.testing.assert_array_equal(y["lean"], again["lean"])


def test_a_stroke_leans_as_far_as_it_was_drawn():
    image = np.zeros((3, 8, 8, 1))
    for row in range(8):
        image[0, row, 3] = 1  # upright
        image[1, row, 7 - row] = 1  # one pixel right for each pixel up
    lean = data.lean_of(image)
    assert lean.dtype == np.float32 and lean.shape == (3, 1)
    np.testing.assert_allclose(lean[:, 0], [0, 45, 0], atol=1e-4)
