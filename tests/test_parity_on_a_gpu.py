"""The parity trainer where rounding differs from run to run, as it does on a GPU.

There sums are made in another order each time. Here the optimizer gets gradients with
as much noise; what failed on an H100 fails here, too, where no allowance is made.
"""

import keras
import pytest
import tensorflow as tf
from test_parity import DATASET, RIGHT_LOOPS, adam, plain
from test_parity_settings import by_epoch, forget_all, require_named

from helpers import parity

LAST_DIGIT = 6e-8  # of the largest gradient


def with_noise(gradients, draw):
    """The gradients, each number that is not 0 a last digit off."""
    largest = tf.reduce_max([tf.reduce_max(tf.abs(g)) for g in gradients])
    return [
        g + tf.sign(g) ** 2 * LAST_DIGIT * largest * draw.uniform(g.shape, -1, 1)
        for g in gradients
    ]


@pytest.fixture(autouse=True)
def rounding_of_a_gpu(monkeypatch):
    exact = keras.optimizers.Optimizer.apply
    # No seed that somebody has set makes it the same in two runs.
    draw = tf.random.Generator.from_non_deterministic_state()

    def apply(self, grads, trainable_variables=None):
        return exact(self, with_noise(grads, draw), trainable_variables)

    monkeypatch.setattr(keras.optimizers.Optimizer, "apply", apply)


def test_two_runs_are_not_the_same_to_the_last_digit():
    keras.utils.set_random_seed(0)  # of the weights; the noise has no seed
    models = [plain(adam()), plain(adam())]
    models[1].set_weights(models[0].get_weights())
    for model in models:
        model.fit(DATASET, epochs=2, shuffle=False, verbose=0)
    weights = zip(*(model.get_weights() for model in models), strict=True)
    apart = [abs(one - other).max() for one, other in weights]
    assert 0 < max(apart) < 1e-4


@pytest.mark.parametrize(
    "name", ["frozen in epoch 2", "statistics set back", "two epochs of four"]
)
def test_what_is_wrong_in_a_later_epoch_is_named_all_the_same(name):
    require_named(name)


def test_an_epoch_without_any_update_is_named_all_the_same():
    report = parity.loop(by_epoch(forget_all), plain(adam()), DATASET)
    assert "there is no update in epoch 2" in report.sentence


@pytest.mark.parametrize("name", ["whole epoch", "dicts", "train_step"])
def test_a_right_loop_has_no_difference_all_the_same(name):
    build, train, dataset = RIGHT_LOOPS[name]
    assert parity.loop(train, build(), dataset).first is None
