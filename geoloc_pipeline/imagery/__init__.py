"""From points and photo sets to the archive: licensed, attributed pictures as WebP with their place in EXIF.

Belongs here: choosing a picture for a point, opening strangers' pictures safely, panoramas into views, encoding, and collecting
it all so that a run that dies loses at most one chunk.
Does not belong here: speaking to services (`sources`), saying what a picture shows (`labels`).
"""
