"""The Grafana dashboards. Pure; generate.py writes them as JSON."""

from __future__ import annotations

from panels import GREEN, RED, YELLOW, Panel, bars, dashboard, graph, stat, table, variable

CLUSTER = 'namespace="$namespace", name="$name"'
RATE = "$__rate_interval"
STACKED = {"stacking": {"mode": "normal"}, "fillOpacity": 40}
ANY_IS_BAD = ((None, GREEN), (1.0, RED))
DAYS_LEFT = ((None, RED), (60.0, YELLOW), (180.0, GREEN))

FLEET = dashboard(
    "keelson-fleet",
    "Keelson / Fleet",
    "All clusters: what state they are in, what they run, until when AWS supports it.",
    [
        (
            "Now",
            [
                stat("Clusters", "count(max by (namespace, name) (keelson_cluster_info))", "Clusters that exist in EKS."),
                stat(
                    "Ready",
                    'sum(keelson_objects{kind="EksCluster", condition="Ready", status="True"})',
                    "Clusters that match their spec and have applied what Git defines.",
                ),
                stat(
                    "Not available",
                    'count(max by (namespace, name) (keelson_condition{kind="EksCluster", type="Available", status="False"}))',
                    "Clusters that cannot be used now, those in creation included.",
                    steps=ANY_IS_BAD,
                    no_value="0",
                ),
                stat(
                    "Stalled",
                    'count(max by (kind, namespace, name) (keelson_condition{type="Stalled", status="True"}))',
                    "Objects that make no progress until a person acts.",
                    steps=ANY_IS_BAD,
                    no_value="0",
                ),
                stat(
                    "Waiting for approval",
                    'count(max by (kind, namespace, name) (keelson_condition{type="Ready", reason="WaitingForApproval"}))',
                    "Objects whose plan waits for a person.",
                    steps=((None, GREEN), (1.0, YELLOW)),
                    no_value="0",
                ),
                stat(
                    "Differ from the spec",
                    'count(max by (kind, namespace, name) (keelson_condition{type="InSync", status="False"}))',
                    "Objects whose resources in AWS differ from the spec now.",
                    steps=((None, GREEN), (1.0, YELLOW)),
                    no_value="0",
                ),
            ],
        ),
        (
            "Conditions",
            [
                graph(
                    "Clusters by the status of Ready",
                    ('sum by (status) (keelson_objects{kind="EksCluster", condition="Ready"})', "{{status}}"),
                    description="Ready is False also during every change.",
                    width=12,
                    custom=STACKED,
                ),
                graph(
                    "Objects that are not Ready, by reason",
                    ('count by (kind, reason) (max by (kind, namespace, name, reason) (keelson_condition{type="Ready", status!="True"}))', "{{kind}} {{reason}}"),
                    description="docs/troubleshooting.md explains each reason.",
                    width=12,
                    custom=STACKED,
                ),
                table(
                    "Stalled objects",
                    'max by (kind, namespace, name, reason) (keelson_condition{type="Stalled", status="True"})',
                    "The message of the object's condition says what to do.",
                ),
                table(
                    "Upgrades",
                    'max by (kind, namespace, name, status, reason) (keelson_condition{type="Upgrading", reason!~"Available|Reconciled"})',
                    "What is being upgraded, waits for a window, or is blocked.",
                ),
            ],
        ),
        (
            "Rollouts",
            [
                table(
                    "Releases",
                    "max by (name, gate, target, state) (keelson_rollout_release_state)",
                    "Each release of a FleetRollout and its state: keelson rollout status says what it waits for.",
                ),
                graph(
                    "Clusters of a release",
                    ("max by (name, gate, target) (keelson_rollout_clusters_at_target)", "{{name}} {{target}} have it ({{gate}})"),
                    ("max by (name, gate, target) (keelson_rollout_tickets)", "{{name}} {{target}} in progress ({{gate}})"),
                    ("max by (name, gate, target) (keelson_rollout_clusters_failed)", "{{name}} {{target}} failed ({{gate}})"),
                    description="Of the clusters in waves, how many have the version, are getting it, and failed.",
                    width=12,
                ),
            ],
        ),
        (
            "Versions and support",
            [
                bars(
                    "Clusters by Kubernetes version",
                    "count by (version) (max by (namespace, name, version) (keelson_cluster_info))",
                    "{{version}}",
                    "Versions of the control planes.",
                ),
                bars(
                    "Clusters by account and region",
                    "count by (account, region) (max by (namespace, name, account, region) (keelson_cluster_info))",
                    "{{account}} {{region}}",
                    "Where the clusters are.",
                ),
                graph(
                    "Days until support ends, the next ten",
                    (
                        "bottomk(10, min by (namespace, name, support) ((keelson_cluster_support_end_timestamp_seconds - time()) / 86400))",
                        "{{namespace}}/{{name}} {{support}}",
                    ),
                    description="At the end of extended support EKS upgrades the control plane.",
                    unit="d",
                    steps=DAYS_LEFT,
                ),
                table(
                    "All clusters",
                    "max by (namespace, name, cluster_name, account, region, version, platform_version) (keelson_cluster_info)",
                    "What each cluster is in AWS.",
                    width=24,
                ),
            ],
        ),
        (
            "GitOps",
            [
                stat(
                    "Clusters with a failing agent",
                    "count(max by (namespace, cluster) (keelson_gitops_ready) == 0)",
                    "Clusters with a GitOps agent whose condition GitOpsReady is not True.",
                    steps=ANY_IS_BAD,
                    no_value="0",
                    height=8,
                ),
                graph(
                    "Failing objects, the worst ten",
                    ("topk(10, max by (namespace, cluster) (keelson_gitops_failing_objects))", "{{namespace}}/{{cluster}}"),
                    description="Objects of the agent that fail, by cluster.",
                    width=10,
                ),
                graph(
                    "Age of the last response, the worst ten",
                    ("topk(10, max by (namespace, cluster) (keelson_gitops_contact_age_seconds))", "{{namespace}}/{{cluster}}"),
                    description="A watched cluster is polled every five minutes.",
                    unit="s",
                    width=10,
                ),
            ],
        ),
    ],
)

OPERATOR = dashboard(
    "keelson-operator",
    "Keelson / Operator",
    "The operator itself: reconciliations, calls to AWS, memory.",
    [
        (
            "Replicas",
            [
                graph("Leader", ("keelson_leader", "{{instance}}"), description="1 for the leader, 0 for standbys.", custom={"lineInterpolation": "stepAfter"}),
                graph(
                    "Resident memory",
                    ('process_resident_memory_bytes{job="keelson"}', "{{instance}}"),
                    description="The limit in deploy/deployment.yaml is 256 MiB.",
                    unit="bytes",
                ),
                graph(
                    "Objects that cannot be read",
                    ("max by (kind) (keelson_objects_unreadable)", "{{kind}}"),
                    description="Too large, too deep, or of another version: neither reconciled nor deleted.",
                ),
            ],
        ),
        (
            "Reconciliations",
            [
                graph(
                    "By result",
                    (f"sum by (result) (rate(keelson_reconciles_total[{RATE}]))", "{{result}}"),
                    description="Reconciliations per second. The class of the error is the result of a failed one.",
                    unit="ops",
                    custom=STACKED,
                ),
                graph(
                    "Failing, by kind and result",
                    (f'sum by (kind, result) (rate(keelson_reconciles_total{{result!~"ok|cancelled"}}[{RATE}])) > 0', "{{kind}} {{result}}"),
                    description="Per second.",
                    unit="ops",
                ),
                graph("In progress", ("sum by (kind) (keelson_reconciles_running)", "{{kind}}"), description="Reconciliations that run now."),
                graph(
                    "Duration",
                    (f"histogram_quantile(0.5, sum by (le, kind) (rate(keelson_reconcile_duration_seconds_bucket[{RATE}])))", "{{kind}} median"),
                    (f"histogram_quantile(0.99, sum by (le, kind) (rate(keelson_reconcile_duration_seconds_bucket[{RATE}])))", "{{kind}} 99 %"),
                    description="A reconcile never waits for AWS to finish an operation.",
                    unit="s",
                    width=12,
                ),
                graph(
                    "Duration of operations in AWS",
                    (
                        'sum by (kind, operation) (rate(keelson_operation_duration_seconds_sum{result="ok"}[$__range]))'
                        ' / sum by (kind, operation) (rate(keelson_operation_duration_seconds_count{result="ok"}[$__range]))',
                        "{{kind}} {{operation}}",
                    ),
                    description="Mean duration of updates that ended in the selected time, steps of upgrades included.",
                    unit="s",
                    width=12,
                ),
            ],
        ),
        (
            "Calls to AWS",
            [
                graph(
                    "By service",
                    (f"sum by (service) (rate(keelson_aws_calls_total[{RATE}]))", "{{service}}"),
                    description="Calls per second.",
                    unit="ops",
                    custom=STACKED,
                ),
                graph(
                    "Failing, by service and outcome",
                    (f'sum by (service, outcome) (rate(keelson_aws_calls_total{{outcome!~"ok|cancelled"}}[{RATE}])) > 0', "{{service}} {{outcome}}"),
                    description="Per second. not_found is the answer for what does not exist yet.",
                    unit="ops",
                ),
                graph(
                    "Latency, 95 %",
                    (f"histogram_quantile(0.95, sum by (le, service) (rate(keelson_aws_call_duration_seconds_bucket[{RATE}])))", "{{service}}"),
                    description="95 % of the calls are answered in this time.",
                    unit="s",
                ),
                graph(
                    "Throttled",
                    (f"sum by (service, account, region) (rate(keelson_aws_throttles_total[{RATE}])) > 0", "{{service}} {{account}} {{region}}"),
                    description="Calls per second that AWS throttled. The rate of the account, region and action is halved after each.",
                    unit="ops",
                ),
                graph(
                    "Waiting for the rate limit",
                    (f"sum by (service, account, region) (rate(keelson_aws_bucket_wait_seconds_total[{RATE}]))", "{{service}} {{account}} {{region}}"),
                    description="Seconds per second that calls wait for Keelson's own rate limits.",
                    unit="s",
                ),
                graph(
                    "Deferred by the rate limit",
                    (f"sum by (service, account, region) (rate(keelson_aws_deferrals_total[{RATE}])) > 0", "{{service}} {{account}} {{region}}"),
                    description="Calls per second that are tried later, because their wait would be too long.",
                    unit="ops",
                ),
            ],
        ),
        (
            "Events and watches",
            [
                graph(
                    "CloudTrail messages",
                    (f"sum by (result) (rate(keelson_cloudtrail_messages_total[{RATE}]))", "{{result}}"),
                    description="Per second. relevant: a managed resource was changed by someone else.",
                    unit="ops",
                ),
                graph(
                    "Event queue",
                    ("min by (job) (keelson_event_queue_reachable)", "reachable"),
                    (f"sum by (job) (rate(keelson_event_queue_failures_total[{RATE}]))", "failed polls per second"),
                    description="1 while the queue can be read.",
                ),
                graph("Watched clusters", ("max by (job) (keelson_gitops_watches)", "clusters"), description="Clusters whose agent is watched; the others are polled."),
            ],
        ),
        (
            "Notifications",
            [
                graph(
                    "Attempts to send",
                    (f"sum by (result) (rate(keelson_notifications_total[{RATE}]))", "{{result}}"),
                    description="Per second. failed: tried again; rejected: the endpoint refuses it for good. Always 0 without --notify-url.",
                    unit="ops",
                    width=12,
                ),
                graph(
                    "To be sent",
                    ("max by (job) (keelson_notifications_pending)", "pending"),
                    description="Notifications that the endpoint has not taken yet.",
                    width=12,
                ),
            ],
        ),
    ],
)

ONE_CLUSTER = dashboard(
    "keelson-cluster",
    "Keelson / Cluster",
    "One cluster: its conditions over time, its versions, its agent, and the calls in its account.",
    [
        (
            "$namespace/$name",
            [
                stat(
                    "Version",
                    f"max by (version) (keelson_cluster_info{{{CLUSTER}}})",
                    "Kubernetes version of the control plane.",
                    legend="{{version}}",
                    options={"textMode": "name"},
                ),
                stat(
                    "Account and region",
                    f"max by (account, region) (keelson_cluster_info{{{CLUSTER}}})",
                    "Where it is.",
                    legend="{{account}} {{region}}",
                    options={"textMode": "name"},
                    width=6,
                ),
                stat(
                    "Available",
                    f'max by (status, reason) (keelson_condition{{kind="EksCluster", type="Available", {CLUSTER}}})',
                    "Whether it can be used, and why not.",
                    legend="{{status}} {{reason}}",
                    options={"textMode": "name"},
                ),
                stat(
                    "Ready",
                    f'max by (status, reason) (keelson_condition{{kind="EksCluster", type="Ready", {CLUSTER}}})',
                    "Status and reason of Ready.",
                    legend="{{status}} {{reason}}",
                    options={"textMode": "name"},
                    width=6,
                ),
                stat(
                    "Days of support left",
                    f'min by (support) ((keelson_cluster_support_end_timestamp_seconds{{{CLUSTER}}} - time()) / 86400)',
                    "Standard and extended support of its version.",
                    legend="{{support}}",
                    steps=DAYS_LEFT,
                    unit="d",
                ),
            ],
        ),
        (
            "Conditions",
            [
                Panel(
                    "state-timeline",
                    "Conditions that are True",
                    ((f'max by (type) (keelson_condition{{kind="EksCluster", status="True", {CLUSTER}}})', "{{type}}"),),
                    "A gap is a time in which the condition was False or Unknown.",
                    width=12,
                    options={"showValue": "never", "rowHeight": 0.8},
                ),
                table(
                    "Conditions now",
                    f'max by (type, status, reason) (keelson_condition{{kind="EksCluster", {CLUSTER}}})',
                    "The messages are in the object: kubectl describe.",
                ),
                table(
                    "NodeGroups of the namespace",
                    'max by (name, status, reason) (keelson_condition{kind="NodeGroup", type="Ready", namespace="$namespace"})',
                    "Status and reason of Ready.",
                    width=24,
                    height=6,
                ),
            ],
        ),
        (
            "GitOps agent",
            [
                graph(
                    "Ready",
                    ('max by (cluster) (keelson_gitops_ready{namespace="$namespace", cluster="$name"})', "GitOpsReady"),
                    description="1 while the latest revision is applied.",
                ),
                graph(
                    "Failing objects",
                    ('max by (cluster) (keelson_gitops_failing_objects{namespace="$namespace", cluster="$name"})', "failing"),
                    description="status.gitops.failing names ten of them.",
                ),
                graph(
                    "Age of the last response",
                    ('max by (cluster) (keelson_gitops_contact_age_seconds{namespace="$namespace", cluster="$name"})', "age"),
                    description="Since the cluster's API server last answered.",
                    unit="s",
                ),
            ],
        ),
        (
            "Calls to AWS in its account and region",
            [
                graph(
                    "By service",
                    (
                        f"sum by (service) (rate(keelson_aws_calls_total[{RATE}])"
                        f" * on (account, region) group_left () max by (account, region) (keelson_cluster_info{{{CLUSTER}}}))",
                        "{{service}}",
                    ),
                    description="Calls per second for all clusters there: reads are shared.",
                    unit="ops",
                    width=12,
                ),
                graph(
                    "Failing, by service and outcome",
                    (
                        f'sum by (service, outcome) (rate(keelson_aws_calls_total{{outcome!~"ok|cancelled"}}[{RATE}])'
                        f" * on (account, region) group_left () max by (account, region) (keelson_cluster_info{{{CLUSTER}}})) > 0",
                        "{{service}} {{outcome}}",
                    ),
                    description="Per second.",
                    unit="ops",
                    width=12,
                ),
            ],
        ),
    ],
    variable("namespace", "Namespace", "label_values(keelson_cluster_info, namespace)"),
    variable("name", "Cluster", 'label_values(keelson_cluster_info{namespace="$namespace"}, name)'),
)

ALL = (ONE_CLUSTER, FLEET, OPERATOR)
