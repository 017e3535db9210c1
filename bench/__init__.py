"""Measures the service beside a plain Jupyter server: same machine, same run, the two taken in turns.

Nothing here asserts: a figure on a shared machine is no test. ``python -m bench`` prints a table of medians, p99
and ratios, with the project's targets beside them. The measuring clients are bare sockets, so that what they cost
is not counted; what our Python client adds has a row of its own.
"""
