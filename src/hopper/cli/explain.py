"""`hopper explain`: the story of one instance, from the log."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

from typing import Annotated

import typer

from hopper.cli.connection import Connection
from hopper.cli.instances import Id
from hopper.cli.numbers import whole
from hopper.cli.output import Output, OutputOption, print_json

__all__ = ["explain"]


async def explain(
    connection: Connection,
    id: Id,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", parser=whole("limit", minimum=1), help="no more events than these")
    ] = 1000,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell the story of an instance.

    What the log knows of it, also when it is gone; times are UTC. What happened again and again is told once.
    """
    from hopper.instance.history import History
    from hopper.store.log import ChangeLog
    from hopper.store.restarting import RestartStore

    async with connection.store() as store:
        record = await store.read(id)
        history = History(ChangeLog(store.settings, client=store.client))
        story = await history.of(id, limit=limit, newest_first=True, known=record is not None)
        ledger = await RestartStore(store.settings, client=store.client).ledger(id)
    story.events.reverse()
    told = story.explained(record, ledger)
    match output:
        case Output.JSON:
            print_json(told)
        case Output.NAME:
            typer.echo(id)
        case _:
            for line in told["page"]:
                typer.echo(line)
            typer.echo(told["summary"])
            if told["restart"] is not None:
                typer.echo(f"restart: {told['restart'].text}")
            typer.echo(f"now: {told['now']}")
