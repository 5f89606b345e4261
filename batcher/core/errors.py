"""Every error that leaves a module of ours, and who must act.

BatcherError                 exit code 1
├── UsageError               2   the user: flags, configuration, unreadable input, a foreign ledger
│   ├── ConfigurationError
│   ├── InputError
│   │   └── EmptyInputError
│   ├── LedgerError
│   └── StateError
├── GuardrailError           5   the user: a guardrail refused, nothing was sent
├── LedgerHeldError          7   another run holds the ledger
├── NotBegunError            *   a signal came before anything was begun; nothing was sent
└── TransportError               nobody yet: the delivery decides
    ├── NotSentError             the request never left; repeating is free
    │   ├── EndpointError        as it is configured, none ever will
    │   │   ├── UntrustedError   the peer's certificate is not the expected one
    │   │   └── UnknownClientError   the peer, or a proxy, does not take us for whom it expects
    │   └── ExhaustedError       this machine has no more descriptors or memory for it
    └── ReplyLostError           it may have been applied; only a repeat tells
"""

from __future__ import annotations


class BatcherError(Exception):
    """Root of all; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(BatcherError):
    """Something that the user gave cannot be used; nothing was sent."""

    exit_code = 2


class ConfigurationError(UsageError):
    """A setting is missing, unknown, or out of its range."""


class InputError(UsageError):
    """The input cannot be read (any further)."""


class EmptyInputError(InputError):
    """There is nothing in it, not even a header."""


class LedgerError(UsageError):
    """The file is no ledger, or not one that this call can work with."""


class StateError(UsageError):
    """The file is no state, or one of another target."""


class GuardrailError(BatcherError):
    """A guardrail refused."""

    exit_code = 5


class LedgerHeldError(BatcherError):
    """Another process works on this ledger."""

    exit_code = 7


class NotBegunError(BatcherError):
    """A run was to end before it had begun: nothing was sent, nothing is left. It ends with the signal's code."""

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(f"{reason}; nothing was sent")
        self.exit_code = exit_code


class TransportError(BatcherError):
    """One HTTP exchange did not come to its end."""


class NotSentError(TransportError):
    """The request did not leave this machine."""


class EndpointError(NotSentError):
    """Nobody there can be spoken to as it is configured: no TLS where TLS is expected, no possible host."""


class ExhaustedError(NotSentError):
    """This machine, and not the target, is at its end: no descriptors, no memory."""


class UntrustedError(EndpointError):
    """TLS verification failed: going on could hand the credentials to a stranger."""


class UnknownClientError(EndpointError):
    """A client certificate, or the credentials for a proxy, are missing or not accepted."""


class ReplyLostError(TransportError):
    """The request was handed over, and no whole reply came back."""
