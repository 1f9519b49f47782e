"""Pictures to vectors: the model at work, and the job that embeds a partition.

Belongs here: views decoded ahead, batches, what need not be embedded again, what the heads say of a picture.
Does not belong here: where vectors are kept and found (`gallery`).
"""
