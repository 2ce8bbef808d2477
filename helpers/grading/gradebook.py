"""Marks into nbgrader's gradebook: its own autograding, with outputs formed before.

nbgrader's `Autograde` runs as always; in the place of its Execute preprocessor stands
`StoredOutputs`, which puts in what the sandbox and the judge left. So formgrader,
feedback and export find what the stock tools would have written.
"""

import html
import os
import re
from pathlib import Path

from bleach import clean
from nbconvert.preprocessors import ClearMetadataPreprocessor
from nbformat import from_dict
from nbformat.v4 import new_markdown_cell, new_output
from nbgrader.api import Gradebook
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    LimitOutput,
    NbGraderPreprocessor,
    SaveAutoGrades,
)
from traitlets import Unicode

from helpers.checks.show import MIME, as_html, as_json, as_text
from helpers.grading import store
from helpers.grading.store import folder_of, read_json

TAGS = (
    "b blockquote br caption code details div em h1 h2 h3 h4 h5 h6 hr i img li ol p "
    "pre small span strong sub summary sup table tbody td th thead tr u ul"
).split()
ATTRIBUTES = {"img": ["alt", "src", "width", "height"], "*": ["colspan", "rowspan"]}
PICTURE = re.compile(r"data:image/(png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*\Z")
SAFE, CLEANED = (
    {"text/plain", "image/png", "image/jpeg"},
    {"text/html", "text/markdown"},
)


def _attribute(tag, name, value):
    """Which attributes stay: pictures that are inside the page, nothing that runs."""
    if tag == "img" and name == "src":
        return bool(PICTURE.match(value))
    return name in ATTRIBUTES.get(tag, []) or name in ATTRIBUTES["*"]


def harmless(text):
    """HTML, or Markdown with HTML in it, without anything that could run or load."""
    return clean(text, TAGS, _attribute, protocols={"data"}, strip=True)


def harmless_prose(source):
    """A learner's Markdown without HTML that runs and without links inside formulas."""
    source = re.sub(r"\\(href|url|require|class|style|cssId)\b", r"\\text{\1}", source)
    return harmless(source) if re.search(r"<\s*[a-zA-Z/!?]", source) else source


def harmless_outputs(outputs):
    """A learner's outputs: text, pictures, and HTML without what could run."""
    for output in outputs:
        data = output.get("data")
        if data is not None:
            output["data"] = {
                kind: harmless(text) if kind in CLEANED else text
                for kind, text in data.items()
                if kind in CLEANED or kind in SAFE
            }
    return [from_dict(output) for output in outputs]


class StoredOutputs(NbGraderPreprocessor):
    """Gives every cell the outputs of the run, and every check the judge's verdict."""

    course = Unicode(help="The class folder.").tag(config=True)

    def preprocess(self, nb, resources):
        who = resources["nbgrader"]
        lesson, student = who["assignment"], who["student"]
        result = read_json(folder_of(self.course, lesson, "results", f"{student}.json"))
        marks = read_json(folder_of(self.course, lesson, "verdicts", f"{student}.json"))
        stored = {cell["id"]: cell["outputs"] for cell in result["cells"]}
        for cell in nb.cells:
            if cell.id in result["own_prose"]:
                cell.source = harmless_prose(cell.source)
            if cell.cell_type == "code":
                cell.outputs = harmless_outputs(stored.get(cell.id, []))
            if cell.id in marks["outputs"]:
                cell.outputs = [from_dict(one) for one in marks["outputs"][cell.id]]
        told = sentences(result)
        if told:
            nb.cells.insert(0, new_markdown_cell(told, id="from-the-grader"))
        return nb, resources


def sentences(result):
    """What the grader has to say about the whole submission, as Markdown."""
    told = [*result["repairs"], *result["flags"]]
    if result["state"] != "ran":
        told.insert(0, f"{result['state']}: {result['reason']}")
    lines = "\n".join(f"- {html.escape(sentence)}" for sentence in told)
    return f"**From the grader**\n\n{lines}" if told else ""


def verdict_outputs(verdict):
    """Outputs of a check cell: the verdict as a learner sees it, and the points."""
    shown = {
        "text/plain": as_text(verdict),
        "text/html": as_html(verdict),
        MIME: as_json(verdict),
    }
    points = {"text/plain": repr(float(verdict.earned))}
    return [
        new_output("display_data", data=shown),
        new_output("execute_result", data=points, execution_count=None),
    ]


def create(course):
    """Make an empty gradebook where there is none, so that no crash leaves a part."""
    path = Path(course, "gradebook.db")
    if path.exists():
        return
    draft = Path(course, "evidence", ".gradebook.db.draft")
    Gradebook(f"sqlite:///{draft}").close()
    os.replace(draft, path)


def configured(config, course):
    """nbgrader's settings so that it takes stored outputs instead of executing.

    Args:
        config: traitlets `Config` of the class, changed in place.
        course: the class folder.
    """
    config.Autograde.autograde_preprocessors = [
        StoredOutputs,
        ClearMetadataPreprocessor,
        LimitOutput,
        SaveAutoGrades,
        AssignLatePenalties,
        CheckCellMetadata,
    ]
    config.StoredOutputs.course = str(course)
    config.CourseDirectory.submitted_directory = store.REPAIRED
    return config
