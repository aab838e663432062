"""Tasks: verifiers against oracles, splits, determinism, and files that are not what they should be."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actrix.errors import ActrixError
from actrix.language.tasks import BUNDLED, Prompt, Task, make_task, split_of
from actrix.language.tasks.expression import ExpressionError, parse
from actrix.language.tasks.external import final_number

EVERY = [(name, level) for name in BUNDLED for level in (1, 2, 3)]
GSM8K = Path("../shared/data/gsm8k/train.jsonl")


@cache
def reachable(numbers: tuple[int, ...]) -> dict[Fraction, str]:
    """Every value that all the numbers make, with an expression: by brute force over pairs."""
    if len(numbers) == 1:
        return {Fraction(numbers[0]): str(numbers[0])}
    found: dict[Fraction, str] = {}
    for size in range(1, len(numbers)):
        for chosen in itertools.combinations(range(len(numbers)), size):
            left = tuple(numbers[i] for i in chosen)
            right = tuple(numbers[i] for i in range(len(numbers)) if i not in chosen)
            for (a, x), (b, y) in itertools.product(reachable(left).items(), reachable(right).items()):
                values = {"+": a + b, "-": a - b, "*": a * b} | ({"/": a / b} if b else {})
                for sign, value in values.items():
                    found.setdefault(value, f"({x}{sign}{y})")
    return found


@pytest.mark.parametrize(("name", "level"), EVERY)
def test_the_verifier_accepts_every_demonstration(name: str, level: int) -> None:
    task = make_task(name, level)
    for prompt, completion in task._problems("train", 200, 0, "demonstrations"):
        judged = task.verify(prompt, completion)
        assert judged.score == 1.0
        assert judged.correct
        assert all(part == 1.0 for part in judged.components.values())
        tokens = task.tokenizer.encode(completion)
        assert len(tokens) + 1 <= task.max_new
        assert task.tokenizer.decode(tokens) == completion
        assert task.tokenizer.decode(task.tokenizer.encode(prompt.text)) == prompt.text


@pytest.mark.parametrize(("name", "level"), EVERY)
def test_the_verifier_rejects_corruptions(name: str, level: int) -> None:
    task = make_task(name, level)
    for prompt, completion in task._problems("train", 60, 1, "demonstrations"):
        wrong = ["", " ", completion + "x", completion[:-1] + "?", "9" * 2000, "((((", "1" * 50]
        if name == "countdown":
            numbers = prompt.meta["numbers"]
            wrong += [f"{completion}+{numbers[0]}", f"{completion}*1", str(prompt.meta["target"]), f"-({completion})"]
            wrong += [f"({completion})-0", f"{completion}={prompt.meta['target']}", "+".join(map(str, numbers)) + "/0"]
        if name == "sort":
            wrong += [completion + " 5", completion.replace(" ", ","), completion[2:]]
            if completion != completion[::-1] and len(set(prompt.meta["numbers"])) > 1:
                wrong.append(" ".join(reversed(completion.split(" "))))
        if name == "arithmetic":
            steps, _, answer = completion.partition("#")
            wrong += [f"{steps}#{int(answer) + 1}", answer, f"#{answer}", f"{steps}#-{answer}"]
        if name == "any-order":
            steps, _, answer = completion.partition(" ; ans ")
            wrong += [f"{steps} ; ans {(int(answer) + 1) % 5}{answer}", steps, f"ans {answer}"]
        for text in wrong:
            judged = task.verify(prompt, text)
            assert not judged.correct, (prompt.text, text)
            assert judged.score is not None
            assert judged.score < 1.0


@pytest.mark.parametrize(("name", "level"), EVERY)
def test_splits_are_disjoint_and_draws_depend_on_the_seed_only(name: str, level: int) -> None:
    task = make_task(name, level)
    train, test = task.prompts("train", 300, 0), task.prompts("test", 60, 0)
    assert {split_of(p.key) for p in train} == {"train"}
    assert {split_of(p.key) for p in test} == {"test"}
    assert {p.key for p in train}.isdisjoint(p.key for p in test)
    assert {text for text, _ in task.demonstrations(300, 0)}.isdisjoint(p.text for p in test)
    assert train == make_task(name, level).prompts("train", 300, 0)
    assert train != task.prompts("train", 300, 1)
    assert len({p.text for p in test}) == len(test)


def test_the_key_forgets_the_order_of_numbers() -> None:
    """So no test problem is a training problem with its numbers in another order."""
    for name in BUNDLED:
        groups: dict[str, set[str]] = {}
        for prompt in make_task(name).prompts("train", 2000, 0):
            groups.setdefault(prompt.key, set()).add(prompt.text)
        assert any(len(texts) > 1 for texts in groups.values())


def test_a_sum_is_right_in_every_order_and_marked_where_it_is_not_worked_out() -> None:
    task = make_task("any-order", 2)
    for prompt in task.prompts("test", 10, 0):
        numbers = prompt.meta["numbers"]
        for order in itertools.permutations(numbers):
            sums = [s % 17 for s in itertools.accumulate(order)]
            steps = [f"{a} + {b} > {c}" for a, b, c in zip(sums, order[1:], sums[1:])]
            assert task.verify(prompt, f"{' ; '.join(steps)} ; ans {sums[-1]}").score == 1.0
        assert sums[-1] == sum(numbers) % 17
        judged = task.verify(prompt, f"{' ; '.join(steps[1:])} ; ans {sums[-1]}")  # a number was left out
        assert (judged.correct, judged.components["format"]) == (True, 0.0)


@pytest.mark.parametrize(("name", "text"), [("any-order", "1 + 2 > 3 ; ans 3"), ("arith-trace", "1 + 2 > 3 ; ans 3"),
                                            ("arithmetic", "1+2+0=3#3"), ("countdown", "3")])  # fmt: skip
def test_votes_compare_what_working_comes_to(name: str, text: str) -> None:
    assert make_task(name).conclusion(text) == "3"
    assert make_task(name).conclusion("7") == "7"


@pytest.mark.parametrize("level", [1, 2])
def test_countdown_agrees_with_a_brute_force_solver(level: int) -> None:
    task = make_task("countdown", level)
    for prompt in task.prompts("test", 30 if level == 1 else 6, 0):
        values = reachable(tuple(sorted(prompt.meta["numbers"])))
        assert prompt.meta["target"] in values
        for value, expression in itertools.islice(values.items(), 400):
            assert parse(expression).value == value
            judged = task.verify(prompt, expression)
            assert judged.components["format"] == 1.0
            assert judged.correct == (value == prompt.meta["target"])
            assert judged.score == pytest.approx(1.0 if judged.correct else 0.1)


TREE = st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner, st.booleans()).map(
        lambda t: f"({t[0]}{t[1]}{t[2]})" if t[3] else f"{t[0]}{t[1]} {t[2]}"
    ),
    max_leaves=8,
)


@given(TREE)
def test_the_parser_agrees_with_python_s(text: str) -> None:
    """The oracle is Python's own grammar, over fractions; only the test evaluates code."""
    import re

    spelled = re.sub(r"\d+", lambda m: f"Fraction({int(m[0])})", text)
    try:
        expected = eval(spelled, {"Fraction": Fraction})
    except ZeroDivisionError:
        with pytest.raises(ExpressionError, match="division by zero"):
            parse(text)
        return
    found = parse(text)
    assert found.value == expected
    assert list(found.numbers) == [int(n) for n in re.findall(r"\d+", text)]


@pytest.mark.parametrize(
    "text", ["", "1+", "(1", "1)", "1 2", "-1", "1**2", "1//2", "a", "__import__('os')", "1.5", "٣+1", "(" * 99, "1e9"]
)
def test_what_is_not_an_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text)


@given(st.text(max_size=40))
def test_any_text_gets_a_verdict(text: str) -> None:
    for name in BUNDLED:
        task = make_task(name)
        assert task.verify(_first(task), text).score is not None


@cache
def _first(task: Task) -> Prompt:
    return task.prompts("test", 1, 0)[0]


def test_names_that_nobody_knows() -> None:
    for name, hint in (
        ("cuontdown", "countdown"),
        ("rg:", "rg:NAME"),
        ("countdown:2", "countdown"),
        ("nonsense", "sort"),
    ):
        with pytest.raises(ActrixError) as caught:
            make_task(name)
        assert hint in caught.value.hint
    with pytest.raises(ActrixError, match="no level 4"):
        make_task("sort", 4)
    with pytest.raises(ActrixError, match="splits"):
        make_task("sort").prompts("validation", 1, 0)  # type: ignore[arg-type]


def test_reasoning_gym_by_name() -> None:
    pytest.importorskip("reasoning_gym", reason="the extra [language] is not installed")
    task = make_task("rg:spell_backward", 2)
    prompt = task.prompts("test", 1, 0)[0]
    assert task.verify(prompt, prompt.answer).score == 1.0
    assert not task.verify(prompt, prompt.answer + "x").correct
    assert task.prompts("train", 5, 3) == task.prompts("train", 5, 3)
    text, completion = task.demonstrations(1, 0)[0]
    assert text.split()[-1] == completion[::-1]
    with pytest.raises(ActrixError, match="spell_backwards") as caught:
        make_task("rg:spell_backwards")
    assert "spell_backward" in caught.value.hint


def test_reasoning_gym_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ActrixError, match="reasoning-gym") as caught:
        make_task("rg:gcd")
    assert "pip install" in caught.value.hint


def test_a_file_of_prompts_and_answers(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"What follows {n}?", "answer": str(n + 1)} for n in range(80)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    task = make_task(f"jsonl:{path}")
    train, test = task.prompts("train", 60, 0), task.prompts("test", 3, 0)
    assert {p.text for p in train}.isdisjoint(p.text for p in test)
    assert len({p.text for p in train}) == 60
    prompt = test[0]
    assert task.verify(prompt, f" {prompt.answer}\n").score == 1.0
    assert task.verify(prompt, "seven").components == {"format": 1.0, "correct": 0.0}
    assert task.verify(prompt, " ").score == 0.0
    assert len(task.prompts("test", 500, 0)) == 500


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "a", "answer": "b"', "not a JSON object"),
        (b'{"prompt": "a"}', "needs the fields"),
        (b'["a", "b"]', "needs the fields"),
        (b'{"prompt": 3, "answer": "b"}', "needs the fields"),
        (b'{"question": "a", "answer": "so #### many"}', "not followed by a number"),
        (b"\xff\xfe", "not a JSON object"),
    ],
)
def test_a_corrupt_line_is_named_by_file_and_number(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "a", "answer": "b"}\n\n' + line + b"\n")
    with pytest.raises(ActrixError, match=reason) as caught:
        make_task(f"jsonl:{path}")
    assert f"{path}, line 3" in caught.value.message


def test_files_that_are_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(ActrixError, match="cannot read"):
        make_task(f"jsonl:{tmp_path / 'none.jsonl'}")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ActrixError, match="no rows"):
        make_task(f"jsonl:{tmp_path / 'empty.jsonl'}")


def test_final_numbers() -> None:
    assert final_number("so 3+4\n#### 7") == 7
    assert final_number("#### $1,234.50.") == Fraction("1234.5")
    assert final_number("#### 1 #### -2") == -2
    for text in ("7", "#### seven", "#### 7 apples", "####", "#### 7\n8", "#### 1/2"):
        assert final_number(text) is None


@pytest.mark.skipif(not GSM8K.exists(), reason="the GSM8K file is not beside the repository")
def test_gsm8k() -> None:
    task = make_task(f"jsonl:{GSM8K}")
    for prompt, completion in task._problems("train", 500, 0, "demonstrations"):
        assert task.verify(prompt, completion).score == 1.0
        assert task.verify(prompt, f"#### {prompt.answer}").score == 1.0
        assert not task.verify(prompt, f"{completion}1").correct
        assert not task.verify(prompt, prompt.answer).components["format"]
