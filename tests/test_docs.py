"""The documentation is what the tree says, and every command that the guide shows runs."""

from __future__ import annotations

import contextlib
import filecmp
import importlib.util
import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from actrix import cli, registry

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FENCE = re.compile(
    r'(?:<!-- needs (?P<needs>[\w-]+) -->\n)?```(?P<kind>console|python)(?: title="(?P<title>[\w.]+)")?\n'
    r"(?P<body>.*?)\n```",
    re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    kind: str
    title: str | None
    body: str
    needs: str | None


def blocks(page: Path) -> list[Block]:
    return [Block(m["kind"], m["title"], m["body"], m["needs"]) for m in FENCE.finditer(page.read_text())]


def generator() -> object:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date(tmp_path: Path) -> None:
    written = generator().write(tmp_path)  # type: ignore[attr-defined]
    names = [str(path.relative_to(tmp_path)) for path in written]
    _, differ, missing = filecmp.cmpfiles(tmp_path, DOCS, names, shallow=False)
    assert not differ + missing, "run `make docs` and commit what it wrote"
    pages = {f"systems/{p.name}" for p in (DOCS / "systems").glob("*.md")}
    assert pages <= set(names), "a page of a system that is no more: run `make docs`"


def test_every_system_has_its_page() -> None:
    table = (DOCS / "systems.md").read_text()
    for slug in registry.catalogue():
        assert f"(systems/{slug}.md)" in table
        assert (DOCS / "systems" / f"{slug}.md").is_file()


def test_links_lead_somewhere() -> None:
    """mkdocs --strict checks the pages; this also checks the README."""
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_site_builds(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert built.returncode == 0, built.stdout + built.stderr
    assert (tmp_path / "site" / "systems" / "sac" / "index.html").is_file()


# --- what the guide shows, done -----------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in; what a page imports or registers is forgotten after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]
    for slug in set(registry._registered) - set(registry.catalogue()):
        del registry._registered[slug]


def do(line: str) -> None:
    """One line of a console block, in this process where that can be: starting another costs two seconds."""
    words = shlex.split(line.removeprefix("$ "))
    words = [w for w in words if w != "PYTHONPATH=."]  # the fixture has seen to it
    if words[0] == "actrix":
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = cli.run(words[1:])
        assert status == 0, f"{line}\n{said.getvalue()}"
    elif words[0] == "python":
        with contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path(words[1], run_name="__main__")
    else:
        assert shutil.which(words[0]), line
        subprocess.run(words, check=True, capture_output=True)


@pytest.mark.parametrize("page", sorted((DOCS / "guide").glob("*.md")), ids=lambda page: page.stem)
def test_guide_runs(page: Path, place: Path) -> None:
    found = blocks(page)
    assert found, f"{page.name} shows nothing that runs"
    names: dict[str, object] = {"__name__": "guide"}
    for block in found:
        if block.needs is not None and block.needs not in registry.catalogue():
            continue
        if block.kind == "console":
            for line in block.body.splitlines():
                assert line.startswith("$ "), f"{page.name}: only commands stand in a console block: {line}"
                do(line)
        elif block.title is not None:
            (place / block.title).write_text(block.body + "\n")
        else:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.body, f"{page.name}", "exec"), names)
