"""What a policy sees and what it may do, as plain data: no environment is needed to load a policy.

Everything inside the library is in *canonical* form; `envs` maps an environment's own spaces to it:

- an observation is one row: `[D]` float32 (dictionaries, tuples, discrete parts flattened, one-hot), or
  `[D]` uint8 where the whole observation is an image; `Part`s say which columns came from where;
- an action is `[A]` float32, in [-1, 1] where the box has bounds, or `[K]` int64 choices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Part:
    """Columns `start:stop` of an observation row; `shape` is their shape in the environment.

    A privileged part is known in training only: critics may see it, an actor never does. Where several agents act
    (see `Spec.agents`), a part with a number is what that agent alone sees. The columns of a categorical part are 0
    or 1: values of one or several choices, one-hot, or bits.
    """

    name: str
    start: int
    stop: int
    shape: tuple[int, ...]
    image: bool = False
    privileged: bool = False
    agent: int | None = None
    categorical: bool = False


@dataclass(frozen=True)
class Box:
    """A continuous action of `size` numbers; `low`/`high` are the environment's own bounds, in its units.

    Bounds are None where any is infinite: then canonical and environment actions are the same numbers.
    """

    size: int
    shape: tuple[int, ...]
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None

    kind = "box"


@dataclass(frozen=True)
class Choices:
    """One or more discrete choices, `sizes[k]` options each (Discrete, MultiDiscrete, MultiBinary)."""

    sizes: tuple[int, ...]
    space: str  # discrete, multidiscrete or multibinary: how the environment wants it back
    start: tuple[int, ...]

    kind = "choices"


@dataclass(frozen=True)
class Spec:
    """Observation and action of a control task.

    A network made from a spec looks at its `visible` parts: all but the privileged ones, unless `view` says which.
    """

    obs: tuple[Part, ...]
    action: Box | Choices
    obs_dtype: str = "float32"
    view: tuple[Part, ...] | None = None
    descriptor: int = 0  # numbers in the descriptor of an episode, where the environment describes its episodes

    @property
    def obs_size(self) -> int:
        return self.obs[-1].stop if self.obs else 0

    @property
    def agents(self) -> int:
        """How many agents the observation belongs to, choice k of the action being agent k's; 0 where it is nobody's
        in particular."""
        return len({p.agent for p in self.obs if p.agent is not None})

    @property
    def signals(self) -> Part | None:
        """The part that holds what else came of the last action besides the reward: the key `signals` of a Dict
        observation, one number for each signal. None where there is no such part."""
        return next((p for p in self.obs if p.name == "obs.signals"), None)

    @property
    def visible(self) -> tuple[Part, ...]:
        """The parts that a network looks at."""
        return tuple(p for p in self.obs if not p.privileged) if self.view is None else self.view

    def looking_at(self, parts: tuple[Part, ...]) -> Spec:
        """The same task for a network that looks at these parts of its rows."""
        return replace(self, view=parts)

    def for_critic(self) -> Spec:
        """The same task for a network that only learns from it: it looks at everything, unless `view` says what."""
        return self if self.view is not None else self.looking_at(self.obs)

    def with_context(self, size: int) -> Spec:
        """The same task for a network whose rows end in `size` further numbers: a goal, a descriptor, a skill."""
        return replace(self, obs=(*self.obs, Part("context", self.obs_size, self.obs_size + size, (size,))))

    def chunked(self, length: int) -> Spec:
        """The same task for a network that sees `length` actions in a row as one. Boxes only."""
        assert isinstance(self.action, Box)
        bounds = (None if b is None else b * length for b in (self.action.low, self.action.high))
        size = length * self.action.size
        return replace(self, action=Box(size, (size,), *bounds))

    @property
    def action_size(self) -> int:
        """Width of a canonical action row."""
        return self.action.size if isinstance(self.action, Box) else len(self.action.sizes)

    @property
    def action_kind(self) -> str:
        """`box`, `unbounded box`, `discrete`, `multidiscrete` or `multibinary`."""
        if isinstance(self.action, Box):
            return "box" if self.action.low is not None else "unbounded box"
        return self.action.space

    def to_json(self) -> dict[str, Any]:
        action = {"kind": self.action.kind, **self.action.__dict__}
        found = {"obs": [p.__dict__ for p in self.obs], "action": action, "obs_dtype": self.obs_dtype}
        return {**found, "descriptor": self.descriptor} if self.descriptor else found


def vector_spec(obs_size: int, action: Box | Choices | int, descriptor: int = 0) -> Spec:
    """A spec for a plain observation vector; an integer action is that many numbers in [-1, 1]."""
    if isinstance(action, int):
        action = Box(action, (action,), (-1.0,) * action, (1.0,) * action)
    return Spec((Part("obs", 0, obs_size, (obs_size,)),), action, descriptor=descriptor)


def size_of(shape: tuple[int, ...]) -> int:
    """Number of elements of a shape."""
    return math.prod(shape)


@dataclass(frozen=True)
class TokenSpec:
    """What a language policy sees and says: token ids below `vocab`, at most `context` of them."""

    vocab: int
    context: int
    pad: int
    eos: int

    action_kind = "tokens"

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)
