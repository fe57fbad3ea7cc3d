//! Colours of plans: always written, and removed if standard output is no terminal or NO_COLOR is set. Pure.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

use crate::engine::Action;

/// The sign at the start of a line, as in diffs.
pub fn sign(action: Action) -> &'static str {
    match action {
        Action::Create => "+",
        Action::Update => "~",
        Action::Adopt => "@",
        Action::Release => "^",
        Action::Delete => "-",
    }
}

/// The colour of lines with that sign.
pub fn of_sign(sign: &str) -> Style {
    let colour = match sign {
        "+" => AnsiColor::Green,
        "~" => AnsiColor::Yellow,
        "@" | "^" => AnsiColor::Cyan,
        "-" => AnsiColor::Red,
        "!" => return AnsiColor::Red.on_default().bold(),
        "" => return Style::new().dimmed(),
        _ => return Style::new(),
    };
    colour.on_default()
}

/// For headings.
pub fn heading() -> Style {
    Style::new().bold()
}

/// The text in that style.
pub fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}
