"""From a stored result to marks: the judge's verdicts, kept until they are saved."""

import ast
import hashlib
import json

from helpers.checks.show import as_json
from helpers.grading import judging
from helpers.grading.gradebook import verdict_outputs
from helpers.grading.store import folder_of, read_json, write_json

FATAL = ("damaged", "our fault")


def evidence_prints(lesson):
    """Fingerprint of what each exercise's evidence rests on: check and set-up cell.

    The call of `check` itself is left out: tolerances may change without making kept
    evidence worthless.
    """
    setup = next(cell for cell in lesson.cells if cell.role == "example").source
    return {
        exercise.name: _print(setup + _without_call(exercise.check.source))
        for exercise in lesson.exercises
    }


def _without_call(source):
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not _is_check(node)]
    return ast.dump(tree)


def _is_check(node):
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and getattr(call.func, "id", "") == "check"


def _print(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def judged(keys, references, result, prints):
    """What the judge says of one submission.

    Args:
        keys: dict from an exercise's name to its key.
        references: dict from an exercise's name to what its reference yields for the
            run's secret seed, see `judging.reference_records`.
        result: dict as `execute.run_notebook` gives it, with `prints` of its checks.
        prints: of today's checks; kept evidence of others is not judged.

    Returns:
        A dict for JSON: `exercises` (name -> state, earned, points, diagnosis, ...) and
        `outputs` (id of a check cell -> outputs).
    """
    exercises, outputs = {}, {}
    for name, key in keys.items():
        try:
            verdict, state, reason = _one(key, references[name], name, result, prints)
            shown = verdict_outputs(verdict)
        except Exception as error:  # whatever was sent, the class goes on
            state, reason = "our fault", f"The judge stopped with {error!r}"[:300]
            verdict = judging.empty_verdict(key, state, reason)
            shown = verdict_outputs(verdict)
        told = as_json(verdict)
        exercises[name] = {
            **{part: told[part] for part in ("earned", "points", "promises")},
            "diagnosis": told["diagnosis"],
            "error": told["error"],
            "state": state,
            "reason": reason,
        }
        outputs[f"check-{name}"] = shown
    return {"exercises": exercises, "outputs": outputs}


def _one(key, reference, name, result, prints):
    if result["prints"].get(name) != prints[name]:
        reason = "The check has changed since; grade this submission again."
        return judging.empty_verdict(key, "our fault", reason), "our fault", reason
    sent = result["evidence"].get(key["id"])
    verdict = judging.verdict_on(key, reference, sent)
    state, reason = judging.state_of(verdict, _cut_short(name, result))
    if verdict is None:
        return judging.empty_verdict(key, state, reason), state, reason
    verdict.log = result["logs"].get(key["id"]) or {}
    if (verdict.error or {}).get("type") == "Undefined":
        verdict.error = _why_undefined(name, result) or verdict.error
    return verdict, state, reason


def _why_undefined(name, result):
    """The error at which the answer's own cell stopped, as evidence tells errors."""
    outputs = next((c["outputs"] for c in result["cells"] if c["id"] == name), [])
    for output in outputs:
        if output.get("output_type") == "error":
            told = str(output.get("ename"))[:80], str(output.get("evalue"))[:300]
            return {"type": told[0], "message": told[1], "where": "", "line": ""}
    return None


def _cut_short(name, result):
    """The submission's state as far as it concerns one exercise."""
    cell = next((c for c in result["cells"] if c["id"] == f"check-{name}"), None)
    if cell and cell["status"] == "ran":
        return {"state": "ran", "reason": ""}
    return result


def mark(course, lesson, student, keys, references, prints):
    """Judge one stored result and keep the verdicts.

    Args:
        course: the class folder.
        keys, references: as for `judged`.
        prints: as `evidence_prints` gives them.

    Returns:
        `(verdicts, changed)`: dict, and whether it says something else than what the
        gradebook holds.
    """
    result = read_json(folder_of(course, lesson.name, "results", f"{student}.json"))
    place = folder_of(course, lesson.name, "verdicts", f"{student}.json")
    old = read_json(place) or {}
    new = judged(keys, references, result, prints)
    new["inputs"] = _print(json.dumps([new, result]))
    if old.get("inputs") == new["inputs"] and old.get("saved"):
        return {**old, "before": {"exercises": {}}}, False
    before = old if old.get("saved") else old.get("before") or {}
    new["before"] = {"exercises": before.get("exercises", {})}
    new |= {"trouble": "", "kept": old.get("kept") or {}}
    write_json(place, new)
    return new, True


def note_saved(course, lesson, student, verdicts, trouble, kept):
    """Note that gradebook and feedback hold these verdicts; or why not, in `trouble`.

    Args:
        kept: dict, what a person had given then and to what: `by_hand`, `texts`.

    Returns:
        The verdicts with the note.
    """
    place = folder_of(course, lesson.name, "verdicts", f"{student}.json")
    noted = {**verdicts, "saved": not trouble, "trouble": trouble, "kept": kept}
    write_json(place, noted)
    return noted


def with_persons_points(verdicts):
    """The `exercises` of stored verdicts, with the points that a person set instead."""
    person = (verdicts.get("kept") or {}).get("by_hand") or {}
    return {
        name: _set_by_person(found, person.get(f"check-{name}"))
        for name, found in verdicts["exercises"].items()
    }


def _set_by_person(found, given):
    if not given or (given["points"] is None and not given["extra"]):
        return found
    points = found["earned"] if given["points"] is None else given["points"]
    reason = f"set by hand; the check gave {found['earned']:g}"
    told = {"state": "marked by hand", "reason": reason, "diagnosis": []}
    return {**found, **told, "earned": points + (given["extra"] or 0)}


def trouble_of(result, verdicts):
    """Why marks are not what a whole run would have given: `(state, reason)`, or None.

    Args:
        result, verdicts: dicts as they are stored.
    """
    if verdicts.get("trouble"):
        return "our fault", verdicts["trouble"]
    return None if result["state"] == "ran" else (result["state"], result["reason"])
