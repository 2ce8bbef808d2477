"""Every lesson as it stands: proved, covered, built, within its size."""

import ast
import functools
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import nbformat
import pytest

from helpers.checks.keys import KEYS, exercise_key
from helpers.lessons import build, coverage, keys, notebooks, pages
from helpers.lessons.answers import base_namespace, execute, stub
from helpers.lessons.paths import ROOT, SOLUTIONS
from helpers.lessons.script import LessonError

LESSONS = build.find()
EXERCISES = [(lesson, exercise) for lesson in LESSONS for exercise in lesson.exercises]
SEEDS = (*keys.PUBLIC_SEEDS, *keys.EXTRA_SEEDS[:2], 101)
bases = {}


def base(lesson):
    if lesson.name not in bases:
        bases[lesson.name] = base_namespace(lesson)
    return bases[lesson.name]


def name_of(value):
    return getattr(value, "name", None)


@pytest.mark.parametrize(("lesson", "exercise"), EXERCISES, ids=name_of)
def test_the_proof_holds_on_5_seeds_and_the_built_key_fits(lesson, exercise):
    built = exercise_key(f"{lesson.number}/{exercise.name}")
    assert keys.prove(lesson, exercise, base(lesson), SEEDS, built) == []


# Coverage of the inventory

WANTED = set(coverage.inventory())
# Needs a network, Graphviz, packages that are not installed, or another lesson.
IN_PROSE = {"A4", "A5", "A6", "A10", "D37", *(f"K{n}" for n in range(37, 43))}


def test_every_row_is_shown_or_checked():
    found = coverage.coverage(LESSONS)
    seen = {
        row
        for row, places in found.items()
        if {how for _, _, how in places} & {"shown", "checked"}
    }
    assert WANTED - seen <= IN_PROSE
    assert set(found) == WANTED


def test_the_pages_in_docs_are_written_from_the_lessons():
    assert pages.outdated(LESSONS) == [], "run `course build`"


def test_an_outdated_page_is_named_and_written_anew(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    assert pages.outdated(LESSONS) == list(pages.PAGES)
    assert pages.write(LESSONS) == list(pages.PAGES) and not pages.write(LESSONS)
    edit(tmp_path / "docs" / "course_map.md", "| minutes |", "| hours |")
    assert pages.outdated(LESSONS) == ["docs/course_map.md"]


# The course as one

TIME = r", about (\w+)( and a half)? hours"
NUMBERS = "no one two three four five six seven eight nine ten eleven twelve".split()


def opening_of(lesson):
    return " ".join(lesson.cells[0].source.split()).lower()


def hours(lesson):
    """How long a lesson says in its opening that it takes."""
    number, half = re.search(TIME, opening_of(lesson)).groups()
    return NUMBERS.index(number) + bool(half) / 2


@pytest.mark.parametrize("lesson", LESSONS, ids=name_of)
def test_a_lesson_opens_with_what_it_asks_and_needs(lesson):
    opening = opening_of(lesson)
    checked = sum(exercise.check.points for exercise in lesson.exercises)
    count = NUMBERS[len(lesson.exercises)]
    assert f"{count} exercises ({checked:g} points) and a question (2 poi" in opening
    assert abs(hours(lesson) - lesson.minutes / 60) <= 0.3
    earlier = {one.number for one in LESSONS if one.number < lesson.number}
    assert set(lesson.needs) <= earlier
    assert lesson.needs or lesson.number == "00"
    assert len(lesson.can) == 3


@pytest.mark.parametrize("lesson", LESSONS[:-1], ids=name_of)
def test_a_lesson_ends_where_the_next_begins(lesson):
    following = LESSONS[LESSONS.index(lesson) + 1].number
    assert f"Next: lesson {following}, " in lesson.cells[-1].source


def test_the_readme_lists_every_lesson_with_its_numbers():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for lesson in LESSONS:
        (row,) = re.findall(rf"(?m)^\| \[{lesson.number} .*$", readme)
        _, _, _, needs, exercises, points, time, _ = row.split("|")
        assert re.findall(r"\d\d", needs) == lesson.needs
        assert int(exercises) == len(lesson.exercises)
        assert float(points) == lesson.points
        assert float(time.removesuffix(" h ")) == hours(lesson)


VERBS = {
    name: [
        parameter.name
        for parameter in inspect.signature(
            getattr(keras.Model, name)
        ).parameters.values()
        if parameter.name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    ]
    for name in (
        "compile",
        "fit",
        "evaluate",
        "predict",
        "train_on_batch",
        "test_on_batch",
        "predict_on_batch",
    )
}


def used_arguments(source):
    """Pairs (verb, argument) of the model methods that a cell calls."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    named = {keyword.arg for call in calls for keyword in call.keywords}
    for call in calls:
        verb = getattr(call.func, "attr", "")
        if verb in VERBS:
            given = VERBS[verb][: len(call.args)]
            yield from ((verb, name) for name in {*given, *named})


@pytest.mark.parametrize("verb", VERBS)
def test_every_argument_of_installed_keras_is_used(verb):
    """A new argument in a new Keras fails here, until a lesson uses it."""
    cells = [c for lesson in LESSONS for c in lesson.cells if not c.markdown]
    used = {pair for cell in cells for pair in used_arguments(cell.source)}
    assert [name for name in VERBS[verb] if (verb, name) not in used] == []


# Size and form


@pytest.mark.parametrize("lesson", LESSONS, ids=name_of)
def test_cells_are_short(lesson):
    long = [
        f"line {cell.line}: {cell.source.count(chr(10)) + 1} lines"
        for cell in lesson.cells
        if cell.role in ("example", "varies") and cell.source.count("\n") >= 20
    ]
    wordy = [
        f"line {cell.line}: {len(prose(cell).split())} words"
        for cell in lesson.cells
        if cell.markdown and len(prose(cell).split()) > 120
    ]
    assert long + wordy == []


def prose(cell):
    """A cell's text without its hints."""
    return re.sub(r"<details>.*?</details>", "", cell.source, flags=re.DOTALL)


@pytest.mark.parametrize("lesson", LESSONS, ids=name_of)
def test_a_lesson_asks_one_written_question_and_ends_with_what_you_can_now(lesson):
    assert [cell.role for cell in lesson.cells].count("answer") == 1
    assert lesson.cells[-1].source.startswith("## You can now\n")


def test_every_picture_has_a_description():
    for lesson in LESSONS:
        built = notebooks.paths(lesson)[0].read_text(encoding="utf-8")
        images = re.findall(r"<img [^>]*>", built.replace('\\"', '"'))
        assert images and all(re.search(r'alt="[^"]{20,}"', tag) for tag in images)


# What is built


@pytest.mark.parametrize("lesson", LESSONS, ids=name_of)
def test_built_files_fit_their_script(lesson):
    """All but the keys of exercises, which their proof compares."""
    assert build.notebook_drift(lesson) == []
    built = build.built_key(lesson)
    assert {**built, **keys.lesson_head(lesson)} == built
    names = [f"{lesson.number}/{exercise.name}" for exercise in lesson.exercises]
    assert [exercise["id"] for exercise in built["exercises"]] == names


def test_no_stray_files():
    assert build.stray_files() == []


@pytest.mark.parametrize("lesson", LESSONS, ids=name_of)
def test_nothing_is_left_to_build(lesson):
    assert build.is_built(lesson), f"run `course build {lesson.name}`"
    assert build.shows_solutions(lesson), "run `course build --solutions`"


@pytest.mark.parametrize("lesson", LESSONS, ids=name_of)
def test_a_check_is_folded_to_one_line_that_names_it(lesson):
    for path in notebooks.paths(lesson):
        cells = {cell.id: cell for cell in notebooks.read(path).cells}
        for exercise in lesson.exercises:
            check = cells[f"check-{exercise.name}"]
            assert check.source.startswith(f"# @title Check: {exercise.name}, ")
            assert check.metadata.jupyter.source_hidden  # JupyterLab
            assert check.metadata.cellView == "form"  # Colab


def test_nbgrader_makes_exactly_the_learners_notebooks(tmp_path):
    for lesson in LESSONS:
        command = [sys.executable, "-m", "nbgrader", "generate_assignment", lesson.name]
        command += [f"--CourseDirectory.release_directory={tmp_path}/release"]
        command += [f"--CourseDirectory.db_url=sqlite:///{tmp_path}/gradebook.db"]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # for alembic
        environment = {**os.environ, "PATH": path}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        released = tmp_path / "release" / lesson.name
        assert [path.name for path in released.iterdir()] == [f"{lesson.name}.ipynb"]
        made = (released / f"{lesson.name}.ipynb").read_bytes()
        assert made == notebooks.paths(lesson)[1].read_bytes()


@pytest.mark.parametrize("lesson", LESSONS, ids=name_of)
def test_released_notebooks_hold_no_answers(lesson):
    released = notebooks.paths(lesson)[1].read_text(encoding="utf-8")
    assert "BEGIN SOLUTION" not in released and "### END" not in released
    assert "<!-- rows" not in released  # those lines are for docs/coverage.md
    for exercise in lesson.exercises:
        assert (
            json.dumps(stub(exercise.answer.source))[1:-1].split("\\n")[0] in released
        )
        for mistake in exercise.mistakes:
            assert mistake.name not in released
    notebook = nbformat.reads(released, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize("lesson", LESSONS, ids=name_of)
def test_an_untouched_exercise_runs(lesson):
    """Else "run all cells above" would stop at the first one that was left out."""
    base = base_namespace(lesson)
    for exercise in lesson.exercises:
        execute(stub(exercise.answer.source), exercise.name, {**base})


@pytest.mark.parametrize("lesson", LESSONS, ids=name_of)
def test_built_files_name_no_machine(lesson):
    for path in (*notebooks.paths(lesson), KEYS / f"{lesson.name}.json"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(root|home|Users|tmp|work)/", text), path


# Drift is found and told


@pytest.fixture
def copy_of_lesson(tmp_path, monkeypatch):
    """Lesson 00 in a folder of its own, where it may be damaged."""
    for folder in ("solutions/00_warm_up", "notebooks/00_warm_up"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "helpers" / "keys").mkdir(parents=True)
    shutil.copy(KEYS / "00_warm_up.json", tmp_path / "helpers" / "keys")
    for module in (build, notebooks):
        monkeypatch.setattr(module, "SOLUTIONS", tmp_path / "solutions")
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    for module in (build, keys):
        monkeypatch.setattr(module, "KEYS", tmp_path / "helpers" / "keys")
    return build.find(["00"])[0]


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def key_file(lesson):
    return build.KEYS / f"{lesson.name}.json"


def solution_file(lesson):
    return notebooks.paths(lesson)[0]


def learner_file(lesson):
    return notebooks.paths(lesson)[1]


VERSIONS = '"the version of every module", "value": {"list": ["'
DAMAGE = {
    "solution": (solution_file, "the habit", "the bit", "differs in cell"),
    "learner": (learner_file, "loss of Keras", "loss of keras", "differs in cell"),
    "points": (key_file, '"points": 3.0', '"points": 4.0', "the points of"),
    "label": (key_file, '["one mean per', '["a mean per', "the promises of"),
    "hint": (key_file, "Which axis is that?", "Which one?", "the hints of"),
    "belief": (key_file, '"belief": "divide', '"belief": "multiply', "the mistakes of"),
    "mistake": (key_file, '"data": [', '"data": [1', "the evidence of the mistake"),
    "reference": (key_file, VERSIONS, VERSIONS + "9", "the reference's evidence of"),
}


@functools.cache
def right_key():
    return keys.lesson_key(LESSONS[0])


@pytest.mark.parametrize("name", DAMAGE)
def test_a_drift_is_named_with_the_command_that_mends_it(
    copy_of_lesson, name, monkeypatch
):
    right = right_key()
    monkeypatch.setattr(keys, "lesson_key", lambda lesson: right)
    where, old, new, words = DAMAGE[name]
    edit(where(copy_of_lesson), old, new)
    sentences = build.drift(copy_of_lesson)
    sentence = sentences[0]
    assert words in sentence
    assert sentence.endswith("Mend it with `course build 00_warm_up`.")


def test_a_missing_file_is_a_drift(copy_of_lesson):
    notebooks.paths(copy_of_lesson)[1].unlink()
    key_file(copy_of_lesson).unlink()
    found = " ".join(build.drift(copy_of_lesson))
    assert found.count("does not exist or is damaged") == 2


def test_a_damaged_key_is_a_drift(copy_of_lesson):
    key_file(copy_of_lesson).write_text("{", encoding="utf-8")
    assert "does not exist or is damaged" in build.drift(copy_of_lesson)[0]
    assert not build.is_built(copy_of_lesson)


def test_a_build_that_was_stopped_half_way_is_not_taken_for_done(
    copy_of_lesson, monkeypatch
):
    def stop(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(build.notebooks, "execute", stop)
    with pytest.raises(KeyboardInterrupt):
        build.build(copy_of_lesson, force=True)
    assert not build.is_built(copy_of_lesson)


def test_what_changes_during_a_build_is_not_taken_for_built(
    copy_of_lesson, monkeypatch
):
    def change(*args, **settings):
        with copy_of_lesson.path.open("a", encoding="utf-8") as file:
            file.write("\n")

    monkeypatch.setattr(build.notebooks, "execute", change)
    build.build(copy_of_lesson, force=True)
    assert not build.is_built(copy_of_lesson)


def test_keys_are_compared_as_numbers_not_as_text(copy_of_lesson):
    path = key_file(copy_of_lesson)
    key = json.loads(path.read_text(encoding="utf-8"))
    record = key["exercises"][1]["seeds"]["1"][0]["value"]
    record["data"] = [number * (1 + 1e-7) for number in record["data"]]
    path.write_text(json.dumps(key), encoding="utf-8")
    assert build.drift(copy_of_lesson) == []


def test_a_stray_file_is_found(copy_of_lesson):
    (build.SOLUTIONS / "00_warm_up" / "notes.txt").write_text("x")
    (sentence,) = build.stray_files()
    assert sentence == "solutions/00_warm_up/notes.txt belongs to no lesson; delete it."


def test_an_unknown_lesson_is_told():
    with pytest.raises(LessonError, match="There is no lesson `77`; there are 00_"):
        build.find(["77"])


def test_lessons_are_found_by_number_and_name():
    assert [lesson.name for lesson in build.find(["00"])] == ["00_warm_up"]
    assert build.find(["01_built_in_loops"])[0].path.parent.parent == SOLUTIONS


def test_building_twice_changes_no_byte(copy_of_lesson):
    before = [path.read_bytes() for path in notebooks.paths(copy_of_lesson)]
    notebook = notebooks.solution_notebook(copy_of_lesson)
    notebooks.execute(notebook, copy_of_lesson)
    solution, learner = notebooks.paths(copy_of_lesson)
    notebooks.write(notebook, solution)
    notebooks.write(notebooks.learner_notebook(notebook), learner)
    assert [path.read_bytes() for path in notebooks.paths(copy_of_lesson)] == before


def test_a_release_without_solutions_needs_no_other_build(copy_of_lesson, monkeypatch):
    monkeypatch.setattr(notebooks, "execute", None)  # nothing is run for it
    keys.write_key(build.built_key(copy_of_lesson), build.digest(copy_of_lesson))
    before = key_file(copy_of_lesson).read_bytes()
    assert build.build(copy_of_lesson, solutions=False)
    exercises = build.built_key(copy_of_lesson)["exercises"]
    assert {exercise["solution"] for exercise in exercises} == {None}
    assert not build.build(copy_of_lesson, solutions=False)
    assert not build.build(copy_of_lesson)  # a later build does not show them again
    assert not build.shows_solutions(copy_of_lesson)
    assert build.build(copy_of_lesson, solutions=True)
    assert key_file(copy_of_lesson).read_bytes() == before


def test_a_new_address_comes_into_the_notebooks_without_running_them(
    copy_of_lesson, monkeypatch
):
    for module in (build, notebooks):
        monkeypatch.setattr(module, "repository", lambda: "https://github.com/our/kit")
    monkeypatch.setattr(notebooks, "execute", None)
    keys.write_key(build.built_key(copy_of_lesson), build.digest(copy_of_lesson))
    places = notebooks.paths(copy_of_lesson)
    before = [notebooks.read(place) for place in places]
    assert build.build(copy_of_lesson) and not build.build(copy_of_lesson)
    for old, place in zip(before, places, strict=True):
        text = place.read_text(encoding="utf-8")
        assert "colab.research.google.com/github/our/kit/" in text
        assert "git+https://github.com/our/kit" in text and "your-name" not in text
        cells = zip(old.cells, notebooks.read(place).cells, strict=True)
        assert sum(one.source != two.source for one, two in cells) == 2
    assert build.drift(copy_of_lesson) == []


def test_a_wrong_check_cannot_be_built(tmp_path):
    """A check that cannot tell a mistake from the reference fails its proof."""
    source = (SOLUTIONS / "00_warm_up" / "00_warm_up.py").read_text(encoding="utf-8")
    weak = source.replace("apply_standardiser(other, mean, std, eps=0.5)", "1.0")
    assert weak != source
    path = tmp_path / "00_warm_up.py"
    path.write_text(weak, encoding="utf-8")
    lesson = build.read(path)
    exercise = next(e for e in lesson.exercises if e.name == "standardise")
    failures = keys.prove(lesson, exercise, base(lesson), [1, 2])
    assert any("new rows are scaled with their own" in text for text in failures)


def test_the_proof_tells_where_the_built_key_differs():
    lesson = LESSONS[0]
    exercise = next(e for e in lesson.exercises if e.name == "mean_loss")
    built = exercise_key("00/mean_loss")
    text = json.dumps(built)
    for old, new, words in (
        ('"from logits"', '"of logits"', "the promises"),
        ('"data": [', '"data": [9', "the reference's evidence"),
        ('"points": 2.0', '"points": 3.0', "the points"),
    ):
        assert old in text
        wrong = json.loads(text.replace(old, new, 1))
        failures = keys.prove(lesson, exercise, base(lesson), [1, 2, 3, 4], wrong)
        assert [words in failure for failure in failures] == [True]
    assert keys.prove(lesson, exercise, base(lesson), [1, 2, 3, 4], built) == []


def test_a_reference_that_only_stops_cannot_be_built(tmp_path):
    source = (SOLUTIONS / "00_warm_up" / "00_warm_up.py").read_text(encoding="utf-8")
    broken = source.replace("def holdout(", "holdout = None\ndef another(", 1)
    assert broken != source
    path = tmp_path / "00_warm_up.py"
    path.write_text(broken, encoding="utf-8")
    lesson = build.read(path)
    exercise = next(e for e in lesson.exercises if e.name == "holdout")
    with pytest.raises(LessonError, match="reference of `holdout`"):
        keys.prove(lesson, exercise, base(lesson), [1])


def test_an_answer_that_does_nothing_may_yield_more_than_the_reference(tmp_path):
    source = (SOLUTIONS / "00_warm_up" / "00_warm_up.py").read_text(encoding="utf-8")
    last = "        yield name, lambda: mean_loss(outputs, labels, kind), given\n"
    assert last in source
    more = '    if mean_loss(outputs, labels, kind) is None:\n        yield "more", 1\n'
    path = tmp_path / "00_warm_up.py"
    path.write_text(source.replace(last, last + more), encoding="utf-8")
    lesson = build.read(path)
    exercise = next(e for e in lesson.exercises if e.name == "mean_loss")
    key = keys.exercise_key(lesson, exercise, base(lesson), [1])
    assert len(key["promises"]) == 3 and key["idle"] == []


@pytest.mark.parametrize("weight", ['{"no such": 2}', "{LABEL: 0}", "{LABEL: -1}"])
def test_a_weight_is_a_positive_number_for_a_promise(tmp_path, weight):
    source = (SOLUTIONS / "00_warm_up" / "00_warm_up.py").read_text(encoding="utf-8")
    weight = weight.replace("LABEL", '"the backend by name"')
    call = 'check("00/environment", evidence'
    assert call in source
    path = tmp_path / "00_warm_up.py"
    path.write_text(source.replace(call, f"{call}, weights={weight}"), encoding="utf-8")
    lesson = build.read(path)
    with pytest.raises(LessonError, match="is not a number above 0 for one of its"):
        keys.exercise_key(lesson, lesson.exercises[0], base(lesson), [1])


@pytest.mark.parametrize("lesson", LESSONS, ids=name_of)
def test_a_summary_is_html_where_backticks_stay_backticks(lesson):
    found = [
        line
        for cell in lesson.cells
        for line in re.findall(r"<summary>.*", cell.source)
        if "`" in line and cell.markdown
    ]
    assert not found


QUIZ = r"<details><summary>(.*?)</summary>\s*(Right|No):"


def test_every_quiz_explains_each_choice_and_has_one_right_one():
    quizzes = [
        cell.source
        for lesson in LESSONS
        for cell in lesson.cells
        if cell.source.startswith("### Quiz")
    ]
    for quiz in quizzes:
        verdicts = [found for _, found in re.findall(QUIZ, quiz)]
        assert len(verdicts) == quiz.count("<details>") >= 3, quiz
        assert verdicts.count("Right") == 1, quiz
    assert len(quizzes) >= 4
