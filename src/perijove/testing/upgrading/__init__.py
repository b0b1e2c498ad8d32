"""A rolling upgrade in tests: releases to upgrade to, and people who use the hub meanwhile."""
