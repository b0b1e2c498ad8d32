"""Somebody asked this hub, through the API, to shut down. Whoever runs the hub waits for it."""

import asyncio


class ShutdownWish:
    def __init__(self) -> None:
        self.asked = asyncio.Event()
        # None: as configured (`cleanup_servers`).
        self.servers: bool | None = None
        self.proxy: bool | None = None

    def ask(self, *, servers: bool | None = None, proxy: bool | None = None) -> None:
        self.servers, self.proxy = servers, proxy
        self.asked.set()
