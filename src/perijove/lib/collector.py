"""The garbage collector of a process that remembers a lot and must not pause.

A full collection walks everything that lives: with ten thousand users remembered that takes a quarter of a second, in
which nobody is answered, and finds next to nothing. So what has survived a full collection is put aside (`gc.freeze`),
and the next walks only what came since: tens of milliseconds at most, however much there is. What is put aside is
still freed by its reference counts; only cycles among it are not found. They are when it has grown by half: then
everything is walked once. So no more is lost than half of what lives, and long walks are rare.
"""

import gc
from typing import Any

# Counting what is put aside takes a walk, too, though a fast one.
_COUNT_EVERY = 16
_PUT_ASIDE = 2


class _Collector:
    def __init__(self) -> None:
        self._full = 0
        self._whole = False
        self._after_last = 0

    def begin(self) -> None:
        gc.collect()
        gc.freeze()
        self._after_last = gc.get_freeze_count()
        gc.callbacks.append(self._collected)

    def _collected(self, phase: str, info: dict[str, Any]) -> None:
        if info["generation"] != _PUT_ASIDE or phase != "stop":
            return
        gc.freeze()
        self._full += 1
        if self._whole or self._full % _COUNT_EVERY == 0:
            count = gc.get_freeze_count()
            if self._whole:
                self._whole, self._after_last = False, count
            elif 2 * count > 3 * self._after_last:
                # The next one walks it all.
                gc.unfreeze()
                self._whole = True


def put_aside_survivors() -> None:
    """From now on; what lives now, first. Once in a process."""
    _Collector().begin()
