"""What libraries cache survives from one start of a template to the next, and never fails one."""

import hashlib
import json
import marshal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from supervision import Template

COUNTING = """
import collections, json, os, sys
import parso.grammar
from podflare_nb.provisioning.kernel import preload
from podflare_nb.provisioning.library_caches import LibraryCache, open_directory
from pathlib import Path

counts = collections.Counter(parsed=0, pickles=0, fonts=0)
save = parso.grammar.try_to_save_module
def counted(*args, **kwargs):
    counts["parsed"] += args[1].path is not None
    return save(*args, **kwargs)
parso.grammar.try_to_save_module = counted
def opened(event, args):
    if event == "open" and isinstance(args[0], str) and isinstance(args[1], str) and "w" in args[1]:
        counts["pickles"] += args[0].endswith(".pkl")
        counts["fonts"] += "fontlist" in args[0]
class Counted(LibraryCache):
    def lay_out(self, home):
        super().lay_out(home)
        sys.addaudithook(opened)
told = os.dup(1)
cache = Counted(open_directory(Path(sys.argv[1])))
preload.build(["matplotlib.pyplot"], dict(os.environ), cache)
os.write(told, json.dumps({**counts, "trouble": cache.trouble}).encode())
os._exit(0)
"""


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "caches"


def count(directory):
    """Start what a template is, and count what it parses and writes."""
    done = subprocess.run([sys.executable, "-I", "-c", COUNTING, directory], capture_output=True, check=True)
    return json.loads(done.stdout)


def started(directory):
    template = Template(cache=directory)
    template.close()
    return template.configured


def the_file(directory):
    (path,) = directory.iterdir()
    return path


def kept(directory):
    """What is kept, if it is whole."""
    whole = the_file(directory).read_bytes()
    assert hashlib.sha256(whole[32:]).digest() == whole[:32]
    return marshal.loads(whole[32:])


def test_a_second_start_parses_no_source_and_lists_no_fonts(directory):
    first = count(directory)
    assert first["parsed"] == first["pickles"] > 0
    assert first["fonts"] > 0
    second = count(directory)
    assert {name: second[name] for name in first} == {"parsed": 0, "pickles": 0, "fonts": 0, "trouble": ""}


def test_a_second_template_uses_what_the_first_one_kept_and_leaves_it_as_it_is(directory):
    assert started(directory)["cache_trouble"] == ""
    before = the_file(directory).stat()
    assert started(directory)["cache_trouble"] == ""
    after = the_file(directory).stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    assert after.st_mtime_ns > before.st_mtime_ns  # in use: others are given up first


def test_a_torn_file_does_not_fail_a_start_and_is_replaced(directory):
    started(directory)
    path = the_file(directory)
    path.write_bytes(path.read_bytes()[:100_000])
    told = started(directory)
    assert (told["event"], told["cache_trouble"]) == ("ready", f"ValueError: {path.name} is damaged")
    assert kept(directory)


def test_pickles_that_are_none_do_not_fail_a_start(directory):
    """Whole, by their hash, and garbage all the same."""
    started(directory)
    body = marshal.dumps({name: (changed, b"garbage") for name, (changed, _) in kept(directory).items()})
    the_file(directory).write_bytes(hashlib.sha256(body).digest() + body)
    assert started(directory)["event"] == "ready"


def test_two_that_start_at_once_are_ready_and_leave_a_whole_file(directory):
    with ThreadPoolExecutor() as threads:
        told = list(threads.map(started, [directory] * 2))
    assert [(each["event"], each["cache_trouble"]) for each in told] == [("ready", "")] * 2
    assert len(kept(directory)) > 10
    before = the_file(directory).stat().st_ino
    started(directory)
    assert the_file(directory).stat().st_ino == before


def test_a_kernels_completions_are_cached_in_its_own_home(kernel, client):
    client.reply_to(client.complete("import json.tool; json.tool.ma", 30))
    assert client.value("__import__('jedi').settings.cache_directory") == repr(str(kernel.home / ".cache/jedi"))
    assert list((kernel.home / ".cache/jedi").glob("*/*.pkl"))
