"""A family's files are tidied in the background, and the end of its jail is nothing to warn of."""

import errno
import logging

import pytest

from podflare_nb.provisioning import family_files
from podflare_nb.provisioning.family_files import FamilyFiles


@pytest.mark.parametrize(("number", "warnings"), [(errno.ESRCH, 0), (errno.EIO, 1)])
async def test_only_a_failure_that_leaves_something_is_told(monkeypatch, caplog, number, warnings):
    monkeypatch.setattr(family_files, "TIDY_AFTER_SECONDS", 0)

    def errand(_work):
        raise OSError(number, "refused")

    files = FamilyFiles(errand)
    with caplog.at_level(logging.WARNING):
        files.clear_away("branch")
        (chore,) = files._chores
        await chore
    assert len(caplog.records) == warnings
    await files.close()
