"""Restarts claimed: what a policy says of a failure, written down once however many ask for it."""

import random

import tenacity

from hopper.errors import Conflict, HopperError, NotFound, StaleIncarnation
from hopper.model.event import Reason
from hopper.model.restart import Claim, decide
from hopper.store.instances import InstanceStore
from hopper.store.restarting import Claimed, RestartStore

__all__ = ["Restarts"]


class Restarts:
    """Claims restarts for whoever sees a failure: a supervisor, the leading monitor, an operator."""

    def __init__(self, store: InstanceStore) -> None:
        self.store = RestartStore(store.settings, client=store.client)

    async def claim(
        self, id: str, *, incarnation: int, reason: str, alive: bool = False, monitor_id: str = "", actor: str = ""
    ) -> Claimed | None:
        """Claim the restart of an incarnation by its policy, or find that its restarts are used up; None without one.

        One that stands already is answered as `repeat`; where it was in vain, another is claimed. One that was made
        while the instance lived stands for its death too, until its time to register is over. Raises `NotFound`,
        `StaleIncarnation`, `IllegalTransition` where the instance has not failed or is in maintenance, and
        `Unavailable`.
        """

        async for trial in self._retrying(Conflict):
            with trial:
                standing = await self.store.standing(id)
                record, ledger = standing.record, standing.ledger
                if record is None:
                    raise NotFound(f"there is no instance '{id}'")
                if record.incarnation != incarnation:
                    raise StaleIncarnation(
                        f"instance '{id}' is incarnation {record.incarnation} now, not {incarnation}"
                    )
                if record.restart is None or record.restart.mode == "never":
                    return None
                if ledger.covers(record, standing.now_ms):
                    return Claimed("repeat", record.revision, ledger.count, ledger.not_before_ms)
                decision = decide(record.restart, ledger, record, standing.now_ms, random.uniform(-1, 1))
                return await self.store.claim(
                    standing, decision, alive=alive, monitor_id=monitor_id, reason=reason, actor=actor
                )
        raise AssertionError("unreachable: tenacity re-raises")

    async def request(self, id: str, *, token: str | None = None, actor: str = "") -> Claimed:
        """Claim a restart as an operator: now, in any state, with a count that begins anew. Idempotent for one `token`.

        Its executor carries it out: a supervisor, a webhook or a callback; without one nothing happens. Raises
        `NotFound`, `Leaving` and `Unavailable`.
        """
        async for trial in self._retrying(Conflict, StaleIncarnation):
            with trial:
                standing = await self.store.standing(id)
                if standing.record is None:
                    raise NotFound(f"there is no instance '{id}'")
                decision = Claim(0, 0, standing.now_ms)
                return await self.store.claim(
                    standing, decision, alive=True, operator=True, token=token, reason=Reason.OPERATOR, actor=actor
                )
        raise AssertionError("unreachable: tenacity re-raises")

    def _retrying(self, *kinds: type[HopperError]) -> tenacity.AsyncRetrying:
        return tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self.store.settings.conflict_retries),
            wait=tenacity.wait_random_exponential(multiplier=0.002, max=0.1),
            retry=tenacity.retry_if_exception_type(kinds),
            reraise=True,
        )
