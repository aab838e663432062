"""A run's policy as one ONNX file: the whole map from an observation to the environment's own action.

A control policy becomes `obs [N, D] -> action`, N free. What the file computes is what `Policy.act` computes:
observation normaliser, network, mean or most likely action, scaling to the action's bounds, offsets, clipping.

- `obs` is a canonical row without what is privileged: float32, or uint8 where all of the observation is images. A
  plain Box is its numbers in row-major order. Dict and Tuple observations are laid out leaf after leaf in the order
  of the space (`spec.Part` says which columns, and the file's metadata repeats it under "observation"); a Discrete or
  MultiDiscrete leaf is one-hot, a MultiBinary leaf its bits, an image its pixels 0..255.
- `mask [N, C]` bool (True = legal) is a second input where the run's environment gives action masks. A row that
  forbids everything forbids nothing.
- `action` is [N, ...] of the action space's own shape and type: Box in its units, Discrete [N] with its start,
  MultiDiscrete [N, K], MultiBinary [N, K]. Of a policy that decides on K actions at once it is the whole chunk,
  [N, K, ...]: all of them are to be played, one per environment step, before the file is asked again. The metadata
  say so under "chunk".

Any policy can be written whose `act(obs, "mean")` is one graph, gradients of a critic included: guided flows, proposals
that are ranked and moved. What begins with noise (a flow, a diffusion, several proposals) has the same noise always in
mode "mean", and so in the file; evaluation draws it anew.

A language policy becomes `tokens [N, L]` int64 -> `logits [N, L, V]` of the next token; rows are padded at their
end, N and L are free.

Nothing is written before onnxruntime has agreed with the policy on random and extreme inputs. A difference counts
unless the policy's own last bits decide: its weights are disturbed by a millionth, and what that changes is allowed.
"""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._functorch.compile_utils import fx_graph_cse
from torch.fx.experimental.proxy_tensor import make_fx

import actrix
from actrix.envs.spaces import ActionMap, ObsMap
from actrix.errors import ActrixError, brief
from actrix.rng import numpy_stream, torch_stream
from actrix.run import regimes
from actrix.run.learner import Learner
from actrix.run.policy import Policy
from actrix.spec import Choices, Part

TOLERANCE = 1e-5  # of an action's range (its size, where that is larger or there is no range)
DISTURBANCE, DISTURBED = 1e-6, 4  # relative change of every weight, and how many times
ALLOWED = 0.01  # at most this part of the inputs may need the allowance for undecided last bits
ALLOWED_RANKED = 0.05  # and of a policy that ranks its own proposals, which nothing decides where obs is a million
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Exportable:
    """What there is to export: the map, and how to know that it is right."""

    module: nn.Module
    inputs: dict[str, Tensor]  # examples by name, in the order of `module.forward`
    dynamic: tuple[dict[int, Any], ...]  # free dimensions of each input
    output: str
    trials: Arrays  # inputs on which the file must agree with the policy
    policy: Callable[[Learner, Arrays], np.ndarray]  # what is true: the policy itself, for any state of its weights
    scale: np.ndarray | None  # range of each action, broadcast over the output; None for choices
    described: dict[str, Any]  # goes into the file's metadata
    allowed: float = ALLOWED  # part of the inputs that may be undecided in the policy's own last bits


class ControlMap(nn.Module):
    """Canonical observations (and masks) to environment actions; the tensor form of `ActionMap.to_env`."""

    start: Tensor
    low: Tensor
    high: Tensor
    centre: Tensor
    reach: Tensor

    def __init__(self, learner: Learner, action_map: ActionMap, privileged: Sequence[tuple[int, int]] = ()) -> None:
        """privileged: columns (start, stop) of the learner's rows that `forward` is not given."""
        super().__init__()
        self.learner, self.privileged = learner, privileged
        space: Any = action_map.space
        self.spec = spec = action_map.spec
        self.dtype: torch.dtype = torch.int64
        if isinstance(spec, Choices):
            self.register_buffer("start", torch.tensor(spec.start))
            if spec.space != "discrete":
                self.dtype = torch.from_numpy(np.empty(0, space.dtype)).dtype
            return
        self.dtype = torch.from_numpy(np.empty(0, space.dtype)).dtype
        low = torch.from_numpy(space.low.astype(np.float64).reshape(-1))
        high = torch.from_numpy(space.high.astype(np.float64).reshape(-1))
        self.bounded = spec.low is not None
        # in float64, as the policy does it, so that both round once
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.register_buffer("centre", (high + low) / 2 if self.bounded else torch.zeros_like(low))
        self.register_buffer("reach", (high - low) / 2 if self.bounded else torch.ones_like(low))

    def forward(self, obs: Tensor, mask: Tensor | None = None) -> Tensor:
        plan = self.learner.plan(self.filled(obs), "mean", mask)
        if self.learner.chunk == 1:
            return self.to_env(plan[:, 0])
        return self.to_env(plan.flatten(0, 1)).unflatten(0, (-1, self.learner.chunk))

    def to_env(self, row: Tensor) -> Tensor:
        """Canonical actions [N, A] as the environment takes them."""
        if isinstance(self.spec, Choices):
            chosen = row + self.start
            return chosen[:, 0] if self.spec.space == "discrete" else chosen.to(self.dtype)
        value = row.double()
        if self.bounded:
            value = self.centre + self.reach * value.clamp(-1.0, 1.0)
        value = torch.minimum(torch.maximum(value, self.low), self.high)
        if not self.dtype.is_floating_point:
            value = value.round()
        return value.to(self.dtype).reshape(-1, *self.spec.shape)

    def filled(self, obs: Tensor) -> Tensor:
        """Rows as the learner takes them: zeros where it saw what is privileged."""
        for start, stop in self.privileged:
            nothing = obs.new_zeros(()).expand(obs.shape[0], stop - start)
            obs = torch.cat((obs[:, :start], nothing, obs[:, start:]), 1)
        return obs


class LogitsMap(nn.Module):
    """Tokens to the actor's logits."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.actor = learner.actor

    def forward(self, tokens: Tensor) -> Tensor:
        return self.actor.logits(tokens)  # type: ignore[operator]


def exportable(learner: Learner, regime: regimes.Regime) -> Exportable:
    """How to export a learner of a regime.

    A learner that is neither of the two kinds brings its own method `exportable(regime) -> Exportable`.
    """
    own = getattr(learner, "exportable", None)
    if own is not None:
        return own(regime)
    return control(learner, regime) if isinstance(regime, regimes.ControlRegime) else language(learner)


def control(learner: Learner, regime: regimes.ControlRegime) -> Exportable:
    """A control policy: see the head of this file."""
    worlds, maps = regime.worlds, regime.maps
    spec, space = maps.spec, maps.action_space
    masks = 0  # width of the environment's action masks
    if isinstance(spec.action, Choices) and worlds is not None:
        found = worlds.reset([0] * worlds.n)[1]
        masks = 0 if found is None else found.shape[1]
    privileged = [(p.start, p.stop) for p in spec.obs if p.privileged]
    seen = np.ones(spec.obs_size, bool)
    for start, stop in privileged:
        seen[start:stop] = False
    trials: Arrays = {"obs": np.ascontiguousarray(observations(maps.obs_map, maps.observation_space)[:, seen])}
    n = len(trials["obs"])
    inputs, dynamic = {"obs": torch.from_numpy(trials["obs"][:2])}, [{0: torch.export.Dim("N", min=1)}]
    if masks:
        trials["mask"] = numpy_stream(0, "export/masks").random((n, masks)) < 0.6
        trials["mask"][:2] = [[True], [False]]
        inputs["mask"], dynamic = torch.from_numpy(trials["mask"][:2]), dynamic * 2

    def act(changed: Learner, given: Arrays) -> np.ndarray:
        policy = Policy(changed, maps.observation_space, space)
        rows = np.zeros((len(given["obs"]), spec.obs_size), given["obs"].dtype)
        rows[:, seen] = given["obs"]
        plans = np.asarray(policy.plan_rows(rows, "mean", given.get("mask")))
        return plans if changed.chunk > 1 else plans[:, 0]

    described: dict[str, Any] = {
        "observation": {"dtype": spec.obs_dtype, "size": int(seen.sum()), "parts": deployed(spec.obs)},
        "action": {
            **spec.to_json()["action"],
            "kind": spec.action_kind,
            "dtype": str(np.dtype(space.dtype or "int64")),
        },
        "mask": f"bool [N, {masks}], True = legal" if masks else None,
        "chunk": chunk_of(learner.chunk) if learner.chunk > 1 else None,
    }
    scale = None
    if not isinstance(spec.action, Choices):
        scale = np.ones(spec.action.shape)
        if spec.action.low is not None and spec.action.high is not None:
            scale = np.maximum(np.subtract(spec.action.high, spec.action.low), 1e-30).reshape(spec.action.shape)
    module = ControlMap(learner, maps.action_map, privileged)
    allowed = ALLOWED_RANKED if learner.ranks else ALLOWED
    return Exportable(module, inputs, tuple(dynamic), "action", trials, act, scale, described, allowed)


def chunk_of(length: int) -> dict[str, Any]:
    """What a user of the file must know of a chunk."""
    use = f"play all {length}, one per environment step, then ask again; as evaluated"
    return {"length": length, "axis": 1, "use": use}


def deployed(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Where the parts of an observation stand in the rows that the file takes: those that are not privileged."""
    found, start = [], 0
    for part in parts:
        if not part.privileged:
            stop = start + part.stop - part.start
            found.append({**part.__dict__, "start": start, "stop": stop})
            start = stop
    return found


def language(learner: Learner) -> Exportable:
    """A language policy: the logits of its actor."""
    vocab, context = int(learner.actor.vocab), int(learner.actor.context)  # type: ignore[arg-type]
    length = min(context, 24)
    rng = numpy_stream(0, "export/tokens")
    rows = [np.zeros(length), np.full(length, vocab - 1), np.arange(length) % vocab]
    trials = np.concatenate([np.stack(rows), rng.integers(0, vocab, (29, length))]).astype(np.int64)

    def logits(changed: Learner, given: Arrays) -> np.ndarray:
        with torch.no_grad():
            return changed.actor.logits(torch.from_numpy(given["tokens"])).float().numpy()  # type: ignore[operator]

    free = {0: torch.export.Dim("N", min=1), 1: torch.export.Dim("L", min=1, max=context)}
    return Exportable(
        LogitsMap(learner), {"tokens": torch.from_numpy(trials[:2, :7].copy())}, (free,), "logits", {"tokens": trials},
        logits, np.ones(()), {"vocab": vocab, "context": context},
    )  # fmt: skip


def observations(obs_map: ObsMap, space: Any, random: int = 96) -> np.ndarray:
    """Rows [N, D] to check on: random ones of several sizes, the space's own samples and bounds, and extremes."""
    size, dtype = obs_map.size, obs_map.dtype
    rng = numpy_stream(0, "export/observations")
    if dtype == np.uint8:
        extreme = [np.zeros(size), np.full(size, 255.0), np.full(size, 1.0), np.arange(size) % 256]
        return np.concatenate([rng.integers(0, 256, (random // 4, size)), extreme]).astype(np.uint8)
    found = [rng.standard_normal((random // 3, size)) * scale for scale in (0.1, 1.0, 10.0)]
    extreme = [np.full(size, x) for x in (0.0, 1e6, -1e6, 1e-30, -1e-30, 1e-42, -1e-42, np.finfo(np.float32).tiny)]
    alternating = np.where(np.arange(size) % 2, 1.0, -1.0)
    found.append(np.stack([*extreme, 1e6 * alternating, alternating]))
    found.append(bounds(obs_map, space))
    return np.concatenate(found).astype(np.float32)


def bounds(obs_map: ObsMap, space: Any) -> np.ndarray:
    """The lowest and highest observation of a space, infinite bounds cut to a million, and samples of it: [N, D]."""
    from gymnasium import spaces

    def corner(space: Any, high: bool) -> Any:
        if isinstance(space, spaces.Dict):
            return {k: corner(s, high) for k, s in space.spaces.items()}
        if isinstance(space, spaces.Tuple):
            return tuple(corner(s, high) for s in space.spaces)
        if isinstance(space, spaces.Box):
            with np.errstate(over="ignore"):
                return np.clip(space.high if high else space.low, *limits(space.dtype)).astype(space.dtype)
        return space.sample()

    def limits(dtype: Any) -> tuple[float, float]:
        return (-1e6, 1e6) if np.dtype(dtype).kind == "f" else (0, 127 if np.dtype(dtype).itemsize == 1 else 10_000)

    space = copy.deepcopy(space)
    space.seed(0)
    drawn = [corner(space, False), corner(space, True), *(space.sample() for _ in range(30))]
    return np.stack([obs_map.row(obs) for obs in drawn])


# --- the file ---------------------------------------------------------------------------------------------------


def export(folder: Path | str, out: Path | str) -> dict[str, Any]:
    """Write the newest policy of a run as ONNX; returns file, bytes, checked (inputs) and difference (the largest).

    Raises ActrixError, and leaves no file, where the file would not do what the policy does.
    """
    require()
    from actrix.run.loaded import load_learner

    out = Path(out)
    learner, regime, config = load_learner(folder)
    try:
        learner = learner.cpu().eval()
        thing = exportable(learner, regime)
    finally:
        regime.close()
    about = {
        "system": config["system"],
        "task": config["env"] or config["task"],
        "versions": {"actrix": actrix.__version__, "torch": torch.__version__, "trained with": config["versions"]},
        **thing.described,
    }
    blob = convert(thing, about)
    checked, difference = check(blob, thing, learner)
    write(out, blob)
    return {"file": str(out), "bytes": len(blob), "checked": checked, "difference": difference}


def require() -> None:
    """ActrixError where the extra is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ActrixError(
            f"export needs the module {error.name!r}, which is not installed", "pip install 'actrix[deploy]'"
        ) from error


def convert(thing: Exportable, about: dict[str, Any]) -> bytes:
    """The module as the bytes of an ONNX file with `about` in its metadata_props (one JSON value per key)."""
    try:
        with quiet(), plain_products(), torch.no_grad():
            program = torch.onnx.export(
                traced(thing.module, tuple(thing.inputs.values()), thing.dynamic),
                dynamo=True,
                input_names=list(thing.inputs),
                output_names=[thing.output],
                verbose=False,
            )
    except Exception as error:
        cause = error.__cause__ or error  # the exporter wraps what went wrong in a page of advice
        raise ActrixError(
            f"this policy cannot be written as ONNX: {brief(cause)}",
            "its act(obs, 'mean') must be one graph of tensor operations, without branches on values",
        ) from error
    assert program is not None
    proto = program.model_proto
    proto.producer_name, proto.producer_version = "actrix", actrix.__version__
    del proto.metadata_props[:]
    for node in proto.graph.node:  # where in which file of this machine each came from
        del node.metadata_props[:]
        node.doc_string = ""
    for key, value in about.items():
        if value is not None:
            proto.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    return proto.SerializeToString()


def traced(
    module: nn.Module, examples: tuple[Tensor, ...], dynamic: tuple[dict[int, Any], ...] | None = None
) -> torch.export.ExportedProgram:
    """A module as one graph. Where it takes gradients (a policy that climbs a critic while it acts), everything that it
    computes is recorded first, the backward passes with it: torch.export sees forward ones only."""
    if differentiates(module, examples):
        taken = {size for example in examples for size in example.shape}
        rows = next(n for n in itertools.count(3) if n not in taken)  # equal sizes would be taken for the same one
        several = [e if dynamic is None else e[:1].repeat(rows, *[1] * (e.ndim - 1)) for e in examples]
        record = make_fx(lambda *given: module(*given), tracing_mode="symbolic", _allow_non_fake_inputs=True)
        graph = record(*several)
        graph.graph.eliminate_dead_code()
        module = torch.fx.GraphModule(graph, fx_graph_cse(graph.graph))  # what is the same at every step, once
    return torch.export.export(module, examples, dynamic_shapes=dynamic)


def differentiates(module: nn.Module, examples: tuple[Tensor, ...]) -> bool:
    """Whether a module takes gradients on the way to its result: in inference mode that is an error."""
    try:
        with torch.inference_mode():
            module(*examples)
    except RuntimeError:
        return True
    return False


def check(blob: bytes, thing: Exportable, learner: Learner) -> tuple[int, float]:
    """Compare a file with the policy on all trials, one by one and together: (inputs, largest difference).

    Raises ActrixError where they disagree beyond what the policy's own rounding leaves open.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
    total = len(next(iter(thing.trials.values())))

    def run(start: int, stop: int) -> np.ndarray:
        return session.run(None, {name: rows[start:stop] for name, rows in thing.trials.items()})[0]

    try:
        files = [run(0, total), np.concatenate([run(i, i + 1) for i in range(total)])]
    except Exception as error:  # onnxruntime has several, none of them a class of its own
        raise refused(f"onnxruntime does not run it on {total} rows, or on one: {brief(error)}") from error
    return compare(files, thing, learner)


def compare(files: list[np.ndarray], thing: Exportable, learner: Learner) -> tuple[int, float]:
    """Compare what a file gave on all trials with the policy: (inputs, largest difference); raises as `check`."""
    total = len(next(iter(thing.trials.values())))
    truth = thing.policy(learner, thing.trials)
    undecided = [thing.policy(disturbed(learner, i), thing.trials) for i in range(DISTURBED)]
    largest, allowed = 0.0, np.zeros(total, bool)
    for found in files:
        if found.shape != truth.shape or found.dtype != truth.dtype:
            raise refused(f"it gives {found.dtype} {found.shape}, the policy {truth.dtype} {truth.shape}")
        gap = np.abs(found.astype(np.float64) - truth.astype(np.float64))
        same = (found == truth) | (np.isnan(found) & np.isnan(truth) if found.dtype.kind == "f" else False)
        gap = np.where(same, 0.0, gap)
        if thing.scale is None:
            near, open_ = same, np.any([found == other for other in undecided], 0)
        else:
            unit = TOLERANCE * np.maximum(thing.scale, np.abs(truth))
            spread = np.max([np.abs(other.astype(np.float64) - truth) for other in undecided], 0)
            near, open_ = gap <= unit, gap <= unit + 4 * spread
        bad = ~(near | open_).reshape(total, -1).all(1)
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            what = {name: np.array2string(rows[i], threshold=6, precision=4) for name, rows in thing.trials.items()}
            raise refused(f"on {what} it gives {found[i].tolist()}, the policy {truth[i].tolist()}")
        allowed |= ~near.reshape(total, -1).all(1)
        largest = max(largest, float(np.where(near, gap, 0.0).max(initial=0.0)))
    if allowed.mean() > thing.allowed and allowed.sum() > 1:
        raise refused(f"{allowed.sum()} of {total} actions differ, more than rounding explains")
    return total, largest


def refused(why: str) -> ActrixError:
    return ActrixError(
        f"the file does not do what the policy does: {why}",
        "nothing was written; this is a fault of the exporter or of an operation in the actor, please report it",
    )


def disturbed(learner: Learner, number: int) -> Learner:
    """A copy whose weights differ by about a millionth of themselves."""
    changed = copy.deepcopy(learner)
    with torch_stream(number, "export/disturbance"), torch.no_grad():
        for p in changed.parameters():
            p.mul_(1 + DISTURBANCE * torch.randn_like(p))
    return changed


def write(out: Path, blob: bytes) -> None:
    """Write aside, then rename."""
    from actrix.run.folder import disk_errors, write_synced

    aside = out.with_name(f".{out.name}.writing")
    with disk_errors(str(out)):
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            write_synced(aside, blob)
            os.replace(aside, out)
        finally:
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def plain_products() -> Iterator[None]:
    """Products as plain operations: the fast ones choose by the number of rows, which is free in the file."""
    from actrix.nets.linear import set_fast_products

    allowed = set_fast_products(False)
    try:
        yield
    finally:
        set_fast_products(allowed)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporter talks: about versions, about every step. None of it is for the person."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
