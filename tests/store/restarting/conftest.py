"""A Project that has failed, and the ledger of its restarts."""

import pytest

from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore
from specs import spec
from store.restarting.claiming import POLICY


@pytest.fixture
def restarts(store: InstanceStore) -> RestartStore:
    return RestartStore(store.settings, client=store.client)


@pytest.fixture
async def failed(store: InstanceStore) -> InstanceStore:
    """A Project `web` that has failed."""
    await store.register(spec("project", "web", restart=POLICY))
    await store.transition("web", Verb.FAIL)
    return store
