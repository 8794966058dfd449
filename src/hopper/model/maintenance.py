"""What an operator may ask of a maintenance: why, and until when or for how long."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hopper.errors import Invalid

__all__ = ["MAX_REASON", "MaintenanceRequest", "maintenance_request"]

MAX_REASON: Final = 200
_MAX_MS: Final = 10**15 - 1
_MAX_FOR_S: Final = 10 * 365 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceRequest:
    """A maintenance that is asked for: until a time of Redis' clock, for so many milliseconds, or without an end."""

    reason: str = ""
    until_ms: int | None = None
    for_ms: int | None = None


def maintenance_request(document: Any) -> MaintenanceRequest:
    """Read `{"reason": ..., "until_ms": ... | "for_s": ...}`. Raises `Invalid`, which names the field and its value."""
    if not isinstance(document, Mapping):
        raise Invalid(f"the body is {document!r}, not an object", field="", value=document)
    for name, value in document.items():
        if name not in {"reason", "until_ms", "for_s"}:
            raise Invalid(f"unknown field {name!r}", field=name, value=value)
    until_ms, for_s = _until_ms(document.get("until_ms")), _for_s(document.get("for_s"))
    if until_ms is not None and for_s is not None:
        raise Invalid(
            f"for_s is {for_s:g} beside until_ms, and one of them says when it ends", field="for_s", value=for_s
        )
    for_ms = None if for_s is None else max(1, round(for_s * 1000))
    return MaintenanceRequest(reason=_reason(document.get("reason")), until_ms=until_ms, for_ms=for_ms)


def _reason(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_REASON or not value.isprintable():
        message = f"reason is {value!r}, not at most {MAX_REASON} printable characters"
        raise Invalid(message, field="reason", value=value)
    return value


def _until_ms(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_MS:
        message = f"until_ms is {value!r}, not a time in milliseconds"
        raise Invalid(message, field="until_ms", value=value)
    return value


def _for_s(value: Any) -> float | None:
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 < value <= _MAX_FOR_S:
        message = f"for_s is {value!r}, not a number of seconds above 0, of ten years at most"
        raise Invalid(message, field="for_s", value=value)
    return float(value)
