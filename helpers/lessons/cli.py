"""The `course` command."""

import argparse
import datetime
import os
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its sums depend on the processor


def main(arguments=None):
    """Run one sub-command; problems are printed as sentences, never as tracebacks."""
    options = _parsed(arguments)
    from helpers.lessons.script import LessonError

    try:
        return options.run(options) or 0
    except LessonError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        if not error.strerror:
            raise
        print(f"{error.filename or 'A file'}: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130  # as shells tell it


def _parsed(arguments):
    """The options; lessons may stand after them, too, which argparse does not allow."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if any(word.startswith("-") for word in rest) or rest and "lessons" not in options:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.lessons = [*options.lessons, *rest]
    return options


def _parser():
    parser = argparse.ArgumentParser("course", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, run, text, lessons="*"):
        sub = commands.add_parser(name, help=text, description=text)
        if lessons:
            sub.add_argument("lessons", nargs=lessons, metavar="LESSON")
        sub.set_defaults(run=run)
        return sub

    build = command("build", _build, "build notebooks and keys from lesson scripts")
    build.add_argument(
        "--solutions",
        action=argparse.BooleanOptionalAction,
        help="whether solution() shows reference answers (else as before)",
    )
    build.add_argument("--force", action="store_true", help="even if nothing changed")
    command("check", _check, "compare the built files with the lesson scripts")
    prove = command("prove", _prove, "prove the checks of all exercises")
    prove.add_argument("--seeds", type=int, default=20, help="how many (default 20)")
    prove.add_argument("--exercise", help="this one only")
    prove.add_argument(
        "--references",
        action="store_true",
        help="only that no reference is refused, where it takes under 50 ms",
    )
    command(
        "work", _work, "copy the notebooks to work/, without touching what is there"
    )
    command("reset", _reset, "a fresh copy of a lesson; the old one is kept", "+")
    text = "before handing in: what must be repaired, what a fresh kernel does not know"
    doctor = command("doctor", _doctor, text, None)
    doctor.add_argument("file", nargs="+", help="a notebook; it is not changed")
    doctor.add_argument("--repaired", default="", help="write a mended copy here")
    command("kernel", _kernel, "install the warm kernels for Jupyter", None)
    _add_grading(command)
    return parser


def _add_grading(command):
    """What a teacher does with a class folder."""
    text = "sort what a learning platform downloaded into a class folder"
    collect = command("collect", _collect, text, None)
    collect.add_argument("folder", help="course folder; made where it is missing")
    collect.add_argument("lesson", metavar="LESSON")
    collect.add_argument("source", help="zip file or folder with all submissions")
    collect.add_argument("--look", action="store_true", help="only say who and what")
    text = "grade a class: doctor, sandbox, judge, nbgrader"
    grade = command("grade", _grade, text, None)
    text = "mark kept evidence anew, without executing"
    judge = command("judge", _judge, text, None)
    report = command("report", _report, "a page on each lesson for the teacher", None)
    text = "write all marks to a table (CSV) for a platform or a spreadsheet"
    marks = command("marks", _marks, text, None)
    for sub in (grade, judge, report, marks):
        sub.add_argument("folder", help="course folder that holds submitted/")
        sub.add_argument("lessons", nargs="*", metavar="LESSON")
    for sub in (grade, judge):
        sub.add_argument("--student", default="", help="this one only")
    marks.add_argument("--to", default="", help="the file to write")
    grade.add_argument("--again", action="store_true", help="even what was executed")
    grade.add_argument("--jobs", type=int, default=0, help="kernels at a time")
    grade.add_argument(
        "--allow", action="append", default=[], help="a safety mechanism to do without"
    )


def _build(options):
    from helpers.lessons import build, pages

    for lesson in build.find(options.lessons):
        done = build.build(lesson, options.solutions, options.force)
        shown = "" if build.shows_solutions(lesson) else ", without solutions"
        print(f"{lesson.name}: {'built' if done else 'unchanged'}{shown}")
    for name in pages.write(build.find()):
        print(f"{name}: written")


def _check(options):
    from tqdm import tqdm

    from helpers.lessons import build, pages

    lessons = build.find(options.lessons)
    bar = tqdm(lessons, desc="All that was built is made again")
    problems = [text for lesson in bar for text in build.drift(lesson)]
    problems += build.stray_files()
    for name in pages.outdated(build.find()):
        problems.append(f"{name} does not fit; mend it with `course build`.")
    print("\n".join(problems) or f"{len(lessons)} lessons: all built files fit.")
    return 1 if problems else 0


def _prove(options):
    from tqdm import tqdm

    from helpers.lessons import build
    from helpers.lessons.answers import base_namespace
    from helpers.lessons.keys import prove, refusals

    failures, count, slow = [], 0, 0
    seeds = range(101, 101 + options.seeds)
    for lesson in build.find(options.lessons):
        base = base_namespace(lesson)
        names = [e for e in lesson.exercises if options.exercise in (None, e.name)]
        for exercise in tqdm(names, desc=lesson.name):
            judge = refusals if options.references else prove
            found = judge(lesson, exercise, base, seeds)
            failures += found or []
            count += found is not None
            slow += found is None
    print("\n".join(failures) or f"{count} exercises hold on {options.seeds} seeds.")
    if slow:
        print(f"{slow} exercises take longer than 50 ms a seed and were left out.")
    return 1 if failures else 0


def _work(options):
    from helpers.lessons import build
    from helpers.lessons.notebooks import NOTEBOOKS, notebook_path
    from helpers.lessons.paths import WORK

    WORK.mkdir(exist_ok=True)
    names = build.released(options.lessons)
    new = [name for name in names if not notebook_path(WORK, name).exists()]
    for name in new:
        target = notebook_path(WORK, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(notebook_path(NOTEBOOKS, name), target)
        print(f"new: {target.relative_to(WORK.parent)}")
    if not new:
        print(f"nothing new: {WORK.name}/ has what you asked for.")


def _reset(options):
    from helpers.lessons import build
    from helpers.lessons.notebooks import notebook_path
    from helpers.lessons.paths import WORK

    for name in build.released(options.lessons):
        target = notebook_path(WORK, name)
        if target.exists():
            stamp = f"{datetime.datetime.now():%Y-%m-%d_%H%M%S}"
            kept = target.with_name(f"{name}_{stamp}.ipynb")
            target.rename(kept)
            print(f"kept: {kept.relative_to(WORK.parent)}")
    _work(options)


def _doctor(options):
    from helpers.grading import checkup

    return checkup.main(options.file, options.repaired)


def _kernel(options):
    from helpers.grading import provisioner

    for name in provisioner.install():
        print(f"kernel {name}: installed")


def _collect(options):
    from helpers.grading import exchange
    from helpers.lessons import build

    (lesson,) = build.find([options.lesson])
    write = not options.look
    found = exchange.collect(options.folder, lesson.name, options.source, write)
    exchange.print_collected(found)
    place = f"{options.folder}/submitted/"
    print(f"Written to {place}." if write else f"Nothing was written to {place} yet.")
    return 0 if found.taken else 1


def _marks(options):
    from pathlib import Path

    from helpers.grading import exchange
    from helpers.lessons import build

    lessons = build.find(options.lessons)
    names = [lesson.name for lesson in lessons]
    asked = [lesson.number for lesson in lessons if options.lessons]
    path = options.to or Path(options.folder, f"{'_'.join(['marks', *asked])}.csv")
    rows = exchange.write_marks(options.folder, path, names)
    print(f"written: {path}, {len(rows)} marks")
    _tell_ungraded(asked, {lesson[:2] for _, lesson, *_ in rows})


def _tell_ungraded(asked, graded):
    if missing := [number for number in asked if number not in graded]:
        print(f"Not graded yet: {', '.join(missing)}.")


def _grade(options):
    from helpers.grading.classroom import Options
    from helpers.grading.sandbox import MECHANISMS
    from helpers.lessons.script import LessonError

    if unknown := set(options.allow) - set(MECHANISMS):
        raise LessonError(
            f"--allow {unknown.pop()}: there is no such mechanism; there are "
            f"{', '.join(MECHANISMS)}."
        )
    wish = Options(
        tuple(options.lessons),
        options.student,
        options.again,
        True,
        options.jobs,
        tuple(options.allow),
    )
    return _graded(options.folder, wish)


def _judge(options):
    from helpers.grading.classroom import Options

    wish = Options(tuple(options.lessons), options.student, execute=False)
    return _graded(options.folder, wish)


def _report(options):
    from pathlib import Path

    from helpers.grading import report
    from helpers.lessons import build
    from helpers.lessons.script import LessonError

    course = Path(options.folder)
    lessons = build.find(options.lessons)
    graded = [lesson for lesson in lessons if report.found(course, lesson)]
    if not graded:
        names = ", ".join(lesson.name for lesson in lessons if options.lessons)
        raise LessonError(
            f"Nothing of {names or 'any lesson'} was graded in {course}; run "
            "`course grade` first."
        )
    for lesson in graded:
        print(f"written: {report.write(course, lesson)}")
    asked = [lesson.number for lesson in lessons if options.lessons]
    _tell_ungraded(asked, {lesson.number for lesson in graded})


def _graded(folder, options):
    from helpers.grading.classroom import grade, print_next, print_table
    from helpers.grading.sandbox import NotIsolated
    from helpers.grading.warm import KernelFailed
    from helpers.lessons.script import LessonError

    try:
        report = grade(folder, options)
    except (NotIsolated, KernelFailed, OSError, KeyboardInterrupt) as error:
        reason = "Ctrl-C." if isinstance(error, KeyboardInterrupt) else error
        told = "Grading has stopped. Nothing is lost: the next run goes on here."
        raise LessonError(f"{reason}\n{told}") from None
    print_table(report)
    print_next(folder, report)
    states = {state for state, _ in report.troubles.values()}
    return 1 if states & {"not graded", "our fault"} else 0


if __name__ == "__main__":
    sys.exit(main())
