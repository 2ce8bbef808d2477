"""The `course` command: the learner's copy, the build, and sentences for bad input."""

import pytest

from helpers.checks.evidence import freeze
from helpers.grading import classroom, report
from helpers.lessons import build, keys, notebooks, paths
from helpers.lessons.answers import Trial, base_namespace
from helpers.lessons.cli import main


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "WORK", tmp_path / "work")
    return tmp_path / "work"


def test_work_copies_every_lesson_and_overwrites_none(work, capsys):
    assert main(["work"]) == 0
    copies = sorted(work.glob("*/*.ipynb"))
    assert [path.stem for path in copies] == [lesson.name for lesson in build.find()]
    copies[0].write_text("my answers")
    assert main(["work"]) == 0
    assert copies[0].read_text() == "my answers"
    told = capsys.readouterr().out
    assert told.count("\nnew: work/") == len(copies) - 1
    assert told.splitlines()[-1].startswith("nothing new: work/ has what you asked for")


def test_reset_gives_a_fresh_copy_and_keeps_the_old_one(work, capsys):
    main(["work", "00"])
    copy = work / "00_warm_up" / "00_warm_up.ipynb"
    copy.write_text("my answers")
    assert main(["reset", "00"]) == 0
    released = notebooks.notebook_path(notebooks.NOTEBOOKS, "00_warm_up")
    assert copy.read_bytes() == released.read_bytes()
    (kept,) = work.glob("00_warm_up/00_warm_up_*.ipynb")
    assert kept.read_text() == "my answers"
    assert "kept: work/00_warm_up/00_warm_up_" in capsys.readouterr().out


def test_what_learners_are_given_needs_no_scripts(work, tmp_path, monkeypatch):
    """Solutions are not handed out."""
    monkeypatch.setattr(build, "SOLUTIONS", tmp_path)
    assert build.find() == []
    assert main(["work"]) == 0 and main(["reset", "03"]) == 0
    assert len(list(work.glob("03_pipelines/*.ipynb"))) == 2
    assert len(list(work.glob("*/*.ipynb"))) > 2


def test_what_the_system_refuses_is_one_sentence(work, capsys):
    work.write_text("a file where a folder should be")
    assert main(["work"]) == 1
    assert capsys.readouterr().err == f"{work}: File exists.\n"


@pytest.mark.parametrize("command", ["build", "check", "prove", "work", "reset"])
def test_an_unknown_lesson_is_one_sentence(command, work, capsys):
    assert main([command, "77"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("There is no lesson `77`; there are 00_warm_up")
    assert "Traceback" not in error


def test_an_unchanged_lesson_is_not_built_again(capsys):
    assert main(["build", "00"]) == 0
    assert capsys.readouterr().out == "00_warm_up: unchanged\n"


def test_a_changed_script_has_to_be_built(tmp_path):
    lesson = build.find(["00"])[0]
    changed = tmp_path / lesson.path.name
    changed.write_text(lesson.path.read_text(encoding="utf-8") + "\n# %%\nprint(1)\n")
    assert build.is_built(lesson) and not build.is_built(build.read(changed))


def test_a_key_without_solutions_fits_the_script():
    lesson = build.find(["00"])[0]
    lesson.exercises = lesson.exercises[:1]
    with_them, without = (keys.lesson_key(lesson, flag) for flag in (True, False))
    assert with_them["exercises"][0]["solution"].startswith("def environment")
    assert without["exercises"][0]["solution"] is None
    assert keys.key_difference(without, with_them) == ""


def test_prove_says_what_held(capsys):
    assert main(["prove", "00", "--exercise", "environment", "--seeds", "2"]) == 0
    assert capsys.readouterr().out == "1 exercises hold on 2 seeds.\n"
    assert base_namespace(build.find(["00"])[0])["np"]


def test_references_alone_are_proved_where_they_are_fast(capsys, monkeypatch):
    command = ["prove", "00", "--exercise", "environment", "--seeds", "3"]
    assert main([*command, "--references"]) == 0
    assert capsys.readouterr().out == "1 exercises hold on 3 seeds.\n"
    lesson = build.find(["00"])[0]
    first = (lesson, lesson.exercises[0], base_namespace(lesson), range(3))
    assert keys.refusals(*first, most_seconds=0) is None
    monkeypatch.setattr(Trial, "evidence", lambda self, seed: next(unstable))
    unstable = ([{"label": "a", "value": freeze(n)}] for n in range(99))
    found = keys.refusals(*first)
    assert len(found) == 3 and "the reference breaks ['a: another" in found[0]


def test_lessons_may_stand_after_options(capsys, monkeypatch):
    asked = []

    def grade(_, wish):
        asked.append(wish)
        return classroom.Report()

    monkeypatch.setattr(classroom, "grade", grade)
    monkeypatch.setattr(classroom, "print_table", lambda told: None)
    monkeypatch.setattr(classroom, "print_next", lambda folder, told: None)
    for words in (["00", "--student", "ann", "02"], ["--student", "ann", "00", "02"]):
        assert main(["grade", "folder", *words]) == 0
        assert asked.pop() == classroom.Options(("00", "02"), "ann")
    assert main(["prove", "--seeds", "2", "--exercise", "environment", "00"]) == 0
    assert capsys.readouterr().out == "1 exercises hold on 2 seeds.\n"
    for words in (["grade", "M", "--stdent", "ann"], ["collect", "M", "00", "a", "b"]):
        with pytest.raises(SystemExit):
            main(words)
        assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "code"), [("not graded", 1), ("our fault", 1), ("out of time", 0)]
)
def test_grading_ends_with_1_where_somebody_has_no_marks(monkeypatch, state, code):
    report = classroom.Report(troubles={("ann", "00_warm_up"): (state, "why")})
    monkeypatch.setattr(classroom, "grade", lambda *_: report)
    monkeypatch.setattr(classroom, "print_table", lambda told: None)
    assert main(["grade", "folder"]) == code


def test_a_report_of_nothing_is_one_sentence(tmp_path, capsys, monkeypatch):
    assert main(["report", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("Nothing of any lesson was graded in ")
    assert main(["report", str(tmp_path), "00"]) == 1
    assert capsys.readouterr().err.startswith("Nothing of 00_warm_up was graded in ")
    assert not list(tmp_path.iterdir())
    graded = {"00_warm_up": {"ann": None}}
    monkeypatch.setattr(report, "found", lambda _, lesson: graded.get(lesson.name))
    monkeypatch.setattr(report, "write", lambda _, lesson: lesson.name)
    assert main(["report", str(tmp_path), "00", "01"]) == 0
    assert capsys.readouterr().out == "written: 00_warm_up\nNot graded yet: 01.\n"
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "written: 00_warm_up\n"
