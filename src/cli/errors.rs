//! Formats the command line's errors for users: what failed, why, what to do. Pure.

use std::error::Error as _;

use crate::workload::credential_command;

/// The error with its causes, without repetition: many errors include their cause.
pub fn format_error(error: &anyhow::Error) -> String {
    let raw = error.chain().find_map(|cause| cause.downcast_ref::<kube::Error>()).map(ToString::to_string);
    let mut text = String::new();
    for cause in error.chain() {
        let of_kubernetes = cause.downcast_ref::<kube::Error>();
        let (plain, cause) = match of_kubernetes {
            Some(error) => (format_causes(error), format_kube_error(error)),
            None => {
                // An error that includes a Kubernetes error includes its raw form, which follows in readable form.
                let of_yaml = cause.downcast_ref::<serde_saphyr::Error>();
                let cause = of_yaml.map_or_else(|| cause.to_string(), format_yaml_error);
                let cause = raw.as_ref().map_or(cause.clone(), |raw| cause.replace(raw.as_str(), ""));
                let cause = cause.trim_end_matches([':', ' ']).to_owned();
                (cause.clone(), cause)
            }
        };
        if text.is_empty() {
            text = cause;
        } else if !on_one_line(&text).contains(&on_one_line(&plain)) {
            text = format!("{text}: {cause}");
        }
        // A Kubernetes error formats its own causes, whose raw form prints as Rust structures.
        if of_kubernetes.is_some() {
            break;
        }
    }
    text
}

/// An error of the YAML parser, without its options and types.
pub fn format_yaml_error(error: &serde_saphyr::Error) -> String {
    const LIMITS: [&str; 2] = ["YAML document too large or too complex: limits breached: ", "budget breached: "];
    let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let plain = |line: &str| match LIMITS.iter().find_map(|limit| line.split_once(*limit)) {
        Some((before, _)) => format!("{before}it is too large, or what its aliases stand for is"),
        None => line.to_owned(),
    };
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// The text with single spaces: some errors break the lines of their cause.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A Kubernetes API error, or an error on the way to the API.
fn format_kube_error(error: &kube::Error) -> String {
    if let Some(text) = credential_command::describe(error) {
        return format!("{text}: run it yourself to see what it prints, or log in again");
    }
    match error {
        kube::Error::Api(status) => {
            let message = status.message.trim_end_matches('.');
            match status.code {
                401 => format!(
                    "{message}: the API server does not know you: log in again, or choose another context with --context"
                ),
                403 => format!(
                    "{message}: ask an administrator of the management cluster for that permission (docs/install.md, \
                     People)"
                ),
                // For a missing object the server names it; for a kind that is not served it reports a missing page.
                404 if status.details.as_ref().is_none_or(|details| details.name.is_empty()) => {
                    format!(
                        "{message}: are Keelson's CRDs installed in this cluster, and is KUBECONFIG's context the \
                         management cluster's?"
                    )
                }
                409 => format!("{message}: it was changed meanwhile: try again"),
                429 | 500..=599 => format!("{message}: the API server cannot answer now: try again"),
                _ => message.to_owned(),
            }
        }
        kube::Error::InferConfig(_) | kube::Error::InferKubeconfig(_) => {
            format!(
                "{}: set KUBECONFIG to the file of the management cluster, or pass --kubeconfig",
                format_causes(error)
            )
        }
        kube::Error::Auth(_) => format!("{}: log in again", format_causes(error)),
        kube::Error::Service(_) | kube::Error::HyperError(_) => {
            format!(
                "the API server cannot be reached: {}: check the network, and the server in the kubeconfig",
                format_causes(error)
            )
        }
        // The parser quotes its input, which may be anything.
        kube::Error::SerdeError(_) => {
            "the API server's answer cannot be read: is the server in the kubeconfig that of Kubernetes, and not a proxy or a \
             login page, and does this keelson have the version of the CRDs?"
                .to_owned()
        }
        other => format_causes(other),
    }
}

/// The causes of an error, without type names.
fn format_causes(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    if let Some(text) = credential_command::describe(error) {
        return text;
    }
    let mut text = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if text.is_empty() {
            text = more;
        } else if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cause_is_not_repeated() {
        let error = std::io::Error::other("no such host");
        let error = anyhow::Error::from(error).context("cannot reach AWS: no such host").context("plan --live");
        assert_eq!(format_error(&error), "plan --live: cannot reach AWS: no such host");
        let plain: anyhow::Result<()> = Err(anyhow::anyhow!("b")).context("a");
        assert_eq!(format_error(&plain.unwrap_err()), "a: b");
        let chain = anyhow::anyhow!("no credentials. Attempted:\n  Environment")
            .context("no credentials. Attempted: Environment. Log in");
        assert_eq!(format_error(&chain), "no credentials. Attempted: Environment. Log in");
    }

    #[test]
    fn errors_of_yaml_have_no_words_of_the_library() {
        let error = |text: &str| {
            let parsed = serde_saphyr::from_multiple::<serde_json::Value>(text);
            format_error(&parsed.map(drop).context("is not YAML").unwrap_err())
        };
        let twice = error("a: 1\na: 2\n");
        assert!(twice.contains("duplicate mapping key") && !twice.contains("Policy"), "{twice}");
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..9 {
            let all = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb += &format!("a{n}: &a{n} [{all}]\n");
        }
        let large = error(&bomb);
        assert!(large.contains("too large") && !large.contains(" { "), "{large}");
    }

    fn status(code: u16, message: &str, name: &str) -> kube::Error {
        let details = json!({"name": name, "group": "keelson.dev", "kind": "eksclusters"});
        let status = json!({"status": "Failure", "code": code, "message": message, "reason": "x", "details": details});
        kube::Error::Api(Box::new(serde_json::from_value::<Status>(status).unwrap()))
    }

    #[test]
    fn api_server_errors_include_advice_and_no_rust_structures() {
        let table = [
            (401, "Unauthorized", "", "log in again"),
            (403, "eksclusters.keelson.dev \"a\" is forbidden", "a", "ask an administrator"),
            (404, "eksclusters.keelson.dev \"a\" not found", "a", "not found"),
            (404, "404 page not found", "", "CRDs installed"),
            (409, "the object has been modified", "a", "try again"),
            (503, "shutting down", "", "try again"),
            (422, "spec.hash: Invalid value", "a", "spec.hash: Invalid value"),
        ];
        for (code, message, name, advice) in table {
            let error = anyhow::Error::from(status(code, message, name)).context("EksCluster a in namespace default");
            let text = format_error(&error);
            assert!(text.starts_with(&format!("EksCluster a in namespace default: {message}")), "{text}");
            assert!(text.contains(advice), "{text}");
            assert!(!text.contains("Status {") && !text.contains("ApiError"), "{text}");
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the watch failed: {0}")]
    struct Wrapper(#[source] kube::Error);

    #[test]
    fn error_that_includes_a_kubernetes_error_shows_no_rust_structures() {
        let error = Wrapper(status(403, "eksclusters.keelson.dev is forbidden", ""));
        let text = format_error(&error.into());
        assert!(text.starts_with("the watch failed: eksclusters.keelson.dev is forbidden: ask"), "{text}");
        assert!(!text.contains("Status {") && !text.contains("ApiError"), "{text}");
    }

    #[test]
    fn an_unreachable_api_server_is_reported_with_the_cause() {
        let refused = std::io::Error::other("connection refused");
        let error = anyhow::Error::from(kube::Error::Service(Box::new(refused)));
        let text = format_error(&error);
        assert!(text.contains("connection refused") && text.contains("kubeconfig"), "{text}");
        assert!(!text.contains("ServiceError"), "{text}");
    }
}
