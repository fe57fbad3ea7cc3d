//! AMIs: by id, or by their owners.

use serde_json::{Value, json};

use super::tests::{ACCOUNT, decide, lists, node_group_spec};
use crate::controllers::account::named::by_node_group;

#[test]
fn images_of_trusted_owners_need_no_entry_and_private_ones_do() {
    let images = ["ami-eks", "ami-vendor", "ami-ubuntu", "ami-f", "ami-missing"];
    let allowed = |account: Value| -> Vec<&str> {
        let lists = lists(account);
        let may =
            |id: &&&str| decide(&lists, &by_node_group(&node_group_spec(&json!({"node": {"imageId": id}})))).is_ok();
        images.iter().filter(may).copied().collect()
    };
    let owners = |owners: &[&str]| json!({"allowedImageOwners": owners});
    assert_eq!(allowed(json!({})), ["ami-eks"], "without the list");
    assert_eq!(allowed(owners(&[])), [""; 0], "a list of nobody");
    assert_eq!(allowed(owners(&["099720109477"])), ["ami-ubuntu"], "Amazon is not listed");
    assert_eq!(allowed(owners(&["amazon", "aws-marketplace"])), ["ami-eks", "ami-vendor"]);
    assert_eq!(allowed(owners(&[ACCOUNT])), ["ami-f"], "all private images of the account");
    assert_eq!(allowed(owners(&["*"])), images);
    assert_eq!(allowed(json!({"allowedImageOwners": [], "allowedImageIds": ["ami-missing"]})), ["ami-missing"]);
}

#[test]
fn owner_of_an_image_is_read_only_if_the_lists_do_not_decide() {
    let named = by_node_group(&node_group_spec(&json!({"node": {"imageId": "ami-f"}})));
    for (account, looked_up) in [
        (json!({}), Some(1)),
        (json!({"allowedImageIds": ["ami-f"]}), Some(0)),
        (json!({"allowedImageOwners": ["*"]}), Some(0)),
        (json!({"allowedImageOwners": []}), None),
    ] {
        let lists = lists(account.clone());
        let undecided = lists.check(&named).ok();
        assert_eq!(undecided.map(|undecided| lists.images_to_look_up(&undecided).len()), looked_up, "{account}");
    }
}
