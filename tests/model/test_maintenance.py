"""What an operator may ask of a maintenance."""

import pytest

from hopper.errors import Invalid
from hopper.model.maintenance import MaintenanceRequest, maintenance_request


@pytest.mark.parametrize(
    ("document", "asked"),
    [
        ({}, MaintenanceRequest()),
        ({"reason": "disk", "until_ms": 5}, MaintenanceRequest(reason="disk", until_ms=5)),
        ({"for_s": 0.0001}, MaintenanceRequest(for_ms=1)),
        ({"for_s": 90, "until_ms": None}, MaintenanceRequest(for_ms=90_000)),
    ],
    ids=str,
)
def test_a_request_is_read(document, asked):
    assert maintenance_request(document) == asked


@pytest.mark.parametrize(
    ("document", "field", "says"),
    [
        ([], "", r"the body is \[\], not an object"),
        ({"until": 5}, "until", "unknown field 'until'"),
        ({"reason": 5}, "reason", "reason is 5, not at most 200 printable characters"),
        ({"reason": "a\nb"}, "reason", "not at most 200 printable"),
        ({"reason": "x" * 201}, "reason", "not at most 200 printable"),
        ({"until_ms": True}, "until_ms", "until_ms is True, not a time"),
        ({"until_ms": 1.5}, "until_ms", "until_ms is 1.5, not a time"),
        ({"until_ms": -1}, "until_ms", "until_ms is -1, not a time"),
        ({"for_s": 0}, "for_s", "for_s is 0, not a number of seconds above 0"),
        ({"for_s": float("nan")}, "for_s", "for_s is nan, not a number"),
        ({"for_s": "1"}, "for_s", "for_s is '1', not a number"),
        ({"for_s": 1e12}, "for_s", "of ten years at most"),
        ({"for_s": 1, "until_ms": 5}, "for_s", "for_s is 1 beside until_ms"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_and_named(document, field, says):
    with pytest.raises(Invalid, match=says) as refused:
        maintenance_request(document)
    assert refused.value.field == field
