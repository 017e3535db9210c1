"""Wire types: what clients send, what they get back, and the events of a stream. A leaf: imports nothing of ours."""
