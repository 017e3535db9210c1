"""The real gateway process, over its socket pair; the names that it can resolve are the test's own."""

import subprocess
import sys
import time
from pathlib import Path

from podflare_nb.provisioning import datagrams

from .internet import HOSTS, NAMESERVER, SECONDS, Sandbox


class Gateway:
    """The real process. ``events`` are those that were read so far."""

    def __init__(self, world, directory, extra=(), **configuration):
        self.world = world
        self.events = []
        self.sandboxes = {}
        self._sock, theirs = datagrams.pair()
        self._sock.settimeout(SECONDS)
        files = {"hosts": HOSTS, "resolv.conf": f"nameserver {NAMESERVER}\nsearch example.com\n",
                 "nsswitch.conf": "hosts: files dns\n"}  # fmt: skip
        directory.chmod(0o755)
        for name, text in files.items():
            if not (directory / name).exists():
                (directory / name).write_text(text)
        mounts = " && ".join(f"mount --bind {directory / name} /etc/{name}" for name in files)
        script = f'{mounts} && exec "$0" -m podflare_nb.provisioning.network.gateway {theirs.fileno()}'
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/proc/self/fd/{world.host}", "unshare", "-m", "sh", "-c", script, sys.executable],
            pass_fds=[theirs.fileno(), world.host], cwd="/", extra_groups=[1, 2],
        )  # fmt: skip
        theirs.close()
        datagrams.send(self._sock, {"op": "configure", **configuration}, [world.router, *extra])
        try:
            self.wait_for("ready")
        except datagrams.PeerClosedError:
            self.close()
            raise

    def say(self, fds=(), **body):
        datagrams.send(self._sock, body, fds)

    def open(self, egress, name="net1", sandbox=None, extra=(), **more):
        """A new sandbox (or these listeners of one) under this policy."""
        sandbox = sandbox or Sandbox(name)
        self.sandboxes[name] = sandbox
        fds = [sock.fileno() for sock in sandbox.listeners] + list(extra)
        self.say(fds, op="open", network=name, egress=egress, **more)
        return sandbox

    def wait_for(self, event, matches=lambda _: True):
        """The first event of that kind that matches, whether it was read before or not; each only once."""
        deadline = time.monotonic() + SECONDS
        while True:
            for index, seen in enumerate(self.events):
                if seen["event"] == event and matches(seen):
                    return self.events.pop(index)
            self._sock.settimeout(max(0.01, deadline - time.monotonic()))
            self.events.append(datagrams.receive(self._sock).body)

    def record(self, **wanted):
        """The record of a connection with these values; it is taken out."""

        def matching(event):
            return [each for each in event["records"] if wanted.items() <= each.items()]

        event = self.wait_for("connections", matching)
        record = matching(event)[0]
        event["records"].remove(record)
        self.events.append(event)
        return record

    def fd_count(self):
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def close(self):
        self._sock.close()
        self.process.wait(SECONDS)
        for sandbox in self.sandboxes.values():
            sandbox.close()
