"""Charts: coordinates in closed form, ticks, gaps, thinning."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from actrix.evaluate import charts
from actrix.evaluate.charts import Frame, Scale, Series


def polylines(html: str) -> list[np.ndarray]:
    found = re.findall(r'<polyline[^>]* points="([^"]+)"', html)
    return [np.array([[float(v) for v in p.split(",")] for p in text.split(" ")]) for text in found]


def drawing(html: str) -> ET.Element:
    return ET.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])


def test_polyline_coordinates_are_the_data_in_closed_form() -> None:
    frame = Frame(width=500, height=300, left=50, right=10, top=20, bottom=30)
    x, y = np.array([0.0, 25.0, 100.0]), np.array([-2.0, 0.0, 6.0])
    html = charts.line_chart([Series("a", x, y)], frame=frame, y_range=(-2.0, 6.0))
    [line] = polylines(html)
    # 0..100 maps to 50..490 and -2..6 maps to 270..20
    np.testing.assert_allclose(line[:, 0], 50 + x / 100 * 440, atol=0.006)
    np.testing.assert_allclose(line[:, 1], 270 - (y + 2) / 8 * 250, atol=0.006)


def test_band_follows_low_and_high() -> None:
    frame = Frame(width=200, height=200, left=0, right=0, top=0, bottom=0)
    x = np.array([0.0, 1.0])
    series = Series("a", x, np.array([5.0, 5.0]), np.array([4.0, 2.0]), np.array([6.0, 8.0]))
    html = charts.line_chart([series], frame=frame, y_range=(0.0, 10.0))
    ring = re.search(r'<polygon class="band k0" points="([^"]+)"', html)
    assert ring is not None
    assert ring[1] == "0.00,120.00 200.00,160.00 200.00,40.00 0.00,80.00"


def test_logarithmic_scale() -> None:
    scale = Scale(0.01, 100.0, 0.0, 400.0, log=True)
    np.testing.assert_allclose(scale([0.01, 1.0, 10.0]), [0.0, 200.0, 300.0])
    html = charts.line_chart([Series("", np.arange(4.0), np.array([0.1, 1.0, 0.0, 10.0]))], log=True, frame=Frame())
    assert len(polylines(html)) == 1  # zero has no logarithm: the line ends before it
    assert "<circle" in html  # and the single point after it is still shown


def test_gaps_at_values_that_are_not_finite() -> None:
    y = np.array([1.0, 2.0, np.nan, 3.0, np.inf, 4.0, 5.0, 6.0])
    html = charts.line_chart([Series("a", np.arange(8.0), y)])
    assert [len(line) for line in polylines(html)] == [2, 3]
    assert "nan" not in html
    assert "inf" not in html


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 100_000, 6, [0, 20_000, 40_000, 60_000, 80_000, 100_000]),
        (-0.3, 1.1, 5, [0, 0.5, 1]),
        (3.0, 3.0, 5, [3.0]),
    ],
)
def test_ticks_are_round(low: float, high: float, count: int, expected: list[float]) -> None:
    assert charts.ticks(low, high, count) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1500, "1.5k"), (100_000, "100k"), (2e6, "2M"), (-0.25, "−0.25"), (1e-5, "1e−05")],  # noqa: RUF001
)
def test_compact_numbers(value: float, text: str) -> None:
    assert charts.compact(value) == text


def test_thinning_keeps_means_and_extremes() -> None:
    y = np.random.default_rng(0).normal(size=1001)
    xs, ys, low, high = charts.thin(np.arange(1001.0), y, 100)
    assert len(xs) == len(ys) == 100
    assert low is not None
    assert high is not None
    assert low.min() == y.min()
    assert high.max() == y.max()
    assert (low <= ys).all()
    assert (ys <= high).all()
    short = charts.thin(np.arange(5.0), np.arange(5.0), 100)
    assert short[2] is None


def test_degenerate_data_still_draws() -> None:
    for y in ([], [np.nan], [3.0], [2.0, 2.0]):
        html = charts.line_chart([Series("a", np.arange(float(len(y))), np.array(y, float))])
        assert drawing(html).tag == "svg"
    assert drawing(charts.interval_chart([("a", 1.0, np.nan, np.nan)], title="t", x_label="x")) is not None


def test_labels_are_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    series = [Series(evil, np.arange(2.0), np.arange(2.0)), Series("b", np.arange(2.0), np.arange(2.0))]
    html = charts.line_chart(series, title=evil, x_label=evil, y_label=evil)
    html += charts.interval_chart([(evil, 0.0, -1.0, 1.0)], title=evil, x_label=evil)
    assert "<script" not in html


def test_standalone_is_a_document() -> None:
    html = charts.line_chart([Series("a", np.arange(3.0), np.arange(3.0))])
    text = charts.standalone(html[html.index("<svg") : html.index("</svg>") + 6], 720, 360)
    assert ET.fromstring(text).get("width") == "720"


def test_histogram_counts_what_is_there() -> None:
    """Heights are in proportion to counts; whole numbers have a bin each; nothing and one value are drawn too."""
    drawn = charts.histogram([1, 1, 1, 3, 4, 4, np.nan], title="lengths")
    heights = [float(h) for h in re.findall(r'<rect [^>]*height="([0-9.]+)"', drawn)]
    assert len(heights) == 3, "an empty bin has no bar"
    assert heights[0] / heights[1] == pytest.approx(3.0, abs=0.01)
    assert heights[2] / heights[1] == pytest.approx(2.0, abs=0.01)
    rng = np.random.default_rng(0)
    heights = [float(h) for h in re.findall(r'height="([0-9.]+)"', charts.histogram(rng.random(40_000)))]
    assert len(heights) == 40
    assert min(heights) > 0.8 * max(heights)
    for values in ([], [2.5], [0.0] * 7):
        assert charts.histogram(values).count("<rect") == bool(values)
