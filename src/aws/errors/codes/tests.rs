//! Which row of the tables applies, and what each row must be.

use super::*;
use Service::{Ec2, Eks, Iam};

use crate::engine::Class;

#[test]
fn message_decides_before_the_code_and_the_service_before_all() {
    let class = |service, code, message| find(service, code, message).map(|row| row.class);
    assert_eq!(class(Eks, "InvalidStateException", ""), Some(Class::Invalid));
    assert_eq!(class(Ec2, "InvalidState", ""), Some(Class::Busy));
    assert_eq!(class(Iam, "InvalidState", ""), None);
    assert_eq!(class(Ec2, "InvalidParameterValue", "Interface eni-1 is currently IN USE."), Some(Class::Busy));
    assert_eq!(class(Ec2, "Whatever", "Rate exceeded"), Some(Class::Throttled));
}

/// Otherwise the second one would never apply.
#[test]
fn each_code_of_a_service_has_one_row_without_phrases() {
    let mut seen = std::collections::BTreeSet::new();
    for row in TABLES.iter().flat_map(|(_, rows)| rows.iter()).filter(|row| row.phrases.is_empty()) {
        for code in row.codes {
            let services: Vec<_> = row.services.iter().map(|service| Some(*service)).collect();
            let services = if services.is_empty() { vec![None] } else { services };
            for service in services {
                assert!(seen.insert((service, *code)), "{code} of {service:?}");
            }
        }
    }
}

#[test]
fn advice_is_a_sentence_without_its_full_stop() {
    for row in TABLES.iter().flat_map(|(_, rows)| rows.iter()) {
        if let Advice::Do(text) = row.advice {
            assert!(text.starts_with(|c: char| c.is_uppercase() || c == '`') && !text.ends_with('.'), "{text}");
            assert!(!text.contains("  "), "{text}");
        }
        assert!(row.phrases.iter().all(|phrase| *phrase == phrase.to_lowercase()), "{:?}", row.phrases);
    }
}
