"""Run a command as an ordinary user, where the tests run as root."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NOBODY = 65534


def run_as_nobody(command, folder=None, **settings):
    """`subprocess.run` of a command list as the user nobody, with a home of its own.

    Python itself may lie below root's home, which nobody may enter: in a mount
    namespace of its own the command then sees a passable folder in its place.
    """
    home = tempfile.mkdtemp(prefix="home-", dir="/tmp")
    os.chown(home, NOBODY, NOBODY)
    kept = ("PATH", "LANG", "PYTHONPATH")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env |= {"HOME": home, "TMPDIR": home}
    drop = [shutil.which("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}"]
    drop += ["--clear-groups", "--", *command]
    steps = [*_passable(home), f"exec {shlex.join(drop)}"]
    whole = ["unshare", "--mount", "sh", "-ec", "\n".join(steps)]
    try:
        return subprocess.run(whole, env=env, cwd=folder or "/", **settings)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def closed_to_others():
    """Folders above Python that other users may not enter, the innermost first."""
    prefixes = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    return [p for path in prefixes for p in path.parents if not p.stat().st_mode & 1]


def _passable(home):
    """Shell commands that make room around Python where others may not enter."""
    steps = []
    for needed in {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}:
        closed = [p for p in needed.parents if not p.stat().st_mode & 1]
        if not closed:
            continue
        kept, top = f"{home}/kept", shlex.quote(str(closed[-1]))
        inside = shlex.quote(str(needed))
        steps += [f"mkdir -p {kept}", f"mount --bind {inside} {kept}"]
        steps += [f"mount -t tmpfs -o mode=755 room {top}", f"mkdir -p {inside}"]
        steps += [f"mount --move {kept} {inside} || mount --bind {kept} {inside}"]
    return steps
