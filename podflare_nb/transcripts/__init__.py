"""Transcripts: the notebook of a sandbox proves what was done in it.

A transcript is an append-only journal first (``journal``), one record per event, in the page cache before any
client sees what it records. Cells and notebook are folded from the journal (``cells``, ``notebook``), a valid
.ipynb is kept beside it (``projection``), and the other formats are made from that (``export``).
Above stand ``chat`` (turns) and the handlers (export); below, ``sandboxes.execution`` (what is observed).

    store = TranscriptStore(root, clock=time.time)
    transcript = store.create(TranscriptHeader(...))      # < 0.3 ms, in the create path
    sandbox observers: Recorder(transcript)               # ExecutionObserver
    cell_id = transcript.begin_turn(turn_id, message)     # records the user's message as a markdown cell
    cell_id = transcript.add_markdown(turn_id, "assistant", "")
    transcript.append_markdown(cell_id, "piece of text")
    transcript.end_turn(turn_id, "ok", usage={...})
    await transcript.ipynb()                              # bytes, valid nbformat 4.5, everything until now
    await transcript.close("idle_timeout", "Nothing was done for 10 minutes.")
    await store.open(sandbox_id).ipynb()                  # after a close, a restart or a kill -9

This package imports neither nbformat nor nbconvert before they are needed.
"""

from .header import TranscriptHeader
from .recorder import Recorder
from .store import TranscriptStore
from .transcript import Transcript
from .turns import Turn

__all__ = ["Recorder", "Transcript", "TranscriptHeader", "TranscriptStore", "Turn"]
