"""Documents: what the receiver reads of an alarm."""


def test_a_document_names_the_instance_and_the_event(scene):
    scene.goes_down("o1")
    scene.passes()
    assert scene.told[0].document(namespace="n", epoch="e") == {
        "namespace": "n",
        "alert": "down",
        "status": "firing",
        "id": "o1",
        "name": "o1",
        "scope": "orchestration",
        "parent_id": "p1",
        "reason": "lapsed",
        "evidence": {"deadline_ms": 0, "last_heartbeat_ms": 0},
        "at_ms": 0,
        "revision": 6,
        "epoch": "e",
        "text": "orchestration 'o1' under 'p1' is down since 1970-01-01 00:00:00.000 UTC: "
        "its last heartbeat was at 1970-01-01 00:00:00.000",
    }
