"""What operators ask of a registry: restarts, maintenance, and the release of guards."""

import abc
from typing import Any

from hopper.errors import Invalid, NotFound
from hopper.instance.health import GuardReport, HealthReports
from hopper.instance.lifecycle import Lifecycle
from hopper.instance.service import RegistryService
from hopper.model.event import Reason
from hopper.model.group import is_group, project_of
from hopper.model.record import Record
from hopper.model.scope import Scope

__all__ = ["RegistryOperations"]


class RegistryOperations(RegistryService, abc.ABC):
    """The part of the Python door that operators use."""

    reports: HealthReports
    lifecycle: Lifecycle

    @abc.abstractmethod
    async def at(self, id: str, revision: int) -> Record:
        """The record of an instance that was changed at a revision, once this registry has it."""

    async def restart(self, id: str, **conditions: Any) -> Record:
        """Ask whoever can restart an instance to do so now, in whatever state it is; its count begins anew."""
        return await self.at(id, await self.lifecycle.restart(id, **conditions))

    async def maintenance(self, id: str, **asked: Any) -> Record:
        """Take an instance out of service: `reason`, and `until_ms` of Redis' clock, `for_s`, or until it is ended."""
        return await self.at(id, await self.lifecycle.maintenance(id, **asked))

    async def end_maintenance(self, id: str, *, actor: str = "") -> Record:
        """Put an instance back into service. Idempotent."""
        return await self.at(id, await self.lifecycle.end_maintenance(id, actor=actor))

    async def guard(self) -> GuardReport:
        """The hold and the guards in force, with their evidence. Raises `Unavailable` where Redis is away."""
        return await self.reports.guard()

    async def release_guard(self, group: str | None = None, *, actor: str = "") -> list[str]:
        """Release the guard of a group (`global`, `orphans` or `project:ID`), or all; answers which were released.

        Who of them is silent is judged at once, and brings about no other guard. The hold is none: it ends by itself.
        Idempotent. Raises `Invalid` for what is no group, and `NotFound` for that of a Project which there is not.
        """
        if group is not None and not is_group(group):
            raise Invalid(f"group is {group!r}, not global, orphans or project:ID", field="group", value=group)
        guards = (await self.guard()).guards
        owner = None if group is None else project_of(group)
        if owner is not None and group not in guards:
            project = await self.store.read(owner)
            if project is None or project.scope is not Scope.PROJECT:
                raise NotFound(f"there is no group '{group}': no project has that id")
        groups = guards if group is None else [group]
        return [name for name in groups if await self.store.release_guard(name, reason=Reason.OPERATOR, actor=actor)]
