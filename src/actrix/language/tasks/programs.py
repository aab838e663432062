"""Programs judged by tests: files in the format of HumanEval, run in the sandbox."""

from __future__ import annotations

import ast
import random
from pathlib import Path
from typing import ClassVar

from actrix.errors import ActrixError
from actrix.language.sandbox import Limits, Report, Sandbox
from actrix.language.tasks.base import Prompt, Task, Verdict
from actrix.language.tasks.external import Rows, read_rows
from actrix.language.tokens import ByteTokenizer, Tokenizer

FIELDS = ("prompt", "test", "entry_point", "canonical_solution")


class HumanEval(Rows, Task):
    """`humaneval:<path>`: an object per line, of `prompt`, `test`, `entry_point` and `canonical_solution`.

    The prompt is the head of a function, a completion is its body, and `test` defines check(candidate). Prompt and
    completion are one program; the tests run beside it, out of its reach (see `actrix.language.sandbox`).
    Source: Chen et al. 2021 (2107.03374).
    """

    name: ClassVar[str] = "humaneval"
    levels: ClassVar[tuple[int, ...]] = (1,)

    def __init__(self, path: str | Path, level: int = 1, limits: Limits | None = None) -> None:
        self.path = Path(path)
        self.level = self.check_level(level)
        self.limits = limits or Limits()
        self.tokenizer: Tokenizer = ByteTokenizer()
        self._sandbox = Sandbox()
        self._prompts = []
        for where, row in read_rows(self.path):
            bad = [f for f in FIELDS if not isinstance(row.get(f), str) or not row[f]]
            if bad or not row["entry_point"].isidentifier():
                wrong = ", ".join(bad) or "entry_point"
                raise ActrixError(f"{where}: the field {wrong} is missing or wrong", "repair or remove the line")
            meta = {"completion": row["canonical_solution"], "test": row["test"], "entry_point": row["entry_point"]}
            key = str(row.get("task_id", row["prompt"]))
            self._prompts.append(Prompt(row["prompt"], row["canonical_solution"], key, meta))
        self.max_new = 1 + max(len(self.tokenizer.encode(p.answer)) for p in self._prompts)

    @property
    def label(self) -> str:
        return f"humaneval:{self.path}"

    def draw(self, random: random.Random) -> tuple[Prompt, str]:
        prompt = random.choice(self._prompts)
        return prompt, prompt.answer

    def run(self, prompt: Prompt, completion: str) -> Report:
        """Runs one completion against the problem's tests."""
        meta = prompt.meta
        return self._sandbox.check(
            prompt.text + completion, meta["test"], meta["entry_point"], prompt.text, self.limits
        )

    def verify(self, prompt: Prompt, completion: str) -> Verdict:
        """Format: it parses. Correct: every test holds. Status: the sandbox's; no score if the sandbox failed."""
        try:
            ast.parse(prompt.text + completion)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return Verdict(0.0, {"format": 0.0, "correct": 0.0}, f"not a program: {error}", "error")
        try:
            report = self.run(prompt, completion)
        except ActrixError as error:
            return Verdict(None, {}, error.message, "unavailable")
        right = float(report.passed)
        return Verdict(right, {"format": 1.0, "correct": right}, report.text, report.status, report.seconds)
