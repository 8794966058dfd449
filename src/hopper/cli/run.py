"""`hopper run -- CMD`: a command as an instance of the registry."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

from enum import StrEnum
from typing import Annotated

import typer

from hopper.cli.connection import Connection
from hopper.cli.fields import (
    IdOption,
    MetaOption,
    NameOption,
    ParentOption,
    TagOption,
    TtlOption,
    WishOption,
    spec_document,
)
from hopper.cli.numbers import seconds
from hopper.cli.signals import on_signals
from hopper.model.scope import Scope

__all__ = ["run"]

_STOP_TIMEOUT_S = 10.0


class Heartbeat(StrEnum):
    """Who heartbeats."""

    PROCESS = "process"
    CHILD = "child"


async def run(
    connection: Connection,
    command: Annotated[list[str], typer.Argument(metavar="-- CMD...", show_default=False)],
    id: IdOption = None,
    name: NameOption = None,
    scope: Annotated[Scope, typer.Option(case_sensitive=False, help="its level in the tree")] = Scope.ORCHESTRATION,
    parent: ParentOption = None,
    wish: WishOption = None,
    ttl: TtlOption = None,
    tag: TagOption = None,
    meta: MetaOption = None,
    stop_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", parser=seconds("stop_timeout"), help="how long CMD has after SIGTERM before SIGKILL [10]"
        ),
    ] = None,
    heartbeat: Annotated[
        Heartbeat, typer.Option(help="heartbeat while CMD lives, or leave that to CMD ($HOPPER_HEARTBEAT_KEY)")
    ] = Heartbeat.PROCESS,
) -> int:
    """Run a command as an instance.

    It is registered, heartbeated and, when it has ended, stopped or failed. The exit code is the command's own.
    """
    from hopper.instance.supervisor import Supervisor
    from hopper.model.spec import parse_spec

    document = spec_document(
        {},
        id=id,
        name=name,
        scope=scope,
        parent_id=parent,
        wish=wish,
        ttl_s=ttl,
        tags=tag,
        metadata=meta,
    )
    spec = parse_spec(document)
    async with connection.started() as settings:
        supervisor = Supervisor(
            spec,
            command,
            settings=settings,
            heartbeats=heartbeat is Heartbeat.PROCESS,
            stop_timeout_s=_STOP_TIMEOUT_S if stop_timeout is None else stop_timeout,
        )
        with on_signals(supervisor.stop):
            return await supervisor.run()
