//! The `keelson` binary: parses the command line and hands over to [`keelson::cli`].

fn main() -> std::process::ExitCode {
    keelson::cli::main()
}
