"""Shipped with the product: a real hub in one call, and waiting with deadlines."""

from perijove.testing.browser import Browser
from perijove.testing.hub import RunningHub, run_hub
from perijove.testing.waiting import until

__all__ = ["Browser", "RunningHub", "run_hub", "until"]
