"""The outside of the sandbox: a process that forks a watcher for every run, so that a run costs a few forks.

    library -> warden (builds the walls that all runs share, and forks)
                 -> watcher (`watch`: reads clocks and meters, hears of forbidden calls, ends the run)
                      -> inside: the tests (`entry`: first process of a process namespace of its own) -> the program

Standard library only. Reads requests from descriptor 0 and writes reports to descriptor 1, as length and JSON.
"""

from __future__ import annotations

import json
import os
import pwd  # noqa: F401  (loaded here, once, rather than by every program that asks for its home)
import shutil
import struct
import sys
import tempfile
from typing import Any

from actrix.language.sandbox import inside, kernel
from actrix.language.sandbox.walls import Walls
from actrix.language.sandbox.watch import Watch


def _exactly(fd: int, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            return None
        data += more
    return data


def reply(message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    data = struct.pack("=I", len(data)) + data
    while data:
        data = data[os.write(1, data) :]


def main(without: list[str], paths: list[str]) -> None:
    """Serves requests until their source closes."""
    os.environ.clear()
    os.umask(0o022)
    sys.dont_write_bytecode = True
    sys.path += paths
    sys.executable = getattr(sys, "_base_executable", sys.executable)
    walls = Walls(tuple(without), tuple(paths))
    walls.build()
    reply({"isolation": walls.names})
    while (head := _exactly(0, 4)) is not None:
        data = _exactly(0, struct.unpack("=I", head)[0])
        if data is None:
            return
        request = json.loads(data)
        if not walls.namespaces:
            request["folder"] = tempfile.mkdtemp(prefix="actrix-sandbox-")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                kernel.die_with_parent()
                reply(Watch(walls, request).run())
                code = 0
            except BaseException as error:
                os.write(2, f"{inside.said(error)}\n".encode())
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        if not walls.namespaces:
            shutil.rmtree(request["folder"], ignore_errors=True)
        if status:
            reply({"broken": f"the watcher ended with status {status}"})
