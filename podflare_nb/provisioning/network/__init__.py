"""The network of a sandbox: what it may reach, by which wire, and who watches. Described in ARCHITECTURE.md."""
