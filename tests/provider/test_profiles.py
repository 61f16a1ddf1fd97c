"""The profiles: four, pure data."""

from __future__ import annotations

import pytest

from kit.errors import InvalidInput
from kit.provider.profiles import PROFILES, profile_named
from kit.settings import NAMES


def test_there_are_four_profiles() -> None:
    """The names are those of the design, and each profile knows its own."""
    assert list(PROFILES) == ["sandbox", "sandbox-kie", "sunoapi", "kie"]
    assert all(name == profile.name for name, profile in PROFILES.items())


@pytest.mark.parametrize("name", ["sandbox", "sandbox-kie"])
def test_a_sandbox_is_a_local_program(name: str) -> None:
    """A sandbox has no address and no key of its own, is reached directly, and keeps its rows apart."""
    profile = profile_named(name)
    assert (profile.base_url, profile.key_variable, profile.reach, profile.area) == (None, None, "direct", "sandbox")
    assert profile.program == ("-m", "kit.sandbox", "--dialect", profile.dialect)
    assert "never spends" in profile.badge


@pytest.mark.parametrize(("name", "url"), [("sunoapi", "https://api.sunoapi.org"), ("kie", "https://api.kie.ai")])
def test_a_live_profile_needs_a_documented_key(name: str, url: str) -> None:
    """A real provider has an address, a key variable that settings document, and polling only."""
    profile = profile_named(name)
    assert (profile.base_url, profile.reach, profile.area, profile.program) == (url, "tunnel", "live", None)
    assert profile.key_variable in NAMES
    assert "spends credits" in profile.badge


def test_only_kie_signs() -> None:
    """Signatures exist in kie's dialect alone (provider-api 12)."""
    assert all(profile.signature == (profile.dialect == "kie") for profile in PROFILES.values())


@pytest.mark.parametrize("name", ["suno", "", None, []])
def test_an_unknown_profile_lists_the_names(name: object) -> None:
    """A wrong name is refused with the right ones."""
    with pytest.raises(InvalidInput, match="one of sandbox, sandbox-kie, sunoapi, kie"):
        profile_named(name)  # type: ignore[arg-type]
