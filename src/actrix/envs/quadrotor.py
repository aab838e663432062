"""Quadrotors: rigid body, rotors that lag, random constants and disturbances; N of them in one tensor step.

The dynamics are pure functions of rows: a state is `[17, N]` (structure of arrays), so that a compiler makes one
vectorised loop of a whole Runge-Kutta step, and the same file runs on any torch device.

    p' = v                                      position, m, world frame, z up
    q' = q * (0, w) / 2                         attitude: unit quaternion (w, x, y, z), body to world
    v' = R(q) (0, 0, sum_i f_i) / m - g + F/m   f_i = thrust rpm_i^2 along body z
    w' = J^-1 (tau + T - w x J w)               rad/s, body frame; tau from arms and rotor drag
    rpm' = (command - rpm) / lag                command = (a + 1) / 2 * MAX_RPM, a in [-1, 1]

One step is `DT` seconds of the classical fourth-order method with the command held; then q is scaled to length one.
Constants are those of a Crazyflie 2 (27 g). F and T are constant in an episode.

The task `Hover` (id `actrix.envs.quadrotor:Hover-v0`): reach the origin from a random pose and stay there. An
observation has three parts: `observation`, position, rotation matrix (row after row), velocity and angular velocity
with Gaussian noise (18); `history`, the last 32 actions, oldest first (128); and `privileged`, which only critics may
see: the first 18 without noise, force (3) and torque (3) in their standard deviations, rotor speeds (4), and the
factors of mass, thrust and lag (3), each scaled to [-1, 1]. Its steps let gradients through (`Hover.flow`).

Source: Eschmann, Albani & Loianno 2023, Learning to Fly in Seconds (2311.13081), and its code, for constants, noise,
starts, disturbances, reward and limits; the ranges of mass, thrust and lag are ours (the paper holds them fixed).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from actrix.data.batches import Transitions
from actrix.envs import draws
from actrix.envs.flow import Moved

GRAVITY = 9.81  # m/s^2
DT = 0.01  # s
MASS = 0.027  # kg
INERTIA = 3.85e-6, 3.85e-6, 5.9675e-6  # kg m^2, principal axes
ARM = 0.028  # m, of each rotor along x and along y
THRUST = 3.16e-10  # N per rpm^2
DRAG = 0.005964552  # N m of yaw torque per N of thrust
LAG = 0.15  # s, time constant of the rotors
MAX_RPM = 21_702.0
HOVER = 2 * math.sqrt(MASS * GRAVITY / (4 * THRUST)) / MAX_RPM - 1  # the action that carries the weight: 0.334

# rows of a state, and of the constants that hold for an episode
POSITION, ATTITUDE, VELOCITY, SPIN, RPM = slice(0, 3), slice(3, 7), slice(7, 10), slice(10, 13), slice(13, 17)
STATE = 17
MASS_ROW, THRUST_ROW, LAG_ROW, FORCE, TORQUE = 0, 1, 2, slice(3, 6), slice(6, 9)  # factors, then N and N m
CONSTANTS = 9

NOISE = (0.001,) * 12 + (0.002,) * 6  # standard deviations: position, rotation, velocity, angular velocity
PRIVILEGED = 31  # width of the part `privileged`
LIMIT = 500  # steps of an episode
BOX = 0.6  # m, beyond which an episode ends


@dataclass(frozen=True)
class Ranges:
    """From what episodes start, and what differs between them."""

    mass: float = 0.2  # relative; inertia scales with it
    thrust: float = 0.1  # relative, of all four rotors
    lag: float = 0.2  # relative
    force: float = MASS * GRAVITY / 20  # N, standard deviation per axis
    torque: float = MASS * GRAVITY / 10_000  # N m, standard deviation per axis
    position: float = 0.2  # m, per axis
    angle: float = math.pi / 2  # rad, largest angle of the first attitude (uniform among those)
    velocity: float = 1.0  # m/s, per axis
    spin: float = 1.0  # rad/s, per axis
    rotors: float = 0.0  # relative to half of their largest speed, at which they turn
    guidance: float = 0.1  # probability of a start at the goal and level

    @staticmethod
    def still() -> Ranges:
        """No randomness at all: nominal constants, no disturbance, at rest at the goal."""
        return Ranges(*(0.0,) * 10, guidance=1.0)


# --- dynamics ---------------------------------------------------------------------------------------------------


def derivative(state: Sequence[Tensor], command: Sequence[Tensor], constants: Sequence[Tensor]) -> list[Tensor]:
    """Time derivative of a state, row by row: 17 rows, 4 commanded rotor speeds (rpm), 9 constants."""
    _, _, _, qw, qx, qy, qz, vx, vy, vz, wx, wy, wz, *rpm = state
    mass, thrust, lag, fx, fy, fz, ox, oy, oz = constants
    f0, f1, f2, f3 = (THRUST * thrust * r * r for r in rpm)
    per_mass = 1.0 / (MASS * mass)
    lift = (f0 + f1 + f2 + f3) * per_mass
    jx, jy, jz = INERTIA
    # rotors stand at (+,-), (-,-), (-,+), (+,+) times ARM; the first and third turn against yaw
    tx = ARM * (f2 + f3 - f0 - f1) + ox
    ty = ARM * (f1 + f2 - f0 - f3) + oy
    tz = DRAG * (f1 + f3 - f0 - f2) + oz
    per_inertia, per_lag = 1.0 / mass, 1.0 / (LAG * lag)
    return [
        vx, vy, vz,
        -0.5 * (qx * wx + qy * wy + qz * wz),
        0.5 * (qw * wx + qy * wz - qz * wy),
        0.5 * (qw * wy - qx * wz + qz * wx),
        0.5 * (qw * wz + qx * wy - qy * wx),
        2.0 * (qx * qz + qw * qy) * lift + fx * per_mass,
        2.0 * (qy * qz - qw * qx) * lift + fy * per_mass,
        (1.0 - 2.0 * (qx * qx + qy * qy)) * lift + fz * per_mass - GRAVITY,
        (tx * per_inertia - (jz - jy) * wy * wz) * (1.0 / jx),
        (ty * per_inertia - (jx - jz) * wz * wx) * (1.0 / jy),
        (tz * per_inertia - (jy - jx) * wx * wy) * (1.0 / jz),
        *((c - r) * per_lag for c, r in zip(command, rpm)),
    ]  # fmt: skip


def ahead(state: Sequence[Tensor], action: Sequence[Tensor], constants: Sequence[Tensor], dt: float) -> list[Tensor]:
    """One step of `dt` seconds, row by row."""
    command = [(a.clamp(-1.0, 1.0) + 1.0) * (0.5 * MAX_RPM) for a in action]

    def after(slope: Sequence[Tensor], time: float) -> list[Tensor]:
        return [x + time * k for x, k in zip(state, slope)]

    k1 = derivative(state, command, constants)
    k2 = derivative(after(k1, 0.5 * dt), command, constants)
    k3 = derivative(after(k2, 0.5 * dt), command, constants)
    k4 = derivative(after(k3, dt), command, constants)
    end = [x + (dt / 6.0) * (a + 2.0 * (b + c) + d) for x, a, b, c, d in zip(state, k1, k2, k3, k4)]
    qw, qx, qy, qz = end[ATTITUDE]
    size = (qw * qw + qx * qx + qy * qy + qz * qz).rsqrt()
    end[ATTITUDE] = [q * size for q in (qw, qx, qy, qz)]
    return end


def advance(state: Tensor, action: Tensor, constants: Tensor, dt: float = DT) -> Tensor:
    """One step of `dt` seconds: state [17, N], action [4, N] in [-1, 1], constants [9, N] -> state [17, N]."""
    return torch.stack(ahead(state.unbind(0), action.unbind(0), constants.unbind(0), dt))


def rotation(attitude: Sequence[Tensor]) -> list[Tensor]:
    """The nine entries of the rotation matrix of a unit quaternion (w, x, y, z), row after row."""
    w, x, y, z = attitude
    return [
        1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y),
        2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x),
        2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y),
    ]  # fmt: skip


# --- the task ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """Prices of the squared errors: position (1/m^2), attitude, velocity (s^2/m^2), action."""

    position: float = 5.0
    attitude: float = 5.0
    velocity: float = 0.01
    action: float = 0.01

    @staticmethod
    def at(stage: int) -> Weights:
        """Those of stage 0, 1, 2 ... of the curriculum: dearer each time, up to a bound."""
        return Weights(min(5.0 * 1.2**stage, 40.0), 5.0, min(0.01 * 1.4**stage, 1.0), min(0.01 * 1.4**stage, 1.0))


def reward(
    p: Sequence[Tensor], turned: Tensor, v: Sequence[Tensor], action: Sequence[Tensor], over: Tensor, weights: Weights
) -> Tensor:
    """r = 2 - (c_p |p|^2 + c_q (1 - q_w^2) + c_v |v|^2 + c_a |a - hover|^2) / 2 after a step, 0 where it ended.

    turned is 1 - q_w^2, the same for q and -q; over [N] bool. Rows [N]: three of p and v, four of action.
    """
    w = weights
    cost = w.position * squared(p) + w.attitude * turned + w.velocity * squared(v)
    cost = cost + w.action * squared([a - HOVER for a in action])
    return torch.where(over, 0.0, 2.0 - 0.5 * cost)


def squared(rows: Sequence[Tensor]) -> Tensor:
    """Sum of squares, in a fixed order."""
    total = rows[0] * rows[0]
    for row in rows[1:]:
        total = total + row * row
    return total


def outcome(state: Sequence[Tensor], action: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """What arriving in a state is worth at stage 0, and whether it ends the episode: [N], [N] bool."""
    x, y, z = state[POSITION]
    over = ~((x.abs() <= BOX) & (y.abs() <= BOX) & (z.abs() <= BOX))  # what is not a number ends too
    return reward((x, y, z), 1.0 - state[3] * state[3], state[VELOCITY], action, over, Weights()), over


def simulate(state: Tensor, action: Tensor, constants: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A step of the task: (state, reward at stage 0 [N], terminated [N])."""
    told = action.unbind(0)
    rows = ahead(state.unbind(0), told, constants.unbind(0), DT)
    return torch.stack(rows), *outcome(rows, told)


def kinematics(state: Tensor) -> Tensor:
    """Position, rotation matrix, velocity, angular velocity without noise: state [17, N] -> [18, N]."""
    turn = torch.stack(rotation(state[ATTITUDE].unbind(0)))
    return torch.cat((state[POSITION], turn, state[VELOCITY], state[SPIN]))


def observe(state: Tensor, constants: Tensor, key: Tensor, clock: Tensor, ranges: Ranges) -> tuple[Tensor, Tensor]:
    """What an actor sees of a state [N, 18], with noise, and what only a critic may see [N, 31]."""
    seen = kinematics(state)
    noise = draws.normal(key, clock + 2, 18) * torch.tensor(NOISE, device=key.device)[:, None]
    scale = torch.tensor([ranges.mass, ranges.thrust, ranges.lag], device=key.device).clamp(min=1e-9)
    hidden = torch.cat(
        (
            seen,
            constants[FORCE] / max(ranges.force, 1e-9),
            constants[TORQUE] / max(ranges.torque, 1e-9),
            spoken(state),
            (constants[:3] - 1.0) / scale[:, None],
        )
    )
    return (seen + noise).T, hidden.T


def spoken(state: Tensor) -> Tensor:
    """The actions under which the rotors would go on turning as they do: [17, N] -> [4, N]."""
    return state[RPM] * (2.0 / MAX_RPM) - 1.0


def begin(key: Tensor, ranges: Ranges) -> tuple[Tensor, Tensor]:
    """First state [17, N] and constants [9, N] of the episodes with these keys [N]."""
    u = draws.uniform(key, 0, 20)
    wide = 2.0 * u - 1.0  # in [-1, 1)
    away = (u[19] >= ranges.guidance).to(u.dtype)
    # attitudes uniform among those of at most `angle`: the angle's distribution is t - sin t, inverted by Newton
    part = u[0] * (ranges.angle - math.sin(ranges.angle))
    angle = (6.0 * part).pow(1 / 3)
    for _ in range(4):
        angle = angle - (angle - angle.sin() - part) / (1.0 - angle.cos()).clamp(min=1e-6)
    half = 0.5 * angle.clamp(0.0, math.pi) * away
    up, around = wide[1], (2.0 * math.pi) * u[2]
    flat = (1.0 - up * up).clamp(min=0.0).sqrt()
    axis = torch.stack((flat * around.cos(), flat * around.sin(), up))
    level = 1.0 if ranges.guidance < 1 else 1.0 + HOVER
    rpm = (0.5 * MAX_RPM) * (level + ranges.rotors * wide[12:16])
    state = torch.cat(
        (
            ranges.position * wide[3:6] * away,
            half.cos()[None],
            half.sin() * axis,
            ranges.velocity * wide[6:9],
            ranges.spin * wide[9:12],
            rpm,
        )
    )
    pushed = draws.normal(key, 1, 6)
    factors = [1.0 + ranges.mass * wide[16], 1.0 + ranges.thrust * wide[17], 1.0 + ranges.lag * wide[18]]
    constants = torch.cat((torch.stack(factors), ranges.force * pushed[:3], ranges.torque * pushed[3:]))
    return state, constants


def episode(
    state: Tensor, constants: Tensor, key: Tensor, clock: Tensor, fresh: tuple[Tensor, Tensor], action: Tensor
) -> tuple[Tensor, ...]:
    """A step of the task after which those that ended stand at their fresh start: (state, constants, key, clock,
    reward [N], terminated [N], truncated [N])."""
    told, known = action.unbind(0), constants.unbind(0)
    rows = ahead(state.unbind(0), told, known, DT)
    found, terminated = outcome(rows, told)
    truncated = (clock >= LIMIT - 1) & ~terminated
    ended = terminated | truncated
    return (
        torch.stack([torch.where(ended, a, b) for a, b in zip(fresh[0].unbind(0), rows)]),
        torch.stack([torch.where(ended, a, b) for a, b in zip(fresh[1].unbind(0), known)]),
        torch.where(ended, draws.following(key), key),
        torch.where(ended, 0, clock + 1),
        found,
        terminated,
        truncated,
    )


def shortest(ranges: Ranges) -> int:
    """Fewer steps than any episode can last: even at full thrust from the worst start, the box is further."""
    strongest = 4 * THRUST * (1 + ranges.thrust) * MAX_RPM**2 + 8 * ranges.force
    push = strongest / (MASS * (1 - ranges.mass)) + GRAVITY
    gap = max(BOX - ranges.position, 0.0)
    time = (math.sqrt(ranges.velocity**2 + 2 * push * gap) - ranges.velocity) / push
    return max(1, int(time / DT) - 1)


class Quadrotors:
    """N quadrotors that fly, end and start anew by themselves.

    `step` takes actions [4, N] in [-1, 1] and returns (reward [N], terminated [N], truncated [N]); with `restart`,
    those that ended stand at the start of their next episode when it returns. `compile` makes one loop of a step
    (it takes up to a minute the first time; then tens of millions of steps a second on one core); without it every
    operation is a call of its own.
    """

    def __init__(
        self,
        n: int,
        seeds: Sequence[int] | None = None,
        *,
        ranges: Ranges | None = None,
        device: str = "cpu",
        compile: bool = False,
    ) -> None:
        self.n, self.ranges, self.device = n, ranges or Ranges(), device
        self._simulate: Callable[..., tuple[Tensor, ...]] = simulate
        self._episode: Callable[..., tuple[Tensor, ...]] = episode
        self._begin: Callable[..., tuple[Tensor, Tensor]] = begin
        if compile:
            self._begin = torch.compile(begin, fullgraph=True, dynamic=False)
            self._simulate = torch.compile(simulate, fullgraph=True, dynamic=False)
            self._episode = torch.compile(episode, fullgraph=True, dynamic=False)
        self._patience, self._since = shortest(self.ranges), 0
        self.reset(range(n) if seeds is None else seeds)

    def reset(self, seeds: Sequence[int]) -> None:
        """New episodes everywhere, each a function of its seed alone."""
        self.key = draws.mix(torch.tensor([int(s) for s in seeds], device=self.device))
        self.clock = torch.zeros(self.n, dtype=torch.int64, device=self.device)  # steps flown in this episode
        self.state, self.constants = begin(self.key, self.ranges)
        self._fresh: tuple[Tensor, Tensor] | None = None

    def restart(self, which: Tensor) -> None:
        """New episodes for the quadrotors at these places [K]."""
        self.key[which] = draws.following(self.key[which])
        self.clock[which] = 0
        self.state[:, which], self.constants[:, which] = begin(self.key[which], self.ranges)
        self._fresh = None

    @torch.no_grad()
    def step(self, action: Tensor, restart: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        if not restart:
            self.state, found, terminated = self._simulate(self.state, action, self.constants)
            self.clock += 1
            return found, terminated, (self.clock >= LIMIT) & ~terminated
        if self._fresh is None or self._since == self._patience:
            # starts are made ahead: nobody ends twice in so few steps, so all can take up the one that is there
            self._fresh, self._since = self._begin(draws.following(self.key), self.ranges), 0
        self._since += 1
        self.state, self.constants, self.key, self.clock, found, terminated, truncated = self._episode(
            self.state, self.constants, self.key, self.clock, self._fresh, action
        )
        return found, terminated, truncated

    def kinematics(self) -> Tensor:
        """Position, rotation matrix, velocity, angular velocity without noise: [18, N]."""
        return kinematics(self.state)

    def observe(self) -> tuple[Tensor, Tensor]:
        """What an actor sees of the state [N, 18], with noise, and what only a critic may see [N, 31]."""
        return observe(self.state, self.constants, self.key, self.clock, self.ranges)


def reward_at(stage: int) -> Callable[[Transitions], Tensor]:
    """How the reward [B] of a stage of the curriculum follows from a transition; stage 0 is what `step` returns."""
    weights = Weights.at(stage)

    def rule(batch: Transitions) -> Tensor:
        after = batch.next_obs[:, -PRIVILEGED:].T.unbind(0)
        turned = 0.25 * (3.0 - after[3] - after[7] - after[11])  # the trace of R is 4 q_w^2 - 1
        return reward(after[:3], turned, after[12:15], batch.action.T.unbind(0), batch.terminated, weights)

    return rule


class HoverVector(VectorEnv):
    """N times `Hover`, stepped as one; every one of them does what it would do alone with the same seed."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}
    reward_at = staticmethod(reward_at)

    def __init__(self, num_envs: int, history: int = 32, ranges: Ranges | None = None) -> None:
        box = gym.spaces.Box
        self.num_envs, self.history = num_envs, history
        self.single_action_space = box(-1.0, 1.0, (4,), np.float32)
        parts = {"observation": 18, "privileged": PRIVILEGED} | ({"history": 4 * history} if history else {})
        self.single_observation_space = gym.spaces.Dict(
            {name: box(-np.inf, np.inf, (width,), np.float32) for name, width in sorted(parts.items())}
        )
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self.fleet = Quadrotors(num_envs, ranges=ranges)
        self.past = torch.zeros(num_envs, 4 * history)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        """seed: one number or N. options["reset_mask"] [N] bool: begin anew only there."""
        fleet = self.fleet
        which = (options or {}).get("reset_mask")
        if which is not None:
            at = torch.from_numpy(np.flatnonzero(which))
            fleet.restart(at)
        else:
            at = torch.arange(self.num_envs)
            if seed is not None:
                fleet.reset([seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed)
            else:
                fleet.restart(at)
        # as if the rotors had been told all along what they do
        self.past[at] = spoken(fleet.state[:, at]).T.repeat(1, self.history)
        return self._see(), {}

    def step(self, actions: Any) -> tuple[dict[str, Any], Any, Any, Any, dict]:
        action = torch.as_tensor(np.asarray(actions, np.float32))
        found, terminated, truncated = self.fleet.step(action.T, restart=False)
        if self.history:
            self.past = torch.cat((self.past[:, 4:], action), 1)
        return self._see(), found.numpy(), terminated.numpy(), truncated.numpy(), {}

    def flow(self, n: int, compile: bool = False) -> HoverFlow:
        """N of them whose steps let gradients through; see `envs.flow`."""
        return HoverFlow(n, self.history, self.fleet.ranges, compile)

    def _see(self) -> dict[str, Any]:
        seen, hidden = self.fleet.observe()
        obs = {"history": self.past.numpy().copy()} if self.history else {}  # `past` is written to in place
        return {**obs, "observation": seen.numpy(), "privileged": hidden.numpy()}

    def close(self, **kwargs: Any) -> None:
        pass


Starts = tuple[Tensor, Tensor, Tensor]  # state [17, N], constants [9, N] and canonical row [N, D]


def leg(
    state: Tensor,
    constants: Tensor,
    key: Tensor,
    clock: Tensor,
    past: Tensor,
    starts: Starts,
    action: Tensor,
    ranges: Ranges,
) -> tuple[Tensor, ...]:
    """A step of the task for actions [N, 4], after which those that ended stand at their start: state, constants, key,
    clock, row to act on next [N, D], row of the successor [N, D], reward, terminated, truncated [N].

    past: what was done before, [N, 4 history].
    """
    action = action.clamp(-1.0, 1.0)
    after, found, terminated = simulate(state, action.T, constants)
    truncated = (clock >= LIMIT - 1) & ~terminated
    ended, clock = terminated | truncated, clock + 1
    done = (past[:, 4:], action) if past.shape[1] else (past,)
    successor = torch.cat((*done, *observe(after, constants, key, clock, ranges)), 1)
    return (
        torch.where(ended, starts[0], after),
        torch.where(ended, starts[1], constants),
        torch.where(ended, draws.following(key), key),
        torch.where(ended, 0, clock),
        torch.where(ended[:, None], starts[2], successor),
        successor,
        found,
        terminated,
        truncated,
    )


class HoverFlow:
    """N times `Hover` whose steps let gradients through; see `envs.flow`. `compile` makes one loop of a step, and one
    of its gradient (up to a minute the first time)."""

    def __init__(self, n: int, history: int, ranges: Ranges, compile: bool = False) -> None:
        self.n, self.ranges, self.past = n, ranges, 4 * history
        self._leg: Callable[..., tuple[Tensor, ...]] = leg
        if compile:
            self._leg = torch.compile(leg, fullgraph=True, dynamic=False)
        self._patience = shortest(ranges)

    def _starts(self, key: Tensor) -> Starts:
        """The starts of the episodes with these keys [N], at rest as if rotors had been told all along what they do."""
        state, constants = begin(key, self.ranges)
        told = spoken(state).T.repeat(1, self.past // 4)
        seen = observe(state, constants, key, torch.zeros_like(key), self.ranges)
        return state, constants, torch.cat((told, *seen), 1)

    def reset(self, seeds: Sequence[int]) -> Tensor:
        self.key = draws.mix(torch.tensor([int(s) for s in seeds]))
        self.clock = torch.zeros(self.n, dtype=torch.int64)
        self.state, self.constants, self.row = self._starts(self.key)
        self._since, self._used = self._patience, True
        return self.row

    def step(self, action: Tensor) -> Moved:
        if self._since == self._patience:  # nobody ends twice in so few steps
            if self._used:
                with torch.no_grad():
                    self._next = self._starts(draws.following(self.key))
            self._since, self._used = 0, False
        self._since += 1
        self.state, self.constants, self.key, self.clock, self.row, after, *told = self._leg(
            self.state, self.constants, self.key, self.clock, self.row[:, : self.past], self._next, action, self.ranges
        )
        moved = Moved(self.row, after, *told)
        self._used = self._used or bool((moved.terminated | moved.truncated).any())
        return moved

    def cut(self) -> Tensor:
        # leaves that want a gradient: every step then has the same graph
        self.state, self.row = (x.detach().requires_grad_() for x in (self.state, self.row))
        return self.row


class Hover(gym.Env):
    """One quadrotor that is to hover at the origin; see the head of this file. `history`: past actions it sees."""

    metadata: dict[str, Any] = {"render_modes": []}
    batched: ClassVar[type[VectorEnv]] = HoverVector  # many of them in one step
    reward_at = staticmethod(reward_at)
    dt, reach = DT, BOX

    def __init__(self, history: int = 32, ranges: Ranges | None = None) -> None:
        self.alone = HoverVector(1, history, ranges)
        self.observation_space, self.action_space = self.alone.single_observation_space, self.alone.single_action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict]:
        super().reset(seed=seed)
        obs, _ = self.alone.reset(seed=seed)
        return {name: value[0].copy() for name, value in obs.items()}, {}

    def flow(self, n: int, compile: bool = False) -> HoverFlow:
        """N of them whose steps let gradients through; see `envs.flow`."""
        return self.alone.flow(n, compile)

    def place(self) -> np.ndarray:
        """Where it is [3], in m; the goal is the origin."""
        return self.alone.fleet.state[POSITION, 0].numpy().copy()

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict]:
        obs, found, terminated, truncated, _ = self.alone.step(np.asarray(action)[None])
        row = {name: value[0].copy() for name, value in obs.items()}
        return row, float(found[0]), bool(terminated[0]), bool(truncated[0]), {}


def thousand(act: Callable[[np.ndarray], np.ndarray], seeds: Sequence[int], **options: Any) -> dict[str, np.ndarray]:
    """Fly an episode from each seed, all at once: what became of them.

    act: canonical rows [N, D] (the parts in the order of their names) -> actions [N, 4] in [-1, 1].
    Returns `survived` [N] bool (never left the box), `error` [N] (mean distance in m from the goal over the last two
    seconds; infinite where it did not survive) and `path` [steps + 1, N, 3].
    """
    env = HoverVector(len(seeds), **options)
    obs, _ = env.reset(seed=[int(s) for s in seeds])
    alive = np.ones(len(seeds), bool)
    path = [env.fleet.state[POSITION].T.numpy().copy()]
    for _ in range(LIMIT):
        rows = np.concatenate([obs[name] for name in sorted(obs)], 1)
        obs, _, terminated, _, _ = env.step(act(rows))
        alive &= ~terminated
        path.append(env.fleet.state[POSITION].T.numpy().copy())
    track = np.stack(path)
    error = np.linalg.norm(track[-round(2 / DT) :], axis=-1).mean(0)
    return {"survived": alive, "error": np.where(alive, error, np.inf), "path": track}


gym.register("Hover-v0", entry_point="actrix.envs.quadrotor:Hover")
