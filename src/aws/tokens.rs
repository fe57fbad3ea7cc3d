//! Client tokens: the same step of the same generation always has the same token, so that a repeated create is
//! idempotent. Pure.

use sha2::{Digest, Sha256};

/// A token of 64 hexadecimal digits, which every AWS API with client tokens accepts.
///
/// `uid` is that of the object, `attempt` its generation or the number of a deliberate repetition (after a failed NAT
/// gateway, for example), `step` the key in the graph.
pub fn client_token(uid: &str, attempt: u64, step: &str) -> String {
    let mut hash = Sha256::new();
    // Lengths first: ("ab", "c") and ("a", "bc") are different steps.
    for part in [uid.as_bytes(), &attempt.to_be_bytes(), step.as_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn token_is_stable_across_releases() {
        // A change of this value would create a second NAT gateway if the operator is upgraded during a create.
        assert_eq!(
            client_token("0b6ff0f7-7a2b-4c1e-8c4e-0d6d1f6f2a11", 1, "nat-gateway/eu-west-1a"),
            "71e899cb27afc5782233832c6ccd558c5f6ec5346cff6231abc7d10ee61796bf"
        );
    }

    proptest! {
        #[test]
        fn tokens_fit_aws_and_differ_for_different_input(
            a in ("[a-f0-9-]{0,40}", 0u64..4, "[a-z/0-9-]{0,200}"),
            b in ("[a-f0-9-]{0,40}", 0u64..4, "[a-z/0-9-]{0,200}"),
        ) {
            let (x, y) = (client_token(&a.0, a.1, &a.2), client_token(&b.0, b.1, &b.2));
            prop_assert_eq!(x.len(), 64);
            prop_assert!(x.bytes().all(|c| c.is_ascii_hexdigit()));
            prop_assert_eq!(x == y, a == b);
        }
    }
}
