"""GBRL: actor and critic are boosted trees, and every update grows one tree against the gradient of the outputs.

    F(s) = (logits or mean action, V(s)) = -sum_k rate * T_k(s);  T_k fits g_i = d loss_i / d F(s_i) in its leaves
    loss   policy + value_weight 0.5 (V(s) - target)^2 - entropy_weight H(pi(.|s)), policy as in PPO or as in A2C

Policy and value share the trees, each with its own learning rate, or have ensembles of their own (`--shared False`;
only then can the value see what is privileged). A continuous action is a Gaussian around F(s), whose spread does not
depend on s and is learned by Adam. See `nets.boosted` for the trees: no network, no normalised observations;
categorical observations are split as x == value. When `capacity` is reached, the older trees are replaced by fewer
that say about the same. Predictions of a batch are kept over its epochs. Images are so many columns of numbers: it
runs, but nothing is convolved.

The trees are ours, in tensors. The authors' library (gbrl 1.1.9) installs and learns on CPU, but its models live in
files of its own format, cannot be copied, captured in a graph or exported, and exist for two versions of Python.
Not here: the AWR objective, which learns from a replay; the DQN and SAC forms, released as untested; rates that fall
with time (Adam's, of the spread, is constant here).
Source: Fuhrer, Tessler & Dalal 2024, Gradient Boosting Reinforcement Learning (2407.08250); defaults of its CartPole,
discount and decay as usual.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch

from actrix import credit
from actrix.actors.categorical import Categorical
from actrix.actors.gaussian import Gaussian
from actrix.actors.stochastic import stochastic
from actrix.critics.values import StateValue
from actrix.data.batches import Steps
from actrix.errors import ActrixError
from actrix.nets.boosted import Boosted, Forest, Growth, Outputs, Slice
from actrix.nets.normaliser import RewardScaler
from actrix.objectives import clipped, policy_gradient, reduce
from actrix.optim import Adam, Functional
from actrix.registry import system
from actrix.run.feeds import RolloutFeed
from actrix.run.learner import Learner, Losses
from actrix.spec import Choices, Spec


@dataclass(frozen=True)
class Config:
    objective: str = "ppo"  # of the policy: ppo, or a2c (take epochs 1, minibatch 0 and a short horizon)
    shared: bool = True  # policy and value share the structure of their trees
    policy_rate: float = 0.029  # learning rate of the policy's outputs
    value_rate: float = 0.015  # learning rate of the value
    policy_clip_norm: float = 100.0  # bound on the gradient of one step's loss with respect to the policy's outputs
    value_clip_norm: float = 10.0  # the same for the value
    depth: int = 4  # of each tree
    bins: int = 256  # most thresholds of each numeric column, quantiles of the minibatch
    oblivious: bool = True  # one test for each level of a tree; off: the best one for each node
    score: str = "cosine"  # how splits are judged: cosine, or l2 (outputs standardised for it)
    capacity: int = 4096  # most trees
    discount: float = 0.99  # per environment step
    decay: float = 0.95  # lambda of generalised advantage estimation
    clip: float = 0.2  # bound on the change of a probability ratio (ppo)
    value_weight: float = 0.87  # weight of the value loss
    entropy_weight: float = 0.0  # weight of the entropy bonus, per nat
    log_std: float = -2.0  # initial log standard deviation of continuous actions, in canonical actions
    log_std_rate: float = 1.7e-3  # Adam learning rate of it
    scale_reward: bool = False  # divide rewards by the running standard deviation of the discounted return
    normalise_advantage: bool = True  # standardise advantages in each minibatch
    horizon: int = 128  # steps of each environment between two rounds of updates
    epochs: int = 1  # passes over each batch of experience
    minibatch: int = 64  # steps per tree; 0 is all
    envs: int = 8  # environments stepped together


@system(
    "gbrl",
    family="control",
    paper="2407.08250",
    acts=("box", "unbounded box", "discrete", "multidiscrete", "multibinary"),
)
class GBRL(Learner):
    feed = RolloutFeed
    actor: Categorical | Gaussian

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        if config.objective not in ("ppo", "a2c"):
            raise ActrixError(f"--objective is ppo or a2c, not {config.objective!r}", misuse=True)
        self.width = sum(spec.action.sizes) if isinstance(spec.action, Choices) else spec.action_size
        policy = Outputs(self.width, config.policy_rate, config.policy_clip_norm)
        value = Outputs(1, config.value_rate, config.value_clip_norm)
        growth = Growth(config.depth, config.bins, config.oblivious, config.score, config.capacity)
        recent = math.ceil(RolloutFeed.plan(config, config.horizon * config.envs)[0])  # trees of a round
        if config.shared:
            self.trees = Forest([Boosted(spec, (policy, value), growth, recent)])
        else:
            own = Boosted(spec.for_critic(), (value,), growth, recent)
            self.trees = Forest([Boosted(spec, (policy,), growth, recent), own])
        self.actor = stochastic(spec, log_std=config.log_std, net=Slice(self.trees, 0, self.width))
        self.critic = StateValue(spec, net=Slice(self.trees, self.width, self.width + 1))
        self.scaler = RewardScaler(config.discount) if config.scale_reward else None
        spread = (
            {"log_std": ([self.actor.log_std], Adam(config.log_std_rate))} if isinstance(self.actor, Gaussian) else {}
        )
        self.optimise(trees=(self.trees, Functional(self.trees.fit)), **spread)

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        reward = self.paid(steps)
        assert steps.next_obs is not None
        output = self.trees.begin(steps.obs)
        advantage, target = credit.gae(
            reward, output[..., -1], self.critic(steps.next_obs), steps.terminated, steps.truncated,
            self.config.discount, self.config.decay, steps.action_mask,
        )  # fmt: skip
        return replace(steps, advantage=advantage, target=target, output=output)

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        config, mask = self.config, batch.action_mask
        assert batch.advantage is not None
        assert batch.output is not None
        assert batch.target is not None
        advantage = batch.advantage
        if config.normalise_advantage:
            advantage = credit.standardise(advantage, mask)
        output = batch.output + self.trees.since(batch.obs)
        logp, entropy = self.actor.judge(output[..., : self.width], batch.action, batch.mask)
        if config.objective == "ppo":
            per_step = clipped(logp, batch.logp_behaviour, advantage, config.clip)
        else:
            per_step = policy_gradient(logp, advantage)
        policy = reduce(per_step, mask, "token", batch.total)
        value = reduce(0.5 * (output[..., -1] - batch.target).square(), mask, "token", batch.total)
        spread = reduce(entropy, mask, "token", batch.total)
        loss = policy + config.value_weight * value - config.entropy_weight * spread
        losses = Losses(trees=loss, log_std=loss) if "log_std" in self.optimiser.groups else Losses(trees=loss)
        return losses.at("trees", batch.obs, output).note(
            value_loss=value, entropy=spread, count=self.trees.count, lost=self.trees.lost
        )
