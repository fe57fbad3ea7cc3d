"""Prints what changes in a fleet: the waves of each release, and the clusters."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..controller import Controller
from ..kubeapi import ApiError, KubeApi, Timeout, conditions
from ..processes import NotReady
from ..transcript import POLL_SECONDS, Transcript
from .files import API, CLUSTERS, ROLLOUT, ring_of

WIDTH = 150
# AWS's ids make the lines too long.
UPDATE_ID = re.compile(r", update [0-9a-f-]{36}")
GATES = {"ControlPlane": "control planes", "NodeGroups": "node groups"}


@dataclass
class Fleet:
    """The objects at one moment."""

    rollout: dict = field(default_factory=dict)
    clusters: dict[str, dict] = field(default_factory=dict)

    @property
    def releases(self) -> list[dict]:
        return self.rollout.get("status", {}).get("releases", [])

    @property
    def halt(self) -> dict | None:
        return next((release["halt"] for release in self.releases if "halt" in release), None)

    def version(self, name: str) -> str:
        return self.clusters.get(name, {}).get("status", {}).get("version", "")

    def is_ready(self, name: str, version: str) -> bool:
        item = self.clusters.get(name)
        if not item or self.version(name) != version:
            return False
        ready = conditions(item).get("Ready", {})
        return ready.get("status") == "True" and ready.get("observedGeneration") == item["metadata"]["generation"]


def wave_text(wave: dict) -> str:
    counts = f"{wave['name']} {wave.get('atTarget', 0)}/{wave.get('members', 0)}"
    # A wave that has not begun needs no word.
    return counts if wave["state"] == "Pending" else f"{counts} {wave['state']}"


def shortened(line: str) -> str:
    return line.rstrip() if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..."


class Progress:
    def __init__(self, transcript: Transcript, api: KubeApi, controller: Controller):
        self._transcript, self._api, self._controller = transcript, api, controller
        self._seen: dict[str, tuple[str, ...]] = {}
        self._last = Fleet()

    def until(self, holds: Callable[[Fleet], bool], seconds: float, what: str, with_waves: bool = True) -> Fleet:
        """Prints each change until `holds` is true of the fleet."""
        deadline = time.monotonic() + seconds
        while True:
            fleet = self.read()
            self._print_clusters(fleet)
            if with_waves:
                self._print_waves(fleet)
            if holds(fleet):
                return fleet
            if not self._controller.alive:
                raise NotReady(f"the operator ended\n{self._controller.process.tail()}")
            if time.monotonic() > deadline:
                raise Timeout(f"timed out after {seconds:.0f} s: {what}")
            time.sleep(POLL_SECONDS)

    def read(self) -> Fleet:
        try:
            found = {item["metadata"]["name"]: item for item in self._api.list(API, "EksCluster", "default")}
            self._last = Fleet(self._api.find(API, "FleetRollout", ROLLOUT) or {}, found)
        except (ApiError, OSError):
            # A busy machine; the next poll reads it.
            pass
        return self._last

    def _print_clusters(self, fleet: Fleet) -> None:
        for name in CLUSTERS:
            if item := fleet.clusters.get(name):
                ready = conditions(item).get("Ready", {})
                reason, message = ready.get("reason", ""), UPDATE_ID.sub("", ready.get("message", ""))
                version = fleet.version(name)
                line = f"{ring_of(name):10} {name:8} {version:5} {reason:16} {message}"
                self._print_change(name, (version, reason), shortened(line))
            elif self._seen.pop(name, None):
                self._transcript.log(f"{ring_of(name):10} {name:8} is gone")

    def _print_waves(self, fleet: Fleet) -> None:
        for release in fleet.releases:
            title = f"{GATES.get(release['gate'], release['gate'])} to {release['target']}"
            waves = ", ".join(map(wave_text, release.get("waves", [])))
            self._print_change(title, (release["state"], waves), f"-- {title}: {waves}: {release['state']}")

    def _print_change(self, key: str, current: tuple[str, ...], line: str) -> None:
        if self._seen.get(key) != current:
            self._seen[key] = current
            self._transcript.log(line)
