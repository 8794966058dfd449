"""The options that say how the health of an instance is judged: its check and its thresholds."""

from typing import Annotated, Any

import typer

from hopper.cli.numbers import seconds
from hopper.errors import Invalid

__all__ = [
    "CheckHttpOption",
    "CheckIntervalOption",
    "CheckTcpOption",
    "CheckTimeoutOption",
    "ThresholdOption",
    "check_document",
    "thresholds_document",
]

CheckHttpOption = Annotated[
    str | None,
    typer.Option("--check-http", metavar="PATH|URL", help="ask for this at its address, instead of heartbeats"),
]
CheckTcpOption = Annotated[bool, typer.Option("--check-tcp", help="connect to its address, instead of heartbeats")]
CheckIntervalOption = Annotated[
    float | None,
    typer.Option(
        "--check-interval", metavar="SECONDS", parser=seconds("check_interval"), help="from one check to the next [10]"
    ),
]
CheckTimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--check-timeout", metavar="SECONDS", parser=seconds("check_timeout"), help="how long one check may take [2]"
    ),
]
ThresholdOption = Annotated[
    list[str] | None,
    typer.Option("--threshold", metavar="METRIC=DEGRADED[,UNHEALTHY]", help="from which values it does badly (repeat)"),
]


def check_document(
    http: str | None, tcp: bool, *, interval_s: float | None, timeout_s: float | None
) -> dict[str, Any] | None:
    """The check as the options say it, in its short form; None where they say nothing."""
    kinds: dict[str, Any] = ({} if http is None else {"http": http}) | ({"tcp": True} if tcp else {})
    said = {"interval_s": interval_s, "timeout_s": timeout_s}
    more = {name: value for name, value in said.items() if value is not None}
    if not kinds:
        for name, value in more.items():
            field = f"check.{name}"
            raise Invalid(
                f"{field} is {value!r}, and neither --check-http nor --check-tcp is given", field=field, value=value
            )
        return None
    return kinds | more


def thresholds_document(words: list[str] | None) -> dict[str, dict[str, float]] | None:
    """`METRIC=DEGRADED[,UNHEALTHY]` words as thresholds; either limit may be empty. Raises `Invalid`."""
    found: dict[str, dict[str, float]] = {}
    for word in words or []:
        metric, equals, limits = word.partition("=")
        degraded, _, unhealthy = limits.partition(",")
        if not metric or not equals or not limits.strip(","):
            raise Invalid(f"threshold is {word!r}, not METRIC=DEGRADED[,UNHEALTHY]", field="threshold", value=word)
        if metric in found:
            raise Invalid(f"threshold names {metric} twice: {word!r}", field="threshold", value=word)
        levels = (("degraded", degraded), ("unhealthy", unhealthy))
        try:
            found[metric] = {level: float(text) for level, text in levels if text}
        except ValueError:
            raise Invalid(f"threshold is {word!r}: a limit is a number", field="threshold", value=word) from None
    return found or None
