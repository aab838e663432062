"""What is recorded of claims, and whether it still speaks of the code as it is. Needs neither torch nor numpy."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actrix import registry

FOLDER = Path(__file__).parent
PARTS = (  # files of this folder that are no claims
    "__init__", "answers", "archives", "claim", "forks", "measures", "preferences", "record", "recordings", "rlpd",
    "rules", "supervised", "teams", "worlds",
)  # fmt: skip
WORDS = ("statement", "source", "question", "metric", "note", "minutes")  # may change without making a result stale


def names() -> list[str]:
    """Slugs of all systems with a claim file."""
    return sorted(p.stem.replace("_", "-") for p in FOLDER.glob("*.py") if p.stem not in PARTS)


def result_of(slug: str) -> dict[str, Any] | None:
    """The recorded result of a claim, or None."""
    path = registry.RESULTS / f"{slug}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def configuration(slug: str) -> str:
    """A hash of everything that a claim's result depends on by configuration.

    It covers the claim's file (arms, settings, metrics, seeds, rules, measures; not comments and wording), the files of
    the variants named in it, and the configuration defaults (in no order) of every system named in it. It needs no
    torch.
    """
    tree = ast.parse((FOLDER / f"{slug.replace('-', '_')}.py").read_text())
    told: list[Any] = [ast.dump(Plain().visit(tree))]
    strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    for path in sorted(FOLDER.glob("variants/*.py")):
        if any(text.startswith(f"{path.stem}:") for text in strings):
            told.append(ast.dump(Plain().visit(ast.parse(path.read_text()))))
    for name, entry in sorted(registry.catalogue().items()):
        if name in strings | {slug}:
            told.append([name, sorted([f.name, f.default] for f in entry.fields)])
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


class Plain(ast.NodeTransformer):
    """Takes docstrings and the arguments that are only wording out of a claim's syntax tree."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.keywords = [k for k in node.keywords if k.arg not in WORDS]
        return self.generic_visit(node)


def is_stale(slug: str) -> bool:
    """Whether the recorded result was made with another configuration than the code has now. False if none is."""
    result = result_of(slug)
    return result is not None and (slug not in names() or result["configuration"] != configuration(slug))


def stale_ones() -> set[str]:
    """Slugs of all stale results. To find out means to read every claim, so the answer is kept in the user's cache
    until a file of the package changes."""
    root = Path(registry.__file__).parent
    files = {file for folder in (root, FOLDER, registry.RESULTS) if folder.is_dir() for file in _files(folder)}
    seen = hashlib.sha256(json.dumps(sorted(files)).encode()).hexdigest()
    here = hashlib.sha256(str(root).encode()).hexdigest()[:12]
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "actrix" / f"stale-{here}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        answer = json.loads(kept.read_text())
        if answer["seen"] == seen:
            return set(answer["stale"])
    stale = [slug for slug in registry.catalogue() if is_stale(slug)]
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = kept.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps({"seen": seen, "stale": stale}))
        aside.replace(kept)
    return set(stale)


def _files(folder: Path | str) -> Iterator[tuple[str, int, int]]:
    """Path, time and size of sources and results."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(entry.path)
            elif entry.name.endswith((".py", ".json")):
                told = entry.stat()
                yield entry.path, told.st_mtime_ns, told.st_size


def standing(slug: str, stale: bool | None = None) -> str:
    """The recorded verdict as a person reads it: supported or not, "(stale)" where the code has moved on since.

    stale: whether it has, where that is known already.
    """
    stale = is_stale(slug) if stale is None else stale
    return registry.find(slug).verdict + (" (stale)" if stale else "")
