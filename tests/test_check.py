"""The learner's `check`: every kind of answer gets a verdict, none gets out."""

import pytest

from helpers import checks
from helpers.checks import check
from helpers.lessons import build
from helpers.lessons.answers import Trial, answers, base_namespace


@pytest.fixture(autouse=True)
def no_progress(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "off")


@pytest.fixture(scope="module")
def lesson():
    return build.find(["00"])[0]


@pytest.fixture(scope="module")
def namespace(lesson):
    return base_namespace(lesson)


@pytest.fixture
def judged(lesson, namespace, capsys):
    """Points and printed verdict for an answer to the exercise `holdout`."""
    exercise = next(e for e in lesson.exercises if e.name == "holdout")

    def judge(source):
        trial = Trial(lesson, exercise, "answer", source, namespace)
        name, evidence, _ = trial.calls[0]
        points = check(name, evidence)
        return points, capsys.readouterr().out

    judge.answers = dict(answers(exercise))
    return judge


def answer(body):
    return f"def holdout(x, y, frac, seed):\n    {body}\n"


def test_the_reference(judged):
    points, text = judged(judged.answers["reference"])
    assert points == 3.0 and "✔ 00/holdout solved: 3 of 3 points" in text
    assert repr(points) == "3.0" and "3 of 3 points" in points._repr_html_()


def test_the_stub(judged):
    points, text = judged(judged.answers["stub"])
    assert points == 0.0 and "not attempted yet" in text


def test_a_mistake_is_named_and_explained(judged):
    points, text = judged(judged.answers["the tail is a fair sample"])
    assert 0 < points < 3
    assert "You assumed: the tail is a fair sample" in text


def test_partial_credit(judged):
    points, _ = judged(judged.answers["the seed is a constant"])
    assert points == 2.66  # eight of nine promises, never rounded up


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return x", "ValueError"),
        ("return None", "TypeError"),
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
        ("return undefined", "line 2 of your cell: `return undefined`"),
        ("exit()", "it asked Python to exit"),
        ("raise KeyboardInterrupt", "interrupted"),
        ("return (n for n in iter(int, 1))", "✘"),
        ("return np.zeros((4, 1 << 25)), y, x, y", "✘"),
        ("return x * np.nan, y, x * np.nan, y", "✘"),
        ("return x, y, 'abc', y", "✘"),
        ("print('peek', len(x)) or 1 / 0", "peek"),
        ("raise NotImplementedError('later')", "NotImplementedError"),
    ],
)
def test_odd_answers_get_a_verdict_in_plain_words(judged, body, words):
    points, text = judged(answer(body))
    assert points < 3 and words in text.replace("\n", " ")
    assert "Traceback" not in text and "00/holdout" in text
    assert judged(judged.answers["reference"])[0] == 3.0  # the next check works


@pytest.mark.parametrize("source", ["", "x = 1 / 0", "holdout = 3", "def holdout(): 1"])
def test_undefined_and_uncallable_answers(judged, source):
    points, text = judged(source)
    assert points == 0.0 and "Traceback" not in text


def test_undefined_says_what_to_do(judged):
    _, text = judged("")
    assert "`holdout` is not defined. Run the cell above" in text


@pytest.mark.parametrize("name", ["00/nothing", "nothing", "44/holdout"])
def test_an_unknown_exercise_is_told(name, capsys):
    assert check(name, lambda rng: None) == 0.0
    assert "There is no exercise" in capsys.readouterr().out


def test_while_a_class_is_graded_evidence_goes_to_the_grader(monkeypatch, capsys):
    got = []
    monkeypatch.setattr(checks, "grading", lambda *arguments: got.append(arguments))
    assert checks.check("00/scale", evidence_of_nothing, rtol=1, seconds=3) is None
    assert got == [("00/scale", evidence_of_nothing, 3)]
    checks.hint("00/scale")
    checks.solution("00/scale")
    assert capsys.readouterr().out.count("no hints and no solutions") == 2


def evidence_of_nothing(rng):
    yield "nothing", 0
