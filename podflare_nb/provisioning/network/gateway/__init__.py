"""The gateway: one process outside of all jails that serves every sandbox's DNS and HTTP proxy.

Listeners were made inside a sandbox's network namespace and came here by descriptor, so which sandbox is asking is
known by the descriptor; nothing that a client says is believed. ``process`` starts it, ``control`` is told of
sandboxes, ``policy`` decides; ``proxy``, ``tunnel`` and ``exchange`` carry HTTP, ``nameserver`` answers for names,
``records`` tells what became of it.
"""
