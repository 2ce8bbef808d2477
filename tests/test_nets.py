"""Networks for loops: drawn weights, and all that a loop can forget."""

import numpy as np

from helpers.nets import demanding, distances


def test_weights_are_drawn_from_the_generator_and_variances_are_positive():
    one, same, other = (demanding(np.random.default_rng(s)) for s in (1, 1, 2))
    assert max(distances(one.get_weights(), same.get_weights())) == 0
    assert max(distances(one.get_weights(), other.get_weights())) > 0.1
    assert (one.layers[1].moving_variance.numpy() > 0).all()


def test_it_has_a_penalty_averages_and_units_that_drop():
    model = demanding(np.random.default_rng(1), dropout=0.5)
    x = np.ones((4, 3), "float32")
    assert len(model.losses) == 1 and float(model.losses[0]) > 0
    before = model.get_weights()
    trained, asked = model(x, training=True), model(x, training=False)
    assert not np.allclose(trained, asked)
    assert len([d for d in distances(before, model.get_weights()) if d > 0]) == 2


def test_distances_tell_the_largest_change_of_each_array():
    assert distances([[1.0, 2.0], [0.0]], [[1.5, 2.0], [0.0]]) == [0.5, 0.0]
