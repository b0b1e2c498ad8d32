"""Carries hints about changed rows to whoever waits for them. Lossy by contract; see `domain.events`."""
