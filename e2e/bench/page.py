"""Memory of the fleet page in the cluster, with a thousand clusters whose statuses are long."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fleet.cluster_page import ClusterPage
from fleet.many_clusters import ManyClusters

from .figures import Figure
from .resource_usage import MB, memory_mb, peak_mb

CLUSTERS = 1000
LIMIT_MB = 60
# The last of the node groups.
LAST = f"/nodegroups/team-39/cluster-{CLUSTERS - 1:05}-1"
SECONDS = 60


def rows(log) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        server = ManyClusters(Path(folder), CLUSTERS, is_rich=True)
        try:
            with ClusterPage(server.kubeconfig, Path(folder)) as page:
                page.wait_ready(lambda: page.get(LAST, "token").status_code == 200, SECONDS)
                used, peak, own = memory_mb(page), peak_mb(page), page.anonymous_bytes() / MB
        finally:
            server.stop()
    log(f"the page with {CLUSTERS} clusters: {used:.0f} MB, at most {peak:.0f} MB; {own:.0f} MB of its own")
    return [
        Figure(
            f"resident memory of the fleet page in the cluster, {CLUSTERS} clusters with {2 * CLUSTERS} node groups",
            f"{used:.0f} MB",
            goal=f"<= {LIMIT_MB} MB",
            met=peak <= LIMIT_MB,
            note=f"At most {peak:.0f} MB, {own:.0f} MB of them its own; the rest are pages of its binary, which the kernel drops when "
            "memory is short, and which Kubernetes does not count as the working set. One viewer looked at a node group.",
            numbers={"used_mb": used, "peak_mb": peak, "own_mb": own},
        )
    ]
