"""One picture in; a place, its neighbours and the evidence out.

Five rooms, each on top of the one before: `embedding` makes vectors of pictures, `gallery` keeps and finds them, `reading`
makes a place of what was found, `answering` tells it with its evidence, `trials` puts all of it to the test.

Belongs here: everything between a trained model and an answer.
Does not belong here: training the model; counting and showing many answers' errors (`evaluation`).
"""
