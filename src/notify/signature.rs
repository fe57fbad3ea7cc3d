//! Signatures of Standard Webhooks: HMAC-SHA256 over id, time and body. Pure.
//!
//! See <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Begins a key in its text form.
const PREFIX: &str = "whsec_";
/// Sizes of a key in bytes.
const MIN_BYTES: usize = 24;
const MAX_BYTES: usize = 64;
/// Keys in a file: more than one while they are replaced.
const MAX_KEYS: usize = 5;

/// The keys that sign. Printed without them.
#[derive(Clone)]
pub struct Keys(Vec<hmac::Key>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl Keys {
    /// Reads the keys of a file, one on each line.
    ///
    /// # Errors
    /// Why it has none, without quoting it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let keys =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(parse).collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Err("it has no key".to_owned()),
            1..=MAX_KEYS => Ok(Self(keys)),
            count => Err(format!("it has {count} keys, and may have {MAX_KEYS}")),
        }
    }

    /// The header `webhook-signature`: a signature by each key.
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let one = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{seconds}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

fn parse(line: &str) -> Result<hmac::Key, String> {
    let format = format!(
        "a key is {PREFIX} and {MIN_BYTES} to {MAX_BYTES} bytes in base64, as of: echo {PREFIX}$(openssl rand -base64 32)"
    );
    let encoded = line.strip_prefix(PREFIX).ok_or_else(|| format.clone())?;
    let bytes = STANDARD.decode(encoded).map_err(|_| format.clone())?;
    if !(MIN_BYTES..=MAX_BYTES).contains(&bytes.len()) {
        return Err(format);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn signature_is_that_of_the_specification() {
        // The example of the specification's libraries.
        let keys = Keys::parse(KEY).unwrap();
        let signature = keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn key_that_replaces_another_signs_beside_it() {
        let two = Keys::parse(&format!("{KEY}\n\n  whsec_{}\n", STANDARD.encode([7; 32]))).unwrap();
        let signatures = two.sign("a", 1, b"x");
        let one = Keys::parse(KEY).unwrap().sign("a", 1, b"x");
        assert_eq!(signatures.split(' ').count(), 2);
        assert!(signatures.starts_with(&one));
    }

    #[test]
    fn file_without_a_valid_key_is_refused_without_quoting_it() {
        for text in ["", "\n", "hunter2", "whsec_hunter2!", "whsec_aHVudGVyMg=="] {
            let why = Keys::parse(text).unwrap_err();
            assert!(!why.contains("hunter2") && !why.contains("aHVudGVyMg"), "{why}");
        }
        assert!(Keys::parse(&[KEY; 6].join("\n")).is_err());
        assert_eq!(format!("{:?}", Keys::parse(KEY).unwrap()), "1 keys");
    }
}
