"""The API in this process, over fakeredis unless a test needs what only a server does."""

from collections.abc import AsyncIterator
from typing import Any

import fakeredis
import httpx
import pytest

from api.serving import PREFIX, client_of
from hopper import InstanceRegistry, Settings
from hopper.api.app import create_app


@pytest.fixture
async def registry(fake_settings: Settings, fake_client: fakeredis.FakeAsyncRedis) -> InstanceRegistry:
    """The registry behind `api`, not started yet."""
    settings = fake_settings.model_copy(update={"log_block_ms": 50, "read_wait_s": 2.0})
    return InstanceRegistry(settings, client=fake_client)


@pytest.fixture
async def api(registry: InstanceRegistry) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API over an empty fakeredis."""
    app = create_app(registry=registry)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await registry.view.reach(0)
        yield client


@pytest.fixture
async def tree(api: httpx.AsyncClient) -> dict[str, Any]:
    """g over web and shop, web over run-1 and run-2; each id's record."""
    made = {}
    for fields in (
        {"scope": "global", "id": "g"},
        {"scope": "project", "id": "web", "name": "the web", "parent_id": "g", "tags": ["eu"], "metadata": {"z": "1"}},
        {"scope": "project", "id": "shop", "parent_id": "g", "version": "2"},
        {"scope": "orchestration", "id": "run-1", "parent_id": "web"},
        {"scope": "orchestration", "id": "run-2", "parent_id": "web"},
    ):
        answer = await api.post(f"{PREFIX}/instances", json=fields)
        assert answer.status_code == 201, answer.text
        made[fields["id"]] = answer.json()
    return made
