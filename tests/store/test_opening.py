"""Opening a store: which epoch a namespace has, and when it is another."""

import contextlib

import pytest

from hopper.errors import NewerSchema
from hopper.store.instances import InstanceStore
from servers import dump
from specs import known, spec

pytestmark = pytest.mark.usefixtures("agrees")


async def test_a_fresh_namespace_has_an_epoch_that_names_the_run_and_revision_zero(store):
    opened = await store.open()
    run = (await store.client.info("server"))["run_id"][:8]
    assert opened.epoch.startswith(f"{run}-")
    assert opened.revision == 0
    position = await store.position()
    assert (position.epoch, position.revision) == (opened.epoch, 0)


async def test_opening_again_keeps_the_epoch_and_tells_the_revision_and_the_time(store):
    first = await store.open()
    registration = await store.register(spec("global", "g"))
    again = await store.open()
    assert again.epoch == first.epoch
    assert again.revision == registration.revision == 1
    seconds, micros = await store.client.time()
    assert 0 <= seconds * 1000 + micros // 1000 - again.now_ms < 5000


async def test_another_run_of_the_server_is_another_epoch_with_the_same_revision(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url)
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        before = await store.open()
        await store.register(spec("global", "g"))
    private_server.restart()
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        after = await store.open()
        assert after.epoch != before.epoch
        assert after.revision == 1
        assert (await known(store, "g")).id == "g"


async def test_a_flush_is_another_epoch(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url)
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        before = await store.open()
        with private_server.connect() as direct:
            direct.flushall()
        after = await store.open()
        assert (after.epoch != before.epoch, after.revision) == (True, 0)


async def test_a_flush_that_nobody_noticed_is_another_epoch_with_the_first_write(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url)
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        before = await store.open()
        with private_server.connect() as direct:
            direct.flushall()
        await store.register(spec("global", "g"))
        between = await store.position()
        after = await store.open()
        assert between.epoch not in ("", before.epoch)
        assert after.epoch not in ("", before.epoch)


async def test_keys_of_a_newer_version_are_refused_with_a_sentence_and_left_alone(store):
    await store.client.set(store.keys.schema, 2)
    before = await dump(store.client, store.settings.namespace)
    with pytest.raises(NewerSchema, match="the keys have version 2 and this hopper knows 1: upgrade it"):
        await store.open()
    assert await dump(store.client, store.settings.namespace) == before


async def test_closing_twice_is_fine(settings):
    store = InstanceStore(settings)
    await store.open()
    await store.aclose()
    await store.aclose()
