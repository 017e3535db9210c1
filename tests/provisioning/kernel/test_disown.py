"""What a child of a kernel takes its parent's child processes for."""

PROCESSES = """
import os, subprocess
class Mine(subprocess.Popen): pass
runs, mine = subprocess.Popen(["sleep", "1000"]), Mine(["sleep", "1000"])
failed, killed = subprocess.Popen(["sh", "-c", "exit 3"]), subprocess.Popen(["sleep", "1000"])
killed.kill()
for each in (failed, killed): _ = os.waitid(os.P_PID, each.pid, os.WEXITED | os.WNOWAIT)
"""


def test_no_process_that_stayed_with_the_parent_is_said_to_have_ended_well(kernel, client):
    client.run(PROCESSES)
    (asleep,) = kernel.fork().children
    woken = asleep.serve()
    child = woken.client()
    assert child.value("[each.poll() for each in (runs, mine, failed, killed)]") == "[-9, -9, 3, -9]"
    assert child.value("runs.wait(), runs.terminate(), subprocess.run(['true']).returncode") == "(-9, None, 0)"
    assert client.value("[each.poll() for each in (runs, mine, failed, killed)]") == "[None, None, 3, -9]"
    client.run("for each in (runs, mine): each.kill(); each.wait()")
    woken.close()


PARALLEL = """
import joblib
def squares():
    return joblib.Parallel(n_jobs=2)(joblib.delayed(pow)(each, 2) for each in range(4))
"""


def test_joblib_starts_processes_of_its_own_in_a_child_whose_parent_had_started_some(kernel, client):
    client.run(PARALLEL)
    assert client.value("squares()") == "[0, 1, 4, 9]"
    (asleep,) = kernel.fork().children
    woken = asleep.serve()
    child = woken.client()
    try:
        assert child.value("squares()") == "[0, 1, 4, 9]"
        assert client.value("squares()") == "[0, 1, 4, 9]"
    finally:
        for each in (client, child):
            each.run("joblib.externals.loky.get_reusable_executor().shutdown(wait=True)")
        woken.close()
