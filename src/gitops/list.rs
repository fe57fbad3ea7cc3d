//! Lists of objects in a workload cluster, page by page: of each object only the fields that `T` names are kept.
//!
//! May not enter: what is done with them. I/O: the workload cluster's API, reads only.
//!
//! A list is bounded as a whole: in pages, bytes, objects and time. Objects are handed over while a page is parsed, so that no more than one
//! of them is in memory beside the text; a page that is too large is asked for again with fewer objects.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use http::Request;
use kube::Client;
use kube::core::params::ListParams;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::answer;
use super::error::CallError;
use super::kept::short;
use super::object::collection;

/// Bytes of all pages of a list.
const MOST_BYTES: usize = 128 << 20;
/// Objects of a list: more than etcd holds of most kinds.
const MOST_OBJECTS: usize = 50_000;
const MOST_PAGES: usize = 2000;
/// How long a list may take: less than a pass.
const LONGEST: Duration = if cfg!(test) { Duration::from_secs(10) } else { Duration::from_secs(50) };
/// By how much a page that was too large is made smaller.
const SMALLER: u32 = 5;
/// Bytes of what is kept of the objects of one list.
const MOST_KEPT: usize = 16 << 20;

#[derive(Deserialize, Default)]
#[serde(default)]
struct PageMetadata {
    #[serde(rename = "continue", deserialize_with = "short")]
    next: String,
}

/// How much of a list was read.
#[derive(Default)]
struct Read {
    bytes: usize,
    objects: usize,
    pages: usize,
}

impl Read {
    /// Over the budget: what of it.
    fn excess(&self) -> Option<String> {
        if self.bytes > MOST_BYTES {
            Some(format!("they take more than {} MiB", MOST_BYTES >> 20))
        } else if self.objects > MOST_OBJECTS {
            Some(format!("there are more than {MOST_OBJECTS}"))
        } else {
            (self.pages > MOST_PAGES).then(|| format!("they come in more than {MOST_PAGES} pages"))
        }
    }
}

/// Hands every object to `each`, until that says that it has enough. A kind that is not served has no objects.
pub async fn each<T: DeserializeOwned>(
    client: &Client,
    (api_version, kind): (&str, &str),
    namespace: Option<&str>,
    parameters: &ListParams,
    page: u32,
    each: impl FnMut(T) -> Go,
) -> Result<(), CallError> {
    let requests = collection(api_version, kind, namespace);
    pages(kind, parameters.clone().limit(page), |parameters| requests.list(parameters), client, each).await
}

/// The same for metadata only.
pub async fn each_metadata<T: DeserializeOwned>(
    client: &Client,
    (api_version, kind): (&str, &str),
    namespace: Option<&str>,
    parameters: &ListParams,
    page: u32,
    each: impl FnMut(T) -> Go,
) -> Result<(), CallError> {
    let requests = collection(api_version, kind, namespace);
    pages(kind, parameters.clone().limit(page), |parameters| requests.list_metadata(parameters), client, each).await
}

async fn pages<T: DeserializeOwned>(
    kind: &str,
    mut parameters: ListParams,
    build: impl Fn(&ListParams) -> Result<Request<Vec<u8>>, kube::core::request::Error>,
    client: &Client,
    mut each: impl FnMut(T) -> Go,
) -> Result<(), CallError> {
    let of_kind = |what: &str| CallError::TooLarge(format!("{kind}: {what}"));
    let mut read = Read::default();
    let all = async {
        loop {
            read.pages += 1;
            if let Some(excess) = read.excess() {
                return Err(of_kind(&excess));
            }
            let request = build(&parameters).map_err(kube::Error::BuildRequest)?;
            let page = answer::request_with(client, request, answer::MOST, |text| {
                read.bytes += text.len();
                let mut parser = serde_json::Deserializer::from_slice(text);
                let page = Page { each: &mut each, objects: &mut read.objects, of: PhantomData::<T> };
                page.deserialize(&mut parser)
            });
            let next = match page.await {
                Ok((_, Go::Enough)) => return Ok(()),
                Ok((_, Go::On)) if read.excess().is_some() => continue,
                Ok((next, Go::On)) => next,
                Err(CallError::NotFound) => return Ok(()),
                Err(CallError::TooLarge(_)) if parameters.limit.is_some_and(|limit| limit > 1) => {
                    read.bytes += answer::MOST;
                    parameters.limit = parameters.limit.map(|limit| (limit / SMALLER).max(1));
                    continue;
                }
                Err(CallError::TooLarge(what)) => return Err(of_kind(&what)),
                Err(other) => return Err(other),
            };
            if next.is_empty() {
                return Ok(());
            }
            parameters.continue_token = Some(next);
        }
    };
    let all = tokio::time::timeout(LONGEST, all).await;
    all.unwrap_or_else(|_| Err(of_kind(&format!("listing them takes more than {} s", LONGEST.as_secs()))))
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    On,
    Enough,
}

/// How much memory an object that is kept takes, about.
pub trait Kept {
    fn size(&self) -> usize;
}

/// All objects of a kind, as far as they are kept.
pub async fn all<T: DeserializeOwned + Kept>(
    client: &Client,
    kind: (&str, &str),
    namespace: Option<&str>,
    parameters: &ListParams,
    page: u32,
) -> Result<Vec<T>, CallError> {
    let (mut found, mut kept) = (Vec::new(), 0);
    each(client, kind, namespace, parameters, page, |item: T| {
        kept += size_of::<T>() + item.size();
        if kept > MOST_KEPT {
            return Go::Enough;
        }
        found.push(item);
        Go::On
    })
    .await?;
    if kept > MOST_KEPT {
        return Err(CallError::TooLarge(format!(
            "{}: what is kept of them takes more than {} MiB",
            kind.1,
            MOST_KEPT >> 20
        )));
    }
    Ok(found)
}

/// A page of a list, whose objects go to `each` one by one. Comes to the token for the next page.
struct Page<'p, T, F> {
    each: &'p mut F,
    objects: &'p mut usize,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Go> DeserializeSeed<'de> for Page<'_, T, F> {
    type Value = (String, Go);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Go> Visitor<'de> for Page<'_, T, F> {
    type Value = (String, Go);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut next, mut go) = (String::new(), Go::On);
        let Self { each, objects, .. } = self;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metadata" => next = map.next_value::<PageMetadata>()?.next,
                "items" => {
                    go =
                        map.next_value_seed(Items { each: &mut *each, objects: &mut *objects, of: PhantomData::<T> })?
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok((next, go))
    }
}

struct Items<'p, T, F> {
    each: &'p mut F,
    objects: &'p mut usize,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Go> DeserializeSeed<'de> for Items<'_, T, F> {
    type Value = Go;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Go, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Go> Visitor<'de> for Items<'_, T, F> {
    type Value = Go;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the objects of a list")
    }

    /// Go writes an empty list so.
    fn visit_unit<E>(self) -> Result<Go, E> {
        Ok(Go::On)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Go, A::Error> {
        while let Some(item) = items.next_element::<T>()? {
            *self.objects += 1;
            if *self.objects > MOST_OBJECTS || (self.each)(item) == Go::Enough {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                // Over the budget: the next page says so.
                return Ok(if *self.objects > MOST_OBJECTS { Go::On } else { Go::Enough });
            }
        }
        Ok(Go::On)
    }
}

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod tests;
