"""A parity trainer: your own step or loop beside fit's, and the first difference.

`steps` compares one update after the other, `loop` whole epochs. Both start from the
same weights and see the same batches; afterwards the model is as it was. "fit" is the
`train_step` that every Keras model has: what a model overrides is compared with it.
"""

from helpers.parity.bench import ParityError
from helpers.parity.epochs import loop
from helpers.parity.report import First, Report
from helpers.parity.stepwise import steps

__all__ = ["First", "ParityError", "Report", "loop", "steps"]
