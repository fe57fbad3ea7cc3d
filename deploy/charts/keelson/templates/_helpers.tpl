{{- define "keelson.chart" -}}
{{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Labels of every object. Names are fixed: one installation in a management cluster. */}}
{{- define "keelson.labels" -}}
app.kubernetes.io/part-of: keelson
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ include "keelson.chart" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What the Pods are selected by. */}}
{{- define "keelson.selector" -}}
app.kubernetes.io/name: keelson
{{- end }}

{{- define "keelson.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "keelson.port" -}}
{{ regexFind "[0-9]+$" .Values.operator.listen }}
{{- end }}

{{/* A flag for each of the operator's settings that has a value. */}}
{{- define "keelson.arguments" -}}
{{- with .Values.operator }}
- {{ if .leaderElection }}--leader-election{{ else }}--leader-election=false{{ end }}
- {{ printf "--listen=%s" .listen | quote }}
{{- range $flag, $value := dict
  "lease-duration" .leaseDuration
  "renew-deadline" .renewDeadline
  "retry-period" .retryPeriod
  "drift-interval" .driftInterval
  "event-queue-url" .eventQueue.url
  "event-queue-sender-id" (join "," .eventQueue.senderIds)
  "argocd-namespace" .argocd.namespace
  "argocd-cluster-labels" (join "," .argocd.clusterLabels)
  "load-balancer-timeout" .loadBalancerTimeout
  "read-after-write-window" .readAfterWriteWindow
  "installation-id" .installationId
  "workload-proxy" .workloadProxy.url
  "otlp-endpoint" .otlp.endpoint
  "notify-url" .notifications.url
  "notify-secret-file" (ternary "/etc/keelson/notifications/key" "" (ne .notifications.secret.name ""))
  "log-format" .log.format
  "log-level" .log.level
}}
{{- if $value }}
- {{ printf "--%s=%s" $flag $value | quote }}
{{- end }}
{{- end }}
{{- /* Zero is a value of these. */}}
{{- range $flag, $value := dict
  "max-deletions" .maxDeletions
  "max-deletions-total" .maxDeletionsTotal
  "max-node-group-deletions" .maxNodeGroupDeletions
  "max-node-group-deletions-total" .maxNodeGroupDeletionsTotal
  "max-watches" .maxWatches
  "concurrency" .concurrency
}}
{{- if not (kindIs "invalid" $value) }}
- {{ printf "--%s=%d" $flag (int64 $value) | quote }}
{{- end }}
{{- end }}
{{- if .requireApprovalObjects }}
- --require-approval-objects
{{- end }}
{{- end }}
{{- if not .Values.metrics.authorization }}
- --metrics-auth=false
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* Port of the collector of traces. */}}
{{- define "keelson.otlpPort" -}}
{{- $url := urlParse .Values.operator.otlp.endpoint -}}
{{ regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) }}
{{- end }}

{{/* Port of the endpoint of notifications; none: 443 is open anyway. */}}
{{- define "keelson.notificationsPort" -}}
{{- $url := urlParse .Values.operator.notifications.url -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- if ne $port "443" }}{{ $port }}{{ end }}
{{- end }}

{{- define "keelson.environment" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- if .Values.operator.allowAmbientAccount }}
- name: KEELSON_ALLOW_AMBIENT_ACCOUNT
  value: "true"
{{- end }}
{{- with .Values.operator.workloadProxy.secret }}
{{- if .name }}
- name: KEELSON_WORKLOAD_PROXY
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- with .Values.aws.region }}
- name: AWS_REGION
  value: {{ . }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Secret with the token of a scrape; none: the file of Prometheus' own. */}}
{{- define "keelson.tokenSecret" -}}
{{- .Values.metrics.scrape.tokenSecret.name | default (ternary "keelson-metrics-token" "" .Values.metrics.scrape.createToken) -}}
{{- end }}

{{/* Interval, authorization and relabelling of a scrape, for both kinds of monitors, as in deploy/monitoring/pod-monitor.yaml. */}}
{{- define "keelson.scrape" -}}
path: /metrics
# `namespace` is that of the EksCluster, NodeGroup or AwsAccount; otherwise it would be renamed to `exported_namespace`.
honorLabels: true
{{- with .Values.metrics.scrape.interval }}
interval: {{ . }}
{{- end }}
{{- with .Values.metrics.scrape.timeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- $secret := include "keelson.tokenSecret" . }}
{{- if and .Values.metrics.authorization $secret }}
authorization:
  type: Bearer
  credentials:
    name: {{ $secret }}
    key: {{ ternary .Values.metrics.scrape.tokenSecret.key "token" (ne .Values.metrics.scrape.tokenSecret.name "") }}
{{- end }}
metricRelabelings:
  # AwsAccounts have no namespace: remove the operator's, which every series without one gets.
  - sourceLabels: [__name__, kind]
    regex: keelson_condition;AwsAccount
    targetLabel: namespace
    replacement: ""
{{- end }}
