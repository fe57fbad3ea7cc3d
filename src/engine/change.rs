//! A difference between what is desired and what was observed. Pure.

/// Whether a difference can be corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Correction {
    /// By an update.
    InPlace,
    /// Not possible; holds what to do instead.
    Forbidden(String),
    /// Not possible, and no mistake of the spec: what others changed. Reported as drift; holds what to know.
    Reported(String),
}

/// A field that differs from the desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Name of the field, as in the manifest if the manifest has it.
    pub field: String,
    /// Observed value.
    pub from: String,
    /// Desired value.
    pub to: String,
    /// Whether it can be changed.
    pub how: Correction,
    /// What an update of the field does to what runs on the resource, as a message; `None`: nothing.
    pub disruption: Option<String>,
}

impl Change {
    /// A difference that an update corrects.
    pub fn in_place(field: impl Into<String>, from: impl ToString, to: impl ToString) -> Self {
        Self::new(field, from, to, Correction::InPlace)
    }

    /// A difference that no call can correct; `why` says what to do instead.
    pub fn forbidden(field: impl Into<String>, from: impl ToString, to: impl ToString, why: impl Into<String>) -> Self {
        Self::new(field, from, to, Correction::Forbidden(why.into()))
    }

    /// A difference that others made, that no call corrects and that stops nothing; `why` says what it means.
    pub fn reported(field: impl Into<String>, from: impl ToString, to: impl ToString, why: impl Into<String>) -> Self {
        Self::new(field, from, to, Correction::Reported(why.into()))
    }

    /// The same difference, whose update does this to what runs on the resource.
    #[must_use]
    pub fn disrupts(self, disruption: impl Into<String>) -> Self {
        Self { disruption: Some(disruption.into()), ..self }
    }

    fn new(field: impl Into<String>, from: impl ToString, to: impl ToString, how: Correction) -> Self {
        Self { field: field.into(), from: from.to_string(), to: to.to_string(), how, disruption: None }
    }
}
