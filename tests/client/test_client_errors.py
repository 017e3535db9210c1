import socket
import threading

import pytest
from stand_in_service import CHILD_IDS, CUT, DROP, KEY, WAIT

from podflare_nb import errors as service_errors
from podflare_nb.client import (
    Client,
    ConnectionLostError,
    ForbiddenError,
    NoCapacityError,
    QuotaExceededError,
    Sandbox,
    ServiceUnreachableError,
    TimedOutError,
    TooLargeError,
    UnauthenticatedError,
    UnexpectedAnswerError,
)
from podflare_nb.client import errors as client_errors
from podflare_nb.client._sync import connection
from podflare_nb.client.retry import pause_before_retry, seconds_until
from podflare_nb.client.transport import Timeouts


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
    asked_wrongly = {"method_not_allowed", "range_not_satisfiable"}
    of_the_ports_proxy = {"unreachable", "no_answer"}  # which clients do not call
    assert codes - client_errors._BY_CODE.keys() <= asked_wrongly | of_the_ports_proxy
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


def test_a_refusal_that_names_too_long_a_pause_is_told_at_once(stand_in, pauses):
    stand_in.refusals.append((429, "quota_exceeded", "At most 5 sandboxes.", None, {"Retry-After": "60"}))
    with pytest.raises(QuotaExceededError, match="At most 5") as caught:
        Sandbox(host=stand_in.url, api_key=KEY)
    assert caught.value.retry_after == 60
    assert pauses == []


def test_a_create_that_was_refused_is_repeated_with_the_same_key(stand_in, pauses):
    stand_in.refusals.append((503, "no_capacity", "No room now.", None, {"Retry-After": "3"}))
    Sandbox(host=stand_in.url, api_key=KEY).close()
    Sandbox(host=stand_in.url, api_key=KEY).close()
    first, again, other = (one["headers"]["Idempotency-Key"] for one in stand_in.requests if one["method"] == "POST")
    assert first == again != other
    assert pauses == [3.0]


def test_code_is_sent_again_only_when_the_service_asked_for_that_before_it_ran(stand_in, sandbox, pauses):
    stand_in.refusals.append((429, "quota_exceeded", "Slow down.", None, {"Retry-After": "1"}))
    assert sandbox.run_code("print(6*7)").ok
    stand_in.refusals.append((503, "no_capacity", "No room."))
    with pytest.raises(NoCapacityError, match="No room"):
        sandbox.run_code("print(6*7)")
    assert pauses == [1.0]


def test_retries_can_be_turned_off(stand_in, pauses):
    stand_in.refusals.append((429, "quota_exceeded", "Slow down.", None, {"Retry-After": "1"}))
    with pytest.raises(QuotaExceededError):
        Sandbox(host=stand_in.url, api_key=KEY, retries=0)
    with Client(stand_in.url, KEY, retries=1) as client:
        stand_in.refusals.extend([(503, "no_capacity", "No room.")] * 2)
        with pytest.raises(NoCapacityError):
            client.templates()
    assert pauses == [0.05]


@pytest.mark.parametrize("where", [DROP, CUT])
def test_a_create_and_a_fork_whose_answers_were_lost_are_asked_for_again_by_their_keys(stand_in, where):
    stand_in.faults.append(where)
    with Sandbox(host=stand_in.url, api_key=KEY) as sandbox:
        stand_in.faults.append(where)
        assert len(sandbox.fork(2)) == 2
    keys = [one["headers"]["Idempotency-Key"] for one in stand_in.requests if one["method"] == "POST"]
    assert keys[0] == keys[1] != keys[2] == keys[3]


@pytest.mark.parametrize("where", [DROP, CUT])
def test_what_may_have_taken_effect_is_not_sent_again(stand_in, sandbox, where):
    for call in (sandbox.interrupt, lambda: sandbox.merge_into(CHILD_IDS[0]), lambda: sandbox.record("said")):
        before = len(stand_in.requests)
        stand_in.faults.append(where)
        with pytest.raises(ConnectionLostError, match="not known"):
            call()
        assert len(stand_in.requests) == before + 1


def test_a_file_is_sent_again_from_its_beginning(stand_in, sandbox, tmp_path):
    (tmp_path / "local").write_bytes(b"whole" * 100_000)
    stand_in.faults.append(DROP)
    sandbox.files.upload(tmp_path / "local", "there")
    assert stand_in.files["there"] == b"whole" * 100_000


def test_a_service_that_does_not_answer_in_time_is_told_and_not_asked_again(stand_in, sandbox, monkeypatch):
    monkeypatch.setattr(connection, "patient", lambda _: Timeouts(read=0.2))
    stand_in.faults.append(WAIT)
    with pytest.raises(TimedOutError, match="did not answer in time"):
        sandbox.info()
    assert [one["method"] for one in stand_in.requests] == ["POST", "GET"]


def test_a_kept_connection_that_the_service_closed_is_replaced_unseen(stand_in, sandbox):
    stand_in.drop_idle_connections()
    assert sandbox.run_code("print(6*7)").ok
    assert len(stand_in.bodies("POST", "/exec")) == 1
    assert len(stand_in.connections) == 2


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_a_connection_lost_before_the_answer_says_that_the_outcome_is_unknown(said):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/podflare"

        def accept_and_drop():
            for _ in range(3):
                accepted, _ = server.accept()
                accepted.recv(4096)
                accepted.sendall(said)
                accepted.close()

        dropping = threading.Thread(target=accept_and_drop)
        dropping.start()
        with pytest.raises(ConnectionLostError, match="not known"):
            Sandbox(host=url, api_key=KEY)
        dropping.join(60)


@pytest.mark.parametrize("answer", [[], {}, {"id": 5}, "text"])
def test_an_answer_without_the_sandbox_that_was_asked_for_is_told(stand_in, answer):
    stand_in.created = answer
    with pytest.raises(UnexpectedAnswerError, match="podflare"):
        Sandbox(host=stand_in.url, api_key=KEY)


@pytest.mark.parametrize("data", [None, "x", [0]])
def test_an_exit_without_an_exit_code_is_told(stand_in, sandbox, data):
    stand_in.exec_events = [{"type": "stdout", "data": "42"}, {"type": "exit", "data": data}]
    with pytest.raises(UnexpectedAnswerError, match="exit code"):
        sandbox.run_code("x")


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("7", 7.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        ("Sun, 06 Nov 1994 08:48:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("nan", None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
    ],
)
def test_a_time_to_come_again_is_seconds_or_a_date(told, seconds):
    assert seconds_until(told, now=784111740.0) == seconds


@pytest.mark.parametrize(
    ("failure", "repeat", "attempt", "retry_after", "pause"),
    [
        ("not_sent", "unsent", 1, None, 0.05),
        ("not_sent", "refused", 2, None, 0.2),
        ("not_sent", "always", 3, None, None),
        ("cut", "always", 1, None, 0.05),
        ("cut", "refused", 1, None, None),
        ("slow", "always", 1, None, None),
        ("refused_now", "always", 1, None, 0.05),
        ("refused_now", "always", 1, 3.0, 3.0),
        ("refused_now", "always", 1, 3600.0, None),
        ("refused_now", "refused", 1, 1.0, 1.0),
        ("refused_now", "refused", 1, None, None),
        ("refused_now", "unsent", 1, 1.0, None),
        ("refused", "always", 1, None, None),
    ],
)
def test_only_what_is_safe_is_repeated(failure, repeat, attempt, retry_after, pause):
    assert pause_before_retry(failure, repeat, attempt, retry_after) == pytest.approx(pause)
