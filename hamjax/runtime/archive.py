"""Zip archives that anyone may have made: they are read in memory and within bounds, never unpacked to disk."""

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from hamjax.runtime.errors import UserError
from hamjax.runtime.member_file import METHODS, MemberFile

MAX_MEMBERS = 1_000_000


def open_archive(path: Path, member: zipfile.ZipInfo | None = None) -> zipfile.ZipFile:
    """Open a zip archive, or one that is a member of it.

    Raises:
        UserError: it is no archive, has more than `MAX_MEMBERS` members, or see `MemberFile`.
    """
    what = path if member is None else path / member.filename
    try:
        archive = zipfile.ZipFile(path if member is None else MemberFile(path, member))
    # NotImplementedError: zipfile does not know this version of the format.
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{what}: expected a zip archive, got {error}; fetch or make it again.") from error
    if len(archive.infolist()) > MAX_MEMBERS:
        archive.close()
        raise UserError(f"{what}: expected at most {MAX_MEMBERS:,} members, got more; this is no archive of images.")
    return archive


def require_plain(path: Path, member: zipfile.ZipInfo) -> None:
    """Refuse a member that would lie outside the archive's folder, or stand for another file.

    Raises:
        UserError: its name is absolute or climbs (`..`), or it is a link or a device.
    """
    name = member.filename.replace("\\", "/")
    # Unix keeps the file mode in the upper half; archives made elsewhere have 0 there, which is a plain file.
    kind = stat.S_IFMT(member.external_attr >> 16)
    if name.startswith("/") or ".." in PurePosixPath(name).parts or name[1:2] == ":":
        what = "one whose name leaves its folder"
    elif kind not in (0, stat.S_IFREG):
        what = "a link or a device"
    else:
        return
    raise UserError(f"{path}: expected plain files in the archive, got {what}: {member.filename!r}; do not use it.")


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> bytes:
    """Return a member's bytes, their checksum verified.

    No more than `limit` bytes are ever decompressed, whatever the archive says of the member's size.

    Raises:
        UserError: it is larger, encrypted, compressed in an unusual way, or damaged.
    """
    what = f"{archive.filename}: {member.filename!r}"
    if member.file_size > limit:
        raise UserError(f"{what}: expected at most {limit:,} bytes, got {member.file_size:,}; do not use it.")
    if member.flag_bits & 1 or member.compress_type not in METHODS:
        raise UserError(
            f"{what}: expected a member stored or deflated, and without a password, got another; pack it anew."
        )
    try:
        # One byte more than allowed: the size that an archive states of itself may be a lie.
        with archive.open(member) as file:
            content = file.read(limit + 1)
            file.read(1)  # the checksum is compared at the end
    # RuntimeError: an encryption or a feature that only the member's own header tells of
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{what}: expected a whole member, got {error}; fetch or make the archive again.") from error
    return content
