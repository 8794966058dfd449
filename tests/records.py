"""Hypothesis strategies for records and specs: every field, with the characters that break encodings."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.health import Health
from hopper.model.policy import Check, Maintenance, RestartPolicy, Threshold, Wish
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.state import State

__all__ = ["documents", "records"]

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
SOME_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
IDS = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?", fullmatch=True)
NAMES = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S"], exclude_characters="*?["), min_size=1, max_size=8
)
INTEGERS = st.integers(0, 10**15 - 1)
MAYBE = st.none() | INTEGERS
NUMBERS = st.floats(0, 1e9)
PLACES = st.sampled_from(["web:80", "[::1]:80", "http://web/", "unix:///run/x", "a://{b}"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
TAGS = st.lists(SOME_TEXT, max_size=3, unique=True).map(tuple)
RESTARTS = st.builds(
    RestartPolicy,
    mode=st.sampled_from(["never", "on-failure", "always"]),
    max_restarts=st.integers(0, 9),
    window_s=st.floats(0.5, 100),
    webhook=st.none() | st.just("https://hooks.example:8443/start?x=1"),
)
THRESHOLDS = st.dictionaries(
    st.sampled_from(["queue_depth", "response_time_ms"]),
    st.tuples(NUMBERS, NUMBERS).map(lambda pair: Threshold(*sorted(pair)))
    | NUMBERS.map(lambda limit: Threshold(limit, None))
    | NUMBERS.map(lambda limit: Threshold(None, limit)),
)
WISHES = st.builds(Wish, id=st.none() | IDS, name=st.none() | NAMES, tags=TAGS)
CHECKS = st.builds(
    Check,
    kind=st.sampled_from(["http", "tcp"]),
    path=st.none() | st.just("/healthz?deep=1"),
    address=st.none() | SOME_TEXT,
    interval_s=st.floats(1, 60),
)

OWNED: dict[str, st.SearchStrategy[Any]] = {
    "name": NAMES,
    "address": st.none() | PLACES | st.dictionaries(SOME_TEXT, PLACES, min_size=1, max_size=2),
    "version": st.none() | SOME_TEXT,
    "description": st.none() | SOME_TEXT,
    "tags": TAGS,
    "metadata": st.dictionaries(TEXT, TEXT, max_size=2),
    "config": st.dictionaries(TEXT, JSON, max_size=2),
    "ephemeral": st.booleans(),
    "ttl_ms": st.integers(1000, 86_400_000),
    "grace_ms": st.integers(0, 86_400_000),
    "deregister_after_ms": MAYBE,
    "restart": st.none() | RESTARTS,
    "thresholds": THRESHOLDS,
    "check": st.none() | CHECKS,
    "wish": st.none() | WISHES,
    "max_children": MAYBE,
}

records = st.builds(
    Record,
    id=IDS,
    scope=st.sampled_from(Scope),
    parent_id=st.none() | IDS,
    state=st.sampled_from(State),
    health=st.sampled_from(Health),
    maintenance=st.none() | st.builds(Maintenance, reason=TEXT, until_ms=MAYBE),
    incarnation=INTEGERS,
    revision=INTEGERS,
    created_revision=INTEGERS,
    created_at_ms=INTEGERS,
    updated_at_ms=INTEGERS,
    started_at_ms=MAYBE,
    stopped_at_ms=MAYBE,
    down_at_ms=MAYBE,
    restarts=INTEGERS,
    flapping=st.booleans(),
    leaving=st.none()
    | st.builds(
        Departure, children=st.sampled_from(ChildrenMode), reparent_to=st.none() | IDS, wish=st.none() | WISHES
    ),
    **OWNED,
)
"""Any record there can be."""


def _sensible(document: dict[str, Any]) -> dict[str, Any]:
    """Without a wish that nothing could ever fulfil, and with a check only where there is a place and time for it."""
    wish = document.get("wish")
    futile = document["scope"] == "global" or (document["scope"] == "orchestration" and wish == Wish())
    checked = "check" in document and document["check"] is not None
    sensible = {name: value for name, value in document.items() if name != "wish" or not futile}
    if checked:
        sensible |= {"address": "web:80", "ttl_ms": 86_400_000}
        sensible["check"] = replace(document["check"], path="/healthz?deep=1", address=None, kind="http")
    return sensible


documents = st.fixed_dictionaries({"scope": st.sampled_from([scope.value for scope in Scope])}, optional=OWNED).map(
    _sensible
)
"""What an owner may register, as Python values."""
