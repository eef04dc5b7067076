"""Benchmarks: `python -m bench` from a checkout where hotswap is installed, or `nox -s bench`.

Everything is measured in one run on one machine, in turns, and told as ratios and medians with their spread: absolute
times depend on the machine, ratios hardly do. `docs/explanation/performance.md` has the results of one such run.
"""
