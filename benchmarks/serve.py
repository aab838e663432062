"""A contender: a process that does its work in pieces when told to, so that contenders can take turns.

Imported by our contenders and by the peers' (in their own virtual environment): standard library only.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable


def serve(work: Callable[[int], None]) -> None:
    """Answer each line `n` on standard input with the seconds that `work(n)` took and the peak memory in MB."""
    print("ready", flush=True)
    for line in sys.stdin:
        n = int(line)
        start = time.perf_counter()
        work(n)
        seconds = time.perf_counter() - start
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
