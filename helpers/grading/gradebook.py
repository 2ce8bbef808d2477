"""Marks into nbgrader's gradebook: its own autograding, with outputs formed before.

nbgrader's `Autograde` runs as always; in the place of its Execute preprocessor stands
`StoredOutputs`, which puts in what the sandbox and the judge left. So formgrader,
feedback and export find what the stock tools would have written.
"""

import html
import json
import os
import re
import sys
import tempfile
from functools import lru_cache, partial
from pathlib import Path
from unittest import mock

from bleach import clean
from jinja2 import BytecodeCache
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.highlight import Highlight2HTML
from nbconvert.filters.markdown import markdown2html
from nbconvert.preprocessors import (
    ClearMetadataPreprocessor,
    CSSHTMLHeaderPreprocessor,
)
from nbformat import from_dict
from nbformat.v4 import new_markdown_cell, new_output
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    GetGrades,
    LimitOutput,
    NbGraderPreprocessor,
    SaveAutoGrades,
)
from traitlets import Unicode

from helpers.checks.show import MIME, as_html, as_json, as_text
from helpers.grading import store
from helpers.grading.store import folder_of, read_json

TAGS = (
    "a b blockquote br caption code details div em h1 h2 h3 h4 h5 h6 hr i img li ol p "
    "pre small span strong sub summary sup table tbody td th thead tr u ul"
).split()
ATTRIBUTES = {"img": ["alt", "width", "height"], "*": ["colspan", "rowspan"]}
PICTURE = re.compile(r"data:image/(png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")
LINK = re.compile(r"https?://[^\s\\]+\Z", re.IGNORECASE)
# What the page's formulas could do besides being formulas: links, loading, new styles.
TEX = re.compile(
    r"\\(href|url|require|class|style|cssId|includegraphics|bbox|mmlToken|enclose"
    r"|texttip)(?![a-zA-Z])"
)
MARKED_UP = re.compile(r"<\s*[a-zA-Z/!?]")
REACHES_OUT = re.compile(r"<img\b|<a\s+(?!class=\"anchor-link\")")
PASTED = re.compile(r"!?\[([^\]\n]*)\]\(attachment:[^)\n]*\)")
# Of one output, one text, one cell: reading time grows as a square.
MOST_TAGS, MOST_HTML, MOST_PROSE, MOST_CODE = 5_000, 100_000, 20_000, 20_000
MOST_BRACKETS, MOST_COLOURS, LONGEST_LINE = 400, 2_000, 2_000
MOST_TAGS_IN_ALL, PER_TAG = 50_000, 20  # characters that take as long as a tag
FOCUSABLE = re.compile(
    r'<div class="[^"<>]*\b(jp-Cell-inputWrapper|jp-OutputArea-output)\b[^"<>]*"'
)
# In nbgrader's list of scores all checks have the same name.
NAMELESS = re.compile(r'(<a href="#check-([\w-]+)">)Test cell(?=</a>)')
NO_ALT = re.compile(r"<img(?![^>]*\salt=)")
NO_DESCRIPTION = "No description has been provided for this image"
SAFE = {"text/plain", "image/png", "image/jpeg"}
NOT_READ = "Nobody has read this answer yet; its points are not in the score."


def _attribute(tag, name, value):
    """Which attributes stay: pictures that are inside the page, nothing that runs."""
    if (tag, name) == ("img", "src"):
        return bool(PICTURE.fullmatch(value))
    if (tag, name) == ("a", "href"):
        return bool(LINK.match(value))
    return name in ATTRIBUTES.get(tag, []) or name in ATTRIBUTES["*"]


def harmless(text):
    """HTML without anything that could run or load; as text where it is endless."""
    if text.count("<") > MOST_TAGS or len(PICTURE.sub("", text)) > MOST_HTML:
        return f"<pre>{html.escape(text)}</pre>"
    text = clean(
        text, TAGS, _attribute, protocols={"data", "http", "https"}, strip=True
    )
    # The browser reads `&#92;` as a backslash before MathJax looks for formulas.
    text = re.sub(r"&#0*92;|&#x0*5c;|&bsol;", r"\\", text, flags=re.IGNORECASE)
    return TEX.sub(r"\\text{\1}", text)


def harmless_markdown(source):
    """A learner's Markdown as harmless HTML in one line, which stays as it is."""
    rendered = harmless(_rendered(source))
    return f"<div>{rendered}</div>".replace("\r", "").replace("\n", "&#10;")


def harmless_prose(source):
    """A learner's Markdown: as it stands where it is text and formulas, else cleaned.

    What it becomes decides: a link can be written in too many ways.
    """
    few = len(source) <= MOST_PROSE and source.count("[") <= MOST_BRACKETS
    if few and not MARKED_UP.search(source):
        source = PASTED.sub(r"\1", source)
        rendered = html.unescape(_rendered(source))
        if not (REACHES_OUT.search(rendered) or TEX.search(rendered)):
            return source
    return harmless_markdown(source)


def as_plain(source):
    """Text as it was typed, in one line of HTML: nothing of it is read as Markdown."""
    if len(source) > MOST_HTML:
        source = f"{source[:MOST_HTML]}\n... and so on"
    lines = html.escape(source).replace("\r", "").replace("\n", "&#10;")
    return f"<pre>{lines}</pre>"


def _rendered(source):
    """Markdown as HTML; as plain text where it is endless, or cannot be rendered."""
    plain = as_plain(source)
    if len(source) > MOST_PROSE or source.count("[") > MOST_BRACKETS:
        return plain
    try:
        return markdown2html(PASTED.sub(r"\1", source))
    except Exception:  # whatever a learner wrote, the class goes on
        return plain


def _pasted(pictures):
    """Pictures that were pasted into a text, to stand below it."""
    shown = [
        f'<img alt="{_title(name)}" src="data:{kind};base64,{data}">'
        for name, kinds in pictures.items()
        for kind, data in kinds.items()
    ]
    return "".join(f"\n\n{one}" for one in shown)


def _title(name):
    """A picture's name, without what Markdown or HTML could take for more."""
    return re.sub(r"[^\w .-]", "_", name[:80])


def harmless_outputs(outputs):
    """A learner's outputs: text, pictures, and HTML without what could run."""
    outputs = [_with_few_colours(output) for output in outputs]
    for output in outputs:
        data = output.get("data")
        if data is None:
            continue
        kept = {kind: text for kind, text in data.items() if kind in SAFE}
        if "text/html" in data:
            kept["text/html"] = harmless(data["text/html"])
        elif "text/markdown" in data:
            kept["text/html"] = harmless_markdown(data["text/markdown"])
        output["data"] = kept or {"text/plain": "[an output that cannot be shown]"}
    return [from_dict(output) for output in outputs]


def _with_few_colours(output):
    """An output without the codes of a terminal, where there are endless ones of them.

    nbconvert copies the whole rest of a text for each.
    """
    if json.dumps(output).count("u001b[") <= MOST_COLOURS:
        return output
    return _without_codes(output)


def _without_codes(value):
    if isinstance(value, str):
        return value.replace("\x1b", "")
    if isinstance(value, list):
        return [_without_codes(one) for one in value]
    if isinstance(value, dict):
        return {key: _without_codes(one) for key, one in value.items()}
    return value


def without_markup(outputs):
    """Outputs without HTML, where a submission has so much that reading would hang."""
    for output in outputs:
        data = output.get("data") or {}
        for kind in ("text/html", "text/markdown"):
            data.pop(kind, None)
    return outputs


class StoredOutputs(NbGraderPreprocessor):
    """Gives every cell the outputs of the run, and every check the judge's verdict."""

    course = Unicode(help="The class folder.").tag(config=True)

    def preprocess(self, nb, resources):
        who = resources["nbgrader"]
        lesson, student = who["assignment"], who["student"]
        result = read_json(folder_of(self.course, lesson, "results", f"{student}.json"))
        marks = read_json(folder_of(self.course, lesson, "verdicts", f"{student}.json"))
        stored = {cell["id"]: cell["outputs"] for cell in result["cells"]}
        endless = _tags(nb, result) > MOST_TAGS_IN_ALL
        if endless:
            stored = {name: without_markup(every) for name, every in stored.items()}
            result["flags"].append("It shows more HTML than a page can hold: left out.")
        for cell in nb.cells:
            if cell.id in result["own_prose"]:
                pasted = _pasted(cell.pop("attachments", {}))
                harm = as_plain if endless else harmless_prose
                cell.source = harm(cell.source) + pasted
            if cell.cell_type == "code":
                cell.outputs = harmless_outputs(stored.get(cell.id, []))
            if cell.id in marks["outputs"]:
                cell.outputs = [from_dict(one) for one in marks["outputs"][cell.id]]
        told = sentences(result)
        if told:
            nb.cells.insert(0, new_markdown_cell(told, id="from-the-grader"))
        return nb, resources


class GradesAndUnread(GetGrades):
    """nbgrader's grades for the feedback; says of which answers nobody has read yet."""

    def preprocess_cell(self, cell, resources, index):
        cell, resources = super().preprocess_cell(cell, resources, index)
        told = cell.metadata.get("nbgrader", {})
        if told.get("grade") and told.get("solution"):
            place = self.notebook_id, self.assignment_id, self.student_id
            grade = self.gradebook.find_grade(told["grade_id"], *place)
            if grade.needs_manual_grade and grade.manual_score is None:
                comments = filter(None, (told.get("comment"), NOT_READ))
                told["comment"] = "\n\n".join(comments)
        return cell, resources


class FeedbackPage(HTMLExporter):
    """nbconvert's page, without what would take most of its time.

    nbconvert parses the page with BeautifulSoup to make cells reachable by keyboard and
    to mark pictures without a description; two replacements do the same. Templates and
    the colours of cells, which most submissions share, are made once.
    """

    def from_notebook_node(self, nb, resources=None, **settings):
        for cell in nb.cells:
            if cell.cell_type == "code" and len(cell.source) > MOST_CODE:
                cell.source = f"{cell.source[:MOST_CODE]}\n# ... and so on"
        language = nb.metadata.get("language_info", {})
        lexer = language.get("pygments_lexer", language.get("name"))
        self.filters = {"highlight_code": partial(_coloured, lexer), **self.filters}
        self.environment.bytecode_cache = COMPILED
        with mock.patch("nbconvert.exporters.html.BeautifulSoup", _AsItStands):
            page, resources = super().from_notebook_node(nb, resources, **settings)
        page = FOCUSABLE.sub(r'\g<0> tabindex="0"', page)
        page = NAMELESS.sub(r"\1\2", page)
        return NO_ALT.sub(f'<img alt="{NO_DESCRIPTION}"', page), resources


def _coloured(lexer, source, metadata=None):
    """In the place of nbconvert's filter; `metadata` could name another language."""
    if max(map(len, source.split("\n"))) > LONGEST_LINE:
        lexer = "text"  # reading Python takes a time that grows as a square
    return _coloured_once(lexer, source)


@lru_cache(300)  # the cells of a lesson, and of some submissions
def _coloured_once(lexer, source):
    return Highlight2HTML(pygments_lexer=lexer)(source)


class _Compiled(BytecodeCache):
    """Keeps templates in memory."""

    def __init__(self):
        self.known = {}

    def load_bytecode(self, bucket):
        if bucket.key in self.known:
            bucket.bytecode_from_string(self.known[bucket.key])

    def dump_bytecode(self, bucket):
        self.known[bucket.key] = bucket.bytecode_to_string()


COMPILED = _Compiled()


class _AsItStands(str):
    """In the place of a parsed page: nothing is found in it, nothing changed."""

    def __new__(cls, page, **_):
        return super().__new__(cls, page)

    def select(self, _):
        return []


def _tags(nb, result):
    """How many tags all that a learner shows has; long texts count as some."""
    datas = [o.get("data") or {} for cell in result["cells"] for o in cell["outputs"]]
    kinds = ("text/html", "text/markdown")
    texts = [data[kind] for data in datas for kind in kinds if kind in data]
    texts += [cell.source for cell in nb.cells if cell.id in result["own_prose"]]
    texts = [PICTURE.sub("", text) for text in texts]
    return sum(text.count("<") + len(text) // PER_TAG for text in texts)


def sentences(result):
    """What the grader has to say about the whole submission, as Markdown."""
    told = [*result["repairs"], *result["flags"]]
    if result["state"] != "ran":
        told.insert(0, f"{result['state']}: {result['reason']}")
    lines = "\n".join(f"- {_no_markdown(sentence)}" for sentence in told)
    return f"**From the grader**\n\n{lines}" if told else ""


def _no_markdown(sentence):
    """A sentence with a learner's words in it: no link, no picture, no formula."""
    text = TEX.sub(r"\\text{\1}", html.escape(" ".join(sentence.split())))
    return text.replace("[", "&#91;").replace("]", "&#93;")


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


def find_alembic():
    """Put this Python's programs on the PATH: nbgrader calls alembic by its name."""
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    os.environ["PATH"] = os.pathsep.join(path)


def create(course):
    """Make an empty gradebook where there is none, so that no crash leaves a part."""
    path = Path(course, "gradebook.db")
    if path.exists():
        return
    scratch = store.scratch(course)
    draft = scratch / path.name
    draft.unlink(missing_ok=True)
    with mock.patch.object(tempfile, "tempdir", str(scratch)):  # nbgrader's own files
        Gradebook(f"sqlite:///{draft}").close()
    os.replace(draft, path)


def by_person(course, lesson, student):
    """What a person gave or wrote, from the gradebook: a dict by names of cells.

    Each value is a dict: `points` and `extra` (or None), `comment`, and whether it is
    still `to read`.
    """
    with Gradebook(f"sqlite:///{Path(course, 'gradebook.db')}") as book:
        try:
            submission = book.find_submission(lesson, student)
        except MissingEntry:
            return {}
        found = {}
        for notebook in submission.notebooks:
            comments = {one.name: one.manual_comment for one in notebook.comments}
            for grade in notebook.grades:
                told = grade.manual_score, grade.extra_credit, comments.get(grade.name)
                if any(part is not None for part in told):
                    points, extra, comment = told
                    found[grade.name] = {"points": points, "extra": extra}
                    found[grade.name] |= {"comment": comment}
                    found[grade.name] |= {"to read": bool(grade.needs_manual_grade)}
        return found


def set_read(course, lesson, student, names):
    """Note in the gradebook that a person need not look at these cells again.

    nbgrader asks for it after every autograding, whether anything changed or not.
    """
    with Gradebook(f"sqlite:///{Path(course, 'gradebook.db')}") as book:
        submission = book.find_submission(lesson, student)
        for notebook in submission.notebooks:
            for grade in notebook.grades:
                if grade.name in names:
                    grade.needs_manual_grade = False
        book.db.commit()


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
    config.GenerateFeedback.exporter_class = FeedbackPage
    config.GenerateFeedback.preprocessors = [GradesAndUnread, CSSHTMLHeaderPreprocessor]
    config.CourseDirectory.submitted_directory = store.REPAIRED
    return config
