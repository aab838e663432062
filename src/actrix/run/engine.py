"""How updates are executed: eager or compiled, in which precision, on how many threads.

What is chosen is written to config.json, so that a resumed run computes the same bits. Compiled kernels are cached on
disk by torch, and measured thread counts by us, so that a second run on the same machine chooses the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from actrix.errors import ActrixError
from actrix.nets.linear import set_precision
from actrix.run.learner import Learner

# Compiling an update takes about 20 s the first time (a few seconds from the cache) and saves a millisecond or two
# of each: shorter runs than this are over sooner without.
WORTH_COMPILING = 10_000  # updates


@dataclass(frozen=True)
class EngineOptions:
    """Chosen once per run and written to config.json, so that a resumed run computes the same bits."""

    compile: bool = False
    precision: str = "fp32"  # fp32, medium (fp32 products rounded to bf16) or bf16 (autocast)
    threads: int = 1
    device: str = "cpu"


def choose(
    compile: str, precision: str, threads: int, device: str, updates: float, learner: Learner, rows: int
) -> EngineOptions:
    """Resolve what was left open: compile where the run is long enough for it, threads by measuring.

    updates: how many the run will make. rows: rows of a batch, for the measurement.
    """
    able = compiler() is not None
    if compile == "yes" and device == "cpu" and not able:
        raise ActrixError("--compile yes needs a C++ compiler, and there is none", "install g++, or use --compile no")
    wanted = compile == "yes" or (compile == "auto" and updates >= WORTH_COMPILING and able)
    return EngineOptions(wanted, precision, threads or measured_threads(learner, rows), device)


def compiler() -> str | None:
    """The C++ compiler that generated kernels go through on a CPU, or None."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")


class Engine:
    """Runs `learner.update` as the options say. One engine per learner."""

    def __init__(self, learner: Learner, options: EngineOptions) -> None:
        self.learner, self.options = learner, options
        torch.set_num_threads(options.threads)
        _keep_memory()
        set_precision("medium" if options.precision == "medium" else "highest")
        learner.autocast = options.precision == "bf16"
        self.update: Callable[[Any, Hashable], dict[str, Tensor]] = learner.update
        if options.compile:
            self.update = compiled(learner.update)

    @property
    def explanation(self) -> str:
        """One line for the person: what was chosen."""
        o = self.options
        how = "compiled (the first takes up to half a minute)" if o.compile else "eager"
        return f"updates: {how}, {o.precision}, {o.threads} thread{'s' * (o.threads > 1)}, {o.device}"


@cache
def _keep_memory() -> None:
    """Has glibc keep what is freed, up to 1 GB, for the next update, instead of giving back every block of some MB and
    getting it again page by page. Elsewhere: nothing."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(-3, 32 << 20)  # M_MMAP_THRESHOLD, the highest there is
        set_option(-1, 1 << 30)  # M_TRIM_THRESHOLD


def compiled(function: Callable[..., Any], backend: str = "inductor") -> Callable[..., Any]:
    """The function as one graph: losses, gradients, optimiser and targets; any break is an error.

    Random numbers are drawn by the same kernels as in eager mode, from the same stream. What is asked before every call
    is whether arguments and settings are those of a graph at hand, not whether the learner is still built as it was:
    it is, and with so many parts the asking would take as long as a layer.
    """
    import torch._dynamo.config
    import torch._inductor.config

    torch._dynamo.config.trace_autograd_ops = True  # gradients are taken inside the graph
    torch._inductor.config.unroll_reductions_threshold = 4  # so that sums over actions are vector code
    torch._inductor.config.fallback_random = True
    torch._inductor.config.cpp_wrapper = backend == "inductor" and not torch.cuda.is_available()

    def update(*arguments: Any) -> Any:
        return function(*arguments)

    # code of its own, as graphs are kept by code: no other learner is asked about, or served, this one's
    update.__code__ = update.__code__.replace(co_name=f"update_{next(_own)}")
    return torch.compile(update, fullgraph=True, dynamic=False, backend=backend, options={"guard_filter_fn": _asked})


_own = itertools.count()


def _asked(guards: Sequence[Any]) -> list[bool]:
    """Which guards of a graph to keep: those of arguments, of numbers and names in modules, and of torch's state."""
    return [
        guard.name.startswith("arguments") or guard.name == ""
        or (guard.is_global and guard.guard_type in ("CONSTANT_MATCH", "EQUALS_MATCH"))
        for guard in guards
    ]  # fmt: skip


def measured_threads(learner: nn.Module, rows: int) -> int:
    """Threads for products of the learner's size: more than one only where it is measured to be faster.

    Measured once per machine and shape and remembered, so that the same run chooses the same again; what was measured
    beside other work is not. OMP_NUM_THREADS is the most that is considered.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    cores = min(cores, int(allowed)) if allowed.isdigit() and int(allowed) else cores
    wide = [p.shape[-2:] for p in learner.parameters() if p.ndim >= 2]
    if cores == 1 or not wide:
        return 1
    inputs, outputs = max(wide, key=lambda s: s[0] * s[1])
    machine = f"{platform.processor() or platform.machine()}-{cores}-torch{torch.__version__}"
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "actrix" / "threads"
    # a file for each: runs that begin at the same time do not undo what the other has found
    path = folder / re.sub(r"[^\w.+-]", "_", f"{machine}-{rows}x{inputs}x{outputs}")
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    if busy():
        return fastest(rows, int(inputs), int(outputs), cores)
    found = fastest(rows, int(inputs), int(outputs), cores)
    with contextlib.suppress(OSError):  # a home that cannot be written costs only a new measurement
        folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_text(str(found))
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)  # the first to finish decides
        aside.unlink()
        found = int(path.read_text())
    return found


def busy() -> bool:
    """Whether something else runs on this machine all the time; False where that cannot be told."""
    try:
        for _ in range(10):  # what runs for a moment only, such as threads of ours on their way to sleep, is nothing
            if int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]) <= 1:  # this process is one
                return False
            time.sleep(0.005)
    except (OSError, IndexError, ValueError):
        return False
    return True


def fastest(rows: int, inputs: int, outputs: int, cores: int) -> int:
    """1 or `cores` threads, whichever makes a layer's forward and backward faster (by 15 % at least)."""
    x, w = torch.randn(rows, inputs), torch.randn(inputs, outputs, requires_grad=True)
    before = torch.get_num_threads()
    times = {}
    try:
        for threads in (1, cores):
            torch.set_num_threads(threads)
            spans = []
            for _ in range(30):
                start = time.perf_counter()
                torch.autograd.grad((x @ w).relu().sum(), w)
                spans.append(time.perf_counter() - start)
            times[threads] = sorted(spans)[len(spans) // 2]
    finally:
        torch.set_num_threads(before)
    return cores if times[cores] < 0.85 * times[1] else 1
