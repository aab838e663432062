"""The walls that all runs of a warden share: which kinds of isolation there are, and the namespaces they run in."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field

from actrix.language.sandbox import kernel

FOLDER = "/sandbox"  # a program's own, in a mount namespace
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


@dataclass
class Walls:
    """What holds every run of this warden back."""

    without: tuple[str, ...]  # kinds of isolation that are not to be used
    paths: tuple[str, ...]  # what programs may import from, besides the standard library
    names: list[str] = field(default_factory=list)  # what is in force
    root: bool = False  # this process is root
    switch: bool = False  # ... and a run gets a user of its own
    namespaces: bool = False
    user_id: int = -1
    tells: bool = False  # the kernel lists a process's children
    proc: int = -1  # /proc as it is outside

    @property
    def readable(self) -> list[str]:
        prefix = sys.base_prefix
        places = [f"{prefix}/lib", f"{prefix}/bin", "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/bin", "/bin"]
        return [*dict.fromkeys([*places, "/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", *self.paths])]

    def build(self) -> None:
        self.root = os.geteuid() == 0
        self.proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
        self.tells = os.path.exists("/proc/thread-self/children")
        self.user_id = 0x40000000 + os.getpid() if self.root else os.geteuid()
        self.names.append("limits")
        # half a set of namespaces would be worse than none
        self.namespaces = "namespaces" not in self.without and succeeds(self._enter)
        if self.namespaces:
            self._enter()
            self.names += ["processes", "network", "files"]
        self.switch = self.root and succeeds(self._become)
        if self.switch:
            self.names.append("user")
        if "landlock" not in self.without and (version := kernel.landlock_version()):
            self.names.append(f"landlock {version}")

    def _become(self) -> None:
        """The throw-away user; an error if it cannot read the standard library (Python in a private folder)."""
        os.setresuid(self.user_id, self.user_id, self.user_id)
        os.listdir(os.path.dirname(os.__file__))

    def _enter(self) -> None:
        """Namespaces for network and files, and a root that shows what a program needs and nothing else."""
        user, group = os.geteuid(), os.getegid()
        if not self.root:
            kernel.unshare(kernel.NEWUSER)
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{user} {user} 1"),
                ("gid_map", f"{group} {group} 1"),
            ):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
        kernel.unshare(kernel.NEWNS | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS)
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        sources = {path: os.open(path, os.O_PATH) for path in (*self.readable, *DEVICES) if os.path.exists(path)}
        new = tempfile.gettempdir()
        links = {path: os.readlink(path) for path in sources if os.path.islink(path)}
        folders = {path for path in sources if os.path.isdir(path)}
        kernel.mount("tmpfs", new, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=1m")
        for path in sorted(sources):
            inner = new + path
            if os.path.lexists(inner):  # inside of one that came before
                continue
            os.makedirs(os.path.dirname(inner), exist_ok=True)
            if path in links and path in ("/lib", "/lib64", "/bin"):
                os.symlink(links[path], inner)
                continue
            if path in folders:
                os.mkdir(inner)
            else:
                os.close(os.open(inner, os.O_CREAT | os.O_WRONLY, 0o644))
            kernel.mount(f"/proc/self/fd/{sources[path]}", inner, None, kernel.MS_BIND | kernel.MS_REC)
            if path not in DEVICES:
                kernel.freeze(inner, deep=True)
        for fd in sources.values():
            os.close(fd)
        os.mkdir(new + FOLDER)
        kernel.pivot_root(new)
        kernel.freeze("/", deep=False)


def succeeds(attempt: Callable[[], None]) -> bool:
    """Whether it would, tried in a process of its own."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            attempt()
            os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0
