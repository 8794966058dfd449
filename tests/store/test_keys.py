"""The spelling of the keys: operators read them, and instances in any language write one of them."""

import pytest
from redis.crc import key_slot

from hopper.store.keys import Keys

P = "hopper:{default}"

SPELLED = {
    "instances": f"{P}:instances",
    "names": f"{P}:names",
    "globe": f"{P}:global",
    "orphans": f"{P}:orphans",
    "down": f"{P}:down",
    "revision": f"{P}:revision",
    "epoch": f"{P}:epoch",
    "schema": f"{P}:schema",
    "events": f"{P}:events",
    "monitor": f"{P}:monitor",
    "holds": f"{P}:holds",
    "claims": f"{P}:claims",
}
OF_ONE = {
    "record": f"{P}:instance:web-1",
    "heartbeat": f"{P}:heartbeat:web-1",
    "children": f"{P}:children:web-1",
    "restarts": f"{P}:restarts:web-1",
    "request": f"{P}:request:web-1",
}


@pytest.mark.parametrize(("attribute", "key"), SPELLED.items(), ids=SPELLED.keys())
def test_a_key_of_the_namespace_is_spelled_as_documented(attribute, key):
    assert getattr(Keys("default"), attribute) == key


@pytest.mark.parametrize(("method", "key"), OF_ONE.items(), ids=OF_ONE.keys())
def test_a_key_of_one_instance_or_request_is_spelled_as_documented(method, key):
    assert getattr(Keys("default"), method)("web-1") == key


def test_all_keys_of_a_namespace_share_a_slot_and_those_of_another_do_not():
    def slots(namespace: str) -> set[int]:
        keys = Keys(namespace)
        alone = (getattr(keys, name) for name in SPELLED)
        return {key_slot(key.encode()) for key in (*alone, *(getattr(keys, name)("web-1") for name in OF_ONE))}

    assert len(slots("default")) == 1
    assert slots("default") != slots("other")


def test_the_log_of_a_script_is_its_revision_epoch_and_events():
    keys = Keys("default")
    assert keys.log() == {"revision": keys.revision, "epoch": keys.epoch, "events": keys.events}


CHANNELS = {
    "a key": (f"{P}:heartbeat:web-1", "web-1"),
    "a notification": (f"__keyspace@0__:{P}:heartbeat:web-1", "web-1"),
    "a notification of another database": (f"__keyspace@12__:{P}:heartbeat:web-1", "web-1"),
    "an id with dots": (f"{P}:heartbeat:web.1_a", "web.1_a"),
    "no id": (f"{P}:heartbeat:", None),
    "another kind of key": (f"{P}:instance:web-1", None),
    "another namespace": ("hopper:{other}:heartbeat:web-1", None),
    "nothing": ("", None),
}


@pytest.mark.parametrize(("name", "id"), CHANNELS.values(), ids=CHANNELS.keys())
def test_the_id_of_a_heartbeat_is_read_from_its_key_or_channel(name, id):
    assert Keys("default").id_of_heartbeat(name) == id


def test_notifications_are_subscribed_to_by_pattern_for_heartbeats_only():
    assert Keys("default").heartbeat_channel(3) == f"__keyspace@3__:{P}:heartbeat:*"


async def test_the_pattern_of_a_namespace_matches_its_heartbeats_literally(client, settings):
    """Braces mean nothing in a pattern; a namespace has no character that does."""
    await client.set(Keys(settings.namespace).heartbeat("a"), "", ex=60)
    pattern = Keys(settings.namespace).heartbeat_channel(0).removeprefix("__keyspace@0__:")
    assert [key async for key in client.scan_iter(match=pattern)] == [Keys(settings.namespace).heartbeat("a").encode()]
