"""What a heartbeat may carry: metrics as a JSON object, read leniently since any string counts as alive."""

import math
from dataclasses import dataclass, field
from typing import Any

import orjson

__all__ = ["MAX_HEARTBEAT_BYTES", "Metrics", "encode_metrics", "highest", "parse_heartbeat", "seconds_of"]

MAX_HEARTBEAT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of one heartbeat; all optional.

    `problems` says what could not be used, one sentence each; a heartbeat may bring one of its own as `problem`.
    """

    active_tasks: int | None = None
    queue_depth: int | None = None
    response_time_ms: float | None = None
    error_rate: float | None = None
    uptime_s: float | None = None
    incarnation: int | None = None
    other: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Known and unknown metrics in one object, without the absent ones and the problems."""
        known = {name: getattr(self, name) for name in _RULES if getattr(self, name) is not None}
        return {**self.other, **known}


_RULES: dict[str, tuple[type[int] | type[float], float]] = {
    "active_tasks": (int, math.inf),
    "queue_depth": (int, math.inf),
    "response_time_ms": (float, math.inf),
    "error_rate": (float, 1.0),
    "uptime_s": (float, math.inf),
    "incarnation": (int, math.inf),
}


def highest(name: str) -> float:
    """The largest value that a metric can have; infinite for one that is unknown."""
    return _RULES[name][1] if name in _RULES else math.inf


def _problem(name: str, value: Any) -> str | None:
    kind, maximum = _RULES[name]
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        return f"{name} is {value!r}, not {'an integer' if kind is int else 'a number'}"
    if not 0 <= value <= maximum:
        return f"{name} is {value!r}, not in 0..{'' if maximum == math.inf else f'{maximum:g}'}"
    return None


def parse_heartbeat(value: bytes) -> Metrics:
    """Read the value of a heartbeat key. Never raises: what is wrong is listed in `problems`."""
    if not value:
        return Metrics()
    if len(value) > MAX_HEARTBEAT_BYTES:
        return Metrics(problems=(f"the value has {len(value)} bytes, over {MAX_HEARTBEAT_BYTES}",))
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        return Metrics(problems=("the value is not JSON",))
    if not isinstance(document, dict):
        return Metrics(problems=("the value is not a JSON object",))
    known: dict[str, Any] = {}
    other: dict[str, Any] = {}
    problems: list[str] = []
    for name, content in document.items():
        if name == "problem" and isinstance(content, str):
            problems.append(content)
        elif name not in _RULES:
            other[name] = content
        elif (problem := _problem(name, content)) is not None:
            problems.append(problem)
        else:
            known[name] = content
    return Metrics(**known, other=other, problems=tuple(problems))


def encode_metrics(metrics: dict[str, Any]) -> bytes:
    """The value of a heartbeat that reports `metrics`, at most 4 KiB.

    Raises `ValueError` where it would be larger and `TypeError` where a value has no JSON form.
    """
    value = orjson.dumps(metrics)
    if len(value) > MAX_HEARTBEAT_BYTES:
        raise ValueError(f"metrics of {len(value)} bytes, over {MAX_HEARTBEAT_BYTES}")
    return value


def seconds_of(ttl_ms: int) -> int:
    """The SECONDS of a SETEX that lasts at least `ttl_ms`."""
    return -(-ttl_ms // 1000)
