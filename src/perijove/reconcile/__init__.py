"""Makes the world like the rows say, and the rows like the world is. The only caller of spawners."""
