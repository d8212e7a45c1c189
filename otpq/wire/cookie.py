"""The cookie: the one secret of a cluster, from which all CURVE keys follow.

Who has the cookie may do everything, as in Erlang. It is 256 random bits, written as `otpq-` and 56 letters and digits
that end in a checksum: nothing but `otpq cookie new` makes such a text, so a password typed by a human is refused instead
of being trusted.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from otpq.errors import UsageError

__all__ = ["BadCookie", "Cookie", "KeyPair", "default_cookie_file"]

SECRET_BYTES: Final = 32
CHECK_BYTES: Final = 3
"""32 + 3 bytes are 56 letters of base 32, without padding."""
PREFIX: Final = "otpq-"
FINGERPRINT_BYTES: Final = 8


class BadCookie(UsageError):
    """A cookie, or the file that holds it, is refused; the message says what to do. It never shows the cookie."""


class KeyPair(msgspec.Struct, frozen=True):
    """A CURVE key pair, both halves in the Z85 form that ZeroMQ takes."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"


class Cookie(msgspec.Struct, frozen=True):
    """A cluster's secret. Its `repr` and `str` do not show it; `text()` does, for the file alone."""

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise BadCookie(f"a cookie is {SECRET_BYTES} random bytes, got {len(self.secret)}")

    @classmethod
    def new(cls) -> Cookie:
        """A new cookie: 256 bits of the system's randomness."""
        return cls(os.urandom(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Cookie:
        """The cookie that `text` spells.

        Raises:
            BadCookie: It was not made by `otpq cookie new`, or is damaged.
        """
        refused = BadCookie(
            "this is not the output of `otpq cookie new` (or a letter of it is missing or wrong); "
            "make one with `otpq cookie new` and copy the file as it is"
        )
        body = text.strip().removeprefix(PREFIX)
        if body == text.strip():
            raise refused
        try:
            raw = base64.b32decode(body.upper())
        except ValueError:
            raise refused from None  # the cause would show a part of the cookie
        secret, check = raw[:SECRET_BYTES], raw[SECRET_BYTES:]
        if len(secret) != SECRET_BYTES or not hmac.compare_digest(check, _checksum(secret)):
            raise refused
        return cls(secret)

    @classmethod
    def read(cls, path: Path) -> Cookie:
        """The cookie in the file at `path`.

        Raises:
            BadCookie: There is no such file, others may read it, or it holds no cookie.
        """
        try:
            with path.open(encoding="ascii", errors="replace") as file:
                _refuse_shared(path, os.fstat(file.fileno()))  # of the open file: its name may point elsewhere by now
                text = file.read(4096)
        except FileNotFoundError:
            raise BadCookie(
                f"there is no cookie at {path}; copy it from a node of the cluster, or start a node here"
            ) from None
        except OSError as error:
            raise BadCookie(f"the cookie at {path} cannot be read: {error.strerror}") from error
        try:
            return cls.parse(text)
        except BadCookie as error:
            raise BadCookie(f"{path}: {error}") from None

    @classmethod
    def ensure(cls, path: Path) -> Cookie:
        """The cookie in the file at `path`, made now if there is none (the first start of a node).

        Two nodes that start at once agree: the file appears whole and is made by one of them.

        Raises:
            BadCookie: As `read` does; or there is none and none can be made.
        """
        try:
            if not path.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                cls.new().write(path, replace=False)
        except OSError as error:
            raise BadCookie(
                f"the cookie at {path} cannot be made: {error.strerror}; name another file by --cookie-file"
            ) from error
        return cls.read(path)

    def write(self, path: Path, *, replace: bool) -> None:
        """Leave the cookie in a file of mode 0600. With `replace=False` a file that is there already stays."""
        draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            with open(draft, "x", encoding="ascii", opener=_private) as file:
                file.write(self.text() + "\n")
                file.flush()
                os.fsync(file.fileno())
            if replace:
                draft.replace(path)
            else:
                try:
                    os.link(draft, path)  # unlike rename, fails if somebody was faster
                except FileExistsError:
                    return
        finally:
            draft.unlink(missing_ok=True)

    def text(self) -> str:
        """The form that is kept in the file. A secret: for nothing but the file."""
        return PREFIX + base64.b32encode(self.secret + _checksum(self.secret)).decode().lower()

    def fingerprint(self) -> str:
        """16 hex digits that tell this cookie from another and say nothing else of it: for people who compare two nodes."""
        return hmac.digest(self.secret, b"otpq fingerprint 1", hashlib.sha256)[:FINGERPRINT_BYTES].hex()

    def server_keys(self) -> KeyPair:
        """The CURVE keys of every listening socket of the cluster."""
        return self._keys(b"server")

    def client_keys(self) -> KeyPair:
        """The CURVE keys of everyone who dials; a listening socket admits no other."""
        return self._keys(b"client")

    def __repr__(self) -> str:
        return "Cookie(...)"

    def _keys(self, role: bytes) -> KeyPair:
        """Derive by HMAC (the expand step of HKDF, RFC 5869).

        No scrypt or other slow function: those make guessing a weak secret dear, and this one is 256 random bits, which
        nobody guesses. What is not so is refused by `parse`. Any 32 bytes are a CURVE secret key (the curve clamps them).
        """
        import zmq
        from zmq.utils import z85

        secret = z85.encode(hmac.digest(self.secret, b"otpq curve 1 " + role, hashlib.sha256))
        return KeyPair(public=zmq.curve_public(secret), secret=secret)


def default_cookie_file() -> Path:
    """Where the cookie lies unless said otherwise: `OTPQ_COOKIE_FILE`, else `~/.otpq/cookie`."""
    return Path(os.environ.get("OTPQ_COOKIE_FILE") or Path.home() / ".otpq" / "cookie")


def _checksum(secret: bytes) -> bytes:
    return hashlib.sha256(b"otpq cookie 1" + secret).digest()[:CHECK_BYTES]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadCookie(f"others may read the cookie at {path}; take their rights away: chmod 600 {path}")
