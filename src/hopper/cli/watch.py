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
    from hopper.instance.following import Break
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

    It goes on until interrupted. Where Redis was started again, or has lost changes, a line says so: log_continued,
    log_lost.
    """
    from hopper.instance.following import Break
    from hopper.instance.following import follow as events_of
    from hopper.model.event import EventType

    for word in type or []:
        if word not in list(EventType):
            raise Invalid(f"type is {word!r}, not one of {', '.join(EventType)}", field="type", value=word)

    async def follow() -> None:
        async with connection.joined() as settings:
            async for event in events_of(settings, since=since):
                if isinstance(event, Break) or ((not type or event.type in type) and (not id or event.id in id)):
                    typer.echo(event.to_json() if output is WatchFormat.JSON else _line(event))

    await until_signal(follow())


def _line(event: "Event | Break") -> str:
    from hopper.model.event import Event

    at = datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if not isinstance(event, Event):
        return "  ".join([str(event.revision), at, event.type, "-", f"epoch={event.epoch}", event.detail])
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
    """A value without line breaks: a text is one word or in quotes, and so are sentences; all else is JSON."""
    if value is None:
        return "-"
    if isinstance(value, list) and all(isinstance(item, str) for item in value) and any(" " in item for item in value):
        value = "; ".join(value)
    elif not isinstance(value, str):
        return orjson.dumps(value).decode()
    return value if value and value.isprintable() and " " not in value else orjson.dumps(value).decode()
