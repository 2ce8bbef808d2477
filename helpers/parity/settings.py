"""What is set in a model besides its variables, so that it can be put back."""

import types
from dataclasses import dataclass

import keras

PLAIN = (bool, int, float, str)
KEPT = (*PLAIN, types.FunctionType)  # a layer's activation is a function


@dataclass(frozen=True)
class Settings:
    """The settings of a model and of all that is inside it, as pairs `(object, value)`.

    flags: layers and their `trainable`.
    parts: layers and regularizers, and a dict of their numbers, words, functions.
    made: the model, and a dict of what `compile` made.
    optimizers: optimizers, and a dict of all their attributes (of lists: copies).
    """

    flags: list
    parts: list
    made: list
    optimizers: list


def noted(model):
    """The `Settings` of a model."""
    parts = parts_of(model)
    layers = [part for part in parts if isinstance(part, keras.layers.Layer)]
    made = {key: value for key, value in vars(model).items() if value is not None}
    optimizers = optimizers_of(model.optimizer)
    return Settings(
        [(layer, layer.trainable) for layer in layers],
        [(part, plain(part)) for part in parts],
        [(model, {k: v for k, v in made.items() if not isinstance(v, PLAIN)})],
        [(one, {k: unshared(v) for k, v in vars(one).items()}) for one in optimizers],
    )


def put_back(settings):
    """Set everything that was `noted` and is now something else."""
    for _ in range(2):  # a part sets all that is inside it, so its insides come again
        for layer, trainable in settings.flags:
            if layer.trainable != trainable:
                layer.trainable = trainable
    for part, old in settings.parts:
        now = plain(part)
        vars(part).update({k: v for k, v in old.items() if now.get(k) != v})
    for part, old in settings.made:
        now = vars(part)
        now.update({k: v for k, v in old.items() if now.get(k) is not v})
    for optimizer, old in settings.optimizers:
        now = vars(optimizer)
        now.update({k: unshared(v) for k, v in old.items() if differs(now.get(k), v)})


def unshared(value):
    return list(value) if isinstance(value, list) else value


def differs(now, old):
    """Whether an attribute is another object, or a list of another length."""
    if isinstance(old, list):
        return not isinstance(now, list) or len(now) != len(old)
    return now is not old


def changed(settings):
    """Which settings of an optimizer are no longer as they were noted, in words."""
    found = []
    for optimizer, old in settings.optimizers:
        now = vars(optimizer)
        found += [
            f"`{key.strip('_')}` from {shown(value)} to {shown(now.get(key))}"
            for key, value in old.items()
            if is_set(value, now.get(key))
        ]
    return " and ".join(found)


def is_set(old, new):
    """Whether somebody gave an attribute another value: a number, word or schedule."""
    schedule = keras.optimizers.schedules.LearningRateSchedule
    if isinstance(new, schedule):
        return new is not old
    simple = all(isinstance(one, (*PLAIN, type(None))) for one in (old, new))
    return simple and old != new


def shown(value):
    """A value in a message."""
    simple = isinstance(value, (*PLAIN, type(None)))
    return repr(value) if simple else type(value).__name__


def optimizers_of(optimizer):
    """An optimizer, and the one that a `LossScaleOptimizer` wraps."""
    inner = getattr(optimizer, "inner_optimizer", None)
    return [optimizer] if inner is None else [optimizer, *optimizers_of(inner)]


def plain(part):
    return {k: v for k, v in vars(part).items() if isinstance(v, KEPT)}


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
