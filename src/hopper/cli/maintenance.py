"""`hopper maintenance`: an instance taken out of service, or put back."""

from typing import Annotated

import typer

from hopper.cli.connection import ACTOR, Connection
from hopper.cli.instances import Id
from hopper.cli.numbers import seconds, whole
from hopper.cli.output import Output, OutputOption, print_record
from hopper.errors import Invalid, NotFound
from hopper.model.maintenance import maintenance_request

__all__ = ["maintenance"]


async def maintenance(
    connection: Connection,
    id: Id,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="why, kept in its record")] = None,
    for_s: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", parser=seconds("for"), help="for how long [no end]")
    ] = None,
    until_ms: Annotated[
        int | None,
        typer.Option(
            "--until", metavar="MS", parser=whole("until", minimum=0), help="until when, in ms of Redis' clock [no end]"
        ),
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="put it back into service")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take an instance out of service, or put it back.

    Nobody discovers, restarts or removes it meanwhile, and nobody is alarmed; registering again changes nothing of it.
    """
    said = {"reason": reason, "for_s": for_s, "until_ms": until_ms}
    document = {name: value for name, value in said.items() if value is not None}
    if end and document:
        name, value = next(iter(document.items()))
        raise Invalid(f"{name} is {value!r}, and --end takes none", field=name, value=value)
    asked = maintenance_request(document)
    async with connection.store() as store:
        if end:
            await store.end_maintenance(id, actor=ACTOR)
        else:
            await store.maintain(id, asked, actor=ACTOR)
        record = await store.read(id)
    if record is None:
        raise NotFound(f"there is no instance '{id}'")
    print_record(record, output)
