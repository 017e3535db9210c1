"""The process that becomes a kernel: a template with its libraries loaded, and what its forked children do.

``loader`` says how a template is started; ``template`` is its life, ``preload`` what it loads. ``attach`` turns a
forked child into a kernel that serves on sockets handed over as descriptors. ``ipykernel_seam`` holds all that
touches ipykernel's internals. Above stands the supervisor, at the other end of the template's control socket. The
code runs inside the template's Python, which may be another environment's: it imports the standard library, what
every ipykernel brings, this package and ``provisioning.jail``; nothing else.
"""
