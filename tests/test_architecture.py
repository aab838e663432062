"""The floors of the tree: imports point down, systems know nothing of each other, `import actrix` is light."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def tree() -> ModuleType:
    """docs/generate.py, which draws the picture from the same imports and floors."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_part_has_a_floor(tree: ModuleType) -> None:
    known = {part for floor in tree.FLOORS for part in floor}
    assert set(tree.edges()) <= known, "say in docs/generate.py (FLOORS) on which floor the new part stands"


def test_imports_point_down(tree: ModuleType) -> None:
    up = [
        f"{part} imports {target}"
        for part, targets in tree.edges().items()
        for target in targets
        if tree.floor_of(target) > tree.floor_of(part)
    ]
    assert not up


def test_no_circles(tree: ModuleType) -> None:
    graph = tree.edges()

    def reach(part: str, seen: set[str]) -> set[str]:
        for target in graph.get(part, set()) - seen:
            seen.add(target)
            reach(target, seen)
        return seen

    assert not [part for part in graph if part in reach(part, set())]


def test_an_import_upwards_would_be_seen(tree: ModuleType, tmp_path: Path) -> None:
    """The checks above can fail."""
    package = tmp_path / "actrix"
    for part in ("nets", "run"):
        (package / part).mkdir(parents=True)
        (package / part / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "nets" / "mlp.py").write_text(
        "def f():\n    from actrix.run import trainer\n    import actrix.run.feeds\n"
    )
    assert tree.edges(package)["nets"] == {"run"}
    assert tree.floor_of("run") > tree.floor_of("nets")


def test_no_system_imports_another(tree: ModuleType) -> None:
    systems = {m: p for m, p in tree.modules().items() if m.startswith("actrix.systems.") and p.name != "__init__.py"}
    assert systems
    for module, path in systems.items():
        # `from actrix.systems.control.sac import SAC` and `from actrix.systems.control import sac` alike
        taken = [name for name in tree.imports(path) if name.startswith("actrix.systems.")]
        assert not taken, f"{module} imports {taken}: what two share moves down a floor"


def loaded(code: str) -> set[str]:
    """Which of the heavy packages are loaded after `code` in a fresh interpreter."""
    code += (
        "\nimport sys\nprint(*[m for m in ('torch', 'gymnasium', 'scipy', 'transformers', 'onnx') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    return set(out.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import actrix",
        "from actrix import cli, registry; registry.catalogue()",
        "from actrix.claims import claim; [claim.is_stale(slug) or claim.load_claim(slug) for slug in claim.names()]",
    ],
    ids=["package", "registry", "claims"],
)
def test_light_imports(code: str) -> None:
    assert not loaded(code)
