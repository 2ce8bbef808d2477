"""From a platform's download to a class folder, and marks back."""

import csv
import io
import json
import os
import stat
import zipfile
from pathlib import PurePosixPath

import pytest
from nbgrader.api import Gradebook

from helpers.grading import choosing, classroom, exchange, store
from helpers.grading.gradebook import find_alembic
from helpers.lessons import cli
from helpers.lessons.notebooks import NOTEBOOKS, notebook_path
from helpers.lessons.script import LessonError

LESSON, OTHER = "00_warm_up", "02_losses_and_metrics"
MOODLE = "Jane Doe_123_assignsubmission_file_"


def zipped(path, **members):
    """A zip file: member -> content."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def notebook(*answered, lesson=LESSON):
    """A released notebook in which these cells hold an answer."""
    made = json.loads(notebook_path(NOTEBOOKS, lesson).read_text(encoding="utf-8"))
    for cell in made["cells"]:
        if cell["id"] in answered:
            cell["source"] = f"{cell['id']} = 'my answer'"
    return json.dumps(made)


EMPTY = json.dumps({"cells": [], "nbformat": 4})
DONE, UNTOUCHED, OF_02 = notebook("xent"), notebook(), notebook(lesson=OTHER)


def why_left(found):
    return {place.name: reason for place, reason in found.left}


def unpacked(folder, members):
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode())
    return folder


def taken(course):
    return {
        path.parent.parent.name: path.read_text()
        for path in course.glob(f"submitted/*/{LESSON}/{LESSON}.ipynb")
    }


@pytest.mark.parametrize(
    ("place", "student"),
    [
        (f"{MOODLE}/any name.ipynb", "Jane Doe"),
        (f"{MOODLE[:-1]}/any name.ipynb", "Jane Doe"),
        (f"{MOODLE}any_name.ipynb", "Jane Doe"),
        (f"Course 7/{MOODLE}/deep/er.ipynb", "Jane Doe"),
        ("doejane_12_345_00_warm_up-1.ipynb", "doejane_12"),
        ("doejane_LATE_12_345_Untitled.ipynb", "doejane_12"),
        ("doejane_LATE_12_text.html", "doejane_12"),
        ("Participant_123_assignsubmission_file_/a.ipynb", "Participant"),
        ("Ex_1_jdoe_attempt_2026-06-11-20-50-44_my_file.ipynb", "jdoe"),
        ("Ex 1_z123_attempt_2026-06-11-20-50-44.txt", "z123"),
        ("39-25 - Mary-Ann Li - Sep 24, 2026 926 PM/a - b.ipynb", "Mary-Ann Li_39"),
        ("39-25 - Zoe Li- 24 Sept 2026 21 26 - a - b.ipynb", "Zoe Li_39"),
        ("ann/Untitled.ipynb", "ann"),
        (f"ann/{LESSON}/{LESSON}.ipynb", "ann"),
        (f"ann/my_{LESSON}.ipynb", "ann"),
        ("ann.ipynb", "ann"),
        (f"ann_{LESSON}.ipynb", "ann"),
        (f"{LESSON} - ann.ipynb", "ann"),
        ("Zoe\u0308.ipynb", "Zo\u00eb"),  # as macOS writes it
        (f"{LESSON}.ipynb", ""),
        (f"{LESSON} (1).ipynb", ""),
        ("eva_00.ipynb", "eva"),
        ("00-eva.IPYNB", "eva"),
        ("eva.ipynb.txt", "eva"),
        ("eva_007.ipynb", "eva_007"),
        ("C:/eva/a.ipynb", ""),
    ],
)
def test_whose_file_it_is(place, student):
    assert exchange.owner_of(place, LESSON).name == student


BY_HAND = "attempt_2026-06-11-20-50-44"


@pytest.mark.parametrize(
    ("others", "mine"),
    [
        (["bob/a.ipynb", "ann/a.ipynb"], f"eve/x_bob_{BY_HAND}_y.ipynb"),
        (["bob/a.ipynb", "ann/a.ipynb"], "eve/bob_12_assignsubmission_file_/a.ipynb"),
        (["bob/a.ipynb", "ann/a.ipynb"], "eve/39-25 - bob - Sep 24, 2026 9 PM.ipynb"),
        (
            [
                f"{one}_1{n}_assignsubmission_file_/a.ipynb"
                for n, one in enumerate("ab")
            ],
            "eve_13_assignsubmission_file_/b_12_assignsubmission_file_/a.ipynb",
        ),
        (
            [f"Ex 1_{one}_{BY_HAND}_a.ipynb" for one in ("bob", "ann")],
            f"Ex 1_eve_{BY_HAND}_x_bob_{BY_HAND}_y.ipynb",
        ),
        (["bob_12_345_a.ipynb"], f"eve_13_346_x_bob_{BY_HAND}_y.ipynb"),
        (
            [
                f"39-2{n} - {one} - Sep 24, 2026 926 PM/a.ipynb"
                for n, one in [(1, "bob"), (2, "ann")]
            ],
            "39-25 - eve - Sep 24, 2026 9 PM/bob_12_assignsubmission_file_.ipynb",
        ),
    ],
)
def test_no_name_that_a_student_chose_makes_somebody_else_of_them(others, mine):
    places = [PurePosixPath(place) for place in [*others, mine]]
    download = exchange.Download.of(places)
    owners = [exchange.owner_of(place, LESSON, download) for place in places]
    assert owners[-1].name.startswith("eve")
    assert len(set(owners)) == len(places)


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_download_becomes_a_class(tmp_path, as_zip):
    members = {
        f"{MOODLE}/{LESSON}.ipynb": "jane's",
        f"{MOODLE}/Untitled.ipynb": "a try",
        "Max_7_assignsubmission_onlinetext_/onlinetext.html": "see file",
        "Max_7_assignsubmission_file_/a.ipynb": "max's",
        "__MACOSX/._a.ipynb": "",
        f"{LESSON}.ipynb": "whose?",
        ".ipynb_checkpoints/x.ipynb": "",
        "a*b/x.ipynb": "",
    }
    if as_zip:
        source = zipped(tmp_path / "all.zip", **members)
    else:
        source = unpacked(tmp_path / "all", members)
    found = exchange.collect(tmp_path / "class", LESSON, source)
    assert taken(tmp_path / "class") == {"Jane Doe": "jane's", "Max": "max's"}
    assert {one.state for one in found.taken.values()} == {"new"}
    left = {str(place): reason for place, reason in found.left}
    assert left == {
        f"{MOODLE}/Untitled.ipynb": (
            f"not named after the lesson; {LESSON}.ipynb was taken"
        ),
        "Max_7_assignsubmission_onlinetext_/onlinetext.html": "not a notebook",
        f"{LESSON}.ipynb": exchange.WHOSE,
        "a*b/x.ipynb": exchange.RENAME,
    }


def test_of_several_the_newest_is_taken_and_a_new_one_replaces(tmp_path):
    source = unpacked(tmp_path / "all", {"ann/b.ipynb": "new", "ann/a.ipynb": "old"})
    os.utime(source / "ann" / "a.ipynb", (1e9, 1e9))
    course = tmp_path / "class"
    exchange.collect(course, LESSON, source, write=False)
    assert not course.exists()
    exchange.collect(course, LESSON, source)
    assert taken(course) == {"ann": "new"}
    assert exchange.collect(course, LESSON, source).taken["ann"].state == "same"
    (source / "ann" / "b.ipynb").write_text("newer")
    assert exchange.collect(course, LESSON, source).taken["ann"].state == "replaced"
    assert taken(course) == {"ann": "newer"}


def test_users_of_blackboard_may_have_an_underscore(tmp_path):
    name = "Ex_1_{}_attempt_2026-06-11-20-50-44_a.ipynb"
    members = {name.format(user): user for user in ("anna_s", "bob_s", "carl")}
    exchange.collect(tmp_path / "class", LESSON, unpacked(tmp_path / "all", members))
    assert taken(tmp_path / "class") == {user: user for user in members.values()}


def test_the_last_attempt_is_taken(tmp_path):
    name = "Ex_jdoe_attempt_2026-06-{}-20-50-44_{}.ipynb"
    members = {name.format(11, LESSON): "first", name.format(12, "final"): "second"}
    source = unpacked(tmp_path / "all", members)
    exchange.collect(tmp_path / "class", LESSON, source)
    assert taken(tmp_path / "class") == {"jdoe": "second"}


@pytest.mark.parametrize(
    ("members", "students"),
    [
        (("all/ann/a.ipynb", "all/bob/b.ipynb"), {"ann", "bob"}),
        (("all/ann/a.ipynb", "all/bob/b.ipynb", "all/list.txt"), {"ann", "bob"}),
        (("all/ann/a.ipynb", "bob/b.ipynb"), {"all", "bob"}),
        (("ann/one/a.ipynb",), {"ann"}),
        (("ann/a.ipynb", "ann/old/a.ipynb"), {"ann"}),
        (("all/ann.ipynb", "all/bob.ipynb", "all/eva_00.ipynb"), {"ann", "bob", "eva"}),
        (("ann/a.ipynb", "ann/b.ipynb"), {"ann"}),
        (("ann/a.ipynb", "ann/b.ipynb", f"ann/{LESSON}.ipynb"), {"ann"}),
        (("ann/a.ipynb", "ann/a (1).ipynb", "ann/a (2).ipynb"), {"ann"}),
    ],
)
def test_one_folder_around_the_whole_class_is_no_student(tmp_path, members, students):
    source = zipped(tmp_path / "all.zip", **dict.fromkeys(members, "work"))
    found = exchange.collect(tmp_path / "class", LESSON, source)
    assert set(found.taken) == students
    one_folder_each = all("/" not in place.removeprefix("all/") for place in members)
    assert bool(found.warnings) == one_folder_each


def test_a_students_own_zip_file_is_opened_once(tmp_path):
    inner = zipped(tmp_path / "inner.zip", **{"work/a.ipynb": "ann's"}).read_bytes()
    deep = zipped(tmp_path / "deep.zip", **{"inner.zip": inner}).read_bytes()
    members = {"ann/work.zip": inner, "bob/work.zip": deep, "eve/work.zip": b"PK none"}
    many = {f"{k}.ipynb": "" for k in range(exchange.MOST_MEMBERS + 1)}
    members["max/work.zip"] = zipped(tmp_path / "many.zip", **many).read_bytes()
    members["kim.zip"] = zipped(tmp_path / "pdf.zip", **{"a.pdf": ""}).read_bytes()
    source = zipped(tmp_path / "all.zip", **members)
    found = exchange.collect(tmp_path / "class", LESSON, source)
    assert taken(tmp_path / "class") == {"ann": "ann's"}
    assert {who: str(mine[0][0]) for who, mine in found.without.items()} == {
        "bob": "bob/inner.zip",
        "eve": "eve/work.zip",
        "kim": "a.pdf",
        "max": "max/work.zip",
    }
    reasons = [mine[0][1] for mine in found.without.values()]
    assert sorted(reasons) == sorted([exchange.CLOSED] * 3 + [exchange.NONE])


def test_a_zip_file_that_would_be_huge_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "MOST_UNPACKED", 2**20)
    bomb = zipped(tmp_path / "bomb.zip", **{"a.ipynb": " " * 2**21}).read_bytes()
    source = zipped(tmp_path / "all.zip", **{"ann/a.ipynb": "x", "eve/b.zip": bomb})
    found = exchange.collect(tmp_path / "class", LESSON, source)
    assert [reason for _, reason in found.without["eve"]] == [exchange.CLOSED]


@pytest.mark.parametrize(
    ("mine", "inside", "student"),
    [
        (
            "doeeve_12_345_hw.zip",
            "smithbob_13_999_00_warm_up.ipynb",
            "doeeve_12",
        ),
        (
            "Eve_1_assignsubmission_file_hw.zip",
            "Bob_2_assignsubmission_file_/a.ipynb",
            "Eve",
        ),
        ("eve/hw.zip", "bob_2_assignsubmission_file_/a.ipynb", "eve"),
        ("doeeve_12_345_hw.zip", "homework/00_warm_up.ipynb", "doeeve_12"),
    ],
)
def test_what_lies_in_a_students_zip_file_is_that_students(
    tmp_path, mine, inside, student
):
    content = zipped(tmp_path / "inner.zip", **{inside: "eve's"}).read_bytes()
    source = zipped(tmp_path / "all.zip", **{mine: content})
    exchange.collect(tmp_path / "class", LESSON, source)
    assert taken(tmp_path / "class") == {student: "eve's"}


def damaged_zips(tmp_path):
    """Zip files that Python's `zipfile` cannot read, each in a way of its own."""
    path = tmp_path / "good.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.ipynb", "text " * 100)
    good = path.read_bytes()
    data = good.index(b"a.ipynb") + len(b"a.ipynb")
    middle = good.rindex(b"PK\x01\x02")  # the central directory
    yield good[:data] + b"\xff" * 8 + good[data + 8 :]
    yield good[: middle + 20] + b"\x80\x96\x98\x00" + good[middle + 24 :]
    yield good[: middle + 6] + b"\x63\x00" + good[middle + 8 :]
    flagged = good[: middle + 8] + b"\x00\x08" + good[middle + 10 :]
    yield flagged.replace(b"a.ipynb", b"\xff\xfe.ipyn")


def test_a_damaged_zip_file_costs_its_own_student_only(tmp_path):
    for number, damaged in enumerate(damaged_zips(tmp_path)):
        members = {"ann/a.ipynb": "ann's", "bob/hw.zip": damaged}
        source = zipped(tmp_path / f"all_{number}.zip", **members)
        found = exchange.collect(tmp_path / f"class_{number}", LESSON, source)
        assert taken(tmp_path / f"class_{number}")["ann"] == "ann's"
        assert set(found.taken) | set(found.without) == {"ann", "bob"}


def test_what_a_mac_writes_beside_a_file_is_no_notebook(tmp_path):
    source = unpacked(tmp_path / "all", {"ann/a.ipynb": "hers", "ann/._a.ipynb": "x"})
    exchange.collect(tmp_path / "class", LESSON, source)
    assert taken(tmp_path / "class") == {"ann": "hers"}


def test_a_name_cannot_write_into_the_terminal(tmp_path, capsys):
    source = unpacked(tmp_path / "all", {"ann/\x1b[2J\nnew  bob: b.txt": "x"})
    exchange.print_collected(exchange.collect(tmp_path / "class", LESSON, source))
    said = capsys.readouterr().out
    assert "\x1b" not in said and len(said.splitlines()) == 2


def test_nothing_is_written_beside_the_class(tmp_path):
    outside = ["../../evil/a.ipynb", "/evil/a.ipynb", "..ipynb", "../a.ipynb"]
    source = zipped(tmp_path / "all.zip", **dict.fromkeys(outside, "x"))
    before = {path for path in tmp_path.rglob("*")}
    found = exchange.collect(tmp_path / "class", LESSON, source)
    made = {path for path in tmp_path.rglob("*")} - before
    assert all(path.is_relative_to(tmp_path / "class") for path in made)
    assert not found.taken and len(found.left) == len(outside)


def test_links_and_what_cannot_be_read_are_left(tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_text("secret")
    source = tmp_path / "all"
    (source / "ann").mkdir(parents=True)
    (source / "ann" / "a.ipynb").symlink_to(secret)
    os.mkfifo(source / "bob.ipynb")
    found = exchange.collect(tmp_path / "class", LESSON, source)
    assert not found.taken
    reasons = [mine[0][1] for mine in found.without.values()]
    assert reasons == ["it cannot be read"] * 2


def test_a_source_that_is_none_is_told(tmp_path, capsys):
    (tmp_path / "a.zip").write_text("no zip")
    kinds = {"a.zip": "neither a folder nor a zip file", "nowhere": "no file or folder"}
    for name, told in kinds.items():
        with pytest.raises(LessonError, match=told):
            exchange.files(tmp_path / name)
    folder = os.fspath(tmp_path)
    assert cli.main(["collect", folder, "00", f"{folder}/a.zip"]) == 1
    assert "download all submissions" in capsys.readouterr().err


def test_the_command_says_who_and_what(tmp_path, capsys):
    source = unpacked(tmp_path / "all", {"ann.ipynb": "hers", "notes.txt": ""})
    folder = tmp_path / "class"
    command = ["collect", os.fspath(folder), "00", os.fspath(source)]
    assert cli.main([*command, "--look"]) == 0 and not folder.exists()
    assert cli.main(command) == 0 and taken(folder) == {"ann": "hers"}
    told = capsys.readouterr().out
    assert "new       ann: ann.ipynb (" in told
    assert "left      notes.txt: not a notebook\nStudents with a notebook: 1, " in told
    assert "with other files only: 0; files left: 1.\n" in told
    assert f"Nothing was written to {folder}/submitted/ yet.\n" in told
    assert told.endswith(f"Written to {folder}/submitted/.\n")


def test_marks_are_a_table_that_no_spreadsheet_computes(tmp_path, capsys):
    names = ['=HYPERLINK("x")', 'Doe, "J"', "@ann", "missing", "nothing"]
    find_alembic()
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        book.add_assignment(LESSON)
        book.add_notebook("n", LESSON)
        book.add_grade_cell("auto", "n", LESSON, max_score=3, cell_type="code")
        book.add_grade_cell("hand", "n", LESSON, max_score=2, cell_type="markdown")
        for number, name in enumerate(names):
            book.add_student(name)
            if name not in ("missing", "nothing"):
                book.add_submission(LESSON, name)
                grade = book.find_grade("auto", "n", LESSON, name)
                grade.auto_score = number + 0.25
                other = book.find_grade("hand", "n", LESSON, name)
                other.needs_manual_grade = True
                grade.needs_manual_grade = name == "@ann"  # her check crashed
        book.db.commit()
    for name in ("[odd]", "missing", "new"):
        (tmp_path / "submitted" / name / LESSON).mkdir(parents=True)
    (tmp_path / "submitted" / "[odd]" / LESSON / "a.ipynb").touch()
    assert cli.main(["marks", os.fspath(tmp_path)]) == 0
    content = (tmp_path / "marks.csv").read_bytes()
    assert content.startswith("\ufeff".encode())  # or Excel takes it for Latin-1
    head, *rows = csv.reader(io.StringIO(content.decode("utf-8-sig")))
    assert tuple(head) == exchange.COLUMNS
    assert sorted(rows) == [
        ['\'=HYPERLINK("x")', LESSON, "0.25", "5", "1", ""],
        ["'@ann", LESSON, "2.25", "5", "1", ""],
        ['Doe, "J"', LESSON, "1.25", "5", "1", ""],
        ["[odd]", LESSON, "", "5", "", f"not graded: {exchange.RENAME}"],
        ["missing", LESSON, "", "5", "", f"not graded: {classroom.NO_NOTEBOOK}"],
        ["new", LESSON, "", "5", "", f"not graded: {classroom.NO_NOTEBOOK}"],
        ["nothing", LESSON, "", "5", "", "not handed in"],
    ]
    assert exchange._plain("＝1+1") == "'＝1+1"  # some read full-width signs, too
    _marks_of_some_lessons_are_a_table_of_their_own(tmp_path, content, capsys)
    assert cli.main(["marks", os.fspath(tmp_path / "nowhere")]) == 1
    assert "has no gradebook.db" in capsys.readouterr().err


def _marks_of_some_lessons_are_a_table_of_their_own(folder, content, capsys):
    assert cli.main(["marks", os.fspath(folder), "05"]) == 1
    assert capsys.readouterr().err.startswith("Nothing of 05 was graded in ")
    assert not (folder / "marks_05.csv").exists()
    assert cli.main(["marks", os.fspath(folder), "00"]) == 0
    assert (folder / "marks_00.csv").read_bytes() == content
    assert cli.main(["marks", os.fspath(folder), LESSON, "05"]) == 0
    assert (folder / "marks_00_05.csv").read_bytes() == content
    assert "Not graded yet: 05." in capsys.readouterr().out
    assert (folder / "marks.csv").read_bytes() == content


WORSE = [
    ({"b.ipynb": DONE, f"{LESSON}.ipynb": UNTOUCHED}, "untouched"),
    ({"b.ipynb": DONE, f"{LESSON}.ipynb": OF_02}, "notebook of lesson 02"),
    ({"b.ipynb": DONE, f"{LESSON}.ipynb": ""}, "The file is empty"),
    ({"b.ipynb": UNTOUCHED, f"{LESSON}.ipynb": EMPTY}, "nothing of this lesson is"),
    ({"b.ipynb": EMPTY, f"{LESSON}.ipynb": "<html>"}, "The file is a web page"),
    ({f"{LESSON}.ipynb": DONE, "b.ipynb": DONE}, "not named after the lesson"),
    ({"00-Warm up-2.ipynb": DONE, "b.ipynb": DONE}, "not named after the lesson"),
    ({"b-10.ipynb": DONE, "b-9.ipynb": DONE}, "of a lower number"),
    ({"b (10).ipynb": DONE, "b (9).ipynb": DONE}, "of a lower number"),
    ({"a.ipynb": notebook("xent", "mlp"), "b.ipynb": DONE}, "fewer answers"),
]


@pytest.mark.parametrize(("members", "reason"), WORSE)
@pytest.mark.parametrize("first", [0, 1])
def test_what_is_inside_decides_which_notebook_counts(tmp_path, members, reason, first):
    names = list(members)
    order = names if first == 0 else names[::-1]
    in_order = {f"ann/{name}": members[name] for name in order}
    source = zipped(tmp_path / "all.zip", **in_order)
    found = exchange.collect(tmp_path / "class", LESSON, source)
    assert found.taken["ann"].place.name == names[0]
    assert why_left(found)[names[1]].startswith(reason)
    assert why_left(found)[names[1]].endswith(f"; {names[0]} was taken")


def test_the_same_choice_is_made_when_a_class_is_graded(tmp_path, capsys):
    for number, (members, reason) in enumerate(WORSE):
        place = tmp_path / str(number)
        mine = {
            f"submitted/ann/{LESSON}/{name}": text for name, text in members.items()
        }
        for path in unpacked(place, mine).rglob("*.ipynb"):
            os.utime(path, (1e9, 1e9))
        (one,) = classroom.submissions(place)
        assert one.path.name == next(iter(members))
        told = capsys.readouterr().err
        assert f"ann, 00: {one.path.name} is graded; left " in told and reason in told


def test_answers_outweigh_age_and_a_later_attempt_that_is_untouched(tmp_path):
    name = "Ex_jdoe_attempt_2026-06-{}-20-50-44_a.ipynb"
    members = {name.format(11): DONE, name.format(12): UNTOUCHED}
    members |= {"ann/a.ipynb": DONE, "ann/b.ipynb": UNTOUCHED}
    source = unpacked(tmp_path / "all", members)
    os.utime(source / "ann" / "a.ipynb", (1e9, 1e9))
    exchange.collect(tmp_path / "class", LESSON, source)
    assert taken(tmp_path / "class") == {"jdoe": DONE, "ann": DONE}


def test_canvas_numbers_tell_which_file_is_the_newer_one(tmp_path):
    name = "doejane_12_{}_a.ipynb"
    members = {name.format(1000): DONE, name.format(999): notebook("xent", "mlp")}
    source = zipped(tmp_path / "all.zip", **members)
    exchange.collect(tmp_path / "class", LESSON, source)
    assert taken(tmp_path / "class") == {"doejane_12": DONE}


def test_answers_are_found_in_a_notebook_without_ids(tmp_path):
    cell = {
        "cell_type": "code",
        "source": "def xent(y, p):\n    return 0",
        "metadata": {},
    }
    own = json.dumps({"nbformat": 4, "cells": [cell]})
    rank = choosing.Choice(LESSON).rank(own.encode(), "a.ipynb", 0)
    assert rank.kind == choosing.OURS and rank.changed
    assert rank > choosing.Choice(LESSON).rank(UNTOUCHED.encode(), "a.ipynb", 0)


def test_what_would_take_long_is_not_looked_into(monkeypatch):
    choice = choosing.Choice(LESSON)
    monkeypatch.setattr(choosing.reading, "read_cells", None)  # would stop the test
    damaged = b'{"id":' * 200_000
    assert choice.rank(damaged, "a.ipynb", 0).said == "damaged"
    monkeypatch.setattr(choosing, "MOST_LOOKED_INTO", 10)
    assert choice.rank(DONE.encode(), "a.ipynb", 0).said == "too large to look into"


def test_a_student_who_handed_in_no_notebook_of_the_lesson_is_told(tmp_path, capsys):
    members = {
        "ann/a.ipynb": DONE,
        "ann/plot.png": "",
        "bob/a.pdf": "%PDF",
        "bob/a.py": "import this",
        "eva/a.ipynb": OF_02,
        "readme.txt": "",
    }
    source = unpacked(tmp_path / "all", members)
    command = ["collect", os.fspath(tmp_path / "class"), "00", os.fspath(source)]
    assert cli.main(command) == 0
    assert taken(tmp_path / "class") == {"ann": DONE}
    assert capsys.readouterr().out.splitlines() == [
        "new       ann: ann/a.ipynb",
        "none      bob: bob/a.pdf: not a notebook; bob/a.py: not a notebook",
        "none      eva: eva/a.ipynb: notebook of lesson 02",
        "left      ann/plot.png: not a notebook",
        "left      readme.txt: not a notebook",
        "Students with a notebook: 1, with other files only: 2; files left: 2.",
        f"Written to {tmp_path}/class/submitted/.",
    ]


def test_moodles_number_is_kept_only_where_a_name_is_there_twice(tmp_path, capsys):
    name = "{}_assignsubmission_file_/a.ipynb"
    students = ("Ann_1", "Ann_2", "Bob_3")
    members = {name.format(one): DONE for one in students}
    source = zipped(tmp_path / "all.zip", **members)
    found = exchange.collect(tmp_path / "class", LESSON, source)
    assert set(found.taken) == {"Ann_1", "Ann_2", "Bob"}
    exchange.print_collected(found)
    told = capsys.readouterr().out
    assert (
        "the same name, or none: Ann_1, Ann_2. Moodle" in told and "Bob_3." not in told
    )
    later = zipped(tmp_path / "2.zip", **{name.format("Bob_7"): DONE})
    found = exchange.collect(tmp_path / "class", LESSON, later)
    assert found.taken["Bob"].state == "same" and not found.warnings
    blind = zipped(tmp_path / "3.zip", **{name.format("Participant_7"): DONE})
    found = exchange.collect(tmp_path / "class", LESSON, blind)
    assert set(found.taken) == {"Participant_7"} and len(found.warnings) == 1


def test_a_name_that_is_twice_in_one_download_only_is_told(tmp_path):
    name = "{}_assignsubmission_file_/a.ipynb"
    for number, students in enumerate([("Ann_1",), ("Ann_1", "Ann_2"), ("Ann_4",)]):
        members = {name.format(one): DONE for one in students}
        source = zipped(tmp_path / f"{number}.zip", **members)
        found = exchange.collect(tmp_path / "class", LESSON, source)
        told = [one.split(" is")[0] for one in found.warnings if "already" in one]
        twins = (), ("submitted/Ann",), ("submitted/Ann_1", "submitted/Ann_2")
        assert tuple(told) == twins[number]


@pytest.mark.parametrize("name", ["a.IPYNB", "a.ipynb.txt", "a.json", "a", "a.txt"])
def test_a_notebook_is_known_by_its_content(tmp_path, name):
    source = unpacked(tmp_path / "all", {f"ann/{name}": DONE, "bob/b.json": "[1]"})
    found = exchange.collect(tmp_path / "class", LESSON, source)
    assert taken(tmp_path / "class") == {"ann": DONE} and set(found.without) == {"bob"}
    old = json.dumps({"worksheets": []})
    assert choosing.is_notebook(old.encode()) and not choosing.is_notebook(b"{}")


@pytest.mark.parametrize("name", ["a.IPYNB", "a.ipynb.txt"])
def test_grading_takes_other_endings_too(tmp_path, name):
    place = f"submitted/ann/{LESSON}"
    unpacked(tmp_path, {f"{place}/{name}": DONE, f"{place}/~$b.ipynb": DONE})
    (one,) = classroom.submissions(tmp_path)
    assert one.path.name == name
    assert not classroom.not_graded(tmp_path, classroom.Options())


def test_backslashes_in_a_zip_file_are_folders(tmp_path):
    members = {"ann\\": "", "ann\\a.ipynb": DONE, "bob\\..\\..\\a.ipynb": DONE}
    source = zipped(tmp_path / "all.zip", **members)
    found = exchange.collect(tmp_path / "class", LESSON, source)
    assert taken(tmp_path / "class") == {"ann": DONE}
    assert [reason for _, reason in found.left] == [exchange.WHOSE]


def test_what_office_writes_beside_a_file_is_ignored(tmp_path):
    source = unpacked(tmp_path / "all", {"ann/a.ipynb": DONE, "ann/~$a.ipynb": DONE})
    found = exchange.collect(tmp_path / "class", LESSON, source)
    assert found.taken["ann"].place.name == "a.ipynb" and not found.left


def test_what_canvas_calls_late_is_shown(tmp_path, capsys):
    members = {"doejane_LATE_1_2_a.ipynb": DONE, "doejoe_3_4_a.ipynb": DONE}
    source = zipped(tmp_path / "all.zip", **members)
    exchange.print_collected(exchange.collect(tmp_path / "class", LESSON, source))
    told = capsys.readouterr().out
    assert "doejane_1: doejane_LATE_1_2_a.ipynb (late)\n" in told
    assert "doejoe_3: doejoe_3_4_a.ipynb\n" in told


def test_a_zip_file_that_is_cut_off_has_to_be_downloaded_again(tmp_path):
    source = zipped(tmp_path / "all.zip", **{"ann/a.ipynb": DONE})
    source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(LessonError, match="missing: download it again"):
        exchange.collect(tmp_path / "class", LESSON, source)


def test_only_evidence_is_private(tmp_path):
    before = os.umask(0o027)
    try:
        source = unpacked(tmp_path / "all", {"ann.ipynb": DONE})
        exchange.collect(tmp_path, LESSON, source)
        store.write_text(tmp_path / "report" / "a.html", "page")
        store.write_json(store.folder_of(tmp_path, LESSON, "run.json"), {})
    finally:
        os.umask(before)
    places = (f"submitted/ann/{LESSON}/{LESSON}.ipynb", "report/a.html")
    for place, mode in {
        **dict.fromkeys(places, 0o640),
        f"evidence/{LESSON}/run.json": 0o600,
    }.items():
        assert stat.S_IMODE((tmp_path / place).stat().st_mode) == mode
