//! The `keelson` binary: parses the command line and calls [`keelson::cli`].

fn main() -> std::process::ExitCode {
    keelson::cli::main()
}
