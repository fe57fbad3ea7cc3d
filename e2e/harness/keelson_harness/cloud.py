"""`LocalCloud`: everything that Keelson talks to, on this machine.

AWS (the emulator), the management cluster's API server, the workload API server whose tokens the emulator
reviews (one shared by all EKS clusters, or one for each), Git over HTTP, and the simulated kubelet that runs
the real Flux and Argo CD controllers. A test can leave out the components that it does not need.
"""

import contextlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from .argocd import ARGOCD_TOOLS, SOCKET_BYTES, argocd_runners
from .aws import Aws, Durations
from .collector import Collector
from .controller import Controller
from .flux import FLUX_TOOLS, HELM_CONTROLLER, bootstrap_flux, flux_runners
from .git import GitServer, Repository
from .kubeapi import documents
from .kubelet import POD, Kubelet, Runner
from .kubernetes import BASE_CONTROLLERS, WORKLOAD_CONTROLLERS, ControlPlane, Etcd, Stopwatch
from .paths import CRDS, DEPLOY, keelson_binary, run_directory, tools
from .pooled import Pooled, acquire, pool_from_environment
from .processes import Process, free_port
from .recorder import Recorder, recorder_from_environment
from .snapshot import Snapshot
from .workload_clusters import OwnApiServers, WorkloadClusters

NAMESPACE = "keelson-system"
KUBERNETES_TOOLS = ("etcd", "kube-apiserver", "kube-controller-manager")


class LocalCloud:
    """A context manager: starts everything on entry and stops it on exit.

    workload=False: no workload cluster, kubelet or GitOps agents. workload_each=True: an API server for each EKS cluster
    (`workloads`) instead of a shared one (`workload`); OwnApiServers: for some of them. flux=False: no Flux, on no cluster. argocd=True: adds Argo CD. helm=True: Flux's helm-controller runs too. git=False: no Git
    server. aws=False: no emulator, and therefore no workload cluster. management_pods=True: pods of Flux, Argo CD and the
    operator run on the management cluster as well (see `bootstrap`). nodes_need_cni=True: workload nodes are NotReady until a CNI's DaemonSet exists,
    and pods run only on nodes; otherwise nodes are Ready and pods need none. snapshot: starts from the saved state of another operator's run.
    pooled=True: the management cluster may be one that other test files used before, with the CRDs installed and without their objects;
    its processes cannot be stopped or configured. audit=True: the management cluster writes an audit log (`ControlPlane.audit_log`), not with pooled.
    The run directory is removed unless an exception occurs or keep=True (or KEELSON_KEEP is set).
    """

    def __init__(
        self,
        aws: bool = True,
        workload: bool = True,
        workload_each: bool | OwnApiServers = False,
        flux: bool = True,
        argocd: bool = False,
        helm: bool = False,
        git: bool = True,
        management_pods: bool = False,
        nodes_need_cni: bool = False,
        durations: Durations | None = None,
        aws_env: dict[str, str] | None = None,
        keep: bool = False,
        snapshot: Snapshot | None = None,
        pooled: bool = False,
        audit: bool = False,
        log: Callable[[str], None] | None = None,
    ):
        self._with_aws = aws
        self._with_workload = workload and aws
        own = OwnApiServers() if workload_each is True else workload_each or None
        self._workload_each = own if self._with_workload else None
        self._with_flux = flux and self._with_workload
        self._with_argocd = argocd and self._with_workload
        self._with_helm = helm and self._with_flux
        self._with_git = git
        self._management_pods = management_pods
        self._nodes_need_cni = nodes_need_cni
        self._management_flux = management_pods and flux
        self._durations = durations
        self._aws_env = aws_env or {}
        self._snapshot = snapshot
        own_processes = snapshot or management_pods or audit
        self._audit = audit
        self._pool = pool_from_environment() if pooled and not own_processes else None
        self._keep = keep or bool(os.environ.get("KEELSON_KEEP"))
        self._log = log or (lambda _: None)
        self._closing = contextlib.ExitStack()
        self.startup_seconds: dict[str, float] = {}
        self.controllers: list[Controller] = []
        # What receives the operators' traces.
        self.collectors: list[Collector] = []
        # Two pods may start an operator at the same time.
        self._numbers = itertools.count(1)
        # Flags of replicas that run in pods.
        self.operator_flags: tuple[str, ...] = ()
        # Of a control plane of the pool, the address only.
        self.etcd: Etcd | Pooled
        self.aws: Aws | None = None
        self.management: ControlPlane
        self.workload: ControlPlane | None = None
        self.workloads: WorkloadClusters | None = None
        self.git: GitServer | None = None
        # Environment that EKS Pod Identity adds to the next Pod of source-controller.
        self.source_identity: Callable[[], dict[str, str]] = dict
        self.kubelet: Kubelet | None = None
        self.management_kubelet: Kubelet | None = None
        self.recorder: Recorder | None = None

    def __enter__(self) -> "LocalCloud":
        names = KUBERNETES_TOOLS
        if self._with_flux or self._management_flux:
            names += FLUX_TOOLS
        if self._with_helm:
            names += (HELM_CONTROLLER,)
        if self._with_argocd:
            names += ARGOCD_TOOLS
        self.tools = tools(*names)
        self.directory = run_directory(socket_bytes=SOCKET_BYTES if self._with_argocd else 0)
        try:
            self._start()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            if self.recorder:
                self.recorder.save()
        finally:
            self._closing.__exit__(kind, error, trace)
        # After Ctrl-C and SIGTERM nobody needs the logs.
        if self._keep or isinstance(error, Exception):
            print(f"logs and data are in {self.directory}", file=sys.stderr)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self) -> None:
        watch = Stopwatch()
        if self._pool:
            self._take_from_pool(self._pool)
        else:
            self.etcd = Etcd(self.tools["etcd"], self.directory / "etcd")
            self._closing.callback(self.etcd.stop)
            pod_controllers = WORKLOAD_CONTROLLERS if self._management_pods else []
            self.management = self._control_plane("management", BASE_CONTROLLERS + pod_controllers)
            self.management.audit = self._audit
        if self._with_workload and not self._workload_each:
            # Its address and certificates are fixed now: the emulator needs them at its start.
            self.workload = self._control_plane("workload", BASE_CONTROLLERS + WORKLOAD_CONTROLLERS)
        if self._with_aws:
            self._start_aws()
        if self._with_git:
            self.git = GitServer(self.directory / "git")
            self._closing.callback(self.git.stop)
        if isinstance(self.etcd, Etcd):
            self._await({"etcd": self.etcd.wait_ready})
        if self._snapshot:
            self._snapshot.load_objects(self.etcd.url, {plane.name: plane.url for plane in self.clusters()})
        waits = {f"{plane.name} cluster": self._bring_up(plane) for plane in self.clusters() if not plane.pooled}
        if self.aws:
            waits["AWS emulator"] = self.aws.wait_ready
        self._await(waits)
        if self._snapshot:
            self._snapshot.load_aws(self.aws)
        if self.workload:
            self.kubelet = self._workload_kubelet(self.workload)
            self.kubelet.start()
            self._closing.callback(self.kubelet.stop)
        if self._workload_each:
            self.workloads = WorkloadClusters(
                self.aws, self.tools, self.directory, self.etcd.url, self._workload_kubelet, self._log, self._workload_each
            )
            self._closing.callback(self.workloads.stop)
            self.workloads.start()
        if self._management_pods:
            runners = flux_runners(self.tools, self.management.directory) if self._management_flux else {}
            if self._with_argocd:
                runners |= argocd_runners(self.management, self.tools, self.management.directory)
            runners["keelson"] = self._run_operator
            self.management_kubelet = self._kubelet(self.management, runners, NAMESPACE)
        self.recorder = recorder_from_environment(self)
        self.startup_seconds["everything"] = float(watch)

    def _workload_kubelet(self, plane: ControlPlane) -> Kubelet:
        """The simulated kubelet of a workload cluster's nodes."""
        # Tests read the controllers' logs of the shared cluster from the run directory.
        logs = plane.directory if self._workload_each else self.directory
        runners = {}
        if self._with_flux:
            runners = flux_runners(self.tools, logs, lambda: self.source_identity())
        if self._with_argocd:
            runners |= argocd_runners(plane, self.tools, logs)
        own = self._workload_each or OwnApiServers()
        runners |= own.runners
        kubelet = Kubelet(plane, self.directory / f"{plane.name}-kubelet", runners, needs_cni=self._nodes_need_cni)
        kubelet.namespaces.update(own.namespaces)
        return kubelet

    def _kubelet(self, plane: ControlPlane, runners: dict[str, Runner], *namespaces: str) -> Kubelet:
        kubelet = Kubelet(plane, self.directory / f"{plane.name}-kubelet", runners)
        kubelet.namespaces.update(namespaces)
        kubelet.start()
        self._closing.callback(kubelet.stop)
        return kubelet

    def clusters(self) -> list[ControlPlane]:
        shared = [self.workload] if self.workload else []
        return [self.management, *shared, *(self.workloads.control_planes() if self.workloads else [])]

    def _take_from_pool(self, pool: Path) -> None:
        self.etcd = self._closing.enter_context(acquire(pool))
        directory = Path(self.etcd.directory)
        self.management = ControlPlane(
            self.etcd.name, self.tools, self.directory / self.etcd.name, port=self.etcd.port, pooled=directory
        )
        self._closing.push(self._copy_logs)

    def _copy_logs(self, kind, error, trace) -> None:
        """The pool removes its own."""
        if self._keep or isinstance(error, Exception):
            for log in self.management.pooled.glob("*.log"):
                shutil.copy(log, self.management.directory)

    def _control_plane(self, name: str, controllers: list[str]) -> ControlPlane:
        plane = ControlPlane(name, self.tools, self.directory / name, controllers=controllers)
        self._closing.callback(plane.stop)
        return plane

    def _start_aws(self) -> None:
        env = {}
        if self.workload:
            env = {
                "WORKLOAD_ENDPOINT": self.workload.url,
                "WORKLOAD_CA_FILE": str(self.workload.ca_file),
                "WORKLOAD_KUBECONFIG": str(self.workload.kubeconfig),
            }
        if self._workload_each:
            env = {"WORKLOAD_EACH": self._workload_each.setting}
        env["NODES_NEED_CNI"] = "1" if self._nodes_need_cni else "0"
        self.aws = Aws(self.directory, self._durations, {**env, **self._aws_env})
        self._closing.callback(self.aws.stop)
        if self.workload:
            self.workload.token_webhook = self.aws.token_review_url

    def _bring_up(self, plane: ControlPlane) -> Callable[[], float]:
        plane.start_apiserver(self.etcd.url)

        def wait() -> float:
            watch = Stopwatch()
            plane.wait_apiserver()
            plane.start_controller_manager()
            plane.wait_controller_manager()
            return float(watch)

        return wait

    def _await(self, waits: dict[str, Callable[[], float]]) -> None:
        with ThreadPoolExecutor(len(waits) or 1) as pool:
            running = {name: pool.submit(wait) for name, wait in waits.items()}
            for name, future in running.items():
                self.startup_seconds[name] = future.result()
                self._log(f"{name} ready after {self.startup_seconds[name]:.1f} s")

    def collector(self) -> Collector:
        """Starts a collector of traces."""
        collector = Collector()
        self.collectors.append(collector)
        self._closing.callback(collector.close)
        return collector

    # The operator

    def install_crds(self, directory: Path = CRDS) -> None:
        """Applies `crds/*.yaml` to the management cluster and waits until they are served. A pooled one has them, and checks that at its reset."""
        if self.management.pooled and directory == CRDS:
            return
        self.management.api.apply_all(
            [item for path in sorted(directory.glob("*.yaml")) for item in documents(path)]
        )

    def operator_account(self, cluster_wide_secrets: bool = True) -> Path:
        """Applies the RBAC of `deploy/`; returns a kubeconfig of the operator's service account.

        So a missing permission fails in the tests, not for a user. cluster_wide_secrets: with the optional component
        `secrets-cluster-wide`; without it the operator reads Secrets only where a RoleBinding allows it.
        """
        names = ["namespace.yaml", "service-account.yaml", "rbac.yaml"]
        if cluster_wide_secrets:
            names.append("secrets-cluster-wide/rbac.yaml")
        self.management.api.apply_all([item for name in names for item in documents(DEPLOY / name)])
        return self.management.kubeconfig_for(
            f"system:serviceaccount:{NAMESPACE}:keelson",
            ("system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}"),
        )

    def operator_env(self) -> dict[str, str]:
        """Environment of an operator or of a shell: AWS and the management cluster."""
        aws = self.aws.env() if self.aws else {}
        return {**aws, "KUBECONFIG": str(self.management.kubeconfig)}

    def operator(
        self,
        *args: str,
        binary: Path | None = None,
        env: dict[str, str] | None = None,
        kubeconfig: Path | None = None,
    ) -> Controller:
        """Starts a replica of the operator as `deploy/` does, with its RBAC. It stops with the cloud.

        Allows Git over HTTP, the only one here, and ambient credentials, so that most tests need no AwsAccount.
        Flags in `args` take precedence.
        """
        number = next(self._numbers)
        port = free_port()
        controller = Controller(
            binary or keelson_binary(),
            self.directory / f"keelson-{number}.log",
            {
                **self.operator_env(),
                "KUBECONFIG": str(kubeconfig or self.operator_account()),
                "KEELSON_LISTEN": f"127.0.0.1:{port}",
                "KEELSON_ALLOW_HTTP_GIT": "true",
                "KEELSON_ALLOW_AMBIENT_ACCOUNT": "true",
                # On loopback, for tests and manual requests.
                "KEELSON_METRICS_AUTH": "false",
                "POD_NAMESPACE": NAMESPACE,
                "POD_NAME": f"keelson-{number}",
                # Without a workload cluster its load balancers cannot be listed.
                "KEELSON_LOAD_BALANCER_TIMEOUT": "10s" if self._with_workload else "0s",
                **(env or {}),
            },
            args,
            name=f"keelson {number}",
            url=f"http://127.0.0.1:{port}",
        )
        self.controllers.append(controller)
        self._closing.callback(controller.stop)
        return controller

    def _run_operator(self, kubeconfig: Path, directory: Path) -> tuple[Process, Callable[[], bool]]:
        """The process of an operator pod: a replica with the pod's own service account and name."""
        name = json.loads((directory / POD).read_text())["metadata"]["name"]
        env = {"POD_NAME": name, "KEELSON_ALLOW_AMBIENT_ACCOUNT": "false"}
        controller = self.operator(*self.operator_flags, kubeconfig=kubeconfig, env=env)
        return controller.process, controller.ready

    def bootstrap(self, repository: Repository, path: str, interval: str) -> None:
        """Makes the management cluster sync that path of the repository, as `flux bootstrap` does."""
        bootstrap_flux(self.management, repository, path, interval)

    # Information

    def processes(self) -> list[Process]:
        """All processes that run now."""
        found = [self.etcd.process] if isinstance(self.etcd, Etcd) else []
        found += [self.aws.process] if self.aws else []
        for plane in self.clusters():
            found += [p for p in (plane.apiserver, plane.controller_manager) if p]
        workload_kubelets = self.workloads.kubelets() if self.workloads else []
        for kubelet in (self.kubelet, self.management_kubelet, *workload_kubelets):
            found += kubelet.processes() if kubelet else []
        return [*found, *(controller.process for controller in self.controllers)]

    def install_policies(self) -> None:
        """Applies the admission policies and the user roles of `deploy/`."""
        listed = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
        # One user role is in the operator's namespace.
        wanted = ("namespace.yaml", "rbac-users.yaml")
        names = [name for name in listed if name.startswith("admission-") or name in wanted]
        self.management.api.apply_all([item for name in names for item in documents(DEPLOY / name)])

    def describe(self, fleet: Repository | None = None, more: dict[str, str] | None = None) -> str:
        """Endpoints and kubeconfigs as shell commands to paste; of the repository its URL and a work tree to commit from; `more`: variables."""
        env = {**self.operator_env(), **(more or {})}
        if self.aws:
            # AWS CLI v1 reads only this variable.
            env["AWS_DEFAULT_REGION"] = env["AWS_REGION"]
        if fleet:
            # As the operator's: Git is served over HTTP here.
            env |= {"FLEET": str(fleet.work), "FLEET_URL": fleet.url, "KEELSON_ALLOW_HTTP_GIT": "true"}
        if self.controllers:
            env["METRICS"] = f"{self.controllers[0].url}/metrics"
        env["PATH"] = f"{keelson_binary().parent}:$PATH"
        lines = [f"export {key}={value}" for key, value in sorted(env.items())]
        lines.append(f"# keelson: {keelson_binary()}")
        lines += [f"# metrics of {controller.name}: {controller.url}/metrics" for controller in self.controllers[1:]]
        if self.workload:
            lines.append(f"# workload cluster: KUBECONFIG={self.workload.kubeconfig}")
        for plane in self.workloads.control_planes() if self.workloads else []:
            lines.append(f"# {plane.name}: KUBECONFIG={plane.kubeconfig}")
        if self.git:
            lines.append(f"# Git: {self.git.url}")
        lines.append(f"# logs: {self.directory}")
        return "\n".join(lines)
