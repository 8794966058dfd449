"""Many instances by one command: `register --file` with an array, and `link` with several children."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

from collections.abc import Sequence
from typing import Any

import typer

from hopper.cli.connection import ACTOR, Connection
from hopper.cli.exits import exit_of, sentence_of
from hopper.cli.output import Output, print_json
from hopper.errors import HopperError, Invalid
from hopper.model.takeover import Takeover

__all__ = ["link_all", "register_all"]


async def register_all(
    connection: Connection,
    documents: Sequence[Any],
    *,
    takeover: Takeover,
    require_live_parent: bool | None,
    how: Output,
) -> None:
    """Register instances in their order. All documents are read before the first is registered.

    Raises `Invalid` for one that cannot be read; one that is refused stops no other.
    """
    from hopper.model.spec import parse_spec

    specs = []
    for number, document in enumerate(documents, start=1):
        try:
            specs.append(parse_spec(document))
        except Invalid as error:
            raise Invalid(
                f"entry {number} of {len(documents)}: {error}", field=error.field, value=error.value
            ) from None
    async with connection.store() as store:
        done = await store.register_many(specs, takeover=takeover, require_live_parent=require_live_parent, actor=ACTOR)
    _print(
        [
            (str(spec.id), result) if isinstance(result, HopperError) else (result.id, result.revision)
            for spec, result in zip(specs, done, strict=True)
        ],
        how,
    )


async def link_all(
    connection: Connection, children: Sequence[str], parent: str, *, require_live_parent: bool | None, how: Output
) -> None:
    """Put several children under a parent."""
    async with connection.store() as store:
        pairs = [(child, parent) for child in children]
        done = await store.link_many(pairs, require_live_parent=require_live_parent, actor=ACTOR)
    _print(list(zip(children, done, strict=True)), how)


def _print(results: Sequence[tuple[str, int | HopperError]], how: Output) -> None:
    """What became of each; ends with the exit code of the first that failed."""
    failed = [result for _, result in results if isinstance(result, HopperError)]
    if how is Output.JSON:
        print_json([_document(id, result) for id, result in results])
    for id, result in results:
        if isinstance(result, HopperError):
            typer.echo(f"hopper: {sentence_of(result)}", err=True)
        elif how is not Output.JSON:
            typer.echo(id if how is Output.NAME else f"{id}  revision {result}")
    if failed:
        raise typer.Exit(exit_of(failed[0]))


def _document(id: str, result: int | HopperError) -> dict[str, Any]:
    if isinstance(result, HopperError):
        return {"id": id, "code": result.code, "detail": str(result)}
    return {"id": id, "revision": result}
