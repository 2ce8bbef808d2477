"""Pictures of losses, of metrics over batches, and of added penalties."""

import numpy as np

from helpers.plots.base import BLUE, GREY, LINES, ORANGE, show_picture

ERRORS = np.linspace(-3, 3, 61)


def loss_shapes(losses, title="The slope decides what training cares about"):
    """Up to three losses against the error: their value left, their slope right.

    Args:
        losses: dict from a name to a function of `(y_true, y_pred)` that returns one
            value per row.
    """
    curves = {name: _values_and_slopes(loss) for name, loss in losses.items()}

    def draw(axes):
        for axis, part, heading in zip(axes, (0, 1), ("loss", "slope"), strict=True):
            for (name, both), style in zip(curves.items(), LINES, strict=False):
                axis.plot(ERRORS, both[part], label=name, **{**style, "marker": ""})
            axis.set_title(heading)
            axis.axvline(0, color=GREY, linewidth=0.5)
        axes[0].set_ylim(-0.2, 4)
        axes[1].legend(frameon=False, loc="upper left")

    told = "; ".join(
        f"{name}: loss {_at(values, -2)} at error -2 and {_at(values, 2)} at 2, slope "
        f"{_at(slopes, -2)} and {_at(slopes, 2)}"
        for name, (values, slopes) in curves.items()
    )
    label = "error (prediction minus target)"
    show_picture(title, label, "", f"{title}. {told}.", draw, (7, 3), panels=2)


def _values_and_slopes(loss):
    import tensorflow as tf

    error = tf.constant(ERRORS[:, None], "float32")
    with tf.GradientTape() as tape:
        tape.watch(error)
        values = loss(tf.zeros_like(error), error)
    slopes = tape.gradient(values, error)
    return np.asarray(values), np.asarray(slopes).ravel()


def _at(values, error):
    return f"{values[np.abs(ERRORS - error).argmin()]:.2g}"


def paired_bars(names, values, title, xlabel, ylabel):
    """Two bars per name, side by side, plain and hatched.

    Args:
        names: what stands below each pair (n,).
        values: dict with two entries, from a name to numbers (n,).
    """
    place = np.arange(len(names))

    def draw(axes):
        styles = ((-0.2, BLUE, None), (0.2, ORANGE, "//"))
        for (name, numbers), (shift, color, hatch) in zip(
            values.items(), styles, strict=True
        ):
            axes.bar(place + shift, numbers, 0.38, color=color, hatch=hatch, label=name)
        axes.set_xticks(place, names)
        axes.axhline(0, color=GREY, linewidth=0.5)
        axes.legend(frameon=False)

    told = "; ".join(
        f"{name}: {', '.join(f'{number:.2f}' for number in numbers)}"
        for name, numbers in values.items()
    )
    places = ", ".join(str(name) for name in names)
    alt = f"{title}. For {places}, {told}."
    show_picture(title, xlabel, ylabel, alt, draw)


def lowest_points(x, lines, title, xlabel, ylabel):
    """Up to three curves over the same x, each with its lowest point marked.

    Args:
        x: numbers (n,).
        lines: dict from a curve's name to its numbers (n,).
    """
    lowest = {name: int(np.argmin(y)) for name, y in lines.items()}

    def draw(axes):
        for (name, y), style in zip(lines.items(), LINES, strict=False):
            axes.plot(x, y, label=name, **{**style, "marker": ""})
            place = lowest[name]
            look = {"color": style["color"], "marker": style["marker"]}
            axes.plot(x[place], y[place], markersize=8, **look)
        axes.legend(frameon=False)

    told = "; ".join(
        f"{name} is lowest at {x[place]:.2f}, with {lines[name][place]:.3f}"
        for name, place in lowest.items()
    )
    show_picture(title, xlabel, ylabel, f"{title}. {told}.", draw)


def batches_and_epoch(by_batch, streamed, whole, name="F1"):
    """A metric batch by batch: each batch's own value, their mean, and the streamed.

    Args:
        by_batch: numbers (b,), the metric of each batch alone.
        streamed: numbers (b,), the metric of all rows up to each batch.
        whole: number, the metric of all rows at once.
    """
    place = np.arange(1, len(by_batch) + 1)
    means = np.cumsum(by_batch) / place

    def draw(axes):
        dots = {**LINES[2], "linestyle": "", "markersize": 5}
        axes.plot(place, by_batch, label="this batch alone", **dots)
        axes.plot(place, means, label="mean of the batches", **LINES[1])
        axes.plot(place, streamed, label="from counts so far", **LINES[0])
        axes.axhline(whole, color="black", linewidth=0.8, label="all rows at once")
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    title = f"{name}: only the counts arrive at the whole set's value"
    alt = (
        f"{title}. The mean of {len(place)} batches ends at {means[-1]:.3f}, the value "
        f"from counts at {streamed[-1]:.3f}; all rows at once give {whole:.3f}."
    )
    show_picture(title, "batch", name, alt, draw, (6.5, 3))


def by_batch_size(sizes, lines, title, ylabel):
    """Up to three quantities against the batch size, on doubling scales.

    Args:
        sizes: ints (n,).
        lines: dict from a name to positive numbers (n,).
    """

    def draw(axes):
        for (name, y), style in zip(lines.items(), LINES, strict=False):
            axes.plot(sizes, y, label=name, **style)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        low, high = axes.get_ylim()
        ticks = 2.0 ** np.arange(np.ceil(np.log2(low)), np.log2(high), 2)
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.legend(frameon=False)

    told = "; ".join(
        f"{name} goes from {y[0]:.3g} to {y[-1]:.3g}" for name, y in lines.items()
    )
    alt = f"{title}. From batch size {sizes[0]} to {sizes[-1]}, {told}."
    show_picture(title, "batch size", ylabel, alt, draw)
