"""Actors of teams against brute force over all joint actions, and what each may not see."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from actrix.actors.team import BayesianTeam, IndependentTeam, TeamActor
from actrix.errors import ActrixError
from actrix.nets.team import TeamView
from actrix.spec import Choices, Part, Spec, vector_spec

# three agents that see 2, 1 and 2 numbers, one number that all see, and one that is privileged
SIZES = (2, 3, 2)
SPEC = Spec(
    (
        Part("a", 0, 2, (2,), agent=0),
        Part("b", 2, 3, (1,), agent=1),
        Part("c", 3, 5, (2,), agent=2),
        Part("all", 5, 6, (1,)),
        Part("hidden", 6, 7, (1,), privileged=True),
    ),
    Choices(SIZES, "multidiscrete", (0, 0, 0)),
)
JOINT = torch.tensor(list(itertools.product(*map(range, SIZES))))
GRAPHS = ["learned", "random", "complete", "empty"]


def sharp(actor: TeamActor) -> TeamActor:
    """With weights large enough that decisions differ."""
    with torch.no_grad():
        for p in actor.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return actor


def teams() -> list[TeamActor]:
    torch.manual_seed(1)
    return [sharp(IndependentTeam(SPEC, (8,)))] + [sharp(BayesianTeam(SPEC, (8, 8), graph)) for graph in GRAPHS]


def repeated(row: Tensor | None, n: int) -> Tensor | None:
    return None if row is None else row.expand(n, -1)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("actor", teams(), ids=["independent", *GRAPHS])
def test_joint_probabilities_sum_to_one_and_are_those_of_samples(actor: TeamActor, masked: bool) -> None:
    """Summed over all joint actions, given one graph; and what `act` says of its action is what `evaluate` says."""
    torch.manual_seed(0)
    obs = torch.randn(1, 7)
    mask = torch.tensor([[True, False, True, True, False, True, True]]) if masked else None
    condition = actor.condition(obs)
    logp, entropy = actor.evaluate(
        obs.expand(len(JOINT), -1), JOINT, repeated(mask, len(JOINT)), repeated(condition, len(JOINT))
    )
    chance = logp.sum(-1).exp()
    assert chance.sum().item() == pytest.approx(1.0, abs=1e-5)
    if masked:
        assert (chance[(JOINT[:, 0] == 1) | (JOINT[:, 1] == 2)] == 0).all()
    # the entropy of the joint choice is the mean of the agents' given those before them
    joint_entropy = -(chance * logp.sum(-1).nan_to_num(neginf=0.0)).sum()
    torch.testing.assert_close((chance * entropy.sum(-1)).sum(), joint_entropy, rtol=1e-4, atol=1e-5)
    rows = torch.randn(200, 7)
    masks = repeated(mask, 200)
    for mode in ("sample", "mean"):
        made = actor.act(rows, mode, masks)
        assert made.logp is not None
        given = actor.evaluate(rows, made.action, masks, made.condition)[0]
        torch.testing.assert_close(made.logp, given, rtol=1e-4, atol=1e-5)
    if not masked and condition is not None:
        other = actor.evaluate(rows, made.action, None, actor.condition(rows))[0]
        assert not torch.allclose(made.logp, other, atol=1e-3), "another graph is another policy"


@pytest.mark.parametrize("graph", GRAPHS)
def test_samples_are_as_frequent_as_they_should_be(graph: str) -> None:
    """Of one state and one graph, against the closed form: sequential sampling is right."""
    torch.manual_seed(2)
    actor = BayesianTeam(SPEC, (8, 8), graph)
    sharp(actor)
    n = 20_000
    obs = torch.randn(1, 7)
    condition = actor.condition(obs)
    actor._noise = lambda x, mode: repeated(condition, len(x))  # type: ignore[method-assign]
    with torch.no_grad():
        action = actor.act(obs.expand(n, -1)).action
        logp = actor.evaluate(obs.expand(len(JOINT), -1), JOINT, None, repeated(condition, len(JOINT)))[0].sum(-1)
    counts = (action[:, None] == JOINT).all(-1).float().mean(0)
    assert (counts - logp.exp()).abs().max() < 0.012


def test_children_know_parents_and_nobody_else() -> None:
    """A change of another's choice changes exactly the log-probabilities of those it is a parent of."""
    torch.manual_seed(3)
    actor = BayesianTeam(SPEC, (8, 8), "learned")
    sharp(actor)
    obs = torch.randn(300, 7)
    condition = actor.condition(obs)
    assert condition is not None
    adjacency, _ = actor.graph(actor.all(obs), condition)
    action = torch.zeros(300, 3, dtype=torch.int64)
    before = actor.logps(obs, action, None, condition)
    seen = 0
    for j in range(3):
        other = action.clone()
        other[:, j] = 1
        moved = (actor.logps(obs, other, None, condition) != before).any(-1)
        assert torch.equal(moved, adjacency[:, j] > 0)
        seen += int(moved.sum())
    assert 100 < seen < 800


def test_what_an_agent_may_not_see_does_not_move_it() -> None:
    torch.manual_seed(0)
    alone, team = sharp(IndependentTeam(SPEC, (8,))), sharp(BayesianTeam(SPEC, (8, 8), "empty"))
    obs = torch.randn(1, 7).expand(7, -1) + torch.eye(7)
    for actor in (alone, team):
        base = actor.logps(obs - torch.eye(7), JOINT[:7], None, None)
        moved = (actor.logps(obs, JOINT[:7], None, None) != base).any(-1)
        expected = [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]]
        assert moved.int().tolist() == expected
        assert (base[:, 0, 2] == -torch.inf).all(), "the first agent has two options"


def test_closing_leaves_independent_agents() -> None:
    torch.manual_seed(0)
    actor = BayesianTeam(SPEC, (8, 8), "learned")
    sharp(actor)
    obs = torch.randn(100, 7)
    assert actor.adjacency(obs, "sample").sum() > 0
    actor.open.fill_(False)
    for mode in ("sample", "mean"):
        assert actor.adjacency(obs, mode).sum() == 0


def test_agents_of_one_view_see_all() -> None:
    spec = vector_spec(3, Choices((2, 2), "multidiscrete", (0, 0)))
    view = TeamView(spec)
    obs = torch.randn(5, 3)
    for k in range(2):
        assert torch.equal(view(obs)[:, k], torch.cat((obs, torch.eye(2)[k].expand(5, 2)), -1))


def test_choices_that_do_not_fit_the_agents_are_refused() -> None:
    spec = Spec(SPEC.obs, Choices((2, 2), "multidiscrete", (0, 0)))
    with pytest.raises(ActrixError, match="3 agents, and the action is 2 choices"):
        TeamView(spec)


def test_agents_with_images_go_through_one_convolution() -> None:
    """Two agents that see the same picture have the same features; what one sees does not reach the other."""
    parts = tuple(Part(str(i), 64 * i, 64 * i + 64, (8, 8), image=True, agent=i) for i in range(2))
    spec = Spec(parts, Choices((2, 2), "multidiscrete", (0, 0)), "uint8")
    torch.manual_seed(0)
    view = TeamView(spec)
    picture, other = torch.randint(0, 256, (2, 3, 64), dtype=torch.uint8)
    same = view.sights(torch.cat((picture, picture), -1))
    assert torch.equal(same[:, 0], same[:, 1])
    moved = view.sights(torch.cat((picture, other), -1))
    assert torch.equal(moved[:, 0], same[:, 0])
    assert not torch.equal(moved[:, 1], same[:, 1])
    uneven = (parts[0], Part("1", 64, 164, (10, 10), image=True, agent=1))
    with pytest.raises(ActrixError, match="images of different shapes"):
        TeamView(Spec(uneven, spec.action, "uint8"))
