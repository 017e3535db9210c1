"""What keeps functions of the user's from holding up a fork."""

COUNTED = """
import signal
from podflare_nb.provisioning.kernel.deadline import deadline
def timers(): return open('/proc/self/timers').read().count('notify:')
came, seen = [], []
was = signal.signal(signal.SIGINT, lambda *_: came.append(timers()))
with deadline(0.01, 0.01):
    while len(came) < 3:
        signal.pause()
signal.signal(signal.SIGINT, was)
print(set(came), timers())
"""
NO_ROOM = """
import os, resource
called = []
os.register_at_fork(before=lambda: called.append(1))
resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))
"""


def test_a_deadline_breaks_off_what_waits_again_and_again_and_leaves_no_timer(client):
    assert client.run(COUNTED).text() == "{1} 0\n"


def test_without_room_for_a_timer_functions_at_forks_are_left_out_and_that_is_said(client, kernel):
    client.run(NO_ROOM)
    forked = kernel.fork()
    for child in forked.children:
        child.close()
    told = [each["text"] for each in forked.continued["warnings"]]
    sentence = "Functions registered with os.register_at_fork (before) were left out: no room for a timer"
    assert [each for each in told if each.startswith(sentence)], told
    assert client.value("called") == "[]"
