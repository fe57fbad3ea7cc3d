//! Responses of Prometheus' HTTP API. Pure.

use http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::rollout::Outcome;
use crate::workload::error::bounded;

/// Longest quote of a server's message.
const MAX_MESSAGE: usize = 160;

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar((IgnoredAny, String)),
    Vector(Vec<Series>),
    Matrix(IgnoredAny),
    String(IgnoredAny),
}

#[derive(Deserialize)]
struct Series {
    /// `None`: a histogram.
    value: Option<(IgnoredAny, String)>,
}

/// The outcome of an instant query.
pub fn outcome(status: StatusCode, body: &[u8]) -> Outcome {
    match value(status, body) {
        Ok(value) => Outcome::Value(value),
        Err(why) => Outcome::Error(why),
    }
}

fn value(status: StatusCode, body: &[u8]) -> Result<f64, String> {
    let parsed: Result<Response, _> = serde_json::from_slice(body);
    if status.is_redirection() {
        return Err(format!("the server answered {status}: a redirect is not followed"));
    }
    if !status.is_success() {
        let text = match parsed {
            Ok(Response { error: Some(error), .. }) => error,
            _ => String::from_utf8_lossy(body.get(..4096).unwrap_or(body)).into_owned(),
        };
        return Err(format!("the server answered {status}: {}", bounded(&text, MAX_MESSAGE)));
    }
    // Only the position: the parser's message quotes the value.
    let parsed = parsed.map_err(|error| {
        format!("the answer is not that of Prometheus (line {}, column {})", error.line(), error.column())
    })?;
    let data = parsed.data.ok_or_else(|| "the answer has no data".to_owned())?;
    let text = match data {
        Data::Scalar((_, text)) => text,
        Data::Vector(series) => match series.as_slice() {
            [] => return Err("no data".to_owned()),
            [Series { value: Some((_, text)) }] => text.clone(),
            [Series { value: None }] => return Err("the query returned a histogram instead of a number".to_owned()),
            several => {
                let number = several.len();
                return Err(format!("the query returned {number} series: aggregate them to one, as with max(...)"));
            }
        },
        Data::Matrix(_) => return Err("the query returned a range instead of a number".to_owned()),
        Data::String(_) => return Err("the query returned a text instead of a number".to_owned()),
    };
    // Prometheus writes NaN, +Inf and -Inf, which are parsed: the policy refuses them.
    text.parse().map_err(|_| "the query returned no number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(status: u16, body: &Value) -> Result<f64, String> {
        value(StatusCode::from_u16(status).unwrap(), body.to_string().as_bytes())
    }

    fn data(kind: &str, result: &Value) -> Result<f64, String> {
        of(200, &json!({"status": "success", "data": {"resultType": kind, "result": result}}))
    }

    #[test]
    fn one_number_is_a_value() {
        assert_eq!(data("scalar", &json!([1_764_520_000.5, "0.25"])), Ok(0.25));
        assert_eq!(data("vector", &json!([{"metric": {"a": "b"}, "value": [1_764_520_000, "3"]}])), Ok(3.0));
        assert!(data("scalar", &json!([1, "NaN"])).unwrap().is_nan());
        assert_eq!(data("scalar", &json!([1, "+Inf"])), Ok(f64::INFINITY));
    }

    #[test]
    fn everything_else_is_an_error() {
        assert_eq!(data("vector", &json!([])).unwrap_err(), "no data");
        let two = json!([{"metric": {}, "value": [1, "1"]}, {"metric": {}, "value": [1, "2"]}]);
        assert!(data("vector", &two).unwrap_err().contains("2 series"));
        assert!(data("vector", &json!([{"metric": {}, "histogram": [1, {}]}])).unwrap_err().contains("histogram"));
        assert!(data("matrix", &json!([])).unwrap_err().contains("range"));
        assert!(data("string", &json!([1, "a"])).unwrap_err().contains("text"));
        assert!(data("scalar", &json!([1, "one"])).is_err());
        assert!(of(200, &json!({"status": "success"})).unwrap_err().contains("no data"));
        assert!(of(200, &json!("s3cr3t")).unwrap_err().contains("not that of Prometheus (line 1"));
        let refused =
            of(400, &json!({"status": "error", "errorType": "bad_data", "error": "parse error: unexpected end"}));
        assert_eq!(refused.unwrap_err(), "the server answered 400 Bad Request: parse error: unexpected end");
        assert!(of(302, &json!({})).unwrap_err().contains("not followed"));
        let page = value(StatusCode::BAD_GATEWAY, "x".repeat(9000).as_bytes()).unwrap_err();
        assert!(page.len() < 220 && page.contains("502"), "{page}");
    }
}
