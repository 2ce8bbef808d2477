"""The lesson grammar: what is read, and one clear sentence for what is not."""

import pytest

from helpers.lessons.script import LessonError, read

LESSON = '''\
# %% [markdown]
# # A title

# %%
import numpy as np

# %% [markdown]
# ### Exercise: double
#
# Write `double(x)`. 5 minutes.
#
# <details><summary>Hint</summary>
#
# Two times.
#
# </details>

# %% exercise: double
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% check: double, 2 points
def evidence(double, rng):
    yield "doubles", double(rng.normal())

check("07/double", evidence)

# %% mistake: add two
"""Two times, not two more."""
def double(x):
    return x + 2

# %% mistake: square
"""Two times, not to the power of two."""
def double(x):
    return x ** 2

# %% mistake: forget
"""Return something."""
def double(x):
    2 * x

# %% answer: why, 1 point [markdown]
# Because.
'''


@pytest.fixture
def lesson(tmp_path):
    def make(old="", new=""):
        assert old in LESSON
        path = tmp_path / "07_lesson.py"
        path.write_text(LESSON.replace(old, new, 1) if old else LESSON)
        return path

    return make


def test_a_lesson_is_read(lesson):
    found = read(lesson())
    assert found.title == "A title" and found.number == "07"
    (double,) = found.exercises
    assert double.minutes == 5 and double.hints == ["Two times."]
    assert double.check.points == 2
    assert [m.name for m in double.mistakes] == ["add two", "square", "forget"]
    assert found.cells[-1].source == "Because."


def test_rows_are_collected_and_taken_out(lesson):
    path = lesson("import numpy as np", "# rows: A1, B22\nimport numpy as np")
    cell = read(path).cells[1]
    assert cell.rows == ["A1", "B22"] and cell.source == "import numpy as np"
    prose = lesson("# # A title", "# # A title\n# <!-- rows: A5 -->")
    assert read(prose).cells[0].rows == ["A5"]
    assert read(prose).cells[0].source == "# A title"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("# %% exercise: double", "# %% excercise: double", "is not in the grammar"),
        ("# %%\nimport", "# %% setup\nimport", "is not in the grammar"),
        ("double, 2 points", "double", "end it with `, N points`"),
        ("mistake: square", "mistake: square, 2 points", "leave the points out"),
        ("# %% check: double", "# %% check: treble", "does not follow its exercise"),
        ("    ### BEGIN SOLUTION\n", "", "has 0 `### BEGIN SOLUTION` and 1"),
        ("    ### END SOLUTION\n", "", "has 1 `### BEGIN SOLUTION` and 0"),
        ("5 minutes", "soon", "no time; say in its statement how long"),
        ("<summary>Hint</summary>", "Hint", "has 0 hints"),
        ('"""Return something."""\n', "", "has no explanation"),
        ("# %% mistake: forget", "# %% varies: no", "has 2 known mistakes"),
        ("# ### Exercise: double", "# Exercise: double", "has no statement"),
        ("# Because.", "Because.", "prose lines begin with `# `"),
        ("answer: why", "answer: double", "is taken since line 18"),
        ("exercise: double", "exercise: do it", "is not a Python name"),
        ("# # A title", "# A title", "a lesson begins with"),
        ("import numpy as np\n", "", "this cell is empty"),
    ],
)
def test_a_broken_lesson_is_told_in_one_sentence(lesson, old, new, sentence):
    with pytest.raises(LessonError) as error:
        read(lesson(old, new))
    message = str(error.value)
    assert sentence in message
    assert message.startswith("07_lesson.py:") and message.split(":")[1].isdigit()
    assert "\n" not in message and message.endswith(".")


def test_the_named_line_is_the_line_of_the_header(lesson):
    path = lesson("# %% mistake: square", "# %% misteak: square")
    with pytest.raises(LessonError, match=r":(\d+): ") as error:
        read(path)
    line = int(str(error.value).split(":")[1])
    assert path.read_text().splitlines()[line - 1] == "# %% misteak: square"


def test_an_exercise_without_check(lesson):
    start = LESSON.index("# %% check")
    end = LESSON.index("# %% answer")
    with pytest.raises(LessonError, match="has no check; add `# %% check: double"):
        read(lesson(LESSON[start:end], ""))


def test_two_exercises_of_one_name(lesson):
    start = LESSON.index("# %% [markdown]\n# ### Exercise")
    end = LESSON.index("# %% answer")
    twice = LESSON[start:end] * 2
    with pytest.raises(LessonError, match="the name `double` is taken since line"):
        read(lesson(LESSON[start:end], twice))
