//! Addresses of resources in a state, as `terraform state rm` takes them. Pure.

use serde_json::Value;

/// The address of an instance: `module.eks.aws_eks_addon.this["coredns"]`. `index`: of `count` or `for_each`.
pub fn of(module: Option<&str>, type_: &str, name: &str, index: Option<&Value>) -> String {
    let module = module.filter(|module| !module.is_empty()).map(|module| format!("{module}.")).unwrap_or_default();
    let index = match index {
        Some(Value::String(key)) => format!("[{}]", quoted(key)),
        Some(Value::Number(number)) => format!("[{number}]"),
        _ => String::new(),
    };
    format!("{module}{type_}.{name}{index}")
}

/// A key as a string of Terraform's language.
fn quoted(key: &str) -> String {
    let mut text = String::from('"');
    for c in key.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c => text.push(c),
        }
    }
    text.push('"');
    // Both begin a template.
    text.replace("${", "$${").replace("%{", "%%{")
}

/// An address as one word of a POSIX shell.
pub fn in_shell(address: &str) -> String {
    format!("'{}'", address.replace('\'', r"'\''"))
}

/// The module that an address is in: `module.eks.module.nodes["a"]`; empty for the root module.
pub fn module_of(address: &str) -> &str {
    let parts = parts(address);
    let modules = parts.chunks(2).take_while(|pair| pair[0] == "module" && pair.len() == 2).flatten();
    let end = modules.last().map_or(0, |last| last.as_ptr() as usize - address.as_ptr() as usize + last.len());
    &address[..end]
}

/// The call in the configuration that a module is of: `module.eks` of `module.eks["a"].module.nodes["b"]`.
pub fn call_of(module: &str) -> Option<String> {
    let parts = parts(module);
    let name = parts.get(1)?.split('[').next()?;
    Some(format!("module.{name}"))
}

/// The parts between dots; a dot in a key does not count.
fn parts(address: &str) -> Vec<&str> {
    let (mut parts, mut start, mut in_key, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in address.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_key => escaped = true,
            '"' => in_key = !in_key,
            '.' if !in_key => {
                parts.push(&address[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&address[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_as_terraform_writes_them() {
        for (module, index, expected) in [
            (None, json!(null), "aws_eks_addon.this"),
            (Some(""), json!(null), "aws_eks_addon.this"),
            (Some("module.eks"), json!(0), "module.eks.aws_eks_addon.this[0]"),
            (Some(r#"module.eks["a"]"#), json!("coredns"), r#"module.eks["a"].aws_eks_addon.this["coredns"]"#),
            (None, json!(r#"a"b\c"#), r#"aws_eks_addon.this["a\"b\\c"]"#),
            (None, json!("${x} %{y} $z"), r#"aws_eks_addon.this["$${x} %%{y} $z"]"#),
        ] {
            assert_eq!(of(module, "aws_eks_addon", "this", Some(&index)), expected);
        }
    }

    #[test]
    fn addresses_are_one_word_of_a_shell() {
        for address in [r#"module.eks.aws_eks_addon.this["coredns"]"#, r#"a.b["it's $HOME `x` \"q\""]"#] {
            let command = format!("printf %s {}", in_shell(address));
            let shown = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
            assert_eq!(String::from_utf8(shown.stdout).unwrap(), address);
        }
    }

    #[test]
    fn modules_are_found() {
        for (address, module, call) in [
            ("aws_eks_cluster.this", "", None),
            ("module.eks.aws_eks_cluster.this[0]", "module.eks", Some("module.eks")),
            (
                r#"module.eks["a.b"].module.nodes["module.x"].aws_eks_node_group.this[0]"#,
                r#"module.eks["a.b"].module.nodes["module.x"]"#,
                Some("module.eks"),
            ),
        ] {
            assert_eq!(module_of(address), module);
            assert_eq!(call_of(module).as_deref(), call);
        }
    }
}
