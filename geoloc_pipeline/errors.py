"""The whole family of errors: each says what is wrong, with which value, and the cure.

Belongs here: every error class of the house; the constructor takes facts by keyword and composes the sentence.
Does not belong here: handling. "Nothing there" is a value (`None`, an empty table), never an error.

`exit_code` is what the `geoloc` command ends with: 2 for the user's mistakes, 1 for everything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class GeolocError(Exception):
    """The root: catching it catches everything that this house raises on purpose."""

    exit_code: ClassVar[int] = 1


# --- what the user asked for --------------------------------------------------------------------------------------------


class SettingError(GeolocError, ValueError):
    """A setting, argument or environment variable has a value that cannot work."""

    exit_code = 2

    def __init__(self, *, setting: str, value: object, cure: str) -> None:
        super().__init__(f"{setting} is {value!r}; {cure}")


class MissingInputError(GeolocError, FileNotFoundError):
    """Something that has to be made or put in place first is not there."""

    exit_code = 2

    def __init__(self, *, what: str, path: Path | str, cure: str) -> None:
        super().__init__(f"{what} is not at {path}; {cure}")


class HomeError(GeolocError, OSError):
    """$GEOLOC_HOME cannot be written: wrong permissions, a read-only or a full disk."""

    exit_code = 2

    def __init__(self, *, home: Path | str, reason: str, cure: str) -> None:
        super().__init__(f"cannot write under GEOLOC_HOME={home}: {reason}; {cure}")


# --- strangers ----------------------------------------------------------------------------------------------------------


class SourceError(GeolocError):
    """A service or a file of somebody else did not keep its promise."""


class SourceUnavailableError(SourceError, ConnectionError):
    """A service does not answer, or answers with a fault of its own, after every retry."""

    def __init__(self, *, service: str, url: str, reason: str) -> None:
        super().__init__(f"{service} did not answer {url}: {reason}; nothing was lost, run the same step again later")


class SourceRefusedError(SourceError, PermissionError):
    """A service refuses us for good: a wrong token, terms not accepted, a request it will never take."""

    exit_code = 2

    def __init__(self, *, service: str, reason: str, cure: str) -> None:
        super().__init__(f"{service} refused the request: {reason}; {cure}")


class MissingKeyError(SourceError, KeyError):
    """A service needs a key that is not set."""

    exit_code = 2

    def __init__(self, *, service: str, variable: str, how_to_obtain: str) -> None:
        self.sentence = f"{service} needs a key and {variable} is not set; {how_to_obtain}"
        super().__init__(self.sentence)

    def __str__(self) -> str:
        """KeyError would print the sentence in quotes."""
        return self.sentence


class TermsNotAcceptedError(SourceError, PermissionError):
    """A service's terms forbid what this pipeline does with its pictures, and nobody has said that they hold other rights."""

    exit_code = 2

    def __init__(self, *, service: str, clauses: str, variable: str, value: str) -> None:
        super().__init__(
            f"{service} was not asked: its terms forbid this use ({clauses}); only if a contract of your own allows it, "
            f"set {variable} to {value!r}"
        )


class ChecksumMismatchError(SourceError, ValueError):
    """A downloaded file is not the file that the service says it is."""

    def __init__(self, *, path: Path | str, expected: str, actual: str, cure: str = "") -> None:
        cure = cure or "the file was removed; run the same step again to download it anew"
        super().__init__(f"{path} has md5 {actual}, the service says {expected}; {cure}")


class BadSourceFileError(SourceError, ValueError):
    """A file from outside cannot be read as what it should be."""

    exit_code = 2

    def __init__(self, *, path: Path | str, reason: str, cure: str) -> None:
        super().__init__(f"{path}: {reason}; {cure}")


class BudgetSpentError(SourceError, RuntimeError):
    """The daily budget of requests to a service is used up; what was fetched is kept."""

    def __init__(self, *, service: str, limit: int) -> None:
        super().__init__(
            f"the budget of {limit} requests to {service} is spent for today; what was fetched is kept, "
            f"run the same step again tomorrow or raise the budget"
        )


# --- tables -------------------------------------------------------------------------------------------------------------


class TableContractError(GeolocError, ValueError):
    """A table does not keep its contract; nothing was written."""

    def __init__(self, *, table: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"table `{table}` breaks its contract: " + "; ".join(faults))


class WrongCrsError(TableContractError):
    """A table's geometry is in another coordinate reference system than WGS 84."""

    def __init__(self, *, table: str, found: str, expected: str) -> None:
        super().__init__(
            table=table,
            faults=[f"it is in {found}, expected {expected}: reproject it with geo.crs.to_wgs84() before handing it over"],
        )


# --- pictures -----------------------------------------------------------------------------------------------------------


class ImageError(GeolocError, ValueError):
    """One picture cannot be used. In a batch its reason becomes a row of the `rejected` table.

    Attributes:
        reason: Short machine-readable reason, as in the `rejected` table.
    """

    exit_code = 2

    def __init__(self, *, image: Path | str, reason: str, detail: str, cure: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{image}: {detail}" + (f"; {cure}" if cure else ""))


# --- learning and search ------------------------------------------------------------------------------------------------


class SplitError(GeolocError, ValueError):
    """A split cannot be made as asked, or leaks."""

    def __init__(self, *, reason: str, cure: str) -> None:
        super().__init__(f"{reason}; {cure}")


class ModelError(GeolocError, ValueError):
    """A checkpoint, vocabulary or backbone does not fit."""

    def __init__(self, *, what: str, reason: str, cure: str) -> None:
        super().__init__(f"{what}: {reason}; {cure}")


class NotFiniteError(ModelError):
    """Weights of a model are not numbers: whatever is computed with them means nothing."""

    def __init__(self, *, what: str, names: Sequence[str], cure: str) -> None:
        shown = ", ".join(names[:3]) + (" and more" if len(names) > 3 else "")
        super().__init__(what=what, reason=f"its weights {shown} are not finite", cure=cure)


class TrainingDivergedError(GeolocError, ArithmeticError):
    """The loss is not finite any more; the last good checkpoint is kept."""

    def __init__(self, *, step: int, loss: float, checkpoint: Path | str, images: Sequence[str] = ()) -> None:
        seen = f" with the pictures {', '.join(images)}" if images else ""
        super().__init__(
            f"the loss is {loss} at step {step}{seen}; the last good checkpoint is {checkpoint}: look at those pictures, or "
            "lower the learning rate, and run again"
        )


class GpuMemoryError(GeolocError, MemoryError):
    """A batch does not fit into the memory of the GPU."""

    exit_code = 2

    def __init__(self, *, device: str, asked: int, fits: int, cure: str) -> None:
        largest = f"the largest that fits is {fits}" if fits else "not even one picture fits"
        super().__init__(f"a batch of {asked} pictures does not fit into the memory of {device}; {largest}: {cure}")


class CollectionError(GeolocError, ValueError):
    """The gallery cannot be built, opened or trusted."""

    def __init__(self, *, collection: str, reason: str, cure: str) -> None:
        super().__init__(f"collection `{collection}`: {reason}; {cure}")


class LeakedPictureError(CollectionError):
    """Pictures of the test split are about to enter the gallery: every figure of the evaluation would be too good."""

    def __init__(self, *, collection: str, images: Sequence[str]) -> None:
        super().__init__(
            collection=collection,
            reason=f"would hold {len(images)} pictures of the test split, the first of them {images[0]}",
            cure="materialise `image_embeddings` again: its test pictures must stay out of the gallery",
        )
