import socket
import threading

import pytest
from stand_in_service import KEY

from podflare_nb import errors as service_errors
from podflare_nb.client import (
    Client,
    ConnectionLostError,
    ForbiddenError,
    QuotaExceededError,
    Sandbox,
    ServiceUnreachableError,
    TooLargeError,
    UnauthenticatedError,
    UnexpectedAnswerError,
)
from podflare_nb.client import errors as client_errors
from podflare_nb.client._sync import connection
from podflare_nb.client.retry import pause_before_retry


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    pauses = []
    monkeypatch.setattr(connection.time, "sleep", pauses.append)
    return pauses


def unused_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_every_code_of_the_service_has_its_error_here():
    kinds = service_errors.PodflareError.__subclasses__()
    codes = {kind.code for kind in kinds if kind.__module__ == service_errors.__name__}
    # These two say that the client itself asked wrongly: nobody catches them by name.
    assert codes - client_errors._BY_CODE.keys() <= {"method_not_allowed", "range_not_satisfiable"}
    assert all(code == kind.code for code, kind in client_errors._BY_CODE.items())


def test_a_service_that_is_not_there_is_told_with_its_url_and_what_to_do():
    url = f"http://127.0.0.1:{unused_port()}/podflare"
    with pytest.raises(ServiceUnreachableError, match="make run") as caught:
        Sandbox(host=url, api_key=KEY)
    assert url in str(caught.value)
    assert not Client(url, KEY).is_healthy()


def test_a_wrong_key_is_told_with_where_it_came_from(stand_in):
    with pytest.raises(UnauthenticatedError, match=r"This key is not known.*taken from the argument api_key"):
        Sandbox(host=stand_in.url, api_key="wrong")


def test_a_wrong_host_is_told_and_not_taken_for_an_error_of_the_service(stand_in):
    with pytest.raises(UnexpectedAnswerError, match="podflare"):
        Client(stand_in.url + "/v1/healthz#", KEY).connection.call("GET", "")


def test_refusals_keep_sentence_code_status_and_details(stand_in, sandbox):
    stand_in.refusals.append((413, "too_large", "code has 2 MiB; the limit is 1 MiB.", {"limit": 1048576}))
    with pytest.raises(TooLargeError, match="the limit is 1 MiB") as caught:
        sandbox.run_code("x")
    assert (caught.value.status, caught.value.code, caught.value.details["limit"]) == (413, "too_large", 1048576)
    stand_in.refusals.append((403, "forbidden", "Not yours to change."))
    with pytest.raises(ForbiddenError):
        sandbox.info()


def test_a_read_waits_as_retry_after_says_and_asks_again(stand_in, sandbox, pauses):
    stand_in.refusals.extend([(429, "quota_exceeded", "Slow down.", None, {"Retry-After": "2"})] * 2)
    assert sandbox.info().state == "ready"
    assert pauses == [2.0, 2.0]


def test_a_create_that_was_refused_is_not_repeated_and_tells_retry_after(stand_in, pauses):
    stand_in.refusals.append((429, "quota_exceeded", "At most 5 sandboxes.", None, {"Retry-After": "7"}))
    with pytest.raises(QuotaExceededError, match="At most 5") as caught:
        Sandbox(host=stand_in.url, api_key=KEY)
    assert caught.value.retry_after == 7
    assert pauses == []


def test_a_connection_lost_before_the_answer_says_that_the_outcome_is_unknown():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/podflare"

        def accept_and_drop():
            accepted, _ = server.accept()
            accepted.recv(1)
            accepted.close()

        dropping = threading.Thread(target=accept_and_drop)
        dropping.start()
        with pytest.raises(ConnectionLostError, match="not known"):
            Sandbox(host=url, api_key=KEY)
        dropping.join(10)


@pytest.mark.parametrize(
    ("failure", "method", "attempt", "retry_after", "pause"),
    [
        ("not_sent", "POST", 1, None, 0.05),
        ("not_sent", "POST", 2, None, 0.2),
        ("not_sent", "POST", 3, None, None),
        ("cut", "GET", 1, None, 0.05),
        ("cut", "POST", 1, None, None),
        ("refused_now", "GET", 1, 3.0, 3.0),
        ("refused_now", "GET", 1, 3600.0, None),
        ("refused_now", "POST", 1, 1.0, None),
        ("refused", "GET", 1, None, None),
    ],
)
def test_only_what_is_safe_is_repeated(failure, method, attempt, retry_after, pause):
    assert pause_before_retry(failure, method, attempt, retry_after) == pytest.approx(pause)
