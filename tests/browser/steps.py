"""What visitors of a report do."""

SECTIONS = ("overview", "targets", "examples", "components", "mislabelled", "leaks")
PAGES = (*SECTIONS, "target=3", "example=4")


def go(page, name):
    page.evaluate("hash => { location.hash = hash }", name)
    section = "overview" if name == "overview" else "view"
    page.wait_for_function(
        "([hash, id]) => location.hash.startsWith('#' + hash)"
        " && !document.getElementById(id).hidden",
        arg=[name, section],
    )


def heading(page):
    return page.locator("main .view:not([hidden]) h1").first.inner_text()


def wait_for_heading(page, text):
    page.wait_for_function(
        "text => document.querySelector('main .view:not([hidden]) h1').textContent.includes(text)",
        arg=text,
    )
