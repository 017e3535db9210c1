"""Real overlays in a mount namespace of the test's own; what is said of them is checked against the merged trees."""

import pytest

from podflare_nb.provisioning.jail.overlay_changes import Budget, Changes, compare

FAMILY = """
import random, shutil, stat, tempfile
from pathlib import Path
from podflare_nb.provisioning.jail.overlay_changes import Budget, compare
sc.unshare(sc.CLONE_NEWNS)
sc.mount(None, "/", None, sc.MS_REC | sc.MS_PRIVATE)
top = Path(tempfile.mkdtemp(prefix="overlay-"))
sc.mount("tmpfs", str(top), "tmpfs", 0, "mode=755,size=64m")
base = top / "base"
base.mkdir()
class Branch:
    # As jail/mounts.py and the supervisor do it: one tree, at "/".
    count = 0
    def __init__(self, layers=()):
        Branch.count += 1
        self.at = top / f"b{Branch.count}"
        self.layers = list(layers)
        self.enter()
    def enter(self):
        place = self.at / str(len(self.layers))
        self.upper, work, self.root = place / "upper", place / "work", place / "root"
        for directory in (self.upper, work, self.root):
            directory.mkdir(parents=True)
        lower = ":".join([*map(str, self.layers), str(base)])
        sc.mount("overlay", str(self.root), "overlay", sc.MS_NODEV,
                 f"lowerdir={lower},upperdir={self.upper},workdir={work},redirect_dir=on,metacopy=off,index=off")
    def fork(self):
        self.layers.insert(0, str(self.upper))
        self.enter()
        return Branch(self.layers)
    @property
    def stack(self):
        return {"/": [str(self.upper), *self.layers, str(base)]}
def changes(ours, theirs, **budget):
    return compare(ours.stack, theirs.stack, budget=Budget(**budget)).to_json()
def paths(found):
    return {kind: [entry["path"] for entry in found[kind]] for kind in ("added", "removed", "modified")}
def shown(root):
    # The whole merged tree: what compare() avoids to read.
    files = {}
    for directory, names, others in os.walk(root):
        for name in [*names, *others]:
            path = Path(directory, name)
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) or stat.S_ISSOCK(status.st_mode):
                continue
            content = None
            if stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            files["/" + str(path.relative_to(root))] = (status.st_mode, content)
    return files
def truth(ours, theirs):
    mine, its = shown(ours.root), shown(theirs.root)
    return {"added": sorted(its.keys() - mine.keys()), "removed": sorted(mine.keys() - its.keys()),
            "modified": sorted(path for path in mine.keys() & its.keys() if mine[path] != its[path])}
def end():
    for place in sorted(top.glob("b*/*/root"), reverse=True):
        sc.umount2(str(place), sc.MNT_DETACH)
    sc.umount2(str(top), sc.MNT_DETACH)
    top.rmdir()
import atexit
atexit.register(end)
"""


def in_a_family(in_child, source, *arguments):
    return in_child(FAMILY + source, *arguments)


def test_each_kind_of_change_is_told_once_and_only_where_there_is_one(in_child):
    found = in_a_family(
        in_child,
        """
(base / "workspace/kept").mkdir(parents=True)
for name in ("same", "touched", "rewritten", "resized", "mode", "deleted", "kept/deep", "turns", "once"):
    (base / "workspace" / name).write_text("0123")
parent = Branch()
(parent.root / "workspace/of-parent").write_text("both")
child = parent.fork()
work = child.root / "workspace"
(work / "new").write_text("12345")
(work / "rewritten").write_text("9999")
(work / "resized").write_text("a")
(work / "mode").chmod(0o600)
os.utime(work / "touched", (1, 1))
(work / "same").write_text("0123")
(work / "deleted").unlink()
(work / "link").symlink_to("/etc/shadow")
(work / "of-parent").unlink()
(work / "empty").mkdir()
(work / "turns").unlink()
(work / "turns").mkdir()
(work / "turns/inner").write_text("x")
shutil.rmtree(work / "kept")
(parent.root / "workspace/mine").write_text("m")
both = changes(parent, child)
print(json.dumps([both, changes(child, parent)]))
""",
    )
    there, back = found
    assert there == {
        "added": [
            {"path": "/workspace/link", "size": 11},
            {"path": "/workspace/new", "size": 5},
            {"path": "/workspace/turns/inner", "size": 1},
        ],
        "removed": [
            {"path": "/workspace/deleted", "size": 4},
            {"path": "/workspace/kept/deep", "size": 4},
            {"path": "/workspace/mine", "size": 1},
            {"path": "/workspace/of-parent", "size": 4},
            {"path": "/workspace/turns", "size": 4},
        ],
        "modified": [
            {"path": "/workspace/mode", "other_size": 4, "size": 4},
            {"path": "/workspace/resized", "other_size": 1, "size": 4},
            {"path": "/workspace/rewritten", "other_size": 4, "size": 4},
        ],
        "truncated": False,
    }
    assert (back["added"], back["removed"]) == (there["removed"], there["added"])
    assert [entry["path"] for entry in back["modified"]] == [entry["path"] for entry in there["modified"]]


@pytest.mark.parametrize("seed", range(6))
def test_random_histories_of_a_family_are_told_as_the_merged_trees_show_them(in_child, seed):
    """Twelve histories a seed: files, links, pipes, directories deleted, made anew, replaced, over generations."""
    wrong = in_a_family(
        in_child,
        """
KINDS = ("write", "write", "mkdir", "delete", "delete", "link", "pipe", "chmod", "socket", "rename", "rename", "rename")
def place(rng, depth):
    return Path(*(rng.choice("abc") for _ in range(rng.randint(1, depth))))
def act(rng, root):
    path = root / place(rng, 4)
    what = rng.choice(KINDS)
    try:
        if what == "write" and not path.is_fifo():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(rng.choice(("", "1", "2", "11", "22")))
        elif what == "mkdir":
            path.mkdir(parents=True)
        elif what == "delete":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        elif what == "link":
            path.symlink_to(rng.choice("abc"))  # never out of the tree: what comes next may write through it
        elif what == "pipe":
            os.mkfifo(path)
        elif what == "chmod":
            path.chmod(rng.choice((0o600, 0o755)), follow_symlinks=True)
        elif what == "socket":
            socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))
        elif what == "rename":
            os.rename(path, root / place(rng, 3))
    except OSError:
        pass
wrong = []
for number in range(12):
    rng = random.Random(f"{sys.argv[1]}-{number}")
    base = top / f"base{number}"
    base.mkdir()
    os.chdir(base)
    for _ in range(30):
        act(rng, base)
    branches = [Branch()]
    for _ in range(rng.randint(1, 4)):
        for branch in branches:
            for _ in range(rng.randint(0, 12)):
                act(rng, branch.root)
        branches.append(rng.choice(branches).fork())
    for branch in branches:
        for _ in range(rng.randint(0, 12)):
            act(rng, branch.root)
    for one in branches:
        for other in branches:
            said = changes(one, other)
            if paths(said) != truth(one, other) or said["truncated"]:
                wrong.append([sys.argv[1], number, paths(said), truth(one, other)])
print(json.dumps(wrong))
""",
        str(seed),
    )
    assert wrong == []


def test_only_layers_that_are_not_shared_are_walked(in_child):
    """A base and a frozen layer with thousands of files cost nothing: a budget of a few entries is enough."""
    found = in_a_family(
        in_child,
        """
for number in range(3000):
    (base / f"{number}").touch()
parent = Branch()
(parent.root / "data").mkdir()
for number in range(3000):
    (parent.root / f"data/{number}").touch()
child = parent.fork().fork().fork()
(child.root / "data/7").write_text("x")
(child.root / "data/new").write_text("x")
found = changes(parent, child, entries=12)
print(json.dumps([paths(found), found["truncated"]]))
""",
    )
    assert found == [{"added": ["/data/new"], "removed": [], "modified": ["/data/7"]}, False]


def test_a_branch_compared_with_itself_has_no_changes(in_child):
    found = in_a_family(
        in_child,
        """
parent = Branch()
(parent.root / "x").write_text("x")
print(json.dumps(changes(parent, parent)))
""",
    )
    assert found == {"added": [], "removed": [], "modified": [], "truncated": False}


def test_pipes_sockets_and_links_of_a_hostile_tenant_are_neither_opened_nor_followed(in_child):
    """A pipe that nobody writes to would hold an open for ever; a link leads to the host's files."""
    found = in_a_family(
        in_child,
        """
secret = top / "secret"
secret.mkdir()
(secret / "key").write_text("host")
parent = Branch()
child = parent.fork()
for branch, target in ((parent, "/nowhere"), (child, str(secret))):
    os.mkfifo(branch.root / "pipe")
    (branch.root / "out").symlink_to(target)
    socket.socket(socket.AF_UNIX).bind(str(branch.root / "socket"))
    (branch.root / "loop").symlink_to("loop")
(child.root / "pipe2").symlink_to("pipe")
found = changes(parent, child)
print(json.dumps(paths(found)))
""",
    )
    assert found == {"added": ["/pipe2"], "removed": [], "modified": ["/out"]}


def test_a_file_that_turns_into_a_pipe_or_a_link_before_it_is_read_is_not_read(in_child):
    found = in_a_family(
        in_child,
        """
from podflare_nb.provisioning.jail import overlay_changes
(top / "secret").write_text("host")
parent = Branch()
child = parent.fork()
for branch in (parent, child):
    for name in ("pipe", "link", "directory", "gone", "up"):
        (branch.root / name).mkdir()
        (branch.root / name / "file").write_text("text")
read = overlay_changes._Comparison.compare_contents
def swap_and_read(run):
    for name in ("pipe", "link", "directory", "gone"):
        (child.upper / name / "file").unlink()
    os.mkfifo(child.upper / "pipe/file")
    (child.upper / "link/file").symlink_to(top / "secret")
    (child.upper / "directory/file").mkdir()
    shutil.rmtree(child.upper / "up")
    (child.upper / "up").symlink_to(top)
    (top / "file").write_text("host")
    read(run)
overlay_changes._Comparison.compare_contents = swap_and_read
print(json.dumps(changes(parent, child)))
""",
    )
    assert found == {"added": [], "removed": [], "modified": [], "truncated": True}


def test_names_that_are_no_utf8_and_names_with_every_other_byte_are_told(in_child):
    found = in_a_family(
        in_child,
        """
parent = Branch()
child = parent.fork()
names = [b"\\xff\\xfe", b"new\\nline", b" ", "\\u00fc\\u202e".encode(), b'quote"\\\\', b"-rf", b"...", b"x" * 255]
for name in names:
    os.close(os.open(os.fsencode(child.root) + b"/" + name, os.O_CREAT | os.O_WRONLY))
found = compare(parent.stack, child.stack, budget=Budget())
told = [entry["path"] for entry in json.loads(found.encode())["added"]]
print(json.dumps(sorted(map(os.fsencode, told)) == sorted(b"/" + name for name in names)))
""",
    )
    assert found is True


def test_directories_deeper_than_any_path_end_in_truncated(in_child):
    found = in_a_family(
        in_child,
        """
parent = Branch()
child = parent.fork()
os.chdir(child.root)
for _ in range(300):
    os.mkdir("d" * 100)
    os.chdir("d" * 100)
open("deepest", "w").close()
(child.root / "workspace").mkdir()
(child.root / "workspace/file").touch()
found = changes(parent, child)
os.chdir("/")
print(json.dumps([paths(found)["added"], found["truncated"]]))
""",
    )
    assert found == [["/workspace/file"], True]


def test_every_budget_ends_in_truncated_with_the_workspace_first(in_child):
    found = in_a_family(
        in_child,
        """
for name in ("aaa", "workspace", "zzz"):
    (base / name).mkdir()
parent = Branch()
child = parent.fork()
for name in ("aaa", "workspace", "zzz"):
    for number in range(50):
        (child.root / name / f"{number:02}").write_text("x" * 5)
        (parent.root / name / f"{number:02}").write_text("y" * 5)
    (child.root / name / "new").touch()
few_entries = changes(parent, child, entries=250)
few_bytes = changes(parent, child, bytes=100)
no_time = changes(parent, child, seconds=0)
few_reported = changes(parent, child, reported=7)
answers = [(found["truncated"], {path.split("/")[1] for path in sum(paths(found).values(), [])}, paths(found))
           for found in (few_entries, few_bytes, no_time, few_reported)]
print(json.dumps([[cut, sorted(trees), len(found["added"]), len(found["modified"])] for cut, trees, found in answers]))
""",
    )
    assert found == [
        [True, ["workspace"], 1, 50],
        [True, ["aaa", "workspace", "zzz"], 3, 20],
        [True, [], 0, 0],
        [True, ["aaa", "workspace", "zzz"], 3, 7],
    ]


def test_large_sparse_files_cost_no_more_than_the_budget(in_child):
    found = in_a_family(
        in_child,
        """
parent = Branch()
child = parent.fork()
for branch in (parent, child):
    with open(branch.root / "huge", "wb") as file:
        file.truncate(1 << 44)
    (branch.root / "small").write_text(str(branch.root))
found = changes(parent, child, bytes=8 << 20)
print(json.dumps([paths(found)["modified"], found["truncated"]]))
""",
    )
    assert found == [["/small"], True]


def test_bytecode_that_an_import_left_is_no_change_but_other_files_there_are(in_child):
    found = in_a_family(
        in_child,
        """
parent = Branch()
child = parent.fork()
(child.root / "__pycache__").mkdir()
for name in ("m.cpython-311.pyc", "data.csv"):
    (child.root / "__pycache__" / name).touch()
(child.root / "kept.pyc").touch()
print(json.dumps(paths(changes(parent, child))["added"]))
""",
    )
    assert found == ["/__pycache__/data.csv", "/kept.pyc"]


def test_a_mount_point_hides_what_the_tree_above_it_has_under_its_name(in_child):
    found = in_a_family(
        in_child,
        """
for side in ("ours", "theirs", "usr-base", "usr-theirs"):
    (top / side).mkdir()
(top / "theirs/usr").mkdir()
(top / "theirs/usr/hidden").touch()
(top / "theirs/seen").touch()
(top / "usr-theirs/seen").touch()
ours = {"/": [str(top / "ours"), str(base)], "/usr": [str(top / "usr-base")]}
theirs = {"/": [str(top / "theirs"), str(base)], "/usr": [str(top / "usr-theirs"), str(top / "usr-base")]}
print(json.dumps(paths(compare(ours, theirs, budget=Budget()).to_json())["added"]))
""",
    )
    assert found == ["/seen", "/usr/seen"]


def test_opaque_marked_and_redirected_directories_are_read_as_overlayfs_means_them(in_child):
    """Layers as tools make them: whiteouts by attribute, directories that were renamed."""
    found = in_a_family(
        in_child,
        """
for name in ("opaque", "marked", "plain"):
    (base / name).mkdir()
    for file in ("x", "y"):
        (base / name / file).write_text(file)
upper = top / "upper"
for name in ("opaque", "marked", "redirected", "plain"):
    (upper / name).mkdir(parents=True)
os.setxattr(upper / "opaque", "trusted.overlay.opaque", b"y")
os.setxattr(upper / "marked", "trusted.overlay.opaque", b"x")
(upper / "marked/x").touch()
os.setxattr(upper / "marked/x", "trusted.overlay.whiteout", b"")
(upper / "marked/y").touch()
os.mknod(upper / "plain/x", stat.S_IFCHR, 0)
before = paths(compare({"/": [str(base)]}, {"/": [str(upper), str(base)]}, budget=Budget()).to_json())
os.setxattr(upper / "redirected", "trusted.overlay.redirect", b"/opaque")
after = compare({"/": [str(base)]}, {"/": [str(upper), str(base)]}, budget=Budget())
print(json.dumps([before, paths(after.to_json())["added"], after.truncated]))
""",
    )
    removed = ["/marked/x", "/opaque/x", "/opaque/y", "/plain/x"]
    assert found == [
        {"added": [], "removed": removed, "modified": ["/marked/y"]},
        ["/redirected/x", "/redirected/y"],
        False,
    ]


def test_renaming_a_directory_of_a_frozen_layer_moves_its_files(in_child):
    """It is renamed over generations and under a renamed parent; nothing of what it holds is copied."""
    found = in_a_family(
        in_child,
        """
(base / "workspace/data/deep").mkdir(parents=True)
for name in ("data/x", "data/deep/y"):
    (base / "workspace" / name).write_text(name)
parent = Branch()
child = parent.fork()
(child.root / "workspace/data/deep").rename(child.root / "workspace/data/deeper")
child = child.fork()
(child.root / "workspace/data").rename(child.root / "moved")
child = child.fork()
(child.root / "moved/deeper").rename(child.root / "workspace/back")
(child.root / "workspace/back/y").write_text("changed")
copied = [str(path.relative_to(top)) for path in top.glob("b*/*/upper/**/x")]
print(json.dumps([paths(changes(parent, child)), copied]))
""",
    )
    there = {"added": ["/moved/x", "/workspace/back/y"], "removed": ["/workspace/data/deep/y", "/workspace/data/x"]}
    assert found == [{**there, "modified": []}, []]


@pytest.mark.parametrize("deleted", ["x", "x/a"])
def test_a_renamed_directory_shows_nothing_of_what_was_deleted_under_its_old_name(in_child, deleted):
    found = in_a_family(
        in_child,
        """
(base / "x/a").mkdir(parents=True)
(base / "x/a/old").touch()
parent = Branch()
child = parent.fork()
shutil.rmtree(child.root / sys.argv[1])
(child.root / "x/a").mkdir(parents=True)
(child.root / "x/a/new").touch()
child = child.fork()
(child.root / "x/a").rename(child.root / "b")
found = changes(parent, child)
print(json.dumps([paths(found), paths(found) == truth(parent, child)]))
""",
        deleted,
    )
    assert found == [{"added": ["/b/new"], "removed": ["/x/a/old"], "modified": []}, True]


def test_a_layer_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        compare({"/": [str(tmp_path / "gone")]}, {"/": [str(tmp_path)]}, budget=Budget())


def test_the_json_stays_within_its_bytes(tmp_path):
    (tmp_path / "ours").mkdir()
    deep = tmp_path / "theirs" / "\x01" / ("é\x01" * 60)
    deep.mkdir(parents=True)
    for number in range(9000):
        (deep / ("\x01" * 60 + str(number))).touch()
    found = compare({"/": [str(tmp_path / "ours")]}, {"/": [str(tmp_path / "theirs")]}, budget=Budget())
    assert found.truncated
    assert 3 << 20 < len(found.encode()) <= 4 << 20


def test_no_changes_encode_to_four_empty_answers():
    assert Changes().encode() == b'{"added":[],"removed":[],"modified":[],"truncated":false}'
