"""Signatures and keys in minisign's format: read strictly, and understood by the real command both ways."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotswap.errors import HotswapError, SignatureError
from hotswap.trust import Comment, PublicKey, SecretKey, Signature
from tests.signing import ALICE, MALLORY, minisign, signature_of

pytestmark = pytest.mark.threads

DATA = b"RATE = 16\n"
UNTRUSTED = "untrusted comment: "

WITH_PASSWORD = """\
untrusted comment: minisign encrypted secret key
RWRTY0Iy2Y02dtFWPL+Rk8FD3mOEOAPojenDDWJyrBScEwZTdowAAAACAAAAAAAAAEAAAAAA5h+mT9SI7BWGLs8gYaeW/arCNK+X\
iKk4w3vyDL7z70PKfXGUWB09wOm2yzIgRH/yWIE9LKcKDCLPqfUHZX23nlUX7xpX6zEEjHCQvs2vbrsWzAfxOUF4TuMFhOYj2IyjZRuOsDwqhL4=
"""
"""What `minisign -G` of Debian 12 wrote, for the password ``pw``."""

comments = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=60)


def code_of(text: bytes, data: bytes = DATA, keys: tuple[PublicKey, ...] = (ALICE.public,)) -> str | None:
    """Why a signature is refused, as one word; None where it is taken."""
    try:
        Signature.parse(text).verify(data, keys)
    except SignatureError as error:
        return error.code if error.advice else "without advice"
    return None


class TestSignature:
    @given(data=st.binary(max_size=200), untrusted=comments, trusted=comments, legacy=st.booleans())
    def test_is_read_as_it_was_written(self, data: bytes, untrusted: str, trusted: str, legacy: bool) -> None:
        try:
            Comment.parse(trusted)
        except SignatureError:
            trusted = "nothing"
        signature = replace(ALICE.sign(data, trusted, legacy=legacy), untrusted=untrusted)
        again = Signature.parse(str(signature).encode())
        assert again == signature
        assert again.verify(data, [MALLORY.public, ALICE.public]) == Comment.parse(trusted)

    @given(bit=st.integers(min_value=0), legacy=st.booleans())
    def test_with_any_flipped_bit_is_refused(self, bit: int, legacy: bool) -> None:
        text = bytearray(signature_of(DATA, Comment(file="shop.tax.py"), legacy=legacy))
        # The words of the untrusted comment are not signed: minisign ignores them, and so does everybody here.
        free = range(len(UNTRUSTED), text.index(b"\n"))
        place = bit // 8 % len(text)
        text[place] ^= 1 << bit % 8
        if place in free and text.count(b"\n") == 4:
            assert code_of(bytes(text)) in (None, "signature-damaged")
        else:
            assert code_of(bytes(text)) is not None

    def test_each_flipped_bit_of_a_signature_is_refused(self) -> None:
        text = signature_of(DATA, Comment(file="shop.tax.py"))
        start = text.index(b"\n")
        for place in range(start, len(text)):
            for bit in range(8):
                flipped = bytearray(text)
                flipped[place] ^= 1 << bit
                assert code_of(bytes(flipped)) is not None, (place, bit)

    @given(bit=st.integers(min_value=0, max_value=8 * len(DATA) - 1))
    def test_of_bytes_with_a_flipped_bit_is_refused(self, bit: int) -> None:
        data = bytearray(DATA)
        data[bit // 8] ^= 1 << bit % 8
        assert code_of(signature_of(DATA, "x"), bytes(data)) == "bytes-tampered"

    @given(data=st.binary(max_size=600))
    def test_never_raises_anything_else(self, data: bytes) -> None:
        with pytest.raises(SignatureError):
            Signature.parse(data)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda text: text + b"\n", "5 lines instead of 4"),
            (lambda text: text + b"x", "5 lines instead of 4"),
            (lambda text: text + b" ", "5 lines instead of 4"),
            (lambda text: text[:-2], "not base64"),
            (lambda text: text.replace(b"\n", b"\r\n"), "control characters"),
            (lambda text: b"".join(text.splitlines(keepends=True)[:2]), "2 lines instead of 4"),
            (lambda text: text.replace(b"untrusted comment: ", b"comment: "), "begins with 'untrusted comment: '"),
            (lambda text: text.replace(b"\ntrusted comment: ", b"\nTrusted comment: "), "'trusted comment: '"),
            (lambda text: text.replace(b"\nRU", b"\n RU"), "not base64"),
            (lambda text: text.replace(b"\nRU", b"\nQU"), "the algorithm"),
            (lambda text: text + b"x" * 20_000, "20,"),
            (lambda text: b"\xff" + text, "UTF-8"),
            (lambda text: b"", "1 lines instead of 4"),
        ],
    )
    def test_is_parsed_strictly(self, change: object, reason: str) -> None:
        text = change(signature_of(DATA, "x"))  # type: ignore[operator]  # a table of functions
        with pytest.raises(SignatureError, match=reason) as caught:
            Signature.parse(text)
        assert caught.value.code == "signature-damaged"

    def test_has_one_spelling(self) -> None:
        """The last character of base64 has bits that mean nothing; a text that uses them is another text."""
        lines = signature_of(DATA, "x").split(b"\n")
        assert lines[3].endswith(b"==")
        lines[3] = lines[3][:-3] + bytes([lines[3][-3] + 1]) + b"=="
        with pytest.raises(SignatureError, match="bits that mean nothing"):
            Signature.parse(b"\n".join(lines))

    def test_by_a_stranger_is_refused(self) -> None:
        assert code_of(signature_of(DATA, "x", MALLORY)) == "key-unknown"

    def test_by_a_stranger_under_a_trusted_name_is_refused(self) -> None:
        forged = SecretKey(ALICE.key_id, MALLORY.seed)
        assert code_of(signature_of(DATA, "x", forged)) == "bytes-tampered"

    def test_with_the_comment_of_another_is_refused(self) -> None:
        first, second = (signature_of(DATA, Comment(file=name)).split(b"\n") for name in ("a.py", "b.py"))
        assert code_of(b"\n".join([*first[:2], second[2], first[3], b""])) == "comment-tampered"

    def test_of_one_kind_is_none_of_the_other(self) -> None:
        """A hash that is signed the old way is no signature of what it is the hash of."""
        old = ALICE.sign(DATA, "x", legacy=True)
        assert code_of(str(replace(old, algorithm=b"ED")).encode()) == "bytes-tampered"


class TestComment:
    def test_says_file_and_expiry(self) -> None:
        told = Comment.parse("timestamp:1\tfile:a b.whl\thashed\texpires:2027-01-31T01:00:00+01:00")
        assert told == Comment("a b.whl", datetime(2027, 1, 31, tzinfo=UTC), 1)
        assert str(told) == "timestamp:1\tfile:a b.whl\texpires:2027-01-31T00:00:00Z"

    @pytest.mark.parametrize("text", ["", "-1", "1.5", "yesterday", "1" * 13, "\N{ARABIC-INDIC DIGIT ONE}"])
    def test_a_timestamp_that_is_no_number_says_nothing(self, text: str) -> None:
        assert Comment.parse(f"timestamp:{text}\tfile:a.whl") == Comment("a.whl")

    def test_a_timestamp_of_its_own_is_signed(self) -> None:
        assert ALICE.sign(DATA, Comment("data", timestamp=7)).trusted == "timestamp:7\tfile:data"

    def test_two_timestamps_are_refused(self) -> None:
        with pytest.raises(SignatureError, match="says timestamp: twice"):
            Comment.parse("timestamp:1\tfile:a.whl\ttimestamp:2")

    @given(st.integers(min_value=-30_000_000_000, max_value=200_000_000_000))
    def test_round_trip(self, seconds: int) -> None:
        comment = Comment("a.whl", datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
        assert Comment.parse(str(comment)) == comment

    def test_says_nothing(self) -> None:
        assert Comment.parse("a release of shop") == Comment()

    @pytest.mark.parametrize(
        "text",
        [
            "expires:2027",
            "expires:2027-01-31",
            "expires:2027-01-31T00:00:00",
            "expires:2027-13-31T00:00:00Z",
            "expires:0001-01-01T00:00:00+14:00",
            "expires:never",
            "expires:",
            "expires: 2027-01-31T00:00:00Z",
            "expires:2027-01-31T00:00:00Z file:a.whl",
            "expires:2027-01-31T00:00:00Z\texpires:2028-01-31T00:00:00Z",
            "file:a\tfile:b",
            "Expires:2027-01-31T00:00:00Z",
            "built by CI, expires:2027-01-31T00:00:00Z",
            "expire:2027-01-31T00:00:00Z",
            "valid-until:2027-01-31",
            "exp:2020-01-01\tnot-after:2020-01-01",
            "exp:2020-01-01",
            "exp = 2020",
            "exp 2020-01-01",
            "not-after:2020-01-01",
            "notAfter=2020-01-01",
            "not_after: 2020",
            "expires_at:2020-01-01",
            "expired:2020",
            "expiration:2020",
            "EXPIRY 2020",
            "valid to 2020-01-01",
            "valid_till:2020",
            "good until 2020",
            "until:2020",
            "ttl:3600",
            "max-age=3600",
            "best before 2020",
            "end:2020",
            "ends: 2020",
        ],
    )
    def test_that_is_not_clear_is_refused(self, text: str) -> None:
        with pytest.raises(SignatureError) as caught:
            Comment.parse(text)
        assert caught.value.code == "comment-unclear"

    @pytest.mark.parametrize(
        "text",
        ["timestamp:1795717979\tfile:exp-1.0.whl\thashed", "built by the experts", "export:yes", "the end", ""],
    )
    def test_that_speaks_of_other_things_is_left_alone(self, text: str) -> None:
        assert Comment.parse(text).expires is None

    @pytest.mark.parametrize("text", ["two\nlines", "a\rb", "a\0b", "\ud800"])
    def test_that_is_no_line_is_not_signed(self, text: str) -> None:
        with pytest.raises(SignatureError):
            ALICE.sign(DATA, text)


class TestPublicKey:
    @given(st.binary(min_size=8, max_size=8), st.binary(min_size=32, max_size=32))
    def test_round_trip(self, key_id: bytes, point: bytes) -> None:
        key = PublicKey(key_id, point)
        assert PublicKey.parse(key.text) == PublicKey.parse(str(key)) == PublicKey.of(str(key)) == key

    def test_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "ops.pub").write_text(str(ALICE.public))
        assert PublicKey.of(tmp_path / "ops.pub") == ALICE.public
        with pytest.raises(HotswapError, match=r"other\.pub can't be read"):
            PublicKey.of(tmp_path / "other.pub")
        (tmp_path / "other.pub").write_text("hello")
        with pytest.raises(SignatureError, match=r"other\.pub: the public key is not base64"):
            PublicKey.of(tmp_path / "other.pub")

    @pytest.mark.parametrize(
        "change",
        [
            lambda key: key + "x",
            lambda key: key + "\nmore",
            lambda key: key[:-4],
            lambda key: "SW" + key[2:],
            lambda key: f"comment: x\n{key}",
            lambda key: f"untrusted comment: x\n{key}\n\n",
            lambda key: " " + key,
            lambda key: "",
        ],
    )
    def test_is_parsed_strictly(self, change: object) -> None:
        with pytest.raises(SignatureError) as caught:
            PublicKey.parse(change(ALICE.public.text))  # type: ignore[operator]  # a table of functions
        assert caught.value.code == "signature-damaged"


class TestSecretKey:
    CHEAP: ClassVar = {"operations": 32768, "memory": 16 * 1024**2}

    def test_does_not_show_itself(self) -> None:
        assert repr(ALICE.seed) not in repr(ALICE)
        assert "seed" not in repr(ALICE)

    def test_is_new_each_time(self) -> None:
        assert SecretKey.generate() != SecretKey.generate()

    def test_round_trip(self) -> None:
        assert SecretKey.parse(ALICE.text()) == ALICE
        assert SecretKey.parse(ALICE.text("secret", **self.CHEAP), "secret") == ALICE

    def test_needs_its_password(self) -> None:
        text = ALICE.text("secret", **self.CHEAP)
        with pytest.raises(HotswapError, match="under a password"):
            SecretKey.parse(text)
        with pytest.raises(HotswapError, match="the password is wrong"):
            SecretKey.parse(text, "guess")

    @pytest.mark.parametrize("password", [None, "secret"])
    @pytest.mark.parametrize("place", [0, 2, 4, 100, 140])
    def test_that_was_changed_is_refused(self, password: str | None, place: int) -> None:
        comment, line = ALICE.text(password, **self.CHEAP).splitlines()
        swapped = "B" if line[place] != "B" else "C"
        with pytest.raises(HotswapError):
            SecretKey.parse(f"{comment}\n{line[:place]}{swapped}{line[place + 1 :]}\n", password)

    def test_that_asks_for_all_memory_is_refused(self) -> None:
        with pytest.raises(SignatureError, match="bytes of memory"):
            ALICE.text("secret", operations=2**40, memory=2**50)


class TestWithoutCryptography:
    def test_keys_are_refused_with_advice(self) -> None:
        code = """
import sys
sys.modules["cryptography"] = None
import hotswap
from hotswap.trust import SecretKey
try:
    SecretKey.generate()
except hotswap.HotswapError as error:
    print(error.advice)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "pip install 'hotswap[trust]'"

    def test_the_library_does_not_import_it(self) -> None:
        code = "import sys, hotswap, hotswap.trust; print('cryptography' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"


class TestRealMinisign:
    """What Debian's command writes is read here, and the other way round."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> Path:
        (tmp_path / "data").write_bytes(DATA)
        return tmp_path

    def test_its_keys_and_signatures_are_understood(self, files: Path) -> None:
        made = minisign("-G", "-W", "-p", "it.pub", "-s", "it.key", cwd=files)
        assert made.returncode == 0, made.stderr
        public = PublicKey.of(files / "it.pub")
        assert SecretKey.parse((files / "it.key").read_bytes()).public == public
        assert public.text in made.stdout
        for way in ([], ["-l"]):
            comment = "file:data\texpires:2100-01-01T00:00:00Z"
            signed = minisign("-S", *way, "-s", "it.key", "-m", "data", "-t", comment, cwd=files)
            assert signed.returncode == 0, signed.stderr
            signature = Signature.parse((files / "data.minisig").read_bytes())
            assert signature.algorithm == (b"Ed" if way else b"ED")
            assert signature.verify(DATA, [public]) == Comment("data", datetime(2100, 1, 1, tzinfo=UTC))

    def test_its_own_comment_is_understood(self, files: Path) -> None:
        minisign("-G", "-W", "-p", "it.pub", "-s", "it.key", cwd=files)
        minisign("-S", "-s", "it.key", "-m", "data", cwd=files)
        signature = Signature.parse((files / "data.minisig").read_bytes())
        comment = signature.verify(DATA, [PublicKey.of(files / "it.pub")])
        assert comment == Comment("data", timestamp=comment.timestamp)
        assert comment.timestamp is not None
        assert abs(comment.timestamp - time.time()) < 3600

    @pytest.mark.parametrize("legacy", [False, True])
    def test_ours_are_understood(self, files: Path, legacy: bool) -> None:
        (files / "our.pub").write_text(str(ALICE.public))
        (files / "data.minisig").write_bytes(signature_of(DATA, Comment(file="data"), legacy=legacy))
        for key in (["-p", "our.pub"], ["-P", ALICE.public.text]):
            told = minisign("-V", *key, "-m", "data", cwd=files)
            assert told.returncode == 0, told.stderr
            assert "file:data" in told.stdout
        (files / "data").write_bytes(DATA + b"\n")
        assert minisign("-V", "-p", "our.pub", "-m", "data", cwd=files).returncode != 0

    def test_signs_with_our_key(self, files: Path) -> None:
        (files / "our.key").write_text(ALICE.text())
        told = minisign("-S", "-W", "-s", "our.key", "-m", "data", cwd=files)
        assert told.returncode == 0, told.stderr
        Signature.parse((files / "data.minisig").read_bytes()).verify(DATA, [ALICE.public])

    @pytest.mark.slow
    def test_its_passwords_are_understood(self) -> None:
        """A look at such a key takes a GiB of memory and some seconds: that is what keeps it from being guessed."""
        assert (
            SecretKey.parse(WITH_PASSWORD, "pw").public.text
            == "RWTTqBZxuD5F9MZZcNtJCz+IS8PtK5dA3KNPkTVxcdl44pQZSi76GZc7"
        )

    def test_understands_our_passwords(self, files: Path) -> None:
        (files / "our.key").write_text(ALICE.text("other", operations=32768, memory=16 * 1024**2))
        signed = minisign("-S", "-s", "our.key", "-m", "data", cwd=files, told="other\n")
        assert signed.returncode == 0, signed.stderr
        Signature.parse((files / "data.minisig").read_bytes()).verify(DATA, [ALICE.public])
