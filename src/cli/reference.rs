//! `keelson completion` and `keelson man`: what is generated from the definition of the command line. I/O: standard
//! output, and the files of the man pages.

use std::path::PathBuf;

use anyhow::Context as _;
use clap_complete::Shell;

/// Flags of `keelson completion`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  source <(keelson completion bash)
  keelson completion zsh > \"${fpath[1]}/_keelson\"
  keelson completion fish > ~/.config/fish/completions/keelson.fish")]
pub struct CompletionArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Flags of `keelson man`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson man ~/.local/share/man/man1 && man keelson-status")]
pub struct ManArgs {
    /// Folder for the pages: one of keelson, and one of each of its commands.
    folder: PathBuf,
}

/// Prints the completion script of a shell.
///
/// # Errors
/// It cannot be written.
pub fn completion(args: &CompletionArgs, mut command: clap::Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "keelson", &mut script);
    super::print_document(&String::from_utf8(script)?)
}

/// Writes the man pages.
///
/// # Errors
/// They cannot be written.
pub fn man(args: &ManArgs, command: clap::Command) -> anyhow::Result<()> {
    let place = || args.folder.display().to_string();
    std::fs::create_dir_all(&args.folder).with_context(place)?;
    clap_mangen::generate_to(command, &args.folder).with_context(place)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;
    use std::path::Path;

    use crate::cli::command;

    const START: &str = "<!-- Generated from here on: UPDATE_DOCS=1 cargo test --lib cli::reference -->\n\n";

    /// docs/cli.md from the start of the generated part.
    fn page() -> String {
        let mut root = command().term_width(100);
        root.build();
        let mut out = String::from("| command | |\n|---|---|\n");
        let visible = || root.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help");
        for one in visible() {
            let about = one.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(out, "| [{0}](#keelson-{0}) | {about} |", one.get_name());
        }
        for one in visible() {
            add(&mut out, one, one.get_name());
        }
        out
    }

    /// The help of a command, and of its own commands.
    fn add(out: &mut String, one: &clap::Command, name: &str) {
        let help = one.clone().term_width(100).render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let _ = write!(out, "\n## keelson {name}\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
        for of in one.get_subcommands().filter(|of| of.get_name() != "help") {
            add(out, of, &format!("{name} {}", of.get_name()));
        }
    }

    #[test]
    fn page_of_the_command_line_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
        let text = fs::read_to_string(&path).unwrap();
        let (head, _) = text.split_once(START).expect("the line where the generated part starts");
        let wanted = format!("{head}{START}{}", page());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, &wanted).unwrap();
        }
        let is_current = fs::read_to_string(&path).unwrap() == wanted;
        assert!(is_current, "docs/cli.md is stale: UPDATE_DOCS=1 cargo test --lib cli::reference");
    }

    #[test]
    fn every_command_has_examples_and_every_option_a_help_text() {
        fn check(one: &clap::Command, name: &str) {
            let example = format!("  keelson {name}");
            let has_example = one.get_after_help().is_some_and(|text| text.to_string().contains(&example));
            assert!(has_example, "{name} has no line `{example}`");
            let silent: Vec<_> = one.get_arguments().filter(|arg| arg.get_help().is_none()).collect();
            assert!(silent.is_empty(), "{name}: {silent:?}");
            one.get_subcommands().for_each(|of| check(of, &format!("{name} {}", of.get_name())));
        }
        let root = command();
        root.get_subcommands().for_each(|one| check(one, one.get_name()));
    }

    #[test]
    fn definition_of_the_command_line_is_consistent() {
        command().debug_assert();
    }
}
