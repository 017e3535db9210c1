"""The jail: what isolates a sandbox. ``enter`` reads as the security argument.

Blocks: reading, changing, signalling, starving or impersonating anything outside of one sandbox, by Linux
namespaces, a composed root, capabilities, seccomp and cgroups. Does not block: a bug in the Linux kernel; put
gVisor or a virtual machine underneath where that matters. Only the standard library is imported here, because
a template's Python of any environment runs this.
"""
