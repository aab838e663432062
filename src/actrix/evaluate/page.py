"""The page around a report, and how figures are written for people."""

from __future__ import annotations

import base64
import hashlib
import math
from html import escape

from actrix.evaluate.charts import CSS as CHART_CSS
from actrix.evaluate.charts import MINUS
from actrix.evaluate.statistics import Interval
from actrix.evaluate.style import CSS, SCRIPT

NONE = "\N{EN DASH}"


def page(title: str, body: str) -> str:
    """A complete document. Its policy forbids the browser to load anything or to run any script but ours."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title>'
        f"<style>{CHART_CSS}{CSS}</style></head>\n"
        f"<body><main>{body}</main><script>{SCRIPT}</script></body></html>\n"
    )


def places(width: float) -> int:
    """Decimals that show an interval of this width with about two significant digits; at most four."""
    if not math.isfinite(width) or width <= 0:
        return 2
    return int(min(4, max(0, 1 - math.floor(math.log10(width)))))


def number(value: float, decimals: int | None = None) -> str:
    """A figure for people: thousands separated, a true minus sign, four digits unless told otherwise."""
    if not math.isfinite(value):
        return NONE
    if decimals is None:
        size = abs(value)
        decimals = 0 if size >= 1000 or value == int(value) else 1 if size >= 100 else 2 if size >= 10 else 3
        if 0 < size < 1e-3:
            return f"{value:.2e}".replace("-", MINUS)
        decimals = min(decimals, len(f"{value:.3f}".rstrip("0").partition(".")[2]))
    text = f"{value:,.{decimals}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.lstrip("-")


def bounds(found: Interval, decimals: int | None = None) -> str:
    """`[low, high]`, or a dash where there is no interval."""
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return NONE
    decimals = places(found.high - found.low) if decimals is None else decimals
    return f"[{number(found.low, decimals)}, {number(found.high, decimals)}]"


def note(text: str) -> str:
    """A remark that a reader must not miss."""
    return f'<p class="note">{escape(text)}</p>'
