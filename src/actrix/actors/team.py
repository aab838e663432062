"""Actors of teams: every agent makes one choice, by one network that all share.

Log-probabilities and entropies are per agent, `[..., N]`: their sum is the joint decision's. What an agent sees, and
what the padding of unequal agents is, says `nets.team`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actrix.actors.base import Action, Actor
from actrix.actors.categorical import choose, expect, forbid
from actrix.nets.dag import RandomDAG
from actrix.nets.encoder import Encoder
from actrix.nets.mlp import MLP
from actrix.nets.team import TeamChoices, TeamView
from actrix.spec import Choices, Spec


def picked(logp: Tensor, action: Tensor) -> Tensor:
    """Log-probability of the options taken: [..., C], [...] -> [...]."""
    return logp.gather(-1, action[..., None])[..., 0]


class TeamActor(Actor):
    """Base: what follows from log-probabilities of all options given the joint action."""

    def __init__(self, spec: Spec) -> None:
        nn.Module.__init__(self)  # agents see through their view
        assert isinstance(spec.action, Choices)
        self.view = TeamView(spec)
        self.agents = self.view.agents
        self.choices = TeamChoices(spec.action.sizes)

    def logps(self, obs: Tensor, action: Tensor, mask: Tensor | None, condition: Tensor | None) -> Tensor:
        """Log-probabilities [..., N, C] of every agent's options, given the choices [..., N] of those it follows."""
        raise NotImplementedError

    def evaluate(
        self, obs: Tensor, action: Tensor, mask: Tensor | None = None, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of every agent's given choice, both [..., N]."""
        logp = self.logps(obs, action, mask, condition)
        return picked(logp, action), -expect(logp, logp)

    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.evaluate(obs, action, None, self.condition(obs))[0].sum(-1)


class IndependentTeam(TeamActor):
    """pi(a|s) = prod_n pi(a_n | what n sees, n): decentralised, parameters shared."""

    def __init__(self, spec: Spec, hidden: Sequence[int], activation: str = "tanh") -> None:
        super().__init__(spec)
        self.net = MLP(self.view.size, hidden, self.choices.most, activation, orthogonal=True, head_gain=0.01)

    def logps(
        self, obs: Tensor, action: Tensor | None = None, mask: Tensor | None = None, condition: Tensor | None = None
    ) -> Tensor:
        return F.log_softmax(forbid(self.net(self.view(obs)), self.choices.legal(mask)), -1)

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        logp = self.logps(obs, mask=mask)
        action = logp.argmax(-1) if mode == "mean" else choose(logp)
        return Action(action, picked(logp, action))


class BayesianTeam(TeamActor):
    """pi(a|s) = prod_n pi(a_n | what n sees, n, what its parents see and chose): parents in a random graph.

    The graph is drawn for every decision from what all agents see (`nets.dag`); its noise is the `condition`. In mode
    "mean" there is none, but where graphs are random by definition. Once `open` is False, no graph has an edge, and the
    policy is that of independent agents.
    """

    open: Tensor

    def __init__(
        self,
        spec: Spec,
        hidden: Sequence[int],
        graph: str = "learned",
        temperature: float = 1.0,
        activation: str = "tanh",
    ) -> None:
        super().__init__(spec)
        *body, width = hidden
        self.all = Encoder(spec)
        self.graph = RandomDAG(self.all.size, width, self.agents, graph, temperature)
        self.own = MLP(self.view.size, body, width, activation, orthogonal=True)
        slots = self.agents * (self.choices.most + self.view.seen)
        self.others = MLP(slots, body, width, activation, orthogonal=True)
        self.head = MLP(2 * width, (), self.choices.most, orthogonal=True, head_gain=0.01)
        self.bend = self.own.act
        self.register_buffer("open", torch.ones((), dtype=torch.bool))

    def condition(self, obs: Tensor) -> Tensor | None:
        return self._noise(self.all(obs), "sample")

    def _noise(self, x: Tensor, mode: str) -> Tensor | None:
        if not self.graph.drawn:
            return None
        quiet = mode == "mean" and self.graph.kind == "learned"
        noise = x.new_zeros(*x.shape[:-1], 2 * self.agents**2) if quiet else self.graph.noise(x)
        return torch.where(self.open, noise, self.graph.closed(noise))

    def adjacency(self, obs: Tensor, mode: str = "mean") -> Tensor:
        """Who hears whom, [..., N, N]: 1 in a parent's row and a child's column."""
        x = self.all(obs)
        return self.graph(x, self._noise(x, mode))[0]

    def density(self, obs: Tensor) -> Tensor:
        """The mean probability of an edge, [...]."""
        return self.graph.density(self.all(obs))

    def logps(self, obs: Tensor, action: Tensor, mask: Tensor | None, condition: Tensor | None) -> Tensor:
        adjacency = self.graph(self.all(obs), condition)[0]
        seen = self.view.sights(obs)
        slots = torch.cat((F.one_hot(action, self.choices.most).to(adjacency.dtype), seen), -1)
        heard = slots[..., None, :, :] * adjacency.transpose(-1, -2)[..., None]  # [..., child, parent, slot]
        logits = self._decide(self._look(seen), heard.flatten(-2))
        return F.log_softmax(forbid(logits, self.choices.legal(mask)), -1)

    def _look(self, seen: Tensor) -> Tensor:
        """Features of what each sees itself: [..., N, seen] -> [..., N, width]."""
        return self.bend(self.own(self.view.named(seen)))

    def _decide(self, own: Tensor, heard: Tensor) -> Tensor:
        """Logits from features of one's own and from what one's parents see and chose."""
        return self.head(torch.cat((own, self.bend(self.others(heard))), -1))

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        """obs [B, D]. Agents decide one after another, parents first."""
        x = self.all(obs)
        condition = self._noise(x, mode)
        adjacency, order = self.graph(x, condition)
        seen = self.view.sights(obs)
        own = self._look(seen)
        legal = self.choices.legal(mask)
        batch, options = obs.shape[0], self.choices.most
        said = own.new_zeros(batch, self.agents, options)
        action = torch.zeros(batch, self.agents, dtype=torch.int64, device=obs.device)
        chosen = own.new_zeros(batch, self.agents)

        def of(table: Tensor, who: Tensor) -> Tensor:
            return table.gather(1, who[:, None, None].expand(-1, 1, table.shape[-1]))[:, 0]

        for turn in range(self.agents):
            who = order[:, turn]
            parents = of(adjacency.transpose(1, 2), who)
            heard = torch.cat((said, seen), -1) * parents[..., None]
            logits = self._decide(of(own, who), heard.flatten(1))
            if legal is not None:
                logits = forbid(logits, of(legal.expand(batch, -1, -1), who))
            logp = F.log_softmax(logits, -1)
            pick = logp.argmax(-1) if mode == "mean" else choose(logp)
            at = who[:, None]
            action = action.scatter(1, at, pick[:, None])
            chosen = chosen.scatter(1, at, picked(logp, pick)[:, None])
            spoken = F.one_hot(pick, options).to(said.dtype)
            said = said.scatter(1, at[..., None].expand(-1, 1, options), spoken[:, None])
        return Action(action, chosen, condition)
