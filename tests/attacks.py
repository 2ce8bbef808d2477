"""Attacks on the sandbox, from inside; run as a script, by whichever user.

    python tests/attacks.py

prints one JSON object: what each attack got. `test_sandbox.py` says what is right.
"""

import json
import os
import socket
import sys
import tempfile
import textwrap
import time
from dataclasses import replace
from pathlib import Path

from nbformat.v4 import new_code_cell, new_notebook

from helpers.grading import execute, sandbox, warm
from helpers.lessons.paths import ROOT

SET_UP = """
import ctypes, glob, os, resource, signal, socket, subprocess, sys, threading, time
import numpy as np
from helpers.checks import check
libc = ctypes.CDLL(None, use_errno=True)

def call(*arguments):
    if libc.syscall(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "done"

def write(path):
    with open(path, "w") as file:
        file.write("was here")
    return "written"

def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as client:
        client.settimeout(3)
        client.connect(address)
        client.send(b"hello")
    return "connected"
"""
MARK = "987654.25"  # seconds of a `sleep` that tells our left-over processes apart

# name: body of a function. A refusal is an exception; else what it returns is judged.
ATTEMPTS = {
    # what must not be read
    "keys": "return os.listdir({course!r} + '/helpers/keys')",
    "key": "return open({course!r} + '/helpers/keys/00_warm_up.json').read()[:50]",
    "solutions": "return os.listdir({course!r} + '/solutions')",
    "tests": "return os.listdir({course!r} + '/tests')",
    "course": "return sorted(os.listdir({course!r}))",
    "peer": "return open({folder!r} + '/submitted/peer.ipynb').read()",
    "gradebook": "return open({folder!r} + '/gradebook.db').read()",
    "hidden in Python's folder": "return open({inside!r}).read()",
    "shadow": "return open('/etc/shadow').read()[:20]",
    "machine's users": "return len(open('/etc/passwd').readlines())",
    "any such file": """
        names = {{"shadow", "gradebook.db", "00_warm_up.py", "00_warm_up.json",
                  "00_warm_up.ipynb", "peer.ipynb", "id_rsa"}}
        return [path for path, _, files in os.walk("/") for name in files
                if name in names and not ("/proc/" in path or "nbgrader" in path)]""",
    "symbolic link": """
        os.symlink({folder!r}, "/scratch/link")
        return os.listdir("/scratch/link")""",
    "hard link": "os.link('/usr/bin/env', '/scratch/env'); return 'linked'",
    "up from the root": "return os.listdir('/proc/1/root' + {folder!r})",
    "dot dot": "return os.listdir('/../../../..' + {folder!r})",
    "raw disk": """
        os.mknod("/scratch/disk", 0o60600, os.makedev(254, 0))
        return open("/scratch/disk", "rb").read(10)""",
    "kernel's log": "call(103, 3, ctypes.create_string_buffer(99), 99); return 'read'",
    # the processes around it
    "processes": """
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())""",
    "parent": "os.kill({parent}, 0); return 'there'",
    "parent's memory": "return open('/proc/{parent}/mem', 'rb').read(1)",
    "process 1": "os.kill(1, signal.SIGKILL); return 'sent'",
    "everybody": "os.kill(-1, signal.SIGKILL); return 'sent'",
    "ptrace": "return call(101, 16, 1, 0, 0)",
    "other memory": "return call(310, 1, None, 0, None, 0, 0)",
    "secrets in the environment": """
        word = "TOP" + "SECRET"
        texts = [str(dict(os.environ))]
        for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
            texts.append(open(path, errors="replace").read())
        return any(word in text for text in texts)""",
    "secrets in memory": """
        word, found = ("TOP" + "SECRET").encode(), 0
        own = open("/proc/self/mem", "rb", 0)
        for line in open("/proc/self/maps"):
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            if " rw-p " in line and end - begin < 2**28:
                own.seek(begin)
                try:
                    found += own.read(end - begin).count(word + b"=")
                except OSError:
                    pass
        return found""",
    "open files": """
        kept = [os.readlink(path) for path in glob.glob("/proc/self/fd/*")
                if os.path.islink(path)]
        known = ("socket:", "pipe:", "anon_inode:", "/dev/", "/proc/")
        return [name for name in kept if not name.startswith(known)]""",
    "other process's files": """
        return [os.readlink(path) for path in glob.glob("/proc/1/fd/*")
                if not os.readlink(path).startswith(("socket:", "/dev/null"))]""",
    "host name": "return socket.gethostname()",
    # the network
    "loopback": "return connect(socket.AF_INET, ('127.0.0.1', {port}))",
    "loopback 6": "return connect(socket.AF_INET6, ('::1', {port}))",
    "internet": "return connect(socket.AF_INET, ('1.1.1.1', 443))",
    "datagram": """
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        return client.sendto(b"x", ("8.8.8.8", 53))""",
    "abstract socket": "return connect(socket.AF_UNIX, chr(0) + {abstract!r})",
    "socket file": "return connect(socket.AF_UNIX, {folder!r} + '/door')",
    "warm process": "return connect(socket.AF_UNIX, {warm!r}, socket.SOCK_SEQPACKET)",
    "vsock": "return connect(40, (2, 1024))",
    "packets": "socket.socket(17, socket.SOCK_RAW, 3); return 'open'",
    "new network device": """
        import fcntl
        fcntl.ioctl(os.open("/dev/net/tun", os.O_RDWR), 0x400454CA, bytes(40))
        return "made" """,
    # what must not be written
    "write /usr": "return write('/usr/x')",
    "write /etc": "return write('/etc/x')",
    "write /": "return write('/x')",
    "write /dev": "return write('/dev/x')",
    "write Python": "return write(os.path.dirname(np.__file__) + '/x')",
    "write helpers": "return write({course!r} + '/helpers/x')",
    "write class": "return write({folder!r} + '/x')",
    "core pattern": "return write('/proc/sys/kernel/core_pattern')",
    "own memory score": "return write('/proc/self/oom_score_adj')",
    "sysrq": "return write('/proc/sysrq-trigger')",
    "chmod": "os.chmod('/usr/bin/env', 0o4777); return 'changed'",
    # new rights
    "capabilities": """
        lines = open("/proc/self/status").read().split("\\n")
        found = dict(line.split(":") for line in lines if ":" in line)
        wanted = ("CapEff", "CapPrm", "CapInh", "CapAmb", "NoNewPrivs", "Seccomp")
        return [int(found[name], 16) for name in wanted]""",
    "root": "os.setuid(0); return os.getuid()",
    "su": """
        done = subprocess.run(["su", "-c", "id"], capture_output=True, timeout=20)
        return "uid=0" in done.stdout.decode()""",
    "new user": "return call(272, 0x10000000)",
    "new mounts": "return call(272, 0x20000)",
    "clone with new user": "return call(56, 0x10000000 | 17, 0, 0, 0, 0)",
    "clone3": "return call(435, None, 0)",
    "mount": "return call(165, b'none', b'/scratch', b'tmpfs', 0, None)",
    "uncover the keys": "return call(166, {course!r}.encode() + b'/helpers/keys', 2)",
    "make writable": "return call(165, b'none', b'/usr', None, 4096 | 32, None)",
    "new mount calls": "return call(430, b'tmpfs', 0)",
    "other namespace": "return call(308, os.open('/proc/1/ns/net', os.O_RDONLY), 0)",
    "chroot": "os.mkdir('/scratch/r'); os.chroot('/scratch/r'); return 'done'",
    "bpf": "return call(321, 0, ctypes.create_string_buffer(64), 64)",
    "keyring": "return call(250, 0, -3, 1)",
    "io_uring": "return call(425, 8, ctypes.create_string_buffer(120))",
    "32-bit calls": "return call(0x40000000 | 39)",
    "lease": """
        import fcntl
        with open(json.__file__) as file:
            return fcntl.fcntl(file, 1024, 1)""",
    "inotify": "return call(294, 0)",
    "more memory": """
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1)); return "raised" """,
    "more processes": """
        resource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999)); return "raised" """,
    "terminal": "return os.open('/dev/tty', os.O_RDWR)",
    # more than its share
    "disk": """
        taken, error = 0, ""
        for place in ("/scratch", "/tmp", "/dev/shm"):
            try:
                with open(place + "/big", "wb", 0) as file:
                    for _ in range(400):
                        taken += file.write(bytes(2**20))
            except OSError as problem:
                error = problem.strerror
        for place in ("/scratch", "/tmp", "/dev/shm"):
            os.remove(place + "/big")
        return [taken >> 20, error]""",
    "files": """
        os.mkdir("/scratch/many")
        number = 0
        try:
            for number in range(100_000):
                open("/scratch/many/%d" % number, "w").close()
        except OSError as error:
            return [number < 20_000, error.strerror]
        finally:
            subprocess.run(["rm", "-r", "/scratch/many"])""",
    "memory without owner": "os.memfd_create('x'); return 'made'",
    "shared memory": "return call(29, 0, 2**30, 0o1600)",
    "its sockets' folder": """
        with open("/room/x", "wb", 0) as file:
            for _ in range(1000):
                file.write(bytes(4096))
        return "filled" """,
    "link in its sockets' folder": """
        os.symlink("/usr", "/room/usr"); return os.listdir("/room/usr")""",
}

# A cell that cuts the line on which it gets its orders, a moment after it has replied.
CUT = """
def cut():
    time.sleep(0.3)
    for number in os.listdir("/proc/self/fd"):
        try:
            line = socket.socket(fileno=os.dup(int(number)))
            if line.getsockname() == "/room/k-1":
                line.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
threading.Thread(target=cut).start()
"""

# name: source of a cell that takes the kernel with it, or tries to
DEADLY = {
    "os._exit": "os._exit(3)",
    "kill -9": "os.kill(os.getpid(), signal.SIGKILL)",
    "abort": "os.abort()",
    "segmentation fault": "ctypes.string_at(1)",
    "quit": "quit()",
    "SystemExit": "raise SystemExit(1)",
    "memory": "kept = [np.ones(2**22) for _ in range(100)]",
    "memory of many": """
        for _ in range(8):
            if os.fork() == 0:
                kept = np.ones(2**23)
                time.sleep(60)
                os._exit(0)
        time.sleep(60)""",
    "many sessions": """
        for _ in range(40):
            if os.fork() == 0:
                os.setsid()
                time.sleep(60)
                os._exit(0)
        time.sleep(60)""",
    "memory in sockets": """
        import socket
        for _ in range(8):
            if os.fork() == 0:
                kept = []
                for _ in range(480):
                    kept += socket.socketpair()
                    for one in kept[-2:]:
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
                        one.setblocking(False)
                        one.send(bytes(2**17))
                time.sleep(60)
                os._exit(0)
        time.sleep(60)""",
    "one huge array": "np.ones(2**36)",
    "endless": """
        while True:
            try:
                time.sleep(0.01)
            except BaseException:
                pass""",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "mute": "os.closerange(3, 500)",
    "50 MB line": "print('a' * 50_000_000)",
    "50 MB of lines": "print('a\\n' * 25_000_000)",
    "50 MB page": """
        from IPython.display import HTML, display
        display(HTML("a" * 50_000_000))""",
    "50 MB raw message": """
        shell = get_ipython()
        content = {"name": "stdout", "text": "a" * 50_000_000}
        kernel, parent = shell.kernel, shell.parent_header
        super(type(kernel.session), kernel.session).send(
            kernel.iopub_socket, "stream", content, parent=parent)""",
    "flood": """
        kernel, parent = get_ipython().kernel, get_ipython().parent_header
        content = {"name": "stdout", "text": "a" * 100_000}
        while True:
            super(type(kernel.session), kernel.session).send(
                kernel.iopub_socket, "stream", content, parent=parent)""",
    "message without an end": """
        lines = []
        for number in os.listdir("/proc/self/fd"):
            try:
                line = socket.socket(fileno=os.dup(int(number)))
                if line.getsockname() == "/room/k-2":
                    line.getpeername()
                    lines.append(line)
            except OSError:
                pass
        lines[0].setblocking(True)
        part = bytes([3]) + (2**20).to_bytes(8, "big") + bytes(2**20)
        for _ in range(20_000):
            lines[0].sendall(part)""",
    "link in place of its socket": """
        os.remove("/room/k-1")
        os.symlink("/scratch/x", "/room/k-1")""",
    "malformed messages": """
        import json
        shell = get_ipython()
        session, socket_ = shell.kernel.session, shell.kernel.iopub_socket
        header = session.msg_header("display_data")
        header = json.dumps(header, default=str).encode()
        parent = json.dumps(shell.parent_header["header"], default=str).encode()
        deep = b"[" * 100_000 + b"]" * 100_000
        wrong = [
            [b"[]", parent, b"{}", b"{}"], [header, b"[]", b"{}", b"{}"],
            [header, parent, b"{}", b"null"], [header, parent, b"{}", deep],
            [deep, deep, deep, deep], [b"", b"", b"", b""], [header], [],
            [header, parent, b"{}", b'{"data": [1]}'],
            [header, parent, b"{}", b'{"data": {"text/plain": {"a": 1}}}'],
            [header, parent, b"{}", b'{"data": {"text/html": null}, "transient": 3}'],
            [header, parent, b"{}", b'{"data": {"%s": 5}}' % EVIDENCE],
            [header, parent, b"{}", b'{"data": {"%s": {"seed": []}}}' % EVIDENCE],
            [b'{"msg_type": ["a"], "msg_id": {}}', parent, b"{}", b"{}"],
            [b'{"msg_type": "stream", "msg_id": 1}', parent, b"{}", b'{"name": 4}'],
            [b'{"msg_type": "error", "msg_id": 1}', parent, b"{}", b"{}"],
            [b'{"msg_type": "status", "msg_id": 2}', parent, b"{}", b"{}"],
            [b'{"msg_type": "clear_output", "msg_id": 3}', parent, b"{}", b"{}"],
            [b'{"msg_type": "comm_open", "msg_id": 4}', parent, b"{}", b"{}"],
            [b'{"msg_type": "update_display_data", "msg_id": 5}', parent, b"{}",
             b'{"transient": {"display_id": []}, "data": {}}'],
        ]
        for parts in wrong:
            session.send_raw(socket_, parts, ident=b"stream")
        socket_.send_multipart([b"no", b"delimiter"])
        socket_.send_multipart([b""])
        time.sleep(0.5)
        print("sent")""",
    "forged": """
        import json
        from IPython.display import display
        for seed in (1, 2):
            text = json.dumps([{"label": "forged", "value": 1}])
            data = {"exercise": "07/right", "seed": seed, "records": text}
            display({EVIDENCE.decode(): data}, raw=True)""",
    "evidence that nobody can write": """
        kind, way_out, done = EVIDENCE.decode(), get_ipython().display_pub, []
        real = way_out.publish
        def publish(data=None, *rest, **more):
            if kind not in (data or {}):
                return real(data, *rest, **more)
            if done:
                return None
            done.append(True)
            texts = ["[" * 500 + "]" * 500, '[{"label": %s}]' % ("9" * 4000), "[1", "3",
                     '[{"a": ' * 40 + "1" + "}]" * 40, '["text"]', "[]", None]
            sent = {"exercise": data[kind]["exercise"], "seed": 1}
            for text in texts:
                real({kind: {**sent, "records": text, "log": 3}}, *rest, **more)
            half = '[{"label": "' + chr(92) + 'ud800"}]'
            real({kind: {**sent, "records": half, "log": [3]}}, *rest, **more)
        way_out.publish = publish""",
    "half a character": "text = '\ud800'\nprint(len(text))",
    "own check": """
        def check(*arguments, **settings):
            return 100.0""",
    "no module of mine": """
        for name in ("numpy", "helpers", "json", "inspect"):
            with open(name + ".py", "w") as file:
                file.write("raise SystemExit('shadowed')")""",
    "interrupt itself": "os.kill(os.getpid(), signal.SIGINT); time.sleep(1)",
    "bomb": """
        def bomb():
            while True:
                try:
                    os.fork()
                except OSError:
                    pass
        if os.fork() == 0:
            bomb()""",
    "processes": """
        for started in range(1000):
            subprocess.Popen(["sleep", "MARK"])""",
    "a program that starts slowly": """
        taken = bytearray(200 * 2**20)
        os.mkfifo("door")
        subprocess.Popen(["sh", "-c", "sleep 1; : > door"])
        wait = [(os.POSIX_SPAWN_OPEN, 9, "door", os.O_RDONLY, 0)]
        os.posix_spawn("/bin/true", ["true"], {}, file_actions=wait)""",
    "sockets beside a copy": """
        kept = [socket.socketpair() for _ in range(250)]
        if os.fork() == 0:
            time.sleep(1)
            os._exit(0)
        os.wait()""",
    "detached": """
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.execvp("sleep", ["sleep", "MARK"])
            os._exit(0)
        os.wait()""",
    "hook at exit": """
        import atexit
        atexit.register(lambda: time.sleep(1000))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)""",
    "end of life": "get_ipython().kernel.do_shutdown(False); get_ipython().ask_exit()",
}


def check_cell(name):
    """A check cell as it is released: prints two lines of evidence."""
    flags = {"grade": True, "locked": True, "solution": False, "points": 2}
    source = f"""\
def evidence({name}, rng):
    x = rng.normal(size=3)
    yield "twice", {name}(x)


check("07/{name}", evidence)"""
    metadata = {"nbgrader": {**flags, "grade_id": f"check-{name}"}}
    return new_code_cell(source, metadata=metadata)


def attempt(body, targets):
    """A cell that prints what an attempt got, or how it was refused."""
    body = textwrap.indent(textwrap.dedent(body.format(**targets)), "    ")
    return new_code_cell(f"""\
def attempt():
{body}

import json
try:
    print(json.dumps({{"got": attempt()}}, default=str))
except BaseException as error:
    print(json.dumps({{"refused": f"{{type(error).__name__}}: {{error}}"}}))""")


def one_by_one(targets, settings):
    """All attempts in one kernel, which must survive them."""
    cells = [new_code_cell(SET_UP), *(attempt(b, targets) for b in ATTEMPTS.values())]
    answer = "def right(x):\n    return 2 * x"
    cells += [new_code_cell(answer), check_cell("right")]
    result = execute.run_notebook(new_notebook(cells=cells), settings)
    found = {}
    for name, cell in zip(ATTEMPTS, result["cells"][1:], strict=False):
        text = "".join(o["text"] for o in cell["outputs"] if "text" in o)
        try:
            found[name] = json.loads(text.strip().split("\n")[-1])
        except ValueError:
            found[name] = {"broken": [cell["status"], text[:500], cell["outputs"][:1]]}
    return {"attempts": found, "after": result | {"cells": []}}


def deadly(source, settings):
    """A notebook with one earned exercise before the attack, and one after it."""
    kind = f"EVIDENCE = {execute.EVIDENCE!r}.encode()\n"
    cells = [
        new_code_cell(SET_UP + kind),
        new_code_cell("def before(x):\n    return 2 * x"),
        check_cell("before"),
        new_code_cell(textwrap.dedent(source.replace("MARK", MARK))),
        new_code_cell("def right(x):\n    return 2 * x"),
        check_cell("right"),
    ]
    result = execute.run_notebook(new_notebook(cells=cells), settings)
    size = len(json.dumps(result, ensure_ascii=False, indent=1).encode())
    outputs = result["cells"][3]["outputs"]
    result["cells"] = [cell["status"] for cell in result["cells"]]
    return result | {"size": size, "outputs": json.dumps(outputs)[:3000]}


def left_over():
    """Command lines of processes that an attack has left behind."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if MARK in path.read_bytes().decode(errors="replace").split("\0"):
                found.append(path.parts[2])
        except OSError:
            continue
    return found


def write_targets(folder):
    """A class folder with things to steal, and somebody who listens."""
    (folder / "submitted").mkdir()
    (folder / "submitted" / "peer.ipynb").write_text("the answer of a peer")
    (folder / "gradebook.db").write_text("marks")
    listeners = [socket.create_server(("127.0.0.1", 0))]
    for name in (f"\0door-{os.getpid()}", os.fspath(folder / "door")):
        listeners.append(socket.socket(socket.AF_UNIX))
        listeners[-1].bind(name)
        listeners[-1].listen()
    return listeners


def main(names):
    """Run all attempts, and all deadly attacks or those named; print what they got."""
    os.environ["TOPSECRET"] = "TOPSECRET=in-the-environment"
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as place, warm.private() as path:
        folder = Path(place)
        listeners = write_targets(folder)
        inside = os.path.dirname(json.__file__) + "/__init__.py"
        inside = inside.replace("json/__init__", "antigravity")
        targets = {
            "course": os.fspath(ROOT),
            "folder": place,
            "inside": inside,
            "parent": os.getpid(),
            "port": listeners[0].getsockname()[1],
            "abstract": f"door-{os.getpid()}",
            "warm": os.fspath(path),
        }
        limits = sandbox.Limits(memory=700 * 2**20, hide=(place, inside))
        settings = execute.Settings(limits=limits, cell_seconds=20, warm_path=path)
        found = one_by_one(targets, settings)
        found["deadly"] = {}
        for name in names or DEADLY:
            slow = ("memory", "sessions", "processes")
            seconds = 30 if any(word in name for word in slow) else 2
            quick = replace(settings, cell_seconds=seconds, check_seconds=20)
            found["deadly"][name] = deadly(DEADLY[name], quick)
        written = sorted(str(item.relative_to(place)) for item in folder.rglob("*"))
    found |= {"written": written, "left over": left_over(), "uid": os.getuid()}
    found["gone"] = not path.exists()
    found["seconds"] = round(time.monotonic() - begin, 1)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
