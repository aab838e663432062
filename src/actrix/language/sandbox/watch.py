"""One run as the watcher outside sees it: clocks, meters, forbidden calls, and the end of everything inside."""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import select
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from actrix.language.sandbox import kernel
from actrix.language.sandbox.entry import enter
from actrix.language.sandbox.walls import DEVICES, FOLDER, Walls

TICK = 0.02  # seconds between two looks at the meters


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
            enter(self.walls, self.request, self.folder, [pipes[0][1], pipes[1][1]], theirs)
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
