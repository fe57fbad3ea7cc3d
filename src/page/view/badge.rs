//! A state as a shape, a colour and a word. Pure.

use crate::page::state::State;

/// A badge. The templates print it with `badge.html`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Badge {
    /// Name of the shape and of the colour.
    pub shape: &'static str,
    pub text: String,
}

impl Badge {
    /// The badge of a state.
    pub fn new(state: State) -> Self {
        Self { shape: state.name(), text: state.label().to_owned() }
    }

    /// A state with another word for it, such as a reason.
    pub fn with_text(state: State, text: impl Into<String>) -> Self {
        Self { shape: state.name(), text: text.into() }
    }
}
