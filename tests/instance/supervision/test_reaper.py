"""The reaper: orphans that a first process inherits are reaped, its own children are left to whoever waits for them."""

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, ctypes, os, subprocess, sys
from hopper.instance.supervision.reaper import Reaper

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # inherit orphans, as the first process of a container does

async def main():
    early = subprocess.Popen(["sh", "-c", "exit 7"])
    async with Reaper() as reaper:
        with reaper.starting() as spare:
            own = await asyncio.create_subprocess_exec("sh", "-c", "sleep 0.2; exit 5")
            spare(own.pid)
        # Each leaves a child behind that dies while nobody waits for it.
        for _ in range(3):
            with reaper.starting() as spare:
                script = "sleep 0.3 & echo $!; exit 0"
                parent = await asyncio.create_subprocess_exec("sh", "-c", script, stdout=subprocess.PIPE)
                spare(parent.pid)
            out, _ = await parent.communicate()
            orphan = int(out)
        assert await own.wait() == 5, own.returncode
        for _ in range(500):
            if not os.path.exists(f"/proc/{orphan}"):
                break
            await asyncio.sleep(0.02)
        zombies = [pid for pid in os.listdir("/proc") if pid.isdigit() and state_of(pid) == ("Z", os.getpid())]
        assert [int(pid) for pid in zombies] == [early.pid], zombies
    assert early.wait() == 7

def state_of(pid):
    try:
        state, parent = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return state, int(parent)

asyncio.run(main())
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are inherited so on Linux only")
def test_orphans_are_reaped_and_children_are_left_to_whoever_started_them() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.stdout == "done\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are inherited so on Linux only")
def test_nobody_is_reaped_while_a_child_is_started() -> None:
    program = (
        "import os, time; from hopper.instance.supervision.reaper import Reaper\n"
        "reaper = Reaper()\n"
        "pid = os.fork() or os._exit(0)\n"
        "os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)\n"
        "with reaper.starting() as spare:\n"
        "    first = reaper.reap()\n"
        "print(first, reaper.reap() == [pid])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[] True\n", done.stderr
