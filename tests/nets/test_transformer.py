"""The transformer against closed forms: what it may see, what padding may not change, and its cached decoding."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from torch.nn import functional as F

from actrix.errors import ActrixError
from actrix.nets import native_decoding
from actrix.nets.decoding import Decoder
from actrix.nets.linear import Packed, linear
from actrix.nets.native import kernels
from actrix.nets.native_decoding import NativeDecoder
from actrix.nets.transformer import Prefixes, Transformer, TransformerConfig, rotary_tables, rotate

SHAPES = {
    "plain": TransformerConfig(vocab=23, layers=2, width=32, heads=4, context=40),
    "grouped": TransformerConfig(
        vocab=23, layers=2, width=48, heads=6, kv_heads=2, context=40, tied=False, qkv_bias=True
    ),
    "large enough for oneDNN": TransformerConfig(vocab=40, layers=2, width=256, heads=4, context=40),
    "odd sizes": TransformerConfig(vocab=67, layers=3, width=42, heads=3, kv_heads=1, mlp=37, context=40),
    "one head of two": TransformerConfig(vocab=9, layers=1, width=2, heads=1, mlp=1, context=40, qkv_bias=True),
    "wide heads": TransformerConfig(vocab=33, layers=1, width=140, heads=2, mlp=50, context=40, tied=False),
}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def net(request: pytest.FixtureRequest) -> Transformer:
    torch.manual_seed(0)
    net = Transformer(request.param)
    with torch.no_grad():  # gains and biases that a mistake would not leave alone
        for parameter in net.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def tokens(net: Transformer, rows: int, length: int) -> torch.Tensor:
    return torch.randint(net.config.vocab, (rows, length), generator=torch.Generator().manual_seed(1))


def test_a_later_token_never_changes_earlier_logits(net: Transformer) -> None:
    x = tokens(net, 3, 20)
    before = net(x)
    for place in (1, 7, 19):
        changed = x.clone()
        changed[:, place] = (changed[:, place] + 1) % net.config.vocab
        after = net(changed)
        assert torch.equal(before[:, :place], after[:, :place])
        assert (before[:, place] - after[:, place]).abs().amax() > 1e-3


def test_padding_never_changes_logits(net: Transformer) -> None:
    x = tokens(net, 4, 12)
    padded = torch.cat((x, tokens(net, 4, 17)), 1)
    torch.testing.assert_close(net(padded, torch.full((4,), 12))[:, :12], net(x), atol=1e-6, rtol=1e-5)
    alone = torch.cat([net(row[None]) for row in x])
    torch.testing.assert_close(alone, net(x), atol=1e-6, rtol=1e-5)


def decoder_of(net: Transformer, native: bool) -> Decoder | NativeDecoder:
    found = NativeDecoder.of(net) if native else Decoder(net)
    if found is None:
        pytest.skip("no C compiler here")
    return found


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("copies", [1, 3])
def test_cached_decoding_equals_full_recomputation(net: Transformer, copies: int, native: bool) -> None:
    lengths = [5, 1, 9, 3]
    prompts = [tokens(net, 1, n)[0] for n in lengths]
    left = torch.stack([F.pad(p, (max(lengths) - len(p), 0), value=7) for p in prompts])
    decoder = decoder_of(net, native)
    state = decoder.start(left, torch.tensor(lengths), capacity=20, copies=copies)
    rows = [p.tolist() for p in prompts for _ in range(copies)]
    logits = state.logits
    chosen = torch.randint(net.config.vocab, (10, len(rows)), generator=torch.Generator().manual_seed(2))
    for step in range(10):
        full = torch.stack([net(torch.tensor([row]))[0, -1] for row in rows])
        torch.testing.assert_close(logits, full, atol=3e-5, rtol=1e-4)
        if step == 5:  # some rows leave
            kept = torch.tensor([0, 2, 3])
            state.keep(kept)
            rows, chosen = [rows[i] for i in kept], chosen[:, kept]
        logits = state.step(chosen[step])
        rows = [[*row, int(token)] for row, token in zip(rows, chosen[step])]


def test_long_left_padded_prompts_are_read_alike(net: Transformer) -> None:
    """Enough rows that the kernels read prompts in several pieces, whose edges lie within and beside the padding."""
    lengths = torch.arange(1, 34)
    x = tokens(net, 33, 33)
    by_torch, by_c = (decoder_of(net, native).start(x, lengths, 38, 2) for native in (False, True))
    torch.testing.assert_close(by_c.logits, by_torch.logits, atol=3e-5, rtol=1e-4)
    for _ in range(5):  # greedy
        token = by_torch.logits.argmax(-1)
        torch.testing.assert_close(by_c.step(token), by_torch.step(token), atol=3e-5, rtol=1e-4)


def test_a_row_decodes_to_the_same_bits_in_any_company(net: Transformer) -> None:
    decoder = decoder_of(net, native=True)
    x = tokens(net, 29, 9)
    lengths = torch.arange(29) % 9 + 1
    together = decoder.start(x, lengths, 12)
    for count in (1, 2, 3, 7, 16):
        some = torch.arange(count) * 29 // count
        alone = decoder.start(x[some], lengths[some], 12)
        assert torch.equal(alone.logits, together.logits[some])
    token = together.logits.argmax(-1)
    assert torch.equal(alone.step(token[some]), together.step(token)[some])


def test_what_the_first_block_makes_of_a_token_may_be_made_beforehand(
    net: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more tokens than there are in the vocabulary, as of fewer: states and gradients; in decoding, to the bit."""
    few = torch.arange(net.config.vocab)[None, :8]
    many = few.expand(2 * net.config.vocab, -1)
    parameters = list(net.parameters())
    states, whole = net.hidden(few), net.hidden(many)
    torch.testing.assert_close(whole, states.expand_as(whole), atol=1e-5, rtol=1e-4)
    weight = torch.linspace(-1, 1, states.numel()).view_as(states)
    slopes = torch.autograd.grad((states * weight).sum(), parameters, allow_unused=True)
    same = torch.autograd.grad((whole * weight).sum() / len(many), parameters, allow_unused=True)
    assert sum(s is not None for s in slopes) > 5
    for a, b in zip(slopes, same, strict=True):
        if a is not None:
            torch.testing.assert_close(b, a, atol=1e-4 * max(1.0, float(a.abs().amax())), rtol=1e-4)
    if kernels() is None:
        return
    made = NativeDecoder.of(net)
    monkeypatch.setattr(native_decoding, "PROJECTED", 0)
    plain = NativeDecoder.of(net)
    assert made is not None
    assert plain is not None
    assert made.model.projected
    assert not plain.model.projected
    prompts, lengths = tokens(net, 3, 5), torch.tensor([5, 5, 5])
    a, b = (d.start(prompts, lengths, 12) for d in (made, plain))
    assert torch.equal(a.logits, b.logits)
    for token in tokens(net, 3, 6).T:
        assert torch.equal(a.step(token), b.step(token))


def test_a_token_outside_the_vocabulary_is_an_error(net: Transformer) -> None:
    decoder = decoder_of(net, native=True)
    for wrong in (-1, net.config.vocab):
        with pytest.raises(ActrixError, match="vocabulary"):
            decoder.start(torch.tensor([[0, wrong]]), torch.tensor([2]), 4)


@pytest.mark.parametrize("native", [True, False])
def test_decoding_is_untouched_by_training(native: bool) -> None:
    torch.manual_seed(0)
    net = Transformer(SHAPES["large enough for oneDNN"])
    x = tokens(net, 2, 6)
    decoder = decoder_of(net, native)
    before = decoder.start(x, torch.tensor([6, 6]), 8).logits
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    assert torch.equal(decoder.start(x, torch.tensor([6, 6]), 8).logits, before)


def test_rotation_is_by_position_times_frequency() -> None:
    config = SHAPES["plain"]
    cos, sin = rotary_tables(config)
    x = torch.randn(config.head_dim)
    half = config.head_dim // 2
    for position in (0, 1, 30):
        turned = rotate(x, cos[position], sin[position])
        for i in range(half):
            angle = position * config.rope_base ** (-i / half)
            a, b = float(x[i]), float(x[i + half])
            assert float(turned[i]) == pytest.approx(a * math.cos(angle) - b * math.sin(angle), abs=1e-5)
            assert float(turned[i + half]) == pytest.approx(b * math.cos(angle) + a * math.sin(angle), abs=1e-5)


def test_attention_sees_only_distances() -> None:
    """Queries and keys, turned by their positions: their product depends on the difference of positions only."""
    config = SHAPES["plain"]
    cos, sin = rotary_tables(config)
    q, k = torch.randn(2, config.head_dim)

    def product(i: int, j: int) -> float:
        return float(rotate(q, cos[i], sin[i]) @ rotate(k, cos[j], sin[j]))

    assert product(9, 4) == pytest.approx(product(25, 20), abs=1e-4)
    assert product(9, 4) != pytest.approx(product(9, 5), abs=1e-4)


def test_one_layer_by_hand() -> None:
    """The whole function, written again with loops and in double precision."""
    torch.manual_seed(0)
    config = TransformerConfig(vocab=11, layers=1, width=12, heads=3, kv_heads=1, context=8, tied=False)
    net = Transformer(config).double()
    x = tokens(net, 1, 6)[0]
    block, dim = net.blocks[0], config.head_dim

    def norm(v: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return v / (v.square().mean() + config.norm_eps).sqrt() * gain

    cos, sin = rotary_tables(config)
    state = [net.embedding.weight[t] for t in x]
    queries, keys, values = [], [], []
    for position, s in enumerate(state):
        qkv = block.attention.qkv.weight @ norm(s, block.norm_attention.weight)
        heads = qkv.view(5, dim)
        turned = [rotate(h, cos[position].double(), sin[position].double()) for h in heads[:4]]
        queries.append(turned[:3]), keys.append(turned[3]), values.append(heads[4])
    for position, s in enumerate(state):
        mixed = []
        for head in range(3):
            score = torch.stack([queries[position][head] @ keys[j] / dim**0.5 for j in range(position + 1)])
            mixed.append(sum(w * v for w, v in zip(score.softmax(0), values)))
        s = s + block.attention.out.weight @ torch.cat(mixed)
        gate, up = (block.mlp.up.weight @ norm(s, block.norm_mlp.weight)).chunk(2)
        s = s + block.mlp.down.weight @ (gate * gate.sigmoid() * up)
        logits = net.head.weight @ norm(s, net.norm.weight)
        torch.testing.assert_close(net(x[None])[0, position], logits, atol=1e-6, rtol=1e-6)


def test_linear_on_sequences_is_a_linear_layer_with_its_gradient() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 60, 96, requires_grad=True)
    weight, bias = torch.randn(200, 96, requires_grad=True), torch.randn(200, requires_grad=True)
    grad = torch.randn(6, 60, 200)
    ours = torch.autograd.grad(linear(x, weight.t(), bias), (x, weight, bias), grad)
    theirs = torch.autograd.grad(F.linear(x.double(), weight.double(), bias.double()), (x, weight, bias), grad.double())
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4)
    expected = F.linear(x.double(), weight.double(), bias.double()).float()
    torch.testing.assert_close(linear(x, weight.t(), bias), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(Packed(weight, bias)(x[0]), expected[0], atol=1e-4, rtol=1e-4)


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ActrixError, match="head dimension"):
        TransformerConfig(vocab=5, width=30, heads=4)
    with pytest.raises(ActrixError, match="must divide"):
        TransformerConfig(vocab=5, width=32, heads=4, kv_heads=3)
    with pytest.raises(ActrixError, match="context of 8"):
        Transformer(TransformerConfig(vocab=5, layers=1, width=16, heads=2, context=8))(
            torch.zeros(1, 9, dtype=torch.long)
        )


def answers(seed: int, groups: int = 3, size: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded rows: in each group one prompt, then answers over a small alphabet, so that some begin alike."""
    g = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(groups):
        prompt = torch.randint(7, (int(torch.randint(1, 6, (), generator=g)),), generator=g).tolist()
        for _ in range(size):
            answer = torch.randint(2, (int(torch.randint(1, 5, (), generator=g)),), generator=g).tolist()
            rows.append(prompt + answer)
    lengths = torch.tensor([len(r) for r in rows])
    width = int(lengths.max()) + 2
    return torch.tensor([r + [0] * (width - len(r)) for r in rows]), lengths


@pytest.mark.parametrize("seed", range(5))
def test_prefixes_are_the_distinct_beginnings(seed: int) -> None:
    tokens, lengths = answers(seed)
    prefixes = Prefixes.of(tokens, lengths)
    places = {(b, t): tuple(tokens[b, : t + 1].tolist()) for b in range(len(tokens)) for t in range(int(lengths[b]))}
    assert len(prefixes.token_N) == len(set(places.values())) < len(places)
    nodes: dict[tuple[int, ...], int] = {}
    for (b, t), beginning in places.items():
        node = int(prefixes.node_BL[b, t])
        assert nodes.setdefault(beginning, node) == node
        assert int(prefixes.token_N[node]) == beginning[-1]
        assert int(prefixes.position_N[node]) == t
    assert len(set(nodes.values())) == len(nodes)
    assert torch.equal(prefixes.collect(prefixes.spread(torch.arange(len(nodes)))), torch.arange(len(nodes)))


@pytest.mark.parametrize("kv_heads", [0, 1])
def test_sharing_prefixes_changes_neither_states_nor_gradients(kv_heads: int) -> None:
    torch.manual_seed(0)
    net = Transformer(TransformerConfig(vocab=7, layers=2, width=16, heads=2, kv_heads=kv_heads, context=16)).double()
    net.cos, net.sin = net.cos.double(), net.sin.double()
    tokens, lengths = answers(0)
    prefixes = Prefixes.of(tokens, lengths)
    inside = torch.arange(tokens.shape[1]) < lengths[:, None]
    weight = torch.randn(*tokens.shape, 16, dtype=torch.float64) * inside[..., None]
    plain, merged = net.hidden(tokens), prefixes.spread(net.hidden(tokens, prefixes))
    torch.testing.assert_close(merged[inside], plain[inside], rtol=1e-10, atol=1e-12)
    want = torch.autograd.grad((plain * weight).sum(), list(net.parameters()))
    for a, b in zip(torch.autograd.grad((merged * weight).sum(), list(net.parameters())), want):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sharing", [False, True])
def test_training_kernels_compute_the_states_and_gradients_of_pytorch(
    net: Transformer, sharing: bool, threads: int
) -> None:
    """Fp32 kernels against PyTorch in fp64, whose states and gradients are exact beside them."""
    if kernels() is None:
        pytest.skip("no C compiler here")
    exact = deepcopy(net).double()
    exact.cos, exact.sin = exact.cos.double(), exact.sin.double()
    x, lengths = answers(0)
    x = torch.cat((x, x, x, x), 1)[:, :34] % net.config.vocab  # more than two vectors long, where vectors are of 16
    lengths = lengths * 3
    prefixes = Prefixes.of(x, lengths) if sharing else None
    assert lengths.max() <= x.shape[1] < net.config.context
    inside = torch.arange(x.shape[1]) < lengths[:, None]
    weight = torch.randn(*x.shape, net.config.width, dtype=torch.float64) * inside[..., None]
    before, found = torch.get_num_threads(), []
    try:
        torch.set_num_threads(threads)
        for each in (net, exact):
            hidden = each.hidden(x, prefixes)
            hidden = hidden if prefixes is None else prefixes.spread(hidden)
            loss = (hidden * weight.to(hidden.dtype)).sum()
            found.append([hidden[inside], *torch.autograd.grad(loss, list(each.blocks.parameters()))])
    finally:
        torch.set_num_threads(before)
    for mine, want in zip(*found):
        scale = float(want.detach().abs().amax())
        torch.testing.assert_close(mine.double(), want, rtol=0, atol=2e-5 * scale)


@pytest.mark.skipif(kernels() is None, reason="no C compiler here")
@pytest.mark.parametrize("shared", [0, 70])
def test_training_kernels_serve_long_rows_and_do_not_depend_on_threads(shared: int) -> None:
    """Rows of more queries than gradients are gathered for at a time, from a beginning of any length."""
    torch.manual_seed(0)
    net = Transformer(TransformerConfig(vocab=50, layers=2, width=72, heads=6, kv_heads=3, context=256))
    x, lengths = torch.randint(50, (4, 251)), torch.tensor([251, 97, 230, 1])
    x[:3, :shared] = x[0, :shared]
    prefixes = Prefixes.of(x, lengths)
    weight = torch.randn(len(prefixes.token_N), net.config.width)
    exact = deepcopy(net).double()
    exact.cos, exact.sin = exact.cos.double(), exact.sin.double()

    def gradients(each: Transformer) -> list[torch.Tensor]:
        hidden = each.hidden(x, prefixes)
        loss = (hidden * weight.to(hidden.dtype)).sum()
        return [hidden.detach(), *torch.autograd.grad(loss, list(each.parameters()))]

    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(gradients(net))
    finally:
        torch.set_num_threads(before)
    for mine, want in zip(found[0], gradients(exact)):
        torch.testing.assert_close(mine.double(), want, rtol=0, atol=3e-5 * float(want.abs().amax()))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other))
