"""The lifecycle: how instances come, change, move between states and go."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hopper.errors import (
    Conflict,
    Exists,
    GlobalExists,
    HasChildren,
    HopperError,
    Invalid,
    Leaving,
    NameTaken,
    NotFound,
    Refused,
    Unavailable,
)
from hopper.instance.departures import Departures, departure_of, departure_set
from hopper.instance.hooks import Hooks
from hopper.instance.restart.restarts import Restarts
from hopper.instance.view import RegistryView
from hopper.model.children import ChildrenMode
from hopper.model.choice import one_of
from hopper.model.departure import Departure
from hopper.model.maintenance import maintenance_request
from hopper.model.policy import Wish
from hopper.model.record import Record
from hopper.model.spec import SPEC_FIELDS, InstanceSpec, apply_patch, as_spec, parse_spec, require_updatable
from hopper.model.state import TRANSITIONS, State, Verb
from hopper.model.takeover import Takeover
from hopper.store.instances import InstanceStore, Registration

__all__ = ["Lifecycle"]

_REPLACED = "replaced"
"""Why a dead Global or holder of a name was removed: another has taken its place."""


class Lifecycle:
    """The one door of whoever manages instances: created ones are registered by it, deleted ones deregistered.

    Each change answers its revision. `hooks` are called around the transitions that are made through it.
    """

    def __init__(self, store: InstanceStore, view: RegistryView | None = None) -> None:
        """Without a view every change reads first what it depends on, and nothing can be tried dry."""
        self._store = store
        self._view = view
        self.departures = Departures(store)
        self.hooks = Hooks()
        self._restarts = Restarts(store)

    async def register(
        self,
        spec: InstanceSpec,
        *,
        takeover: Takeover = Takeover.ALWAYS,
        known: Record | None = None,
        carries: int | None = None,
        require_live_parent: bool | None = None,
        token: str | None = None,
        actor: str = "",
    ) -> Registration:
        """Register an instance, or supersede the one that has its id. Idempotent for one `token` within 60 s.

        With `carries` the spec says what the record says at that revision: `PreconditionFailed` at any other.

        With `takeover=if-dead` a dead Global, or a dead holder of the name, is removed first; its children look for
        the successor.
        """
        for _ in range(self._store.settings.conflict_retries):
            try:
                return await self._store.register(
                    spec,
                    takeover=takeover,
                    known=known or (self._known(spec.id) if spec.id else None),
                    carries=carries,
                    require_live_parent=require_live_parent,
                    token=token,
                    actor=actor,
                )
            except (GlobalExists, NameTaken) as taken:
                if takeover is not Takeover.IF_DEAD:
                    raise
                await self._clear_the_way(spec, taken, actor=actor)
        raise Conflict(f"others take what '{spec.id or spec.name}' needs as fast as it is freed")

    async def _clear_the_way(self, spec: InstanceSpec, taken: Refused, *, actor: str) -> None:
        """Remove the dead holder of what a registration needs. Raises `taken` where the holder is not dead."""
        if isinstance(taken, GlobalExists):
            holder, wish = await self._store.global_id(), Wish()
        else:
            name = spec.name or str(spec.id)
            holder, wish = await self._store.read_name(spec.scope, name), Wish(name=name)
        if holder is None:
            return
        how = Departure(children=ChildrenMode.ORPHAN, wish=wish)
        try:
            await self.departures.remove(holder, how, dead=True, reason=_REPLACED, actor=actor)
        except (Exists, Leaving) as stays:
            raise taken from stays
        except NotFound:
            return

    async def create(
        self,
        spec: InstanceSpec | None = None,
        *,
        takeover: Takeover = Takeover.ALWAYS,
        require_live_parent: bool | None = None,
        token: str | None = None,
        actor: str = "",
        **fields: Any,
    ) -> Registration:
        """Register an instance that is yet to be started, from a spec or from its fields: in state `created`, without
        a heartbeat. Raises `Invalid` for fields that name another state."""
        if fields.get("state", State.CREATED) != State.CREATED:
            raise Invalid(f"state is {fields['state']!r}, and what is created is 'created'", field="state", value=None)
        created = replace(as_spec(fields if spec is None else spec), state=State.CREATED)
        return await self.register(
            created, takeover=takeover, require_live_parent=require_live_parent, token=token, actor=actor
        )

    async def register_many(
        self,
        specs: Sequence[InstanceSpec],
        *,
        takeover: Takeover = Takeover.ALWAYS,
        require_live_parent: bool | None = None,
        token: str | None = None,
        actor: str = "",
    ) -> list[Registration | HopperError]:
        """Register instances in their order, each by itself; answers what became of each.

        One may name another before it as its parent. A `takeover=if-dead` looks at ids only.
        """
        return await self._store.register_many(
            specs,
            takeover=takeover,
            require_live_parent=require_live_parent,
            token=token,
            actor=actor,
        )

    async def update(
        self, id: str, patch: Any, *, if_revision: int | None = None, token: str | None = None, actor: str = ""
    ) -> int:
        """Change an instance by a JSON merge patch (RFC 7396) over its mutable fields."""
        return await self._store.update(
            id,
            lambda record: apply_patch(record, patch),
            known=self._known(id),
            if_revision=if_revision,
            token=token,
            actor=actor,
        )

    async def replace(
        self, id: str, document: Any, *, if_revision: int | None = None, token: str | None = None, actor: str = ""
    ) -> int:
        """Replace all mutable fields of an instance that exists; fields left out get their defaults.

        The document may repeat the id and the scope, not change them; parent and state have verbs of their own.
        """

        def change(record: Record) -> InstanceSpec:
            if isinstance(document, dict):
                require_updatable(document, SPEC_FIELDS)
            spec = parse_spec({"scope": record.scope, **document} if isinstance(document, dict) else document)
            for name, value in (("id", spec.id), ("scope", spec.scope)):
                if value is not None and value != getattr(record, name):
                    raise Invalid(
                        f"{name} is {str(value)!r}, and that of '{id}' cannot change", field=name, value=value
                    )
            for name in ("parent_id", "state"):
                if name in document and document[name] != getattr(record, name):
                    raise Invalid(f"{name!r} is not changed by an update", field=name, value=document[name])
            return replace(spec, id=id, name=spec.name or id)

        return await self._store.update(
            id, change, known=self._known(id), if_revision=if_revision, token=token, actor=actor
        )

    async def transition(
        self,
        id: str,
        verb: Verb | str,
        *,
        incarnation: int | None = None,
        expected_state: State | str | None = None,
        reason: str = "",
        actor: str = "",
    ) -> int:
        """Carry an instance to the state a verb leads to. A repeat changes nothing.

        Raises `IllegalTransition` where its state has no such verb, `StaleIncarnation` where the caller speaks for an
        older one than the registered, and `PreconditionFailed` where it is in another state than
        `expected_state`; a repeat is one all the same.
        """
        asked = one_of(Verb, "verb", verb)
        expected = None if expected_state is None else one_of(State, "expected_state", expected_state)
        await self.hooks.before(id, asked)
        revision = await self._store.transition(
            id,
            asked,
            incarnation=incarnation,
            expected=expected,
            reason=reason,
            actor=actor,
        )
        await self.hooks.after(id, asked)
        return revision

    async def start(self, id: str, **conditions: Any) -> int:
        """`created`, `stopped` or `failed` to `starting`; its first heartbeat begins."""
        return await self.transition(id, Verb.START, **conditions)

    async def run(self, id: str, **conditions: Any) -> int:
        """`starting` to `running`."""
        return await self.transition(id, Verb.RUN, **conditions)

    async def pause(self, id: str, **conditions: Any) -> int:
        """`running` to `paused`."""
        return await self.transition(id, Verb.PAUSE, **conditions)

    async def resume(self, id: str, **conditions: Any) -> int:
        """`paused` to `running`."""
        return await self.transition(id, Verb.RESUME, **conditions)

    async def stop(self, id: str, **conditions: Any) -> int:
        """`starting`, `running` or `paused` to `stopping`: it is asked to end."""
        return await self.transition(id, Verb.STOP, **conditions)

    async def stopped(self, id: str, **conditions: Any) -> int:
        """`stopping` to `stopped`: it has ended."""
        return await self.transition(id, Verb.STOPPED, **conditions)

    async def fail(self, id: str, **conditions: Any) -> int:
        """Any monitored state to `failed`."""
        return await self.transition(id, Verb.FAIL, **conditions)

    async def restart(self, id: str, *, token: str | None = None, actor: str = "") -> int:
        """Ask whoever can restart an instance to do so now, in whatever state it is; answers the revision of the claim.

        Its count of restarts begins anew. A supervisor, a webhook or a callback carries it out; without one nothing
        happens. Idempotent for one `token` within 60 s, and while the claim is still to be carried out.
        """
        return (await self._restarts.request(id, token=token, actor=actor)).revision

    async def maintenance(self, id: str, *, token: str | None = None, actor: str = "", **asked: Any) -> int:
        """Take an instance out of service, with a `reason`, `until_ms` of Redis' clock or `for_s` seconds or for ever.

        Idempotent but for `for_s`, which counts from now: that is for one `token` within 60 s.
        """
        return await self._store.maintain(id, maintenance_request(asked), token=token, actor=actor)

    async def end_maintenance(self, id: str, *, actor: str = "") -> int:
        """Put an instance back into service. Idempotent."""
        return await self._store.end_maintenance(id, actor=actor)

    async def delete(
        self,
        id: str,
        *,
        children: ChildrenMode = ChildrenMode.RESTRICT,
        reparent_to: str | None = None,
        reason: str = "",
        actor: str = "",
    ) -> int:
        """Stop an instance where it is not stopped yet, then deregister it; answers the revision of its removal.

        Fenced by the incarnation that it has now. Nothing is stopped where it could not be removed.
        """
        record = await self._store.read(id)
        if record is None:
            raise NotFound(f"there is no instance '{id}'")
        how = departure_of(children, reparent_to)
        fence = await self._store.leave(id, how, incarnation=record.incarnation, dry=True)
        (count,) = await self._store.counts_of_children([id])
        if count and how.children is ChildrenMode.RESTRICT:
            raise HasChildren(f"{record.scope} '{id}' cannot be deleted: it still has children ({count})")
        for verb in (Verb.STOP, Verb.STOPPED):
            if record.state in TRANSITIONS[verb].origins:
                await self.transition(id, verb, incarnation=fence, reason=reason, actor=actor)
                record = replace(record, state=TRANSITIONS[verb].target)
        return await self.departures.remove(id, how, known=record, incarnation=fence, reason=reason, actor=actor)

    async def deregister(
        self,
        id: str,
        *,
        children: ChildrenMode = ChildrenMode.RESTRICT,
        reparent_to: str | None = None,
        incarnation: int | None = None,
        if_revision: int | None = None,
        token: str | None = None,
        removed: list[str] | None = None,
        reason: str = "",
        actor: str = "",
    ) -> int:
        """Remove an instance, and see to its children; answers the revision of its removal.

        `restrict` (the default) raises `HasChildren` where it has some; `reparent` needs `reparent_to`. The ids below
        it that a cascade removes are added to `removed`, leaves first.
        """
        return await self.departures.remove(
            id,
            departure_of(children, reparent_to),
            known=self._known(id),
            incarnation=incarnation,
            if_revision=if_revision,
            token=token,
            removed=removed,
            reason=reason,
            actor=actor,
        )

    async def would_deregister(
        self,
        id: str,
        *,
        children: ChildrenMode = ChildrenMode.RESTRICT,
        reparent_to: str | None = None,
        incarnation: int | None = None,
        if_revision: int | None = None,
    ) -> list[str]:
        """The ids that `deregister` would remove, leaves first; raises what it would raise. Changes nothing."""
        how = departure_of(children, reparent_to)
        await self._store.leave(id, how, incarnation=incarnation, if_revision=if_revision, dry=True)
        if self._view is None:
            raise Unavailable("a dry run needs a view")
        await self._view.catch_up()
        return departure_set(self._view.replica, id, how)

    def _known(self, id: str) -> Record | None:
        return None if self._view is None else self._view.replica.records.get(id)
