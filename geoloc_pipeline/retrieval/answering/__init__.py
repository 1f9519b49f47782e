"""One photo in, an answer out: estimate, regions, evidence, in words, on maps and as a page.

Belongs here: what a person or a program sees of one answer.
Does not belong here: answers to many pictures whose place is known (`trials`).
"""
