"""How a kernel comes to exist: templates, the supervisor that forks them, the jail, and Jupyter's provisioner.

Stands below ``sandboxes``; knows nothing of tenants, HTTP or notebooks. Light to import: a template's Python,
which may be another environment's, imports ``kernel`` and ``jail`` from here.
"""
