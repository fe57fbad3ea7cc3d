//! The cookie of somebody who signed in with a token: the token, encrypted with a key that only the server has, and when it ends. The
//! server keeps no list of sessions, so that several replicas with one key know each other's. I/O: the system's random numbers.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A session ends after this time, also if its token is valid for longer.
const MAX_SESSION: SignedDuration = SignedDuration::from_hours(12);
/// Browsers accept cookies of 4096 bytes, with name and attributes.
const MAX_COOKIE: usize = 3800;
/// Shortest secret of which a key is made.
const MIN_SECRET: usize = 32;

/// Seals and opens cookies.
pub struct Seal(LessSafeKey);

/// Why a token does not become a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// It is too long.
    TooLong,
    /// It has expired.
    Expired,
    /// The system has no random numbers.
    NoRandom,
}

impl Seal {
    /// With a key of its own, or the one of that secret, which the replicas share.
    ///
    /// # Errors
    /// What is wrong with the secret, or that the system has no random numbers.
    pub fn new(secret: Option<&[u8]>) -> Result<Self, String> {
        let mut key = [0; 32];
        match secret {
            Some(secret) if secret.len() < MIN_SECRET => {
                return Err(format!("it has {} bytes: at least {MIN_SECRET} are needed", secret.len()));
            }
            Some(secret) => {
                key = Sha256::new().chain_update("keelson ui session\0").chain_update(secret).finalize().into()
            }
            None => aws_lc_rs::rand::fill(&mut key).map_err(|_| "the system has no random numbers".to_owned())?,
        }
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| "the key cannot be used".to_owned())?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// The value of a cookie with the token, and how many seconds it is valid.
    ///
    /// # Errors
    /// The token is too long for a cookie, or has expired.
    pub fn close(&self, token: &str, now: Timestamp) -> Result<(String, i64), SealError> {
        let latest = now.saturating_add(MAX_SESSION).unwrap_or(now);
        let until = expiry(token).map_or(latest, |expiry| expiry.min(latest));
        if until <= now {
            return Err(SealError::Expired);
        }
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| SealError::NoRandom)?;
        let mut sealed = format!("{}\n{token}", until.as_second()).into_bytes();
        let nonce_of_this = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(nonce_of_this, Aad::empty(), &mut sealed).map_err(|_| SealError::TooLong)?;
        let value = URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat());
        if value.len() > MAX_COOKIE {
            Err(SealError::TooLong)
        } else {
            Ok((value, until.as_second() - now.as_second()))
        }
    }

    /// The token in a cookie, and when the session ends; `None`: it is not one of this key, or has ended.
    pub fn open(&self, value: &str, now: Timestamp) -> Option<(String, Timestamp)> {
        let mut sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
        let (nonce, sealed) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.0.open_in_place(nonce, Aad::empty(), sealed).ok()?;
        let (until, token) = std::str::from_utf8(opened).ok()?.split_once('\n')?;
        let until = Timestamp::from_second(until.parse().ok()?).ok()?;
        (now < until).then(|| (token.to_owned(), until))
    }
}

/// When a token expires, as it says itself: the API server has checked what it says. `None`: it is not a JSON web token, or never expires.
pub fn expiry(token: &str) -> Option<Timestamp> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-12-01T00:00:00Z".parse().unwrap()
    }

    /// A token that expires after that many seconds.
    fn token(seconds: i64) -> String {
        let claims = json!({"sub": "x", "exp": now().as_second() + seconds}).to_string();
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(now().as_second() + seconds).unwrap()
    }

    #[test]
    fn cookie_ends_with_its_token() {
        let seal = Seal::new(None).unwrap();
        let (cookie, seconds) = seal.close(&token(600), now()).unwrap();
        assert_eq!(seconds, 600);
        assert!(!cookie.contains("c2ln") && !cookie.contains(';'), "{cookie}");
        assert_eq!(seal.open(&cookie, at(599)), Some((token(600), at(600))));
        assert_eq!(seal.open(&cookie, at(600)), None);
        assert_eq!(seal.close(&token(0), now()), Err(SealError::Expired));
    }

    #[test]
    fn session_ends_after_half_a_day_at_the_latest() {
        let seal = Seal::new(None).unwrap();
        for long in [token(1_000_000), "opaque".to_owned()] {
            let (cookie, seconds) = seal.close(&long, now()).unwrap();
            assert_eq!(seconds, 12 * 3600);
            assert!(seal.open(&cookie, at(12 * 3600 - 1)).is_some() && seal.open(&cookie, at(12 * 3600)).is_none());
        }
        assert_eq!(seal.close(&"x".repeat(4000), now()), Err(SealError::TooLong));
    }

    #[test]
    fn cookie_opens_with_its_key_only() {
        let (one, other) = (Seal::new(Some(&[1; 32])).unwrap(), Seal::new(Some(&[2; 32])).unwrap());
        let (cookie, _) = one.close("secret", now()).unwrap();
        let replica = Seal::new(Some(&[1; 32])).unwrap();
        assert_eq!(replica.open(&cookie, now()).map(|(token, _)| token).as_deref(), Some("secret"));
        assert_eq!(other.open(&cookie, now()), None);
        let mut changed = cookie.clone().into_bytes();
        changed[20] = if changed[20] == b'A' { b'B' } else { b'A' };
        for wrong in ["", "x", "AAAA", &String::from_utf8(changed).unwrap()] {
            assert_eq!(one.open(wrong, now()), None, "{wrong}");
        }
        assert!(Seal::new(Some(b"short")).is_err());
    }
}
