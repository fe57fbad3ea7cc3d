//! Who may read the page of `keelson ui`: the user who started it. Other users of the machine can connect to the port, and so can every
//! web page in the user's browser, so an address alone is not enough. I/O: the system's random numbers.
//!
//! - The first address has a random token that can be used once, and is exchanged for a cookie: HttpOnly, SameSite=Strict.
//! - The Host header must be the address that is served: a web page whose name resolves to 127.0.0.1 has another (DNS rebinding).
//! - Requests that another origin's page makes are refused (Sec-Fetch-Site), also if the browser sends the cookie.

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::SocketAddr;

use axum::http::{HeaderMap, header};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// Random bytes of a token: nobody guesses it.
const TOKEN_BYTES: usize = 32;

/// A page's own address, token and cookie.
pub struct Session {
    /// What may be in the Host header.
    hosts: [String; 2],
    cookie_name: String,
    cookie: String,
    /// The token of the next address, and what hears of it.
    token: Mutex<String>,
    announce: Box<dyn Fn(&str) + Send + Sync>,
}

impl Session {
    /// A session of the page at `address`. `announce` is called with each address that can be opened: the first, and another whenever
    /// one was used.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(address: SocketAddr, announce: Box<dyn Fn(&str) + Send + Sync>) -> std::io::Result<Self> {
        let port = address.port();
        let session = Self {
            hosts: [address.to_string(), format!("localhost:{port}")],
            // Cookies do not know ports: two pages at the same time have cookies of different names.
            cookie_name: format!("keelson-ui-{port}"),
            cookie: random()?,
            token: Mutex::new(random()?),
            announce,
        };
        session.announce_token();
        Ok(session)
    }

    fn announce_token(&self) {
        let address = format!("http://{}/?token={}", self.hosts[0], self.token.lock());
        (self.announce)(&address);
    }

    /// Whether the request is for this page, and not for a name of somebody else.
    pub fn is_host(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        host.is_some_and(|host| self.hosts.iter().any(|own| own == host))
    }

    /// Whether the browser says that a page of another origin makes the request. Older browsers do not say it.
    pub fn is_from_elsewhere(headers: &HeaderMap) -> bool {
        // Somebody who follows a link comes from elsewhere, too: without the cookie, which is strict.
        is_of_other_site(headers) && !is_navigation(headers)
    }

    /// Whether somebody follows a link on another site. The cookie is not sent with it, but with what follows.
    pub fn is_link_from_elsewhere(headers: &HeaderMap) -> bool {
        is_of_other_site(headers) && is_navigation(headers)
    }

    /// Whether the request has the cookie.
    pub fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == self.cookie_name && is_equal(value, &self.cookie))
    }

    /// Exchanges a token for the `Set-Cookie` header; `None`: it is wrong, or was used. The next one is announced.
    pub fn exchange(&self, token: &str) -> Option<String> {
        {
            let mut current = self.token.lock();
            if !is_equal(token, &current) {
                return None;
            }
            *current = random().ok()?;
        }
        self.announce_token();
        Some(format!("{}={}; HttpOnly; SameSite=Strict; Path=/", self.cookie_name, self.cookie))
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_of_other_site(headers: &HeaderMap) -> bool {
    matches!(text_of(headers, "sec-fetch-site"), "cross-site" | "same-site")
}

fn is_navigation(headers: &HeaderMap) -> bool {
    text_of(headers, "sec-fetch-mode") == "navigate" && text_of(headers, "sec-fetch-dest") == "document"
}

/// Compares in a time that does not depend on where they differ.
fn is_equal(a: &str, b: &str) -> bool {
    Sha256::digest(a) == Sha256::digest(b)
}

fn random() -> std::io::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::HeaderValue;

    use super::*;

    fn session() -> (Session, Arc<Mutex<Vec<String>>>) {
        let announced = Arc::new(Mutex::new(Vec::new()));
        let store = Arc::clone(&announced);
        let announce = Box::new(move |address: &str| store.lock().push(address.to_owned()));
        (Session::new("127.0.0.1:8080".parse().unwrap(), announce).unwrap(), announced)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn token_is_exchanged_once_for_the_cookie() {
        let (session, announced) = session();
        let first = announced.lock()[0].clone();
        let token = first.strip_prefix("http://127.0.0.1:8080/?token=").unwrap().to_owned();
        assert_eq!(token.len(), 64);
        assert_eq!(session.exchange("guess"), None);
        let cookie = session.exchange(&token).unwrap();
        assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/") && !cookie.contains(&token), "{cookie}");
        assert_eq!(session.exchange(&token), None, "a token is valid once");
        assert_eq!(announced.lock().len(), 2, "the next one is announced");
        let pair = cookie.split(';').next().unwrap();
        assert!(session.has_cookie(&headers(&[("cookie", &format!("other=1; {pair}"))])));
        for wrong in ["", "keelson-ui-8080=", "keelson-ui-8081=x", &format!("{pair}0")] {
            assert!(!session.has_cookie(&headers(&[("cookie", wrong)])), "{wrong}");
        }
    }

    #[test]
    fn other_hosts_and_origins_are_recognised() {
        let (session, _) = session();
        for (host, own) in
            [("127.0.0.1:8080", true), ("localhost:8080", true), ("evil.example:8080", false), ("127.0.0.1", false)]
        {
            assert_eq!(session.is_host(&headers(&[("host", host)])), own, "{host}");
        }
        assert!(!session.is_host(&HeaderMap::new()));
        let fetch =
            |site, mode, dest| headers(&[("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)]);
        assert!(Session::is_from_elsewhere(&fetch("cross-site", "no-cors", "script")));
        assert!(Session::is_from_elsewhere(&fetch("same-site", "cors", "empty")));
        assert!(Session::is_from_elsewhere(&fetch("cross-site", "navigate", "iframe")));
        for allowed in [fetch("same-origin", "cors", "empty"), fetch("none", "navigate", "document"), HeaderMap::new()]
        {
            assert!(!Session::is_from_elsewhere(&allowed));
        }
    }
}
