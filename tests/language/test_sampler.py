"""The sampler against brute force: frequencies, truncation, stopping, streams and recorded log-probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from actrix.errors import ActrixError
from actrix.language import sampler
from actrix.language.model import LanguageModel, TransformerModel
from actrix.language.sampler import Sampling, generate, pick, truncate, uniforms
from actrix.nets import decoding
from actrix.nets.native import kernels
from actrix.nets.transformer import TransformerConfig

VOCAB, EOS = 17, 1
PROMPTS = [[3, 4, 5], [6], [7, 8, 9, 10, 11], [2, 2]]


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(0)
    model = TransformerModel(TransformerConfig(vocab=VOCAB, layers=2, width=32, heads=4, context=64))
    with torch.no_grad():
        model.net.embedding.weight.mul_(8)  # far from uniform
    return model


def test_greedy_equals_a_loop_that_recomputes_everything(model: LanguageModel) -> None:
    samples = generate(model, PROMPTS, Sampling(max_new=20, temperature=0), eos=EOS)
    for prompt, completion in zip(PROMPTS, samples.completions()):
        row = list(prompt)
        while len(row) < len(prompt) + 20:
            row.append(int(model.logits(torch.tensor([row]))[0, -1].argmax()))
            if row[-1] == EOS:
                break
        assert completion == row[len(prompt) :]
    assert not samples.logp_behaviour_BL.any()


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_recorded_log_probabilities_are_recomputed_ones(model: LanguageModel, temperature: float) -> None:
    samples = generate(model, PROMPTS, Sampling(max_new=30, n=9, temperature=temperature), eos=EOS, seed=3)
    again = model.log_prob(samples.tokens_BL, samples.lengths_B, temperature)
    mask = samples.action_mask_BL
    torch.testing.assert_close(again[mask], samples.logp_behaviour_BL[mask], atol=1e-5, rtol=0)
    assert not samples.logp_behaviour_BL[~mask].any()


def test_rows_stop_at_the_end_token_and_only_there(model: LanguageModel) -> None:
    samples = generate(model, PROMPTS, Sampling(max_new=25, n=16), eos=EOS, pad=13, seed=1)
    assert set(samples.stop_reasons) == {"stop", "length"}
    for row, (completion, reason) in enumerate(zip(samples.completions(), samples.stop_reasons)):
        prompt = PROMPTS[int(samples.prompt_B[row])]
        assert row // 16 == int(samples.prompt_B[row])
        length = len(prompt) + len(completion)
        assert samples.tokens_BL[row, : len(prompt)].tolist() == prompt
        assert samples.tokens_BL[row, length:].eq(13).all()
        assert EOS not in completion[:-1]
        assert (completion[-1] == EOS) == (reason == "stop") == bool(samples.ended_B[row])
        assert reason == "stop" or len(completion) == 25


def test_same_seed_same_bits_and_others_differ(model: LanguageModel) -> None:
    settings = Sampling(max_new=20, n=8)
    first, again, other = (generate(model, PROMPTS, settings, eos=EOS, seed=s) for s in (5, 5, 6))
    assert torch.equal(first.tokens_BL, again.tokens_BL)
    assert torch.equal(first.logp_behaviour_BL, again.logp_behaviour_BL)
    assert first.tokens_BL.shape != other.tokens_BL.shape or not torch.equal(first.tokens_BL, other.tokens_BL)
    by_generator = [generate(model, PROMPTS, settings, eos=EOS, seed=torch.Generator().manual_seed(9)) for _ in "ab"]
    assert torch.equal(by_generator[0].tokens_BL, by_generator[1].tokens_BL)


def test_a_row_with_its_stream_draws_alike_in_any_batch(model: LanguageModel) -> None:
    settings = Sampling(max_new=20)
    together = generate(model, PROMPTS, settings, eos=EOS, seed=5, streams=[40, 41, 42, 43]).completions()
    alone = [
        generate(model, [PROMPTS[i]], settings, eos=EOS, seed=5, streams=[40 + i]).completions()[0] for i in (2, 0)
    ]
    assert alone == [together[2], together[0]]


@pytest.mark.parametrize("threads", [1, 2])
def test_small_groups_and_threads_change_nothing(
    model: LanguageModel, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Sampling(max_new=20, n=8)
    whole = generate(model, PROMPTS, settings, eos=EOS, seed=5)
    before = torch.get_num_threads()
    monkeypatch.setattr(decoding, "MOST_ROWS", 5)  # fewer than a prompt's samples
    try:
        torch.set_num_threads(threads)
        parts = generate(model, PROMPTS, settings, eos=EOS, seed=5)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(parts.tokens_BL, whole.tokens_BL)
    torch.testing.assert_close(parts.logp_behaviour_BL, whole.logp_behaviour_BL, atol=1e-5, rtol=0)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_answers_of_the_kernels_are_those_of_the_loop(
    model: LanguageModel, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawing in C, end tokens and dropped rows included, against the portable decoder and draw."""
    if kernels() is None:
        pytest.skip("no C compiler here")
    settings = Sampling(max_new=25, n=8, temperature=temperature)
    by_c = generate(model, PROMPTS, settings, eos=EOS, seed=5)
    monkeypatch.setattr(sampler, "kernels", lambda: None)
    assert isinstance(model, TransformerModel)
    by_torch = generate(model, PROMPTS, settings, eos=EOS, seed=5, decoder=decoding.Decoder(model.net))
    assert torch.equal(by_c.tokens_BL, by_torch.tokens_BL)
    assert by_c.stop_reasons == by_torch.stop_reasons
    torch.testing.assert_close(by_c.logp_behaviour_BL, by_torch.logp_behaviour_BL, atol=1e-5, rtol=0)


def test_first_tokens_have_the_model_s_frequencies(model: LanguageModel) -> None:
    """Chi-square at 20,000 draws; a test this strict fails once in a thousand seeds, and the seed is fixed."""
    count = 20_000
    for temperature, top_k in ((1.0, 0), (1.7, 5)):
        settings = Sampling(max_new=1, n=count, temperature=temperature, top_k=top_k)
        samples = generate(model, [[3, 4, 5]], settings, eos=None, seed=0)
        logits = model.logits(torch.tensor([[3, 4, 5]]))[0, -1].detach().double() / temperature
        if top_k:
            logits[logits < logits.topk(top_k).values[-1]] = -torch.inf
        expected = logits.softmax(-1).numpy() * count
        seen = np.bincount(samples.tokens_BL[:, -1].numpy(), minlength=VOCAB)
        assert not seen[expected == 0].any()
        keep = expected > 5
        rest = [seen[~keep].sum()], [expected[~keep].sum()]
        observed, wanted = np.append(seen[keep], rest[0]), np.append(expected[keep], rest[1])
        inside = wanted > 0
        assert stats.chisquare(observed[inside], wanted[inside]).pvalue > 1e-3
        logp = samples.logp_behaviour_BL[:, -1].double()
        torch.testing.assert_close(logp, logits.log_softmax(-1)[samples.tokens_BL[:, -1]], atol=1e-5, rtol=0)


def test_draws_invert_the_cumulative_distribution() -> None:
    logits = torch.log(torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.25, 0.0]]))
    numbers = [0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2.0**-48]
    drawn = [int(pick(logits, torch.tensor([u], dtype=torch.float64), Sampling())[0]) for u in numbers]
    assert drawn == [1, 1, 3, 3, 4, 4]


def test_truncation_against_brute_force() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        logits = torch.randn(9, generator=generator) * 3
        top_k = int(torch.randint(0, 11, (), generator=generator))
        top_p = float(torch.rand((), generator=generator)) * 0.98 + 0.01
        order = sorted(range(9), key=lambda i: -float(logits[i]))
        order = order[:top_k] if top_k else order
        mass = np.array([np.exp(float(logits[i])) for i in order])
        mass /= mass.sum()
        kept = next(n for n in range(1, len(order) + 1) if n == len(order) or mass[:n].sum() >= top_p)
        left = truncate(logits[None], top_k, top_p)[0].isfinite().nonzero()[:, 0].tolist()
        assert left == sorted(order[:kept])


def test_streams_are_uniform_and_independent() -> None:
    u = uniforms(7, range(200), 200).numpy()
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u[:, 1:].ravel(), u[:, :-1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(u[1:].ravel(), u[:-1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(u.ravel(), uniforms(8, range(200), 200).numpy().ravel())[0, 1]) < 0.02
    assert (uniforms(7, [3], 5) == uniforms(7, range(200), 200)[3, :5]).all()


def test_misuse_is_explained(model: LanguageModel) -> None:
    with pytest.raises(ActrixError, match="context"):
        generate(model, [[1] * 60], Sampling(max_new=10), eos=None)
    with pytest.raises(ActrixError, match="at least one"):
        generate(model, [[1], []], Sampling(), eos=None)
    with pytest.raises(ActrixError, match="streams"):
        generate(model, [[1]], Sampling(max_new=4, n=2), eos=None, streams=[1])
    for wrong in ({"max_new": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"n": 0}, {"top_k": -1}):
        with pytest.raises(ActrixError):
            Sampling(**wrong)
