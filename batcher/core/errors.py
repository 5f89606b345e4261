"""Every error that our modules raise, and who must act.

BatcherError                 exit code 1
├── UsageError               2   the user: flags, configuration, unreadable input, a file that is not a ledger
│   ├── ConfigurationError
│   ├── InputError
│   │   └── EmptyInputError
│   ├── LedgerError
│   └── StateError
├── GuardrailError           5   the user: a guardrail refused, nothing was sent
├── LedgerHeldError          7   another run holds the ledger
├── NotBegunError            *   a signal came before anything was begun; nothing was sent
└── TransportError               nobody yet: the delivery code decides
    ├── NotSentError             the request never left; repeating is free
    │   ├── EndpointError        with this configuration, no request can ever be sent
    │   │   ├── UntrustedError   the peer's certificate is not the expected one
    │   │   └── UnknownClientError   the peer, or a proxy, does not accept our identity
    │   └── ExhaustedError       this machine has no more descriptors or memory for it
    └── ReplyLostError           it may have been applied; only repeating it tells
"""

from __future__ import annotations


class BatcherError(Exception):
    """Base of all errors; `exit_code` is the exit code of the command line."""

    exit_code = 1


class UsageError(BatcherError):
    """Something that the user provided cannot be used; nothing was sent."""

    exit_code = 2


class ConfigurationError(UsageError):
    """A setting is missing, unknown, or out of its range."""


class InputError(UsageError):
    """The input cannot be read (any further)."""


class EmptyInputError(InputError):
    """The input is empty: there is not even a header."""


class LedgerError(UsageError):
    """The file is not a ledger, or not one that this operation can use."""


class StateError(UsageError):
    """The file is not a state, or it is the state of another target."""


class GuardrailError(BatcherError):
    """A guardrail refused."""

    exit_code = 5


class LedgerHeldError(BatcherError):
    """Another process is using this ledger."""

    exit_code = 7


class NotBegunError(BatcherError):
    """A signal came before a run had begun: nothing was sent, no files are left. It exits with the signal's code."""

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(f"{reason}; nothing was sent")
        self.exit_code = exit_code


class TransportError(BatcherError):
    """An HTTP exchange was not completed."""


class NotSentError(TransportError):
    """The request did not leave this machine."""


class EndpointError(NotSentError):
    """The endpoint cannot be used as configured: no TLS where TLS is expected, or an impossible host name."""


class ExhaustedError(NotSentError):
    """This machine, not the target, has run out of resources: file descriptors or memory."""


class UntrustedError(EndpointError):
    """TLS verification failed: continuing could hand the credentials to a stranger."""


class UnknownClientError(EndpointError):
    """A client certificate, or the credentials for a proxy, are missing or not accepted."""


class ReplyLostError(TransportError):
    """The request was sent, and no complete reply came back."""


class OversizedReplyError(ReplyLostError):
    """The reply has a status, and a body that is larger than any that is read."""

    def __init__(self, status: int) -> None:
        super().__init__("no complete reply: the body is larger than 8 MiB")
        self.status = status
