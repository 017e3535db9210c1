import base64

from podflare_nb.protocol.observation import MAX_IMAGE_BASE64, observe, shorten
from podflare_nb.sandboxes.execution import ExecutionResult, Truncation

OK = ExecutionResult("ok", 0, 1)


def stream(text: str, name: str = "stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def shows(**data):
    return {"output_type": "display_data", "data": data, "metadata": {}}


def told(*outputs, result: ExecutionResult = OK, limit: int = 8_000) -> str:
    return observe(outputs, result, limit).text


def test_streams_and_results_are_told_in_their_order():
    result = {"output_type": "execute_result", "data": {"text/plain": "42", "text/html": "<b>42</b>"}}
    assert told(stream("a\nb"), stream("c\n"), result) == "a\nbc\n42"


def test_a_run_without_output_is_told_as_such():
    assert told() == "(no output)"


def test_colours_are_taken_out():
    assert told(stream("\x1b[31mred\x1b[0m\x1b]0;title\x07 \x1b["), stream("1mbold\x1b[0m\n")) == "red bold"


def test_a_progress_bar_leaves_its_last_state():
    assert told(stream("\r 10%"), stream("\r 50%\r"), stream("100%\n"), stream("done\r\n")) == "100%\ndone"


def test_the_middle_of_long_output_is_cut_and_counted():
    text = told(*(stream(f"line {n}\n") for n in range(10_000)), limit=3_000)
    assert text.startswith("line 0\n")
    assert text.endswith("line 9999")
    assert "[... 95,890 of 98,890 characters cut here ...]" in text
    assert len(text) < 3_100


def test_one_endless_line_is_held_in_bounded_memory():
    text = told(*(stream("x" * 10_000) for _ in range(1_000)), limit=1_000)
    assert "of 10,000,000 characters" in text
    assert len(text) < 1_100


def test_clear_output_takes_back_what_came_before():
    assert told(stream("old"), {"output_type": "clear_output", "wait": False}, stream("new")) == "new"
    waiting = {"output_type": "clear_output", "wait": True}
    assert told(stream("old"), waiting, stream("new")) == "new"
    assert told(stream("old"), waiting) == "old"


def test_errors_are_told_with_the_traceback_and_how_the_run_ended():
    error = {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[1mTrace", "E: v"]}
    assert told(error, result=ExecutionResult("error", 1, 2)) == "The code failed (exit code 1).\nTrace\nE: v"
    died = ExecutionResult("died", 137, None, "Out of memory.", state_preserved=False)
    assert "Out of memory. The kernel was started anew" in told(result=died)


def test_images_are_given_as_images_up_to_a_number_and_a_size():
    png = base64.b64encode(b"png").decode()
    observed = observe([shows(**{"image/png": png, "text/plain": "<Figure>"})] * 6, OK)
    assert [image.data for image in observed.images] == [b"png"] * 4
    assert observed.text.count("<Figure>") == 6
    assert "first 4" in observed.text
    big = observe([shows(**{"image/png": "A" * (MAX_IMAGE_BASE64 + 4)})], OK)
    assert not big.images
    assert "too big" in big.text
    assert "not to you" in told(shows(**{"image/svg+xml": "<svg/>"}))


def test_a_text_that_fits_is_left_alone():
    assert shorten("abc", 3) == "abc"
    assert observe([], ExecutionResult("ok", 0, 1, truncation=Truncation(10, 5))).text == "(no output)"
