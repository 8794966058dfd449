"""The process group of a command, once that has ended: what is left of it, and who has come to its id since."""

import os
import signal
import subprocess
from types import SimpleNamespace
from typing import Any

from hopper.instance.supervision.process_group import ProcessGroup
from waiting import wait_until


async def has_ended() -> int:
    return 3


async def test_who_has_come_to_the_id_of_a_command_that_has_ended_is_not_signalled():
    """A restart may wait for Redis for hours after the exit, and be given up then."""
    with subprocess.Popen(["sleep", "60"], process_group=0) as stranger:
        ended: Any = SimpleNamespace(pid=stranger.pid, returncode=3, wait=has_ended)
        group = ProcessGroup(ended)
        assert not group.send(signal.SIGTERM)
        await group.end(signal.SIGTERM, 0.1)
        assert group.left == []
        assert stranger.poll() is None
        stranger.kill()


async def test_what_a_command_that_has_ended_leaves_in_its_group_is_ended():
    group = await ProcessGroup.start(["sh", "-c", "sleep 60 & exit 3"], environment=os.environ)
    assert await group.wait() == 3
    assert group._lives()
    await group.end(signal.SIGTERM, 5)
    await wait_until(lambda: not group._lives())
