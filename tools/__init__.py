"""Command-line tools; packages of several modules run as ``python -m tools.NAME``."""
