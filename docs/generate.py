"""Write docs/reference.md from the code: settings, keys, events, errors, scripts, routes and commands.

`python docs/generate.py` writes the page; `reference()` answers it, and a test compares the two.
"""

import inspect
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer.main
from pydantic import TypeAdapter
from starlette.routing import BaseRoute, Mount, Route

from hopper import errors
from hopper.api.app import create_app
from hopper.cli.app import app as command_line
from hopper.cli.exits import MEANINGS
from hopper.config import Settings
from hopper.errors import HopperError
from hopper.model.event import EventType, Reason
from hopper.model.maintenance import MAX_REASON
from hopper.model.policy import Check, Maintenance, RestartPolicy, Threshold, Wish
from hopper.model.record import FIELDS, Record
from hopper.model.spec import InstanceSpec
from hopper.store.scripts import Entry, script, script_names

PAGE = Path(__file__).parent / "reference.md"

KEYS = {
    "P:instance:ID": ("hash", "the record"),
    "P:heartbeat:ID": ("string with TTL", "liveness; its value is metrics as JSON, or any string"),
    "P:instances": ("zset", "every id, by the revision of its creation"),
    "P:names": ("hash", "`SCOPE:NAME` to id"),
    "P:global": ("string", "id of the one Global"),
    "P:children:ID": ("set", "ids of its children"),
    "P:orphans": ("set", "ids of orphans"),
    "P:down": ("set", "ids that are `suspect` or `down`"),
    "P:revision": ("integer", "the last revision"),
    "P:epoch": ("string", "the epoch: eight characters of the server's run, and a random word"),
    "P:schema": ("integer", "the version of these keys; older code refuses newer data"),
    "P:events": ("stream", "the log, entry id `REVISION-0`"),
    "P:monitor": ("string with TTL", "the leading monitor"),
    "P:holds": ("hash", "hold and guards in force, and why"),
    "P:strays": ("hash", "heartbeats of nobody, or of an older incarnation than the record's"),
    "P:alerts": (
        "string",
        "JSON: epoch and revision up to which alerts have been sent, what is told and not over, and who else is down",
    ),
    "P:restarts:ID": (
        "hash",
        "its restarts since it was stable, the last claim and who carries it out, its last start; `flaps`: recoveries",
    ),
    "P:claims": ("zset", "reserved for claims"),
    "P:request:TOKEN": (
        "string, 60 s",
        "the answer given to a write, for its repeat; REST adds method and id to the token",
    ),
}

EVENTS = {
    EventType.REGISTERED: "an id came",
    EventType.SUPERSEDED: "an id was registered again: another incarnation",
    EventType.UPDATED: "a field of its owner's changed",
    EventType.PARENT_CHANGED: "it was linked, moved or unlinked; `previous` has the old parent, `record` the new one",
    EventType.STATE_CHANGED: "a verb, or a lapse while `stopping`",
    EventType.HEALTH_CHANGED: "a verdict or a recovery; `reason` and `evidence` say why",
    EventType.RESTART_CLAIMED: "the one restart of this incarnation: not before `not_before_ms` of its evidence",
    EventType.RESTART_EXHAUSTED: "its policy allows no more restarts: it stays `failed`",
    EventType.DEREGISTERED: "an id went; `record` is the last one",
    EventType.HOLD_STARTED: "nobody is judged from now on",
    EventType.HOLD_ENDED: "Redis works again",
    EventType.GUARD_RAISED: "too many of one group lapsed at once: nobody of it is judged",
    EventType.GUARD_RELEASED: "that group is judged again",
}

OWNER = "registration, update"
REGISTRY = "the registry"

RECORD = {
    "id": ("registration", "what it is called for ever; made up as `SCOPE-XXXXXXXX` if absent"),
    "name": (OWNER, "unique within its scope; the id if absent; 1 to 100 printable characters without `*?[`"),
    "scope": ("registration", "its level; never changes"),
    "parent_id": ("registration, link, unlink, adoption", "whose child it is; null: an orphan, or the Global"),
    "state": ("registration, verbs, a lapse while `stopping`, the claim of a restart", "what it says it is doing"),
    "health": ("the leading monitor, verbs", "what the registry thinks of it"),
    "address": (OWNER, "a URL, `host:port`, or an object of named ones"),
    "version": (OWNER, "what it runs"),
    "description": (OWNER, "what it is for"),
    "tags": (OWNER, "words to find it by"),
    "metadata": (OWNER, "texts by name, to find it by"),
    "config": (OWNER, "any JSON; the registry does not look at it"),
    "ephemeral": (OWNER, "whether it is gone when it leaves; an orchestration is if nothing is said"),
    "ttl_ms": (OWNER, "how long a heartbeat lasts; the setting `ttl_ms` if absent"),
    "grace_ms": (OWNER, "how long it is only `suspect` after a lapse"),
    "deregister_after_ms": (OWNER, "how long it may be `down` before it is reaped; 600000 if absent and ephemeral"),
    "restart": (OWNER, "the restart policy"),
    "thresholds": (OWNER, "by metric, from which value it is `degraded` or `unhealthy`"),
    "check": (OWNER, "the active check, for one that does not heartbeat"),
    "wish": (f"{OWNER}, unlink, the removal of a parent", "the parent that an orphan looks for"),
    "max_children": (OWNER, "how many children it takes; null: any"),
    "maintenance": (
        "maintenance, the leading monitor",
        f"that it is out of service; a reason of at most {MAX_REASON} characters",
    ),
    "incarnation": (REGISTRY, "the revision of its latest registration"),
    "revision": (REGISTRY, "the revision of its last change"),
    "created_revision": (REGISTRY, "the revision of its first registration"),
    "created_at_ms": (REGISTRY, "when that was"),
    "updated_at_ms": (REGISTRY, "when it last changed"),
    "started_at_ms": (REGISTRY, "when it was last started, by a registration or a verb"),
    "stopped_at_ms": (REGISTRY, "when it came to `stopped` or `failed`"),
    "down_at_ms": (REGISTRY, "when it was judged `down`; null since it recovered, was started or registered again"),
    "restarts": (REGISTRY, "claims of restarts since it was first registered"),
    "flapping": (REGISTRY, "whether it goes down and comes back again and again"),
    "leaving": (REGISTRY, "the mark of its removal while its children are seen to"),
}
"""Of each field who writes it, and what it is for."""

RAISED_BY_NOBODY = (
    ("`method-not-allowed`", "405", "", "The path has no such method; `Allow` names those it has."),
    ("`internal`", "500", "", "A fault of the server's own; its log says why."),
)
"""Codes with which REST answers, and for which there is no exception in Python."""


def reference() -> str:
    """The page."""
    lines = ["# Reference", "", "Made from the code by `make docs`; `P` is `hopper:{NAMESPACE}`.", ""]
    for title, section in (
        ("Settings", _settings()),
        ("Record", _record()),
        ("Keys", _keys()),
        ("Events", _events()),
        ("Errors", _errors()),
        ("Routes", _routes()),
        ("Commands", _commands()),
        ("Scripts", _scripts()),
    ):
        lines += [f"## {title}", "", *section, ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"


def _settings() -> Iterator[str]:
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory else f"`{field.default}`" if field.default is not None else ""
        rows.append([f"`{name}`", f"`HOPPER_{name.upper()}`", default, " ".join((field.description or "").split())])
    return _table(["setting", "environment", "default", "meaning"], rows)


def _keys() -> Iterator[str]:
    return _table(["key", "type", "holds"], [[f"`{key}`", *text] for key, text in KEYS.items()])


def _events() -> Iterator[str]:
    yield "Stream fields: `type id at_ms record previous reason actor evidence`; three of them are JSON."
    yield ""
    yield from _table(["type", "means"], [[f"`{kind}`", EVENTS[kind]] for kind in EventType])
    yield ""
    yield "Reasons of a verdict: " + ", ".join(f"`{reason}`" for reason in Reason) + "."


def _errors() -> Iterator[str]:
    found = [getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)]
    kinds = [kind for kind in found if "code" in vars(kind) and kind is not HopperError]
    rows = [[f"`{kind.code}`", str(kind.status), f"`{kind.__name__}`", _first_line(kind)] for kind in kinds]
    rows += map(list, RAISED_BY_NOBODY)
    return _table(["code", "status", "in Python", "means"], sorted(rows, key=lambda row: (row[1], row[0])))


def _record() -> Iterator[str]:
    given = TypeAdapter(InstanceSpec).json_schema(mode="validation")
    kept = TypeAdapter(Record).json_schema(mode="serialization")
    rows = []
    for name in FIELDS:
        said = _plain(given["properties"].get(name) or kept["properties"][name], given["$defs"] | kept["$defs"])
        writer, means = RECORD[name]
        default = _default(said) if name in given["properties"] else ""
        rows.append([f"`{name}`", _kind(said), default, _limits(said), writer, means])
    yield "The same names in the Redis hash, in Python and in JSON. A record has at most 8 KiB."
    yield ""
    yield from _table(["field", "type", "default", "limits", "written by", "is"], rows)
    yield ""
    yield "The members of those that are objects:"
    yield ""
    members = [
        [f"`{name}.{member}`", _kind(said), _default(said), _limits(said)]
        for name, kind in OBJECTS.items()
        for member, schema in TypeAdapter(kind).json_schema()["properties"].items()
        for said in [_plain(schema, {})]
    ]
    yield from _table(["member", "type", "default", "limits"], members)


OBJECTS = {
    "restart": RestartPolicy,
    "thresholds.METRIC": Threshold,
    "check": Check,
    "wish": Wish,
    "maintenance": Maintenance,
}

_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "`{}`",
}


def _plain(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a value that is there: without references, and without the null of an absent one."""
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **schema}
    choices = [_plain(one, definitions) for one in schema.get("anyOf", []) if one != {"type": "null"}]
    if len(choices) == 1:
        return choices[0] | {"default": schema.get("default")}
    return {**schema, "anyOf": choices} if choices else schema


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}s"
    return str(schema.get("type", "object"))


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "" if default is None or default in ("", [], {}) else f"`{json.dumps(default).strip(chr(34))}`"


def _limits(schema: dict[str, Any]) -> str:
    where = schema["items"] if schema.get("type") == "array" else schema
    return ", ".join(text.format(where[name]) for name, text in _BOUNDS.items() if name in where)


def _routes() -> Iterator[str]:
    rows = [
        [" ".join(sorted(methods)), f"`{path}`", text]
        for path, methods, text in _walk(create_app(Settings(redis_url="redis://127.0.0.1")).routes)
    ]
    return _table(["method", "path", "does"], rows)


def _walk(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, set[str], str]]:
    for route in routes:
        if isinstance(route, Mount):
            yield from _walk(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            methods = (route.methods or set()) - {"HEAD"}
            endpoints = getattr(route.endpoint, "endpoints", None)
            if endpoints is None:
                yield prefix + route.path, methods, _first_line(route.endpoint)
            else:
                yield from (
                    (prefix + route.path, {method}, _first_line(endpoints[method])) for method in sorted(methods)
                )


def _commands() -> Iterator[str]:
    group = typer.main.get_command(command_line)
    rows = [[f"`hopper {name}`", command.get_short_help_str(200)] for name, command in group.commands.items()]
    yield from _table(["command", "does"], rows)
    yield ""
    yield "What they end with. `hopper run` ends with the code of its own command instead: with 127 and 126 where there"
    yield "is no such command or it is not executable, and with 125 where it lives on."
    yield ""
    yield from _table(["exit code", "means"], [[str(code.value), meaning] for code, meaning in MEANINGS.items()])


def _scripts() -> Iterator[str]:
    yield "How to run one from redis-cli is told in [lua/README.md](../lua/README.md)."
    for name in script_names():
        header = script(name).header
        yield from ("", f"### {name}", "", header.summary, "")
        for title, entries in (("KEYS", header.keys), ("ARGV", header.arguments), ("returns", header.returns)):
            if entries:
                yield f"- {title}: " + ", ".join(_entry(entry) for entry in entries)
        if header.errors:
            yield "- errors: " + ", ".join(f"`{entry.name}`" for entry in header.errors)


def _entry(entry: Entry) -> str:
    return f"`{entry.name}` ({entry.text})"


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0]


if __name__ == "__main__":
    PAGE.write_text(reference())
