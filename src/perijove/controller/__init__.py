"""The one pod of the chart: renders and applies the chart's values in the cluster, and keeps them so.

It is `perijove deploy` without a person: the same plan, lock, inventory and history, so that whatever holds for that
holds here. What is its own: where the configuration comes from (`values.py`), how it tells (`status.py`, conditions
and Events of the object `Hub`), what makes it look again (`watching.py`), and what it does when the values cannot be
had (`attempt.py`).
"""
