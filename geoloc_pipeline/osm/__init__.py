"""What OpenStreetMap knows of a prefecture: its roads and its landmarks, as tables.

Belongs here: which tags count, the extraction with QuackOSM, the identity of roads, the category of landmarks.
Does not belong here: downloading dumps (`sources`), deciding where pictures are wanted (`sampling`).
"""
