#!/usr/bin/env bash
# Creates two kind clusters and runs the AWS emulator and the operator. Not run in CI: see README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)
state=${XDG_CACHE_HOME:-$HOME/.cache}/keelson/kind
emulator=keelson-aws
endpoint=${AWS_ENDPOINT:-http://$emulator:4566}

for tool in docker kind kubectl; do
    command -v "$tool" >/dev/null || {
        echo "$tool is missing: https://docs.docker.com/engine/install, https://kind.sigs.k8s.io, https://kubernetes.io/docs/tasks/tools" >&2
        exit 1
    }
done
docker info >/dev/null 2>&1 || { echo "the Docker daemon does not respond: start it, or see 'docker info'" >&2; exit 1; }
mkdir -p "$state"

echo "== management cluster"
kind create cluster --name keelson-management --kubeconfig "$state/management.kubeconfig" --wait 2m

if [ -z "${AWS_ENDPOINT:-}" ]; then
    echo "== AWS emulator"
    docker build --quiet --tag keelson-aws --file "$here/Dockerfile.aws" "$checkout/e2e/aws"
    # The CA is written when the workload cluster exists; the emulator reads the file on each use.
    : >"$state/workload-ca.crt"
    docker run --detach --name "$emulator" --network kind --publish 127.0.0.1:4566:4566 \
        --volume "$state/workload-ca.crt:/workload-ca.crt:ro" \
        --env WORKLOAD_ENDPOINT=https://keelson-workload-control-plane:6443 \
        --env WORKLOAD_CA_FILE=/workload-ca.crt \
        keelson-aws >/dev/null

    echo "== workload cluster, whose tokens the emulator reviews"
    cat >"$state/token-webhook.yaml" <<EOT
apiVersion: v1
kind: Config
clusters: [{name: emulator, cluster: {server: "http://$emulator:4566/tokenreview"}}]
users: [{name: apiserver}]
contexts: [{name: it, context: {cluster: emulator, user: apiserver}}]
current-context: it
EOT
    cat >"$state/workload.yaml" <<EOT
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
    extraMounts:
      - {hostPath: "$state/token-webhook.yaml", containerPath: /etc/keelson/token-webhook.yaml, readOnly: true}
    kubeadmConfigPatches:
      - |
        kind: ClusterConfiguration
        apiVersion: kubeadm.k8s.io/v1beta3
        apiServer:
          extraArgs:
            authentication-token-webhook-config-file: /etc/keelson/token-webhook.yaml
            authentication-token-webhook-version: v1
            authentication-token-webhook-cache-ttl: 2s
          extraVolumes:
            - {name: keelson, hostPath: /etc/keelson, mountPath: /etc/keelson, readOnly: true}
  - role: worker
EOT
    kind create cluster --name keelson-workload --config "$state/workload.yaml" \
        --kubeconfig "$state/workload.kubeconfig" --wait 2m
    # Written in place: the container's bind mount would not show a new file.
    kubectl --kubeconfig "$state/workload.kubeconfig" config view --raw --minify --flatten \
        --output 'jsonpath={.clusters[0].cluster.certificate-authority-data}' |
        base64 --decode >"$state/workload-ca.crt"
fi

echo "== operator"
docker build --quiet --tag keelson:kind --file "$checkout/deploy/Dockerfile" "$checkout"
kind load docker-image keelson:kind --name keelson-management
export KUBECONFIG=$state/management.kubeconfig
kubectl apply --server-side -k "$checkout/crds"
kubectl apply --server-side -k "$checkout/deploy"
# The NetworkPolicy allows only the AWS APIs' port, not the emulator's.
kubectl --namespace keelson-system delete networkpolicy keelson default-deny
kubectl --namespace keelson-system set image deployment/keelson "*=keelson:kind"
kubectl --namespace keelson-system set env deployment/keelson \
    AWS_ENDPOINT_URL="$endpoint" AWS_REGION=eu-west-1 \
    AWS_ACCESS_KEY_ID=123456789012 AWS_SECRET_ACCESS_KEY=keelson
kubectl --namespace keelson-system rollout status deployment/keelson --timeout 2m

cat <<EOT

Ready. Set the https URL of your Git repository in examples/minimal.yaml, then:

  export KUBECONFIG=$state/management.kubeconfig
  kubectl apply -f examples/minimal.yaml
  kubectl get ekscluster,nodegroup -w
  kubectl --kubeconfig $state/workload.kubeconfig get kustomizations -A
EOT
