"""``python -m worker``: the same as ``unmask``."""

from worker.cli import main

if __name__ == "__main__":
    main()
