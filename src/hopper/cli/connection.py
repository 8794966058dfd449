"""Where the registry of a command is: options before or after its name, the environment, or the embedded Valkey."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hopper.cli.environment import warn_of_unread
from hopper.cli.logging import LogFormat, LogLevel, configure
from hopper.errors import Invalid

if TYPE_CHECKING:
    from hopper.config import Settings
    from hopper.instance.registry import InstanceRegistry
    from hopper.store.instances import InstanceStore

__all__ = ["ACTOR", "Connection", "connected", "connection_parameters"]

ACTOR = "cli"
"""Who changed something, as the log tells of a change by a command."""

_PARAMETERS: dict[str, Any] = {
    "redis_url": Annotated[
        str | None,
        typer.Option(metavar="URL", help="Redis to use [env: HOPPER_REDIS_URL; none: the embedded Valkey]"),
    ],
    "namespace": Annotated[
        str | None, typer.Option(metavar="NAME", help="hierarchy to work on [env: HOPPER_NAMESPACE; 'default']")
    ],
    "data_dir": Annotated[
        Path | None, typer.Option(metavar="DIR", help="files of the embedded Valkey [env: HOPPER_DATA_DIR]")
    ],
    "log_format": Annotated[
        LogFormat | None, typer.Option(help="how logs are written to stderr [env: HOPPER_LOG_FORMAT; text]")
    ],
    "log_level": Annotated[LogLevel | None, typer.Option(help="least severe event to log [env: HOPPER_LOG_LEVEL]")],
}


def connection_parameters() -> list[inspect.Parameter]:
    """The options that every command shares, as parameters of a function."""
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _PARAMETERS.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What the command line said about the registry; None where it said nothing."""

    redis_url: str | None = None
    namespace: str | None = None
    data_dir: Path | None = None
    log_format: LogFormat | None = None
    log_level: LogLevel | None = None

    def over(self, other: "Connection") -> "Connection":
        """This one, with what it leaves out from `other`."""
        names = [field.name for field in fields(self)]
        return Connection(**{name: _first(getattr(self, name), getattr(other, name)) for name in names})

    def settings(self, **more: Any) -> "Settings":
        """The settings: what was said, then the environment, then the defaults. Raises `Invalid`."""
        # Imports of more than the standard library and typer stay inside functions, so that `hopper --help` is quick.
        from pydantic import ValidationError
        from pydantic_settings import SettingsError

        from hopper.config import Settings

        said = {"redis_url": self.redis_url, "namespace": self.namespace, "data_dir": self.data_dir, **more}
        try:
            return Settings(**{name: value for name, value in said.items() if value is not None})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name, value = ".".join(map(str, first["loc"])), first["input"]
            reason = first["msg"].removeprefix("Value error, ")
            reason = reason.replace("a dictionary or an instance of Threshold", "an object")
            raise Invalid(f"{name} is {value!r}: {reason[0].lower()}{reason[1:]}", field=name, value=value) from None
        except SettingsError as error:
            name = str(error).partition('"')[2].partition('"')[0]
            value = os.environ.get(f"HOPPER_{name.upper()}")
            raise Invalid(f"{name} is {value!r}, which is no JSON", field=name, value=value) from None

    @asynccontextmanager
    async def joined(self, **more: Any) -> "AsyncIterator[Settings]":
        """Settings with a URL: the one that was said, or that of the embedded Valkey that runs; else `Unavailable`."""
        from hopper.store.embedded import join

        settings = self.settings(**more)
        if settings.redis_url is not None:
            yield settings
            return
        async with join(settings.data_dir) as url:
            yield settings.model_copy(update={"redis_url": url})

    @asynccontextmanager
    async def started(self, **more: Any) -> "AsyncIterator[Settings]":
        """Settings with a URL: the one that was said, or that of the embedded Valkey, started if none runs."""
        from hopper.store.embedded import EmbeddedValkey

        settings = self.settings(**more)
        if settings.redis_url is not None:
            yield settings
            return
        async with EmbeddedValkey(settings) as url:
            yield settings.model_copy(update={"redis_url": url})

    @asynccontextmanager
    async def store(self) -> "AsyncIterator[InstanceStore]":
        """The store, opened: for a command about one instance, which needs no view."""
        from hopper.store.instances import InstanceStore

        async with self.joined() as settings:
            store = InstanceStore(settings)
            try:
                await store.open()
                yield store
            finally:
                await store.aclose()

    @asynccontextmanager
    async def registry(self) -> "AsyncIterator[InstanceRegistry]":
        """The registry with its view loaded: for a command about many instances."""
        from hopper.instance.registry import InstanceRegistry

        async with self.joined() as settings:
            registry = InstanceRegistry(settings)
            try:
                await registry.store.open()  # a Redis that is away says so at once, where loading would wait for it
                async with registry:
                    yield registry
            finally:
                await registry.store.aclose()


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _from_environment() -> Connection:
    """What the environment says about the logs; `Settings` reads the rest of it."""
    kinds: dict[str, Any] = {"log_format": LogFormat, "log_level": LogLevel}
    found: dict[str, Any] = {}
    for name, kind in kinds.items():
        value = os.environ.get(f"HOPPER_{name.upper()}")
        if value:
            try:
                found[name] = kind(value.lower())
            except ValueError:
                allowed = ", ".join(kind)
                raise Invalid(f"{name} is {value!r}, not one of {allowed}", field=name, value=value) from None
    return Connection(**found)


Command = Callable[..., Coroutine[Any, Any, int | None]]


def connected(command: Command, *, level: LogLevel = LogLevel.WARNING) -> Callable[..., None]:
    """Make a command of a coroutine function `command(connection, ...)`; what it answers is the exit code.

    The command takes the shared options after its name too, where they win over those before it. `level` is what it
    logs unless told otherwise.
    """

    def run(context: typer.Context, **values: Any) -> None:
        own = Connection(**{name: values.pop(name) for name in _PARAMETERS})
        connection = own.over(context.obj or Connection()).over(_from_environment())
        configure(connection.log_format or LogFormat.TEXT, connection.log_level or level)
        warn_of_unread(os.environ)
        code = asyncio.run(command(connection, **values))
        raise typer.Exit(code or 0)

    parameters = list(inspect.signature(command).parameters.values())[1:]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    signature = inspect.Signature([context, *own, *connection_parameters()])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run
