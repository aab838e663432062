"""house: what its commands do, who gets out, and that nothing but its replies tells what it hides."""

from __future__ import annotations

import random
from itertools import product

import pytest

from actrix.language.tasks import make_task
from actrix.language.tasks.house import COMMANDS, LEFT, OPEN, RIGHT, TAKE, TURNS, WAIT, Escape, House, sensible


@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_careful_always_get_out_and_the_careless_hardly_ever(level: int) -> None:
    task = Escape(level)
    every = task._problems("test", 48, 0, "prompts")
    assert len({p.key for p, _ in every}) == 48
    for prompt, transcript in every:
        judged = task.verify(prompt, transcript)
        assert judged.score == 1
        assert task.value(prompt, transcript, judged) == 1
        tokens = task.tokenizer.encode(transcript)
        assert task.tokenizer.decode(tokens) == transcript
        assert len(tokens) <= task.max_new
        for wrong in ("", transcript[:-4], transcript + " outside", "outside", transcript.replace("key", "door")):
            assert not task.verify(prompt, wrong).correct
            assert task.value(prompt, wrong, task.verify(prompt, wrong)) == 0
    stays = task.conversations(600, 1, 1.0)
    share = sum(task.verify(p, task.transcript(p, said)).correct for p, said in stays) / 600
    assert 0.02 < share < 0.1
    assert all(len(said) <= TURNS for _, said in stays)


def shortest(place: int, key: int, door: int) -> int:
    """Commands that one needs who knows everything."""
    return abs(place - key) + abs(key - door) + 2


def test_nobody_gets_out_sooner_than_can_be_and_the_careful_lose_little() -> None:
    task = Escape(1)
    extra = []
    for prompt in task.everything():
        place, key, door = (prompt.meta[name] for name in ("place", "key", "door"))
        needed = shortest(place, key, door)
        extra.append(len(task.best(prompt)) - needed)
        # brute force: no shorter series of commands ends outside
        if needed <= 4:
            for moves in product(range(4), repeat=needed - 1):
                house = task.counterpart(prompt)
                assert not any(house.hear(task.commands[m]).over for m in moves)
    assert min(extra) == 0
    assert sum(extra) / len(extra) < 1.5


def test_what_commands_do() -> None:
    left, right, take, out, wait = (COMMANDS[1][m] for m in (LEFT, RIGHT, TAKE, OPEN, WAIT))
    house = House(1, 2, 0, COMMANDS[1])
    said = [house.hear(text).text for text in (take, right, out, take, take, right, right, "go go go", wait)]
    told = ["kitchen nothing", "hall key", "hall key", "hall nothing", "hall nothing", "attic nothing", "attic nothing"]
    assert said == [*told, "what", "attic nothing"]
    before = house.snapshot()
    replies = [house.hear(left) for _ in range(3)]
    assert [r.text for r in replies] == ["hall nothing", "kitchen nothing", "cellar door"]
    assert replies[-1].over, "these were twelve commands"
    house.restore(before)
    for _ in range(2):
        house.hear(left)
    assert house.hear(out).text == "kitchen nothing", "the door is in the cellar"
    house = House(0, 0, 0, COMMANDS[1])
    house.hear(take)
    end = house.hear(out)
    assert (end.text, end.reward, end.over) == ("outside", 1.0, True)


def test_levels_differ_in_words_alone() -> None:
    source = random.Random(0)
    moves = [[source.randrange(5) for _ in range(TURNS)] for _ in range(50)]
    seen = []
    for level in (1, 2, 3):
        task = make_task("house", level)
        assert isinstance(task, Escape)
        told = []
        for prompt, made in zip(task.everything(), moves):
            house = task.counterpart(prompt)
            told.append([house.hear(task.commands[m]) for m in made])
        seen.append(told)
    assert seen[0] == seen[1] == seen[2]
    lengths = {level: [len(text.split()) for text in COMMANDS[level]] for level in (1, 2, 3)}
    assert [(min(n) - 1, max(n) - 1) for n in lengths.values()] == [(1, 2), (1, 6), (9, 11)]


def test_the_careful_go_by_what_they_have_seen() -> None:
    """Two houses that look alike so far get the same command."""
    for here, key, door in ((0, 2, 3), (0, 3, 2), (0, 3, 1)):
        house = House(here, key, door, COMMANDS[1])
        assert sensible(house, {0}) == RIGHT
    assert sensible(House(1, 3, 2, COMMANDS[1]), {1}) == LEFT
    assert sensible(House(2, 3, 0, COMMANDS[1]), {0, 1, 2}) == RIGHT
