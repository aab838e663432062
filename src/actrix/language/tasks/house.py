"""house: find the key, find the door, and get out, in at most twelve commands.

hall nothing :   ->   go left . kitchen key take key . kitchen nothing go right . hall nothing ... open door . outside

Four rooms in a row; the key lies in one, the door is in another, and one sees what is in the room where one is. Nothing
is earned but 1 for getting out. The level is how many words a command takes: at level 1 one or two, at level 2 from
one to six, at level 3 from nine to eleven; the houses are the same, and each is met in training and in testing.
"""

from __future__ import annotations

import itertools
import random
from typing import ClassVar

from actrix.language.tasks.base import Prompt, Reply
from actrix.language.tasks.conversation import Conversation
from actrix.language.tokens import Tokenizer, WordTokenizer

ROOMS = ("cellar", "kitchen", "hall", "attic")
TURNS = 12
LEFT, RIGHT, TAKE, OPEN, WAIT = range(5)
COMMANDS = {
    1: ("go left .", "go right .", "take key .", "open door .", "wait ."),
    2: ("left .", "walk over to the right .", "pick up key .", "open the door with the key .", "wait a little ."),
    3: (
        "turn round and walk slowly back to the left side .",
        "walk slowly on and over to the right side .",
        "look round and then slowly pick up the key .",
        "walk up to the door and open it with the key .",
        "sit down and wait a little on the left side .",
    ),
}


class House:
    """The counterpart: a house with somebody in it."""

    def __init__(self, place: int, key: int, door: int, commands: tuple[str, ...]) -> None:
        self.place, self.key, self.door = place, key, door
        self._moves = {text: move for move, text in enumerate(commands)}
        self.held, self._turn = False, 0

    @property
    def hidden(self) -> tuple[int, int]:
        """Where the key and the door are."""
        return self.key, self.door

    def view(self) -> str:
        here = "door" if self.place == self.door else "key" if self.place == self.key and not self.held else "nothing"
        return f"{ROOMS[self.place]} {here}"

    def hear(self, utterance: str) -> Reply:
        self._turn += 1
        last, move = self._turn >= TURNS, self._moves.get(utterance)
        if move is None:
            return Reply("what", 0.0, last)
        if move == OPEN and self.held and self.place == self.door:
            return Reply("outside", 1.0, True)
        if move == TAKE and self.place == self.key:
            self.held = True
        elif move in (LEFT, RIGHT):
            self.place = min(max(self.place + (1 if move == RIGHT else -1), 0), len(ROOMS) - 1)
        return Reply(self.view(), 0.0, last)

    def snapshot(self) -> tuple[int, bool, int]:
        return self.place, self.held, self._turn

    def restore(self, state: tuple[int, bool, int]) -> None:
        self.place, self.held, self._turn = state


class Escape(Conversation):
    name: ClassVar[str] = "house"
    turns = TURNS
    end: ClassVar[str] = "."
    success: ClassVar[str] = "outside"

    def __init__(self, level: int = 1) -> None:
        self.level = self.check_level(level)
        self.commands = COMMANDS[level]
        spoken = dict.fromkeys(w for text in self.commands for w in text.split())
        seen = (*ROOMS, "key", "door", "nothing", "outside", "what", ":")
        self.tokenizer: Tokenizer = WordTokenizer([*dict.fromkeys((*spoken, *seen))], end=".")
        self.max_new = TURNS * (self.utterance + 2)

    @property
    def utterance(self) -> int:
        return max(len(text.split()) for text in self.commands)

    def everything(self) -> list[Prompt]:
        return [
            self.problem(place, key, door)
            for place, (key, door) in itertools.product(range(len(ROOMS)), itertools.permutations(range(len(ROOMS)), 2))
        ]

    def problem(self, place: int, key: int, door: int) -> Prompt:
        view = House(place, key, door, self.commands).view()
        return Prompt(f"{view} :", "outside", f"{place}{key}{door}", {"place": place, "key": key, "door": door})

    def counterpart(self, prompt: Prompt) -> House:
        return House(prompt.meta["place"], prompt.meta["key"], prompt.meta["door"], self.commands)

    def missed(self, prompt: Prompt) -> str:
        return "still inside"

    def best(self, prompt: Prompt) -> list[str]:
        return self.stay(prompt, None)

    def stay(self, prompt: Prompt, careless: random.Random | None) -> list[str]:
        """What somebody says until it is over. The careful go where they know that they have to go, or else into the
        nearest room where they have not been yet (the left one of two); the careless say anything."""
        house, said = self.counterpart(prompt), list[str]()
        been = {house.place}
        for _ in range(TURNS):
            move = sensible(house, been) if careless is None else careless.randrange(len(self.commands))
            said.append(self.commands[move])
            if house.hear(said[-1]).over:
                break
            been.add(house.place)
        return said

    def conversations(self, n: int, seed: int, slips: float = 0.0) -> list[tuple[Prompt, list[str]]]:
        """n houses, each equally likely; a share `slips` of those in them are careless."""
        source, every = random.Random(f"{self.label}/{self.level}/stays/{seed}"), self.everything()
        found = []
        for _ in range(n):
            prompt = source.choice(every)
            found.append((prompt, self.stay(prompt, source if source.random() < slips else None)))
        return found


def sensible(house: House, been: set[int]) -> int:
    """The next move of somebody who has been in these rooms, by what there is to be seen in them."""
    goal = house.door if house.held else house.key
    if goal not in been:
        goal = min(set(range(len(ROOMS))) - been, key=lambda room: (abs(room - house.place), room))
    elif goal == house.place:
        return OPEN if house.held else TAKE
    return LEFT if goal < house.place else RIGHT
