"""Supervisors of shell scripts, ended after each test."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cli.commands import processes_of
from hopper.config import Settings
from hopper.instance.supervisor import Supervisor
from hopper.model.policy import RestartPolicy
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from instance.supervision.running import POLICY, Run, Running


@pytest.fixture
async def run(settings: Settings, tmp_path: Path) -> AsyncIterator[Run]:
    """Start a supervisor of a shell script that finds the test's directory as $0; it is ended after the test."""
    started: list[Running] = []

    def begin(script: str, policy: RestartPolicy | None = POLICY, **options: Any) -> Running:
        spec = InstanceSpec(scope=Scope.PROJECT, id="x", ttl_ms=1000, restart=policy)
        options = {"settings": settings, "stop_timeout_s": 0.3, **options}
        started.append(Running(Supervisor(spec, ["sh", "-c", script, str(tmp_path)], **options)))
        return started[-1]

    yield begin
    for running in started:
        running.supervisor.stop()
        await asyncio.wait({running.task}, timeout=20)
        assert running.task.done()
        running.task.cancelled() or running.task.exception()
    assert processes_of(tmp_path) == {}
