"""Where redis-py's exceptions become Hopper's: which one, and what it says of a write's outcome."""

import contextlib
import inspect

import pytest
import redis.exceptions as faults

from hopper.config import Settings
from hopper.errors import BY_LUA_CODE, HopperError, StoreFault, Unavailable
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from hopper.store.faults import border, convert, reading
from hopper.store.instances import InstanceStore
from servers import free_port
from waiting import wait_until

PROJECT = InstanceSpec(scope=Scope.PROJECT, id="web")

EVERY_CLASS = sorted(
    (kind for _, kind in inspect.getmembers(faults, inspect.isclass) if issubclass(kind, faults.RedisError)),
    key=lambda kind: kind.__name__,
)


def made(kind: type[faults.RedisError]) -> faults.RedisError:
    text = "3999 127.0.0.1:6381" if issubclass(kind, faults.AskError) else "it went wrong"
    return kind(text)


@pytest.mark.parametrize("kind", EVERY_CLASS, ids=lambda kind: kind.__name__)
def test_every_class_of_redis_py_becomes_an_error_of_hopper_that_repeats_its_text(kind):
    error = made(kind)
    converted = convert(error)
    assert isinstance(converted, HopperError)
    assert str(error) in str(converted)


@pytest.mark.parametrize("kind", EVERY_CLASS, ids=lambda kind: kind.__name__)
def test_only_a_lost_connection_leaves_the_outcome_unknown(kind):
    unknown = {faults.ConnectionError, faults.TimeoutError, faults.MaxConnectionsError}
    converted = convert(made(kind))
    assert (getattr(converted, "outcome", "not-applied") == "unknown") == (kind in unknown)


REPLIES = {
    "out of memory": faults.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    "a replica": faults.ReadOnlyError("You can't write against a read only replica."),
    "loading": faults.BusyLoadingError("Redis is loading the dataset in memory"),
    "a replica without its master": faults.MasterDownError("Link with MASTER is down"),
    "a cluster that is down": faults.ClusterDownError("The cluster is down"),
    "a slot on the move": faults.TryAgainError("Multiple keys request during rehashing of slot"),
    "a disk that is full": faults.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
    "a script that hangs": faults.ResponseError("BUSY Redis is busy running a script."),
    "too few replicas": faults.ResponseError("NOREPLICAS Not enough good replicas to write."),
    "a wrong password": faults.AuthenticationError("invalid username-password pair or user is disabled."),
    "no password": faults.AuthenticationError("HELLO must be called with the client already authenticated"),
}


@pytest.mark.parametrize("error", REPLIES.values(), ids=REPLIES.keys())
def test_a_reply_that_refuses_for_now_is_unavailable_and_not_applied(error):
    converted = convert(error)
    assert type(converted) is Unavailable
    assert converted.outcome == "not-applied"
    assert str(converted).startswith("Redis refuses")


LOST = {
    "closed by the server": faults.ConnectionError("Connection closed by server."),
    "no answer": faults.TimeoutError("Timeout reading from 127.0.0.1:6379"),
    "reset": ConnectionResetError(104, "Connection reset by peer"),
    "a broken pipe": BrokenPipeError(32, "Broken pipe"),
    "an error while writing": faults.ConnectionError("Error 32 while writing to socket. Broken pipe."),
}


@pytest.mark.parametrize("error", LOST.values(), ids=LOST.keys())
def test_a_connection_lost_after_sending_leaves_the_outcome_unknown(error):
    converted = convert(error)
    assert type(converted) is Unavailable
    assert converted.outcome == "unknown"


NEVER_SENT = {
    "refused": faults.ConnectionError("Error 111 connecting to 127.0.0.1:6379. Connect call failed."),
    "no such host": faults.ConnectionError("Error -2 connecting to nowhere:6379. Name or service not known."),
    "no such socket": faults.ConnectionError("Error 2 connecting to /tmp/no.sock. No such file or directory."),
    "a timeout while connecting": faults.TimeoutError("Timeout connecting to server"),
    "a pool in use": faults.ConnectionError("No connection available."),
}


@pytest.mark.parametrize("error", NEVER_SENT.values(), ids=NEVER_SENT.keys())
def test_a_connection_that_was_never_there_means_not_applied(error):
    converted = convert(error)
    assert type(converted) is Unavailable
    assert converted.outcome == "not-applied"


@pytest.mark.parametrize(("code", "kind"), BY_LUA_CODE.items(), ids=BY_LUA_CODE.keys())
def test_every_code_of_a_script_becomes_its_error_with_the_sentence(code, kind):
    converted = convert(faults.ResponseError(f"HOPPER_{code} project 'web' is not there"))
    assert type(converted) is kind
    assert str(converted) == "project 'web' is not there"


def test_an_unknown_code_of_a_script_is_a_fault_that_names_it():
    converted = convert(faults.ResponseError("HOPPER_NONSENSE what is this"))
    assert type(converted) is StoreFault
    assert str(converted) == "a script answered the unknown code NONSENSE: what is this"


def test_a_wrong_type_is_a_fault_of_the_data():
    converted = convert(faults.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"))
    assert type(converted) is StoreFault


def test_the_border_lets_other_errors_pass_and_keeps_the_cause():
    with pytest.raises(ZeroDivisionError), border():
        _ = 1 // 0
    cause = faults.TimeoutError("Timeout reading from 127.0.0.1:6379")
    with pytest.raises(Unavailable) as raised, border():
        raise cause
    assert raised.value.__cause__ is cause


# -- with servers that do so ---------------------------------------------------------------------------------------


async def registered(url: str, **values) -> None:
    settings = Settings(redis_url=url, command_timeout_s=0.2, connect_timeout_s=0.2, write_retries=0, **values)
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        await store.register(PROJECT)


async def test_a_port_that_nobody_listens_on_is_unavailable_and_not_applied():
    with pytest.raises(Unavailable, match="Redis is away") as raised:
        await registered(f"redis://127.0.0.1:{free_port()}/0")
    assert raised.value.outcome == "not-applied"


async def test_a_frozen_server_leaves_the_outcome_unknown_and_applies_it_when_it_goes_on(private_server):
    settings = Settings(redis_url=private_server.url, command_timeout_s=0.2, write_retries=0)
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        await store.register(PROJECT)
        await store.deregister("web")
        private_server.pause()
        with pytest.raises(Unavailable, match="Redis is away") as raised:
            await store.register(PROJECT)
        assert raised.value.outcome == "unknown"
        private_server.resume()
        with private_server.connect() as direct:
            await wait_until(lambda: direct.hget(store.keys.record("web"), "id") == b"web")


REFUSING = {
    "out of memory": (["CONFIG SET maxmemory 1"], Unavailable, "used memory > 'maxmemory'"),
    "a replica": (["REPLICAOF 127.0.0.1 1"], Unavailable, "read only replica"),
    "a replica without its master": (["CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"], Unavailable,
        "Link with MASTER is down"),
    "too few replicas": (["CONFIG SET min-replicas-to-write 1"], Unavailable, "Not enough good replicas"),
    "a password it was not given": (["CONFIG SET requirepass secret"], Unavailable, "authenticate"),
    "no permission for scripts": (["ACL SETUSER default -evalsha -eval"], StoreFault, "no permissions"),
    "no permission for the log": (["ACL SETUSER default -xadd"], StoreFault, "permissions|can't run"),
    "a key of another type": (["SET hopper:{default}:names x"], StoreFault, "wrong kind of value"),
}  # fmt: skip


@pytest.mark.parametrize(("commands", "kind", "says"), REFUSING.values(), ids=REFUSING.keys())
async def test_a_server_that_refuses_writes_has_applied_nothing(commands, kind, says, private_server):
    with private_server.connect() as direct:
        for command in commands:
            direct.execute_command(*command.split())
        with pytest.raises(kind, match=says) as raised:
            await registered(private_server.url)
        assert getattr(raised.value, "outcome", "not-applied") == "not-applied"
        direct.execute_command("REPLICAOF NO ONE")
        assert set(direct.keys("hopper:*")) <= {b"hopper:{default}:names"}


async def test_a_database_that_does_not_exist_is_a_fault_and_no_driver_error(private_server):
    with pytest.raises(StoreFault, match="DB index is out of range"):
        await registered(private_server.url.removesuffix("/0") + "/99")


def test_a_read_that_was_lost_leaves_no_outcome_unknown():
    with pytest.raises(Unavailable, match="Redis is away") as raised, reading():
        raise faults.ConnectionError("Connection closed by server.")
    assert raised.value.outcome == "not-applied"
