"""Conditions: the health as a word, with what else keeps an instance out of service."""

import pytest

from hopper.model.condition import condition, maintenance_text
from hopper.model.health import Health
from hopper.model.policy import Maintenance
from hopper.model.record import Record
from hopper.model.scope import Scope

MARK = Maintenance()


@pytest.mark.parametrize(
    ("maintenance", "flapping", "text"),
    [
        (None, False, "down"),
        (MARK, False, "down (maintenance)"),
        (None, True, "down (flapping)"),
        (MARK, True, "down (maintenance, flapping)"),
    ],
)
def test_a_condition_says_all_that_keeps_it_out_of_service(
    maintenance: Maintenance | None, flapping: bool, text: str
) -> None:
    record = Record(
        id="web", name="web", scope=Scope.PROJECT, health=Health.DOWN, maintenance=maintenance, flapping=flapping
    )
    assert condition(record) == text


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        (MARK, "until it is ended"),
        (Maintenance(reason="disk"), "until it is ended: disk"),
        (Maintenance(reason="disk", until_ms=1_795_377_295_782), "until 2026-11-22 19:54:55.782: disk"),
    ],
    ids=["nothing said", "a reason", "both"],
)
def test_a_maintenance_says_until_when_and_why(mark: Maintenance, text: str) -> None:
    assert maintenance_text(mark) == text
