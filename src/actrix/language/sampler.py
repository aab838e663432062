"""Completions out of a language model: `generate(model, prompts, settings) -> Samples`.

Randomness. Every row has its own stream of uniform numbers, a pure function of (seed, stream, position): the
token at a position is found by inverting the cumulative distribution at its number. Same model, prompts,
settings and seed give the same bits. A row's draws depend neither on its neighbours nor on its place in the
batch if it is given its stream. Its *logits* may still differ in the last bit in another batch or on another number of
threads, which changes a token only where a number falls within rounding of a boundary; from the C kernels of
`actrix.nets.native_decoding` they do not.

Speed. Prompts are read once for all of their samples. Rows that have ended are dropped. On a CPU, small groups of rows
are decoded to their end, one after the other or one per thread; where the C kernels serve, and neither top-k nor top-p
is wanted, that is one call for a group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actrix.errors import ActrixError
from actrix.language.model import DecoderLike, LanguageModel
from actrix.language.tokens import pad_left, pad_right
from actrix.nets.native import kernels
from actrix.nets.native_decoding import NativeDecoding


@dataclass(frozen=True)
class Sampling:
    """How to sample. Applied in this order: temperature, then top-k, then top-p."""

    max_new: int = 64  # most tokens to generate per row, the end token included
    temperature: float = 1.0  # divides the logits; 0: the most probable token, always
    top_k: int = 0  # keep the k most probable tokens (and ties with the last of them); 0: all
    top_p: float = 1.0  # keep the fewest most probable tokens whose probabilities reach p; 1: all
    n: int = 1  # samples per prompt

    def __post_init__(self) -> None:
        if self.max_new < 1 or self.n < 1 or self.top_k < 0:
            raise ActrixError(f"max_new and n are at least 1, and top_k at least 0: {self}")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ActrixError(f"the temperature is at least 0, and top_p in (0, 1]: {self}")


@dataclass(frozen=True)
class Samples:
    """Prompts with their completions, prompt after prompt, `settings.n` adjacent rows for each.

    B rows, L longest prompt plus completion.
    """

    tokens_BL: Tensor  # int64, right-padded
    prompt_lengths_B: Tensor  # int64
    lengths_B: Tensor  # int64: prompt plus completion, end token included
    logp_behaviour_BL: Tensor
    """Float32, aligned with the tokens: log-probability in nats of each *generated* token under the
    distribution that it was drawn from, that is after temperature, top-k and top-p and renormalised. 0 elsewhere,
    and 0 at temperature 0, where the distribution is a point."""
    ended_B: Tensor  # bool: the row ended with the end token (terminated); else it hit max_new (truncated)
    prompt_B: Tensor  # int64: the index of the row's prompt, which is also its group
    settings: Sampling
    version: int  # of the weights

    def __len__(self) -> int:
        return self.tokens_BL.shape[0]

    @property
    def action_mask_BL(self) -> Tensor:
        """Bool [B, L]: the generated tokens."""
        position = torch.arange(self.tokens_BL.shape[1], device=self.tokens_BL.device)
        return (position >= self.prompt_lengths_B[:, None]) & (position < self.lengths_B[:, None])

    @property
    def stop_reasons(self) -> list[str]:
        """Per row "stop" (the end token was drawn) or "length" (max_new was reached)."""
        return ["stop" if ended else "length" for ended in self.ended_B.tolist()]

    def completions(self) -> list[list[int]]:
        """The generated ids of each row, end token included where it was drawn."""
        rows = zip(self.tokens_BL.tolist(), self.prompt_lengths_B.tolist(), self.lengths_B.tolist())
        return [tokens[start:end] for tokens, start, end in rows]


def as_samples(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], settings: Sampling, pad: int = 0
) -> Samples:
    """Completions that no model has drawn, `settings.n` for each prompt: their log-probabilities are 0."""
    n = settings.n
    rows = [[*prompts[i // n], *completion] for i, completion in enumerate(completions)]
    starts = torch.tensor([len(p) for p in prompts]).repeat_interleave(n)
    tokens = torch.tensor(pad_right(rows, pad))
    owner = torch.arange(len(prompts)).repeat_interleave(n)
    ended = torch.ones(len(rows), dtype=torch.bool)
    lengths = torch.tensor([len(row) for row in rows])
    return Samples(tokens, starts, lengths, torch.zeros(tokens.shape), ended, owner, settings, 0)


def uniforms(seed: int, streams: Sequence[int], count: int) -> Tensor:
    """Float64 [len(streams), count] in [0, 1): SplitMix64 (Steele et al., OOPSLA 2014), 48 bits of each output."""

    def mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
        return mixed

    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        start = mix(np.array([seed % (1 << 64)], dtype=np.uint64) + golden)
        stream = np.array([s % (1 << 64) for s in streams], dtype=np.uint64)
        start = mix(start ^ mix(stream + golden))
        step = np.arange(1, count + 1, dtype=np.uint64) * golden
        bits = mix(start[:, None] + step) >> np.uint64(16)
    return torch.from_numpy(bits.astype(np.float64) * 2.0**-48)


def truncate(logits_BV: Tensor, top_k: int, top_p: float) -> Tensor:
    """The logits with all tokens outside of top-k and top-p at minus infinity (Holtzman et al., 1904.09751)."""
    if 0 < top_k < logits_BV.shape[-1]:
        least = logits_BV.topk(top_k, -1).values[..., -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least, -torch.inf)
    if top_p < 1:
        ordered, index = logits_BV.sort(stable=True, dim=-1, descending=True)
        probability = ordered.softmax(-1, dtype=torch.float64)
        before = probability.cumsum(-1) - probability
        drop = torch.zeros_like(logits_BV, dtype=torch.bool).scatter(-1, index, before >= top_p)
        logits_BV = logits_BV.masked_fill(drop, -torch.inf)
    return logits_BV


def pick(logits_BV: Tensor, uniform_B: Tensor, settings: Sampling) -> tuple[Tensor, Tensor]:
    """Draws a token per row: ids [B], and their log-probabilities [B] under the sampling distribution."""
    if settings.temperature == 0:
        token = logits_BV.argmax(-1)
        return token, torch.zeros(token.shape, device=token.device)
    logits = logits_BV.float()
    native = kernels() if logits.device.type == "cpu" and settings.top_k == 0 and settings.top_p == 1 else None
    if native is not None:
        return native.draw(logits.contiguous(), uniform_B.contiguous(), 1 / settings.temperature)
    if settings.temperature != 1:
        logits = logits / settings.temperature
    logp = truncate(logits, settings.top_k, settings.top_p).log_softmax(-1)
    cumulative = logp.exp().cumsum(-1, dtype=torch.float64)
    # The first token whose cumulative probability is above the number; one of probability 0 never is.
    token = torch.searchsorted(cumulative, uniform_B[:, None] * cumulative[:, -1:], right=True)
    return token[:, 0], logp.gather(-1, token)[:, 0]


@dataclass(frozen=True)
class _Group:
    """Rows that are decoded together: some prompts, `copies` rows of each, starting at copy `first`."""

    prompts: tuple[int, ...]
    first: int
    copies: int

    def rows(self, n: int) -> list[int]:
        return [p * n + c for p in self.prompts for c in range(self.first, self.first + self.copies)]


_Work = Callable[[_Group], tuple[Tensor, Tensor]]


def _groups(prompts: Sequence[Sequence[int]], n: int, most: int | None) -> list[_Group]:
    """Prompts of similar length together, at most `most` rows in a group."""
    order = sorted(range(len(prompts)), key=lambda p: len(prompts[p]))
    if most is None:
        return [_Group(tuple(order), 0, n)]
    if n > most:
        parts = -(-n // most)
        edges = list(pairwise(n * i // parts for i in range(parts + 1)))
        return [_Group((p,), a, b - a) for p in order for a, b in edges]
    count = -(-len(order) // (most // n))
    cuts = [len(order) * i // count for i in range(count + 1)]
    return [_Group(tuple(order[a:b]), 0, n) for a, b in pairwise(cuts)]


@torch.inference_mode()
def _decode(
    decoder: DecoderLike,
    prompts: list[Sequence[int]],
    copies: int,
    uniform_BT: Tensor,
    settings: Sampling,
    eos: int | None,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Decodes one group to its end: tokens and log-probabilities [B, T], meaningless after a row's end token."""
    tokens = torch.tensor(pad_left(prompts, 0), device=device)
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    state = decoder.start(tokens, lengths, tokens.shape[1] + settings.max_new - 1, copies)
    if isinstance(state, NativeDecoding) and settings.top_k == 0 and settings.top_p == 1:
        return state.speak(uniform_BT, settings.temperature, eos)
    rows = len(prompts) * copies
    uniform_TB = uniform_BT.t().contiguous().to(device)
    out_TB = torch.zeros(settings.max_new, rows, dtype=torch.long, device=device)
    logp_TB = torch.zeros(settings.max_new, rows, device=device)
    alive: Tensor | None = None  # indices of the rows still decoded; None: all
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    check = 1 if device.type == "cpu" else 16  # steps between looks, each of which waits for the device
    logits = state.logits
    for step in range(settings.max_new):
        uniform = uniform_TB[step]
        token, logp = pick(logits, uniform if alive is None else uniform[alive], settings)
        if alive is None:
            out_TB[step], logp_TB[step] = token, logp
        else:
            out_TB[step, alive], logp_TB[step, alive] = token, logp
        if step + 1 == settings.max_new:
            break
        if eos is not None:
            ended |= token == eos
            if (step + 1) % check == 0:
                left = ended.numel() - int(ended.sum())
                if left == 0:
                    out_TB, logp_TB = out_TB[: step + 1], logp_TB[: step + 1]
                    break
                if left <= ended.numel() * 3 // 4 and ended.numel() > 8:
                    keep = (~ended).nonzero()[:, 0]
                    state.keep(keep)
                    alive = keep if alive is None else alive[keep]
                    token, ended = token[keep], ended[keep]
        logits = state.step(token)
    return out_TB.t(), logp_TB.t()


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    settings: Sampling,
    *,
    eos: int | None,
    pad: int = 0,
    seed: int | torch.Generator = 0,
    streams: Sequence[int] | None = None,
    version: int = 0,
    decoder: DecoderLike | None = None,
) -> Samples:
    """Samples `settings.n` completions of each prompt (lists of ids, of any lengths but not empty).

    `eos` ends a row (None: nothing does); `pad` fills rows. `seed` is a number, or a generator that one number
    is drawn from. `streams` names each row's random stream (default: its index), for rows that must draw alike in
    another batch. `version` is recorded in the result. `decoder` reuses `model.decoder()` over several calls with
    the same weights.
    """
    if not prompts or not all(len(p) for p in prompts):
        raise ActrixError("generation needs at least one prompt, and at least one token in each")
    longest, rows = max(map(len, prompts)), len(prompts) * settings.n
    if longest + settings.max_new > model.context:
        raise ActrixError(
            f"{longest} prompt tokens and {settings.max_new} new ones exceed the model's context of {model.context}",
            "shorten the prompts or max_new, or build the model with a longer context",
        )
    names = list(range(rows)) if streams is None else list(streams)
    if len(names) != rows:
        raise ActrixError(f"{len(names)} streams for {rows} rows ({len(prompts)} prompts times n={settings.n})")
    if isinstance(seed, torch.Generator):
        seed = int(torch.randint(1 << 62, (), generator=seed, device=seed.device))
    uniform = uniforms(seed, names, settings.max_new)
    device = next(model.parameters()).device
    decoder = model.decoder() if decoder is None else decoder
    most = decoder.rows_at_once(longest + settings.max_new)
    if most is not None:  # something to do for every thread
        most = min(most, -(-rows // torch.get_num_threads()))
    groups = _groups(prompts, settings.n, most)

    def work(group: _Group) -> tuple[Tensor, Tensor]:
        mine = [prompts[p] for p in group.prompts]
        return _decode(decoder, mine, group.copies, uniform[group.rows(settings.n)], settings, eos, device)

    threads = min(torch.get_num_threads(), len(groups)) if most is not None else 1
    results = list(map(work, groups)) if threads == 1 else _in_threads(work, groups, threads)
    return _assemble(prompts, groups, results, settings, eos, pad, version, device)


def _in_threads(work: _Work, groups: list[_Group], threads: int) -> list[tuple[Tensor, Tensor]]:
    """One group per thread, each with single-threaded kernels: no barriers between short kernels."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, groups))
    finally:
        torch.set_num_threads(before)


def _assemble(
    prompts: Sequence[Sequence[int]],
    groups: list[_Group],
    results: list[tuple[Tensor, Tensor]],
    settings: Sampling,
    eos: int | None,
    pad: int,
    version: int,
    device: torch.device,
) -> Samples:
    """The groups' rows in the order of the prompts, cut at the end token, prompts in front, padded on the right."""
    n, rows = settings.n, len(prompts) * settings.n
    steps = max(tokens.shape[1] for tokens, _ in results)
    new = torch.full((rows, steps), pad, dtype=torch.long, device=device)
    logp = torch.zeros(rows, steps, device=device)
    count = torch.full((rows,), steps, dtype=torch.long, device=device)
    for group, (tokens, values) in zip(groups, results):
        index = torch.tensor(group.rows(n), device=device)
        new[index, : tokens.shape[1]], logp[index, : tokens.shape[1]] = tokens, values
        count[index] = tokens.shape[1]
    step = torch.arange(steps, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    if eos is not None:
        first = torch.where((new == eos) & (step < count[:, None]), step, steps).amin(1)
        ended = first < steps
        count = torch.where(ended, first + 1, count)
    prompt_length = torch.tensor([len(p) for p in prompts], device=device).repeat_interleave(n)
    lengths = prompt_length + count
    length = int(lengths.max())
    out = torch.full((rows, length), pad, dtype=torch.long, device=device)
    logp_out = torch.zeros(rows, length, device=device)
    width = int(prompt_length.max())
    given = torch.tensor([[*p, *[pad] * (width - len(p))] for p in prompts], device=device)
    out[:, :width] = given.repeat_interleave(n, 0)[:, :length]
    inside = step < count[:, None]
    row, column = inside.nonzero(as_tuple=True)
    place = prompt_length[row] + column
    out[row, place], logp_out[row, place] = new[row, column], logp[row, column]
    owner = torch.arange(len(prompts), device=device).repeat_interleave(n)
    return Samples(out, prompt_length, lengths, logp_out, ended, owner, settings, version)
