"""The API server's answer to each edit while no operator runs: rejected, unchanged or accepted, and whether it can be reverted."""

from __future__ import annotations

from dataclasses import dataclass

from fleet import API
from keelson_harness.kubeapi import ApiError, KubeApi

from .edits import Edit
from .manifests import Base

NAMESPACE = "default"


@dataclass(frozen=True)
class Answer:
    """The API server's answer to one edit of an object with the base's spec."""

    edit: Edit
    # Empty if the edit was accepted.
    rejection: str = ""
    code: int = 0
    # Of a creation with the edited spec; empty if it would be accepted.
    creation_rejection: str = ""
    # The stored spec equals the previous one, or the result of another edit.
    unchanged: bool = False
    # The rejection of reverting to the base; empty if reverting is accepted.
    irreversible: str = ""

    @property
    def accepted(self) -> bool:
        return not self.rejection and not self.unchanged


def item(kind: str, name: str, spec: dict) -> dict:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def without_nulls(value: object) -> object:
    """null equals an omitted field."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def replace(api: KubeApi, found: dict, spec: dict) -> dict:
    """Like `kubectl replace`: omitted fields are removed. Strict, like kubectl."""
    return api.request(
        "PUT",
        api.path_of(found),
        params={"fieldValidation": "Strict"},
        json={**found, "spec": spec},
    ).json()


class Probe:
    """An object with the base's spec that no operator reconciles. Its status reports the version of its spec as running, as rules about
    versions compare with that."""

    def __init__(self, api: KubeApi, base: Base):
        self.api, self.base = api, base
        self.object = self._create()
        self.results = [without_nulls(self.object["spec"])]

    def _create(self) -> dict:
        return self._with_running_version(self.api.create(item(self.base.kind, "probe", self.base.spec)))

    def _with_running_version(self, found: dict) -> dict:
        version = found["spec"].get("version")
        if found["kind"] == "AwsAccount" or not version:
            return found
        status = {"version": version}
        if found["kind"] == "EksCluster":
            status["arn"] = "arn:aws:eks:eu-west-1:123456789012:cluster/probe"
        return self.api.request(
            "PATCH",
            self.api.path_of(found, "status"),
            json={"status": status},
            headers={"Content-Type": "application/merge-patch+json"},
        ).json()

    def _delete(self) -> None:
        self.api.delete(API, self.base.kind, "probe")

    def close(self) -> None:
        self._delete()

    def ask(self, edit: Edit) -> Answer:
        creation_rejection = self._creation_rejection(edit)
        try:
            edited = replace(self.api, self.object, edit.spec)
        except ApiError as error:
            return Answer(edit, error.message, error.code, creation_rejection)
        stored = without_nulls(edited["spec"])
        # A result that another edit of this base already had adds nothing.
        unchanged = stored in self.results
        self.results.append(stored)
        return Answer(
            edit,
            creation_rejection=creation_rejection,
            unchanged=unchanged,
            irreversible=self._revert(edited),
        )

    def _revert(self, edited: dict) -> str:
        try:
            self.object = self._with_running_version(replace(self.api, self._with_running_version(edited), self.base.spec))
            return ""
        except ApiError as error:
            self._delete()
            self.object = self._create()
            return error.message

    def _creation_rejection(self, edit: Edit) -> str:
        """A transition rule rejects only an edit, so a new object may have a spec that an edit must not lead to."""
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
