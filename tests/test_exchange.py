"""From a platform's download to a class folder, and marks back."""

import csv
import io
import os
import zipfile

import pytest
from nbgrader.api import Gradebook

from helpers.grading import exchange
from helpers.grading.gradebook import find_alembic
from helpers.lessons import cli
from helpers.lessons.script import LessonError

LESSON = "00_warm_up"
MOODLE = "Jane Doe_123_assignsubmission_file_"


def zipped(path, **members):
    """A zip file: member -> content."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


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
        (f"{MOODLE}/any name.ipynb", "Jane Doe_123"),
        (f"{MOODLE[:-1]}/any name.ipynb", "Jane Doe_123"),
        (f"{MOODLE}any_name.ipynb", "Jane Doe_123"),
        (f"Course 7/{MOODLE}/deep/er.ipynb", "Jane Doe_123"),
        ("doejane_12_345_00_warm_up-1.ipynb", "doejane_12"),
        ("doejane_LATE_12_345_Untitled.ipynb", "doejane_12"),
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
    ],
)
def test_whose_file_it_is(place, student):
    assert exchange.student_of(place, LESSON) == student


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
    assert taken(tmp_path / "class") == {"Jane Doe_123": "jane's", "Max_7": "max's"}
    assert {state for _, state in found.taken.values()} == {"new"}
    left = {str(place): reason for place, reason in found.left}
    assert left == {
        f"{MOODLE}/Untitled.ipynb": "another one was taken",
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
    assert exchange.collect(course, LESSON, source).taken["ann"][1] == "same"
    (source / "ann" / "b.ipynb").write_text("newer")
    assert exchange.collect(course, LESSON, source).taken["ann"][1] == "replaced"
    assert taken(course) == {"ann": "newer"}


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
    ],
)
def test_one_folder_around_the_whole_class_is_no_student(tmp_path, members, students):
    source = zipped(tmp_path / "all.zip", **dict.fromkeys(members, "work"))
    found = exchange.collect(tmp_path / "class", LESSON, source)
    assert set(found.taken) == students


def test_a_students_own_zip_file_is_opened_once(tmp_path):
    inner = zipped(tmp_path / "inner.zip", **{"work/a.ipynb": "ann's"}).read_bytes()
    deep = zipped(tmp_path / "deep.zip", **{"inner.zip": inner}).read_bytes()
    members = {"ann/work.zip": inner, "bob/work.zip": deep, "eve/work.zip": b"PK none"}
    source = zipped(tmp_path / "all.zip", **members)
    found = exchange.collect(tmp_path / "class", LESSON, source)
    assert taken(tmp_path / "class") == {"ann": "ann's"}
    left = [(str(place), "not a notebook") for place in ("bob/inner.zip",)]
    left += [("eve/work.zip", "not a notebook")]
    assert [(str(place), reason) for place, reason in found.left] == left


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
            "Eve_1",
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
        assert len(found.taken) + len(found.left) == 2


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
    assert [reason for _, reason in found.left] == ["it cannot be read"] * 2


def test_a_source_that_is_none_is_told(tmp_path, capsys):
    (tmp_path / "a.zip").write_text("no zip")
    for name in ("a.zip", "nowhere"):
        with pytest.raises(LessonError, match="neither a folder nor a zip file"):
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
    assert "new       ann: ann.ipynb\n" in told
    assert "left      notes.txt: not a notebook\n1 students, 1 files left." in told


def test_marks_are_a_table_that_no_spreadsheet_computes(tmp_path, capsys):
    names = ['=HYPERLINK("x")', 'Doe, "J"', "@ann", "missing"]
    find_alembic()
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        book.add_assignment(LESSON)
        book.add_notebook("n", LESSON)
        book.add_grade_cell("auto", "n", LESSON, max_score=3, cell_type="code")
        book.add_grade_cell("hand", "n", LESSON, max_score=2, cell_type="markdown")
        for number, name in enumerate(names):
            book.add_student(name)
            if name != "missing":
                book.add_submission(LESSON, name)
                grade = book.find_grade("auto", "n", LESSON, name)
                grade.auto_score = number + 0.25
                grade.needs_manual_grade = False
                other = book.find_grade("hand", "n", LESSON, name)
                other.needs_manual_grade = True
        book.db.commit()
    assert cli.main(["marks", os.fspath(tmp_path), "00"]) == 0
    content = (tmp_path / "marks.csv").read_text(encoding="utf-8")
    head, *rows = csv.reader(io.StringIO(content))
    assert tuple(head) == exchange.COLUMNS
    assert sorted(rows) == [
        ['\'=HYPERLINK("x")', LESSON, "0.25", "5", "1", ""],
        ["'@ann", LESSON, "2.25", "5", "1", ""],
        ['Doe, "J"', LESSON, "1.25", "5", "1", ""],
        ["missing", LESSON, "", "5", "", "not handed in"],
    ]
    assert cli.main(["marks", os.fspath(tmp_path / "nowhere")]) == 1
    assert "has no gradebook.db" in capsys.readouterr().err
