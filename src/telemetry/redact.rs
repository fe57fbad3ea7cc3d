//! The last line of defence against secrets in logs: redacts text that looks like a credential. Pure.
//!
//! Keelson itself logs no secrets. This catches messages of libraries and errors that quote a URL.

use std::borrow::Cow;
use std::io;

const REDACTED: &str = "<redacted>";

/// Text right before a secret; the secret ends at the first character that cannot be part of one.
const MARKERS: [&str; 13] = [
    "k8s-aws-v1.",
    "X-Amz-Signature=",
    "X-Amz-Security-Token=",
    "x-amz-security-token: ",
    "x-amz-security-token:",
    "Signature=",
    "Bearer ",
    "Basic ",
    "SessionToken>",
    "SecretAccessKey>",
    "ExternalId=",
    "AWS_SECRET_ACCESS_KEY=",
    "AWS_SESSION_TOKEN=",
];

/// The text without anything that looks like a secret.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut out: Option<String> = None;
    let mut rest = text;
    while let Some((start, end)) = first_secret(rest) {
        let out = out.get_or_insert_with(|| String::with_capacity(text.len()));
        out.push_str(&rest[..start]);
        out.push_str(REDACTED);
        rest = &rest[end..];
    }
    match out {
        Some(mut out) => {
            out.push_str(rest);
            Cow::Owned(out)
        }
        None => Cow::Borrowed(text),
    }
}

/// Start and end of the first secret.
fn first_secret(text: &str) -> Option<(usize, usize)> {
    let marked = MARKERS.iter().filter_map(|marker| {
        text.match_indices(marker).find_map(|(at, _)| {
            let start = at + marker.len();
            let length = text[start..].find(|c: char| !is_secret_char(c)).unwrap_or(text.len() - start);
            // Already redacted, or empty.
            (length > 0).then_some((start, start + length))
        })
    });
    marked.chain(url_password(text)).min()
}

fn is_secret_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '%' | '+' | '/' | '=')
}

/// `https://user:password@host`: from after `//` to the `@`.
fn url_password(text: &str) -> Option<(usize, usize)> {
    text.match_indices("://").find_map(|(at, _)| {
        let start = at + 3;
        let authority = text[start..].split(['/', '?', '#', ' ', '"', '\'', '\n']).next()?;
        let (user, _) = authority.rsplit_once('@')?;
        (user.contains(':') && user != REDACTED).then_some((start, start + user.len()))
    })
}

/// Writes complete log lines without their secrets.
pub struct Redacting<W>(pub W);

impl<W: io::Write> io::Write for Redacting<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(buffer);
        self.0.write_all(redact(&text).as_bytes())?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_redacted_and_the_rest_is_unchanged() {
        let table = [
            ("token k8s-aws-v1.aHR0cHM6Ly9zdHM used", "token k8s-aws-v1.<redacted> used"),
            (
                "GET /?X-Amz-Security-Token=abc%2B&X-Amz-Signature=00ff HTTP",
                "GET /?X-Amz-Security-Token=<redacted>&X-Amz-Signature=<redacted> HTTP",
            ),
            ("authorization: Bearer eyJhbGciOi.x-y_z", "authorization: Bearer <redacted>"),
            (
                "clone https://bot:hunter2@git.example.com/fleet failed",
                "clone https://<redacted>@git.example.com/fleet failed",
            ),
            ("<SessionToken>FwoGZXIv==</SessionToken>", "<SessionToken><redacted></SessionToken>"),
            ("ssh://git@github.com/acme/fleet", "ssh://git@github.com/acme/fleet"),
            ("nothing to hide", "nothing to hide"),
        ];
        for (input, expected) in table {
            assert_eq!(redact(input), expected);
        }
    }

    #[test]
    fn redaction_is_idempotent() {
        let once = redact("k8s-aws-v1.abc https://u:p@h/ Bearer t").into_owned();
        assert_eq!(redact(&once), once);
    }
}
