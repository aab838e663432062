"""list-dsl: repair a small list program that has one or two wrong operators.

a3s0t2;351>46#84;...:   ->   1r0        operator 1 (counted from 0) should be r0

A program is a row of operators, a letter and an argument each; lists hold the digits 0 to 9 and arithmetic is modulo
10, so a list is written without commas. The prompt shows the program and its visible tests: input>wanted=given where
one passes, input>wanted#given where it fails. An answer is the edits that repair the program, `position operator
argument`, with commas between. It is right if the repaired program also passes the hidden tests, which nothing but
the verifier sees.

`Repair` is the same problem as a world with text tools (VIEW, RUN, EDIT, FINISH), for agents and search.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from actrix.language.tasks.base import Prompt, Task, Verdict
from actrix.language.tokens import TaskTokenizer, Tokenizer

Digits = tuple[int, ...]
Program = tuple[str, ...]  # of operators such as "a3"
Example = tuple[Digits, Digits]  # input, wanted output

OPERATORS: dict[str, tuple[str, Callable[[Digits, int], Digits]]] = {  # letter -> its arguments, what it does
    "a": ("123456789", lambda x, c: tuple((v + c) % 10 for v in x)),
    "x": ("2379", lambda x, c: tuple(v * c % 10 for v in x)),
    "g": ("1234567", lambda x, c: tuple(v for v in x if v > c)),
    "l": ("2345678", lambda x, c: tuple(v for v in x if v < c)),
    "t": ("1234", lambda x, c: x[:c]),
    "d": ("123", lambda x, c: x[c:]),
    "s": ("0", lambda x, c: tuple(sorted(x))),
    "r": ("0", lambda x, c: x[::-1]),
    "z": ("0", lambda x, c: tuple((b - a) % 10 for a, b in itertools.pairwise(x))),  # differences of neighbours
    "p": ("0", lambda x, c: tuple(sum(x[: i + 1]) % 10 for i in range(len(x)))),  # running sums
    "m": ("0", lambda x, c: (sum(x) % 10,)),  # the sum alone
}
EVERY = tuple(letter + argument for letter, (arguments, _) in OPERATORS.items() for argument in arguments)
VISIBLE, HIDDEN = 3, 8
_EDIT = re.compile(r"[0-5][a-z][0-9]")


@dataclass(frozen=True)
class _Level:
    lengths: tuple[int, int]  # of programs
    bugs: tuple[int, int]


_LEVELS = {1: _Level((3, 4), (1, 1)), 2: _Level((3, 6), (1, 2)), 3: _Level((5, 6), (2, 2))}


def run(program: Program, given: Digits) -> Digits:
    """The output for one input."""
    for operator in program:
        given = OPERATORS[operator[0]][1](given, int(operator[1]))
    return given


def passed(program: Program, tests: Sequence[Example]) -> float:
    """The share of tests that a program passes."""
    return sum(run(program, given) == wanted for given, wanted in tests) / len(tests)


def edited(program: Program, edit: str) -> Program | None:
    """The program after an edit such as "1r0"; None where there is no such operator or position, or nothing changes."""
    if not _EDIT.fullmatch(edit) or edit[1:] not in EVERY:
        return None
    place, operator = int(edit[0]), edit[1:]
    if place >= len(program) or program[place] == operator:
        return None
    return (*program[:place], operator, *program[place + 1 :])


def show(program: Program, tests: Sequence[Example], tried: str = "") -> str:
    """A state as a model reads it: the program, its visible tests, and what was said of earlier tries."""
    rows = ""
    for given, wanted in tests:
        found = run(program, given)
        rows += f";{_join(given)}>{_join(wanted)}{'=' if found == wanted else '#'}{_join(found)}"
    return "".join(program) + rows + tried + ":"


def hint(edit: str, value: float, suspect: int) -> str:
    """Hindsight: an edit that was tried, how good its result was (share of tests), the operator to look at next."""
    return f"!{edit}{round(9 * min(max(value, 0.0), 1.0))}?{suspect}"


def _join(digits: Digits) -> str:
    return "".join(map(str, digits))


class ListDsl(Task):
    name: ClassVar[str] = "list-dsl"

    def __init__(self, level: int = 1) -> None:
        self.level = self.check_level(level)
        self.tokenizer: Tokenizer = TaskTokenizer("0123456789" + "".join(OPERATORS) + ";>=#!?,:")
        self._level = _LEVELS[level]
        self.max_new = 4 * self._level.bugs[1]  # edits, commas, the end token

    def draw(self, random: random.Random) -> tuple[Prompt, str]:
        program, bugs, visible, hidden, wrong = self._problem(random, random.randint(*self._level.bugs))
        repair = ",".join(f"{place}{program[place]}" for place in bugs)
        meta = {"program": wrong, "visible": visible, "hidden": hidden}
        return Prompt(show(wrong, visible), repair, "".join(program), meta), repair

    def _problem(
        self, random: random.Random, bugs: int
    ) -> tuple[Program, list[int], tuple[Example, ...], tuple[Example, ...], Program]:
        """Right program, places of the bugs, visible and hidden tests, wrong program.

        Every bug shows: putting any one operator right again changes an output, and a visible test fails.
        """
        while True:
            program = tuple(random.choice(EVERY) for _ in range(random.randint(*self._level.lengths)))
            inputs: dict[Digits, None] = {}
            while len(inputs) < VISIBLE + HIDDEN:
                inputs[tuple(random.randint(0, 9) for _ in range(random.randint(3, 5)))] = None
            tests = tuple((given, run(program, given)) for given in inputs)
            visible, hidden = tests[:VISIBLE], tests[VISIBLE:]
            if len({wanted for _, wanted in tests}) < 6:  # an output that says nothing of the input
                continue
            places = sorted(random.sample(range(len(program)), min(bugs, len(program))))
            wrong = list(program)
            for place in places:
                wrong[place] = random.choice([o for o in EVERY if o != program[place]])
            broken = tuple(wrong)
            halves = [edited(broken, f"{place}{program[place]}") for place in places]
            shows = all(half is not None and _outputs(half, tests) != _outputs(broken, tests) for half in halves)
            if shows and passed(broken, visible) < 1 and passed(broken, hidden) < 1:
                return program, places, visible, hidden, broken

    def verify(self, prompt: Prompt, completion: str) -> Verdict:
        """Format: edits that can be made, one after the other. Correct: then every hidden and visible test passes.

        The score is a tenth each for format and for the share of visible tests, and the rest for being right.
        """
        program = prompt.meta["program"]
        for edit in completion.split(",") if len(completion) <= 100 else [""]:
            after = edited(program, edit)
            if after is None:
                return Verdict(
                    0.0, {"format": 0.0, "visible": 0.0, "correct": 0.0}, f"no edit of the program: {edit!r:.20}"
                )
            program = after
        shown = passed(program, prompt.meta["visible"])
        right = float(shown == 1.0 and passed(program, prompt.meta["hidden"]) == 1.0)
        score = 0.1 + 0.1 * shown + 0.8 * right
        text = "" if right else "a hidden test fails" if shown == 1.0 else "a visible test fails"
        return Verdict(score, {"format": 1.0, "visible": shown, "correct": right}, text)

    # -- what agents and their critics learn from

    def demonstrations(self, n: int, seed: int, slips: float = 0.0) -> list[tuple[str, str]]:
        """Half of them after tries that went wrong, with what a critic would have said of those (see `hint`)."""
        source = random.Random(f"{self.label}/{self.level}/tries/{seed}")
        pairs = []
        for prompt, completion in self._problems("train", n, seed, "demonstrations"):
            tried = ""
            if source.random() < 0.5:
                tried = self._tries(source, prompt, completion)
            pairs.append((show(prompt.meta["program"], prompt.meta["visible"], tried), completion))
        return pairs

    def _tries(self, random: random.Random, prompt: Prompt, completion: str) -> str:
        program, right = prompt.meta["program"], completion.split(",")
        found = ""
        for _ in range(random.randint(1, 2)):
            place = int(random.choice(right)[0]) if random.random() < 0.6 else random.randrange(len(program))
            edit = f"{place}{random.choice(EVERY)}"
            after = edited(program, edit)
            if after is None or edit in right:
                continue
            suspect = int(random.choice(right)[0]) if random.random() < 0.6 else random.randrange(len(program))
            found += hint(edit, passed(after, prompt.meta["visible"]), suspect)
        return found

    def judged(self, n: int, seed: int) -> list[tuple[str, float, int]]:
        """n states of the training split: text, share of hidden tests passed, a wrong operator's place (-1: none).

        From nothing wrong to one bug more than a problem begins with, as edits leave a program.
        """
        source = random.Random(f"{self.label}/{self.level}/judged/{seed}")
        found = []
        for prompt, completion in self._problems("train", n, seed, "judged"):
            program, right = prompt.meta["program"], completion.split(",")
            wrong = {int(edit[0]) for edit in right}
            for edit in (*right, *(f"{source.randrange(len(program))}{source.choice(EVERY)}" for _ in range(2))):
                if source.random() < 0.4 and (after := edited(program, edit)) is not None:
                    program = after
                    wrong = wrong - {int(edit[0])} if edit in right else wrong | {int(edit[0])}
            suspect = source.choice(sorted(wrong)) if wrong else -1
            found.append((show(program, prompt.meta["visible"]), passed(program, prompt.meta["hidden"]), suspect))
        return found

    def open(self, prompt: Prompt) -> Repair:
        """The problem as a world. The hidden tests stay behind."""
        return Repair(prompt.meta["program"], prompt.meta["visible"])


def _outputs(program: Program, tests: Sequence[Example]) -> list[Digits]:
    return [run(program, given) for given, _ in tests]


@dataclass(frozen=True)
class Snapshot:
    """A state of `Repair`."""

    program: Program
    edits: tuple[str, ...]
    finished: bool


class Repair:
    """A program under repair: text tools, `snapshot` and `restore`.

    VIEW            the program, an operator a line
    RUN             the visible tests that fail
    EDIT pos op arg operator `pos` becomes `op arg`
    FINISH          hands the program in
    """

    def __init__(self, program: Program, visible: Sequence[Example]) -> None:
        self.program, self.visible = program, tuple(visible)
        self.edits: tuple[str, ...] = ()
        self.finished = False

    def act(self, command: str) -> str:
        """What a tool answers; text that is no command gets an answer too."""
        tool, *words = command.split()[:5] or [""]
        if self.finished:
            return "error: the program was handed in"
        if tool == "VIEW" and not words:
            return "\n".join(f"{i} {operator[0]} {operator[1]}" for i, operator in enumerate(self.program))
        if tool == "RUN" and not words:
            return "\n".join(self._failures()) or "all visible tests pass"
        if tool == "EDIT" and len(words) == 3:
            return "edited" if self.edit("".join(words)) else f"error: cannot edit {' '.join(words)[:20]}"
        if tool == "FINISH" and not words:
            self.finished = True
            return "handed in"
        return "error: the tools are VIEW, RUN, EDIT pos op arg, FINISH"

    def edit(self, action: str) -> bool:
        """An edit such as "1r0"; False where it cannot be made."""
        after = edited(self.program, action)
        if after is None:
            return False
        self.program, self.edits = after, (*self.edits, action)
        return True

    @property
    def answer(self) -> str:
        """The edits so far."""
        return ",".join(self.edits)

    def probe(self, source: random.Random) -> str:
        """The program's output for a random list."""
        return _join(run(self.program, tuple(source.randint(0, 9) for _ in range(source.randint(3, 5)))))

    def likeness(self, one: Snapshot, other: Snapshot) -> float:
        """The share of operators that two states have in common."""
        return sum(a == b for a, b in zip(one.program, other.program)) / len(one.program)

    def hint(self, action: str, value: float, suspect: int) -> str:
        return hint(action, value, suspect)

    def _failures(self) -> list[str]:
        rows = ((given, wanted, run(self.program, given)) for given, wanted in self.visible)
        return [f"{_join(g)} gives {_join(o)}, wanted {_join(w)}" for g, w, o in rows if o != w]

    @property
    def passes(self) -> float:
        """The share of visible tests that pass."""
        return passed(self.program, self.visible)

    def text(self, tried: str = "") -> str:
        """The state as a model reads it."""
        return show(self.program, self.visible, tried)

    def snapshot(self) -> Snapshot:
        return Snapshot(self.program, self.edits, self.finished)

    def restore(self, state: Snapshot) -> None:
        self.program, self.edits, self.finished = state.program, state.edits, state.finished
