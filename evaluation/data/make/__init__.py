"""Makes the sample data: `python -m evaluation.data.make` writes evaluation/data/sample anew, byte for byte.

months            the 24 months and how they are written
meridian_metrics  a recipe-box company, month by month: the one source of its figures
fennick_metrics   a maker of pump sensors, likewise
"""
