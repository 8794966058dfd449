"""The Lua scripts: found, bound to the names in their header block, rendered and called.

Each file of `lua/` starts with a block that names its keys, arguments, results, errors and the pieces it uses. The
block is the binding: Python passes keys and arguments by these names, and a missing or unknown one raises `TypeError`.
A name with `*` is a group, passed as a sequence and always the last of its kind.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import redis.exceptions

from hopper.model.health import ALIVE, Health
from hopper.model.record import FIELDS, MAX_RECORD_BYTES, MIXED_FIELDS, RECORD_RESERVE_BYTES, TEXT_FIELDS
from hopper.model.scope import PARENT_SCOPE
from hopper.model.spec import FIELD_KINDS, MAX_TTL_MS, MIN_TTL_MS, default_values
from hopper.model.state import MONITORED_STATES, TRANSITIONS, State
from hopper.store.keys import SCHEMA

__all__ = ["MAX_GROUP", "Header", "Script", "lua_directory", "script", "script_names"]

MAX_GROUP: Final = 500
"""Keys in one call at most, so that a script never holds Redis for long."""

REQUEST_TTL_MS: Final = 60_000
"""Milliseconds for which the answer to a request token is kept."""

_NAME = re.compile(r"(?P<name>[a-z_]+\*?)\s+(?P<kind>[a-z]+)\s{2,}(?P<text>\S.*)")
_ERROR = re.compile(r"(?P<name>[A-Z_]+)(?P<kind>)\s+(?P<text>\S.*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a header block."""

    name: str
    kind: str
    text: str

    @property
    def is_group(self) -> bool:
        return self.name.endswith("*")


@dataclass(frozen=True, slots=True)
class Header:
    """The header block of a script."""

    summary: str
    keys: tuple[Entry, ...]
    arguments: tuple[Entry, ...]
    returns: tuple[Entry, ...]
    errors: tuple[Entry, ...]
    uses: tuple[str, ...]


def lua_directory() -> Path:
    """Where the scripts are: inside the installed package, or beside `src` in a checkout."""
    packaged = Path(str(files("hopper"))) / "lua"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "lua"


def parse_header(source: str) -> Header:
    """Read the block a script starts with. Raises `ValueError` with the line that is not of its form."""
    summary: list[str] = []
    sections: dict[str, list[Entry]] = {"KEYS": [], "ARGV": [], "RETURNS": [], "ERRORS": []}
    uses: tuple[str, ...] = ()
    section: str | None = None
    for line in source.splitlines():
        if not line.startswith("--"):
            break
        text = line[2:].strip()
        word, _, rest = text.partition(" ")
        if word in sections:
            section, text = word, rest.strip()
        elif word == "USES":
            uses = tuple(rest.split())
            continue
        if section is None:
            if text:
                summary.append(text)
        elif text:
            match = (_ERROR if section == "ERRORS" else _NAME).fullmatch(text)
            if match is None:
                raise ValueError(f"the header line {line!r} names no {section} entry")
            sections[section].append(Entry(match["name"], match["kind"], match["text"]))
    return Header(
        " ".join(summary),
        tuple(sections["KEYS"]),
        tuple(sections["ARGV"]),
        tuple(sections["RETURNS"]),
        tuple(sections["ERRORS"]),
        uses,
    )


def _lua(value: Any) -> str:
    """A Python value as a Lua expression."""
    if isinstance(value, bool) or value is None:
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"['{key}'] = {_lua(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (set, frozenset)):
        return _lua(dict.fromkeys(sorted(value), True))
    return "{ " + ", ".join(_lua(item) for item in value) + " }"


CONSTANTS: Final[dict[str, Any]] = {
    "FIELDS": FIELDS,
    "TEXT_FIELDS": TEXT_FIELDS,
    "MIXED_FIELDS": MIXED_FIELDS,
    "ALIVE": {health.value: health in ALIVE for health in Health},
    "DEFAULTS": default_values(),
    "FIELD_KINDS": FIELD_KINDS,
    "MIN_TTL_MS": MIN_TTL_MS,
    "MAX_TTL_MS": MAX_TTL_MS,
    "MAX_RECORD_BYTES": MAX_RECORD_BYTES,
    "RECORD_RESERVE_BYTES": RECORD_RESERVE_BYTES,
    "MONITORED": {state.value: state in MONITORED_STATES for state in State},
    "PARENT_SCOPE": {scope.value: parent.value if parent else False for scope, parent in PARENT_SCOPE.items()},
    "REQUEST_TTL_MS": REQUEST_TTL_MS,
    "SCHEMA": SCHEMA,
    "TRANSITIONS": {
        verb.value: {"target": rule.target.value, "origins": frozenset(state.value for state in rule.origins)}
        for verb, rule in TRANSITIONS.items()
    },
}
"""The rule tables of the model, injected where a script or a piece of it names them."""


class Script:
    """One Lua script, called with keys and arguments by name."""

    def __init__(self, name: str, source: str, pieces: Mapping[str, str]) -> None:
        self.name = name
        self.header = parse_header(source)
        self._source = source
        self._pieces = pieces
        self._key_names = [entry.name.rstrip("*") for entry in self.header.keys]
        self._argument_names = [entry.name.rstrip("*") for entry in self.header.arguments]
        self._key_set = frozenset(self._key_names)
        self._argument_set = frozenset(self._argument_names)
        self._key_group = bool(self.header.keys) and self.header.keys[-1].is_group
        self._argument_group = bool(self.header.arguments) and self.header.arguments[-1].is_group

    @cached_property
    def text(self) -> str:
        """The script as Redis runs it: the constants it needs, the pieces it uses, and its own lines."""
        unknown = [piece for piece in self.header.uses if piece not in self._pieces]
        if unknown:
            raise ValueError(f"lua/{self.name}.lua uses {', '.join(unknown)}, which lua/lib has not")
        body = "\n".join([*(self._pieces[piece] for piece in self.header.uses), self._source])
        constants = [
            f"local {name} = {_lua(value)}" for name, value in CONSTANTS.items() if re.search(rf"\b{name}\b", body)
        ]
        return "\n".join([*constants, body])

    @cached_property
    def sha(self) -> str:
        """The SHA-1 by which Redis knows the script."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def bind(self, keys: Mapping[str, Any], arguments: Mapping[str, Any]) -> tuple[int, list[Any]]:
        """The number of keys, and keys and arguments in the order of the header. Raises `TypeError` on a mismatch."""
        if keys.keys() != self._key_set or arguments.keys() != self._argument_set:
            wrong = sorted((keys.keys() ^ self._key_set) | (arguments.keys() ^ self._argument_set))
            raise TypeError(f"lua/{self.name}.lua: missing or unknown names: {', '.join(wrong)}")
        ordered = [keys[name] for name in self._key_names]
        if self._key_group:
            group = ordered.pop()
            if len(group) > MAX_GROUP:
                raise TypeError(f"lua/{self.name}.lua: {len(group)} keys in one call, over {MAX_GROUP}")
            ordered.extend(group)
        count = len(ordered)
        ordered.extend(arguments[name] for name in self._argument_names)
        if self._argument_group:
            ordered.extend(ordered.pop())
        return count, ordered

    async def __call__(self, client: Any, *, keys: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[Any]:
        """Run the script; answers its flat array, words decoded.

        Raises what redis-py raises: the store converts it at its border.
        """
        count, ordered = self.bind(keys, arguments)
        try:
            reply = await client.evalsha(self.sha, count, *ordered)
        except redis.exceptions.NoScriptError:
            reply = await client.eval(self.text, count, *ordered)
        return decode_reply(reply)

    async def many(
        self, client: Any, calls: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> list[list[Any] | redis.exceptions.RedisError]:
        """Run the script once for each `(keys, arguments)` in one pipeline; answers each one's array or its error.

        Raises what redis-py raises where the connection breaks: then nobody knows which have run.
        """
        bound = [self.bind(keys, arguments) for keys, arguments in calls]
        replies = await self._send(client, bound)
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
        if unknown:
            await client.script_load(self.text)
            for at, reply in zip(unknown, await self._send(client, [bound[at] for at in unknown]), strict=True):
                replies[at] = reply
        return [reply if isinstance(reply, redis.exceptions.RedisError) else decode_reply(reply) for reply in replies]

    async def _send(self, client: Any, bound: Sequence[tuple[int, list[Any]]]) -> list[Any]:
        async with client.pipeline(transaction=False) as pipe:
            for count, ordered in bound:
                pipe.evalsha(self.sha, count, *ordered)
            return list(await pipe.execute(raise_on_error=False))


def decode_reply(reply: Sequence[Any]) -> list[Any]:
    """A script's flat array with its strings decoded."""
    return [item.decode() if isinstance(item, bytes) else item for item in reply]


@cache
def _library() -> dict[str, Script]:
    directory = lua_directory()
    pieces = {path.stem: path.read_text() for path in (directory / "lib").glob("*.lua")}
    return {path.stem: Script(path.stem, path.read_text(), pieces) for path in sorted(directory.glob("*.lua"))}


def script(name: str) -> Script:
    """The script of `lua/NAME.lua`. Raises `KeyError` where there is none."""
    return _library()[name]


def script_names() -> tuple[str, ...]:
    """The names of all scripts, sorted."""
    return tuple(_library())
