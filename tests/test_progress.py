"""Progress survives restarts, and a bad file costs nothing but the memory."""

import importlib
import json
import os
import re

import pytest

from helpers.checks import hint, progress, solution, summary
from helpers.checks import progress as shown
from helpers.checks.keys import exercise_key, lesson_key
from helpers.checks.progress import FILE, load, memory, progress_file, remember


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    folder = tmp_path / "work" / "00_warm_up"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    memory.clear()
    yield
    memory.clear()


def restart():
    """What a restarted kernel knows: only the file."""
    memory.clear()


def test_the_file_stands_beside_the_lesson_folders(tmp_path):
    assert progress_file() == tmp_path / "work" / FILE


def test_it_survives_a_restart_and_keeps_the_best():
    remember("00/xent", earned=3, tries=1)
    restart()
    remember("00/xent", earned=1, tries=1, hints=2)
    restart()
    assert load()["00/xent"] == {"earned": 3.0, "tries": 2.0, "hints": 2.0, "seen": 0.0}


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", '{"00/xent": 3}', '{"00/xent": {}}', "\x00\xff"]
)
def test_a_damaged_file_costs_only_the_memory(damage):
    remember("00/mlp", earned=3, tries=1)
    progress_file().write_text(damage, encoding="latin-1")
    assert load()["00/mlp"]["earned"] == 3.0
    restart()
    assert load() == {}
    remember("00/xent", earned=1)
    restart()
    assert load()["00/xent"]["earned"] == 1.0


def test_a_file_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "no" / "such" / "folder"))
    remember("00/xent", earned=3)
    assert load()["00/xent"]["earned"] == 3.0
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path))  # a folder
    remember("00/xent", earned=3)
    assert not [name for name in os.listdir(tmp_path) if name.startswith("work.")]


def test_off_keeps_nothing_on_disk(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    remember("00/xent", earned=3)
    assert load()["00/xent"]["earned"] == 3.0 and not list(tmp_path.rglob("*.json"))


def test_no_half_file_and_no_draft_is_left():
    remember("00/xent", earned=3)
    assert json.loads(progress_file().read_text())
    assert [path.name for path in progress_file().parent.glob(".course*")] == [FILE]


def test_the_table_says_states_points_and_what_is_next(capsys):
    remember("00/environment", earned=2, tries=1)
    remember("00/standardise", earned=1, tries=1)
    progress("00")
    out = capsys.readouterr().out
    assert "00/environment   solved       2 / 2" in out
    assert "00/standardise   started      1 / 3" in out
    assert "00/holdout       open         0 / 3" in out
    assert "Next: 00/standardise" in out and "01/" not in out


def test_all_lessons_are_one_line_each_with_the_time_that_is_left(capsys):
    whole = lesson_key("00_warm_up")["exercises"]
    for entry in whole:
        remember(entry["id"], earned=entry["points"], tries=1)
    first = lesson_key("01_built_in_loops")["exercises"][0]
    remember(first["id"], earned=first["points"], tries=1)
    shown()
    out = capsys.readouterr().out
    assert f"{len(whole)} of {len(whole)} solved" in out
    assert re.search(r"01 Built-in loops.*  1 of 9 solved, about \d\.\d h to go", out)
    assert re.search(r"Next: 01/\w+, \d+ minutes", out) and first["id"] not in out


def test_an_unknown_lesson_is_one_sentence(capsys):
    shown("77")
    assert capsys.readouterr().out.startswith("There is no lesson 77; there are 00, 01")


def test_the_summary_says_what_is_solved_and_what_a_learner_can_do(tmp_path, capsys):
    for entry in lesson_key("00_warm_up")["exercises"]:
        remember(entry["id"], earned=entry["points"], tries=1)
    remember("01/classifier", earned=1, tries=1)
    summary("Ann <b>")
    assert capsys.readouterr().out.startswith("Written: course_summary.html")
    page = (tmp_path / "work" / "course_summary.html").read_text(encoding="utf-8")
    assert "<strong>Ann &lt;b&gt;</strong>" in page
    assert page.count("I can now") == 1 and "<h2>00 Warm-up" in page
    assert "<h2>01 Built-in" in page and "<h2>02" not in page
    assert "started</td>" in page and "1 / " in page
    assert not re.search(r"<script|https?:", page)
    assert re.search(r"7 of \d+ exercises solved, 20 of", page)


def test_a_summary_that_cannot_be_written_is_one_sentence(capsys):
    summary(file="no/such/folder/page.html")
    out = capsys.readouterr().out
    assert out.startswith("The page could not be written") and out.count("\n") == 1


def test_in_a_notebook_progress_has_bars_with_words_beside_them(monkeypatch):
    module = importlib.import_module("helpers.checks.progress")
    bundles = []
    monkeypatch.setattr(
        module, "display_bundle", lambda text, **formats: bundles.append(formats)
    )
    remember("00/environment", earned=2, tries=1)
    shown("00")
    (table,) = (bundle["text/html"] for bundle in bundles)
    assert '<progress max="2" value="2" aria-hidden="true"' in table
    assert "✔ solved" in table and "– open" in table


@pytest.mark.parametrize("show", [hint, solution])
def test_without_a_name_one_sentence_says_which_there_are(show, capsys):
    show()
    assert capsys.readouterr().out.startswith('There is no exercise "";')


def test_hints_come_one_after_the_other_and_stay_at_the_last(capsys):
    hints = exercise_key("00/xent")["hints"]
    assert len(hints) == 3
    for text in (*hints, hints[-1]):
        hint("00/xent")
        assert text in capsys.readouterr().out
    restart()
    hint("00/xent")
    assert "Hint 3 of 3 (the last one)" in capsys.readouterr().out


def test_a_solution_is_shown_and_noted(capsys):
    solution("00/xent")
    out = capsys.readouterr().out
    assert "def xent" in out and "BEGIN SOLUTION" not in out
    assert load()["00/xent"]["seen"] == 1.0


def test_a_release_without_solutions_says_so(monkeypatch, capsys):
    entry = {**exercise_key("00/xent"), "solution": None}
    monkeypatch.setattr("helpers.checks.exercise_key", lambda name: entry)
    solution("00/xent")
    assert "comes without solutions" in capsys.readouterr().out


@pytest.mark.parametrize("call", [hint, solution])
@pytest.mark.parametrize("name", ["00/xnet", "xent", "99/xent", "", None, 3])
def test_unknown_exercises_get_a_sentence(call, name, capsys):
    call(name)
    out = capsys.readouterr().out.strip()
    assert out.startswith("There is no exercise") and out.endswith(".")
    assert "\n" not in out


def test_keys_name_every_exercise_of_a_lesson():
    names = [entry["id"] for entry in lesson_key("00_warm_up")["exercises"]]
    assert names[0] == "00/environment" and len(names) == len(set(names))
