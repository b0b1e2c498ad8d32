"""The two hubs of a comparison, on one configuration."""

import asyncio
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from perijove.testing.hub import run_hub, write_config
from perijove.testing.sidebyside.script import Step
from perijove.testing.sidebyside.sending import Answer, Sender
from perijove.testing.stock_hub import stock_hub

_PROXY = (sys.executable, "-P", "-m", "perijove.cli.chp")
# Services of the configuration that have a token, by the environment variable that says it.
_SERVICES = ("root", "plain", "probe", "silent")


@dataclass(frozen=True, slots=True)
class Pair:
    jupyterhub: Sender
    perijove: Sender

    async def run(self, steps: Sequence[Step]) -> list[tuple[Step, Answer, Answer]]:
        """Each hub gets all steps in their order; neither waits for the other."""
        theirs, ours = await asyncio.gather(_all(self.jupyterhub, steps), _all(self.perijove, steps))
        return list(zip(steps, theirs, ours, strict=True))


async def _all(sender: Sender, steps: Sequence[Step]) -> list[Answer]:
    answers = []
    for step in steps:
        try:
            answers.append(await sender.send(step))
        except Exception as exc:
            exc.add_note(f"{sender.url}: {step}")
            raise
    return answers


@asynccontextmanager
async def pair(text: str, directory: Path) -> AsyncIterator[Pair]:
    """`text`: a configuration in Python, for both. `directory` is empty, and has what they leave."""
    tokens = {name: secrets.token_hex(16) for name in _SERVICES}
    environment = {f"COMPAT_{name.upper()}": token for name, token in tokens.items()}
    written = write_config(directory / "config.yaml", {"hub": {"extraConfig": {"same": text}}})
    stock = Path(tempfile.mkdtemp(prefix="stock-", dir=directory))
    async with AsyncExitStack() as stack:
        theirs, ours = await asyncio.gather(
            stack.enter_async_context(stock_hub(stock, _PROXY, more=text, environment=environment)),
            stack.enter_async_context(run_hub(None, arguments=("-f", str(written)), environment=environment)),
        )
        senders = [
            await stack.enter_async_context(Sender(url.rstrip("/"), dict(tokens))) for url in (theirs.url, ours.url)
        ]
        yield Pair(*senders)
