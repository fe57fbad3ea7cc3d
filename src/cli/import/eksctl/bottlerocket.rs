//! Settings of Bottlerocket as TOML for `node.userData`, to which EKS adds what nodes need to join. Pure.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::cli::import::section::Section;

/// Of `settings.kubernetes`, as eksctl's own checks name them.
const SET_BY_EKS: [(&str, &str); 6] = [
    ("cluster-certificate", "EKS sets it"),
    ("api-server", "EKS sets it"),
    ("cluster-name", "EKS sets it"),
    ("cluster-dns-ip", "EKS sets it"),
    ("node-labels", "set labels of the node group"),
    ("node-taints", "set taints of the node group"),
];

/// Takes `bottlerocket` and `maxPodsPerNode` of a group of nodes with Bottlerocket. `None`: there is nothing to set.
pub fn user_data(item: &mut Section<'_>) -> Option<String> {
    let (mut settings, mut admin) = (Map::new(), None);
    if let Some(mut section) = item.section("bottlerocket") {
        admin = section.flag("enableAdminContainer");
        match section.value("settings") {
            Some(Value::Object(fields)) => settings = fields,
            Some(other) => section.report_mistake("settings", format!("{other} is not a mapping")),
            None => {}
        }
        if let Some(Value::Object(kubernetes)) = settings.get_mut("kubernetes") {
            for (name, why) in SET_BY_EKS {
                if kubernetes.remove(name).is_some() {
                    section.report_left_out(&format!("settings.kubernetes.{name}"), why);
                }
            }
        }
    }
    if let Some(pods) = item.number("maxPodsPerNode").filter(|pods| *pods > 0)
        && !set(&mut settings, &["kubernetes", "max-pods"], json!(pods))
    {
        item.report_mistake("maxPodsPerNode", "bottlerocket.settings.kubernetes is not a mapping: keep one of them");
    }
    if let Some(enabled) = admin {
        let path = ["host-containers", "admin", "enabled"];
        let pointer = format!("/{}", path.join("/"));
        let other = Value::Object(settings.clone())
            .pointer(&pointer)
            .is_some_and(|value| !value.is_null() && *value != enabled);
        if other || !set(&mut settings, &path, json!(enabled)) {
            let field = "bottlerocket.enableAdminContainer";
            item.report_mistake(
                field,
                "bottlerocket.settings.host-containers.admin sets it otherwise: keep one of them",
            );
        }
    }
    let mut text = String::new();
    table("settings", &settings, &mut text);
    (!text.is_empty()).then(|| text.trim_start().to_owned())
}

/// Sets a value, as eksctl does also if the file has another one there. Whether it could: not if something on the way is no mapping.
fn set(fields: &mut Map<String, Value>, path: &[&str], value: Value) -> bool {
    match path {
        [] => false,
        [name] => {
            fields.insert((*name).to_owned(), value);
            true
        }
        [name, rest @ ..] => {
            let inner = fields.entry(*name).or_insert(Value::Null);
            if inner.is_null() {
                *inner = json!({});
            }
            inner.as_object_mut().is_some_and(|inner| set(inner, rest, value))
        }
    }
}

/// Appends a table, if it has values, then those inside it.
fn table(path: &str, fields: &Map<String, Value>, text: &mut String) {
    let (tables, values): (Vec<_>, Vec<_>) =
        fields.iter().filter(|(_, value)| !value.is_null()).partition(|(_, value)| value.is_object());
    if !values.is_empty() {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "\n[{path}]");
    }
    for (name, value) in values {
        let _ = writeln!(text, "{} = {}", key(name), inline(value));
    }
    for (name, value) in tables {
        if let Value::Object(inner) = value {
            table(&format!("{path}.{}", key(name)), inner, text);
        }
    }
}

/// A key, in quotes unless it is a word.
fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { string(name) }
}

/// JSON's escapes are TOML's, but for one character.
fn string(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        Value::Array(items) => {
            let items = items.iter().filter(|item| !item.is_null()).map(inline);
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields = fields.map(|(name, value)| format!("{} = {}", key(name), inline(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::import::eksctl::tests::{bad, good, group};

    fn converted(fields: &str) -> (String, Vec<String>) {
        let (objects, report) = good(&group(&format!("amiFamily: Bottlerocket, {fields}")));
        let text = objects[1]["spec"]["node"]["userData"].as_str().unwrap_or_default().to_owned();
        (text, report.left_out.into_iter().map(|remark| format!("{}: {}", remark.path, remark.what)).collect())
    }

    #[test]
    fn settings_become_toml() {
        let settings = "motd: \"a \\\"b\\\"\\n\", kubernetes: {max-pods: 9, node-labels: {a: b}, \
                        eviction-hard: {memory.available: '15%'}}, dns: {name-servers: ['1.2.3.4', '5.6.7.8']}, \
                        container-registry: {mirrors: [{registry: '*', endpoint: [m]}]}, empty: {}, unset: null";
        let (text, left) =
            converted(&format!("bottlerocket: {{enableAdminContainer: true, settings: {{{settings}}}}}"));
        insta::assert_snapshot!(text, @r#"
        [settings]
        motd = "a \"b\"\n"

        [settings.container-registry]
        mirrors = [{endpoint = ["m"], registry = "*"}]

        [settings.dns]
        name-servers = ["1.2.3.4", "5.6.7.8"]

        [settings.host-containers.admin]
        enabled = true

        [settings.kubernetes]
        max-pods = 9

        [settings.kubernetes.eviction-hard]
        "memory.available" = "15%"
        "#);
        let path = "managedNodeGroups[0].bottlerocket.settings.kubernetes.node-labels";
        assert_eq!(left, [format!("{path}: set labels of the node group")]);
    }

    #[test]
    fn fields_of_eksctl_replace_settings_of_the_file() {
        let (text, left) = converted("bottlerocket: {settings: {kubernetes: {max-pods: 9}}}, maxPodsPerNode: 30");
        assert_eq!((text.as_str(), left), ("[settings.kubernetes]\nmax-pods = 30\n", Vec::new()));
        let admin = "settings: {host-containers: {admin: {enabled: true}}}";
        let (text, _) = converted(&format!("bottlerocket: {{enableAdminContainer: true, {admin}}}"));
        assert_eq!(text, "[settings.host-containers.admin]\nenabled = true\n");
        assert_eq!(converted("bottlerocket: {settings: {}}").0, "");
    }

    #[test]
    fn contradictions_are_mistakes() {
        for (fields, place) in [
            (
                "bottlerocket: {enableAdminContainer: true, settings: {host-containers: {admin: {enabled: false}}}}",
                "managedNodeGroups[0].bottlerocket.enableAdminContainer: ",
            ),
            (
                "bottlerocket: {enableAdminContainer: true, settings: {host-containers: bad}}",
                "managedNodeGroups[0].bottlerocket.enableAdminContainer: ",
            ),
            (
                "bottlerocket: {settings: {kubernetes: bad}}, maxPodsPerNode: 30",
                "managedNodeGroups[0].maxPodsPerNode: ",
            ),
        ] {
            let base =
                "apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\nmetadata: {name: demo, region: eu-west-1}\n";
            let error = bad(&format!("{base}{}", group(&format!("amiFamily: Bottlerocket, {fields}"))));
            assert!(error.contains(place) && error.contains("keep one of them"), "{error}");
        }
    }
}
