"""A node: pods' containers as processes of this machine."""
