"""What a sandbox's terminal may say to one's own: all of it but control strings (OSC, DCS, APC, PM, SOS).

Those rename windows, write to the clipboard, notify, and make links that say one address and lead to another; what is
drawn on the screen needs none. What stays through is what any program on a terminal may do to it: move, draw, colour,
ask for keys. A window's own commands (CSI t) stay, too: terminals have the harmful ones switched off.
"""

from __future__ import annotations

import re

BEGIN = re.compile(rb"\x1b[\]PX^_]|\xc2[\x90\x98\x9d\x9e\x9f]")
"""As two bytes, or as the one character that Unicode has for each, in UTF-8."""

END = re.compile(rb"\x07|\xc2\x9c|[\x18\x1a]|\x1b\\|(?=\x1b[^\\])")
"""BEL, ST, a cancellation, or the beginning of another sequence."""

HALVES = (b"\x1b", b"\xc2")
"""What may be the first byte of two."""


class TerminalFilter:
    """Bytes in, bytes out; a control string may come in many pieces."""

    def __init__(self) -> None:
        self._inside = False
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Give what may be shown of the next piece."""
        data, self._held = self._held + data, b""
        shown = bytearray()
        while True:
            found = (END if self._inside else BEGIN).search(data)
            if found is None:
                break
            if not self._inside:
                shown += data[: found.start()]
            data = data[found.end() :]
            self._inside = not self._inside
        if data.endswith(HALVES):
            data, self._held = data[:-1], data[-1:]
        if not self._inside:
            shown += data
        return bytes(shown)
