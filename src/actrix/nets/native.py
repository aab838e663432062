"""The C kernels of `decoding.c`, compiled once per machine where there is a C compiler; else None.

They are an option: every place that uses them has a PyTorch path beside it that computes the same up to
rounding. `ACTRIX_NATIVE=0` switches them off. The compiled file is kept in the user's cache folder
(`$XDG_CACHE_HOME/actrix`), under a name that depends on source, flags, compiler and processor.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from torch import Tensor

_SOURCE = Path(__file__).with_name("decoding.c")
_FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fassociative-math",  # vectorised sums; NaN and infinity keep their meaning
    "-fno-signed-zeros",
    "-shared",
    "-fPIC",
)
_SECONDS = 60  # for compiling; it takes about one


class Kernels:
    """Typed access to the compiled functions. Tensors must be dense fp32 on the CPU; the caller sees to it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, size = ctypes.c_void_p, ctypes.c_int64
        self._add_norm, self._swiglu, self._attend = library.add_norm, library.swiglu, library.attend
        self._add_norm.argtypes = [pointer] * 4 + [size] * 2 + [ctypes.c_float]
        self._swiglu.argtypes = [pointer] * 2 + [size] * 2
        self._attend.argtypes = [pointer] * 2 + [size] + [pointer] * 5 + [size] * 6
        for function in (self._add_norm, self._swiglu, self._attend):
            function.restype = None

    def add_norm(self, x: Tensor, y: Tensor | None, gain: Tensor, out: Tensor, eps: float) -> Tensor:
        """x += y in place, and out = RMS norm of x times gain. Arrays [rows, width]."""
        other = None if y is None else y.data_ptr()
        self._add_norm(x.data_ptr(), other, gain.data_ptr(), out.data_ptr(), *x.shape, eps)
        return out

    def swiglu(self, up: Tensor, out: Tensor) -> Tensor:
        """up [rows, gate then value] -> out [rows, width] = silu(gate) * value."""
        self._swiglu(up.data_ptr(), out.data_ptr(), *out.shape)
        return out

    def attend(
        self,
        qkv: Tensor,
        turn: int,
        turn_stride: int,
        key: Tensor,
        value: Tensor,
        padding: Tensor,
        score: Tensor,
        out: Tensor,
        heads: int,
        slot: int,
    ) -> Tensor:
        """One step of attention; shapes as in decoding.c. `turn` is an address."""
        rows, keys, dim, capacity = key.shape
        arrays = (key.data_ptr(), value.data_ptr(), padding.data_ptr(), score.data_ptr(), out.data_ptr())
        self._attend(qkv.data_ptr(), turn, turn_stride, *arrays, rows, heads, keys, dim, capacity, slot)
        return out


@cache
def kernels() -> Kernels | None:
    """The kernels, or None: switched off, no compiler, or it failed."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if os.environ.get("ACTRIX_NATIVE", "1") == "0" or compiler is None or os.name != "posix":
        return None
    try:
        return Kernels(ctypes.CDLL(str(_compiled(compiler))))
    except (OSError, AttributeError, subprocess.SubprocessError):
        return None


def _compiled(compiler: str) -> Path:
    """The path of the library, compiled now unless a former run has."""
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=_SECONDS, check=True).stdout
    parts = (_SOURCE.read_bytes(), " ".join(_FLAGS).encode(), version, _processor().encode())
    name = hashlib.blake2b(b"\0".join(parts), digest_size=12).hexdigest()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "actrix"
    target = folder / f"decoding-{name}.so"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:  # written aside, then renamed
            made = Path(work) / "decoding.so"
            command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(made), "-lm"]
            subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True)
            made.replace(target)
    return target


def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    except OSError:
        return platform.processor() + platform.machine()
