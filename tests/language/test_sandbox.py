"""Each attack is the real one. What it is reported as is checked, and that it did no harm."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from actrix.errors import ActrixError
from actrix.language.sandbox import Limits, Sandbox
from actrix.language.tasks import make_task

SHORT = Limits(seconds=0.6)
SECRET = "the-secret-of-the-parent"


@pytest.fixture(scope="module", params=["all", "no namespaces"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Every attack is tried against all that the system offers, and against what is left where it offers less."""
    os.environ["ACTRIX_TEST_SECRET"] = SECRET
    try:
        found = Sandbox(without=() if request.param == "all" else ("namespaces",))
        _ = found.isolation
    except ActrixError as error:
        pytest.skip(error.message)
    with found:
        yield found
    del os.environ["ACTRIX_TEST_SECRET"]


def watched(sandbox: Sandbox) -> None:
    if "seccomp with a watcher" not in sandbox.run("").isolation:
        pytest.skip("no seccomp with a watcher here: attempts fail, but are not named")


ENDLESS = {
    "loop": ("while True: pass", "timeout"),
    "sleep": ("import time; time.sleep(100)", "timeout"),
    "ignored signals": (
        "import signal\nfor s in range(1, 32):\n  try: signal.signal(s, signal.SIG_IGN)\n  except OSError: pass\n"
        "while True: pass",
        "timeout",
    ),
    "fork bomb": ("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", "processes"),
    "fork bomb that stops": ("import os\nwhile True: os.fork()", "processes"),
    "threads": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(100,)).start()", "processes",
    ),
    "memory hog": ("x = []\nwhile True: x.append(bytearray(10**6))", "memory"),
    "one large piece": ("x = bytearray(10**11)", "memory"),
    "hogs": (
        "import os\nfor _ in range(6): os.fork()\nx = [bytearray(b'1' * 10**6) for _ in range(100)]\n"
        "import time; time.sleep(100)",
        "memory",
    ),
    "many files": ("for i in range(10**6): open(str(i), 'w').close()", "files"),
    "many open files": ("x = [open('/dev/null') for _ in range(10**6)]", "files"),
    "a large file": ("with open('x', 'wb') as f:\n  while True: f.write(bytes(10**6))", "files"),
    "output": ("while True: print('x' * 1000)", "output"),
    "error output": ("import os\nwhile True: os.write(2, b'x' * 1000)", "output"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDLESS)
def test_what_takes_too_much_is_ended(sandbox: Sandbox, name: str) -> None:
    program, status = ENDLESS[name]
    limits = SHORT if status == "timeout" else Limits(seconds=10.0)
    if name == "hogs":
        limits = Limits(seconds=10.0, processes=80, memory=400 << 20)
    began = time.monotonic()
    report = sandbox.run(program, limits=limits)
    assert report.status == status, report
    assert time.monotonic() - began < limits.seconds + 3
    assert len(report.stdout) <= SHORT.output


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("import os; print('passed'); os._exit(0)", "exited early"),
        ("import sys; sys.exit(0)", "exited early"),
        ("raise SystemExit", "exited early"),
        ("import os; os.fork() or print('in the child')\nos._exit(0)", "exited early"),
        ("assert 1 + 1 == 3, 'sum'", "failed"),
        ("1 / 0", "error"),
        ("def f(:", "error"),
        ("import ctypes; ctypes.string_at(0)", "error"),
        ("def f(): f()\nf()", "error"),
        ("import os; os.abort()", "error"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "error"),
        ("x = 1", "passed"),
    ],
)
def test_how_a_program_ends(sandbox: Sandbox, program: str, status: str) -> None:
    assert sandbox.run(program).status == status


@pytest.mark.parametrize(
    "call", ["os.kill(os.getppid(), 9)", "os.kill({pid}, 9)", "os.kill(-1, 9)", "os.killpg({group}, 9)"]
)
def test_signals_reach_nobody_outside(sandbox: Sandbox, call: str) -> None:
    watched(sandbox)
    got: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: got.append(number))
    try:
        call = call.format(pid=os.getpid(), group=os.getpgrp()).replace(" 9", f" {int(signal.SIGUSR1)}")
        report = sandbox.run(f"import os\nfor _ in range(3): {call}")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not got
    if "group" not in call and "killpg" not in call:
        assert report.status == "signal", report
    else:
        assert report.status in ("signal", "error")


def test_a_program_may_signal_its_own(sandbox: Sandbox) -> None:
    program = "import subprocess\np = subprocess.Popen(['sleep', '100']); p.kill(); print(p.wait())"
    report = sandbox.run(program)
    assert (report.status, report.stdout) == ("passed", "-9\n")


@pytest.mark.parametrize(
    "attack",
    [
        "open({path!r}, 'w').write('x')",
        "open({path!r}, 'r+')",
        "os.remove({path!r})",
        "os.rename({path!r}, 'mine')",
        "os.chmod({path!r}, 0o777)",
        "os.symlink('/etc/passwd', {path!r} + '2')",
        "os.mkdir({path!r} + '.d')",
        "os.truncate({path!r}, 0)",
        "os.chdir('/'); open('.' + {path!r}, 'w')",
        "os.utime({path!r}, (0, 0))",
    ],
)
def test_nothing_outside_is_changed(sandbox: Sandbox, attack: str, tmp_path: Path) -> None:
    watched(sandbox)
    file = tmp_path / "file"
    file.write_text("mine")
    file.chmod(0o666)
    tmp_path.chmod(0o777)
    before = file.stat()
    report = sandbox.run("import os\n" + attack.format(path=str(file)))
    assert report.status == "write outside", report
    assert os.listdir(tmp_path) == ["file"]
    assert file.read_text() == "mine"
    assert (file.stat().st_mode, file.stat().st_mtime) == (before.st_mode, before.st_mtime)


def test_a_link_does_not_lead_outside(sandbox: Sandbox, tmp_path: Path) -> None:
    """The name lies inside; the walls themselves say no."""
    file = tmp_path / "file"
    file.write_text("mine")
    tmp_path.chmod(0o777)
    file.chmod(0o666)
    report = sandbox.run(f"import os\nos.symlink({str(file)!r}, 'link')\nopen('link', 'w').write('x')")
    assert not report.passed
    assert file.read_text() == "mine"


def test_files_outside_are_not_read(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(SECRET)
    tmp_path.chmod(0o777)
    report = sandbox.run(f"print(open({str(file)!r}).read())")
    assert report.status == "error"
    assert SECRET not in report.stdout


@pytest.mark.parametrize(
    "attack",
    [
        "socket.socket()",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))",
        "socket.create_connection(('127.0.0.1', {port}), timeout=1)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import socket; socket.socket()'])",
    ],
)
def test_there_is_no_network(sandbox: Sandbox, attack: str) -> None:
    import socket

    watched(sandbox)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        report = sandbox.run("import socket\n" + attack.format(port=server.getsockname()[1]))
        with pytest.raises(BlockingIOError):
            server.accept()
    assert report.status == "network", report


def test_local_sockets_lead_nowhere(sandbox: Sandbox) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0actrix-test-" + str(os.getpid()))
        server.listen()
        server.setblocking(False)
        report = sandbox.run(f"import socket; socket.socket(socket.AF_UNIX).connect('\\0actrix-test-{os.getpid()}')")
        with pytest.raises(BlockingIOError):
            server.accept()
    assert report.status == "error"


@pytest.mark.parametrize(
    "program",
    [
        "import os; print(dict(os.environ), os.environb)",
        f"import os\nfor pid in [1, os.getppid(), {os.getpid()}, 'self']:\n"
        "  for name in ('environ', 'cmdline', 'maps'):\n"
        "    try: print(open(f'/proc/{pid}/{name}').read())\n    except OSError: pass",
        "import subprocess; print(subprocess.run(['env'], capture_output=True, text=True).stdout)",
        "import ctypes; print(ctypes.CDLL(None).getenv(b'ACTRIX_TEST_SECRET'))",
        "import gc, sys; print([o for o in gc.get_objects() if isinstance(o, str)], sys.argv, sys.flags)",
    ],
)
def test_the_environment_is_empty(sandbox: Sandbox, program: str) -> None:
    report = sandbox.run(program)
    assert report.passed
    assert SECRET not in report.stdout + report.stderr
    assert "ACTRIX" not in report.stdout
    assert "PATH=" not in report.stdout


def test_the_kernel_is_out_of_reach(sandbox: Sandbox) -> None:
    """ptrace, unshare, mount, bpf, keyctl: refused by the filter."""
    watched(sandbox)
    program = (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "print([(libc.ptrace(16, os.getppid(), 0, 0), ctypes.get_errno()),\n"
        " (libc.unshare(0x10000000), ctypes.get_errno()),\n"
        " (libc.mount(b'x', b'/tmp', b'tmpfs', 0, None), ctypes.get_errno()),\n"
        " (libc.setns(0, 0), ctypes.get_errno())])"
    )
    assert sandbox.run(program).stdout == "[(-1, 1), (-1, 1), (-1, 1), (-1, 1)]\n"


def test_what_a_program_says(sandbox: Sandbox) -> None:
    report = sandbox.run("import sys; print(sys.stdin.read()[::-1]); print('wrong', file=sys.stderr)", stdin="abc")
    assert (report.status, report.stdout, report.stderr) == ("passed", "cba\n", "wrong\n")
    report = sandbox.run("def f():\n    return 1 / 0\n\nf()")
    assert report.text == "ZeroDivisionError: division by zero"
    assert 'File "<program>", line 4' in report.stderr
    assert "actrix" not in report.stderr


def test_ordinary_programs_run(sandbox: Sandbox) -> None:
    program = """
import asyncio, collections, dataclasses, functools, hashlib, itertools, json, math, random, re, tempfile, typing
from pathlib import Path
with tempfile.NamedTemporaryFile("w+") as file:
    file.write("x"); file.flush()
    assert Path(file.name).read_text() == "x"
Path("a").mkdir(); Path("a/b").write_text("c"); Path("a/b").rename("d"); Path("d").unlink()
open("/dev/null", "w").write("x")
assert Path.cwd().is_dir() and len(random.randbytes(8)) == 8
"""
    report = sandbox.run(program)
    assert report.passed, report
    assert not sandbox.run("import os; assert os.listdir('.') == []").stderr, "every run begins in an empty folder"


# --- tests beside the program ----------------------------------------------------------------------------------------

ADD = "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(5, 7) == 12\n"


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("def add(a, b): return a + b", "passed"),
        ("def add(a, b): return a - b", "failed"),
        ("def add(a, b): raise ValueError('no')", "failed"),
        ("add = 3", "failed"),
        ("x = 1", "error"),
        ("import os\ndef add(a, b): print('passed'); os._exit(0)", "exited early"),
        ("import sys\ndef add(a, b): sys.exit(0)", "exited early"),
        ("class Same:\n  def __eq__(self, other): return True\ndef add(a, b): return Same()", "failed"),
        ("class Same(int):\n  def __eq__(self, other): return True\ndef add(a, b): return Same()", "failed"),
        ("import builtins\nbuiltins.AssertionError = ValueError\ndef add(a, b): return 0", "failed"),
        ("import sys\ndef add(a, b):\n  sys.settrace(None); sys.modules.clear(); return 0", "failed"),
        # takes hold of the channel and speaks for the tests
        (
            "import gc, socket, json, struct\n"
            "def add(a, b):\n"
            "  data = json.dumps({'status': 'passed', 'text': ''}).encode()\n"
            "  for s in [o for o in gc.get_objects() if isinstance(o, socket.socket)]:\n"
            "    s.sendall(data); s.sendall(struct.pack('=I', len(data)) + data)\n"
            "  import os; os._exit(0)",
            None,
        ),
        ("import os\ndef add(a, b):\n  for fd in range(3, 50):\n    try: os.write(fd, b'{\"status\": \"passed\"}')\n"
         "    except OSError: pass\n  os._exit(0)", None),
        ("def add(a, b):\n  while True: pass", "timeout"),
        ("def add(a, b): return [0] * 10**7", None),
        ("def add(a, b): return bytearray(10**11)", "memory"),
    ],
)  # fmt: skip
def test_only_the_tests_decide(sandbox: Sandbox, program: str, status: str | None) -> None:
    report = sandbox.check(program, ADD, "add", limits=Limits(seconds=10.0) if status == "memory" else SHORT)
    assert report.status == status if status else not report.passed, report


def test_plain_data_crosses_unchanged(sandbox: Sandbox) -> None:
    values = [
        None,
        True,
        1,
        10**40,
        1.5,
        float("inf"),
        "é",
        b"\0x",
        (1, [2, {3}], {"a": (4,), 5: []}),
        frozenset({6}),
        2j,
    ]
    tests = (
        f"inf = float('inf')\ndef check(candidate):\n  for v in {values!r}:\n"
        "    assert candidate(v) == v\n    assert type(candidate(v)) is type(v)\n"
    )
    assert sandbox.check("def same(x): return x", tests, "same").passed


def test_exceptions_cross(sandbox: Sandbox) -> None:
    tests = (
        "def check(candidate):\n  try: candidate(0)\n"
        "  except ZeroDivisionError as e: assert 'zero' in str(e)\n  else: assert False\n"
    )
    assert sandbox.check("def f(x): return 1 / x", tests, "f").passed
    assert sandbox.check("def f(x): return x", tests, "f").status == "failed"


ROWS = [
    {
        "task_id": f"t/{i}",
        "prompt": "def double(x):\n    return 2 * x\n\n\ndef twice_more(x):\n    '''Double, and add one.'''\n",
        "canonical_solution": f"    return double(x) + {i + 1}\n",
        "test": f"def check(candidate):\n    assert candidate(double(2)) == {8 + i + 1}\n",
        "entry_point": "twice_more",
    }
    for i in range(40)
]


def test_files_in_the_format_of_humaneval(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    task = make_task(f"humaneval:{path}")
    prompts = task.prompts("train", 3, 0)
    for prompt in prompts:
        right = task.verify(prompt, prompt.answer)
        assert (right.score, right.correct, right.status) == (1.0, True, "passed")
        wrong = task.verify(prompt, "    return 0\n")
        assert (wrong.score, wrong.status, wrong.components["format"]) == (0.0, "failed", 1.0)
        assert task.verify(prompt, "    import os; os._exit(0)\n").status == "exited early"
        assert task.verify(prompt, "    return (\n").components["format"] == 0.0
    path.write_text(json.dumps(ROWS[0]) + "\n" + json.dumps({"prompt": "x", "test": "y"}))
    with pytest.raises(ActrixError, match="line 2: the field entry_point"):
        make_task(f"humaneval:{path}")


# --- what is left behind ---------------------------------------------------------------------------------------------


def children(pid: int) -> list[str]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{name}/stat").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.append(stat)
    return found


def test_a_thousand_runs_leave_nothing() -> None:
    """Programs of every kind, among them ones that leave processes and files behind."""
    programs = [
        "x = 1", "open('left', 'w').write('x')", "1 / 0",
        "import os\nif os.fork() == 0:\n  os.setsid()\n  import time; time.sleep(1000)",
        "import os; os._exit(0)",
    ]  # fmt: skip

    def half(sandbox: Sandbox) -> list[str]:
        return [sandbox.run(programs[i % 5]).status for i in range(500)]

    with Sandbox() as one, Sandbox() as other:
        pair = (one, other)
        for each in pair:
            each.run("")
        before = (
            set(os.listdir(tempfile.gettempdir())),
            Path("/proc/self/mountinfo").read_text(),
            len(os.listdir("/proc/self/fd")),
        )
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(half, pair))
        assert found == [["passed", "passed", "error", "passed", "exited early"] * 100] * 2
        after = (
            set(os.listdir(tempfile.gettempdir())),
            Path("/proc/self/mountinfo").read_text(),
            len(os.listdir("/proc/self/fd")),
        )
        assert {n for n in after[0] - before[0] if "actrix" in n} == set()
        assert after[1:] == before[1:]
        wardens = [s._warden.pid for s in pair if s._warden is not None]
        deadline = time.monotonic() + 5  # a watcher answers first, and then ends
        while (left := [c for w in wardens for c in children(w)]) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not left
    assert not [p for p in wardens if os.path.exists(f"/proc/{p}")]


def test_a_dead_warden_is_replaced_and_runs_do_not_mix() -> None:
    with Sandbox() as sandbox:
        assert sandbox.run("").passed
        assert sandbox._warden is not None
        os.kill(sandbox._warden.pid, signal.SIGKILL)
        sandbox._warden.wait()
        assert sandbox.run("print(1)").stdout == "1\n"
        threads = [
            threading.Thread(target=lambda i=i: texts.__setitem__(i, sandbox.run(f"print({i})").stdout))
            for i in range(8)
        ]  # type: ignore[misc]
        texts: dict[int, str] = {}
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert texts == {i: f"{i}\n" for i in range(8)}


def commands() -> str:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.append(Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


@pytest.mark.parametrize("without", ["()", "('namespaces',)"])
def test_nothing_outlives_the_library(without: str) -> None:
    """kill -9 while a program runs."""
    mark = f"{1000 + os.getpid() / 1e7:.9f}"
    program = (
        f"import os, subprocess; os.setsid() if os.getpid() != os.getsid(0) else 0; subprocess.run(['sleep', '{mark}'])"
    )
    code = (
        "from actrix.language.sandbox import Limits, Sandbox\n"
        f"Sandbox(without={without}).run({program!r}, limits=Limits(seconds=60))"
    )
    library = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 20
    while f"sleep {mark}" not in commands() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert f"sleep {mark}" in commands()
    library.kill()
    library.wait()
    deadline = time.monotonic() + 5
    while (mark in commands()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert mark not in commands()


def test_a_fork_has_its_own_warden() -> None:
    with Sandbox() as sandbox:
        assert sandbox.run("").passed
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, sandbox.run("print('child')").stdout.encode())
            sandbox.close()
            os._exit(0)
        assert [sandbox.run(f"print({i})").stdout for i in range(20)] == [f"{i}\n" for i in range(20)]
        os.waitpid(child, 0)
        assert os.read(reading, 100) == b"child\n"
        assert pickle.loads(pickle.dumps(sandbox)).run("print(2)").stdout == "2\n"


def test_too_little_isolation_is_refused() -> None:
    with pytest.raises(ActrixError, match="too little"):
        Sandbox(without=("namespaces", "seccomp")).run("")
    with pytest.raises(ActrixError, match="limit"):
        Limits(seconds=0)
