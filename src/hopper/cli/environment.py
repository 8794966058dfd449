"""The environment of a command: the `HOPPER_*` variables that no setting reads, as a misspelt one."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

from collections.abc import Iterable

__all__ = ["unread", "warn_of_unread"]

_PREFIX = "HOPPER_"
_OF_A_COMMAND = ("ID", "INCARNATION", "HEARTBEAT_KEY", "TTL_S")
"""What `hopper run` tells its command, which may call `hopper` too."""


def unread(names: Iterable[str]) -> list[tuple[str, str | None]]:
    """Which of these variables look like a setting's and are none's, each with the one of a setting it is most like."""
    asked = sorted(name for name in names if name.upper().startswith(_PREFIX))
    if not asked:
        return []
    import difflib

    from hopper.config import Settings

    known = [_PREFIX + name.upper() for name in Settings.model_fields]
    read = {*known, *(_PREFIX + name for name in _OF_A_COMMAND)}
    strange = [name for name in asked if name.upper() not in read]
    return [(name, next(iter(difflib.get_close_matches(name.upper(), known, n=1)), None)) for name in strange]


def warn_of_unread(names: Iterable[str]) -> None:
    """Log a warning for each of them. The logs must have been configured."""
    import structlog

    for name, nearest in unread(names):
        more = {"nearest": nearest} if nearest else {}
        structlog.get_logger().warning("environment.unread", variable=name, **more)
