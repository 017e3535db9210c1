import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from podflare_nb.cli.server import ServiceServer

from ..conftest import command, read_until, start_service, stop_service
from ..provisioning.conftest import REPOSITORY


def refused(*options: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """A start that is refused: one sentence, and a code that is not 0."""
    ended = subprocess.run(
        command("serve", *options),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert ended.returncode != 0
    assert ended.stdout == ""
    sentence, *rest = ended.stderr.splitlines()
    assert rest == [], ended.stderr
    assert sentence.startswith("podflare-nb: ")
    return ended


def test_a_taken_port_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"Port {port}" in refused("--port", port, "--data-dir", str(tmp_path)).stderr


def test_a_free_port_that_was_found_is_kept_until_it_is_listened_at():
    server = ServiceServer(ip="127.0.0.1", port=0)
    server._find_http_port()
    try:
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", server.port)).close()
    finally:
        for listener in server._listeners:
            listener.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--isolation", "docker"], ["--isolation", "namespaces", "none"]),
        (["--port", "70000"], ["--port", "65535"]),
        (["--port", "http"], ["--port"]),
        (["--prot", "1"], ["--prot"]),
        (["--host", "203.0.113.1"], ["203.0.113.1"]),
        (["--host", "no such host"], ["no such host"]),
        (["--template-dir", "/proc/nonexistent"], ["/proc/nonexistent", "kernel.json"]),
        (["--api-key", "short"], ["5 characters"]),
        (["--api-key", "has spaces and is long"], ["letters, digits"]),
        (["surplus"], ["surplus"]),
        (["--egress", "true", "--egress-most", "false"], ["egress has true", "egress-most (off)"]),
        (["--egress", "a.example", "--egress-most", "b.example"], ["egress has a.example", "egress-most (b.example)"]),
        (["--egress-most", "10.0.0.0/8"], ["egress-most has 10.0.0.0/8", "egress-private"]),
        (["--egress-most", "two words"], ["'two words'", "is no host name"]),
        (["--egress-most", "false", "--isolation", "none"], ["egress-most", "--isolation none"]),
    ],
)
def test_a_wrong_option_is_refused_with_one_sentence(tmp_path, options, words):
    message = refused("--data-dir", str(tmp_path / "data"), "--port", "0", *options).stderr
    assert all(word in message for word in words), message


def test_a_template_that_reaches_more_than_the_operator_allows_is_named(tmp_path):
    spec = json.loads((REPOSITORY / "kernelspecs/python-minimal/kernel.json").read_text())
    spec["metadata"]["podflare_nb"]["network"] = {"allow": ["files.example.org", "pypi.org"]}
    (tmp_path / "specs" / "wide").mkdir(parents=True)
    (tmp_path / "specs" / "wide" / "kernel.json").write_text(json.dumps(spec))
    options = ["--data-dir", str(tmp_path / "data"), "--port", "0", "--template-dir", str(tmp_path / "specs")]
    message = refused(*options, "--egress-most", "files.example.org").stderr
    assert "The template wide has pypi.org in its network, which is beyond egress-most (files.example.org)." in message


@pytest.mark.skipif(os.geteuid() != 0, reason="jails need root")
def test_what_the_operator_allows_at_most_holds_for_creates_changes_and_forks_and_is_the_default(tmp_path):
    most = {"allow": ["files.example.org", "*.example.com:443"]}
    running = start_service(tmp_path, "--egress-most", ",".join(most["allow"]))
    try:
        with httpx.Client(
            base_url=running.url + "/v1", headers={"Authorization": f"Bearer {running.key}"}, timeout=60
        ) as http:
            network = http.get("/capabilities").json()["network"]
            assert (network["most"], network["default"], network["internet"]) == (most, most, False)
            wide = {"template": "python-minimal", "egress": True}
            answers = [http.post("/sandboxes", json=wide)]
            made = http.post("/sandboxes", json={"template": "python-minimal"}).json()
            assert made["egress"] == most
            child = http.post(f"/sandboxes/{made['id']}/fork", json={"n": 1}).json()["children"][0]
            for name in (made["id"], child):
                beyond = True, {"allow": ["pypi.org"]}, {"allow": ["*.example.com"]}
                answers += [http.patch(f"/sandboxes/{name}", json={"egress": egress}) for egress in beyond]
                assert http.get(f"/sandboxes/{name}").json()["egress"] == most
            for answer in answers:
                assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
                assert "It may be at most: files.example.org, *.example.com:443." in answer.json()["error"]
            narrowed = http.patch(f"/sandboxes/{child}", json={"egress": {"allow": ["a.example.com:443"]}})
            assert narrowed.json()["egress"] == {"allow": ["a.example.com:443"]}
    finally:
        stop_service(running)


def test_a_data_directory_that_cannot_be_is_named():
    assert "/proc/nothing" in refused("--data-dir", "/proc/nothing", "--port", "0").stderr


@pytest.mark.parametrize("runtime_dir", ["/tmp/" + "x" * 120, "/proc/nothing", "/etc/passwd"])
def test_a_directory_for_sockets_that_cannot_be_is_refused_at_once_and_nothing_is_left(tmp_path, runtime_dir):
    message = refused("--port", "0", "--data-dir", str(tmp_path), env={"PODFLARE_NB_RUNTIME_DIR": runtime_dir}).stderr
    assert runtime_dir in message
    assert "PODFLARE_NB_RUNTIME_DIR" in message
    shutil.rmtree("/tmp/" + "x" * 120, ignore_errors=True)


@pytest.mark.parametrize(("first", "loaded"), [("pass", "True"), ("serve._load_no_grammar_of_iris()", "False")])
def test_a_start_compiles_no_grammar_for_a_check_that_nobody_uses(first, loaded):
    """The control shows that Jupyter's server does, left alone: when it no longer does, the step can go."""
    code = f"import sys; from podflare_nb.cli import serve; {first}; import jupyter_server.serverapp"
    told = subprocess.run(
        [sys.executable, "-c", f"{code}; print('lark' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == loaded


def test_a_second_service_on_the_same_data_is_refused_with_the_first_ones_process(service):
    message = refused("--port", "0", "--data-dir", str(service.data_dir)).stderr
    assert str(service.process.pid) in message


def test_a_service_is_announced_with_its_key_and_ends_on_a_signal_without_a_word(tmp_path):
    for signum in (signal.SIGTERM, signal.SIGINT):
        running = start_service(tmp_path, "--isolation", "none")
        assert httpx.get(running.url + "/v1/healthz", timeout=60).text == "ok"
        assert (tmp_path / "api-key").stat().st_mode & 0o777 == 0o600
        assert stop_service(running, signum) == 0
        assert not (tmp_path / "service.json").exists()


def test_the_key_stays_over_starts_and_a_given_one_takes_its_place(tmp_path):
    first = start_service(tmp_path, "--isolation", "none")
    stop_service(first)
    second = start_service(tmp_path, "--isolation", "none")
    stop_service(second)
    assert first.key == second.key
    third = start_service(tmp_path, "--isolation", "none", "--api-key", "my-own-key-for-this-service")
    try:
        for key, status in ((first.key, 401), ("my-own-key-for-this-service", 200)):
            headers = {"Authorization": f"Bearer {key}"}
            answer = httpx.get(third.url + "/v1/templates", headers=headers, timeout=60)
            assert answer.status_code == status
    finally:
        stop_service(third)


def test_without_isolation_other_tenants_have_no_sandboxes(tmp_path):
    running = start_service(tmp_path, "--isolation", "none")
    try:
        made = subprocess.run(
            command("keys", "create", "--tenant", "other", "--data-dir", str(tmp_path)),
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
        answer = httpx.post(running.url + "/v1/sandboxes", json={}, headers=headers, timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    finally:
        stop_service(running)


def test_without_isolation_it_says_what_is_given_up(tmp_path):
    running = subprocess.Popen(
        command("serve", "--port", "0", "--data-dir", str(tmp_path), "--isolation", "none"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert "no isolation" in read_until(running, "Ctrl-C", 60)
    finally:
        running.terminate()
        running.communicate(timeout=60)
