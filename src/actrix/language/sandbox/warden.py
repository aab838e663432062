"""The outside of the sandbox: a process that forks a watcher for every run, so that a run costs a few forks.

    library -> warden (forks, and builds the walls that all runs share)
                 -> watcher (reads clocks and meters, hears of forbidden calls, ends the run)
                      -> inside: the tests (first process of a process namespace of its own) -> the program

Standard library only. Reads requests from descriptor 0 and writes reports to descriptor 1, as length and JSON.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pwd  # noqa: F401  (loaded here, once, rather than by every program that asks for its home)
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from actrix.language.sandbox import inside, kernel

TICK = 0.02  # seconds between two looks at the meters
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
        self.namespaces = "namespaces" not in self.without and _succeeds(self._enter)
        if self.namespaces:
            self._enter()
            self.names += ["processes", "network", "files"]
        self.switch = self.root and _succeeds(self._become)
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


def _succeeds(attempt: Callable[[], None]) -> bool:
    """Whether it would, tried in a process of its own."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            attempt()
            os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


# --- one run: the watcher -----------------------------------------------------------------------------------------


@dataclass
class Watch:
    """One run as the watcher sees it."""

    walls: Walls
    request: dict[str, Any]
    folder: str = ""
    verdict: tuple[str, str] | None = None  # status and text, once known
    output: dict[int, bytearray] = field(default_factory=dict)
    first: int = 0  # process id of the first process inside

    def run(self) -> dict[str, Any]:
        limits = self.request["limits"]
        self._separate(limits)
        pipes = [os.pipe() for _ in range(2)]
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        began = time.monotonic()
        self.first = os.fork()
        if self.first == 0:
            enter(self, [pipes[0][1], pipes[1][1]], theirs)
        theirs.close()
        for reading, writing in pipes:
            os.close(writing)
            os.set_blocking(reading, False)
            self.output[reading] = bytearray()
        mine.setblocking(False)
        names = list(self.walls.names)
        listener = self._watch(mine, began + limits["seconds"], limits, names)
        usage = self._end()
        for fd in self.output:
            self._read(fd, limits["output"])
        if listener is not None:
            os.close(listener)
        status, text = self.verdict or ("error", "the sandbox's first process died")
        out, err = (bytes(b[: limits["output"]]).decode(errors="replace") for b in self.output.values())
        return {
            "status": status, "text": text, "stdout": out, "stderr": err, "seconds": time.monotonic() - began,
            "memory": usage * 1024, "isolation": names,
        }  # fmt: skip

    def _separate(self, limits: dict[str, Any]) -> None:
        walls = self.walls
        if walls.namespaces:
            self.folder = FOLDER
            kernel.unshare(kernel.NEWNS | kernel.NEWPID | kernel.NEWIPC)
            user = walls.user_id if walls.switch else os.geteuid()
            group = user if walls.switch else os.getegid()
            size = f"size={limits['disk']},nr_inodes={limits['files'] + 1},mode=700,uid={user},gid={group}"
            kernel.mount("tmpfs", FOLDER, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, size)
        else:
            self.folder = self.request["folder"]
            kernel.adopt_orphans()
            if walls.switch:
                os.chown(self.folder, walls.user_id, walls.user_id)

    def _watch(self, control: socket.socket, deadline: float, limits: dict[str, Any], names: list[str]) -> int | None:
        poll = select.poll()
        for fd in (control.fileno(), *self.output):
            poll.register(fd, select.POLLIN)
        poll.register(0, 0)  # the library: only that it hangs up
        listener: int | None = None
        look = time.monotonic() + TICK
        while self.verdict is None:
            now = time.monotonic()
            if now >= deadline:
                self.verdict = ("timeout", f"more than {limits['seconds']:g} s")
                break
            if now >= look:
                self._meters(limits)
                look = now + TICK
            for fd, event in poll.poll(max(1, math.ceil(1000 * min(deadline - now, TICK)))):
                if fd == control.fileno():
                    message, fds = self._hear(control)
                    names += message.get("isolation", [])
                    if fds:
                        listener = fds[0]
                        poll.register(listener, select.POLLIN)
                    if "status" in message:
                        self.verdict = self.verdict or (message["status"], message["text"])
                elif fd == 0:
                    self.verdict = ("error", "nobody waits for the answer")
                elif fd == listener:
                    if event & select.POLLIN:
                        self._judge(listener)
                    else:
                        poll.unregister(listener)
                elif not self._read(fd, limits["output"]):
                    poll.unregister(fd)
        return listener

    def _hear(self, control: socket.socket) -> tuple[dict[str, Any], list[int]]:
        data, fds, _, _ = socket.recv_fds(control, 1 << 16, 1)
        if not data:
            return {"status": "error", "text": "the first process inside was killed"}, fds
        return json.loads(data), fds

    def _read(self, fd: int, most: int) -> bool:
        """Takes what is in a pipe; False at its end."""
        while True:
            try:
                data = os.read(fd, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            if len(self.output[fd]) <= most:
                self.output[fd] += data
            if sum(map(len, self.output.values())) > most:
                self.verdict = self.verdict or ("output", f"more than {most} bytes")
                return True

    def _meters(self, limits: dict[str, Any]) -> None:
        tasks, memory = 0, 0
        for pid in self.family():
            with contextlib.suppress(OSError, ValueError):
                tasks += int(self._text(f"{pid}/stat").rpartition(")")[2].split()[17])  # its threads
                resident, shared = self._text(f"{pid}/statm").split()[1:3]
                memory += (int(resident) - int(shared)) * resource.getpagesize()
        if tasks - 1 > limits["processes"]:
            self.verdict = ("processes", f"more than {limits['processes']} at once")
        elif memory > limits["memory"]:
            self.verdict = ("memory", f"more than {limits['memory'] >> 20} MiB in all processes")
        elif self.walls.namespaces:
            room = os.statvfs(self.folder)
            if not room.f_ffree or not room.f_bavail:
                self.verdict = ("files", "the folder is full")
        elif (found := _used(self.folder))[0] > limits["files"] or found[1] > limits["disk"]:
            self.verdict = ("files", "the folder is full")

    # -- who is inside

    def _text(self, name: str) -> str:
        with open(os.open(name, os.O_RDONLY, dir_fd=self.walls.proc)) as file:
            return file.read()

    def family(self) -> list[int]:
        """Process ids, as seen from here, of the first process inside and of all that came from it."""
        found, waiting = [], [self.first] if self.walls.namespaces else self._children(os.getpid())
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting += self._children(pid)
        return found

    def _children(self, pid: int) -> list[int]:
        """Of all threads. Empty where the process has died."""
        children = []
        if not self.walls.tells:
            for name in filter(str.isdigit, self._list(".")):
                with contextlib.suppress(OSError):
                    if int(self._text(f"{name}/stat").rpartition(")")[2].split()[1]) == pid:
                        children.append(int(name))
            return children
        with contextlib.suppress(OSError):
            for thread in self._list(f"{pid}/task"):
                children += [int(word) for word in self._text(f"{pid}/task/{thread}/children").split()]
        return children

    def _list(self, name: str) -> list[str]:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.walls.proc)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    # -- forbidden calls

    def _judge(self, listener: int) -> None:
        """A call that waits: it goes on (to whatever the kernel says), or it ends the run."""
        notice = kernel.receive(listener)
        if notice is None:
            return
        if notice.call == "socket":
            self.verdict = ("network", f"a socket of family {notice.arguments[0]}")
        elif notice.call in kernel.SIGNALS:
            self._signal(notice)
        else:
            for directory, name in kernel.CHANGES[notice.call]:
                self._change(notice, None if directory is None else notice.arguments[directory], notice.arguments[name])
        if self.verdict is None:
            kernel.let_through(listener, notice)

    def _signal(self, notice: kernel.Notice) -> None:
        target, number = (ctypes_int(n) for n in notice.arguments[:2])
        if notice.call == "pidfd_send_signal" or target == 0 or (target < -1) or number == 0:
            return  # to what it holds a handle of, to its own group, or only a question
        if notice.call == "tkill":  # a thread's number: its own, unless it belongs to the first process
            own = target != 1
        else:
            own = target in {self._inner(pid) for pid in self.family() if pid != self.first}
        if not own:
            self.verdict = ("signal", f"signal {number} to process {target}")

    def _inner(self, pid: int) -> int:
        """The process id that the process itself sees."""
        with contextlib.suppress(OSError):
            for line in self._text(f"{pid}/status").splitlines():
                if line.startswith("NSpid:"):
                    return int(line.split()[-1])
        return pid

    def _change(self, notice: kernel.Notice, directory: int | None, address: int) -> None:
        """The name is read from the caller's memory, which another thread may change afterwards: what is decided
        here is what to call it. The walls themselves do not look at names in memory."""
        if not address:
            return  # a change of an open file
        try:
            path = self._string(notice.pid, address)
            if not path.startswith("/"):
                fd = "cwd" if directory is None or ctypes_int(directory) == -100 else f"fd/{ctypes_int(directory)}"
                path = os.path.join(os.readlink(f"{notice.pid}/{fd}", dir_fd=self.walls.proc), path)
        except (OSError, ValueError):
            return  # the caller died, or gave an address that the kernel will refuse as well
        path = os.path.normpath(path)
        inside_folder = path == self.folder or path.startswith(self.folder + "/")
        if not inside_folder and path not in DEVICES:
            self.verdict = ("write outside", f"{notice.call} of {path}")

    def _string(self, pid: int, address: int) -> str:
        with open(os.open(f"{pid}/mem", os.O_RDONLY, dir_fd=self.walls.proc), "rb", buffering=0) as memory:
            data = b""
            while b"\0" not in data and len(data) < 4096:
                step = 256 - (address + len(data)) % 256  # never over the end of a page that is there
                data += os.pread(memory.fileno(), step, address + len(data))
        return os.fsdecode(data.partition(b"\0")[0])

    # -- the end

    def _end(self) -> int:
        """Ends everything inside and waits for it; the largest resident size of one process, KiB."""
        largest = 0
        while True:
            with contextlib.suppress(ProcessLookupError):
                for pid in [self.first] if self.walls.namespaces else self.family():
                    os.kill(pid, signal.SIGKILL)  # in a namespace the first process takes all others with it
            try:
                while True:
                    pid, _, usage = os.wait4(-1, 0 if self.walls.namespaces else os.WNOHANG)
                    largest = max(largest, usage.ru_maxrss)
                    if pid == 0:
                        time.sleep(0.001)
                        break
            except ChildProcessError:
                return largest


def ctypes_int(value: int) -> int:
    """A register as the C int that it holds."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def _used(folder: str) -> tuple[int, int]:
    """Files and bytes in a folder."""
    count = size = 0
    for path, folders, files in os.walk(folder):
        count += len(folders) + len(files)
        for name in files:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(path, name)).st_size
    return count, size


# --- one run: behind the walls ------------------------------------------------------------------------------------


def enter(watch: Watch, outputs: list[int], control: socket.socket) -> None:
    """The first process inside: gives up every right, starts the program, runs the tests. Does not return."""
    try:
        request = watch.request
        given = os.memfd_create("stdin")
        os.write(given, request["stdin"].encode())
        os.lseek(given, 0, os.SEEK_SET)
        for fd, place in zip((given, *outputs), range(3)):
            os.dup2(fd, place)
        os.setsid()
        isolation, listener = _renounce(watch.walls, watch.folder, request["limits"])
        message = json.dumps({"isolation": isolation}).encode()
        socket.send_fds(control, [message], [] if listener is None else [listener])
        kernel.close_all_but((0, 1, 2, control.fileno()))
        mine, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            control.close()
            mine.close()
            _be_the_program(request, theirs)
        theirs.close()
        peer = inside.Peer(child, mine)
        if request["tests"]:
            verdict = inside.tests(peer, request["setup"], request["tests"], request["entry_point"])
        else:
            verdict = inside.script(peer)
        inside.flush()
        control.sendall(json.dumps(verdict).encode())
        control.recv(1)  # wait to be ended
    except BaseException as error:
        with contextlib.suppress(BaseException):
            control.sendall(json.dumps({"status": "error", "text": f"sandbox: {inside.said(error)}"}).encode())
    finally:
        os._exit(1)


def _renounce(walls: Walls, folder: str, limits: dict[str, Any]) -> tuple[list[str], int | None]:
    os.chdir(folder)
    os.umask(0o077)
    tempfile.tempdir = folder
    count = limits["processes"] + 2 + _tasks_of_user(walls)
    for kind, value in (
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_NPROC, count),
        (resource.RLIMIT_NOFILE, limits["files"] + 16),
        (resource.RLIMIT_FSIZE, limits["disk"]),
        (resource.RLIMIT_CPU, math.ceil(limits["seconds"]) + 1),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        kernel.limit(kind, value)
    if walls.switch:
        os.setgroups([])
        os.setresgid(walls.user_id, walls.user_id, walls.user_id)
        os.setresuid(walls.user_id, walls.user_id, walls.user_id)
    elif walls.root or walls.namespaces:
        kernel.drop_capabilities()
    kernel.die_with_parent()
    kernel.no_new_privileges()
    if any(name.startswith("landlock") for name in walls.names):
        kernel.landlock([*walls.readable, *DEVICES[1:]], [folder, "/dev/null"])
    if "seccomp" not in walls.without:
        for notify in (True, False):  # where another watcher is there already, without one
            with contextlib.suppress(OSError):
                listener = kernel.seccomp(notify)
                return ["seccomp with a watcher" if notify else "seccomp"], listener if notify else None
    return [], None


def _tasks_of_user(walls: Walls) -> int:
    """What the limit on processes counts besides those inside."""
    if walls.switch:
        return 0
    if walls.namespaces:
        return 2  # watcher and warden
    found = 0
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.geteuid():
                with open(f"/proc/{name}/stat") as file:
                    found += int(file.read().rpartition(")")[2].split()[17])
    return found


def _be_the_program(request: dict[str, Any], channel: socket.socket) -> None:
    try:
        os.setsid()
        kernel.die_with_parent()
        for name in [n for n in sys.modules if n.partition(".")[0] == "actrix"]:
            del sys.modules[name]
        inside.program(request["program"], request["entry_point"] if request["tests"] else "", channel)
    finally:
        os._exit(0)


# --- serving ------------------------------------------------------------------------------------------------------


def _exactly(fd: int, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            return None
        data += more
    return data


def reply(message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    data = struct.pack("=I", len(data)) + data
    while data:
        data = data[os.write(1, data) :]


def main(without: list[str], paths: list[str]) -> None:
    """Serves requests until their source closes."""
    os.environ.clear()
    os.umask(0o022)
    sys.dont_write_bytecode = True
    sys.path += paths
    sys.executable = getattr(sys, "_base_executable", sys.executable)
    walls = Walls(tuple(without), tuple(paths))
    walls.build()
    reply({"isolation": walls.names})
    while (head := _exactly(0, 4)) is not None:
        data = _exactly(0, struct.unpack("=I", head)[0])
        if data is None:
            return
        request = json.loads(data)
        if not walls.namespaces:
            request["folder"] = tempfile.mkdtemp(prefix="actrix-sandbox-")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                kernel.die_with_parent()
                reply(Watch(walls, request).run())
                code = 0
            except BaseException as error:
                os.write(2, f"{inside.said(error)}\n".encode())
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        if not walls.namespaces:
            shutil.rmtree(request["folder"], ignore_errors=True)
        if status:
            reply({"broken": f"the watcher ended with status {status}"})
