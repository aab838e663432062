"""Random directed acyclic graphs of N nodes that a network decides on, with gradients: an order and edges along it.

    order      P, a permutation: P[a, j] = 1 says that node j is number a.  From logits L [N, N] and Gumbel noise G:
               S = sinkhorn((log sigmoid(L) + G) / temperature);  P is S hardened, with the gradient of S
    edges      U[j, i] = 1 where E[j, i] + noise > 0, noise logistic: Bernoulli(sigmoid(E)); the gradient is that of
               sigmoid((E + noise) / temperature)
    adjacency  A = U * (P^T M P), M[a, b] = 1 for a < b.  A[j, i] = 1 says that j is a parent of i

A graph is a function of (input, noise), so that with stored noise it can be had again, with its gradient. Hardening is
greedy (the largest entry, then the largest in another row and column, and so on), where the authors solve the
assignment exactly: it is a graph of tensors, and gives a permutation all the same. The two-way Gumbel-softmax of the
edges has been replaced by the logistic noise that it is equal to. With no noise, the most likely order and edges.

Source: 2306.01920 and the authors' code; Mena et al. 2018 (1802.08665) for Gumbel-Sinkhorn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actrix.errors import unknown
from actrix.nets.mlp import MLP

KINDS = ("learned", "random", "complete", "empty")
CLOSED = -1e9  # as noise: no edge


def sinkhorn(logits: Tensor, rounds: int) -> Tensor:
    """exp(logits) [..., N, N] with rows and columns scaled in turn towards sums of 1."""
    n = logits.shape[-1]
    rows = logits.reshape(-1, n * n).T.reshape(n, n, -1)  # small matrices side by side: one pass over all of them
    for _ in range(rounds):
        rows = rows.log_softmax(1).log_softmax(0)
    return rows.exp().reshape(n * n, -1).T.reshape(logits.shape)


def harden(soft: Tensor) -> Tensor:
    """A permutation [..., N, N] of ones and zeros near a doubly stochastic matrix, greedily."""
    n = soft.shape[-1]
    left = soft.flatten(-2)
    found = torch.zeros_like(left)
    cell = torch.arange(n * n, device=soft.device)
    for _ in range(n):
        best = left.argmax(-1, keepdim=True)
        found = found.scatter(-1, best, 1.0)
        taken = (cell // n == best // n) | (cell % n == best % n)
        left = left.masked_fill(taken, -1.0)
    return found.unflatten(-1, (n, n))


class RandomDAG(nn.Module):
    """`forward(x [..., D], noise [..., 2 N^2]) -> (adjacency [..., N, N], order [..., N])`.

    `kind`: "learned"; or with nothing to learn, "random" (any order, every edge with probability 1/2), "complete" (all
    edges along 0, 1, .. N - 1) and "empty". The last two have no noise (None).
    """

    upper: Tensor

    def __init__(
        self, inputs: int, hidden: int, nodes: int, kind: str = "learned", temperature: float = 1.0, rounds: int = 10
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise unknown("graph", kind, KINDS)
        self.nodes, self.kind, self.temperature, self.rounds = nodes, kind, temperature, rounds
        if kind == "learned":
            self.order_net = MLP(inputs, (hidden,), nodes * nodes)
            self.edge_net = MLP(inputs, (hidden,), nodes * nodes)
        self.register_buffer("upper", torch.ones(nodes, nodes).triu(1), persistent=False)

    @property
    def drawn(self) -> bool:
        """Whether graphs have noise."""
        return self.kind in ("learned", "random")

    def noise(self, x: Tensor) -> Tensor:
        """The noise of one graph for each row of x: `[..., 2 N^2]`."""
        shape = (*x.shape[:-1], self.nodes * self.nodes)
        uniform = torch.rand(2, *shape, device=x.device, dtype=x.dtype).clamp(1e-7, 1 - 1e-6)
        return torch.cat((-(-uniform[0].log()).log(), uniform[1].logit()), -1)

    def closed(self, noise: Tensor) -> Tensor:
        """The same noise with no edge."""
        order, edges = noise.chunk(2, -1)
        return torch.cat((order, torch.full_like(edges, CLOSED)), -1)

    def density(self, x: Tensor) -> Tensor:
        """The mean probability of an edge that the order allows: [..., D] -> [...]."""
        if self.kind == "learned":
            chance = torch.sigmoid(self.edge_net(x)).unflatten(-1, (self.nodes, self.nodes))
            others = self.upper + self.upper.T
            return (chance * others).sum((-1, -2)) / others.sum().clamp(min=1)
        return torch.full_like(x[..., 0], {"random": 0.5, "complete": 1.0, "empty": 0.0}[self.kind])

    def forward(self, x: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        n = self.nodes
        shape = (*x.shape[:-1], n, n)
        if not self.drawn:
            edges = self.upper if self.kind == "complete" else torch.zeros_like(self.upper)
            return edges.expand(shape), torch.arange(n, device=x.device).expand(shape[:-1])
        assert noise is not None
        order_noise, edge_noise = (half.unflatten(-1, (n, n)) for half in noise.chunk(2, -1))
        if self.kind == "learned":
            wish = F.logsigmoid(self.order_net(x).unflatten(-1, (n, n)))
            edge = self.edge_net(x).unflatten(-1, (n, n))
        else:
            wish = edge = torch.zeros_like(order_noise)
        soft = sinkhorn((wish + order_noise) / self.temperature, self.rounds)
        hard = harden(soft.detach())
        place = hard + (soft - soft.detach())  # exactly 0 or 1: nothing of others leaks
        near = torch.sigmoid((edge + edge_noise) / self.temperature)
        there = (edge + edge_noise > 0).to(near.dtype) + (near - near.detach())
        along = place.transpose(-1, -2) @ self.upper.to(place.dtype) @ place
        return there * along, hard.argmax(-1)
