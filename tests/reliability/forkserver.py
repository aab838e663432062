"""Starts `actrix` command lines as real processes without paying for the import of torch each time.

A process that has imported everything, and has no thread yet, forks one child for each line of JSON on stdin:
{"argv", "cwd", "env", "out", "err", "limit"} -> its pid; {"wait": pid} -> its exit status. The child behaves as
`actrix` from there on: it may be killed, and its disk may be full.
"""

import atexit
import gc
import json
import os
import resource
import sys

import gymnasium  # noqa: F401
import torch
import tyro  # noqa: F401

import actrix.api
import actrix.cli.eval
import actrix.cli.resume
import actrix.cli.train  # noqa: F401
from actrix import registry
from actrix.cli import main


def become(order: dict) -> None:
    """Turn this (forked) process into the one that was ordered."""
    os.setsid()
    os.chdir(order["cwd"])
    os.environ.update(order["env"])
    null = os.open(os.devnull, os.O_RDONLY)
    for number, source in enumerate((null, *(os.open(order[k], os.O_WRONLY | os.O_CREAT) for k in ("out", "err")))):
        os.dup2(source, number)
    if order["limit"]:  # bytes that a file may grow to: a disk that fills up
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], resource.RLIM_INFINITY))
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    status = 1
    try:
        main(order["argv"])
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    finally:  # as at the interpreter's exit, but for taking torch apart module by module, which takes half a second
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve() -> None:
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # what is there already need not be looked at again in every child
    for slug in registry.catalogue():
        registry.load(slug)
    assert len(os.listdir("/proc/self/task")) == 1, "forking a process with threads is asking for trouble"
    orders, answers = os.dup(0), os.dup(1)
    os.set_inheritable(orders, False)
    for line in os.fdopen(orders):
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                os.close(answers)
                become(order)
        os.write(answers, f"{answer}\n".encode())


serve()
