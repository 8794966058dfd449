"""Evidence: the figures behind a hold or a guard, as Redis keeps them while it stands."""

from typing import Any

import orjson

__all__ = ["decode_evidence"]


def decode_evidence(value: bytes) -> dict[str, Any]:
    """The figures as an object. What somebody else wrote there is shown as its `reason`; never raises."""
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        document = None
    return document if isinstance(document, dict) else {"reason": value.decode(errors="replace")}
