"""The neighbours of a test picture, searched again: exactly, with the model and the collection of today."""

from geoloc_pipeline.errors import GeolocError
from geoloc_pipeline.orchestration.lineage.rows import Reader
from geoloc_pipeline.storage.layout import Home


def search_again(home: Home, reader: Reader, image_id: str, count: int) -> list[tuple[str, float]] | str:
    """Return the pictures that are most like a test picture as a whole, best first, with their similarity.

    Args:
        home: Where model, gallery and views are.
        reader: Of its tables.
        image_id: Of the test picture.
        count: How many.

    Returns:
        Ids and cosine similarities; or, where it cannot be searched, why.
    """
    rows = reader.rows("training_shards", "image_id", [image_id])
    if not rows:
        return "its views are not in training_shards any more"
    if not home.checkpoint().is_file():
        return "this home has no model any more"
    import pandas as pd

    from geoloc_pipeline.retrieval.answering.desk import gallery_location
    from geoloc_pipeline.retrieval.embedding.embed import embed_shards
    from geoloc_pipeline.retrieval.embedding.queries import whole_pictures
    from geoloc_pipeline.retrieval.gallery.gallery import open_gallery

    partition = rows[0][0]
    views = pd.DataFrame([row for at, row in rows if at == partition])
    folder = home.images("training_shards", partition)
    try:
        embedded = embed_shards(home.checkpoint(), views, folder, splits=tuple(views["split"].unique()))
        with open_gallery(gallery_location(home)) as gallery:
            if gallery.model_version != embedded["model_version"].iloc[0]:
                return "the live collection holds another model's vectors"
            found = gallery.search(whole_pictures(embedded).vectors, top_k=count, exact=True)
    except GeolocError as error:
        return str(error)
    return [(str(found.image_id[0, at]), float(found.score[0, at])) for at in range(found.image_id.shape[1])]
