"""Every error of Hopper: one tree, each with the code Lua and REST use and its HTTP status.

HopperError
├── Invalid                422  a field or parameter has a value it cannot have
│   └── Malformed          400  the input could not be read at all
├── NotFound               404  no such instance
├── Refused                409  the rules of the tree forbid the change
│   ├── GlobalExists            the namespace has its one Global
│   ├── ScopeRule               this scope may not stand under that one
│   ├── NameTaken               a name is unique within its scope
│   ├── Exists                  the id is taken, and the caller asked not to supersede
│   ├── HasChildren             the instance still has children
│   ├── Leaving                 the instance is being removed
│   ├── IllegalTransition       the state has no such verb
│   ├── StaleIncarnation        a newer registration has taken the id
│   │   └── Superseded          raised in a session whose id was taken
│   └── Conflict                others changed the same record, again and again
├── Compacted              410  the log no longer holds that revision
├── PreconditionFailed     412  another revision than the caller asked for
├── TooLarge               413  the input is larger than the limit
├── Unavailable            503  Redis is away, refuses writes or answers too late
│   ├── Stalled                 a verdict was refused because Redis' clock is not where it should be
│   └── NotLeader               another monitor leads
├── WebhookFailed          502  whoever a webhook calls could not be told
│   └── WebhookRefused          the webhook leads to where none may
└── StoreFault             500  Redis answered what it never should
    └── NewerSchema             the keys were written by a newer version
"""

from typing import Any, ClassVar

__all__ = [
    "BY_LUA_CODE",
    "Compacted",
    "Conflict",
    "Exists",
    "GlobalExists",
    "HasChildren",
    "HopperError",
    "IllegalTransition",
    "Invalid",
    "Leaving",
    "Malformed",
    "NameTaken",
    "NewerSchema",
    "NotFound",
    "NotLeader",
    "PreconditionFailed",
    "Refused",
    "ScopeRule",
    "StaleIncarnation",
    "Stalled",
    "StoreFault",
    "Superseded",
    "TooLarge",
    "Unavailable",
    "WebhookFailed",
    "WebhookRefused",
]


class HopperError(Exception):
    """The root. `str(error)` is one sentence that names the thing and the value."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    @property
    def members(self) -> dict[str, Any]:
        """What a program may want to read beside the sentence; REST adds them to the problem."""
        return {}


class Invalid(HopperError):
    """A field or parameter has a value it cannot have; `field` names it."""

    code = "invalid"
    status = 422

    def __init__(self, message: str, *, field: str | None = None, value: Any = None) -> None:
        super().__init__(message)
        self.field = field
        self.value = value

    @property
    def members(self) -> dict[str, Any]:
        return {} if self.field is None else {"field": self.field, "value": self.value}


class Malformed(Invalid):
    """The input could not be read at all: broken JSON."""

    code = "malformed"
    status = 400


class NotFound(HopperError):
    """No such instance."""

    code = "not-found"
    status = 404


class Refused(HopperError):
    """The rules of the tree forbid the change; nothing was changed."""

    status = 409


class GlobalExists(Refused):
    """The namespace has its one Global already."""

    code = "global-exists"


class ScopeRule(Refused):
    """This scope may not stand under that one, or there is no room."""

    code = "scope-rule"


class NameTaken(Refused):
    """Another instance of the same scope has the name."""

    code = "name-taken"


class Exists(Refused):
    """The id is taken, and the caller asked not to supersede it."""

    code = "exists"


class HasChildren(Refused):
    """The instance still has children."""

    code = "has-children"


class Leaving(Refused):
    """The instance is being removed; nobody may join it."""

    code = "leaving"


class IllegalTransition(Refused):
    """The instance's state has no such verb."""

    code = "illegal-transition"


class StaleIncarnation(Refused):
    """A newer registration has taken the id."""

    code = "stale-incarnation"


class Superseded(StaleIncarnation):
    """Another registration has taken this session's id; the session has stopped heartbeating."""


class Conflict(Refused):
    """Others changed the same record between every read and write of ours."""

    code = "conflict"


class Compacted(HopperError):
    """The log no longer holds that revision, or it belongs to another epoch."""

    code = "compacted"
    status = 410

    def __init__(self, message: str, *, oldest_revision: int | None = None, revision: int | None = None) -> None:
        super().__init__(message)
        self.oldest_revision = oldest_revision
        self.revision = revision

    @property
    def members(self) -> dict[str, Any]:
        return {"oldest_revision": self.oldest_revision, "revision": self.revision}


class PreconditionFailed(HopperError):
    """The record, or the registry, is at another revision than the caller asked for."""

    code = "precondition-failed"
    status = 412


class TooLarge(HopperError):
    """The input is larger than the limit."""

    code = "too-large"
    status = 413


class Unavailable(HopperError):
    """Redis is away, refuses writes or answers too late.

    `outcome` says what became of a write: `not-applied` (repeat it freely) or `unknown` (the reply was lost: repeat it
    with the same request token, or read).
    """

    code = "unavailable"
    status = 503

    def __init__(self, message: str, *, outcome: str = "not-applied") -> None:
        super().__init__(message)
        self.outcome = outcome

    @property
    def members(self) -> dict[str, Any]:
        return {"outcome": self.outcome}


class Stalled(Unavailable):
    """A verdict was refused: Redis' clock is not where the monitor expected it, so Redis stood still or jumped."""

    code = "stalled"


class NotLeader(Unavailable):
    """A verdict or a hold was refused: another monitor leads."""

    code = "not-leader"


class WebhookFailed(HopperError):
    """Whoever a webhook calls could not be told, however often it was tried.

    `passing` says whether a later attempt may succeed: it is away or overloaded, and has not refused what it was sent.
    """

    code = "webhook-failed"
    status = 502

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class WebhookRefused(WebhookFailed):
    """The webhook leads to where none may, by its form or by `webhook_allow`; nothing was sent."""

    code = "webhook-refused"


class StoreFault(HopperError):
    """Redis answered what it never should: a fault of the data or of Hopper."""

    code = "store-fault"


class NewerSchema(StoreFault):
    """The namespace's keys were written by a newer version of Hopper; this one would spoil them."""

    code = "newer-schema"


_FROM_LUA: tuple[type[HopperError], ...] = (
    Invalid,
    NotFound,
    GlobalExists,
    ScopeRule,
    NameTaken,
    Exists,
    HasChildren,
    Leaving,
    IllegalTransition,
    StaleIncarnation,
    Conflict,
    PreconditionFailed,
    Stalled,
    NotLeader,
    NewerSchema,
)

BY_LUA_CODE: dict[str, type[HopperError]] = {error.code.replace("-", "_").upper(): error for error in _FROM_LUA}
"""What a script's `HOPPER_CODE detail` reply becomes in Python."""
