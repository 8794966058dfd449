"""`hopper guard`: the hold and the guards in force, and the release of a guard."""

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from hopper.cli.connection import Connection
from hopper.cli.output import print_facts, print_json
from hopper.errors import Invalid

if TYPE_CHECKING:
    from hopper.instance.health import GuardReport

__all__ = ["guard"]

ACTOR = "cli"


class GuardFormat(StrEnum):
    """How the guards are printed."""

    TABLE = "table"
    JSON = "json"


class GuardAction(StrEnum):
    """What is to be done."""

    SHOW = "show"
    RELEASE = "release"


async def guard(
    connection: Connection,
    action: Annotated[
        str, typer.Argument(metavar="[show|release]", help="what to do [show]", show_default=False)
    ] = GuardAction.SHOW,
    group: Annotated[
        str | None, typer.Argument(metavar="[GROUP]", help="global, orphans or project:ID [all]", show_default=False)
    ] = None,
    output: Annotated[GuardFormat, typer.Option("--output", "-o", help="how to print")] = GuardFormat.TABLE,
) -> None:
    """Show why nobody is judged just now, or release guards.

    Who of a released group is silent is judged at once. A hold ends by itself, once Redis works.
    """
    if action not in list(GuardAction):
        message = f"action is {action!r}, not show or release: `hopper guard release GROUP` releases one"
        raise Invalid(message, field="action", value=action)
    async with connection.registry() as registry:
        released = await registry.release_guard(group, actor=ACTOR) if action == GuardAction.RELEASE else None
        report = await registry.guard()
    if output is GuardFormat.JSON:
        print_json(asdict(report) if released is None else {**asdict(report), "released": released})
        return
    print_facts(_facts(report, released))


def _facts(report: "GuardReport", released: list[str] | None) -> dict[str, str]:
    facts = {"released": ", ".join(released) or "nothing: no such guard stands"} if released is not None else {}
    facts["hold"] = _why(report.hold) if report.hold else "none"
    facts["guards"] = "" if report.guards else "none"
    return facts | {name: _why(evidence) for name, evidence in report.guards.items()}


def _why(evidence: dict[str, object]) -> str:
    return str(evidence.get("reason", evidence))
