"""Logs of the commands: structlog on standard error, one event per line."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

import logging
import sys
from enum import StrEnum
from typing import Any

__all__ = ["LogFormat", "LogLevel", "configure"]


class LogFormat(StrEnum):
    """How an event is written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe event that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class _StandardError:
    """Standard error as it is at the time of writing, so that whoever replaces it gets the logs too."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure(how: LogFormat, level: LogLevel) -> None:
    """Send the logs of Hopper and of its libraries to standard error: `key=value`, or one JSON object per line."""
    import structlog

    number = logging.getLevelNamesMapping()[level.upper()]
    steps: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if how is LogFormat.JSON
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)
    )
    structlog.configure(
        processors=[*steps, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(_StandardError()),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_StandardError())
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=steps))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))  # what the libraries do from day to day is not our news
