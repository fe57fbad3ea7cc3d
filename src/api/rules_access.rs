//! CEL rules of who may enter a cluster, and of its capabilities: what EKS would refuse. No I/O.

use kube::core::{Reason, Rule};

use super::rules::{each, immutable, matches};

fn rule(cel: impl Into<String>, message: &str) -> Rule {
    Rule::new(cel).message(message)
}

// Access entries.

/// An entry without a type is a standard one.
pub(super) fn entry_type_immutable() -> Rule {
    rule(
        "(has(self.type) ? self.type : 'Standard') == (has(oldSelf.type) ? oldSelf.type : 'Standard')",
        "EKS does not change the type of an access entry: put the old value back, or take the entry off the list, delete it (aws eks \
         delete-access-entry), and list it again",
    )
    .reason(Reason::FieldValueForbidden)
    .field_path(".type")
}

// The OIDC identity provider.

pub(super) fn identity_provider_immutable() -> Rule {
    immutable(
        "EKS does not change an identity provider: put the old values back, or remove oidcIdentityProvider, wait until status.resources \
         has no identityProvider (about 20 minutes, in which nobody logs in with it), and add it again",
    )
}

pub(super) fn issuer_url() -> Rule {
    matches(
        r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[^?#\s]*)?$",
        "must be the URL of an issuer that begins with https://, without a query, such as https://example.okta.com",
    )
}

pub(super) fn prefix_outside_system() -> Rule {
    rule(
        "!self.contains('system:')",
        "EKS refuses prefixes that contain system:, which is reserved for Kubernetes: choose another one, such as oidc:",
    )
}

// Capabilities.

pub(super) fn one_capability_of_each_type() -> Rule {
    rule(
        "self.all(item, self.exists_one(other, other.type == item.type))",
        "EKS runs one capability of each type in a cluster: remove the others of that type",
    )
}

pub(super) fn argocd_needs_its_configuration() -> Rule {
    rule(
        "self.type != 'ArgoCd' || (has(self.configuration) && has(self.configuration.argoCd))",
        "users of Argo CD log in with IAM Identity Center: set configuration.argoCd.awsIdc.idcInstanceArn",
    )
    .field_path(".configuration")
}

pub(super) fn configuration_is_of_the_type() -> Rule {
    rule(
        "!has(self.configuration) || ((!has(self.configuration.argoCd) || self.type == 'ArgoCd') \
         && (!has(self.configuration.ack) || self.type == 'Ack'))",
        "the configuration is of another type of capability: argoCd is for type: ArgoCd, ack for type: Ack",
    )
    .field_path(".configuration")
}

pub(super) fn capabilities_need_entries() -> Rule {
    rule(
        "!has(self.capabilities) || self.capabilities.size() == 0 || self.access.authenticationMode != 'ConfigMap'",
        "EKS gives the roles of capabilities access entries: set access.authenticationMode: ApiAndConfigMap or Api",
    )
    .field_path(".capabilities")
}

pub(super) fn identity_center_arn() -> Rule {
    matches(
        "^arn:aws[a-z-]*:sso:::instance/(sso)?ins-[A-Za-z0-9.-]{16}$",
        "must be the ARN of an instance of IAM Identity Center, arn:aws:sso:::instance/ssoins-<16 characters>; `aws sso-admin \
         list-instances` shows it",
    )
}

pub(super) fn vpc_endpoint_ids() -> Rule {
    each("^vpce-[0-9a-z]+$", "each entry must be the id of a VPC endpoint, vpce-...")
}

pub(super) fn ack_services() -> Rule {
    each("^[a-z][a-z0-9]*$", "each entry must be the name of a service in ACK, such as s3")
}
