//! Whether the source of the GitOps agent and the API server of a cluster answer, from where the command runs. I/O: one
//! request each.

use http::Uri;
use serde_json::Value;
use url::Url;

use crate::api::gitops::GitOps;
use crate::resources::account_checks::Finding;
use crate::workload::probe;
use crate::workload::proxy::Proxy;

const SOURCE: &str = "source";
const ENDPOINT: &str = "endpoint";

/// A source in a spec, of whichever agent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    url: String,
    has_secret: bool,
}

/// The sources in the spec.
fn sources(gitops: &GitOps) -> Vec<Source> {
    fn collect(value: &Value, found: &mut Vec<Source>) {
        let Some(fields) = value.as_object() else { return };
        for kind in ["git", "oci"] {
            if let Some(url) = fields.get(kind).and_then(|source| source["url"].as_str()) {
                let has_secret = fields[kind].get("secretRef").is_some() || fields[kind].get("provider").is_some();
                found.push(Source { url: url.to_owned(), has_secret });
            }
        }
        fields.values().for_each(|value| collect(value, found));
    }
    let mut found = Vec::new();
    collect(&serde_json::to_value(gitops).unwrap_or_default(), &mut found);
    found
}

/// A line for each source.
pub async fn check_sources(gitops: &GitOps, proxy: Option<&Proxy>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources(gitops) {
        findings.push(check_source(&source, proxy).await);
    }
    findings
}

async fn check_source(source: &Source, proxy: Option<&Proxy>) -> Finding {
    let Source { url, has_secret } = source;
    let Ok(parsed) = Url::parse(url) else {
        return Finding::failed(SOURCE, format!("{url} is not a URL"), "correct spec.gitops");
    };
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let answer = match parsed.scheme() {
        "ssh" => probe::ssh_version(&host, parsed.port().unwrap_or(22)).await.map(|_| None),
        scheme => {
            let (scheme, path) = match scheme {
                // The API of registries: https://github.com/opencontainers/distribution-spec
                "oci" => ("https", "/v2/".to_owned()),
                other => (other, format!("{}/info/refs?service=git-upload-pack", parsed.path().trim_end_matches('/'))),
            };
            let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
            match format!("{scheme}://{}{port}", parsed.host_str().unwrap_or_default()).parse::<Uri>() {
                Ok(server) => probe::status(&server, &path, None, proxy).await.map(Some),
                Err(error) => Err(error.to_string()),
            }
        }
    };
    judge_source(url, *has_secret, answer)
}

/// `answer`: an HTTP status, `None` for SSH, or why there is none.
fn judge_source(url: &str, has_secret: bool, answer: Result<Option<u16>, String>) -> Finding {
    match answer {
        Ok(None) => Finding::passed(SOURCE, format!("{url} answers; its credentials were not tried")),
        Ok(Some(200..=299)) => Finding::passed(SOURCE, format!("{url} can be read")),
        Ok(Some(401 | 403 | 404)) if has_secret => {
            Finding::passed(SOURCE, format!("{url} answers and asks for credentials, which were not tried"))
        }
        // A private repository that does not want to tell that it exists answers 404.
        Ok(Some(status @ (401 | 403 | 404))) => Finding::failed(
            SOURCE,
            format!("{url} answers {status} without credentials"),
            "correct the URL, or name a Secret with credentials in its secretRef (docs/gitops.md)",
        ),
        Ok(Some(status)) => Finding::warning(SOURCE, format!("{url} answers {status}"), "look at the Git server"),
        Err(why) => Finding::warning(
            SOURCE,
            format!("{url} cannot be reached from here: {why}"),
            "the new cluster must reach it: check name, firewall and proxy from its network",
        ),
    }
}

/// Whether the API server of the cluster answers.
pub async fn check_endpoint(endpoint: &str, certificate_authority: &str, proxy: Option<&Proxy>) -> Finding {
    let answer = match endpoint.parse::<Uri>() {
        Ok(server) => probe::status(&server, "/version", Some(certificate_authority), proxy).await,
        Err(error) => Err(error.to_string()),
    };
    match answer {
        Ok(_) => Finding::passed(ENDPOINT, format!("{endpoint} answers")),
        Err(why) => Finding::warning(
            ENDPOINT,
            format!("{endpoint} cannot be reached from here: {why}"),
            "Keelson must reach it: allow its address in spec.endpointAccess.publicCidrs, or connect its network to the VPC (docs/install.md)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::account_checks::Outcome;

    #[test]
    fn sources_of_every_agent_are_found() {
        let git =
            json!({"url": "https://git.example.com/fleet", "ref": {"branch": "main"}, "secretRef": {"name": "git"}});
        for agent in ["flux", "argocd"] {
            let spec = json!({agent: {"source": {"git": git}, "path": "clusters/demo"}});
            let gitops: GitOps = serde_json::from_value(spec).unwrap();
            assert_eq!(sources(&gitops), [Source { url: "https://git.example.com/fleet".into(), has_secret: true }]);
        }
    }

    #[test]
    fn private_repository_needs_credentials_in_the_spec() {
        let outcome = |has_secret, answer| judge_source("https://x", has_secret, answer).outcome;
        assert_eq!(outcome(false, Ok(Some(200))), Outcome::Passed);
        assert_eq!(outcome(true, Ok(Some(401))), Outcome::Passed);
        assert_eq!(outcome(false, Ok(Some(401))), Outcome::Failed);
        assert_eq!(outcome(false, Ok(Some(502))), Outcome::Warning);
        assert_eq!(outcome(false, Err("no route".into())), Outcome::Warning);
        assert_eq!(outcome(false, Ok(None)), Outcome::Passed);
    }
}
