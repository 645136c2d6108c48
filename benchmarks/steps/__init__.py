"""The parts of `benchmarks/step.py`: what is stepped, by whom, how it is measured and shown."""
