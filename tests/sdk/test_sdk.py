"""The TypeScript SDK in static/sdk: its own tests under Node.js against the real service, its package, its pages.

Needs Node.js 20 or one that static/node.py brings along, and the packages of static/package-lock.json, which are
installed when they are not there.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from podflare_nb.integrations import code_tool
from tests.integrations.docs_blocks import Block, blocks
from tests.provider_servers import calls, provider_in_thread, says

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "static"
SDK = STATIC / "sdk"
MAJORS = STATIC / "ai-majors"
BOUND_SECONDS = 120
INSTEAD_OF_OPENAI = """
const send = fetch;
const place = (url) => String(url).replace("https://api.openai.com/v1", process.env.OPENAI_BASE_URL);
globalThis.fetch = (url, options) => send(place(url), options);
"""
"""The OpenAI package of `ai` 4 does not read OPENAI_BASE_URL."""

sys.path.append(str(STATIC))

from node import Node, install_command, node  # noqa: E402 - found by the line above


def run(*command: object, cwd: Path = STATIC, env: dict[str, str] | None = None) -> str:
    """What it printed; fails with that when the command does."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, check=False, text=True, timeout=BOUND_SECONDS,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def nodejs() -> Node:
    """Node.js, with the packages of the lock file in place."""
    found = node()
    if install := install_command(found):
        run(*install, env=found.env)
    return found


@pytest.fixture(scope="session", autouse=True)
def tarball(nodejs, tmp_path_factory) -> Path:
    """The package as it is published; making it builds what the tests use."""
    folder = tmp_path_factory.mktemp("package")
    # By name, too: a machine may be set to run no scripts by themselves, and then packing builds nothing.
    run(*nodejs.npm, "run", "--silent", "prepack", "--workspace", "podflare-nb", env=nodejs.env)
    pack = [*nodejs.npm, "pack", "--silent", "--workspace", "podflare-nb", "--pack-destination"]
    return folder / run(*pack, folder, env=nodejs.env).split()[-1]


@pytest.fixture
def env(service, nodejs) -> dict[str, str]:
    """As a reader of the documentation has it: host and key come from the environment."""
    kept = {
        name: value for name, value in nodejs.env.items() if not name.startswith(("PODFLARE_", "OPENAI_", "ANTHROPIC_"))
    }
    told = {"PODFLARE_NB_URL": service.url, "PODFLARE_NB_API_KEY": service.key, "OPENAI_AGENTS_DISABLE_TRACING": "1"}
    return kept | told


def tsc() -> Path:
    return SDK / "node_modules" / "typescript" / "bin" / "tsc"


def compiled(nodejs: Node, *sources: Path) -> list[Path]:
    """TypeScript to what Node.js 20 runs, in a folder ``dist`` beside it; types are checked apart from this."""
    run(nodejs.program, SDK / "test" / "compile.mjs", *sources, env=nodejs.env)
    return [source.parent / "dist" / source.with_suffix(".js").name for source in sources]


def written(folder: Path, page_blocks: list[Block]) -> list[Path]:
    """Each block as a module of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{block.page.stem}_{block.line}.ts" for block in page_blocks]
    for file, block in zip(files, page_blocks, strict=True):
        file.write_text(block.source)
    return files


def typed(nodejs: Node, folder: Path, *files: Path) -> None:
    """Check the types as a careful project has them checked, and emit what runs."""
    strict = ["--strict", "--target", "ES2022", "--module", "NodeNext", "--outDir", folder / "dist"]
    run(nodejs.program, tsc(), *strict, "--lib", "ES2022,DOM,DOM.AsyncIterable", *files, cwd=folder, env=nodejs.env)


def needs_a_framework(block: Block) -> bool:
    return bool(re.search(r'from "(?!podflare-nb")', block.source))


def test_its_own_tests_pass(nodejs, env):
    sources = [*SDK.glob("test/*.ts"), *MAJORS.glob("*/*.test.ts")]
    tests = [file for file in compiled(nodejs, *sources) if file.name.endswith(".test.js")]
    run(
        nodejs.program,
        "--test",
        "--test-concurrency=2",
        "--test-reporter=spec",
        f"--test-timeout={BOUND_SECONDS}000",
        *tests,
        env=env,
    )


@pytest.fixture(scope="session")
def project(nodejs, tarball, tmp_path_factory) -> Path:
    """An empty project into which the package is installed, and nothing else."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text('{"name": "empty", "private": true, "type": "module"}')
    run(*nodejs.npm, "install", "--offline", "--no-audit", "--no-fund", tarball, cwd=folder, env=nodejs.env)
    assert [path.name for path in (folder / "node_modules").iterdir() if path.name[0] != "."] == ["podflare-nb"]
    return folder


def test_an_empty_project_installs_the_package_and_runs_its_page_of_the_documentation(nodejs, env, project):
    page = [block for block in blocks("integrations/typescript.md", "ts") if not needs_a_framework(block)]
    files = written(project, page)
    typed(nodejs, project, *files)
    printed = [run(nodejs.program, f"dist/{file.stem}.js", cwd=project, env=env) for file in files]
    assert len(printed) == 7
    for block, output in zip(page, printed, strict=True):
        promised = re.findall(r"^ *(?:if .*)?console\.log\(.*// (.+)$", block.source, re.MULTILINE)
        assert [line for line in promised if line not in output] == []


def test_the_package_holds_no_sources_of_tests_and_needs_no_other_package(project):
    package = project / "node_modules" / "podflare-nb"
    names = {path.relative_to(package).parts[0] for path in package.rglob("*") if path.is_file()}
    assert names == {"README.md", "dist", "package.json"}
    foreign = [
        (path.name, name)
        for path in package.glob("dist/*.js")
        for name in re.findall(r'from "([^."][^"]*)"', path.read_text())
    ]
    assert foreign == [("openai_agents.js", "@openai/agents")]


def test_the_page_shows_how_agents_and_anthropic_use_it(nodejs, env):
    page = [block for block in blocks("integrations/typescript.md", "ts") if needs_a_framework(block)]
    assert len(page) == 2
    for file in compiled(nodejs, *written(SDK / "test" / "dist", page)):
        with provider_in_thread() as provider:
            tool = "code_execution" if "runToolLoop" in file.read_text() else "run_code"
            provider.will(calls(tool, code="x = 111; x * x"), says("It is 12321."))
            told = run(nodejs.program, file, env=env | provider.env("openai") | provider.env("anthropic"))
            assert told.splitlines()[-1] == "It is 12321."
            assert "12321" in str(provider.requests[1])


@pytest.mark.parametrize("major", [4, 5, 6, 7])
def test_the_vercel_page_runs_with_each_major_and_its_own_provider_package(nodejs, env, major):
    page = blocks("integrations/vercel-ai-sdk.md", "ts")
    chosen = [block for block in page if ("maxSteps" in block.source) == (major == 4)]
    assert len(chosen) == (1 if major == 4 else 2)
    for file in compiled(nodejs, *written(MAJORS / f"ai{major}" / "dist", chosen)):
        with provider_in_thread() as provider:
            provider.will(calls("runCode", code="111 * 111"), says("It is 12321."))
            to_provider = ["--import", f"data:text/javascript,{INSTEAD_OF_OPENAI}"] if major == 4 else []
            told = run(nodejs.program, *to_provider, file, env=env | provider.env("openai"))
            assert told.splitlines()[-1] == "It is 12321."
            assert "12321" in str(provider.requests[1])


def test_it_is_the_same_tool_as_pythons(nodejs):
    script = (
        'import { codeExecutionTool } from "podflare-nb/anthropic"; console.log(JSON.stringify(codeExecutionTool()))'
    )
    tool = json.loads(run(nodejs.program, "--input-type=module", "--eval", script, cwd=SDK, env=nodejs.env))
    assert (tool["description"], tool["input_schema"]) == (code_tool.DESCRIPTION, code_tool.INPUT_SCHEMA)


def test_a_browser_runs_it_as_it_is(service):
    """As modules, unbundled, on the service's own origin."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.route("**/sdk/**", lambda route: route.fulfill(**asset(route.request.url)))
        page.goto(f"{service.url}/sdk/index.html")
        told = page.evaluate(
            """async ([host, apiKey]) => {
                const { Sandbox } = await import("./index.js");
                const sandbox = await Sandbox.create({ host, apiKey });
                const lines = [];
                for await (const event of sandbox.stream("print('from a page')")) lines.push(event.data);
                await sandbox.files.write("a.txt", "text");
                const text = await sandbox.files.readText("a.txt");
                await sandbox.close();
                return [...lines, text];
            }""",
            [service.url, service.key],
        )
        browser.close()
    assert told == ["from a page", 0, "text"]


def asset(url: str) -> dict[str, str]:
    name = url.rpartition("/")[2]
    if name == "index.html":
        return {"content_type": "text/html", "body": "<title>sdk</title>"}
    if not (SDK / "dist" / name).exists():
        return {"content_type": "text/javascript", "body": f"throw new Error('there is no {name}');"}
    return {"content_type": "text/javascript", "body": (SDK / "dist" / name).read_text()}
