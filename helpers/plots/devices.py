"""Pictures of work that is divided among devices, and of numbers with few bits."""

import numpy as np

from helpers.plots.base import BLUE, GREY, ORANGE, show_picture

LOOKS = (
    {"facecolor": BLUE, "alpha": 0.8},
    {"facecolor": ORANGE, "alpha": 0.8, "hatch": "//"},
)
LEAST, MOST = -25, np.log2(65504)  # powers of 2 that float16 rounds to 0, or can hold


def divided_batches(batches, title):
    """Global batches as rows of boxes: which replica gets which row.

    Args:
        batches: list of global batches, each a list with the row numbers (list of
            int) of each replica, two replicas at most.
    """

    def draw(axes):
        for line, parts in enumerate(batches):
            place = 0
            for replica, rows in enumerate(parts):
                for row in rows:
                    axes.bar(place, 0.7, 0.9, line - 0.35, **LOOKS[replica])
                    label = {"ha": "center", "va": "center", "backgroundcolor": "white"}
                    axes.text(place, line, row, fontsize=8, **label)
                    place += 1
        for replica, look in enumerate(LOOKS):
            axes.bar(0, 0, 0, **look, label=f"replica {replica}")
        axes.set_yticks(range(len(batches)), range(1, len(batches) + 1))
        axes.set_xlim(-0.6, max(sum(map(len, parts)) for parts in batches) + 2.4)
        axes.set_xticks([])
        axes.invert_yaxis()
        axes.legend(frameon=False, loc="center right")

    told = "; ".join(
        f"batch {line}: {' and '.join(str(len(rows)) for rows in parts)} rows"
        for line, parts in enumerate(batches, start=1)
    )
    show_picture(title, "", "global batch", f"{title}. {told}.", draw, (6, 2.2))


def row_pulls(pulls, replicas, title):
    """How much each row of a batch counts in one step, a panel per way to train.

    Args:
        pulls: dict from a way to train to the pull of each row (n,).
        replicas: which of two replicas had each row, ints (n,).
    """
    names = [str(row) for row in range(len(replicas))]

    def draw(axes):
        for panel, (name, pull) in zip(axes, pulls.items(), strict=True):
            for place, (size, replica) in enumerate(zip(pull, replicas, strict=True)):
                panel.bar(place, size, 0.8, **LOOKS[replica])
            fair = {"color": "black", "linestyle": ":", "linewidth": 1}
            panel.axhline(1 / len(names), **fair, label="on one device")
            panel.set_xticks(range(len(names)), names)
            panel.set_ylim(0, 1.1 * max(np.max(other) for other in pulls.values()))
            panel.set_title(name, fontsize=10)
        for replica, look in enumerate(LOOKS):
            axes[0].bar(0, 0, 0, **look, label=f"replica {replica}")
        axes[0].legend(frameon=False, fontsize=8, loc="upper left")

    told = "; ".join(
        f"{name}: {', '.join(f'{size:.3f}' for size in pull)}"
        for name, pull in pulls.items()
    )
    alt = f"{title}. Pull of each row, on one device {1 / len(names):.3f}. {told}."
    show_picture(title, "row of the batch", "pull", alt, draw, (7.5, 2.8), len(pulls))


def loss_scales(scales, skipped, title):
    """The loss scale over steps, with a mark at each step that was skipped.

    Args:
        scales: the scale that each step used (n,).
        skipped: numbers of the skipped steps, counted from 0.
    """
    steps, levels = np.arange(len(scales)), sorted(set(scales))

    def draw(axes):
        axes.step(steps, scales, where="mid", color=BLUE, label="loss scale")
        marks = [scales[step] for step in skipped]
        look = {"color": ORANGE, "marker": "x", "s": 60, "zorder": 3}
        axes.scatter(skipped, marks, label="inf gradient: step skipped", **look)
        axes.set_yscale("log", base=2)
        axes.set_yticks(levels, [f"{level:g}" for level in levels])
        axes.set_ylim(min(scales) / 1.5, max(scales) * 3)
        axes.locator_params(axis="x", integer=True)
        axes.legend(frameon=False, ncols=2, loc="upper left")

    alt = (
        f"{title}. The scale begins at {scales[0]:g}, ends at {scales[-1]:g}, and lies "
        f"between {min(scales):g} and {max(scales):g}. "
        f"Skipped steps: {', '.join(map(str, skipped)) or 'none'}."
    )
    show_picture(title, "step", "scale (log)", alt, draw, (6, 2.8))


def gradient_range(gradients, scale, title):
    """How large gradients are, plain and scaled, against what float16 can hold.

    Args:
        gradients: array of any shape, float32.
        scale: the loss scale, a float.
    """
    sizes = np.abs(np.ravel(gradients))
    powers = {"plain": np.log2(sizes[sizes > 0])}
    powers[f"times {scale:g}"] = powers["plain"] + np.log2(scale)
    lost = {name: float(np.mean(power < LEAST)) for name, power in powers.items()}

    def draw(axes):
        low = min(LEAST - 12, min(power.min() for power in powers.values()))
        bins = np.arange(np.floor(low), 21)
        for (name, power), look in zip(powers.items(), LOOKS, strict=True):
            axes.hist(power, bins, edgecolor="white", label=name, **look)
        axes.axvspan(low, LEAST, color=GREY, alpha=0.35)
        axes.axvspan(MOST, 20, color=GREY, alpha=0.35)
        top = 1.25 * axes.get_ylim()[1]
        axes.text(LEAST - 0.5, top * 0.98, "becomes 0", ha="right", va="top")
        axes.text(MOST + 0.5, top * 0.98, "inf", ha="left", va="top")
        axes.set(xlim=(low, 20), ylim=(0, top))
        axes.legend(frameon=False, ncols=2, loc="upper center")

    told = "; ".join(f"{name}: {share:.0%} become 0" for name, share in lost.items())
    alt = f"{title}. Sizes of {sizes.size} gradients in float16. {told}."
    show_picture(title, "power of 2", "gradients", alt, draw, (6, 2.8))


def call_seconds(seconds, title):
    """Seconds that calls took, as bars; on a logarithmic scale where they differ much.

    Args:
        seconds: dict from what was called to its seconds.
    """
    names, numbers = list(seconds), [float(value) for value in seconds.values()]
    wide = max(numbers) > 10 * min(numbers)

    def draw(axes):
        bars = axes.barh(names, numbers, color=BLUE, edgecolor="white")
        axes.bar_label(bars, [f" {number:.2g} s" for number in numbers])
        if wide:
            axes.set_xscale("log")
        axes.set_xlim(
            min(numbers) / 2 if wide else 0, max(numbers) * (4 if wide else 1.3)
        )
        axes.invert_yaxis()

    told = "; ".join(
        f"{name}: {number:.2g} s" for name, number in zip(names, numbers, strict=True)
    )
    height = 0.9 + 0.32 * len(names)
    label = "seconds (log)" if wide else "seconds"
    show_picture(title, label, "", f"{told}.", draw, (6, height))
