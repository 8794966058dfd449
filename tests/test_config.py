"""The settings: one table, each with a default, a unit and a line of its own."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from hopper import Settings

FIELDS = Settings.model_fields
UNITS = {"_ms": r"\bMilliseconds?\b", "_s": r"\bSeconds?\b"}
ANOTHER: dict[str, tuple[str, object]] = {
    "redis_url": ("redis://example:1/2", "redis://example:1/2"),
    "namespace": ("other_1", "other_1"),
    "data_dir": ("/tmp/x", Path("/tmp/x")),
    "host": ("::1", "::1"),
    "ttl_ms": ("1234", 1234),
    "port": ("0", 0),
    "log_length": ("100", 100),
    "read_wait_s": ("0.5", 0.5),
}


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_has_a_default_and_a_line_that_ends(name):
    assert not FIELDS[name].is_required()
    described = FIELDS[name].description or ""
    assert "\n" not in described
    assert described.endswith((".", "`"))


@pytest.mark.parametrize("name", [name for name in FIELDS if re.search(r"_(ms|s)$", name)])
def test_a_setting_of_time_says_its_unit(name):
    unit = next(words for suffix, words in UNITS.items() if name.endswith(suffix))
    assert re.search(unit, FIELDS[name].description or "", re.IGNORECASE)


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.annotation in (int, float)])
def test_a_number_is_bounded_below(name):
    assert any(hasattr(bound, "ge") or hasattr(bound, "gt") for bound in FIELDS[name].metadata)
    with pytest.raises(ValidationError):
        Settings(**{name: -1})


@pytest.mark.parametrize("name", ANOTHER)
def test_the_environment_sets_what_hopper_and_the_name_spell(name, monkeypatch):
    text, value = ANOTHER[name]
    assert getattr(Settings(), name) != value
    monkeypatch.setenv(f"HOPPER_{name.upper()}", text)
    assert getattr(Settings(), name) == value


def test_what_is_given_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("HOPPER_NAMESPACE", "from-the-environment")
    assert Settings().namespace == "from-the-environment"
    assert Settings(namespace="given").namespace == "given"


def test_an_empty_url_is_none(monkeypatch):
    monkeypatch.setenv("HOPPER_REDIS_URL", "")
    assert Settings().redis_url is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("namespace", ""),
        ("namespace", "Upper"),
        ("namespace", "-x"),
        ("namespace", "a" * 64),
        ("namespace", "a}b"),
        ("ttl_ms", 999),
        ("ttl_ms", 86_400_001),
        ("port", 65_536),
        ("log_length", 99),
        ("probe_batch", 501),
        ("read_wait_s", 0),
        ("colour", "red"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(name, value):
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize("pattern", ["https://hooks.example.com", "*", "hooks.example.com:https"])
def test_a_host_that_could_never_be_called_is_refused_by_the_name_of_its_setting(pattern, monkeypatch):
    monkeypatch.setenv("HOPPER_WEBHOOK_ALLOW", f"good.example,{pattern}")
    with pytest.raises(ValidationError, match=rf"webhook_allow\n.*'{re.escape(pattern)}' allows no host"):
        Settings()
    monkeypatch.setenv("HOPPER_WEBHOOK_ALLOW", "good.example, *.better.example:8443")
    assert Settings().webhook_allow == ("good.example", "*.better.example:8443")


def test_settings_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1


def test_the_data_are_kept_where_the_desktop_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Settings().data_dir == tmp_path / "hopper"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert Settings().data_dir == Path.home() / ".local" / "share" / "hopper"
