"""The parts of ``tools/swap_loss.py``."""
