"""The watchdog: no call into an environment lasts for ever.

A hang in Python is interrupted and becomes an ordinary error. A hang in compiled code cannot be interrupted: the
process says what happened and exits with status 1. A hang in compiled code that also holds the interpreter's lock
silences every thread of this process, so a small second process listens to the watchdog's heartbeat; when that
stops, it says so and kills this one (status 137). Time in which the process was stopped (Ctrl-Z) is not counted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

INTACT = "the run is intact up to its last checkpoint: mend the environment, then `actrix resume FOLDER`"
TICK = 0.25  # seconds
GRACE = 5.0  # seconds that an interrupted call has to give up

# Reads one line a tick: "LIMIT TEXT". Stopped processes make no ticks, and neither does a stopped listener.
LISTENER = f"""
import os, select, sys
pid, silent, limit, text = int(sys.argv[1]), 0, float(sys.argv[2]), sys.argv[3].encode()
while True:
    if select.select([0], [], [], {TICK})[0]:
        lines = os.read(0, 65536).splitlines()
        if not lines:
            break
        head, _, text = lines[-1].partition(b" ")
        limit, silent = float(head), 0
    else:
        try:
            with open(f"/proc/{{pid}}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
        except OSError:
            break
        silent += 0 if state in "Tt" else {TICK}
        if silent >= limit:
            sys.stderr.write("error: " + text.decode() + "\\n  {INTACT}\\n")
            sys.stderr.flush()
            os.kill(pid, 9)
            break
"""


class Watchdog:
    """One for the process; watches one call at a time, made in the main thread."""

    def __init__(self) -> None:
        self.fired = False
        self._active, self._call, self._limit, self._name, self._what = False, 0, 0.0, "", ""
        self._main = threading.main_thread().ident or 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._listener: subprocess.Popen[bytes] | None = None

    def begin(self, seconds: float, name: str, what: str) -> bool:
        """A call begins that should end within `seconds`. False where it is not watched: outside the main thread."""
        if threading.get_ident() != self._main:
            return False
        if self._thread is None:
            self._listener = listen(*plea(seconds, name))
            self._thread = threading.Thread(target=self._watch, daemon=True, name="actrix-watchdog")
            self._thread.start()
        self._limit, self._name, self._what = seconds, name, what
        self._call += 1
        self._active = True
        return True

    def end(self) -> bool:
        """The call has ended. True where it took too long (its interrupt, if still on its way, is caught here)."""
        with self._lock:
            fired, self.fired, self._active = self.fired, False, False
        if fired:
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(0.01)
        return fired

    def _forget(self) -> None:
        """In a forked child: its parent's thread and listener are not its own."""
        if self._listener is not None and self._listener.stdin is not None:
            self._listener.returncode = 0
            self._listener.stdin.close()
        self.__init__()  # type: ignore[misc]

    def _watch(self) -> None:
        pipe = None if self._listener is None else self._listener.stdin
        call, waited = 0, 0.0
        while True:
            time.sleep(TICK)
            with self._lock:
                same = self._active and self._call == call
                call, waited = self._call, waited + TICK if same else 0.0
                limit = self._limit
                if same and waited >= limit and not self.fired:
                    self.fired = True
                    signal.pthread_kill(self._main, signal.SIGINT)
            if same and waited >= limit + GRACE:
                sys.stderr.write(f"error: {self._name}: {self._what} did not return within {limit:g} s\n  {INTACT}\n")
                sys.stderr.flush()
                os._exit(1)
            if pipe is not None:
                try:
                    os.write(pipe.fileno(), "{} {}\n".format(*plea(limit, self._name)).encode())
                except OSError:
                    pipe = None


def plea(limit: float, name: str) -> tuple[float, str]:
    """How long a silence the listener should suffer, and what it should say then."""
    patience = 2 * limit + GRACE
    return patience, f"{name}: compiled code has not let Python run for {patience:g} s"


def listen(patience: float, text: str) -> subprocess.Popen[bytes] | None:
    """Start the listener; None where the system cannot."""
    if not os.path.isdir("/proc/self"):
        return None
    command = [sys.executable, "-I", "-S", "-c", LISTENER, str(os.getpid()), str(patience), text]
    try:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0, start_new_session=True
        )
    except OSError:
        return None


WATCHDOG = Watchdog()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WATCHDOG._forget)
