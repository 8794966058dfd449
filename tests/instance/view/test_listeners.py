"""The listeners of a view: who hears what, and what a bad one does to the others."""

from structlog.testing import capture_logs

from hopper.model.event import Event
from instance.view.viewers import viewer
from specs import spec
from waiting import wait_until


async def test_a_listener_that_raises_is_reported_and_stops_nobody(tree, settings):
    def broken(_: list[Event]) -> None:
        raise RuntimeError

    async with viewer(settings) as one:
        one.view._listeners.insert(0, broken)
        with capture_logs() as logs:
            await tree.register(spec("project", "q"))
            await tree.register(spec("project", "r"))
            await wait_until(lambda: len(one.events) == 2)
        assert "view.listener_failed" in [entry["event"] for entry in logs]
        assert one.view.complete


async def test_a_listener_that_was_stopped_hears_no_more(tree, settings):
    async with viewer(settings) as one:
        heard: list[Event] = []
        stop = one.view.listen(heard.extend)
        await tree.register(spec("project", "q"))
        await wait_until(lambda: heard)
        stop()
        stop()
        await tree.register(spec("project", "r"))
        await wait_until(lambda: len(one.events) == 2)
        assert [event.id for event in heard] == ["q"]
