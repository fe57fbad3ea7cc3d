//! What a person can do: the page changes nothing, and shows the command or the edit to copy. Pure.

/// An action, with the command that does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub text: String,
    /// Empty: it is no command, such as an edit in Git.
    pub command: String,
}

/// Programs that a command of an action begins with.
const PROGRAMS: [&str; 2] = ["keelson ", "kubectl "];

impl Command {
    /// An action whose text ends with its command after a colon, or has none.
    pub fn of_action(action: &str) -> Self {
        let parts = action.rsplit_once(": ");
        let parts = parts.filter(|(_, command)| PROGRAMS.iter().any(|program| command.starts_with(program)));
        match parts {
            Some((text, command)) => Self::new(&capital(text), command.to_owned()),
            None => Self { text: capital(action), command: String::new() },
        }
    }

    /// An action with its command. Parts of it come from objects: what a shell would read as another command is not offered.
    pub fn new(text: &str, command: String) -> Self {
        let is_other = |c: char| c.is_control() || "$`;&|<>\\".contains(c);
        let command = if command.contains(is_other) { String::new() } else { command };
        Self { text: text.to_owned(), command }
    }
}

/// The text with a capital letter at its start.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_that_would_run_another_is_not_offered() {
        for hostile in
            ["keelson get; rm x", "keelson get $(rm x)", "keelson get\nrm x", "keelson get `rm x`", "keelson get > x"]
        {
            assert_eq!(Command::new("t", hostile.to_owned()).command, "", "{hostile}");
            assert_eq!(Command::of_action(&format!("do: {hostile}")).command, "", "{hostile}");
        }
    }

    #[test]
    fn command_is_what_follows_the_colon() {
        for (action, text, command) in [
            (
                "read the plan and approve it: keelson approve demo -n a",
                "Read the plan and approve it",
                "keelson approve demo -n a",
            ),
            ("raise spec.version", "Raise spec.version", ""),
            ("a: b: kubectl get x", "A: b", "kubectl get x"),
            ("if it was yours: docs/import.md", "If it was yours: docs/import.md", ""),
        ] {
            assert_eq!(Command::of_action(action), Command::new(text, command.to_owned()), "{action}");
        }
    }
}
