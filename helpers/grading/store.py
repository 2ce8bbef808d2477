"""Where a grading run keeps what it knows, written so that no crash can damage it.

In the class folder, beside nbgrader's own:

    evidence/LESSON/run.json             the run: lesson digest and secret seeds
    evidence/LESSON/keys/SEEDS.json      what reference and mistakes yield for them
    evidence/LESSON/results/STUDENT.json what a submission's answers yielded
    evidence/LESSON/verdicts/STUDENT.json  what the judge made of it
    evidence/LESSON/repaired/STUDENT/LESSON/LESSON.ipynb  what was executed
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path

REPAIRED = "evidence/repaired"  # below the class folder, as nbgrader's `submitted`
MOST_SUBMITTED = 201 * 2**20  # bytes of a file; the doctor takes 200 MB
MOST_BYTES = 64 * 2**20  # of one stored result; outputs are capped long before


def folder_of(course, lesson, *parts):
    """A path below `evidence/LESSON/` of a class folder."""
    return Path(course, "evidence", lesson, *parts)


def write_json(path, value):
    """Write JSON so that a reader sees the old file or the new one, never a part.

    Raises:
        OSError: where the disk is full or the folder may not be written.
    """
    write_text(path, json.dumps(value, ensure_ascii=False, allow_nan=True))


def fits(value):
    """Whether `read_json` would read this value again."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=True)
    return len(text.encode("utf-8", "backslashreplace")) <= MOST_BYTES


def write_text(path, text):
    """As `write_json`, for text."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path, content):
    """As `write_json`, for bytes.

    Only its owner may read what lies below `evidence/`: it holds secret seeds. All else
    gets the usual mode, so that colleagues and a web server can read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o600 if "evidence" in path.parts else 0o666  # less the umask
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def read_json(path):
    """The dict that `write_json` wrote, or None where nothing of the kind is there."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def submitted(path):
    """The bytes of a submitted file; None where it is none: a link, a pipe, a folder.

    Who hands in a link could choose what we read, and a pipe would never end.
    """
    with contextlib.suppress(OSError):
        if any(part.is_symlink() for part in (path, path.parent, path.parent.parent)):
            return None
        if path.is_file():
            with path.open("rb") as file:
                return file.read(MOST_SUBMITTED)
    return None


def sha256(content):
    """Fingerprint of bytes or text."""
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    return hashlib.sha256(content).hexdigest()


def scratch(course):
    """A folder for temporary files that must not outlive the run."""
    path = Path(course, "evidence", "scratch")
    path.mkdir(parents=True, exist_ok=True)
    return path


def remove_drafts(course):
    """Remove what a killed run left half written, and its temporary files."""
    shutil.rmtree(Path(course, "evidence", "scratch"), ignore_errors=True)
    for kind in (".*.json.*", ".*.ipynb.*"):
        for path in Path(course, "evidence").rglob(kind):
            if path.is_file():
                path.unlink()


def printable(name):
    """A name that can be printed, whatever is in it."""
    return repr(str(name))[1:-1].encode("utf-8", "backslashreplace").decode()
