"""Where one thing comes from: from an answer back to the dump, the licence and the commit.

Belongs here: following receipts and rows from one artefact to the next; how the result is shown.
Does not belong here: changing anything in a home (`keeping`).
"""
