//! The command line's verbs, each a thin face of the other folders.
//!
//! May not enter: decisions. I/O: files and standard output.

use std::process::ExitCode;

/// Parses the command line and runs the verb.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
