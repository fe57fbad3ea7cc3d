//! Removes volatile parts from messages: request ids, temporary paths, pointers, client ports. With them, each retry
//! would write the status again without new information. Pure.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// A cheap check without which a rule cannot match: most messages skip all regular expressions.
type Needle = fn(&str) -> bool;

/// What is removed, and its replacement.
static RULES: LazyLock<Vec<(Needle, Regex, &str)>> = LazyLock::new(|| {
    let rules: [(Needle, &str, &str); 6] = [
        // AWS: "(Service: Eks, Status Code: 400, Request ID: 1b2c...)", "RequestID: ...", "request id: ...".
        (
            |text| text.contains("equest") || text.contains("EQUEST"),
            r"(?i-u)[,;]?[ ]*\b(?:aws +)?(?:extended +)?request[ _-]?id(?: *[:=] *| +)[A-Za-z0-9+/=_-]{8,}",
            "",
        ),
        // Go: os.MkdirTemp in /tmp, as Flux's controllers and Argo CD's repository server use it.
        (|text| text.contains("/tmp/"), r"(?-u)(/tmp/(?:[A-Za-z][A-Za-z_.]*[-_.])*)[-_.]?[0-9]{4,}\b", "${1}*"),
        (
            |text| text.contains("/tmp/_argocd-repo/"),
            r"(?-u)(/tmp/_argocd-repo/)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
            "${1}*",
        ),
        // The client port of a connection: "read udp 10.0.0.1:43210->10.100.0.10:53".
        (
            |text| text.match_indices("->").any(|(at, _)| text[..at].ends_with(|before: char| before.is_ascii_digit())),
            r"(?-u)([0-9]|\]):[0-9]{1,5}->",
            "${1}:*->",
        ),
        (|text| text.contains("0xc"), r"(?-u)\b0xc[0-9a-f]{6,15}\b", "0x*"),
        (
            |text| text.contains("urrent time "),
            r"(?i-u)(current time )[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+(?:Z|[+-][0-9]{2}:?[0-9]{2})?",
            "${1}*",
        ),
    ];
    rules.into_iter().filter_map(|(needle, pattern, to)| Some((needle, Regex::new(pattern).ok()?, to))).collect()
});

/// The text without volatile parts.
pub fn stable(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for (needle, rule, instead) in RULES.iter() {
        if !needle(&text) {
            continue;
        }
        if let Cow::Owned(changed) = rule.replace_all(&text, *instead) {
            text = Cow::Owned(changed);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_a_valid_regular_expression() {
        assert_eq!(RULES.len(), 6);
    }

    #[test]
    fn retries_of_the_same_failure_have_the_same_text() {
        let tries = [
            (
                "kustomization path not found: stat /tmp/kustomization-3058468187/clusters/demo: no such file or directory",
                "kustomization path not found: stat /tmp/kustomization-12345/clusters/demo: no such file or directory",
                "kustomization path not found: stat /tmp/kustomization-*/clusters/demo: no such file or directory",
            ),
            (
                "failed to create fs: /tmp/gitrepository-flux-system-1822611/x",
                "failed to create fs: /tmp/gitrepository-flux-system-99182331/x",
                "failed to create fs: /tmp/gitrepository-flux-system-*/x",
            ),
            (
                "rpc error: /tmp/_argocd-repo/11111111-2222-3333-4444-555555555555/apps: app path does not exist",
                "rpc error: /tmp/_argocd-repo/aaaaaaaa-2222-3333-4444-555555555555/apps: app path does not exist",
                "rpc error: /tmp/_argocd-repo/*/apps: app path does not exist",
            ),
            (
                "not authorized (Service: Eks, Status Code: 403, Request ID: 1b2c3d4e-0000-1111-2222-333344445555)",
                "not authorized (Service: Eks, Status Code: 403, Request ID: 9b2c3d4e-0000-1111-2222-333344445555)",
                "not authorized (Service: Eks, Status Code: 403)",
            ),
            (
                "api error Throttling: Rate exceeded, RequestID: abcdef0123456789, host",
                "api error Throttling: Rate exceeded, RequestID: 9999ef0123456789, host",
                "api error Throttling: Rate exceeded, host",
            ),
            (
                "lookup git.example.com on 10.100.0.10:53: read udp 10.0.1.7:43210->10.100.0.10:53: i/o timeout",
                "lookup git.example.com on 10.100.0.10:53: read udp 10.0.1.7:50001->10.100.0.10:53: i/o timeout",
                "lookup git.example.com on 10.100.0.10:53: read udp 10.0.1.7:*->10.100.0.10:53: i/o timeout",
            ),
            ("invalid object &{0xc000a1b2c0}", "invalid object &{0xc000ffffe8}", "invalid object &{0x*}"),
            (
                "x509: certificate has expired or is not yet valid: current time 2026-11-29T00:10:00Z is after 2026-01-01T00:00:00Z",
                "x509: certificate has expired or is not yet valid: current time 2026-11-29T00:11:00Z is after 2026-01-01T00:00:00Z",
                "x509: certificate has expired or is not yet valid: current time * is after 2026-01-01T00:00:00Z",
            ),
        ];
        for (one, another, expected) in tries {
            assert_eq!((stable(one).as_ref(), stable(another).as_ref()), (expected, expected));
        }
    }

    #[test]
    fn meaningful_text_is_kept() {
        for text in [
            "control plane: VersionUpdate 11111111-2222-3333-4444-555555555555 took 8 min",
            "subnet-0123456789abcdef0 of vpc-0abc123 in eu-west-1a, 10.0.0.0/19",
            "stat /tmp/fleet/clusters/demo: no such file",
            "GitRepository at main@sha1:76087da78cdcec69b25c1392f6c5948b0bd320f5",
            "arn:aws:eks:eu-west-1:123456789012:nodegroup/demo/spot/1234",
            "a request id is needed",
        ] {
            assert_eq!(stable(text), text);
        }
    }
}
