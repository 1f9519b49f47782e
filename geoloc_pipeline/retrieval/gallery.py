"""The gallery: every learned picture as points in Qdrant, built beside the old one and swapped in when it is whole.

A collection is named after the model whose vectors it holds (`photos__<model_version>`), and an alias says which one is live. Points
are the views of a picture and their mean; a search returns pictures, each once, with its best point.

Paper: §3.3 (Qdrant, cosine similarity, the 100 best).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from geoloc_pipeline.errors import CollectionError
from geoloc_pipeline.retrieval.gallery_edge import EdgeStore
from geoloc_pipeline.retrieval.gallery_server import ServerStore
from geoloc_pipeline.tables import EMBEDDING_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    import pandas as pd
    from numpy.typing import NDArray

    from geoloc_pipeline.storage.progress import Progress

PREFIX = "photos__"
CANARIES = 16
UPLOAD = 500
_CURE = "materialise `qdrant_collection` again"
"""
"""
