"""The description of the API, OpenAPI 3.1: what `/openapi.json` says and the page at `/api` shows."""

from __future__ import annotations

from typing import Any

from geoloc_pipeline import __version__
from geoloc_pipeline.retrieval.answering.laps import STAGES
from geoloc_pipeline.retrieval.reading.readouts import BATCH_READOUTS
from geoloc_pipeline.web import answering, batch
from geoloc_pipeline.web.wishes import MOST_NEIGHBOURS

Plain = dict[str, Any]

_NUMBER: Plain = {"type": "number"}
_TEXT: Plain = {"type": "string"}
_COUNT: Plain = {"type": "integer", "minimum": 0}
_MAYBE: Plain = {"type": ["number", "null"]}


def openapi() -> Plain:
    """Return the description as plain values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "geoloc: where was this photo taken?",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": (
                "A photo in; a place, the regions that hold it 50 and 90 times in 100, and the pictures that speak for it out. "
                "Photos stay in memory and are forgotten with their answer; their EXIF position never has a part in it. "
                'Every fault comes as {"error": sentence}.'
            ),
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "GEOLOC_SERVE_TOKEN, where it is set"}
            },
        },
        "security": [{}, {"token": []}],
        "paths": _answers() | _batches() | _surroundings() | _operation(),
    }


def _schemas() -> dict[str, Plain]:
    place = {"lat": _NUMBER, "lon": _NUMBER}
    guess = _object({"code": _TEXT, "name": _TEXT, "probability": _NUMBER})
    neighbour = _object(
        {
            "rank": _COUNT,
            "image_id": _TEXT,
            **place,
            "score": _NUMBER | {"description": "cosine similarity, -1 to 1"},
            "distance_km": _NUMBER | {"description": "from the answer"},
            **dict.fromkeys(("source", "licence", "attribution", "source_url", "captured_at", "place"), _TEXT),
        }
    )
    answer = _object(
        {
            **place,
            "readout": _TEXT,
            "kind": _TEXT,
            "region_50_km": _MAYBE | {"description": "radius that holds the truth in 50 of 100 cases; null: not calibrated"},
            "region_90_km": _MAYBE | {"description": "the same for 90 of 100"},
            "spread_km": _NUMBER | {"description": "half of the neighbours' weight lies within it"},
            "names": {"type": "object", "additionalProperties": _TEXT},
            "heads": {"type": "object", "additionalProperties": {"type": "array", "items": guess}},
            "familiarity": _MAYBE
            | {"description": "share of validation pictures no more like the gallery; small: unlike anything known"},
            "is_abstained": {"type": "boolean"},
            "abstain_text": _TEXT,
            "is_on_land": {"type": ["boolean", "null"]},
            "is_in_box": {"type": "boolean", "description": "whether it lies in the box around Japan"},
            "regions_text": _TEXT,
            "model_version": _TEXT,
            "neighbours": {"type": "array", "items": neighbour},
            "exif": {"description": "only with exif=1: where the photo says that it was taken; null when it does not say"},
            "query": _TEXT | {"description": "name for asking again with another filter, without the photo; half an hour"},
            "timings_ms": {"type": "object", "properties": dict.fromkeys(STAGES, _NUMBER)},
        }
    )
    result = _object({"name": _TEXT, "answer": {"$ref": "#/components/schemas/Answer"}, "error": _TEXT}, required=["name"])
    return {
        "Error": _object({"error": _TEXT}),
        "Answer": answer | {"required": ["lat", "lon", "neighbours"]},
        "Batch": _object(
            {
                "id": _TEXT,
                "state": {"enum": ["running", "done"]},
                "photos": _COUNT,
                "done": _COUNT,
                "failed": _COUNT,
                "results": {"type": "array", "items": result},
            }
        ),
    }


def _object(properties: Plain, *, required: list[str] | None = None) -> Plain:
    return {"type": "object", "properties": properties, "required": list(properties) if required is None else required}


def _parameters() -> list[Plain]:
    codes = {"type": "array", "items": _TEXT}
    return [
        _query("top_k", {"type": "integer", "minimum": 1, "maximum": MOST_NEIGHBOURS, "default": 100}, "neighbours to ask for"),
        _query("readout", {"enum": list(BATCH_READOUTS)}, "how to read them; the one that won on validation when absent"),
        _query("prefecture", codes, "only pictures of these prefectures (JIS X 0401, two digits); may come several times"),
        _query("source", codes, "only pictures of these sources; may come several times"),
        _query("abstain_over_km", _NUMBER, "give no answer when the 90 % region is larger"),
        _query("abstain_below", _NUMBER, "give no answer when the familiarity is smaller (0 to 1)"),
    ]


def _query(name: str, schema: Plain, about: str) -> Plain:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": about}


def _photo() -> Plain:
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {"schema": _object({"photo": {"type": "string", "format": "binary"}})}
    return {
        "description": f"the photo: JPEG, PNG, WebP, TIFF, GIF, BMP or AVIF, at most {answering.LIMIT_BYTES // 10**6} MB; "
        "as raw body, or as the only file of a form",
        "content": {"image/*": binary, "application/octet-stream": binary, "multipart/form-data": form},
    }


def _responses(good: Plain, *, status: str = "200", faults: str = "400 401 413 503") -> Plain:
    words = {
        "400": "the photo or a parameter cannot be used",
        "401": "a token is needed",
        "404": "not known, or forgotten",
        "408": "the photo came too slowly",
        "410": "the server has forgotten the earlier photo: send it again",
        "413": "the photo has too many bytes or pixels",
        "503": "the gallery is away or of another model, or too many photos wait (then with Retry-After)",
    }
    fault = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    return {status: good} | {code: {"description": words[code]} | fault for code in faults.split()}


def _json(schema: str, about: str) -> Plain:
    return {"description": about, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _answers() -> Plain:
    exif = _query("exif", {"enum": ["0", "1"]}, "1: tell the photo's own EXIF position beside the answer, as a check")
    again = _query("query", _TEXT, "of an earlier answer: ask again with another filter; the body stays empty")
    language = _query("lang", {"enum": ["en", "ja"]}, "of the page; by Accept-Language when absent")
    name = _query("name", _TEXT, "of the photo, on the page")
    page = {"description": "one self-contained HTML file", "content": {"text/html": {"schema": _TEXT}}}
    return {
        "/api/locate": {
            "post": {
                "summary": "Where was this photo taken?",
                "parameters": [*_parameters(), exif, again],
                "requestBody": _photo(),
                "responses": _responses(_json("Answer", "the answer"), faults="400 401 408 410 413 503"),
            }
        },
        "/api/evidence": {
            "post": {
                "summary": "The answer as an evidence page that opens anywhere, without the network",
                "parameters": [*_parameters(), language, name],
                "requestBody": _photo(),
                "responses": _responses(page, faults="400 401 408 413 503"),
            }
        },
    }


def _batches() -> Plain:
    job = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
    files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    body = {"description": "the photos", "content": {"multipart/form-data": {"schema": _object({"photo": files})}}}
    limits = f"at most {batch.MOST_PHOTOS} photos and {batch.LIMIT_BYTES // 10**6} MB"
    return {
        "/api/batch": {
            "post": {
                "summary": f"Many photos at once: {limits}; begins a job and returns at once",
                "parameters": _parameters(),
                "requestBody": body,
                "responses": _responses(_json("Batch", "the job that was begun"), status="202"),
            }
        },
        "/api/batch/{id}": {
            "get": {
                "summary": "How far a job is, and its results so far; forgotten half an hour after the last look",
                "parameters": [job],
                "responses": _responses(_json("Batch", "the job"), faults="401 404"),
            },
            "delete": {
                "summary": "End a job and forget it",
                "parameters": [job],
                "responses": _responses({"description": "ended"}, status="204", faults="401 404"),
            },
        },
    }


def _surroundings() -> Plain:
    level = _query("level", {"enum": ["coast", "prefecture", "municipality"]}, "which areas")
    code = _query("prefecture", {"type": "array", "items": _TEXT}, "only in these prefectures")
    picture = {"name": "image_id", "in": "path", "required": True, "schema": _TEXT}
    width = _query("width", {"enum": ["240", "960"]}, "pixels, at most")
    geojson = {"description": "GeoJSON", "content": {"application/geo+json": {"schema": {"type": "object"}}}}
    webp = {"description": "WebP without EXIF", "content": {"image/webp": {}}}
    return {
        "/api/about": {
            "get": {
                "summary": "Model, gallery, read-outs, and the prefectures and sources that can be searched",
                "responses": _responses({"description": "plain values", "content": {"application/json": {}}}, faults="401 503"),
            }
        },
        "/api/outlines": {
            "get": {
                "summary": "Outlines of areas, for drawing a map",
                "parameters": [level, code],
                "responses": _responses(geojson, faults="400 401"),
            }
        },
        "/api/pictures/{image_id}": {
            "get": {
                "summary": "A picture that an answer has named",
                "parameters": [picture, width],
                "responses": _responses(webp, faults="400 401 404"),
            }
        },
    }


def _operation() -> Plain:
    health = {"description": "model and gallery answer", "content": {"application/json": {}}}
    text = {"description": "Prometheus text", "content": {"text/plain": {}}}
    return {
        "/healthz": {
            "get": {"summary": "Whether the model and the gallery answer", "responses": _responses(health, faults="503")}
        },
        "/metrics": {
            "get": {"summary": "Requests, seconds by stage, queue, gallery", "responses": _responses(text, faults="401")}
        },
    }
