"""The worlds and measures of claims, against oracles of their own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from actrix.claims.claim import Training, trained
from actrix.claims.measures import judged_states, value_bias
from actrix.claims.recordings import episodes
from actrix.claims.worlds import (
    Crawler,
    Crawlers,
    Homing,
    KeyDoor,
    Layers,
    LoudAloha,
    Peak,
    Reservoir,
    soft_optimal,
    two_modes,
)
from actrix.envs.cooperative import SmallAloha


def test_soft_optimum_by_enumerating_paths() -> None:
    """Without discount, the best policy picks a path with probability proportional to exp(return / temperature)."""
    env, temperature = Layers(), 0.5
    policy = soft_optimal(1.0, temperature)
    env.reset(seed=0)
    for start in range(Layers.width):
        weights = np.zeros((Layers.choices,) * Layers.depth)
        for path in itertools.product(range(Layers.choices), repeat=Layers.depth):
            env.layer, env.place, total, ended = 0, start, 0.0, False
            for choice in path:
                assert not ended
                _, reward, ended, _, _ = env.step(choice)
                total += reward
            assert ended
            weights[path] = np.exp(total / temperature)
        np.testing.assert_allclose(policy[start], weights.sum((1, 2)) / weights.sum(), rtol=1e-9)
    np.testing.assert_allclose(policy.sum(-1), 1.0)


@pytest.mark.parametrize("distractors", [0, 40])
def test_the_door_is_reached_by_what_is_seen_alone_on_a_shortest_path(distractors: int) -> None:
    """Walking towards the key, then towards the door, as seen, takes as many steps as there are cells between."""
    env = KeyDoor(distractors)
    for seed in range(50):
        seen, _ = env.reset(seed=seed)
        assert env.observation_space.contains(seen)
        legs = [(env.me, env.key), (env.key, env.door)]
        shortest = sum(abs(a - b) for here, there in legs for a, b in zip(here, there))
        reward, steps, ended = 0.0, 0, False
        while not ended:
            towards = seen[2:4] if seen[4] else seen[:2]
            action = int(towards[0] == 2) if towards[0] != 1 else 2 + int(towards[1] == 2)
            assert reward == 0
            seen, reward, ended, cut, _ = env.step(action)
            steps += 1
            assert not cut
        assert steps == shortest
        assert reward == pytest.approx(1 - 0.9 * shortest / 30)
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(30)] == [(False, False)] * 29 + [(False, True)]


def judged(env: str, look: str | None = None, **settings: object) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and returns of a DDPG agent that has hardly learned."""
    found: list[tuple[np.ndarray, np.ndarray]] = []

    def measure(run: Training) -> float:
        found.append(judged_states(run, look))
        return 0.0

    tiny = {"steps": 60, "warmup": 50, "hidden": (8,), "batch": 4, "eval_episodes": 1, "env": env, **settings}
    trained("ddpg", tiny, measure=measure)(0)
    return found[0]


def test_true_returns_of_judged_states() -> None:
    estimates, returns = judged("actrix.claims.worlds:TwoModes-v0")  # episodes of one step, always in the same state
    assert len(estimates) == len(returns) == 10
    assert np.ptp(returns) == np.ptp(estimates) == 0
    assert any(abs(returns[0] - two_modes(np.array(a))) < 1e-3 for a in np.linspace(-1, 1, 4_001))
    estimates, returns = judged("Pendulum-v1", "actrix.claims.worlds:LongPendulum-v1", discount=0.98)
    beyond = 228  # the first n for which 0.98^n < 0.01
    assert len(estimates) == len(returns) == 10 * (600 - beyond)
    # rewards lie in [-16.3, 0]: consecutive returns of one episode differ by that and the discount
    rows = returns.reshape(10, -1)
    rewards = rows[:, :-1] - 0.98 * rows[:, 1:]
    assert rewards.max() <= 1e-3
    assert rewards.min() >= -16.3
    assert rewards.std() > 0.1


def test_states_without_a_known_return_are_no_evidence() -> None:
    with pytest.raises(ValueError, match="time limit"):
        judged("Pendulum-v1")


def test_bias_is_relative_and_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = (np.array([-1.0, -3.0]), np.array([-2.0, -6.0]))
    monkeypatch.setattr("actrix.claims.measures.judged_states", lambda run: pairs)
    assert value_bias(None) == pytest.approx(0.5)  # type: ignore[arg-type]


def test_the_peak_lies_beyond_what_is_recorded() -> None:
    env = Peak()
    env.reset(seed=0)
    for action, reward in (((0.5, 0.25), 1.0), ((-0.5, 0.25), 0.5), ((0.5, 0.1), np.exp(-0.5)), ((0.5, -0.2), 0.0)):
        _, paid, ended, _, _ = env.step(np.array(action))
        assert ended
        assert paid == pytest.approx(reward, abs=0.012)
    actions = np.array([episode.action[0] for episode in episodes("peak")])
    nearest = np.hypot(actions[:, 0] - 0.5, actions[:, 1] - 0.25).min()
    assert 0.15 <= nearest < 0.17
    assert (actions[:, 0] > 0).mean() == pytest.approx(0.5, abs=0.05)


def test_rlpd_pays_for_entropy_in_its_target_and_climbs_the_mean() -> None:
    import torch

    from actrix import registry
    from actrix.data.batches import Transitions
    from actrix.rng import torch_stream
    from actrix.spec import vector_spec

    entry = registry.load("actrix.claims.rlpd:rlpd")
    learner = entry.learner(vector_spec(3, 2), entry.config(hidden=(8,), members=3, subset=3, temperature=0.5))
    with torch.no_grad():
        for critic in (learner.critic, learner.target_critic.copy):
            for p in critic.parameters():
                p.zero_()
            critic.net.layers[-1].bias.copy_(torch.tensor([3.0, 5.0, 10.0])[:, None, None])
    flag = torch.tensor([False] * 3 + [True])
    batch = Transitions(torch.randn(4, 3), torch.rand(4, 2), torch.ones(4), torch.randn(4, 3), flag, ~flag)
    with torch_stream(0, "draw"):
        target = learner.target(batch)
    with torch_stream(0, "draw"):
        _, logp = learner.actor.sample(batch.next_obs)
    torch.testing.assert_close(target, 1.0 + 0.99 * torch.where(flag, 0.0, 3.0 - 0.5 * logp.detach()))
    with torch_stream(0, "draw"):
        loss = learner.losses(batch).groups["actor"]
    with torch_stream(0, "draw"):
        learner.target(batch)
        _, logp = learner.actor.sample(batch.obs)
    torch.testing.assert_close(loss, (0.5 * logp - 6.0).mean())


def test_a_crawler_moves_by_what_its_feet_push() -> None:
    """Feet that take turns move it by nearly 1 a step; feet that stay down end at the rear, for one range in all."""
    env, turns = Crawler(), []
    for lifts in (True, False):
        seen, _ = env.reset(seed=3)
        start, total, phase = seen[:2].copy(), 0.0, 0
        for step in range(60):
            if (
                lifts
            ):  # the foot that is down is pulled back, the other one brought forward, until the first is at the rear
                if step and seen[phase] <= -1.0:
                    phase = 1 - phase
                swing = [1.0, 1.0]
                swing[phase] = -1.0
                seen, reward, ended, cut, info = env.step(np.array([*swing, 1.0 - 2 * phase, 2 * phase - 1.0]))
            else:
                seen, reward, ended, cut, info = env.step(np.array([-1.0, -1.0, 1.0, 1.0]))
            total += reward
            assert (ended, cut) == (False, step == 59)
        turns.append(total)
        if not lifts:
            assert total == pytest.approx((start + 1).mean() / Crawlers.swing, abs=1e-5)
            np.testing.assert_array_equal(info["descriptor"], 1.0)
        else:
            assert info["descriptor"].sum() == pytest.approx(1.0, abs=1e-6)
    assert turns[0] > 50


def test_many_crawlers_do_what_each_does_alone() -> None:
    many, alone = Crawlers(3), Crawler()
    draw = np.random.default_rng(0)
    actions = draw.uniform(-1.2, 1.2, (60, 3, 4))
    seen, _ = many.reset(seed=[5, 6, 7])
    rows = [(seen, *many.step(a)[1:]) for a in actions]
    assert alone.reset(seed=6)[0].tolist() == seen[1].tolist()
    for a, (_, reward, _, cut, infos) in zip(actions, rows):
        _, mine, _, over, info = alone.step(a[1])
        assert (mine, over, info["descriptor"].tolist()) == (reward[1], cut[1], infos["descriptor"][1].tolist())


def test_loud_islands_are_paid_a_hundred_times() -> None:
    draw, paid = np.random.default_rng(1), []
    sends = draw.integers(2, size=(20, 3, 4))
    for kind in (SmallAloha, LoudAloha):
        worlds = kind.batched(3)
        worlds.reset(seed=4)
        paid.append([worlds.step(one)[1] for one in sends])
    np.testing.assert_allclose(paid[1], 100 * np.array(paid[0]))
    assert np.std(paid[0]) > 0


def test_home_is_reached_on_a_straight_way() -> None:
    """Towards home as seen, as far as a step goes; returns by the geometry of it."""
    env = Homing()
    for seed in range(20):
        seen, _ = env.reset(seed=seed)
        assert np.hypot(*seen) == pytest.approx(1.0)
        place, total, ended = seen.astype(np.float64), 0.0, False
        while not ended:
            action = (0.6 - seen.astype(np.float64)) / 0.1
            place = place + np.clip(0.6 - place, -0.1, 0.1)
            seen, reward, _, ended, _ = env.step(action)
            assert env.observation_space.contains(seen)
            assert reward == pytest.approx(-np.hypot(*(place - 0.6)), abs=1e-5)
            total += reward
        assert env.t == Homing.limit
        assert np.hypot(*(place - 0.6)) < 1e-6


def test_the_highest_peak_is_had_by_holding_back() -> None:
    """Water is neither made nor lost, and no mixture of early releases has a higher peak."""
    source = np.random.default_rng(0)

    def play(actions: np.ndarray) -> list[float]:
        env = Reservoir()
        env.reset(seed=0)
        out = [env.step(np.array([a]))[1] for a in actions]
        assert sum(out) + env.level == pytest.approx(1.0)
        return out

    held = play(np.array([-1.0] * 19 + [1.0]))
    assert held[:19] == [0.0] * 19
    assert held[19] == pytest.approx(1.0)
    assert play(np.ones(20)) == pytest.approx([0.05] * 20)
    assert all(max(play(source.uniform(-1, 1, 20))) < 1.0 for _ in range(50))
