"""`python -m winit_jax` is the command line."""

from winit_jax.cli.main import main

if __name__ == "__main__":
    main()
