"""What there is: systems register themselves with `@system`, and are listed without importing torch.

`catalogue()` reads the source of `systems/` (docstring, decorator, config fields and their comments), so that
`actrix list` and `actrix show` answer at once; `load(slug)` imports the one file. A person's own system, in a module
outside the package, goes by `module:slug`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from actrix.errors import ActrixError, unknown
from actrix.outside import import_outside, look_here

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
    Outside the package its full name is `module:slug`; a slug of the library's own is refused there.
    """

    def register(cls: T) -> T:
        module = cls.__module__
        config = getattr(sys.modules[module], "Config")  # noqa: B009
        inside = module.startswith("actrix.systems.")
        if not inside and slug in catalogue():
            raise ActrixError(f"the library has a system called {slug!r}", "give yours another name")
        # what is defined at a prompt cannot be imported again: it goes by its slug, as long as the process lives
        name = slug if inside or module == "__main__" else f"{module}:{slug}"
        _registered[slug] = _registered[name] = System(name, family, paper, acts, cls, config)
        return cls

    return register


@cache
def catalogue() -> dict[str, Entry]:
    """All systems of the library by slug, in order of family and slug."""
    entries = [e for path in sorted(SYSTEMS.glob("*/*.py")) if (e := read_entry(path)) is not None]
    return {e.slug: e for e in sorted(entries, key=lambda e: (e.family, e.slug))}


def read_entry(path: Path, module: str | None = None) -> Entry | None:
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
    module = module or f"actrix.systems.{path.parent.name}.{path.stem}"
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
    """The entry called `slug` (or `module:slug`), or an error with the nearest names."""
    entries = catalogue()
    if ":" in slug:
        return outside(slug)
    if slug not in entries:
        raise unknown("system", slug, [*entries, *_registered])
    return entries[slug]


def outside(name: str) -> Entry:
    """The entry of a person's own system, `module:slug`; the module's source is read, and not run."""
    module, _, slug = name.rpartition(":")
    look_here()
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or found.origin is None:
        import_outside(module, f"system {name!r}")  # says what is wrong
        raise ActrixError(f"the module {module!r} has no source to read", misuse=True)
    entry = read_entry(Path(found.origin), module)
    if entry is None or entry.slug != slug:
        there = "none" if entry is None else f"{module}:{entry.slug}"
        raise ActrixError(f"the module {module!r} registers no system {slug!r}", f"it has {there}", misuse=True)
    return replace(entry, slug=name)


def load(slug: str) -> System:
    """Import a system and return its classes."""
    if slug not in _registered:
        entry = find(slug)
        import_outside(entry.module, f"system {slug!r}")
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
