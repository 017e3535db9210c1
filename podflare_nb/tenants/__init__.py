"""Who asks: tenants, their keys and quotas, and the identity that jupyter_server gives a request.

Stands above ``storage``; below ``sandboxes``, which holds a tenant's quotas against what is live.
"""
