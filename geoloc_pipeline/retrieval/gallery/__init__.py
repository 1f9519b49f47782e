"""The gallery: every learned picture as points in Qdrant, behind one interface for the server and the engine in process.

Belongs here: building, checking and swapping collections, searching, deleting, what a server's faults mean.
Does not belong here: what neighbours say about a place (`reading`).
"""
