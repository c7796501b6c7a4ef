"""Measure what losses cost: time, memory and precision."""
