"""Write docs/reference.md from the code: settings, keys, events, errors, scripts, routes and commands.

`python docs/generate.py` writes the page; `reference()` answers it, and a test compares the two.
"""

import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer.main
from starlette.routing import BaseRoute, Mount, Route

from hopper import errors
from hopper.api.app import create_app
from hopper.cli.app import app as command_line
from hopper.config import Settings
from hopper.errors import HopperError
from hopper.model.event import EventType, Reason
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


def reference() -> str:
    """The page."""
    lines = ["# Reference", "", "Made from the code by `make docs`; `P` is `hopper:{NAMESPACE}`.", ""]
    for title, section in (
        ("Settings", _settings()),
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
    return _table(["code", "status", "in Python", "means"], sorted(rows, key=lambda row: (row[1], row[0])))


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
