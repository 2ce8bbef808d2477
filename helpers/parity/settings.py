"""What is set in a model besides its variables, so that it can be put back."""

import keras

PLAIN = (bool, int, float, str)


def noted(model):
    """The settings of a model and of all that is inside it.

    Returns:
        Three lists of `(object, value)`: layers and their `trainable`; parts and a dict
        of their numbers, words and switches; the model and what `compile` made.
    """
    parts = parts_of(model)
    layers = [part for part in parts if isinstance(part, keras.layers.Layer)]
    kept = {key: value for key, value in vars(model).items() if value is not None}
    return (
        [(layer, layer.trainable) for layer in layers],
        [(part, plain(part)) for part in parts],
        [(model, {k: v for k, v in kept.items() if not isinstance(v, PLAIN)})],
    )


def put_back(settings):
    """Set everything that was `noted` and is now something else."""
    flags, numbers, objects = settings
    for _ in range(2):  # a part sets all that is inside it, so its insides come again
        for layer, trainable in flags:
            if layer.trainable != trainable:
                layer.trainable = trainable
    for part, old in numbers:
        now = plain(part)
        vars(part).update({k: v for k, v in old.items() if now.get(k) != v})
    for part, old in objects:
        now = vars(part)
        now.update({k: v for k, v in old.items() if now.get(k) is not v})


def plain(part):
    return {k: v for k, v in vars(part).items() if isinstance(v, PLAIN)}


def parts_of(model):
    """A model and every layer and regularizer inside it, the outer ones first."""
    found = {}

    def look(thing):
        if isinstance(thing, (keras.layers.Layer, keras.regularizers.Regularizer)):
            if id(thing) in found:
                return
            found[id(thing)] = thing
            inner = list(vars(thing).values())
        elif isinstance(thing, dict):
            inner = list(thing.values())
        else:
            inner = thing if isinstance(thing, (list, tuple)) else ()
        for part in inner:
            look(part)

    look(model)
    return list(found.values())


def states_of(model):
    """Variables that stateful layers keep from one batch to the next.

    They are no weights, so `model.variables` does not hold them.
    """
    states = [getattr(part, "states", None) for part in parts_of(model)]
    return [v for v in keras.tree.flatten(states) if isinstance(v, keras.Variable)]
