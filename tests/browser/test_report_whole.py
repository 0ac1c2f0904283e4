"""A report with every option on: curve, renderer, own datamodels, clusters, class names."""

import re

import numpy as np
import pytest

from datamodels.analysis.report import ReportOptions, write_report
from datamodels.evaluation.curves import LearningCurve
from datamodels.regression.result import Datamodels
from tests.analysis.report_data import EVIL, make_study
from tests.browser.steps import PAGES, go, wait_for_heading

pytest.importorskip("jinja2")
pytest.importorskip("PIL")

N = 60  # training examples, which are the targets too
SIZES = np.array([10, 14, 20, 28, 40])
RENDERER = f"""
import numpy as np
from markupsafe import Markup

EVIL = {EVIL!r}


def show(part, index):
    if part == "train":
        return np.full((8, 8), index, np.uint8) if index % 2 else f"words of {{index}} {{EVIL}}"
    return Markup(
        f"<b>target {{index}}</b><script>document.title = 'evil'; alert(3)</script>"
        "<img src=x onerror='alert(4)'><svg onload='alert(5)'></svg>"
        "<a href='javascript:alert(6)'>here</a><iframe src='https://example.org'></iframe>"
    )
"""


def save_curve(folder):
    folder.mkdir()
    lds = 0.8 * (1 + 20 / SIZES) ** -0.5
    noise = 0.02 * np.random.default_rng(0).standard_normal((len(SIZES), 30))
    LearningCurve(
        sizes=SIZES,
        lds=np.tile(lds[:, None], N),
        mse=np.tile(1 - lds[:, None] ** 2, N),
        variance=np.ones(N),
        nonzeros=np.full(len(SIZES), 12.0),
        resampled=lds[:, None] + noise,
        n_held_out=20,
    ).save(folder)


def save_clusters(folder, rng):
    folder.mkdir()
    directions = np.linalg.qr(rng.standard_normal((N, 2)))[0]
    np.savez(folder / "components.npz", clusters=np.arange(N) % 3, members="training examples",
             scores=rng.standard_normal((N, 2)), directions=directions,
             explained=np.array([0.3, 0.1]))  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory, chromium):
    folder = tmp_path_factory.mktemp("whole")
    study = make_study(folder, n_train=N, n_targets=N, nonzero=20)
    rng = np.random.default_rng(0)
    models = Datamodels.load(folder / "datamodels.pt")
    weight = models.weight.copy()
    np.fill_diagonal(weight, rng.uniform(5, 9, N))
    Datamodels(weight, models.bias, models.lam).save(folder / "own.pt")
    save_curve(folder / "curve")
    save_clusters(folder / "clusters", rng)
    np.save(folder / "labels.npy", np.arange(N) % 3)
    (folder / "classes.txt").write_text("cat\ndog\nowl\n")
    (folder / "my_renderer_of_all.py").write_text(RENDERER)
    options = study.options(
        datamodels=str(folder / "own.pt"),
        test_labels=str(folder / "labels.npy"),
        class_names=str(folder / "classes.txt"),
        renderer="my_renderer_of_all:show",
        own=str(folder / "own.pt"),
        curve=str(folder / "curve"),
        clusters=str(folder / "clusters"),
        exclude_own=True,
        rows="20-59",
        k=5,
        title="All of it",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        return write_report(ReportOptions(**options), folder / "report.html")


@pytest.fixture
def page(whole, visitor):
    return visitor.open(whole)


def test_every_section_opens_and_nothing_of_the_renderer_runs(page):
    for name in PAGES:
        go(page, name)
        assert "evil" not in page.title()
        assert page.locator("main :is(script, iframe, svg[onload], [onerror])").count() == 0


def test_the_learning_curve_is_drawn_and_can_be_read_as_a_table(page):
    chart = page.get_by_role("img", name=re.compile("Learning curve: LDS .* with 40 models"))
    assert chart.is_visible()
    assert chart.locator(".forecast").count() == 1
    assert chart.locator("circle").count() == len(SIZES)
    page.get_by_text("As a table").click()
    rows = page.locator("#overview tbody tr")
    assert rows.locator("th").all_inner_texts() == [str(n) for n in SIZES]
    assert re.fullmatch(r"0\.\d{3} to 0\.\d{3}", rows.nth(0).locator("td").nth(1).inner_text())
    assert page.get_by_text("The dashed line is the saturating law").is_visible()


def test_words_and_markup_of_the_renderer_are_shown(page):
    go(page, "target=3")
    subject = page.locator(".subject .markup")
    assert subject.locator("b").inner_text() == "target 3"
    assert "alert" not in subject.inner_text()
    go(page, "example=4")
    wait_for_heading(page, "Training example 4")
    assert page.locator(".subject .words").inner_text() == f"words of 4 {EVIL}"
    go(page, "example=5")
    wait_for_heading(page, "Training example 5")
    assert page.get_by_role("img", name="Training example 5, label owl").is_visible()


def test_own_datamodels_rank_labels_and_own_weights_are_left_out(page):
    go(page, "mislabelled")
    assert page.get_by_role("button", name="Self-influence").is_visible()
    go(page, "overview")
    assert "Targets are the training examples here" in page.locator("#overview").inner_text()
    for target in (0, 7):
        go(page, f"target={target}")
        wait_for_heading(page, f"Target {target}")
        members = page.locator(".tiles .number").all_inner_texts()
        assert len(members) == 10
        assert f"#{target}" not in members


def test_clusters_are_those_of_the_folder(page):
    go(page, "components")
    assert page.locator(".component h2").count() == 5
    assert page.get_by_role("heading", name="Cluster 2 20 training examples").is_visible()


def test_words_have_room_wherever_they_stand(page):
    for name in ("components", "target=3", "example=4"):
        go(page, name)
        widths = page.locator("#view .tiles .words").evaluate_all(
            "boxes => boxes.map(box => box.clientWidth)"
        )
        assert min(widths) > 120, name


@pytest.mark.parametrize("width", [320, 1100])
def test_it_needs_no_sideways_scrolling(whole, visitor, width):
    page = visitor.open(whole, viewport={"width": width, "height": 740})
    for name in PAGES:
        go(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
