"""What the claims of imitation are made of: the supervisor whose hand is poor, and the methods compared with."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from actrix import registry
from actrix.claims import supervised
from actrix.claims.recordings import episodes, path
from actrix.claims.variants.adversarial import DAC, Even
from actrix.claims.variants.supervised import HGDagger, Unlabelled
from actrix.rng import torch_stream
from actrix.run.trainer import RunOptions, Trainer


def played(act: Any, count: int = 4_000) -> float:
    """Mean return in the world of `Homing`, written in tensors."""
    angle = torch.rand(count) * 2 * torch.pi
    place, total = torch.stack((angle.cos(), angle.sin()), 1), torch.zeros(count)
    for _ in range(20):
        place = place + 0.1 * act(place).clamp(-1, 1)
        total = total - (place - 0.6).norm(dim=1)
    return float(total.mean())


def test_hands_are_worth_what_is_said() -> None:
    with torch_stream(0, "hands"):
        assert supervised.score(played(lambda p: torch.rand_like(p) * 2 - 1)) == pytest.approx(0.0, abs=0.01)
        assert supervised.score(played(lambda p: supervised.towards(p, supervised.HOME))) == pytest.approx(
            1.0, abs=0.01
        )
        for level, worth in (("Weak", 0.4), ("Steady", 0.9)):
            hand = supervised.Supervised(*supervised.HANDS[level]).hand
            assert supervised.score(played(hand)) == pytest.approx(worth, abs=0.015)
    for level, low, high in (("weak", 0.2, 0.6), ("steady", 0.85, 0.95)):
        returns = [float(np.sum(e.reward)) for e in episodes(f"homing-{level}")]
        assert len(returns) == 10
        assert low < supervised.score(float(np.mean(returns))) < high
    assert supervised.score(float(np.mean([np.sum(e.reward) for e in episodes("homing-best")]))) > 0.9


def test_the_supervisor_objects_to_steps_away_from_home_unless_it_is_near() -> None:
    watcher = supervised.Supervised(0.0, 0.0)
    away, aside, back = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    for place, objections in (((0.0, 0.0), [True, True, False]), ((0.55, 0.55), [False] * 3)):
        obs = torch.tensor([place]).expand(3, 2)
        objects, better = watcher.supervise(obs, torch.stack((away, aside, back)))
        assert objects.tolist() == objections
        torch.testing.assert_close(better, supervised.towards(obs, supervised.HOME))


def start(slug: str, variant: Any, data: str, env: str, **settings: Any) -> Trainer:
    entry = registry.load(slug)
    known = {f.name for f in dataclasses.fields(entry.config)}
    config = entry.config(**{k: v for k, v in settings.items() if k in known})
    options = {k: v for k, v in settings.items() if k not in known}
    run = RunOptions(env=env, data=(str(path(data)),), compile="no", threads=1, workers=0, **options)
    return Trainer.start(slug, run, config, variant=variant)


def test_hg_dagger_clones_what_the_supervisor_did_and_nothing_else() -> None:
    """The supervisor here always goes straight home, and the policy, at first, does not."""
    trainer = start(
        "rlif", HGDagger, "homing-best", "actrix.claims.supervised:SteadyHoming-v0", steps=1, online_steps=200,
        hidden=(16,), batch=16, members=2, rate=1e-2, eval_episodes=1, attention=0.5, slip=0.5,
    )  # fmt: skip
    feed: Any = trainer.feed
    feed.reset()
    led = 0
    while not trainer.done:
        for batch, _ in feed.round(trainer.learner):
            figures = trainer.learner.update(batch)
            assert set(figures) == {"actor"}
            feed.progress.updates += 1
        led += int(feed.progress.figures.get("supervised", torch.zeros(())))
    assert 50 < led == len(feed.online.replay)
    obs = feed.online.replay.tensors()["obs"]
    said = trainer.learner.act(obs, "mean").action
    straight = supervised.towards(obs, supervised.HOME - torch.tensor([0.1, 0.0]))
    assert float((said - straight).abs().mean()) < 0.3
    trainer.close()


def test_without_labels_takeovers_cost_nothing() -> None:
    entry = registry.load("rlif")
    trainer = start(
        "rlif", Unlabelled, "homing-weak", "actrix.claims.supervised:WeakHoming-v0", steps=5, hidden=(8,), batch=8,
        members=2, eval_episodes=1,
    )  # fmt: skip
    batch, phase = next(iter(trainer.feed.round(trainer.learner)))
    losses = []
    for reward in (0.0, -1.0):
        paid = dataclasses.replace(batch, reward=torch.full_like(batch.reward, reward))
        for cls in (Unlabelled, entry.learner):
            with torch_stream(0, "losses"):
                losses.append(cls.losses(trainer.learner, paid, phase).groups["critic"].item())  # type: ignore[attr-defined]
    trainer.close()
    assert losses[0] == losses[1] == losses[2]
    assert losses[3] != losses[2]


@pytest.mark.parametrize("variant", [DAC, Even])
def test_without_boosting(variant: Any) -> None:
    """DAC: as many updates of the discriminator as of the policy, of the whole replay, and nobody is kept. Even: the
    newest policy's steps have their share by number."""
    trainer = start(
        "ailboost", variant, "homing-best", "actrix.claims.worlds:Homing-v0", steps=100, hidden=(8,), batch=400,
        discriminator_hidden=(8,), warmup=20, round_steps=20, shown_steps=20, discriminator_steps=2,
        updates_per_step=1.0, eval_episodes=1,
    )  # fmt: skip
    feed: Any = trainer.feed
    feed.reset()
    phases, newest = [], 0.0
    while not trainer.done:
        for batch, phase in feed.round(trainer.learner):
            phases.append(phase)
            if phase == "discriminator" and feed.spans:
                start_row, stop = feed.spans[-1]
                rows = feed.replay.tensors()["obs"][start_row:stop]
                newest = float((batch.obs[200:, None] == rows).all(-1).any(1).float().mean())
            feed.progress.updates += 1
    actor: Any = trainer.learner.actor
    if variant is DAC:
        assert phases == ["discriminator", "policy"] * 80
        assert len(actor) == 0
        seen = (batch.obs[:, None] == feed.replay.tensors()["obs"]).all(-1).any(0)
        assert seen[:20].any(), "what was done at random in the beginning is learned from too"
    else:
        assert len(actor) == 2
        assert newest == pytest.approx(0.5, abs=0.12)
        assert phases.count("discriminator") == 4
    trainer.close()
