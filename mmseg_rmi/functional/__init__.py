"""The method in pure torch: regions, their statistics, the objective."""
