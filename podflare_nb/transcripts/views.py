"""Cells read back from the journal, as nbformat has them: one output at a time, whatever their number and size.

A code cell is looked through once for what its outputs are (pieces of a stream are one output, a clear removes
what came before, an update changes an earlier display), and read again output by output. A cell of few bytes
is read once. Nothing here is kept. ``cells`` are below, ``rendering``, ``outline`` and ``export`` above.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

from .cells import NEAR, Cell, Place, Record, display_key
from .endings import ending_metadata, ending_outputs, over_budget
from .header import SCHEMA
from .outputs import Output, clean_bundle, clean_count, clean_json, clean_output, clean_text

READ_AT_ONCE = 131_072
"""Bytes of a cell's records up to which they are all held while it is shown."""

UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What a record that was changed by hand may raise; ``notebook`` has counted it when it came by."""


class Source(Protocol):
    """The journal, by places."""

    def records(self, begin: int, end: int | None = None) -> Iterator[tuple[Record | None, int, int]]:
        """Yield the records there with their places; None for one that is damaged."""
        ...


class View:
    """A cell: ``fields`` is everything but its outputs, which are None for a markdown cell."""

    __slots__ = ("fields", "outputs")

    def __init__(self, fields: dict[str, Any], outputs: Outputs | None = None) -> None:
        self.fields = fields
        self.outputs = outputs

    def lazy(self) -> dict[str, Any]:
        """Give the cell with outputs that are read as somebody walks through them."""
        return self.fields if self.outputs is None else {**self.fields, "outputs": self.outputs}

    def whole(self) -> dict[str, Any]:
        """Give the cell with all its outputs, in nbformat's order."""
        return in_order(self.fields, None if self.outputs is None else list(self.outputs))


def in_order(fields: dict[str, Any], outputs: list[Output] | None) -> dict[str, Any]:
    """Put a code cell's outputs where nbformat has them."""
    if outputs is None:
        return fields
    return {**{key: fields[key] for key in fields if key != "source"}, "outputs": outputs, "source": fields["source"]}


class _Shown:
    """One output: where it stands in the journal (a stream, in pieces), or what was made of no record."""

    __slots__ = ("key", "kind", "name", "pieces")

    def __init__(self, output: Output, key: str | None, piece: Place | Output) -> None:
        self.kind: str = output["output_type"]
        self.name: str = output.get("name", "")
        self.key = key
        self.pieces = [piece]

    def follow(self, piece: Place | Output) -> None:
        """Take in one more piece of a stream."""
        last = self.pieces[-1]
        if isinstance(last, tuple) and isinstance(piece, tuple) and piece[0] - last[1] <= NEAR:
            self.pieces[-1] = (last[0], piece[1])
        else:
            self.pieces.append(piece)


class _Area:
    """The outputs of a cell, as they gather."""

    def __init__(self) -> None:
        self.shown: list[_Shown] = []
        self._clear_before_next = False

    def add(self, output: Output, key: str | None, piece: Place | Output) -> None:
        """Add one; adjacent streams of a name are one."""
        if self._clear_before_next:
            self.clear(wait=False)
        last = self.shown[-1] if self.shown else None
        if last is not None and (last.kind, last.name) == ("stream", output.get("name")):
            last.follow(piece)
        else:
            self.shown.append(_Shown(output, key, piece))

    def clear(self, *, wait: bool) -> None:
        """Remove all, at once or when the next one comes."""
        self._clear_before_next = wait
        if not wait:
            self.shown.clear()


class Outputs:
    """The outputs of one cell, each read when it is its turn. Any number of walks."""

    def __init__(self, source: Source, cell: Cell, shown: list[_Shown], count: int | None) -> None:
        self._source = source
        self._cell = cell
        self._shown = shown
        self._count = count

    def __len__(self) -> int:
        return len(self._shown)

    def __iter__(self) -> Iterator[Output]:
        for shown in self._shown:
            yield self._stream(shown) if shown.kind == "stream" else self._read(shown)

    def _stream(self, shown: _Shown) -> Output:
        texts: list[str] = []
        for piece in shown.pieces:
            if isinstance(piece, dict):
                texts.append(piece["text"])
                continue
            for raw, _ in _outputs_of(self._source, self._cell, piece):
                # Between two that are shown may stand one that cannot be read, and was left out.
                with suppress(*UNREADABLE):
                    output = clean_output(raw) if raw.get("output_type") == "stream" else None
                    if output is not None and output["name"] == shown.name:
                        texts.append(output["text"])
        return {"output_type": "stream", "name": shown.name, "text": "".join(texts)}

    def _read(self, shown: _Shown) -> Output:
        [piece] = shown.pieces
        if isinstance(piece, dict):
            return piece
        [(raw, (begin, _))] = _outputs_of(self._source, self._cell, piece)
        output = clean_output(raw) or {}
        update = (self._cell.updates or {}).get(shown.key or "")
        if update is not None and update[0] > begin:
            for record, _, _ in self._source.records(*update):
                output.update(clean_bundle((record or {})["out"]))
        if shown.kind == "execute_result" and output["execution_count"] is None:
            output["execution_count"] = self._count
        return output


class _Held:
    """The records of a small cell, read once."""

    def __init__(self, source: Source, cell: Cell) -> None:
        self._source = source
        self._records = [found for run in _runs(cell) for found in source.records(*run)]
        self._begins = [begin for _, begin, _ in self._records]

    def records(self, begin: int, end: int | None = None) -> Iterator[tuple[Record | None, int, int]]:
        """As Source."""
        first = bisect_left(self._begins, begin)
        if self._begins[first : first + 1] != [begin]:  # an update, which stands elsewhere
            return self._source.records(begin, end)
        last = len(self._begins) if end is None else bisect_left(self._begins, end)
        return iter(self._records[first:last])


def view(source: Source, cell: Cell) -> View:
    """Read a cell."""
    if not cell.is_code:
        return _markdown(source, cell)
    if sum(end - begin for begin, end in _runs(cell)) <= READ_AT_ONCE:
        source = _Held(source, cell)
    area = _Area()
    code, by = "", {"incomplete": True}
    raised = False
    end: Record = {}
    over: Record | None = None
    for record, place in _records_of(source, cell):
        try:
            kind = record["t"]
            if kind == "start":
                code, by = clean_text(record["source"]), clean_json(record["by"])
            elif kind == "out":
                _add_output(area, record["out"], place)
                raised = raised or record["out"].get("output_type") == "error"
            elif kind == "over":
                over = record
            elif kind == "end":
                _end(area, record)
                end = record
        except UNREADABLE:
            continue
    if over is not None and "over" not in end:  # an end tells the totals
        sentence = over_budget(over)
        area.add(sentence, None, sentence)
    count = clean_count(end.get("execution_count"))
    fields = {
        "cell_type": "code",
        "execution_count": count,
        "id": cell.id,
        "metadata": ending_metadata(end, _stamp(cell, by), raised=raised),
        "source": code,
    }
    return View(fields, Outputs(source, cell, area.shown, count))


def _markdown(source: Source, cell: Cell) -> View:
    texts: list[str] = []
    by: dict[str, Any] = {"role": "assistant", "incomplete": True}
    for record, _ in _records_of(source, cell):
        if record["t"] in {"markdown", "turn"}:
            by = clean_json(record["by"])
        texts.append(clean_text(record["text"]))
    metadata = {"podflare_nb": _stamp(cell, by)}
    return View({"cell_type": "markdown", "id": cell.id, "metadata": metadata, "source": "".join(texts)})


def _stamp(cell: Cell, by: Mapping[str, Any]) -> dict[str, Any]:
    stamp = {"schema": SCHEMA, "seq": cell.seq, **by}
    others = {"branch": cell.branch, "superseded_by": cell.superseded_by}
    return stamp | {key: {"sandbox_id": other} for key, other in others.items() if other is not None}


def _add_output(area: _Area, raw: Record, place: Place) -> None:
    kind = raw.get("output_type")
    if kind == "clear_output":
        area.clear(wait=bool(raw.get("wait")))
    elif (clean := clean_output(raw)) is not None:
        area.add(clean, display_key(raw), place)


def _end(area: _Area, record: Record) -> None:
    has_error = any(shown.kind == "error" for shown in area.shown)
    for output in ending_outputs(clean_json(dict(record)), has_error=has_error):
        area.add(output, None, output)


def _records_of(source: Source, cell: Cell) -> Iterator[tuple[Record, Place]]:
    """Walk through a cell's own records; what only this process knows comes where it belongs."""
    kinds = {"start", "out", "over", "end"} if cell.is_code else {"turn", "markdown", "text"}
    extras = list(cell.extras)
    for run in _runs(cell):
        for record, begin, end in source.records(*run):
            while extras and extras[0][0] <= begin:
                yield extras[0][1], (begin, begin)
                extras.pop(0)
            if record is not None and record["t"] in kinds and record.get("cell") == cell.recorded_id:
                yield record, (begin, end)
    for place, record in extras:
        yield record, (place, place)


def _outputs_of(source: Source, cell: Cell, place: Place) -> Iterator[tuple[Record, Place]]:
    for record, begin, end in source.records(*place):
        if record is not None and record["t"] == "out" and record.get("cell") == cell.recorded_id and "out" in record:
            yield record["out"], (begin, end)


def _runs(cell: Cell) -> Iterator[Place]:
    return zip(cell.runs[::2], cell.runs[1::2], strict=True)
