"""Duties: what the leading monitor does beside detecting failures, each a task of its own."""

from hopper.model.event import Event

__all__ = ["Duty"]


class Duty:
    """One duty of the leading monitor, which runs it as a task and begins it again should it fail.

    Every monitor hears all events, so that it knows the state of things when it begins to lead; only the leader acts.
    """

    name: str

    def begin(self) -> None:
        """This monitor begins to lead, or Redis may have lost data: look at everything anew."""

    def take(self, events: list[Event]) -> None:
        """Take in changes, in their order, leading or not. Must be quick: the view waits for it."""

    async def run(self) -> None:
        """Do the duty; ends by cancellation."""
        raise NotImplementedError
