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
    if let Some(pods) = item.number("maxPodsPerNode").filter(|pods| *pods > 0) {
        set(&mut settings, &["kubernetes", "max-pods"], json!(pods));
    }
    if let Some(enabled) = admin {
        set(&mut settings, &["host-containers", "admin", "enabled"], json!(enabled));
    }
    let mut text = String::new();
    table("settings", &settings, &mut text);
    (!text.is_empty()).then(|| text.trim_start().to_owned())
}

/// Sets a value, unless the file has one there, or no mapping on the way to it.
fn set(fields: &mut Map<String, Value>, path: &[&str], value: Value) {
    let [name, rest @ ..] = path else { return };
    let entry = fields.entry(*name);
    if rest.is_empty() {
        entry.or_insert(value);
    } else if let Value::Object(inner) = entry.or_insert_with(|| json!({})) {
        set(inner, rest, value);
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
    use crate::cli::import::eksctl::tests::{good, group};

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
    fn settings_of_the_file_count_before_those_of_eksctl() {
        let admin = "settings: {host-containers: {admin: {enabled: false}}}";
        let (text, _) =
            converted(&format!("bottlerocket: {{enableAdminContainer: true, {admin}}}, maxPodsPerNode: 30"));
        assert_eq!(text, "[settings.host-containers.admin]\nenabled = false\n\n[settings.kubernetes]\nmax-pods = 30\n");
        let odd = "bottlerocket: {settings: {kubernetes: x}}, maxPodsPerNode: 30";
        assert_eq!(converted(odd).0, "[settings]\nkubernetes = \"x\"\n");
        assert_eq!(converted("bottlerocket: {settings: {}}").0, "");
    }
}
