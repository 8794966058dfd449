"""An inbox: whatever has come is taken at once, each id with the last word about it."""

import asyncio

import pytest

from hopper.instance.duties.inbox import Inbox


async def test_what_comes_within_a_moment_is_taken_together():
    inbox: Inbox[str] = Inbox()
    inbox.put(["a", "b"], "first")
    taking = asyncio.create_task(inbox.take())
    asyncio.get_running_loop().call_soon(inbox.put, ["b", "c"], "second")
    assert await asyncio.wait_for(taking, 1) == {"a": "first", "b": "second", "c": "second"}


async def test_what_was_taken_is_not_taken_again():
    inbox: Inbox[str] = Inbox()
    inbox.put(["a"], "first")
    assert await inbox.take() == {"a": "first"}
    taking = asyncio.create_task(inbox.take())
    inbox.put(["b"], "second")
    assert await asyncio.wait_for(taking, 1) == {"b": "second"}


async def test_what_is_put_back_yields_to_what_has_come_since():
    inbox: Inbox[str] = Inbox()
    inbox.put(["a", "b"], "old")
    due = await inbox.take()
    inbox.put(["a"], "new")
    inbox.put_back(due)
    assert await asyncio.wait_for(inbox.take(), 1) == {"a": "new", "b": "old"}


async def test_what_is_put_back_alone_wakes_the_taker():
    inbox: Inbox[str] = Inbox()
    inbox.put_back({"a": "old"})
    assert await asyncio.wait_for(inbox.take(), 1) == {"a": "old"}


async def test_its_length_is_how_many_are_to_be_taken():
    inbox: Inbox[str] = Inbox()
    inbox.put(["a", "b"], "first")
    inbox.put(["b"], "second")
    assert len(inbox) == 2
    due = await inbox.take()
    assert len(inbox) == 0
    inbox.put_back(due)
    assert len(inbox) == 2
    inbox.clear()
    assert len(inbox) == 0


async def test_what_is_forgotten_is_not_taken():
    inbox: Inbox[str] = Inbox()
    inbox.put(["a"], "old")
    inbox.clear()
    assert await asyncio.wait_for(inbox.take(), 1) == {}


async def test_nothing_that_is_put_wakes_nobody():
    inbox: Inbox[str] = Inbox()
    inbox.put([], "nothing")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(inbox.take(), 0.1)
