"""What must outlive the process, in one SQLite file: sandboxes, tenants, keys. The only place with SQL.

Stands above ``protocol`` and ``errors``; knows no HTTP and no kernel.
"""
