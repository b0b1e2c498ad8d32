"""A spawner that starts nothing, for both hubs: every server is the one stub. Imported by the hubs."""

import os

from jupyterhub.spawner import Spawner


class NoSpawner(Spawner):
    running = False

    def load_state(self, state):
        super().load_state(state)
        self.running = state.get("running", False)

    def get_state(self):
        return {**super().get_state(), "running": self.running}

    def clear_state(self):
        super().clear_state()
        self.running = False

    async def start(self):
        self.running = True
        return f"http://127.0.0.1:{os.environ['BENCH_STUB_PORT']}"

    async def stop(self, now=False):
        self.running = False

    async def poll(self):
        return None if self.running else 0
