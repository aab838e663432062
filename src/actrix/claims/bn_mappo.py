"""The claim of BN-MAPPO: knowing what others choose finds coordinated play, and can be given up at the end."""

from __future__ import annotations

from dataclasses import dataclass

from actrix.claims.claim import Arm, Check, Claim, Training, trained

ALOHA = {
    "env": "pettingzoo:actrix.envs.cooperative.SmallAloha", "steps": 300_000, "eval_episodes": 200, "hidden": (32, 32),
    "envs": 128, "horizon": 20, "minibatch": 640, "epochs": 4,
}  # fmt: skip
# chosen on other seeds (1000 to 1002) among 1e-3, 2e-3 and 3e-3, in trials that were few and not alike
OURS, THEIRS = ({"actor_rate": rate, "critic_rate": rate} for rate in (2e-3, 3e-3))
STARTS, LENGTH, ASCENTS = 100, 0.5, 3_000


@dataclass(frozen=True)
class Ascent:
    """The fraction of random starts from which exact gradient ascent ends within 0.05 of the best payoff of
    `Matching`: 3 agents with 3 options, the table of everybody's choice given what they know."""

    graph: str
    unit: bool = True  # steps of one length along the gradient; otherwise of 20 times it

    def __call__(self, seed: int) -> float:
        import torch

        from actrix.claims.teams import PARENTS, TableTeam
        from actrix.envs.cooperative import Matching
        from actrix.rng import seed_of

        generator = torch.Generator().manual_seed(seed_of(seed, "starts"))
        team = TableTeam(torch.from_numpy(Matching.table(3)), PARENTS[self.graph](3), STARTS, generator)
        value = team.ascend(ASCENTS, LENGTH if self.unit else 20.0, self.unit)
        return float((value > team.payoff.max() - 0.05).double().mean())


def alone(run: Training) -> float:
    """The final mean return with no edge in any graph: decentralised, whatever the run was."""
    run.trainer.learner.actor.open.fill_(False)  # type: ignore[operator]
    return float(run.trainer.evaluate()["mean"])


claim = Claim(
    system="bn-mappo",
    statement="A joint policy in which agents know what others have chosen reaches the best coordinated play where "
    "independent agents end in worse equilibria; on Aloha it returns more than MAPPO and than random graphs do, and "
    "the annealed, finally decentralised policy keeps most of that.",
    source="2306.01920, its theorems on tabular teams and its experiments on coordination games and Aloha",
    minutes=6,
    note="The coordinated policy is better: by 16 % than MAPPO and by 27 % than with random graphs, and in two of "
    "three seeds beyond what any two islands that always send can get. What fails is the last rule, narrowly: "
    "after annealing 98 % of MAPPO's return is left, two seeds near two islands that always send and one at "
    "1.97. The penalty on density is ours, since the paper's is not known, and one schedule was tried, to no "
    "edge after 200,000 of 300,000 steps. MAPPO ran at its own better rate, where it got 2.39 on seeds 1000 to "
    "1002; at that of BN-MAPPO it got 0.94 on seed 1000. In the table, steps of one length are essential for a "
    "bounded number of them: with steps of 20 times the gradient half the starts still end at a worse choice, "
    "as the theorem promises the best only in the limit.",
    checks=(
        Check(
            "table",
            question="Where every agent knows the choices of all before it, does exact gradient ascent, in steps of "
            "one length, reach the best of three equilibria from nearly everywhere, and where none does, often not?",
            metric="fraction of 100 random starts that end within 0.05 of the best payoff, 3 agents with 3 options",
            seeds=3,
            arms=(
                Arm("complete", "method", Ascent("complete")),
                Arm("empty", "ablation", Ascent("empty")),
                Arm("complete_plain", "control", Ascent("complete", unit=False)),
            ),
            rules=("min(complete) >= 0.95", "max(empty) <= 0.7"),
        ),
        Check(
            "aloha",
            question="On four islands of Aloha, is BN-MAPPO better than MAPPO by a tenth, and than with random graphs; "
            "and is what is left of it without any edge, after annealing, as good as MAPPO?",
            metric="mean return of 200 episodes after 300,000 steps (at best 3.92; two islands that never wait 2.48)",
            seeds=3,
            arms=(
                Arm("bn_mappo", "method", trained("bn-mappo", ALOHA, OURS)),
                Arm("mappo", "baseline", trained("mappo", ALOHA, THEIRS)),
                Arm("random", "ablation", trained("bn-mappo", ALOHA, OURS, {"graph": "random"})),
                Arm("annealed", "method", trained("bn-mappo", ALOHA, OURS, {"anneal": 200_000}, measure=alone)),
            ),
            rules=(
                "mean(bn_mappo) >= 1.1 * mean(mappo)",
                "mean(bn_mappo) > mean(random)",
                "mean(annealed) >= mean(mappo)",
            ),
        ),
    ),
)
