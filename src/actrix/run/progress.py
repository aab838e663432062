"""What a person watches while a run goes on: steps per second, time left, the last score."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any


class Bar:
    """A live bar on a terminal; a line every ten seconds where the output is a file; nothing when quiet."""

    def __init__(self, total: int, done: int = 0, unit: str = "steps", quiet: bool = False, label: str = "") -> None:
        self.total, self.done, self.unit, self.label = total, done, unit, label
        self.notes: dict[str, str] = {}
        self._start, self._first = time.monotonic(), done
        self._last = 0.0
        self._live: Any = None
        self.mode = "quiet" if quiet else "bar" if sys.stderr.isatty() else "lines"

    def __enter__(self) -> Bar:
        if self.mode == "bar":
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[notes]}"),
                console=Console(stderr=True),
                refresh_per_second=4,
            )
            self._live.start()
            self._task = self._live.add_task(self.label, total=self.total, completed=self.done, speed="", notes="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.show(force=True)
        if self._live is not None:
            self._live.stop()

    @property
    def speed(self) -> float:
        """Units per second since this bar began."""
        return (self.done - self._first) / max(time.monotonic() - self._start, 1e-9)

    def update(self, done: int, **notes: str) -> None:
        """Set how much is done; `notes` (return="123") stay until replaced. Costs next to nothing."""
        self.done = done
        if notes:
            self.notes.update(notes)
        self.show()

    def show(self, force: bool = False) -> None:
        if self.mode == "quiet":
            return
        now = time.monotonic()
        if now - self._last < (0.2 if self.mode == "bar" else 10.0) and not force:
            return
        self._last = now
        notes = "  ".join(f"{k} {v}" for k, v in self.notes.items() if v)
        speed = f"{self.speed:,.0f} {self.unit}/s" if self.speed >= 10 else f"{self.speed:.2f} {self.unit}/s"
        if self._live is not None:
            self._live.update(self._task, completed=self.done, speed=speed, notes=notes)
        else:
            left = (self.total - self.done) / max(self.speed, 1e-9)
            left_text = f"  {left:,.0f} s left" if self.done < self.total and self.speed > 0 else ""
            print(
                f"{self.label}  {self.done:,}/{self.total:,}  {speed}{left_text}  {notes}", file=sys.stderr, flush=True
            )

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._live is not None:
            self._live.console.print(text, highlight=False)
        elif self.mode == "lines":
            print(text, file=sys.stderr, flush=True)
