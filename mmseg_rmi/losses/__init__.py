"""Losses registered with MMSegmentation."""
