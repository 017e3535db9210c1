import os
from pathlib import Path

import pytest

from podflare_nb.provisioning.jail.user_namespace import BLOCKS, SLOT_IDS, IdSlots


def taken_from(slots: IdSlots, count: int = 3) -> set[int]:
    return {slots.take() for _ in range(count)}


def test_two_supervisors_never_hand_out_the_same_ids(tmp_path):
    first, second = IdSlots(tmp_path / "ids"), IdSlots(tmp_path / "ids")
    assert not taken_from(first, 2000) & taken_from(second, 2000)
    first.close()
    second.close()


def test_what_a_supervisor_gave_up_is_free_again_and_the_last_one_leaves_no_directory(tmp_path):
    first, second = IdSlots(tmp_path / "ids"), IdSlots(tmp_path / "ids")
    ids = taken_from(first)
    first.close()
    third = IdSlots(tmp_path / "ids")
    assert taken_from(third) == ids
    second.close()
    third.close()
    assert list(tmp_path.iterdir()) == []


def test_an_id_is_reused_as_late_as_can_be(tmp_path):
    slots = IdSlots(tmp_path / "ids")
    first = slots.take()
    slots.give_back(first)
    assert slots.take() == first + SLOT_IDS
    slots.close()


def test_a_directory_that_the_last_supervisor_takes_away_just_now_is_made_again(tmp_path, monkeypatch):
    really_open, gone = os.open, []

    def open_after_the_last_one_left(path: Path, *arguments: int) -> int:
        if not gone:
            gone.append(path)
            Path(path).parent.rmdir()
        return really_open(path, *arguments)

    monkeypatch.setattr(os, "open", open_after_the_last_one_left)
    slots = IdSlots(tmp_path / "ids")
    assert gone
    slots.close()


def test_more_supervisors_than_blocks_are_refused(tmp_path):
    all_blocks = [IdSlots(tmp_path / "ids") for _ in range(BLOCKS)]
    with pytest.raises(OSError, match="more than 16 supervisors"):
        IdSlots(tmp_path / "ids")
    for slots in all_blocks:
        slots.close()
