"""actrix list [--json]"""

from __future__ import annotations

from actrix import registry
from actrix.claims import record
from actrix.cli import emit, table
from actrix.errors import ActrixError


def run(argv: list[str]) -> None:
    if argv and argv[0] in ("-h", "--help"):
        print("usage: actrix list [--json]\n\nlist the systems: name, family, paper, spaces, claim, one line")
        return
    if [a for a in argv if a != "--json"]:
        raise ActrixError(f"actrix list takes no {argv[0]!r}", "only --json", misuse=True)
    entries, stale = registry.catalogue().values(), record.stale_ones()
    if "--json" in argv:
        emit([{**registry.describe(e), "stale": e.slug in stale} for e in entries])
        return
    rows = [["system", "family", "paper", "acts in", "claim", ""]]
    for e in entries:
        rows.append([e.slug, e.family, e.paper, ", ".join(e.acts), record.standing(e.slug, e.slug in stale), e.title])
    print(table(rows))
