//! An object as the page keeps it: compressed, since a fleet has thousands of which somebody opens a few. Pure.

use std::io::Write as _;
use std::marker::PhantomData;
use std::sync::Arc;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An object that is kept.
pub struct Stored<K>(Form<K>);

enum Form<K> {
    /// Somebody else holds it anyway.
    Shared(Arc<K>),
    /// Its JSON.
    Compressed(Box<[u8]>, PhantomData<fn() -> K>),
}

impl<K: Serialize + DeserializeOwned> Stored<K> {
    /// An object that only the page holds.
    pub fn compressed(object: K) -> Self {
        match compress(&object) {
            Some(bytes) => Self(Form::Compressed(bytes, PhantomData)),
            None => Self::shared(Arc::new(object)),
        }
    }

    /// An object that is in memory in any case.
    pub fn shared(object: Arc<K>) -> Self {
        Self(Form::Shared(object))
    }

    /// The object, decoded if it is compressed; `None`: it cannot be decoded.
    pub fn object(&self) -> Option<Arc<K>> {
        match &self.0 {
            Form::Shared(object) => Some(Arc::clone(object)),
            Form::Compressed(bytes, _) => {
                let decoded = serde_json::from_reader(std::io::BufReader::new(DeflateDecoder::new(&**bytes)));
                decoded
                    .map(Arc::new)
                    .inspect_err(|error| tracing::error!(%error, "a kept object cannot be decoded"))
                    .ok()
            }
        }
    }
}

fn compress(object: &impl Serialize) -> Option<Box<[u8]>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&serde_json::to_vec(object).ok()?).ok()?;
    Some(encoder.finish().ok()?.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EksCluster;
    use crate::page::tests::ready;

    #[test]
    fn compressed_object_is_small_and_comes_back_as_it_was() {
        let mut cluster = ready("team-a", "shop");
        let condition = cluster.status.as_ref().unwrap().conditions[0].clone();
        cluster.status.as_mut().unwrap().conditions = vec![condition; 40];
        let json = serde_json::to_value(&cluster).unwrap();
        let stored = Stored::compressed(cluster);
        let Form::Compressed(bytes, _) = &stored.0 else { panic!("not compressed") };
        assert!(bytes.len() * 4 < json.to_string().len(), "{} bytes", bytes.len());
        assert_eq!(serde_json::to_value(&*stored.object().unwrap()).unwrap(), json);
    }

    #[test]
    fn object_that_somebody_else_holds_is_not_copied() {
        let object: Arc<EksCluster> = Arc::new(ready("team-a", "shop"));
        assert!(Arc::ptr_eq(&Stored::shared(Arc::clone(&object)).object().unwrap(), &object));
    }
}
