"""Real `actrix` processes, quickly started, that tests may kill; and what a run folder holds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Done:
    """How a command line ended."""

    code: int  # minus the signal's number, where a signal ended it
    out: str
    err: str

    @property
    def complaint(self) -> list[str]:
        """The lines of stderr from the error on."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        starts = [i for i, line in enumerate(lines) if line.startswith("error:")]
        return lines[starts[0] :] if starts else []


class Running:
    """A command line in its own process."""

    def __init__(self, shell: Shell, pid: int, out: Path, err: Path) -> None:
        self.shell, self.pid, self.out, self.err = shell, pid, out, err
        self.done: Done | None = None

    @property
    def ended(self) -> bool:
        """Ended, if not yet waited for."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    def kill(self, sign: int = signal.SIGKILL) -> None:
        os.kill(self.pid, sign)

    def wait(self, timeout: float = 60.0) -> Done:
        if self.done is None:
            until = time.monotonic() + timeout
            while not self.ended:
                if time.monotonic() > until:
                    self.kill()
                    self.shell.ask(wait=self.pid)
                    raise AssertionError(f"still running after {timeout:g} s; stderr: {self.err.read_text()}")
                time.sleep(0.005)
            self.done = Done(int(self.shell.ask(wait=self.pid)), self.out.read_text(), self.err.read_text())
        return self.done


class Shell:
    """Starts command lines; `folder` keeps what they print."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.server = subprocess.Popen(
            [sys.executable, str(HERE / "forkserver.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            text=True,
        )

    def ask(self, **order: Any) -> str:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return self.server.stdout.readline()

    def start(self, *argv: object, limit: int = 0, cwd: Path = HERE, **env: str) -> Running:
        """Start `actrix ARGV`; `env` are environment variables, `limit` bounds the bytes of any file it writes."""
        self.count += 1
        out, err = self.folder / f"{self.count}.out", self.folder / f"{self.count}.err"
        out.touch()
        err.touch()
        words = [str(a) for a in argv]
        pid = self.ask(argv=words, cwd=str(cwd), env=env, out=str(out), err=str(err), limit=limit)
        return Running(self, int(pid), out, err)

    def __call__(self, *argv: object, timeout: float = 60.0, **more: Any) -> Done:
        """Run `actrix ARGV` to its end."""
        return self.start(*argv, **more).wait(timeout)

    def close(self) -> None:
        assert self.server.stdin is not None
        with contextlib.suppress(OSError):
            self.server.stdin.close()
        self.server.wait(10)


def checkpoints(run: Path) -> list[Path]:
    """Finished checkpoints of a run, oldest first."""
    return sorted(p for p in (run / "checkpoints").glob("*") if p.name.isdigit())


def bits(run: Path) -> dict[str, str]:
    """Everything about a run that must not depend on how often it was killed."""
    newest = checkpoints(run)[-1]
    manifest = json.loads((newest / "manifest.json").read_text())
    return {
        "step": newest.name,
        "weights": hashlib.sha256((newest / "learner.safetensors").read_bytes()).hexdigest(),
        "counters": json.dumps(manifest["counters"]),
        "metrics": (run / "metrics.jsonl").read_text(),
        **{f"traces/{p.name}": p.read_text() for p in sorted((run / "traces").glob("*.jsonl"))},
    }
