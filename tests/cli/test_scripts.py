"""`hopper lua`: the very scripts, usable from `redis-cli --eval`, with the same refusals."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from cli.commands import Hopper
from hopper.store.keys import Keys
from hopper.store.scripts import script_names
from servers import RedisServer

Register = Callable[..., str]


@pytest.fixture(params=["EVAL", "redis-cli"])
def register(request: pytest.FixtureRequest, hopper: Hopper, server: RedisServer, tmp_path: Path) -> Register:
    """Register an instance with nothing but the script that `hopper lua register` prints; answers what Redis says."""
    if request.param == "redis-cli" and shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is not installed")
    text = hopper.ok("lua", "register")
    keys = Keys(hopper.settings.namespace)

    def call(scope: str, id: str, *, parent: str = "", name: str | None = None) -> str:
        names = [
            *(keys.record(id), keys.heartbeat(id), keys.instances, keys.names, keys.globe, keys.record(parent)),
            *(keys.children(parent), keys.children(""), keys.orphans, keys.down, keys.request(f"{scope}-{id}")),
            *(keys.revision, keys.epoch, keys.events),
        ]
        fields = ["name", name or id, "ttl_ms", "15000"]
        words = [id, scope, "running", parent, "", "always", "0", "operator", "1000", *fields]
        if request.param == "redis-cli":
            path = tmp_path / "register.lua"
            path.write_text(text)
            command = ["redis-cli", "-p", str(server.port), "--eval", str(path), *names, ",", *words]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout
        with server.connect() as client:
            try:
                return repr(client.eval(text, len(names), *names, *words))
            except redis.ResponseError as error:
                return str(error)

    return call


def test_an_instance_registered_by_the_script_is_like_any_other(register: Register, hopper: Hopper) -> None:
    assert "registered" in register("global", "hub")
    assert "registered" in register("project", "web", parent="hub")
    records = hopper.document("ls")
    assert [(record["id"], record["parent_id"], record["tags"]) for record in records] == [
        ("hub", None, []),
        ("web", "hub", []),
    ]
    assert hopper.document("state", "web", "pause")["state"] == "paused"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scope": "global", "id": "hub2"}, "HOPPER_GLOBAL_EXISTS instance 'hub2' cannot be the global: 'hub' is"),
        (
            {"scope": "orchestration", "id": "x", "parent": "hub"},
            "HOPPER_SCOPE_RULE orchestration 'x' cannot have parent 'hub'",
        ),
        ({"scope": "project", "id": "x", "parent": "run"}, "HOPPER_SCOPE_RULE project 'x' cannot have parent 'run'"),
        ({"scope": "project", "id": "x", "parent": "ghost"}, "HOPPER_NOT_FOUND instance 'ghost' cannot be the parent"),
        (
            {"scope": "orchestration", "id": "x", "name": "nightly"},
            "HOPPER_NAME_TAKEN orchestration 'x' cannot be named 'nightly': 'run' is",
        ),
        ({"scope": "galaxy", "id": "x"}, "HOPPER_INVALID scope is 'galaxy'"),
    ],
    ids=["second Global", "orchestration under Global", "child under orchestration", "no parent", "name", "scope"],
)
def test_the_script_refuses_what_the_command_refuses(
    register: Register, hopper: Hopper, arguments: dict[str, Any], said: str
) -> None:
    hopper.tree()
    before = hopper.keys()
    assert said in register(**arguments)
    assert hopper.keys() == before


def test_without_a_name_every_script_is_listed_with_its_summary(hopper: Hopper) -> None:
    lines = [line.split(maxsplit=1) for line in hopper.ok("lua").splitlines()]
    assert [line[0] for line in lines] == list(script_names())
    assert all(len(line) == 2 for line in lines)
    assert ["unlink", "Take a child from its parent"] in [[name, text[:28]] for name, text in lines]


def test_it_needs_no_redis(hopper: Hopper) -> None:
    printed = hopper.ok("lua", "link", env={"HOPPER_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert "local PARENT_SCOPE" in printed


def test_an_unknown_script_ends_with_3(hopper: Hopper) -> None:
    assert "'explode'" in hopper.refused("lua", "explode", code=3)
