"""Certificate authorities of a cluster: a successor is appended, distributed and activated, and the outgoing one deleted.

- https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCertificateAuthority.html: at most two
- https://docs.aws.amazon.com/eks/latest/APIReference/API_ActivateCertificateAuthority.html: only once its distribution is COMPLETE
- https://docs.aws.amazon.com/eks/latest/APIReference/API_DeleteCertificateAuthority.html: not the signer, and not the only successor that EKS appended
That each call is an update of the cluster, one at a time, is our inference; codes are those of the models, texts are ours. The API server's own
certificate does not change here: a cluster with a real API server trusts the CA of that server at all times.
"""

from __future__ import annotations

import base64
from typing import Any

from .authority import new_certificate_authority
from .operations import Context, idempotent, operation, page, start_update
from .state import Cluster, Part, Update, bad_parameter, in_use, limit_exceeded, new_id, not_found

KIND = "CertificateAuthorityUpdate"
MOST = 2
SUMMARY = ("id", "createdAt", "createdBy", "activatedAt", "activatedBy", "signingStatus", "distributionStatus")
DAY = 24 * 3600.0


def initial(cluster: Cluster, data: str, now: float) -> None:
    """The CA that EKS creates with the cluster."""
    part = new_part("EKS", data, now)
    part.body.update(signingStatus="IN_USE", distributionStatus="COMPLETE", activatedAt=now, activatedBy="EKS")
    cluster.certificate_authorities[part.body["id"]] = part
    show(cluster)


def new_part(created_by: str, data: str, now: float) -> Part:
    return Part(
        {
            "id": new_id(),
            "createdAt": now,
            "createdBy": created_by,
            "signingStatus": "NOT_USED",
            "distributionStatus": "IN_PROGRESS",
            "validity": {"notBefore": now, "notAfter": now + 3650 * DAY},
            "data": data,
        }
    )


def signer(cluster: Cluster) -> Part:
    return next(part for part in cluster.certificate_authorities.values() if part.body["signingStatus"] == "IN_USE")


def show(cluster: Cluster) -> None:
    """Sets what DescribeCluster returns: all certificates that the cluster trusts, and the signer."""
    pems = [base64.b64decode(part.body["data"]) for part in cluster.certificate_authorities.values()]
    active = signer(cluster).body
    cluster.body["certificateAuthority"] = {
        "data": base64.b64encode(b"".join(pem if pem.endswith(b"\n") else pem + b"\n" for pem in pems)).decode(),
        "active": {"id": active["id"], "activatedBy": active["activatedBy"]},
    }


def trust_server(cluster: Cluster, data: str) -> None:
    """The first CA is that of the real API server, also after it was deleted."""
    if not cluster.certificate_authorities:
        # Saved by an earlier emulator.
        initial(cluster, data, cluster.body["createdAt"])
    parts = list(cluster.certificate_authorities.values())
    if parts[0].body["data"] != data:
        parts[0].body["data"] = data
        show(cluster)


def summary(part: Part) -> dict[str, Any]:
    return {name: part.body[name] for name in SUMMARY if name in part.body}


def cluster_of(context: Context) -> Cluster:
    cluster = context.cluster()
    if not cluster.certificate_authorities and cluster.body["certificateAuthority"]:
        # Saved by an earlier emulator.
        initial(cluster, cluster.body["certificateAuthority"]["data"], cluster.body["createdAt"])
    return cluster


def find(context: Context, cluster: Cluster) -> Part:
    wanted = context.params["certificateAuthorityId"]
    part = cluster.certificate_authorities.get(wanted)
    if part is None:
        raise not_found(f"No certificate authority found with id {wanted} in cluster {cluster.name}", clusterName=cluster.name)
    return part


def check_idle(cluster: Cluster, error: Any) -> None:
    running = cluster.running_update()
    if running:
        raise error(f"Cluster {cluster.name} currently has update {running.id} in progress", clusterName=cluster.name)
    if cluster.status != "ACTIVE":
        raise error(f"Cluster {cluster.name} is not in ACTIVE status: {cluster.status}", clusterName=cluster.name)


def start(context: Context, cluster: Cluster, part: Part, finish: Any) -> tuple[Update, Part]:
    cluster.body["status"] = "UPDATING"

    def finish_update(update: Update) -> None:
        finish(update.status == "Successful")
        if cluster.status == "UPDATING":
            cluster.body["status"] = "ACTIVE"

    named = [("CertificateAuthorityId", part.body["id"])]
    return start_update(context, cluster, KIND, named, context.settings.cluster_update_seconds, finish_update), part


def answer(started: tuple[Update, Part]) -> dict[str, Any]:
    update, part = started
    return {"update": update.body(), "certificateAuthority": summary(part)}


@operation
def create_certificate_authority(context: Context) -> dict[str, Any]:
    cluster = cluster_of(context)

    def create() -> tuple[Update, Part]:
        check_idle(cluster, in_use)
        if len(cluster.certificate_authorities) >= MOST:
            raise limit_exceeded(f"Cluster {cluster.name} has {MOST} certificate authorities already", clusterName=cluster.name)
        part = append(cluster, "CUSTOMER", context.now)
        return start(context, cluster, part, lambda successful: part.body.update(distributionStatus="COMPLETE" if successful else "FAILED"))

    return answer(idempotent(context, "CreateCertificateAuthority", create))


def append(cluster: Cluster, created_by: str, now: float) -> Part:
    """Adds a successor, which the cluster trusts at once."""
    part = new_part(created_by, new_certificate_authority(), now)
    cluster.certificate_authorities[part.body["id"]] = part
    show(cluster)
    return part


@operation
def activate_certificate_authority(context: Context) -> dict[str, Any]:
    cluster = cluster_of(context)

    def activate() -> tuple[Update, Part]:
        part = find(context, cluster)
        check_idle(cluster, bad_parameter)
        if part.body["signingStatus"] != "NOT_USED":
            raise bad_parameter(f"Certificate authority {part.body['id']} is in use already", clusterName=cluster.name)
        if part.body["distributionStatus"] != "COMPLETE":
            text = f"Certificate authority {part.body['id']} cannot be activated: its distribution status is {part.body['distributionStatus']}"
            raise bad_parameter(text, clusterName=cluster.name)
        part.body["signingStatus"] = "ACTIVATING"
        return start(context, cluster, part, lambda successful: promote(cluster, part, "CUSTOMER", context.timeline.now(), successful))

    return answer(idempotent(context, "ActivateCertificateAuthority", activate))


def promote(cluster: Cluster, part: Part, by: str, now: float, successful: bool = True) -> None:
    if not successful:
        part.body["signingStatus"] = "NOT_USED"
        return
    signer(cluster).body["signingStatus"] = "NOT_USED"
    part.body.update(signingStatus="IN_USE", activatedAt=round(now, 3), activatedBy=by, rollbackAvailable=True)
    show(cluster)


@operation
def delete_certificate_authority(context: Context) -> dict[str, Any]:
    cluster = cluster_of(context)

    def delete() -> tuple[Update, Part]:
        part = find(context, cluster)
        check_idle(cluster, in_use)
        if part.body["signingStatus"] != "NOT_USED":
            raise in_use(f"Certificate authority {part.body['id']} signs certificates of cluster {cluster.name}", clusterName=cluster.name)
        if part.body["createdBy"] == "EKS" and "activatedAt" not in part.body:
            raise bad_parameter(f"Certificate authority {part.body['id']} is the only successor, appended by Amazon EKS", clusterName=cluster.name)
        before = part.body["distributionStatus"]
        part.body["distributionStatus"] = "DELETING"

        def finish(successful: bool) -> None:
            if successful:
                cluster.certificate_authorities.pop(part.body["id"], None)
                show(cluster)
            else:
                part.body["distributionStatus"] = before

        return start(context, cluster, part, finish)

    return answer(idempotent(context, "DeleteCertificateAuthority", delete))


@operation
def describe_certificate_authority(context: Context) -> dict[str, Any]:
    cluster = cluster_of(context)
    return {"certificateAuthority": dict(find(context, cluster).body)}


@operation
def list_certificate_authorities(context: Context) -> dict[str, Any]:
    cluster = cluster_of(context)
    return page(context, [summary(part) for part in cluster.certificate_authorities.values()], "certificateAuthorities")


def rotate_by_eks(cluster: Cluster, now: float, activate: bool) -> str:
    """What EKS does by itself as the expiration approaches: it appends a successor, and later activates it. Returns its id."""
    successor = next((part for part in cluster.certificate_authorities.values() if part.body["signingStatus"] == "NOT_USED"), None)
    part = successor or append(cluster, "EKS", round(now, 3))
    part.body["distributionStatus"] = "COMPLETE"
    if activate:
        promote(cluster, part, "EKS", now)
    return str(part.body["id"])
