"""`python -m quantlab` is the command line."""

from quantlab.cli.main import main

if __name__ == "__main__":
    main()
