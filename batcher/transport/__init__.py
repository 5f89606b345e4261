"""One HTTP exchange: the port, how a peer is trusted, the general client, and what went wrong in words of our own.

The client of load runs, which takes its own times, is in `batcher.load.connection`.
"""

from __future__ import annotations

from batcher.transport.client import HttpTransport
from batcher.transport.protocol import Transport, Trust

__all__ = ["HttpTransport", "Transport", "Trust"]
