"""A picture that grows while a model trains."""

import time

import keras

from helpers.plots.base import Area
from helpers.plots.training import learning_curves

SECONDS = 0.5  # between two pictures: drawing must not slow training down


class LiveCurves(keras.callbacks.Callback):
    """Draw the learning curves during `fit`; the last picture stays.

    Pass it as `callbacks=[plots.LiveCurves()]`. If you interrupt the training, the
    picture of the last epochs remains.

    Args:
        key: which value, for example "loss" or "accuracy".
    """

    def __init__(self, key="loss"):
        super().__init__()
        self.key = key

    def on_train_begin(self, logs=None):
        self.values, self.drawn, self.area = {}, time.monotonic(), Area()

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            self.values.setdefault(name, []).append(value)
        if time.monotonic() - self.drawn > SECONDS:
            learning_curves(self.values, self.key, area=self.area)
            self.drawn = time.monotonic()

    def on_train_end(self, logs=None):
        self.area.clear()
        learning_curves(self.values, self.key)
