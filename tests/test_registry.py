"""The catalogue says of every system what importing it would: fields, defaults and their order, inherited ones too."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from actrix import registry
from actrix.registry import Settings


class Warm(Settings, before="warm"):
    warm: int = 3


class Answering(Warm, before="heat"):
    prompts: int = 4
    heat: float = 1.0


@dataclass(frozen=True)
class Config(Answering):
    own: str = "x"
    prompts: int = 5
    last: int = 6


def test_own_fields_come_where_the_base_wants_them() -> None:
    assert dataclasses.asdict(Config()) == {"prompts": 5, "own": "x", "last": 6, "heat": 1.0, "warm": 3}
    assert list(dataclasses.asdict(Config(warm=7))) == ["prompts", "own", "last", "heat", "warm"]
    assert Config(5, "y").own == "y"
    assert not hasattr(Warm, "prompts")


@pytest.mark.parametrize("slug", registry.catalogue())
def test_what_is_read_is_what_is_imported(slug: str) -> None:
    read = [(f.name, f.type, eval(f.default)) for f in registry.find(slug).fields]
    assert read == [(f.name, f.type, f.default) for f in dataclasses.fields(registry.load(slug).config)]


def test_a_system_elsewhere_may_share_fields_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the library, of a module beside it, and of its own; nothing of it is run."""
    (tmp_path / "beside_it.py").write_text(
        "from actrix.run.settings import Sampled as Said\nraise SystemExit('it was run')\n"
        "class Shared(Said, before='temperature'):\n    depth: int = 2  # layers\n    beta: float = 0.5  # of it\n"
    )
    (tmp_path / "elsewhere.py").write_text(
        '"""Mine: a system."""\nfrom actrix.registry import system\nfrom beside_it import Shared\nraise SystemExit\n'
        "class Mine(Shared, before='temperature'):\n    mine: int = 1  # own\n"
        "class Config(Mine):\n    beta: float = 0.25  # less\n    more: str = 'a'  # last of its own\n"
        "@system('mine', family='mine', paper='', acts=('tokens',))\nclass Learner: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    fields = registry.find("elsewhere:mine").fields
    assert [f.name for f in fields] == [
        "depth", "beta", "mine", "more", "temperature", "warm_steps", "warm_batch", "warm_slips", "warm_rate",
    ]  # fmt: skip
    assert fields[:4] == (
        registry.Field("depth", "int", "2", "layers"),
        registry.Field("beta", "float", "0.25", "less"),
        registry.Field("mine", "int", "1", "own"),
        registry.Field("more", "str", "'a'", "last of its own"),
    )
    assert fields[5] == registry.Field("warm_steps", "int", "2000", "supervised batches before the first round")
    assert "elsewhere" not in sys.modules
