"""Alerts: how far they have come is read as it was written."""

import pytest

from hopper.model.alert import AlertPosition, KnownDeath, KnownRelease


def test_a_position_is_read_as_it_was_written():
    deaths = {"o2": KnownDeath(revision=6, at_ms=1000, spared=False)}
    releases = {
        "orphans": KnownRelease(mark="orphans@4", revision=5, at_ms=None),
        "global": KnownRelease(
            mark="6", revision=6, at_ms=9, reason="why", evidence={"lapsed": 4}, count=4, left={"o3": 6}, again=True
        ),
    }
    position = AlertPosition(
        epoch="e-1", revision=7, told={"down:o1": 5}, deaths=deaths, read=(8, 1200), releases=releases
    )
    assert AlertPosition.from_json(position.to_json()) == position
    assert position.size == 2
    earlier = b'{"epoch": "e-1", "revision": 7, "told": {"down:o1": 5}, "released": {"orphans": [null, 5]}}'
    assert AlertPosition.from_json(earlier) == AlertPosition(epoch="e-1", revision=7, told={"down:o1": 5})
    lacking = b'{"epoch": "e", "revision": 1, "told": {}, "deaths": {"o1": {"revision": 1}}}'
    for broken in (b"17", b"{", b"[]", b'{"epoch": "e", "revision": 1}', lacking):
        with pytest.raises((ValueError, TypeError, KeyError)):
            AlertPosition.from_json(broken)
