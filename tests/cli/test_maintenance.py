"""`hopper maintenance`."""

import pytest

from cli.commands import Hopper


def test_an_instance_is_taken_out_of_service_and_put_back(hopper: Hopper) -> None:
    hopper.tree()
    record = hopper.document("maintenance", "web", "--reason", "disk", "--for", "60")
    assert record["maintenance"] == {"reason": "disk", "until_ms": record["updated_at_ms"] + 60_000}
    assert hopper.ok("discover", "--scope", "project", "-o", "name") == "api\n"
    assert hopper.document("maintenance", "web", "--until", str(10**14))["maintenance"]["until_ms"] == 10**14
    assert hopper.document("maintenance", "web", "--end")["maintenance"] is None
    assert hopper.document("maintenance", "web", "--end")["maintenance"] is None


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (["web", "--until", "5"], 2, ["until_ms", "'web'", "5"]),
        (["web", "--for", "0"], 2, ["for_s", "0"]),
        (["web", "--for", "soon"], 2, ["for", "'soon'"]),
        (["web", "--end", "--for", "5"], 2, ["for_s", "--end"]),
        (["web", "--for", "5", "--until", str(10**14)], 2, ["for_s", "until_ms"]),
        (["ghost"], 3, ["'ghost'"]),
        (["ghost", "--end"], 3, ["'ghost'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_refused(hopper: Hopper, words: list[str], code: int, names: list[str]) -> None:
    hopper.tree()
    said = hopper.refused("maintenance", *words, code=code)
    assert all(name in said for name in names), said


def test_one_in_maintenance_is_marked_wherever_its_health_is_shown(hopper: Hopper) -> None:
    hopper.tree()
    answered = hopper.ok("maintenance", "web", "--reason", "disk")
    for shown in (answered, hopper.ok("get", "web")):
        facts = dict(line.split(maxsplit=1) for line in shown.splitlines())
        assert (facts["health"], facts["maintenance"]) == ("healthy (maintenance)", "until it is ended: disk")
    (row,) = [line for line in hopper.ok("ls").splitlines() if line.startswith("web ")]
    assert "  healthy (maintenance)  " in row
    assert "web project running healthy (maintenance)\n" in hopper.ok("tree")
    for how in ("mermaid", "dot"):
        assert hopper.ok("tree", "-o", how).count("healthy (maintenance)") == 1
    assert hopper.ok("explain", "web").endswith("now: it is running and healthy (maintenance)\n")
    assert "maintenance" not in hopper.ok("get", "api")
