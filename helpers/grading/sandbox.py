"""Shut a learner's code in: no network, no files, no processes but its own.

A sandboxed kernel has its own mount tree (what Python needs, to read; one scratch
folder in memory, to write), its own network without any device, its own process ids
and no rights. It is made after the fork from the warm process and before the first
line of learners' code. An ordinary user gets all this from a user namespace. Root
becomes, once everything is mounted, a user that owns nothing.

Linux only, through the C library: Python 3.11 has no `unshare` and no `mount`.
"""

import contextlib
import ctypes
import functools
import json
import os
import platform
import resource
import site
import socket
import struct
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOM = "/room"  # where the kernel's sockets lie, inside
SCRATCH = "/scratch"
NOBODY = 65534
FIRST_USER = 1_800_000_000  # as root: ids that no person has; each kernel gets its own

NEW_TIME, NEW_MOUNTS, NEW_CGROUP, NEW_UTS = 0x80, 0x20000, 0x2000000, 0x4000000
NEW_IPC, NEW_USER, NEW_PIDS, NEW_NET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
ANY_NEW = NEW_TIME | NEW_MOUNTS | NEW_CGROUP | NEW_UTS
ANY_NEW |= NEW_IPC | NEW_USER | NEW_PIDS | NEW_NET

READ_ONLY, NO_SUID, NO_DEVICES, NO_EXEC, REMOUNT = 1, 2, 4, 8, 32
NO_SYMLINKS, BIND, RECURSIVE, PRIVATE, DETACH = 256, 4096, 16384, 1 << 18, 2

ENVIRONMENT = ("bin", "lib", "lib64", "include", "share", "etc", "pyvenv.cfg")
MECHANISMS = {
    "files": "hide the files of this machine from a submission",
    "network": "cut a submission off the network",
    "processes": "end every process that a submission leaves behind",
    "calls": "refuse system calls that no exercise needs",
}
HELP = {
    "apparmor": "This system lets only programs with a profile do that: run "
    "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or grade as root.",
    "container": "In a container, start it with `--security-opt seccomp=unconfined "
    "--security-opt systempaths=unconfined` (or `--privileged`), or grade outside it.",
    "kernel": "It needs Linux 5.12 or newer on an x86-64 or ARM64 processor.",
}


@dataclass(frozen=True)
class Limits:
    """What a kernel may take.

    memory: bytes of all its processes together; it is killed beyond that.
    disk: bytes of its scratch folder, which lies in memory, too.
    processes: processes and threads at a time; further ones fail to start.
    hide: folders and files that must not be seen, even where Python needs a folder
        around them. Keys and solutions of this course are always hidden.
    allow: names out of `MECHANISMS` that may be missing.
    """

    memory: int = 3 * 2**30
    disk: int = 256 * 2**20
    processes: int = 150
    hide: tuple = ()
    allow: tuple = ()

    def plain(self):
        """As a dict that JSON can hold."""
        return asdict(self)


libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    """Call a function of the C library; -1 becomes an `OSError`."""
    plain = [
        item.encode() if isinstance(item, str) else item
        for item in (os.fspath(a) if isinstance(a, Path) else a for a in arguments)
    ]
    result = getattr(libc, name)(
        *[ctypes.c_long(item) if isinstance(item, int) else item for item in plain]
    )
    if result == -1:
        number = ctypes.get_errno()
        shown = ", ".join(str(argument) for argument in arguments)
        raise OSError(number, f"{name}({shown}): {os.strerror(number)}")
    return result


def control(option, value=0):
    """`prctl` with one value."""
    return call("prctl", option, value, 0, 0, 0)


def die_with_parent(number):
    """Ask for signal `number` when the process that forked this one ends."""
    control(1, number)


# Leaving the machine's namespaces: the first steps, still outside


def leave(allow=()):
    """Give up this machine's network, processes and mounts.

    The next child is process 1 of a new world. Must run in a process of one thread.
    """
    user, group = os.getuid(), os.getgid()
    wanted = NEW_MOUNTS | NEW_IPC | NEW_UTS
    wanted |= 0 if "network" in allow else NEW_NET
    wanted |= 0 if "processes" in allow else NEW_PIDS
    if user != 0:
        control(4, 1)  # dumpable: or the maps below belong to root
        call("unshare", NEW_USER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    call("unshare", wanted)
    call("sethostname", "sandbox", 7)


# The mount tree


def build_tree(stage, limits):
    """Make the new root below the empty folder `stage` and move there.

    Returns:
        A descriptor of the folder with the kernel's sockets. Whoever holds it reaches
        them from outside, through `/proc/self/fd`.
    """
    call("mount", "none", "/", None, RECURSIVE | PRIVATE, None)
    call("mount", "root", stage, "tmpfs", NO_SUID | NO_DEVICES, "size=2m,mode=755")
    inside = Path(stage)
    _devices(inside)
    room = _writable(inside, limits)
    sources = needed()  # after /tmp is mounted: the course may be installed there
    for source in sources:
        _show(source, inside)
    for path in (*hidden(), *limits.hide):
        _hide(Path(path), inside, sources)
    _etc(inside)
    _processes(inside)
    os.chdir(inside)
    call("mount", "none", ".", None, REMOUNT | BIND | READ_ONLY | NO_SUID, None)
    call("syscall", _number("pivot_root"), b".", b".")
    call("umount2", ".", DETACH)
    os.chdir("/")
    return room


def needed():
    """Folders that Python and the system's libraries need, none inside another."""
    course = Path(__file__).resolve().parents[1]
    folders = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"]
    folders += [sys.prefix, sys.base_prefix, sys.exec_prefix, course]
    sites = {*site.getsitepackages(), site.getusersitepackages()}
    folders += [path for path in sys.path if path in sites]
    folders += ["/etc/alternatives", "/etc/fonts", "/etc/ld.so.cache", "/etc/localtime"]
    kept = []
    for path in sorted(
        {Path(f) for f in folders} | {Path(f).resolve() for f in folders}
    ):
        if path.exists() and path != Path("/") and not _within(path, kept):
            kept.append(path)
    return kept


def hidden():
    """What no learner's code may read, wherever the course is installed.

    Of the course's own folder all but the package and the Python that may lie in it.
    """
    package = Path(__file__).resolve().parents[1]
    course = package.parent
    if not (course / "pyproject.toml").exists():  # installed beside other packages
        return [package / "keys"]
    python = [Path(part).resolve() for part in (sys.prefix, sys.base_prefix)]
    inside = {
        part.relative_to(course).parts[:1] for part in python if _in(part, course)
    }
    kept = {package.name, *(names[0] for names in inside if names)}
    if () in inside:  # the environment is the course's folder itself
        kept |= set(ENVIRONMENT)
    return [package / "keys", *(p for p in course.iterdir() if p.name not in kept)]


def _in(path, folder):
    return path == folder or folder in path.parents


def _within(path, folders):
    return any(_in(path, folder) for folder in folders)


def _show(source, inside):
    """The same path inside, to read only."""
    target = inside / source.relative_to("/")
    if source.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(os.readlink(source))
        return
    _place(source, target)
    call("mount", source, target, None, BIND | RECURSIVE, None)
    _protect(target)


def _place(source, target):
    """An empty folder or file to mount on."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()


def _protect(target, flags=READ_ONLY | NO_SUID | NO_DEVICES):
    """Read-only with all that is mounted below: `mount_setattr`, recursively."""
    path = os.fspath(target).encode()
    attributes = struct.pack("QQQQ", flags, 0, 0, 0)
    everything = 0x8000
    call("syscall", 442, -100, path, everything, attributes, len(attributes))


def _hide(path, inside, sources):
    """Cover a path with nothing, where it lies in a folder that can be seen."""
    for name in {path.absolute(), path.resolve()}:
        if not name.exists() or not _within(name, sources):
            continue
        target = inside / name.relative_to("/")
        if name.is_dir():
            flags = READ_ONLY | NO_SUID | NO_DEVICES
            call("mount", "hidden", target, "tmpfs", flags, "size=4k,mode=555")
        else:
            call("mount", "/dev/null", target, None, BIND, None)


def _etc(inside):
    user = f"learner:x:{os.getuid()}:{os.getgid()}::{SCRATCH}:/bin/sh\n"
    texts = {
        "passwd": user,
        "group": f"learner:x:{os.getgid()}:\n",
        "hosts": "127.0.0.1 localhost\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }
    (inside / "etc").mkdir(exist_ok=True)
    for name, text in texts.items():
        (inside / "etc" / name).write_text(text)


def _devices(inside):
    folder = inside / "dev"
    folder.mkdir()
    for name in ("null", "zero", "full", "random", "urandom"):
        _place(Path("/dev") / name, folder / name)
        call("mount", f"/dev/{name}", folder / name, None, BIND, None)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1")):
        (folder / name).symlink_to(f"/proc/self/fd{target}")
    (folder / "stderr").symlink_to("/proc/self/fd/2")
    (folder / "pts").mkdir()  # `!command` in a cell needs a terminal of its own
    options = "newinstance,ptmxmode=0666,mode=0600,max=16"
    call("mount", "pts", folder / "pts", "devpts", NO_SUID | NO_EXEC, options)
    (folder / "ptmx").symlink_to("pts/ptmx")


def _writable(inside, limits):
    """The one scratch folder, seen as /scratch, /tmp and /dev/shm; and the sockets'."""
    flags = NO_SUID | NO_DEVICES
    scratch = inside / SCRATCH[1:]
    scratch.mkdir()
    options = (
        f"size={limits.disk},nr_inodes={max(1000, limits.disk // 2**14)},mode=1777"
    )
    call("mount", "scratch", scratch, "tmpfs", flags, options)
    for name, place in ((".tmp", "tmp"), (".shm", "dev/shm")):
        (scratch / name).mkdir()
        (scratch / name).chmod(0o1777)
        (inside / place).mkdir()
        call("mount", scratch / name, inside / place, None, BIND, None)
        # A bind mount starts without the flags of the first one.
        _protect(inside / place, NO_SUID | NO_DEVICES)
    room = inside / ROOM[1:]
    room.mkdir()
    # A symbolic link here would be followed by whoever looks in from outside.
    flags |= NO_SYMLINKS | NO_EXEC
    call("mount", "room", room, "tmpfs", flags, "size=64k,nr_inodes=32,mode=1777")
    return os.open(room, os.O_PATH | os.O_DIRECTORY)


def _processes(inside):
    """/proc with the processes in here; where that is forbidden, three plain files."""
    folder = inside / "proc"
    folder.mkdir()
    try:
        call("mount", "proc", folder, "proc", NO_SUID | NO_DEVICES | NO_EXEC, None)
        _protect(folder, READ_ONLY | NO_SUID | NO_DEVICES | NO_EXEC)
    except OSError:  # in most containers: parts of their /proc are covered
        for name in ("cpuinfo", "meminfo", "stat"):
            (folder / name).write_text((Path("/proc") / name).read_text()[:60_000])


# Giving up rights: the last steps, inside


def give_up(limits, user=None):
    """Become a process that may do nothing special, and never again can."""
    for name, most in _rlimits(limits).items():
        resource.setrlimit(getattr(resource, name), (most, most))
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        control(4, 1)  # its own /proc/self belongs to it again
    header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
    call("capset", header, nothing)
    control(38, 1)  # no new privileges: no set-user-id program helps
    if _arch():
        _refuse_calls()


def _rlimits(limits):
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "RLIMIT_CORE": 0,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_NOFILE": 1024,
        "RLIMIT_NPROC": limits.processes,
        # The watch in the trusted parent is exact but looks now and then; this stops
        # one huge array at once. Reserved addresses count, so it leaves room.
        "RLIMIT_AS": size + limits.memory + 4 * 2**30,
    }


def free_user(number):
    """As root: an id that nobody has; where ids are few, the one called nobody."""
    with open("/proc/self/uid_map") as file:
        most = max(int(line.split()[0]) + int(line.split()[2]) for line in file)
    return FIRST_USER + number if most > FIRST_USER + 2**22 else NOBODY


# System calls that are refused. Numbers: x86-64 and ARM64.

EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
REFUSED = {
    "ptrace": (101, 117),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262),
    "syslog": (103, 116),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    # Memory that no process's size shows would escape the watch.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "io_uring_setup": (425, 425),
    **{f"new mount call {number}": (number, number) for number in range(428, 434)},
    "pidfd_getfd": (438, 438),
    # They are counted per user, and a teacher's other programs need some.
    "inotify_init": (253, 26),
    "inotify_init1": (294, 26),
    "mount_setattr": (442, 442),
}
SPECIAL = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "setsockopt": (54, 208),
    "fcntl": (72, 25),
}
LEASE = 1024  # F_SETLEASE: whoever opens the file waits until its holder lets go
BUFFERS = (7, 8)  # SO_SNDBUF, SO_RCVBUF: the watch counts on the usual sizes
FAMILIES = (1, 2, 10, 16)  # unix, IPv4, IPv6, netlink: all others reach the host
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def _arch():
    return ARCHITECTURES.get(platform.machine())


def _number(name):
    return {**REFUSED, **SPECIAL}[name][_arch()[0]]


LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000


def refusal_program():
    """The filter as a list of instructions `(code, if true, if false, value)`."""
    fail = (RETURN, 0, 0, FAIL | EPERM)
    allow = (RETURN, 0, 0, ALLOW)
    lines = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, _arch()[1]), fail, (LOAD, 0, 0, 0)]
    if _arch()[0] == 0:
        lines += [(AT_LEAST, 0, 1, 0x40000000), fail]  # the x32 calls
    for name in REFUSED:
        error = ENOSYS if name in ("memfd_create", "io_uring_setup") else EPERM
        lines += [(EQUAL, 0, 1, _number(name)), (RETURN, 0, 0, FAIL | error)]
    # clone3's flags lie in memory, out of a filter's sight; all fall back to clone.
    lines += [(EQUAL, 0, 1, _number("clone3")), (RETURN, 0, 0, FAIL | ENOSYS)]
    lines += [(EQUAL, 0, 4, _number("clone")), (LOAD, 0, 0, 16)]
    lines += [(ANY_BIT, 0, 1, ANY_NEW & ~0x80), fail, allow]
    lines += [(EQUAL, 0, 4, _number("fcntl")), (LOAD, 0, 0, 24)]
    lines += [(EQUAL, 0, 1, LEASE), fail, (LOAD, 0, 0, 0)]
    lines += [(EQUAL, 0, 5, _number("setsockopt")), (LOAD, 0, 0, 32)]
    done = (RETURN, 0, 0, FAIL)  # error 0: as if it had been done
    lines += [(EQUAL, 0, 1, BUFFERS[0]), done, (EQUAL, 0, 1, BUFFERS[1]), done]
    lines += [(LOAD, 0, 0, 0)]
    lines += [(EQUAL, 1, 0, _number("socket")), allow, (LOAD, 0, 0, 16)]
    for family in FAMILIES:
        lines += [(EQUAL, 0, 1, family), allow]
    return [*lines, (RETURN, 0, 0, FAIL | EAFNOSUPPORT)]


def _refuse_calls():
    lines = refusal_program()
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *line) for line in lines)
    )
    program = struct.pack("HxxxxxxQ", len(lines), ctypes.addressof(code))
    call("prctl", 22, 2, program, 0, 0)


# What this machine lacks


def missing():
    """What this machine lacks, as pairs of a mechanism's name and a sentence.

    A grader stops with the sentences unless the teacher allows the names.
    """
    if not sys.platform.startswith("linux"):
        text = "Sandboxed grading needs Linux (in Windows: WSL)."
        return [(name, text) for name in MECHANISMS]
    found = []
    trials = {"files": NEW_MOUNTS, "network": NEW_NET, "processes": NEW_PIDS}
    for name, flag in trials.items():
        error = _try_in_child(lambda flag=flag: _trial(flag))
        if error:
            found.append((name, _sentence(name, error)))
    if not _arch():
        found.append(("calls", _sentence("calls", platform.machine())))
    return found


class NotIsolated(RuntimeError):
    """This machine lacks a mechanism; the message says which, and what helps."""


@functools.cache
def _lacks():
    return dict(missing())


def allowed(limits):
    """The limits with `allow` cut down to what this machine really lacks.

    Raises:
        NotIsolated: where it lacks something that was not allowed.
    """
    stop = [text for name, text in _lacks().items() if name not in limits.allow]
    if stop:
        raise NotIsolated("\n".join(stop))
    return replace(limits, allow=tuple(_lacks()))


def _sentence(name, error):
    text = f"This machine cannot {MECHANISMS[name]} ({error}). "
    if name == "calls" or "mount_setattr" in error:
        return text + HELP["kernel"]
    guard = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if os.getuid() and guard.exists() and guard.read_text().strip() == "1":
        return text + HELP["apparmor"]
    return text + HELP["container"]


def _trial(flag):
    """What a kernel's start will need of one mechanism."""
    if os.getuid():
        control(4, 1)
        user, group = os.getuid(), os.getgid()
        call("unshare", NEW_USER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    call("unshare", flag)
    if flag == NEW_MOUNTS:
        call("mount", "none", "/", None, RECURSIVE | PRIVATE, None)
        call("mount", "none", "/usr", "tmpfs", NO_SUID, "size=4k")
        _protect("/usr")


def _try_in_child(action):
    """Why an action fails, tried in a process of its own; "" where it works."""
    mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        try:
            action()
            other.send(b"ok")
        except OSError as error:
            other.send(str(error.strerror).encode()[:500] or b"?")
        finally:
            os._exit(0)
    other.close()
    answer = mine.recv(1000).decode() or "the trial was killed"
    mine.close()
    os.waitpid(child, 0)
    return "" if answer == "ok" else answer


# The watch in the trusted parent


def family(pid):
    """Ids of a process and of all its descendants, as this process sees them."""
    found, left = [], [pid]
    while left:
        now = left.pop()
        found.append(now)
        try:
            threads = os.listdir(f"/proc/{now}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{now}/task/{thread}/children") as file:
                    left += [int(child) for child in file.read().split()]
            except OSError:
                continue
    return found


def resident(pid):
    """Resident bytes of a process; 0 where it has ended."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


KCMP_VM = 1  # which two things of two processes `kcmp` compares: their memories


def share(pid):
    """Bytes of a process, each shared page divided among those that share it (PSS)."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return resident(pid)


def with_own_memory(pids):
    """Those of these processes that do not still live in their parent's memory.

    A process that is started does so until it runs its program (`vfork`). Where the
    system does not compare memories (`kcmp`), all are returned.
    """
    return [pid for pid in pids if not _in_memory_of_parent(pid)]


def _in_memory_of_parent(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            parent = int(file.read().rpartition(")")[2].split()[1])
        return call("syscall", _number("kcmp"), pid, parent, KCMP_VM, 0, 0) == 0
    except (OSError, ValueError, IndexError, TypeError):
        return False


def sessions(pids):
    """How many sessions processes form: the system shares its time out by these."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError, IndexError):
            with open(f"/proc/{pid}/stat") as file:
                found.add(file.read().rpartition(")")[2].split()[3])
    return len(found)


def queued(pid):
    """Bytes that may wait in the sockets of a process's network, of no process's size.

    An upper bound: what the kernel lets wait in one socket, for each that is open.
    """
    try:
        with open(f"/proc/{pid}/net/sockstat") as file:
            number = int(file.readline().split()[-1])  # sockets: used 13
    except (OSError, ValueError, IndexError):
        return 0
    return number * _most_queued()


@functools.cache
def _most_queued():
    sizes = []
    for name in ("wmem_default", "rmem_default"):
        with contextlib.suppress(OSError, ValueError):
            sizes.append(int(Path("/proc/sys/net/core", name).read_text()))
    return max(sizes, default=212_992)


def main():
    """Print what this machine lacks, as JSON."""
    print(json.dumps(missing()))


if __name__ == "__main__":
    main()
