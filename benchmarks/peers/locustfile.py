"""The same request again and again, in a closed loop, with locust's faster client.

BODY=file locust -f locustfile.py
"""

from __future__ import annotations

import os
from pathlib import Path

from locust import FastHttpUser, constant, task

BODY = Path(os.environ["BODY"]).read_bytes()
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer a-token"}


class Sender(FastHttpUser):
    """One of so many that do not wait."""

    wait_time = constant(0)

    @task
    def send(self) -> None:
        self.client.request("PATCH", "/oserve/v1/miniapp/group/membership/", data=BODY, headers=HEADERS)
