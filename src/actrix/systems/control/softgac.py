"""SoftGAC: maximum-entropy learning of a policy that generates, by the cost of its path instead of its density.

An action is the end of a random path of K short steps, each with weights of its own and each made once (`actors.bridge`
has its equations). Such a policy can have several modes, but no density. So what is bounded is not its entropy but the
KL of its paths to those of a reference whose end is uniform: C(s), which is known exactly, step by step.

    critic       Z_i(s, a) on atoms in [-bound, bound];  sum_i mean sum_k (spread Z_ik - y_k) log Z_ik(s, a)
    target       y = mean_i of the C51 projection of r + discount (1 - terminated) (Z_i(s', a') - temperature C(s')),
                 a', C(s') of a path of the actor's copy; (s, a) and (s', a') pass through Z as one batch, normalised
                 together (CrossQ: there is no target critic), by batch renormalisation
    actor        mean temperature C(s) - min_i mean of Z_i(s, a) over `paths` from every s, through Z by its running
                 statistics; at every `delay`-th update
    temperature  temperature (budget - mean C), budget = cost_share K dim(A): it rises while paths cost more
    batch        a share newest_share of its rows is drawn from the `newest` ones
    The actor's copy follows it by target_rate (1: it is the actor)

In evaluation a path has no noise. All groups that move in an update take their gradients at the same parameters (the
authors' code moves the critics first). Their networks begin as Xavier's, these as torch's, except that noise has
standard deviation 1. The bound is to be chosen for the task: 200 for rewards of up to 1, as here, 1,600 for Gymnasium's
MuJoCo tasks in the paper. A normal law of z_0, an option of their code, is not here.
Source: Generative Actor-Critic with Soft Bridge Policies (2605.08733), and the authors' code (skypitcher/soft_gac_jax);
CrossQ: Bhatt et al. 2019 (1902.05605).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch

from actrix.actors.bridge import Bridge, paths
from actrix.actors.temperature import Temperature
from actrix.critics.distributions import CategoricalQ, CategoricalValue
from actrix.data.batches import Transitions
from actrix.nets.renorm import RenormNet
from actrix.nets.targets import tracked
from actrix.objectives.distributional import cross_entropy
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import ReplayFeed
from actrix.run.learner import Learner, Losses
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    bridge_steps: int = 6  # of a path (K)
    actor_width: int = 256  # units of the hidden layer of each of its steps (512 in the paper)
    hidden: tuple[int, ...] = (512, 512)  # units of each hidden layer of the critics (2,048 in the paper)
    paths: int = 1  # drawn of every state in the actor's update
    antithetic: bool = False  # half of them have the noise of the others with the other sign
    cost_share: float = 0.2  # budget of a path's cost, in nats per step and action dimension
    temperature: float = 0.1  # initial temperature, in units of reward per nat
    learn_temperature: bool = True  # False keeps it fixed
    temperature_rate: float = 1e-3  # Adam learning rate of the temperature
    rate: float = 3e-4  # Adam learning rate of actor and critics
    atoms: int = 101  # of the return's distribution
    bound: float = 200.0  # largest return that a critic can say, in units of reward
    spread: float = 0.005  # weight of the entropy of what critics say
    renorm_warmup: int = 100_000  # updates in which critics normalise by batch statistics alone
    discount: float = 0.99  # per environment step
    target_rate: float = 1.0  # Polyak rate of the actor's copy, per update of the actor
    delay: int = 2  # updates of the critics per update of actor and temperature
    newest: int = 4096  # transitions that count as new
    newest_share: float = 0.2  # of a batch, drawn from those alone
    batch: int = 256  # transitions per update
    capacity: int = 1_000_000  # transitions in the replay
    warmup: int = 5_000  # environment steps of uniform actions before learning
    updates_per_step: float = 2.0  # updates per environment step
    envs: int = 1  # environments stepped together


@system("softgac", family="control", paper="2605.08733", acts=("box",))
class SoftGAC(Learner):
    feed = ReplayFeed
    actor: Bridge
    temperature: Temperature

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        c = config
        self.actor = Bridge(spec, c.actor_width, c.bridge_steps)
        self.target_actor = tracked(self.actor, c.target_rate)
        self.critic = CategoricalQ(
            spec, lambda i, o: RenormNet(i, c.hidden, o, warmup=c.renorm_warmup), c.bound, c.atoms
        )
        self.temperature = Temperature(c.temperature, -c.cost_share * c.bridge_steps * spec.action_size)
        groups = {"critic": (self.critic, Adam(c.rate, betas=(0.5, 0.999))), "actor": (self.actor, Adam(c.rate))}
        if c.learn_temperature:
            groups |= {"temperature": (self.temperature, Adam(c.temperature_rate))}
        self.optimise(**groups)

    def phase(self, updates: int) -> str:
        return "both" if (updates + 1) % self.config.delay == 0 else "critic"

    def losses(self, batch: Transitions, phase: Hashable = "both") -> Losses:
        taken, target = self.judged(batch)
        told = (taken.logp.exp() * taken.logp).sum(-1).mean()  # less than 0: minus their entropy
        critic = len(taken.logp) * (cross_entropy(taken.logp, target.logp.exp()) + self.config.spread * told)
        losses = Losses(critic=critic).note(value=taken.mean.mean(), std=taken.std.mean())
        if phase == "critic":
            return losses
        config, obs = self.config, paths(batch.obs, self.config.paths)
        action, cost = self.actor.sample(obs, self.actor.noise(len(obs), obs, config.antithetic))
        value, temperature = self.critic.frozen(obs, action).reduce("min"), self.temperature()
        losses.groups["actor"] = (temperature.detach() * cost - value).mean()
        if config.learn_temperature:  # what is bounded from above here is the cost, as minus the entropy is in SAC
            losses.groups["temperature"] = -temperature * (cost.detach().mean() + self.temperature.target_entropy)
        return losses.note(cost=cost.mean(), temperature_value=temperature)

    def judged(self, batch: Transitions) -> tuple[CategoricalValue, CategoricalValue]:
        """What the critics say of (s, a) [E, B], and the target [1, B], from one pass of both pairs."""
        with torch.no_grad():
            action, cost = self.target_actor.copy.sample(batch.next_obs)
        obs, actions = torch.cat((batch.obs, batch.next_obs)), torch.cat((batch.action, action))
        both, n = self.critic(obs, actions, training=True), len(batch)
        with torch.no_grad():
            following = both.rows(slice(n, None))
            target = following.backup(
                batch.reward, batch.terminated, self.config.discount, self.temperature() * cost
            ).mixture()
        return both.rows(slice(0, n)), target

    def target(self, batch: Transitions) -> CategoricalValue:
        return self.judged(batch)[1]

    def after_step(self, phase: Hashable = "both") -> None:
        if phase != "critic":
            self.target_actor.follow()
