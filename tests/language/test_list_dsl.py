"""list-dsl: operators against plain Python, problems against a brute-force repairer, the world's snapshots."""

from __future__ import annotations

import itertools

import pytest

from actrix.language.tasks import ListDsl
from actrix.language.tasks.list_dsl import EVERY, VISIBLE, Repair, hint, passed, run, show


@pytest.mark.parametrize(
    ("program", "given", "wanted"),
    [
        (("a3",), (8, 0), (1, 3)),
        (("x7",), (3, 2), (1, 4)),
        (("g4", "l8"), (4, 5, 7, 8), (5, 7)),
        (("t2",), (1, 2, 3), (1, 2)),
        (("d2",), (1, 2, 3), (3,)),
        (("d3",), (1, 2), ()),
        (("s0", "r0"), (2, 9, 4), (9, 4, 2)),
        (("z0",), (3, 1, 5), (8, 4)),
        (("p0",), (5, 6, 7), (5, 1, 8)),
        (("m0",), (5, 6, 7), (8,)),
        (("m0",), (), (0,)),
    ],
)
def test_operators(program: tuple[str, ...], given: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    assert run(program, given) == wanted


@pytest.mark.parametrize("level", [1, 2, 3])
def test_problems_are_wrong_and_their_repairs_are_right(level: int) -> None:
    task = ListDsl(level)
    counts, lengths = set(), set()
    for prompt, repair in task._problems("train", 150, 0, "prompts"):
        meta = prompt.meta
        assert len(meta["visible"]) == 3
        assert len(meta["hidden"]) == 8
        assert not {g for g, _ in meta["visible"]} & {g for g, _ in meta["hidden"]}
        assert passed(meta["program"], meta["visible"]) < 1
        edits = repair.split(",")
        counts.add(len(edits))
        lengths.add(len(meta["program"]))
        assert task.verify(prompt, repair).score == 1.0
        assert task.verify(prompt, ",".join(reversed(edits))).score == 1.0
        assert not task.verify(prompt, "").correct
    assert counts == {1: {1}, 2: {1, 2}, 3: {2}}[level]
    assert lengths == {1: {3, 4}, 2: {3, 4, 5, 6}, 3: {5, 6}}[level]


def test_the_verifier_agrees_with_brute_force() -> None:
    """Every single edit of a problem: right if and only if its outputs are those of the right program."""
    task = ListDsl(1)
    found = 0
    for prompt in task.prompts("test", 5, 3):
        program, tests = prompt.meta["program"], (*prompt.meta["visible"], *prompt.meta["hidden"])
        for place, operator in itertools.product(range(len(program)), EVERY):
            changed = list(program)
            changed[place] = operator
            right = program[place] != operator and all(run(tuple(changed), g) == w for g, w in tests)
            assert task.verify(prompt, f"{place}{operator}").correct == right
            found += right
    assert found >= 5


def test_the_state_hides_the_hidden_tests() -> None:
    task = ListDsl(2)
    prompt = task.prompts("train", 1, 0)[0]
    world = task.open(prompt)
    assert not hasattr(world, "hidden")
    other = {**prompt.meta, "hidden": ()}
    assert world.text() == show(other["program"], other["visible"]) == prompt.text
    assert prompt.text.count(";") == VISIBLE


def test_tools_and_snapshots() -> None:
    world = Repair(("a3", "s0"), [((2, 1), (5, 4)), ((1, 2), (4, 5))])
    assert world.act("VIEW") == "0 a 3\n1 s 0"
    assert world.act("RUN") == "21 gives 45, wanted 54"
    assert world.passes == 0.5
    before = world.snapshot()
    assert world.act("EDIT 0 a 4") == "edited"
    deeper = world.snapshot()
    world.restore(before)
    assert (world.program, world.edits) == (("a3", "s0"), ())
    assert world.act("EDIT 1 a 0").startswith("error"), "a0 is no operator"
    assert world.act("EDIT 1 s 0").startswith("error"), "nothing would change"
    assert world.act("EDIT 9 s 0").startswith("error")
    assert world.act("rm -rf /").startswith("error")
    assert world.act("").startswith("error")
    world.restore(deeper)
    assert (world.program, world.edits) == (("a4", "s0"), ("0a4",))
    assert world.act("FINISH") == "handed in"
    assert world.act("EDIT 0 a 5").startswith("error")
    assert world.program == ("a4", "s0")
    world.restore(before)
    assert not world.finished


def test_what_a_critic_learns_from() -> None:
    task = ListDsl(2)
    rows = task.judged(400, 0)
    values = [value for _, value, _ in rows]
    assert 0.05 < sum(v == 1.0 for v in values) / len(values) < 0.6
    assert all(0 <= v <= 1 for v in values)
    for text, value, suspect in rows:
        program = text.partition(";")[0]
        assert -1 <= suspect < len(program) // 2
        if suspect == -1:
            assert value == 1.0
    assert task.judged(400, 0) == rows
    shown = task.demonstrations(200, 0)
    assert 60 < sum("!" in prompt for prompt, _ in shown) < 140
    for prompt, completion in shown:  # a try is never the repair itself
        assert not any(f"!{edit}" in prompt for edit in completion.split(","))
        assert task.tokenizer.decode(task.tokenizer.encode(prompt)) == prompt
    assert hint("1r0", 0.5, 2) == "!1r04?2"
