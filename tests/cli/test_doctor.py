"""`hopper doctor`: findings as lines and as JSON, and an exit code of its own for problems."""

from cli.commands import Hopper
from hopper.cli.exits import Exit
from servers import free_port


def test_warnings_alone_end_with_0_and_each_says_what_to_do(hopper: Hopper) -> None:
    lines = hopper.ok("doctor").splitlines()
    assert lines[0].split()[:3] == ["ok", "redis", "Valkey"]
    warned = [at for at, line in enumerate(lines) if line.startswith("warning")]
    assert warned
    assert all(lines[at + 1].strip().startswith("-> ") for at in warned)


def test_a_problem_ends_with_7_and_nothing_is_changed(hopper: Hopper) -> None:
    hopper.tree()
    before = hopper.keys()
    result = hopper("doctor")
    assert result.exit_code == Exit.PROBLEM == 7
    assert "problem  monitor" in result.stdout
    assert hopper.keys() == before


def test_as_json_it_is_a_list_with_the_gravest_level(hopper: Hopper) -> None:
    report = hopper.document("doctor")
    assert report["worst"] == "warning"
    assert {finding["level"] for finding in report["findings"]} == {"ok", "warning"}
    assert set(report["findings"][0]) == {"check", "level", "text", "advice"}


def test_a_redis_that_is_away_is_a_problem_and_no_error(hopper: Hopper) -> None:
    result = hopper("doctor", env={"HOPPER_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"})
    assert result.exit_code == Exit.PROBLEM
    assert result.stdout.startswith("problem  redis  Redis is away")


def test_without_any_redis_it_says_what_to_do(hopper: Hopper, tmp_path: object) -> None:
    result = hopper("doctor", env={"HOPPER_REDIS_URL": None, "HOPPER_DATA_DIR": f"{tmp_path}/none"})
    assert result.exit_code == Exit.PROBLEM
    assert "hopper serve" in result.stdout
