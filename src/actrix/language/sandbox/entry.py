"""The way in: the first process behind the walls gives up every right, starts the program, and runs the tests."""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import socket
import sys
import tempfile
from typing import Any

from actrix.language.sandbox import inside, kernel
from actrix.language.sandbox.walls import DEVICES, Walls


def enter(walls: Walls, request: dict[str, Any], folder: str, outputs: list[int], control: socket.socket) -> None:
    """The first process inside: gives up every right, starts the program, runs the tests. Does not return."""
    try:
        given = os.memfd_create("stdin")
        os.write(given, request["stdin"].encode())
        os.lseek(given, 0, os.SEEK_SET)
        for fd, place in zip((given, *outputs), range(3)):
            os.dup2(fd, place)
        os.setsid()
        isolation, listener = _renounce(walls, folder, request["limits"])
        message = json.dumps({"isolation": isolation}).encode()
        socket.send_fds(control, [message], [] if listener is None else [listener])
        kernel.close_all_but((0, 1, 2, control.fileno()))
        mine, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            control.close()
            mine.close()
            _be_the_program(request, theirs)
        theirs.close()
        peer = inside.Peer(child, mine)
        if request["tests"]:
            verdict = inside.tests(peer, request["setup"], request["tests"], request["entry_point"])
        else:
            verdict = inside.script(peer)
        inside.flush()
        control.sendall(json.dumps(verdict).encode())
        control.recv(1)  # wait to be ended
    except BaseException as error:
        with contextlib.suppress(BaseException):
            control.sendall(json.dumps({"status": "error", "text": f"sandbox: {inside.said(error)}"}).encode())
    finally:
        os._exit(1)


def _renounce(walls: Walls, folder: str, limits: dict[str, Any]) -> tuple[list[str], int | None]:
    os.chdir(folder)
    os.umask(0o077)
    tempfile.tempdir = folder
    count = limits["processes"] + 2 + _tasks_of_user(walls)
    for kind, value in (
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_NPROC, count),
        (resource.RLIMIT_NOFILE, limits["files"] + 16),
        (resource.RLIMIT_FSIZE, limits["disk"]),
        (resource.RLIMIT_CPU, math.ceil(limits["seconds"]) + 1),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        kernel.limit(kind, value)
    if walls.switch:
        os.setgroups([])
        os.setresgid(walls.user_id, walls.user_id, walls.user_id)
        os.setresuid(walls.user_id, walls.user_id, walls.user_id)
    elif walls.root or walls.namespaces:
        kernel.drop_capabilities()
    kernel.die_with_parent()
    kernel.no_new_privileges()
    if any(name.startswith("landlock") for name in walls.names):
        kernel.landlock([*walls.readable, *DEVICES[1:]], [folder, "/dev/null"])
    if "seccomp" not in walls.without:
        for notify in (True, False):  # where another watcher is there already, without one
            with contextlib.suppress(OSError):
                listener = kernel.seccomp(notify)
                return ["seccomp with a watcher" if notify else "seccomp"], listener if notify else None
    return [], None


def _tasks_of_user(walls: Walls) -> int:
    """What the limit on processes counts besides those inside."""
    if walls.switch:
        return 0
    if walls.namespaces:
        return 2  # watcher and warden
    found = 0
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.geteuid():
                with open(f"/proc/{name}/stat") as file:
                    found += int(file.read().rpartition(")")[2].split()[17])
    return found


def _be_the_program(request: dict[str, Any], channel: socket.socket) -> None:
    try:
        os.setsid()
        kernel.die_with_parent()
        for name in [n for n in sys.modules if n.partition(".")[0] == "actrix"]:
            del sys.modules[name]
        inside.program(request["program"], request["entry_point"] if request["tests"] else "", channel)
    finally:
        os._exit(0)
