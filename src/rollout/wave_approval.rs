//! Approvals of waves: bound to a hash of the version, the wave and its clusters that wait. Pure.

use sha2::{Digest, Sha256};

use super::member::Member;
use super::request::Step;

/// Hexadecimal digits of a hash that a person approves.
const HASH_BYTES: usize = 8;
/// The same of a UID in the list of approved clusters.
const DIGEST_BYTES: usize = 4;

fn hex(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// What is kept of an approved cluster.
pub fn digest(uid: &str) -> String {
    hex(uid, DIGEST_BYTES)
}

/// The hash that lets these clusters begin. It changes when another cluster joins them or one leaves.
pub fn hash(step: Step, wave: &str, waiting: &[&Member]) -> String {
    let mut uids: Vec<&str> = waiting.iter().map(|member| member.uid.as_str()).collect();
    uids.sort_unstable();
    hex(&format!("{step} {wave} {}", uids.join(" ")), HASH_BYTES)
}

/// Whether an annotation contains the word: several are separated by spaces or commas.
pub fn contains(annotation: Option<&str>, word: &str) -> bool {
    annotation.into_iter().flat_map(|text| text.split([' ', ',', '\n'])).any(|one| one == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotation_may_contain_several_words() {
        assert!(contains(Some("a, b c"), "b") && contains(Some("a\nb"), "b"));
        assert!(!contains(Some("ab"), "b") && !contains(None, "b"));
    }
}
