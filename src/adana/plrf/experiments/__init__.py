"""The experiments of the theory lab: each a function that returns sentences, charts and tables."""
