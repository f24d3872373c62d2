"""`python -m benchmarks.origin`: prepare a project, serve it, print the URL."""

from __future__ import annotations

import argparse
import socket

import uvicorn

from benchmarks.origin.app import Replay
from benchmarks.origin.project import Project


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--live", action="store_true", help="history as JSON, not Parquet")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds a request")
    parser.add_argument("--keys", type=int, default=0, help="more keys of config and summary")
    parser.add_argument("--rate-limit", type=float, help="API requests a second")
    parser.add_argument("--certificate", help="a PEM file with key and certificate: serve TLS")
    asked = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        scheme = "https" if asked.certificate else "http"
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        project = Project(asked.runs, asked.rows, asked.live, url, asked.keys)
        project.prepare()
        app = Replay(project, asked.latency, asked.rate_limit)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_level="warning",
            access_log=False,
            ssl_certfile=asked.certificate,
        )
        print(url, flush=True)
        uvicorn.Server(config).run(sockets=[listener])


main()
