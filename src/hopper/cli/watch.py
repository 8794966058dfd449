"""`hopper watch`: every change as it comes, one line each."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from hopper.cli.connection import Connection
from hopper.cli.numbers import whole
from hopper.cli.signals import until_signal
from hopper.errors import Invalid

if TYPE_CHECKING:
    from hopper.model.event import Event

__all__ = ["watch"]


class WatchFormat(StrEnum):
    """How an event is printed."""

    LINE = "line"
    JSON = "json"


async def watch(
    connection: Connection,
    since: Annotated[
        int | None,
        typer.Option(metavar="REVISION", parser=whole("since", minimum=0), help="begin after this revision [now]"),
    ] = None,
    type: Annotated[list[str] | None, typer.Option(metavar="TYPE", help="only events of these types")] = None,
    id: Annotated[list[str] | None, typer.Option(metavar="ID", help="only events of these instances")] = None,
    output: Annotated[WatchFormat, typer.Option("--output", "-o", help="how to print")] = WatchFormat.LINE,
) -> None:
    """Print every change as it comes.

    It goes on until interrupted, and leaves nothing out.
    """
    from hopper.instance.watching import watch as events_of
    from hopper.model.event import EventType

    for word in type or []:
        if word not in list(EventType):
            raise Invalid(f"type is {word!r}, not one of {', '.join(EventType)}", field="type", value=word)

    async def follow() -> None:
        async with connection.joined() as settings:
            async for event in events_of(settings, since=since):
                if (not type or event.type in type) and (not id or event.id in id):
                    typer.echo(event.to_json() if output is WatchFormat.JSON else _line(event))

    await until_signal(follow())


def _line(event: "Event") -> str:
    at = datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    words = [str(event.revision), at, event.type, event.id or "-"]
    if event.previous:
        now: dict[str, Any] = orjson.loads(event.record_json or b"{}")
        words += [f"{name}={_word(old)}->{_word(now.get(name))}" for name, old in event.previous.items()]
    elif event.record is not None:
        words += [f"{name}={_word(getattr(event.record, name))}" for name in ("scope", "parent_id", "state")]
    words += [f"{name}={_word(value)}" for name, value in event.evidence.items() if name != "reason"]
    words += [f"{name}={value}" for name, value in (("reason", event.reason), ("actor", event.actor)) if value]
    return "  ".join(words)


def _word(value: Any) -> str:
    """A value as one word without spaces or line breaks."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if text and text.isprintable() and " " not in text else orjson.dumps(text).decode()
