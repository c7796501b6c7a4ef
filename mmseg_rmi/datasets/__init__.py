"""Data sets that MMSegmentation lacks."""
