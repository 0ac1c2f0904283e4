"""A headless Chromium. DATAMODELS_REQUIRE=browser makes its lack a failure."""

import os
import shutil

import pytest

_REQUIRED = "browser" in os.environ.get("DATAMODELS_REQUIRE", "")


@pytest.fixture(scope="session")
def chromium():
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "playwright is not installed: pip install playwright"
    else:
        missing = None if executable else "chromium is not installed: apt-get install chromium"
    if missing:
        (pytest.fail if _REQUIRED else pytest.skip)(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visitor:
    """Opens pages; notes all that a page asks the network for, and every error on its console."""

    def __init__(self, browser):
        self._browser = browser
        self._contexts = []
        self.requests = []
        self.errors = []

    def open(self, path, **options):
        context = self._browser.new_context(**options)
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: said.type in ("error", "warning")
                and self.errors.append(said.text))  # fmt: skip
        page.on("dialog", self._note_dialog)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    def _note_dialog(self, dialog):
        self.errors.append(f"a script that is not the page's own ran: {dialog.message}")
        dialog.dismiss()

    def close(self):
        for context in self._contexts:
            context.close()


@pytest.fixture
def visitor(chromium):
    """Whatever a test does, no error and no request to the network may come of it."""
    visitor = Visitor(chromium)
    yield visitor
    visitor.close()
    assert visitor.errors == []
    assert [url for url in visitor.requests if not url.startswith(("file:", "data:"))] == []


@pytest.fixture(scope="session")
def report(tmp_path_factory, chromium):
    """The page of a study, with the files it was made from beside it."""
    from datamodels.analysis.report import ReportOptions, write_report
    from tests.analysis.report_data import make_study

    folder = tmp_path_factory.mktemp("report")
    study = make_study(folder, n_train=120, n_targets=80, nonzero=30)
    options = ReportOptions(**study.options(title="A report of nothing"))
    return write_report(options, folder / "report.html")
