"""The report's content and its one file; how it looks and behaves is in tests/browser."""

import base64
import io
import json
import re

import numpy as np
import pytest

from datamodels.analysis.report import ReportOptions, write_report
from datamodels.analysis.reporting.content import NOBODY
from datamodels.analysis.reporting.gathering import gather_report
from datamodels.analysis.reporting.markup import safe_html
from datamodels.analysis.reporting.packing import pack_array, to_levels
from datamodels.analysis.reporting.sprites import images_to_pixels, make_sheets
from datamodels.errors import DatamodelsError, ExistsError, InputError, UsageError
from datamodels.evaluation.extrapolation import Estimate
from datamodels.evaluation.scoring import score_weights
from datamodels.regression.result import Datamodels
from datamodels.training.store import Store
from tests.analysis.report_data import EVIL, make_study
from tests.conftest import assert_fails

pytest.importorskip("jinja2")
pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def content(study):
    return gather_report(ReportOptions(**study.options(k=3)))


def test_ranked_examples_are_those_of_the_datamodels(study, content):
    models = Datamodels.load(study.options()["datamodels"])
    for place, target in enumerate(content.targets.index):
        for half, ranked in zip((slice(3), slice(3, 6)), models.top(target, 3), strict=True):
            shown = content.targets.examples[place, half]
            assert shown[shown != NOBODY].tolist() == ranked.examples.tolist()
            weights = content.targets.weights[place, half][shown != NOBODY]
            assert np.array_equal(weights, ranked.weights)


def test_strongest_targets_of_an_example_are_the_extremes_of_its_row(study, content):
    weight = Datamodels.load(study.options()["datamodels"]).weight
    examples = content.examples
    for place, example in enumerate(examples.detailed):
        raised = examples.targets[place, :3]
        best = np.sort(weight[example][weight[example] > 0])[::-1][:3]
        assert np.array_equal(weight[example, raised[raised != NOBODY]], best)


def test_scores_are_those_of_the_lds_command(study, content):
    models = Datamodels.load(study.options()["datamodels"])
    store = Store.open(study.options()["store"])
    masks, outputs = store["masks"][:], store["margins"][:]
    expected = score_weights(models.weight, masks, outputs, n_resamples=0)
    assert content.score.lds == pytest.approx(expected.mean)
    assert np.allclose(content.all_lds, expected.per_target)
    assert np.allclose(content.targets.columns["r2"], models.score(masks, outputs), atol=1e-5)


def test_scatter_points_are_within_a_level_of_the_outputs(study, content):
    outputs = Store.open(study.options()["store"])["margins"][:]
    scatter = content.scatter
    width = (scatter.high - scatter.low)[:, None]
    assert np.allclose(scatter.low[:, None] + scatter.actual / 65535 * width, outputs.T,
                       atol=float(width.max()) / 65535)  # fmt: skip


def test_targets_may_be_chosen_and_keep_their_numbers(study):
    some = gather_report(ReportOptions(**study.options(targets="3,7-9")))
    assert some.targets.index.tolist() == [3, 7, 8, 9]
    assert some.n_targets == 30
    assert len(some.all_lds) == 30


def test_without_held_out_models_it_says_how_to_get_a_score(tmp_path, run):
    study = make_study(tmp_path)
    fitted = run("regression.compute_datamodels", f"--data.data_path={tmp_path / 'store'}",
                 "--data.num_train=50", "--data.num_val=10", "--cfg.k=5", "--cfg.eps=0.1",
                 f"--cfg.out_dir={tmp_path / 'fit'}")  # fmt: skip
    assert fitted.returncode == 0, fitted.stderr
    options = study.options(datamodels=str(tmp_path / "fit" / "datamodels.pt"))
    shown = gather_report(ReportOptions(**options))
    assert shown.score is None
    assert "train more models" in shown.remedies["score"]
    titles = {facts.title: dict(facts.rows) for facts in shown.facts}
    assert "60, of them 10 held out" in titles["Fitted"]["Models used"]
    page = write_report(ReportOptions(**options), tmp_path / "report.html").read_text()
    assert "There is no score." in page


def spoilt(study, change):
    """The study with its stored outputs changed in place."""
    outputs = np.load(study.folder / "store" / "margins.npy", mmap_mode="r+")
    change(outputs)
    outputs.flush()
    return study


def set_nan(outputs):
    outputs[4, 7] = np.nan


def set_infinite(outputs):
    outputs[4, 7] = -np.inf


def set_constant(outputs):
    outputs[:] = 2.0


@pytest.mark.filterwarnings("ignore:it is not known which rows")
@pytest.mark.parametrize(
    ("n_models", "change", "reason"),
    [
        (1, None, "1 model to score on"),
        (2, None, "2 models to score on, and a rank correlation needs 3 or more"),
        (20, set_nan, "outputs of row 4 are NaN at target 7"),
        (20, set_constant, "no output varies over the 20 models"),
    ],
)
def test_models_that_cannot_be_ranked_leave_the_rest_of_the_page(
    tmp_path, n_models, change, reason
):
    study = make_study(tmp_path, n_models=n_models)
    if change is not None:
        spoilt(study, change)
    options = ReportOptions(**study.options())
    shown = gather_report(options)
    assert (shown.score, shown.all_lds, shown.scatter) == (None, None, None)
    assert reason in shown.remedies["score"]
    assert len(shown.targets.index) == 30
    page = write_report(options, tmp_path / "report.html").read_text()
    assert "There is no score." in page
    assert reason in page


@pytest.mark.filterwarnings("ignore:it is not known which rows")
def test_an_infinite_output_is_ranked_and_drawn_at_the_edge(tmp_path):
    study = spoilt(make_study(tmp_path), set_infinite)
    shown = gather_report(ReportOptions(**study.options()))
    assert 0 < shown.all_lds[7] < 1
    assert np.isnan(shown.targets.columns["r2"][7])
    assert np.isfinite([shown.scatter.low, shown.scatter.high]).all()
    assert shown.scatter.actual[7, 4] == 0
    assert shown.scatter.actual[7].max() > 30_000


@pytest.mark.parametrize(
    ("rows", "needle"),
    [("3-4", "2 models to score on"), ("58-60", "rows 0 to 59"), ("x", "x")],
)
def test_rows_that_were_asked_for_and_cannot_be_scored_on_are_an_error(study, rows, needle):
    with pytest.raises(DatamodelsError, match=needle):
        gather_report(ReportOptions(**study.options(rows=rows)))


def words(page):
    """The text of a page as it is read."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


@pytest.mark.filterwarnings("ignore:it is not known which rows")
def test_it_says_where_outputs_are_means_over_the_trainings_of_a_mask(tmp_path):
    study = make_study(tmp_path)
    ids = np.arange(60) // 2
    np.save(tmp_path / "store" / "mask_id.npy", ids)
    masks = np.load(tmp_path / "store" / "masks.npy", mmap_mode="r+")
    masks[:] = masks[2 * ids]
    masks.flush()
    path = write_report(ReportOptions(**study.options()), tmp_path / "report.html")
    page = words(path.read_text().partition('id="payload"')[0])
    assert "30 masks, by mean outputs of 60 trainings," in page
    assert "median of the targets, of mean outputs of the masks scored on" in page


def test_it_says_whether_the_models_took_part_in_the_fit(tmp_path, run):
    study = make_study(tmp_path)
    fitted = run("regression.compute_datamodels", f"--data.data_path={tmp_path / 'store'}",
                 "--data.num_train=40", "--data.num_val=10", "--cfg.k=5", "--cfg.eps=0.1",
                 f"--cfg.out_dir={tmp_path / 'fit'}")  # fmt: skip
    assert fitted.returncode == 0, fitted.stderr
    of_fit = study.options(datamodels=str(tmp_path / "fit" / "datamodels.pt"))

    def page(name, options):
        path = write_report(ReportOptions(**options), tmp_path / f"{name}.html")
        return words(path.read_text().partition('id="payload"')[0])

    assert "10 that took no part in the fit" in page("unseen", of_fit)
    with pytest.warns(UserWarning, match="5 of the 10 rows took part"):
        some = page("some", of_fit | {"rows": "45-54"})
    assert "10 5 of them took part in the fit" in some
    assert "the scores are too good" in some
    unknown = page("unknown", study.options())
    assert "that took no part" not in unknown
    assert "It is not known which models these datamodels were fitted to" in unknown


def test_a_wrong_array_is_an_error_and_no_note(study):
    with pytest.raises(DatamodelsError, match="margin"):
        gather_report(ReportOptions(**study.options(y_name="margin")))


@pytest.fixture
def of_training_examples(tmp_path):
    """A study whose targets are its training examples, with themselves as strongest."""
    study = make_study(tmp_path, n_train=40, n_targets=40)
    models = Datamodels.load(study.options()["datamodels"])
    weight = models.weight.copy()
    np.fill_diagonal(weight, 9.0)
    weight[3, 3] = 30.0
    path = tmp_path / "own.pt"
    Datamodels(weight, models.bias, models.lam).save(path)
    return study.options(datamodels=str(path), k=3)


def test_own_weights_may_be_left_out(of_training_examples):
    shown = gather_report(ReportOptions(**of_training_examples, exclude_own=True))
    store = Store.open(of_training_examples["store"])
    weight = Datamodels.load(of_training_examples["datamodels"]).weight
    scored = score_weights(
        weight, store["masks"][:], store["margins"][:], exclude_own=True, n_resamples=0
    )
    assert shown.score.lds == pytest.approx(scored.mean, abs=1e-6)
    for own, ranked in zip(shown.targets.index, shown.targets.examples, strict=True):
        assert own not in ranked
    assert (shown.leaks.examples != shown.leaks.targets).all()
    assert shown.mislabelled.examples[0] == 3  # by self-influence, which these weights do tell
    assert "self-influence" in shown.mislabelled.columns


def test_own_weights_are_of_training_examples_alone(study):
    with pytest.raises(UsageError, match="30 targets are not the 48 training examples"):
        gather_report(ReportOptions(**study.options(exclude_own=True)))


def test_clusters_are_those_of_their_folder(study, tmp_path, run):
    made = run("analysis.clusters", f"--clusters.datamodels={study.options()['datamodels']}",
               "--clusters.n_clusters=3", "--clusters.out=clusters")  # fmt: skip
    assert made.returncode == 0, made.stderr
    shown = gather_report(ReportOptions(**study.options(clusters=str(tmp_path / "clusters"))))
    clusters = np.load(tmp_path / "clusters" / "components.npz")["clusters"]
    assert np.array_equal(shown.examples.cluster, clusters)
    assert [cluster.size for cluster in shown.clusters] == np.bincount(clusters).tolist()
    assert len(shown.components) == 10  # as many as the command makes, and not as the report
    first = re.search(r"component 0:.*?low +(\d+)", made.stdout, re.DOTALL)[1]
    assert shown.components[0].low[0] == int(first)


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"members": np.array("targets")}, "clusters of 48 targets by 30 weights"),
        ({"clusters": np.zeros(9, int)}, "clusters of 9 training examples by 30 weights"),
        ({"directions": np.zeros((31, 2))}, "clusters of 48 training examples by 31 weights"),
        (None, "is no file of clusters"),
    ],
)
def test_clusters_of_something_else_are_refused(study, tmp_path, change, needle):
    file = tmp_path / "components.npz"
    arrays = {"clusters": np.zeros(48, int), "scores": np.zeros((48, 2)),
              "directions": np.zeros((30, 2)), "explained": np.zeros(2),
              "members": np.array("training examples")}  # fmt: skip
    np.savez(file, **(arrays | (change or {})))
    if change is None:
        file.write_bytes(b"nothing")
    with pytest.raises(InputError, match=needle):
        gather_report(ReportOptions(**study.options(clusters=str(tmp_path))))
    file.unlink()
    with pytest.raises(DatamodelsError, match=r"does not exist; --report\.clusters names a folder"):
        gather_report(ReportOptions(**study.options(clusters=str(tmp_path))))


def test_only_weights_and_a_store_are_needed(study, tmp_path):
    options = {name: study.options()[name] for name in ("datamodels", "store")}
    page = write_report(ReportOptions(**options), tmp_path / "report.html").read_text()
    assert "--report.images=FILE.npy" in page
    assert '<script type="text/plain"' not in page


def test_text_of_the_user_cannot_leave_its_place(study, tmp_path):
    np.save(tmp_path / "labels.npy", np.array([EVIL] * 48))
    np.save(tmp_path / "test_labels.npy", np.array([EVIL] * 30))
    options = study.options(title=EVIL, labels=str(tmp_path / "labels.npy"),
                            test_labels=str(tmp_path / "test_labels.npy"))  # fmt: skip
    page = write_report(ReportOptions(**options), tmp_path / "report.html").read_text()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "{{ 7*7 }}" in page  # shown, not computed
    payload = re.search(r'id="payload">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(payload)["examples"]["names"][0] == EVIL


def test_the_page_names_nothing_outside_itself(study, tmp_path):
    page = write_report(ReportOptions(**study.options()), tmp_path / "report.html").read_text()
    assert "default-src 'none'" in page
    for found in re.findall(r"https?://[^\s\"'<]+", page):
        assert found == "http://www.w3.org/2000/svg"


def test_an_existing_file_is_kept(study, tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(ExistsError):
        write_report(ReportOptions(**study.options()), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "mine"


def test_renderers_may_give_pictures_text_and_html(study, tmp_path, monkeypatch):
    (tmp_path / "myshow.py").write_text(
        "import io, numpy as np\nfrom markupsafe import Markup\nfrom PIL import Image\n"
        "def png():\n"
        "    file = io.BytesIO()\n"
        "    Image.new('RGB', (5, 9), 'red').save(file, 'PNG')\n"
        "    return file.getvalue()\n"
        "def show(part, index):\n"
        "    return [np.ones((4, 4)), png(), f'{part} {index} <b>', "
        "Markup('<b onclick=x>hi</b><script>1</script>'), None][index % 5]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = {name: study.options()[name] for name in ("datamodels", "store")}
    shown = gather_report(ReportOptions(**options, renderer="myshow:show"))
    pictures = shown.train_pictures
    assert {i % 5 for i in pictures.sprites.members} == {0, 1}
    assert pictures.texts[2] == "train 2 <b>"
    assert pictures.html[3] == "<b>hi</b>"
    assert 4 not in pictures.texts


@pytest.mark.parametrize(
    ("more", "needle"),
    [
        ({"renderer": "nomodule"}, "module:function"),
        ({"renderer": "nosuchmodule:show"}, "nosuchmodule"),
        ({"k": 0}, "report.k=0"),
        ({"targets": "30"}, "it has targets 0 to 29"),
        ({"cmap": "nosuch"}, "colour maps"),
    ],
)
def test_mistakes_say_what_to_mend(study, more, needle):
    with pytest.raises(UsageError, match=re.escape(needle)):
        gather_report(ReportOptions(**study.options(**more)))


def test_class_names_must_cover_the_labels(study, tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    np.save(tmp_path / "labels.npy", np.arange(48) % 3)
    options = study.options(labels=str(tmp_path / "labels.npy"), test_labels=None,
                            class_names=str(tmp_path / "names.txt"))  # fmt: skip
    with pytest.raises(InputError, match=r"label 2, and --report\.class_names has 2"):
        gather_report(ReportOptions(**options))


def test_a_failing_renderer_is_named_with_its_example(study, tmp_path, monkeypatch):
    (tmp_path / "mybroken.py").write_text("def show(part, index):\n    return 1 / index\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DatamodelsError, match="example 0: ZeroDivisionError"):
        gather_report(ReportOptions(**study.options(renderer="mybroken:show")))


def test_the_command_writes_the_file_and_refuses_nonsense(study, tmp_path, run):
    given = [f"--report.{name}={value}" for name, value in study.options().items()]
    done = run("analysis.report", *given, "--report.out=report.html")
    assert done.returncode == 0, done.stderr
    assert "wrote report.html" in done.stdout
    assert_fails(run("analysis.report", *given, "--report.out=report.html"), 1, "exists already")
    assert_fails(run("analysis.report", *given, "--report.out=no/report.html"), 1, "does not exist")
    assert_fails(run("analysis.report", "--report.out=r.html"), 2, "--report.store is required")


def test_packed_arrays_come_back_exactly():
    for dtype in (np.float32, np.int32, np.uint16):
        array = np.arange(6, dtype=dtype).reshape(2, 3)
        packed = pack_array(array)
        back = np.frombuffer(base64.b64decode(packed["base64"]), np.dtype(dtype).newbyteorder("<"))
        assert np.array_equal(back.reshape(packed["shape"]), array)
    with pytest.raises(TypeError):
        pack_array(np.zeros(2))


def test_levels_span_the_range_and_a_constant_is_no_error():
    levels = to_levels(
        np.array([[0.0, 1.0, 0.5], [2.0, 2.0, 2.0]]), np.array([0, 2.0]), np.array([1, 2.0])
    )
    assert levels.tolist() == [[0, 65535, 32768], [0, 0, 0]]


def test_sheets_hold_every_picture_in_its_tile():
    from PIL import Image

    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (300, 5, 7, 3), dtype=np.uint8)
    sheets = make_sheets(images_to_pixels(list(images)), np.arange(300, dtype=np.int32))
    assert len(sheets.sheets) == 2
    per_sheet = sheets.columns * sheets.rows
    for i in (0, 17, 255, 256, 299):
        content = base64.b64decode(sheets.sheets[i // per_sheet][1])
        pixels = np.asarray(Image.open(io.BytesIO(content)))
        y, x = (i % per_sheet) // sheets.columns * 5, (i % per_sheet) % sheets.columns * 7
        assert np.array_equal(pixels[y : y + 5, x : x + 7], images[i])


def test_values_become_shades_of_grey():
    dark, light = images_to_pixels([np.zeros((2, 2)), np.full((2, 2), 3.0)])
    assert dark.max() == 0
    assert light.min() == 255
    assert images_to_pixels([np.zeros((2, 2, 1), np.uint8)], "gray_r")[0].min() == 255
    pale = images_to_pixels([np.array([[0, 4], [8, 16]], np.uint8)])[0]  # as the digits are
    assert pale.tolist() == [[0, 64], [128, 255]]
    assert images_to_pixels([np.zeros((2, 2))], "viridis")[0].shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("<b>a<i>b</b>c", "<b>a<i>b</i></b>c"),
        ("<p onclick='x()' title='t'>a</p>", '<p title="t">a</p>'),
        ("<style>b{}</style><svg onload=x><a href='javascript:x'>l</a>", "l"),
        ("<script>a</script", ""),
        ("1 < 2 & 3", "1 &lt; 2 &amp; 3"),
        ('<img src="https://x.org/a.png" alt="a">', '<img alt="a">'),
        ('<img src="data:image/png;base64,AA==">', '<img src="data:image/png;base64,AA==">'),
        ('<img src="data:image/svg+xml;base64,AA==">', "<img>"),
    ],
)
def test_html_keeps_nothing_that_acts(given, expected):
    assert safe_html(given) == expected


def test_a_learning_curve_is_shown_with_what_was_fitted(study, tmp_path, run):
    made = run("evaluation.learning_curve", f"--curve.data_path={study.options()['store']}",
               "--curve.estimator=difference", "--curve.sizes=10,20,40", "--curve.num_held_out=10",
               "--curve.resamples=10", f"--curve.out={tmp_path / 'curve'}")  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    shown = gather_report(ReportOptions(**study.options(curve=str(tmp_path / "curve"))))
    assert list(shown.curve.n_models) == [10, 20, 40]
    assert "difference" in shown.curve.sentences[0]
    assert "curve" not in shown.remedies
    models = Datamodels.load(study.options()["datamodels"])
    of_others = tmp_path / "some.pt"
    Datamodels(models.weight[:, :9], models.bias[:9], models.lam[:9]).save(of_others)
    options = {"store": study.options()["store"], "datamodels": str(of_others),
               "curve": str(tmp_path / "curve")}  # fmt: skip
    with pytest.raises(InputError, match=r"a curve of 30 targets of margins.* have 9 of"):
        gather_report(ReportOptions(**options))


def test_a_learning_curve_is_extrapolated_as_its_command_was_asked_to(study, tmp_path, run):
    """By the same law, to the same goals, with the same draws; of older folders by the default."""
    made = run("evaluation.learning_curve", f"--curve.data_path={study.options()['store']}",
               "--curve.estimator=difference", "--curve.sizes=10,15,20,28,40,50",
               "--curve.num_held_out=10", "--curve.resamples=10", "--curve.law=power",
               "--curve.goals=0.6", "--curve.seed=3", "--curve.out=curve")  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr

    def shown():
        options = study.options(curve=str(tmp_path / "curve"))
        return gather_report(ReportOptions(**options)).curve

    _, law, goals = shown().sentences
    limit = re.search(r"the power law.*; limit (.*)", made.stdout)[1]
    assert law.startswith("The dashed line is the power law")
    assert law.endswith(f"its limit is LDS {limit}.")
    assert goals.lower() == made.stdout.splitlines()[-2].lower() + "."
    forecast = re.search(r"with 100 models: LDS (.*)", made.stdout)[1]
    n, *values = shown().forecast[-1]
    assert (n, str(Estimate(*values))) == (100, forecast)

    config = tmp_path / "curve" / "config.json"
    older = json.loads(config.read_text())
    del older["law"], older["goals"], older["seed"]
    config.write_text(json.dumps(older))
    assert "the saturating law" in shown().sentences[1]


def test_a_folder_without_a_curve_is_refused(study, tmp_path):
    options = ReportOptions(**study.options(curve=str(tmp_path)))
    with pytest.raises(DatamodelsError, match=r"does not exist; --report\.curve names a folder"):
        gather_report(options)
    (tmp_path / "curve.json").write_text("{}")
    with pytest.raises(InputError, match="no learning curve"):
        gather_report(options)
