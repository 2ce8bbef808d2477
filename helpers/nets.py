"""Small networks that need all the care a training loop can take."""

import keras
import numpy as np


def draw_weights(model, rng):
    """Set all weights of a built model from `rng`, and return the model.

    Kernels are normal; vectors are drawn from 0.5 to 1.5, so that the moving variance
    of a BatchNormalization is one. Seeds of Dropout are left as they are.
    """
    model.set_weights(
        [
            rng.normal(size=w.shape) if w.ndim > 1 else rng.uniform(0.5, 1.5, w.shape)
            for w in model.get_weights()
        ]
    )
    return model


def demanding(rng, features=3, outputs=2, dropout=0.0, penalty=0.1):
    """A network with all that a loop can forget, its weights drawn from `rng`.

    A penalty on a kernel, BatchNormalization and Dropout. The layer before the
    BatchNormalization has no bias: its gradient would be rounding errors only.

    Args:
        features, outputs: ints, numbers per row that go in and come out.
        dropout: share of the four inner units that is dropped in training.
        penalty: factor of the L2 penalty on the first kernel.
    """
    layers = [
        keras.Input((features,)),
        keras.layers.Dense(
            4, use_bias=False, kernel_regularizer=keras.regularizers.L2(penalty)
        ),
        keras.layers.BatchNormalization(momentum=0.8),
        keras.layers.Activation("tanh"),
        keras.layers.Dropout(dropout, seed=1),
        keras.layers.Dense(outputs),
    ]
    return draw_weights(keras.Sequential(layers), rng)


def distances(before, after):
    """Largest change of each array between two lists of them, as floats."""
    return [
        float(np.abs(np.subtract(a, b)).max())
        for a, b in zip(before, after, strict=True)
    ]
