import io

from podflare_nb.cli.turn_printer import TurnPrinter


def printed(*told: tuple[str, dict]) -> tuple[str, str]:
    out = io.StringIO()
    printer = TurnPrinter(out)
    for kind, data in told:
        printer.show({"type": kind, "data": data})
    return out.getvalue(), printer.finish()


def output(**content) -> tuple[str, dict]:
    return "cell-output", {"cell_id": "c", "output": content}


def test_what_the_agent_says_and_runs_is_shown_in_order():
    shown, status = printed(
        ("cell-start", {"cell_id": "u", "cell_type": "markdown", "role": "user", "source": "my question"}),
        ("cell-start", {"cell_id": "a", "cell_type": "markdown", "role": "assistant", "source": ""}),
        ("text-delta", {"cell_id": "a", "text": "Let me "}),
        ("text-delta", {"cell_id": "a", "text": "see."}),
        ("cell-end", {"cell_id": "a", "status": "ok"}),
        ("cell-start", {"cell_id": "c", "cell_type": "code", "role": "tool", "source": "a = 1\nprint(a)"}),
        output(output_type="stream", name="stdout", text="1\n"),
        ("cell-end", {"cell_id": "c", "status": "ok"}),
        ("turn-end", {"status": "ok"}),
    )
    assert shown == "Let me see.\n  | a = 1\n  | print(a)\n1\n"
    assert status == "ok"


def test_a_picture_is_named():
    shown, _ = printed(output(output_type="display_data", data={"image/png": "iVBOR", "text/plain": "<Figure>"}))
    assert "image/png" in shown
    assert "iVBOR" not in shown


def test_colours_are_for_terminals_only():
    shown, _ = printed(output(output_type="error", ename="E", evalue="x", traceback=["\x1b[31mE\x1b[0m: x"]))
    assert shown == "E: x\n"


def test_what_a_sandbox_prints_does_not_steer_the_terminal():
    shown, _ = printed(output(output_type="stream", name="stdout", text="a\x1b]0;title\x07b\x1b[2Jc\x00d\n"))
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_a_turn_that_did_not_go_well_says_why():
    shown, status = printed(("turn-error", {"code": "x", "message": "It broke."}), ("turn-end", {"status": "error"}))
    assert (shown, status) == ("It broke.\n", "error")
    assert "limit" in printed(("turn-end", {"status": "limit", "message": "Stopped at the limit."}))[0]


def test_an_event_that_is_not_known_is_skipped():
    assert printed(("something-new", {"a": 1}))[0] == ""
