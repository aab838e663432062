"""Learning to Fly in Seconds: TD3 whose critic knows what the actor has to guess, and a reward that gets stricter.

A quadrotor's rotors lag, its constants are not known and the wind blows. The critics, needed in training only, see
all that (the privileged part of an observation); the actor sees noisy kinematics and its own past actions, from
which it can tell what the rotors are doing. The reward first asks only to stay near the goal, then more and more to
be still, in stages; rewards of old experience are worked out anew under the weights of the moment.

    target  y = r_k(s, a, s') + discount (1 - terminated) min_i Q'_i(p', a'),  a' = clip(mu'(o') + clip(e, -c, c))
            p privileged, o what the actor sees, r_k the reward of stage k = steps / stage_every, e ~ N(0, smoothing)
    critic  sum_i mean 0.5 (Q_i(p, a) - y)^2;  Q' follows Q by target_rate at every update
    actor   -mean Q_1(p, mu(o)) at every second update, the gradient through the action only; mu' follows mu then
    explore a = clip(mu(o) + N(0, noise), -1, 1)

After `decay_from` steps the noise of exploration, that of the target and its clip shrink by a tenth per 100,000.
An environment without a privileged part has a critic that sees what the actor sees; one without `reward_at` (see
`CurriculumFeed`) has no stages; a part called `history` is what `history` switches off. Source: Eschmann, Albani &
Loianno 2023, Learning to Fly in Seconds (2311.13081), and its code. There the first steps are flown by the untrained
actor with noise; here they are uniform actions.

Measured on `Hover-v0`, whose mass, thrust and lag are random, which the paper's are not: after 300,000 steps (155 s
on one core) 83, 96, 94 and 51 % of 1,000 starts stay in the box (four seeds), and 1, 39, 25 and 0 % end within 0.15 m
of the goal. After a million steps of 128 environments (285 s, the last of these seeds) it is 92 % and 63 %. A
controller that is told everything (geometric, gains searched) keeps 93 % of the same starts. `shac`, which may ask
the simulator for derivatives, keeps 97 % and brings 96 % to the goal in 1.8 million steps (102 s on two cores).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.deterministic import Deterministic
from actrix.credit import bootstrap
from actrix.critics.values import QEnsemble
from actrix.data.batches import Transitions
from actrix.nets.targets import tracked
from actrix.objectives import regression
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import CurriculumFeed
from actrix.run.learner import Learner, Losses
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    hidden: tuple[int, ...] = (64, 64)  # units of each hidden layer (tanh), actor and critics
    rate: float = 1e-3  # Adam learning rate of both groups
    weight_decay: float = 1e-4  # decoupled, both groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate, per update of what is followed
    noise: float = 0.1  # standard deviation of exploration, in canonical actions (a range of 2)
    smoothing: float = 0.2  # standard deviation of the target action's noise, in canonical actions
    smoothing_clip: float = 0.5  # bound on the target action's noise, in canonical actions
    decay_from: int = 500_000  # environment steps after which these three shrink by a tenth per 100,000
    asymmetric: bool = True  # the critic sees the privileged part; off: what the actor sees
    history: bool = True  # the actor sees its past actions, where the environment gives them
    stage_every: int = 100_000  # environment steps between changes of the reward; 0 is none
    relabel: bool = True  # old experience gets the reward of the moment; off: it keeps that of its stage
    batch: int = 256  # transitions per update
    capacity: int = 1_000_000  # transitions in the replay
    warmup: int = 15_000  # environment steps of uniform actions before learning
    actor_warmup: int = 30_000  # environment steps before the actor learns
    updates_per_step: float = 0.1  # updates of the critics per environment step
    envs: int = 32  # environments stepped together


@system("learning-to-fly", family="control", paper="2311.13081", acts=("box",))
class LearningToFly(Learner):
    feed = CurriculumFeed
    actor: Deterministic
    calm: Tensor

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        privileged = tuple(p for p in spec.obs if p.privileged) if config.asymmetric else ()
        seen = tuple(p for p in spec.visible if config.history or not p.name.endswith(".history"))
        sight = spec.looking_at(seen)
        self.actor = Deterministic(sight, config.hidden, "tanh", torch.tensor(config.noise))
        self.critic = QEnsemble(spec.looking_at(privileged or seen), config.hidden, 2, "tanh")
        self.target_actor = tracked(self.actor, config.target_rate)
        self.target_critic = tracked(self.critic, config.target_rate)
        self.register_buffer("calm", torch.ones(()))  # the factor by which noise has shrunk
        adam = Adam(config.rate, weight_decay=config.weight_decay)
        self.optimise(critic=(self.critic, adam), actor=(self.actor, adam))

    def phase(self, updates: int) -> str:
        waiting = (self.config.actor_warmup - self.config.warmup) * self.config.updates_per_step
        return "both" if updates >= waiting and updates % 2 else "critic"

    def losses(self, batch: Transitions, phase: Hashable = "both") -> Losses:
        taken = self.critic(batch.obs, batch.action).members
        losses = Losses(critic=regression(taken, self.target(batch)))
        if phase != "critic":
            losses.groups["actor"] = -self.critic.frozen(batch.obs, self.actor(batch.obs)).members[0].mean()
        return losses.note(value=taken.mean())

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        config, bound = self.config, self.config.smoothing_clip * self.calm
        noise = config.smoothing * self.calm * torch.randn_like(batch.action)
        action = (self.target_actor(batch.next_obs) + noise.clamp(-bound, bound)).clamp(-1.0, 1.0)
        value = self.target_critic(batch.next_obs, action).reduce("min")
        return bootstrap(batch.reward, batch.terminated, value, config.discount)

    @torch.no_grad()
    def after_step(self, phase: Hashable = "both") -> None:
        self.target_critic.follow()
        if phase != "critic":
            self.target_actor.follow()
        steps = self.config.warmup + self.optimiser.critic_step / max(self.config.updates_per_step, 1e-9)
        self.calm.copy_(0.9 ** ((steps - self.config.decay_from) / 1e5).clamp(min=0.0).ceil())
        self.actor.get_buffer("noise").copy_(self.config.noise * self.calm)
