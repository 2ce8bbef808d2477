"""Pictures for the capstone: leaning digits, errors, and a report on one page."""

import numpy as np

from helpers.plots.base import BLUE, GREY, LINES, ORANGE, show_picture


def leaning(x, lean, title):
    """Images in one row, each with a line through its middle that leans as it does.

    Args:
        x: array (n, side, side, 1), grey levels; the first ten are drawn.
        lean: array (n, 1) or (n,), degrees to the right of upright.
    """
    images, lean = np.squeeze(x, -1)[:10], np.ravel(lean)[:10]
    side = images.shape[1]

    def draw(axes):
        axes.imshow(np.concatenate(list(images), 1), cmap="gray_r")
        for place, (image, degrees) in enumerate(zip(images, lean, strict=True)):
            rows, columns = np.mgrid[:side, :side]
            middle = [np.average(part, weights=image) for part in (columns, rows)]
            reach = np.array([-3.5, 3.5])
            across = place * side + middle[0] - reach * np.tan(np.radians(degrees))
            axes.plot(across, middle[1] + reach, color=ORANGE, linestyle="--")
        told = [f"{degrees:.0f}°" for degrees in lean]
        axes.set_xticks((np.arange(len(lean)) + 0.5) * side - 0.5, told)
        axes.set_yticks([])

    told = ", ".join(f"{degrees:.0f}" for degrees in lean)
    alt = f"{len(lean)} digits with a line each; they lean {told} degrees to the right."
    show_picture(title, "lean, in degrees to the right", "", alt, draw, (7, 1.5))


def confusion(matrix, title=None):
    """A confusion matrix as a heat map with its numbers; errors stand out in orange.

    Args:
        matrix: int array (k, k), rows are the digits, columns what was read.
    """
    matrix = np.asarray(matrix)
    hits, total = int(np.trace(matrix)), int(matrix.sum())
    title = title or f"{total - hits} of {total} are read wrongly"
    alt = f"Confusion matrix: {hits} of {total} on the diagonal; {_told(matrix)}."
    show_picture(
        title,
        "read as",
        "digit",
        alt,
        lambda axes: _draw_confusion(axes, matrix),
        (4.6, 4.2),
    )


def _draw_confusion(axes, matrix):
    """Counts as numbers: right ones on blue, wrong ones on orange, zeros left out."""
    from matplotlib.colors import to_rgb

    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    picture = np.ones((*matrix.shape, 3))
    for place, count in np.ndenumerate(matrix):
        right = place[0] == place[1]
        strength = shares[place] * 0.6 if right else min(1.0, 0.25 + 4 * shares[place])
        if count:
            color = np.array(to_rgb(BLUE if right else ORANGE))
            picture[place] = 1 - strength * (1 - color)
            weight = "normal" if right else "bold"
            axes.text(*place[::-1], count, ha="center", va="center", weight=weight)
    axes.imshow(picture)
    axes.set_xticks(range(len(matrix)))
    axes.set_yticks(range(len(matrix)))


def _told(matrix, most=3):
    """The largest errors of a confusion matrix in words."""
    wrong = matrix * (1 - np.eye(len(matrix), dtype=int))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    places = [np.unravel_index(place, wrong.shape) for place in order]
    counts = [(a, b, wrong[a, b]) for a, b in places if wrong[a, b]]
    told = [f"{a} read as {b} {n} time{'' if n == 1 else 's'}" for a, b, n in counts]
    return "most often " + ", ".join(told) if told else "no errors"


def confused_pairs(x, digit, read, pairs, most=8):
    """The images behind the most confused pairs, a row for each pair.

    Args:
        x: array (n, side, side, 1), grey levels.
        digit, read: int arrays (n,), what was written and what the model read.
        pairs: list of (digit, read, count), as the error report has them.
        most: how many images of a pair are drawn.
    """
    digit, read = np.asarray(digit), np.asarray(read)
    pairs = [tuple(int(number) for number in pair) for pair in pairs]
    side = np.shape(x)[1]
    most, rows = min(most, max((count for *_, count in pairs), default=1)), []
    for written, taken, _ in pairs:
        found = np.flatnonzero((digit == written) & (read == taken))[:most]
        blank = np.zeros((most - len(found), side, side))
        images = np.concatenate([np.squeeze(np.asarray(x)[found], -1), blank])
        rows.append(np.pad(np.concatenate(list(images), 1), ((0, 1), (0, 0))))
    names = [f"{a} read as {b}" for a, b, _ in pairs]

    def draw(axes):
        if rows:
            axes.imshow(np.concatenate(rows), cmap="gray_r")
        height = side + 1
        axes.set_yticks([(k + 0.5) * height - 0.5 for k in range(len(rows))], names)
        axes.set_xticks([])

    title = "What was confused most often" if pairs else "Nothing was confused"
    told = [
        f"{a} read as {b}: {count} image{'' if count == 1 else 's'}"
        for a, b, count in pairs
    ]
    alt = f"{title}. {'; '.join(told)}." if pairs else f"{title}."
    size = (max(4.0, 2.2 + 0.6 * most), 0.8 + 0.65 * max(1, len(rows)))
    show_picture(title, "", "", alt, draw, size)


def class_accuracy(matrix):
    """Which share of each digit is read rightly; the lowest one is a square.

    Args:
        matrix: int array (k, k), rows are the digits, columns what was read.
    """
    shares = np.diag(matrix) / np.maximum(np.sum(matrix, 1), 1)
    worst = int(np.argmin(shares))

    def draw(axes):
        space = 0.1 * (1 - shares.min()) + 0.002
        for digit, share in enumerate(shares):
            marker, color = ("s", ORANGE) if digit == worst else ("o", BLUE)
            axes.plot(digit, share, marker, color=color)
            axes.text(digit, share + space, f"{share:.2f}", ha="center")
        axes.set_ylim(shares.min() - 2 * space, 1 + 3 * space)
        axes.set_xticks(range(len(shares)))
        axes.grid(axis="y", alpha=0.3)

    title = f"The {worst} is read worst: {shares[worst]:.2f} of them rightly"
    told = ", ".join(f"{digit}: {share:.2f}" for digit, share in enumerate(shares))
    show_picture(title, "digit", "accuracy", f"Accuracy of {told}.", draw, (6, 2.6))


def gradient_norms(logs, clip_norm):
    """Mean gradient norm of every epoch, with the line where clipping begins.

    Args:
        logs: list of dicts with "grad_norm", one per epoch.
        clip_norm: float, the largest norm that reaches the optimizer.
    """
    norms = [entry["grad_norm"] for entry in logs]
    epochs = np.arange(1, len(norms) + 1)
    above = int(np.sum(np.array(norms) > clip_norm))

    def draw(axes):
        axes.plot(epochs, norms, label="mean norm before clipping", **LINES[0])
        axes.axhline(clip_norm, color=ORANGE, linestyle="--", label="clip_norm")
        axes.set_ylim(0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)

    title = f"In {above} of {len(norms)} epochs the mean norm is above the limit"
    alt = f"{title} of {clip_norm:g}; it goes from {norms[0]:.2f} to {norms[-1]:.2f}."
    show_picture(title, "epoch", "gradient norm", alt, draw)


def report_page(title, scores, matrix, lean, mistakes):
    """One page about a reader: training, errors, lean, and its surest mistakes.

    Args:
        scores: list of numbers, the validation score of every epoch.
        matrix: int array (k, k), the confusion matrix of the test part.
        lean: pair of arrays (n,), true lean and predicted lean, degrees.
        mistakes: pair of images (m, side, side, 1), at most 8, and m captions.
    """
    matrix, true, found = np.asarray(matrix), *(np.ravel(part) for part in lean)
    best, error = int(np.argmax(scores)), np.mean(np.abs(true - found))
    hits = np.trace(matrix) / max(1, matrix.sum())

    def draw(axes):
        axes.axis("off")
        left, right = 0.08, 0.60
        _draw_scores(axes.inset_axes([left, 0.60, 0.36, 0.34]), scores, best)
        panel = axes.inset_axes([right, 0.54, 0.40, 0.42])
        _draw_confusion(panel, matrix)
        panel.set(title=f"accuracy {hits:.3f}", xlabel="read as", ylabel="digit")
        panel = axes.inset_axes([left, 0.05, 0.36, 0.34])
        panel.plot(true, found, ".", color=BLUE, markersize=4)
        panel.plot([-25, 25], [-25, 25], color=GREY, linestyle=":")
        panel.set(title=f"lean: {error:.1f}° off", xlabel="measured", ylabel="read")
        _draw_mistakes(axes.inset_axes([right, 0.03, 0.40, 0.36]), *mistakes)

    alt = (
        f"Four panels. Validation score, best {scores[best]:.3f} at epoch {best + 1}. "
        f"Confusion matrix, accuracy {hits:.3f}; {_told(matrix)}. Lean, measured and "
        f"read: {error:.1f} degrees off. The {len(mistakes[0])} surest mistakes."
    )
    show_picture(title, "", "", alt, draw, (7.5, 7))


def _draw_scores(axes, scores, best):
    axes.plot(np.arange(1, len(scores) + 1), scores, **LINES[0])
    axes.axvline(best + 1, color=GREY, linestyle=":")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(title=f"best at epoch {best + 1}", xlabel="epoch", ylabel="score")


def _draw_mistakes(axes, images, captions):
    """Up to eight images in two rows, each with its caption below."""
    axes.axis("off")
    axes.set_title("the surest mistakes")
    for place, (image, text) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(place, 4)
        small = axes.inset_axes([column * 0.26, 0.56 - row * 0.52, 0.22, 0.38])
        small.imshow(np.squeeze(image), cmap="gray_r")
        small.set(xticks=[], yticks=[])
        small.set_xlabel(text, fontsize=8)
