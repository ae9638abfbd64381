"""A run as a file: recorded, written, read, and played again.

Loaded only where somebody asks for a report, a trace or a replay.
"""
