"""How fast hybridsync is, next to what a user would pick instead, on the same servers in the same run.

`python -m benchmarks` runs everything and writes `RESULTS.md`; every benchmark is also a module of its
own (`python -m benchmarks.b1_first_sync --size 100000`). Nothing here belongs to the package or to the
test suite.
"""
