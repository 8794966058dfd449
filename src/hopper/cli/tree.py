"""`hopper tree`: the hierarchy as text, JSON, Mermaid or DOT."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

from enum import StrEnum
from typing import Annotated

import typer

from hopper.cli.connection import Connection
from hopper.cli.numbers import whole
from hopper.cli.output import print_json

__all__ = ["tree"]


class TreeFormat(StrEnum):
    """How the tree is written; the names of `hopper.instance.topology.Format`, which is slow to import."""

    TEXT = "text"
    JSON = "json"
    MERMAID = "mermaid"
    DOT = "dot"


async def tree(
    connection: Connection,
    root: Annotated[str | None, typer.Option(metavar="ID", help="where to begin [the Global]")] = None,
    depth: Annotated[
        int | None,
        typer.Option(metavar="N", parser=whole("depth", minimum=0), help="levels below the root to show"),
    ] = None,
    at_revision: Annotated[
        int | None,
        typer.Option(metavar="N", parser=whole("at_revision", minimum=0), help="as it was then, while the log knows"),
    ] = None,
    output: Annotated[TreeFormat, typer.Option("--output", "-o", help="how to write it")] = TreeFormat.TEXT,
) -> None:
    """Show who stands under whom."""
    from hopper.instance.topology import Format, draw

    async with connection.registry() as registry:
        topology = await registry.topology(root=root, depth=depth, at_revision=at_revision)
    if output is TreeFormat.JSON:
        top = topology.root.as_json() if topology.root else None
        print_json({"root": top, "orphans": [node.as_json() for node in topology.orphans]})
    else:
        typer.echo(draw(topology, Format(output)), nl=False)
