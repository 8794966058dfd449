"""What operators ask of a registry: which guards stand, and that one be released."""

from hopper.errors import Invalid
from hopper.instance.health import GuardReport, HealthReports
from hopper.instance.service import RegistryService
from hopper.model.event import Reason

__all__ = ["RegistryOperations"]


class RegistryOperations(RegistryService):
    """The part of the Python door that operators use."""

    reports: HealthReports

    async def guard(self) -> GuardReport:
        """The hold and the guards in force, with their evidence. Raises `Unavailable` where Redis is away."""
        return await self.reports.guard()

    async def release_guard(self, group: str | None = None, *, actor: str = "") -> list[str]:
        """Release the guard of a group (`global`, `orphans` or `project:ID`), or all; answers which were released.

        Who of them is silent is judged at once, and brings about no other guard. The hold is none: it ends by itself.
        Idempotent. Raises `Invalid` for what is no group.
        """
        if group is not None and group not in ("global", "orphans") and not group.startswith("project:"):
            raise Invalid(f"group is {group!r}, not global, orphans or project:ID", field="group", value=group)
        groups = (await self.guard()).guards if group is None else [group]
        return [name for name in groups if await self.store.release_guard(name, reason=Reason.OPERATOR, actor=actor)]
