//! Lists and numbers in messages: the first few items, how many more there are, and nouns in the right number. No I/O.

use std::fmt::Display;

/// The first `most` of `items`, and the number of the others: `a, b and 3 more`.
pub fn first_few<T: Display>(items: impl IntoIterator<Item = T>, most: usize) -> String {
    first_few_joined(items, most, ", ", " and ")
}

/// The same for items that contain commas. `before_rest` stands before the number of the others.
pub fn first_few_joined<T: Display>(
    items: impl IntoIterator<Item = T>,
    most: usize,
    separator: &str,
    before_rest: &str,
) -> String {
    let mut items = items.into_iter();
    let named: Vec<String> = items.by_ref().take(most).map(|item| item.to_string()).collect();
    with_rest(named.join(separator), items.count(), before_rest)
}

/// `1 step`, `2 steps`: the number, and the noun in its number.
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let ending = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// The first item, and the number of the others in brackets: `a (and 3 more)`. For items that are sentences.
pub fn first_and_count(first: impl Display, others: usize) -> String {
    if others == 0 { first.to_string() } else { format!("{first} (and {others} more)") }
}

/// `named` and the number of the others, if there are any.
pub fn with_rest(named: String, rest: usize, before_rest: &str) -> String {
    if rest == 0 { named } else { format!("{named}{before_rest}{rest} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([counted(0, "node"), counted(1, "node"), counted(2, "node")], ["0 nodes", "1 node", "2 nodes"]);
        assert_eq!(counted(1_usize, "add-on"), "1 add-on");
    }

    #[test]
    fn a_few_items_are_named_and_the_rest_is_counted() {
        assert_eq!(first_few([1, 2, 3], 3), "1, 2, 3");
        assert_eq!(first_few([1, 2, 3, 4, 5], 3), "1, 2, 3 and 2 more");
        assert_eq!(first_few_joined(["a, b", "c"], 1, "; ", "; and "), "a, b; and 1 more");
        assert_eq!(first_few(Vec::<u8>::new(), 3), "");
        assert_eq!([first_and_count("a: b", 0), first_and_count("a: b", 2)], ["a: b", "a: b (and 2 more)"]);
    }
}
