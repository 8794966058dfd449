"""`hopper lua`: the scripts as Redis runs them, for `redis-cli --eval` and for readers."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

from typing import Annotated

import typer

from hopper.cli.connection import Connection
from hopper.errors import NotFound

__all__ = ["lua"]


async def lua(
    _: Connection, name: Annotated[str | None, typer.Argument(metavar="[NAME]", show_default=False)] = None
) -> None:
    """Print a Lua script, for `redis-cli --eval`.

    Without a name it lists them.
    """
    from hopper.store.scripts import script, script_names

    names = script_names()
    if name is None:
        width = max(map(len, names))
        for one in names:
            typer.echo(f"{one.ljust(width)}  {script(one).header.summary}")
    elif name in names:
        typer.echo(script(name).text)
    else:
        raise NotFound(f"there is no script '{name}': it is one of {', '.join(names)}")
