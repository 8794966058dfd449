"""Commands about one instance: `register get link unlink state`. They ask Redis and load no view."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hopper.cli.bulk import link_all, register_all
from hopper.cli.checks import (
    CheckHttpOption,
    CheckIntervalOption,
    CheckTcpOption,
    CheckTimeoutOption,
    ThresholdOption,
    check_document,
    thresholds_document,
)
from hopper.cli.connection import ACTOR, Connection
from hopper.cli.fields import (
    AddressOption,
    GraceOption,
    IdOption,
    MetaOption,
    NameOption,
    ParentOption,
    RequireLiveParentOption,
    ScopeOption,
    TagOption,
    TakeoverOption,
    TtlOption,
    VersionOption,
    WishOption,
    object_of,
    read_json,
    spec_document,
)
from hopper.cli.numbers import whole
from hopper.cli.output import Output, OutputOption, print_record
from hopper.errors import Invalid, NotFound
from hopper.model.state import State, Verb
from hopper.model.takeover import Takeover

if TYPE_CHECKING:
    from hopper.store.instances import InstanceStore

__all__ = ["Id", "get", "link", "register", "state", "unlink"]

_OPERATOR = "operator"
_RESTART = "restart"
_VERBS = (*(verb.value for verb in Verb), _RESTART)

Id = Annotated[str, typer.Argument(metavar="ID", show_default=False)]


def _verb(text: str) -> str:
    """A verb in any case; raises `Invalid` for another word."""
    if text.lower() not in _VERBS:
        raise Invalid(f"verb is {text!r}, not one of {', '.join(_VERBS)}", field="verb", value=text)
    return text.lower()


async def register(
    connection: Connection,
    scope: ScopeOption = None,
    id: IdOption = None,
    name: NameOption = None,
    parent: ParentOption = None,
    state: Annotated[State | None, typer.Option(case_sensitive=False, help="the state it starts in [running]")] = None,
    tag: TagOption = None,
    meta: MetaOption = None,
    address: AddressOption = None,
    version: VersionOption = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="what it is for")] = None,
    ttl: TtlOption = None,
    grace: GraceOption = None,
    ephemeral: Annotated[
        bool | None, typer.Option("--ephemeral/--no-ephemeral", help="gone when it leaves [orchestrations are]")
    ] = None,
    takeover: TakeoverOption = Takeover.ALWAYS,
    wish: WishOption = None,
    max_children: Annotated[
        int | None,
        typer.Option(metavar="N", parser=whole("max_children", minimum=0), help="how many children it takes"),
    ] = None,
    check_http: CheckHttpOption = None,
    check_tcp: CheckTcpOption = False,
    check_interval: CheckIntervalOption = None,
    check_timeout: CheckTimeoutOption = None,
    threshold: ThresholdOption = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="a JSON document of fields, or an array of them; '-': stdin"),
    ] = None,
    require_live_parent: RequireLiveParentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Register an instance, or supersede it."""
    from hopper.instance.lifecycle import Lifecycle
    from hopper.model.heartbeat import seconds_of
    from hopper.model.spec import parse_spec

    document = {} if file is None else read_json(file)
    entries = document if isinstance(document, list) and document else None
    document = spec_document(
        {} if entries is not None else object_of(document, file),
        scope=scope,
        id=id,
        name=name,
        parent_id=parent,
        state=state,
        tags=tag,
        metadata=meta,
        address=address,
        version=version,
        description=description,
        ttl_s=ttl,
        grace_s=grace,
        ephemeral=ephemeral,
        wish=wish,
        max_children=max_children,
        check=check_document(check_http, check_tcp, interval_s=check_interval, timeout_s=check_timeout),
        thresholds=thresholds_document(threshold),
    )
    if entries is not None:
        for field, value in document.items():
            raise Invalid(
                f"{field} is {value!r}, and an array names the fields of each itself", field=field, value=value
            )
        await register_all(connection, entries, takeover=takeover, require_live_parent=require_live_parent, how=output)
        return
    spec = parse_spec(document)
    async with connection.store() as store:
        done = await Lifecycle(store).register(
            spec, takeover=takeover, require_live_parent=require_live_parent, actor=ACTOR
        )
        ttl_ms = await _show(store, done.id, output)
        if output is Output.TABLE:
            typer.echo(f"heartbeat  SETEX {store.keys.heartbeat(done.id)} {seconds_of(ttl_ms)} ''")


async def get(connection: Connection, id: Id, output: OutputOption = Output.TABLE) -> None:
    """Show one instance."""
    async with connection.store() as store:
        await _show(store, id, output)


async def link(
    connection: Connection,
    children: Annotated[list[str], typer.Argument(metavar="CHILD...", show_default=False)],
    parent: Annotated[str, typer.Argument(metavar="PARENT", show_default=False)],
    require_live_parent: RequireLiveParentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put children under a parent.

    Each leaves the one it had.
    """
    if len(children) > 1:
        await link_all(connection, children, parent, require_live_parent=require_live_parent, how=output)
        return
    (child,) = children
    async with connection.store() as store:
        await store.link(child, parent, require_live_parent=require_live_parent, actor=ACTOR)
        await _show(store, child, output)


async def unlink(
    connection: Connection,
    child: Annotated[str, typer.Argument(metavar="CHILD", show_default=False)],
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a child from its parent.

    Its wish is cleared, so that it stays an orphan.
    """
    async with connection.store() as store:
        await store.unlink(child, actor=ACTOR)
        await _show(store, child, output)


async def state(
    connection: Connection,
    id: Id,
    verb: Annotated[str, typer.Argument(metavar="|".join(_VERBS), parser=_verb, show_default=False)],
    expected_state: Annotated[
        State | None, typer.Option(case_sensitive=False, help="only where it is in this state now")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="why, for the log")] = _OPERATOR,
    output: OutputOption = Output.TABLE,
) -> None:
    """Carry an instance to another state, or have it restarted.

    A restart is carried out by whoever can: `hopper run`, a webhook or a callback.
    """
    from hopper.instance.lifecycle import Lifecycle

    async with connection.store() as store:
        if verb != _RESTART:
            await store.transition(id, Verb(verb), expected=expected_state, reason=reason, actor=ACTOR)
        elif expected_state is not None or reason != _OPERATOR:
            raise Invalid(
                "verb is 'restart', which takes no --expected-state and no --reason", field="verb", value=verb
            )
        else:
            await Lifecycle(store).restart(id, actor=ACTOR)
            await _say_who_restarts(store, id)
        await _show(store, id, output)


async def _say_who_restarts(store: "InstanceStore", id: str) -> None:
    """Tell on standard error that a restart is only asked for, where nobody has taken it yet."""
    from hopper.store.restarting import RestartStore

    standing = await RestartStore(store.settings, client=store.client).standing(id)
    record, ledger = standing.record, standing.ledger
    if record is None or ledger.executor or not ledger.is_open(record.incarnation):
        return
    webhook = record.restart is not None and record.restart.webhook is not None
    who = "the leading monitor, by the webhook of its policy" if webhook else "its hopper run, or a program's callback"
    typer.echo(f"hopper: the restart of '{id}' is asked for; nobody has taken it yet: that is for {who}", err=True)


async def _show(store: "InstanceStore", id: str, output: Output) -> int:
    """Print a record as it stands in Redis now; answers its TTL in milliseconds."""
    record = await store.read(id)
    if record is None:
        raise NotFound(f"there is no instance '{id}'")
    print_record(record, output)
    return record.ttl_ms
