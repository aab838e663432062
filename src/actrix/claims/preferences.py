"""What the claims of preference systems share: games on tables with exact updates, and style mixtures.

Everything here measures a finished run, or drives one round by round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from actrix import registry
from actrix.claims.claim import Training

EXACT: dict[str, Any] = {
    "model": "table", "warm_steps": 0, "opponents": 1, "exact": True, "optimiser": "sgd", "inner": 1, "labels": False,
}  # fmt: skip
FLOOR = 1e-12  # nats: below it, rounding


@dataclass(frozen=True)
class Played:
    """An arm that plays `game` by name from the uniform policy for `rounds`, and measures its path.

    `game` may hold {seed}. `measure` takes log KL(solution || policy) before each round and after the last, and the
    duality gaps. `start`: logits of policy and reference, if not uniform (of a game with as many answers).
    """

    system: str
    game: str
    rounds: int
    settings: tuple[tuple[str, Any], ...]
    beta: float
    measure: Callable[[Any, Any], float]
    start: tuple[float, ...] = ()

    @property
    def steps(self) -> int:
        return self.rounds

    def __call__(self, seed: int) -> float:
        import numpy as np
        import torch

        from actrix.evaluate import games
        from actrix.run.preference import answer_logp
        from actrix.run.trainer import RunOptions, Trainer

        entry = registry.load(self.system)
        name = self.game.format(seed=seed)
        options = RunOptions(task=f"game:{name}", steps=self.rounds, seed=seed, threads=1, compile="no")
        trainer = Trainer.start(self.system, options, entry.config(**dict(self.settings)))
        learner: Any = trainer.learner
        task = trainer.feed.task  # type: ignore[attr-defined]
        n = len(task.answers)
        reference = games.normalise(np.array(self.start) if self.start else np.zeros(n))
        for model in (learner.actor, learner.reference.copy):
            with torch.no_grad():
                model.table.copy_(torch.from_numpy(reference))
        target = games.nash(task.preferences, reference, self.beta)
        kl, gap = [], []
        for turn in range(self.rounds + 1):
            seen = answer_logp(learner.actor, task).numpy()
            kl.append(games.divergence(target, seen))
            gap.append(games.duality_gap(task.preferences, seen, reference, self.beta))
            if kl[-1] < FLOOR or turn == self.rounds:
                break
            for batch, phase in trainer.feed.round(learner):
                learner.update(batch, phase)
        trainer.close()
        return self.measure(np.array(kl), np.array(gap))


def played(
    system: str,
    game: str,
    rounds: int,
    measure: Callable[[Any, Any], float],
    *settings: Mapping[str, Any],
    start: tuple[float, ...] = (),
) -> Played:
    """Play a game with exact updates, unless `settings`, fields of the system's Config, say otherwise."""
    fields = {f.name for f in registry.find(system).fields}
    chosen = {name: value for name, value in EXACT.items() if name in fields}
    for mapping in settings:
        chosen |= mapping
    beta = float(chosen["tau"] if "tau" in chosen else chosen["beta"])
    return Played(system, game, rounds, tuple(sorted(chosen.items())), beta, measure, start)


def last_gap(kl: Any, gap: Any) -> float:
    """Duality gap at the end."""
    return float(gap[-1])


def mean_gap_of_last_tenth(kl: Any, gap: Any) -> float:
    """Mean duality gap over the last tenth of the rounds."""
    return float(gap[-max(1, len(gap) // 10) :].mean())


def slope(kl: Any, gap: Any) -> float:
    """Slope of log KL(solution || policy) per round, least squares over the rounds above 1e-12."""
    import numpy as np

    kept = kl[kl > FLOOR]
    return float(np.polyfit(np.arange(len(kept)), np.log(kept), 1)[0])


def shares(run: Training, prompts: int = 64, copies: int = 16) -> Any:
    """Shares [3] of the styles among the styled answers of the run's policy to test prompts."""
    import numpy as np

    from actrix.language.sampler import Sampling
    from actrix.run.language import spoken

    trainer = run.trainer
    learner: Any = trainer.learner
    task = trainer.feed.task  # type: ignore[attr-defined]
    encoded = [task.tokenizer.encode(p.text) for p in task.prompts("test", prompts, 0)]
    samples = learner.speak(encoded, Sampling(max_new=task.max_new, n=copies), trainer.options.seed)
    count = np.zeros(3)
    for text in spoken(task, samples):
        style = task.style(text)
        if style is not None:
            count[style] += 1
    return count / max(1.0, count.sum())


def from_even(run: Training) -> float:
    """Total variation distance of the policy's styles from a third each."""
    import numpy as np

    return float(np.abs(shares(run) - 1 / 3).sum() / 2)
