"""The same measurements in a PyTorch module: its calls are recorded once, tapped, and measured as they pass.

`operations` says what a call of PyTorch is, `recording` sees all of them, `survey` finds the sites among them, `phi`
knows elementwise functions again, `statistics` says what a tap measures, `passes` goes forth and back, `probe` makes
the tables. Nothing here is imported unless a module of PyTorch is probed.
"""
