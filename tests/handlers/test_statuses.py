from tornado.web import HTTPError

from podflare_nb import errors
from podflare_nb.handlers.statuses import INTERNAL, body_of, retry_after, status_of


def test_an_error_of_ours_is_told_as_it_is():
    error = errors.GoneError("It has ended.", reason="oom")
    assert status_of(error) == 410
    assert body_of(error, 410) == {"error": "It has ended.", "code": "gone", "details": {"reason": "oom"}}


def test_an_error_that_nobody_expected_tells_nothing_of_itself():
    error = ValueError("a secret")
    assert status_of(error) == 500
    assert body_of(error, 500) == {"error": INTERNAL, "code": "internal", "details": {}}


def test_jupyters_and_tornados_errors_get_a_code_of_ours():
    error = HTTPError(403, "User is not authorized to write on resource: podflare_nb:files.")
    assert body_of(error, status_of(error))["code"] == "forbidden"
    assert "podflare_nb:files" in body_of(error, 403)["error"]
    assert body_of(None, 418)["error"]


def test_only_what_passes_by_itself_says_when_to_try_again():
    assert retry_after(errors.QuotaExceededError("Too many.", retry_after=7.2)) == 7
    assert retry_after(errors.NoCapacityError("Full.")) == 5
    assert retry_after(errors.ConflictError("Busy.")) is None
    assert retry_after(ValueError()) is None
