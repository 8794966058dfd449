"""Commands about many instances: `ls` and `discover`."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

from typing import Annotated

import typer

from hopper.cli.connection import Connection
from hopper.cli.fields import (
    AncestorFilter,
    HealthFilter,
    MetaFilter,
    NameFilter,
    OrphanFilter,
    ParentFilter,
    ScopeFilter,
    StateFilter,
    TagFilter,
    VersionFilter,
    selector_of,
)
from hopper.cli.numbers import whole
from hopper.cli.output import Output, OutputOption, print_records
from hopper.model.scope import Scope

__all__ = ["discover", "ls"]

SortOption = Annotated[str, typer.Option("--sort", metavar="FIELD", help="'-' before the field: descending")]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", parser=whole("limit", minimum=1), help="print no more than these"),
]

_CREATION = "created_revision"


async def ls(
    connection: Connection,
    scope: ScopeFilter = None,
    state: StateFilter = None,
    health: HealthFilter = None,
    tag: TagFilter = None,
    name: NameFilter = None,
    parent: ParentFilter = None,
    ancestor: AncestorFilter = None,
    version: VersionFilter = None,
    meta: MetaFilter = None,
    orphan: OrphanFilter = None,
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
    selector = selector_of(
        scope=scope,
        state=state,
        health=health,
        tag=tag,
        meta=meta,
        name=name,
        parent=parent,
        ancestor=ancestor,
        version=version,
        orphan=orphan,
        available=available,
    )
    from hopper.instance.discovery import page_of

    async with connection.registry() as registry:
        found = await registry.list(selector)
        page = page_of(found, sort=sort, limit=limit or len(found))
        print_records(page.records, output, now_ms=(await registry.store.open()).now_ms)


async def discover(
    connection: Connection,
    scope: ScopeFilter = None,
    state: StateFilter = None,
    health: HealthFilter = None,
    tag: TagFilter = None,
    name: NameFilter = None,
    parent: ParentFilter = None,
    ancestor: AncestorFilter = None,
    version: VersionFilter = None,
    meta: MetaFilter = None,
    orphan: OrphanFilter = None,
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
    selector = selector_of(
        scope=scope,
        state=state,
        health=health,
        tag=tag,
        meta=meta,
        name=name,
        parent=parent,
        ancestor=ancestor,
        version=version,
        orphan=orphan,
        available=available,
    )
    from hopper.instance.discovery import page_of

    async with connection.registry() as registry:
        found = await registry.discover(selector, can_parent=can_parent)
        page = page_of(found, sort=sort, limit=limit or len(found))
        print_records(page.records, output, now_ms=(await registry.store.open()).now_ms)
