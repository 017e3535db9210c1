import errno
import json
import os
import subprocess

import pytest

from podflare_nb import __version__, cli
from podflare_nb.cli import tables
from podflare_nb.provisioning import internet

from ..conftest import Service, command


def call(service: Service, *arguments: str, code: int = 0, text: str = "") -> str:
    ended = subprocess.run(
        command(*arguments, "--data-dir", str(service.data_dir)),
        capture_output=True, text=True, timeout=120, input=text, check=False,
    )  # fmt: skip
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_chat_shows_code_and_outputs(service):
    shown = call(service, "chat", "--template", "python-minimal", "-m", "print(6*7)")
    assert "| print(6*7)" in shown
    assert "\n42\n" in shown


def test_a_turn_that_fails_makes_the_command_fail(service):
    shown = call(service, "chat", "--template", "python-minimal", "-m", "1/0", code=1)
    assert "ZeroDivisionError: division by zero" in shown


def test_a_conversation_keeps_its_variables_and_names_its_notebook(service):
    shown = call(service, "chat", "--template", "python-minimal", text="x = 20\nprint(x + 1)\n/quit\n")
    assert "21" in shown
    assert "podflare-nb export sbx_" in shown


def test_a_conversation_forks_compares_and_merges(service):
    said = [
        "x = 1",
        "/fork 2",
        "/switch 2",
        "x = 'won'",
        "/switch 1",
        "/diff 2",
        "/merge 2",
        "print('x is', x)",
        "/quit",
    ]
    shown = call(service, "chat", "--template", "python-minimal", text="\n".join(said) + "\n")
    assert "~ x: 1 -> 'won'" in shown
    assert "x is won" in shown
    made = {word for word in shown.split() if word.startswith("sbx_")}
    assert len(made) == 3
    listed = json.loads(call(service, "sandboxes", "list", "--json"))
    assert not made & {sandbox["id"] for sandbox in listed}


def test_a_conversation_goes_back_to_an_earlier_turn(service):
    said = ["x = 1", "x = 2", "/rewind 1", "print('x is', x)", "/quit"]
    options = ["--template", "python-minimal", "--checkpoints", "3"]
    assert "x is 1" in call(service, "chat", *options, text="\n".join(said) + "\n")


def test_branches_are_listed_below_their_parent(service):
    text = "/fork\n/quit\n"
    shown = call(service, "chat", "--template", "python-minimal", "--keep", text=text)
    child, parent = (
        next(word for word in line.split() if word.startswith("sbx_"))
        for line in (
            next(line for line in shown.splitlines() if "ready" in line),
            shown.splitlines()[-1],
        )
    )
    lines = call(service, "sandboxes", "list").splitlines()
    below = next(number for number, line in enumerate(lines) if line.startswith(parent)) + 1
    assert lines[below].startswith(f"└─ {child}")
    call(service, "sandboxes", "close", parent, child)


def kept_sandbox(service: Service, text: str) -> str:
    """Made by a conversation, and left open."""
    options = ["--template", "python-minimal", "--egress", "Files.Example.org", "--keep"]
    return call(service, "chat", *options, text=f"{text}/quit\n").split()[-1]


def test_what_a_sandbox_reaches_is_shown_and_changed(service):
    name = kept_sandbox(service, "")
    assert "It may reach files.example.org.\n" in call(service, "sandboxes", "network", name)
    changed = call(service, "sandboxes", "network", name, "--egress", "a.example:443, *.b.example", "--json")
    assert json.loads(changed)["egress"] == {"allow": ["a.example:443", "*.b.example"]}
    assert "It may reach nothing." in call(service, "sandboxes", "network", name, "--egress", "false")
    assert "'two words'" in call(service, "sandboxes", "network", name, "--egress", "two words", code=1)
    call(service, "sandboxes", "close", name)


def test_a_refused_connection_is_listed_with_its_reason(service):
    ask = "import urllib.request as r\ntry: r.urlopen('http://elsewhere.example.net/')\nexcept OSError: pass"
    name = kept_sandbox(service, f"```python\n{ask}\n```\n")
    told = (call(service, "sandboxes", "network", name) for _ in range(20))
    lines = (line for text in told for line in text.splitlines())
    line = next(line for line in lines if "elsewhere.example.net" in line)  # told in batches
    assert "refused" in line
    assert "files.example.org" in line
    call(service, "sandboxes", "close", name)


def test_a_table_does_not_steer_the_terminal(capsys):
    tables.show([{"host": "a\x1b]0;title\x07\nb"}], as_json=False, empty="")
    assert not set(capsys.readouterr().out) & {"\x1b", "\x07"}


def test_sandboxes_are_listed_exported_and_closed(service, tmp_path):
    call(service, "chat", "--template", "python-minimal", "--keep", "-m", "print('kept')")
    listed = json.loads(call(service, "sandboxes", "list", "--json"))
    name = next(sandbox["id"] for sandbox in listed if sandbox["title"] == "print('kept')")
    assert name in call(service, "sandboxes", "list")
    for suffix, words in (
        ("ipynb", '"nbformat": 4'),
        ("html", "<!DOCTYPE html>"),
        ("md", "```python"),
        ("py", "print('kept')"),
    ):
        path = tmp_path / f"notebook.{suffix}"
        assert "Wrote" in call(service, "export", name, "-o", str(path))
        assert words in path.read_text()
    assert "print('kept')" in call(service, "export", name, "-f", "md", "-o", "-")
    wrong = tmp_path / "notebook.pdf"
    assert "not written as .pdf" in call(service, "export", name, "-o", str(wrong), code=1)
    assert not wrong.exists()
    assert "Closed" in call(service, "sandboxes", "close", name)
    assert "was closed" in call(service, "sandboxes", "close", name, code=1)
    assert "no sandbox" in call(service, "export", "sbx_none", code=1)


def test_templates_are_listed(service):
    assert "python-datasci (default)" in call(service, "templates")
    assert json.loads(call(service, "templates", "--json"))[0]["name"]


def test_keys_are_made_listed_and_revoked(service):
    key = call(service, "keys", "create", "a label", "--tenant", "someone").strip()
    assert key.startswith("pfnb_")
    line = next(line for line in call(service, "keys", "list").splitlines() if "a label" in line)
    assert "someone" in line
    assert key not in line
    assert "Revoked" in call(service, "keys", "revoke", line.split()[0])
    assert "no valid key" in call(service, "keys", "revoke", line.split()[0], code=1)
    assert "cannot name a tenant" in call(service, "keys", "create", "--tenant", "a b", code=1)


def test_doctor_names_every_layer(capsys):
    assert cli.run(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "seccomp" in shown
    assert cli.run(["doctor", "--json"]) == 0
    assert all(layer["available"] for layer in json.loads(capsys.readouterr().out))


def test_doctor_says_why_there_is_no_internet_for_sandboxes_and_that_the_service_starts_without(capsys, monkeypatch):
    monkeypatch.setattr(internet, "Router", without_veth)
    assert cli.run(["doctor"]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if " router " in line)
    assert "NO" in line
    assert "Operation not supported" in line
    assert "modprobe veth" in out
    assert cli.run(["doctor", "--json"]) == 0
    last = json.loads(capsys.readouterr().out)[-1]
    assert (last["name"], last["available"], last["required"]) == ("router", False, False)


def without_veth(*_):
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize("arguments", [["nothing"], ["chat", "--nothing"], ["sandboxes", "close"], ["export"]])
def test_a_wrong_command_line_is_one_sentence(capsys, arguments):
    assert cli.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("podflare-nb: ")
    assert len(err.splitlines()) == 1


def test_without_a_service_a_command_says_how_to_start_one(capsys, tmp_path):
    assert cli.run(["chat", "-m", "1", "--data-dir", str(tmp_path)]) == 1
    assert "podflare-nb serve" in capsys.readouterr().err
    assert cli.run(["templates", "--url", "http://127.0.0.1:9/podflare", "--api-key", "k"]) == 1
    assert "does not answer" in capsys.readouterr().err
    assert cli.run(["templates", "--url", "127.0.0.1", "--api-key", "k"]) == 1
    assert "not the URL" in capsys.readouterr().err


@pytest.mark.parametrize("names", [("PODFLARE_NB_URL", "PODFLARE_NB_API_KEY"), ("PODFLARE_HOST", "PODFLARE_API_KEY")])
def test_the_service_is_named_by_the_environment_as_for_the_python_client(
    service, monkeypatch, capsys, tmp_path, names
):
    for name, value in zip(names, (service.url, service.key), strict=True):
        monkeypatch.setenv(name, value)
    assert cli.run(["templates", "--data-dir", str(tmp_path)]) == 0
    assert "python-minimal" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", [[], ["serve"], ["chat"], ["keys"], ["sandboxes"], ["export"], ["templates"], ["doctor"]]
)
def test_every_command_has_a_help(capsys, name):
    assert cli.run([*name, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_the_version_is_told():
    told = subprocess.run(command("--version"), capture_output=True, check=True, text=True).stdout
    assert told.strip() == __version__
