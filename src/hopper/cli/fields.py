"""The options that describe an instance."""

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from hopper.cli.numbers import seconds
from hopper.errors import Invalid, Malformed
from hopper.model.scope import Scope
from hopper.model.takeover import Takeover

__all__ = [
    "AddressOption",
    "GraceOption",
    "IdOption",
    "MetaOption",
    "NameOption",
    "ParentOption",
    "RequireLiveParentOption",
    "ScopeOption",
    "TagOption",
    "TakeoverOption",
    "TtlOption",
    "VersionOption",
    "WishOption",
    "object_of",
    "pairs",
    "read_json",
    "spec_document",
]

IdOption = Annotated[str | None, typer.Option("--id", metavar="ID", help="its id [made up as SCOPE-XXXXXXXX]")]
NameOption = Annotated[str | None, typer.Option("--name", metavar="NAME", help="unique within its scope [its id]")]
ScopeOption = Annotated[Scope | None, typer.Option("--scope", case_sensitive=False, help="its level in the tree")]
ParentOption = Annotated[str | None, typer.Option("--parent", metavar="ID", help="whose child it becomes")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="a tag (repeat)")]
MetaOption = Annotated[list[str] | None, typer.Option("--meta", metavar="KEY=VALUE", help="metadata (repeat)")]
TtlOption = Annotated[
    float | None,
    typer.Option("--ttl", metavar="SECONDS", parser=seconds("ttl"), help="how long a heartbeat lasts [15]"),
]
GraceOption = Annotated[
    float | None,
    typer.Option(
        "--grace", metavar="SECONDS", parser=seconds("grace"), help="how long it is only suspect after a lapse [0]"
    ),
]
AddressOption = Annotated[
    str | None, typer.Option("--address", metavar="URL|HOST:PORT", help="where it can be reached")
]
VersionOption = Annotated[str | None, typer.Option("--version", metavar="VERSION", help="what it runs")]
TakeoverOption = Annotated[
    Takeover, typer.Option("--takeover", case_sensitive=False, help="when to supersede the one that has the id")
]
RequireLiveParentOption = Annotated[
    bool | None,
    typer.Option("--require-live-parent/--any-parent", help="only under a parent that is alive; under any"),
]
WishOption = Annotated[
    list[str] | None,
    typer.Option("--wish", metavar="global|name=NAME|id=ID|tag=TAG", help="the parent to look for while it has none"),
]


def pairs(values: list[str] | None, field: str) -> dict[str, str]:
    """`KEY=VALUE` words as a dictionary. Raises `Invalid` for a word of another form."""
    found: dict[str, str] = {}
    for word in values or []:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise Invalid(f"{field} is {word!r}, not KEY=VALUE", field=field, value=word)
        found[key] = value
    return found


def _wish(words: list[str] | None) -> dict[str, Any] | None:
    if not words:
        return None
    wish: dict[str, Any] = {}
    if "global" in words:
        if len(words) > 1:
            raise Invalid(f"wish is {words!r}: 'global' goes with nothing else", field="wish", value=words)
        return wish
    for word in words:
        key, equals, value = word.partition("=")
        if key not in {"id", "name", "tag"} or not equals or not value:
            raise Invalid(f"wish is {word!r}, not global, name=NAME, id=ID or tag=TAG", field="wish", value=word)
        if key == "tag":
            wish.setdefault("tags", []).append(value)
        elif key in wish:
            raise Invalid(f"wish names {key} twice: {wish[key]!r} and {value!r}", field="wish", value=word)
        else:
            wish[key] = value
    return wish


def object_of(document: Any, path: Path | None) -> dict[str, Any]:
    """What was read from a file, which must be a JSON object."""
    if not isinstance(document, dict):
        raise Malformed(f"file {str(path)!r} holds neither a JSON object nor entries", field="file", value=str(path))
    return document


def read_json(path: Path) -> Any:
    """The JSON in a file, `-` for standard input. Raises `Invalid` where there is none to be read."""
    try:
        text = typer.get_binary_stream("stdin").read() if str(path) == "-" else path.read_bytes()
        return orjson.loads(text)
    except OSError as error:
        raise Invalid(f"file {str(path)!r} cannot be read: {error.strerror}", field="file", value=str(path)) from None
    except orjson.JSONDecodeError as error:
        raise Malformed(f"file {str(path)!r} is not JSON: {error}", field="file", value=str(path)) from None


def spec_document(
    document: dict[str, Any],
    *,
    tags: list[str] | None = None,
    metadata: list[str] | None = None,
    ttl_s: float | None = None,
    grace_s: float | None = None,
    wish: list[str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The document of a registration: what a file says, with what the options say over it."""
    said = {
        "tags": tags or None,
        "metadata": pairs(metadata, "meta") or None,
        "ttl_ms": None if ttl_s is None else round(ttl_s * 1000),
        "grace_ms": None if grace_s is None else round(grace_s * 1000),
        "wish": _wish(wish),
        **more,
    }
    return {**document, **{name: value for name, value in said.items() if value is not None}}
