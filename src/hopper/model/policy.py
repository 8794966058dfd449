"""What an owner may ask of the registry for an instance: restarts, thresholds, a check, a parent to look for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import BeforeValidator, ConfigDict, Field

from hopper.model.identifiers import ID_PATTERN

__all__ = ["LONGEST_DELAY_S", "Check", "Maintenance", "RestartPolicy", "Threshold", "Wish"]

LONGEST_DELAY_S = 10 * 365 * 86_400
"""Seconds that no restart is put off beyond: ten years, of which milliseconds can still be reckoned and dates told."""

_STRICT_FIELDS = ConfigDict(extra="forbid")


def _no_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a limit is a number")
    return value


_Finite = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_no_flag)]


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When and how often a failed instance is started again. Delays and the window are in seconds.

    The n-th delay is `min(max_delay_s, initial_delay_s * multiplier ** (n - 1))`, spread by `jitter` (a fraction). Of a
    Project, `max_failed_children` is how many children may exhaust their restarts before it is `unhealthy`.
    """

    __pydantic_config__ = _STRICT_FIELDS

    mode: Literal["never", "on-failure", "always"] = "never"
    max_restarts: Annotated[int, Field(ge=0)] = 5
    window_s: Annotated[float, Field(gt=0)] = 60
    initial_delay_s: Annotated[float, Field(ge=0, le=LONGEST_DELAY_S)] = 1
    max_delay_s: Annotated[float, Field(ge=0, le=LONGEST_DELAY_S)] = 60
    multiplier: Annotated[float, Field(ge=1)] = 2
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.1
    webhook: str | None = None
    max_failed_children: Annotated[int, Field(ge=0)] | None = None


@dataclass(frozen=True, slots=True)
class Threshold:
    """The values of one metric from which an instance counts as degraded or unhealthy."""

    __pydantic_config__ = _STRICT_FIELDS

    degraded: _Finite | None = None
    unhealthy: _Finite | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """An active check for an instance that does not heartbeat. Interval and timeout are in seconds.

    It goes to the instance's address, the one named `address` where there are several; `path` is that of HTTP.
    """

    __pydantic_config__ = _STRICT_FIELDS

    kind: Literal["http", "tcp"]
    path: Annotated[str, Field(max_length=500)] | None = None
    address: str | None = None
    interval_s: Annotated[float, Field(ge=1, le=86_400)] = 10
    timeout_s: Annotated[float, Field(gt=0, le=30)] = 2
    threshold: Annotated[int, Field(ge=1)] = 2


@dataclass(frozen=True, slots=True)
class Wish:
    """The parent an orphan looks for: an id, a name, or tags that must all be there.

    One that names nothing is that of a Project: whichever Global there is.
    """

    __pydantic_config__ = _STRICT_FIELDS

    id: Annotated[str, Field(pattern=ID_PATTERN)] | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """The wish as the record holds it."""
        return orjson.dumps(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Wish":
        """Read a wish from its decoded JSON. The source is trusted."""
        return cls(**{**document, "tags": tuple(document.get("tags") or ())})


@dataclass(frozen=True, slots=True)
class Maintenance:
    """An operator's word that an instance is out of service; `until_ms` absent: until it is taken back."""

    __pydantic_config__ = _STRICT_FIELDS

    reason: str = ""
    until_ms: int | None = None
