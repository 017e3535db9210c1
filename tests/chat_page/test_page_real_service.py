"""The main job on the page, against the real service and a real kernel: load a CSV, plot it, see the picture."""

import json

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
