"""Writes what the documentation says about the tree from the tree itself.

    python docs/generate.py [FOLDER]     (default: this folder)

- systems.md and systems/<slug>.md from the registry and the recorded results of claims;
- generated/architecture.svg and generated/parts.md from the imports between the parts of `src/actrix`.

Nothing here imports torch, and the same tree always gives the same files.
"""

from __future__ import annotations

import ast
import html
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from actrix import registry
from actrix.claims import claim as claims
from actrix.claims import record

SOURCE = Path(registry.__file__).parent

# Lowest first. A part may import from the floors below it and, without a circle, from its own.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "outside", "rng", "spec", "registry", "budget"),
    ("nets",),
    ("actors", "critics", "credit", "objectives", "optim", "data"),
    ("envs", "language", "search"),
    ("evaluate",),
    ("run",),
    ("systems",),
    ("api", "claims", "deploy"),
    ("cli",),
)
ABOVE_ALL = ("__init__", "__main__")  # may import anything, and only when asked


# --- the imports ------------------------------------------------------------------------------------------------


def modules(source: Path = SOURCE) -> dict[str, Path]:
    """Every module of the package by dotted name."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """Modules of actrix that a file imports, anywhere in it and for whatever purpose (types included)."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "actrix"}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "actrix":
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(module: str) -> str:
    """The part that a module belongs to: the name after `actrix.`."""
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


def edges(source: Path = SOURCE) -> dict[str, set[str]]:
    """part -> parts that it imports."""
    found: dict[str, set[str]] = {}
    for module, path in modules(source).items():
        mine = found.setdefault(part_of(module), set())
        parts = {part_of(name) for name in imports(path)}
        mine |= {p for p in parts if (source / p).is_dir() or (source / f"{p}.py").is_file()}
    return {part: targets - {part, *ABOVE_ALL} for part, targets in found.items() if part not in ABOVE_ALL}


def floor_of(part: str) -> int:
    """The number of a part's floor, from 0."""
    return next(i for i, floor in enumerate(FLOORS) if part in floor)


def needed(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The imports that do not follow from others: A -> C is left out where A -> B -> C is there."""

    def reach(part: str, seen: set[str]) -> set[str]:
        for target in graph.get(part, set()) - seen:
            seen.add(target)
            reach(target, seen)
        return seen

    kept = []
    for part, targets in sorted(graph.items()):
        for target in sorted(targets):
            if not any(target in reach(other, set()) for other in targets - {target}):
                kept.append((part, target))
    return kept


# --- the picture ------------------------------------------------------------------------------------------------

WIDTH, ROW, BOX, HEIGHT, MARGIN = 860, 78, 104, 34, 24
ASIDE = {"systems": -280, "evaluate": 330, "envs": -30, "language": 227, "nets": -80, "claims": -20}  # off the lines


def picture(graph: dict[str, set[str]]) -> str:
    """An SVG of the parts on their floors, the top floor uppermost, with the imports that do not follow from others.

    The ground floor is there for all, and its arrows are left out.
    """
    shown = [[part for part in floor if part in graph] for floor in reversed(FLOORS)]
    shown = [row for row in shown if row]
    centre: dict[str, tuple[float, float]] = {}
    for r, row in enumerate(shown):
        for i, part in enumerate(row):
            x = WIDTH * (i + 1) / (len(row) + 1) + ASIDE.get(part, 0)
            centre[part] = (x, MARGIN + r * ROW + HEIGHT / 2)
    height = 2 * MARGIN + (len(shown) - 1) * ROW + HEIGHT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="14">',
        f"<title>Parts of actrix and what they import</title>"
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#fbfbf9"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#8a8f98"/></marker></defs>',
    ]
    for a, b in needed({part: targets - set(FLOORS[0]) for part, targets in graph.items()}):
        (x1, y1), (x2, y2) = centre[a], centre[b]
        level = y1 == y2  # on one floor: an arch above
        y1, y2 = (y1 - HEIGHT / 2, y2 - HEIGHT / 2) if level else (y1 + HEIGHT / 2, y2 - HEIGHT / 2)
        bend = y1 - 14 if level else (y1 + y2) / 2
        path = f"M{x1:.0f} {y1:.0f} C{x1:.0f} {bend:.0f} {x2:.0f} {bend:.0f} {x2:.0f} {y2:.0f}"
        out.append(f'<path d="{path}" fill="none" stroke="#8a8f98" stroke-width="1.2" marker-end="url(#tip)"/>')
    for part, (x, y) in centre.items():
        fill = "#dfe9f5" if (SOURCE / part).is_dir() else "#eeeeea"
        out.append(
            f'<rect x="{x - BOX / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{BOX}" height="{HEIGHT}" rx="5" '
            f'fill="{fill}" stroke="#5b6470"/>'
            f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" fill="#1c2126">{part}</text>'
        )
    return "\n".join([*out, "</svg>"]) + "\n"


def parts_table(graph: dict[str, set[str]]) -> str:
    """Every part: what it is (first sentence of its docstring) and what it imports, top floor first."""
    rows = ["| part | what it is | imports |", "| --- | --- | --- |"]
    for floor in reversed(FLOORS):
        for part in floor:
            if part in graph:
                path = SOURCE / part / "__init__.py" if (SOURCE / part).is_dir() else SOURCE / f"{part}.py"
                text = ast.get_docstring(ast.parse(path.read_text())) or "" if path.is_file() else ""
                line = " ".join(text.split("\n\n")[0].split())
                below = ", ".join(sorted(graph[part], key=lambda p: (-floor_of(p), p)))
                rows.append(f"| `{part}` | {cell(line)} | {below} |")
    return "\n".join(rows) + "\n"


# --- the systems ------------------------------------------------------------------------------------------------


def cell(text: str) -> str:
    """Text inside a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def paper_link(paper: str) -> str:
    """An arXiv number or a DOI as a link."""
    if paper.startswith("10."):
        return f"[doi:{paper}](https://doi.org/{paper})"
    return f"[arXiv {paper}](https://arxiv.org/abs/{paper})" if paper[:4].isdigit() else paper


def systems_page(entries: Iterable[registry.Entry]) -> str:
    """The table of all systems, by family."""
    out = [
        "# Systems",
        "",
        "Generated from the source of each system and from the recorded results of `actrix claim`. A claim is the",
        "published one, made small, with rules fixed before it was run; it is supported where all of them hold. *Not "
        "supported* is a result like any other, and *stale* means that the claim's",
        "settings have changed since it was run.",
        "",
    ]
    families: dict[str, list[registry.Entry]] = {}
    for entry in entries:
        families.setdefault(entry.family, []).append(entry)
    for family, members in families.items():
        out += [
            f"## {family.capitalize()}",
            "",
            "| system | what it is | acts in | paper | claim |",
            "| --- " * 5 + "|",
        ]
        for e in members:
            _, _, line = e.title.partition(": ")
            out.append(
                f"| [{e.slug}](systems/{e.slug}.md) | {cell(line or e.title)} | {', '.join(e.acts)} "
                f"| {paper_link(e.paper)} | {record.standing(e.slug)} |"
            )
        out.append("")
    return "\n".join(out)


def system_page(entry: registry.Entry) -> str:
    """One system: idea and equations, configuration, claim."""
    where = "--task NAME" if "tokens" in entry.acts else "--env ID"
    out = [
        f"# {entry.title.partition(':')[0]}",
        "",
        f"{entry.title}",
        "",
        f"`actrix train {entry.slug} {where}` · acts in {', '.join(entry.acts)} · {paper_link(entry.paper)} · "
        f"source `src/actrix/{entry.path.relative_to(SOURCE).as_posix()}`",
        "",
        text_as_markdown(entry.text),
        "",
        "## Configuration",
        "",
        "| field | type | default | meaning |",
        "| --- | --- | --- | --- |",
        *(f"| `{f.name}` | `{cell(f.type)}` | `{cell(f.default)}` | {cell(f.meaning)} |" for f in entry.fields),
        "",
        "## Claim",
        "",
    ]
    return "\n".join([*out, *claim_section(entry.slug), ""])


def text_as_markdown(text: str) -> str:
    """A docstring: its paragraphs, with indented blocks (equations) kept as they stand."""
    blocks, out = text.split("\n\n"), []
    for block in blocks:
        if block.startswith("    "):
            out.append("```text\n" + "\n".join(line.removeprefix("    ") for line in block.splitlines()) + "\n```")
        else:
            out.append(html.escape(block, quote=False).replace("*", "\\*").replace("_", "\\_"))
    return "\n\n".join(out)


def claim_section(slug: str) -> list[str]:
    """The recorded result of a claim in full."""
    result = claims.result_of(slug)
    if result is None:
        written = slug in claims.names()
        return [
            f"Nothing is recorded. {'`actrix claim ' + slug + '` runs it.' if written else 'No claim is written yet.'}"
        ]
    out = [
        f"**{record.standing(slug)}** · {result['claim']} ({result['source']})",
        "",
        *([text_as_markdown(result["note"]), ""] if result["note"] else []),
    ]
    for check in result["checks"]:
        out += [f"### {check['name']}: {check['verdict']}", "", f"{check['question']}", ""]
        out += [f"| arm | role | {cell(check['metric'])} | 95 % interval | each seed |", "| --- " * 5 + "|"]
        for arm in check["arms"]:
            each = ", ".join(claims.show(v) for v in arm["figures"].values())
            interval = f"{claims.show(arm['low'])} to {claims.show(arm['high'])}" if arm["low"] is not None else ""
            out.append(f"| {arm['name']} | {arm['role']} | {claims.show(arm['mean'])} | {interval} | {each} |")
        out += ["", "| fixed beforehand | | |", "| --- | --- | --- |"]
        for rule in check["rules"]:
            held = "holds" if rule["holds"] else "fails"
            out.append(f"| `{rule['rule']}` | {claims.show(rule['left'])} : {claims.show(rule['right'])} | {held} |")
        out.append("")
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    out.append(
        f"Run on {result['date']} in {result['minutes']:g} minutes, {result['cpu_minutes']:g} of processor time "
        f"({result['machine']}), at commit "
        f"`{result['commit']}`, configuration `{result['configuration']}`; {versions}."
    )
    return out


def write(folder: Path) -> list[Path]:
    """Write everything into `folder`; returns the files."""
    graph, entries = edges(), registry.catalogue().values()
    pages: dict[str, Any] = {
        "systems.md": systems_page(entries),
        "generated/architecture.svg": picture(graph),
        "generated/parts.md": parts_table(graph),
        **{f"systems/{entry.slug}.md": system_page(entry) for entry in entries},
    }
    for old in (folder / "systems").glob("*.md"):
        if f"systems/{old.name}" not in pages:
            old.unlink()
    written = []
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        written.append(path)
    return written


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    print(f"==> wrote {len(write(target))} pages and pictures from the tree")
