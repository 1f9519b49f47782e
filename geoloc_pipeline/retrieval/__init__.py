"""One picture in; a place, its neighbours and the evidence out.

Belongs here: embeddings of pictures (`embed`), the gallery (`gallery`), reading a place from neighbours (`readouts`), the
answer (`locate`) and its page (`evidence`, `heatmap`, `maps`, `places`).
Does not belong here: training the model, and judging many answers at once (`evaluation`).
"""
