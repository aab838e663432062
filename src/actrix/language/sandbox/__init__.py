"""A sandbox for programs that models write.

    with Sandbox() as sandbox:
        sandbox.run("print(sum(range(10)))")                               # Report(status="passed", stdout="45\n", ...)
        sandbox.check(program, tests="def check(candidate): ...", entry_point="add")

Threat model. The program is hostile Python (and whatever it starts). It must not: reach the network; read what the
library's process knows (environment, memory, files other than the system's libraries); change a file outside of its
own folder; signal or trace a process outside; outlive its run; use more time, memory, processes, files or output than
allowed; pass by ending early. Not defended against: faults of the kernel itself, measuring time and load, and reading
system libraries. Every request runs alone in processes of its own, in an empty environment and an empty folder.

What holds a program back, each where the system offers it (`Report.isolation` names what was in force):
  limits        resource limits, and a watcher outside that reads clocks and meters and ends the run
  user          where the library runs as root: a throw-away user for every sandbox
  processes     a process namespace: nothing outside can be seen or signalled, and all of it dies at once
  network       a network namespace without any interface
  files         a mount namespace: the system's libraries, read-only, and an empty folder in memory
  landlock N    the kernel's own rules on files (and, by version, TCP, signals and local sockets)
  seccomp       dangerous calls are refused; with a watcher, a socket, a write outside or a signal to a process that
                is not the program's own is reported as such and ends the run at once
Without network namespace and seccomp, or without mount namespace and Landlock, a program is not run at all.

`check` keeps tests and program in two processes: the program answers calls with plain data, and the tests decide.
Nothing the program prints, exits with or redefines makes a test pass. In `run` there are no tests beside the program:
"passed" says that it came to its last line without an exception, and code that takes its own process apart can
pretend that.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from actrix.errors import ActrixError

Status = Literal[
    "passed",
    "failed",  # a test does not hold
    "error",  # an exception, or a crash
    "exited early",  # ended before its last line, or before the tests were through
    "timeout",
    "memory",
    "processes",
    "files",  # too many or too large, open or in its folder
    "output",
    "network",
    "write outside",
    "signal",
]
Isolation = Literal["namespaces", "landlock", "seccomp"]
_START = 20.0  # seconds for the warden to come up
_GRACE = 5.0  # seconds beyond a run's own limit


@dataclass(frozen=True)
class Limits:
    """What one run may use."""

    seconds: float = 5.0  # of the clock
    memory: int = 256 << 20  # bytes: address space of each process, and resident in all of them together
    processes: int = 16  # processes and threads at once
    files: int = 64  # files open, and files and folders in its folder
    disk: int = 16 << 20  # bytes in its folder, and in one file
    output: int = 64 << 10  # bytes of standard output and error together

    def __post_init__(self) -> None:
        if min(asdict(self).values()) <= 0:
            raise ActrixError(f"every limit is above 0: {self}", misuse=True)


@dataclass(frozen=True)
class Report:
    """What a program did."""

    status: Status
    text: str  # why, in words
    stdout: str  # up to the limit on output
    stderr: str
    seconds: float  # of the clock
    memory: int  # bytes resident at most, in one process
    isolation: tuple[str, ...]  # what was in force

    @property
    def passed(self) -> bool:
        return self.status == "passed"


class Sandbox:
    """Runs programs, one at a time, each in processes of its own. Safe to call from several threads.

    paths: folders that programs may import from besides the standard library, and read.
    without: kinds of isolation not to use though the system has them (to see what the others hold).
    Raises ActrixError where the system cannot hold a program back.
    """

    def __init__(self, paths: Sequence[str | Path] = (), without: Sequence[Isolation] = ()) -> None:
        if sys.platform != "linux":
            raise ActrixError("programs are run on Linux only", "use a Linux machine or container")
        self.paths = tuple(str(Path(p).resolve()) for p in paths)
        self.without = tuple(without)
        self._lock = threading.Lock()
        self._warden: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return Sandbox, (self.paths, self.without)  # another process starts its own

    # -- running

    def run(self, program: str, stdin: str = "", limits: Limits | None = None) -> Report:
        """Runs a script. It passes if it comes to its last line; an AssertionError is a failure."""
        return self._ask({"program": program, "stdin": stdin, "tests": "", "setup": "", "entry_point": ""}, limits)

    def check(
        self, program: str, tests: str, entry_point: str, setup: str = "", limits: Limits | None = None
    ) -> Report:
        """Runs tests against the function `entry_point` of a program.

        tests: source that defines check(candidate). setup: source that the tests may use (HumanEval's prompt); it is
        trusted like the tests, but both run behind the walls too. Arguments and results are plain data: None, bool,
        int, float, complex, str, bytes, and lists, tuples, sets and dictionaries of them.
        """
        if not tests or not entry_point.isidentifier():
            raise ActrixError(f"tests and the name of a function are needed, not {entry_point!r}", misuse=True)
        request = {"program": program, "stdin": "", "tests": tests, "setup": setup, "entry_point": entry_point}
        return self._ask(request, limits)

    def _ask(self, request: dict[str, Any], limits: Limits | None) -> Report:
        limits = limits or Limits()
        with self._lock:
            warden = self._started()
            try:
                self._send(warden, {**request, "limits": asdict(limits)})
                answer = self._receive(warden, limits.seconds + _GRACE)
            except (OSError, TimeoutError) as error:
                self._stop()
                raise ActrixError(f"the sandbox did not answer: {error}", "run the program again") from error
            except BaseException:  # an interrupt: the answer that is still to come must not be taken for the next one
                self._stop()
                raise
        if "broken" in answer:
            raise ActrixError(f"the sandbox failed: {answer['broken']}", "run the program again")
        return Report(**{**answer, "isolation": tuple(answer["isolation"])})

    # -- the warden

    @property
    def isolation(self) -> tuple[str, ...]:
        """What is in force in every run, but for seccomp, which each run says itself."""
        with self._lock:
            self._started()
            return self._isolation

    def _started(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # a fork: the warden is the parent's, and its answers too
            self._warden, self._owner = None, os.getpid()
        if self._warden is not None and self._warden.poll() is None:
            return self._warden
        self._stop()
        source = str(Path(__file__).parents[3])
        code = (
            f"import sys; sys.path.insert(0, {source!r}); sys.dont_write_bytecode = True\n"
            "from actrix.language.sandbox.warden import main\n"
            f"sys.path.remove({source!r}); main({list(self.without)!r}, {list(self.paths)!r})"
        )
        self._warden = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", code],
            env={}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0, cwd="/",
        )  # fmt: skip
        try:
            self._isolation = tuple(self._receive(self._warden, _START)["isolation"])
        except (OSError, TimeoutError) as error:
            self._stop()
            raise ActrixError(f"the sandbox did not start: {error}") from error
        landlock = any(name.startswith("landlock") for name in self._isolation)
        sockets = "network" in self._isolation or "seccomp" not in self.without
        if not sockets or not ("files" in self._isolation or landlock):
            self._stop()
            raise ActrixError(
                "this system offers too little to hold a program back",
                "run where user namespaces are allowed, or Linux is 5.13 or newer (Landlock)",
            )
        return self._warden

    def _send(self, warden: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
        assert warden.stdin is not None
        data = json.dumps(message).encode()
        data = struct.pack("=I", len(data)) + data
        while data:
            data = data[os.write(warden.stdin.fileno(), data) :]

    def _receive(self, warden: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
        assert warden.stdout is not None
        fd, deadline, data, size = warden.stdout.fileno(), time.monotonic() + seconds, b"", 4
        while len(data) < size:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                raise TimeoutError(f"nothing for {seconds:g} s")
            more = os.read(fd, max(size - len(data), 4))
            if not more:
                raise OSError("its process has ended")
            data += more
            if size == 4 and len(data) >= 4:
                size = 4 + struct.unpack("=I", data[:4])[0]
        found: dict[str, Any] = json.loads(data[4:])
        return found

    def _stop(self) -> None:
        if self._warden is None or self._owner != os.getpid():
            return
        warden, self._warden = self._warden, None
        for pipe in (warden.stdin, warden.stdout):
            assert pipe is not None
            pipe.close()
        try:  # it ends by itself once nobody asks any more
            warden.wait(0.2)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(warden.pid, signal.SIGKILL)
            warden.wait()

    def close(self) -> None:
        """Ends the warden, and with it whatever still runs."""
        with self._lock:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._stop()


__all__ = ["Isolation", "Limits", "Report", "Sandbox", "Status"]
