"""Keys of the report: what they act on, what they leave to the browser, and switching them off."""

import pytest

from tests.browser.steps import go, wait_for_heading

pytest.importorskip("jinja2")
pytest.importorskip("PIL")

PHONE = {"width": 320, "height": 740}


def open_overview_from(page, name):
    go(page, name)
    page.get_by_role("link", name="Overview").click()
    wait_for_heading(page, "A report of nothing")


@pytest.mark.parametrize("name", ["targets", "target=3"])
def test_keys_on_the_overview_leave_the_section_before_it_alone(report, visitor, name):
    page = visitor.open(report, viewport={"width": 800, "height": 300})
    open_overview_from(page, name)
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    assert page.url.endswith("#overview")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("() => window.scrollY > 0")


def test_slash_on_the_overview_searches_the_targets(report, visitor):
    page = visitor.open(report)
    open_overview_from(page, "examples")
    page.keyboard.press("/")
    page.wait_for_selector("#search:focus")
    wait_for_heading(page, "Targets")
    assert page.locator("#search").is_visible()


def test_arrows_scroll_a_table_that_is_wider_than_the_window(report, visitor):
    page = visitor.open(report, viewport=PHONE)
    go(page, "targets")
    page.locator("#view .scroll").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#view .scroll').scrollLeft > 0")
    assert "page=2" not in page.url


def test_arrows_turn_the_pages_of_a_table_that_fits(report, visitor):
    page = visitor.open(report)
    go(page, "targets")
    page.locator("#view .scroll").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => location.hash.includes('page=2')")


def test_keys_of_one_character_can_be_switched_off_for_good(report, visitor):
    page = visitor.open(report)
    go(page, "targets")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    page.get_by_role("checkbox", name="single character").uncheck()
    page.keyboard.press("Escape")
    theme = page.evaluate("document.documentElement.dataset.theme ?? null")
    for key in ("d", "?", "g", "c", "/"):
        page.keyboard.press(key)
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.dataset.theme ?? null") == theme
    assert page.locator("dialog[open]").count() == 0
    assert page.locator("#search:focus").count() == 0
    wait_for_heading(page, "Targets")
    page.keyboard.press("ArrowRight")  # no character
    page.wait_for_function("() => location.hash.includes('page=2')")
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    page.keyboard.press("?")
    assert page.locator("dialog[open]").count() == 0
    page.get_by_role("button", name="Keyboard shortcuts").click()
    page.get_by_role("checkbox", name="single character").check()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("dialog[open]").count() == 1
