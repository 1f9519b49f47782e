"""Vectors that need not be computed again: those of the last table, and those that a killed job had finished.

Both are found by what they were made from (`views.ShardViews.made_from`), so nothing is ever taken over from another model,
other code, or a picture that has changed under the same name.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError
from geoloc_pipeline.retrieval.embedding.embedder import Vectors
from geoloc_pipeline.storage.atomic import atomic_path
from geoloc_pipeline.storage.parquet import read_table
from geoloc_pipeline.tables import BACKBONE_TOKENS, EMBEDDED_VIEWS, IMAGE_EMBEDDINGS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Finished:
    """Vectors by what they were made from.

    Attributes:
        made_from: Of each row; some may come twice.
        vectors: As many rows.
    """

    made_from: tuple[str, ...]
    vectors: Vectors

    def __len__(self) -> int:
        return len(self.made_from)

    def find(self, made_from: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each, -1 where there is none."""
        first = {name: row for row, name in reversed(list(enumerate(self.made_from)))}
        return np.array([first.get(name, -1) for name in made_from], dtype=np.int64)


@dataclass(frozen=True)
class Former:
    """Where the last run's tables of one partition stand, if they do.

    Attributes:
        embeddings: File of `image_embeddings`.
        tokens: File of `backbone_tokens`.
        views: File of `embedded_views`.
    """

    embeddings: Path
    tokens: Path
    views: Path

    def read(self, *, model_version: str, tokens: bool) -> Finished | None:
        """Return the vectors of these tables; None when they are of another model, without tokens, or not whole.

        Args:
            model_version: Of the model that is wanted.
            tokens: Whether tokens are wanted as well.
        """
        key = ["image_id", "view"]
        try:
            views = read_table(EMBEDDED_VIEWS, self.views)
            table = views.merge(read_table(IMAGE_EMBEDDINGS, self.embeddings), on=key)
            if tokens:
                table = table.merge(read_table(BACKBONE_TOKENS, self.tokens)[[*key, "token"]], on=key)
        except (MissingInputError, BadSourceFileError):
            return None
        table = table[table["model_version"] == model_version]
        if len(table) == 0:
            return None
        token = np.stack(table["token"].to_list()) if tokens else np.empty((len(table), 0), dtype=np.float16)
        vectors = Vectors(embedding=np.stack(table["embedding"].to_list()), token=token)
        return Finished(made_from=tuple(table["made_from"]), vectors=vectors)


class Scratch:
    """The folder in which a running job keeps what it has finished, in files that are there whole or not at all."""

    def __init__(self, folder: Path, *, model_version: str) -> None:
        """Open the folder; it need not be there.

        Args:
            folder: `Home.embedding_scratch`.
            model_version: Of the model at work; what others have left is not looked at.
        """
        self._folder = folder
        self._prefix = f"{model_version}-"

    def keep(self, made_from: Sequence[str], vectors: Vectors) -> None:
        """Write some vectors.

        Raises:
            HomeError: The disk is full, read-only, or not ours to write.
        """
        name = hashlib.sha256("".join(made_from).encode()).hexdigest()[:16]
        path = self._folder / f"{self._prefix}{name}-{vectors.token.shape[1]}.npz"
        with atomic_path(path) as partial, partial.open("wb") as stream:
            np.savez(stream, made_from=np.array(made_from), embedding=vectors.embedding, token=vectors.token)

    def read(self, *, token_width: int) -> Finished | None:
        """Return everything that is kept with tokens of this width (0: whether there are any or not); None if nothing is."""
        made_from: list[str] = []
        parts: list[Vectors] = []
        for path in sorted(self._folder.glob(f"{self._prefix}*.npz")):
            try:
                with np.load(path) as kept:
                    names, part = kept["made_from"].tolist(), Vectors(embedding=kept["embedding"], token=kept["token"])
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # the disk's fault: it is computed once more
                path.unlink()
                continue
            if token_width in {0, part.token.shape[1]}:
                made_from += names
                parts.append(part._replace(token=part.token[:, :token_width]))
        return Finished(made_from=tuple(made_from), vectors=join(parts)) if parts else None


def remove_scratch(folder: Path) -> None:
    """Remove what was kept of a job, by any model, once its tables stand."""
    shutil.rmtree(folder, ignore_errors=True)


def join(parts: Sequence[Vectors]) -> Vectors:
    """Return the rows of all parts, of which there is at least one."""
    embedding, token = (np.concatenate(same) for same in zip(*parts, strict=True))
    return Vectors(embedding=embedding, token=token)
