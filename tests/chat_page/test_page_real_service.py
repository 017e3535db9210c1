"""The main jobs on the page, against the real service and real kernels: a CSV plotted, a run stopped, branches."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import nbformat
from chat_page import open_page, outputs, send
from playwright.sync_api import Page, expect

CSV = "month,rain\n" + "".join(f"{month},{(month * 37) % 90}\n" for month in range(1, 13))
LOAD = "import pandas as pd\nrain = pd.read_csv('rain.csv')\nrain.head(3)"
PLOT = "And now as a picture:\n```python\nrain.plot.bar(x='month', y='rain', legend=False);\n```"
KERNEL_MS = 60_000


def test_a_csv_is_loaded_and_plotted_and_the_picture_is_seen(page: Page, service):
    open_page(page, f"{service.url}?token={service.key}")
    assert service.key not in page.url
    page.locator("input[type=file]").set_input_files(
        {"name": "rain.csv", "mimeType": "text/csv", "buffer": CSV.encode()}
    )
    expect(page.locator(".chip[data-file]")).to_contain_text("rain.csv")

    send(page, LOAD)
    expect(outputs(page).get_by_role("cell", name="37")).to_be_visible(timeout=KERNEL_MS)
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    page.get_by_label("Message", exact=True).fill(PLOT)
    page.get_by_role("button", name="Send").click()
    picture = outputs(page).locator("img")
    expect(picture).to_be_visible(timeout=KERNEL_MS)
    assert picture.evaluate("one => one.decode().then(() => one.naturalWidth)") > 300

    page.reload()
    expect(outputs(page).locator("img")).to_be_visible()
    page.get_by_role("button", name="Download the notebook").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Notebook").click()
    notebook = nbformat.from_dict(json.loads(download.value.path().read_text()))
    nbformat.validate(notebook)
    assert [cell.metadata.podflare_nb.role for cell in notebook.cells] == ["user", "tool", "user", "tool"]


def test_a_long_run_is_stopped_from_the_page_and_the_kernel_lives_on(page: Page, service):
    open_page(page, f"{service.url}?token={service.key}")
    send(page, "kept = 41\nprint('started', flush=True)\nimport threading\nthreading.Event().wait(600)")
    expect(outputs(page)).to_contain_text("started", timeout=KERNEL_MS)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Send")).to_be_visible(timeout=KERNEL_MS)

    send(page, "print(kept + 1)")
    expect(outputs(page)).to_have_text("42", timeout=KERNEL_MS)


def test_turns_that_failed_or_were_stopped_read_the_same_after_a_reload(page: Page, service):
    open_page(page, f"{service.url}?token={service.key}")
    send(page, "1 / 0")
    problems = page.locator(".turn-problem")
    expect(problems).to_have_text(["Stopped: the code ended with an error."], timeout=KERNEL_MS)
    send(page, "print('started', flush=True)\nimport threading\nthreading.Event().wait(600)")
    expect(outputs(page)).to_contain_text("started", timeout=KERNEL_MS)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Send")).to_be_visible(timeout=KERNEL_MS)
    expect(problems).to_have_count(2)
    said = without_times(page.locator(".cells").inner_text())

    page.reload()

    expect(problems).to_have_count(2)
    assert without_times(page.locator(".cells").inner_text()) == said


def test_what_another_client_ran_during_a_turn_is_shown_after_it_and_the_rest_stays_as_it_was(page: Page, service):
    open_page(page, f"{service.url}?token={service.key}")
    send(page, "for line in range(100): print(line)")
    page.get_by_role("button", name="Show all 100 lines").click(timeout=KERNEL_MS)
    sandbox = f"{service.url}/v1/sandboxes/{page.url.partition('#')[2]}"
    wait = "import os\nprint('waits', flush=True)\nwhile not os.path.exists('go'): pass"
    send(page, f"```python\n{wait}\n```\nand\n```python\nprint('own')\n```")
    expect(outputs(page)).to_have_text("waits", timeout=KERNEL_MS)

    headers = {"Authorization": f"Bearer {service.key}"}
    with httpx.Client(headers=headers, timeout=60) as api, ThreadPoolExecutor() as others:
        ran = others.submit(api.post, f"{sandbox}/exec", json={"code": "print('from ' + 'elsewhere')"})
        api.put(f"{sandbox}/files/go", content=b"")
        assert ran.result().status_code == 200

    expect(page.locator(".cell-code .outputs").get_by_text("from elsewhere")).to_be_visible(timeout=KERNEL_MS)
    expect(page.locator(".cell-code .outputs").get_by_text("own", exact=True)).to_be_visible()
    expect(page.locator(".cell-code .outputs").first).to_contain_text("50")
    expect(page.get_by_role("button", name="Show less")).to_be_visible()


def without_times(text: str) -> str:
    """What is said, without how long a run took, which the page and the notebook have from two clocks."""
    return re.sub(r" · [\d.]+ m?s", "", text)


def test_a_sandbox_is_forked_compared_merged_and_rewound(page: Page, service):
    open_page(page, f"{service.url}?token={service.key}")
    page.get_by_role("button", name="New sandbox from a template").click()
    page.get_by_role("menuitem", name="With options").click()
    page.get_by_role("dialog").get_by_label("Turns to keep").press("Enter")
    expect(page.locator(".title-detail")).to_contain_text("ready", timeout=KERNEL_MS)
    run(page, "limit = 60", 1)
    run(page, "wettest = 90", 2)
    expect(page.get_by_role("button", name="Rewind to here")).to_have_count(1)

    page.get_by_role("button", name="Branches", exact=True).click()
    panel = page.get_by_role("complementary", name="Branches of the sandbox")
    panel.get_by_role("button", name="Fork").click()
    page.get_by_role("menuitem", name="One branch").click()
    panel.get_by_role("link", name="Branch 1").click(timeout=KERNEL_MS)
    expect(page.locator(".title-detail")).to_contain_text("Branch 1")
    expect(page.locator(".cell-code")).to_have_count(2)
    run(page, "limit = 63.5; open('limit.txt', 'w').write('63.5')", 3)

    panel.get_by_role("button", name="Compare Main with Branch 1").click()
    dialog = page.get_by_role("dialog")
    values = dialog.get_by_role("row").filter(has_text="limit").first.get_by_role("cell")
    expect(values).to_have_text([re.compile("63.5"), re.compile("60")], timeout=KERNEL_MS)
    expect(dialog.get_by_role("table", name="Files").get_by_role("row")).to_contain_text("limit.txt")
    dialog.get_by_role("button", name="Keep Branch 1").click()
    page.get_by_role("dialog").get_by_role("button", name="Merge").click()
    expect(panel.get_by_role("link", name="Branch 1")).to_contain_text("merged into Main", timeout=KERNEL_MS)
    expect(page.locator(".cell-code")).to_have_count(3)
    run(page, "print(limit, open('limit.txt').read())", 4)
    expect(outputs(page)).to_have_text("63.5 63.5")

    page.get_by_role("button", name="Rewind to here").first.click()
    expect(page.locator(".cell-code")).to_have_count(1, timeout=KERNEL_MS)
    run(page, "import os; print(limit, 'wettest' in dir(), os.path.exists('limit.txt'))", 2)
    expect(outputs(page)).to_have_text("60 False False")

    panel.get_by_role("button", name="Merge Branch 2 into Main").click()
    page.get_by_role("dialog").get_by_role("button", name="Merge").click()
    expect(page.locator(".branch-badge:visible")).to_have_text(
        ["replaced by a merge", *["from a branch"] * 3], timeout=KERNEL_MS
    )
    run(page, "print(limit, wettest)", 6)
    expect(outputs(page)).to_have_text("63.5 90")


def test_a_terminal_is_used_beside_the_notebook_and_survives_a_reload(page: Page, service):
    open_page(page, f"{service.url}?token={service.key}")
    page.keyboard.press("Control+`")
    screen = page.locator(".terminal-pane:visible .xterm-rows")
    expect(screen).to_contain_text("/workspace#", timeout=KERNEL_MS)
    page.keyboard.type("tty; echo size: $(stty size); kept=$((6*7))")
    page.keyboard.press("Enter")
    expect(screen).to_contain_text("/dev/pts/", timeout=KERNEL_MS)
    rows = screen.locator("> div").count()
    expect(screen).to_contain_text(re.compile(rf"size: {rows} \d+"))
    page.get_by_role("separator", name="Height of the terminals").press("ArrowUp")
    page.wait_for_function("before => document.querySelectorAll('.xterm-rows > div').length > before", arg=rows)
    page.reload()
    expect(screen).to_contain_text("/dev/pts/", timeout=KERNEL_MS)
    page.keyboard.press("Control+`")
    page.keyboard.type("echo still $kept; echo size: $(stty size); exit 3")
    page.keyboard.press("Enter")
    expect(screen).to_contain_text(re.compile("still 42"), timeout=KERNEL_MS)
    expect(page.locator(".terminal-note")).to_contain_text("It ended with exit code 3.", timeout=KERNEL_MS)
    expect(screen).to_contain_text(re.compile(rf"size: {screen.locator('> div').count()} \d+"))


def run(page: Page, message: str, cells: int) -> None:
    """Send a message and wait until the notebook has so many cells of code, all of them done."""
    send(page, message)
    expect(page.locator(".cell-code:not([data-status=running])")).to_have_count(cells, timeout=KERNEL_MS)
    expect(page.get_by_role("button", name="Send")).to_be_visible(timeout=KERNEL_MS)
