"""What a hub is about, without a database, a network or a web framework: pure and importable anywhere."""
