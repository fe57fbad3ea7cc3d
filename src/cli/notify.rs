//! The flags of notifications. I/O: reads the files that they name.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use crate::notify::{Sender, Target};

/// Flags of notifications.
#[derive(clap::Args, Debug)]
pub struct NotifyArgs {
    /// Send an event (CloudEvents 1.0, JSON) to this URL for what needs a person: a rollout that halted, an approval, an
    /// object that is Stalled, the end of AWS's support; and when it no longer does. Needs --notify-secret-file
    /// [default: none].
    #[arg(long, env = "KEELSON_NOTIFY_URL", hide_env_values = true)]
    notify_url: Option<String>,
    /// File with the key that signs the events as Standard Webhooks does: `whsec_` and 24 to 64 bytes in base64. While
    /// keys are replaced, it has one on each line.
    #[arg(long, env = "KEELSON_NOTIFY_SECRET_FILE")]
    notify_secret_file: Option<PathBuf>,
    /// File with CA certificates (PEM) that are trusted for --notify-url, besides those of the system.
    #[arg(long, env = "KEELSON_NOTIFY_CA_FILE")]
    notify_ca_file: Option<PathBuf>,
}

impl NotifyArgs {
    /// Sends notifications, if they go anywhere.
    ///
    /// # Errors
    /// A value or a file cannot be used.
    pub fn sender(self) -> anyhow::Result<Option<Arc<Sender>>> {
        let sender = self.target()?.map(Sender::new).transpose().map_err(anyhow::Error::msg)?;
        Ok(sender.map(Arc::new))
    }

    /// Empty means nowhere: charts leave variables out that way.
    fn target(self) -> anyhow::Result<Option<Target>> {
        let Self { notify_url, notify_secret_file, notify_ca_file } = self;
        let given = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        let Some(url) = notify_url.filter(|url| !url.is_empty()) else { return Ok(None) };
        let secret = given(notify_secret_file).context(
            "--notify-url needs --notify-secret-file: receivers know by the signature that an event is from here",
        )?;
        let ca = given(notify_ca_file);
        Target::new(&url, &secret, ca.as_deref()).map(Some).map_err(anyhow::Error::msg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_never_sent_unsigned() {
        let args =
            |url: &str| NotifyArgs { notify_url: Some(url.into()), notify_secret_file: None, notify_ca_file: None };
        assert!(args("").target().unwrap().is_none());
        let why = args("https://hooks.example.com/hunter2").target().unwrap_err().to_string();
        assert!(why.contains("--notify-secret-file") && !why.contains("hunter2"), "{why}");
    }
}
