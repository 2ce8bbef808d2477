"""The logs of epochs: read what a loop returns, and name what it logs by mistake."""

import itertools

import keras
import numpy as np

from helpers.parity.bench import number, numbers, quiet_warnings


def read_epochs(returned, names):
    """Logs of a loop as a list of dicts, one per epoch; [] for what holds none.

    Args:
        names: the compiled metrics; with exactly one of them, the second entry of
            `(loss, metric)` has a sure meaning.
    """
    returned = getattr(returned, "history", returned)
    if isinstance(returned, dict):
        columns = {str(k): as_list(v) for k, v in returned.items()}
        columns = {k: v for k, v in columns.items() if v}
        rows = itertools.zip_longest(*columns.values())
        return [pack(dict(zip(columns, row, strict=True))) for row in rows]
    if isinstance(returned, tuple) and all(isinstance(r, list) for r in returned):
        returned = list(zip(*returned, strict=False))
    if number(returned) is not None and np.ndim(number(returned)) == 0:
        returned = [returned]
    if not isinstance(returned, (list, tuple, np.ndarray)):
        return []
    keys = ["loss", *(names if len(names) == 1 else [])]
    rows = []
    for entry in returned:
        if not isinstance(entry, dict):
            parts = entry if isinstance(entry, (list, tuple, np.ndarray)) else [entry]
            if not is_readable(parts, names):
                return []
            entry = dict(zip(keys, parts, strict=False))
        rows.append(pack(entry))
    return rows if all(rows) else []


def is_readable(parts, names):
    """Whether a list or tuple of an epoch may be `(loss, metric)`.

    It is not where it has more entries, begins with a whole number (the epoch's), or
    has a second number that the only metric cannot be.
    """
    if len(parts) > 1 + max(1, len(names)) or isinstance(parts[0], int):
        return False
    shares = ("accuracy", "acc", "precision", "recall", "auc")
    is_share = len(names) == 1 and names[0].endswith(shares)
    second = number(parts[1]) if len(parts) > 1 else None
    return not (is_share and second is not None and np.max(second) > 1 + 1e-6)


def as_list(value):
    value = number(value) if not isinstance(value, list) else value
    return list(value) if np.ndim(value) else [value]


def pack(entry):
    """One epoch's logs as numbers; what is no number is left out."""
    found = {str(key): number(value) for key, value in entry.items()}
    return {key: v for key, v in found.items() if v is not None and np.ndim(v) == 0}


def other_logs(runs, fit, epoch, key):
    """`(reason, quantity, value)` of what a learner may log by mistake."""
    count, none = len(runs.batches), None
    running = fit.running[epoch * count : (epoch + 1) * count]
    running = [logs[key] for logs in running]
    if epoch:
        kept = runs.fit(reset=False).logs[epoch][key]
        reason = f"not reset between epochs, it is that of {epoch + 1} together"
        yield reason, none, kept
    yield from other_means(running, np.asarray(runs.sizes, float))
    yield "0 means that nothing was counted", none, 0.0
    for training in (False, True):
        later = evaluated(runs, fit.ends[epoch], training).get(key)
        if later is not None:
            reason = "it is calculated after the epoch, with its last weights"
            yield reason, none, later
    for other, logs in enumerate(fit.logs):
        if other != epoch:
            yield f"it is the value of epoch {other + 1}", none, logs[key]


def evaluated(runs, state, training):
    """Logs of all batches with the weights of a state."""
    bench, model = runs.bench, runs.bench.model
    bench.put(state)
    try:
        with quiet_warnings():
            model.reset_metrics()
            for batch in runs.batches:
                x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
                if not training:
                    keras.Model.test_step(model, batch)
                    continue
                y_pred = model(x, training=True)
                model.compute_metrics(x, y, y_pred, sample_weight=weights)
            return numbers(model.get_metrics_result())
    except Exception:
        return {}


def other_means(running, sizes):
    """`(reason, quantity, value)` of ways to sum up batches that are not fit's.

    Args:
        running: the means over rows after each batch.
        sizes: rows of each batch.
    """
    parts, count = batch_values(running, sizes), len(sizes)
    none, last = None, "last partial batch"
    yield "the last, smaller batch counts as much as a full one", last, np.mean(parts)
    yield "it is the value of the last batch alone", none, parts[-1]
    yield "it is the value of the first batch alone", none, parts[0]
    yield "it is the mean of the running means", none, np.mean(running)
    yield f"it is the sum over {count} batches", none, np.sum(parts)
    share = np.sum(parts * sizes) / (count * sizes[0])
    yield "it is divided by as many rows as full batches would have", last, share
    if count > 1:
        yield "the last batch is left out", last, running[-2]
        too_many = np.sum(parts) / (count - 1)
        yield "it is divided by one batch too few", none, too_many


def batch_values(running, sizes):
    """The values of single batches, from running means weighted by batch sizes."""
    totals = np.asarray(running, "float64") * np.cumsum(sizes)
    return np.diff(totals, prepend=0.0) / sizes
