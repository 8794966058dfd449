"""`hopper health`: the registry at a glance, and one instance."""

from cli.commands import Hopper
from servers import RedisServer


def facts(printed: str) -> dict[str, str]:
    return {
        name: value
        for name, _, value in (line.partition(" ") for line in printed.splitlines())
        for value in [value.strip()]
    }


def test_the_summary_counts_and_says_that_nobody_monitors(hopper: Hopper) -> None:
    hopper.tree()
    hopper.ok("register", "--scope", "project", "--id", "lone", "--state", "created")
    shown = facts(hopper.ok("health"))
    assert shown["instances"] == "5 (global 1, project 3, orchestration 1)"
    assert shown["health"] == "unknown 1, healthy 4"
    assert shown["states"] == "created 1, running 4"
    assert shown["orphans"] == "1"
    assert shown["monitor"].startswith("none")
    assert shown["status"] == "degraded"


def test_the_summary_in_json_has_the_counts_by_scope(hopper: Hopper) -> None:
    hopper.tree()
    report = hopper.document("health")
    assert report["by_scope"]["project"] == {"healthy": 2}
    assert report["total"] == 4


def test_one_instance_is_shown_with_its_metrics_and_the_time_left(hopper: Hopper, server: RedisServer) -> None:
    hopper.tree()
    with server.connect() as client:
        client.set(
            f"hopper:{{{hopper.settings.namespace}}}:heartbeat:run", '{"queue_depth": 7, "error_rate": 3}', ex=15
        )
    shown = facts(hopper.ok("health", "run"))
    assert shown["queue_depth"] == "7"
    assert shown["heartbeat"].startswith("expires in 1")
    assert "error_rate is 3" in shown["problems"]


def test_one_instance_is_shown_with_the_reasons_and_its_subtree(hopper: Hopper, server: RedisServer) -> None:
    hopper.tree()
    with server.connect() as client:
        client.hset(
            f"hopper:{{{hopper.settings.namespace}}}:instance:web", "thresholds", '{"queue_depth": {"degraded": 5}}'
        )
        client.set(f"hopper:{{{hopper.settings.namespace}}}:heartbeat:web", '{"queue_depth": 7}', ex=15)
    shown = facts(hopper.ok("health", "web"))
    assert shown["reasons"] == "queue_depth is 7, at or over 5 (degraded)"
    assert shown["subtree"] == "healthy 2; worst healthy"
    assert "subtree" not in facts(hopper.ok("health", "run"))


def test_the_summary_names_the_first_strays_and_counts_the_others(hopper: Hopper, server: RedisServer) -> None:
    hopper.tree()
    assert "strays" not in facts(hopper.ok("health"))
    key = f"hopper:{{{hopper.settings.namespace}}}:strays"
    with server.connect() as client:
        client.hset(key, mapping={f"ghost-{number}": '{"kind": "no-record"}' for number in range(7)})
    shown = facts(hopper.ok("health"))["strays"]
    assert shown.startswith("ghost-0 (no-record), ghost-1 (no-record), ")
    assert shown.endswith("ghost-4 (no-record) and 2 more")


def test_one_instance_in_json_tells_whether_there_is_a_heartbeat(hopper: Hopper) -> None:
    hopper.ok("register", "--scope", "project", "--id", "web", "--state", "created")
    report = hopper.document("health", "web")
    assert report["heartbeat"] is False
    assert report["expires_in_ms"] is None


def test_an_unknown_instance_ends_with_3(hopper: Hopper) -> None:
    hopper.tree()
    assert "'ghost'" in hopper.refused("health", "ghost", code=3)


def test_the_summary_names_the_first_of_those_who_do_badly(hopper: Hopper, server: RedisServer) -> None:
    hopper.tree()
    assert "failed" not in facts(hopper.ok("health"))
    for number in range(7):
        hopper.ok("register", "--scope", "project", "--id", f"p{number}")
        hopper.ok("state", f"p{number}", "fail")
    with server.connect() as client:
        client.hset(f"hopper:{{{hopper.settings.namespace}}}:instance:web", "health", "down")
    shown = facts(hopper.ok("health"))
    assert shown["failed"] == "7: p0, p1, p2, p3, p4 and 2 more"
    assert shown["down"] == "1: web"
    report = hopper.document("health")
    assert report["troubled"]["failed"] == {"count": 7, "ids": ["p0", "p1", "p2", "p3", "p4"]}
    assert list(report["troubled"]) == ["down", "failed"]
