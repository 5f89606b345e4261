"""Files as this program needs them: written whole, private from the first byte on, and locked."""

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
"""What flock(2) says where the file system, or the server behind it, has none."""
_LONGEST = 255
"""Bytes of a file's name, on nearly every file system (NAME_MAX of limits.h)."""


class NoLocksError(OSError):
    """A file cannot be locked where it lies."""


def shortened(name: str, room: int) -> str:
    """A file's name, or the beginning of it, that leaves `room` bytes for what is put behind it."""
    return os.fsencode(name)[: _LONGEST - room].decode("utf-8", "ignore")


def write_whole(write: Callable[[bytes], int | None], data: bytes) -> None:
    """Write all of it with an unbuffered `write`, which may take less than it is given (write(2)).

    Raises:
        OSError: When the rest cannot be written; a part of the data may be in the file then.

    """
    rest = memoryview(data)
    while rest:
        taken = write(bytes(rest) if len(rest) < len(data) else data)
        if taken is None:
            raise BlockingIOError("the file takes nothing more at the moment")
        rest = rest[taken:]


def open_private(path: Path, mode: str, buffering: int = -1) -> BinaryIO:
    """Open a file to be written; a new one is readable by its owner only, one that exists keeps its mode.

    `mode` is `wb`, `xb` or `ab`, and `buffering` 0 for none, as of `open`.

    Raises:
        OSError: When it cannot be opened.

    """
    opened = open(path, mode, buffering, opener=lambda name, flags: os.open(name, flags, _PRIVATE))  # noqa: SIM115 — for the caller
    return cast("BinaryIO", opened)


@contextmanager
def replaced_privately(path: Path) -> Iterator[Path]:
    """A path beside this one for a library that makes its files itself, readable by all; moved to `path` at the end.

    Nobody else ever sees more than a folder that only the owner can enter.

    Raises:
        OSError: When there is no place for it.

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
    """A file to be written, which has its name only once it is whole; what was there before stays until then.

    A new one is readable by its owner only, one that exists keeps its mode. A device or a pipe is written to as it is,
    and so is a file in a folder where nothing can be made.

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
    """What the system knows of a path; None where there is nothing.

    Raises:
        ConfigurationError: When there can be nothing of this name, or it cannot be looked at.

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
    """Whether there is a file, and no folder or device; raises as `found` does."""
    known = found(path)
    return known is not None and stat.S_ISREG(known.st_mode)


def check_file(path: Path) -> None:
    """See that there is a file to be read.

    Raises:
        InputError: When there is none, or a folder, or something else.

    """
    if is_folder(path):
        raise InputError(f"{path} is a folder; give the files in it that are meant")
    if not is_file(path):
        raise InputError(f"{path}: there is no such file")


def is_folder(path: Path) -> bool:
    """Whether there is a folder; raises as `found` does."""
    known = found(path)
    return known is not None and stat.S_ISDIR(known.st_mode)


def check_replaceable(path: Path) -> None:
    """See that a path can be that of a file which is made, or replaced as a whole.

    Raises:
        ConfigurationError: When it names no file, or what is there is none: a folder, a device.

    """
    if not is_unicode(str(path)):
        raise ConfigurationError(f"{str(path)!r} cannot be written: the name is not UTF-8; choose another one")
    if path.name in {"", ".."} or (found(path) is not None and not is_file(path)):
        raise ConfigurationError(f"{path} cannot be written: it is no file; choose another name")


@contextmanager
def made_together(paths: Sequence[Path]) -> Iterator[None]:
    """Files that the body makes or replaces, all or none: when it fails, those are removed that were not there before.

    Raises:
        ConfigurationError: When one of them cannot be a file.

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
    """Remove a file; it is well where there is none, nor can be."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()


def is_unicode(text: str) -> bool:
    """Whether it can be written down: a file name that is no UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def expanded(text: str, key: str) -> Path:
    """A path that somebody wrote, its `~` replaced by the home folder.

    Args:
        text: As written.
        key: Where it was written, for the error.

    Raises:
        ConfigurationError: When it can be no path.

    """
    if "\0" in text:
        raise ConfigurationError(f"{key} holds a NUL character, which no path can")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigurationError(f"{key}: {text} begins with a user who has no home folder here") from None


def is_same(path: Path, descriptor: int) -> bool:
    """Whether an open file is still what the path names (device and inode)."""
    try:
        now = path.stat(follow_symlinks=True)
    except OSError:
        return False
    opened = os.fstat(descriptor)
    return (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino)


def try_flock(descriptor: int, *, shared: bool = False) -> bool:
    """Take the operating system's lock on an open file, unless others have it; gives whether it was taken.

    Raises:
        NoLocksError: When the file system knows no such locks: then nobody has any.
        OSError: When it cannot be taken for another reason.

    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocksError(
                error.errno, f"its file system knows no locks ({error.strerror}); use a local disk"
            ) from None
        raise
    return True


def lock(path: Path, *, create: bool, shared: bool = False) -> int | None:
    """Take the operating system's lock on a file; gives the descriptor that holds it, None when others have it.

    A new file is readable by its owner only. What was removed or replaced between being opened and being locked is
    not what others lock: then the file is opened anew. So whoever holds the lock may remove the file.

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
