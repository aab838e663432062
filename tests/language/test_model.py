"""Language models: log-probabilities by closed form, padding, and the same answers as `transformers`."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from actrix.errors import ActrixError
from actrix.language import model as model_module
from actrix.language.convert import from_hugging_face, make_model
from actrix.language.model import HuggingFaceModel, LanguageModel, TransformerModel
from actrix.language.sampler import Sampling, generate
from actrix.language.tokens import pad_left
from actrix.nets.transformer import TransformerConfig

VOCAB = 31


def hugging_face(kind: str) -> Any:
    transformers = pytest.importorskip("transformers", reason="the extra [language] is not installed")
    torch.manual_seed(0)
    special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    if kind == "gpt2":
        config = transformers.GPT2Config(vocab_size=VOCAB, n_positions=64, n_embd=32, n_layer=2, n_head=4, **special)
        net = transformers.GPT2LMHeadModel(config)
    else:
        shape = {
            "vocab_size": VOCAB,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
            "tie_word_embeddings": kind == "qwen2",
        }
        name = {"llama": "Llama", "qwen2": "Qwen2"}[kind]
        config = getattr(transformers, f"{name}Config")(**shape, **special)
        net = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


def build(kind: str) -> LanguageModel:
    torch.manual_seed(0)
    if kind == "ours":
        return TransformerModel(TransformerConfig(vocab=VOCAB, layers=2, width=32, heads=4, context=64))
    return HuggingFaceModel(hugging_face(kind))


KINDS = ["ours", "gpt2", "llama", "qwen2"]


@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_is_the_log_softmax_of_the_logits_at_the_token(kind: str) -> None:
    model = build(kind)
    lengths = [9, 4, 1]
    x = torch.randint(VOCAB, (3, 9), generator=torch.Generator().manual_seed(0))
    for temperature in (1.0, 0.7):
        logp = model.log_prob(x, torch.tensor(lengths), temperature).detach()
        spread = model.score(x, torch.tensor(lengths), temperature).entropy_BL.detach()
        for row, length in enumerate(lengths):
            every = (model.logits(x[row : row + 1, :length])[0].detach() / temperature).double().log_softmax(-1)
            for place in range(9):
                if not 1 <= place < length:
                    assert float(logp[row, place]) == float(spread[row, place]) == 0
                    continue
                expected = float(every[place - 1, x[row, place]])
                assert float(logp[row, place]) == pytest.approx(expected, abs=1e-5)
                entropy = -float((every[place - 1].exp() * every[place - 1]).sum())
                assert float(spread[row, place]) == pytest.approx(entropy, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_never_changes_log_probabilities_or_their_gradient(kind: str) -> None:
    model = build(kind)
    x = torch.randint(VOCAB, (3, 8), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([8, 5, 2])
    padded = torch.cat((x, torch.randint(VOCAB, (3, 9))), 1)
    short, long = model.log_prob(x, lengths), model.log_prob(padded, lengths)
    torch.testing.assert_close(long[:, :8], short, atol=1e-6, rtol=1e-5)
    assert not long[:, 8:].any()
    parameters = [p for p in model.parameters() if p.requires_grad]
    for a, b in zip(torch.autograd.grad(short.sum(), parameters), torch.autograd.grad(long.sum(), parameters)):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-3)


def test_log_probabilities_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("ours")
    x = torch.randint(VOCAB, (5, 12), generator=torch.Generator().manual_seed(0))
    whole = model.log_prob(x)
    gradient = torch.autograd.grad(whole.sum(), list(model.parameters()))
    monkeypatch.setattr(model_module, "_CHUNK", 7 * VOCAB)
    pieces = model.log_prob(x)
    torch.testing.assert_close(pieces, whole)
    for a, b in zip(torch.autograd.grad(pieces.sum(), list(model.parameters())), gradient):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_log_probabilities_of_all_sequences_sum_to_one() -> None:
    model = build("ours")
    pairs = torch.cartesian_prod(torch.tensor([3]), torch.arange(VOCAB), torch.arange(VOCAB))
    assert float(model.log_prob(pairs).detach().sum(1).double().exp().sum()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_cached_decoding_equals_full_logits(kind: str) -> None:
    model = build(kind)
    prompts = [[5, 6, 7, 8], [9], [1, 2]]
    left = torch.tensor(pad_left(prompts, 0))
    state = model.decoder().start(left, torch.tensor([4, 1, 2]), capacity=20, copies=2)
    rows = [p for p in prompts for _ in range(2)]
    logits = state.logits
    for step in range(8):
        full = torch.stack([model.logits(torch.tensor([row]))[0, -1] for row in rows])
        torch.testing.assert_close(logits, full, atol=1e-4, rtol=1e-4)
        if step == 4:
            state.keep(torch.tensor([1, 3, 4]))
            rows = [rows[i] for i in (1, 3, 4)]
        token = torch.arange(len(rows)) * 3 + step
        rows = [[*row, int(t)] for row, t in zip(rows, token)]
        logits = state.step(token)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2"])
def test_greedy_tokens_equal_transformers_generate(kind: str) -> None:
    net = hugging_face(kind)
    prompts = [[5, 6, 7, 8], [9], [1, 2, 30]]
    left = torch.tensor(pad_left(prompts, 0))
    mask = torch.tensor(pad_left([[1] * len(p) for p in prompts], 0))
    theirs = net.generate(left, attention_mask=mask, max_new_tokens=24, do_sample=False, pad_token_id=0)[:, 4:]
    models: list[LanguageModel] = [HuggingFaceModel(net)]
    if kind != "gpt2":
        models.append(from_hugging_face(net))
    for model in models:
        ours = generate(model, prompts, Sampling(max_new=24, temperature=0), eos=None)
        assert ours.completions() == theirs.tolist()


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_converted_weights_are_the_same_function(kind: str) -> None:
    net = hugging_face(kind)
    x = torch.randint(VOCAB, (2, 20), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(from_hugging_face(net).logits(x), net(x).logits, atol=2e-5, rtol=1e-4)


def test_conversion_refuses_what_it_cannot_compute() -> None:
    with pytest.raises(ActrixError, match="architecture"):
        from_hugging_face(hugging_face("gpt2"))
    net = hugging_face("llama")
    net.config.rope_parameters = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
    with pytest.raises(ActrixError, match="scaled"):
        from_hugging_face(net)


def test_a_fresh_model_is_nearly_uniform() -> None:
    torch.manual_seed(0)
    model = make_model("tiny", vocab=21, context=32)
    assert 0.8e6 < sum(p.numel() for p in model.parameters()) < 1.1e6
    logp = model.log_prob(torch.randint(21, (4, 30)))
    assert float(logp[:, 1:].mean()) == pytest.approx(-math.log(21), abs=0.1)


def test_unknown_models_and_bad_temperatures_are_named() -> None:
    with pytest.raises(ActrixError, match="did you mean tiny"):
        make_model("tinny", 5, 5)
    with pytest.raises(ActrixError, match="temperature"):
        build("ours").log_prob(torch.zeros(1, 2, dtype=torch.long), temperature=0)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_shared_beginnings_change_no_score(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = TransformerModel(TransformerConfig(vocab=11, layers=2, width=32, heads=2, context=32))
    prompts = torch.randint(11, (3, 6)).repeat_interleave(5, 0)
    tokens = torch.cat((prompts, torch.randint(11, (15, 7))), 1)
    lengths = torch.randint(7, 14, (15,))
    assert model_module.shared(tokens, lengths) is not None
    merged = model.score(tokens, lengths, temperature)
    slopes = torch.autograd.grad(merged.logp_BL.square().sum(), list(model.parameters()))
    monkeypatch.setattr(model_module, "WORTH_SHARING", 0.0)
    assert model_module.shared(tokens, lengths) is None
    plain = model.score(tokens, lengths, temperature)
    torch.testing.assert_close(merged.logp_BL, plain.logp_BL, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(merged.entropy_BL, plain.entropy_BL, rtol=1e-4, atol=1e-5)
    for a, b in zip(slopes, torch.autograd.grad(plain.logp_BL.square().sum(), list(model.parameters()))):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
