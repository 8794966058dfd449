"""Alerts: how far they have come is read as it was written."""

import pytest

from hopper.model.alert import AlertPosition


def test_a_position_is_read_as_it_was_written():
    position = AlertPosition(epoch="e-1", revision=7, told={"down:o1": 5})
    assert AlertPosition.from_json(position.to_json()) == position
    for broken in (b"17", b"{", b"[]", b'{"epoch": "e", "revision": 1}'):
        with pytest.raises((ValueError, TypeError, KeyError)):
            AlertPosition.from_json(broken)
