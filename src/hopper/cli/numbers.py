"""Numbers on the command line, read so that a bad one is an error which names the option and the value."""

import math
from collections.abc import Callable

from hopper.errors import Invalid

__all__ = ["seconds", "whole"]


def whole(field: str, *, minimum: int) -> Callable[[str], int]:
    """A parser of whole numbers that are not below `minimum`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise Invalid(f"{field} is {text!r}, not a whole number", field=field, value=text) from None
        if number < minimum:
            raise Invalid(f"{field} is {text!r}, which is below {minimum}", field=field, value=text)
        return number

    return parse


def seconds(field: str) -> Callable[[str], float]:
    """A parser of lengths of time in seconds, which may have a fraction."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            raise Invalid(f"{field} is {text!r}, not a number of seconds", field=field, value=text)
        return number

    return parse
