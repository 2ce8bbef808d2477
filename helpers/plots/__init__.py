"""One picture per function, each with a description made from its data.

A picture is shown as an HTML image with alternative text, which nbconvert, nbgrader
feedback and Colab keep; where there is only text, the description stands alone.
Blue and orange go with different line styles and markers: colour is never the only
sign. Importing this package changes no matplotlib setting.
"""

from helpers.plots.live import (
    LiveCurves,
)
from helpers.plots.losses import (
    batches_and_epoch,
    by_batch_size,
    loss_shapes,
    lowest_points,
    paired_bars,
)
from helpers.plots.outputs import (
    LiveParts,
    drawing,
    loss_parts,
    parts_and_total,
    two_inputs,
    weight_changes,
    weight_order,
)
from helpers.plots.pipelines import (
    class_counts,
    epochs_seen,
    reach,
    timeline,
    windows_over,
)
from helpers.plots.tapes import (
    clipping,
    difference_errors,
    gradient_flow,
    saliency_maps,
    tape_chain,
    traces,
)
from helpers.plots.training import (
    curves,
    images,
    learning_curves,
    running_loss,
    seen_rows,
    split_classes,
)
from helpers.plots.weighting import (
    boundaries,
    class_totals,
    padded_batch,
    precision_and_recall,
    ways_to_divide,
)

__all__ = [
    "LiveCurves",
    "LiveParts",
    "batches_and_epoch",
    "boundaries",
    "by_batch_size",
    "class_counts",
    "class_totals",
    "clipping",
    "curves",
    "difference_errors",
    "drawing",
    "epochs_seen",
    "gradient_flow",
    "images",
    "learning_curves",
    "loss_parts",
    "loss_shapes",
    "lowest_points",
    "padded_batch",
    "paired_bars",
    "parts_and_total",
    "precision_and_recall",
    "reach",
    "running_loss",
    "saliency_maps",
    "seen_rows",
    "split_classes",
    "tape_chain",
    "timeline",
    "traces",
    "two_inputs",
    "ways_to_divide",
    "weight_changes",
    "weight_order",
    "windows_over",
]
