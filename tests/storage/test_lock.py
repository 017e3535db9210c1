import os
import subprocess
import sys

import pytest

from podflare_nb.errors import ConflictError
from podflare_nb.storage.lock import DataLock


def test_a_second_service_on_the_same_directory_is_refused_with_the_first_ones_process(tmp_path):
    with DataLock.take(tmp_path), pytest.raises(ConflictError, match=f"process {os.getpid()}"):
        DataLock.take(tmp_path)


def test_the_lock_is_free_when_its_holder_was_killed(tmp_path):
    code = (
        "import os, pathlib, sys; from podflare_nb.storage.lock import DataLock; "
        "DataLock.take(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    with DataLock.take(tmp_path) as lock:
        assert "held" in repr(lock)
    assert "released" in repr(lock)
