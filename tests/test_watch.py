"""What a call comes to, in one line."""

import warnings

import numpy as np

from helpers.watch import outcome


def stop(message):
    raise ValueError(message)


def warn():
    print("not shown")
    warnings.warn("a word of warning", stacklevel=1)
    return {"loss": 0.25, "shape": (2, 3), "rows": np.zeros((4, 1)), "other": object()}


def test_a_value_and_its_warning_are_one_line():
    assert outcome(lambda: None) == "None"
    assert outcome(warn) == (
        "{loss: 0.2500, shape: [2, 3], rows: array of shape (4, 1), other: works}; "
        "UserWarning: a word of warning"
    )


def test_an_error_is_its_reason_without_places_in_a_graph():
    on_a_gpu = (
        "Exception encountered when calling Dense.call().\n\n\x1b[1m{{function_node "
        "__wrapped__Mul_device_/job:localhost/replica:0/task:0/device:GPU:0}} required "
        "broadcastable shapes [Op:Mul] name: \x1b[0m"
    )
    reason = "ValueError: required broadcastable shapes [Op:Mul] name:"
    assert outcome(lambda: stop(on_a_gpu)) == reason
    assert outcome(lambda: stop("long " * 30)).endswith("long long...")
    assert outcome(lambda: stop("")) == "ValueError: "
