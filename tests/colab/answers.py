"""Reference and known mistakes are judged on Colab as where the keys were made.

There Python, Keras and TensorFlow are others. Run it on a machine with a GPU, too:
`python -m pytest tests/colab/answers.py`.
"""

import pytest

from helpers import runtime
from helpers.checks.judge import judge
from helpers.checks.keys import exercise_key
from helpers.lessons.answers import Trial, base_namespace
from helpers.lessons.paths import SOLUTIONS
from helpers.lessons.script import read

LESSONS = [read(path) for path in sorted(SOLUTIONS.glob("*/*.py"))]
SEED = 1


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_the_reference_gets_full_marks_and_known_mistakes_are_named(lesson):
    base, wrong = base_namespace(lesson), []
    runtime.start()
    for exercise in lesson.exercises:
        key = exercise_key(f"{lesson.number}/{exercise.name}")
        answers = {"reference": exercise.answer.source}
        answers |= {mistake.name: mistake.source for mistake in exercise.mistakes}
        for name, source in answers.items():
            trial = Trial(lesson, exercise, name, source, base)
            verdict = judge(key, {str(SEED): trial.evidence(SEED)})
            named = [mistake["belief"] for mistake in verdict.diagnosis]
            right = verdict.solved if name == "reference" else named == [name]
            if not right:
                wrong.append((key["id"], name, named))
    assert not wrong, "\n".join(map(str, wrong))
