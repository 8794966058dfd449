"""What commands print: tables, documents and names, for people on a terminal and for programs behind a pipe."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

if TYPE_CHECKING:
    from hopper.model.policy import Wish
    from hopper.model.record import Record

__all__ = ["Output", "OutputOption", "age", "print_facts", "print_json", "print_record", "print_records"]


class Output(StrEnum):
    """How records are printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    NAME = "name"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="how to print; 'name' is the bare id")]

_STYLES = {
    "healthy": "green",
    "degraded": "yellow",
    "unhealthy": "red",
    "suspect": "yellow",
    "down": "bold red",
    "unknown": "dim",
}

_COLUMNS = ("id", "name", "scope", "parent", "state", "health", "age")
_WIDE_COLUMNS = (*_COLUMNS, "address", "version", "tags", "incarnation", "ttl", "revision")
_FACTS = (
    "id",
    "name",
    "scope",
    "parent",
    "state",
    "health",
    "maintenance",
    "tags",
    "metadata",
    "address",
    "version",
    "ttl",
    "wish",
    "max_children",
    "leaving",
)


def print_records(records: Sequence["Record"], how: Output, *, now_ms: int) -> None:
    """Records as a list. `now_ms` is Redis' clock, from which ages are counted."""
    match how:
        case Output.JSON:
            print_json(list(records))
        case Output.NAME:
            for record in records:
                typer.echo(record.id)
        case _:
            columns = _COLUMNS if how is Output.TABLE else _WIDE_COLUMNS
            _print_table(columns, [[_cell(record, name, now_ms) for name in columns] for record in records])


def print_record(record: "Record", how: Output) -> None:
    """One record: its main fields one a line, all of them if `wide`."""
    match how:
        case Output.JSON:
            print_json(record)
        case Output.NAME:
            typer.echo(record.id)
        case Output.TABLE:
            print_facts({name: _cell(record, name) for name in _FACTS})
        case Output.WIDE:
            document = orjson.loads(record.to_json())
            print_facts({name: _plain(value) for name, value in document.items()})


def print_json(value: Any) -> None:
    """Any value of the model as indented JSON."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2))


def print_facts(facts: dict[str, str]) -> None:
    """Names and values, one pair a line, without those that have no value."""
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        if value:
            typer.echo(f"{name.ljust(width)}  {value}")


def age(milliseconds: int) -> str:
    """A length of time in its largest useful unit: 119s, 119m, 47h, 12d."""
    seconds = max(0, milliseconds) // 1000
    for limit, unit, length in ((120, "s", 1), (7200, "m", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds // length}{unit}"
    return f"{seconds // 86_400}d"


def _cell(record: "Record", name: str, now_ms: int = 0) -> str:
    from hopper.model.condition import condition, maintenance_text

    match name:
        case "parent":
            return record.parent_id or ""
        case "age":
            return age(now_ms - record.created_at_ms)
        case "wish" if record.wish is not None:
            return ",".join(_wish_words(record.wish)) or "global"
        case "leaving" if record.leaving is not None:
            return str(record.leaving.children)
        case "health":
            return condition(record)
        case "maintenance" if record.maintenance is not None:
            return maintenance_text(record.maintenance)
        case "ttl":
            return f"{record.ttl_ms / 1000:g}s"
        case _:
            return _plain(getattr(record, name))


def _wish_words(wish: "Wish") -> list[str]:
    """A wish in the words of `--wish`."""
    named = [f"{name}={value}" for name, value in (("id", wish.id), ("name", wish.name)) if value is not None]
    return [*named, *(f"tag={tag}" for tag in wish.tags)]


def _plain(value: Any) -> str:
    """A value as a word: lists by commas, objects as `name=value`; anything deeper as JSON."""
    if value is None or value in ({}, [], ()):
        return ""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return ",".join(f"{name}={item}" for name, item in value.items())
    return orjson.dumps(value).decode() if isinstance(value, (dict, bool)) else str(value)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns; on a terminal with colours and folded to its width."""
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
        for row in (columns, *rows):
            typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_style(column, cell)) for column, cell in zip(columns, row, strict=True)))
    Console().print(table)


def _style(column: str, cell: str) -> str:
    return _STYLES.get(cell.partition(" ")[0], "") if column == "health" else ""
