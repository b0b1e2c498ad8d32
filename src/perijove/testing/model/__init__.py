"""A model of a whole installation in one event loop: many hubs and proxies, a database, machines, and time.

Hubs are the real reconciler, services, caches and route watches on a real database; proxies are the real follower
and table. Simulated is what surrounds them: time (it jumps to the next thing that happens), processes (killed or
frozen between any two steps of the event loop), the network between them, and the machines that servers run on.
A seeded driver does to them whatever can happen, and a checker looks at rows, machines and routes.

    python -m perijove.testing.model --steps 1000 --seed 7              # SQLite: the driver chooses the same each time
    python -m perijove.testing.model --steps 100000 --database postgres

docs/explanation/model-test.md says what is checked and what the model leaves out.
"""
