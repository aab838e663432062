"""actrix show SYSTEM"""

from __future__ import annotations

from actrix import registry
from actrix.claims import record
from actrix.cli import emit, table
from actrix.errors import ActrixError


def run(argv: list[str]) -> None:
    if argv and argv[0] in ("-h", "--help"):
        print("usage: actrix show SYSTEM [--json]\n\none system: idea, equations, configuration, paper, claim")
        return
    slugs = [a for a in argv if a != "--json"]
    if len(slugs) != 1 or slugs[0].startswith("-"):
        raise ActrixError("show which system?", "actrix show SYSTEM; `actrix list` names them", misuse=True)
    entry = registry.find(slugs[0])
    claim, stale = record.result_of(entry.slug), record.is_stale(entry.slug)
    if "--json" in argv:
        fields = [f.__dict__ for f in entry.fields]
        emit({**registry.describe(entry), "text": entry.text, "config": fields, "stale": stale, "result": claim})
        return
    print(f"{entry.title}\n\n{entry.text}\n\nconfiguration (actrix train {entry.slug} --FIELD VALUE)\n")
    print(table([[f"  --{f.name.replace('_', '-')}", f.default, f.meaning] for f in entry.fields]))
    print(f"\nacts in  {', '.join(entry.acts)}\npaper    {entry.paper}\nclaim    {record.standing(entry.slug)}")
    if claim is not None:
        print(f"         {claim['claim']}\n         {claim['finding']}")
    if stale:
        print(f"         recorded before the claim or a default changed: `actrix claim {entry.slug}` runs it again")
