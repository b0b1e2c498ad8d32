"""How fast a node does things: real ones take their time, tests do not have it."""

from dataclasses import dataclass

_FIRST_SECONDS, _LONGEST_SECONDS = 10, 300


@dataclass
class Pace:
    # Real back-off starts at 10 s and doubles to 5 min; here it starts at this.
    back_off_seconds: float = 0.1
    longest_back_off_seconds: float = 3.0
    # Between one look and the next at what is missing.
    step_seconds: float = 0.1
    # From ContainerCreating to a process.
    create_seconds: float = 0.0
    # Periods and delays of probes are real seconds times this.
    probe_factor: float = 1.0

    def back_off(self, restarts: int) -> float:
        if restarts == 0:
            return 0.0
        return float(min(self.back_off_seconds * 2 ** (restarts - 1), self.longest_back_off_seconds))

    def said_back_off(self, restarts: int) -> str:
        """What a real node would be waiting, in its words."""
        minutes, seconds = divmod(min(_FIRST_SECONDS * 2 ** (restarts - 1), _LONGEST_SECONDS), 60)
        return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"

    def probe(self, seconds: float) -> float:
        return seconds * self.probe_factor
