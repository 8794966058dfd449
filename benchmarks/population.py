"""A namespace full of instances on an embedded Valkey of its own, for the benchmarks to work on."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from hopper.config import Settings
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from hopper.store.embedded import EmbeddedValkey
from hopper.store.instances import InstanceStore

__all__ = ["instance_ids", "populate", "server"]

PROJECTS = 20
_AT_ONCE = 32


@contextlib.asynccontextmanager
async def server(namespace: str) -> AsyncIterator[Settings]:
    """The settings of a Valkey that lives as long as the block, with an append-only file as in production."""
    with tempfile.TemporaryDirectory(prefix="hopper-bench-") as directory:
        settings = Settings(data_dir=Path(directory), embedded_port=0, namespace=namespace)
        async with EmbeddedValkey(settings) as url:
            yield settings.model_copy(update={"redis_url": url})


def instance_ids(size: int) -> list[str]:
    """The ids of a population: one Global, some Projects, the rest Orchestrations."""
    projects = [f"project-{number}" for number in range(min(PROJECTS, max(1, size // 10)))]
    return ["global", *projects, *(f"run-{number}" for number in range(size - 1 - len(projects)))]


async def populate(settings: Settings, size: int, *, ttl_ms: int) -> list[str]:
    """Register `size` instances; answers their ids, parents first."""
    ids = instance_ids(size)
    projects = [name for name in ids if name.startswith("project-")]
    specs = [InstanceSpec(scope=Scope.GLOBAL, id="global", ttl_ms=ttl_ms)]
    specs += [replace(specs[0], scope=Scope.PROJECT, id=project, parent_id="global") for project in projects]
    store = InstanceStore(settings)
    await store.open()
    for spec in specs:
        await store.register(spec)
    waiting = iter(enumerate(ids[len(specs) :]))

    async def worker() -> None:
        for number, name in waiting:
            parent = projects[number % len(projects)]
            spec = InstanceSpec(scope=Scope.ORCHESTRATION, id=name, parent_id=parent, ttl_ms=ttl_ms)
            await store.register(spec)

    await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))
    await store.aclose()
    return ids
