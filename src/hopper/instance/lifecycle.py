"""The lifecycle: how instances come, change, move between states and go."""

from dataclasses import replace
from typing import Any

from hopper.errors import Invalid
from hopper.instance.view import RegistryView
from hopper.model.record import Record
from hopper.model.spec import InstanceSpec, apply_patch, parse_spec
from hopper.model.state import Verb
from hopper.model.takeover import Takeover
from hopper.store.instances import InstanceStore, Registration

__all__ = ["Lifecycle"]


class Lifecycle:
    """Registrations, updates, transitions and removals. Each answers the revision of its change."""

    def __init__(self, store: InstanceStore, view: RegistryView) -> None:
        self._store = store
        self._view = view

    async def register(
        self,
        spec: InstanceSpec,
        *,
        takeover: Takeover = Takeover.ALWAYS,
        token: str | None = None,
        actor: str = "",
    ) -> Registration:
        """Register an instance, or supersede the one that has its id. Idempotent for one `token` within 60 s."""
        known = self._known(spec.id) if spec.id else None
        return await self._store.register(spec, takeover=takeover, known=known, token=token, actor=actor)

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
        self, id: str, verb: Verb | str, *, incarnation: int | None = None, reason: str = "", actor: str = ""
    ) -> int:
        """Carry an instance to the state a verb leads to. A repeat changes nothing.

        Raises `IllegalTransition` where its state has no such verb, and `StaleIncarnation` where the caller speaks for
        an older one than the registered.
        """
        return await self._store.transition(id, Verb(verb), incarnation=incarnation, reason=reason, actor=actor)

    async def deregister(
        self,
        id: str,
        *,
        incarnation: int | None = None,
        if_revision: int | None = None,
        token: str | None = None,
        reason: str = "",
        actor: str = "",
    ) -> int:
        """Remove an instance that has no children; with children `HasChildren`."""
        return await self._store.deregister(
            id,
            known=self._known(id),
            incarnation=incarnation,
            if_revision=if_revision,
            token=token,
            reason=reason,
            actor=actor,
        )

    def _known(self, id: str) -> Record | None:
        return self._view.replica.records.get(id)
