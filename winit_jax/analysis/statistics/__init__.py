"""What follows from tables: one number for seeds, intervals, regimes, deviations, growth, the best learning rate."""
