"""The command line as a whole: help, shared options, errors as sentences with exit codes."""

import asyncio
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.commands import Hopper
from hopper import errors
from hopper.cli.exits import MEANINGS, Exit, exit_of, sentence_of
from hopper.errors import HopperError, Unavailable
from servers import RedisServer

COMMANDS = [
    *("serve", "monitor", "run", "register", "get", "ls", "discover", "tree", "health", "guard", "explain"),
    *("watch", "link", "unlink", "state", "maintenance", "rm", "doctor", "lua"),
]


def test_help_lists_every_command_and_every_exit_code(hopper: Hopper) -> None:
    lines = [line.split() for line in hopper.ok("--help").splitlines()]
    commands = lines[lines.index(["Commands:"]) + 1 : lines.index(["Exit", "codes:"]) - 1]
    assert [line[0] for line in commands] == COMMANDS
    assert [line[0] for line in lines[lines.index(["Exit", "codes:"]) + 2 :]] == [str(int(code)) for code in Exit]
    assert set(MEANINGS) == set(Exit)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_summary_that_fits_its_line_and_help_for_every_option(hopper: Hopper, command: str) -> None:
    summary = next(line for line in hopper.ok("--help").splitlines() if line.split()[:1] == [command])
    assert summary.endswith(".")
    assert not summary.endswith("...")
    assert "--namespace" in hopper.ok(command, "--help")


def test_without_a_command_the_help_is_shown(hopper: Hopper) -> None:
    assert hopper.ok() == hopper.ok("--help")


def test_help_is_quick() -> None:
    """By the time on a core, which says nothing of who else wants one."""

    def taken() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "hopper", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(taken() for _ in range(5)) < 0.25


def test_help_imports_nothing_slow() -> None:
    program = "import sys, hopper.cli.app; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    slow = {"pydantic", "redis", "uvicorn", "starlette", "structlog", "tenacity", "rich.console", "hopper.config"}
    assert not slow & set(modules)


def test_the_version_is_that_of_the_package(hopper: Hopper) -> None:
    assert hopper.ok("--version").startswith("hopper 0.")


def test_an_unknown_command_ends_with_2_and_is_named(hopper: Hopper) -> None:
    assert "'explode'" in hopper.refused("explode", code=2)


def test_options_after_the_command_win_over_those_before_it_and_over_the_environment(hopper: Hopper) -> None:
    namespace = hopper.settings.namespace
    hopper.tree()
    away = {"HOPPER_NAMESPACE": "elsewhere"}
    assert hopper.ok("ls", "--namespace", namespace, "-o", "name", env=away).split() == ["hub", "web", "api", "run"]
    assert hopper.ok("--namespace", namespace, "ls", "--scope", "global", "-o", "name", env=away) == "hub\n"
    assert hopper.ok("--namespace", "elsewhere", "get", "hub", "--namespace", namespace, "-o", "name") == "hub\n"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--namespace", "Not Good"], ["namespace", "Not Good"]),
        (["--redis-url", "ftp://x"], ["redis_url", "ftp://x"]),
        (["--log-level", "loud"], ["log-level", "loud"]),
    ],
    ids=["namespace", "redis-url", "log-level"],
)
def test_a_bad_setting_ends_with_2_and_is_named(hopper: Hopper, words: list[str], names: list[str]) -> None:
    said = hopper.refused("get", "hub", *words, code=2)
    assert all(name in said for name in names), said


def test_a_bad_setting_in_the_environment_ends_with_2_and_is_named(hopper: Hopper) -> None:
    assert "log_format is 'xml'" in hopper.refused("get", "hub", env={"HOPPER_LOG_FORMAT": "xml"}, code=2)
    assert "port is 'x'" in hopper.refused("get", "hub", env={"HOPPER_PORT": "x"}, code=2)


@pytest.mark.parametrize(
    "words", [["get", "hub"], ["ls"], ["tree"], ["health"], ["watch"], ["rm", "hub"]], ids=" ".join
)
def test_a_redis_that_is_away_ends_with_6_at_once(hopper: Hopper, words: list[str]) -> None:
    began = time.monotonic()
    said = hopper.refused(*words, env={"HOPPER_REDIS_URL": "redis://127.0.0.1:1/0"}, code=6)
    assert said.startswith("hopper: Redis is away")
    assert time.monotonic() - began < 2


def test_without_redis_the_sentence_says_what_to_do(hopper: Hopper, tmp_path: Path) -> None:
    env = {"HOPPER_REDIS_URL": None, "HOPPER_DATA_DIR": str(tmp_path / "none")}
    said = hopper.refused("ls", env=env, code=6)
    assert "hopper serve" in said
    assert "HOPPER_REDIS_URL" in said


@pytest.mark.parametrize("words", [["get", "hub"], ["ls"], ["watch"]], ids=" ".join)
def test_newer_data_end_with_1_and_a_sentence(hopper: Hopper, server: RedisServer, words: list[str]) -> None:
    hopper.tree()
    with server.connect() as client:
        client.set(f"hopper:{{{hopper.settings.namespace}}}:schema", 99)
    said = hopper.refused(*words, code=1)
    assert said.startswith("hopper: ")
    assert "99" in said


def test_logs_go_to_standard_error_as_json_when_asked(hopper: Hopper) -> None:
    hopper.tree()
    result = hopper("ls", "-o", "name", "--log-format", "json", "--log-level", "info")
    assert result.stdout.split() == ["hub", "web", "api", "run"]
    assert '"event":"view.loaded"' in result.stderr.replace(" ", "")


def test_logs_are_key_and_value_by_default_and_silent_for_a_single_command(hopper: Hopper) -> None:
    hopper.tree()
    assert hopper("ls").stderr == ""
    assert "event=view.loaded" in hopper("ls", env={"HOPPER_LOG_LEVEL": "info"}).stderr


def test_every_error_has_an_exit_code_of_its_kind() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HopperError)]
    by_status = {404: Exit.NOT_FOUND, 409: Exit.REFUSED, 500: Exit.UNEXPECTED}
    by_status |= dict.fromkeys((400, 413, 422), Exit.INVALID) | dict.fromkeys((410, 412), Exit.PRECONDITION)
    by_status |= dict.fromkeys((502, 503), Exit.UNAVAILABLE)
    assert {kind: exit_of(kind("why")) for kind in kinds} == {kind: by_status[kind.status] for kind in kinds}


def test_an_unknown_outcome_is_said() -> None:
    assert "unknown" in sentence_of(Unavailable("Redis is away", outcome="unknown"))
    assert sentence_of(Unavailable("Redis is away")) == "Redis is away"


def test_python_m_hopper_is_the_command_line() -> None:
    async def end() -> int:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hopper", "explode"), stderr=asyncio.subprocess.DEVNULL
        )
        return await process.wait()

    assert asyncio.run(end()) == 2


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HOPPER_THRESHOLDS", "{bad", "thresholds is '{bad', which is no JSON"),
        ("HOPPER_THRESHOLDS", '{"queue_depth": 5}', "thresholds.queue_depth is 5: input should be an object"),
        ("HOPPER_ALERT_WEBHOOK", "nope", "alert_webhook is 'nope': a webhook is an http:// or https:// URL"),
    ],
    ids=["no JSON", "a number", "no URL"],
)
def test_a_setting_that_cannot_be_used_is_named_in_one_sentence(
    name: str, value: str, says: str, hopper: Hopper, monkeypatch: pytest.MonkeyPatch
) -> None:
    hopper.tree()
    monkeypatch.setenv(name, value)
    assert says in hopper.refused("ls", code=2)
