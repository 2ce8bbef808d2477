"""Pictures of data, of training, and of what `fit` logs."""

import numpy as np

from helpers.plots.base import BLUE, GREY, LINES, ORANGE, show_picture


def images(x, y, title="The first images"):
    """The first images of an array in one row, each with its label.

    Args:
        x: array (n, side * side) or (n, side, side, ...), grey levels.
        y: int array (n,), the labels.
    """
    count = min(10, len(x))
    side = int(np.sqrt(np.prod(np.shape(x)[1:])))
    row = np.concatenate([np.reshape(image, (side, side)) for image in x[:count]], 1)
    labels = [str(int(label)) for label in y[:count]]

    def draw(axes):
        axes.imshow(row, cmap="gray_r")
        axes.set_xticks((np.arange(count) + 0.5) * side - 0.5, labels)
        axes.set_yticks([])

    alt = f"{count} images in a row, labelled {', '.join(labels)}."
    show_picture(title, "label", "", alt, draw, (6, 1.4))


def curves(x, lines, title, xlabel, ylabel, log=False):
    """Up to three curves over the same x.

    Args:
        x: numbers (n,).
        lines: dict from a curve's name to its numbers (n,).
        log: whether the y axis is logarithmic.
    """

    def draw(axes):
        for (name, y), style in zip(lines.items(), LINES, strict=False):
            axes.plot(x, y, label=name, **style)
        axes.set_yscale("log" if log else "linear")
        axes.legend(frameon=False)

    told = "; ".join(
        f"{name} goes from {y[0]:.3g} to {y[-1]:.3g}" for name, y in lines.items()
    )
    show_picture(title, xlabel, ylabel, f"{title}. {told}.", draw)


def learning_curves(history, key="loss", area=None):
    """Training and validation values per epoch, with the best validation epoch marked.

    Args:
        history: the `History` that `fit` returned, or its `history` dict.
        key: which value, for example "loss" or "accuracy".
        area: an `Area` that the picture replaces; by default it is shown anew.
    """
    values = getattr(history, "history", history)
    train, val = values[key], values.get(f"val_{key}")
    epochs = np.arange(1, len(train) + 1)
    best = None
    if val and len(val) == len(train):
        best = int(np.argmin(val) if "loss" in key else np.argmax(val))

    def draw(axes):
        axes.plot(epochs, train, label=f"training {key}", **LINES[0])
        if best is not None:
            axes.plot(epochs, val, label=f"validation {key}", **LINES[1])
            axes.axvline(best + 1, color=GREY, linestyle=":")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)

    alt = f"Training {key} goes from {train[0]:.3f} to {train[-1]:.3f}"
    title = f"Training {key} over {len(train)} epochs"
    if best is not None:
        alt += f"; validation {key} is best at epoch {best + 1}, {val[best]:.3f}"
        title = f"Validation {key} is best at epoch {best + 1}"
    show_picture(title, "epoch", key, alt + ".", draw, area=area)


def seen_rows(orders, title):
    """Which row stood at which place, epoch by epoch, as a heat map.

    Args:
        orders: list of int arrays (n,), one per epoch: row numbers in the order in
            which training saw them.
    """
    table = np.array(orders)
    same = all((row == table[0]).all() for row in table)

    def draw(axes):
        axes.imshow(table, cmap="Blues", aspect="auto")
        axes.set_yticks(range(len(table)), range(1, len(table) + 1))

    alt = (
        f"{len(table)} epochs of {table.shape[1]} rows; the order is "
        f"{'the same in every epoch' if same else 'different from epoch to epoch'}."
    )
    show_picture(title, "place in the epoch", "epoch", alt, draw, (5, 1.8))


def split_classes(labels, train, title):
    """The class of every row by position, training rows left, validation rows right.

    Args:
        labels: int array (n,) in the order of the rows.
        train: int, how many rows at the start are trained on.
    """
    labels = np.asarray(labels)
    place = np.arange(len(labels))

    def draw(axes):
        axes.scatter(place[:train], labels[:train], s=4, color=BLUE, label="training")
        axes.scatter(
            place[train:],
            labels[train:],
            s=4,
            color=ORANGE,
            marker="s",
            label="validation",
        )
        axes.axvline(train, color=GREY, linestyle=":")
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    parts = [sorted({int(c) for c in labels[part]}) for part in _halves(train)]
    alt = f"{title}. Training has the classes {parts[0]}, validation {parts[1]}."
    show_picture(title, "row", "class", alt, draw, (6, 3))


def _halves(train):
    return slice(None, train), slice(train, None)


def running_loss(batch_losses, sizes, after):
    """What `fit` logs: batch losses, their running mean, and the loss afterwards.

    Args:
        batch_losses: numbers (b,), the loss of each batch before its update.
        sizes: ints (b,), how many rows each batch had.
        after: number, the loss of the same rows when the epoch is over.
    """
    sizes = np.asarray(sizes)
    running = np.cumsum(np.multiply(batch_losses, sizes)) / np.cumsum(sizes)
    place = np.arange(1, len(sizes) + 1)

    def draw(axes):
        axes.plot(place, batch_losses, label="loss of the batch", **LINES[2])
        axes.plot(place, running, label="running mean (logged)", **LINES[0])
        axes.axhline(after, label="evaluate afterwards", color=ORANGE, linestyle="--")
        axes.legend(frameon=False)

    alt = (
        f"Batch losses fall from {batch_losses[0]:.3f} to {batch_losses[-1]:.3f}; the "
        f"running mean ends at {running[-1]:.3f}, evaluate gives {after:.3f}."
    )
    title = "The logged loss is a mean over moving weights"
    show_picture(title, "batch", "loss", alt, draw)
