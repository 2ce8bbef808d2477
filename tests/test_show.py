"""A verdict reads well as text and as HTML, whatever is in it."""

import re
from html.parser import HTMLParser

import pytest

from helpers.checks.evidence import EqualOrNot, freeze
from helpers.checks.judge import Promise, Verdict, record_difference
from helpers.checks.show import (
    as_html,
    as_json,
    as_text,
    brief,
    comparison,
    inline,
    picture,
)


def promise(label, expected=1.0, yours=2.0, **more):
    settings = {"reached": True, "difference": "another number", **more}
    return Promise(label, expected=freeze(expected), yours=freeze(yours), **settings)


def verdict(*promises, **more):
    return Verdict("09/thing", 4.0, more.pop("earned", 1.0), list(promises), **more)


MANY = promise(
    "many numbers",
    expected=[float(n) for n in range(20)],
    yours=[float(n) for n in range(19)] + [25.0],
    difference="1 of 20 numbers differ",
    given=freeze({"x": [1.0, 2.0], "name": "a <b>"}),
)
VERDICTS = {
    "solved": verdict(Promise("a", held=True, reached=True), earned=4.0),
    "broken": verdict(Promise("a", held=True, reached=True), MANY, promise("number")),
    "diagnosed": verdict(
        MANY, diagnosis=[{"belief": "a <belief>", "explanation": "Say `x`.\n\nMore."}]
    ),
    "not attempted": verdict(
        Promise("a"), attempted=False, error={"type": "NotImplementedError"}
    ),
    "error": verdict(
        Promise("a"),
        error={
            "type": "ValueError",
            "message": "bad <shape>",
            "where": "line 2 of your cell",
            "line": "return x / 0",
        },
    ),
    "undefined": verdict(
        Promise("a"), error={"type": "Undefined", "message": "double"}
    ),
    "limit": verdict(
        Promise("a"), error={"type": "LimitReached", "message": "more than 20 seconds"}
    ),
    "talkative": verdict(
        MANY, log={"printed": "line\n" * 100 + "x" * 500, "warned": ["odd <thing>"]}
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_text_has_no_long_lines_and_no_markup(name):
    text = as_text(VERDICTS[name])
    lines = text.split("Your code printed:")[0].split("\n")
    assert max(len(line) for line in lines) <= 80
    assert "&lt;" not in text and "<strong>" not in text


class Tags(HTMLParser):
    void = {"img", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.text, self.images = [], "", []

    def handle_starttag(self, tag, attributes):
        self.text += " "
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += " "

    def handle_data(self, data):
        self.text += data


def parsed(name):
    tags = Tags()
    tags.feed(as_html(VERDICTS[name]))
    assert tags.open == []
    return tags


@pytest.mark.parametrize("name", VERDICTS)
def test_html_is_balanced_escaped_and_free_of_fixed_colours(name):
    tags = parsed(name)
    assert "<shape>" not in as_html(VERDICTS[name])
    assert tags.text.strip().startswith(("✔", "✘", "–"))
    assert not re.search(r"(?<!-)color:|background", as_html(VERDICTS[name]))


@pytest.mark.parametrize("name", VERDICTS)
def test_html_and_text_say_the_same(name):
    def words(text):
        return set(re.findall(r"[a-z]{4,}", text.lower()))

    plain = as_text(VERDICTS[name]).replace("`", " ")
    assert words(plain) <= words(parsed(name).text)


def test_given_yours_and_expected_stand_side_by_side():
    text = as_text(VERDICTS["broken"])
    order = [text.index(word) for word in ("given:", "yours:", "expected:")]
    assert order == sorted(order)
    assert "most at [19]: 25 instead of 19" in re.sub(r"\s+", " ", text)


def test_many_numbers_get_a_picture_with_a_description():
    (image,) = parsed("broken").images
    assert image["src"].startswith("data:image/svg+xml;base64,")
    assert "1 of 20 numbers differ, most at [19]" in image["alt"]
    assert picture(promise("few", [1.0, 2.0], [1.0, 3.0])) is None


def test_a_diagnosis_stands_beside_what_broke():
    text = as_text(VERDICTS["diagnosed"])
    assert "You assumed: a <belief>." in text
    assert "many numbers" in text and 'hint("09/thing")' in text


def test_the_learners_own_line_is_shown():
    text = " ".join(as_text(VERDICTS["error"]).split())
    assert "At line 2 of your cell: `return x / 0`" in text


def test_json_for_the_gradebook():
    found = as_json(VERDICTS["diagnosed"])
    assert found["diagnosis"] == ["a <belief>"] and found["earned"] == 1.0
    assert found["promises"] == {"many numbers": "broken"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (0.123456789, "0.12346"),
        (3, "3"),
        ([1, 2], "[1, 2]"),
        ([[1, 2], [3, 4]], "shape (2, 2): [1, 2, 3, 4]"),
        (list(range(20)), "shape (20,): [0, 1, 2, 3, 4, 5, 6, 7, ...]"),
        ({"a": [1]}, "{a: [1]}"),
        (["x", None], "['x', None]"),
        (len, "the builtin_function_or_method len"),
        ("y" * 100, repr("y" * 57 + "...")),
    ],
)
def test_values_in_brief(value, text):
    assert brief(freeze(value)) == text


def test_inline_markup():
    assert inline("a `b<c` **d**") == "a <code>b&lt;c</code> <strong>d</strong>"


def test_strange_numbers_can_be_drawn():
    nan, inf = float("nan"), float("inf")
    odd = promise(
        "odd", [1.0] * 20, [nan, inf] + [1.0] * 18, difference="x of y differ"
    )
    assert "<svg" in picture(odd)[0]
    flat = promise(
        "flat", [1.0] * 20, [1.0] * 19 + [nan], difference="NaN somewhere in"
    )
    assert picture(flat) is not None and as_text(verdict(odd, flat))


@pytest.mark.parametrize(
    ("expected", "yours", "shown"),
    [
        (EqualOrNot(1, 1), EqualOrNot(5, 6), "5 and 6"),
        (EqualOrNot(1, 2), EqualOrNot(7, 7), "twice 7"),
    ],
)
def test_both_sides_of_a_pair_are_shown(expected, yours, shown):
    records = [{"value": freeze(side)} for side in (expected, yours)]
    found = record_difference(*records, {"rtol": 0, "atol": 0})
    rows = dict(comparison(promise("orders", expected, yours, difference=found)))
    assert rows == {"yours": shown, "problem": found}


def test_nothing_is_told_as_what_it_most_likely_is():
    rows = [dict(comparison(promise(label, yours=None))) for label in ("sum", "slope")]
    assert "return" in rows[0]["yours"] and "no gradient" in rows[1]["yours"]


def test_a_diagnosis_comes_before_the_promises():
    for shown in (as_text, as_html):
        text = shown(VERDICTS["diagnosed"])
        assert text.index("You assumed") < text.index("many numbers")


def stopped(label, kind="ValueError", message="mode is missing", where="line 3"):
    error = {"type": kind, "message": message, "where": where, "line": "x"}
    return promise(label, yours=None, error=error)


def test_an_error_that_breaks_many_promises_is_told_once():
    parts = [stopped("first"), stopped("second"), promise("third")]
    parts.append(stopped("fourth", "KeyError", "'updates'", "the check"))
    parts.append(stopped("fifth", "KeyError", "'mine'"))
    for shown in (as_text, as_html):
        text = shown(verdict(*parts))
        assert text.count("mode is missing") == 1
        assert "second (stopped by the same error)" in text
        assert "fourth (nothing is there, after that error)" in text
        assert "updates" not in text and "mine" in text


def test_what_is_kept_for_free_is_told_to_count_with_the_others():
    free = Promise("a flag", held=True, reached=True, is_free=True)
    kept = Promise("a number", held=True, reached=True)
    words = "kept: a flag (counts once the others are kept)"
    unsolved = verdict(free, kept, promise("wrong"), earned=1.33)
    assert words in as_text(unsolved) and words in as_html(unsolved)
    assert as_text(unsolved).count("counts once") == 1
    assert "counts once" not in as_text(verdict(free, kept, earned=4.0))


def test_nothing_from_a_tape_is_asked_for_otherwise():
    error = {"type": "TypeError", "message": "NoneType has no len", "where": "line 1"}
    tape = {**error, "line": "gradients = tape.gradient(loss, model.weights)"}
    found = (
        as_text(verdict(Promise("a"), error=tape)),
        as_text(verdict(Promise("a"), error={**error, "line": "len(split(x))"})),
    )
    assert "did a tape find no way to a variable" in " ".join(found[0].split())
    assert "did your function return its result?" in " ".join(found[1].split())


def test_a_missing_number_is_the_worst():
    mine = promise("a", [1.0, 2.0], [1.00001, float("nan")], difference="NaN was there")
    assert "most at [1]: nan instead of 2" in dict(comparison(mine))["difference"]
