"""A hub with very many users: who they are, and all that may be asked of it."""
