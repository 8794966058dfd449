"""`hopper guard`: what is in force, and its release."""

import asyncio
from contextlib import aclosing

from cli.commands import Hopper
from hopper.store.surveillance import SurveillanceStore


def raise_guards(hopper: Hopper, *groups: str) -> None:
    async def write() -> None:
        async with aclosing(SurveillanceStore(hopper.settings)) as surveillance:
            await surveillance.pulse("m1")
            for group in groups:
                reason = f"7 of 30 {group} lapsed"
                evidence = {"group": group, "reason": reason}
                await surveillance.raise_guard(group, monitor_id="m1", reason=reason, evidence=evidence)

    asyncio.run(write())


def test_nothing_in_force_is_said_in_words(hopper: Hopper) -> None:
    assert [line.split() for line in hopper.ok("guard").splitlines()] == [["hold", "none"], ["guards", "none"]]


def test_guards_are_shown_with_their_reasons_and_released_one_by_one_or_all(hopper: Hopper) -> None:
    raise_guards(hopper, "project:web", "orphans", "global")
    assert "7 of 30 project:web lapsed" in hopper.ok("guard")
    assert hopper.ok("guard", "release", "project:web").splitlines()[0].split() == ["released", "project:web"]
    assert set(hopper.document("guard")["guards"]) == {"orphans", "global"}
    released = hopper.document("guard", "release")
    assert (sorted(released["released"]), released["guards"]) == (["global", "orphans"], {})
    assert "nothing" in hopper.ok("guard", "release")


def test_the_group_of_no_project_ends_with_3(hopper: Hopper) -> None:
    hopper.tree()
    assert "there is no group 'project:ghost'" in hopper.refused("guard", "release", "project:ghost", code=3)


def test_what_is_no_group_ends_with_2(hopper: Hopper) -> None:
    hopper.tree()
    assert "group is 'web', not global, orphans or project:ID" in hopper.refused("guard", "release", "web", code=2)
    assert "action is 'project:web', not show or release" in hopper.refused("guard", "project:web", code=2)
