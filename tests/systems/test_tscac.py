"""TSCAC against closed forms: its critics, its experts, and the product of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_contracts import build

from actrix.claims.variants.sessions import RCPO, WORTH, Summed
from actrix.data.batches import Transitions
from actrix.errors import ActrixError
from actrix.evaluate.off_policy import ncis
from actrix.rng import torch_stream
from actrix.run.engine import compiled
from actrix.spec import Box, Choices, Part, Spec

PARTS = (Part("obs.signals", 0, 2, (2,)), Part("obs.user", 2, 5, (3,)))
ITEMS = Spec(PARTS, Choices((3,), "discrete", (0,)))
SCORES = Spec(PARTS, Box(2, (2,), (-1.0, -1.0), (1.0, 1.0)))


def logged(n: int = 64, spec: Spec = ITEMS) -> Transitions:
    with torch_stream(0, "logged"):
        obs, next_obs = torch.randn(2, n, 5)
        action = torch.randint(3, (n, 1)) if spec is ITEMS else 2 * torch.rand(n, 2) - 1
        ended, cut = torch.rand(2, n) < 0.2
        return Transitions(obs, action, torch.randn(n), next_obs, ended, cut)


def updated(learner: Any, batch: Transitions, updates: int) -> Any:
    for i in range(updates):
        learner.update(batch, learner.phase(i))
    return learner


def test_each_signal_has_its_discount_and_its_own_target() -> None:
    learner: Any = build("tscac", ITEMS, discount=0.9, discounts=(0.5, 0.0))
    batch = logged()
    with torch.no_grad():
        after = learner.target_critic(batch.next_obs)
    found = learner.targets(batch)
    for i, discount in enumerate((0.9, 0.5, 0.0)):
        signal = batch.reward if i == 0 else batch.next_obs[:, i - 1]
        torch.testing.assert_close(found[i], signal + discount * after[i] * ~batch.terminated)
    torch.testing.assert_close(learner.target(batch), found[0])


def test_critics_do_not_share() -> None:
    """What one signal comes to changes no value of another."""
    batch = logged()
    other = replace(batch, next_obs=batch.next_obs.clone())
    other.next_obs[:, 1] += 3.0
    settings: dict[str, Any] = {"discount": 0.0, "discounts": (0.0,), "stage_one": 100}
    one, two = (updated(build("tscac", ITEMS, **settings), b, 20) for b in (batch, other))
    mine, theirs = one.critic(batch.obs), two.critic(batch.obs)
    torch.testing.assert_close(mine[:2], theirs[:2], rtol=0, atol=0)
    assert (mine[2] - theirs[2]).abs().max() > 0.01


def test_stages_move_what_is_theirs() -> None:
    learner: Any = build("tscac", ITEMS, stage_one=3)
    assert [learner.phase(i) for i in range(5)] == ["experts"] * 3 + ["policy"] * 2
    batch = logged()
    assert set(learner.losses(batch, "experts").groups) == {"critic", "behaviour", "experts"}
    assert set(learner.losses(batch, "policy").groups) == {"critic", "actor"}
    assert len(learner.experts) == 2
    assert len(build("tscac", ITEMS, experts="merged").experts) == 1  # type: ignore[arg-type]
    assert len(build("tscac", ITEMS, experts="none").experts) == 0  # type: ignore[arg-type]


def converged(learner: Any, batch: Transitions, advantage: torch.Tensor, updates: int = 400) -> Any:
    """Trained on one state, where the advantages of the recorded actions [m, B] are these."""
    learner.targets = lambda b: advantage + learner.critic(b.obs).detach()
    return updated(learner, batch, updates)


@pytest.mark.parametrize("experts", ["each", "merged", "none"])
def test_the_policy_is_the_product_of_experts(experts: str) -> None:
    """In one state with three items, against the closed form, with the experts' own closed forms in it."""
    n = 60
    item = torch.arange(n) % 6 % 4 % 3  # items 0, 1 and 2, the last less often
    zero = torch.zeros(n, 5)
    flag = torch.zeros(n, dtype=torch.bool)
    batch = Transitions(zero, item[:, None], torch.zeros(n), zero, flag, flag)
    of_item = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 0.5, 0.2], [0.0, -0.6, 1.0]])
    advantage = of_item[:, item]
    given = (0.3, 0.6) if experts == "each" else (0.9,)
    learner = converged(
        build("tscac", ITEMS, experts=experts, weights=given, stage_one=200, rate=0.03, weight_most=1e6),
        batch, advantage,
    )  # fmt: skip
    behaviour = torch.bincount(item, minlength=3) / n
    standard = of_item / advantage.std(-1, keepdim=True)

    def regression(base: torch.Tensor, logarithm: torch.Tensor) -> torch.Tensor:
        return (base * logarithm.exp()) / (base * logarithm.exp()).sum()

    if experts == "each":
        found = [regression(behaviour, standard[1]), regression(behaviour, standard[2])]
        nearness = sum(w / 0.9 * (e / behaviour).log() for w, e in zip(given, found))
    elif experts == "merged":
        found = [regression(behaviour, standard.mean(0))]
        nearness = (found[0] / behaviour).log()
    else:
        found, nearness = [], torch.zeros(3)
    expected = regression(behaviour, nearness + standard[0] / 0.9)
    seen = zero[:1]
    torch.testing.assert_close(learner.behaviour.logps(seen)[0][0].exp(), behaviour, atol=5e-3, rtol=0)
    for expert, closed in zip(learner.experts, found):
        torch.testing.assert_close(expert.logps(seen)[0][0].exp(), closed, atol=5e-3, rtol=0)
    torch.testing.assert_close(learner.actor.logps(seen)[0][0].exp(), expected, atol=5e-3, rtol=0)


def test_weights_are_bounded_and_have_no_unit() -> None:
    """A signal in other units gives the same gradient."""
    batch = logged()
    learner: Any = build("tscac", ITEMS, weight_most=2.0)
    found = learner.losses(batch, "policy")
    assert found.notes["largest_weight"] <= 2.0
    plain = learner.targets(batch)
    learner.critic.forward = lambda obs: torch.zeros_like(plain)  # type: ignore[method-assign]
    losses = []
    for scale in (1.0, 100.0):
        learner.targets = lambda b, scale=scale: scale * plain
        losses.append(learner.losses(batch, "policy").groups["actor"])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-5)


def test_scores_can_be_continuous() -> None:
    learner: Any = updated(build("tscac", SCORES, stage_one=10), logged(spec=SCORES), 20)
    action = learner.exploit(torch.zeros(7, 5))[0].action
    assert action.std(0).min() > 0.05, "it is evaluated by samples"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"weights": (1.0, 2.0, 3.0)}, "--weights has 3 numbers, but there are 2"),
        ({"discounts": (0.1, 0.2, 0.3)}, "--discounts has 3 numbers"),
        ({"weights": (0.0,)}, "--weights are above 0"),
        ({"experts": "some"}, "--experts"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ActrixError, match=says) as caught:
        build("tscac", ITEMS, **settings)
    assert caught.value.misuse


def test_ncis_is_the_mean_of_who_would_have_chosen_it() -> None:
    """Of a policy that takes one of two actions, what came of that; of the recorder itself, the plain mean."""
    taken = torch.tensor([0, 1, 1, 0, 1])
    value = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 1.0, 0.0, 1.0, 0.0]])
    half = torch.full((5,), 0.5).log()
    only = torch.where(taken == 1, 0.0, -torch.inf)
    estimate, effective = ncis(only, half, value)
    torch.testing.assert_close(estimate, torch.tensor([10 / 3, 1 / 3]))
    assert effective.item() == pytest.approx(3.0)
    estimate, effective = ncis(half, half, value)
    torch.testing.assert_close(estimate, value.mean(1))
    assert effective.item() == pytest.approx(5.0)
    clipped, _ = ncis(torch.tensor([0.0, -9.0]), torch.tensor([-9.0, 0.0]), torch.tensor([1.0, 0.0]), most=1.0)
    assert clipped.item() == pytest.approx(1 / (1 + torch.tensor(-9.0).exp().item()))


def test_updates_with_experts_are_captured_whole() -> None:
    torch._dynamo.reset()
    one, two = (build("tscac", ITEMS) for _ in range(2))
    update, batch = compiled(one.update, "eager"), logged(16)
    for phase in ("experts", "policy"):
        update(batch, phase)
        two.update(batch, phase)
    for name, value in two.state().items():
        torch.testing.assert_close(one.state()[name], value, rtol=2e-4, atol=2e-5, msg=name)


def test_a_summed_critic_is_of_the_sum() -> None:
    learner = Summed(ITEMS, build("tscac", ITEMS, hidden=(8,)).config)
    batch = logged()
    with torch.no_grad():
        after = learner.target_critic(batch.next_obs)
    reward = batch.reward + WORTH * (batch.next_obs[:, 0] + batch.next_obs[:, 1])
    torch.testing.assert_close(learner.targets(batch), reward + learner.config.discount * after * ~batch.terminated)


def test_multipliers_rise_for_what_is_lost_and_stay_at_nothing_for_what_is_not() -> None:
    config = build("tscac", ITEMS, hidden=(8,), experts="none").config
    batch = logged()
    with torch_stream(0, "initialise"):
        rcpo = RCPO(ITEMS, config)
    with torch_stream(0, "initialise"):
        plain: Any = build("tscac", ITEMS, hidden=(8,), experts="none")
    plain.actor.load_state_dict(rcpo.actor.state_dict())
    plain.critic.load_state_dict(rcpo.critic.state_dict())
    plain.target_critic.load_state_dict(rcpo.target_critic.state_dict())
    losses = [learner.losses(batch, "policy").groups["actor"] for learner in (rcpo, plain)]
    torch.testing.assert_close(*losses)  # with multipliers of 0 it knows no constraints
    given = torch.tensor([[0.0], [-1.0], [1.0]]).expand(3, 64)
    rcpo.advantages = lambda b: given  # type: ignore[method-assign]
    for _ in range(3):
        rcpo.update(batch, "policy")
    assert rcpo.multipliers[0].item() > 0.01
    assert rcpo.multipliers[1].item() == 0.0
    rcpo.update(batch, "experts")
    assert rcpo.multipliers[0].item() < 0.2, "only the policy's updates move them"
