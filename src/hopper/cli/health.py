"""`hopper health`: the registry at a glance, or one instance with its heartbeat."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hopper.cli.connection import Connection
from hopper.cli.output import print_facts, print_json

if TYPE_CHECKING:
    from hopper.instance.health import HealthSummary, InstanceHealth, Troubled

__all__ = ["health"]

_SHOWN = 5


class HealthFormat(StrEnum):
    """How a report is printed."""

    TABLE = "table"
    JSON = "json"


async def health(
    connection: Connection,
    id: Annotated[str | None, typer.Argument(metavar="[ID]", show_default=False)] = None,
    output: Annotated[HealthFormat, typer.Option("--output", "-o", help="how to print")] = HealthFormat.TABLE,
) -> None:
    """Show the health of all, or of one instance."""
    async with connection.registry() as registry:
        if id is None:
            summary = await registry.health()
            facts = _facts_of_all(summary)
            report: HealthSummary | InstanceHealth = summary
        else:
            one = await registry.health(id)
            facts, report = _facts_of_one(one), one
    if output is HealthFormat.JSON:
        print_json(report)
    else:
        print_facts(facts)


def _facts_of_all(summary: "HealthSummary") -> dict[str, str]:
    return {
        "status": summary.status,
        "instances": f"{summary.total}{_counted(summary.scopes, ' (', ')')}",
        "health": _counted(summary.health),
        "states": _counted(summary.states),
        **{word: _named(troubled) for word, troubled in summary.troubled.items()},
        "orphans": str(summary.orphans),
        "monitor": summary.monitor or "none: nobody notices who stops heartbeating",
        "hold": str(summary.hold.get("reason", summary.hold)) if summary.hold else "",
        "guards": ", ".join(summary.guards),
        "strays": _strays(summary.strays),
        "redis": summary.redis,
    }


def _facts_of_one(one: "InstanceHealth") -> dict[str, str]:
    if one.expires_in_ms is None:
        heartbeat = "none"
    else:
        heartbeat = f"expires in {one.expires_in_ms / 1000:.1f} s of {one.ttl_ms / 1000:g} s"
    return {
        "id": one.id,
        "name": one.name,
        "scope": one.scope,
        "state": one.state,
        "health": one.health,
        "reasons": "; ".join(one.reasons),
        "subtree": "" if one.rollup is None else f"{_counted(one.rollup['counts'])}; worst {one.rollup['worst']}",
        "heartbeat": heartbeat,
        "incarnation": str(one.incarnation),
        "restarts": str(one.restarts),
        "restart": "" if one.restart is None else one.restart.text,
        "flapping": "yes" if one.flapping else "",
        **{name: str(value) for name, value in one.metrics.items() if name != "incarnation"},
        "problems": "; ".join(one.problems),
    }


def _named(troubled: "Troubled") -> str:
    """How many there are, and the first of them."""
    more = f" and {troubled.count - len(troubled.ids)} more" if troubled.count > len(troubled.ids) else ""
    return f"{troubled.count}: {', '.join(troubled.ids)}{more}"


def _strays(strays: Mapping[str, Mapping[str, Any]]) -> str:
    """The first of them with what is wrong, and how many more there are."""
    words = [f"{id} ({stray.get('kind')})" for id, stray in sorted(strays.items())]
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return f"{', '.join(words[:_SHOWN])}{more}"


def _counted(counts: Mapping[str, int], before: str = "", after: str = "") -> str:
    words: list[Any] = [f"{name} {count}" for name, count in counts.items() if count]
    return f"{before}{', '.join(words)}{after}" if words else ""
