"""Line charts and interval charts as SVG text: no plotting library, no script needed to read them.

Colours come from CSS variables (`CSS` below), so that one chart serves light and dark pages and print.
A chart is a `<figure>` with its title and legend as HTML, and an `<svg>` that scales to its column.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
COLOURS = 8
MINUS = "\N{MINUS SIGN}"

CSS = """
:root { --ink:#1b1f24; --soft:#5d6772; --rule:#d9dee4; --paper:#ffffff; --raised:#f6f7f9;
  --c0:#1f6fb4; --c1:#c8560f; --c2:#23845a; --c3:#9a46a0; --c4:#937000; --c5:#5a6878;
  --c6:#bf3648; --c7:#12818f; }
@media (prefers-color-scheme: dark) { :root { --ink:#e6e9ed; --soft:#9aa5b1; --rule:#343b44; --paper:#14171b;
  --raised:#1c2026; --c0:#6cb2f2; --c1:#f59a58; --c2:#5fcb9a; --c3:#d48fda; --c4:#dcb93f; --c5:#a3b1c0;
  --c6:#f2808c; --c7:#56c8d6; } }
svg.chart { display:block; width:100%; height:auto; overflow:visible; font-size:13px; }
svg.chart text { fill:var(--soft); font-family:inherit; font-variant-numeric:tabular-nums; }
svg.chart .grid { stroke:var(--rule); stroke-width:1; }
svg.chart .axis { stroke:var(--soft); stroke-width:1; }
svg.chart .line { fill:none; stroke-width:2; stroke-linejoin:round; stroke-linecap:round; }
svg.chart .faint { stroke-width:1.1; opacity:.45; }
svg.chart .band { stroke:none; opacity:.17; }
svg.chart .cell { stroke:var(--paper); stroke-width:.5; }
svg.chart .cell.none { fill:var(--raised); stroke:var(--rule); }
""" + "".join(
    f".k{i} {{ stroke:var(--c{i}); }} .band.k{i}, .dot.k{i}, .swatch.k{i} {{ fill:var(--c{i}); "
    f"background:var(--c{i}); }}\n"
    for i in range(COLOURS)
)


@dataclass(frozen=True)
class Series:
    """One line: `x`, `y` and optionally `low`, `high` are `[points]`; NaN breaks the line."""

    label: str
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None
    colour: int = 0
    faint: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Scale:
    """Maps data in `[low, high]` to pixels in `[start, end]`, linearly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: npt.ArrayLike) -> Array:
        """Pixels of values, same shape."""
        data, low, high = np.asarray(value, dtype=np.float64), self.low, self.high
        if self.log:
            data, low, high = np.log10(data), math.log10(low), math.log10(high)
        return np.asarray(self.start + (data - low) / (high - low) * (self.end - self.start))

    @property
    def attribute(self) -> str:
        """What the hover script needs to turn pixels back into values."""
        return f"{self.low!r},{self.high!r},{self.start!r},{self.end!r},{int(self.log)}"


@dataclass(frozen=True)
class Frame:
    """Size of a chart in SVG units and the margins around its plot."""

    width: int = 720
    height: int = 360
    left: int = 70
    right: int = 18
    top: int = 14
    bottom: int = 48
    kind: str = "wide"
    ticks: int = field(default=6)


SMALL = Frame(width=340, height=180, left=54, right=12, top=10, bottom=30, kind="small", ticks=4)


def compact(value: float) -> str:
    """A number for an axis: 0.25, 1.5k, 100k, 2M, 1e-05."""
    size = abs(value)
    if size < 1e-12:
        return "0"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= limit:
            return f"{value / limit:.4g}{unit}".replace("-", MINUS)
    text = f"{value:.4g}" if size >= 1e-3 else f"{value:.0e}"
    return text.replace("-", MINUS)


def ticks(low: float, high: float, count: int) -> list[float]:
    """At most about `count` round numbers within `[low, high]`: steps of 1, 2, 2.5 or 5 times 10^k."""
    if not high > low:
        return [low]
    rough = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within `[low, high]`, thinned to at most six."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    every = max(1, math.ceil((last - first + 1) / 6))
    return [10.0**i for i in range(first, last + 1, every)]


def span(values: Sequence[Array], pad: float = 0.06) -> tuple[float, float]:
    """Lowest and highest finite value with a margin of `pad` on either side; never of zero width."""
    joined = np.concatenate([v[np.isfinite(v)] for v in values]) if values else np.zeros(0)
    if not joined.size:
        return 0.0, 1.0
    low, high = float(joined.min()), float(joined.max())
    if low == high:
        low, high = low - max(abs(low) * 0.1, 0.5), high + max(abs(high) * 0.1, 0.5)
    return low - pad * (high - low), high + pad * (high - low)


def wants_log(values: Array) -> bool:
    """Whether positive values spread over so many decades that a linear axis would hide most of them."""
    finite = values[np.isfinite(values)]
    if finite.size < 8 or (finite <= 0).any():
        return False
    low, high = np.percentile(finite, [5, 95])
    return bool(high / low > 200)


def points(xs: Array, ys: Array) -> str:
    """The `points` attribute of a polyline, in hundredths of a unit."""
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in zip(xs, ys))


def thin(x: Array, y: Array, most: int = 240) -> tuple[Array, Array, Array | None, Array | None]:
    """At most `most` points: means of equal buckets, with each bucket's lowest and highest value.

    Returns x, y, low, high; low and high are None where nothing had to be thinned. A bucket with a
    non-finite value keeps it, so that the gap stays visible.
    """
    if len(x) <= most:
        return x, y, None, None
    edges = np.linspace(0, len(x), most + 1).astype(int)[:-1]
    counts = np.diff(np.append(edges, len(x)))
    return (
        np.add.reduceat(x, edges) / counts,
        np.add.reduceat(y, edges) / counts,
        np.minimum.reduceat(y, edges),
        np.maximum.reduceat(y, edges),
    )


def legend(series: Sequence[Series]) -> str:
    """Coloured names, for charts that show more than one thing."""
    named = [s for s in series if s.label]
    if len(named) < 2:
        return ""
    items = "".join(
        f'<span class="key"><i class="swatch k{s.colour % COLOURS}{" thin" if s.faint else ""}"></i>'
        f"{escape(s.label)}</span>"
        for s in named
    )
    return f'<span class="keys">{items}</span>'


def line_chart(
    series: Sequence[Series],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    frame: Frame | None = None,
    log: bool = False,
    y_range: tuple[float, float] | None = None,
    from_zero: bool = True,
) -> str:
    """A figure with one line per series, bands where series have `low` and `high`.

    `from_zero` starts the horizontal axis at 0, as befits steps.
    """
    frame = frame or Frame()
    x_low, x_high = span([s.x for s in series], pad=0.0)
    x_low = min(0.0, x_low) if from_zero else x_low
    extents = [a for s in series for a in (s.y, s.low, s.high) if a is not None]
    if log:
        low, high = span([np.log10(a[a > 0]) for a in extents])
        y_low, y_high = 10.0**low, 10.0**high
    else:
        y_low, y_high = y_range or span(extents)
    x = Scale(x_low, x_high, frame.left, frame.width - frame.right)
    y = Scale(y_low, y_high, frame.height - frame.bottom, frame.top, log)
    body = axes(x, y, frame, x_label, y_label)
    body += "".join(_band(s, x, y) for s in series) + "".join(_line(s, x, y) for s in series)
    return figure(title, legend(series), svg(body, frame, title or y_label, x, y, steps=from_zero))


def figure(title: str, keys: str, drawing: str) -> str:
    """Title and legend above a drawing."""
    caption = f"<b>{escape(title)}</b>" if title else ""
    head = f"<figcaption>{caption}{keys}</figcaption>" if caption or keys else ""
    return f'<figure class="plot">{head}{drawing}</figure>'


def svg(
    body: str, frame: Frame, label: str, x: Scale | None = None, y: Scale | None = None, *, steps: bool = True
) -> str:
    """The drawing element, with its scales as attributes where values can be hovered."""
    scales = f' data-sx="{x.attribute}" data-sy="{y.attribute}" data-steps="{int(steps)}"' if x and y else ""
    return (
        f'<svg class="chart {frame.kind}" viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-label="{escape(label, quote=True)}"{scales}>{body}</svg>'
    )


def axes(x: Scale, y: Scale, frame: Frame, x_label: str, y_label: str) -> str:
    """Horizontal grid lines, both axes' numbers and their labels."""
    out = []
    for tick in log_ticks(y.low, y.high) if y.log else ticks(y.low, y.high, frame.ticks):
        at = float(y(tick))
        out.append(f'<line class="grid" x1="{x.start}" x2="{x.end}" y1="{at:.2f}" y2="{at:.2f}"/>')
        out.append(f'<text x="{x.start - 8}" y="{at:.2f}" dy=".35em" text-anchor="end">{compact(tick)}</text>')
    for tick in ticks(x.low, x.high, frame.ticks):
        at = float(x(tick))
        anchor = "end" if at > x.end - 12 else "middle"
        out.append(f'<text x="{at:.2f}" y="{y.start + 8}" dy=".9em" text-anchor="{anchor}">{compact(tick)}</text>')
    out.append(f'<line class="axis" x1="{x.start}" x2="{x.end}" y1="{y.start}" y2="{y.start}"/>')
    if x_label:
        middle = (x.start + x.end) / 2
        out.append(
            f'<text class="name" x="{middle:.2f}" y="{frame.height - 4}" text-anchor="middle">{escape(x_label)}</text>'
        )
    if y_label:
        middle = (y.start + y.end) / 2
        out.append(
            f'<text class="name" transform="translate(13 {middle:.2f}) rotate(-90)" '
            f'text-anchor="middle">{escape(y_label)}</text>'
        )
    return "".join(out)


def _segments(*arrays: Array) -> list[slice]:
    """Runs of points at which every array is finite."""
    finite = np.all([np.isfinite(a) for a in arrays], axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], finite.astype(int), [0]))))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2])]


def _positions(scale: Scale, values: Array) -> Array:
    """Pixels, with NaN for what a logarithmic axis cannot show."""
    if not scale.log:
        return scale(values)
    return scale(np.where(values > 0, values, np.nan))


def _band(s: Series, x: Scale, y: Scale) -> str:
    if s.low is None or s.high is None:
        return ""
    xs, low, high = x(s.x), _positions(y, s.low), _positions(y, s.high)
    out = []
    for part in _segments(xs, low, high):
        ring = points(np.concatenate((xs[part], xs[part][::-1])), np.concatenate((low[part], high[part][::-1])))
        out.append(f'<polygon class="band k{s.colour % COLOURS}" points="{ring}"/>')
    return "".join(out)


def _line(s: Series, x: Scale, y: Scale) -> str:
    xs, ys, colour = x(s.x), _positions(y, s.y), f"k{s.colour % COLOURS}"
    faint = " faint" if s.faint else ""
    out = []
    for part in _segments(xs, ys):
        if part.stop - part.start > 1:
            out.append(
                f'<polyline class="line {colour}{faint}" data-label="{escape(s.label, quote=True)}" '
                f'points="{points(xs[part], ys[part])}"/>'
            )
        if s.dots or part.stop - part.start == 1:
            out.extend(
                f'<circle class="dot {colour}" cx="{a:.2f}" cy="{b:.2f}" r="2.6"/>' for a, b in zip(xs[part], ys[part])
            )
    return "".join(out)


def histogram(
    values: npt.ArrayLike,
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    frame: Frame | None = None,
    colour: int = 0,
    bins: int = 40,
) -> str:
    """How often values [N] fall into equal bins; whole numbers of a narrow range get a bin each. N may be 0."""
    frame = frame or Frame(height=240)
    data = np.asarray(values, np.float64).reshape(-1)
    data = data[np.isfinite(data)]
    low, high = (float(data.min()), float(data.max())) if data.size else (0.0, 1.0)
    whole = bool(data.size) and high - low < bins and bool((data == np.rint(data)).all())
    if whole:
        edges = np.arange(low - 0.5, high + 1.0)
    else:
        edges = np.linspace(*((low, high) if high > low else (low - 0.5, high + 0.5)), bins + 1)
    counts, _ = np.histogram(data, edges)
    x = Scale(float(edges[0]), float(edges[-1]), frame.left, frame.width - frame.right)
    y = Scale(0.0, max(float(counts.max()), 1.0) * 1.05, frame.height - frame.bottom, frame.top)
    bars = "".join(
        f'<rect class="dot k{colour % COLOURS}" x="{a:.2f}" width="{max(b - a - 0.6, 0.6):.2f}" y="{top:.2f}" '
        f'height="{y.start - top:.2f}"/>'
        for a, b, top, count in zip(x(edges[:-1]), x(edges[1:]), y(counts), counts)
        if count
    )
    body = axes(x, y, frame, x_label, y_label) + bars
    return figure(title, "", svg(body, frame, title or x_label))


def interval_chart(rows: Sequence[tuple[str, float, float, float]], *, title: str, x_label: str) -> str:
    """One row per (label, value, low, high): a dot on its interval. NaN ends draw the dot alone."""
    frame = Frame(height=58 + 34 * len(rows), left=16, right=16, bottom=44)
    x = Scale(*span([np.array(r[1:], dtype=np.float64) for r in rows], 0.08), frame.left, frame.width - 16)
    bottom = frame.height - frame.bottom
    out = []
    for tick in ticks(x.low, x.high, frame.ticks):
        at = float(x(tick))
        out.append(f'<line class="grid" x1="{at:.2f}" x2="{at:.2f}" y1="4" y2="{bottom}"/>')
        out.append(f'<text x="{at:.2f}" y="{bottom + 6}" dy=".9em" text-anchor="middle">{compact(tick)}</text>')
    for i, (label, value, low, high) in enumerate(rows):
        y, at, k = 26 + 34 * i, float(x(value)), i % COLOURS
        if math.isfinite(low) and math.isfinite(high):
            ends = f'x1="{float(x(low)):.2f}" x2="{float(x(high)):.2f}"'
            out.append(f'<line class="k{k}" stroke-width="3" {ends} y1="{y}" y2="{y}"/>')
        out.append(f'<circle class="dot k{k}" cx="{at:.2f}" cy="{y}" r="5"/>')
        anchor = "start" if at < 0.2 * frame.width else "end" if at > 0.8 * frame.width else "middle"
        where = f'x="{at:.2f}" text-anchor="{anchor}"'
        out.append(f'<text class="row" {where} y="{y - 10}">{escape(label)}</text>')
    out.append(
        f'<text class="name" x="{frame.width / 2}" y="{frame.height - 4}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return figure(title, "", svg("".join(out), frame, title))


def standalone(drawing: str, width: int, height: int) -> str:
    """A chart's `<svg>` as a file of its own, with its colours inside."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
    font = "svg { font-family: system-ui, sans-serif; }"
    return drawing.replace("<svg ", head, 1).replace(">", f"><style>{CSS}{font}</style>", 1)
