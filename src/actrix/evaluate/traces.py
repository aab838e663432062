"""Language traces as HTML: the prompt, each token coloured by its advantage, and the parts of the reward.

A trace of several messages is a tree: each stands under what it answers, with who said it, what was thought of it, and,
where it revises an earlier one, what it changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import SequenceMatcher
from html import escape
from typing import Any

from actrix.evaluate.charts import compact
from actrix.evaluate.page import number

SHOWN = 6
STRONGEST = 0.75  # opacity of the largest advantage


def traces(found: Sequence[dict[str, Any]], shown: int = SHOWN) -> str:
    """The best and worst traces of the last step that has any, with a legend for the colours."""
    if not found:
        return ""
    chosen, total, step = choose(found, shown)
    spoken = [token for t in chosen for token in [*_listed(t, "tokens"), *_of_messages(t)]]
    reach = max((abs(_advantage(token)) for token in spoken), default=0.0) or 1.0
    how_many = f"{len(chosen)} of {total} traces" if total > len(chosen) else f"{total} trace{'s' * (total != 1)}"
    legend = (
        f'<p class="soft">{how_many} from step {step:,}. Colour is the advantage of the token: '
        f'<span class="legend">{compact(-reach)}<i class="ramp"></i>{compact(reach)}</span>. '
        'Tokens <span class="t given">underlined with dots</span> were given to the model, '
        "not chosen by it.</p>"
    )
    if any(_messages(t) for t in chosen):
        legend += (
            '<p class="soft">A message stands under the one that it answers; in a conversation without branches '
            'speakers keep their own line. <span class="t changed">Barred</span> is what a revision changed.</p>'
        )
    return legend + "".join(_trace(t, reach) for t in chosen)


def choose(found: Sequence[dict[str, Any]], shown: int) -> tuple[list[dict[str, Any]], int, int]:
    """Highest and lowest scores of the last step, best first; with how many there were and the step."""
    step = max(_number(t.get("step")) for t in found)
    last = [t for t in found if _number(t.get("step")) == step]
    ranked = sorted(last, key=lambda t: -_number(t.get("score"), -math.inf))
    if len(ranked) > shown:
        ranked = ranked[: shown - shown // 2] + ranked[-(shown // 2) :]
    return ranked, len(last), int(step)


def _number(value: Any, otherwise: float = 0.0) -> float:
    good = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if good else otherwise


def _advantage(token: Any) -> float:
    return _number(token.get("advantage")) if isinstance(token, dict) else 0.0


def _listed(holder: dict[str, Any], name: str) -> list[Any]:
    found = holder.get(name)
    return found if isinstance(found, list) else []


def _messages(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a tree, as far as they hang together: each after the one that it answers."""
    found: list[dict[str, Any]] = []
    for i, message in enumerate(_listed(trace, "messages")):
        parent = message.get("parent") if isinstance(message, dict) else None
        if not isinstance(parent, int) or not -1 <= parent < i:
            break
        found.append(message)
    return found


def _of_messages(trace: dict[str, Any]) -> list[Any]:
    return [token for message in _messages(trace) for token in _listed(message, "tokens")]


def _trace(trace: dict[str, Any], reach: float) -> str:
    messages = _messages(trace)
    if messages:
        body = _tree(messages, reach)
        about = [f"<b>{_scored(trace)}</b>"]
    else:
        body = f'<div class="tokens">{_tokens(trace, reach)}</div>'
        about = _about(trace)
    return (
        f'<div class="trace"><div class="prompt">{escape(str(trace.get("prompt", "")))}</div>{body}'
        f'<div class="parts">{"".join(about)}</div></div>'
    )


def _scored(holder: dict[str, Any]) -> str:
    score = holder.get("score")
    return f"score {number(float(score))}" if isinstance(score, int | float) else "no verdict"


def _about(holder: dict[str, Any]) -> list[str]:
    """Score and its parts."""
    parts = holder.get("parts")
    said = [f"<b>{_scored(holder)}</b>"]
    for name, value in (parts if isinstance(parts, dict) else {}).items():
        text = number(float(value)) if isinstance(value, int | float) else escape(str(value))
        said.append(f"<span>{escape(str(name))} {text}</span>")
    return said


def _tree(messages: list[dict[str, Any]], reach: float) -> str:
    rows = []
    for message, level in zip(messages, levels(messages)):
        beside = []
        reward = message.get("reward")
        if isinstance(reward, int | float):
            beside.append(f"<b>{number(float(reward)) if reward < 0 else '+' + number(float(reward))}</b>")
        if "parts" in message:
            beside += _about(message)
        if message.get("verdict"):
            beside.append(f"<span>{escape(str(message['verdict']))}</span>")
        before = message.get("revises")
        old = messages[before] if isinstance(before, int) and 0 <= before < len(messages) else None
        role = escape(str(message.get("role", "")))
        rows.append(
            f'<div class="said" style="--level:{level}"><span class="role">{role}</span>'
            f'<div class="tokens">{_tokens(message, reach, old)}</div><div class="parts">{"".join(beside)}</div></div>'
        )
    return f'<div class="tree">{"".join(rows)}</div>'


def levels(messages: Sequence[dict[str, Any]]) -> list[int]:
    """How far each message is set in: one further than what it answers, unless it goes on a conversation, without any
    branch since its speaker's last message; then as far as that one."""
    count = [0] * len(messages)
    for message in messages:
        if message["parent"] >= 0:
            count[message["parent"]] += 1
    found: list[int] = []
    for message in messages:
        parent, at = message["parent"], message["parent"]
        level = 0 if parent < 0 else found[parent] + 1
        while at >= 0 and count[at] == 1:
            if messages[at].get("role") == message.get("role"):
                level = found[at]
                break
            at = messages[at]["parent"]
        found.append(level)
    return found


def _tokens(holder: dict[str, Any], reach: float, old: dict[str, Any] | None = None) -> str:
    """All tokens; those that `old`, the message that is revised, does not have are marked."""
    tokens = [t for t in _listed(holder, "tokens") if isinstance(t, dict)]
    changed: set[int] = set()
    if old is not None:
        before, now = ([str(t.get("text")) for t in _listed(m, "tokens") if isinstance(t, dict)] for m in (old, holder))
        blocks = SequenceMatcher(None, before, now, autojunk=False).get_matching_blocks()
        kept = {i for _, start, size in blocks for i in range(start, start + size)}
        changed = {i for i, t in enumerate(tokens) if i not in kept and t.get("action", True)}
    return "".join(_token(t, reach, i in changed) for i, t in enumerate(tokens))


def _token(token: dict[str, Any], reach: float, changed: bool = False) -> str:
    advantage, text = _advantage(token), str(token.get("text", ""))
    visible = escape(text.replace("\n", "↵\n"))
    if not token.get("action", True):
        return f'<span class="t given">{visible}</span>'
    about = f"advantage {number(advantage)}"
    logp = token.get("logp")
    if isinstance(logp, int | float) and math.isfinite(logp):
        about += f", probability {math.exp(min(logp, 0.0)):.3g}"
    share = STRONGEST * abs(advantage) / reach
    side = "up" if advantage > 0 else "down" if advantage < 0 else ""
    side += " changed" if changed else ""
    return f'<span class="t {side}" style="--a:{share:.2f}" title="{escape(about)}">{visible}</span>'
