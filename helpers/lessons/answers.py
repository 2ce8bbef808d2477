"""Run a lesson's exercises without Jupyter: stub, reference and known mistakes."""

import ast
import contextlib
import io
import linecache

from nbformat.v4 import new_code_cell

from helpers import runtime
from helpers.checks.evidence import run
from helpers.lessons.script import LessonError

SETTINGS = {  # what a check may override
    "rtol": 1e-4,
    "atol": 1e-5,
    "seconds": 20.0,
    "weights": {},
}


def execute(source, name, namespace):
    """Execute one cell; tracebacks and TensorFlow's AutoGraph see its source."""
    filename = f"<cell {name}>"
    lines = source.splitlines(keepends=True)
    linecache.cache[filename] = (len(source), None, lines, filename)
    exec(compile(source, filename, "exec"), namespace)
    return namespace


def base_namespace(lesson):
    """What the lesson's set-up cell defines: all that an exercise may rest on."""
    runtime.split_cpu()  # lesson 09 needs two CPUs, whatever runs before it
    setup = next(cell for cell in lesson.cells if cell.role == "example")
    with contextlib.redirect_stdout(io.StringIO()):
        return execute(setup.source, f"{lesson.name} set-up", {"__name__": "lesson"})


def stub(source):
    """The learner's starter, exactly as nbgrader makes it from the reference."""
    from nbgrader.preprocessors import ClearSolutions  # Colab has no nbgrader

    cell = new_code_cell(source, metadata={"nbgrader": {"solution": True}})
    cell, _ = ClearSolutions().preprocess_cell(cell, {"language": "python"}, 0)
    return cell.source


def answers(exercise):
    """Name and source of the reference, the stub and every known mistake."""
    yield "reference", exercise.answer.source
    yield "stub", stub(exercise.answer.source)
    for mistake in exercise.mistakes:
        yield mistake.name, mistake.source


IDLE = {  # what an answer that does nothing may return: Python, from its arguments
    "nothing": lambda names: "pass",
    "its first argument": lambda names: f"return {names[0]}" if names else "pass",
    "its last argument": lambda names: f"return {names[-1]}" if names else "pass",
    "zero": lambda names: "return 0.0",
    "one": lambda names: "return 1.0",
    "an empty list": lambda names: "return []",
}


def idle_answers(exercise):
    """Name and source of answers that do nothing and return something simple."""
    starter = stub(exercise.answer.source)
    for name, ending in IDLE.items():
        yield name, ast.unparse(_Idle(ending).visit(ast.parse(starter)))


class _Idle(ast.NodeTransformer):
    """Puts an ending in the place of the gap in every function."""

    def __init__(self, ending):
        self.ending = ending

    def visit_FunctionDef(self, function):
        self.generic_visit(function)
        names = [one.arg for one in function.args.args if one.arg != "self"]
        code = self.ending(names)
        if function.name == "__init__":
            code = "super().__init__()"
        filled = [
            ast.parse(code).body[0] if isinstance(line, ast.Raise) else line
            for line in function.body
        ]
        function.body = filled
        return function


class Trial:
    """One answer to one exercise, ready to yield evidence."""

    def __init__(self, lesson, exercise, name, source, base):
        self.calls = []
        label = f"{lesson.number}/{exercise.name} {name}"
        namespace = {**base, "check": self._check}
        self._define(source, label, namespace, required=name == "reference")
        execute(exercise.check.source, f"{label} check", namespace)
        self._require_one_call(lesson, exercise)

    def _define(self, source, label, namespace, required):
        """Run the answer's cell; one that stops leaves its names undefined."""
        try:
            execute(source, label, namespace)
        except Exception:
            if required:
                raise

    def _check(self, exercise, evidence, **settings):
        self.calls.append((exercise, evidence, {**SETTINGS, **settings}))

    def _require_one_call(self, lesson, exercise):
        names = [name for name, _, _ in self.calls]
        if names != [f"{lesson.number}/{exercise.name}"]:
            raise LessonError(
                f"{lesson.path.name}:{exercise.check.line}: the check cell must call "
                f'`check("{lesson.number}/{exercise.name}", evidence)` once, '
                f"it called {names}."
            )

    @property
    def settings(self):
        return self.calls[0][2]

    def evidence(self, seed):
        """Records for one seed, see `helpers.checks.evidence.run`."""
        return run(self.calls[0][1], seed, seconds=self.settings["seconds"])


def explanation(mistake):
    """The text in triple quotes that a mistake begins with."""
    return ast.get_docstring(ast.parse(mistake.source))
