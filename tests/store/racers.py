"""The processes of test_races.py: run as a script, which forks once all is imported, and prints JSON at the end.

racers.py globals URL NAMESPACE PROCESSES ROUNDS     one winner a round: [["r1-7", ...], ...]
racers.py tree URL NAMESPACE PROCESSES ATTEMPTS      what each process did: [{"link": 81, "link ScopeRule": 12, ...}]
"""

import asyncio
import collections
import json
import multiprocessing as mp
import random
import sys
from contextlib import aclosing
from typing import Any

from hopper.config import Settings
from hopper.errors import GlobalExists, HopperError
from hopper.instance.departures import Departures, departure_of
from hopper.model.children import ChildrenMode
from hopper.model.spec import apply_patch, parse_spec
from hopper.model.state import Verb
from hopper.model.takeover import Takeover
from hopper.store.instances import InstanceStore

PROJECTS = [f"p{i}" for i in range(4)]
ORCHESTRATIONS = [f"o{i}" for i in range(8)]
PATIENCE_S = 60


def race_for_global(number: int, settings: Settings, rounds: int, barrier: Any, results: Any) -> None:
    """Try to become the Global in each round together with the others; say in which rounds this one did."""

    async def race() -> list[str]:
        won = []
        async with aclosing(InstanceStore(settings)) as store:
            await store.open()
            for turn in range(rounds):
                id = f"r{turn}-{number}"
                barrier.wait(PATIENCE_S)
                try:
                    await store.register(parse_spec({"scope": "global", "id": id}))
                    won.append(id)
                except GlobalExists:
                    pass
                barrier.wait(PATIENCE_S)
                if id in won:
                    await store.deregister(id)
        return won

    results.put(asyncio.run(race()))


def change_the_tree(number: int, settings: Settings, attempts: int, barrier: Any, results: Any) -> None:
    """Register, link, move, unlink, stop and delete a few ids that all processes share, as quickly as can be."""
    chance = random.Random(number)

    async def change() -> dict[str, int]:
        done: collections.Counter[str] = collections.Counter()
        async with aclosing(InstanceStore(settings)) as store:
            await store.open()
            barrier.wait(PATIENCE_S)
            for _ in range(attempts):
                verb, write = act(store)
                try:
                    await write
                    done[verb] += 1
                except HopperError as error:
                    done[f"{verb} {type(error).__name__}"] += 1
        return dict(done)

    def act(store: InstanceStore) -> tuple[str, Any]:
        project, orchestration = chance.choice(PROJECTS), chance.choice(ORCHESTRATIONS)
        id = chance.choice([project, orchestration, "g"])
        child, parent = (project, "g") if chance.random() < 0.3 else (orchestration, project)
        mode = chance.choice([ChildrenMode.ORPHAN, ChildrenMode.CASCADE, ChildrenMode.REPARENT])
        heir = chance.choice(PROJECTS) if mode is ChildrenMode.REPARENT else None
        many = [parse_spec({"scope": "orchestration", "id": one, "parent_id": project}) for one in ORCHESTRATIONS[:3]]
        departures = Departures(store)
        scope = {"p": "project", "o": "orchestration", "g": "global"}[id[0]]
        document = {"scope": scope, "id": id, "name": f"name-{chance.randrange(10)}" if id != "g" else None}
        if chance.random() < 0.5 and scope != "global":
            document["parent_id"] = "g" if scope == "project" else project
        return chance.choice(
            [
                lambda: ("register", store.register(parse_spec(document), takeover=chance.choice(list(Takeover)))),
                lambda: ("link", store.link(child, parent)),
                lambda: ("link", store.link(child, parent)),
                lambda: ("unlink", store.unlink(child)),
                lambda: ("deregister", store.deregister(id)),
                lambda: ("update", store.update(id, lambda record: apply_patch(record, {"max_children": 3}))),
                lambda: ("transition", store.transition(id, chance.choice(list(Verb)))),
                lambda: ("remove", departures.remove(id, departure_of(mode, heir))),
                lambda: ("remove", departures.remove(id, departure_of(mode, heir))),
                lambda: ("leave", store.leave(id, departure_of("cascade"))),
                lambda: ("stay", store.stay(id, departure_of("cascade"))),
                lambda: ("register_many", store.register_many(many)),
                lambda: ("link_many", store.link_many([(child, parent), (orchestration, project)])),
            ]
        )()

    results.put(asyncio.run(change()))


def main(kind: str, url: str, namespace: str, processes: int, effort: int) -> None:
    context = mp.get_context("fork")
    settings = Settings(redis_url=url, namespace=namespace)
    barrier, results = context.Barrier(processes), context.Queue()
    target = {"globals": race_for_global, "tree": change_the_tree}[kind]
    racers = [
        context.Process(target=target, args=(number, settings, effort, barrier, results), daemon=True)
        for number in range(processes)
    ]
    for racer in racers:
        racer.start()
    answers = [results.get(timeout=effort + PATIENCE_S) for _ in racers]
    for racer in racers:
        racer.join()
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
