"""The theory lab: power-law random features, where log-time schedules come from (spec/plrf.md)."""
