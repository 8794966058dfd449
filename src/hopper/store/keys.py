"""The spelling of every key. All keys of a namespace share one hash tag, so one slot of a Cluster."""

from typing import Final

__all__ = ["SCHEMA", "Keys"]

SCHEMA: Final = 1
"""The version of the keys that this code writes and understands."""


class Keys:
    """The keys of one namespace."""

    def __init__(self, namespace: str) -> None:
        self.prefix = f"hopper:{{{namespace}}}"
        self.instances = f"{self.prefix}:instances"
        self.names = f"{self.prefix}:names"
        self.globe = f"{self.prefix}:global"
        self.orphans = f"{self.prefix}:orphans"
        self.down = f"{self.prefix}:down"
        self.revision = f"{self.prefix}:revision"
        self.epoch = f"{self.prefix}:epoch"
        self.schema = f"{self.prefix}:schema"
        self.events = f"{self.prefix}:events"
        self.monitor = f"{self.prefix}:monitor"
        self.holds = f"{self.prefix}:holds"
        self.claims = f"{self.prefix}:claims"
        self.strays = f"{self.prefix}:strays"
        self.alerts = f"{self.prefix}:alerts"
        self._heartbeat = f"{self.prefix}:heartbeat:"

    def record(self, id: str) -> str:
        """The record; of the empty id: a key that never exists, for a parent that nobody has."""
        return f"{self.prefix}:instance:{id}"

    def heartbeat(self, id: str) -> str:
        """The heartbeat, which an instance writes with one SETEX."""
        return self._heartbeat + id

    def children(self, id: str) -> str:
        """The set of children; of the empty id: a key that never exists."""
        return f"{self.prefix}:children:{id}"

    def restarts(self, id: str) -> str:
        """The restart ledger."""
        return f"{self.prefix}:restarts:{id}"

    def request(self, token: str) -> str:
        """The answer given to a request."""
        return f"{self.prefix}:request:{token}"

    def log(self) -> dict[str, str]:
        """The keys of every script that appends an event."""
        return {"revision": self.revision, "epoch": self.epoch, "events": self.events}

    def heartbeat_channel(self, database: int) -> str:
        """The pattern of keyspace notifications about heartbeats."""
        return f"__keyspace@{database}__:{self._heartbeat}*"

    @property
    def heartbeats(self) -> str:
        """The pattern of all heartbeats."""
        return f"{self._heartbeat}*"

    def id_of_heartbeat(self, name: str) -> str | None:
        """The id whose heartbeat a key or a notification's channel names, None where it is neither."""
        _, found, id = name.partition(self._heartbeat)
        return id if found and id else None
