"""Terminals through the client, on the real service: a real terminal, its signals and its end."""

import pytest

from podflare_nb.client import AsyncSandbox, ConflictError, GoneError, InvalidArgumentError, NotFoundError, Sandbox


@pytest.fixture(scope="module")
def sandbox(service):
    with Sandbox("python-minimal", host=service.url, api_key=service.key) as sandbox:
        yield sandbox


def until(terminal, wanted):
    seen = b""
    for data in terminal:
        seen += data
        if wanted in seen:
            return seen
    raise AssertionError(f"no {wanted!r} in {seen!r}")


def test_a_shell_on_a_real_terminal_is_typed_to_and_resized(sandbox):
    with sandbox.terminal(cols=100, rows=30, env={"GREETING": "hei på deg"}, cwd="/tmp") as terminal:
        terminal.write("tty; stty size; pwd; echo $GREETING\r")
        seen = until(terminal, "hei på deg\r\n".encode())
        assert b"/dev/pts/" in seen
        assert b"30 100\r\n/tmp\r\n" in seen
        terminal.resize(132, 50)
        terminal.write("stty size\r")
        until(terminal, b"50 132")
        terminal.write("sh -c 'echo it $((6 * 7)) sleeps; exec sleep 600'\r")
        until(terminal, b"it 42 sleeps")
        terminal.write(b"\x03")
        until(terminal, b"^C")
        terminal.write("exit 7\r")
        assert terminal.wait(60) == 7
    assert [one.exit_code for one in sandbox.terminals() if one.id == terminal.id] == [7]
    with pytest.raises(ConflictError, match="ended"):
        terminal.write("x")


def test_all_output_of_a_command_comes_whole_and_in_order(sandbox):
    with sandbox.terminal("seq 20000") as terminal:
        assert b"".join(terminal).split() == [b"%d" % number for number in range(1, 20001)]
    assert (terminal.exit_code, terminal.dropped_bytes) == (0, 0)


def test_a_terminal_is_taken_up_elsewhere_read_and_killed(sandbox):
    made = sandbox.terminal(["python3", "-c", "print('up'); input(); print('on'); input()"])
    until(made, b"up")
    with sandbox.attach(made.id) as other:
        assert other.read() == b"up\r\n"
        assert other.read(timeout_seconds=0) == b""
        other.write("x\r")
        until(other, b"on")
    until(made, b"on")
    with pytest.raises(TimeoutError):
        made.wait(0.01)
    made.kill()
    assert made.wait(60) == 137
    assert list(made) == []
    made.close()


def test_a_command_that_is_not_there_is_refused_with_a_sentence(sandbox):
    with pytest.raises(InvalidArgumentError, match="nope") as caught:
        sandbox.terminal(["nope-nope"])
    assert caught.value.details == {"exit_code": 127}
    with pytest.raises(NotFoundError, match="no terminal"):
        sandbox.attach("pty_nope")
    with pytest.raises(InvalidArgumentError, match="cols"):
        sandbox.terminal(cols=0)


async def test_a_terminal_ends_with_its_sandbox_and_says_why(service):
    async with AsyncSandbox("python-minimal", host=service.url, api_key=service.key) as sandbox:
        terminal = await sandbox.terminal()
        output = aiter(terminal)
        await anext(output)
        await (await AsyncSandbox.connect(sandbox.id, host=service.url, api_key=service.key)).close()
        async for _ in output:
            pass
        assert terminal.exit_code is not None
        assert terminal.error
        with pytest.raises(GoneError):
            await terminal.write("x")
