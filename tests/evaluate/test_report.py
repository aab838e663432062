"""The report in a real browser: values are there, nothing is loaded, nothing is executed, damage is tolerated."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from actrix.errors import ActrixError
from actrix.evaluate import pictures
from actrix.evaluate.page import bounds, number, places
from actrix.evaluate.records import read_run
from actrix.evaluate.report import write_report
from actrix.evaluate.statistics import Interval
from actrix.evaluate.traces import levels

EVIL = "</div><script>document.title='owned'</script><img src=x onerror=alert(1)>&lt;"


def text_of(html: str) -> str:
    return re.sub(r"<[^>]*>", " ", html)


def test_the_browser_tells_of_errors(browse, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    page = tmp_path / "bad.html"
    page.write_text("<p>x</p><script>nothing.there()</script>")
    assert "nothing is not defined" in browse(page)[1]


def test_one_run_in_a_browser(make_run, browse, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = make_run("one")
    screen = np.zeros((40, 60, 3), np.uint8)
    shots = [pictures.Picture(pictures.png(screen), i, i * 2.0, i * 0.1) for i in range(3)]
    pictures.save(shots, folder)
    out = write_report([folder], tmp_path / "page")
    assert out == tmp_path / "page" / "report.html"
    dom, console = browse(out)
    assert console == ""
    run, text = read_run(folder), text_of(dom)
    last = run.evaluations[-1]
    for value in ("sac on HalfCheetah-v5", "100,000", "2.13.0", "3.11.7", "learning_rate", "[256, 256]"):
        assert value in text
    assert number(last.mean, 0) in text
    assert f"[{number(last.low, 0)}, {number(last.high, 0)}]" in text
    assert "actrix train sac --env HalfCheetah-v5 --steps 100000 --seed 0" in text
    assert "steps per second (median), 2 min 0 s in all" in text
    assert dom.count('class="line') >= 6  # curve, training episodes, three figures, speed
    assert len(re.findall(r'<img src="data:image/png', dom)) == 3
    assert dom.count('class="tip"') >= 5  # the hover script ran
    assert not re.search(r'(src|href)="(?!data:)', dom)


def test_hostile_text_is_shown_and_not_executed(make_run, browse, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = make_run("evil", system="grpo", env=None, task="countdown", config={EVIL: EVIL})
    token = {"text": EVIL, "advantage": 0.5, "logp": -1.0, "action": True}
    trace = {"step": 5, "prompt": EVIL, "tokens": [token], "score": 1.0, "parts": {EVIL: 0.5}}
    (folder / "traces").mkdir()
    (folder / "traces" / "5.jsonl").write_text(json.dumps(trace) + "\n")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 100_000, "kind": "train", EVIL: 1.0}) + "\n")
    out = write_report([folder], tmp_path / "evil.html")
    source = out.read_text()
    assert source.count("<script") == 1
    assert "<img" not in source
    dom, console = browse(out)
    assert console == ""
    assert "<title>grpo on countdown level 1</title>" in dom
    assert "document.title='owned'" in text_of(dom).replace("&lt;", "<")
    assert "pass@4" in dom


def message(role: str, parent: int, words: str, **about: object) -> dict[str, object]:
    tokens = [{"text": w, "advantage": 0.5, "logp": -1.0, "action": True} for w in words.split()]
    return {"role": role, "parent": parent, "tokens": tokens, **about}


def test_messages_stand_under_what_they_answer(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A tree of critiques and revisions: roles, verdicts and rewards beside each, and what a revision changed."""
    messages = [
        message("actor", -1, "1 + 1 = 3", score=0.1, parts={"correct": 0.0}, verdict="step 1 is false"),
        message("critic", 0, "bad step 1", score=1.0, parts={}, reward=1.2),
        message("actor", 1, "1 + 1 = 2", score=1.0, parts={}, revises=0),
        message("critic", 0, "ok", reward=-1.0, verdict=EVIL),
        message("actor", 3, "1 + 1 = 3", revises=0),
        message("critic", 99, "lost"),
    ]
    folder = make_run("tree", system="critique-rl", env=None, task="arith-trace")
    lines = [{"step": 1, "prompt": "1 + 1 :", "messages": messages, "score": 0.5}]
    lines += [{"step": 1, "prompt": "x", "messages": "broken", "score": 0.1}]
    (folder / "traces").mkdir()
    (folder / "traces" / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = write_report([folder], tmp_path / "tree.html").read_text()
    tree = source[source.index('<div class="trace">') :]
    assert re.findall(r'--level:(\d)"><span class="role">(\w+)', tree) == [
        ("0", "actor"), ("1", "critic"), ("2", "actor"), ("1", "critic"), ("2", "actor"),
    ]  # fmt: skip
    assert re.findall(r'class="t up changed"[^>]*>([^<]*)<', tree) == ["2"]
    for text in ("step 1 is false", "<b>+1.2</b>", f"<b>{number(-1.0)}</b>", "correct 0", "score 0.5"):
        assert text in tree
    assert source.count("<script") == 1
    assert "lost" not in tree


def test_a_conversation_keeps_its_speakers_on_their_lines() -> None:
    talk = [message("asker", -1, "a"), *(message("asker" if i % 2 else "other", i, "b") for i in range(5))]
    assert levels(talk) == [0, 1, 0, 1, 0, 1]
    fork = [*talk, message("other", 0, "c"), message("asker", 6, "d")]
    assert levels(fork) == [0, 1, 2, 1, 2, 1, 1, 2]


def test_tokens_are_coloured_by_advantage(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = make_run("traces", system="grpo", env=None, task="countdown")
    tokens = [
        {"text": "given", "advantage": 0.0, "logp": 0.0, "action": False},
        {"text": "good", "advantage": 2.0, "logp": float(np.log(0.25)), "action": True},
        {"text": "bad\n", "advantage": -1.0, "logp": -0.1, "action": True},
    ]
    rows = [{"step": 9, "prompt": f"p{i}", "tokens": tokens, "score": i / 10, "parts": {}} for i in range(10)]
    (folder / "traces").mkdir()
    (folder / "traces" / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    html = write_report([folder], tmp_path).read_text()
    assert '<span class="t given">given</span>' in html
    assert '<span class="t up" style="--a:0.75" title="advantage 2, probability 0.25">good</span>' in html
    assert re.search(r'<span class="t down" style="--a:0.38"[^>]*>bad↵\n</span>', html)
    assert "6 of 10 traces from step 9" in html
    assert [f"p{i}" for i in (9, 8, 7, 2, 1, 0)] == re.findall(r'<div class="prompt">(p\d)</div>', html)


def test_several_seeds_and_systems(make_run, browse, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folders = [make_run(f"{s}{i}", system=s, seed=i) for s in ("sac", "td3") for i in range(3)]
    dom, console = browse(write_report(folders, tmp_path / "r.html"))
    assert console == ""
    assert "IQM of 3 seeds" in dom
    assert dom.count("<details") == 6
    assert dom.count("<tr>") > 3
    assert "P(better)" in dom
    assert "Performance profile" in dom


def test_different_tasks_get_sections_of_their_own(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    html = write_report(
        [make_run("a"), make_run("b", env="Hopper-v5"), make_run("c", system="ppo")], tmp_path
    ).read_text()
    assert re.findall(r"<h2>([^<]+)</h2>", html) == ["HalfCheetah-v5", "Hopper-v5"]
    assert html.count("<h3>Comparison</h3>") == 1


def test_damage_is_tolerated_and_said(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = make_run("cut")
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines()
    lines[3] = "garbage"
    lines[5] = '{"step": 1, "kind": "train", "critic": NaN, "actor": null, "temperature": [1]}'
    path.write_text("\n".join(lines) + '\n{"step": 100001, "ki')
    (folder / "timing.jsonl").write_bytes(b"\xff\xfe{\n")
    (folder / "rollout").mkdir()
    (folder / "rollout" / "frames.json").write_text('{"frames": [{"file": "../../config.json"}]}')
    html = write_report([folder], tmp_path).read_text()
    assert "metrics.jsonl: the last line was cut off" in html
    assert "metrics.jsonl: line 4 is not a JSON object" in html
    assert "timing.jsonl: the last line was cut off" in html
    assert "rollout picture config.json is missing" in html
    assert "nan" not in html.split("</style>")[1].split("<script>")[0].lower().replace("finance", "")


@pytest.mark.parametrize("gone", ["config.json", "metrics.jsonl", "timing.jsonl"])
def test_missing_files(make_run, tmp_path: Path, gone: str) -> None:  # type: ignore[no-untyped-def]
    folder = make_run("part")
    (folder / gone).unlink()
    html = write_report([folder], tmp_path).read_text()
    assert "<h1>" in html
    assert ("is missing" in html) == (gone != "timing.jsonl")


def test_a_run_that_has_only_begun(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = make_run("young")
    (folder / "metrics.jsonl").write_text('{"step": 10, "kind": "train", "critic": 1.0}\n')
    html = write_report([folder, make_run("other", system="td3")], tmp_path).read_text()
    assert "not evaluated yet" in html
    assert "no evaluation to compare" in html


def test_an_evaluation_without_interval_gets_one(make_run) -> None:  # type: ignore[no-untyped-def]
    folder = make_run("bare")
    lines = [{"step": 5, "kind": "eval", "scores": [1.0, 2.0, 3.0]}, {"step": 5, "kind": "eval", "mean": 7.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines[:1]))
    [found] = read_run(folder).evaluations
    assert found.mean == 2.0
    assert found.low < 2.0 < found.high
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert [e.mean for e in read_run(folder).evaluations] == [7.0]  # the later of two at one step


def test_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ActrixError, match="no run"):
        write_report([], tmp_path)
    with pytest.raises(ActrixError, match="not a run folder"):
        write_report([tmp_path], tmp_path)


def test_numbers_for_people() -> None:
    assert number(1234567.0) == "1,234,567"
    assert number(-0.5) == "\N{MINUS SIGN}0.5"
    assert number(-0.0001, 2) == "0.00"
    assert number(float("nan")) == "\N{EN DASH}"
    assert number(0.25, 2) == "0.25"
    assert (places(200.0), places(5.0), places(0.05), places(0.0)) == (0, 1, 3, 2)
    assert bounds(Interval(1.0, 0.5, 1.5, 9)) == "[0.5, 1.5]"
    assert bounds(Interval(1.0, float("nan"), float("nan"), 1)) == "\N{EN DASH}"
