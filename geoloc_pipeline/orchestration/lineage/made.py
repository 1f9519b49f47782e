"""What was made as a whole: artefacts with their receipts, the model, the gallery's collection.

Belongs here: facts out of receipts and of the files that training leaves for people.
Does not belong here: rows of tables (`lineage`, `places`).
"""

import json
from typing import Any

from geoloc_pipeline.orchestration.artefacts import Artefact, find_artefact
from geoloc_pipeline.orchestration.lineage.rows import Node
from geoloc_pipeline.storage.layout import WHOLE, Home

_SHORT = 16
_DUMP_FACTS = ("file", "source", "sequence", "timestamp", "md5")


class Made:
    """Artefacts, model and collection of one home as nodes.

    Args:
        home: Where everything is.
        check: Compare the files with their receipts; reads them whole.
    """

    def __init__(self, home: Home, *, check: bool = False) -> None:
        self._home, self._check = home, check
        self._nodes: dict[str, Node] = {}

    def artefact(self, name: str, *, deep: bool = False) -> Node:
        """Return an artefact by its name; `deep`: with everything that went in, and so on."""
        if name in self._nodes:
            return self._nodes[name]
        key = name.partition("/")[0]
        node = self._nodes[name] = Node("dump" if key == "osm_dump" else "artefact", name)
        found = find_artefact(self._home, name)
        if found is None:
            node.missing.append("it has no receipt: never made here, or in the making")
            return node
        node.tell({"content": found.receipt.content_hash[:_SHORT], "rows": found.receipt.metadata.get("rows")})
        node.tell({name: value for name, value in found.settings.items() if isinstance(value, str | int | float)})
        if key == "osm_dump":
            node.tell({name: found.receipt.metadata.get(name) for name in _DUMP_FACTS})
            node.tell({"licence": "ODbL-1.0", "attribution": "(c) OpenStreetMap contributors"})
        if key == "census_towns":
            node.tell({"attribution": "e-Stat, 2020 census, small areas (processed)"})
        self._add_truth(node, found)
        for source, content in found.upstream.items():
            self._add_source(node, source, content, deep=deep)
        return node

    def _add_truth(self, node: Node, found: Artefact) -> None:
        if self._check:
            node.tell({"files": "as the receipt says" if found.is_true() else "NOT what the receipt says"})

    def _add_source(self, node: Node, name: str, content: str, *, deep: bool) -> None:
        now = find_artefact(self._home, name)
        if now is None:
            node.missing.append(f"it was made from {name}, which is gone")
        elif now.receipt.content_hash != content:
            node.missing.append(f"it was made from {name} as it was before ({content[:_SHORT]}): it is not current")
        if deep or name.startswith("osm_dump/"):
            node.add("made from", self.artefact(name, deep=deep))

    def model(self, version: str = "") -> Node | None:
        """Return the trained model; None where there is none, or another one than `version`."""
        told = _read(self._home.model_export() / "config.json")
        found = find_artefact(self._home, f"geolocation_model/{WHOLE}")
        if found is None or not told or (version and told.get("model_version") != version):
            return None
        name = str(told["model_version"])
        if name in self._nodes:
            return self._nodes[name]
        node = self._nodes[name] = Node("model", name)
        run = _read(self._home.model() / "config.json")
        training = run.get("training_config", {})
        node.tell({"backbone": told["architecture"]["backbone"], "git_commit": run.get("git_commit")})
        node.tell({key: found.receipt.metadata.get(key) for key in ("best_epoch", "val_loss")})
        node.tell({key: found.settings.get(key) for key in ("preset", "processes")})
        node.tell({key: training.get(key) for key in ("seed", "epochs", "batch", "backbone_weights")})
        node.tell({"overrides": json.dumps(found.settings["overrides"]) if found.settings.get("overrides") else None})
        node.tell({"classes": json.dumps(told["architecture"]["class_counts"])})
        node.tell({"checkpoint": found.receipt.content_hash[:_SHORT]})
        node.tell({"forgotten_since": found.receipt.metadata.get("forgotten_since")})
        self._add_truth(node, found)
        for source, content in (run.get("data_versions") or found.upstream).items():
            self._add_source(node, source, content, deep=False)
            node.add("trained on", self.artefact(source))
        return node

    def collection(self, name: str = "") -> Node | None:
        """Return the live collection, as its receipt tells; None where there is none, or another one than `name`."""
        found = find_artefact(self._home, f"qdrant_collection/{WHOLE}")
        if found is None or (name and found.receipt.metadata.get("collection") != name):
            return None
        name = str(found.receipt.metadata["collection"])
        if name in self._nodes:
            return self._nodes[name]
        node = self._nodes[name] = Node("collection", name)
        node.tell({"points": found.receipt.metadata.get("points"), "gallery": found.settings.get("gallery")})
        for source, content in found.upstream.items():
            self._add_source(node, source, content, deep=False)
            node.add("holds", self.artefact(source))
        model = self.model(name.split("__")[1])
        if model is None:
            node.missing.append(f"the model of its vectors, {name.split('__')[1]}, is not in this home any more")
        else:
            node.add("vectors of", model)
        return node


def _read(path: Any) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return told if isinstance(told, dict) else {}
