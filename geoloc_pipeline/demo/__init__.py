"""A small made-up Japan, and a mirror that serves it over the providers' real protocols.

Belongs here: growing a land (or reading one from real files), publishing it as the real services publish theirs, sending
cameras along its roads, drawing what they see, and answering HTTP as Geofabrik, e-Stat and the street-view providers do.
Does not belong here: clients (`sources`), and anything that a pipeline for the real Japan needs; no other room is imported.
"""
