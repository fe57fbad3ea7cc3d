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
use super::kept::truncated;
use super::object::collection;

/// Bytes of all pages of a list.
const MAX_BYTES: usize = 128 << 20;
/// Objects of a list: more than etcd holds of most kinds.
const MAX_OBJECTS: usize = 50_000;
const MAX_PAGES: usize = 2000;
/// How long a list may take: less than a pass.
const TIMEOUT: Duration = if cfg!(test) { Duration::from_secs(10) } else { Duration::from_secs(50) };
/// By how much a page that was too large is made smaller.
const SHRINK_FACTOR: u32 = 5;
/// Bytes of what is kept of the objects of one list.
const MAX_MEMORY: usize = 16 << 20;

#[derive(Deserialize, Default)]
#[serde(default)]
struct PageMetadata {
    #[serde(rename = "continue", deserialize_with = "truncated")]
    next: String,
}

/// How much of a list was read.
#[derive(Default)]
struct Usage {
    bytes: usize,
    objects: usize,
    pages: usize,
}

impl Usage {
    /// Over the budget: what of it.
    fn excess(&self) -> Option<String> {
        if self.bytes > MAX_BYTES {
            Some(format!("they take more than {} MiB", MAX_BYTES >> 20))
        } else if self.objects > MAX_OBJECTS {
            Some(format!("there are more than {MAX_OBJECTS}"))
        } else {
            (self.pages > MAX_PAGES).then(|| format!("they come in more than {MAX_PAGES} pages"))
        }
    }
}

/// Hands every object to `on_object`, until that says that it has enough. A kind that is not served has no objects.
pub async fn for_each<T: DeserializeOwned>(
    client: &Client,
    (api_version, kind): (&str, &str),
    namespace: Option<&str>,
    parameters: &ListParams,
    page: u32,
    on_object: impl FnMut(T) -> Flow,
) -> Result<(), CallError> {
    let requests = collection(api_version, kind, namespace);
    list_pages(kind, parameters.clone().limit(page), |parameters| requests.list(parameters), client, on_object).await
}

/// The same for metadata only.
pub async fn for_each_metadata<T: DeserializeOwned>(
    client: &Client,
    (api_version, kind): (&str, &str),
    namespace: Option<&str>,
    parameters: &ListParams,
    page: u32,
    on_object: impl FnMut(T) -> Flow,
) -> Result<(), CallError> {
    let requests = collection(api_version, kind, namespace);
    list_pages(kind, parameters.clone().limit(page), |parameters| requests.list_metadata(parameters), client, on_object)
        .await
}

async fn list_pages<T: DeserializeOwned>(
    kind: &str,
    mut parameters: ListParams,
    build: impl Fn(&ListParams) -> Result<Request<Vec<u8>>, kube::core::request::Error>,
    client: &Client,
    mut on_object: impl FnMut(T) -> Flow,
) -> Result<(), CallError> {
    let of_kind = |what: &str| CallError::TooLarge(format!("{kind}: {what}"));
    let mut usage = Usage::default();
    let all = async {
        loop {
            usage.pages += 1;
            if let Some(excess) = usage.excess() {
                return Err(of_kind(&excess));
            }
            let request = build(&parameters).map_err(kube::Error::BuildRequest)?;
            let page = answer::request_with(client, request, answer::MAX_BYTES, |text| {
                usage.bytes += text.len();
                let mut parser = serde_json::Deserializer::from_slice(text);
                let page = Page { on_object: &mut on_object, objects: &mut usage.objects, of: PhantomData::<T> };
                page.deserialize(&mut parser)
            });
            let next = match page.await {
                Ok((_, Flow::Stop)) => return Ok(()),
                Ok((_, Flow::Continue)) if usage.excess().is_some() => continue,
                Ok((next, Flow::Continue)) => next,
                Err(CallError::NotFound) => return Ok(()),
                Err(CallError::TooLarge(_)) if parameters.limit.is_some_and(|limit| limit > 1) => {
                    usage.bytes += answer::MAX_BYTES;
                    parameters.limit = parameters.limit.map(|limit| (limit / SHRINK_FACTOR).max(1));
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
    let all = tokio::time::timeout(TIMEOUT, all).await;
    all.unwrap_or_else(|_| Err(of_kind(&format!("listing them takes more than {} s", TIMEOUT.as_secs()))))
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    Stop,
}

/// How much memory an object that is kept takes, about.
pub trait MemorySize {
    fn size(&self) -> usize;
}

/// All objects of a kind, as far as they are kept.
pub async fn all<T: DeserializeOwned + MemorySize>(
    client: &Client,
    kind: (&str, &str),
    namespace: Option<&str>,
    parameters: &ListParams,
    page: u32,
) -> Result<Vec<T>, CallError> {
    let (mut found, mut kept) = (Vec::new(), 0);
    for_each(client, kind, namespace, parameters, page, |item: T| {
        kept += size_of::<T>() + item.size();
        if kept > MAX_MEMORY {
            return Flow::Stop;
        }
        found.push(item);
        Flow::Continue
    })
    .await?;
    if kept > MAX_MEMORY {
        return Err(CallError::TooLarge(format!(
            "{}: what is kept of them takes more than {} MiB",
            kind.1,
            MAX_MEMORY >> 20
        )));
    }
    Ok(found)
}

/// A page of a list, whose objects go to `on_object` one by one. Comes to the token for the next page.
struct Page<'p, T, F> {
    on_object: &'p mut F,
    objects: &'p mut usize,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Flow> DeserializeSeed<'de> for Page<'_, T, F> {
    type Value = (String, Flow);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Flow> Visitor<'de> for Page<'_, T, F> {
    type Value = (String, Flow);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut next, mut flow) = (String::new(), Flow::Continue);
        let Self { on_object, objects, .. } = self;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metadata" => next = map.next_value::<PageMetadata>()?.next,
                "items" => {
                    flow = map.next_value_seed(Items {
                        on_object: &mut *on_object,
                        objects: &mut *objects,
                        of: PhantomData::<T>,
                    })?
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok((next, flow))
    }
}

struct Items<'p, T, F> {
    on_object: &'p mut F,
    objects: &'p mut usize,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Flow> DeserializeSeed<'de> for Items<'_, T, F> {
    type Value = Flow;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Flow, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Flow> Visitor<'de> for Items<'_, T, F> {
    type Value = Flow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the objects of a list")
    }

    /// Go writes an empty list so.
    fn visit_unit<E>(self) -> Result<Flow, E> {
        Ok(Flow::Continue)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Flow, A::Error> {
        while let Some(item) = items.next_element::<T>()? {
            *self.objects += 1;
            if *self.objects > MAX_OBJECTS || (self.on_object)(item) == Flow::Stop {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                // Over the budget: the next page says so.
                return Ok(if *self.objects > MAX_OBJECTS { Flow::Continue } else { Flow::Stop });
            }
        }
        Ok(Flow::Continue)
    }
}

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod tests;
