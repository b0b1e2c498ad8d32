"""As `bench.no_spawner`, but in sight of every hub, as pods are: who runs is known without asking for each."""

import os

from bench.no_spawner import NoSpawner
from perijove.domain.ids import ServerId
from perijove.plugins.watched import Watched

# As a watch would know them.
LIVING = {f"run {number}": ServerId(number) for number in range(1, int(os.environ.get("BENCH_SERVERS", "0")) + 1)}


class SeenSpawner(Watched, NoSpawner):
    in_sight = True

    async def living(self):
        return dict(LIVING)

    async def find_all(self):
        return []

    async def why_late(self):
        return None

    async def tail(self, count):
        return ()

    async def sweep(self):
        pass

    async def destroy(self, found):
        raise LookupError(found)

    async def volumes_of_user(self, others):
        return ()

    async def delete_volume(self, volume):
        raise LookupError(volume)
