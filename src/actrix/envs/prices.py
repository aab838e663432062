"""Prices of assets by the day: a person's own table, or a market that is made up.

A table is a CSV file, or an `.npz`. Nothing is downloaded, and no market data come with the library.

    date,AAA,AAA.high,AAA.volume,BBB,BBB.high,BBB.volume        one row a day, oldest first
    2020-01-02,10.1,10.4,12000,55.0,55.2,800

A column is the closing price of an asset; `NAME.high`, `.low`, `.open` and `.volume` are optional, and every asset has
the same of them. The `date` column is optional; dates are text that sorts by time (2020-01-02). The `.npz` has the same
as arrays: `close` [D, N], any of `high`, `low`, `open`, `volume` [D, N], `dates` [D] and `assets` [N].

Assets that are picked because they are in an index today have survived until today: results on them are too good.

The synthetic market (`Market`) draws a new path for every episode, as a function of its seed:

    log return   r_i = f + x_i + e_i - (half the variance of f + e),   e_i ~ N(0, noise^2)
    trend        x_i' = persistence x_i + momentum e_i: what rose by itself goes on rising for a while
    market       f ~ N(drift, vol^2), calm or turbulent, each with its own drift and vol; it stays so with probability
                 `stay` each day

x_i is all that can be known of tomorrow's e_i + x_i, and follows from past returns; `Path.trend` has it, for oracles.
momentum 0 and the same drift in both states is a market without anything to be known (`null`): the best that can be
done there is to hold all assets alike.
"""

from __future__ import annotations

import csv
import itertools
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actrix.data.formats import member_of
from actrix.errors import ActrixError, unknown

Array = npt.NDArray[np.float64]
LIKE_PRICES = ("high", "low", "open")  # in units of a price; of a volume only the ratio to its mean is of use
FEATURES = (*LIKE_PRICES, "volume")
CALM, TURBULENT = 0, 1


@dataclass(frozen=True)
class Table:
    """Prices of N assets on D days."""

    values: Array  # [D, N, F]; the first of F is the closing price
    features: tuple[str, ...]  # F names: close, high, ...
    assets: tuple[str, ...]
    dates: tuple[str, ...]  # D, or none

    def __len__(self) -> int:
        return len(self.values)

    def between(self, since: str | None, until: str | None) -> Table:
        """The days from `since` to `until`, both included."""
        if since is None and until is None:
            return self
        if not self.dates:
            raise ActrixError("since= and until= need a table with dates", "add a column `date`", misuse=True)
        # (a number such as 2021 has been read as one)
        keep = [(since is None or str(since) <= d) and (until is None or d <= f"{until}~") for d in self.dates]
        return replace(self, values=self.values[keep], dates=tuple(d for d, k in zip(self.dates, keep) if k))


def read(path: str | Path) -> Table:
    """A table from a file; ActrixError naming file, row and column where something is wrong with it."""
    path = Path(path)
    if not path.is_file():
        raise ActrixError(f"there is no table of prices {path}", "prices= names a CSV or npz file", misuse=True)
    try:
        columns, assets, dates = from_npz(path) if path.suffix == ".npz" else from_csv(path)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, csv.Error) as error:
        raise ActrixError(f"{path} cannot be read: {error}", "prices= names a CSV or npz file", misuse=True) from error
    features = ("close", *(name for name in FEATURES if name in columns))
    values = np.stack([columns[name] for name in features], -1)
    for f, name in enumerate(features):
        bad = np.argwhere(~(np.isfinite(values[..., f]) & (values[..., f] >= (0 if name == "volume" else 1e-300))))
        if len(bad):
            day, asset = bad[0]
            wanted = "0 or more" if name == "volume" else "above 0"
            raise ActrixError(
                f"{path}, row {day + 1} of the days: {name} of {assets[asset]} is {values[day, asset, f]}, "
                f"not {wanted}",
                "fill or leave out days without a price; a filled price is the last one known, never a later one",
                misuse=True,
            )
    for day, (before, after) in enumerate(itertools.pairwise(dates)):
        if after <= before:
            raise ActrixError(
                f"{path}, row {day + 2} of the days: {after!r} does not come after {before!r}",
                "dates are text that sorts by time, oldest first, such as 2020-01-02",
                misuse=True,
            )
    return Table(values, features, assets, dates)


Columns = tuple[dict[str, Array], tuple[str, ...], tuple[str, ...]]


def from_csv(path: Path) -> Columns:
    """Arrays [D, N] by feature, names of the assets, dates."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    if len(rows) < 2:
        raise ActrixError(f"{path} has no rows below its head", "one row a day, oldest first", misuse=True)
    head = [name.strip() for name in rows[0]]
    dated = head[0].lower() == "date"
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(head):
            raise ActrixError(f"{path}, line {number} has {len(row)} fields, not {len(head)}", misuse=True)
    numbers = np.empty((len(rows) - 1, len(head) - dated))
    for day, row in enumerate(rows[1:]):
        for column, text in enumerate(row[dated:]):
            try:
                numbers[day, column] = float(text)
            except ValueError:
                raise ActrixError(
                    f"{path}, line {day + 2}, column {head[column + dated]!r}: {text!r} is no number",
                    "columns are `date`, then closing prices, and NAME.high, .low, .open, .volume",
                    misuse=True,
                ) from None
    parts = [name.rpartition(".") for name in head[dated:]]
    where = {(asset, kind) if asset and kind in FEATURES else (name, "close"): i
             for i, ((asset, _, kind), name) in enumerate(zip(parts, head[dated:]))}  # fmt: skip
    assets = tuple(asset for asset, kind in where if kind == "close")
    if len(where) < len(parts) or not assets:
        raise ActrixError(f"{path}: two columns have one name, or none is a closing price", misuse=True)
    kinds = {kind for _, kind in where}
    for asset in dict.fromkeys(asset for asset, _ in where):
        for kind in sorted(kinds):
            if (asset, kind) not in where:
                missing = asset if kind == "close" else f"{asset}.{kind}"
                raise ActrixError(f"{path} has no column {missing!r}", "all assets have the same columns", misuse=True)
    columns = {kind: numbers[:, [where[asset, kind] for asset in assets]] for kind in kinds}
    return columns, assets, tuple(row[0].strip() for row in rows[1:]) if dated else ()


def from_npz(path: Path) -> Columns:
    """Arrays [D, N] by feature, names of the assets, dates."""
    with zipfile.ZipFile(path) as file:
        found = {name: member_of(file, name) for name in (n.removesuffix(".npy") for n in file.namelist())}
    if "close" not in found or found["close"].ndim != 2:
        raise ActrixError(f"{path} has no array `close` [days, assets]", f"it has {', '.join(found)}", misuse=True)
    shape = found["close"].shape
    columns = {name: found[name] for name in ("close", *FEATURES) if name in found}
    for name, values in columns.items():
        if values.shape != shape or values.dtype.kind not in "iuf":
            raise ActrixError(f"{path}: {name} is {values.dtype} {values.shape}, not numbers {shape}", misuse=True)
    assets = tuple(map(str, found.get("assets", [f"asset {i}" for i in range(shape[1])])))
    dates = tuple(map(str, found.get("dates", ())))
    if len(assets) != shape[1] or len(dates) not in (0, shape[0]):
        raise ActrixError(f"{path}: assets or dates are not as many as close {shape} has", misuse=True)
    return {name: values.astype(np.float64) for name, values in columns.items()}, assets, dates


@dataclass(frozen=True)
class Paths:
    """K paths of the synthetic market over D days."""

    close: Array  # [K, D, N], 1 on the first day
    trend: Array  # [K, D, N]: what is known on a day of the next day's log return of an asset besides the market's
    turbulent: npt.NDArray[np.bool_]  # [K, D]: the state in which the next day's market return is drawn


@dataclass(frozen=True)
class Market:
    """The synthetic market; see the head of this file. Everything is per day."""

    assets: int = 4
    momentum: float = 0.1  # share of an asset's own shock that goes on
    persistence: float = 0.95  # of the trend
    noise: float = 0.015  # standard deviation of an asset's own shock
    drift: tuple[float, float] = (0.001, -0.0005)  # mean of the market's log return, calm and turbulent
    vol: tuple[float, float] = (0.007, 0.02)  # its standard deviation
    stay: float = 0.98  # chance that the state stays as it is

    def paths(self, draws: list[np.random.Generator], days: int) -> Paths:
        """One path from each generator."""
        k, n = len(draws), self.assets
        normal = np.stack([rng.standard_normal((days, n + 1)) for rng in draws])
        change = np.stack([rng.random(days) for rng in draws])
        state = np.empty((k, days), np.int64)
        state[:, 0] = change[:, 0] < 0.5
        for t in range(1, days):
            state[:, t] = np.where(change[:, t] < self.stay, state[:, t - 1], 1 - state[:, t - 1])
        drift, vol = np.array(self.drift)[state], np.array(self.vol)[state]
        market = drift + vol * normal[..., 0] - 0.5 * (vol**2 + self.noise**2)
        shock = self.noise * normal[..., 1:]
        trend = np.zeros((k, days, n))
        # stationary from the first day on
        trend[:, 0] = self.momentum * shock[:, 0] / np.sqrt(1 - self.persistence**2)
        for t in range(1, days):
            trend[:, t] = self.persistence * trend[:, t - 1] + self.momentum * shock[:, t]
        log = np.zeros((k, days, n))
        log[:, 1:] = np.cumsum(market[:, :-1, None] + trend[:, :-1] + shock[:, 1:], 1)
        return Paths(np.exp(log), trend, state == TURBULENT)


MARKETS = {"momentum": Market(), "null": Market(momentum=0.0, drift=(0.0004, 0.0004), vol=(0.01, 0.01))}


def market_of(name: str, **changes: Any) -> Market:
    """A synthetic market by name, with other numbers."""
    if name not in MARKETS:
        raise unknown("market", name, MARKETS)
    return replace(MARKETS[name], **changes)
