"""What a comparison found, in a sentence and a picture."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class First:
    """The first difference.

    Attributes:
        epoch, step: int, counted from 1; None where it belongs to no single one.
        quantity: "loss", "gradient", "regularisation", "BatchNorm statistics" ...
        where: the layer, variable or log that is concerned.
        yours, expected: what came out on both sides.
    """

    epoch: int | None
    step: int | None
    quantity: str
    where: str
    yours: object
    expected: object


@dataclass
class Report:
    """What `steps` or `loop` found.

    Attributes:
        first: the `First` difference, None if there is none.
        sentence: the same in words, with the likely cause.
        rows: list of dicts, one per step or epoch: `yours` and `fit`, losses or None,
            and `difference`, the largest one of any weight.
        unit: "step" or "epoch", what a row is.
        chance: whether what differs cannot be told from random numbers.
    """

    first: First | None
    sentence: str
    rows: list = field(default_factory=list)
    unit: str = "step"
    chance: bool = False

    def __repr__(self):
        return self.sentence

    def show(self):
        """The picture: both losses above, the largest difference of a weight below."""
        from helpers import plots

        word = self.first.quantity if self.first else None
        place = None
        if self.first:
            place = self.first.step if self.unit == "step" else self.first.epoch
        plots.side_by_side(self.rows, self.unit, place, word, self.chance)
