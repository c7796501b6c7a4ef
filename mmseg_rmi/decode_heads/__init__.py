"""The decode heads of the paper's two networks."""
