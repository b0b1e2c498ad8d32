"""The network of `perijove.testing.model` is one that products may rely on: what was said first arrives first."""

import asyncio

from perijove.testing.model.loop import ModelLoop
from perijove.testing.model.network import Channel, Way


def test_what_is_sent_at_one_moment_arrives_in_order():
    """Timers that are due together end in any order; a proxy must not hear of a stop after the start that followed."""

    async def talk() -> list[int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ModelLoop)
        channel = Channel(loop.process("proxy"), loop.process("hub"), Way())
        for number in range(20):
            channel.send(number)
        return [await channel.take(1) for _ in range(20)]

    with asyncio.Runner(loop_factory=ModelLoop) as runner:
        assert runner.run(talk()) == list(range(20))
