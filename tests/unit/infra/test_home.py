"""Home: the lock, the version stamp, the secrets."""

import stat
from pathlib import Path

import pytest

from infra.local import home
from infra.local.errors import HomeBusy, PlatformError


class TestPrepare:
    """home.prepare."""

    def test_secrets_are_readable_by_the_owner_only(self, tmp_path: Path) -> None:
        """Every generated secret has mode 600."""
        home.prepare(tmp_path)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "keys").iterdir()}
        assert modes == dict.fromkeys(home.SECRETS, 0o600)

    def test_a_second_call_keeps_the_secrets(self, tmp_path: Path) -> None:
        """Preparing again changes no secret: what was encrypted stays readable."""
        home.prepare(tmp_path)
        before = {file.name: file.read_text() for file in (tmp_path / "keys").iterdir()}
        home.prepare(tmp_path)
        assert {file.name: file.read_text() for file in (tmp_path / "keys").iterdir()} == before

    def test_the_master_key_is_256_bits(self, tmp_path: Path) -> None:
        """The vault's key is 32 random bytes, in hexadecimal."""
        home.prepare(tmp_path)
        assert len(bytes.fromhex((tmp_path / "keys" / "master").read_text())) == 32

    @pytest.mark.parametrize("stamp", [str(home.LAYOUT + 1), "rubbish"])
    def test_a_newer_home_is_refused(self, tmp_path: Path, stamp: str) -> None:
        """A home made by a newer release is not touched."""
        (tmp_path / "VERSION").write_text(stamp)
        with pytest.raises(PlatformError, match="upgrade Assay or set ASSAY_HOME"):
            home.prepare(tmp_path)

    def test_an_unwritable_home_is_one_sentence(self, tmp_path: Path) -> None:
        """A home that cannot be made names the variable that moves it."""
        (tmp_path / "file").write_text("")
        with pytest.raises(PlatformError, match="set ASSAY_HOME"):
            home.prepare(tmp_path / "file" / "home")


class TestLocked:
    """home.locked."""

    def test_a_second_holder_is_refused_and_told_who_has_it(self, tmp_path: Path) -> None:
        """Two `up` on one home cannot run at the same time."""
        with home.locked(tmp_path), pytest.raises(HomeBusy, match=r"pid \d+"), home.locked(tmp_path):
            pass

    def test_the_lock_is_free_again_afterwards(self, tmp_path: Path) -> None:
        """Home can be locked again once the first holder is done."""
        with home.locked(tmp_path):
            pass
        with home.locked(tmp_path):
            held = True
        assert held
