"""Duties: what the leading monitor does beside detecting failures, each a task of its own."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import structlog

from hopper.config import Settings
from hopper.instance.view import RegistryView
from hopper.model.event import Event, Reason
from hopper.model.record import Record

__all__ = ["Duty", "Post", "of_instances"]


@dataclass(frozen=True, slots=True)
class Post:
    """Where a monitor's duties stand: what it sees, and whether it leads now."""

    settings: Settings
    view: RegistryView
    monitor_id: str
    leads: Callable[[], bool]


class Duty:
    """One duty of the leading monitor, which runs it as a task and begins it again should it fail.

    Every monitor hears all events, so that it knows the state of things when it begins to lead; only the leader acts.
    """

    name: str
    source: Reason | None = None
    """As what it has a say in the level of instances."""

    def __init__(self, post: Post) -> None:
        self._settings = post.settings
        self._view = post.view
        self._monitor_id = post.monitor_id
        self._leads = post.leads
        self._logger = structlog.get_logger().bind(namespace=post.settings.namespace)

    def begin(self) -> None:
        """This monitor begins to lead, or Redis may have lost data: look at everything anew."""

    def take(self, events: list[Event]) -> None:
        """Take in changes, in their order, leading or not. Must be quick: the view waits for it."""

    async def run(self) -> None:
        """Do the duty; ends by cancellation."""
        raise NotImplementedError


def of_instances(events: Iterable[Event]) -> Iterator[tuple[Event, Record]]:
    """Those events that are about one instance, each with its record: the last one where it was deregistered."""
    for event in events:
        if event.record is not None:
            yield event, event.record
