"""The topology: the tree with a rollup of health at each node, as data, text, Mermaid or DOT."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hopper.errors import NotFound
from hopper.instance.replica import Replica
from hopper.model.condition import condition
from hopper.model.health import Health, worst
from hopper.model.record import Record

__all__ = ["Format", "Node", "Topology", "draw", "rollup", "topology"]


class Format(StrEnum):
    """How a topology is written."""

    JSON = "json"
    TEXT = "text"
    MERMAID = "mermaid"
    DOT = "dot"


def rollup(counts: Mapping[Health, int]) -> dict[str, Any]:
    """The document of a subtree's health: how many have each, the worst of them, and how many there are."""
    return {
        "counts": {health.value: count for health, count in counts.items()},
        "worst": worst(counts),
        "total": sum(counts.values()),
    }


@dataclass(slots=True)
class Node:
    """One instance with those below it. `counts` holds everyone in the subtree, itself included, per health.

    `children` is cut at the depth asked for; `hidden` says how many children that leaves out.
    """

    record: Record
    children: list["Node"] = field(default_factory=list)
    counts: dict[Health, int] = field(default_factory=dict)
    hidden: int = 0

    def as_json(self) -> dict[str, Any]:
        """The node's document: the record's main fields, its rollup, its children."""
        record = self.record
        return {
            "id": record.id,
            "name": record.name,
            "scope": record.scope,
            "parent_id": record.parent_id,
            "state": record.state,
            "health": record.health,
            "version": record.version,
            "tags": record.tags,
            "maintenance": record.maintenance,
            "flapping": record.flapping,
            "revision": record.revision,
            "rollup": rollup(self.counts),
            "hidden_children": self.hidden,
            "children": [child.as_json() for child in self.children],
        }


@dataclass(slots=True)
class Topology:
    """The tree from its root, and the orphans with what stands under them."""

    root: Node | None
    orphans: list[Node]


def topology(replica: Replica, *, root: str | None = None, depth: int | None = None) -> Topology:
    """The tree under `root`, the Global where none is named, down to `depth` levels below it.

    Rollups always count the whole subtree. Raises `NotFound` for an unknown root. Orphans come only with the whole.
    """
    if root is not None:
        record = replica.records.get(root)
        if record is None:
            raise NotFound(f"there is no instance '{root}' to be the root")
        return Topology(_node(replica, record, depth), [])
    top = replica.records.get(replica.global_id) if replica.global_id else None
    orphans = [_node(replica, record, depth) for record in replica.orphans()]
    if replica.unreadable:  # what stands under a record that cannot be read is not lost with it
        stranded = (record for record in replica.records.values() if record.parent_id in replica.unreadable)
        orphans += [_node(replica, record, depth) for record in stranded]
    return Topology(_node(replica, top, depth) if top else None, orphans)


def _node(replica: Replica, record: Record, depth: int | None) -> Node:
    node = Node(record, counts={record.health: 1})
    below = None if depth is None else depth - 1
    for child in replica.children(record.id):
        branch = _node(replica, child, below)
        for health, count in branch.counts.items():
            node.counts[health] = node.counts.get(health, 0) + count
        if depth is None or depth > 0:
            node.children.append(branch)
        else:
            node.hidden += 1
    return node


def draw(tree: Topology, how: Format) -> str:
    """A topology as text of a format other than JSON, ended by a line break."""
    lines = {Format.TEXT: _text, Format.MERMAID: _mermaid, Format.DOT: _dot}[how](tree)
    return "\n".join(lines) + "\n"


_MARKS = {
    Health.UNKNOWN: "○",
    Health.HEALTHY: "●",
    Health.DEGRADED: "◐",
    Health.UNHEALTHY: "◑",
    Health.SUSPECT: "?",
    Health.DOWN: "✗",
}


_MERMAID_SIGNS = frozenset("#&<>\"'`\\[](){}|;")


def _text(tree: Topology) -> Iterator[str]:
    if tree.root is None and not tree.orphans:
        yield "(empty)"
    if tree.root is not None:
        yield from _text_node(tree.root, "", "")
    if tree.orphans:
        yield "orphans"
        for position, node in enumerate(tree.orphans):
            last = position == len(tree.orphans) - 1
            yield from _text_node(node, "└── " if last else "├── ", "    " if last else "│   ")


def _text_node(node: Node, first: str, rest: str) -> Iterator[str]:
    record = node.record
    name = "" if record.name == record.id else f" ({record.name})"
    more = f" … {node.hidden} more" if node.hidden else ""
    yield f"{first}{_MARKS[record.health]} {record.id}{name} {record.scope} {record.state} {condition(record)}{more}"
    for position, child in enumerate(node.children):
        last = position == len(node.children) - 1
        yield from _text_node(child, rest + ("└── " if last else "├── "), rest + ("    " if last else "│   "))


def _walk(tree: Topology) -> Iterator[Node]:
    waiting = [*([tree.root] if tree.root else []), *tree.orphans][::-1]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.children[::-1])


def _mermaid(tree: Topology) -> Iterator[str]:
    yield "graph TD"
    nodes = list(_walk(tree))
    numbers = {node.record.id: f"n{number}" for number, node in enumerate(nodes)}
    for node in nodes:
        label = f"{_mermaid_text(node.record.name)}<br/>{node.record.scope} · {condition(node.record)}"
        yield f'  {numbers[node.record.id]}["{label}"]:::{node.record.health}'
    for node in nodes:
        for child in node.children:
            yield f"  {numbers[node.record.id]} --> {numbers[child.record.id]}"


def _mermaid_text(text: str) -> str:
    """A name as Mermaid shows it, whatever it contains: its entities are spelled with `#` and `;`."""
    return "".join(f"#{ord(character)};" if character in _MERMAID_SIGNS else character for character in text)


def _dot(tree: Topology) -> Iterator[str]:
    yield "digraph hopper {"
    yield "  rankdir=TB; node [shape=box];"
    for node in _walk(tree):
        label = node.record.name.replace("\\", "\\\\").replace('"', '\\"')
        yield f'  "{node.record.id}" [label="{label}\\n{node.record.scope} {condition(node.record)}"];'
        for child in node.children:
            yield f'  "{node.record.id}" -> "{child.record.id}";'
    yield "}"
