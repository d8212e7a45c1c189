"""What `otpq.otp` gives out: every name is there, once, and is the one that its module means."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from otpq import otp

MODULES = [module.name for module in pkgutil.iter_modules(otp.__path__)]


def test_every_public_name_is_there_once() -> None:
    assert [name for name in otp.__all__ if not hasattr(otp, name)] == []
    assert len(set(otp.__all__)) == len(otp.__all__)


def test_every_public_name_is_public_in_its_own_module() -> None:
    public = {name for module in MODULES for name in importlib.import_module(f"otpq.otp.{module}").__all__}
    assert set(otp.__all__) - public == set()


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_what_it_promises_and_a_docstring(name: str) -> None:
    module = importlib.import_module(f"otpq.otp.{name}")
    assert [public for public in module.__all__ if not hasattr(module, public)] == []
    assert module.__doc__


def test_every_error_of_the_package_is_public() -> None:
    errors = importlib.import_module("otpq.otp.errors")
    assert set(errors.__all__) <= set(otp.__all__)


def test_every_reason_is_public() -> None:
    reasons = importlib.import_module("otpq.otp.reasons")
    assert set(reasons.__all__) <= set(otp.__all__)
