"""``python -m service.cli``: the ``sosp`` command without its entry point."""

from service.cli.main import main

if __name__ == "__main__":
    main()
