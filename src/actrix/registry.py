"""What there is: systems register themselves with `@system`, and are listed without importing torch.

`catalogue()` reads the source of `systems/` (docstring, decorator, config fields and their comments), so that
`actrix list` and `actrix show` answer at once; `load(slug)` imports the one file.
"""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from actrix.errors import unknown

SYSTEMS = Path(__file__).parent / "systems"
RESULTS = Path(__file__).parent / "claims" / "results"
T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class Field:
    """One configuration field as a person reads it."""

    name: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Entry:
    """A system as its source file describes it."""

    slug: str
    family: str
    paper: str
    acts: tuple[str, ...]  # the spaces it can act in
    title: str  # first line of the file
    text: str  # the rest of its docstring: idea, equations, source
    module: str
    path: Path = field(repr=False)
    fields: tuple[Field, ...] = ()

    @property
    def verdict(self) -> str:
        """What the recorded claim says: supported, not supported, or nothing recorded."""
        path = RESULTS / f"{self.slug}.json"
        return str(json.loads(path.read_text())["verdict"]) if path.is_file() else "not recorded"


@dataclass(frozen=True)
class System:
    """A registered system: its learner class and its config class."""

    slug: str
    family: str
    paper: str
    acts: tuple[str, ...]
    learner: type
    config: type


_registered: dict[str, System] = {}


def system(slug: str, *, family: str, paper: str, acts: tuple[str, ...]) -> Callable[[T], T]:
    """Register a learner class under `slug`; its module's `Config` is its configuration.

    acts: which spaces it can act in: "box", "unbounded box", "discrete", "multidiscrete", "multibinary", "tokens".
    """

    def register(cls: T) -> T:
        config = getattr(sys.modules[cls.__module__], "Config")  # noqa: B009
        _registered[slug] = System(slug, family, paper, acts, cls, config)
        return cls

    return register


@cache
def catalogue() -> dict[str, Entry]:
    """All systems by slug, in order of family and slug; plus those that a person registered from outside."""
    entries = [e for path in sorted(SYSTEMS.glob("*/*.py")) if (e := read_entry(path)) is not None]
    return {e.slug: e for e in sorted(entries, key=lambda e: (e.family, e.slug))}


def read_entry(path: Path) -> Entry | None:
    """The entry of one system file, from its syntax tree alone; None where it registers nothing."""
    source = path.read_text()
    if "@system(" not in source:
        return None
    tree = ast.parse(source)
    title, _, text = (ast.get_docstring(tree) or "").partition("\n")
    fields: tuple[Field, ...] = ()
    call: ast.Call | None = None
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        if node.name == "Config":
            fields = tuple(read_fields(node, source.splitlines()))
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "system":
                call = decorator
    if call is None:
        return None
    named = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    slug = ast.literal_eval(call.args[0])
    module = f"actrix.systems.{path.parent.name}.{path.stem}"
    return Entry(
        slug, named["family"], named["paper"], named["acts"], title.strip(), text.strip(), module, path, fields
    )


def read_fields(node: ast.ClassDef, lines: list[str]) -> list[Field]:
    """Fields of a config class; the comment behind each is its meaning."""
    found = []
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            line = lines[(item.end_lineno or item.lineno) - 1]
            _, _, meaning = line[item.end_col_offset or 0 :].partition("#")
            default = ast.unparse(item.value) if item.value else "required"
            found.append(Field(item.target.id, ast.unparse(item.annotation), default, meaning.strip()))
    return found


def find(slug: str) -> Entry:
    """The entry called `slug`, or an error with the nearest names."""
    entries = catalogue()
    if slug not in entries:
        raise unknown("system", slug, [*entries, *_registered])
    return entries[slug]


def load(slug: str) -> System:
    """Import a system and return its classes."""
    if slug not in _registered:
        importlib.import_module(find(slug).module)
    return _registered[slug]


def names() -> list[str]:
    return [*catalogue(), *(s for s in _registered if s not in catalogue())]


def describe(entry: Entry) -> dict[str, Any]:
    """An entry as the row that `actrix list --json` prints."""
    return {
        "slug": entry.slug,
        "family": entry.family,
        "paper": entry.paper,
        "title": entry.title,
        "acts": list(entry.acts),
        "claim": entry.verdict,
    }
