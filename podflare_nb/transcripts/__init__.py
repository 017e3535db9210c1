"""Transcripts: the notebook of a sandbox proves what was done in it.

A transcript is an append-only journal first (``journal``, in ``segments``), one record per event, in the page
cache before any client sees what it records. An index of cells is folded from the journal (``cells``,
``notebook``, ``lineage``, ``rewinding``, ``projection``), and what a cell holds is read back when somebody wants
it (``views``): as the valid .ipynb that is kept beside the journal (``rendering``, ``ipynb_file``), as an
``outline``, or in the other formats (``export``). So memory does not grow with what is shown.
Above stand ``chat`` (turns) and the handlers (export); below, ``sandboxes.execution`` (what is observed).

    store = TranscriptStore(root, clock=time.time)
    transcript = store.create(TranscriptHeader(...))      # < 0.3 ms, in the create path
    sandbox observers: Recorder(transcript)               # ExecutionObserver
    cell_id = transcript.begin_turn(turn_id, message)     # records the user's message as a markdown cell
    cell_id = transcript.add_markdown(turn_id, "assistant", "")
    transcript.append_markdown(cell_id, "piece of text")
    transcript.end_turn(turn_id, "ok", usage={...})
    async for piece in transcript.ipynb_pieces(): ...     # valid nbformat 4.5, everything until now
    async for piece in transcript.export_pieces("html"): ...
    await transcript.outline()                            # the notebook as a bounded value
    branch = store.fork(transcript, TranscriptHeader(..., forked_from=ForkedFrom(...)))
    transcript.rewind(turn_id, branch=branch.header.sandbox_id)
    transcript.merge(branch, losers=[...])
    await transcript.close("idle_timeout", "Nothing was done for 10 minutes.")
    store.open(sandbox_id).ipynb_pieces()                 # after a close, a restart or a kill -9

This package imports neither nbformat nor nbconvert before they are needed.
"""

from .header import ForkedFrom, TranscriptHeader
from .recorder import Recorder
from .store import TranscriptStore
from .transcript import Transcript
from .turns import Turn

__all__ = ["ForkedFrom", "Recorder", "Transcript", "TranscriptHeader", "TranscriptStore", "Turn"]
