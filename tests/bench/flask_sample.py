"""Owns a baseline: a receiver in the shape of the providers' Flask sample, without its download, on Flask's own server.

It does what the sample does for a success: it reads the JSON, takes out code, message, id and link, prints a line for
each step and answers 200. Nothing is stored.
"""

from __future__ import annotations

import sys

from flask import Flask, Response, jsonify, request

from tests.bench.targets import PATH

__all__: list[str] = []

app = Flask(__name__)
FAILURES = {400: "refused parameters", 451: "source could not be fetched", 500: "fault on their side"}


@app.route(PATH, methods=["POST"])
def hear() -> tuple[Response, int]:
    """Read one callback as the sample does."""
    told = request.json
    code, message, data = told.get("code"), told.get("msg"), told.get("data", {})
    task_id, link = data.get("task_id"), data.get("video_url")
    print(f"video callback for {task_id}: code {code}, {message}")
    if code == 200:
        print("the video is made")
        print(f"it is at {link}")
    else:
        print(f"the video failed: {message}")
        if code in FAILURES:
            print(FAILURES[code])
    return jsonify({"status": "received"}), 200


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]))
