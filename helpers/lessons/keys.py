"""Answer keys: what reference and known mistakes yield for a few public seeds."""

import json
import statistics
import time

import numpy as np

from helpers.checks.judge import judge, record_difference
from helpers.checks.keys import KEYS
from helpers.lessons.answers import (
    Trial,
    answers,
    base_namespace,
    explanation,
    idle_answers,
)
from helpers.lessons.script import BEGIN, END, LessonError

PUBLIC_SEEDS = (1, 2)
EXTRA_SEEDS = (3, 4, 5)
COMPARED = 4  # seeds, to find promises that do not depend on the seed
HEAD = ("lesson", "title", "can", "answers")  # of a lesson's key, before its exercises
RUN_TWICE = 3  # seeds on which the proof also shows that evidence is repeatable


def lesson_key(lesson, solutions=True, progress=iter):
    """The key of a lesson as a dict that can be written as JSON.

    Args:
        lesson: a `script.Lesson`.
        solutions: whether `solution(...)` may show the reference answers.
        progress: wraps the list of exercises, for a progress bar.
    """
    base = base_namespace(lesson)
    exercises = [
        exercise_key(lesson, exercise, base, PUBLIC_SEEDS, solutions)
        for exercise in progress(lesson.exercises)
    ]
    return {**lesson_head(lesson), "exercises": exercises}


def lesson_head(lesson):
    """A lesson's key without its exercises."""
    return {
        "lesson": lesson.name,
        "title": lesson.title,
        "can": lesson.can,
        "answers": [
            {"name": cell.name, "points": cell.points}
            for cell in lesson.cells
            if cell.role == "answer"
        ],
    }


def exercise_key(lesson, exercise, base, seeds, solutions=True):
    """The key of one exercise for the given seeds.

    Raises:
        LessonError: where the reference does not run, or a promise cannot be judged.
    """
    trials = _trials(lesson, exercise, base, answers)
    idle = _trials(lesson, exercise, base, idle_answers)
    return make_key(lesson, exercise, trials, idle, seeds, solutions)[0]


def _trials(lesson, exercise, base, kind):
    return {
        name: Trial(lesson, exercise, name, source, base)
        for name, source in kind(exercise)
    }


def make_key(lesson, exercise, trials, idle, seeds, solutions=True):
    """The key of one exercise, and the records of every mistake: `(key, records)`.

    Args:
        trials, idle: dicts from a name to its `Trial`, of `answers` and `idle_answers`.
    """
    reference = trials["reference"]
    extra = [seed for seed in EXTRA_SEEDS if seed not in seeds]
    records = {
        seed: _reference_records(lesson, exercise, reference, seed)
        for seed in (*seeds, *extra[: max(0, COMPARED - len(seeds))])
    }
    key = {
        "id": f"{lesson.number}/{exercise.name}",
        "title": exercise.title,
        "points": exercise.check.points,
        "minutes": exercise.minutes,
        "hints": exercise.hints,
        "solution": shown_solution(exercise) if solutions else None,
        **reference.settings,
        "promises": [record["label"] for record in records[seeds[0]]],
    }
    key["weights"] = _weights(lesson, exercise, key)
    key["fixed"] = _fixed(key, list(records.values())[:COMPARED])
    key["seeds"] = {str(seed): records[seed] for seed in seeds}
    key["idle"] = _idle(key, idle)
    wrong = {
        mistake.name: {seed: trials[mistake.name].evidence(seed) for seed in seeds}
        for mistake in exercise.mistakes
    }
    key["mistakes"] = [
        {
            "belief": mistake.name,
            "explanation": explanation(mistake),
            "seeds": _symptoms(key, wrong[mistake.name]),
        }
        for mistake in exercise.mistakes
    ]
    return key, wrong


def _reference_records(lesson, exercise, trial, seed):
    where = f"{lesson.path.name}:{exercise.answer.line}: the reference of "
    records = trial.evidence(seed)
    for record in records:
        error = record.get("error")
        if "label" not in record:
            raise LessonError(
                f"{where}`{exercise.name}` stops on seed {seed}: {error['type']}: "
                f"{error['message']} ({error['line']})."
            )
        if "not data" in json.dumps(record.get("value")):
            raise LessonError(
                f"{where}`{exercise.name}` yields {record['value']['not data']} for "
                f"`{record['label']}`; yield numbers, text, lists or dicts."
            )
        record.pop("given", None)
        if error:  # keep what is compared
            record["error"] = {"type": error["type"], "message": error["message"]}
    if records and all("error" in record for record in records):
        raise LessonError(
            f"{where}`{exercise.name}` keeps no promise on seed {seed}; all stop with "
            f"an error, the first one with {records[0]['error']['type']}."
        )
    return records


def _weights(lesson, exercise, key):
    """How many times each promise counts, in the order of the promises."""
    for label, weight in key["weights"].items():
        if label not in key["promises"] or not 0 < weight < float("inf"):
            raise LessonError(
                f"{lesson.path.name}:{exercise.check.line}: the weight {label!r}: "
                f"{weight!r} of `{exercise.name}` is not a number above 0 for one of "
                f"its promises, which are: {', '.join(key['promises'])}."
            )
    return [key["weights"].get(label, 1) for label in key["promises"]]


def _fixed(key, runs):
    """Indices of the promises whose evidence is the same for every seed."""
    return [
        index
        for index in range(len(key["promises"]))
        if _is_flag(runs[0][index])
        or all(not record_difference(runs[0][index], run[index], key) for run in runs)
    ]


def _idle(key, trials):
    """Indices of the promises that answers keep which do nothing at all."""
    return sorted(
        {
            index
            for trial in trials.values()
            for seed in list(key["seeds"])[: len(PUBLIC_SEEDS)]
            for index, (expected, record) in enumerate(
                zip(key["seeds"][seed], trial.evidence(int(seed)), strict=False)
            )
            if "label" in record and not record_difference(expected, record, key)
        }
    )


def _is_flag(record):
    """Evidence compared by a flag-like rule can be guessed whatever the seed."""
    value = record.get("value")
    return isinstance(value, dict) and value.get("compare") == "equal or not"


def _symptoms(key, records):
    return {str(seed): _symptoms_of(key, records[seed], seed) for seed in records}


def _symptoms_of(key, records, seed):
    symptoms = {}
    last = records[-1] if records and "label" not in records[-1] else None
    for index, expected in enumerate(key["seeds"][str(seed)]):
        record = records[index] if index < len(records) else last
        if record is None:
            record = {"error": {"type": "not reached", "message": ""}}
        if record_difference(expected, record, key):
            symptoms[str(index)] = _kept(record)
    return symptoms


def _kept(record):
    if "error" in record:
        return {"error": {name: record["error"][name] for name in ("type", "message")}}
    return {"value": record["value"]}


def shown_solution(exercise):
    """What `solution(...)` shows: the reference answer without nbgrader's markers."""
    lines = exercise.answer.source.split("\n")
    return "\n".join(line for line in lines if line.strip() not in (BEGIN, END))


def write_key(key, digest):
    """Write a lesson's key to `helpers/keys/`, one exercise a line."""
    head = {"digest": digest, **{name: key[name] for name in HEAD}}
    lines = [json.dumps(exercise, ensure_ascii=False) for exercise in key["exercises"]]
    text = json.dumps(head, ensure_ascii=False)[:-1]
    text += ', "exercises": [\n' + ",\n".join(lines) + "\n]}\n"
    path = KEYS / f"{key['lesson']}.json"
    path.write_text(text, encoding="utf-8")
    return path


def key_difference(old, new):
    """Why two keys of a lesson differ, or "". Numbers are compared as numbers.

    The new one may hold more seeds.
    """
    names = [[exercise["id"] for exercise in key["exercises"]] for key in (old, new)]
    if names[0] != names[1]:
        return "the exercises"
    for first, second in zip(old["exercises"], new["exercises"], strict=True):
        found = _exercise_difference(first, second)
        if found:
            return f"{found} of `{first['id']}`"
    heads = [{name: key.get(name) for name in HEAD} for key in (old, new)]
    return "" if heads[0] == heads[1] else "the title, the end or the written answers"


def _exercise_difference(old, new):
    for name in new:
        if name == "solution" and old[name] is None:  # built with --no-solutions
            continue
        if name not in ("seeds", "mistakes") and old[name] != new[name]:
            return f"the {name}"
    texts = [
        [(m["belief"], m["explanation"]) for m in key["mistakes"]] for key in (old, new)
    ]
    if texts[0] != texts[1]:
        return "the mistakes"
    for seed, records in old["seeds"].items():
        if not _same_records(dict(enumerate(records)), new["seeds"][seed], new):
            return "the reference's evidence"
    for one, two in zip(old["mistakes"], new["mistakes"], strict=True):
        for seed, symptoms in one["seeds"].items():
            if not _same_records(symptoms, two["seeds"][seed], new):
                return f"the evidence of the mistake `{two['belief']}`"
    return ""


def _same_records(old, new, tolerance):
    new = new if isinstance(new, dict) else dict(enumerate(new))
    return old.keys() == new.keys() and not any(
        record_difference(old[index], new[index], tolerance) for index in new
    )


# The proof


def prove(lesson, exercise, base, seeds, built=None):
    """Failures of an exercise's proof, as sentences; an empty list where it holds.

    On every seed: the stub earns nothing, the reference everything, every mistake less
    than everything, and each mistake is diagnosed as itself and nothing else. On the
    first seeds all of them run twice: evidence must not change from run to run; and
    answers that do nothing earn nothing.

    Args:
        built: the exercise's key as `course build` wrote it, for some of the seeds; it
            must not differ from what is found now.
    """
    trials = _trials(lesson, exercise, base, answers)
    idle = _trials(lesson, exercise, base, idle_answers)
    key, wrong = make_key(lesson, exercise, trials, idle, seeds)
    failures = []
    changed = _exercise_difference(built, key) if built else ""
    if changed:
        failures.append(f"the built key differs in {changed}; run `course build`")
    if len({*key["fixed"], *key["idle"]}) == len(key["promises"]):
        failures.append("every promise can be guessed, or kept by doing nothing")
    for seed in seeds[:RUN_TWICE]:
        for name, trial in idle.items():
            earned = judge(key, {str(seed): trial.evidence(seed)}).earned
            if earned:
                failures.append(f"seed {seed}: returning {name} earns {earned:g}")
    for place, seed in enumerate(seeds):
        for name, trial in trials.items():
            if name in wrong and place >= RUN_TWICE:
                records = wrong[name][seed]
            else:
                records = trial.evidence(seed)
            problem = _problem(name, judge(key, {str(seed): records}))
            if problem:
                failures.append(f"seed {seed}: {problem}")
    return [f"{key['id']}: {failure}" for failure in failures]


def refusals(lesson, exercise, base, seeds, most_seconds=0.05):
    """Seeds on which a check would refuse its own reference, as sentences.

    Returns:
        None where one run takes longer than `most_seconds` (median of five).
    """
    trial = Trial(lesson, exercise, "reference", exercise.answer.source, base)
    key = {"id": f"{lesson.number}/{exercise.name}", **trial.settings}
    begin = [time.perf_counter()]
    for seed in list(seeds)[:5]:
        trial.evidence(seed)
        begin.append(time.perf_counter())
    if statistics.median(np.diff(begin)) > most_seconds:
        return None
    found = []
    for seed in seeds:
        once = _reference_records(lesson, exercise, trial, seed)
        again = trial.evidence(seed)
        broken = [
            f"{one['label']}: {record_difference(one, two, key)}"
            for one, two in zip(once, again, strict=True)
            if record_difference(one, two, key)
        ]
        if broken:
            found.append(f"{key['id']}: seed {seed}: the reference breaks {broken}")
    return found


def _problem(name, verdict):
    beliefs = [mistake["belief"] for mistake in verdict.diagnosis]
    if name == "reference":
        broken = [f"{p.label}: {p.difference}" for p in verdict.promises if not p.held]
        return f"the reference breaks {broken}" if broken else ""
    if name == "stub":
        return f"the stub earns {verdict.earned} points" if verdict.earned else ""
    if verdict.solved or verdict.earned >= verdict.points:
        return f"the mistake `{name}` gets full marks"
    if beliefs != [name]:
        return f"the mistake `{name}` is diagnosed as {beliefs}"
    return ""
