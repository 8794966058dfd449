"""What a restart carries on: what others have said of the instance meanwhile, and a parent that is gone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from hopper.config import Settings
from hopper.instance.supervisor import Supervisor
from hopper.model.policy import RestartPolicy, Wish
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec, apply_patch
from hopper.model.state import State
from hopper.store.instances import InstanceStore
from instance.supervision.running import POLICY, Running, until
from specs import known, spec
from waiting import wait_until

PROMPT = {"mode": "always", "max_restarts": 20, "initial_delay_s": 0.05, "max_delay_s": 0.05, "jitter": 0}


async def patch(store: InstanceStore, **changes: Any) -> None:
    await store.update("x", lambda record: apply_patch(record, changes))


async def test_a_policy_that_was_patched_holds_for_every_restart_and_so_does_all_else(run, store, tmp_path):
    running = run("while [ ! -e $0/end ]; do sleep 0.02; done; rm $0/end; exit 3", policy=None)
    incarnation = 0
    for number in range(3):
        record = await wait_until(until(store, State.RUNNING, above=incarnation))
        if number == 0:
            await patch(store, restart=PROMPT, description="patched", tags=["b"])
        else:
            assert record.restart == RestartPolicy(**PROMPT)
            assert (record.description, record.tags) == ("patched", ("b",))
        incarnation = record.incarnation
        (tmp_path / "end").touch()
    await wait_until(until(store, State.RUNNING, above=incarnation))
    assert not running.task.done()


async def test_its_command_is_told_the_ttl_that_was_patched(run, store, tmp_path):
    run('echo $HOPPER_TTL_S >> "$0/ttl"; while [ ! -e $0/end ]; do sleep 0.02; done; rm $0/end; exit 3')
    first = await wait_until(until(store, State.RUNNING))
    await patch(store, ttl_ms=7000)
    (tmp_path / "end").touch()
    await wait_until(until(store, State.RUNNING, above=first.incarnation))
    await wait_until(lambda: (tmp_path / "ttl").read_text() == "1\n7\n")


async def test_a_command_that_ends_after_redis_has_lost_all_comes_back_without_its_parent_and_waits_for_it(
    private_server: Any, new_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = new_settings(redis_url=private_server.url)
    store = InstanceStore(settings)
    await store.open()
    await store.register(spec("project", "web"))
    asked = InstanceSpec(scope=Scope.ORCHESTRATION, id="x", parent_id="web", ttl_ms=1000, restart=POLICY)
    script = "echo >> $0/runs; while [ ! -e $0/end ]; do sleep 0.02; done; rm $0/end; exit 3"
    running = Running(Supervisor(asked, ["sh", "-c", script, str(tmp_path)], settings=settings, stop_timeout_s=0.3))
    try:
        await wait_until(until(store, State.RUNNING))
        with capture_logs() as logs:
            with private_server.connect() as direct:
                direct.flushall()
            (tmp_path / "end").touch()
            await wait_until(lambda: (tmp_path / "runs").read_text() == "\n\n")
            record = await wait_until(until(store, State.RUNNING))
        assert (record.parent_id, record.wish) == (None, Wish(id="web"))
        assert len([entry for entry in logs if entry["event"] == "session.parent_lost"]) == 1
        assert not [entry for entry in logs if entry["event"] == "session.not_registered"]
        await store.register(spec("project", "web"))

        async def joined() -> bool:
            return (await known(store, "x")).parent_id == "web"

        await wait_until(joined)
    finally:
        running.supervisor.stop()
        await running.code()
        await store.aclose()
