"""Every figure beside what one would do instead; one script a stage, each prints a table.

Run all: `make bench`. Run one: `python -m benchmarks.render`. What was measured, where: `RESULTS.md`.
"""
