"""How steps run outside the UI: worker processes, the trainer's process, the whole chain in a terminal.

Belongs here: processes, their progress and why they ended.
Does not belong here: what the steps do (`assets`).
"""
