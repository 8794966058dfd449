"""Commands about many instances: `ls` and `discover`."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from hopper.cli.connection import Connection
from hopper.cli.filters import choosing
from hopper.cli.numbers import whole
from hopper.cli.output import Output, OutputOption, print_records
from hopper.model.scope import Scope

if TYPE_CHECKING:
    from hopper.instance.registry import InstanceRegistry
    from hopper.model.record import Record
    from hopper.model.selector import Selector

__all__ = ["discover", "ls"]

SortOption = Annotated[str, typer.Option("--sort", metavar="FIELD", help="'-' before the field: descending")]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", parser=whole("limit", minimum=1), help="print no more than these"),
]

_CREATION = "created_revision"


@choosing
async def ls(
    connection: Connection,
    selector: "Selector",
    available: Annotated[
        bool | None, typer.Option("--available/--no-available", help="those in service; those that are not")
    ] = None,
    sort: SortOption = _CREATION,
    limit: LimitOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List instances.

    All of them, or those that every filter lets through.
    """
    async with connection.registry() as registry:
        found = await registry.list(replace(selector, available=available))
        await _print(registry, found, sort=sort, limit=limit, output=output)


@choosing
async def discover(
    connection: Connection,
    selector: "Selector",
    available: Annotated[
        bool, typer.Option("--available/--no-available", help="those in service; in service or not")
    ] = True,
    can_parent: Annotated[
        Scope | None, typer.Option(case_sensitive=False, help="those that can take a child of this scope")
    ] = None,
    sort: SortOption = _CREATION,
    limit: LimitOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the instances that are in service.

    In service is who is running, alive, not flapping and not in maintenance.
    """
    async with connection.registry() as registry:
        found = await registry.discover(replace(selector, available=available), can_parent=can_parent)
        await _print(registry, found, sort=sort, limit=limit, output=output)


async def _print(
    registry: "InstanceRegistry", found: "Sequence[Record]", *, sort: str, limit: int | None, output: Output
) -> None:
    from hopper.instance.discovery import page_of

    page = page_of(found, sort=sort, limit=limit or len(found))
    print_records(page.records, output, now_ms=(await registry.store.open()).now_ms)
