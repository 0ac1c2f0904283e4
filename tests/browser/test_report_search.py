"""What is found, in which order, and on which scale: leaks, components, clusters, weights."""

import re

import numpy as np
import pytest

from datamodels.analysis.report import ReportOptions, write_report
from datamodels.analysis.reporting.gathering import gather_report
from datamodels.regression.result import Datamodels
from tests.analysis.report_data import make_study
from tests.browser.steps import go, wait_for_heading

pytest.importorskip("jinja2")
pytest.importorskip("PIL")

LEAKS = {5: 17, 9: 80, 12: 41, 17: 3}  # target: training example, of far too large a weight


@pytest.fixture(scope="module")
def leaky(tmp_path_factory, chromium):
    """A page whose leaks are LEAKS; the harmful weights of target 0 are a tenth of its helpful."""
    folder = tmp_path_factory.mktemp("leaky")
    study = make_study(folder, n_train=120, n_targets=40, nonzero=30)
    models = Datamodels.load(folder / "datamodels.pt")
    weight = models.weight.copy()
    for target, example in LEAKS.items():
        weight[example, target] = 40.0 + target
    weight[:, 0] = 0
    weight[:10, 0] = np.linspace(0.5, 0.1, 10)
    weight[10:20, 0] = -np.linspace(0.05, 0.01, 10)
    Datamodels(weight, models.bias, models.lam).save(folder / "leaky.pt")
    options = ReportOptions(**study.options(datamodels=str(folder / "leaky.pt")))
    return write_report(options, folder / "report.html"), gather_report(options)


def rows(page):
    return page.locator("#view tbody th").all_inner_texts()


@pytest.mark.parametrize(
    ("query", "targets"),
    [
        ("#80", ["#9"]),
        ("80", ["#9"]),
        ("#17", ["#17", "#5"]),  # a target, and the example of another
        ("example=41", ["#12"]),
        ("example<=17", ["#17", "#5"]),
        ("target>9", ["#17", "#12"]),
    ],
)
def test_leaks_are_found_by_either_number(leaky, visitor, query, targets):
    page = visitor.open(leaky[0])
    go(page, "leaks")
    page.get_by_role("searchbox").fill(query)
    assert [row for row in rows(page) if int(row[1:]) in LEAKS] == targets


def test_leaks_are_ordered_by_the_numbers_of_examples(leaky, visitor):
    page = visitor.open(leaky[0])
    go(page, "leaks")
    page.get_by_role("button", name="Example").click()
    shown = page.locator("#view tbody tr td:nth-child(5)").all_inner_texts()
    numbers = [int(text[1:]) for text in shown if text.startswith("#")]
    assert len(numbers) >= len(LEAKS)
    assert numbers == sorted(numbers)


def cards(page):
    return page.locator("#view .component h2").all_inner_texts()


def test_components_and_clusters_are_searched_and_ordered(leaky, visitor):
    path, content = leaky
    page = visitor.open(path)
    go(page, "components")
    assert len(cards(page)) == len(content.components) + len(content.clusters)
    example = int(content.clusters[4].members[0])
    search = page.get_by_role("searchbox")
    search.fill(f"#{example}")
    ends = [{*c.low, *c.high, *c.low_targets, *c.high_targets} for c in content.components]
    expected = [f"Component {i}" for i, both in enumerate(ends) if example in both]
    expected += [f"Cluster {i}" for i, c in enumerate(content.clusters) if example in c.members]
    assert "Cluster 4" in expected
    assert [re.match(r"\w+ \d+", text)[0] for text in cards(page)] == expected
    search.fill("cluster size>10")
    large = [f"Cluster {i}" for i, found in enumerate(content.clusters) if found.size > 10]
    assert [re.match(r"\w+ \d+", text)[0] for text in cards(page)] == large
    search.fill("nothing of this name")
    assert cards(page) == []
    assert page.locator(".empty").inner_text() == "Nothing matches."
    search.fill("cluster")
    page.get_by_role("combobox", name="Order").select_option("smallest clusters first")
    sizes = [int(re.search(r"(\d+) training", text)[1]) for text in cards(page)]
    assert sizes == sorted(found.size for found in content.clusters)
    assert "sort=size" in page.url


def test_a_cluster_leads_to_all_of_its_members(leaky, visitor):
    path, content = leaky
    page = visitor.open(path)
    go(page, "components")
    size = content.clusters[1].size
    page.get_by_role("link", name=re.compile(r"of cluster 1\b")).click()
    wait_for_heading(page, "Training examples")
    assert page.get_by_role("searchbox").input_value() == "cluster=1"
    assert page.locator("#view tbody th").count() == size


def test_bars_of_both_lists_of_weights_are_on_one_scale(leaky, visitor):
    page = visitor.open(leaky[0])
    go(page, "target=0")
    widths = page.locator("#view .meter i").evaluate_all(
        "bars => bars.map(bar => parseFloat(bar.style.width))"
    )
    assert max(widths[:8]) == 100
    assert max(widths[8:]) == pytest.approx(10, abs=0.1)
