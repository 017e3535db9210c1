"""Where turns ended, known without folding."""

from podflare_nb.transcripts.position import Position


def test_a_turn_that_was_taken_up_again_counts_from_its_last_end():
    position = Position()
    for turn_id in ("a", "b", "a"):
        position.record({"t": "start"})
        position.record({"t": "turn-end", "turn_id": turn_id, "status": "ok"})
    position.rewind("a", at=100)
    assert position.turns == {"b": 2, "a": 3}
    position.rewind("b", at=200)
    assert (position.turns, position.cells) == ({"b": 2}, 2)
