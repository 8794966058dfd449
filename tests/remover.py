"""A process that removes an instance with all below it, to be killed meanwhile: `remover.py URL NAMESPACE ID`."""

import asyncio
import sys
from contextlib import aclosing

from hopper.config import Settings
from hopper.instance.departures import Departures, departure_of
from hopper.store.instances import InstanceStore


async def main(url: str, namespace: str, id: str) -> None:
    async with aclosing(InstanceStore(Settings(redis_url=url, namespace=namespace))) as store:
        await store.open()
        sys.stdout.write("removing\n")
        sys.stdout.flush()
        await Departures(store).remove(id, departure_of("cascade"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
