"""The checks of a change run with the module that is made of native/, not only with what it stands in for."""

from __future__ import annotations

import os

import pytest

from hybridsync import native


def test_the_native_code_was_built_for_the_checks() -> None:
    if native.QUICK is None and not os.environ.get("CI"):
        pytest.skip("native/ was not built here: 'make test' does it, or 'pip install --editable .' with a C compiler")
    assert native.QUICK is not None
