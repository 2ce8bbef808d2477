"""Known mistakes are named on Colab, too, with its Python, Keras and TensorFlow.

The keys hold what mistakes yield with the versions of the lock.
"""

import pytest

from helpers.checks.judge import judge
from helpers.checks.keys import exercise_key
from helpers.lessons.answers import Trial, base_namespace
from helpers.lessons.paths import SOLUTIONS
from helpers.lessons.script import read

LESSONS = [read(path) for path in sorted(SOLUTIONS.glob("*/*.py"))]
SEED = 1


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_every_known_mistake_is_named(lesson):
    base, wrong = base_namespace(lesson), []
    for exercise in lesson.exercises:
        key = exercise_key(f"{lesson.number}/{exercise.name}")
        for mistake in exercise.mistakes:
            trial = Trial(lesson, exercise, mistake.name, mistake.source, base)
            verdict = judge(key, {str(SEED): trial.evidence(SEED)})
            named = [known["belief"] for known in verdict.diagnosis]
            if named != [mistake.name] or verdict.earned == verdict.points:
                wrong.append((key["id"], mistake.name, named))
    assert not wrong, "\n".join(map(str, wrong))
