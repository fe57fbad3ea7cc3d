//! Tracing setup: JSON for machines, readable lines on a terminal, no secrets in either. I/O: standard error.

use std::io::{self, IsTerminal};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use super::log_format::WithTraceIds;
use super::redact::Redacting;
use super::traces::{self, Traces};

/// Format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Text,
}

impl Format {
    /// Text on a terminal; JSON elsewhere, and always in a cluster.
    pub fn detect() -> Self {
        let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        if io::stderr().is_terminal() && !in_cluster { Format::Text } else { Format::Json }
    }
}

/// Libraries that log each request; `RUST_LOG` can enable them.
const DEFAULT_FILTER: &str = "aws_config=warn,aws_sdk_ec2=warn,aws_sdk_eks=warn,aws_sdk_iam=warn,\
                              aws_sdk_sts=warn,aws_smithy_runtime=warn,aws_runtime=warn,hyper=warn,\
                              hyper_util=warn,rustls=warn,tower=warn,h2=warn,kube_client=info,\
                              kube_runtime=info";

/// Their debug lines contain signed requests, headers and session tokens: no level and no `RUST_LOG` enables them.
const NEVER_VERBOSE: [&str; 8] =
    ["aws_sigv4", "aws_smithy", "aws_sdk", "aws_config", "aws_runtime", "aws_credential", "hyper", "h2"];

/// Its warnings quote complete bodies that could not be parsed, and a body can be a Secret; the error is also returned
/// to the caller. The crates below it (TLS, retries) quote nothing.
const QUOTES_BODIES: &str = "kube_client::client";

/// Sets the process's subscriber: log lines, and the spans of `traces`. `level` (a level or `RUST_LOG` syntax) takes
/// precedence over `RUST_LOG`; the default is `info`.
///
/// # Errors
/// When `level` cannot be parsed, or a subscriber is already set.
pub fn init(level: Option<&str>, format: Format, traces: &Traces) -> Result<(), SetupError> {
    let level = level.map(str::to_owned).or_else(|| std::env::var("RUST_LOG").ok().filter(|l| !l.is_empty()));
    let lines = layer(level.as_deref().unwrap_or("info"), format, io::stderr)?;
    let layers: Vec<_> = std::iter::once(lines).chain(traces.layer()).collect();
    tracing_subscriber::registry().with(layers).try_init()?;
    Ok(())
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(
        "invalid log level: {0}; give a level (error, warn, info, debug, trace) or directives such as \
         keelson=debug,kube=info"
    )]
    Level(#[from] tracing_subscriber::filter::ParseError),
    #[error(transparent)]
    Set(#[from] tracing_subscriber::util::TryInitError),
}

pub(super) fn layer<W>(
    level: &str,
    format: Format,
    writer: W,
) -> Result<Box<dyn Layer<Registry> + Send + Sync>, SetupError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // The user's filter comes last and takes precedence.
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(format!("{DEFAULT_FILTER},{level}"))?;
    let fixed_limits = filter_fn(|meta| {
        let max = match meta.target() {
            // Spans of traces are exported, not logged.
            traces::TARGET => return false,
            QUOTES_BODIES => Level::ERROR,
            target if NEVER_VERBOSE.iter().any(|crate_name| target.starts_with(crate_name)) => Level::INFO,
            _ => Level::TRACE,
        };
        *meta.level() <= max
    });
    let filter = filter.and(fixed_limits);
    let writer = RedactingWriter(writer);
    Ok(match format {
        Format::Json => {
            let lines = tracing_subscriber::fmt::layer().json().flatten_event(true);
            lines.map_event_format(WithTraceIds).with_writer(writer).with_filter(filter).boxed()
        }
        Format::Text => tracing_subscriber::fmt::layer()
            .with_target(false)
            .with_ansi(io::stderr().is_terminal())
            .with_writer(writer)
            .with_filter(filter)
            .boxed(),
    })
}

struct RedactingWriter<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for RedactingWriter<W> {
    type Writer = Redacting<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Redacting(self.0.make_writer())
    }

    fn make_writer_for(&'w self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        Redacting(self.0.make_writer_for(meta))
    }
}

/// Captured logs, for tests.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Captured(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Captured {
    /// Captures the logs of this thread at `level` until the guard is dropped.
    pub(crate) fn start(level: &str, format: Format) -> (Self, tracing::subscriber::DefaultGuard) {
        let captured = Captured::default();
        let writer = captured.clone();
        let layer = layer(level, format, move || writer.clone()).expect("the level parses");
        (captured, tracing::subscriber::set_default(tracing_subscriber::registry().with(layer)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("logs are text")
    }
}

#[cfg(test)]
impl io::Write for Captured {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(level: &str, format: Format, log: impl FnOnce()) -> String {
        let (captured, guard) = Captured::start(level, format);
        log();
        drop(guard);
        captured.text()
    }

    #[test]
    fn json_lines_carry_the_fields_and_no_secret() {
        let text = capture("info", Format::Json, || {
            tracing::info!(action = "CreateVpc", token = "k8s-aws-v1.c2VjcmV0", "called");
        });
        let line: serde_json::Value = serde_json::from_str(text.trim()).expect("a line of JSON");
        assert_eq!(line["action"], "CreateVpc");
        assert!(!text.contains("c2VjcmV0"), "{text}");
    }

    #[test]
    fn request_signer_never_logs_secrets() {
        for level in ["trace", "aws_sigv4=trace,aws_sigv4::http_request=trace", "aws_smithy_runtime=debug"] {
            let text = capture(level, Format::Text, || {
                tracing::trace!(target: "aws_sigv4::http_request", "canonical request with SECRET");
                tracing::debug!(target: "aws_smithy_runtime::client", "SECRET");
            });
            assert!(!text.contains("SECRET"), "{level}: {text}");
        }
    }

    #[test]
    fn kubernetes_client_never_logs_bodies() {
        for level in ["info", "trace", "kube_client::client=trace"] {
            let text = capture(level, Format::Text, || {
                tracing::warn!(target: "kube_client::client", "{{\"data\":\"SECRET\"}}, not a Secret");
                tracing::error!(target: "kube_client::client", "broken");
                tracing::warn!(target: "kube_client::client::tls", "stale roots");
            });
            assert!(!text.contains("SECRET"), "{level}: {text}");
            assert!(text.contains("broken") && text.contains("stale roots"), "{level}: {text}");
        }
    }

    #[test]
    fn configured_level_applies() {
        let text = capture("keelson=debug", Format::Text, || {
            tracing::debug!(target: "keelson::aws", "logged");
            tracing::trace!(target: "keelson::aws", "hidden");
        });
        assert!(text.contains("logged") && !text.contains("hidden"), "{text}");
    }

    /// JSON whose objects must not contain duplicate keys.
    struct Unique;

    impl<'de> serde::Deserialize<'de> for Unique {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Unique;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("JSON")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                    let mut keys = std::collections::BTreeSet::new();
                    while let Some((key, Unique)) = map.next_entry::<String, Unique>()? {
                        if let Some(duplicate) = keys.replace(key) {
                            return Err(serde::de::Error::custom(format!("{duplicate} is there twice")));
                        }
                    }
                    Ok(Unique)
                }
                fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Unique, A::Error> {
                    while list.next_element::<Unique>()?.is_some() {}
                    Ok(Unique)
                }
                fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
                    Ok(Unique)
                }
                fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
                    Ok(Unique)
                }
                fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
                    Ok(Unique)
                }
                fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
                    Ok(Unique)
                }
                fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
                    Ok(Unique)
                }
                fn visit_unit<E>(self) -> Result<Unique, E> {
                    Ok(Unique)
                }
            }
            deserializer.deserialize_any(Visitor)
        }
    }

    #[test]
    fn json_line_within_a_span_has_unique_keys() {
        let text = capture("info", Format::Json, || {
            let object_name = "demo";
            let _entered = tracing::info_span!("reconcile", kind = "EksCluster", object_name).entered();
            tracing::warn!(action = "CreateVpc", details = "denied", "AWS call");
        });
        serde_json::from_str::<Unique>(text.trim()).expect("no duplicate keys");
        assert!(serde_json::from_str::<Unique>(r#"{"a": {"b": 1, "b": 2}}"#).is_err());
    }

    /// Keys that tracing adds to each line: a field of that name would appear twice.
    #[test]
    fn no_log_field_has_a_reserved_name() {
        let macros = regex::Regex::new(
            r#"(?s)tracing::(info_span|error_span|error|warn|info|debug|trace)!\((.*?)\)(;|\.| ?\})"#,
        )
        .expect("it parses");
        let strings = regex::Regex::new(r#""(\\.|[^"\\])*""#).expect("it parses");
        let mut found = 0;
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("source is readable") {
                let path = entry.expect("source is readable").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                for one in macros.captures_iter(&text) {
                    found += 1;
                    let (kind, body) = (&one[1], strings.replace_all(&one[2], "TEXT"));
                    let fields = body.split(',').map(|field| field.split('=').next().unwrap_or_default());
                    let fields: Vec<&str> = fields.map(|field| field.trim().trim_start_matches(['%', '?'])).collect();
                    let with_text = fields.contains(&"TEXT");
                    let reserved = |name: &&&str| match **name {
                        "name" => kind.ends_with("span"),
                        "message" => with_text,
                        other => ["timestamp", "level", "target", "span", "spans"].contains(&other),
                    };
                    let duplicate = fields.iter().find(reserved);
                    assert!(duplicate.is_none(), "{}: {duplicate:?} in {}", path.display(), &one[0]);
                }
            }
        }
        assert!(found > 50, "the test no longer finds the macros: {found}");
    }
}
