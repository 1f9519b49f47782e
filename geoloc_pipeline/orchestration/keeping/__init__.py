"""What whoever keeps a home does: look it over, forget a picture, tidy up, make it once more.

Belongs here: the commands beside the assets, and their work on files and records.
Does not belong here: steps that assets do (`assets`).
"""
