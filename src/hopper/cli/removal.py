"""`hopper rm`: an instance removed, with what becomes of its children."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

from typing import Annotated, Any

import typer

from hopper.cli.connection import ACTOR, Connection
from hopper.cli.instances import Id
from hopper.cli.output import Output, OutputOption, print_json
from hopper.model.children import ChildrenMode

__all__ = ["rm"]

_OPERATOR = "operator"


async def rm(
    connection: Connection,
    id: Id,
    children: Annotated[
        ChildrenMode, typer.Option(case_sensitive=False, help="what becomes of its children")
    ] = ChildrenMode.RESTRICT,
    reparent_to: Annotated[
        str | None, typer.Option("--reparent-to", metavar="ID", help="where they go; with --children reparent")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only tell whom it would remove and move")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Deregister an instance.

    One with children only if it is said what becomes of them.
    """
    from hopper.instance.departures import Departures, departure_of, moved_set

    how = departure_of(children, reparent_to)
    if dry_run:
        async with connection.registry() as registry:
            items = await registry.would_deregister(id, children=children, reparent_to=reparent_to)
            moved = moved_set(registry.view.replica, id, how)
        _print({"items": items, "moved": moved}, items, "would be deregistered", output)
        if output in (Output.TABLE, Output.WIDE):
            fate = "would become an orphan" if reparent_to is None else f"would move to '{reparent_to}'"
            for child in moved:
                typer.echo(f"instance '{child}' {fate}")
        return
    async with connection.store() as store:
        below: list[str] = []
        revision = await Departures(store).remove(id, how, removed=below, reason=_OPERATOR, actor=ACTOR)
    with_it = f", with {len(below)} below it" if below else ""
    what = f"is deregistered at revision {revision}{with_it}"
    _print({"id": id, "revision": revision, "items": [*below, id]}, [id], what, output)


def _print(document: dict[str, Any], ids: list[str], what: str, output: Output) -> None:
    match output:
        case Output.JSON:
            print_json(document)
        case Output.NAME:
            for id in ids:
                typer.echo(id)
        case _:
            for id in ids:
                typer.echo(f"instance '{id}' {what}")
