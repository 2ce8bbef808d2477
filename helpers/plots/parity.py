"""Two runs side by side: both losses, their difference, and where it begins."""

import numpy as np

from helpers.plots.base import BLUE, GREY, LINES, ORANGE, show_picture

LOWEST = 1e-9  # what a difference of nothing is drawn at
ROUNDING = 1e-6  # about where float32 stops to tell weights apart


def side_by_side(rows, unit="step", place=None, word=None, chance=False):
    """Both losses, and below them the largest difference of any weight, on a log scale.

    Args:
        rows: list of dicts, one per step or epoch: `yours` and `fit`, losses or None,
            and `difference`, a number or None.
        unit: "step" or "epoch".
        place: int, the row of the first difference, counted from 1; None for none.
        word: str, the quantity that differs first.
        chance: whether what differs cannot be told from chance.
    """
    numbers = np.arange(1, len(rows) + 1)
    columns = {key: _column(rows, key) for key in ("yours", "fit", "difference")}

    def draw(axes):
        _draw_losses(axes[0], numbers, columns)
        _draw_difference(axes[1], numbers, columns["difference"])
        for panel in axes:
            panel.set_xlim(0.5, len(rows) + 0.5)
            panel.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
            if place is not None:
                panel.axvline(place, color=GREY, linewidth=1)
        if place is not None:
            note = {"xytext": (6, 6), "textcoords": "offset points", "va": "bottom"}
            axes[1].annotate(word, (place, 2 * ROUNDING), **note)

    title = "Your loop and fit agree" + (", up to chance" if chance else "")
    if word is not None:
        where = "" if place is None else f" at {unit} {place}"
        title = f"They part{where}: {word}"
    alt = _told(columns, unit, place, word)
    show_picture(title, unit, "", alt, draw, (7, 3), 2)


def _column(rows, key):
    return np.array([np.nan if r.get(key) is None else float(r[key]) for r in rows])


def _draw_losses(axes, numbers, columns):
    wide = {**LINES[0], "linewidth": 4, "alpha": 0.5, "markersize": 6}
    axes.plot(numbers, columns["fit"], label="fit", **wide)
    axes.plot(numbers, columns["yours"], label="yours", **LINES[1])
    axes.set_title("loss")
    axes.legend(frameon=False)


def _draw_difference(axes, numbers, difference):
    drawn = np.maximum(difference, LOWEST)
    axes.plot(numbers, drawn, color=ORANGE, marker="s", markersize=4, linestyle="--")
    axes.axhspan(LOWEST / 2, ROUNDING, color=BLUE, alpha=0.15)
    place = {"va": "top", "transform": axes.get_yaxis_transform()}  # x from 0 to 1
    axes.text(0.03, ROUNDING / 2, "rounding", color=BLUE, **place)
    axes.set_yscale("log")
    axes.set_ylim(LOWEST / 2, max(1e-3, 5 * np.nanmax(drawn, initial=LOWEST)))
    axes.set_title("largest difference of a weight")


def _told(columns, unit, place, word):
    count, difference = len(columns["fit"]), columns["difference"]
    known = difference[~np.isnan(difference)]
    parts = [f"Losses and weights of your run and of fit over {_many(count, unit)}."]
    for key, who in (("yours", "Your loss"), ("fit", "fit's")):
        losses = columns[key][~np.isnan(columns[key])]
        if len(losses):
            parts.append(f"{who} goes from {losses[0]:.3g} to {losses[-1]:.3g}.")
        else:
            parts.append(f"{who} is not known.")
    if word is None:
        most = known.max(initial=0.0)
        parts.append(
            "They agree: no weight differs by more than rounding."
            if most <= ROUNDING
            else f"They agree, within {most:.1g}."
        )
    else:
        where = f" at {unit} {place}" if place is not None else ""
        parts.append(f"The first difference{where}: {word}.")
        if len(known):
            parts.append(f"At the end a weight differs by {known[-1]:.1g}.")
    return " ".join(parts)


def _many(count, unit):
    return f"{count} {unit}{'' if count == 1 else 's'}"


def loop_times(milliseconds, title):
    """Milliseconds that one training step takes in several loops, on a log scale.

    Args:
        milliseconds: dict from the name of a loop to a number, slowest first.
    """
    names, values = list(milliseconds), np.array(list(milliseconds.values()), float)

    def draw(axes):
        marks = [ORANGE if name.startswith("fit") else BLUE for name in names]
        hatches = ["//" if name.startswith("fit") else "" for name in names]
        bars = axes.barh(names, values, color=marks, hatch=hatches, edgecolor="white")
        axes.bar_label(bars, [f" {value:.3g} ms" for value in values])
        axes.set_xscale("log")
        axes.set_xlim(values.min() / 2, values.max() * 4)
        axes.invert_yaxis()

    told = "; ".join(
        f"{name} {value:.3g} ms" for name, value in zip(names, values, strict=True)
    )
    alt = f"Time of one step: {told}. The slowest takes "
    alt += f"{values.max() / values.min():.0f} times as long as the fastest."
    show_picture(title, "milliseconds per step (log scale)", "", alt, draw, (6, 2.8))
