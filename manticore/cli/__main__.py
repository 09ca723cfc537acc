"""`python -m manticore.cli` is `manticore`."""

from manticore.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
