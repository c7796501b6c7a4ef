"""Compare losses: run a plan of trainings cell by cell, and report what came of it."""
