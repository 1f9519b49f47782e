"""What can be said of a picture's place, which side of the split it is on, which classes there are, and what training reads.

Belongs here: spatial joins of pictures with the census and the map, splits, the vocabulary, training shards.
Does not belong here: collecting pictures (`imagery`), the loss that uses the labels (`training`).
"""
