"""Live sandboxes: their kernels, executions, files, quotas and ends.

``manager`` makes and ends them; a ``sandbox`` joins ``kernel_keeper`` (``kernel_connection``, ``zmtp``,
``messages``), ``executor`` (``run``, ``outputs``, ``outcome``, ``visitors``, ``replay``) and ``files``.
"""
