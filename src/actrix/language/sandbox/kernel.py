"""What Linux offers to hold a program back, called without any package: namespaces, Landlock, seccomp, limits.

Standard library only: this runs in the sandbox's own processes, which import nothing else. Every function raises
OSError where the kernel, or the machine's rules, refuse.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import resource
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_libc = ctypes.CDLL(None, use_errno=True)

NEWNS, NEWIPC, NEWUTS, NEWUSER, NEWPID, NEWNET = 0x20000, 0x8000000, 0x4000000, 0x10000000, 0x20000000, 0x40000000
_NAMESPACES = 0x7E020080  # every CLONE_NEW... flag that clone takes
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(number: int, *arguments: object) -> int:
    return int(_libc.syscall(ctypes.c_long(number), *arguments))


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    kind_bytes = None if kind is None else kind.encode()
    _check(
        _libc.mount(source.encode(), target.encode(), kind_bytes, ctypes.c_ulong(flags), data.encode() or None),
        f"mount {target}",
    )


def pivot_root(new: str) -> None:
    """Makes `new` (a mount) the root, and lets go of the old one."""
    os.chdir(new)
    _check(_syscall(_NUMBER["pivot_root"], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", 2), "umount")
    os.chdir("/")


def freeze(path: str, deep: bool) -> None:
    """Makes a mount read-only, with all mounts beneath it where `deep`."""
    attributes = struct.pack("=4Q", 1 | 2, 0, 0, 0)  # read-only, no set-user-id programs
    at = ctypes.c_int(-100)
    recursive = ctypes.c_uint32(0x8000 if deep else 0)
    size = ctypes.c_size_t(len(attributes))
    _check(_syscall(_NUMBER["mount_setattr"], at, path.encode(), recursive, attributes, size), f"read-only {path}")


def prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), "prctl")


def die_with_parent() -> None:
    prctl(1, 9)


def adopt_orphans() -> None:
    prctl(36, 1)


def no_new_privileges() -> None:
    prctl(38, 1)


def drop_capabilities() -> None:
    """Gives up all privileges inside the own user namespace."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def close_all_but(keep: Iterable[int]) -> None:
    first = 0
    for fd in sorted(set(keep)):
        if fd > first:  # an empty range would be taken for all there are
            os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, 1 << 16)


def limit(kind: int, value: int) -> None:
    """A hard limit, or the one already there if that is lower."""
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


# --- Landlock ---------------------------------------------------------------------------------------------------

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1, 2, 4, 8, 1 << 14


def landlock_version() -> int:
    """Version of Landlock's interface; 0 where there is none."""
    return max(0, _syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def landlock(read: Sequence[str], write: Sequence[str]) -> None:
    """From now on, and for all descendants: read beneath `read`, read and write beneath `write`, nothing else.

    Also no TCP (version 4), and neither abstract sockets nor signals to processes outside (version 6).
    """
    version = landlock_version()
    if not version:
        raise OSError(errno.ENOSYS, "no Landlock")
    every = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    fields = [every, *([3] if version >= 4 else []), *([3] if version >= 6 else [])]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    rules = _check(_syscall(444, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)), "landlock")
    try:
        for paths, wanted in ((read, _EXECUTE | _READ_FILE | _READ_DIR), (write, every)):
            for path in paths:
                try:
                    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
                except FileNotFoundError:
                    continue
                try:
                    files = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
                    allowed = wanted & every if os.path.isdir(path) else wanted & every & files
                    rule = struct.pack("=Qi", allowed, fd)
                    _check(_syscall(445, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint32(0)), "landlock")
                finally:
                    os.close(fd)
        no_new_privileges()
        _check(_syscall(446, ctypes.c_int(rules), ctypes.c_uint32(0)), "landlock")
    finally:
        os.close(rules)


# --- seccomp ----------------------------------------------------------------------------------------------------

# number of each call on x86_64, and on aarch64 (None: it has no such call)
_CALLS: dict[str, tuple[int, int | None]] = {
    "open": (2, None), "creat": (85, None), "openat": (257, 56), "openat2": (437, 437),
    "truncate": (76, 45), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36),
    "mknod": (133, None), "mknodat": (259, 33), "chmod": (90, None), "fchmodat": (268, 53),
    "chown": (92, None), "lchown": (94, None), "fchownat": (260, 54), "utimensat": (280, 88),
    "socket": (41, 198), "clone": (56, 220), "clone3": (435, 435),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "pidfd_send_signal": (424, 424),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsmount": (432, 432), "mount_setattr": (442, 442), "open_by_handle_at": (304, 265), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "io_uring_setup": (425, 425), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "reboot": (169, 142),
    "swapon": (167, 224), "settimeofday": (170, 170), "clock_settime": (227, 112), "shmget": (29, 194),
    "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "seccomp": (317, 277),
}  # fmt: skip
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_COLUMN, _AUDIT = _ARCHITECTURES.get(platform.machine(), (0, 0))
_NUMBER = {name: number for name, row in _CALLS.items() if (number := row[_COLUMN]) is not None}

SIGNALS = ("kill", "tkill", "tgkill", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
# calls that change a named file -> where the name is: (argument of the directory or None for the working folder,
# argument of the name), once or twice
CHANGES: dict[str, tuple[tuple[int | None, int], ...]] = {
    "open": ((None, 0),), "creat": ((None, 0),), "openat": ((0, 1),), "truncate": ((None, 0),),
    "rename": ((None, 0), (None, 1)), "renameat": ((0, 1), (2, 3)), "renameat2": ((0, 1), (2, 3)),
    "mkdir": ((None, 0),), "mkdirat": ((0, 1),), "rmdir": ((None, 0),), "unlink": ((None, 0),), "unlinkat": ((0, 1),),
    "link": ((None, 1),), "linkat": ((2, 3),), "symlink": ((None, 1),), "symlinkat": ((1, 2),),
    "mknod": ((None, 0),), "mknodat": ((0, 1),), "chmod": ((None, 0),), "fchmodat": ((0, 1),),
    "chown": ((None, 0),), "lchown": ((None, 0),), "fchownat": ((0, 1),), "utimensat": ((0, 1),),
}  # fmt: skip
_ABSENT = ("clone3", "openat2", "io_uring_setup")  # "no such call": whoever asks for it has another way
_REFUSED = (
    "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "mount", "umount2", "pivot_root", "chroot",
    "unshare", "setns", "open_tree", "move_mount", "fsopen", "fsmount", "mount_setattr", "open_by_handle_at", "bpf",
    "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "init_module", "finit_module",
    "delete_module", "kexec_load", "reboot", "swapon", "settimeofday", "clock_settime", "shmget", "msgget", "semget",
    "mq_open",
)  # fmt: skip

_ALLOW, _KILL, _NOTIFY = 0x7FFF0000, 0x80000000, 0x7FC00000
_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def _error(number: int) -> int:
    return 0x00050000 | number


def _filter(notify: bool) -> bytes:
    """The program that the kernel runs at every call: [code, jump if true, jump if false, operand] each."""
    code: list[tuple[int, int, int, int]] = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _AUDIT), (_RETURN, 0, 0, _KILL)]
    code += [(_LOAD, 0, 0, 0)]
    if platform.machine() == "x86_64":  # the x32 calls have numbers of their own
        code += [(_ABOVE, 0, 1, 0x40000000), (_RETURN, 0, 0, _error(errno.ENOSYS))]
    ask = _NOTIFY if notify else _error(errno.EACCES)

    def at(argument: int) -> tuple[int, int, int, int]:
        return (_LOAD, 0, 0, 16 + 8 * argument)

    def writing(flags: int) -> list[tuple[int, int, int, int]]:
        return [at(flags), (_ANY_BIT, 0, 1, _WRITING), (_RETURN, 0, 0, _NOTIFY), (_RETURN, 0, 0, _ALLOW)]

    rules: dict[str, list[tuple[int, int, int, int]]] = {
        **{name: [(_RETURN, 0, 0, _error(errno.EPERM))] for name in _REFUSED},
        **{name: [(_RETURN, 0, 0, _error(errno.ENOSYS))] for name in _ABSENT},
        "clone": [at(0), (_ANY_BIT, 0, 1, _NAMESPACES), (_RETURN, 0, 0, _error(errno.EPERM)), (_RETURN, 0, 0, _ALLOW)],
        # the C library looks for a name service at a local socket: that is refused, but is no use of the network
        "socket": [at(0), (_EQUAL, 0, 1, 1), (_RETURN, 0, 0, _error(errno.EACCES)), (_RETURN, 0, 0, ask)],
    }
    if notify:  # else the file system and the process namespace alone hold these back
        rules |= {name: [(_RETURN, 0, 0, _NOTIFY)] for name in (*CHANGES, *SIGNALS)}
        rules |= {"open": writing(1), "openat": writing(2)}
    for name, body in rules.items():
        if name in _NUMBER:
            code += [(_EQUAL, 0, len(body), _NUMBER[name]), *body]
    code += [(_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def seccomp(notify: bool) -> int:
    """Filters the calls of this process and its descendants for ever.

    With `notify`, returns the descriptor at which a watcher hears of sockets, signals and changes of files.
    """
    if not _AUDIT:
        raise OSError(errno.ENOSYS, f"no filter is written for {platform.machine()}")
    no_new_privileges()
    code = _filter(notify)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    flags = ctypes.c_ulong(8 if notify else 0)
    return _check(_syscall(_NUMBER["seccomp"], ctypes.c_uint32(1), flags, program), "seccomp")


@dataclass(frozen=True)
class Notice:
    """A call that waits for an answer."""

    id: int
    pid: int  # of the caller, as the watcher sees it
    call: str
    arguments: tuple[int, ...]


_NAMES = {number: name for name, number in _NUMBER.items()}


def receive(listener: int) -> Notice | None:
    """The next waiting call; None where the caller has died meanwhile."""
    buffer = bytearray(80)
    try:
        fcntl.ioctl(listener, 0xC0502100, buffer)
    except OSError:
        return None
    number, pid, _, call, _, _, *arguments = struct.unpack("=QIIiIQ6Q", buffer)
    return Notice(number, pid, _NAMES.get(call, str(call)), tuple(arguments))


def let_through(listener: int, notice: Notice) -> None:
    """The call goes on as if nobody had looked."""
    with contextlib.suppress(OSError):  # the caller has died
        fcntl.ioctl(listener, 0xC0182101, struct.pack("=QqiI", notice.id, 0, 0, 1))
