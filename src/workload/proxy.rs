//! The proxy to workload clusters, and its exceptions.
//!
//! Not allowed here: clients. No I/O except the environment, read once at startup.

use std::fmt;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

/// Environment variables of proxies, as curl and the AWS SDK read them; the first that is set counts.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// Environment variables of names and ranges without proxy.
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];
const SCHEMES: [&str; 3] = ["http", "https", "socks5"];

/// A proxy and its exceptions. Printed without the password.
#[derive(Clone)]
pub struct Proxy {
    /// With user and password.
    url: Uri,
    /// Comma separated, as `NO_PROXY`.
    except: String,
}

impl Proxy {
    /// Reads a proxy's URL: `http://[USER:PASSWORD@]HOST:PORT`, `https://` or `socks5://`.
    pub fn parse(text: &str, except: &str) -> Result<Self, String> {
        let written = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        // The parser's error is dropped: it could quote a password.
        let url: Uri = written.parse().map_err(|_| "not a URL: write http://HOST:PORT".to_owned())?;
        match (url.scheme_str(), url.host()) {
            (_, None | Some("")) => Err("the URL has no host: write http://HOST:PORT".to_owned()),
            (Some(scheme), Some(_)) if SCHEMES.contains(&scheme) => Ok(Self { url, except: except.to_owned() }),
            (scheme, _) => Err(format!(
                "{} is no proxy that can be used: write http://, https:// or socks5://",
                scheme.unwrap_or("this")
            )),
        }
    }

    /// The proxy of the flag, or else of the environment. `NO_PROXY` applies to both.
    ///
    /// # Errors
    /// Which value is invalid, and why.
    pub fn of(named: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| Some((*name, variable(name).filter(|text| !text.trim().is_empty())?)))
        };
        let (from, text) = match named.filter(|text| !text.is_empty()) {
            Some(text) => ("--workload-proxy", text.to_owned()),
            None => match first(&VARIABLES) {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        let except = first(&EXCEPTIONS).map(|(_, text)| text).unwrap_or_default();
        Self::parse(text.trim(), &except).map(Some).map_err(|why| format!("{from}: {why}"))
    }

    /// The proxy's URL for a destination, unless that is an exception.
    pub fn to(&self, destination: &Uri) -> Option<&Uri> {
        let matcher = Matcher::builder().all(self.url.to_string()).no(self.except.clone()).build();
        matcher.intercept(destination).map(|_| &self.url)
    }
}

/// Scheme, host and port, for messages.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "{}://{}{port}", self.url.scheme_str().unwrap_or("http"), self.url.host().unwrap_or_default())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} except {:?}", self.except)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(named: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<Proxy>, String> {
        let find = |name: &str| Some(variables.iter().find(|(found, _)| *found == name)?.1.to_owned());
        Proxy::of(named, find)
    }

    #[test]
    fn flag_takes_precedence_over_the_environment() {
        let environment = [("HTTPS_PROXY", "http://of-all:3128"), ("NO_PROXY", "10.0.0.0/8")];
        let named = of(Some("http://of-clusters:3128"), &environment).unwrap().unwrap();
        assert_eq!(named.to_string(), "http://of-clusters:3128");
        assert_eq!(of(None, &environment).unwrap().unwrap().to_string(), "http://of-all:3128");
        assert_eq!(of(Some(""), &environment).unwrap().unwrap().to_string(), "http://of-all:3128");
        assert!(of(None, &[("HTTPS_PROXY", ""), ("NO_PROXY", "x")]).unwrap().is_none());
        assert_eq!(of(None, &[("all_proxy", "proxy:1080")]).unwrap().unwrap().to_string(), "http://proxy:1080");
    }

    #[test]
    fn exceptions_are_reached_directly() {
        let except = "10.20.0.0/16, .internal.acme.example,127.0.0.1";
        let proxy = Proxy::parse("http://user:pass@proxy:3128", except).unwrap();
        for (endpoint, through) in [
            ("https://ABC.gr7.eu-west-1.eks.amazonaws.com", true),
            ("https://api.internal.acme.example:6443", false),
            ("https://10.20.3.4", false),
            ("https://10.21.3.4", true),
            ("https://127.0.0.1:6443", false),
        ] {
            assert_eq!(proxy.to(&endpoint.parse().unwrap()).is_some(), through, "{endpoint}");
        }
        assert!(Proxy::parse("http://proxy", "*").unwrap().to(&"https://a.example".parse().unwrap()).is_none());
    }

    #[test]
    fn invalid_proxy_is_rejected_without_quoting_a_password() {
        for bad in ["ftp://user:s3cr3t@proxy", "http://", "http://user:s3cr3t@", "http://user:s3cr3t@pro xy:1"] {
            let why = of(Some(bad), &[]).unwrap_err();
            assert!(why.starts_with("--workload-proxy: ") && !why.contains("s3cr3t"), "{why}");
        }
        let why = of(None, &[("https_proxy", "file:///etc")]).unwrap_err();
        assert!(why.starts_with("https_proxy: "), "{why}");
        let proxy = Proxy::parse("http://user:s3cr3t@proxy:3128", "").unwrap();
        assert!(!format!("{proxy} {proxy:?}").contains("s3cr3t"));
        assert!(proxy.to(&"https://a.example".parse().unwrap()).unwrap().to_string().contains("s3cr3t"));
    }
}
