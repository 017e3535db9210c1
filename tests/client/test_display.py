import base64

from podflare_nb.client import ExecResult, Result


def shown(data):
    return Result(data)._repr_html_()


def test_a_picture_is_shown_as_a_picture():
    png = base64.b64encode(b"\x89PNG").decode()
    assert shown({"image/png": png, "text/plain": "<Figure>"}) == f'<img alt="" src="data:image/png;base64,{png}">'


def test_html_of_a_sandbox_runs_no_script_in_the_callers_page():
    page = shown({"text/html": '<table><tr></table><script>steal("x")</script>'})
    assert page.startswith('<iframe sandbox=""')
    assert "<script>" not in page


def test_an_svg_is_shown_as_a_picture_in_which_nothing_runs():
    assert shown({"image/svg+xml": "<svg onload='x()'/>"}).startswith('<img alt="" src="data:image/svg+xml;base64,')


def test_what_is_not_base64_falls_back_to_its_text():
    assert shown({"image/png": '"><script>', "text/plain": "<b>"}) == "<pre>&lt;b&gt;</pre>"


def test_a_result_shows_text_pictures_and_errors_in_order():
    result = ExecResult("a<b", "oh", 1, [Result({"text/plain": "v"})], message="It was killed.")
    html = result._repr_html_()
    assert html.index("a&lt;b") < html.index(">v<") < html.index("oh") < html.index("It was killed.")
    assert repr(result).startswith("<ExecResult exit_code=1")
