"""A run as one file of HTML that needs nothing else: `sheets` (what is shown), `packing`, `facts`, `document`."""
