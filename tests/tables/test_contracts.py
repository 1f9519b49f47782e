"""Laws that every declared table keeps."""

from __future__ import annotations

import re

from geoloc_pipeline.tables import CONTRACTS, LABEL_IGNORED, learning, pictures, places

UNITS = re.compile(r"_(m|m2|km|deg|px|s|bytes)$")


def test_every_contract_of_the_modules_is_registered() -> None:
    declared = {
        value.name
        for module in (learning, pictures, places)
        for value in vars(module).values()
        if type(value).__name__ == "TableContract"
    }
    assert declared == set(CONTRACTS)


def test_keys_are_columns_and_ids_and_codes_are_strings() -> None:
    for contract in CONTRACTS.values():
        kinds = {column.name: column.kind for column in contract.columns}
        assert set(contract.key) <= set(kinds)
        assert all(kind == "string" for name, kind in kinds.items() if name.endswith(("_id", "_code")))
        assert all(column.about for column in contract.columns)


def test_lengths_and_sizes_carry_their_unit() -> None:
    for contract in CONTRACTS.values():
        for column in contract.columns:
            if any(
                word in column.name for word in ("length", "radius", "distance", "spacing", "area", "width", "height", "size")
            ):
                assert UNITS.search(column.name), f"{contract.name}.{column.name}"


def test_ignored_is_written_once() -> None:
    assert LABEL_IGNORED == -1
