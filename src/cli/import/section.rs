//! A file of another tool as a tree whose fields are taken one by one. Dropping a section reports the path of each field
//! that was not taken, so that nothing is lost silently. Pure.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The tool that has written a file.
pub struct Origin {
    /// The remark about a field that is none of the tool's.
    pub unknown: &'static str,
    /// Why a field of the tool, by its path, has no place in Keelson; `None`: it is not one of the tool's.
    pub reason: fn(&str) -> Option<&'static str>,
}

/// A remark about a field, for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The field's path, such as `managedNodeGroups[0].ssh`.
    pub path: String,
    /// The remark.
    pub what: String,
}

/// The result of each field.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Not converted, and why.
    pub left_out: Vec<Remark>,
    /// Converted, with a difference.
    pub differs: Vec<Remark>,
    /// Mistakes: no manifest is written.
    pub wrong: Vec<Remark>,
}

impl Report {
    /// What is left out and what differs, each below its title; nothing if there is none.
    pub fn describe(&self) -> Vec<String> {
        let parts = [("Not converted:", &self.left_out), ("Converted, with differences:", &self.differs)];
        let parts = parts.iter().filter(|(_, remarks)| !remarks.is_empty());
        parts.map(|(title, remarks)| format!("{title}\n{}", describe(remarks))).collect()
    }
}

/// A line for each remark.
pub fn describe(remarks: &[Remark]) -> String {
    let line = |Remark { path, what }: &Remark| format!("  {path}: {what}");
    remarks.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A mapping of the file.
pub struct Section<'r> {
    path: String,
    fields: Map<String, Value>,
    report: &'r RefCell<Report>,
    origin: &'static Origin,
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for (name, value) in std::mem::take(&mut self.fields) {
            let path = self.at(&name);
            if let Some(why) = (self.origin.reason)(&path) {
                if !value.is_null() {
                    self.report_left_out(&name, why);
                }
                continue;
            }
            let mut leaves = Vec::new();
            leaves_of(&path, &value, &mut leaves);
            for path in leaves {
                self.report.borrow_mut().left_out.push(Remark { path, what: self.origin.unknown.to_owned() });
            }
        }
    }
}

/// Collects the paths of all values that are not non-empty mappings or lists.
pub fn leaves_of(path: &str, value: &Value, leaves: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(name, value)| leaves_of(&join(path, name), value, leaves));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(n, item)| leaves_of(&format!("{path}[{n}]"), item, leaves));
        }
        _ => leaves.push(path.to_owned()),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl<'r> Section<'r> {
    /// A whole file, or an object in it, whose path begins with `path`.
    pub fn root(path: &str, fields: Map<String, Value>, report: &'r RefCell<Report>, origin: &'static Origin) -> Self {
        Self { path: path.to_owned(), fields, report, origin }
    }

    /// The path of a field.
    pub fn at(&self, field: &str) -> String {
        join(&self.path, field)
    }

    /// The same section with another report.
    pub fn reporting_to<'s>(mut self, report: &'s RefCell<Report>) -> Section<'s> {
        let (path, fields) = (std::mem::take(&mut self.path), std::mem::take(&mut self.fields));
        Section { path, fields, report, origin: self.origin }
    }

    /// Sets a field to what another one means.
    pub fn set(&mut self, field: &str, value: Value) {
        self.fields.insert(field.to_owned(), value);
    }

    /// A text that stays untaken.
    pub fn peek_text(&self, field: &str) -> Option<String> {
        self.fields.get(field).and_then(Value::as_str).map(str::to_owned)
    }

    /// Whether the field holds this text.
    pub fn text_is(&self, field: &str, text: &str) -> bool {
        self.peek_text(field).as_deref() == Some(text)
    }

    /// Names of the fields that are left.
    pub fn names(&self) -> Vec<String> {
        self.fields.keys().cloned().collect()
    }

    /// Whether the field is set and was not taken yet.
    pub fn has(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(|value| !value.is_null())
    }

    /// Whether the field is `true`.
    pub fn is_true(&self, field: &str) -> bool {
        self.fields.get(field) == Some(&Value::Bool(true))
    }

    /// Whether the field holds a list.
    pub fn is_list(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(Value::is_array)
    }

    /// Takes the field, of any type. A null field is not set.
    pub fn value(&mut self, field: &str) -> Option<Value> {
        self.fields.remove(field).filter(|value| !value.is_null())
    }

    /// Takes a text.
    pub fn text(&mut self, field: &str) -> Option<String> {
        let value = self.value(field)?;
        self.as_text(&self.at(field), value)
    }

    /// Takes a text; an empty one counts as not set.
    pub fn some_text(&mut self, field: &str) -> Option<String> {
        self.text(field).filter(|text| !text.is_empty())
    }

    /// Takes `true` or `false`.
    pub fn flag(&mut self, field: &str) -> Option<bool> {
        let value = self.value(field)?;
        if value.as_bool().is_none() {
            self.report_mistake(field, format!("{value} is neither true nor false"));
        }
        value.as_bool()
    }

    /// Takes a whole number.
    pub fn number(&mut self, field: &str) -> Option<i64> {
        let value = self.value(field)?;
        if value.as_i64().is_none() {
            self.report_mistake(field, format!("{value} is not a whole number"));
        }
        value.as_i64()
    }

    /// Takes a list of texts.
    pub fn texts(&mut self, field: &str) -> Option<Vec<String>> {
        let items = self.items(field)?;
        let text = |(n, item)| self.as_text(&format!("{}[{n}]", self.at(field)), item);
        Some(items.into_iter().enumerate().filter_map(text).collect())
    }

    /// Takes a mapping of texts.
    pub fn map(&mut self, field: &str) -> Option<BTreeMap<String, String>> {
        let fields = self.mapping(field)?;
        let text = |(name, value): (String, Value)| {
            let path = join(&self.at(field), &name);
            Some((name, self.as_text(&path, value)?))
        };
        Some(fields.into_iter().filter_map(text).collect())
    }

    /// Takes a section.
    pub fn section(&mut self, field: &str) -> Option<Section<'r>> {
        let fields = self.mapping(field)?;
        Some(Section { path: self.at(field), fields, report: self.report, origin: self.origin })
    }

    /// Takes a list of sections.
    pub fn sections(&mut self, field: &str) -> Vec<Section<'r>> {
        let mut sections = Vec::new();
        for (n, item) in self.items(field).unwrap_or_default().into_iter().enumerate() {
            let path = format!("{}[{n}]", self.at(field));
            match item {
                Value::Object(fields) => {
                    sections.push(Section { path, fields, report: self.report, origin: self.origin })
                }
                other => self.wrong_at(path, format!("{other} is not a mapping")),
            }
        }
        sections
    }

    fn mapping(&mut self, field: &str) -> Option<Map<String, Value>> {
        match self.value(field)? {
            Value::Object(fields) => Some(fields),
            other => {
                self.report_mistake(field, format!("{other} is not a mapping"));
                None
            }
        }
    }

    fn items(&mut self, field: &str) -> Option<Vec<Value>> {
        match self.value(field)? {
            Value::Array(items) => Some(items),
            other => {
                self.report_mistake(field, format!("{other} is not a list"));
                None
            }
        }
    }

    fn as_text(&self, path: &str, value: Value) -> Option<String> {
        match value {
            Value::String(text) => return Some(text),
            Value::Number(_) | Value::Bool(_) => {
                self.wrong_at(path.to_owned(), format!("{value} is not a text: put it in quotes"));
            }
            other => self.wrong_at(path.to_owned(), format!("{other} is not a text")),
        }
        None
    }

    /// Takes the field and reports why it is not converted.
    pub fn refuse(&mut self, field: &str, why: &str) {
        if self.value(field).is_some() {
            self.report_left_out(field, why);
        }
    }

    /// [`Self::refuse`] for each.
    pub fn refuse_each(&mut self, reasons: &[(&str, &str)]) {
        reasons.iter().for_each(|(field, why)| self.refuse(field, why));
    }

    /// [`Self::refuse`], unless the field holds the value that results anyway.
    pub fn refuse_unless(&mut self, field: &str, same: impl Into<Value>, why: &str) {
        if self.value(field).is_some_and(|value| value != same.into()) {
            self.report_left_out(field, why);
        }
    }

    /// Takes the field and reports what Keelson does instead. An empty mapping or list means nothing.
    pub fn differ(&mut self, field: &str, how: &str) {
        let is_empty = |value: &Value| *value == Value::Array(Vec::new()) || *value == Value::Object(Map::new());
        if self.value(field).is_some_and(|value| !is_empty(&value)) {
            self.report_difference(field, how);
        }
    }

    /// [`Self::differ`], unless the field holds the value that results anyway.
    pub fn differ_unless(&mut self, field: &str, same: impl Into<Value>, how: &str) {
        if self.value(field).is_some_and(|value| value != same.into()) {
            self.report_difference(field, how);
        }
    }

    /// Reports that the field is not converted.
    pub fn report_left_out(&self, field: &str, why: impl Into<String>) {
        self.report.borrow_mut().left_out.push(Remark { path: self.at(field), what: why.into() });
    }

    /// Reports that the field is converted with a difference.
    pub fn report_difference(&self, field: &str, how: impl Into<String>) {
        self.report.borrow_mut().differs.push(Remark { path: self.at(field), what: how.into() });
    }

    /// Reports that the field is a mistake.
    pub fn report_mistake(&self, field: &str, why: impl Into<String>) {
        self.wrong_at(self.at(field), why.into());
    }

    fn wrong_at(&self, path: String, what: String) {
        self.report.borrow_mut().wrong.push(Remark { path, what });
    }

    /// Takes the whole section and reports why nothing of it is converted.
    pub fn leave(mut self, why: &str) {
        self.fields.clear();
        self.report.borrow_mut().left_out.push(Remark { path: self.path.clone(), what: why.to_owned() });
    }
}
