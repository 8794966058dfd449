"""`register get link unlink state rm`: what they do, print and refuse."""

import orjson
import pytest

from cli.commands import Hopper
from servers import RedisServer


def test_register_prints_the_record_and_the_line_that_heartbeats(hopper: Hopper) -> None:
    printed = hopper.ok("register", "--scope", "project", "--id", "web", "--ttl", "1.5", "--tag", "a", "--tag", "b")
    lines = [line.split(maxsplit=1) for line in printed.splitlines()]
    assert ["id", "web"] in lines
    assert ["tags", "a,b"] in lines
    assert ["state", "running"] in lines
    assert lines[-1] == ["heartbeat", f"SETEX hopper:{{{hopper.settings.namespace}}}:heartbeat:web 2 ''"]


def test_register_takes_every_option_into_the_record(hopper: Hopper) -> None:
    hopper.ok("register", "--scope", "global", "--id", "hub")
    record = hopper.document(
        *("register", "--scope", "PROJECT", "--id", "web", "--name", "The web", "--parent", "hub"),
        *("--state", "Starting", "--tag", "a", "--tag", "b", "--meta", "team=core", "--meta", "eq=a=b"),
        *("--address", "web.example:80", "--version", "1.2", "--description", "serves", "--ttl", "20"),
        *("--grace", "2.5", "--ephemeral", "--max-children", "7"),
    )
    expected = {
        "id": "web",
        "name": "The web",
        "scope": "project",
        "parent_id": "hub",
        "state": "starting",
        "tags": ["a", "b"],
        "metadata": {"team": "core", "eq": "a=b"},
        "address": "web.example:80",
        "version": "1.2",
        "description": "serves",
        "ttl_ms": 20_000,
        "grace_ms": 2_500,
        "ephemeral": True,
        "max_children": 7,
    }
    assert {name: record[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        (["name=web"], {"id": None, "name": "web", "tags": []}),
        (["id=web-1"], {"id": "web-1", "name": None, "tags": []}),
        (["tag=a", "tag=b"], {"id": None, "name": None, "tags": ["a", "b"]}),
    ],
    ids=["by name", "by id", "by tags"],
)
def test_register_takes_a_wish(hopper: Hopper, words: list[str], wish: dict) -> None:
    options = [option for word in words for option in ("--wish", word)]
    assert hopper.document("register", "--scope", "orchestration", "--id", "x", *options)["wish"] == wish


@pytest.mark.parametrize(
    ("words", "check"),
    [
        (["--check-http", "/healthz"], {"kind": "http", "path": "/healthz", "interval_s": 10, "timeout_s": 2}),
        (
            ["--check-http", "http://web.example:80/up", "--check-interval", "3", "--check-timeout", "0.5"],
            {"kind": "http", "path": "/up", "interval_s": 3, "timeout_s": 0.5},
        ),
        (["--check-tcp"], {"kind": "tcp", "path": None}),
    ],
    ids=["a path", "a url", "tcp"],
)
def test_register_takes_a_check(hopper: Hopper, words: list[str], check: dict) -> None:
    words = ["--scope", "project", "--address", "web.example:80", *words]
    stored = hopper.document("register", *words)["check"]
    assert {name: stored[name] for name in check} == check


def test_register_takes_thresholds(hopper: Hopper) -> None:
    words = ["queue_depth=10,100", "error_rate=0.5", "own=,7"]
    options = [option for word in words for option in ("--threshold", word)]
    assert hopper.document("register", "--scope", "project", *options)["thresholds"] == {
        "queue_depth": {"degraded": 10, "unhealthy": 100},
        "error_rate": {"degraded": 0.5, "unhealthy": None},
        "own": {"degraded": None, "unhealthy": 7},
    }


def test_register_makes_up_an_id_and_prints_it_alone(hopper: Hopper) -> None:
    printed = hopper.ok("register", "--scope", "orchestration", "-o", "name")
    assert printed.startswith("orchestration-")
    assert hopper.document("get", printed.strip())["name"] == printed.strip()


def test_register_reads_a_document_and_options_win_over_it(hopper: Hopper) -> None:
    document = {"id": "web", "scope": "project", "version": "1", "thresholds": {"queue_depth": {"degraded": 10}}}
    text = orjson.dumps(document).decode()
    record = hopper.document("register", "--file", "-", "--version", "2", input=text)
    assert record["version"] == "2"
    assert record["thresholds"] == {"queue_depth": {"degraded": 10, "unhealthy": None}}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--scope", "galaxy"], ["scope", "galaxy"]),
        ([], ["scope", "missing"]),
        (["--scope", "project", "--id", "No Good"], ["id", "No Good"]),
        (["--scope", "project", "--ttl", "0.5"], ["ttl_ms", "500"]),
        (["--scope", "project", "--ttl", "nan"], ["ttl", "nan"]),
        (["--scope", "project", "--ttl", "soon"], ["ttl", "soon"]),
        (["--scope", "project", "--meta", "lonely"], ["meta", "lonely"]),
        (["--scope", "project", "--wish", "colour=red"], ["wish", "colour=red"]),
        (["--scope", "project", "--wish", "id=a", "--wish", "id=b"], ["wish", "'a'", "'b'"]),
        (["--scope", "project", "--address", "nowhere"], ["address", "nowhere"]),
        (["--scope", "project", "--name", "a*"], ["name", "a*"]),
        (["--scope", "project", "--state", "asleep"], ["state", "asleep"]),
        (["--scope", "project", "--takeover", "perhaps"], ["takeover", "perhaps"]),
        (["--file", "/nonexistent"], ["file", "/nonexistent"]),
        (["--scope", "project", "surplus"], ["surplus"]),
        (["--scope", "project", "--check-tcp"], ["check", "no address"]),
        (["--scope", "project", "--address", "a:1", "--check-http", "http://b:1/x"], ["check.http", "b:1"]),
        (["--scope", "project", "--address", "a:1", "--check-http", "/", "--check-tcp"], ["check.tcp", "check.http"]),
        (["--scope", "project", "--check-interval", "3"], ["check.interval_s", "3", "--check-http"]),
        (["--scope", "project", "--threshold", "queue_depth"], ["threshold", "'queue_depth'"]),
        (["--scope", "project", "--threshold", "queue_depth=,"], ["threshold", "'queue_depth=,'"]),
        (["--scope", "project", "--threshold", "queue_depth=many"], ["threshold", "many", "number"]),
        (["--scope", "project", "--threshold", "a=1", "--threshold", "a=2"], ["threshold", "a twice", "'a=2'"]),
        (["--scope", "project", "--threshold", "error_rate=50"], ["thresholds.error_rate", "50", "at most 1"]),
        (["--scope", "project", "--threshold", "a=2,1"], ["thresholds.a", "below"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_bad_value_ends_with_2_and_is_named(hopper: Hopper, words: list[str], names: list[str]) -> None:
    said = hopper.refused("register", *words, code=2)
    assert all(name in said for name in names), said


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{", ["'-'", "not JSON"]),
        ("[]", ["'-'", "neither a JSON object nor entries"]),
        ('{"scope": "project", "colour": 1}', ["colour"]),
    ],
    ids=["broken", "no object", "an unknown field"],
)
def test_a_bad_document_ends_with_2(hopper: Hopper, text: str, names: list[str]) -> None:
    said = hopper.refused("register", "--file", "-", input=text, code=2)
    assert all(name in said for name in names), said


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (["register", "--scope", "global", "--id", "hub2"], 4, ["hub2", "'hub'"]),
        (["register", "--scope", "orchestration", "--id", "x", "--parent", "hub"], 4, ["'x'", "'hub'"]),
        (["register", "--scope", "project", "--id", "x", "--parent", "run"], 4, ["'x'", "'run'"]),
        (["register", "--scope", "orchestration", "--id", "x", "--name", "nightly"], 4, ["'x'", "nightly", "'run'"]),
        (["register", "--scope", "project", "--id", "x", "--parent", "ghost"], 3, ["'x'", "'ghost'"]),
        (["register", "--scope", "project", "--id", "web", "--takeover", "never"], 4, ["'web'", "never"]),
        (["register", "--scope", "project", "--id", "web", "--takeover", "if-dead"], 4, ["'web'", "if-dead"]),
        (["register", "--scope", "orchestration", "--id", "web"], 4, ["'web'", "project", "orchestration"]),
        (["link", "run", "hub"], 4, ["'run'", "'hub'"]),
        (["link", "api", "run"], 4, ["'api'", "'run'"]),
        (["link", "api", "web"], 4, ["'api'", "'web'"]),
        (["link", "hub", "web"], 4, ["'hub'", "'web'"]),
        (["link", "run", "ghost"], 3, ["'run'", "'ghost'"]),
        (["link", "ghost", "web"], 3, ["'ghost'", "'web'"]),
        (["unlink", "ghost"], 3, ["'ghost'"]),
        (["state", "web", "stopped"], 4, ["'web'", "'stopped'", "running"]),
        (["state", "ghost", "stop"], 3, ["'ghost'"]),
        (["state", "ghost", "restart"], 3, ["'ghost'"]),
        (["state", "web", "jump"], 2, ["'jump'", "restart"]),
        (["state", "web", "restart", "--reason", "why"], 2, ["'restart'", "--reason"]),
        (["rm", "web"], 4, ["'web'", "1"]),
        (["rm", "ghost"], 3, ["'ghost'"]),
        (["get", "ghost"], 3, ["'ghost'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_refused_change_names_both_parties_and_changes_nothing(
    hopper: Hopper, words: list[str], code: int, names: list[str]
) -> None:
    hopper.tree()
    said = hopper.refused(*words, code=code)
    assert said.startswith("hopper: ")
    assert said.count("\n") == 1
    assert all(name in said for name in names), said


def test_registering_an_id_again_supersedes_it(hopper: Hopper) -> None:
    first = hopper.document("register", "--scope", "project", "--id", "web")
    second = hopper.document("register", "--scope", "project", "--id", "web", "--version", "2")
    assert second["incarnation"] > first["incarnation"]
    assert second["created_revision"] == first["created_revision"]


def test_get_prints_every_field_when_wide(hopper: Hopper) -> None:
    hopper.tree()
    wide = dict(line.split(maxsplit=1) for line in hopper.ok("get", "run", "-o", "wide").splitlines())
    assert wide["ephemeral"] == "true"
    assert wide["parent_id"] == "web"
    assert wide["deregister_after_ms"] == "600000"


def test_get_prints_the_bare_id_as_name(hopper: Hopper) -> None:
    hopper.tree()
    assert hopper.ok("get", "run", "-o", "name") == "run\n"


def test_link_moves_and_unlink_leaves_an_orphan(hopper: Hopper) -> None:
    hopper.tree()
    assert hopper.document("link", "run", "api")["parent_id"] == "api"
    assert hopper.document("unlink", "run")["parent_id"] is None


def test_repeating_a_link_changes_nothing(hopper: Hopper) -> None:
    hopper.tree()
    before = hopper.keys()
    hopper.ok("link", "run", "web")
    assert hopper.keys() == before


@pytest.mark.parametrize(
    ("verbs", "state"),
    [
        (["pause"], "paused"),
        (["pause", "resume"], "running"),
        (["stop"], "stopping"),
        (["STOP", "Stopped"], "stopped"),
        (["fail"], "failed"),
        (["fail", "start"], "starting"),
        (["fail", "start", "run"], "running"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_state_carries_an_instance_by_verbs(hopper: Hopper, verbs: list[str], state: str) -> None:
    hopper.ok("register", "--scope", "project", "--id", "web")
    for verb in verbs:
        record = hopper.document("state", "web", verb)
    assert record["state"] == state


def test_an_unknown_verb_ends_with_2(hopper: Hopper) -> None:
    hopper.tree()
    assert "explode" in hopper.refused("state", "web", "explode", code=2)


@pytest.mark.parametrize(
    ("how", "printed"),
    [("table", "instance 'run' is deregistered at revision 5\n"), ("name", "run\n")],
    ids=["a sentence", "the name"],
)
def test_rm_deregisters(hopper: Hopper, how: str, printed: str) -> None:
    hopper.tree()
    assert hopper.ok("rm", "run", "-o", how) == printed
    assert hopper("get", "run").exit_code == 3


def test_rm_tells_the_revision_in_json(hopper: Hopper) -> None:
    hopper.tree()
    assert hopper.document("rm", "run") == {"id": "run", "revision": 5, "items": ["run"]}


def test_the_log_names_the_command_line_as_the_actor(hopper: Hopper, server: RedisServer) -> None:
    hopper.tree()
    hopper.ok("link", "run", "api")
    hopper.ok("state", "run", "pause")
    hopper.ok("rm", "run")
    with server.connect() as client:
        entries = client.xrange(f"hopper:{{{hopper.settings.namespace}}}:events")
    assert {entry[b"actor"] for _, entry in entries} == {b"cli"}


@pytest.mark.parametrize(
    ("policy", "who"),
    [(None, "its hopper run, or a program's callback"), ({"webhook": "http://hook.invalid/"}, "the leading monitor")],
    ids=["no policy", "a webhook"],
)
def test_a_restart_that_nobody_has_taken_yet_is_said_to_be_only_asked_for(
    hopper: Hopper, policy: dict[str, str] | None, who: str
) -> None:
    document = {"scope": "project", "id": "web", "restart": policy} if policy else {"scope": "project", "id": "web"}
    hopper.ok("register", "--file", "-", input=orjson.dumps(document).decode())
    said = hopper("state", "web", "restart")
    assert said.exit_code == 0
    assert said.stderr.startswith("hopper: the restart of 'web' is asked for; nobody has taken it yet: that is for ")
    assert who in said.stderr
    assert hopper("state", "web", "pause").stderr == ""


def test_a_restart_that_somebody_carries_out_is_said_no_more_of(hopper: Hopper, server: RedisServer) -> None:
    hopper.tree()
    hopper.ok("state", "web", "restart")
    with server.connect() as client:
        client.hset(f"hopper:{{{hopper.settings.namespace}}}:restarts:web", "executor", "run-1")
    assert hopper("state", "web", "restart").stderr == ""


def test_state_has_an_instance_restarted(hopper: Hopper) -> None:
    hopper.tree()
    record = hopper.document("state", "web", "RESTART")
    assert (record["state"], record["restarts"]) == ("running", 1)
    assert "a restart claimed, at once, by cli (operator)" in hopper.ok("explain", "web")
