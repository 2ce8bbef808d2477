"""One lesson of one class on its way: doctor, execute, judge, gradebook, feedback.

Executors only write results; judge and gradebook are in the hands of one process. All
steps are kept by content, so that a run that was stopped goes on where it was.
"""

import collections
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import partial

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGraderAPI
from sqlalchemy.exc import DBAPIError, SAWarning
from tqdm import tqdm
from traitlets.config import PyFileConfigLoader

from helpers.grading import gradebook, judging, marking, store, warm, workers
from helpers.grading.execute import Settings
from helpers.grading.sandbox import Limits, allowed
from helpers.lessons import build, notebooks
from helpers.lessons.paths import ROOT, SOLUTIONS
from helpers.lessons.script import LessonError

TRIES, PAUSE = 6, 5  # for a gradebook that another program has locked; seconds
MOST_SECONDS = 120.0  # for one of nbgrader's steps on one submission
CONCERNS_ALL = re.compile(r"\[Errno |sqlalchemy\.exc|sqlite3\.")  # disk, gradebook
NO_EVIDENCE = "it was not executed yet, or that is gone: run `course grade`"
STOPPED = "nothing is lost, the run goes on where it was."


class Locked(Exception):
    """The gradebook is in the hands of another program just now."""


class NotTaken(Exception):
    """nbgrader could not take one submission; the others go on."""


@contextlib.contextmanager
def _clock(bar):
    """Let the bar's clock run on a terminal while a submission takes its time."""
    done = threading.Event()

    def tick():
        while not done.wait(1):
            bar.refresh()

    ticking = threading.Thread(target=tick, daemon=True)
    if sys.stderr.isatty():
        ticking.start()
    try:
        yield
    finally:
        done.set()


class LessonRun:
    """Grades the submissions of one lesson.

    Args:
        course: the class folder.
        lesson: a `script.Lesson`.
        options: `classroom.Options`.
        report: `classroom.Report`, filled as marks come.
    """

    def __init__(self, course, lesson, options, report):
        self.course, self.lesson = course, lesson
        self.options, self.report = options, report
        self.digest = build.digest(lesson)
        built = build.built_key(lesson) or {}
        if built.get("digest") != self.digest:
            raise LessonError(
                f"The notebooks of {lesson.name} do not fit its script, so they cannot "
                f"be graded by it. Mend it with `course build {lesson.name}`."
            )
        self.prints = marking.evidence_prints(lesson)
        self.keys = {key["id"].split("/")[1]: key for key in built["exercises"]}
        self.references = References(course, lesson, self.digest)
        self.api = NbGraderAPI(config=class_config(course))

    def path(self, *parts):
        return store.folder_of(self.course, self.lesson.name, *parts)

    def result(self, one):
        return store.read_json(self.path("results", f"{one.student}.json"))

    def _tell_damaged(self):
        """Say which of our own files are no longer as they were written."""
        places = ("run.json", "results/*.json", "verdicts/*.json", "keys/*.json")
        for path in (path for place in places for path in self.path().glob(place)):
            if store.read_json(path) is None:
                name = path.relative_to(self.course)
                tqdm.write(f"{name} is damaged; what it held is made anew.", sys.stderr)
                path.unlink()

    def grade(self, found):
        """Bring these submissions to their marks."""
        self._tell_damaged()
        todo = [one for one in found if self.options.execute and self._is_new(one)]
        others = [one for one in found if one not in todo]
        kept = [one for one in others if self.result(one)]
        for one in (one for one in others if one not in kept):
            self.report.troubles[one.student, one.lesson] = "not graded", NO_EVIDENCE
        seeds = self._open(todo)
        needed = {self._seeds(one) for one in kept} | {seeds}
        with self.references.made_for(needed - {()}):
            _patiently(partial(gradebook.create, self.course))
            self._finish_all(todo, kept, seeds)
        self._close(todo)

    def _finish_all(self, todo, kept, seeds):
        """Finish each as soon as it can be judged; executing does not wait for that."""
        ready = collections.deque()
        total, name = len(todo) + len(kept), self.lesson.name
        with tqdm(total=total, desc=name) as bar, _clock(bar):
            for one in self._in_order(todo, kept, seeds):
                ready.append(one)
                while ready and self.references.are_made(self._seeds(ready[0])):
                    self._finish(ready.popleft())
                    bar.update()
            for one in ready:
                self._finish(one)
                bar.update()

    def _seeds(self, one):
        return tuple(self.result(one)["seeds"])

    # Executing

    def _is_new(self, one):
        old = None if self.options.again else self.result(one)
        return (
            old is None
            or old["submission"] != store.sha256(store.submitted(one.path) or b"")
            or old["prints"] != self.prints
            or old["state"] == "our fault"
        )

    def _open(self, todo):
        """The run's secret seeds: those of a run that was stopped, or new ones."""
        if not todo:
            return ()
        run = store.read_json(self.path("run.json")) or {}
        if not (run.get("open") and run.get("digest") == self.digest):
            run = {"digest": self.digest, "seeds": judging.new_seeds(), "open": True}
            store.write_json(self.path("run.json"), run)
        return tuple(run["seeds"])

    def _close(self, todo):
        run = store.read_json(self.path("run.json"))
        if todo and run:
            store.write_json(self.path("run.json"), {**run, "open": False})

    def _in_order(self, todo, kept, seeds):
        """Each submission as soon as its result is there."""
        yield from kept
        if not todo:
            return
        hide = (str(self.course),)
        limits = allowed(Limits(hide=hide, allow=tuple(self.options.allow)))
        jobs = min(self.options.jobs or os.cpu_count(), len(todo))
        with warm.private() as path:
            settings = Settings(seeds=seeds, limits=limits, warm_path=path)
            work = workers.execute_all(self.course, todo, self.prints, settings, jobs)
            for one in work:
                self.report.executed += 1
                yield one

    # Judge, gradebook, feedback

    def _finish(self, one):
        result = self.result(one)
        references = self.references.get(tuple(result["seeds"]))
        found = marking.mark(
            self.course, self.lesson, one.student, self.keys, references, self.prints
        )
        verdicts, changed = found
        verdicts = self._saved(one, result, verdicts, changed)
        manual = {}
        if not verdicts["trouble"]:
            manual = _patiently(partial(self._manual, one))
        self.report.add(one, result, verdicts, manual)

    def _saved(self, one, result, verdicts, changed):
        """Bring to gradebook and feedback what is new; the verdicts as noted then."""
        person, trouble = self._by_person(one), ""
        kept = verdicts.get("kept") or {}
        try:
            if changed or not self._is_saved(one):
                self._register()
                _patiently(partial(self._nbgrader, self.api.autograde, one))
                self._keep_read(one, result, person, kept)
            elif person == kept.get("by_hand"):
                return verdicts
            _patiently(partial(self._nbgrader, self.api.generate_feedback, one))
        except NotTaken as error:  # one student's trouble, not the class's
            trouble = f"{error}. The gradebook does not hold these marks; grade again."
        if not trouble:
            kept = {"by_hand": self._by_person(one), "texts": self._texts(one, result)}
        return marking.note_saved(
            self.course, self.lesson, one.student, verdicts, trouble, kept
        )

    def _by_person(self, one):
        """What a person gave or wrote, see `gradebook.by_person`."""
        read = partial(gradebook.by_person, self.course, self.lesson.name, one.student)
        return _patiently(read)

    def _texts(self, one, result):
        """Fingerprints of what a person read, by the names of cells."""
        place = self.course / store.REPAIRED / one.student / one.lesson
        cells = notebooks.read(place / f"{one.lesson}.ipynb").cells
        return {
            cell.id: store.sha256(cell.source)
            if cell.cell_type == "markdown"
            else result["submission"]
            for cell in cells
            if cell.metadata.get("nbgrader", {}).get("grade")
        }

    def _keep_read(self, one, result, person, kept):
        """What a person has marked and did not change since need not be read again."""
        old, now = kept.get("texts") or {}, self._texts(one, result)
        same = [name for name in now if name in person and old.get(name) == now[name]]
        read = [name for name in same if not person[name]["to read"]]
        book = partial(gradebook.set_read, self.course, self.lesson.name, one.student)
        _patiently(partial(book, read))

    def _is_saved(self, one):
        """Whether marks and feedback still lie where they were put."""
        places = [
            self.course / step / one.student / self.lesson.name / self.lesson.name
            for step in ("autograded", "feedback")
        ]
        try:
            _patiently(partial(self._manual, one))
        except MissingEntry:
            return False
        kinds = zip(places, (".ipynb", ".html"), strict=True)
        return all(place.with_suffix(kind).exists() for place, kind in kinds)

    def _register(self):
        """Enter the lesson into the gradebook, unless it is there as it is today."""
        run = store.read_json(self.path("run.json")) or {}
        if run.get("registered") == self.digest and _patiently(self._is_known):
            return
        # nbgrader's formgrader lists what has a folder here.
        (self.course / "source" / self.lesson.name).mkdir(parents=True, exist_ok=True)
        make = partial(self.api.generate_assignment, self.lesson.name, force=True)
        _patiently(partial(_done, make, f"the lesson {self.lesson.name}"))
        store.write_json(self.path("run.json"), {**run, "registered": self.digest})

    def _is_known(self):
        with Gradebook(f"sqlite:///{self.course / 'gradebook.db'}") as book:
            try:
                return bool(book.find_assignment(self.lesson.name).notebooks)
            except MissingEntry:
                return False

    def _nbgrader(self, step, one):
        """One of nbgrader's own steps for one submission."""
        call = partial(step, one.lesson, one.student, force=True)
        _done(call, f"{one.student}, {one.lesson}", students_own=True)

    def _manual(self, one):
        """What a person grades: dict from name to (points or None, most, state)."""
        names = {cell.name for cell in self.lesson.cells if cell.role == "answer"}
        with Gradebook(f"sqlite:///{self.course / 'gradebook.db'}") as book:
            submission = book.find_submission(one.lesson, one.student)
            return {
                grade.name: _by_hand(grade)
                for notebook in submission.notebooks
                for grade in notebook.grades
                if grade.name in names
            }


def _by_hand(grade):
    """Points (None: nobody gave any yet), the most there are, the state in words."""
    if grade.manual_score is not None:
        again = "; changed since, to be read again" if grade.needs_manual_grade else ""
        return grade.manual_score, grade.max_score, f"marked by hand{again}"
    if grade.needs_manual_grade:
        return None, grade.max_score, "to be read by a person"
    return grade.auto_score, grade.max_score, "nothing written"


def _done(step, on_what, students_own=False):
    """Take one of nbgrader's steps.

    Raises:
        Locked: where the gradebook is locked.
        NotTaken: where it is `students_own`, and fails for no reason of the machine.
        LessonError: one sentence, for all others.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # of nbgrader's, and for nobody
        with _ctrl_c_after():
            outcome = _in_time(step) if students_own else step()
    if "database is locked" in str(outcome) and not outcome["success"]:
        raise Locked
    if outcome["success"]:
        return
    if students_own and not CONCERNS_ALL.search(str(outcome)):
        raise NotTaken(f"nbgrader failed: {_last(outcome)}")
    raise LessonError(
        f"nbgrader failed on {on_what}: {_last(outcome)}. Mend that and grade again: "
        + STOPPED
    )


def _in_time(step):
    """What a step returns, or its failure: some pages would take hours to make."""

    def stop(*_):
        raise TimeoutError(f"it took more than {MOST_SECONDS:g} seconds")

    if threading.current_thread() is not threading.main_thread():
        return step()
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        return step()
    except TimeoutError as error:
        return {"success": False, "error": f"TimeoutError: {error}"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _ctrl_c_after():
    """Hold a Ctrl-C back till the end: nbgrader takes it for a student's failure."""
    came = []
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _patiently(work):
    """What `work()` returns, tried again while the gradebook is locked.

    Raises:
        LessonError: one sentence, where it stays locked or cannot be used at all.
    """
    for _ in range(TRIES):
        try:
            return work()
        except Locked:
            pass
        except DBAPIError as error:
            if "database is locked" not in str(error.orig):
                raise LessonError(
                    f"The gradebook cannot be used: {error.orig}. Mend that, or put a "
                    f"copy in its place, and grade again: {STOPPED}"
                ) from None
        time.sleep(PAUSE)
    raise LessonError(
        "The gradebook is locked by another program. Close it and grade again: "
        + STOPPED
    )


def _last(outcome):
    text = outcome.get("log") or outcome.get("error") or "no reason given"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or ["no reason given"])[-1][:300]


class References:
    """What the references yield for secret seeds, found in processes of their own."""

    def __init__(self, course, lesson, digest):
        self.course, self.lesson, self.digest = course, lesson, digest
        self.makers, self.known = {}, {}

    def _path(self, seeds):
        name = store.sha256(f"{self.digest} {seeds}")[:16]
        return store.folder_of(self.course, self.lesson.name, "keys", f"{name}.json")

    @contextlib.contextmanager
    def made_for(self, needed):
        """Run them beside the body; nothing is left running behind it.

        Args:
            needed: sets of seeds, each a tuple.
        """
        try:
            for seeds in needed:
                self.start(seeds)
            yield
        finally:
            for maker in self.makers.values():
                maker.kill()
                maker.communicate()

    def start(self, seeds):
        """Begin to run the references for `seeds`, unless it was done."""
        path = self._path(seeds)
        if path.exists():
            return
        command = [sys.executable, "-m", "helpers.grading.judging", self.lesson.name]
        scratch = store.scratch(self.course)
        secret = [str(seed) for seed in seeds if seed != judging.PUBLIC]
        quiet = {"COURSE_PROGRESS": "off", "TF_CPP_MIN_LOG_LEVEL": "3"}
        quiet |= {"TF_ENABLE_ONEDNN_OPTS": "0", "TMPDIR": str(scratch)}
        self.makers[seeds] = subprocess.Popen(
            [*command, str(path), *secret],
            cwd=ROOT,
            env={**os.environ, **quiet},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def are_made(self, seeds):
        """Whether `get` need not wait."""
        maker = self.makers.get(seeds)
        return seeds in self.known or maker is None or maker.poll() is not None

    def get(self, seeds):
        """Records by exercise for `seeds`; waits for them.

        Raises:
            LessonError: where the lesson's own answers do not run.
        """
        if seeds not in self.known:
            found, said = self._made(seeds)
            if found is None and not said:  # it was killed: not the lesson's fault
                found, said = self._made(seeds)
            if found is None:
                raise LessonError(
                    f"The references of {self.lesson.name} could not be run: "
                    f"{_last({'log': said})} Try `course prove {self.lesson.number}`."
                )
            self.known[seeds] = found
        return self.known[seeds]

    def _made(self, seeds):
        """Records, or None; and what was said where they could not be made."""
        if seeds not in self.makers:
            self.start(seeds)
        said = ""
        if seeds in self.makers:
            said = self.makers[seeds].communicate()[1]
            del self.makers[seeds]
        return store.read_json(self._path(seeds)), said


def class_config(course):
    """The project's nbgrader settings, for a class that lives in `course`."""
    config = PyFileConfigLoader("nbgrader_config.py", path=str(ROOT)).load_config()
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.source_directory = str(SOLUTIONS)
    config.CourseDirectory.release_directory = "release"
    return gradebook.configured(config, course)
