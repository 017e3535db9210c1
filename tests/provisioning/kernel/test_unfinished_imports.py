"""What becomes of an import that a thread is at while its kernel forks."""

IMPORTING = """
import builtins, os, pathlib, sys, threading
builtins.started, builtins.go_on, builtins.parent = threading.Event(), threading.Event(), os.getpid()
sys.path.insert(0, os.getcwd())
pathlib.Path('slow.py').write_text('''
import builtins, os
if os.getpid() == builtins.parent:
    builtins.started.set()
    builtins.go_on.wait()
made_in = os.getpid()
''')
thread = threading.Thread(target=__import__, args=('slow',))
thread.start()
assert builtins.started.wait(60)
"""


def test_a_child_can_import_what_a_thread_of_its_parents_was_importing(kernel, client):
    assert client.run(IMPORTING).reply["status"] == "ok"
    (asleep,) = kernel.fork().children
    woken = asleep.serve()
    try:
        child = woken.client()
        assert child.run("import slow").reply["status"] == "ok"
        assert child.value("slow.made_in == os.getpid()") == "True"
        client.run("go_on.set(); thread.join(); import slow")
        assert client.value("slow.made_in == os.getpid()") == "True"
    finally:
        woken.close()
