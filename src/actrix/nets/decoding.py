"""Decoding a `Transformer` token after token, with a static key-value cache. No gradient.

Prompts are *left*-padded, so that at a step all rows write the same slot of the cache; every row keeps its
own positions (slot minus padding), and padded slots are masked out exactly.

This is the portable way, in PyTorch. Where there is a C compiler, fp32 on a CPU is decoded by
`actrix.nets.native_decoding`, which computes the same up to rounding, about twice as fast.

What makes it quick on a CPU, where a step of a small model is short: weights are laid out once for oneDNN
(`Packed`); the two halves of a rotary pair lie side by side, which makes the rotation one complex product (the
order of dimensions inside a head does not matter to a dot product); and few rows are decoded at a time, so that their
keys and values stay in the processor's cache (`rows_at_once`).

Suffixes: B rows, L prompt length, C slots of the cache, T slots used, H query heads, K key heads, D head
dimension, W width, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from actrix.nets.linear import Packed
from actrix.nets.transformer import Block, Transformer, TransformerConfig

CACHE_BYTES = 16 << 20  # keys and values of the rows that a CPU decodes together
MOST_ROWS = 64  # more rows than this make no product faster


def rows_in_cache(config: TransformerConfig, capacity: int, bytes_each: int, room: int) -> int:
    """How many rows a CPU should decode together, so that their keys and values take up to `room` bytes."""
    row = 2 * config.layers * config.key_heads * config.head_dim * capacity * bytes_each
    return min(max(room // row, 8), MOST_ROWS)


@dataclass(frozen=True)
class _Layer:
    """A block's weights, laid out for decoding."""

    norm_attention: Tensor
    qkv: Packed
    out: Packed
    norm_mlp: Tensor
    up: Packed
    down: Packed


class Decoder:
    """A copy of a transformer's weights, ready to decode. Training the model afterwards does not reach it."""

    @torch.no_grad()
    def __init__(self, net: Transformer) -> None:
        self.config = config = net.config
        self.check_length = net.check_length
        self.embedding = net.embedding.weight.clone()
        self.norm = net.norm.weight.clone()
        self.head = Packed(net.head_weight)
        # [context, D/2] unit complex numbers: the rotation of every pair at every position.
        self.turn = torch.complex(net.cos[:, 0].float(), net.sin[:, 1].float())
        # Rows of the projection in the order that puts both halves of a pair side by side.
        turned = (config.heads + config.key_heads) * config.head_dim
        rows = torch.arange(turned + config.key_heads * config.head_dim, device=self.embedding.device)
        pairs = rows[:turned].view(-1, 2, config.head_dim // 2).transpose(1, 2).reshape(-1)
        order = torch.cat((pairs, rows[turned:]))
        self.layers: list[_Layer] = []
        for block in net.blocks:
            assert isinstance(block, Block)
            qkv = block.attention.qkv
            self.layers.append(
                _Layer(
                    block.norm_attention.weight.clone(),
                    Packed(qkv.weight[order], None if qkv.bias is None else qkv.bias[order]),
                    Packed(block.attention.out.weight),
                    block.norm_mlp.weight.clone(),
                    Packed(block.mlp.up.weight),
                    Packed(block.mlp.down.weight),
                )
            )

    def rows_at_once(self, capacity: int) -> int | None:
        """How many rows to decode together, or None for all of them. Depends on sizes only."""
        if self.embedding.device.type != "cpu":
            return None
        return rows_in_cache(self.config, capacity, self.embedding.element_size(), CACHE_BYTES)

    def start(self, tokens_BL: Tensor, lengths_B: Tensor, capacity: int, copies: int = 1) -> Decoding:
        """Reads left-padded prompts into a new cache of `capacity` slots.

        Each prompt is read once and then serves `copies` adjacent rows. The logits [B * copies, V] of the
        first new token are the `logits` of what is returned.
        """
        self.check_length(capacity)
        return Decoding(self, tokens_BL, lengths_B, capacity, copies)


class Decoding:
    """A batch of rows under way: `step(token_B) -> logits [B, V]`, one slot further for all rows."""

    @torch.no_grad()
    def __init__(self, decoder: Decoder, tokens_BL: Tensor, lengths_B: Tensor, capacity: int, copies: int = 1) -> None:
        config, device, dtype = decoder.config, decoder.embedding.device, decoder.embedding.dtype
        self.decoder, self.config = decoder, config
        prompts, length = tokens_BL.shape
        cache = (config.layers, prompts * copies, config.key_heads)
        self.key_BKDC = torch.empty(*cache, config.head_dim, capacity, device=device, dtype=dtype)
        self.value_BKCD = torch.empty(*cache, capacity, config.head_dim, device=device, dtype=dtype)
        slot_C = torch.arange(capacity, device=device)
        padding_B = (length - lengths_B).to(device)
        padded_BC = slot_C < padding_B[:, None]
        self.turn_BC = decoder.turn[(slot_C - padding_B[:, None]).clamp_min(0)]  # [B, C, D/2]
        self.slot = length
        self.logits = self._read(tokens_BL, padded_BC[:, :length], copies)
        self.mask: Tensor | None = None
        if bool(padded_BC.any()):
            mask = torch.zeros(prompts, 1, 1, capacity, device=device, dtype=dtype)
            mask.masked_fill_(padded_BC[:, None, None], -math.inf)
            heads = config.key_heads
            self.mask = mask.expand(-1, heads, -1, -1).repeat_interleave(copies, 0).flatten(0, 1)  # [BK, 1, C]
        self.nothing = torch.zeros(1, 1, 1, device=device, dtype=dtype)
        if copies > 1:
            self.turn_BC = self.turn_BC.repeat_interleave(copies, 0)
            self.logits = self.logits.repeat_interleave(copies, 0)

    def _split(self, layer: _Layer, x: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [..., W], turn [..., D/2] -> rotated queries [..., H, D] and keys [..., K, D], values [..., K, D]."""
        heads, keys = self.config.heads, self.config.key_heads
        x = F.rms_norm(x, layer.norm_attention.shape, layer.norm_attention, self.config.norm_eps)
        qkv = layer.qkv(x).unflatten(-1, (heads + 2 * keys, self.config.head_dim))
        pairs = torch.view_as_complex(qkv[..., : heads + keys, :].float().unflatten(-1, (-1, 2)))
        qk = torch.view_as_real(pairs * turn.unsqueeze(-2)).flatten(-2).to(x.dtype)
        return qk[..., :heads, :], qk[..., heads:, :], qkv[..., heads + keys :, :]

    def _finish(self, layer: _Layer, x: Tensor, mixed: Tensor) -> Tensor:
        """The rest of a block, after attention."""
        x = x + layer.out(mixed)
        up = layer.up(F.rms_norm(x, layer.norm_mlp.shape, layer.norm_mlp, self.config.norm_eps))
        gate, value = up.chunk(2, -1)
        return x + layer.down(F.silu(gate).mul_(value))

    def _logits(self, x: Tensor) -> Tensor:
        norm = self.decoder.norm
        return self.decoder.head(F.rms_norm(x, norm.shape, norm, self.config.norm_eps))

    def _read(self, tokens_BL: Tensor, padded_BL: Tensor, copies: int) -> Tensor:
        """Fills the cache with the prompts, and returns the logits [B, V] after their last tokens."""
        length, device = tokens_BL.shape[1], tokens_BL.device
        seen = torch.ones(length, length, dtype=torch.bool, device=device).tril() & ~padded_BL[:, None]
        seen |= torch.eye(length, dtype=torch.bool, device=device)  # padding sees itself, and so is never NaN
        turn = self.turn_BC[:, :length]
        grouped = self.config.key_heads != self.config.heads
        x = self.decoder.embedding[tokens_BL]
        for index, layer in enumerate(self.decoder.layers):
            query, key, value = (t.transpose(1, 2) for t in self._split(layer, x, turn))
            self.key_BKDC[index].unflatten(0, (-1, copies))[..., :length] = key[:, None].transpose(-1, -2)
            self.value_BKCD[index].unflatten(0, (-1, copies))[..., :length, :] = value[:, None]
            mixed = F.scaled_dot_product_attention(query, key, value, seen[:, None], enable_gqa=grouped)
            x = self._finish(layer, x, mixed.transpose(1, 2).flatten(2))
        return self._logits(x[:, -1])

    @torch.no_grad()
    def step(self, token_B: Tensor) -> Tensor:
        """Writes the token of every row into the next slot; logits [B, V] of the one after it."""
        config, slot, rows = self.config, self.slot, token_B.shape[0]
        keys, dim, end = config.key_heads, config.head_dim, self.slot + 1
        group = (rows * keys, config.heads // keys, dim)  # the queries that share a key head
        mask, beta = (self.nothing, 0) if self.mask is None else (self.mask[..., :end], 1)
        turn = self.turn_BC[:, slot]
        x = self.decoder.embedding[token_B]
        for index, layer in enumerate(self.decoder.layers):
            query, key, value = self._split(layer, x, turn)
            all_keys, all_values = self.key_BKDC[index], self.value_BKCD[index]
            all_keys[..., slot] = key
            all_values[:, :, slot] = value
            keys_T, values_T = all_keys.flatten(0, 1)[..., :end], all_values.flatten(0, 1)[:, :end]
            score = torch.baddbmm(mask, query.reshape(group), keys_T, beta=beta, alpha=dim**-0.5)
            mixed = torch.bmm(score.softmax(-1), values_T)
            x = self._finish(layer, x, mixed.view(rows, -1))
        self.slot = end
        return self._logits(x)

    def keep(self, rows: Tensor) -> None:
        """Goes on with these rows only (indices, ascending), so that finished ones cost nothing more."""
        self.key_BKDC, self.value_BKCD = self.key_BKDC[:, rows], self.value_BKCD[:, rows]
        self.turn_BC = self.turn_BC[rows]
        if self.mask is not None:
            self.mask = self.mask.unflatten(0, (-1, self.config.key_heads))[rows].flatten(0, 1)
