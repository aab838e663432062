"""One fork server for all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from shells import Shell


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    made = Shell(tmp_path_factory.mktemp("shell"))
    yield made
    made.close()
