"""The fleet page of a management cluster: `keelson ui`, for somebody who watches a demo in a browser."""

from __future__ import annotations

import re
from pathlib import Path

from .kubernetes import ControlPlane
from .paths import keelson_binary
from .processes import Process

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\?token=[0-9a-f]+")
SECONDS = 30


class FleetPage(Process):
    """Runs until `stop`. Its address is valid once; the browser keeps a cookie."""

    def __init__(self, plane: ControlPlane, directory: Path):
        env = {"KUBECONFIG": str(plane.kubeconfig)}
        super().__init__("keelson ui", [keelson_binary(), "ui", "--no-browser"], directory / "page.log", env)
        self.wait_ready(lambda: bool(ADDRESS.search(self._text())), SECONDS)

    @property
    def address(self) -> str:
        return ADDRESS.findall(self._text())[-1]

    def _text(self) -> str:
        return self.log.read_text(errors="replace")

    def __enter__(self) -> FleetPage:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
