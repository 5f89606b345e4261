"""File operations: writing completely, privately from the first byte on, and locking."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from batcher.core.errors import ConfigurationError, InputError

_PRIVATE = 0o600
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""Errors of flock(2) if the file system, or the server behind it, does not support locks."""
_LONGEST = 255
"""Bytes of a file's name, on nearly every file system (NAME_MAX of limits.h)."""


class NoLocksError(OSError):
    """A file is on a file system without locks."""


def shortened(name: str, room: int) -> str:
    """A file name, cut so that `room` bytes can be appended to it."""
    return os.fsencode(name)[: _LONGEST - room].decode("utf-8", "ignore")


def write_whole(write: Callable[[bytes], int | None], data: bytes) -> None:
    """Write all of it with an unbuffered `write`, which may take less than it is given (write(2)).

    Raises:
        OSError: When the rest cannot be written; the file may contain a part of the data then.

    """
    rest = memoryview(data)
    while rest:
        taken = write(bytes(rest) if len(rest) < len(data) else data)
        if taken is None:
            raise BlockingIOError("the file does not accept more data at the moment")
        rest = rest[taken:]


def open_private(path: Path, mode: str, buffering: int = -1) -> BinaryIO:
    """Open a file to be written; a new one is readable by its owner only, one that exists keeps its mode.

    `mode` is `wb`, `xb` or `ab`; `buffering` is as for `open`, 0 for none.

    Raises:
        OSError: When it cannot be opened.

    """
    opened = open(path, mode, buffering, opener=lambda name, flags: os.open(name, flags, _PRIVATE))  # noqa: SIM115 — for the caller
    return cast("BinaryIO", opened)


@contextmanager
def replaced_privately(path: Path) -> Iterator[Path]:
    """A path next to this one, moved to `path` at the end, for a library that creates its files readable by all.

    Meanwhile it is inside a folder that only the owner can enter.

    Raises:
        OSError: When it cannot be created.

    """
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name[:100]}.", dir=path.parent))  # mode 0700
    try:
        made = folder / "made"
        yield made
        made.chmod(_PRIVATE)
        made.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file to be written that replaces the one at `path` only once it is complete.

    A new file is readable by its owner only, an existing one keeps its mode. A device or a pipe is written to directly,
    and so is a file in a folder where no file can be created.

    Raises:
        OSError: When it cannot be written.

    """
    known, real = found(path), path.resolve()
    is_plain = known is None or stat.S_ISREG(known.st_mode)
    if not (is_plain and os.access(real.parent, os.W_OK) and os.access(real if known else real.parent, os.W_OK)):
        with open_private(path, "wb") as file:
            yield file
        return
    path = real
    with replaced_privately(path) as made, made.open("wb") as file:
        yield file
    if known is not None:
        path.chmod(stat.S_IMODE(known.st_mode))


def found(path: Path) -> os.stat_result | None:
    """The status of a path; None if nothing exists there.

    Raises:
        ConfigurationError: When nothing can have this name, or it cannot be accessed.

    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be used: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{str(path)!r} cannot be used: {error}") from None


def is_file(path: Path) -> bool:
    """Whether it is a regular file, not a folder or device; raises as `found` does."""
    known = found(path)
    return known is not None and stat.S_ISREG(known.st_mode)


def check_file(path: Path) -> None:
    """Check that there is a regular file.

    Raises:
        InputError: When there is none, or a folder, or something else.

    """
    if is_folder(path):
        raise InputError(f"{path} is a folder; name the files in it")
    if not is_file(path):
        raise InputError(f"{path}: no such file")


def is_folder(path: Path) -> bool:
    """Whether it is a folder; raises as `found` does."""
    known = found(path)
    return known is not None and stat.S_ISDIR(known.st_mode)


def check_replaceable(path: Path) -> None:
    """Check that a file can be created, or replaced as a whole, at this path.

    Raises:
        ConfigurationError: When it is not the name of a file, or there is something else: a folder, a device.

    """
    if not is_unicode(str(path)):
        raise ConfigurationError(f"{str(path)!r} cannot be written: the name is not UTF-8; choose another name")
    if path.name in {"", ".."} or (found(path) is not None and not is_file(path)):
        raise ConfigurationError(f"{path} cannot be written: it is not a regular file; choose another name")


@contextmanager
def made_together(paths: Sequence[Path]) -> Iterator[None]:
    """Files that the body creates or replaces, all or none: if it fails, those that did not exist before are removed.

    Raises:
        ConfigurationError: When one of them cannot be written as a file.

    """
    for path in paths:
        check_replaceable(path)
    new = [path for path in paths if found(path) is None]
    try:
        yield
    except BaseException:
        for path in new:
            remove(path)
        raise


def remove(path: Path) -> None:
    """Remove a file, if there is one."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded; a file name that is not UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def expanded(text: str, key: str) -> Path:
    """A path as written by the user, with `~` replaced by the home folder.

    Args:
        text: As written.
        key: Where it was written, for the error.

    Raises:
        ConfigurationError: When it is not a valid path.

    """
    if "\0" in text:
        raise ConfigurationError(f"{key} contains a NUL character, which is invalid in a path")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigurationError(f"{key}: {text} begins with a user who has no home folder on this machine") from None


def is_same(path: Path, descriptor: int) -> bool:
    """Whether an open file is still what the path names (device and inode)."""
    try:
        now = path.stat(follow_symlinks=True)
    except OSError:
        return False
    opened = os.fstat(descriptor)
    return (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino)


def try_flock(descriptor: int, *, shared: bool = False) -> bool:
    """Try to take the operating system's lock on an open file; returns whether it was taken.

    Raises:
        NoLocksError: When the file system does not support locks; then nobody holds one.
        OSError: When it cannot be taken for another reason.

    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocksError(
                error.errno, f"its file system does not support locks ({error.strerror}); use a local disk"
            ) from None
        raise
    return True


def lock(path: Path, *, create: bool, shared: bool = False) -> int | None:
    """Take the operating system's lock on a file; returns the descriptor that holds it, None if others have it.

    A new file is readable by its owner only. A file that was removed or replaced between opening and locking is not
    the one that others lock; it is opened again. So whoever holds the lock may remove the file.

    Raises:
        OSError: When the file cannot be opened.

    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), _PRIVATE)
        try:
            is_taken = try_flock(descriptor, shared=shared)
        except BaseException:
            os.close(descriptor)
            raise
        if not is_taken:
            os.close(descriptor)
            return None
        if is_same(path, descriptor):
            return descriptor
        os.close(descriptor)
