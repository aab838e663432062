"""Named random streams: every draw in the library comes from (seed, name, counters).

Nothing depends on how many numbers somebody else drew before, so a resumed run needs only its counters
to draw the same numbers as the run that was never stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def seed_of(seed: int, name: str, *counters: int) -> int:
    """A 63-bit seed for the stream (seed, name, counters)."""
    key = "/".join((str(seed), name, *map(str, counters))).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1


def numpy_stream(seed: int, name: str, *counters: int) -> np.random.Generator:
    """A NumPy generator at the start of the stream (seed, name, counters)."""
    return np.random.Generator(np.random.PCG64(seed_of(seed, name, *counters)))


@contextmanager
def torch_stream(seed: int, name: str, *counters: int) -> Iterator[None]:
    """Torch draws inside the block come from the stream; the caller's own generators are left as they were.

    Modules therefore draw with plain `torch.randn_like(x)`, which compiles, and stay reproducible.
    """
    import torch

    cuda = torch.cuda.is_initialized()
    before = torch.default_generator.get_state()
    before_cuda = torch.cuda.get_rng_state() if cuda else None
    value = seed_of(seed, name, *counters)
    torch.default_generator.manual_seed(value)
    if cuda:
        torch.cuda.manual_seed(value)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)
        if before_cuda is not None:
            torch.cuda.set_rng_state(before_cuda)
