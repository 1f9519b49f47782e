"""Where one thing comes from: a picture, a point, a way, a town block, an answer, a model, a collection, any artefact.

Belongs here: what an id may be, and the steps from pictures and answers back to what they were made of.
Does not belong here: places and maps (`places`), models and artefacts (`made`), how it looks (`shown`).

Everything is read where it stands, with filters, so that it is quick in a home of all Japan: the receipts tell what went into
which table, the tables tell the rest. What is not known is said, never left out.
"""

import re
from collections.abc import Iterable
from typing import Any

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.orchestration.artefacts import find_artefact
from geoloc_pipeline.orchestration.lineage.made import Made
from geoloc_pipeline.orchestration.lineage.places import PICTURE_TABLES, Places
from geoloc_pipeline.orchestration.lineage.rows import Node, Reader
from geoloc_pipeline.storage.layout import WHOLE, Home
from geoloc_pipeline.tables import CONTRACTS

NEIGHBOURS = 5
_FEATURE = re.compile(r"(node|way|relation)/\d+")
_KEY = re.compile(r"[a-z_]+")
_HASH = re.compile(r"[0-9a-f]{16}")
_PICTURE_FACTS = (
    "source", "source_image_id", "origin_id", "licence", "attribution", "captured_at", "fetched_at", "lat", "lon", "accuracy_m",
    "views", "width_px", "height_px", "capture_group", "content_sha256", "sha256", "shard", "offset", "size_bytes",
)  # fmt: skip
KINDS = (
    "an image_id (also of a test picture that was answered), a point_id, an OpenStreetMap id such as way/123, a road_id, a "
    "town_code, a model version, a collection, or an artefact such as sample_points/13_tokyo; ids stand in the tables below "
    "tables/, and `geoloc locate` and evidence pages print those of neighbours"
)


def trace(home: Home, asked: str, *, neighbours: int = NEIGHBOURS, check: bool = False) -> Node:
    """Return where something comes from.

    Args:
        home: Where everything is.
        asked: Its id.
        neighbours: How many neighbours of an answer are looked up; they are searched again, exactly, with the model and the
            collection of today: the table of estimates keeps positions and errors, not neighbours. 0: none are.
        check: Read the files of the artefacts that are named and compare them with their receipts.

    Returns:
        The thing, with what it was made of behind it; the same thing is the same node wherever it comes up.

    Raises:
        SettingError: Nothing of that id is here.
    """
    return Tracer(home, check=check).trace(asked, neighbours=neighbours)


class Tracer:
    """Follows ids through one home."""

    def __init__(self, home: Home, *, check: bool = False) -> None:
        """Open nothing yet.

        Args:
            home: Where everything is.
            check: Compare artefacts with their receipts.
        """
        self.home, self.reader = home, Reader(home)
        self.made = Made(home, check=check)
        self.places = Places(home, self.reader, self.made)
        self._pictures: dict[str, Node] = {}

    def trace(self, asked: str, *, neighbours: int = NEIGHBOURS) -> Node:
        """Return where `asked` comes from; see the function of that name.

        Raises:
            SettingError: Nothing of that id is here.
        """
        asked = asked.strip()
        found = self._by_shape(asked, neighbours) or self.places.road(asked) or self.places.town(asked)
        if found is None:
            raise SettingError(setting="ID", value=asked, cure=f"nothing of that name is in {self.home.root}; give {KINDS}")
        return found

    def _by_shape(self, asked: str, neighbours: int) -> Node | None:
        if _FEATURE.fullmatch(asked):
            return self.places.feature(asked)
        if asked.startswith("photos__"):
            return self.made.collection(asked)
        key = asked.partition("/")[0]
        if _KEY.fullmatch(key) and (key in CONTRACTS or self.home.receipt(key).parent.is_dir()):
            return self.artefact(asked)
        if _HASH.fullmatch(asked):
            return (
                self.answer(asked, neighbours=neighbours)
                or self.picture(asked)
                or self.places.sample_point(asked)
                or self.places.point(asked)
                or self.made.model(asked)
            )
        return None

    def artefact(self, asked: str) -> Node:
        """Return an artefact with everything that went in, back to the dumps.

        Raises:
            SettingError: There is none of that name; the cure lists the partitions that there are.
        """
        key, _, partition = asked.partition("/")
        found = find_artefact(self.home, f"{key}/{partition or WHOLE}")
        if found is None:
            partitions = [path.stem for path in self.home.receipts() if path.parent.name == key]
            cure = f"write {key}/PARTITION with one of {', '.join(partitions)}" if partitions else "materialise it first"
            raise SettingError(setting="ID", value=asked, cure=cure)
        return self.made.artefact(found.name, deep=True)

    def picture(self, image_id: str) -> Node | None:
        """Return a picture: who took it, for which point, what was said of its place, who learned from it."""
        if image_id in self._pictures:
            return self._pictures[image_id]
        for table in PICTURE_TABLES:
            for partition, row in self.reader.rows(table, "image_id", [image_id]):
                return self._picture(table, partition, row)
        return None

    def _picture(self, table: str, partition: str, row: dict[str, Any]) -> Node:
        image_id = row["image_id"]
        node = self._pictures[image_id] = Node("picture", image_id)
        node.tell({name: row[name] for name in _PICTURE_FACTS})
        node.link("page at the provider", row["source_url"])
        node.add("archived in", self.made.artefact(f"{table}/{partition}"))
        if row["point_id"] is None:
            node.missing.append("a photo set's picture was not asked for: it has no sample point")
        else:
            point = self.places.sample_point(row["point_id"], partition)
            if point is not None:
                node.add("taken for" if row["is_wanted"] else "once taken for", point)
            else:
                node.missing.append(f"its sample point {row['point_id']} has vanished from the map; the picture stays in use")
        self._add_labels(node, image_id)
        return node

    def _add_labels(self, node: Node, image_id: str) -> None:
        found = self.reader.rows("labelled_images", "image_id", [image_id])
        for partition, row in found:
            node.add("labelled as", self.places.labels(partition, row))
            self._add_use(node, partition, image_id)
        if not found:
            told = "outside every prefecture that is built, the same as a picture that counts already, or not labelled yet"
            node.missing.append(f"labelled_images does not hold it: {told}")

    def _add_use(self, node: Node, partition: str, image_id: str) -> None:
        split = ""
        for key, told in (("dataset_splits", "dealt to"), ("training_shards", "cut into"), ("image_embeddings", "embedded as")):
            rows = [row for _, row in self.reader.rows(key, "image_id", [image_id], partition=partition)]
            if not rows:
                reason = "test pictures are never embedded for the gallery" if split == "test" else f"{key} does not hold it"
                node.missing.append(reason)
                continue
            split = str(rows[0].get("split", split))
            use = Node(key, f"{partition} {image_id}")
            use.tell(_summed(rows, ("split", "split_group", "municipality_code", "view", "shard", "model_version")))
            use.add("of", self.made.artefact(f"{key}/{partition}"))
            node.add(told, use)
            if key == "image_embeddings":
                self._add_search(use, str(rows[0]["model_version"]))
        if split == "test":
            self._add_search(node, "")

    def _add_search(self, node: Node, version: str) -> None:
        model = self.made.model(version)
        if model is None:
            missing = f"the model {version} is not in this home any more" if version else "this home has no model yet"
            node.missing.append(missing)
        else:
            node.add("by" if version else "answered by", model)
        collection = self.made.collection()
        if collection is None:
            node.missing.append("this home has no live collection")
        else:
            node.add("searched in", collection)

    def answer(self, image_id: str, *, neighbours: int = 0) -> Node | None:
        """Return the answers to a test picture, with the neighbours that spoke for them; None: it was never asked about."""
        rows = [row for _, row in self.reader.rows("estimates", "query_id", [image_id])]
        if not rows:
            return None
        node = Node("answer", image_id)
        node.tell({"true_lat": rows[0]["true_lat"], "true_lon": rows[0]["true_lon"]})
        report = find_artefact(self.home, f"evaluation_report/{WHOLE}")
        default = report.receipt.metadata.get("default_readout") if report else None
        node.tell({"default_readout": default})
        for row in sorted(rows, key=lambda row: (row["readout"] != default, row["readout"])):
            node.tell({row["readout"]: f"{row['lat']:.5f}, {row['lon']:.5f}, {row['error_km']:.3f} km off"})
        node.add("of", self.made.artefact(f"evaluation_report/{WHOLE}"))
        picture = self.picture(image_id)
        if picture is None:
            node.missing.append("its picture is in no image table any more")
        else:
            node.add("asked with", picture)
        if neighbours:
            self._add_neighbours(node, image_id, neighbours)
        return node

    def _add_neighbours(self, node: Node, image_id: str, count: int) -> None:
        from geoloc_pipeline.orchestration.lineage.search import search_again

        found = search_again(self.home, self.reader, image_id, count)
        if isinstance(found, str):
            node.missing.append(f"its neighbours: {found}")
            return
        for rank, (neighbour_id, score) in enumerate(found, start=1):
            neighbour = self.picture(neighbour_id)
            if neighbour is None:
                node.missing.append(f"neighbour {rank}, {neighbour_id}, is in no image table any more")
            else:
                node.add(f"neighbour {rank}, similarity {score:.4f}", neighbour)


def _summed(rows: Iterable[dict[str, Any]], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of some columns over rows, each once, joined."""
    told: dict[str, list[str]] = {}
    for row in rows:
        for name in names:
            if row.get(name) is not None and str(row[name]) not in told.setdefault(name, []):
                told[name].append(str(row[name]))
    return {name: ", ".join(values) for name, values in told.items() if values}
