//! Text from elsewhere, such as objects, AWS and files, as it may be shown: nothing in it moves the cursor, hides or
//! reorders text, or is a command of a CI service. Pure.

use std::fmt::Write as _;

/// Stands for a character that is not shown.
const REPLACEMENT: char = '\u{fffd}';
/// The colours of this command line (see [`super::plan::style`]): the only escape sequences that are printed.
const COLOURS: [&str; 8] =
    ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m", "\x1b[1m\x1b[31m"];

/// Whether a terminal may act on it instead of showing it, or show other characters in another order because of it.
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// All that is printed, with its line breaks, tabs and colours, and without other control characters. A line cannot
/// begin as a command of a GitHub workflow.
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        let mut rest = line.strip_suffix('\r').unwrap_or(line);
        let start = out.len();
        while let Some(c) = rest.chars().next() {
            let colour = COLOURS.iter().find(|colour| c == '\x1b' && rest.starts_with(**colour));
            let length = colour.map_or(c.len_utf8(), |colour| colour.len());
            match colour {
                Some(colour) => out.push_str(colour),
                None => out.push(if is_control(c) && c != '\t' { REPLACEMENT } else { c }),
            }
            rest = &rest[length..];
        }
        let safe = without_commands(&out[start..]);
        out.replace_range(start.., &safe);
    }
    out
}

/// The runner reads `::name::` at the start of a line, and `##[name]` anywhere in it.
fn without_commands(line: &str) -> String {
    let line = line.replace("##[", "## [");
    let colourless = COLOURS.iter().fold(line.clone(), |line, colour| line.replace(colour, ""));
    if colourless.trim_start().starts_with("::") { line.replacen("::", ": :", 1) } else { line }
}

/// A name or a message inside a line: line breaks and tabs are spaces.
pub fn one_line(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_control(c) => REPLACEMENT,
        c => c,
    };
    text.chars().map(shown).collect()
}

/// Output of a program for a program: JSON and YAML. Characters that JSON does not escape by itself are escaped, so that
/// it means the same.
pub fn safe_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_control(c) && c != '\n' {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plan::style;
    use crate::engine::Action;

    #[test]
    fn only_the_layout_and_the_own_colours_remain() {
        assert_eq!(safe("a\tb\nc\r\n"), "a\tb\nc\n");
        assert_eq!(safe("\x1b]0;title\x07 \x1b[2J \x1b[8m \u{9b}31m \u{7f} x\ry"), "�]0;title� �[2J �[8m �31m � x�y");
        assert_eq!(safe("a\u{202e}b\u{2066}c\u{200f}\u{2028}"), "a�b�c��");
        assert_eq!(one_line("a\n::error::b\x1b[0m\t"), "a ::error::b�[0m ");
        let own = [Action::Create, Action::Update, Action::Adopt, Action::Delete, Action::Release]
            .map(|action| style::of_sign(style::sign(action)));
        let own = own.into_iter().chain(["!", "", "="].map(style::of_sign)).chain([style::heading()]);
        for style in own {
            let text = style::styled(style, "ä");
            assert_eq!(safe(&text), text);
        }
    }

    #[test]
    fn no_line_is_a_command_of_a_workflow() {
        for text in
            ["::error::x", "a\n  ::error::x", "\x1b[1m::add-mask::x\x1b[0m", "x ##[error]y", "\t::stop-commands::x"]
        {
            let safe = safe(text);
            let is_command = |line: &str| line.replace("\x1b[1m", "").trim_start().starts_with("::");
            assert!(!safe.lines().any(is_command) && !safe.contains("##["), "{safe}");
        }
        assert_eq!(safe("CIDR ::/0"), "CIDR ::/0");
    }

    #[test]
    fn json_means_the_same() {
        let value = serde_json::json!({"a": "\x1b[2J\u{9b}\u{202e}\n"});
        let text = safe_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.chars().any(|c| is_control(c) && c != '\n'), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
