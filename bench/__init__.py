"""Benchmarks beside the peer, in one run on one machine: only ratios are meant to be compared."""
