"""HTTP exchanges: the interface, TLS trust, the general client, and our own error messages.

The client of load runs, which measures times itself, is in `batcher.load.connection`.
"""

from __future__ import annotations

from batcher.transport.client import HttpTransport
from batcher.transport.protocol import Transport, Trust

__all__ = ["HttpTransport", "Transport", "Trust"]
