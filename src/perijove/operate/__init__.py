"""What an operator asks of a running release: whose volume is this, why did that start fail.

It reads the cluster, and the hub's list of users where that matters. It changes nothing but what it is told to delete.
"""
