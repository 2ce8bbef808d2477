"""Pictures of callbacks: when hooks are called, what is kept, how fast is learned."""

import numpy as np

from helpers.plots.base import BLUE, GREY, LINES, ORANGE, show_picture

LANES = ("train", "epoch", "train_batch", "test", "test_batch")
STEPS = {"drawstyle": "steps-post", "marker": ""}
MOST_TOLD = 8  # hooks that a description spells out


def hook_lanes(calls, lit, title=None):
    """The hooks of a training on a time axis, one lane per kind, one hook lit.

    Args:
        calls: list of `(hook, number or None)` in the order of the calls, as
            `watch.hook_calls` returns it; a hook is named such as "epoch_end".
        lit: name of the hook that is shown large, with its name at its side.
    """
    spans, open_since = [], {}
    for place, (hook, number) in enumerate(calls):
        lane, _, end = hook.rpartition("_")
        if end == "begin":
            open_since[lane] = place
        else:
            spans.append((lane, open_since.pop(lane), place, number))
    places = [place for place, (hook, _) in enumerate(calls) if hook == lit]

    def draw(axes):
        for span in spans:
            _span(axes, *span)
        lane = LANES.index(lit.rpartition("_")[0])
        style = {"color": ORANGE, "marker": "D", "markersize": 11, "linestyle": ""}
        axes.plot(places, [lane] * len(places), **style)
        for place in places:
            axes.axvline(place, color=ORANGE, linestyle=":", zorder=0)
        where = places[0] if places else 0
        axes.text(where, lane + 0.52, f"yours: on_{lit}", color="black", ha="left")
        axes.set_yticks(range(len(LANES)), [lane.replace("_", " ") for lane in LANES])
        axes.set(ylim=(len(LANES) - 0.2, -0.6), xlim=(-0.6, len(calls) - 0.4))
        axes.set_xticks([])
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)

    title = title or f"on_{lit} is called {len(places)} times in this training"
    told = ", ".join(_told(*call) for call in calls[:MOST_TOLD])
    where = ", ".join(str(place + 1) for place in places)
    alt = f"{title}: at place {where} of {len(calls)}. The first hooks: {told}."
    show_picture(title, "time →", "", alt, draw, (7, 2.8))


def _span(axes, lane, begin, end, number):
    line = LANES.index(lane)
    style = {"color": BLUE, "linewidth": 7, "alpha": 0.35, "solid_capstyle": "butt"}
    axes.plot([begin, end], [line, line], **style)
    ends = {"color": BLUE, "marker": "|", "markersize": 12, "linestyle": ""}
    axes.plot([begin, end], [line, line], **ends)
    if number is not None:
        middle = (begin + end) / 2, line
        axes.text(*middle, number, ha="center", va="center", fontsize=9)


def _told(hook, number):
    return hook if number is None else f"{hook} {number}"


def running_means(running, true):
    """Batch losses of several epochs: as the hooks are told them, and the true ones.

    Args:
        running: list of epochs, each a list of the running means after each batch.
        true: the same with the loss of each batch.
    """
    starts = np.cumsum([0, *map(len, running)])
    place = np.arange(1, starts[-1] + 1)
    told, meant = np.concatenate(running), np.concatenate(true)

    def draw(axes):
        axes.plot(place, meant, label="loss of the batch", **LINES[1])
        for number, (start, values) in enumerate(zip(starts, running, strict=False)):
            label = {"label": "logs['loss'] in the hook"} if number == 0 else {}
            axes.plot(place[start : start + len(values)], values, **LINES[0], **label)
        for start in starts[1:-1]:
            axes.axvline(start + 0.5, color=GREY, linestyle=":")
            axes.text(start + 0.6, max(meant), "new epoch", va="top", fontsize=8)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    worst = int(np.argmax(np.abs(told - meant)))
    title = "The hook is told a running mean that starts anew with each epoch"
    alt = (
        f"{title}. They differ most at batch {worst + 1}: told {told[worst]:.3f}, the "
        f"loss of the batch is {meant[worst]:.3f}."
    )
    show_picture(title, "batch", "loss", alt, draw, (6.8, 3))


def early_stop(values, run, monitor="val_loss", mode="min"):
    """A monitored value with the best epoch, the wait, and where training stops.

    Args:
        values: numbers (n,), what the epochs would report if all of them ran.
        run: dict with `epochs`, how many ran, and `weights`, the number (from 0) of
            the epoch whose weights the model has at the end, as from `watch.drive`.
        mode: "min" or "max", which values are good.
    """
    ran, kept = run["epochs"], run["weights"]
    best = int((np.argmax if mode == "max" else np.argmin)(values[:ran]))
    place = np.arange(1, len(values) + 1)

    def draw(axes):
        axes.plot(place[:ran], values[:ran], label="ran", **LINES[0])
        if ran < len(values):
            rest = slice(ran - 1, None)
            axes.plot(place[rest], values[rest], label="never run", **LINES[2])
        axes.axvspan(best + 1.1, ran, color=ORANGE, alpha=0.15, hatch="//")
        marks = {best: "best", ran - 1: "stop"}
        for epoch, text in marks.items():
            text += ", weights kept" if epoch == kept else ""
            axes.annotate(
                text,
                (epoch + 1, values[epoch]),
                (0, 12 if epoch == ran - 1 else -18),
                textcoords="offset points",
                ha="center",
            )
        axes.margins(y=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, loc="upper right")

    title = f"Best at epoch {best + 1}, stopped after {ran} of {len(values)}"
    alt = f"{title}; the model keeps the weights of epoch {kept + 1}."
    show_picture(title, "epoch", monitor, alt, draw)


def rates(lines, title, steps_per_epoch=None):
    """Learning rates over optimizer steps, up to three, with the epochs marked.

    Args:
        lines: dict from a schedule's name to its rates (n,), one per step from 0.
        steps_per_epoch: int, draws a line where a new epoch begins.
    """

    def draw(axes):
        for (name, line), look in zip(lines.items(), LINES, strict=False):
            axes.plot(np.arange(len(line)), line, label=name, **{**look, **STEPS})
        for start in range(0, len(line), steps_per_epoch or len(line)):
            if steps_per_epoch:
                axes.axvline(start, color=GREY, linewidth=0.5, zorder=0)
                number = start // steps_per_epoch + 1
                axes.annotate(
                    f"epoch {number}", (start, 1), xycoords=("data", "axes fraction"),
                    fontsize=7, xytext=(2, -8), textcoords="offset points",
                )  # fmt: skip
        axes.set_ylim(0, 1.18 * max(max(line) for line in lines.values()))
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    told = "; ".join(
        f"{name} starts at {line[0]:.3g}, is highest at step {int(np.argmax(line))} "
        f"with {max(line):.3g} and ends at {line[-1]:.3g}"
        for name, line in lines.items()
    )
    show_picture(title, "optimizer step", "learning rate", f"{title}. {told}.", draw,
                 (6.8, 2.8))  # fmt: skip


def plateau(values, used, monitor="val_loss"):
    """A monitored value and, next to it, the learning rate that each epoch used.

    Args:
        values: numbers (n,), the monitored value of each epoch.
        used: numbers (n,), the learning rate of each epoch.
    """
    place = np.arange(1, len(values) + 1)
    cuts = [k for k in range(1, len(used)) if used[k] < used[k - 1] * 0.9999]

    def draw(axes):
        axes[0].plot(place, values, **LINES[0])
        axes[0].set_title(monitor, fontsize=9)
        axes[1].step(place, used, where="mid", color=ORANGE, linestyle="--")
        axes[1].plot(place, used, color=ORANGE, marker="s", markersize=3, linestyle="")
        axes[1].set(ylim=(0, 1.1 * max(used)))
        axes[1].set_title("learning rate", fontsize=9)
        for panel in axes:
            panel.xaxis.get_major_locator().set_params(integer=True)
            for cut in cuts:
                panel.axvline(cut + 0.5, color=GREY, linestyle=":")

    title = "The learning rate is never cut"
    if cuts:
        *most, last = map(str, cuts)
        when = f"epochs {', '.join(most)} and {last}" if most else f"epoch {last}"
        title = f"The learning rate is cut after {when}"
    told = f"From {used[0]:.3g} to {used[-1]:.3g} over {len(used)} epochs."
    show_picture(title, "epoch", "", f"{title}. {told}", draw, (6.8, 2.8), 2)


def two_halves(whole, resumed, half):
    """Losses of an uninterrupted training, and of trainings that were resumed.

    Args:
        whole: numbers (n,), the loss of each epoch without a break.
        resumed: dict from a way to resume to the losses of the epochs after the break,
            up to two of them.
        half: int, after how many epochs the break was.
    """
    place = np.arange(1, len(whole) + 1)
    gaps = {name: np.subtract(v, whole[half:]) for name, v in resumed.items()}

    def draw(axes):
        style = {"color": GREY, "linewidth": 6, "alpha": 0.5, "solid_capstyle": "round"}
        axes[0].plot(place, whole, label="never interrupted", **style)
        for (name, losses), look in zip(resumed.items(), LINES, strict=False):
            axes[0].plot(place[half:], losses, label=name, **look)
            axes[1].plot(place[half:], gaps[name], label=name, **look)
        axes[0].axvline(half + 0.5, color=GREY, linestyle=":")
        axes[0].set_title("loss", fontsize=9)
        axes[1].axhline(0, color=GREY, linewidth=6, alpha=0.5)
        axes[1].set_title("difference to the uninterrupted one", fontsize=9)
        for panel in axes:
            panel.xaxis.get_major_locator().set_params(integer=True)
        axes[0].legend(frameon=False)

    most = {name: float(np.abs(gap).max()) for name, gap in gaps.items()}
    exact = [name for name, gap in most.items() if gap < 1e-5 * max(whole)]
    title = f"Exact after the restart: {' and '.join(exact) or 'none'}"
    told = "; ".join(f"{name} is off by up to {gap:.3g}" for name, gap in most.items())
    show_picture(title, "epoch", "", f"{title}. {told}.", draw, (7, 3), 2)


def range_test(tried, losses, running=None):
    """Batch losses over growing learning rates, on a logarithmic axis.

    Args:
        tried: numbers (n,), the learning rate of each batch.
        losses: numbers (n,), the loss of each batch.
        running: numbers (n,), running means to compare with, or None.
    """
    tried, losses = np.asarray(tried), np.asarray(losses)
    low = int(np.argmin(losses))
    top = 1.5 * losses[0]

    def draw(axes):
        if running is not None:
            axes.plot(tried, running, label="running means", **LINES[1])
        axes.plot(tried, losses, label="losses of the batches", **LINES[0])
        axes.axvline(tried[low], color=GREY, linestyle=":")
        axes.text(tried[low], top, " lowest", va="top")
        axes.set(xscale="log", ylim=(0, top))
        axes.legend(frameon=False, loc="lower left")

    title = f"Lowest at {tried[low]:.2g}; beyond it, training breaks"
    alt = (
        f"The loss starts at {losses[0]:.3g}, is lowest, {losses[low]:.3g}, at a "
        f"learning rate of {tried[low]:.2g}, and ends at {losses[-1]:.3g}."
    )
    show_picture(title, "learning rate", "loss", alt, draw)
