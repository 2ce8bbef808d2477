"""Read a lesson script: percent cells whose header says what each cell is for."""

import re
from dataclasses import dataclass, field
from pathlib import Path

GRAMMAR = (
    "`# %%`, `# %% [markdown]`, `# %% exercise: NAME`, `# %% check: NAME, 4 points`, "
    "`# %% mistake: THE WRONG BELIEF`, `# %% answer: NAME, 2 points [markdown]` "
    "or `# %% varies: WHY`"
)
NAMED = re.compile(
    r"(?P<role>exercise|check|mistake|answer|varies): (?P<name>.+?)"
    r"(, (?P<points>\d+(\.\d+)?) points?)?(?P<markdown> \[markdown\])?"
)
ROWS = re.compile(r"^# (?:<!-- )?rows: (?P<rows>[A-Z0-9, ]+?)(?: -->)?\n", re.MULTILINE)
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
LEAST_MISTAKES, MOST_HINTS = 3, 3
READING = 60  # words a minute, running the examples and looking at them included


class LessonError(Exception):
    """A lesson script that breaks the grammar; the message names file and line."""


@dataclass
class Cell:
    """One cell of a lesson script.

    `role` is prose, example, exercise, check, mistake, answer or varies; `name` the
    exercise's name, the mistake's belief or the reason why an output varies.
    """

    role: str
    name: str
    points: float
    source: str
    line: int
    rows: list = field(default_factory=list)

    @property
    def markdown(self):
        return self.role in ("prose", "answer")


@dataclass
class Exercise:
    """Everything about one exercise: its cells, hints and known mistakes."""

    name: str
    statement: Cell
    answer: Cell
    check: Cell = None
    mistakes: list = field(default_factory=list)

    @property
    def hints(self):
        return re.findall(
            r"<details><summary>.*?</summary>\s*(.*?)\s*</details>",
            self.statement.source,
            re.DOTALL,
        )

    @property
    def minutes(self):
        found = re.search(r"(\d+) minutes?", self.statement.source)
        return int(found.group(1)) if found else 0

    @property
    def title(self):
        return re.search(r"^#+ (.*)$", self.statement.source, re.MULTILINE).group(1)


@dataclass
class Lesson:
    """A lesson script, read and checked."""

    name: str
    path: Path
    title: str
    cells: list
    exercises: list

    @property
    def number(self):
        return self.name.split("_")[0]

    @property
    def needs(self):
        """Numbers of the lessons that come before, from the opening paragraph."""
        found = re.search(r"You need lessons? ([\d, and]+)\.", _flat(self.cells[0]))
        return re.findall(r"\d\d", found.group(1)) if found else []

    @property
    def can(self):
        """What a learner can do afterwards: the list that the lesson ends with."""
        items = re.findall(
            r"^- (.*?)(?=\n- |\n\n|\Z)", self.cells[-1].source, re.M | re.S
        )
        return [" ".join(item.split()).rstrip(";.") for item in items]

    @property
    def points(self):
        return sum(cell.points for cell in self.cells)

    @property
    def minutes(self):
        """Time for everything: the exercises' own minutes, and the reading."""
        words = sum(len(cell.source.split()) for cell in self.cells if cell.markdown)
        return sum(exercise.minutes for exercise in self.exercises) + words // READING


def read(path):
    """The `Lesson` in a script.

    Raises:
        LessonError: one sentence with file and line, for the first thing that breaks
            the grammar.
    """
    path = Path(path)
    cells = list(_cells(path))
    if not cells or cells[0].role != "prose" or not cells[0].source.startswith("# "):
        raise LessonError(
            f"{path.name}:1: a lesson begins with a `# %% [markdown]` cell whose first "
            "line is its title, `# # Title`."
        )
    title = cells[0].source.split("\n")[0].removeprefix("# ")
    return Lesson(path.stem, path, title, cells, _exercises(path, cells))


def _flat(cell):
    return " ".join(cell.source.split())


def _cells(path):
    lines = path.read_text(encoding="utf-8").split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith("# %%")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        body = "\n".join(lines[start + 1 : end]).strip("\n")
        yield _cell(path, lines[start], body, start + 1)


def _cell(path, header, body, line):
    role, name, points = _header(path, header, line)
    rows = [row for found in ROWS.finditer(body + "\n") for row in _split(found)]
    body = ROWS.sub("", body + "\n").strip("\n")
    cell = Cell(role, name, points, body, line, rows)
    if cell.markdown:
        cell.source = _uncomment(path, body, line)
    if not cell.source.strip():
        raise LessonError(f"{path.name}:{line}: this cell is empty; write or drop it.")
    return cell


def _split(found):
    return re.split(r"[, ]+", found["rows"].strip())


def _header(path, header, line):
    rest = header.removeprefix("# %%").strip()
    if rest in ("", "[markdown]"):
        return ("prose" if rest else "example"), "", 0.0
    found = NAMED.fullmatch(rest)
    if found is None or bool(found["markdown"]) != (found["role"] == "answer"):
        raise LessonError(
            f"{path.name}:{line}: the header `{header}` is not in the grammar; "
            f"write {GRAMMAR}."
        )
    graded = found["role"] in ("check", "answer")
    if graded != bool(found["points"]):
        fix = "end it with `, N points`" if graded else "leave the points out"
        raise LessonError(f"{path.name}:{line}: in the header `{header}`, {fix}.")
    if found["role"] in ("exercise", "check", "answer"):
        _check_name(path, found["name"], line)
    return found["role"], found["name"], float(found["points"] or 0)


def _check_name(path, name, line):
    if not name.isidentifier():
        raise LessonError(
            f"{path.name}:{line}: the name `{name}` is not a Python name; use the name "
            "that the learner defines."
        )


def _uncomment(path, body, line):
    lines = []
    for offset, text in enumerate(body.split("\n"), start=1):
        if text and not text.startswith("#"):
            raise LessonError(
                f"{path.name}:{line + offset}: prose lines begin with `# `, this one "
                f"does not: `{text[:40]}`."
            )
        lines.append(text.removeprefix("#").removeprefix(" "))
    return "\n".join(lines).strip("\n")


def _exercises(path, cells):
    exercises, seen = [], {}
    for index, cell in enumerate(cells):
        if cell.role in ("exercise", "answer"):
            _refuse_twice(path, seen, cell)
        if cell.role == "exercise":
            exercises.append(_exercise(path, cells, index))
        elif cell.role == "check":
            _add_check(path, exercises, cell)
        elif cell.role == "mistake":
            _add_mistake(path, exercises, cell)
    for exercise in exercises:
        _require_parts(path, exercise)
    return exercises


def _refuse_twice(path, seen, cell):
    if cell.name in seen:
        raise LessonError(
            f"{path.name}:{cell.line}: the name `{cell.name}` is taken since line "
            f"{seen[cell.name]}; choose another one."
        )
    seen[cell.name] = cell.line


def _exercise(path, cells, index):
    cell, before = cells[index], cells[index - 1]
    if before.role != "prose" or not before.source.startswith("#"):
        raise LessonError(
            f"{path.name}:{cell.line}: exercise `{cell.name}` has no statement; put a "
            "`# %% [markdown]` cell with a heading right before it."
        )
    marks = cell.source.count(BEGIN), cell.source.count(END)
    if marks[0] != marks[1] or marks[0] == 0:
        raise LessonError(
            f"{path.name}:{cell.line}: exercise `{cell.name}` has {marks[0]} "
            f"`{BEGIN}` and {marks[1]} `{END}`; put each reference answer between one "
            "of each."
        )
    return Exercise(cell.name, before, cell)


def _add_check(path, exercises, cell):
    if not exercises or exercises[-1].name != cell.name or exercises[-1].check:
        raise LessonError(
            f"{path.name}:{cell.line}: check `{cell.name}` does not follow its "
            f"exercise; put it after `# %% exercise: {cell.name}`."
        )
    exercises[-1].check = cell


def _add_mistake(path, exercises, cell):
    if not exercises or not exercises[-1].check:
        raise LessonError(
            f"{path.name}:{cell.line}: this mistake stands before any check; put it "
            "after the check of its exercise."
        )
    if not cell.source.startswith('"""'):
        raise LessonError(
            f"{path.name}:{cell.line}: the mistake `{cell.name}` has no explanation; "
            'begin the cell with one in """triple quotes""".'
        )
    exercises[-1].mistakes.append(cell)


def _require_parts(path, exercise):
    line = exercise.answer.line
    missing = None
    if exercise.check is None:
        missing = f"no check; add `# %% check: {exercise.name}, 3 points` after it"
    elif not 1 <= len(exercise.hints) <= MOST_HINTS:
        missing = (
            f"{len(exercise.hints)} hints; write one to three in its statement as "
            "`<details><summary>Hint</summary> ... </details>`"
        )
    elif not exercise.minutes:
        missing = "no time; say in its statement how long it takes, as in `5 minutes`"
    elif len(exercise.mistakes) < LEAST_MISTAKES:
        missing = (
            f"{len(exercise.mistakes)} known mistakes; add `# %% mistake:` cells until "
            f"there are {LEAST_MISTAKES}"
        )
    if missing:
        raise LessonError(
            f"{path.name}:{line}: exercise `{exercise.name}` has {missing}."
        )
