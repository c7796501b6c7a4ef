"""Helpers that several subpackages share; pure PyTorch."""
