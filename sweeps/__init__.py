"""What to run and where: sweep files, plans, run folders and the command line."""
