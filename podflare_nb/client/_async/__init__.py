"""The client, written once: the asynchronous one. ``_sync`` is generated from this package."""
