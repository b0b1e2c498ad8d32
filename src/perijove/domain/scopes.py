"""Placeholder while the engine is written."""


class ScopeSet:
    """An expanded set of scopes, indexed for checks."""
