"""What happens behind the walls: the process that runs the program, and the one beside it that runs the tests.

The two share nothing but a channel. The tests call the program's function through it; arguments and results cross as
plain data only. So the program cannot reach the tests, and nothing that it says counts as a pass.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import json
import linecache
import os
import select
import signal
import socket
import struct
import sys
import traceback
import types
from typing import Any

ENDS = ("failed", "error", "exited early", "memory", "processes", "files")  # what a program may say of its own end
PLAIN = (type(None), bool, int, float, str)
_MOST = 1 << 22  # bytes of one message
_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


# --- messages ---------------------------------------------------------------------------------------------------


def pack(value: Any, depth: int = 0) -> Any:
    """Plain data as JSON can hold it. Exact types only: an object may claim to equal anything."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if depth > 50:
        raise TypeError("nested too deeply to leave the sandbox")
    if kind in (list, tuple, set, frozenset):
        return {"type": kind.__name__, "items": [pack(v, depth + 1) for v in value]}
    if kind is dict:
        return {"type": "dict", "items": [[pack(k, depth + 1), pack(v, depth + 1)] for k, v in value.items()]}
    if kind is bytes:
        return {"type": "bytes", "items": value.hex()}
    if kind is complex:
        return {"type": "complex", "items": [value.real, value.imag]}
    raise TypeError(f"{kind.__name__} is not plain data, and cannot leave the sandbox")


def unpack(value: Any) -> Any:
    """The inverse of `pack`."""
    if type(value) in PLAIN:
        return value
    kind, items = value["type"], value["items"]
    if kind == "dict":
        return {unpack(k): unpack(v) for k, v in items}
    if kind == "bytes":
        return bytes.fromhex(items)
    if kind == "complex":
        return complex(*items)
    return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind](unpack(v) for v in items)


def send(to: socket.socket, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    if len(data) > _MOST:
        raise ValueError(f"a message of {len(data)} bytes is too long to leave the sandbox")
    to.sendall(struct.pack("=I", len(data)) + data)


def receive(source: socket.socket) -> dict[str, Any] | None:
    """The next message; None at the end."""
    head = _exactly(source, 4)
    if head is None:
        return None
    size = struct.unpack("=I", head)[0]
    if size > _MOST:
        raise ValueError("a message that is too long")
    data = _exactly(source, size)
    return None if data is None else json.loads(data)


def _exactly(source: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        more = source.recv(size - len(data))
        if not more:
            return None
        data += more
    return data


# --- the program ------------------------------------------------------------------------------------------------


def blame(error: BaseException) -> str:
    """The status that an exception nobody caught stands for."""
    if isinstance(error, SystemExit):
        return "exited early"
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, OSError) and error.errno in _FILES:
        return "files"
    if isinstance(error, BlockingIOError) or "can't start new thread" in str(error):
        return "processes"
    return "failed" if isinstance(error, AssertionError) else "error"


def said(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # an exception may be the program's own
        text = ""
    return f"{type(error).__name__}: {text}"[:500]


def program(source: str, entry_point: str, channel: socket.socket) -> None:
    """Runs a program to its end, then answers calls of `entry_point`, if it is to."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    linecache.cache["<program>"] = (len(source), None, source.splitlines(keepends=True), "<program>")
    try:
        exec(compile(source, "<program>", "exec"), module.__dict__)
        function = getattr(module, entry_point) if entry_point else None
    except BaseException as error:
        if not isinstance(error, SystemExit):
            with contextlib.suppress(BaseException):  # there may be no memory for it
                traceback.print_exception(type(error), error, _own(error))
        flush()  # first: who has heard of the end does not wait
        send(channel, {"end": blame(error), "text": said(error)})
        return
    flush()
    send(channel, {"end": "passed", "text": ""})
    while function is not None and (call := receive(channel)) is not None:
        try:
            answer = {"value": pack(function(*unpack(call["args"]), **unpack(call["kwargs"])))}
        except BaseException as error:
            answer = {"raised": type(error).__name__, "text": said(error), "status": blame(error)}
        flush()
        send(channel, answer)


def _own(error: BaseException) -> types.TracebackType | None:
    """The traceback from the program's first line on."""
    place = error.__traceback__
    while place is not None and place.tb_frame.f_code.co_filename != "<program>":
        place = place.tb_next
    return place


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed or replaced by the program
            stream.flush()


# --- the tests --------------------------------------------------------------------------------------------------


class Ended(Exception):
    """The program's process is no more."""


class Peer:
    """The program's process as the tests see it."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid, self.channel = pid, channel
        self.handle = os.pidfd_open(pid)
        self.worst = ""  # a limit that a call ran into

    def next(self) -> dict[str, Any]:
        """Its next message; Ended if it ends first. (A process that it left behind may hold the channel open.)"""
        select.select([self.channel.fileno(), self.handle], [], [])
        if not select.select([self.channel], [], [], 0)[0]:
            raise Ended
        try:
            message = receive(self.channel)
        except (ValueError, OSError):
            raise Ended from None
        if message is None:
            raise Ended
        return message

    def call(self, *args: Any, **kwargs: Any) -> Any:
        try:
            send(self.channel, {"args": pack(list(args)), "kwargs": pack(kwargs)})
        except BrokenPipeError:
            raise Ended from None
        answer = self.next()
        if "raised" in answer:
            if answer["status"] in ENDS[2:]:
                self.worst = self.worst or answer["status"]
            kind = getattr(builtins, str(answer["raised"]), None)
            known = isinstance(kind, type) and issubclass(kind, Exception)
            raise (kind if known else RuntimeError)(str(answer["text"]))  # type: ignore[misc]
        return unpack(answer["value"])

    def end(self) -> dict[str, str]:
        """How it ended, as status and text."""
        _, status = os.waitpid(self.pid, 0)
        if not os.WIFSIGNALED(status):
            return {"status": "exited early", "text": f"exit code {os.waitstatus_to_exitcode(status)}"}
        number = os.WTERMSIG(status)
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return {"status": "timeout" if name == "SIGXCPU" else "error", "text": f"died of {name}"}


def tests(peer: Peer, setup: str, test: str, entry_point: str) -> dict[str, str]:
    """Runs `test`, which defines check(candidate), against the program. `setup` comes first (HumanEval's prompt)."""
    try:
        first = peer.next()
        if first["end"] != "passed":
            return confession(first)
        space: dict[str, Any] = {"__name__": "tests"}
        exec(compile(setup, "<setup>", "exec"), space)
        space[entry_point] = peer.call
        exec(compile(test, "<tests>", "exec"), space)
        space["check"](peer.call)
    except Ended:
        return peer.end()
    except BaseException as error:
        status = peer.worst or ("error" if isinstance(error, SyntaxError | SystemExit) else "failed")
        return {"status": status, "text": _where(error) + said(error)}
    return {"status": "passed", "text": ""}


def _where(error: BaseException) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == "<tests>"]
    return f"line {lines[-1]} of the tests: " if lines else ""


def script(peer: Peer) -> dict[str, str]:
    """Waits for a program that has no tests beside it."""
    try:
        first = peer.next()
    except Ended:
        return peer.end()
    return {"status": "passed", "text": ""} if first["end"] == "passed" else confession(first)


def confession(message: dict[str, Any]) -> dict[str, str]:
    """What a program says of its failure."""
    status = message["end"] if message["end"] in ENDS else "error"
    return {"status": status, "text": str(message["text"])[:500]}
