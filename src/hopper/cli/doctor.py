"""`hopper doctor`: what may be wrong with a registry, and what to do about it."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hopper.cli.connection import Connection
from hopper.cli.exits import Exit
from hopper.cli.health import HealthFormat
from hopper.cli.output import print_json
from hopper.errors import Unavailable

if TYPE_CHECKING:
    from hopper.model.finding import Finding

__all__ = ["doctor"]


async def doctor(
    connection: Connection,
    output: Annotated[HealthFormat, typer.Option("--output", "-o", help="how to print")] = HealthFormat.TABLE,
) -> int:
    """Look for what is wrong with Redis and the registry.

    Changes nothing. Ends with 7 where there is a problem; warnings alone end with 0.
    """
    from hopper.instance.diagnosis.doctor import away, examine
    from hopper.model.finding import Level, gravest

    try:
        async with connection.joined() as settings:
            findings = await examine(settings)
    except Unavailable as error:  # no embedded Valkey runs
        findings = [away(error)]
    worst = gravest(findings)
    if output is HealthFormat.JSON:
        print_json({"worst": worst, "findings": findings})
    else:
        _print(findings)
    return Exit.PROBLEM if worst is Level.PROBLEM else Exit.OK


def _print(findings: Sequence["Finding"]) -> None:
    """One finding a line, and below it what to do."""
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        typer.echo(f"{finding.level.ljust(7)}  {finding.check.ljust(width)}  {finding.text}")
        if finding.advice:
            typer.echo(f"{' ' * (width + 9)}  -> {finding.advice}")
