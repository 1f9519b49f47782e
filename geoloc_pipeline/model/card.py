"""The model card: what a reader of an exported model has to know, written from the run and from nothing else.

What the run does not tell (who made it, whether a licence of pictures reaches the weights) the card calls unknown.

Paper: §5 for the limits, §6 for the caution.
"""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from geoloc_pipeline.model.saved import SavedGeolocator

_SNIPPET = """```python
from pathlib import Path

import numpy as np
import torch

from geoloc_pipeline.model.preprocess import decode_view
from geoloc_pipeline.model.saved import load_geolocator

folder = Path(".")  # this folder
photo = Path("photo.jpg")  # upright: orientation in EXIF is not heeded

saved = load_geolocator(folder)
preprocessing = saved.model.preprocessing
squares = np.stack(preprocessing.squares(decode_view(photo.read_bytes(), name=photo.name)))
with torch.inference_mode():
    answer = saved.model(preprocessing.batch(squares))
for task, logits in answer.logits.items():
    shares = logits.softmax(dim=1).mean(dim=0)
    best = int(shares.argmax())
    classes = saved.vocabulary.tasks[task]
    print(f"{task}: {classes.codes[best]} {classes.names[best]} ({float(shares[best]):.0%})")
```"""

_DUTIES = (  # by the beginning of an SPDX identifier; the first that fits counts
    ("CC0", "none"),
    ("CC-PDM", "none: in the public domain"),
    ("CC-BY-NC-ND", "name author and licence and link to both; no commercial use; no changed copies"),
    ("CC-BY-NC-SA", "name author and licence and link to both; no commercial use; changed copies under the same licence"),
    ("CC-BY-NC", "name author and licence and link to both; no commercial use"),
    ("CC-BY-ND", "name author and licence and link to both; no changed copies"),
    ("CC-BY-SA", "name author and licence and link to both; changed copies under the same licence"),
    ("CC-BY", "name author and licence and link to both"),
    ("etalab", "name the source and the date of its last change"),
    ("LicenseRef-Google", "no open licence: its terms forbid to train models with these pictures"),
)
_UNKNOWN = "not known: ask the source before anything is handed on"


def duty_of(licence: str) -> str:
    """Return what a licence of pictures asks of whoever hands them on; several licences are joined by ` AND `."""
    duties = []
    for part in licence.split(" AND "):
        found = (duty for start, duty in _DUTIES if part.strip().upper().startswith(start.upper()))
        duties.append(next(found, _UNKNOWN))
    return "; ".join(dict.fromkeys(duties))


def model_card(saved: SavedGeolocator, *, sources: pd.DataFrame, history: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the model card of an export: Markdown with the front matter that the Hugging Face hub reads.

    Args:
        saved: The model and what its checkpoint says.
        sources: `source`, `licence`, `n_pictures`, `n_authors` of the training pictures.
        history: One record of figures per epoch.

    Returns:
        The text; the same input gives the same text.
    """
    parts = [
        _front_matter(saved),
        _what_it_is(saved),
        "## Use\n\nThis needs the package `geoloc_pipeline`, of which only `geoloc_pipeline.model` is loaded.\n\n" + _SNIPPET,
        _architecture(saved),
        _training(saved.facts),
        _pictures(sources),
        _validation(saved, history),
        _LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(saved: SavedGeolocator) -> str:
    lines = ["---", "library_name: geoloc_pipeline", "tags:", "- geolocation", "- image-geolocation", "- timm"]
    if _pretrained(saved):
        lines.append(f"base_model: {json.dumps(f'timm/{_trunk(saved)}')}")
    return "\n".join([*lines, "---"])


def _trunk(saved: SavedGeolocator) -> str:
    return saved.model.config.backbone.removeprefix("timm/")


def _weights_of(saved: SavedGeolocator) -> str:
    return str(saved.facts.get("training_config", {}).get("backbone_weights", ""))


def _pretrained(saved: SavedGeolocator) -> bool:
    return _weights_of(saved) not in {"", "none"}


def _what_it_is(saved: SavedGeolocator) -> str:
    counts = saved.vocabulary.class_counts()
    heads = ", ".join(f"{task} ({counts[task]})" for task in saved.model.tasks)
    return (
        f"# Where a photo was taken: model {saved.model_version}\n\n"
        "From the pixels of a photo this model tells, with a share for each class, where it was taken: "
        f"{heads or 'no task'} (classes in brackets; `vocabulary.json` names them). Its embedding of the photo, and that of a "
        "place from latitude and longitude, can be compared by their cosine, which is how similar photos are found. "
        "It follows the paper 深層学習を用いた写真からの高精度地域推定 (Hirata, Shinozaki, Iguchi), of which it is a "
        "reimplementation, not the authors' own weights."
    )


def _architecture(saved: SavedGeolocator) -> str:
    config, preprocessing = saved.model.config, saved.model.preprocessing
    came = {"hub": "from the Hugging Face hub", "none": "fresh", "": "not told"}
    weights = _weights_of(saved)
    rows = [
        ("backbone", f"`{_trunk(saved)}` (timm)"),
        ("its weights before training", came.get(weights, f"from the file `{PurePath(weights).name}`")),
        ("input", f"{preprocessing.input_px} x {preprocessing.input_px} px squares that cover the picture"),
        ("resized by", f"{preprocessing.interpolation}, antialiased"),
        ("mean, deviation", f"{_numbers(preprocessing.mean)}; {_numbers(preprocessing.std)} of values from 0 to 1"),
        ("embedding", f"{saved.model.projection.out_features}"),
        ("location encoder", f"sigmas {_numbers(config.location_sigmas)}; width {config.location_width}"),
        ("its hidden layers", f"{config.location_hidden_layers}"),
        ("parameters", f"{sum(parameter.numel() for parameter in saved.model.parameters()):,}"),
    ]
    return "## Architecture\n\n" + _table(("part", "value"), rows)


def _training(facts: Mapping[str, Any]) -> str:
    departures = facts.get("departures")
    if departures is None:
        told = "Which switches differ from the paper's is not told."
    elif departures:
        rows = [(f"`{name}`", _code(departures[name][0]), _code(departures[name][1])) for name in sorted(departures)]
        told = "These switches differ from the paper's:\n\n" + _table(("switch", "paper", "this model"), rows)
    else:
        told = "Every switch stands where the paper has it, as far as the paper tells."
    knobs = [(f"`{name}`", _code(_without_folders(name, value))) for name, value in facts.get("training_config", {}).items()]
    versions = [(f"`{name}`", _code(value)) for name, value in sorted(facts.get("data_versions", {}).items())]
    parts = [
        "## Training",
        f"Commit of the code: `{facts.get('git_commit') or 'not known'}`. Epoch that was kept: {_epoch(facts)}.",
        told,
        "### Configuration",
        _table(("knob", "value"), sorted(knobs)) if knobs else "Not told.",
        "### Data versions",
        _table(("asset", "version"), versions) if versions else "Not told.",
    ]
    return "\n\n".join(parts)


def _pictures(sources: pd.DataFrame) -> str:
    ordered = sources.sort_values(["source", "licence"])
    rows = [
        (row.source, row.licence, f"{int(row.n_pictures):,}", f"{int(row.n_authors):,}", duty_of(str(row.licence)))
        for row in ordered.itertuples(index=False)
    ]
    total = f"{int(sources['n_pictures'].sum()):,}" if len(sources) else "not told"
    table = _table(("source", "licence", "pictures", "authors", "what it asks of who hands the pictures on"), rows)
    return (
        f"## Pictures that it learned from\n\nTraining pictures: {total}. The same is in `sources.csv`.\n\n"
        + (f"{table}\n\n" if rows else "")
        + "**Known:** each picture's licence as its source told it, and how many authors there are to name. The pictures "
        "are not in this folder; the run's image tables hold the author and the link of each.\n\n"
        "**Not known:** whether the duties of a picture's licence reach the weights that were learned from it (laws differ, "
        "courts have not settled it), and what stands as `unknown` or `NOASSERTION`. No licence for the weights is chosen "
        "here: whoever hands this folder on chooses it, with the duties above in mind, and names the sources."
    )


def _validation(saved: SavedGeolocator, history: Sequence[Mapping[str, Any]]) -> str:
    validation = saved.facts.get("validation") or {}
    losses, right = validation.get("val_terms", {}), validation.get("val_accuracy", {})
    rows = [
        (task, _figure(losses.get(task)), f"{right[task]:.1%}" if task in right else "-")
        for task in saved.model.tasks
        if task in losses or task in right
    ]
    epochs = [
        (str(int(record["epoch"]) + 1), _figure(record.get("train_loss")), _figure(record.get("val_loss")))
        for record in history
        if "epoch" in record
    ]
    figures = _table(("task", "loss", "right"), rows) if rows else "Not told: there was nothing to validate with."
    return (
        "## Validation\n\nOn pictures of places that were held back from training; "
        f"the whole loss is {_figure(validation.get('val_loss'))}.\n\n{figures}\n\n### Loss by epoch\n\n"
        + (_table(("epoch", "training", "validation"), epochs) if epochs else "Not told.")
    )


_LIMITS = """## Limits

- The paper's data held no pictures taken at night or in bad weather, indoors, or from the air, and it expects much worse
  answers there (§5). This run did nothing about that; what its own pictures show is not measured by the figures above.
- It knows the classes of its vocabulary and no others: a photo from elsewhere gets one of them all the same.
- A share is not a probability that was calibrated; look at the similar pictures before an answer is trusted.

## Caution

To find where a photo was taken can harm the people in it or who took it: the paper asks to consider with care whether data and
weights are published at all, because of privacy (§6). Do not use it to find people."""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", r"\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


def _code(value: object) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _without_folders(name: str, value: object) -> object:
    """Return a knob as others may read it: where a file of weights lay on somebody's machine is nobody's business."""
    return PurePath(value).name if name == "backbone_weights" and isinstance(value, str) and value else value


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _epoch(facts: Mapping[str, Any]) -> str:
    return str(int(facts["epoch"]) + 1) if "epoch" in facts else "not told"
