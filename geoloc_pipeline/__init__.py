"""Photo geolocation that people can build for their own country, check, and keep up to date.

The rooms of this house, from the ground up: `errors`, `geo`, `tables`, `storage`, `sources` and `demo`, then `osm`, `sampling`,
`imagery`, `labels`, `model` and `evaluation`, then `training` and `retrieval`, then `orchestration`, `web` and the doors
`cli` and `definitions`. Imports go downward only.
"""

__version__ = "0.1.0"
