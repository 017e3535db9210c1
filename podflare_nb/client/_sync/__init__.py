# Generated from podflare_nb/client/_async by scripts/generate_sync_client.py: change it there.
# ruff: noqa: C416, RUF100, SIM117, UP028 - loops and ignores are as the asynchronous original needs them
"""The synchronous client, generated from ``_async`` by scripts/generate_sync_client.py."""
