"""What learns: the image encoder, the location encoder, the five heads, their losses, and the saved model.

Belongs here: everything that defines or reads a model (architecture, preprocessing, losses, queue, vocabulary, saved file), so
that a checkpoint can be used through this room alone.
Does not belong here: optimising, epochs, shards on disk (`training`), searching (`retrieval`). Nothing here knows of Dagster.
"""
