"""What is allowed for a busy machine: nothing on a quiet one."""

from __future__ import annotations

import pytest

from keelson_harness import load


@pytest.mark.parametrize(
    ("content", "factor"),
    [
        ("0.20 0.18 0.12 1/80 11206", 1.0),
        # The last minute was busy.
        ("8.00 3.00 2.00 1/80 11206", 4.0),
        # It is busy since a moment ago.
        ("0.50 0.50 0.50 6/80 11206", 3.0),
    ],
)
def test_factor_is_the_number_of_processes_for_each_core(tmp_path, monkeypatch, content, factor):
    file = tmp_path / "loadavg"
    file.write_text(f"{content}\n")
    monkeypatch.setattr(load, "LOAD", file)
    monkeypatch.setattr(load.os, "cpu_count", lambda: 2)
    assert load.busy_factor() == factor
