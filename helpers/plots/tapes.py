"""Pictures of what a tape records, of gradients, and of compiled steps."""

import numpy as np

from helpers.plots.base import BLUE, GREY, LINES, ORANGE, show_picture

BOX = {"boxstyle": "round", "facecolor": "white", "edgecolor": GREY}


def tape_chain(values, gradients, title):
    """Recorded operations from left to right: values forward, gradients backward.

    Args:
        values: dict from what is computed, such as "w * x", to its number, in the order
            of computing.
        gradients: list of numbers, the slope of the last value with respect to each
            one; None where the tape found no way back.
    """
    names, last = list(values), len(values) - 1
    slopes = [None if g is None else float(g) for g in gradients]

    def draw(axes):
        for place, (name, slope) in enumerate(zip(names, slopes, strict=True)):
            middle = {"ha": "center", "va": "center"}
            axes.text(place, 0, name, bbox=BOX, fontsize=10, **middle)
            axes.text(place, 0.62, f"{float(values[name]):.3g}", color=BLUE, **middle)
            told = "None" if slope is None else f"{slope:.3g}"
            axes.text(place, -0.62, told, color=ORANGE, weight="bold", **middle)
            if place < last:
                _arrows(axes, place, slope is None, slopes[place + 1] is None)
        axes.text(-0.5, 1.0, "values, forward →", color=BLUE, ha="left")
        axes.text(last + 0.5, -1.1, "← gradients, backward", color=ORANGE, ha="right")
        axes.set(xlim=(-0.6, last + 0.6), ylim=(-1.2, 1.2))
        axes.axis("off")

    told = [
        f"{name} is {float(values[name]):.3g} with gradient "
        f"{'None' if slope is None else format(slope, '.3g')}"
        for name, slope in zip(names, slopes, strict=True)
    ]
    alt = f"{title}. From left to right: {'; '.join(told)}."
    show_picture(title, "", "", alt, draw, (1.5 * len(names) + 0.4, 2.0))


def _arrows(axes, place, cut, lost):
    """One arrow forward and one back; a cross where the way back is cut."""
    arrow = {"arrowstyle": "->", "linewidth": 1.5}
    blue = {**arrow, "color": BLUE}
    axes.annotate("", (place + 0.62, 0.45), (place + 0.38, 0.45), arrowprops=blue)
    if not cut:
        orange = {**arrow, "color": ORANGE, "linestyle": "--"}
        ends = (place + 0.38, -0.45), (place + 0.62, -0.45)
        axes.annotate("", *ends, arrowprops=orange)
    elif not lost:  # the first one on the way back
        middle = {"ha": "center", "va": "center", "fontsize": 16}
        axes.text(place + 0.5, -0.5, "✕", color=ORANGE, **middle)


def difference_errors(eps, errors):
    """How wrong a numeric slope is for every step width, on logarithmic axes.

    Args:
        eps: numbers (n,), the step widths, ascending.
        errors: dict from a way of computing to positive numbers (n,), at most three.
    """
    best = {name: eps[int(np.argmin(values))] for name, values in errors.items()}

    def draw(axes):
        for (name, values), look in zip(errors.items(), LINES, strict=False):
            axes.plot(eps, values, label=name, **look)
        axes.set(xscale="log", yscale="log")
        axes.legend(frameon=False)

    told = "; ".join(f"{name} is best at {width:.0e}" for name, width in best.items())
    alt = (
        f"Errors over step widths from {eps[0]:.0e} to {eps[-1]:.0e}: {told}, "
        "and worse on both sides."
    )
    title = "Too wide: the curve spoils it; too narrow: rounding"
    show_picture(title, "step width eps", "error of the slope", alt, draw)


def gradient_flow(flows, title):
    """Gradient norm and size of the step per layer, one line for each model.

    Args:
        flows: dict from a model's name to a dict with "gradient" and "step", numbers
            (layers,): norms of the gradients, and of the update divided by the weights.
        title: states the finding.
    """
    panels = {"gradient": "norm of the gradient", "step": "step / weights"}

    def draw(axes):
        for axis, (key, name) in zip(axes, panels.items(), strict=True):
            for (model, flow), look in zip(flows.items(), LINES, strict=False):
                axis.plot(np.arange(1, len(flow[key]) + 1), flow[key], **look)
                axis.lines[-1].set_label(model)
            axis.set(yscale="log", title=name)
            axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0].legend(frameon=False)

    told = "; ".join(
        f"{model}: {flow['gradient'][0]:.0e} in the first layer, "
        f"{flow['gradient'][-1]:.0e} in the last"
        for model, flow in flows.items()
    )
    xlabel = "layer, from the input to the output"
    alt = f"{title}. Norm of the gradient, {told}."
    show_picture(title, xlabel, "", alt, draw, (7, 3), panels=2)


def traces(counts, title="How often Python ran your function"):
    """Bars: for each way of calling, how many calls and how many traces they cost.

    Args:
        counts: dict from the way of calling to `(calls, traces)`.
    """
    names = list(counts)
    place = np.arange(len(names), 0, -1)

    def draw(axes):
        calls = [counts[name][0] for name in names]
        traced = [counts[name][1] for name in names]
        axes.barh(place + 0.2, calls, 0.35, color=BLUE, label="calls")
        look = {"color": ORANGE, "hatch": "//", "edgecolor": "white"}
        axes.barh(place - 0.2, traced, 0.35, label="traces", **look)
        for height, number in zip(place, traced, strict=True):
            axes.text(number + 0.1, height - 0.2, str(number), va="center")
        axes.set_yticks(place, names)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    told = [f"{name}: {t} in {c} calls" for name, (c, t) in counts.items()]
    alt = f"Traces. {'; '.join(told)}."
    show_picture(title, "count", "", alt, draw, (7, 0.55 * len(names) + 1))


def clipping(before, ways, names):
    """Gradients of two tensors as one arrow, before and after clipping.

    Args:
        before: list of two arrays, the gradients.
        ways: dict from a way of clipping to its list of two arrays, two ways.
        names: names of the two tensors.
    """

    def norms(gradients):
        return [float(np.linalg.norm(g)) for g in gradients]

    start = norms(before)
    ends = {way: norms(after) for way, after in ways.items()}
    kept = [w for w, e in ends.items() if abs(e[0] * start[1] - e[1] * start[0]) < 1e-3]

    def draw(axes):
        for axis, (way, end) in zip(axes, ends.items(), strict=True):
            arrow = {"arrowstyle": "->", "linewidth": 2}
            faint = {**arrow, "color": BLUE, "linestyle": "--"}
            axis.annotate("", start, (0, 0), arrowprops=faint)
            axis.annotate("", end, (0, 0), arrowprops={**arrow, "color": ORANGE})
            axis.text(*start, " before", color=BLUE, va="top")
            axis.text(*end, " after", color=ORANGE, va="top")
            most = 1.15 * max(start)
            axis.set(xlim=(0, most), ylim=(0, most), title=way, aspect="equal")

    told = "; ".join(f"{way}: ({e[0]:.3g}, {e[1]:.3g})" for way, e in ends.items())
    title = f"Direction kept: {', '.join(kept) or 'by none'}"
    alt = f"Norms ({start[0]:.3g}, {start[1]:.3g}) before; {told}. {title}."
    xlabel, ylabel = (f"gradient norm, {name}" for name in names)
    show_picture(title, xlabel, ylabel, alt, draw, (6.4, 3.8), panels=2)


def saliency_maps(images, maps, titles):
    """Images above, the slope of a score with respect to each pixel below.

    Args:
        images, maps: arrays (n, side, side).
        titles: list of n texts.
    """
    from matplotlib.colors import LinearSegmentedColormap

    signs = LinearSegmentedColormap.from_list("signs", [ORANGE, "white", BLUE])
    most = float(np.abs(maps).max())

    def draw(axes):
        for axis, image, slope, title in zip(axes, images, maps, titles, strict=True):
            both = np.concatenate([image, image * 0], 0)
            axis.imshow(both, cmap="gray_r", vmin=0, vmax=1)
            side = len(image)
            place = (-0.5, side - 0.5, 2 * side - 0.5, side - 0.5)
            axis.imshow(slope, cmap=signs, vmin=-most, vmax=most, extent=place)
            axis.set(xlim=(-0.5, side - 0.5), ylim=(2 * side - 0.5, -0.5), title=title)
            axis.set(xticks=[], yticks=[])
            for row, column in zip(*np.nonzero(slope < -most / 4), strict=True):
                axis.text(column, side + row, "–", ha="center", va="center")

    strong = [np.unravel_index(np.abs(m).argmax(), m.shape) for m in maps]
    told = "; ".join(
        f"{title}: strongest at row {int(r)}, column {int(c)}"
        for title, (r, c) in zip(titles, strong, strict=True)
    )
    title = "More ink where it is blue raises the score, where orange (–) lowers it"
    alt = f"{title}. {told}."
    show_picture(title, "", "", alt, draw, (1.6 * len(titles), 3.4), panels=len(titles))
