"""Adapters: a sandbox as a tool of somebody else's agent framework, one module for each framework.

They stand on the client and on nothing of the service; each loads its framework itself. ``code_tool`` is what
they share.
"""
