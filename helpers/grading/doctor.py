"""Make a notebook that can be graded out of whatever was handed in.

The released notebook is the skeleton: its checks always, its other cells as the learner
left them. Answers are found by nbgrader's id, by the cell's id, by the name that they
define, or by their place. Cells of the learner's own stay where they were. Every repair
is one sentence; what cannot be read is a problem, and the rest of the class goes on.
"""

import ast
import copy
import difflib
import functools
import re
import warnings
from dataclasses import dataclass, field, replace

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_code_cell, new_markdown_cell

from helpers.grading.reading import DAMAGED, Unreadable, conflict_sides, read_cells

MOST_OWN_CELLS = 5000
MOST_ADDED = 50  # statements of a changed set-up cell that get cells of their own
MOST_OWN = 5_000_000  # characters of all cells of a learner's own together
CHECK = re.compile(r"""\bcheck\(\s*["'](\d\d)/(\w+)["']""")
RUNS_WHAT_FOLLOWS = re.compile(r"%%(time|timeit|capture|prun|python3?)\b")
MAGIC = re.compile(r"(?m)^[ \t]*[!%]|=[ \t]*[!%]")
MOST_MAGIC = 50  # of one cell: IPython takes very long to read more
OUR_GAP = "The file could be read, but the grader has no way to repair it."
NOT_PARSED = (SyntaxError, ValueError, RecursionError, MemoryError, RuntimeError)
OWN_NAMES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass
class Repaired:
    """A notebook that can be executed, and what had to be done to it."""

    notebook: object
    repairs: list = field(default_factory=list)  # sentences, harmless
    flags: list = field(default_factory=list)  # sentences, a teacher may want to look
    problem: str = ""  # why nothing could be read; the notebook is then untouched
    own_prose: list = field(default_factory=list)  # ids of prose that the learner wrote
    origins: dict = field(default_factory=dict)  # id -> the submitted cell behind it


def repair(content, released):
    """Put a submission into the form of the released notebook.

    Args:
        content: bytes of the submitted file, or None where it is no file.
        released: the released notebook (nbformat node); it is not changed.

    Returns:
        A `Repaired`. Whatever `content` is, no exception leaves this function.
    """
    try:
        cells, repairs = read_cells(content)
        if other := _other_lesson(cells, released):
            return Repaired(copy.deepcopy(released), problem=other)
        return _Merge(cells, released, repairs).done()
    except Unreadable as error:
        return Repaired(copy.deepcopy(released), problem=str(error))
    except Exception as error:  # a gap of ours; the class goes on
        return Repaired(copy.deepcopy(released), problem=f"{OUR_GAP} ({error!r:.100})")


def number_of(cells):
    """The number of the lesson that most checks among `cells` belong to, or ""."""
    found = [one[1] for cell in cells for one in CHECK.finditer(cell.source)]
    return max(sorted(set(found)), key=found.count, default="")


def _other_lesson(cells, released):
    """A sentence where another lesson's notebook was handed in."""
    mine, theirs = number_of(released.cells), number_of(cells)
    names = {name for cell in cells for name in cell.names}
    checks = {cell.id for cell in released.cells if _role(cell) == "check"}
    if theirs in ("", mine) or checks & names:
        return ""
    return f"This is the notebook of lesson {theirs}; lesson {mine} was expected."


# Finding the learner's cells


class _Merge:
    """Finds which submitted cell is which released one, and puts them together."""

    def __init__(self, cells, released, repairs):
        self.cells, self.released = cells, copy.deepcopy(released)
        self.flags = [told for told in repairs if told.startswith(DAMAGED)]
        self.repairs = [told for told in repairs if told not in self.flags]
        self.by_id = {cell.id: cell for cell in released.cells}
        self.roles = {cell.id: _role(cell) for cell in released.cells}
        self.wanted = {
            name: _defined(self.by_id[name].source)
            for name, role in self.roles.items()
            if role == "exercise"
        }
        code = [cell.id for cell in released.cells if cell.cell_type == "code"]
        self.set_up = [*code, "", ""][1]  # the cell with the lesson's imports
        self.taken = {}  # id of a released cell -> the submitted one that counts

    def done(self):
        """The `Repaired` notebook.

        Raises:
            Unreadable: where nothing in it is of this lesson.
        """
        for cell in self.cells:
            self._mend_source(cell)
        self._find_by_source()
        self._find_by_id()
        self._split_merged_cells()
        self._find_answers()
        self._find_prose_by_place()
        self._choose()
        if not self.taken:
            raise Unreadable(
                f"This is no notebook of lesson {number_of(self.released.cells)}: none "
                "of its cells was found."
            )
        own_prose = self._put_in()
        self._tell_missing()
        repairs = list(dict.fromkeys(self.repairs))
        made = self.released, repairs, self.flags, "", own_prose, self.taken
        return Repaired(*made)

    def _tell(self, sentence):
        self.repairs.append(sentence)

    def _mend_source(self, cell):
        """Of a merge conflict inside a cell, the side that counts, as in a file."""
        sides = [side.strip("\n") for side in conflict_sides(cell.source) or ()]
        good = [side for side in sides if cell.kind != "code" or _parses(side)]
        if good:
            answered = [side for side in good if not self._is_starter(side)]
            cell.source = (answered or good)[0]
            which = "upper" if cell.source == sides[0] else "lower"
            self._tell(
                f"Cell {cell.number} held a merge conflict; the {which} side counts."
            )

    def _is_starter(self, source):
        """Whether a source is no answer yet."""
        released = {_squeezed(cell.source) for cell in self.released.cells}
        wanted = set().union(*self.wanted.values())
        return _is_stub(source, wanted) or _squeezed(source) in released

    def _find_by_source(self):
        """What stands there as released is what it is, whatever its id says."""
        plain = {}
        for cell in self.released.cells:
            if cell.source.strip():
                plain.setdefault((cell.cell_type, _squeezed(cell.source)), cell.id)
        for cell in self.cells:
            found = plain.get((cell.kind, _squeezed(cell.source)), "")
            alike = [n for n in cell.names if n in self.roles]
            alike = [
                n
                for n in alike
                if self._untouched(cell, n) and self.by_id[n].cell_type == cell.kind
            ]
            cell.where = (alike or [found])[0]

    def _find_by_id(self):
        for cell in self.cells:
            known = [name for name in cell.names if name in self.roles]
            name = known[0] if known else ""
            if cell.where or not name or not cell.source.strip():
                continue
            if self._fits(cell, name):
                cell.where = name
            elif self.roles[name] == "check" and cell.kind != "code":
                cell.where = name
                self.flags.append(f"The type of the check {name} was changed.")
        for cell in self.cells:
            found = CHECK.search(cell.source) if cell.kind == "code" else None
            if not found or cell.where:
                continue
            name = f"check-{found[2]}"
            if self.roles.get(name) == "check":
                own = _defined(cell.source) - _defined(self.by_id[name].source)
                cell.where = "" if own else name  # a helper's cell is no check

    def _fits(self, cell, name):
        """Whether a cell can be the released one whose id it carries."""
        role = self.roles[name]
        if role == "check" and self._answers_in(cell.source):
            return bool(CHECK.search(cell.source)) and cell.kind == "code"
        if role == "exercise" and cell.kind != "code":
            self._take_as_code(cell, name)
        elif role == "answer" and cell.kind == "code":
            cell.kind = "markdown"
            self._tell(f"The answer {name} was in a code cell; it counts as text.")
        wanted = "markdown" if role in ("answer", "prose") else "code"
        return cell.kind == wanted

    def _take_as_code(self, cell, name=""):
        """An answer that is code in a text cell."""
        source = _unfenced(cell.source)
        found = self._answers_in(source) & {name or any_of(self._answers_in(source))}
        if found and _parses(source):
            cell.kind, cell.source = "code", source
            self._tell(
                f"The answer {any_of(found)} was in a text cell; it is code now."
            )

    def _answers_in(self, source):
        """Names of the exercises that a source answers at least in part."""
        found = _defined(source)
        return {name for name, wanted in self.wanted.items() if found & wanted}

    def _split_merged_cells(self):
        """Take what was released out of cells that hold more than that."""
        self._cut_off_prose()
        checks = {
            n: self.by_id[n].source for n, r in self.roles.items() if r == "check"
        }
        for cell in self.cells:
            if self._is_released(cell):
                continue
            for name, source in checks.items():
                if source in cell.source and self._answers_in(cell.source):
                    cell.source = cell.source.replace(source, "").strip("\n")
                    self.cells.append(replace(cell, source=source, where=name))
                    if cell.where == name:
                        cell.where = ""
                    self._tell(
                        f"The check {name} was merged with an answer; it was cut off."
                    )

    def _cut_off_prose(self):
        """A statement that was merged with the code below or above it."""
        prose = [c.source for c in self.released.cells if c.cell_type == "markdown"]
        prose = sorted((text for text in prose if len(text) > 20), key=len)[::-1]
        for cell in self.cells:
            answers = self._answers_in(cell.source)
            if not answers or cell.kind == "code" and _parses(cell.source):
                continue
            rest = functools.reduce(
                lambda text, one: text.replace(one, ""), prose, cell.source
            )
            rest = rest.strip("\n")
            code = rest if _parses(rest) else _code_below(rest)
            if code == cell.source or not self._answers_in(code):
                continue
            self._tell(f"The answer {any_of(answers)} was merged with text.")
            if code == rest:
                cell.kind, cell.source, cell.where = "code", code, ""
            else:
                self.cells.append(replace(cell, kind="code", source=code, where=""))

    def _is_released(self, cell):
        return bool(cell.where) and self._untouched(cell, cell.where)

    def _find_answers(self):
        """The cells that hold an answer, by id, by name, by place."""
        for cell in self.cells:
            if not cell.where and cell.kind != "code":
                self._take_as_code(cell)
        for name, wanted in self.wanted.items():
            claimed = [cell for cell in self.cells if cell.where == name]
            self._join_halves(name, claimed)
            if max((self._worth(c, name) for c in claimed), default=0) >= 3:
                self._free_others(name, claimed)
                continue
            found = self._elsewhere(name, wanted)
            if not found:
                continue
            best = max(found, key=lambda cell: self._worth(cell, name))
            least = max((self._worth(c, name) for c in claimed), default=0)
            if self._worth(best, name) > least:
                self._claim(name, found, claimed)
            else:
                self._claim_rest(name, found, claimed)

    def _claim_rest(self, name, found, claimed):
        """Let cells of the learner's own be what the answer's cell has not."""
        there = set().union(*(_defined(cell.source) for cell in claimed))
        for cell in found:
            if not cell.where and _defined(cell.source) & self.wanted[name] - there:
                cell.where = name

    def _claim(self, name, found, claimed):
        """Let cells from elsewhere be the answer, those of its own cell being less."""
        for cell in claimed:
            if not self._untouched(cell, name):
                cell.where = ""
        self._tell(f"The answer {name} was found by its name.")
        for cell in found:
            if cell.where or len(self._answers_in(cell.source)) > 1:
                self.cells.append(replace(cell, where=name))
            else:
                cell.where = name

    def _elsewhere(self, name, wanted):
        """Cells that define an answer and are not its own, nor as released.

        Each once: a cell with many answers was copied for each that was found in it.
        """
        found = {}
        for cell in self.cells:
            if cell.kind == "code" and _defined(cell.source) & wanted:
                if cell.where != name and not self._is_released(cell):
                    found.setdefault((cell.number, cell.source), cell)
        return list(found.values())

    def _worth(self, cell, name):
        """How much of an answer a cell is: 0 nothing, 3 and more a whole one."""
        if self._untouched(cell, name) or cell.kind != "code":
            return 0
        defined = len(_defined(cell.source) & self.wanted[name])
        if not defined or not _parses(cell.source):
            return 1 if defined else 0
        stub = _is_stub(cell.source, self.wanted[name])
        return 2 if stub or defined < len(self.wanted[name]) else 3

    def _free_others(self, name, claimed):
        """Copies that became something else are the learner's own cells."""
        for cell in claimed:
            if not self._worth(cell, name) and not self._untouched(cell, name):
                cell.where = ""

    def _join_halves(self, name, claimed):
        """An answer that was split in the middle: its parts make code together."""
        first = next((c for c in claimed if not self._untouched(c, name)), None)
        place = self.cells.index(first) if first else len(self.cells)
        for cell in self.cells[place + 1 : place + 4]:
            if cell.kind != "code" or cell.where not in ("", name):
                break
            both = f"{first.source}\n{cell.source}"
            goes_on = cell.source.lstrip("\n")[:1] in (" ", "\t")
            if not _parses(both) or not goes_on and _parses(first.source):
                break
            first.source, cell.source, cell.where = both, "", ""
            self._tell(f"The answer {name} was split; its parts were joined.")

    def _assembled(self, name, copies):
        """The answer out of cells of which none is whole, but all together are."""
        parts = [c for c in copies if _parses(c.source) and self._worth(c, name)]
        last = {}
        for part in parts:
            for found in _defined(part.source) & self.wanted[name]:
                stub = _is_stub(part.source, self.wanted[name])
                if not (stub and found in last):
                    last[found] = part
        used = [part for part in parts if any(part is one for one in last.values())]
        if len(used) < 2 or max(self._worth(part, name) for part in parts) >= 3:
            return None
        self._tell(f"The answer {name} stood in {len(used)} cells; they were joined.")
        return replace(used[-1], source="\n\n".join(one.source for one in used))

    def _find_prose_by_place(self):
        """A written answer that stands beside its cell, or lost it."""
        for name, role in self.roles.items():
            claimed = [cell for cell in self.cells if cell.where == name]
            if role != "answer" or not all(self._untouched(c, name) for c in claimed):
                continue
            if self._cut_off_question(name):
                continue
            beside = self._beside_prompt(name) if claimed else self._between(name)
            found = [c for c in beside if c.source.strip() and not c.where]
            for cell in [c for c in found if not self._is_prose(c)][:1]:
                cell.kind, cell.where = "markdown", name
                self._tell(f"The answer {name} was found by its place.")

    def _cut_off_question(self, name):
        """Whether an answer was typed below the question, in the question's cell."""
        question = self._next_to(name, -1)
        words = self.by_id[question].source.split()
        begin = re.compile(r"\s+".join(map(re.escape, words)))
        for cell in self.cells:
            if cell.kind != "markdown" or cell.where not in ("", question):
                continue
            source = cell.source.strip()
            match = begin.match(source)
            answer = source[match.end() :].strip() if match else ""
            if answer and not self._answers_in(answer):
                cell.where, cell.source = question, match[0]
                self.cells.append(replace(cell, source=answer, where=name))
                self._tell(f"The answer {name} stood in its question's cell.")
                return True
        return False

    def _next_to(self, name, step):
        """The id of the released cell before (-1) or after (1) another."""
        order = [cell.id for cell in self.released.cells]
        return order[order.index(name) + step]

    def _beside_prompt(self, name):
        """Texts of the learner's own directly below or above an untouched prompt."""
        cells = [cell for cell in self.cells if cell.source.strip()]
        pairs = list(zip(cells, cells[1:], strict=False))
        beside = [below for one, below in pairs if one.where == name]
        beside += [one for one, below in pairs if below.where == name]
        return [cell for cell in beside if cell.kind == "markdown"]

    def _is_prose(self, cell):
        """Whether a text is one that was released, in another form."""
        prose = [n for n, role in self.roles.items() if role == "prose"]
        return any(self._asks(cell, name) for name in prose)

    def _between(self, name):
        """Cells between a question and what follows its answer."""
        question, after = self._next_to(name, -1), self._next_to(name, 1)
        pairs = list(zip(self.cells, self.cells[1:], strict=False))
        beside = [below for one, below in pairs if self._asks(one, question)]
        beside += [
            one
            for one, below in pairs
            if below.where == after and one.kind == "markdown"
        ]
        return beside

    def _asks(self, cell, question):
        """Whether a cell is this question, even with some letters damaged."""
        if cell.where or cell.kind != "markdown":
            return cell.where == question
        pair = _squeezed(cell.source), _squeezed(self.by_id[question].source)
        match = difflib.SequenceMatcher(None, *pair, autojunk=False)
        return match.real_quick_ratio() > 0.9 and match.ratio() > 0.9

    # Putting together

    def _choose(self):
        for name, role in self.roles.items():
            copies = [cell for cell in self.cells if cell.where == name]
            if not copies:
                continue
            changed = [c for c in copies if not self._untouched(c, name)]
            if role == "check":
                self._note_check(name, copies, changed)
            best = changed or copies
            if role == "exercise":
                most = max(self._worth(cell, name) for cell in best)
                best = [c for c in best if self._worth(c, name) == most]
                best = self._above_check(best, name)
                joined = self._assembled(name, changed)
                if joined:
                    self.taken[name] = joined
                    continue
            self.taken[name] = best[-1]
            if role in ("exercise", "answer"):
                self._note_copies(name, copies, changed)
            elif role != "check":
                for cell in changed[:-1]:
                    cell.where = ""  # another cell of the learner's own

    def _above_check(self, copies, name):
        """Those with a check of theirs further down, as if all were run in order."""
        checks = [c.number for c in self.cells if c.where == f"check-{name}"]
        last = max(checks, default=0)
        return [cell for cell in copies if cell.number < last] or copies

    def _note_copies(self, name, copies, changed):
        side = self.taken[name].side
        if side and len({cell.side for cell in copies}) > 1:
            self._tell(
                f"The answer {name} is on both sides of a merge conflict; the {side} "
                "side counts."
            )
            return
        copies = changed or copies
        if len({_squeezed(cell.source) for cell in copies}) > 1:
            self._tell(
                f"The answer {name} is there {len(copies)} times; the last that was "
                "changed and is whole counts, and one above its check before one below."
            )
        elif len(copies) > 1:
            self._tell(f"The answer {name} is there {len(copies)} times, all the same.")

    def _note_check(self, name, copies, changed):
        if len(copies) > 1:
            self._tell(f"The check {name} is there {len(copies)} times.")
        released = self.by_id[name].source
        if not all(_same_code(cell.source, released) for cell in changed):
            self.flags.append(f"The check {name} was edited; the released one counts.")

    def _untouched(self, cell, name):
        return _squeezed(cell.source) == _squeezed(self.by_id[name].source)

    def _put_in(self):
        """Fill the released notebook; returns the ids of the learner's prose."""
        own_prose = []
        places = {cell.id: [cell] for cell in self.released.cells}
        for cell in self.released.cells:
            cell.pop("outputs", None) if cell.cell_type != "code" else None
            mine = self.taken.get(cell.id)
            if mine and self.roles[cell.id] == "set-up":
                self._keep_added(cell, mine, places)
            if not mine or self.roles[cell.id] in ("check", "set-up"):
                continue
            if cell.cell_type != "code" and not self._untouched(mine, cell.id):
                own_prose.append(cell.id)
                _paste(cell, mine)
            if cell.id != self.set_up:
                cell.source = mine.source
            elif not self._untouched(mine, cell.id):
                self._keep_set_up(cell, mine, places)
        own_prose += self._put_in_own(places)
        self.released.cells = [
            c for cell in self.released.cells for c in places[cell.id]
        ]
        return own_prose

    def _keep_added(self, cell, mine, places):
        """What a learner wrote into the cell that installs: imports, most of the time.

        Not what installs more: there is no network.
        """
        added = _added(mine.source, cell.source)
        added = [one for one in added if "get_ipython()" not in one]
        if added:
            self._tell("What was added to the first code cell runs after it.")
            own = new_code_cell("\n".join(added), id="own-first")
            places[cell.id].append(own)
            self.taken[own.id] = mine

    def _keep_set_up(self, cell, mine, places):
        """The lesson's imports run in any case, what the learner made of them after."""
        self._tell("The set-up cell was changed; the released one runs before it.")
        added = _added(mine.source, cell.source)
        if not 0 < len(added) <= MOST_ADDED:
            added = [mine.source]
        for number, source in enumerate(added):  # one may stop, the others run
            own = new_code_cell(source, id=f"own-set-up-{number}")
            places[cell.id].append(own)
            self.taken[own.id] = mine

    def _put_in_own(self, places):
        own_prose, number, size = [], 0, 0
        first = {}  # how many own cells stand above the first copy of a released one
        before = self.released.cells[0].id
        for cell in self.cells:
            again = number > first.setdefault(cell.where, number)
            if cell.where and not (again and self.roles[cell.where] == "example"):
                before = cell.where
            elif cell.source.strip() and not _is_solo_check(cell.source):
                number, size = number + 1, size + len(cell.source)
                if number > MOST_OWN_CELLS or size > MOST_OWN:
                    self._tell(f"Only {number - 1} cells of your own were kept.")
                    break
                own = _own_cell(cell, f"own-{number}")
                if cell.kind == "markdown":
                    own_prose.append(own.id)
                places[before].append(own)
                self.taken[own.id] = cell
        return own_prose

    def _tell_missing(self):
        for name, role in self.roles.items():
            if name in self.taken:
                continue
            if role in ("exercise", "answer"):
                self._tell(f"The answer {name} is missing.")
            elif role == "check":
                self._tell(f"The check {name} was missing; it was put back.")


def _added(source, released):
    """Statements of a cell that the released one has not, as text."""
    plain = plain_python(source)
    if plain is None:
        return []
    known = {ast.dump(one) for one in ast.parse(plain_python(released)).body}
    new = [one for one in ast.parse(plain).body if ast.dump(one) not in known]
    return [ast.unparse(one) for one in new]


def _code_below(text):
    """The code that a text ends with, or ""."""
    begin = re.search(r"(?m)^(?:import|from|def|class|@\w+) ?", text)
    code = text[begin.start() :] if begin else ""
    return code if _parses(code) else ""


def _unfenced(text):
    """The code of a text that is one ```block```; else the text."""
    lines = text.strip().split("\n")
    if len(lines) > 2 and lines[0].startswith("```") and lines[-1].strip() == "```":
        return "\n".join(lines[1:-1])
    return text


def any_of(names):
    """One of a set of names, always the same; None where it is empty."""
    return min(names, default=None)


def _role(cell):
    if cell.id == "set-up":
        return "set-up"
    flags = cell.metadata.get("nbgrader", {})
    if flags.get("locked"):
        return "check"
    if flags.get("solution"):
        return "exercise" if cell.cell_type == "code" else "answer"
    return "example" if cell.cell_type == "code" else "prose"


def _own_cell(cell, name):
    make = new_code_cell if cell.kind == "code" else new_markdown_cell
    own = make(cell.source, id=name)
    if cell.kind != "code":
        _paste(own, cell)
    return own


def _paste(cell, submitted):
    """Keep the pictures that were pasted into a text."""
    if submitted.pictures:
        cell.attachments = nbformat.from_dict(submitted.pictures)


def _squeezed(source):
    return re.sub(r"\s+", " ", source).strip()


@functools.lru_cache(10_000)
def plain_python(source):
    """A cell as Python: without what only IPython knows; None where it is neither."""
    if _is_python(source):
        return source
    if source.lstrip().startswith("%%"):
        first, _, rest = source.lstrip().partition("\n")
        return plain_python(rest) if RUNS_WHAT_FOLLOWS.match(first) else ""
    if len(MAGIC.findall(source)) > MOST_MAGIC:
        return None
    try:
        changed = TransformerManager().transform_cell(source)
    except NOT_PARSED:
        return None
    return changed if _is_python(changed) else None


def _is_python(source):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd in it, is the learner's
            ast.parse(source)
        return True
    except NOT_PARSED:
        return False


def _parses(source):
    return plain_python(source) is not None


def _same_code(one, other):
    """Whether two cells differ in comments and spaces at most."""
    plain = plain_python(one), plain_python(other)
    return None not in plain and len({ast.dump(ast.parse(text)) for text in plain}) == 1


def _statements(block):
    """All statements of a block, those inside `if`, `try`, `with` and loops, too."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        for one in getattr(block, name, []):
            yield one
            if not isinstance(one, OWN_NAMES):
                yield from _statements(one)


@functools.lru_cache(10_000)
def _defined(source):
    """Names that a cell makes outside of functions; by eye where it does not parse."""
    plain = plain_python(source)
    if plain is None:
        return frozenset(re.findall(r"(?m)^(?:async +)?(?:def|class)\s+(\w+)", source))
    names = set()
    for one in _statements(ast.parse(plain)):
        if isinstance(one, OWN_NAMES):
            names.add(one.name)
        if isinstance(one, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in one.names}
        targets = one.targets if isinstance(one, ast.Assign) else []
        targets = [one.target] if isinstance(one, ast.AnnAssign) else targets
        inside = [part for target in targets for part in ast.walk(target)]
        inside = [part for part in inside if isinstance(part, ast.Name)]
        names |= {part.id for part in inside if isinstance(part.ctx, ast.Store)}
    return frozenset(names)


def _is_stub(source, wanted):
    """Whether one of the wanted functions still comes to the starter's line.

    An answer may well have it in a comment, in a branch, in a helper or after `return`.
    """
    plain = plain_python(source)
    if plain is None:
        return bool(re.search(r"(?m)^\s*raise NotImplementedError\(\)\s*$", source))
    tree = ast.parse(plain)
    found = [one for one in _statements(tree) if isinstance(one, OWN_NAMES)]
    found = [one for one in found if one.name in wanted]
    methods = [m for one in found if isinstance(one, ast.ClassDef) for m in one.body]
    bodies = [one.body for one in (*found, *methods) if isinstance(one, OWN_NAMES)]
    return any(_comes_to_starter_line(body) for body in (tree.body, *bodies))


def _comes_to_starter_line(body):
    ends = (one for one in body if isinstance(one, ast.Raise | ast.Return))
    first = next(ends, None)
    return first is not None and _is_starter_line(first)


def _is_starter_line(statement):
    return isinstance(statement, ast.Raise) and ast.unparse(statement) == (
        "raise NotImplementedError()"
    )


def _is_solo_check(source):
    """Whether a cell does nothing but call a check: it would be run twice."""
    return bool(re.fullmatch(r"\s*check\([^()]*\)\s*", source))


def as_text(notebook):
    """The notebook as it is written to a file."""
    return nbformat.writes(notebook, version=4)
