"""Reference and known mistakes are judged on Colab as where the keys were made.

There Python, Keras and TensorFlow are others. Run it on a machine with a GPU, too:
`python -m pytest tests/colab/answers.py`.
"""

import keras
import pytest

from helpers import runtime
from helpers.checks.judge import judge
from helpers.checks.keys import exercise_key
from helpers.lessons.answers import Trial, base_namespace
from helpers.lessons.paths import SOLUTIONS
from helpers.lessons.script import read

LESSONS = [read(path) for path in sorted(SOLUTIONS.glob("*/*.py"))]
SEED = 1


def judged(lesson, exercise, name, source, base):
    key = exercise_key(f"{lesson.number}/{exercise.name}")
    trial = Trial(lesson, exercise, name, source, base)
    verdict = judge(key, {str(SEED): trial.evidence(SEED)})
    return verdict.solved, [mistake["belief"] for mistake in verdict.diagnosis]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_the_reference_gets_full_marks_and_known_mistakes_are_named(lesson):
    base, wrong = base_namespace(lesson), []
    runtime.start()
    for exercise in lesson.exercises:
        answers = {"reference": exercise.answer.source}
        answers |= {mistake.name: mistake.source for mistake in exercise.mistakes}
        for name, source in answers.items():
            found = judged(lesson, exercise, name, source, base)
            if found != ((True, []) if name == "reference" else (False, [name])):
                wrong.append((exercise.name, name, found))
    assert not wrong, "\n".join(map(str, wrong))


def test_to_forget_what_only_colabs_keras_needs_is_named():
    lesson = next(lesson for lesson in LESSONS if lesson.number == "01")
    (one,) = [each for each in lesson.exercises if each.name == "fit_by_batches"]
    source = one.answer.source.replace("model.reset_metrics()", "pass")
    found = judged(lesson, one, "forgotten", source, base_namespace(lesson))
    of_colab = (False, ["each call starts with fresh metrics"])
    assert found == (of_colab if keras.__version__ < "3.15" else (True, []))
