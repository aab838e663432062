"""Boosted trees: a sum of small regression trees that grows by one tree with every step.

    F(x) = F_0 - sum_k rate * T_k(x),  T_k(x) a vector: one number for each output

A step is given rows x_i and g_i, the gradient of a loss with respect to F(x_i): it grows one tree on them, whose leaf
holds the mean g_i of its rows, and adds it. Each output has its own rate. The tests are x > threshold, the thresholds
quantiles of these rows; of a categorical part, whose columns are 0 or 1, every value is tested (x == value).

Everything is a tensor of fixed shape: trees lie in slots that are made beforehand, growing one is products and
argmaxes, so a step is captured in a graph like any other. Leaf values are parameters, tests are buffers.
Source: Fuhrer, Tessler & Dalal 2024, Gradient Boosting Reinforcement Learning (2407.08250), and its released code for
the cosine score and the clipping, which the paper does not spell out. Where there are fewer rows than bins, so that
both try the same tests, trees equal those of that code (gbrl 1.1.9, compared on 20 draws); its quantiles lie elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actrix.errors import ActrixError
from actrix.spec import Spec

MOST_TESTS = 2**15  # candidates of one split, in all: observations with many columns (images) get fewer quantiles
REFIT_ROWS = 1024  # rows that a compression looks at
BLOCK = 64  # slots are walked through by so many


@dataclass(frozen=True)
class Outputs:
    """Some outputs that belong together: how many, how fast they learn, and a bound on each row's gradient."""

    size: int
    rate: float  # learning rate; a step changes F(x) by rate * the mean gradient of the leaf
    clip_norm: float | None = None  # bound on the norm of one row's gradient


@dataclass(frozen=True)
class Growth:
    """How trees are grown."""

    depth: int = 4
    bins: int = 256  # most thresholds of each column
    oblivious: bool = True  # one test for each level of the tree; else the best one for each node
    score: str = "cosine"  # of a split: "cosine", or "l2" on gradients standardised for each output
    capacity: int = 4096  # most trees

    def __post_init__(self) -> None:
        if self.score not in ("cosine", "l2"):
            raise ActrixError(f"the score of a split is cosine or l2, not {self.score!r}", misuse=True)
        for name in ("depth", "bins", "capacity"):
            if getattr(self, name) < 1:
                raise ActrixError(f"trees need a {name} of at least 1, not {getattr(self, name)}", misuse=True)


class Boosted(nn.Module):
    """One ensemble: canonical observations [..., D] -> [..., O], the `outputs` in order.

    It looks at the visible columns as they are; an image is so many numbers. `begin(rows)` says what the trees say now,
    `since(rows)` what trees fitted after it add: so a batch that is visited often is walked through all trees once.
    `recent` is the most trees fitted between one `begin` and the next.
    """

    count: Tensor
    start: Tensor
    lost: Tensor
    bias: Tensor
    feature: Tensor
    threshold: Tensor
    rates: Tensor
    offset: Tensor

    def __init__(self, spec: Spec, outputs: Sequence[Outputs], growth: Growth, recent: int = 1) -> None:
        super().__init__()
        self.outputs, self.growth, self.recent = tuple(outputs), growth, recent
        if recent > growth.capacity // 2:
            raise ActrixError(
                f"{recent} trees between two batches of experience do not fit into half of {growth.capacity}",
                f"raise --capacity to at least {2 * recent}, or take larger minibatches or fewer epochs",
                misuse=True,
            )
        self.numeric = [c for p in spec.visible if not p.categorical for c in range(p.start, p.stop)]
        self.categorical = [c for p in spec.visible if p.categorical for c in range(p.start, p.stop)]
        splits = growth.depth if growth.oblivious else 2**growth.depth - 1
        size = sum(o.size for o in outputs)
        self.leaves = nn.Parameter(torch.zeros(growth.capacity, 2**growth.depth, size))
        self.register_buffer("bias", torch.zeros(size))
        self.register_buffer("feature", torch.zeros(growth.capacity, splits, dtype=torch.int64))
        self.register_buffer("threshold", torch.full((growth.capacity, splits), torch.inf))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))  # trees in use
        self.register_buffer("start", torch.zeros((), dtype=torch.int64))  # of them, those of the last `begin`
        self.register_buffer("lost", torch.zeros(()))  # by the last compression: error / spread of what was replaced
        self.register_buffer("offset", torch.arange(growth.capacity), persistent=False)
        self.register_buffer("rates", torch.cat([torch.full((o.size,), o.rate) for o in outputs]), persistent=False)

    # -- what the trees say -------------------------------------------------------------------------------------

    def forward(self, rows: Tensor) -> Tensor:
        # a graph walks through all slots (those not in use say 0), since it may not depend on how many are in use
        live = self.growth.capacity if torch.compiler.is_compiling() else BLOCK * (int(self.count) // BLOCK + 1)
        return self.bias + self._said(rows, self.feature[:live], self.threshold[:live], self.leaves[:live])

    @torch.no_grad()
    def begin(self, rows: Tensor) -> Tensor:
        """What the trees say of rows [..., D] now; `since` counts from here."""
        self.start.copy_(self.count)
        return self(rows)

    def since(self, rows: Tensor) -> Tensor:
        """What the trees fitted since `begin` add to it: [..., D] -> [..., O]."""
        slots = self.start + torch.arange(self.recent, device=self.start.device)
        return self._said(rows, self.feature[slots], self.threshold[slots], self.leaves[slots])

    def _said(self, rows: Tensor, feature: Tensor, threshold: Tensor, leaves: Tensor) -> Tensor:
        flat = rows.reshape(-1, rows.shape[-1]).to(threshold.dtype)
        table = leaves.flatten(0, 1)
        offset = self.offset[: feature.shape[0]] * leaves.shape[1]
        # a few MB at a time
        parts = 1 if torch.compiler.is_compiling() else math.ceil(feature.shape[0] * flat.shape[0] / 2**20)
        pieces = flat.chunk(parts) if parts > 1 else (flat,)
        found = [F.embedding(self._leaf(x, feature, threshold) + offset, table).sum(1) for x in pieces]
        whole = torch.cat(found) if parts > 1 else found[0]
        return whole if rows.ndim == 2 else whole.unflatten(0, rows.shape[:-1])

    def _leaf(self, rows: Tensor, feature: Tensor, threshold: Tensor) -> Tensor:
        """Which leaf of each tree a row [B, D] falls into: [B, K] int64."""
        place = (rows.index_select(1, feature[:, 0]) > threshold[:, 0]).to(torch.int64)
        if self.growth.oblivious:
            for level in range(1, self.growth.depth):
                place = 2 * place + (rows.index_select(1, feature[:, level]) > threshold[:, level])
            return place
        offset = self.offset[: feature.shape[0]] * feature.shape[1]
        for level in range(1, self.growth.depth):
            node = offset + 2**level - 1 + place  # in heap order
            column, bound = (F.embedding(node, t.reshape(-1, 1)).squeeze(-1) for t in (feature, threshold))
            place = 2 * place + (rows.gather(1, column) > bound)
        return place

    # -- growing ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit(self, rows: Tensor, gradient: Tensor, rate: Tensor | float = 1.0) -> None:
        """Add the tree that fits the gradient [..., O] at rows [..., D], times minus each output's rate times `rate`.

        Gradients are of each row's own loss, not of a mean over rows.
        """
        if not torch.compiler.is_compiling() and int(self.count) >= self.growth.capacity:
            raise ActrixError("all slots for trees are in use", "call make_room before fitting")
        rows, gradient = rows.reshape(-1, rows.shape[-1]).to(self.leaves.dtype), gradient.flatten(0, -2)
        gradient = torch.cat([clip_rows(g, o.clip_norm) for g, o in zip(self._blocks(gradient), self.outputs)], -1)
        self._add(self._tests(rows), gradient, self.rates * rate)

    def _blocks(self, values: Tensor) -> tuple[Tensor, ...]:
        return values.split([o.size for o in self.outputs], -1)

    def _add(self, tests: tuple[Tensor, Tensor, Tensor], gradient: Tensor, rates: Tensor) -> None:
        feature, threshold, place = self._grow(tests, gradient)
        inside = F.one_hot(place, 2**self.growth.depth).to(gradient.dtype)
        mean = inside.T @ gradient / inside.sum(0).clamp(min=1)[:, None]
        at = self.count[None]
        self.feature.index_copy_(0, at, feature[None])
        self.threshold.index_copy_(0, at, threshold[None])
        self.leaves.detach().index_copy_(0, at, (-rates * mean)[None])
        self.count += 1

    def _tests(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All C tests that a split may choose from: column [C], threshold [C], result on rows [B, D] as 0 or 1 [B, C].

        The quantiles are the rows' own values; the lowest is always among them.
        """
        columns, thresholds, results = [], [], []
        if self.numeric:
            bins = min(self.growth.bins, len(rows), max(MOST_TESTS // len(self.numeric), 1))
            values = rows[:, self.numeric]
            order = torch.arange(bins, device=rows.device) * len(rows) // bins
            levels = values.sort(0).values[order].T  # [Dn, bins]
            columns.append(torch.tensor(self.numeric, device=rows.device).repeat_interleave(bins))
            thresholds.append(levels.flatten())
            results.append((values[:, :, None] > levels).flatten(1))
        if self.categorical:
            columns.append(torch.tensor(self.categorical, device=rows.device))
            thresholds.append(rows.new_full((len(self.categorical),), 0.5))
            results.append(rows[:, self.categorical] > 0.5)
        return torch.cat(columns), torch.cat(thresholds), torch.cat(results, 1).to(rows.dtype)

    def _grow(self, tests: tuple[Tensor, Tensor, Tensor], gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The tests of one tree: column [S], threshold [S], and the leaf of each row [B].

        Where no test would part anything the threshold is infinite.
        """
        column, threshold, result = tests
        if self.growth.score == "l2":
            gradient = gradient - gradient.mean(0)
            spread = gradient.square().mean(0).sqrt()
            gradient = gradient / torch.where(spread > 0, spread, 1.0)
        counted = torch.cat((gradient, torch.ones_like(gradient[:, :1])), 1)  # sums of the last column are counts
        place = torch.zeros(len(gradient), dtype=torch.int64, device=gradient.device)
        features, thresholds = [], []
        for level in range(self.growth.depth):
            node = F.one_hot(place, 2**level).to(gradient.dtype)
            mine = (node[:, :, None] * counted[:, None]).flatten(1)
            right = (mine.T @ result).unflatten(0, (2**level, -1))  # [nodes, O + 1, C]
            left = mine.sum(0).unflatten(0, (2**level, -1))[..., None] - right
            agreement = mean_square(right) + mean_square(left)  # [nodes, C]
            if self.growth.score == "cosine":
                agreement = agreement.sqrt()
            parts = (right[:, -1] > 0.5) & (left[:, -1] > 0.5)
            if self.growth.oblivious:
                agreement, parts = agreement.sum(0, keepdim=True), parts.any(0, keepdim=True)
            best = torch.where(parts, agreement, -torch.inf).argmax(-1)  # [nodes] or [1]
            features.append(column[best])
            thresholds.append(torch.where(parts.any(-1), threshold[best], torch.inf))
            chosen = best.expand(2**level)[place]
            above = result.gather(1, chosen[:, None])[:, 0] * parts.any(-1).expand(2**level)[place]
            place = 2 * place + above.to(torch.int64)
        return torch.cat(features), torch.cat(thresholds), place

    # -- making room --------------------------------------------------------------------------------------------

    def make_room(self, rows: Tensor) -> None:
        """See to it that `recent` more trees fit. Not for use inside a graph."""
        if int(self.count) + self.recent > self.growth.capacity:
            self.compress(rows, self.growth.capacity // 2)

    @torch.no_grad()
    def compress(self, rows: Tensor, keep: int) -> None:
        """Leave at most `keep` trees: the newer half of them as they are; in place of all older ones, trees fitted to
        what those say of rows [..., D] (least squares boosting, in which every tree lowers the error on the rows).

        `lost` is the error that remains, as root mean square over the rows and outputs, divided by the spread of what
        was replaced. What the older trees said of other rows is not looked at.
        """
        rows = rows.reshape(-1, rows.shape[-1]).to(self.leaves.dtype)
        rows = rows[:: math.ceil(len(rows) / REFIT_ROWS)]
        count = int(self.count)
        newer = min(keep // 2, count)
        old = slice(0, count - newer)
        said = self._said(rows, self.feature[old], self.threshold[old], self.leaves[old])
        middle = said.mean(0)
        left = said - middle
        spread = left.square().mean().sqrt()
        kept = [t[count - newer : count].clone() for t in (self.feature, self.threshold, self.leaves.detach())]
        self.bias += middle
        self.feature.zero_()
        self.threshold.fill_(torch.inf)
        self.leaves.detach().zero_()
        self.count.zero_()
        tests = self._tests(rows)
        scale = torch.where(left.square().mean(0) > 0, left.square().mean(0).sqrt(), 1.0)  # outputs weigh the same
        for _ in range(keep - newer):
            self._add(tests, -left / scale, scale)
            last = slice(int(self.count) - 1, int(self.count))
            left = left - self._said(rows, self.feature[last], self.threshold[last], self.leaves[last])
        fitted = int(self.count)
        for whole, part in zip((self.feature, self.threshold, self.leaves.detach()), kept):
            whole[fitted : fitted + newer] = part
        self.count += newer
        self.lost.copy_(left.square().mean().sqrt() / torch.where(spread > 0, spread, 1.0))


class Forest(nn.Module):
    """Ensembles side by side, each with a structure of its own: [..., D] -> [..., all their outputs]."""

    def __init__(self, ensembles: Sequence[Boosted]) -> None:
        super().__init__()
        self.ensembles = nn.ModuleList(ensembles)
        self.sizes = [sum(o.size for o in e.outputs) for e in ensembles]

    @property
    def members(self) -> list[Boosted]:
        return list(self.ensembles)  # type: ignore[arg-type]

    def forward(self, rows: Tensor) -> Tensor:
        return torch.cat([e(rows) for e in self.members], -1)

    def begin(self, rows: Tensor) -> Tensor:
        """See `Boosted.begin`. Makes room first."""
        for ensemble in self.members:
            ensemble.make_room(rows)
        return torch.cat([e.begin(rows) for e in self.members], -1)

    def since(self, rows: Tensor) -> Tensor:
        return torch.cat([e.since(rows) for e in self.members], -1)

    def fit(self, rows: Tensor, gradient: Tensor, rate: Tensor | float = 1.0) -> None:
        for ensemble, mine in zip(self.members, gradient.split(self.sizes, -1)):
            ensemble.fit(rows, mine, rate)

    @property
    def lost(self) -> Tensor:
        """The largest loss of a last compression: []."""
        return torch.stack([e.lost for e in self.members]).amax()

    @property
    def count(self) -> Tensor:
        """Trees in use, in all: []."""
        return torch.stack([e.count for e in self.members]).sum()


class Slice(nn.Module):
    """Outputs start:stop of a forest that somebody else owns: what an actor or a critic takes as its net."""

    def __init__(self, forest: Forest, start: int, stop: int) -> None:
        super().__init__()
        self._forest = [forest]  # a list hides it from Module: it is saved once, by its owner
        self.start, self.stop = start, stop

    def forward(self, rows: Tensor) -> Tensor:
        return self._forest[0](rows)[..., self.start : self.stop]

    @torch.no_grad()
    def say(self, value: float) -> None:
        """These outputs become `value` of everything, until the next step."""
        at = 0
        for ensemble, size in zip(self._forest[0].members, self._forest[0].sizes):
            mine = slice(max(self.start - at, 0), max(self.stop - at, 0))
            ensemble.leaves[..., mine] = 0.0
            ensemble.bias[mine] = value
            at += size


def mean_square(sums: Tensor) -> Tensor:
    """count * |mean|^2 of sums [nodes, O + 1, C], whose last row is the count: [nodes, C]."""
    return sums[:, :-1].square().sum(1) / sums[:, -1].clamp(min=1)


def clip_rows(gradient: Tensor, bound: float | None) -> Tensor:
    """Rows [B, O] longer than `bound` brought to that length."""
    if bound is None:
        return gradient
    norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
    return gradient * (bound / norm.clamp(min=bound))
