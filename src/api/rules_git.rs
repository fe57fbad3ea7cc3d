//! CEL rules for the source of the GitOps agent. The agent fetches it from inside the workload cluster, so the address
//! of an instance metadata service would expose the node's credentials. No I/O.
//!
//! These rules check addresses, not names that resolve to them. The operator checks the same before it installs an
//! agent, because an object may have been admitted by an older CRD.

use kube::core::{Reason, Rule};

use super::gitops::FLUX_COMPONENTS;
use super::rules::matches;

fn rule(cel: impl Into<String>, message: &str) -> Rule {
    Rule::new(cel).message(message)
}

// No characters with a meaning in a shell or on ssh's command line: no leading '-', no quotes, no '$'.
const USER: &str = "([A-Za-z0-9_.][A-Za-z0-9_.+-]*@)?";
/// Host and port.
const HOST: &str = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?)(:[0-9]{1,5})?";

pub(super) fn git_url() -> Rule {
    rule(
        format!("self.matches(r'^(https|http|ssh)://{USER}{HOST}/[A-Za-z0-9._~/@%+=,:-]+$') && isURL(self)"),
        "must be https://<host>/<path> or ssh://<user>@<host>/<path>, without a password, a query or other characters that a \
         repository's address does not need; git@<host>:<path> is written ssh://git@<host>/<path>",
    )
}

pub(super) fn oci_url() -> Rule {
    rule(
        format!("self.matches(r'^oci://{HOST}/[a-z0-9._/-]+$') && isURL(self)"),
        "must be oci://<host>/<path>, without user, tag, or digest (the tag goes to ref.tag)",
    )
}

pub(super) fn no_password_in_url() -> Rule {
    rule(
        "!self.matches(r'^[^/]*//[^/@]*:[^/]*@')",
        "must not contain a password or token: put it into a Secret and name that in secretRef",
    )
    .reason(Reason::FieldValueForbidden)
}

/// Rejects link-local, metadata and unspecified addresses in every notation that a resolver accepts.
///
/// Matches the whole URL: the API server cannot bound the cost of expressions on `url(self).getHostname()`.
pub(super) fn no_metadata_address() -> Rule {
    let denied = [
        // Link-local, "this network", multicast and reserved.
        r"(169\.254|0|22[4-9]|2[3-5][0-9])\.[0-9.]+",
        r"([a-z0-9_-]+\.)*(metadata|instance-data)(\.google\.internal|\.ec2\.internal|\.internal)?\.?",
    ]
    .join("|");
    // Resolvers treat a host whose last label is a number as an address ("2852039166", "0xa9fea9fe", "169.254.43518"):
    // only the plain dotted form is accepted.
    let number = r"([a-z0-9_-]+\.)*(0x[0-9a-f]*|[0-9]+)\.?";
    let octet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
    let dotted = format!(r"({octet}\.){{3}}{octet}");
    // The metadata service has a unique local address too (fd00:ec2::254), and many IPv6 forms embed IPv4 (2002::/16).
    let plain_v6 = r"\[((2([1-9a-f][0-9a-f]{2}|0[1-9a-f][0-9a-f]|00[013-9a-f])|3[0-9a-f]{3}):[0-9a-f:]*|::1)\]";
    let host_is =
        |pattern: &str| format!("self.lowerAscii().matches(r'^[a-z]+://([^/@]*@)?({pattern})(:[0-9]*)?(/|$)')");
    rule(
        format!(
            "!{} && (!{} || {}) && (!{} || {})",
            host_is(&denied),
            host_is(number),
            host_is(&dotted),
            host_is(r"\[.*"),
            host_is(plain_v6),
        ),
        "must not be a link-local or metadata address (such as 169.254.169.254, in any notation), nor an IPv6 address outside \
         2000::/3: name the host of the repository",
    )
    .reason(Reason::FieldValueForbidden)
}

pub(super) fn path() -> Rule {
    rule(
        "self.matches(r'^[A-Za-z0-9._][A-Za-z0-9._@+=,/-]*$') && self.split('/').all(part, part != '..')",
        "must be a path inside the repository, such as clusters/demo: relative, without '..', of letters, digits and ._@+=,-",
    )
}

/// Flux's own pattern: no hours.
pub(super) fn timeout() -> Rule {
    matches(r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$", "must be a duration in minutes and seconds, such as 90s or 2m")
}

pub(super) fn directories() -> Rule {
    rule(
        r"self.all(item, item.matches(r'^[A-Za-z0-9._][A-Za-z0-9._@+=,/-]*$') && !item.matches(r'(^|/)[.][.](/|$)'))",
        "each entry must be a directory inside the repository, such as clusters/demo: relative, without '..', of letters, digits and \
         ._@+=,-",
    )
}

/// Argo CD has them for the whole repo-server only.
pub(super) fn no_fetch_options() -> Rule {
    rule(
        "(!has(self.source.git) || (!has(self.source.git.timeout) && !has(self.source.git.sparseCheckout) \
         && !has(self.source.git.recurseSubmodules))) && (!has(self.source.oci) || !has(self.source.oci.timeout))",
        "timeout, sparseCheckout and recurseSubmodules are Flux's, and Argo CD has no such fields of a repository: remove them, or use \
         Flux. Argo CD clones submodules, and its repo-server has one timeout for all repositories",
    )
    .field_path(".source")
}

const REF_NAME: &str = "[A-Za-z0-9_][A-Za-z0-9._/@+=#-]*$";

pub(super) fn ref_name() -> Rule {
    rule(
        format!("self.matches(r'^{REF_NAME}') && !self.contains('..')"),
        "must be the name of a branch or tag, such as main or v1.2.0",
    )
}

pub(super) fn full_ref_name() -> Rule {
    rule(
        format!("self.matches(r'^refs/{REF_NAME}') && !self.contains('..')"),
        "must be a full reference name, such as refs/heads/main",
    )
}

pub(super) fn semver_range() -> Rule {
    matches(r"^[0-9A-Za-z.*^~<>=!|, +-]+$", "must be a range of semantic versions, such as >=1.0.0 <2.0.0")
}

pub(super) fn commit() -> Rule {
    matches("^[0-9a-f]{40}([0-9a-f]{24})?$", "must be the full SHA of a commit: 40 lower case hexadecimal digits")
}

pub(super) fn oci_tag() -> Rule {
    matches("^[A-Za-z0-9_][A-Za-z0-9._-]*$", "must be a tag of the artifact")
}

pub(super) fn oci_digest() -> Rule {
    matches("^sha256:[0-9a-f]{64}$", "must be sha256: and 64 hexadecimal digits")
}

/// An identity in AWS or a Secret: with both, one would be silently ignored.
pub(super) fn single_login() -> Rule {
    rule(
        "self.provider == 'generic' || !has(self.secretRef)",
        "a secretRef takes the place of the provider's login: leave secretRef out, or set provider: generic",
    )
    .field_path(".secretRef")
}

pub(super) fn verified_tag() -> Rule {
    rule(
        "!has(self.verify) || self.verify.mode == 'HEAD' || has(self.ref.tag) || has(self.ref.semver) \
         || (has(self.ref.name) && self.ref.name.startsWith('refs/tags/'))",
        "this mode verifies a tag: set mode: HEAD, or select a tag (ref.tag, ref.semver or ref.name refs/tags/...)",
    )
    .field_path(".verify")
}

pub(super) fn signature_provider() -> Rule {
    matches("^(cosign|notation)$", "must be cosign or notation")
}

/// Keyless and without an identity, any signature would be accepted.
pub(super) fn trusted_signers() -> Rule {
    let identities = "has(self.matchOIDCIdentity) && self.matchOIDCIdentity.size() > 0";
    rule(
        format!("has(self.secretRef) != ({identities}) && (self.provider == 'cosign' || has(self.secretRef))"),
        "must name the trusted signers: secretRef with their keys or, for keyless cosign, matchOIDCIdentity; not both",
    )
}

pub(super) fn agent_version() -> Rule {
    matches(r"^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$", "must be a version of the agent, such as v2.9.5")
}

pub(super) fn image_registry() -> Rule {
    matches(
        "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*$",
        "must be a registry and path, such as ghcr.io/fluxcd, without scheme and trailing slash",
    )
}

pub(super) fn components() -> Rule {
    rule(
        "['source-controller', 'kustomize-controller'].all(needed, needed in self)",
        "source-controller and kustomize-controller are always needed: list both",
    )
}

pub(super) fn component_names() -> Rule {
    let names = FLUX_COMPONENTS.join("|");
    super::rules::each(
        &format!("^({names})$"),
        "Keelson installs source-controller, kustomize-controller, helm-controller and notification-controller: remove any other \
         entry. To run Flux's others, commit the whole of Flux with them to the path \
         (flux install --components-extra=NAME --export), so that Git owns Flux",
    )
}
