"""Pictures of models with several inputs and outputs, and of the parts of a loss."""

import time

import numpy as np

from helpers.plots.base import BLUE, GREY, LINES, ORANGE, show_picture
from helpers.plots.live import SECONDS, LiveCurves

LOOKS = ({"facecolor": BLUE}, {"facecolor": ORANGE, "hatch": "//"})
ARROW = {"arrowstyle": "->", "color": BLUE, "shrinkA": 46, "shrinkB": 46}
BOX = {"boxstyle": "round", "facecolor": "white", "edgecolor": GREY}


def two_inputs(image, series, names, title):
    """One sample: its image and, next to it, its series.

    Args:
        image: array (h, w) or (h, w, 1), grey levels.
        series: array (steps, features).
        names: what each feature is.
    """
    image, series = np.squeeze(image), np.asarray(series)
    steps, features = series.shape

    def draw(axes):
        axes[0].imshow(image, cmap="gray_r")
        axes[0].set(title="img_input", xticks=[], yticks=[])
        for feature, name, look in zip(series.T, names, LINES, strict=False):
            axes[1].plot(feature, label=name, **look)
        axes[1].set(title="ts_input", xlabel="step")
        beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
        axes[1].legend(frameon=False, fontsize=9, **beside)

    alt = (
        f"{title}. Left an image of {image.shape[0]} by {image.shape[1]} pixels, "
        f"right {features} curves over {steps} steps: {', '.join(names)}."
    )
    show_picture(title, "", "", alt, draw, (6, 2.6), panels=2)


def drawing(model, title="What flows where"):
    """The layers of a functional model as boxes, its connections as arrows.

    Args:
        model: functional `keras.Model` that uses each layer once.
    """
    makers = {id(layer.output): layer.name for layer in model.layers}
    sources = {
        layer.name: [makers[id(tensor)] for tensor in _fed_by(layer)]
        for layer in model.layers
    }
    places = _places(sources)
    shapes = _shapes(model, sources)

    def draw(axes):
        for name, place in places.items():
            text = f"{name}\n{shapes[name]}"
            axes.text(*place, text, ha="center", va="center", fontsize=10, bbox=BOX)
            for source in sources[name]:
                axes.annotate("", place, places[source], arrowprops=ARROW)
        columns = max(x for x, _ in places.values())
        axes.set(xlim=(-0.5, columns + 0.5), ylim=(-1.0, 1.1))
        axes.axis("off")

    parts = [f"{name} {shapes[name]}{_told(sources[name])}" for name in sources]
    columns = 1 + max(x for x, _ in places.values())
    show_picture(title, "", "", "; ".join(parts) + ".", draw, (1.9 * columns, 2.2))


def _fed_by(layer):
    tensors = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
    return [tensor for tensor in tensors if tensor is not layer.output]


def _told(sources):
    return f", fed by {' and '.join(sources)}" if sources else ", an input"


OPEN = 100_000  # stands for T, the size that an input leaves open


def _shapes(model, sources):
    """Name -> the output's shape as text; sizes that hang on an open one, from T."""
    sizes = {}
    for layer in model.layers:
        feeding = [(None, *sizes[name]) for name in sources[layer.name]]
        if feeding:
            several = len(feeding) > 1
            shape = layer.compute_output_shape(feeding if several else feeding[0])
        else:
            shape = layer.output.shape
        sizes[layer.name] = [OPEN if size is None else size for size in shape[1:]]
    return {
        name: f"({', '.join(['n', *map(_size, shape)])})"
        for name, shape in sizes.items()
    }


def _size(size):
    if size <= OPEN // 2:
        return str(size)
    return f"T-{OPEN - size}" if size < OPEN else "T"


def _places(sources):
    """Name -> (column, height): a column right of all sources, spread from 1 to -1."""
    columns = {}
    for name in sources:  # layers come in order: sources first
        columns[name] = 1 + max((columns[s] for s in sources[name]), default=-1)
    places = {}
    for column in set(columns.values()):
        names = [name for name in sources if columns[name] == column]
        spread = np.linspace(0.7, -0.7, len(names)) if len(names) > 1 else [0.0]
        for name, height in zip(names, spread, strict=True):
            places[name] = column, float(height)
    return places


def loss_parts(history, weights, area=None):
    """Weighted parts of the loss, stacked: the height of the stack is the total loss.

    Args:
        history: the `History` that `fit` returned, or its `history` dict.
        weights: dict from an output's name to its loss weight, two outputs.
        area: an `Area` that the picture replaces; by default it is shown anew.
    """
    values = getattr(history, "history", history)
    epochs = np.arange(1, len(values["loss"]) + 1)
    parts = {name: w * np.array(values[f"{name}_loss"]) for name, w in weights.items()}
    first = {name: 100 * part[0] / values["loss"][0] for name, part in parts.items()}
    last = {name: 100 * part[-1] / values["loss"][-1] for name, part in parts.items()}

    def draw(axes):
        below = np.zeros(len(epochs))
        for (name, part), look in zip(parts.items(), LOOKS, strict=True):
            label = f"{weights[name]:g} · {name}_loss"
            axes.bar(epochs, part, 0.8, below, label=label, edgecolor="white", **look)
            below = below + part
        axes.plot(epochs, values["loss"], "k.", label="loss")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)

    most = max(first, key=first.get)
    told = [f"{n} {first[n]:.0f} % at first, {last[n]:.0f} % at the end" for n in parts]
    alt = f"Stacked bars over {len(epochs)} epochs. Share of the loss: "
    title = f"{most} starts as {first[most]:.0f} % of the loss"
    show_picture(
        title, "epoch", "loss", alt + "; ".join(told) + ".", draw, (6, 3), area=area
    )


class LiveParts(LiveCurves):
    """Draw the weighted parts of the loss during `fit`; the last picture stays.

    Args:
        weights: dict from an output's name to its loss weight.
    """

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            self.values.setdefault(name, []).append(value)
        if time.monotonic() - self.drawn > SECONDS:
            loss_parts(self.values, self.weights, area=self.area)
            self.drawn = time.monotonic()

    def on_train_end(self, logs=None):
        self.area.clear()
        loss_parts(self.values, self.weights)


def weight_order(weights, outputs):
    """Which loss weight reaches which output when a dict meets a list of losses.

    Args:
        weights: dict from an output's name to its loss weight, as you wrote it.
        outputs: list of names, the outputs in the order of the losses.
    """
    handed = sorted(weights)
    wrong = [(a, b) for a, b in zip(handed, outputs, strict=True) if a != b]
    height = np.arange(len(outputs), 0, -1)

    def draw(axes):
        for place, given, output in zip(height, handed, outputs, strict=True):
            bad = given != output
            look = {"color": ORANGE if bad else BLUE, "linestyle": "--" if bad else "-"}
            arrow = {"arrowstyle": "->", "linewidth": 2, **look}
            left = f'"{given}": {weights[given]:g}'
            axes.text(0.02, place, left, va="center", bbox=BOX)
            axes.text(
                0.98, place, f"loss of {output}", va="center", ha="right", bbox=BOX
            )
            axes.annotate("", (0.68, place), (0.36, place), arrowprops=arrow)
        axes.set(xlim=(0, 1), ylim=(0.4, len(outputs) + 0.6), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)

    arrows = [
        f"the weight {weights[a]:g} of {a} goes to {b}"
        for a, b in zip(handed, outputs, strict=True)
    ]
    title = "Weights are dealt out in the order of the alphabet"
    if not wrong:
        title = "Every weight reaches its own output"
    xlabel = "dict, sorted by key  →  list, in the order of the outputs"
    show_picture(title, xlabel, "", "; ".join(arrows) + ".", draw, (6, 2))


def weight_changes(changes, title):
    """How far training moved every layer, as bars; a layer that stayed is named.

    Args:
        changes: dict from a layer's name to the largest change of its weights.
    """
    names = list(changes)
    stayed = [name for name in names if changes[name] == 0]

    def draw(axes):
        axes.barh(names[::-1], [changes[n] for n in names[::-1]], color=BLUE)
        for name in stayed:
            axes.text(0, names[::-1].index(name), "  did not move", va="center")

    moved = [name for name in names if name not in stayed]
    alt = f"Moved: {', '.join(moved) or 'none'}. Stayed: {', '.join(stayed) or 'none'}."
    show_picture(title, "largest change of a weight", "", alt, draw, (6, 2))


def parts_and_total(logs, parts, title):
    """Per-output losses that were logged, next to the true parts of the total.

    Args:
        logs: dict with "loss" and "<output>_loss" for each output, as Keras reports.
        parts: dict from an output's name to its mean loss over all rows.
    """
    stacks = {
        "logged per output": [logs[f"{name}_loss"] for name in parts],
        "mean over rows": list(parts.values()),
    }

    def draw(axes):
        below = np.zeros(len(stacks))
        for index, (name, look) in enumerate(zip(parts, LOOKS, strict=True)):
            part = [stack[index] for stack in stacks.values()]
            axes.bar(list(stacks), part, 0.5, below, label=name, **look)
            below = below + part
        axes.axhline(logs["loss"], color="black", linestyle=":", label="logged loss")
        axes.set_xlim(-0.5, len(stacks) + 0.4)
        axes.legend(frameon=False, loc="center right")

    told = [f"{name} {sum(stack):.3f}" for name, stack in stacks.items()]
    alt = f"The logged loss is {logs['loss']:.3f}. Height of the stacks: "
    show_picture(title, "", "loss", alt + ", ".join(told) + ".", draw, (6, 3))
