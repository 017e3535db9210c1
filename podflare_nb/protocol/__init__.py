"""What the service and its clients agree on: wire types, the events of a stream, and what a model is told of a run.

A leaf: imports nothing of ours.
"""
