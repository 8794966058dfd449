"""The options that choose instances, the same for every command that does."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hopper.cli.fields import pairs
from hopper.model.health import Health
from hopper.model.scope import Scope
from hopper.model.state import State

if TYPE_CHECKING:
    from hopper.cli.connection import Command
    from hopper.model.selector import Selector

__all__ = ["choosing"]

_FILTERS: dict[str, Any] = {
    "scope": Annotated[list[Scope] | None, typer.Option(case_sensitive=False, help="one of these")],
    "state": Annotated[list[State] | None, typer.Option(case_sensitive=False, help="one of these")],
    "health": Annotated[list[Health] | None, typer.Option(case_sensitive=False, help="one of these")],
    "tag": Annotated[list[str] | None, typer.Option(metavar="TAG", help="all of these")],
    "name": Annotated[str | None, typer.Option(metavar="NAME", help="exact, or a glob like 'web-*'")],
    "parent": Annotated[str | None, typer.Option(metavar="ID", help="the children of one")],
    "ancestor": Annotated[str | None, typer.Option(metavar="ID", help="all below one")],
    "version": Annotated[str | None, typer.Option(metavar="VERSION", help="exactly this version")],
    "meta": Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="all of these")],
    "orphan": Annotated[
        bool | None, typer.Option("--orphan/--no-orphan", help="those that lack a parent; those that do not")
    ],
}


def choosing(command: "Command") -> "Command":
    """Give `command(connection, selector, ...)` the filters as options; it gets the selector that they describe."""

    async def run(connection: Any, **values: Any) -> int | None:
        filters = {name: values.pop(name) for name in _FILTERS}
        return await command(connection, _selector_of(**filters), **values)

    connection, _, *own = inspect.signature(command).parameters.values()
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _FILTERS.items()
    ]
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = inspect.Signature([connection, *options, *own])  # type: ignore[attr-defined]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def _selector_of(
    *,
    scope: list[Scope] | None,
    state: list[State] | None,
    health: list[Health] | None,
    tag: list[str] | None,
    meta: list[str] | None,
    **more: Any,
) -> "Selector":
    from hopper.model.selector import Selector

    return Selector(
        scope=frozenset(scope or ()),
        state=frozenset(state or ()),
        health=frozenset(health or ()),
        tags=frozenset(tag or ()),
        metadata=pairs(meta, "meta"),
        **more,
    )
