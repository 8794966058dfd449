"""Selectors: which records they match."""

from dataclasses import replace
from typing import Any

import pytest

from hopper.model.health import Health
from hopper.model.policy import Maintenance
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.selector import Selector, in_service
from hopper.model.state import State

RECORD = Record(
    id="web-1", name="web-eu-1", scope=Scope.PROJECT, parent_id="main", state=State.RUNNING, health=Health.HEALTHY,
    version="1.2", tags=("eu", "gpu"), metadata={"zone": "a", "rack": "7"},
)  # fmt: skip

MATCHES: dict[str, tuple[dict[str, Any], bool]] = {
    "nothing asked": ({}, True),
    "its scope": ({"scope": frozenset({Scope.PROJECT})}, True),
    "another scope": ({"scope": frozenset({Scope.GLOBAL})}, False),
    "one of two scopes": ({"scope": frozenset({Scope.GLOBAL, Scope.PROJECT})}, True),
    "its state": ({"state": frozenset({State.RUNNING})}, True),
    "another state": ({"state": frozenset({State.PAUSED, State.FAILED})}, False),
    "its health": ({"health": frozenset({Health.HEALTHY, Health.DOWN})}, True),
    "another health": ({"health": frozenset({Health.DOWN})}, False),
    "a tag it has": ({"tags": frozenset({"gpu"})}, True),
    "both its tags": ({"tags": frozenset({"gpu", "eu"})}, True),
    "one tag it has not": ({"tags": frozenset({"gpu", "us"})}, False),
    "its name": ({"name": "web-eu-1"}, True),
    "a part of its name": ({"name": "web-eu"}, False),
    "its name in capitals": ({"name": "WEB-EU-1"}, False),
    "a glob": ({"name": "web-*"}, True),
    "a glob of one character": ({"name": "web-eu-?"}, True),
    "a glob of a set": ({"name": "web-eu-[12]"}, True),
    "a glob of another set": ({"name": "web-eu-[!1]"}, False),
    "a glob in capitals": ({"name": "WEB-*"}, False),
    "its parent": ({"parent": "main"}, True),
    "another parent": ({"parent": "other"}, False),
    "its version": ({"version": "1.2"}, True),
    "another version": ({"version": "1"}, False),
    "its metadata": ({"metadata": {"zone": "a", "rack": "7"}}, True),
    "one other value": ({"metadata": {"zone": "a", "rack": "8"}}, False),
    "metadata it has not": ({"metadata": {"row": ""}}, False),
    "no orphan": ({"orphan": False}, True),
    "an orphan": ({"orphan": True}, False),
    "available": ({"available": True}, True),
    "not available": ({"available": False}, False),
    "all at once": ({"scope": frozenset({Scope.PROJECT}), "tags": frozenset({"eu"}), "name": "web*"}, True),
    "all but one": ({"scope": frozenset({Scope.PROJECT}), "tags": frozenset({"us"}), "name": "web*"}, False),
}


@pytest.mark.parametrize(("criteria", "expected"), MATCHES.values(), ids=MATCHES.keys())
def test_a_selector_matches_where_every_criterion_holds(criteria, expected):
    assert Selector(**criteria).matches(RECORD) == expected


def test_an_orphan_is_found_as_one():
    orphan = replace(RECORD, parent_id=None)
    assert Selector(orphan=True).matches(orphan)
    assert not Selector(orphan=False).matches(orphan)


SERVICE: dict[str, tuple[dict[str, Any], bool]] = {
    "running and healthy": ({}, True),
    "degraded": ({"health": Health.DEGRADED}, True),
    "unhealthy": ({"health": Health.UNHEALTHY}, True),
    "suspect": ({"health": Health.SUSPECT}, False),
    "down": ({"health": Health.DOWN}, False),
    "not monitored": ({"health": Health.UNKNOWN}, False),
    "flapping": ({"flapping": True}, False),
    "under maintenance": ({"maintenance": Maintenance()}, False),
    "paused": ({"state": State.PAUSED}, False),
    "starting": ({"state": State.STARTING}, False),
    "stopping": ({"state": State.STOPPING}, False),
}


@pytest.mark.parametrize(("fields", "expected"), SERVICE.values(), ids=SERVICE.keys())
def test_in_service_is_running_alive_not_flapping_and_without_maintenance(fields, expected):
    record = replace(RECORD, **fields)
    assert in_service(record) == expected
    assert Selector(available=True).matches(record) == expected
    assert Selector(available=False).matches(record) != expected


@pytest.mark.parametrize(
    ("name", "expected"), [(None, False), ("web", False), ("w*", True), ("w?b", True), ("[w]", True), ("w]", False)]
)
def test_a_name_is_a_glob_where_it_has_a_character_of_one(name, expected):
    assert Selector(name=name).name_is_glob == expected
