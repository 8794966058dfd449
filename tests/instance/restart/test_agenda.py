"""An agenda: keys come out when they are due, each once."""

import asyncio

from hopper.instance.restart.agenda import Agenda


async def test_what_is_due_comes_out_once_and_in_order():
    agenda: Agenda[str] = Agenda()
    agenda.put("c", after_s=0.02)
    agenda.put_all(["a", "b"])
    assert await agenda.next(10) == ["a", "b"]
    assert await agenda.next(10) == ["c"]
    assert len(agenda) == 0


async def test_the_earlier_time_counts():
    agenda: Agenda[str] = Agenda()
    agenda.put("a", after_s=60)
    agenda.put("a")
    agenda.put("a", after_s=60)
    assert await asyncio.wait_for(agenda.next(1), 1) == ["a"]
    assert "a" not in agenda


async def test_what_is_put_wakes_who_waits_for_something_later():
    agenda: Agenda[str] = Agenda()
    agenda.put("late", after_s=60)
    waiting = asyncio.create_task(agenda.next(1))
    await asyncio.sleep(0)
    agenda.put("soon")
    assert await asyncio.wait_for(waiting, 1) == ["soon"]
    assert "late" in agenda


async def test_what_is_forgotten_does_not_come_out_and_can_be_put_again():
    agenda: Agenda[str] = Agenda()
    agenda.put_all(["a", "b"])
    agenda.drop("a")
    agenda.drop("nobody")
    assert await agenda.next(10) == ["b"]
    agenda.put("a")
    agenda.clear()
    agenda.put("c")
    assert await agenda.next(10) == ["c"]


async def test_no_more_come_out_than_are_asked_for():
    agenda: Agenda[int] = Agenda()
    agenda.put_all(range(5))
    assert await agenda.next(2) == [0, 1]
    assert await agenda.next(10) == [2, 3, 4]
