"""Health check of the API's container: exit 0 if the path named by the argument answers 200."""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException

PORT = 8000


def status(path: str) -> int:
    """What the API of this container answers; not asked through a proxy, whatever the environment says."""
    connection = HTTPConnection("127.0.0.1", PORT, timeout=8)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def main() -> None:
    """Ask, and exit."""
    path = sys.argv[1]
    try:
        answer = status(path)
    except (OSError, HTTPException) as error:
        sys.exit(f"{path}: {error}")
    if answer != 200:
        sys.exit(f"{path}: status {answer}")


if __name__ == "__main__":
    main()
