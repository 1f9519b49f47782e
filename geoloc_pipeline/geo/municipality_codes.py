"""Municipality codes (JIS X 0402) of today and those of the 2020 census, where they differ.

One reform has changed codes since the census' day, 2020-10-01: on 2024-01-01 Hamamatsu (浜松市) made three wards of its seven.
22131 中区, 22132 東区, 22133 西区, 22134 南区 and the Mikatahara part (三方原地区) of 22135 北区 became 22138 中央区; the rest
of 北区 and 22136 浜北区 became 22139 浜名区; 22137 天竜区 only got another code, 22140.

Tables keep the census' codes, for those are what its polygons are.
Source: 総務省 全国地方公共団体コード (revision of 2024-01-01); 浜松市 行政区の再編.
"""

from __future__ import annotations

_MADE_OF = {
    "22138": ("22131", "22132", "22133", "22134", "22135"),
    "22139": ("22135", "22136"),
    "22140": ("22137",),
}


def census_codes_of(code_today: str) -> tuple[str, ...]:
    """Return the municipalities of the 2020 census that a municipality of today was made of, wholly or in part.

    Args:
        code_today: JIS X 0402, five digits.

    Returns:
        Codes of the census in order; the code itself where nothing changed.
    """
    return _MADE_OF.get(code_today, (code_today,))


def codes_today_of(census_code: str) -> tuple[str, ...]:
    """Return the municipalities of today into which a municipality of the 2020 census went, wholly or in part.

    Args:
        census_code: JIS X 0402, five digits.

    Returns:
        Codes of today in order; the code itself where nothing changed.
    """
    return tuple(today for today, parts in _MADE_OF.items() if census_code in parts) or (census_code,)


def census_code_of(code_today: str) -> str:
    """Return the census' code of a municipality that only got another code, else `code_today` as it is.

    Of 22138 and 22139 it stays: a place in them cannot be told to lie in one of their former wards by its code alone.
    """
    former = census_codes_of(code_today)
    return former[0] if len(former) == 1 and len(codes_today_of(former[0])) == 1 else code_today
