"""The HTTP edge, thin: parse, authorise, call one method, answer. ``routes`` is the whole API on one screen.

Stands on everything below ``app``, through the one record ``services.Services``.
"""
