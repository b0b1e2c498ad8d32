"""The API server: HTTP at the front, one revisioned store behind."""
