"""Kin: what is told of one that is down under, or over, another that is."""

from hopper.model.event import EventType
from hopper.model.health import Health


def test_those_below_one_that_is_down_are_counted_in_its_alert(scene):
    scene.goes_down("o1", "p1", "o2")
    scene.passes()
    (alert,) = scene.told
    assert scene.news == ["down firing p1"]
    assert alert.evidence["descendants_down"] == 2
    assert "2 below it are down too" in alert.text
    scene.comes_back("o1", "o2", "p1")
    scene.passes()
    assert scene.news == ["down resolved p1"]


def test_one_whose_parent_went_down_later_waits_for_what_becomes_of_that(scene):
    scene.goes_down("o1")
    scene.passes(0.9)
    scene.goes_down("p1")
    scene.passes(0.5)
    assert scene.news == []
    scene.passes(0.5)
    assert scene.news == ["down firing p1"]


def test_one_that_stays_down_after_its_parent_is_back_is_told_of_then(scene):
    scene.goes_down("p1", "o1", "o2")
    scene.passes()
    scene.comes_back("o2", "p1")
    scene.passes()
    assert scene.news == ["down firing p1", "down resolved p1", "down firing o1"]


def test_one_that_is_down_is_told_of_when_it_leaves_the_dead_parent(scene):
    scene.goes_down("p1", "o1", "o2")
    scene.passes()
    scene.happens(EventType.PARENT_CHANGED, "o1", parent_id="p2")
    scene.happens(EventType.PARENT_CHANGED, "o2", parent_id=None)
    scene.passes()
    assert scene.news == ["down firing p1", "down firing o1", "down firing o2"]


def test_one_that_is_down_is_told_of_when_its_parent_leaves_the_dead_one_above(scene):
    scene.goes_down("g", "o1")
    scene.passes()
    scene.happens(EventType.PARENT_CHANGED, "p1", parent_id=None)
    scene.passes()
    assert scene.news == ["down firing g", "down firing o1"]


def test_it_is_told_of_too_where_the_parent_was_suspect_again_before_it_was_back(scene):
    scene.goes_down("p1")
    scene.passes()
    scene.happens(EventType.HEALTH_CHANGED, "p1", health=Health.SUSPECT, reason="guard")
    scene.goes_down("o1")
    scene.passes()
    scene.comes_back("p1")
    scene.passes()
    assert scene.news == ["down firing p1", "down resolved p1", "down firing o1"]


def test_it_is_told_of_too_where_the_parent_was_back_before_it_was_told(scene):
    scene.goes_down("o1", "p1")
    scene.passes(0.5)
    scene.comes_back("p1")
    scene.passes(10)
    assert scene.news == ["down firing o1"]


def test_one_under_another_parent_is_told_of_alone(scene):
    scene.goes_down("p2", "o1")
    scene.passes()
    assert sorted(scene.news) == ["down firing o1", "down firing p2"]


def test_a_parent_that_flaps_and_is_up_hides_nobody(scene):
    scene.goes_down("p1")
    scene.passes()
    scene.flaps("p1", True)
    scene.comes_back("p1")
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == ["down firing p1", "down firing o1"]
