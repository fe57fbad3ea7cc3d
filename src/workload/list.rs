//! Lists objects in a workload cluster page by page, and keeps only the fields of `T`.
//!
//! Not allowed here: what is done with them. I/O: the workload cluster's API, reads only.
//!
//! A list is bounded as a whole: in pages, bytes, objects and time. Objects are passed on while a page is parsed, so
//! that only one of them is in memory besides the text. A page that is too large is requested again with fewer objects.

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
/// Timeout of a list: less than that of a reconcile.
const TIMEOUT: Duration = if cfg!(test) { Duration::from_secs(10) } else { Duration::from_secs(50) };
/// Divides the page size when a page was too large.
const SHRINK_FACTOR: u32 = 5;
/// Memory of the kept objects of one list, in bytes.
const MAX_MEMORY: usize = 16 << 20;

#[derive(Deserialize, Default)]
#[serde(default)]
struct PageMetadata {
    #[serde(rename = "continue", deserialize_with = "truncated")]
    next: String,
}

/// How much of a list has been read.
#[derive(Default)]
struct Usage {
    bytes: usize,
    objects: usize,
    pages: usize,
}

impl Usage {
    /// The limit that is exceeded, if any.
    fn excess(&self) -> Option<String> {
        if self.bytes > MAX_BYTES {
            Some(format!("the list is larger than {} MiB", MAX_BYTES >> 20))
        } else if self.objects > MAX_OBJECTS {
            Some(format!("the list has more than {MAX_OBJECTS} objects"))
        } else {
            (self.pages > MAX_PAGES).then(|| format!("the list has more than {MAX_PAGES} pages"))
        }
    }
}

/// Calls `on_object` for every object until it returns [`Flow::Stop`]. A kind that is not served has no objects.
pub async fn for_each<T: DeserializeOwned>(
    client: &Client,
    (api_version, kind): (&str, &str),
    namespace: Option<&str>,
    parameters: &ListParams,
    page: u32,
    on_object: impl FnMut(T) -> ListFlow,
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
    on_object: impl FnMut(T) -> ListFlow,
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
    mut on_object: impl FnMut(T) -> ListFlow,
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
                Ok((_, ListFlow::Stop)) => return Ok(()),
                Ok((_, ListFlow::Continue)) if usage.excess().is_some() => continue,
                Ok((next, ListFlow::Continue)) => next,
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
    all.unwrap_or_else(|_| Err(of_kind(&format!("the list takes longer than {} s", TIMEOUT.as_secs()))))
}

/// Whether to continue a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFlow {
    Continue,
    Stop,
}

/// The approximate memory of a kept object, without its own size.
pub trait MemorySize {
    fn size(&self) -> usize;
}

/// All objects of a kind, reduced to the fields of `T`.
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
            return ListFlow::Stop;
        }
        found.push(item);
        ListFlow::Continue
    })
    .await?;
    if kept > MAX_MEMORY {
        return Err(CallError::TooLarge(format!(
            "{}: the objects need more than {} MiB of memory",
            kind.1,
            MAX_MEMORY >> 20
        )));
    }
    Ok(found)
}

/// A page of a list, whose objects are passed to `on_object` one by one. Returns the token for the next page.
struct Page<'p, T, F> {
    on_object: &'p mut F,
    objects: &'p mut usize,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> ListFlow> DeserializeSeed<'de> for Page<'_, T, F> {
    type Value = (String, ListFlow);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> ListFlow> Visitor<'de> for Page<'_, T, F> {
    type Value = (String, ListFlow);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut next, mut flow) = (String::new(), ListFlow::Continue);
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

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> ListFlow> DeserializeSeed<'de> for Items<'_, T, F> {
    type Value = ListFlow;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ListFlow, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> ListFlow> Visitor<'de> for Items<'_, T, F> {
    type Value = ListFlow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the objects of a list")
    }

    /// Go writes an empty list as null.
    fn visit_unit<E>(self) -> Result<ListFlow, E> {
        Ok(ListFlow::Continue)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ListFlow, A::Error> {
        while let Some(item) = items.next_element::<T>()? {
            *self.objects += 1;
            if *self.objects > MAX_OBJECTS || (self.on_object)(item) == ListFlow::Stop {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                // Over the limit: reported before the next page.
                return Ok(if *self.objects > MAX_OBJECTS { ListFlow::Continue } else { ListFlow::Stop });
            }
        }
        Ok(ListFlow::Continue)
    }
}

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod tests;
