"""Compress a model through a service, and say whether it was worth it.

python examples/compress.py http://127.0.0.1:8000 model.onnx data.npz result --recipe quick
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from service.client import Client, ClientError, JobFailed
from service.schemas import JobView


def main() -> int:
    """Run; the exit code is 1 if the job failed."""
    arguments = _arguments()
    with Client(arguments.server, os.environ.get("SOSP_API_KEY")) as client:
        model, data = client.upload_model(arguments.model), client.upload_dataset(arguments.data)
        job = client.submit(model, data, recipe={"base": arguments.recipe})
        try:
            job.wait(on_update=_tell)
        except JobFailed as failed:
            sys.stderr.write(f"{failed.error.title}: {failed.error.detail}\n")
            return 1
        files = job.download(arguments.place)
    for row in json.loads(files["report.json"].read_text()).get("summary", []):
        sys.stdout.write("  ".join(row) + "\n")
    sys.stdout.write(f"{files['model.onnx']}\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("server", "model", "data", "place"):
        parser.add_argument(name)
    parser.add_argument("--recipe", default="balanced")
    return parser.parse_args()


def _tell(view: JobView) -> None:
    sys.stderr.write(f"{view.stage or view.state}: {view.overall:.0%} {view.message}\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ClientError as error:
        sys.exit(f"error: {error}")
