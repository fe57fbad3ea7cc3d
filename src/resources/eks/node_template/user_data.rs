//! User data of nodes, as EKS and the node's system read it: plain, or a part of a MIME message, in base64. Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html#launch-template-user-data> and, for NodeConfigs,
//! <https://awslabs.github.io/amazon-eks-ami/nodeadm/doc/api/>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::api::SpecError;
use crate::api::node_template::NodeTemplate;

/// EC2's limit, before base64.
const MAX_BYTES: usize = 16 * 1024;
const NODE_CONFIG: &str = "spec.node.nodeConfig";
const GROUP: &str = "node.eks.aws/";
/// Between the parts of a MIME message.
const BOUNDARY: &str = "==KEELSON==";

/// What a node with an AMI of the user's needs to know of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDetails {
    pub name: String,
    pub endpoint: String,
    /// PEM in base64.
    pub certificate_authority: String,
    /// The range of Services.
    pub service_cidr: String,
}

/// The user data of the spec in base64. `cluster`: what a NodeConfig gets, if Keelson adds it.
///
/// # Errors
/// It is no NodeConfig, or longer than EC2 allows.
pub fn user_data(spec: &NodeTemplate, cluster: Option<&ClusterDetails>) -> Result<Option<String>, SpecError> {
    let (field, text) = match (&spec.node_config, &spec.user_data) {
        (Some(config), _) => (NODE_CONFIG, mime("application/node.eks.aws", &node_config(config, cluster)?)),
        (None, Some(text)) if spec.image_id.is_none() && text.starts_with("#!") => {
            ("spec.node.userData", mime("text/x-shellscript; charset=\"utf-8\"", text))
        }
        (None, Some(text)) => ("spec.node.userData", text.clone()),
        (None, None) => return Ok(None),
    };
    if text.len() > MAX_BYTES {
        let message = format!("it makes {} bytes of user data, and EC2 allows {MAX_BYTES}: shorten it", text.len());
        return Err(SpecError::new(field, message));
    }
    Ok(Some(STANDARD.encode(text)))
}

fn mime(content_type: &str, part: &str) -> String {
    // A line of the part that is the boundary would end it.
    let mut boundary = BOUNDARY.to_owned();
    while part.contains(&boundary) {
        boundary.push('=');
    }
    format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\n\n--{boundary}\n\
         Content-Type: {content_type}\n\n{}\n--{boundary}--\n",
        part.trim_end()
    )
}

/// The NodeConfig as YAML, with `apiVersion` and `kind`.
fn node_config(config: &Map<String, Value>, cluster: Option<&ClusterDetails>) -> Result<String, SpecError> {
    let refuse = |message: String| Err(SpecError::new(NODE_CONFIG, message));
    let mut whole = json!({"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": {}});
    for (key, value) in config {
        match (key.as_str(), value) {
            ("apiVersion", Value::String(version)) if version.starts_with(GROUP) => {}
            ("kind", Value::String(kind)) if kind == "NodeConfig" => {}
            ("metadata" | "spec", Value::Object(_)) => {}
            ("apiVersion" | "kind" | "metadata" | "spec", _) => {
                return refuse(format!("{key} is not that of a NodeConfig of {GROUP}: correct it, or remove it"));
            }
            _ => {
                return refuse(format!(
                    "a NodeConfig has no {key}: put its settings into spec, as in {{spec: {{kubelet: ...}}}}"
                ));
            }
        }
        whole[key] = value.clone();
    }
    if let (Some(cluster), Some(spec)) = (cluster, whole["spec"].as_object_mut())
        && !spec.contains_key("cluster")
    {
        let ClusterDetails { name, endpoint, certificate_authority, service_cidr } = cluster;
        let details = json!({
            "name": name, "apiServerEndpoint": endpoint, "certificateAuthority": certificate_authority, "cidr": service_cidr,
        });
        spec.insert("cluster".to_owned(), details);
    }
    serde_saphyr::to_string(&whole).map_err(|error| SpecError::new(NODE_CONFIG, error.to_string()))
}

/// Whether a NodeConfig says itself which cluster its node joins.
pub fn names_cluster(config: &Map<String, Value>) -> bool {
    config.get("spec").is_some_and(|spec| spec.get("cluster").is_some())
}

/// User data in a plan: its length and a digest, which is long enough to approve by: nobody finds other user data with the
/// same one.
pub fn describe(base64: &str) -> String {
    let text = STANDARD.decode(base64.trim()).unwrap_or_else(|_| base64.as_bytes().to_vec());
    let digest: String = Sha256::digest(&text).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{} bytes, sha256 {digest}", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: Value) -> NodeTemplate {
        serde_json::from_value(text).unwrap()
    }

    fn decoded(spec: Value, cluster: Option<&ClusterDetails>) -> String {
        let encoded = user_data(&template(spec), cluster).unwrap().expect("user data");
        String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
    }

    #[test]
    fn node_config_is_a_part_of_a_mime_message_and_gets_the_cluster_only_where_it_names_none() {
        let cluster = ClusterDetails {
            name: "demo".into(),
            endpoint: "https://demo".into(),
            certificate_authority: "Y2E=".into(),
            service_cidr: "172.20.0.0/16".into(),
        };
        let config = json!({"nodeConfig": {"spec": {"kubelet": {"config": {"maxPods": 58}, "flags": ["--v=2"]}}}});
        let own = json!({"nodeConfig": {"kind": "NodeConfig", "spec": {"cluster": {"name": "mine"}}}});
        let texts = [decoded(config.clone(), None), decoded(config, Some(&cluster)), decoded(own, Some(&cluster))];
        insta::assert_snapshot!(texts.join("\n---- next\n"));
    }

    #[test]
    fn only_scripts_for_amis_of_eks_are_wrapped() {
        let script = "#!/bin/bash\necho hello\n";
        assert!(decoded(json!({"userData": script}), None).contains("Content-Type: text/x-shellscript"));
        let unchanged = [
            json!({"userData": script, "imageId": "ami-1"}),
            json!({"userData": "[settings.kubernetes]\nmax-pods = 10\n"}),
            json!({"userData": "MIME-Version: 1.0\n"}),
            json!({"userData": "<powershell>\n</powershell>"}),
        ];
        for spec in unchanged {
            assert_eq!(decoded(spec.clone(), None), spec["userData"]);
        }
        assert_eq!(user_data(&template(json!({})), None).unwrap(), None);
    }

    #[test]
    fn script_that_contains_the_boundary_is_still_one_part() {
        let script = "#!/bin/bash\ncat <<END\n--==KEELSON==--\nContent-Type: text/x\n==KEELSON===\nEND\n";
        let message = decoded(json!({"userData": script}), None);
        let (_, rest) = message.split_once("boundary=\"").unwrap();
        let boundary = rest.split('"').next().unwrap();
        let lines = |text: String| message.lines().filter(|line| *line == text).count();
        assert_eq!((lines(format!("--{boundary}")), lines(format!("--{boundary}--"))), (1, 1), "{message}");
        assert!(!script.contains(boundary) && message.contains(script.trim_end()));
    }

    #[test]
    fn what_nodeadm_and_ec2_would_refuse_is_refused() {
        for (spec, expected) in [
            (json!({"nodeConfig": {"kubelet": {}}}), "a NodeConfig has no kubelet: put its settings into spec"),
            (json!({"nodeConfig": {"apiVersion": "v1"}}), "apiVersion is not that of a NodeConfig"),
            (json!({"nodeConfig": {"kind": "Node"}}), "kind is not that of a NodeConfig"),
            (json!({"nodeConfig": {"spec": []}}), "spec is not that of a NodeConfig"),
            (json!({"userData": "x".repeat(16385)}), "it makes 16385 bytes of user data, and EC2 allows 16384"),
        ] {
            let error = user_data(&template(spec), None).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn plans_show_length_and_digest_of_user_data() {
        let encoded = STANDARD.encode("hello");
        assert_eq!(describe(&encoded), "5 bytes, sha256 2cf24dba5fb0a30e26e83b2ac5b9e29e");
        assert_eq!(describe(&format!("{encoded}\n")), describe(&encoded));
    }
}
