"""Reporting: the metrics of a program in its heartbeats, and that they cannot be had where its callback fails."""

import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from hopper.model.heartbeat import encode_metrics

__all__ = ["Metrics", "Reporting"]

Metrics = Callable[[], Mapping[str, Any]]

_MAX_TEXT = 200
"""Characters of an error that a heartbeat carries."""
_MAX_KNOWN = 100
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")


class Reporting:
    """Calls the metrics callback of one incarnation. Used by one thread.

    Each error is logged once, with its traceback, until the callback works again; numbers make no other error of it.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._known: set[str] = set()
        """The errors that were logged since the callback last worked."""

    def encoded(self, metrics: Metrics, own: Mapping[str, Any]) -> bytes:
        """The value of a heartbeat with the metrics, and `own` over them; with a `problem` where there are none."""
        try:
            value = encode_metrics({**metrics(), **own})
        except Exception as error:
            problem = f"metrics failed: {_text_of(error)}"
            if self._is_new(problem):
                self._logger.exception("pacemaker.metrics_failed", detail=problem)
            return encode_metrics({"problem": problem, **own})
        if self._known:
            self._known.clear()
            self._logger.info("pacemaker.metrics_recovered")
        return value

    def _is_new(self, problem: str) -> bool:
        kind = _NUMBER.sub("#", problem)
        if kind in self._known or len(self._known) >= _MAX_KNOWN:
            return False
        self._known.add(kind)
        return True


def _text_of(error: Exception) -> str:
    """`TypeError: ...`, cut to a decent length, and never itself a fault."""
    line = traceback.format_exception_only(error)[0].strip().encode(errors="replace").decode()
    return line if len(line) <= _MAX_TEXT else f"{line[:_MAX_TEXT]}…"
