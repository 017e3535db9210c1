"""The mirror: package indexes as sandboxes see them. A process of its own, outside of every jail, without privileges.

It serves on listeners that were made inside each sandbox's network namespace; which sandbox asks is known by the
listener alone. From top to bottom: ``__main__`` (life of the process), ``networks`` (who may ask, and is told of),
``serving`` (HTTP), ``routes`` (what a request means), ``python_index``, ``npm_registry``, ``debian_archives`` (the
three kinds of index), ``downloads`` and ``pages`` (files and index pages, each fetched once for all), ``store`` (the
shared cache on disk), ``upstream`` (the only way out), ``settings`` and ``host_settings`` (where indexes are).

Why a tenant cannot poison it: nothing that a client sends goes upstream but the names in its path; a file can only be
one that an index of the operator lists, under the hash that is listed there; what is kept is what had that hash.
"""
