"""Hooks registered with MMSegmentation."""
