"""One picture per function, each with a description made from its data.

A picture is shown as an HTML image with alternative text, which nbconvert, nbgrader
feedback and Colab keep; where there is only text, the description stands alone.
Blue and orange go with different line styles and markers: colour is never the only
sign. Importing this package changes no matplotlib setting.
"""

from helpers.plots.callbacks import (
    early_stop,
    hook_lanes,
    plateau,
    range_test,
    rates,
    running_means,
    two_halves,
)
from helpers.plots.capstone import (
    class_accuracy,
    confused_pairs,
    confusion,
    gradient_norms,
    leaning,
    report_page,
)
from helpers.plots.devices import (
    call_seconds,
    divided_batches,
    gradient_range,
    loss_scales,
    row_pulls,
)
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
from helpers.plots.parity import (
    loop_times,
    side_by_side,
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
    "call_seconds",
    "class_accuracy",
    "class_counts",
    "class_totals",
    "clipping",
    "confused_pairs",
    "confusion",
    "curves",
    "difference_errors",
    "divided_batches",
    "drawing",
    "early_stop",
    "epochs_seen",
    "gradient_flow",
    "gradient_norms",
    "gradient_range",
    "hook_lanes",
    "images",
    "leaning",
    "learning_curves",
    "loop_times",
    "loss_parts",
    "loss_scales",
    "loss_shapes",
    "lowest_points",
    "padded_batch",
    "paired_bars",
    "parts_and_total",
    "plateau",
    "precision_and_recall",
    "range_test",
    "rates",
    "reach",
    "report_page",
    "row_pulls",
    "running_loss",
    "running_means",
    "saliency_maps",
    "seen_rows",
    "side_by_side",
    "split_classes",
    "tape_chain",
    "timeline",
    "traces",
    "two_halves",
    "two_inputs",
    "ways_to_divide",
    "weight_changes",
    "weight_order",
    "windows_over",
]
