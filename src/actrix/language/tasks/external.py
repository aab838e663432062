"""Tasks from outside: the data sets of `reasoning-gym`, and files of prompts and answers."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from actrix.errors import ActrixError, unknown
from actrix.language.tasks.base import Prompt, Split, Task, Verdict, optional, split_of, verdict
from actrix.language.tokens import ByteTokenizer, Tokenizer

_NUMBER = re.compile(r"[-+]?[0-9][0-9,]*(?:\.[0-9]+)?")


class ReasoningGym(Task):
    """`rg:<data set>`: one of reasoning-gym's procedural data sets, with its own scorer.

    Level 1 is the data set as it comes; 2 and 3 are the next levels of its curriculum, if it has one.
    """

    name: ClassVar[str] = "rg"

    def __init__(self, dataset: str, level: int = 1, max_new: int = 256) -> None:
        self._gym: Any = optional("reasoning-gym", "language", _reasoning_gym)
        if dataset not in self._gym.factory.DATASETS:
            raise unknown("reasoning-gym data set", dataset, self._gym.factory.DATASETS)
        self.dataset = dataset
        curriculum = self._gym.factory.has_curriculum(dataset)
        self.levels: tuple[int, ...] = (1, 2, 3) if curriculum else (1,)  # type: ignore[misc]
        self.level = self.check_level(level)
        self.tokenizer: Tokenizer = ByteTokenizer()
        self.max_new = max_new
        self._scorer = self._gym.factory.get_score_answer_fn(dataset)

    @property
    def label(self) -> str:
        return f"rg:{self.dataset}"

    def _items(self, seed: int, size: int) -> Any:
        if self.level == 1:
            return self._gym.create_dataset(self.dataset, seed=seed, size=size)
        curriculum = self._gym.factory.create_curriculum(self.dataset)
        curriculum.set_global_level(self.level - 1)
        config = curriculum.generate_configuration({"seed": seed, "size": size})
        return self._gym.factory.DATASETS[self.dataset][0](config=config)

    def draw(self, random: random.Random) -> tuple[Prompt, str]:
        entry = self._items(random.getrandbits(31), 1)[0]
        answer = "" if entry["answer"] is None else str(entry["answer"])
        question = f"{entry['question']}\n"
        return Prompt(question, answer, question, {"entry": entry}), answer

    def demonstrations(self, n: int, seed: int, slips: float = 0.0) -> list[tuple[str, str]]:
        pairs = super().demonstrations(n, seed)
        if any(not completion for _, completion in pairs):
            raise ActrixError(
                f"the data set {self.dataset!r} comes without model answers", "start from a pretrained model"
            )
        return pairs

    def verify(self, prompt: Prompt, completion: str) -> Verdict:
        """Score: the data set's. Format: there is an answer at all."""
        try:
            score = min(max(float(self._scorer(completion.strip(), prompt.meta["entry"])), 0.0), 1.0)
        except Exception as error:  # a scorer that fails on odd text has not accepted it
            return Verdict(0.0, {"format": 0.0, "correct": 0.0}, f"not readable: {error}")
        parts = {"format": float(bool(completion.strip())), "correct": float(score >= 1.0)}
        return Verdict(score, parts, "" if score >= 1.0 else f"one answer: {prompt.answer}")


def _reasoning_gym() -> Any:
    import reasoning_gym

    return reasoning_gym


class Rows:
    """Part of a task whose problems are the rows of a file: `_prompts`, with the right completion in `meta`."""

    path: Path
    _prompts: list[Prompt]

    def _problems(self, split: Split, n: int, seed: int, purpose: str) -> list[tuple[Prompt, str]]:
        """The split's rows in random order, round after round, so that every row has come before one comes again."""
        rows = [p for p in self._prompts if split_of(p.key) == split]
        if not rows:
            raise ActrixError(
                f"{self.path} has no rows in the split {split!r}", "the file is very small: add rows to it"
            )
        found: list[Prompt] = []
        source = random.Random(f"{split}/{purpose}/{seed}")
        while len(found) < n:
            found += source.sample(rows, len(rows))
        return [(p, p.meta["completion"]) for p in found[:n]]


class JsonLines(Rows, Task):
    """`jsonl:<path>`: a file with an object per line, of `prompt` and `answer` or `question` and `answer`.

    Where the answer ends in `#### number` (the format of GSM8K, Cobbe et al., 2110.14168), a completion must do so
    with an equal number, however it got there; else its text must be the answer, up to case and white space.
    """

    name: ClassVar[str] = "jsonl"
    levels: ClassVar[tuple[int, ...]] = (1,)

    def __init__(self, path: str | Path, level: int = 1, max_new: int | None = None) -> None:
        self.path = Path(path)
        self.level = self.check_level(level)
        self.tokenizer: Tokenizer = ByteTokenizer()
        self._prompts = list(_read(self.path))
        longest = max(len(self.tokenizer.encode(p.meta["completion"])) for p in self._prompts)
        self.max_new = longest + 1 if max_new is None else max_new

    @property
    def label(self) -> str:
        return f"jsonl:{self.path}"

    def draw(self, random: random.Random) -> tuple[Prompt, str]:
        prompt = random.choice(self._prompts)
        return prompt, prompt.meta["completion"]

    def verify(self, prompt: Prompt, completion: str) -> Verdict:
        wanted = prompt.answer
        if not prompt.meta["number"]:
            found = " ".join(completion.split())
            right = found.casefold() == " ".join(wanted.split()).casefold()
            return verdict(bool(found), right, "" if right else f"the answer is {wanted}")
        value = final_number(completion)
        if value is None:
            return verdict(False, False, "no '#### number' at the end")
        right = value == Fraction(wanted)
        return verdict(True, right, "" if right else f"the answer is {wanted}")


def final_number(text: str) -> Fraction | None:
    """The number after the last `####`, if that is how the text ends. Commas and a dollar sign are ignored."""
    _, mark, tail = text.rpartition("####")
    tail = tail.strip().replace("$", "").rstrip(".")
    if not mark or len(tail) > 40 or not _NUMBER.fullmatch(tail):
        return None
    return Fraction(tail.replace(",", ""))


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file of JSON lines, each with its place for error messages; an error names file and line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ActrixError(f"cannot read {path}: {error.strerror}", "check the path after the colon") from None
    empty = True
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        empty = False
        where = f"{path}, line {number}"
        try:
            row = json.loads(line.decode())
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ActrixError(f"{where}: not a JSON object ({error})", "repair or remove the line") from None
        yield where, row if isinstance(row, dict) else {}
    if empty:
        raise ActrixError(f"{path} has no rows", "write an object in each line")


def _read(path: Path) -> Iterator[Prompt]:
    for where, row in read_rows(path):
        question, answer = row.get("prompt", row.get("question")), row.get("answer")
        if not isinstance(question, str) or not isinstance(answer, str | int | float) or not question:
            raise ActrixError(
                f"{where}: needs the fields 'prompt' (or 'question') and 'answer'", "repair or remove the line"
            )
        completion = str(answer)
        value = final_number(completion)
        if value is None and "####" in completion:
            raise ActrixError(f"{where}: '####' is not followed by a number", "repair or remove the line")
        shown = completion if value is None else str(value)
        meta = {"completion": completion, "number": value is not None}
        yield Prompt(f"{question}\n", shown, question, meta)
