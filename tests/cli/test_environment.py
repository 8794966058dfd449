"""Variables of the environment that no setting reads."""

import pytest

from cli.commands import Hopper
from hopper.cli.environment import unread
from hopper.config import Settings


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("HOPPER_REDIS", "HOPPER_REDIS_URL"),
        ("HOPPER_WEBHOOK_ALLOWED", "HOPPER_WEBHOOK_ALLOW"),
        ("hopper_ttl", "HOPPER_TTL_MS"),
        ("HOPPER_QQQQQQQQQQQQQQQQQQQQQQ", None),
    ],
)
def test_a_misspelt_variable_is_named_with_the_nearest_one(name: str, nearest: str | None) -> None:
    assert unread([name, "PATH"]) == [(name, nearest)]


def test_what_a_setting_reads_and_what_a_supervised_command_is_told_is_not_named() -> None:
    names = [f"HOPPER_{name.upper()}" for name in Settings.model_fields]
    names += ["HOPPER_ID", "HOPPER_INCARNATION", "HOPPER_HEARTBEAT_KEY", "HOPPER_TTL_S", "hopper_port", "HOPPERS"]
    assert unread(names) == []


def test_a_command_warns_of_it_and_goes_on(hopper: Hopper) -> None:
    result = hopper("ls", "-o", "json", env={"HOPPER_GAURD_SHARE": "0.5"})
    assert (result.exit_code, result.stdout.strip()) == (0, "[]")
    (line,) = result.stderr.splitlines()
    assert "level=warning event=environment.unread" in line
    assert line.endswith("variable=HOPPER_GAURD_SHARE nearest=HOPPER_GUARD_SHARE")
    assert hopper("ls", "--log-level", "error", env={"HOPPER_GAURD_SHARE": "0.5"}).stderr == ""
