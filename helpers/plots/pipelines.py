"""Pictures of input pipelines: which rows come, in which order, and when."""

import numpy as np

from helpers.plots.base import BLUE, GREY, LINES, ORANGE, show_picture

CELL, LINE = 0.3, 0.24  # inches: one number, one line of numbers
MOST_TOLD = 12  # epochs or windows that a description spells out


def epochs_seen(pipelines, title, ylabel="epoch"):
    """What each epoch saw: a line of numbers per epoch, a box around each batch.

    Args:
        pipelines: dict from a pipeline's name to its epochs; an epoch is a list of
            batches, a batch a list of numbers.
        ylabel: what a line is, if not an epoch.
    """
    every = [n for epochs in pipelines.values() for e in epochs for b in e for n in b]
    low, high = min(every), max(every)
    lines = sum(len(epochs) + 1 for epochs in pipelines.values())
    width = max(sum(map(len, e)) for epochs in pipelines.values() for e in epochs)
    ticks = []

    def draw(axes):
        top = 0
        for name, epochs in pipelines.items():
            axes.text(0, top + 0.85, name, va="bottom", style="italic")
            for number, batches in enumerate(epochs, start=1):
                _boxes(axes, top + number, batches, (low, high))
                ticks.append((top + number + 0.5, number))
            top += len(epochs) + 1
        axes.set(xlim=(-0.1, max(width, 8) + 0.1), ylim=(top + 0.1, 0), xticks=[])
        axes.set_yticks([place for place, _ in ticks], [n for _, n in ticks])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    told = "; ".join(
        f"{name}: " + ", ".join(_told(ylabel, epochs))
        for name, epochs in pipelines.items()
    )
    size = (max(5, CELL * max(width, 8) + 0.8), LINE * lines + 0.7)
    show_picture(title, "", ylabel, f"{title}. {told}.", draw, size)


def _boxes(axes, top, batches, limits):
    from matplotlib.patches import Rectangle

    low, high = limits
    left = 0
    for batch in batches:
        for place, number in enumerate(batch):
            shade = 0.5 * (number - low) / ((high - low) or 1)
            cell = Rectangle((left + place, top + 0.08), 1, 0.84)
            cell.set(facecolor=BLUE, alpha=shade, linewidth=0)
            axes.add_patch(cell)
            middle = left + place + 0.5, top + 0.52
            axes.text(*middle, _text(number), ha="center", va="center", fontsize=8)
        if batch:
            box = Rectangle((left + 0.04, top + 0.08), len(batch) - 0.08, 0.84)
            box.set(fill=False, edgecolor="black", linewidth=1)
            axes.add_patch(box)
        left += len(batch)


def _text(number):
    return f"{number:.1f}" if isinstance(number, float) else str(number)


def _told(unit, epochs):
    for number, batches in enumerate(epochs[:MOST_TOLD], start=1):
        groups = " ".join(f"[{', '.join(map(_text, b))}]" for b in batches) or "nothing"
        yield f"{unit} {number} {groups}"


def reach(orders, title):
    """How far a shuffle moves rows: each row's number over its place, side by side.

    Args:
        orders: dict from a pipeline's name to the row numbers as they came out.
    """

    def draw(axes):
        for panel, (name, order) in zip(
            np.atleast_1d(axes), orders.items(), strict=True
        ):
            place = np.arange(len(order))
            panel.plot(place, place, color=GREY, linestyle=":")
            panel.scatter(place, order, s=1.5, color=BLUE)
            panel.set_title(name, fontsize=9)
            panel.set_box_aspect(1)

    jumps = {name: int(np.max(o - np.arange(len(o)))) for name, o in orders.items()}
    told = "; ".join(
        f"{name}: {f'rows come up to {jump} places early' if jump else 'no row moves'}"
        for name, jump in jumps.items()
    )
    count = len(orders)
    alt = f"{title}. {told}."
    show_picture(title, "place", "row", alt, draw, (2.1 * count, 2.7), count)


def class_counts(batches, title):
    """How many rows of each class a batch holds: a line per batch, numbers in a grid.

    Args:
        batches: dict from a batch's name to its labels, an int array.
    """
    classes = max(int(np.max(labels)) for labels in batches.values()) + 1
    table = np.array([np.bincount(y, minlength=classes) for y in batches.values()])

    def draw(axes):
        axes.imshow(table, cmap="Blues", aspect="auto", vmax=table.max() * 1.3)
        for line, counts in enumerate(table):
            for place, count in enumerate(counts):
                ink = "white" if count > table.max() / 2 else "black"
                axes.text(place, line, count, color=ink, ha="center", va="center")
        axes.set_xticks(range(classes))
        axes.set_yticks(range(len(table)), batches)

    told = "; ".join(
        f"{name}: {', '.join(f'{count} of class {c}' for c, count in _some(counts))}"
        for name, counts in zip(batches, table, strict=True)
    )
    size = (5.5, 0.35 * len(table) + 0.9)
    show_picture(title, "class", "", f"{title}. {told}.", draw, size)


def _some(counts):
    return [(place, count) for place, count in enumerate(counts) if count]


def timeline(schedules, title):
    """When batches are prepared and when they are trained on, one above the other.

    Args:
        schedules: dict from a pipeline's name to `(prepared, trained)`, two lists of
            `(start, end)` in milliseconds, one entry per batch.
    """

    def draw(axes):
        labels = []
        for name, (prepared, trained) in schedules.items():
            _bars(axes, len(labels), prepared, BLUE, "")
            _bars(axes, len(labels) + 1, trained, ORANGE, "////")
            labels += [f"{name}\nprepare", "train"]
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)

    told = []
    for name, (_, trained) in schedules.items():
        end = trained[-1][1]
        waits = end - sum(stop - start for start, stop in trained)
        told.append(f"{name}: done after {end:g} ms, training waits {waits:g} ms of it")
    alt = f"{title}. {'; '.join(told)}."
    size = (6, 0.7 * len(schedules) + 1.1)
    show_picture(title, "milliseconds", "", alt, draw, size)


def _bars(axes, line, spans, color, hatch):
    for number, (start, end) in enumerate(spans):
        width = end - start
        axes.barh(line, width, 0.7, start, color=color, hatch=hatch, edgecolor="white")
        middle = start + width / 2, line
        patch = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(*middle, number, ha="center", va="center", fontsize=8, bbox=patch)


def windows_over(series, windows, title):
    """Which numbers of a series each window reads, and which one it predicts.

    Args:
        series: numbers (t,).
        windows: list of `(first, last, target)`: the places of the first and last
            number that is read, and of the number to predict.
    """
    lines = range(1, len(windows) + 1)

    def draw(axes):
        place = np.arange(len(series))
        scaled = (series - np.min(series)) / (np.ptp(series) or 1)
        axes.plot(place, -0.2 - 1.6 * scaled, **{**LINES[2], "label": "the series"})
        for line, (first, last, target) in zip(lines, windows, strict=True):
            reads = range(first, last + 1)
            label = {"label": "reads"} if line == 1 else {}
            axes.plot(reads, [line] * len(reads), **{**LINES[0], **label})
            label = {"label": "predicts"} if line == 1 else {}
            style = {**LINES[1], "linestyle": "none", "markersize": 6}
            axes.plot(target, line, **{**style, **label})
        axes.set_yticks(lines, range(len(windows)))
        axes.invert_yaxis()
        axes.set_xticks(place)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    told = "; ".join(
        f"window {number} reads {first} to {last} and predicts {target}"
        for number, (first, last, target) in enumerate(windows[:MOST_TOLD])
    )
    size = (6, 0.25 * len(windows) + 1.6)
    show_picture(
        title, "place in the series", "window", f"{title}. {told}.", draw, size
    )
