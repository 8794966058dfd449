"""Exit codes: one per kind of outcome, so that a script can tell them apart."""

from enum import IntEnum

from hopper.errors import (
    Compacted,
    HopperError,
    Invalid,
    NotFound,
    PreconditionFailed,
    Refused,
    TooLarge,
    Unavailable,
    WebhookFailed,
)

__all__ = ["MEANINGS", "Exit", "exit_of", "sentence_of"]


class Exit(IntEnum):
    """What a command of `hopper` ends with; `hopper run` ends with the code of its own command instead."""

    OK = 0
    UNEXPECTED = 1
    INVALID = 2
    NOT_FOUND = 3
    REFUSED = 4
    PRECONDITION = 5
    UNAVAILABLE = 6
    PROBLEM = 7


MEANINGS: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.UNEXPECTED: "an error that is a fault of Hopper or of the data",
    Exit.INVALID: "wrong usage, or a value that cannot be",
    Exit.NOT_FOUND: "no such instance or script",
    Exit.REFUSED: "the rules of the tree forbid it; nothing was changed",
    Exit.PRECONDITION: "another revision than asked for, or one no longer in the log",
    Exit.UNAVAILABLE: "no Redis, it refuses writes or answers too late, or a port is taken",
    Exit.PROBLEM: "hopper doctor has found a problem",
}

_EXITS: tuple[tuple[type[HopperError], Exit], ...] = (
    (Invalid, Exit.INVALID),
    (TooLarge, Exit.INVALID),
    (NotFound, Exit.NOT_FOUND),
    (Refused, Exit.REFUSED),
    (Compacted, Exit.PRECONDITION),
    (PreconditionFailed, Exit.PRECONDITION),
    (Unavailable, Exit.UNAVAILABLE),
    (WebhookFailed, Exit.UNAVAILABLE),
)


def exit_of(error: HopperError) -> Exit:
    """The exit code that says what an error means."""
    return next((code for kind, code in _EXITS if isinstance(error, kind)), Exit.UNEXPECTED)


def sentence_of(error: HopperError) -> str:
    """An error as one line for standard error, with what became of a write where that is not certain."""
    sentence = str(error)
    if isinstance(error, Unavailable) and error.outcome == "unknown":
        sentence += " (whether the change was applied is unknown: look before you repeat it)"
    return sentence
