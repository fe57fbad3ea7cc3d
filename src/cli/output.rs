//! The formats of `-o`, and objects in them. Pure, apart from [`print`], which writes to standard output.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use super::terminal;

/// Formats of commands that list objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The objects, as the API server stores them.
    Json,
    /// The same as YAML.
    Yaml,
    /// `kind.group/name`, one a line, for other commands.
    Name,
    /// The table with more columns.
    Wide,
}

/// Formats of commands that show something that is no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Structured {
    Json,
    Yaml,
}

/// Formats of commands that change objects, or show one: what they changed, or show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Changed {
    Json,
    Yaml,
    /// `kind.group/name`, one a line, for other commands.
    Name,
}

impl Changed {
    /// Prints `document`, or `names`, which has one a line.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn print(self, document: &impl Serialize, names: &str) -> anyhow::Result<()> {
        match self {
            Self::Json => print(document, Structured::Json),
            Self::Yaml => print(document, Structured::Yaml),
            Self::Name => super::print(names),
        }
    }
}

/// Prints what is for people: with a format, on standard error.
///
/// # Errors
/// It cannot be written.
pub fn say(output: Option<Changed>, text: &str) -> anyhow::Result<()> {
    match output {
        None => super::print(text),
        Some(_) => {
            super::note(&anstream::adapter::strip_str(text.trim_end()).to_string());
            Ok(())
        }
    }
}

/// Prints an object that was changed, if the user asks for it.
///
/// # Errors
/// It cannot be written.
pub fn print_changed<K>(changed: &K, output: Option<Changed>) -> anyhow::Result<()>
where
    K: kube::Resource<DynamicType = ()> + Serialize,
{
    match output {
        Some(format) => format.print(&object(changed)?, &format!("{}\n", name(changed))),
        None => Ok(()),
    }
}

/// Text of a value in that format.
///
/// # Errors
/// It cannot be serialized.
pub fn format(value: &impl Serialize, format: Structured) -> anyhow::Result<String> {
    Ok(match format {
        Structured::Json => format!("{}\n", terminal::safe_json(&serde_json::to_string_pretty(value)?)),
        Structured::Yaml => serde_saphyr::to_string(value)?,
    })
}

/// Prints a value in that format.
///
/// # Errors
/// It cannot be written.
pub fn print(value: &impl Serialize, of: Structured) -> anyhow::Result<()> {
    super::print_document(&format(value, of)?)
}

/// A list of objects, as `kubectl get -o json` prints it.
pub fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})
}

/// An object with its type, which the API server leaves out in lists, and without its managed fields, which `kubectl`
/// leaves out too.
///
/// # Errors
/// It cannot be serialized.
pub fn object<K: kube::Resource<DynamicType = ()> + Serialize>(object: &K) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(object)?;
    value["apiVersion"] = K::api_version(&()).into();
    value["kind"] = K::kind(&()).into();
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    Ok(value)
}

/// `ekscluster.keelson.dev/demo`.
pub fn name<K: kube::Resource<DynamicType = ()>>(object: &K) -> String {
    let name = object.meta().name.as_deref().unwrap_or_default();
    format!("{}/{name}", type_name::<K>())
}

/// `ekscluster.keelson.dev`.
pub fn type_name<K: kube::Resource<DynamicType = ()>>() -> String {
    format!("{}.{}", K::kind(&()).to_lowercase(), K::group(&()))
}

#[cfg(test)]
mod tests {
    use crate::cli::command;

    /// What `-o` takes, unless the command is listed below.
    const STANDARD: [&str; 3] = ["json", "yaml", "name"];

    /// Commands with other formats, and why.
    const EXCEPTIONS: [(&str, &[&str], &str); 14] = [
        ("get", &["json", "yaml", "name", "wide"], "its table has more columns"),
        ("events", &["json", "yaml", "name", "wide"], "its table has more columns"),
        ("plan", &["text", "markdown", "json", "yaml"], "the names are those in the files"),
        ("doctor", &["text", "json", "yaml"], "a check is no object"),
        ("version", &["json", "yaml"], "a version is no object"),
        ("kubeconfig", &["json", "yaml"], "a file, and no object"),
        ("import", &[], "manifests with comments, for Git"),
        ("crds", &[], "manifests, for kubectl apply"),
        ("move", &[], "follows a procedure in two management clusters"),
        ("ui", &[], "runs until it is interrupted"),
        ("controller", &[], "runs until it is interrupted"),
        ("completion", &[], "a script"),
        ("man", &[], "writes files"),
        ("rollout", &[], "has commands of its own"),
    ];

    /// Each command by its name, those of `rollout` included, with what its `-o` takes.
    fn formats(of: &clap::Command, prefix: &str, found: &mut Vec<(String, Vec<String>)>) {
        for one in of.get_subcommands().filter(|one| one.get_name() != "help") {
            let name = format!("{prefix}{}", one.get_name());
            let output = one.get_arguments().find(|arg| arg.get_short() == Some('o'));
            let values = output.map(clap::Arg::get_possible_values).unwrap_or_default();
            found.push((name.clone(), values.iter().map(|value| value.get_name().to_owned()).collect()));
            formats(one, &format!("{name} "), found);
        }
    }

    #[test]
    fn commands_have_the_same_formats_or_a_reason_for_others() {
        let mut root = command();
        root.build();
        let mut found = Vec::new();
        formats(&root, "", &mut found);
        for (name, formats) in &found {
            let exception = EXCEPTIONS.iter().find(|(of, ..)| of == name);
            assert_eq!(formats.as_slice(), exception.map_or(STANDARD.as_slice(), |of| of.1), "{name}");
        }
        let unknown = EXCEPTIONS.iter().filter(|(of, ..)| found.iter().all(|(name, _)| name != of));
        assert_eq!(unknown.count(), 0);
    }

    /// Commands that take a namespace and need no name, and yet have no `-A`, and why.
    const WITHOUT_ALL_NAMESPACES: [(&str, &str); 6] = [
        ("plan", "the namespace is for objects in the files that name none"),
        ("doctor", "without a name it reads files"),
        ("import", "the namespace is for what it writes"),
        ("recover", "without a name it lists those of all namespaces"),
        ("move", "without -n it moves those of all namespaces"),
        ("ui", "without -n it shows those of all namespaces"),
    ];

    #[test]
    fn commands_that_list_a_namespace_list_all_namespaces_too() {
        let root = command();
        let takes = |one: &clap::Command, short: char| one.get_arguments().any(|arg| arg.get_short() == Some(short));
        let lists = |one: &clap::Command| takes(one, 'n') && !one.get_positionals().any(clap::Arg::is_required_set);
        let without: Vec<_> = root.get_subcommands().filter(|one| lists(one) && !takes(one, 'A')).collect();
        let without: Vec<_> = without.iter().map(|one| one.get_name()).collect();
        assert_eq!(without, WITHOUT_ALL_NAMESPACES.map(|(name, _)| name));
    }
}
