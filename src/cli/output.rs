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

/// Formats of commands that change objects: what they changed.
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
