"""The page itself: content, styles, scripts and pictures in one HTML file."""

from importlib.resources import files
from typing import Any, Final

from datamodels.analysis.reporting.content import Pictures, ReportContent, ReportScore, as_plain
from datamodels.optional import import_optional

_PACKAGE: Final = "datamodels.analysis.reporting"
_STYLES: Final = ("report.css",)
_SCRIPTS: Final = (
    "elements.js",
    "arrays.js",
    "pictures.js",
    "charts.js",
    "tables.js",
    "sections.js",
    "groups.js",
    "example_pages.js",
    "settings.js",
    "keys.js",
    "app.js",
)


def render_page(content: ReportContent) -> str:
    """The HTML. All text is escaped, and the page may load nothing from anywhere.

    Raises:
        MissingPackageError: jinja2 is not installed.
    """
    jinja2 = import_optional("jinja2", "jinja2", "reports")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(_PACKAGE, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    page: str = environment.get_template("report.html.jinja").render(
        content=content,
        held_out_words=_held_out_words(content.score),
        payload=as_plain(_without_sheets(content)),
        sheets=[*_sheets("train", content.train_pictures), *_sheets("test", content.test_pictures)],
        styles=_assets(_STYLES),
        scripts=_assets(_SCRIPTS),
    )
    return page


def _held_out_words(score: ReportScore | None) -> str:
    """What is known of the models that the scores are of."""
    if score is None:
        return ""
    averaged = ""
    if score.n_trainings is not None:
        averaged = f"masks, by mean outputs of {score.n_trainings:,} trainings, "
    if score.n_fitted is None:
        return averaged + "if the fit did not use them, which is not known"
    if score.n_fitted:
        return f"{averaged}{score.n_fitted:,} of them took part in the fit"
    return averaged + "that took no part in the fit"


def _without_sheets(content: ReportContent) -> dict[str, Any]:
    """The fields of the content; sheets are no part of it, so that a browser decodes only those
    that it shows."""
    from dataclasses import fields, replace

    payload = {field.name: getattr(content, field.name) for field in fields(content)}
    del payload["facts"]  # written by the template
    for part in ("train_pictures", "test_pictures"):
        pictures: Pictures = payload[part]
        if pictures.sprites is not None:
            payload[part] = replace(pictures, sprites=replace(pictures.sprites, sheets=()))
    return payload


def _sheets(part: str, pictures: Pictures) -> list[tuple[str, str, str]]:
    """Identifier, media type and base64 of each sheet."""
    if pictures.sprites is None:
        return []
    return [(f"{part}-{i}", *sheet) for i, sheet in enumerate(pictures.sprites.sheets)]


def _assets(names: tuple[str, ...]) -> str:
    folder = files(_PACKAGE) / "assets"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)
