"""Learning: shards and vocabulary in, checkpoint out, as its own program under torchrun.

Belongs here: configuration and presets, the data set over shards, augmentation, the loop, checkpoints, ranks, reporting.
Does not belong here: the architecture and the losses (`model`), searching (`retrieval`). Dagster is spoken to through Pipes
only, from rank 0, and only when it started the program.
"""
