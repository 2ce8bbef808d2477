"""What a learner shows reaches a teacher's page as text and pictures, and in time."""

import base64
import json

import pytest
from sample_class import released

from helpers.grading import doctor, gradebook, reading
from helpers.lessons import build

(LESSON,) = build.find(["00"])
PNG = base64.b64encode(b"\x89PNG picture").decode()
SKETCH = "My sketch: ![image.png](attachment:image.png)"


def with_cell(**cell):
    """A submission with one more text cell, repaired: that cell."""
    notebook = json.loads(json.dumps(released(LESSON)))
    notebook["cells"].append({"cell_type": "markdown", "metadata": {}, **cell})
    found = doctor.repair(json.dumps(notebook).encode(), released(LESSON))
    assert not found.problem
    return next(one for one in found.notebook.cells if one.id == found.own_prose[-1])


def test_a_pasted_picture_stays_with_its_text():
    cell = with_cell(source=SKETCH, attachments={"image.png": {"image/png": PNG}})
    shown = gradebook.harmless_prose(cell.source)
    shown += gradebook._pasted(cell.attachments)
    assert shown.startswith("My sketch: image.png")
    assert f'<img alt="image.png" src="data:image/png;base64,{PNG}">' in shown


@pytest.mark.parametrize(
    "attachments",
    [
        {"a": {"image/svg+xml": PNG}},
        {"a": {"image/png": '" onerror="alert(1)'}},
        {"a": {"image/png": 3}, "b": "x"},
        ["a"],
    ],
)
def test_what_is_no_picture_is_not_pasted(attachments):
    cell = with_cell(source=SKETCH, attachments=attachments)
    assert "attachments" not in cell
    assert gradebook.harmless_prose(cell.source) == "My sketch: image.png"


def test_the_name_of_a_picture_is_text():
    shown = gradebook._pasted({'"><script>': {"image/png": PNG}})
    assert "<script>" not in shown


def test_the_name_of_a_picture_cannot_end_its_html():
    name = "x\n\n![t](https://tracker.example/t.png)\n\ny"
    page = gradebook.markdown2html(gradebook._pasted({name: {"image/png": PNG}}))
    assert page.count("<img") == 1 and 'src="https' not in page
    assert len(gradebook._pasted({"\\begin{a}" * 50_000: {"image/png": "x"}})) < 200


def test_endless_codes_of_colours_are_left_out():
    red = "\x1b[31mred\x1b[0m"
    few = {"output_type": "stream", "name": "stdout", "text": red * 100}
    many = {"output_type": "display_data", "data": {"text/plain": red * 100_000}}
    error = {
        "output_type": "error",
        "ename": "",
        "evalue": "",
        "traceback": [red] * 9999,
    }
    shown = gradebook.harmless_outputs([few, many, error])
    assert shown[0]["text"] == few["text"]
    assert shown[1]["data"]["text/plain"] == "[31mred[0m" * 100_000
    assert "\x1b" not in "".join(shown[2]["traceback"])


def test_a_picture_that_is_not_there_is_its_name():
    found = gradebook.harmless_outputs(
        [{"output_type": "display_data", "data": {"text/markdown": SKETCH}}]
    )
    assert "image.png" in found[0]["data"]["text/html"]


ENDLESS = {  # each takes minutes to read where nothing bounds it
    "attributes": "<b " + " ".join(f"a{k}=1" for k in range(110_000)) + ">",
    "entities": "&a" * 400_000,
    "a comment": "<!--" + "-" * 900_000,
}


@pytest.mark.parametrize("name", ENDLESS)
def test_html_without_end_is_shown_as_text(name):
    assert gradebook.harmless(ENDLESS[name]).startswith("<pre>")


def test_a_large_picture_is_not_endless():
    page = f'<img alt="a" src="data:image/png;base64,{PNG * 20_000}">'
    assert gradebook.harmless(page).startswith('<img alt="a" src="data:')


def test_prose_without_end_is_shown_as_text():
    assert "<pre>" in gradebook.harmless_prose("\\begin{a}" * 5500)


def test_brackets_without_end_are_shown_as_text():
    """Each may begin a link, so reading would take a time that grows as a square."""
    for source in ("[" * 19_990, "![" * 9_000, "\\[" * 9_000):
        assert gradebook.harmless_prose(source).startswith("<div><pre>")


def test_what_the_grader_says_with_a_learners_words_is_plain():
    names = ["![](https://a.example/x)", "$\\href{javascript:x}{y}$", "a\n\n# b"]
    told = {"state": "ran", "repairs": names, "flags": []}
    text = gradebook.sentences(told)
    page = gradebook.markdown2html(text)
    assert "<img" not in page and "\\href" not in page and "<h1" not in page


@pytest.mark.parametrize("command", ["bbox[a]", "enclose{box}", "mmlToken{mi}", "href"])
def test_formulas_do_nothing_but_show(command):
    assert f"\\{command}" not in gradebook.harmless(f"$\\{command}{{x}}$")


# Cells that are long to read


@pytest.mark.parametrize(
    "source", ["\n" * 300_000 + "x", "!a\n" * 20_000, "x = !a\n" * 20_000]
)
def test_a_cell_without_end_is_read(source):
    doctor.plain_python(source)
    assert reading.conflict_sides(source) is None


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("%%time\nx = 1", "x = 1"),
        ("%%writefile answer.py\ndef xent(y, p): ...", ""),
        ("%%bash\nls", ""),
    ],
)
def test_only_some_magics_run_what_follows(source, plain):
    assert doctor.plain_python(source) == plain


def test_an_import_defines_a_name():
    assert doctor._defined("from answer import xent, a as b\nimport c") == {
        "xent",
        "b",
        "c",
    }
