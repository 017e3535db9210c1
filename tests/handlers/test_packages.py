"""Packages in real sandboxes, with the real pip, uv, npm and apt, from indexes that the test made."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ..conftest import start_service, stop_service
from ..provisioning.network.mirror.sources import (
    Server,
    lines_of,
    offer_debian,
    offer_npm,
    sha256,
    simple_page,
    wheel,
)
from .conftest import assert_refused, client_of, events, run, stdout

INDEX = "localhost"
"""The host that all indexes of the test have, as policies name it."""
WHEEL = "/files/spam-1.0-py3-none-any.whl"


def offer(server: Server, name: str, version: str = "1.0", **code: str) -> None:
    """A wheel whose page has no address of a host, so that it is the index's own."""
    file, content = wheel(name, version, **code)
    page = [{"filename": file, "url": f"../../files/{file}", "hashes": {"sha256": sha256(content)}}]
    server.answers[f"/simple/{name}/"] = simple_page(name, page)
    server.answers[f"/files/{file}"] = type(server.answers[f"/simple/{name}/"])(content)


@pytest.fixture(scope="module")
def indexes(tmp_path_factory) -> Iterator[tuple[Server, str, str]]:
    """A server of all, the service's configuration, and the key of its archive."""
    server = Server()
    directory = tmp_path_factory.mktemp("indexes")
    offer(server, "spam")
    offer(server, "idna", "99.0")
    npm = json.dumps(f"http://{INDEX}:{server.port}/ham/-/ham-1.0.0.tgz")
    offer_npm(server, "ham", tarball=json.loads(npm))
    key = offer_debian(server, directory).read_text()
    url = f"http://{INDEX}:{server.port}"
    tables = {
        "python": {"index_url": f"{url}/simple/"}, "npm": {"registry": url},
        "debian.archives": {"http://deb.test/debian": f"{url}/debian"},
    }  # fmt: skip
    config = directory / "packages.toml"
    config.write_text("\n".join(lines_of(tables)))
    yield server, str(config), key
    server.close()


@pytest.fixture(scope="module")
def http(indexes, tmp_path_factory) -> Iterator[httpx.Client]:
    service = start_service(tmp_path_factory.mktemp("data"), "--packages", indexes[1])
    with client_of(service, service.key) as client:
        yield client
    stop_service(service)


@pytest.fixture(scope="module")
def make(http) -> Iterator:
    made: list[str] = []

    def make_one(egress: object) -> str:
        answer = http.post("/v1/sandboxes", json={"template": "python-minimal", "egress": egress})
        assert answer.status_code == 200, answer.text
        made.append(answer.json()["id"])
        return made[-1]

    yield make_one
    for name in made:
        http.delete(f"/v1/sandboxes/{name}")


@pytest.fixture
def sandbox(make) -> str:
    return make({"allow": [INDEX]})


def install(http: httpx.Client, sandbox: str, **wanted: object) -> list[dict]:
    return events(http.post(f"/v1/sandboxes/{sandbox}/packages", json=wanted))


def bash(http: httpx.Client, sandbox: str, code: str) -> tuple[int, str]:
    told = run(http, sandbox, code, language="bash")
    return told[-1]["data"], "\n".join(str(event["data"]) for event in told if event["type"] in {"stdout", "stderr"})


def outside(name: str) -> str:
    """What the service's own environment has of that package."""
    code = (
        f"import importlib.metadata as m\ntry: print(m.version({name!r}))\nexcept m.PackageNotFoundError: print('none')"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_python_package_is_importable_at_once_and_nowhere_else(http, sandbox, make):
    before = run(http, sandbox, "import importlib.util; print(importlib.util.find_spec('spam'))")
    assert stdout(before) == ["None"]
    told = install(http, sandbox, python=["spam"])
    assert told[-1]["managers"]["python"]["status"] == "ok"
    assert "Successfully installed spam-1.0" in "\n".join(stdout(told))
    assert stdout(run(http, sandbox, "import spam; print(spam.VALUE)")) == ["42"]
    other = make({"allow": [INDEX]})
    assert stdout(run(http, other, "import importlib.util; print(importlib.util.find_spec('spam'))")) == ["None"]
    assert outside("spam") == "none"


def test_branches_have_it_and_a_merge_brings_it_back(http, sandbox):
    install(http, sandbox, python=["spam"])
    (child,) = http.post(f"/v1/sandboxes/{sandbox}/fork", json={"n": 1}).json()["children"]
    assert stdout(run(http, child, "import spam; print(spam.VALUE)")) == ["42"]
    assert install(http, child, npm=["ham"])[-1]["data"] == 0
    assert http.post(f"/v1/sandboxes/{sandbox}/merge_into/{child}", json={}).status_code == 204
    assert bash(http, sandbox, "node -p 'require(\"ham\")'; python -c 'import spam; print(spam.VALUE)'") == (
        0,
        "42\n42",
    )


def test_a_package_that_was_there_before_can_be_upgraded_and_removed_inside(http, sandbox):
    had = outside("idna")
    assert install(http, sandbox, python=["idna==99.0"])[-1]["data"] == 0
    assert bash(http, sandbox, "python -c 'import idna; print(idna.VALUE)'") == (0, "42")
    assert bash(http, sandbox, "python -m pip uninstall -q -y idna; python -c 'import idna'")[0] == 1
    assert outside("idna") == had != "none"


def test_what_somebody_has_fetched_is_not_fetched_again_for_others(http, indexes, make):
    server = indexes[0]
    for _ in range(2):
        assert install(http, make({"allow": [INDEX]}), python=["spam"])[-1]["data"] == 0
    assert server.paths().count(WHEEL) == 1


def test_uv_works_inside(http, sandbox):
    code, said = bash(http, sandbox, "uv pip install spam && python -c 'import spam; print(spam.VALUE)'")
    assert (code, said.splitlines()[-1]) == (0, "42")


def test_npm_installs_into_the_workspace(http, sandbox):
    assert install(http, sandbox, npm=["ham@^1.0"])[-1]["managers"]["npm"]["exit_code"] == 0
    assert bash(http, sandbox, "node -p 'require(\"ham\")'") == (0, "42")


def test_apt_installs_a_signed_package(http, sandbox, indexes):
    source = (
        "rm -f /etc/apt/sources.list.d/* && mkdir -p /etc/apt/keyrings\n"
        f"cat > /etc/apt/keyrings/test.asc <<'EOF'\n{indexes[2]}\nEOF\n"
        "echo 'deb [signed-by=/etc/apt/keyrings/test.asc arch=amd64] http://deb.test/debian test main'"
        " > /etc/apt/sources.list.d/test.list\n"
        'echo \'Acquire::http::Proxy::deb.test "http://127.0.0.53:61141"; APT::Architecture "amd64";\''
        " > /etc/apt/apt.conf.d/95test\n"
    )
    assert bash(http, sandbox, source)[0] == 0
    told = install(http, sandbox, apt=["pfnb-hello"])
    assert told[-1]["managers"]["apt"]["status"] == "ok", told
    assert bash(http, sandbox, "pfnb-hello") == (0, "hello from a package")
    assert not Path("/usr/bin/pfnb-hello").exists()


def test_what_cannot_be_had_ends_with_the_manager_s_own_code_and_the_rest_is_skipped(http, sandbox):
    last = install(http, sandbox, python=["no-such-package"], npm=["ham"])[-1]
    assert (last["data"], last["status"]) == (1, "error")
    assert last["managers"]["python"]["exit_code"] == 1
    assert last["managers"]["npm"] == {"status": "skipped"}


def test_the_notebook_has_cells_that_install_it_again(http, sandbox):
    last = install(http, sandbox, python=["spam"])[-1]
    cells = {cell["id"]: cell for cell in http.get(f"/v1/sandboxes/{sandbox}/notebook").json()["cells"]}
    cell = cells[last["managers"]["python"]["cell_id"]]
    assert cell["cell_type"] == "code"
    assert "".join(cell["source"]) == "%%bash\npython -m pip install --progress-bar off -- spam"


def test_with_egress_off_it_is_refused_before_anything_runs(http, make):
    sandbox = make(False)
    answer = http.post(f"/v1/sandboxes/{sandbox}/packages", json={"python": ["spam"]})
    assert_refused(answer, 409, "conflict", "egress is off")


def test_where_the_policy_does_not_allow_the_index_the_reason_is_told(http, make):
    sandbox = make({"allow": ["files.example.org"]})
    told = install(http, sandbox, python=["spam"])
    assert told[-1]["managers"]["python"]["status"] == "error"
    reasons = [event["data"]["reason"] for event in told if event["type"] == "network"]
    assert any("files.example.org" in reason and INDEX in reason for reason in reasons), told


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({}, ["at least one package"]),
        ({"python": ["--index-url=http://x"]}, ["python has '--index-url=http://x'"]),
        ({"apt": ["jq; reboot"]}, ["apt has 'jq; reboot'"]),
        ({"npm": ["a@$(id)"]}, ["npm has 'a@$(id)'"]),
        ({"python": "six"}, ["python is 'six'", "a list"]),
        ({"python": ["a" * 201]}, ["python[0]", "200 characters"]),
        ({"python": ["six"] * 101}, ["at most 100"]),
        ({"pip": ["six"]}, ["no field 'pip'"]),
    ],
)
def test_a_wrong_request_is_refused_in_a_sentence_that_names_what_is_wrong(http, sandbox, wanted, words):
    assert_refused(http.post(f"/v1/sandboxes/{sandbox}/packages", json=wanted), 400, "invalid_argument", *words)


def test_credentials_and_addresses_of_the_indexes_are_nowhere_inside(http, sandbox, indexes):
    install(http, sandbox, python=["spam"], npm=["ham"])
    port = str(indexes[0].port)
    found = bash(http, sandbox, f"grep -rls ':{port}' /etc /root /workspace /var/lib/apt; env | grep ':{port}'; true")
    assert found == (0, "")


def test_a_user_s_own_index_wins(http, sandbox):
    code, said = bash(http, sandbox, "python -m pip install --index-url http://127.0.0.53:61141/elsewhere/ spam")
    assert (code, "elsewhere" in said) == (1, True)
