# The operator's role `keelson` with its policies, and their boundary for the roles that it creates. Once in each account:
#
#   module "keelson" {
#     source       = "git::https://github.com/OWNER/keelson//deploy/iam?ref=v0.1.0"
#     cluster_name = "management"
#   }
#
# The policies are the files deploy/iam-*.json.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.30"
    }
  }
}

variable "cluster_name" {
  description = "EKS Pod Identity: the management cluster, in the provider's region, with the add-on eks-pod-identity-agent. If empty, create the association yourself."
  type        = string
  default     = ""
}

variable "oidc_issuer" {
  description = "IRSA, instead of EKS Pod Identity: the issuer of the management cluster without https://. It must be an identity provider of this account."
  type        = string
  default     = ""

  validation {
    condition     = !startswith(var.oidc_issuer, "https://") && (var.oidc_issuer == "" || var.cluster_name == "")
    error_message = "Write the issuer without https://, and set either cluster_name (EKS Pod Identity) or oidc_issuer (IRSA)."
  }
}

variable "trusted_role_arn" {
  description = "In another account than the operator's: the operator's own role, which may assume this one."
  type        = string
  default     = ""

  validation {
    condition     = var.trusted_role_arn == "" || (var.external_id != "" && var.oidc_issuer == "" && var.cluster_name == "")
    error_message = "In another account the role trusts trusted_role_arn only, with an external_id: leave cluster_name and oidc_issuer empty."
  }
}

variable "external_id" {
  description = "With trusted_role_arn: the external id that the AwsAccount names."
  type        = string
  default     = ""
}

variable "namespace" {
  description = "The operator's namespace."
  type        = string
  default     = "keelson-system"
}

variable "event_queue" {
  description = "Whether the operator may read the queue of deploy/event-queue."
  type        = bool
  default     = false
}

variable "adoption" {
  description = "Whether the operator may adopt clusters that others created. Set it to false again afterwards."
  type        = bool
  default     = false
}

variable "workload_roles" {
  description = "Whether the operator may create roles of Pods. Whoever holds its credential then can, too, with any trust and any policy within keelson-workload-boundary."
  type        = bool
  default     = false
}

variable "karpenter" {
  description = "Whether the operator may create queues of Karpenter with their rules, and terminate instances of Karpenter that outlive their cluster. Needs workload_roles, too."
  type        = bool
  default     = false
}

variable "doctor" {
  description = "Whether the role may do the additional reads of `keelson doctor`."
  type        = bool
  default     = false
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  policies = merge(
    {
      "keelson"       = "iam-policy.json"
      "keelson-roles" = "iam-policy-roles.json"
      "keelson-eks"   = "iam-policy-eks.json"
    },
    var.event_queue ? { "keelson-events" = "iam-policy-events.json" } : {},
    var.adoption ? { "keelson-adoption" = "iam-policy-adoption.json" } : {},
    var.workload_roles ? { "keelson-workloads" = "iam-policy-workloads.json" } : {},
    var.karpenter ? { "keelson-karpenter" = "iam-policy-karpenter.json" } : {},
    var.doctor ? { "keelson-doctor" = "iam-policy-doctor.json" } : {},
  )

  trust_irsa = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:oidc-provider/${var.oidc_issuer}" }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = {
          "${var.oidc_issuer}:aud" = "sts.amazonaws.com"
          "${var.oidc_issuer}:sub" = "system:serviceaccount:${var.namespace}:keelson"
        }
      }
    }]
  })

  trust_role = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = var.trusted_role_arn }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "sts:ExternalId" = var.external_id } }
    }]
  })

  trust_pod_identity = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      # Session tags that EKS Pod Identity sets: no other ServiceAccount of the account's clusters gets this role.
      Condition = {
        StringEquals = {
          "aws:RequestTag/kubernetes-namespace"       = var.namespace
          "aws:RequestTag/kubernetes-service-account" = "keelson"
        }
      }
    }]
  })
}

resource "aws_iam_policy" "operator" {
  for_each = local.policies
  name     = each.key
  policy   = file("${path.module}/../${each.value}")
}

resource "aws_iam_policy" "boundary" {
  name   = "keelson-boundary"
  policy = file("${path.module}/../iam-boundary.json")
}

resource "aws_iam_policy" "workload_boundary" {
  name   = "keelson-workload-boundary"
  policy = file("${path.module}/../iam-workload-boundary.json")
}

resource "aws_iam_role" "operator" {
  # Other accounts and the service control policy know the operator by this name.
  name               = "keelson"
  description        = "The operator of Keelson"
  assume_role_policy = var.oidc_issuer != "" ? local.trust_irsa : var.trusted_role_arn != "" ? local.trust_role : local.trust_pod_identity
}

resource "aws_iam_role_policy_attachment" "operator" {
  for_each   = aws_iam_policy.operator
  role       = aws_iam_role.operator.name
  policy_arn = each.value.arn
}

resource "aws_eks_pod_identity_association" "operator" {
  count           = var.cluster_name != "" ? 1 : 0
  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = "keelson"
  role_arn        = aws_iam_role.operator.arn
}

output "role_arn" {
  description = "For aws.roleArn of the chart (IRSA), or for an AwsAccount's roleArn."
  value       = aws_iam_role.operator.arn
}

output "boundary_arn" {
  description = "For permissionsBoundaryArn of the AwsAccount."
  value       = aws_iam_policy.boundary.arn
}

output "workload_boundary_arn" {
  description = "For workloadPermissionsBoundaryArn of the AwsAccount."
  value       = aws_iam_policy.workload_boundary.arn
}
