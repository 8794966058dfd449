"""Heartbeats over the API: they count whatever they carry, and what is wrong with it is said."""

import orjson
import pytest

from api.serving import ONE


async def test_a_heartbeat_keeps_alive_and_says_until_when(api, tree, fake_client):
    await fake_client.delete("hopper:{default}:heartbeat:web")
    answer = await api.put(f"{ONE}/web/heartbeat", json={"queue_depth": 3})
    assert answer.json()["problems"] == []
    assert answer.json()["expires_at_ms"] == await fake_client.pexpiretime("hopper:{default}:heartbeat:web")
    health = (await api.get(f"{ONE}/web/health")).json()
    assert (health["metrics"], health["heartbeat"]) == ({"queue_depth": 3}, True)
    assert 0 < health["expires_in_ms"] <= 15_000


BAD_VALUES: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"alive!", "not JSON"),
    "no UTF-8": (b"\xff\xfe", "not JSON"),
    "a list": (b"[1]", "not a JSON object"),
    "a value out of range": (b'{"error_rate": 7}', "error_rate is 7"),
    "a value of another type": (b'{"queue_depth": "many"}', "queue_depth is 'many'"),
    "over 4 KiB": (b'{"x":"' + b"y" * 5000 + b'"}', "5008 bytes, over 4096"),
}


@pytest.mark.parametrize(("value", "problem"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
async def test_a_heartbeat_with_a_bad_value_counts_and_is_told_what_is_wrong(value, problem, api, tree, fake_client):
    await fake_client.delete("hopper:{default}:heartbeat:web")
    answer = await api.put(f"{ONE}/web/heartbeat", content=value)
    assert answer.status_code == 200
    assert problem in answer.json()["problems"][0]
    assert 14 <= await fake_client.ttl("hopper:{default}:heartbeat:web") <= 15
    assert await fake_client.strlen("hopper:{default}:heartbeat:web") <= 4096
    health = await api.get(f"{ONE}/web/health")
    assert problem in orjson.dumps([health.json()["problems"], health.json()["metrics"]]).decode()


async def test_a_heartbeat_without_a_body_counts(api, tree, fake_client):
    await fake_client.delete("hopper:{default}:heartbeat:web")
    assert (await api.put(f"{ONE}/web/heartbeat")).json()["problems"] == []
    assert 14 <= await fake_client.ttl("hopper:{default}:heartbeat:web") <= 15


async def test_a_heartbeat_that_is_no_string_is_told_of_beside_all_that_is_known(api, tree, fake_client):
    await fake_client.delete("hopper:{default}:heartbeat:web")
    await fake_client.hset("hopper:{default}:heartbeat:web", "queue_depth", "3")
    answer = await api.get(f"{ONE}/web/health")
    assert answer.status_code == 200
    health = answer.json()
    assert (health["id"], health["heartbeat"], health["metrics"]) == ("web", None, {})
    assert health["problems"][0].startswith("the heartbeat cannot be read: ")
    await fake_client.delete("hopper:{default}:heartbeat:web")
