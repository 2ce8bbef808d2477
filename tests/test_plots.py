"""Pictures: described from their data, and live ones that leave one still behind."""

import importlib
import re

import IPython
import keras
import numpy as np
import pytest
from IPython.display import DisplayHandle

from helpers import plots
from helpers.plots import base, live
from helpers.plots.base import Area


@pytest.fixture
def notebook(monkeypatch):
    """Pretend to be in a notebook; a list of everything displayed or updated."""
    shown = []
    show = importlib.import_module("helpers.checks.show")  # the name is a function, too
    for module in (show, base):
        monkeypatch.setattr(module, "in_notebook", lambda: True)
    monkeypatch.setattr(
        IPython.display, "display", lambda data, raw: shown.append(("new", data))
    )
    for name in ("display", "update"):
        monkeypatch.setattr(
            DisplayHandle,
            name,
            lambda self, data, raw, name=name: shown.append((name, data)),
        )
    return shown


def alt(data):
    return re.search(r'<img alt="([^"]*)"', data["text/html"])[1]


def test_a_picture_is_shown_with_its_description(notebook):
    plots.learning_curves({"loss": [3.0, 1.0], "val_loss": [2.0, 2.5]})
    ((kind, data),) = notebook
    assert kind == "new" and data["text/plain"] == alt(data)
    assert alt(data) == (
        "Training loss goes from 3.000 to 1.000; "
        "validation loss is best at epoch 1, 2.000."
    )


def test_without_a_notebook_the_description_is_printed(capsys):
    plots.learning_curves({"loss": [3.0, 1.0]})
    assert capsys.readouterr().out == "Training loss goes from 3.000 to 1.000.\n"


def test_an_area_is_empty_before_and_after(notebook):
    area = Area()
    area.update("something", **{"text/html": "<b>something</b>"})
    area.clear()
    empty = {"text/plain": ""}
    assert [data for _, data in notebook][0] == empty
    assert notebook[-1] == ("update", empty)


def test_live_curves_update_in_place_and_leave_one_still(notebook, monkeypatch):
    monkeypatch.setattr(live, "SECONDS", 0.0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    x = np.ones((4, 1))
    watch = plots.LiveCurves()
    for _ in range(2):  # the same callback may be used for a second fit
        notebook.clear()
        model.fit(x, x, epochs=3, callbacks=[watch], verbose=0)
        kinds = [kind for kind, _ in notebook]
        assert kinds == ["display", "update", "update", "update", "update", "new"]
        assert notebook[4][1] == {"text/plain": ""}
        assert alt(notebook[5][1]) == alt(notebook[3][1])


def test_a_drawing_counts_sizes_from_the_open_one(capsys):
    series = keras.Input((None, 3), name="series")
    inner = keras.layers.Conv1D(8, 3, name="conv")(series)
    same = keras.layers.Conv1D(8, 3, padding="same", name="same")(series)
    means = [keras.layers.GlobalAveragePooling1D()(part) for part in (inner, same)]
    both = keras.layers.Concatenate(name="both")(means)
    plots.drawing(keras.Model(series, both))
    told = capsys.readouterr().out
    assert "conv (n, T-2, 8)" in told and "same (n, T, 8)" in told
    assert "both (n, 16), fed by" in told
