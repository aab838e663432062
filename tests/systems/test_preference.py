"""Preference systems on games whose solution is known, and the identities between them."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from actrix import registry
from actrix.data.batches import Pairs
from actrix.errors import ActrixError
from actrix.evaluate import games
from actrix.language.oracle import PairOracle
from actrix.language.tasks.base import Prompt
from actrix.language.tasks.game import matrix_of
from actrix.run.preference import answer_logp, completion_logp
from actrix.run.trainer import RunOptions, Trainer

EXACT = {"model": "table", "warm_steps": 0, "opponents": 1, "exact": True, "optimiser": "sgd", "inner": 1,
         "labels": False}  # fmt: skip


def start(slug: str, game: str, steps: int = 1000, **settings: Any) -> Trainer:
    entry = registry.load(slug)
    known = {f.name for f in dataclasses.fields(entry.config)}
    config = entry.config(**{k: v for k, v in {**EXACT, **settings}.items() if k in known})
    options = RunOptions(task=f"game:{game}", steps=steps, threads=1, compile="no", eval_episodes=2)
    return Trainer.start(slug, options, config)


def play(made: Trainer, rounds: int) -> list[np.ndarray]:
    """Log-probabilities of the answers before each round and after the last."""
    learner: Any = made.learner
    found = [answer_logp(learner.actor, made.feed.task).numpy()]  # type: ignore[attr-defined]
    for _ in range(rounds):
        for batch, phase in made.feed.round(learner):
            learner.update(batch, phase)
        found.append(answer_logp(learner.actor, made.feed.task).numpy())  # type: ignore[attr-defined]
    return found


def uniform(n: int) -> np.ndarray:
    return np.full(n, -np.log(n))


def solved(game: str, beta: float) -> np.ndarray:
    matrix = matrix_of(game)
    return games.nash(matrix, uniform(len(matrix)), beta)


# -- the solver ---------------------------------------------


@pytest.mark.parametrize("beta", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("game", ["rps", "random-10-0", "random-50-1"])
def test_the_solution_answers_itself_best(game: str, beta: float) -> None:
    matrix, reference = matrix_of(game), games.normalise(np.random.default_rng(0).normal(size=len(matrix_of(game))))
    p = games.nash(matrix, reference, beta)
    np.testing.assert_allclose(games.best_response(matrix, p, reference, beta), p, atol=1e-9 / beta)
    assert abs(games.duality_gap(matrix, p, reference, beta)) < 1e-12
    assert games.duality_gap(matrix, reference, reference, beta) > 1e-4


def test_the_gap_is_what_its_definition_says() -> None:
    """Against a brute-force maximum over mixtures of three answers."""
    matrix, beta = matrix_of("rps"), 0.3
    reference, p = games.normalise(np.array([0.3, -0.2, 0.5])), games.normalise(np.array([1.0, 0.0, -1.0]))

    def value(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        kl = [(x * (np.log(x) - reference)).sum(-1) for x in (a, b)]
        return np.einsum("...i,ij,...j", a, matrix, b) - beta * kl[0] + beta * kl[1]

    u, v = np.meshgrid(np.linspace(1e-4, 1, 600), np.linspace(1e-4, 1, 600))
    keep = u + v < 1 - 1e-4
    others = np.stack([u[keep], v[keep], 1 - u[keep] - v[keep]], -1)
    mine = np.broadcast_to(np.exp(p), others.shape)
    brute = value(others, mine).max() - value(mine, others).min()
    assert games.duality_gap(matrix, p, reference, beta) == pytest.approx(brute, abs=1e-5)


# -- exact updates ---------------------------------------------


@pytest.mark.parametrize("beta", [0.1, 0.5])
@pytest.mark.parametrize("game", ["rps", "random-10-0"])
def test_egpo_takes_the_tabular_extragradient_step(game: str, beta: float) -> None:
    matrix, eta = matrix_of(game), 0.3
    n = len(matrix)
    found = play(start("egpo", game, beta=beta, rate=eta * beta * n / 4), 5)
    theta = np.zeros(n)
    for seen in found:
        np.testing.assert_allclose(seen, games.normalise(theta), atol=1e-6)
        half = (1 - eta * beta) * theta + eta * matrix @ np.exp(games.normalise(theta))
        theta = (1 - eta * beta) * theta + eta * matrix @ np.exp(games.normalise(half))


def test_nash_mp_takes_the_two_proximal_steps() -> None:
    matrix, beta, eta = matrix_of("random-10-0"), 0.1, 0.2
    found = play(start("nash-mp", "random-10-0", beta=beta, eta=eta, rate=10 / 4), 5)
    log = uniform(10)

    def solution(mu: np.ndarray) -> np.ndarray:
        return games.normalise((log / eta + uniform(10) + matrix @ np.exp(mu) / beta) / (1 + 1 / eta))

    for seen in found:
        np.testing.assert_allclose(seen, log, atol=1e-9)
        log = solution(solution(log))


def test_inpo_takes_the_mirror_descent_step_as_does_online_ipo() -> None:
    """pi_t+1 ~ exp(P / eta) ref^(tau/eta) pi_t^(1 - tau/eta); IPO's plain step with eta' = 1 / eta is the same."""
    game, eta, tau = "random-20-3", 2.0, 0.5
    matrix = matrix_of(game)
    inpo = play(start("inpo", game, eta=eta, tau=tau, rate=20 / 4), 6)
    ipo = play(start("ipo", game, online="opponents", beta=tau, rate=tau / eta * 20 / 4), 6)
    log = uniform(20)
    for a, b in zip(inpo, ipo):
        np.testing.assert_allclose(a, log, atol=1e-9)
        np.testing.assert_allclose(b, log, atol=1e-6)
        log = games.normalise(matrix @ np.exp(log) / eta + (1 - tau / eta) * log)
    gaps = [games.duality_gap(matrix, seen, uniform(20), tau) for seen in inpo]
    assert all(b < a for a, b in itertools.pairwise(gaps))


def slope(kl: np.ndarray) -> float:
    """Of log KL per round, between the first round and 1e-12."""
    kept = np.flatnonzero(kl > 1e-12)
    kept = kept[kept <= (np.flatnonzero(kl <= 1e-12)[0] if (kl <= 1e-12).any() else len(kl))]
    return float(np.polyfit(kept, np.log(kl[kept]), 1)[0])


@pytest.mark.parametrize(
    ("slug", "game", "rounds", "settings", "bound"),
    [
        ("egpo", "random-10-0", 400, {"beta": 0.1, "rate": 0.45 * 0.1 * 10 / 4}, np.log(1 - 0.45 * 0.1)),
        ("nash-mp", "random-10-0", 200, {"beta": 0.1, "eta": 0.2, "rate": 10 / 4}, -np.log(1.2)),
        ("nash-mp", "random-50-0", 900, {"beta": 0.01, "eta": 0.02, "rate": 50 / 4}, -np.log(1.02)),
    ],
)
def test_last_iterates_converge_linearly_at_least_as_fast_as_published(
    slug: str, game: str, rounds: int, settings: dict[str, float], bound: float
) -> None:
    target = solved(game, settings["beta"])
    kl = np.array([games.divergence(target, seen) for seen in play(start(slug, game, **settings), rounds)])
    assert kl[-1] < 1e-12, "to machine precision"
    assert slope(kl) <= bound * 0.999


def test_without_looking_ahead_there_is_no_convergence_where_the_divergence_is_cheap() -> None:
    game, beta = "rps", 0.01
    reference = games.normalise(np.array([1.0, 0.0, -1.0]))
    target = games.nash(matrix_of(game), reference, beta)
    ends = {}
    for ahead in (True, False):
        made = start("egpo", game, beta=beta, rate=0.45 * beta * 3 / 4, extragradient=ahead)
        learner: Any = made.learner
        with torch.no_grad():
            for model in (learner.actor, learner.reference.copy):
                model.table.copy_(torch.from_numpy(reference))
        ends[ahead] = games.divergence(target, play(made, 600)[-1])
    assert ends[True] < 0.1 * ends[False], ends


def test_the_gradient_of_all_pairs_is_that_of_the_tabular_step() -> None:
    made = start("egpo", "random-20-0", beta=0.2)
    learner: Any = made.learner
    with torch.no_grad():
        learner.actor.table.copy_(torch.randn(20, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    batch, _ = next(iter(made.feed.round(learner)))
    (found,) = learner.optimiser.gradients(learner.losses(batch).groups)["actor"]
    table = learner.actor.table.detach()
    step = table - torch.from_numpy(matrix_of("random-20-0")) @ table.softmax(0) / 0.2
    cosine = torch.nn.functional.cosine_similarity(found, step - step.mean(), dim=0)
    assert cosine > 1 - 1e-12


def test_regression_on_own_pairs_is_reinforce_with_a_leave_one_out_baseline() -> None:
    """Nash-MP's loss at the policy that drew the pairs, against the policy gradient of its proximal objective."""
    made = start("nash-mp", "random-10-0", exact=False, labels=True, prompts=64, group=4, beta=0.3, eta=0.7)
    learner: Any = made.learner
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for model in (learner.actor, learner.reference.copy, learner.anchor.copy):
            model.table.copy_(torch.randn(10, dtype=torch.float64, generator=generator))
    pairs = made.feed._compare(learner, *made.feed._opponents(learner, 0), 0)  # type: ignore[attr-defined]
    pairs = learner.prepare(pairs)
    (found,) = learner.optimiser.gradients(learner.losses(pairs).groups)["actor"]
    beta, near = 0.3, 1 / 0.7
    logp = completion_logp(learner.actor, pairs)
    with torch.no_grad():
        price = beta * (logp - pairs.logp_reference) + beta * near * (logp - pairs.logp_anchor)
        advantage = pairs.preference - (price[:, 0] - price[:, 1])  # of side 0 over side 1
    loss = -0.5 * (advantage * logp[:, 0] - advantage * logp[:, 1]).mean()
    (expected,) = torch.autograd.grad(loss, learner.actor.table)
    torch.testing.assert_close(found, expected * 4 / (beta * (1 + near)), rtol=1e-6, atol=1e-8)


def test_the_second_half_starts_where_the_first_did_moments_included() -> None:
    made = start("egpo", "rps", exact=False, optimiser="adam", opponents=2, prompts=4)
    learner: Any = made.learner
    play(made, 3)  # Adam has moments by now

    def weights() -> list[Tensor]:
        own = learner.optimiser.state("actor")
        return [t.clone() for t in (learner.actor.table.detach(), *own[0], *own[1], learner.optimiser.actor_step)]

    before, half = weights(), []
    for batch, phase in made.feed.round(learner):
        if phase == "full":
            half = weights()
            learner.update(batch, phase)
            continue
        learner.update(batch, phase)
        looked = weights()
        assert not torch.equal(looked[0], before[0])
    assert all(torch.equal(a, b) for a, b in zip(half, before))


# -- losses in closed form ---------------------------------------------


def pair(logp: list[float], reference: list[float], preference: float) -> tuple[Tensor, Pairs]:
    none = torch.zeros(1, 2, 1)
    batch = Pairs(
        none.long(), none[..., 0].long(), none.bool(), torch.tensor([preference]), torch.tensor([reference]),
        torch.tensor([reference]),
    )  # fmt: skip
    return torch.tensor([logp[0] - logp[1]]), batch


def test_dpo_and_ipo_against_their_formulas() -> None:
    gap, batch = pair([-1.0, -3.0], [-2.0, -2.5], 0.5)
    margin = 2.0 - 0.5
    dpo: Any = start("dpo", "rps", beta=0.4, smoothing=0.1).learner
    sigmoid = 1 / (1 + np.exp(-0.4 * margin))
    assert dpo.per_pair(gap, batch).item() == pytest.approx(-0.9 * np.log(sigmoid) - 0.1 * np.log(1 - sigmoid))
    ipo: Any = start("ipo", "rps", beta=0.4, exact=False, opponents=0).learner
    assert ipo.per_pair(gap, batch).item() == pytest.approx((margin - 1 / 0.8) ** 2)


def test_label_and_probability_have_the_same_minimiser() -> None:
    """INPO with drawn winners, many pairs, solved by least squares, against the closed form: error ~ n^-1/2."""
    game, eta, tau = "random-10-0", 1.0, 0.3
    matrix = matrix_of(game)
    expected = games.normalise(matrix @ np.exp(uniform(10)) / eta)
    made = start("inpo", game, eta=eta, tau=tau, exact=False, labels=True, opponents=0, prompts=1, group=40_000)
    learner: Any = made.learner
    errors = []
    for size in (2_000, 20_000):
        learner.begin(None)
        batch = learner.prepare(made.feed._compare(learner, *made.feed._opponents(learner, 0), 0))[:size]  # type: ignore[attr-defined]
        a = torch.nn.functional.one_hot(batch.tokens[:, :, 1] - 3, 10).double()
        design = (a[:, 0] - a[:, 1]).numpy()
        solution = np.linalg.lstsq(design, batch.preference.double().numpy() / eta, rcond=None)[0]
        errors.append(np.abs(games.normalise(solution) - expected).max())
    assert errors[1] < 0.1
    assert errors[1] < errors[0]


# -- oracle and feed ---------------------------------------------


def test_the_oracle_is_symmetric_and_counts() -> None:
    asked = []

    def biased(prompt: Prompt, first: str, second: str) -> float:
        asked.append((first, second))
        return 0.9 if first == "a" else 0.3  # likes what it reads first, too

    prompt = Prompt("", "", "")
    for symmetric, calls, chance in ((False, 2, 0.8), (True, 1, 0.9)):
        asked.clear()
        oracle = PairOracle(biased, symmetric)
        assert oracle([prompt], ["a"], ["b"]).item() == pytest.approx(chance)
        assert oracle.calls == calls == len(asked)
        assert oracle.one(prompt, "b", "a") == 1 - oracle.one(prompt, "a", "b")
        before = oracle.calls
        assert oracle.one(prompt, "a", "a") == 0.5
        assert oracle.calls == before
    matrix = PairOracle(biased, symmetric=False).matrix(prompt, "abc")
    assert torch.equal(matrix + matrix.T, torch.ones(3, 3, dtype=torch.float64))
    with pytest.raises(ActrixError, match="no probability"):
        PairOracle(lambda *_: 1.5).one(prompt, "a", "b")


def test_a_fixed_data_set_repeats_and_its_chosen_side_wins() -> None:
    made = start("dpo", "rps", dataset=2, prompts=8, labels=False)
    learner: Any = made.learner
    seen = []
    for _ in range(4):
        for batch, phase in made.feed.round(learner):
            seen.append(batch)
            learner.update(batch, phase)
    assert torch.equal(seen[0].tokens, seen[2].tokens)
    assert not torch.equal(seen[0].tokens, seen[1].tokens)
    matrix = torch.from_numpy(matrix_of("rps"))
    for batch in seen:
        chosen, rejected = batch.tokens[:, :, 1].sub(3).unbind(1)
        assert (matrix[chosen, rejected] >= 0.5).all()


def test_what_cannot_be_is_refused() -> None:
    for settings, words in (
        ({"slug": "egpo", "exact": True, "opponents": 0}, "--exact"),
        ({"slug": "egpo", "group": 3}, "--group"),
        ({"slug": "inpo", "tau": 2.0, "eta": 1.0}, "--tau"),
        ({"slug": "ipo", "online": "maybe"}, "--online"),
        ({"slug": "egpo", "optimiser": "lion"}, "--optimiser"),
        ({"slug": "egpo", "momentum": 1.0}, "--momentum"),
        ({"slug": "nash-mp", "eta": 0.0}, "--eta"),
        ({"slug": "dpo", "beta": -1.0}, "--beta"),
    ):
        given = dict(settings)
        with pytest.raises(ActrixError, match=words) as caught:
            start(str(given.pop("slug")), "rps", **given)
        assert caught.value.misuse
    with pytest.raises(ActrixError, match="no game"):
        matrix_of("chess")
    options = RunOptions(task="countdown", steps=1)
    with pytest.raises(ActrixError, match="table"):
        Trainer.start("egpo", options, registry.load("egpo").config(model="table"))
