"""Patterns between two lists of gradients: multiples, and ways to clip."""

import numpy as np


def flat(arrays):
    """All entries of a list of arrays, one after the other."""
    return np.concatenate([np.ravel(array) for array in arrays])


def alike(one, other, within=1e-3):
    """Whether two arrays are the same up to rounding, in units of the larger."""
    largest = np.abs(other).max(initial=0.0)
    return np.abs(one - other).max(initial=0.0) <= within * largest


def proportion(yours, expected):
    """The factor between two arrays; None if there is none."""
    square = float(np.dot(expected, expected))
    if not square:
        return None
    ratio = float(np.dot(yours, expected)) / square
    apart = abs(ratio - 1)
    if abs(ratio) < 1e-9 or apart < 1e-4:
        return None
    return ratio if alike(yours, ratio * expected, min(1e-3, 0.2 * apart)) else None


def times(ratio):
    """A factor with two decimals, with more where it would read as 1, or small."""
    if abs(ratio) < 0.1:
        return f"{ratio:.3g}"
    for digits in range(2, 8):
        text = f"{ratio:.{digits}f}"
        if float(text) != 1:
            break
    return text


def clipped(yours, expected):
    """How gradients were clipped, in words; "" if that cannot be told.

    A bound on every entry or on the norm of each gradient shows in several places. A
    bound on all of them together is a guess, made only where their norm is round.

    Args:
        yours, expected: lists of arrays.
    """
    mine, fits = flat(yours), flat(expected)
    bound = np.abs(mine).max(initial=0.0)
    at_bound = np.sum(np.abs(mine) >= bound * (1 - 1e-4))
    if bound and at_bound > 1 and alike(mine, np.clip(fits, -bound, bound)):
        return f"the gradient is clipped, each entry to {bound:.4g}, and fit's is not"
    norms = [(np.linalg.norm(a), np.linalg.norm(b)) for a, b in _pairs(yours, expected)]
    shorter = [one for one, other in norms if one < other * (1 - 1e-3)]
    limit = max(shorter, default=0.0)
    if (
        limit
        and (len(shorter) > 1 or is_round(limit))
        and all(
            alike(a, b * min(1.0, limit / max(np.linalg.norm(b), 1e-30)))
            for a, b in _pairs(yours, expected)
        )
    ):
        return f"each gradient is clipped to the norm {limit:.4g}, and fit's is not"
    norm, ratio = np.linalg.norm(mine), proportion(mine, fits)
    if ratio is not None and 0 < ratio < 1 and is_round(norm):
        return f"the norm of all together is {norm:.4g}: clipped, where fit's is not?"
    return ""


def _pairs(yours, expected):
    return list(zip(yours, expected, strict=True))


def is_round(number):
    """Whether a number has at most two digits that are not zero, up to rounding."""
    return number > 0 and abs(float(f"{number:.2g}") / number - 1) < 1e-4
