"""Active checks: short forms, the place they go to, and the time they have."""

from typing import Any

import pytest

from hopper.errors import Invalid
from hopper.model.check import Target, target_of
from hopper.model.policy import Check
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.spec import apply_patch, parse_spec

NAMED = {"api": "https://web:8443/x", "metrics": "web:9100", "local": "unix:///run/x"}


def checked(check: Any, address: Any = "http://web:8080", **fields: Any) -> Check:
    spec = parse_spec({"scope": "project", "address": address, "check": check, **fields})
    assert spec.check is not None
    return spec.check


@pytest.mark.parametrize(
    ("check", "address", "stored", "target"),
    [
        ({"kind": "http"}, "http://web:8080/base", Check("http", "/"), Target("web", 8080, "http://web:8080/")),
        (
            {"kind": "http", "path": "/h?a=1"},
            "web:80",
            Check("http", "/h?a=1"),
            Target("web", 80, "http://web:80/h?a=1"),
        ),
        ({"http": "/healthz"}, "https://web", Check("http", "/healthz"), Target("web", 443, "https://web:443/healthz")),
        (
            {"http": "http://WEB:8080/h"},
            "http://web:8080",
            Check("http", "/h"),
            Target("web", 8080, "http://web:8080/h"),
        ),
        ({"http": "http://web/h?x"}, "web:80", Check("http", "/h?x"), Target("web", 80, "http://web:80/h?x")),
        ({"http": "http://web"}, "http://user:pw@web", Check("http", "/"), Target("web", 80, "http://web:80/")),
        ({"http": "/h"}, "http://[::1]:81/", Check("http", "/h"), Target("::1", 81, "http://[::1]:81/h")),
        ({"http": "https://web:8443/h"}, NAMED, Check("http", "/h", "api"), Target("web", 8443, "https://web:8443/h")),
        (
            {"http": "/h", "address": "api"},
            NAMED,
            Check("http", "/h", "api"),
            Target("web", 8443, "https://web:8443/h"),
        ),
        ({"http": "/h"}, {"only": "web:80"}, Check("http", "/h", "only"), Target("web", 80, "http://web:80/h")),
        ({"tcp": True}, "[::1]:90", Check("tcp"), Target("::1", 90)),
        ({"tcp": "web:9100"}, NAMED, Check("tcp", None, "metrics"), Target("web", 9100)),
        ({"tcp": "web:8443"}, NAMED, Check("tcp", None, "api"), Target("web", 8443)),
        ({"kind": "tcp", "threshold": 1}, "redis://web:6379/0", Check("tcp", threshold=1), Target("web", 6379)),
    ],
    ids=str,
)
def test_every_form_is_stored_as_one_and_goes_to_the_own_address(check, address, stored, target):
    assert checked(check, address) == stored
    assert target_of(stored, address) == target


@pytest.mark.parametrize(
    ("check", "address", "field"),
    [
        ({"http": "http://other:8080/h"}, "http://web:8080", "check.http"),
        ({"http": "http://web:8081/h"}, "http://web:8080", "check.http"),
        ({"http": "https://web:8080/h"}, "http://web:8080", "check.http"),
        ({"http": "http://web:8080@other/h"}, "http://web:8080", "check.http"),
        ({"http": "http://[web/h"}, "http://web:8080", "check.http"),
        ({"http": "healthz"}, "http://web:8080", "check.http"),
        ({"http": True}, "http://web:8080", "check.http"),
        ({"http": "/h"}, None, "check"),
        ({"http": "/h"}, NAMED, "check.address"),
        ({"http": "/h", "address": "no"}, NAMED, "check.address"),
        ({"http": "/h", "address": "local"}, NAMED, "check"),
        ({"http": "/h", "address": "x"}, "web:80", "check.address"),
        ({"http": "/h"}, "redis://web:6379", "check"),
        ({"http": "/h", "tcp": True}, "web:80", "check.tcp"),
        ({"http": "/h", "path": "/x"}, "web:80", "check.path"),
        ({"http": "/h", "kind": "tcp"}, "web:80", "check.kind"),
        ({"kind": "http", "path": "h"}, "web:80", "check.path"),
        ({"kind": "http", "path": "/h h"}, "web:80", "check.path"),
        ({"kind": "http", "path": "/h\r\nX: y"}, "web:80", "check.path"),
        ({"kind": "http", "path": "/h#x"}, "web:80", "check.path"),
        ({"kind": "tcp", "path": "/h"}, "web:80", "check.path"),
        ({"tcp": "other:80"}, "web:80", "check.tcp"),
        ({"tcp": False}, "web:80", "check.tcp"),
        ({"tcp": "http://web:80"}, "web:80", "check.tcp"),
        ({"tcp": True}, "unix:///run/x", "check"),
        ({"tcp": True}, "http://we b", "address"),
        ({"tcp": True}, "a://{b}:80", "check"),
        ({"kind": "udp"}, "web:80", "check.kind"),
        ({"kind": "tcp", "interval_s": 0.5}, "web:80", "check.interval_s"),
        ("http", "web:80", "check"),
    ],
    ids=str,
)
def test_what_would_go_elsewhere_or_nowhere_is_refused_and_named(check, address, field):
    with pytest.raises(Invalid) as refused:
        checked(check, address)
    assert refused.value.field == field


@pytest.mark.parametrize(("fields", "fits"), [({}, True), ({"ttl_ms": 12_001}, True), ({"ttl_ms": 12_000}, False)])
def test_interval_and_timeout_must_be_under_the_ttl(fields, fits):
    spec = parse_spec({"scope": "project", "address": "web:80", "check": {"tcp": True}, **fields})
    if fits:
        assert spec.completed(ttl_ms=15_000).check == Check("tcp")
        return
    with pytest.raises(
        Invalid, match="interval_s 10 and timeout_s 2, together not under the TTL of 12000 ms"
    ) as refused:
        spec.completed(ttl_ms=15_000)
    assert refused.value.field == "check"


def test_the_ttl_of_the_settings_counts_where_the_instance_names_none():
    spec = parse_spec({"scope": "project", "address": "web:80", "check": {"tcp": True}})
    with pytest.raises(Invalid, match="TTL of 5000 ms"):
        spec.completed(ttl_ms=5_000)


RECORD = Record(
    id="web", name="web", scope=Scope.PROJECT, address="http://web:80", check=Check("http", "/h", threshold=5)
)


@pytest.mark.parametrize(
    ("patch", "check"),
    [
        ({"check": {"threshold": 1}}, Check("http", "/h", threshold=1)),
        ({"check": {"http": "/other"}}, Check("http", "/other", threshold=5)),
        ({"check": {"tcp": True}}, Check("tcp", threshold=5)),
        ({"check": {"http": "http://new:81/n"}, "address": "new:81"}, Check("http", "/n", threshold=5)),
        ({"address": {"a": "web:81"}}, Check("http", "/h", "a", threshold=5)),
        ({"check": None}, None),
        ({"check": None, "address": None}, None),
    ],
    ids=str,
)
def test_a_patch_may_use_every_form(patch, check):
    assert apply_patch(RECORD, patch).check == check


@pytest.mark.parametrize("patch", [{"address": None}, {"check": {"http": "http://new:81/n"}}, {"address": "unix:///x"}])
def test_a_patch_that_leaves_a_check_without_its_place_is_refused(patch):
    with pytest.raises(Invalid, match="check"):
        apply_patch(RECORD, patch)
