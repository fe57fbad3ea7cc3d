//! What to do with the manifest, and with the state, in this order. Pure.

use std::collections::BTreeSet;

use super::state::Instance;
use super::state_resource::Member;
use super::{address, kept};
use crate::cli::import::ObjectPlacement;
use crate::cli::import::next_steps::Needs;

/// The steps. `owned`: resources that the manifest has; `kept`: all others of the state.
pub fn describe(owned: &[(Member, &Instance)], kept: &[&Instance], needs: &Needs, placing: &ObjectPlacement) -> String {
    let mut owned: Vec<_> = owned.iter().map(|(member, instance)| (member, instance.address.as_str())).collect();
    owned.sort();
    let addresses: Vec<_> = owned.iter().map(|(_, address)| format!("    {}", address::in_shell(address))).collect();
    let mut lines = vec![
        "next, in this order:".to_owned(),
        "1. stop whatever runs terraform apply for this state, and keep a copy: terraform state pull > before.tfstate"
            .to_owned(),
        "2. keelson plan -f FILE --live, which must show only adoptions".to_owned(),
        "3. make Terraform forget what the manifest owns; one command, so that it forgets all or nothing:".to_owned(),
        format!("  terraform state rm \\\n{}", addresses.join(" \\\n")),
        "4. before the next terraform apply, change the configuration: it would create what it still declares and the state no longer \
         has, and destroy what the state still has and it no longer declares"
            .to_owned(),
    ];
    lines.extend(of_modules(&owned, kept));
    lines.push("5. apply FILE".to_owned());
    let stays = kept::describe(kept);
    if !stays.is_empty() {
        lines.push("these stay with Terraform:".to_owned());
        lines.extend(stays);
    }
    // Last: everything below it is a part of a spec.
    lines.push(format!("before step 5, {}", needs.describe_account(placing)));
    lines.join("\n")
}

/// What to do about the modules that the owned resources are in.
fn of_modules(owned: &[(&Member, &str)], kept: &[&Instance]) -> Vec<String> {
    let call = |address: &str| address::call_of(address::module_of(address));
    let calls: BTreeSet<_> = owned.iter().filter_map(|(_, address)| call(address)).collect();
    let modules: BTreeSet<_> = owned.iter().map(|(_, address)| address::module_of(address)).collect();
    let line = |of: &String| {
        let left = || kept.iter().filter(|instance| call(&instance.address).as_ref() == Some(of));
        let is_inside = |instance: &&&Instance| {
            let module = address::module_of(&instance.address);
            modules
                .iter()
                .any(|own| module.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
        };
        let others = left().filter(|instance| !is_inside(instance)).count();
        match left().count() {
            0 => format!("  {of}: remove its block"),
            _ if others > 0 => format!(
                "  {of}: keep its block. It also holds {others} resources in other modules or instances than those above: remove from its \
                 configuration only what creates the resources above"
            ),
            left => format!(
                "  {of}: {left} resources of it stay, and nodes and control plane use them. Keep them with Terraform: declare them \
                 yourself, and move each with terraform state mv. Or forget them too, which destroys nothing: replace the block with \
                 `removed {{ from = {of} lifecycle {{ destroy = false }} }}` (Terraform 1.7, OpenTofu 1.9)"
            ),
        }
    };
    let mut lines: Vec<_> = calls.iter().map(line).collect();
    let blocks = owned.iter().map(|(_, address)| kept::without_index(address));
    let blocks: BTreeSet<_> = blocks.filter(|block| call(block).is_none()).collect();
    let is_shared = |block: &str| kept.iter().any(|instance| kept::without_index(&instance.address) == block);
    let (shared, whole): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| is_shared(block));
    if !whole.is_empty() {
        let except = if shared.is_empty() { "" } else { ", but for those named below" };
        lines.push(format!("  resources without a module: remove their blocks{except}"));
    }
    lines.extend(shared.into_iter().map(|block| {
        format!(
            "  {block}: keep its block, and remove only the keys that the state no longer has: what else it declares stays with Terraform, \
             and would be destroyed"
        )
    }));
    lines
}
