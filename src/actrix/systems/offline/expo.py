"""EXPO: an expressive policy imitates, a small one edits what it proposes, and a critic chooses on the fly.

No value is propagated through the chain that makes an action out of noise. The base policy, a diffusion, has only its
loss of imitation, on everything in the replay. The edit policy, a squashed Gaussian, moves an action by at most
`edit_scale` towards a greater value. The policy that acts, and of which the critics learn the value, has no parameters
of its own: it is the best of the base's proposals and of their edited forms.

    edited    a~ = clip(a + edit_scale e, -1, 1),  e ~ pi_edit(.|s, a) = tanh N
    pi(s)     of a_1 ... a_N of the base and a~_1 ... a~_M the one for which min_{2 of E} Q'_i is greatest
    critic    sum_i mean 0.5 (Q_i(s, a) - y)^2,  y = r + discount (1 - terminated) min_{2 of E} Q'_i(s', pi(s'));
              the two are drawn anew, so that they are not those that chose
    base      the loss of imitation towards the action in the replay
    edit      mean temperature (log pi_edit(e|s, a) - dim(A) log edit_scale) - mean_i Q_i(s, a~), a of the replay
    temperature  that of SAC, for the entropy of edit_scale e
    Q' follows Q by target_rate; the base that acts and is judged is an average, which follows by actor_rate_slow; that
    in targets is the base itself

Every update moves the critics, and one in `delay` also base, edit policy and temperature (the paper updates 20 times
per step of Adroit and AntMaze: --updates-per-step 20 --delay 20). The target entropy is -dim(A) / 2 for e, and so
dim(A) log edit_scale less for the edit; without that shift, an option of the authors' code and not its default, no edit
smaller than 0.3 has so much entropy, and the temperature grows for ever. As in the authors' code, edits = 0 is the best
of N; there it is the default. Theirs also has weight decay and a cosine schedule of the base's learning rate over 3
million updates, and does not clip what is edited.
Source: Dong et al. 2025, EXPO: Stable Reinforcement Learning with Expressive Policies (2507.07986), algorithm 1, and a
public copy of the authors' learner (pd-perry/EXPO).
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.edited import Edited
from actrix.actors.gaussian import SquashedGaussian
from actrix.actors.kinds import PROPOSING, actor_of
from actrix.actors.temperature import Temperature
from actrix.credit import bootstrap
from actrix.critics.values import QEnsemble
from actrix.data.batches import Transitions
from actrix.errors import ActrixError
from actrix.nets.targets import tracked
from actrix.objectives import regression
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.learner import Learner, Losses
from actrix.run.offline import DatasetFeed
from actrix.run.settings import DataFirst
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(DataFirst):
    actor: str = "diffusion"  # the base: gaussian, autoregressive, diffusion or flow
    denoising_steps: int = 10  # of a diffusion or flow, from noise to an action
    proposals: int = 8  # drawn of the base for each state (N)
    edits: int = 8  # of them, also taken in an edited form (M; at most all); 0 is best-of-N
    edit_scale: float = 0.15  # bound on an edit, in canonical actions (a range of 2); 0.05 to 0.7 in the paper
    imitation: int = 0  # first updates, in which only the base learns
    delay: int = 1  # updates of the critics per update of base, edit policy and temperature
    temperature: float = 1.0  # initial temperature of the edit policy, in units of reward per nat
    target_entropy: float | None = None  # of an edit, nats; None is dim(A) (log edit_scale - 1/2)
    members: int = 10  # critics
    subset: int = 2  # of them, drawn anew for each choice and each target, whose minimum counts
    hidden: tuple[int, ...] = (256, 256, 256)  # units of each hidden layer, base, edit policy and critics
    rate: float = 3e-4  # Adam learning rate of all groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target critics, per update
    actor_rate_slow: float = 0.001  # Polyak rate of the base that acts, per update of the base


@system("expo", family="offline", paper="2507.07986", acts=("box",))
class EXPO(Learner):
    feed = DatasetFeed
    ranks = True
    actor: Edited
    temperature: Temperature

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        c, size, adam = config, spec.action_size, Adam(config.rate)
        if not 0 < c.edit_scale <= 1:
            raise ActrixError(f"--edit-scale must be above 0 and at most 1, not {c.edit_scale}", misuse=True)
        self.critic = QEnsemble(spec, c.hidden, c.members, layer_norm=True)
        self.target_critic = tracked(self.critic, c.target_rate)
        base = actor_of(c.actor, spec, c.hidden, c.denoising_steps, c.proposals, PROPOSING)
        editor = SquashedGaussian(spec.with_context(size), c.hidden) if c.edits else None
        self.actor = Edited(
            base, editor, self.target_critic, c.edit_scale, c.proposals, c.edits, c.members, c.subset, c.actor_rate_slow
        )
        groups = {"critic": (self.critic, adam), "actor": (base, adam)}
        if editor is not None:
            target = size * (math.log(c.edit_scale) - 0.5) if c.target_entropy is None else c.target_entropy
            self.temperature = Temperature(c.temperature, target)
            groups |= {"edit": (editor, adam), "temperature": (self.temperature, adam)}
        self.optimise(**groups)

    def phase(self, updates: int) -> str:
        done = updates - self.config.imitation
        if done < 0:
            return "imitate"
        return "all" if (done + 1) % self.config.delay == 0 else "critic"

    def losses(self, batch: Transitions, phase: Hashable = "all") -> Losses:
        losses = Losses()
        if phase != "imitate":
            taken = self.critic(batch.obs, batch.action).members
            losses.groups["critic"] = regression(taken, self.target(batch))
            losses.note(value_taken=taken.mean())
        if phase != "critic":
            losses.groups["actor"] = self.actor.imitate(batch.obs, batch.action)
        if phase == "all" and self.config.edits:
            edited, logp = self.actor.edit(batch.obs, batch.action)
            value, temperature = self.critic.frozen(batch.obs, edited).reduce("mean"), self.temperature().detach()
            losses.groups["edit"] = (temperature * logp - value).mean()
            losses.groups["temperature"] = self.temperature.loss(logp)
            losses.note(value_edited=value.mean(), entropy=-logp.mean(), temperature_value=temperature)
        return losses

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        action = self.actor.decide(batch.next_obs, live=True)
        value = self.target_critic(batch.next_obs, action, self.actor.which(device=action.device)).reduce("min")
        return bootstrap(batch.reward, batch.terminated, value, self.config.discount)

    def after_step(self, phase: Hashable = None) -> None:
        if phase != "imitate":
            self.target_critic.follow()
        if phase != "critic":
            self.actor.slow.follow()
