"""What a caller says of an instance: registered with it, changed by patches of it. Validation lives here."""

import re
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, Final

import orjson
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from hopper.errors import Invalid
from hopper.model.check import expand_check, normalised_check, require_room
from hopper.model.identifiers import ID_PATTERN, NAME_PATTERN, make_id
from hopper.model.policy import Check, RestartPolicy, Threshold, Wish
from hopper.model.record import MAX_RECORD_BYTES, Record, encode_field
from hopper.model.scope import Scope
from hopper.model.state import State
from hopper.model.thresholds import flaw_of
from hopper.model.webhook import RULE, target_of

__all__ = [
    "FIELD_KINDS",
    "MAX_TTL_MS",
    "MIN_TTL_MS",
    "MUTABLE_FIELDS",
    "SPEC_FIELDS",
    "InstanceSpec",
    "apply_patch",
    "as_spec",
    "default_values",
    "hash_values",
    "parse_spec",
    "require_updatable",
    "spec_of",
]

EPHEMERAL_REAP_MS: Final = 600_000
MIN_TTL_MS: Final = 1000
MAX_TTL_MS: Final = 86_400_000
_MAX_INTEGER: Final = 10**15 - 1
_LONGEST_SHOWN: Final = 200
_INSTANCE: Final = re.compile(r"a dictionary or an instance of \w+")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_HOST_PORT: Final = re.compile(r"[^\s{]\S*:(\d{1,5})")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _printable_name(value: str) -> str:
    if not NAME_PATTERN.fullmatch(value) or not value.isprintable():
        raise ValueError("a name has 1 to 100 printable characters without * ? [")
    return value


def _unique(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value))


def _address(value: Any) -> Any:
    places = value.values() if isinstance(value, dict) else [value]
    for place in places:
        if not (_URL.fullmatch(place) or ((found := _HOST_PORT.fullmatch(place)) and int(found[1]) <= 65535)):
            raise ValueError("an address is a URL, a host:port, or an object of named ones")
    return value


Id = Annotated[str, Field(pattern=ID_PATTERN)]
Name = Annotated[str, AfterValidator(_printable_name)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Address = Annotated[
    Annotated[str, Field(min_length=1)] | Annotated[dict[str, str], Field(min_length=1)], AfterValidator(_address)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec:
    """What to register. Only `scope` is needed; the id is made up and the name is the id where they are absent."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    scope: Annotated[Scope, BeforeValidator(_lower)]
    id: Id | None = None
    name: Name | None = None
    parent_id: Id | None = None
    state: Annotated[State, BeforeValidator(_lower)] = State.RUNNING
    address: Address | None = None
    version: Annotated[str, Field(max_length=200)] | None = None
    description: Annotated[str, Field(max_length=2000)] | None = None
    tags: Annotated[tuple[Tag, ...], AfterValidator(_unique)] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    ephemeral: bool | None = None
    ttl_ms: Annotated[int, Field(ge=MIN_TTL_MS, le=MAX_TTL_MS)] | None = None
    grace_ms: Annotated[int, Field(ge=0, le=MAX_TTL_MS)] = 0
    deregister_after_ms: Annotated[int, Field(ge=0, le=_MAX_INTEGER)] | None = None
    restart: RestartPolicy | None = None
    thresholds: dict[str, Threshold] = field(default_factory=dict)
    check: Check | None = None
    wish: Wish | None = None
    max_children: Annotated[int, Field(ge=0, le=_MAX_INTEGER)] | None = None

    def completed(self, *, ttl_ms: int) -> "InstanceSpec":
        """The same with every default filled in that depends on another field or on the settings.

        Raises `Invalid` where its check does not fit into its TTL.
        """
        if self.check is not None:
            require_room(self.check, self.ttl_ms or ttl_ms)
        identifier = self.id or make_id(self.scope)
        ephemeral = self.ephemeral if self.ephemeral is not None else self.scope is Scope.ORCHESTRATION
        reap_ms = self.deregister_after_ms
        return replace(
            self,
            id=identifier,
            name=self.name or identifier,
            ephemeral=ephemeral,
            ttl_ms=self.ttl_ms or ttl_ms,
            deregister_after_ms=EPHEMERAL_REAP_MS if reap_ms is None and ephemeral else reap_ms,
        )


MUTABLE_FIELDS: Final[tuple[str, ...]] = tuple(
    item.name for item in fields(InstanceSpec) if item.name not in {"id", "scope", "parent_id", "state"}
)
"""Fields that `update` may change; the others have verbs of their own."""

SPEC_FIELDS: Final = frozenset(item.name for item in fields(InstanceSpec))
"""Fields that a registration may name, and a replacement repeat."""

_ADAPTER: Final[TypeAdapter[InstanceSpec]] = TypeAdapter(InstanceSpec)


def as_spec(described: Any) -> InstanceSpec:
    """A spec from one that a program has made itself, or from an object of fields; validated either way."""
    if isinstance(described, InstanceSpec):
        made = {item.name: getattr(described, item.name) for item in fields(InstanceSpec)}
        return parse_spec({name: value for name, value in made.items() if value is not None})
    return parse_spec(described)


def parse_spec(document: Any) -> InstanceSpec:
    """Validate what a caller sent. Raises `Invalid`, which names the first bad field and its value."""
    spec = _validated(document)
    _check_wish(spec)
    _check_thresholds(spec)
    _check_webhook(spec)
    return _with_check(spec)


def _with_check(spec: InstanceSpec) -> InstanceSpec:
    """The same with its check in the form in which it is stored."""
    return spec if spec.check is None else replace(spec, check=normalised_check(spec.check, spec.address))


def _validated(document: Any) -> InstanceSpec:
    if not isinstance(document, Mapping):
        raise Invalid(f"an instance is an object of fields, not {document!r}", field="", value=document)
    document = dict(document)
    if "check" in document:
        document["check"] = expand_check(document["check"], document.get("address"))
    try:
        spec = _ADAPTER.validate_python(document)
    except ValidationError as error:
        raise _invalid(error) from None
    try:
        size = len(orjson.dumps(spec))
    except TypeError as error:
        raise Invalid(f"config has a value without a JSON form: {error}", field="config", value=None) from None
    if size > MAX_RECORD_BYTES:
        raise Invalid(f"the record has {size} bytes, and at most {MAX_RECORD_BYTES} are stored", field="", value=size)
    return spec


def _check_wish(spec: InstanceSpec) -> None:
    """Refuse a wish that nothing could ever fulfil."""
    wish = spec.wish
    if wish is None:
        return
    if spec.scope is Scope.GLOBAL:
        problem = "and a global looks for no parent"
    elif spec.scope is Scope.ORCHESTRATION and wish == Wish():
        problem = "and an orchestration looks for an id, a name or tags"
    else:
        return
    shown = {name: value for name, value in orjson.loads(wish.to_json()).items() if value}
    raise Invalid(f"wish is {shown}, {problem}", field="wish", value=shown)


def _check_thresholds(spec: InstanceSpec) -> None:
    """Refuse a threshold that could never be meant."""
    for metric, threshold in spec.thresholds.items():
        flaw = flaw_of(metric, threshold)
        if flaw is not None:
            field_name, shown = f"thresholds.{metric}", asdict(threshold)
            raise Invalid(f"{field_name} is {shown}: {flaw}", field=field_name, value=shown)


def _check_webhook(spec: InstanceSpec) -> None:
    """Refuse a webhook that is never called, whatever hosts an operator allows."""
    url = spec.restart.webhook if spec.restart is not None else None
    if url is not None and target_of(url) is None:
        message = f"restart.webhook is {_shown(url)}: a webhook is {RULE}"
        raise Invalid(message, field="restart.webhook", value=url)


_UNKNOWN: Final = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
"""What pydantic calls a field that there is not."""


def _invalid(error: ValidationError) -> Invalid:
    errors = error.errors(include_url=False)
    first = next((one for one in errors if one["type"] in _UNKNOWN), errors[0])  # what is missing may be misspelt
    path = [str(step) for step in first["loc"]]
    if path and path[0] == "address":
        del path[1:2]  # pydantic's name for the member of the union
    name = ".".join(path) or "?"
    value = first.get("input")
    if first["type"] in _UNKNOWN:
        return Invalid(f"unknown field {name!r}", field=name, value=value)
    if first["type"] in {"missing", "missing_argument"}:
        return Invalid(f"field {name!r} is missing", field=name, value=None)
    reason = first["msg"].removeprefix("Value error, ")
    for theirs, ours in (("a valid tuple", "a list"), ("a valid dictionary", "an object")):
        reason = reason.replace(theirs, ours)
    reason = _INSTANCE.sub("an object", reason)
    return Invalid(f"{name} is {_shown(value)}: {reason[0].lower()}{reason[1:]}", field=name, value=value)


def _shown(value: Any) -> str:
    """A value as a sentence shows it: whole unless it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}… ({len(text)} characters)"


def spec_of(record: Record) -> InstanceSpec:
    """The spec that would register `record` as it stands."""
    return InstanceSpec(**{item.name: getattr(record, item.name) for item in fields(InstanceSpec)})


def apply_patch(record: Record, patch: Any) -> InstanceSpec:
    """`record` changed by a JSON merge patch (RFC 7396) over its mutable fields.

    Raises `Invalid` for an unknown field, one with a verb of its own, or a bad value.
    """
    if not isinstance(patch, Mapping):
        raise Invalid(f"a patch is an object of fields, not {patch!r}", field="", value=patch)
    require_updatable(patch, MUTABLE_FIELDS)
    current = orjson.loads(orjson.dumps(spec_of(record)))
    if "check" in patch:
        address = _merge(current, {name: value for name, value in patch.items() if name == "address"}).get("address")
        patch = {**patch, "check": expand_check(patch["check"], address)}
    merged = _merge(current, patch)
    spec = _validated({name: value for name, value in merged.items() if value is not None})
    if "wish" in patch:
        _check_wish(spec)
    if "thresholds" in patch:
        _check_thresholds(spec)
    if "restart" in patch:
        _check_webhook(spec)
    return _with_check(spec) if "check" in patch or "address" in patch else spec


def require_updatable(document: Mapping[str, Any], allowed: Container[str]) -> None:
    """Refuse a field that is not among these: one of the record that has another writer, or none at all."""
    for name, value in document.items():
        if name not in allowed:
            reason = "is not changed by an update" if name in _RECORD_FIELDS else "is not a field"
            raise Invalid(f"{name!r} {reason}", field=name, value=value)


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merge(result.get(name), value)
    return result


_RECORD_FIELDS: Final = frozenset(item.name for item in fields(Record))


def hash_values(spec: InstanceSpec, names: tuple[str, ...] = MUTABLE_FIELDS) -> dict[str, str]:
    """The fields of a completed spec as the hash holds them."""
    return {name: encode_field(name, getattr(spec, name)) for name in names}


FIELD_KINDS: Final[dict[str, str]] = {
    "name": "text",
    "address": "address",
    "version": "text",
    "description": "text",
    "tags": "list",
    "metadata": "object",
    "config": "object",
    "ephemeral": "flag",
    "ttl_ms": "integer",
    "grace_ms": "integer",
    "deregister_after_ms": "integer",
    "restart": "object",
    "thresholds": "object",
    "check": "object",
    "wish": "object",
    "max_children": "integer",
}
"""What each mutable field is in the hash; Lua refuses a text that would not be read again as that kind."""


def default_values() -> dict[str, str]:
    """The mutable fields of a spec that says nothing of them, as the hash holds them: what a writer may leave out."""
    return {**hash_values(InstanceSpec(scope=Scope.PROJECT)), "ephemeral": "false", "ttl_ms": "15000"}
