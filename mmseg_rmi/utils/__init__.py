"""Checks of arguments and facts about torch that several subpackages need; pure torch."""
