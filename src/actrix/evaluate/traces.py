"""Language traces as HTML: the prompt, each token coloured by its advantage, and the parts of the reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    reach = max((abs(a) for t in chosen for a in map(_advantage, t["tokens"])), default=0.0) or 1.0
    how_many = f"{len(chosen)} of {total} traces" if total > len(chosen) else f"{total} trace{'s' * (total != 1)}"
    legend = (
        f'<p class="soft">{how_many} from step {step:,}. Colour is the advantage of the token: '
        f'<span class="legend">{compact(-reach)}<i class="ramp"></i>{compact(reach)}</span>. '
        'Tokens <span class="t given">underlined with dots</span> were given to the model, '
        "not chosen by it.</p>"
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


def _trace(trace: dict[str, Any], reach: float) -> str:
    parts = trace.get("parts")
    score = trace.get("score")
    said = [f"<b>score {number(float(score))}</b>" if isinstance(score, int | float) else "<b>no verdict</b>"]
    for name, value in (parts if isinstance(parts, dict) else {}).items():
        text = number(float(value)) if isinstance(value, int | float) else escape(str(value))
        said.append(f"<span>{escape(str(name))} {text}</span>")
    tokens = "".join(_token(t, reach) for t in trace["tokens"] if isinstance(t, dict))
    return (
        f'<div class="trace"><div class="prompt">{escape(str(trace.get("prompt", "")))}</div>'
        f'<div class="tokens">{tokens}</div><div class="parts">{"".join(said)}</div></div>'
    )


def _token(token: dict[str, Any], reach: float) -> str:
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
    return f'<span class="t {side}" style="--a:{share:.2f}" title="{escape(about)}">{visible}</span>'
