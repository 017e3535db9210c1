"""PyPI's ``podflare``, as it was published, against our service: fork, merge_into and diff. Nothing is patched."""

import httpx
import podflare
import pytest


@pytest.fixture
def published(service):
    with podflare.Sandbox(host=service.url, api_key=service.key, template="python-minimal") as sandbox:
        yield sandbox


@pytest.fixture
def fork():
    """Forks, and closes what is left: the published client leaves that to its caller."""
    made = []

    def fork(sandbox, n=1):
        made.extend(children := sandbox.fork(n))
        return children

    yield fork
    for child in made:
        child.close()


def said(sandbox, code, language="python"):
    result = sandbox.run_code(code, language=language)
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


def test_its_fork_gives_branches_with_the_state_of_their_parent(published, fork):
    published.run_code("import math\ndef area(r): return math.pi * r * r\ndata = list(range(5))")
    published.run_code("open('there.txt', 'w').write('before')")
    children = fork(published, 3)
    assert len({child.id for child in children} | {published.id}) == 4
    for child in children:
        assert said(child, "print(round(area(1), 2), data, open('there.txt').read())") == "3.14 [0, 1, 2, 3, 4] before"


def test_its_branches_go_their_own_ways(published, fork):
    published.run_code("x = 1")
    children = fork(published, 2)
    for number, child in enumerate(children):
        said(child, f"x += {number + 1}; open('/tmp/mine.txt', 'w').write(str({number}))")
    assert [said(child, "print(x, open('/tmp/mine.txt').read())") for child in children] == ["2 0", "3 1"]
    assert said(published, "import os; print(x, os.path.exists('/tmp/mine.txt'))") == "1 False"


def test_its_merge_makes_the_parent_what_the_winner_is(published, fork):
    published.run_code("x = 1")
    winner, sibling = fork(published, 2)
    said(winner, "x = 'won'; open('/tmp/won.txt', 'w').write('yes')")
    said(sibling, "x = 'lost'")
    assert published.merge_into(winner) is None
    assert said(published, "print(x, open('/tmp/won.txt').read())") == "won yes"
    assert said(sibling, "print(x)") == "lost"
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        winner.run_code("print(x)")


def test_its_merged_parent_can_be_forked_and_merged_again(published, fork):
    published.run_code("trail = []")
    for step in range(3):
        (child,) = fork(published)
        said(child, f"trail.append({step})")
        published.merge_into(child)
    assert said(published, "print(trail)") == "[0, 1, 2]"


def test_its_grandchildren_have_all_states_on_the_way(published, fork):
    published.run_code("trail = ['parent']")
    (child,) = fork(published)
    said(child, "trail.append('child')")
    (grandchild,) = fork(child)
    assert said(grandchild, "trail.append('grandchild'); print(trail)") == "['parent', 'child', 'grandchild']"
    assert said(published, "print(trail)") == "['parent']"


def test_its_diff_sees_the_files_that_a_branch_added_removed_and_modified(published, fork):
    paths = ["/workspace", "/tmp/own"]
    said(published, "mkdir /tmp/own; echo 1 > kept; echo 1 > changed; echo 1 > /tmp/own/gone", "bash")
    (child,) = fork(published)
    said(child, "echo 2 > changed; rm /tmp/own/gone; echo 1 > new", "bash")
    assert published.diff(child, paths) == {
        "added": ["/workspace/new"],
        "removed": ["/tmp/own/gone"],
        "modified": ["/workspace/changed"],
    }
    (twin,) = fork(child)
    assert child.diff(twin, paths) == {"added": [], "removed": [], "modified": []}


def test_its_diff_looks_at_home_and_tmp_unless_told_otherwise(published, fork):
    # Wherever the service's own Python is installed: in /root its checksums would be more than an execution can tell.
    said(published, "mkdir /tmp/many ~/own; echo 1 > ~/own/changed", "bash")
    said(published, "cd /tmp/many; for i in $(seq 2000); do echo $i > f$i; done", "bash")
    (child,) = fork(published)
    said(child, "echo 2 > ~/own/changed; rm /tmp/many/f7; echo 1 > /tmp/new; touch '/root/with space'", "bash")
    assert published.diff(child) == {
        "added": ["/root/with space", "/tmp/new"],
        "removed": ["/tmp/many/f7"],
        "modified": ["/root/own/changed"],
    }
    (twin,) = fork(child)
    assert child.diff(twin) == {"added": [], "removed": [], "modified": []}


def test_its_branches_survive_the_end_of_their_parent(service):
    # A client of our own: the one that a constructor with a key makes ends with the parent, and its children use it.
    client = podflare.Client(host=service.url, api_key=service.key)
    parent = podflare.Sandbox(client=client, template="python-minimal")
    parent.run_code("x = 41")
    (child,) = parent.fork()
    parent.close()
    assert said(child, "print(x + 1)") == "42"
    child.close()
    client.close()


def test_it_is_refused_a_merge_with_a_stranger(service, published):
    stranger = podflare.Sandbox(host=service.url, api_key=service.key, template="python-minimal")
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        published.merge_into(stranger)
    assert said(stranger, "print(1)") == "1"
    stranger.close()
