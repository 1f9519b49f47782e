"""The search page behind `geoloc serve`, and its JSON API.

Belongs here: HTTP around the desk: what comes in, what goes out, and which status it has.
Does not belong here: finding the place and drawing the evidence (`retrieval`).
"""
