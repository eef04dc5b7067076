"""Commands for signatures, those of minisign: `keygen`, `sign`, `verify`."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from hotswap.cli.exits import Exit, FailedError
from hotswap.cli.output import Output
from hotswap.errors import HotswapError
from hotswap.trust import SUFFIX, Comment, PublicKey, SecretKey, Trust, ed25519

__all__ = ["keygen", "sign", "verify"]

PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="Where the password is. [default: you are asked]"),
]


def keygen(
    out: Output,
    key: Annotated[Path, typer.Argument(help="Where the secret key goes; KEY.pub gets the public one.")],
    password_file: PasswordFile = None,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Keep it under none: whoever reads the file can sign.")
    ] = False,
) -> None:
    """Make a key to sign patches with. Files that are there are not touched."""
    if no_password and password_file is not None:
        raise FailedError(Exit.USAGE, "--password-file or --no-password, not both")
    _require()
    public = key.with_name(key.name + ".pub")
    for path in (key, public):
        if path.exists():
            raise FailedError(Exit.REFUSED, f"{path} is there already")
    password = None if no_password else _password(password_file, twice=True)
    made = SecretKey.generate()
    _write(key, made.text(password), 0o600)
    _write(public, str(made.public), 0o644)
    if out.as_json:
        out.document({"key": str(key), "public": str(public), "id": made.public.name, "text": made.public.text})
    else:
        out.say(f"secret key: {key}\npublic key: {public}, for Trust(keys=[...])\n{made.public.text}")


def sign(
    out: Output,
    files: Annotated[list[Path], typer.Argument(help="What is signed.")],
    key: Annotated[
        Path,
        typer.Option(
            "--key", metavar="FILE", help="The secret key. [env: HOTSWAP_KEY]", envvar="HOTSWAP_KEY", show_envvar=False
        ),
    ],
    password_file: PasswordFile = None,
    expires: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Days after which it is not taken any more. [default: never]")
    ] = None,
) -> None:
    """Sign patches: each gets FILE.minisig beside it."""
    if expires is not None and not 0 < expires < 36_500:
        raise FailedError(Exit.USAGE, "--expires: days are needed, more than 0")
    _require()
    secret = _secret(key, password_file)
    until = None if expires is None else datetime.now(UTC) + timedelta(days=expires)
    made = []
    for file in files:
        signature = secret.sign(_read(file), Comment(file=file.name, expires=until))
        path = file.with_name(file.name + SUFFIX)
        # Written aside: who watches the directory never meets a half of it.
        aside = path.with_name(f".{path.name}.part")
        try:
            aside.write_text(str(signature), "utf-8")
            aside.replace(path)
        except OSError as error:
            raise FailedError(Exit.REFUSED, f"{path} can't be written: {error.strerror}") from None
        made.append(
            {"file": str(file), "signature": str(path), "key": secret.public.name, "comment": signature.trusted}
        )
        out.say(f"signed {path}")
    if out.as_json:
        out.document({"signatures": made})


def verify(
    out: Output,
    files: Annotated[list[Path], typer.Argument(help="What was signed, with its FILE.minisig.")],
    key: Annotated[
        list[str],
        typer.Option("--key", metavar="KEY", help="A public key that is trusted: a file, or the text of one."),
    ],
) -> Exit:
    """Verify signatures as a service does.

    Asked is for one of the keys, the bytes, the name of the file, and whether it has expired.
    """
    _require()
    trust = Trust(keys=[_public(one) for one in key])
    told = []
    for file in files:
        # The name of a .py file says which module it is: there the signature has to say it, too.
        data, signature = _read(file), file.with_name(file.name + SUFFIX)
        try:
            if not signature.exists():
                raise FailedError(Exit.REFUSED, f"there is no {signature.name}")
            name, comment = trust.read_signature(data, file.name, _read(signature), named=file.suffix == ".py")
        except HotswapError as error:
            told.append({"file": str(file), "valid": False, "reason": error.reason})
            out.say(f"{file}: {error.reason}", "red")
        else:
            told.append({"file": str(file), "valid": True, "key": name, "comment": str(comment)})
            out.say(f"{file}: signed by {name}, {str(comment).replace(chr(9), ', ')}", "green")
    if out.as_json:
        out.document({"files": told})
    return Exit.OK if all(one["valid"] for one in told) else Exit.REFUSED


def _require() -> None:
    try:
        ed25519.require()
    except HotswapError as error:
        raise FailedError(Exit.USAGE, f"{error.reason}: {error.advice}") from error


def _secret(path: Path, password_file: Path | None) -> SecretKey:
    text = _read(path)
    try:
        return SecretKey.parse(text)
    except HotswapError as error:
        if error.advice != "give the password":
            raise
    return SecretKey.parse(text, _password(password_file, twice=False))


def _public(text: str) -> PublicKey:
    path = Path(text)
    return PublicKey.parse(_read(path) if path.exists() else text)


def _password(file: Path | None, *, twice: bool) -> str:
    if file is not None:
        text = _read(file).decode(errors="surrogateescape").split("\n")[0].rstrip("\r")
    elif not sys.stdin.isatty():
        advice = ", or --no-password, and whoever reads the key can sign" if twice else ""
        raise FailedError(Exit.USAGE, f"there is no terminal to ask for the password: --password-file FILE{advice}")
    else:
        text = getpass("Password of the key: ")
        if twice and getpass("The same again: ") != text:
            raise FailedError(Exit.USAGE, "these are two passwords")
    if not text:
        raise FailedError(Exit.USAGE, "an empty password keeps nobody away")
    return text


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FailedError(Exit.USAGE, f"{path} can't be read: {error.strerror}") from None


def _write(path: Path, text: str, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise FailedError(Exit.REFUSED, f"{path} can't be written: {error.strerror}") from None
