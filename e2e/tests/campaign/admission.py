"""What the API server says to each edit while no operator runs: refused, the same as before, or taken, and whether there is a
way back."""

from __future__ import annotations

from dataclasses import dataclass

from fleet import API
from keelson_harness.kubeapi import ApiError, KubeApi

from .edits import Edit
from .manifests import Base

NAMESPACE = "default"


@dataclass(frozen=True)
class Answer:
    """Of the API server to one edit, made to an object with the base's spec."""

    edit: Edit
    # Empty when it was taken.
    refusal: str = ""
    code: int = 0
    # Of a creation with the edited spec; empty when it would be taken.
    creation_refusal: str = ""
    # Stored, it is what was there before, or what another edit came to.
    same: bool = False
    # What the way back to the base is refused with; empty when it is taken.
    no_way_back: str = ""

    @property
    def taken(self) -> bool:
        return not self.refusal and not self.same


def item(kind: str, name: str, spec: dict) -> dict:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def without_nulls(value: object) -> object:
    """null is a field left out."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def replace(api: KubeApi, found: dict, spec: dict) -> dict:
    """As `kubectl replace`: what the spec leaves out is gone. Strict, as kubectl is."""
    return api.request(
        "PUT",
        api.path_of(found),
        params={"fieldValidation": "Strict"},
        json={**found, "spec": spec},
    ).json()


class Probe:
    """An object with the base's spec that no operator looks at. Its status says that the version of its spec runs: rules
    about versions compare with that."""

    def __init__(self, api: KubeApi, base: Base):
        self.api, self.base = api, base
        self.made = self._make()
        self.seen = [without_nulls(self.made["spec"])]

    def _make(self) -> dict:
        return self._reached(self.api.create(item(self.base.kind, "probe", self.base.spec)))

    def _reached(self, made: dict) -> dict:
        version = made["spec"].get("version")
        if made["kind"] == "AwsAccount" or not version:
            return made
        return self.api.request(
            "PATCH",
            self.api.path_of(made, "status"),
            json={"status": {"version": version}},
            headers={"Content-Type": "application/merge-patch+json"},
        ).json()

    def _gone(self) -> None:
        self.api.delete(API, self.base.kind, "probe")

    def close(self) -> None:
        self._gone()

    def ask(self, edit: Edit) -> Answer:
        creation_refusal = self._creation_refusal(edit)
        try:
            edited = replace(self.api, self.made, edit.spec)
        except ApiError as error:
            return Answer(edit, error.message, error.code, creation_refusal)
        told = without_nulls(edited["spec"])
        # A spec that another edit of this base came to already says nothing new.
        same = told in self.seen
        self.seen.append(told)
        return Answer(
            edit,
            creation_refusal=creation_refusal,
            same=same,
            no_way_back=self._go_back(edited),
        )

    def _go_back(self, edited: dict) -> str:
        try:
            self.made = self._reached(replace(self.api, self._reached(edited), self.base.spec))
            return ""
        except ApiError as error:
            self._gone()
            self.made = self._make()
            return error.message

    def _creation_refusal(self, edit: Edit) -> str:
        """A rule may hold between an old spec and a new one only: then a new object may be what an edit must not be."""
        new = item(edit.kind, "probe-new", edit.spec)
        try:
            path = self.api.path(API, edit.kind)
            self.api.request("POST", path, params={"fieldValidation": "Strict", "dryRun": "All"}, json=new)
        except ApiError as error:
            return error.message
        return ""


def ask(api: KubeApi, base: Base, edits: list[Edit]) -> list[Answer]:
    probe = Probe(api, base)
    try:
        return [probe.ask(edit) for edit in edits]
    finally:
        probe.close()
