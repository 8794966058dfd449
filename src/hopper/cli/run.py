"""`hopper run -- CMD`: a command as an instance of the registry."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

import contextlib
import os
import signal
from enum import StrEnum
from typing import Annotated, Any

import typer

from hopper.cli.checks import (
    CheckHttpOption,
    CheckIntervalOption,
    CheckTcpOption,
    CheckTimeoutOption,
    ThresholdOption,
    check_document,
    thresholds_document,
)
from hopper.cli.connection import Connection
from hopper.cli.fields import (
    AddressOption,
    GraceOption,
    IdOption,
    MetaOption,
    NameOption,
    ParentOption,
    TagOption,
    TakeoverOption,
    TtlOption,
    VersionOption,
    WishOption,
    spec_document,
)
from hopper.cli.numbers import seconds, whole
from hopper.cli.signals import ENDING, on_signals
from hopper.errors import Invalid
from hopper.model.scope import Scope
from hopper.model.takeover import Takeover

__all__ = ["run"]

_STOP_TIMEOUT_S = 10.0
_INIT = 1
"""The id of the first process of a container, which inherits all orphans."""
_FORWARDED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
"""Signals that are the command's own affair."""


class Heartbeat(StrEnum):
    """Who heartbeats."""

    PROCESS = "process"
    CHILD = "child"


class RestartMode(StrEnum):
    """When a command is started again."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


async def run(
    connection: Connection,
    command: Annotated[list[str], typer.Argument(metavar="-- CMD...", show_default=False)],
    id: IdOption = None,
    name: NameOption = None,
    scope: Annotated[Scope, typer.Option(case_sensitive=False, help="its level in the tree")] = Scope.ORCHESTRATION,
    parent: ParentOption = None,
    wish: WishOption = None,
    ttl: TtlOption = None,
    grace: GraceOption = None,
    tag: TagOption = None,
    meta: MetaOption = None,
    address: AddressOption = None,
    version: VersionOption = None,
    takeover: TakeoverOption = Takeover.ALWAYS,
    stop_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", parser=seconds("stop_timeout"), help="how long CMD has after SIGTERM before SIGKILL [10]"
        ),
    ] = None,
    restart: Annotated[
        RestartMode | None, typer.Option(case_sensitive=False, help="start CMD again when it fails, or always [never]")
    ] = None,
    max_restarts: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=whole("max_restarts", minimum=0), help="restarts in a row before it stays failed [5]"
        ),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", parser=seconds("window"), help="how long CMD must live to count as stable [60]"
        ),
    ] = None,
    initial_delay: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", parser=seconds("initial_delay"), help="before the first restart [1]"),
    ] = None,
    max_delay: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", parser=seconds("max_delay"), help="before any restart at most [60]"),
    ] = None,
    heartbeat: Annotated[
        Heartbeat | None,
        typer.Option(
            case_sensitive=False,
            help="'process': heartbeat while CMD lives, and see no CMD that hangs; 'child': leave that to CMD "
            "($HOPPER_HEARTBEAT_KEY) [process; with a check neither: the check says whether it lives]",
        ),
    ] = None,
    check_http: CheckHttpOption = None,
    check_tcp: CheckTcpOption = False,
    check_interval: CheckIntervalOption = None,
    check_timeout: CheckTimeoutOption = None,
    threshold: ThresholdOption = None,
) -> int:
    """Run a command as an instance.

    It is registered, heartbeated, restarted by its policy and, when it has ended, stopped or failed. The exit code is
    the command's own. For systemd it is a service of Type=notify.
    """
    from hopper.cli.notify import ServiceManager
    from hopper.instance.supervision.reaper import Reaper
    from hopper.instance.supervisor import Supervisor
    from hopper.model.spec import parse_spec

    document = spec_document(
        {},
        id=id,
        name=name,
        scope=scope,
        parent_id=parent,
        wish=wish,
        ttl_s=ttl,
        grace_s=grace,
        tags=tag,
        metadata=meta,
        address=address,
        version=version,
        restart=_policy(restart, max_restarts, window, initial_delay, max_delay),
        check=check_document(check_http, check_tcp, interval_s=check_interval, timeout_s=check_timeout),
        thresholds=thresholds_document(threshold),
    )
    spec = parse_spec(document)
    manager = ServiceManager()
    async with manager.watched(), connection.started() as settings, contextlib.AsyncExitStack() as stack:
        supervisor = Supervisor(
            spec,
            command,
            settings=settings,
            heartbeats=spec.check is None if heartbeat is None else heartbeat is Heartbeat.PROCESS,
            takeover=takeover,
            stop_timeout_s=_STOP_TIMEOUT_S if stop_timeout is None else stop_timeout,
            notify=manager.tell,
            reaper=await stack.enter_async_context(Reaper()) if os.getpid() == _INIT else None,
        )
        with on_signals(supervisor.stop, (*ENDING, signal.SIGQUIT)), on_signals(supervisor.forward, _FORWARDED):
            return await supervisor.run()


def _policy(
    mode: RestartMode | None,
    max_restarts: int | None,
    window_s: float | None,
    initial_delay_s: float | None,
    max_delay_s: float | None,
) -> dict[str, Any] | None:
    """The restart policy as the options say it; None where they say nothing."""
    said = {
        "max_restarts": max_restarts,
        "window_s": window_s,
        "initial_delay_s": initial_delay_s,
        "max_delay_s": max_delay_s,
    }
    policy = {name: value for name, value in said.items() if value is not None}
    if mode is None:
        for name, value in policy.items():
            raise Invalid(f"{name} is {value!r}, and --restart is not given", field=name, value=value)
        return None
    return {"mode": mode.value, **policy}
