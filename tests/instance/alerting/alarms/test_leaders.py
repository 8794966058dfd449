"""Another leader: what was told before it is not told again, and what is over is."""

from hopper.instance.alerting.alarms import Alarms
from hopper.model.event import EventType
from instance.alerting.alarms.scene import SETTLE_S


def test_what_was_told_before_is_not_told_again_and_its_end_is(scene):
    scene.alarms = Alarms(settle_s=SETTLE_S, told={"down:o1": 7})
    scene.happens(EventType.UPDATED, "o1", version="2")
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == []
    scene.comes_back("o1")
    assert scene.news == ["down resolved o1"]


def test_after_a_gap_the_ends_of_what_is_over_are_told(scene):
    scene.alarms = Alarms(settle_s=SETTLE_S, told={"down:o1": 3, "down:o2": 5, "down:gone": 5, "failed:o1": 6})
    scene.goes_down("o2")
    ends = scene.alarms.reconcile(scene.replica, scene.now_s, 77)
    assert [(alert.id, alert.status, alert.revision) for alert in ends] == [
        ("o1", "resolved", 4),
        ("gone", "resolved", 5),
    ]
    assert [alert.document(namespace="n", epoch="e")["at_ms"] for alert in ends] == [0, 77]
    assert ends[1].text == "'gone' is no longer down: it was deregistered"
    assert [alert.delivery(epoch="e") for alert in ends] == ["e-4-down-resolved", "e-gone@5-down-resolved"]
    assert scene.alarms.told == {"down:o2": 5}


def test_the_oldest_thing_undecided_is_where_another_leader_must_begin(scene):
    assert scene.alarms.oldest_origin is None
    scene.goes_down("o1")
    scene.passes(0.5)
    scene.goes_down("o2")
    assert scene.alarms.oldest_origin == 6
    scene.passes(0.5)
    assert scene.alarms.oldest_origin == 7
    scene.passes(0.5)
    assert scene.alarms.oldest_origin is None
