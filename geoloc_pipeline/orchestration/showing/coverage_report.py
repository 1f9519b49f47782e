"""Where street view is and where it is not: one row for each prefecture and provider, out of the receipts."""

from typing import Any

from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import read_receipt


def coverage_rows(home: Home) -> list[dict[str, Any]]:
    """Return what each provider had for each prefecture that was collected.

    Args:
        home: Where everything is.

    Returns:
        Rows in the order of prefectures, then of providers as they were asked: prefecture (its key), points (its sample
        points), with_picture_pct (of them, whoever gave it), source, asked (points for which it was asked), panoramas,
        flat_sets, nothing. Empty when nothing was collected.
    """
    rows: list[dict[str, Any]] = []
    for path in sorted(home.receipt("street_view_images").parent.glob("*.json")):
        receipt = read_receipt(path)
        facts = receipt.metadata if receipt else {}
        for provider in facts.get("by_provider", ()):
            rows.append(
                {
                    "prefecture": path.stem,
                    "points": facts["points"],
                    "with_picture_pct": facts["points_with_a_picture_pct"],
                    "source": provider["source"],
                    "asked": provider["points"],
                    **{name: provider[name] for name in ("panoramas", "flat_sets", "nothing")},
                }
            )
    return rows
