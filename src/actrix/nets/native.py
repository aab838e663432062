"""The C kernels of `kernels.c`, compiled once per machine where there is a C compiler; else None.

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

import torch
from torch import Tensor

_SOURCES = [Path(__file__).with_name(f"{name}.c") for name in ("kernels", "decoding", "training", "perceptron")]
_FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fassociative-math",  # vectorised sums; NaN and infinity keep their meaning
    "-fno-signed-zeros",
    "-fPIC",
)
_SECONDS = 60  # for compiling; it takes about one


_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64


class CLayer(ctypes.Structure):
    """`struct layer` of decoding.c."""

    _fields_ = [(name, _POINTER) for name in ("norm_attention", "qkv", "qkv_bias", "out", "norm_mlp", "up", "down")]


class CModel(ctypes.Structure):
    """`struct model` of decoding.c."""

    _fields_ = [
        *((name, _SIZE) for name in ("layers", "width", "heads", "keys", "dim", "mlp", "vocab")),
        ("eps", ctypes.c_float),
        *((name, _POINTER) for name in ("embedding", "cos", "sin", "norm", "head")),
        ("layer", ctypes.POINTER(CLayer)),
    ]


class CCache(ctypes.Structure):
    """`struct cache` of decoding.c."""

    _fields_ = [
        *((name, _SIZE) for name in ("rows", "capacity")),
        *((name, _POINTER) for name in ("key", "value", "row", "padding")),
    ]


class CForest(ctypes.Structure):
    """`struct forest` of training.c."""

    _fields_ = [
        *((name, _SIZE) for name in ("rows", "length", "heads", "keys", "dim")),
        *((name, _POINTER) for name in ("node", "count", "place", "cos", "sin")),
    ]


class CPerceptron(ctypes.Structure):
    """`struct perceptron` of perceptron.c."""

    _fields_ = [
        *((name, _SIZE) for name in ("members", "rows", "layers", "activation", "shared")),
        *((name, _POINTER) for name in ("size", "weight", "bias", "unit")),
    ]


class CSlopes(ctypes.Structure):
    """`struct slopes` of perceptron.c."""

    _fields_ = [(name, _POINTER) for name in ("out", "in", "weight", "bias")]


class Kernels:
    """The compiled functions, see the sources. Tensors must be dense, fp32 or int64, on the CPU."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.read_tokens, self.speak, self._draw = library.read_tokens, library.speak, library.draw
        self.attention, self.gated = library.attention, library.gated
        model, store, forest = map(ctypes.POINTER, (CModel, CCache, CForest))
        self.read_tokens.argtypes = [model, store, _POINTER, *[_SIZE] * 3, *[_POINTER] * 2]
        self.attention.argtypes = [forest, *[_POINTER] * 4, *[_SIZE] * 2]
        self.rms_norm, self.rms_norm_back = library.rms_norm, library.rms_norm_back
        self.rms_norm.argtypes = [_POINTER, _SIZE, *[_POINTER] * 2, *[_SIZE] * 2, ctypes.c_float]
        self.rms_norm_back.argtypes = [*[_POINTER] * 5, *[_SIZE] * 2, ctypes.c_float]
        self.gated.argtypes = [*[_POINTER] * 4, *[_SIZE] * 2]
        self.speak.argtypes = [*self.read_tokens.argtypes[:3], *[_SIZE] * 3, *[_POINTER] * 6, ctypes.c_float, _SIZE]
        self._draw.argtypes = [*[_POINTER] * 5, *[_SIZE] * 2, ctypes.c_float]
        self.read_tokens.restype = ctypes.c_int
        for function in (self.speak, self._draw, self.attention, self.gated, self.rms_norm):
            function.restype = None
        self.rms_norm_back.restype = None
        self.attention_room = library.attention_room  # floats of work
        self.attention_room.argtypes, self.attention_room.restype = [forest], _SIZE
        library.lanes.restype = _SIZE
        self.lanes: int = library.lanes()  # floats in a vector
        perceptron = ctypes.POINTER(CPerceptron)
        self.perceptron, self.perceptron_back = library.perceptron, library.perceptron_back
        self.perceptron_room = library.perceptron_room  # floats of work
        self.perceptron_room.argtypes, self.perceptron_room.restype = [perceptron, _SIZE, _SIZE], _SIZE
        self.perceptron.argtypes, self.perceptron.restype = [perceptron, _POINTER, _SIZE], None
        self.perceptron_back.argtypes = [perceptron, ctypes.POINTER(CSlopes), _POINTER, _SIZE]
        self.perceptron_back.restype = None

    def draw(self, logits_BV: Tensor, uniform_B: Tensor, sharpness: float) -> tuple[Tensor, Tensor]:
        """Draws from softmax(logits * sharpness) by inversion: ids [B] and their log-probabilities [B]."""
        rows, vocab = logits_BV.shape
        token, logp, work = torch.empty(rows, dtype=torch.long), torch.empty(rows), torch.empty(vocab)
        arrays = (t.data_ptr() for t in (logits_BV, uniform_B, token, logp, work))
        self._draw(*arrays, rows, vocab, sharpness)
        return token, logp


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
    # threads are those of the OpenMP that torch runs on, so that the two do not wait for each other
    shared = hasattr(ctypes.CDLL(None), "GOMP_parallel") and b"clang" not in version
    flags = [*_FLAGS, "-fopenmp"] if shared else list(_FLAGS)
    told = (*(source.read_bytes() for source in _SOURCES), " ".join(flags).encode(), version, _processor().encode())
    name = hashlib.blake2b(b"\0".join(told), digest_size=12).hexdigest()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "actrix"
    target = folder / f"kernels-{name}.so"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:  # written aside, then renamed
            made, parts = Path(work) / "kernels.so", Path(work) / "kernels.o"
            for command in (
                [compiler, *flags, "-c", str(_SOURCES[0]), "-o", str(parts)],
                [compiler, "-shared", str(parts), "-o", str(made), "-lm"],  # OpenMP is torch's own, already here
            ):
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
