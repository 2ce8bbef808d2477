"""Pictures of weights: what they move, what they count, and what they leave out."""

import numpy as np

from helpers.plots.base import BLUE, GREY, LINES, ORANGE, show_picture

RARE, COMMON = {"color": ORANGE, "marker": "x"}, {"color": BLUE, "marker": "."}


def boundaries(x, y, models, title, threshold=0.5):
    """Where models say yes, side by side: each border among the points.

    Args:
        x: array (n, 2).
        y: int array (n,), 1 for the rare class.
        models: dict from a name to a model that gives one probability per row.
    """
    sides = [np.linspace(low - 0.3, high + 0.3, 60) for low, high in _ranges(x)]
    grid = np.stack(np.meshgrid(*sides), axis=-1).astype("float32")

    def draw(axes):
        for panel, (name, model) in zip(axes, models.items(), strict=True):
            panel.scatter(*x[y == 0].T, s=8, label="common", **COMMON)
            panel.scatter(*x[y == 1].T, s=18, linewidths=1, label="rare", **RARE)
            height = _probability(model, grid.reshape(-1, 2)).reshape(grid.shape[:2])
            panel.contour(*sides, height, [threshold], colors="black", linewidths=2)
            panel.contourf(*sides, height, [threshold, 2], colors=GREY, alpha=0.25)
            panel.set_title(name)
        axes[0].legend(loc="lower left", fontsize=8, markerscale=1.5)

    told = "; ".join(
        f"{name}: {_found(_probability(model, x) >= threshold, y)}"
        for name, model in models.items()
    )
    alt = f"Points of two classes with the border of each model. {told}."
    show_picture(title, "first number", "second", alt, draw, (7, 3.2), len(models))


def _ranges(x):
    return zip(x.min(axis=0), x.max(axis=0), strict=True)


def _probability(model, x):
    return np.asarray(model.predict(x, batch_size=4096, verbose=0))[:, 0]


def _found(yes, y):
    return (
        f"{int((yes & (y == 1)).sum())} of {int((y == 1).sum())} rare points are "
        f"found, with {int((yes & (y == 0)).sum())} false alarms"
    )


def ways_to_divide(values, reported, title):
    """The same sum, divided in several ways, and which result was reported.

    Args:
        values: dict from how it was divided to the number.
        reported: number, what Keras gave; the bar that equals it is marked.
    """
    names, numbers = list(values), [float(value) for value in values.values()]
    right = [bool(np.isclose(number, reported, rtol=1e-3)) for number in numbers]

    def draw(axes):
        colors = [ORANGE if mark else GREY for mark in right]
        hatches = ["//" if mark else "" for mark in right]
        bars = axes.barh(names, numbers, color=colors, hatch=hatches, edgecolor="white")
        notes = [
            f" {number:.3f}{'  = reported' if mark else ''}"
            for number, mark in zip(numbers, right, strict=True)
        ]
        axes.bar_label(bars, notes)
        axes.margins(x=0.3)
        axes.invert_yaxis()

    told = "; ".join(
        f"{name}: {number:.3f}{' (this is reported)' if mark else ''}"
        for name, number, mark in zip(names, numbers, right, strict=True)
    )
    show_picture(title, "loss", "", f"{title}. {told}.", draw, (6, 2.2))


def class_totals(y, weights, title):
    """How many rows each class has, and how much they weigh together.

    Args:
        y: int array (n,).
        weights: dict from a name to the weight of every row (n,).
    """
    classes = np.unique(y)
    totals = {
        name: [float(np.sum(weight[y == c])) for c in classes]
        for name, weight in weights.items()
    }

    def draw(axes):
        for panel, (name, total) in zip(axes, totals.items(), strict=True):
            labels = [str(int(c)) for c in classes]
            bars = panel.bar(labels, total, color=[BLUE, ORANGE, GREY][: len(labels)])
            for bar, hatch in zip(bars, ("", "//", ".."), strict=False):
                bar.set_hatch(hatch)
            panel.bar_label(bars, [f"{number:.0f}" for number in total])
            panel.set_title(name)
            panel.set_ylim(0, 1.15 * max(map(max, totals.values())))

    told = "; ".join(
        f"{name}: "
        + ", ".join(
            f"class {int(c)} has {number:.0f}"
            for c, number in zip(classes, total, strict=True)
        )
        for name, total in totals.items()
    )
    show_picture(title, "class", "total", f"{told}.", draw, (6, 2.6), len(totals))


def padded_batch(tokens, weights, title):
    """A padded batch: every token, and which steps count in the loss.

    Args:
        tokens: int array (n, steps).
        weights: array (n, steps); steps of weight 0 are greyed and crossed out.
    """
    tokens, weights = np.asarray(tokens), np.asarray(weights)
    counts = weights != 0

    def draw(axes):
        axes.imshow(counts, cmap="Blues", vmin=0, vmax=2, aspect="auto")
        for (row, step), token in np.ndenumerate(tokens):
            mark = str(token) if counts[row, step] else "×"
            axes.text(step, row, mark, ha="center", va="center")
        axes.set_xticks(range(tokens.shape[1]))
        axes.set_yticks(range(len(tokens)))

    told = ", ".join(str(int(number)) for number in counts.sum(axis=1))
    alt = (
        f"{len(tokens)} sequences of {tokens.shape[1]} steps; the steps that count, "
        f"row by row: {told}. Together {int(counts.sum())} of {counts.size}."
    )
    show_picture(title, "step", "sequence", alt, draw, (5, 2.2))


def precision_and_recall(y, p, title, mark=0.5):
    """Precision and recall for every threshold between 0 and 1.

    Args:
        y: int array (n,), 1 for the rare class.
        p: array (n,), probabilities.
        mark: a threshold to draw.
    """
    y, p = np.asarray(y), np.asarray(p)
    thresholds = np.linspace(0, max(float(p.max()), mark), 101)
    found = [((p >= t) & (y == 1)).sum() for t in thresholds]
    called = np.array([(p >= t).sum() for t in thresholds])
    recall = np.array(found) / y.sum()
    precision = np.where(called, found / np.maximum(called, 1), np.nan)
    yes = p >= mark
    hits = (yes & (y == 1)).sum()

    def draw(axes):
        every = {"markevery": 10}
        axes.plot(thresholds, precision, label="precision", **LINES[0], **every)
        axes.plot(thresholds, recall, label="recall", **LINES[1], **every)
        axes.axvline(mark, color=GREY, linestyle=":", label=f"threshold {mark:.2f}")
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    alt = (
        f"As the threshold rises from 0, precision goes from {precision[0]:.2f} up to "
        f"{np.nanmax(precision):.2f} and recall falls from {recall[0]:.2f}. At "
        f"{mark:.2f} precision is {hits / max(yes.sum(), 1):.2f}, recall "
        f"{hits / y.sum():.2f}."
    )
    show_picture(title, "threshold", "share", alt, draw, (6, 3))
