"""What a sweep has shown: tables, tests against a baseline, curves and alignments, from its run directories.

measures.py reads every figure of every configuration, comparison.py tests them against the baseline, tables.py
and plots.py show them, and formats.py and page.py write them as Markdown, CSV, LaTeX and one HTML page.
"""
