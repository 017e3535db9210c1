"""Functions that libraries registered around forks, as a template calls them. In a process of its own."""

import json
import subprocess
import sys

CASE = """
import json, os
from podflare_nb.provisioning.kernel import fork_hooks
called = []
def fails():
    called.append("fails")
    raise ValueError("not here")
os.register_at_fork(after_in_child=fails)
os.register_at_fork(before=lambda: called.append("before"), after_in_parent=lambda: called.append("parent"))
os.register_at_fork(after_in_child=lambda: called.append("child"))
fork_hooks.find()
fork_hooks.rehearse()
print(json.dumps(called))
"""


def test_a_template_calls_what_every_child_would_and_goes_on_when_one_fails():
    ran = subprocess.run([sys.executable, "-c", CASE], check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(ran.stdout) == ["fails", "child"]
