"""The record: everything the registry stores of an instance, and how it is written in a hash and in JSON.

The field names are the same in Python, in the Redis hash and in JSON. In the hash an absent value is `''`, a field of
`TEXT_FIELDS` is the plain text, and everything else is JSON (integers and booleans read the same either way).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final

import orjson

from hopper.model.departure import Departure
from hopper.model.health import Health
from hopper.model.policy import Check, Maintenance, RestartPolicy, Threshold, Wish
from hopper.model.scope import Scope
from hopper.model.state import MONITORED_STATES, State

__all__ = [
    "FIELDS",
    "MAX_RECORD_BYTES",
    "MIXED_FIELDS",
    "RECORD_RESERVE_BYTES",
    "TEXT_FIELDS",
    "Record",
    "encode_field",
]

MAX_RECORD_BYTES: Final = 8192

RECORD_RESERVE_BYTES: Final = 768
"""Of these, kept free at registration and update: a parent, a wish, a mark and larger numbers must find room."""

Address = str | dict[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the registry knows of one instance at one revision. Times are milliseconds of Redis' clock."""

    id: str
    name: str
    scope: Scope
    parent_id: str | None = None
    state: State = State.RUNNING
    health: Health = Health.UNKNOWN
    address: Address = None
    version: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    ephemeral: bool = False
    ttl_ms: int = 15_000
    grace_ms: int = 0
    deregister_after_ms: int | None = None
    restart: RestartPolicy | None = None
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    check: Check | None = None
    wish: Wish | None = None
    max_children: int | None = None
    maintenance: Maintenance | None = None
    incarnation: int = 0
    revision: int = 0
    created_revision: int = 0
    created_at_ms: int = 0
    updated_at_ms: int = 0
    started_at_ms: int | None = None
    stopped_at_ms: int | None = None
    down_at_ms: int | None = None
    restarts: int = 0
    flapping: bool = False
    leaving: Departure | None = None

    @property
    def monitored(self) -> bool:
        """Whether the instance must heartbeat."""
        return self.state in MONITORED_STATES

    @property
    def is_orphan(self) -> bool:
        """Whether a parent is missing: everyone but the Global should have one."""
        return self.parent_id is None and self.scope is not Scope.GLOBAL

    def to_json(self) -> bytes:
        """The JSON document of the record."""
        return orjson.dumps(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Record":
        """Build a record from its decoded JSON document, as the log carries it. The source is trusted.

        Fields that this version does not know are left out, so that it can follow a newer one.
        """
        values = {name: value for name, value in document.items() if name in _KNOWN}
        for name, convert in _CONVERT.items():
            value = values.get(name)
            if value is not None:
                values[name] = convert(value)
        return cls(**values)

    @classmethod
    def from_hash(cls, values: Mapping[bytes, bytes]) -> "Record":
        """Build a record from its Redis hash, as HGETALL answers it. Unknown fields are left out.

        Raises `ValueError`, which names the field and its value, where it is not the hash of a record.
        """
        document: dict[str, Any] = {}
        name, value = "", b""
        try:
            for key, value in values.items():
                name, decode = _FROM_HASH.get(key, _UNKNOWN)
                document[name] = decode(value) if value else None
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{name} is {value[:_SHOWN].decode(errors='replace')!r}") from error
        document.pop("", None)
        try:
            return cls(**document)
        except TypeError as error:
            missing = [name for name in ("id", "name", "scope") if name not in document]
            raise ValueError(f"it has no {', no '.join(missing)}") from error


FIELDS: Final[tuple[str, ...]] = tuple(item.name for item in fields(Record))
"""The record's fields in the order of its JSON document."""

TEXT_FIELDS: Final = frozenset({"id", "name", "scope", "parent_id", "state", "health", "version", "description"})
"""Fields whose hash value is plain text."""

MIXED_FIELDS: Final = frozenset({"address"})
"""Fields whose hash value is plain text unless it starts with `{`, then JSON."""


def _thresholds(document: Mapping[str, Any]) -> dict[str, Threshold]:
    return {name: Threshold(**limits) for name, limits in document.items()}


_ENUMS: Final[dict[str, type[StrEnum]]] = {"scope": Scope, "state": State, "health": Health}

_CONVERT: Final[dict[str, Any]] = {
    **_ENUMS,
    "tags": tuple,
    "restart": lambda document: RestartPolicy(**document),
    "thresholds": _thresholds,
    "check": lambda document: Check(**document),
    "wish": Wish.from_document,
    "maintenance": lambda document: Maintenance(**document),
    "leaving": Departure.from_document,
}

_KNOWN: Final = frozenset(FIELDS)

_SHOWN: Final = 60
"""Bytes shown of a value that cannot be read."""


def _from_hash_decoder(name: str) -> Callable[[bytes], Any]:
    """How the hash's value of a field becomes the record's."""
    convert = _CONVERT.get(name)
    if name in _ENUMS:
        return {member.value.encode(): member for member in _ENUMS[name]}.__getitem__
    if name in TEXT_FIELDS:
        return bytes.decode
    if name in MIXED_FIELDS:
        return lambda value: orjson.loads(value) if value.startswith(b"{") else value.decode()
    if convert is None:
        return orjson.loads
    return lambda value: convert(orjson.loads(value))


_FROM_HASH: Final[dict[bytes, tuple[str, Callable[[bytes], Any]]]] = {
    name.encode(): (name, _from_hash_decoder(name)) for name in FIELDS
}

_UNKNOWN: Final[tuple[str, Callable[[bytes], Any]]] = ("", bytes)


def encode_field(name: str, value: Any) -> str:
    """A field's value as the hash holds it: `''` for an absent one. Equal values are encoded equally."""
    if value is None:
        return ""
    if name in TEXT_FIELDS or (name in MIXED_FIELDS and isinstance(value, str)):
        return str(value)
    if value and name in _NUMBERS:
        value = _canonical(orjson.loads(orjson.dumps(value)))
    return orjson.dumps(value).decode()


_NUMBERS: Final = frozenset({"restart", "thresholds", "check"})
"""Objects of ours with numbers that may be given with or without a fraction; `config` is its owner's to write."""

_EXACT: Final = 2**53


def _canonical(value: Any) -> Any:
    """A JSON value with every whole number written as an integer, so that equal values are encoded equally."""
    if isinstance(value, dict):
        return {name: _canonical(item) for name, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT else value
