//! Circles of files: files that use each other's names, directly or through others. Read from the text of `use` items and
//! paths; re-exports are followed to the file that has the name. `mod` declarations, re-exports in a `mod.rs` and test
//! code do not count.

use std::collections::{BTreeMap, BTreeSet};

/// A module's path in the crate, e.g. `["engine", "plan"]`.
type Module = Vec<String>;

/// A `use` item: what it names from the crate's root, and under which name.
struct Import {
    path: Module,
    name: String,
    is_public: bool,
}

/// The modules of a crate.
struct Crate {
    /// The file and the code of each.
    modules: BTreeMap<Module, (String, String)>,
    imports: BTreeMap<Module, Vec<Import>>,
}

/// The circles of two or more files, largest first. `files`: each file's path below `src`, and its text.
pub fn circles(files: &[(String, String)]) -> Vec<Vec<String>> {
    let all = Crate::new(files);
    let uses: BTreeMap<&Module, BTreeSet<Module>> =
        all.modules.keys().map(|module| (module, all.uses(module))).collect();
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        uses.keys().map(|module| (*module, reachable(&uses, module))).collect();
    let mut circles = BTreeSet::new();
    for (module, others) in &reached {
        let circle: Vec<_> = others.iter().filter(|other| reached[*other].contains(module)).collect();
        if circle.len() > 1 {
            circles.insert(circle.iter().map(|one| all.modules[**one].0.clone()).collect::<Vec<_>>());
        }
    }
    let mut circles: Vec<_> = circles.into_iter().collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

/// The modules that `from` uses, directly or through others.
fn reachable<'m>(uses: &'m BTreeMap<&'m Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<&'m Module> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        for next in &uses[module] {
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    found
}

impl Crate {
    fn new(files: &[(String, String)]) -> Self {
        let is_test = |name: &str| {
            name.ends_with("_tests.rs") || name.split('/').any(|part| part.trim_end_matches(".rs").ends_with("tests"))
        };
        let mut modules = BTreeMap::new();
        for (name, text) in files.iter().filter(|(name, _)| !is_test(name) && name != "main.rs") {
            let mut path: Module = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            if path.last().is_some_and(|last| last == "mod" || name == "lib.rs" && last == "lib") {
                path.pop();
            }
            modules.insert(path, (name.clone(), without_tests(&without_texts(text))));
        }
        let mut all = Self { modules, imports: BTreeMap::new() };
        all.imports = all.modules.keys().map(|module| (module.clone(), all.imports_of(module))).collect();
        all
    }

    /// The `use` items of a module that name something of the crate.
    fn imports_of(&self, module: &Module) -> Vec<Import> {
        let mut imports = Vec::new();
        for (item, is_public) in use_items(&self.modules[module].1) {
            let mut leaves = Vec::new();
            expand(item, &[], &mut leaves);
            for (path, name) in leaves {
                if let Some(path) = self.absolute(module, &path) {
                    imports.push(Import { path, name, is_public });
                }
            }
        }
        imports
    }

    /// A path as written in `module`, from the crate's root; `None`: it names another crate.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Module> {
        let mut base = module.clone();
        let rest = match path.first()?.as_str() {
            "crate" => {
                base.clear();
                &path[1..]
            }
            "self" => &path[1..],
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                base.truncate(base.len().saturating_sub(up));
                &path[up..]
            }
            first => {
                base.push(first.to_owned());
                let is_child = self.modules.contains_key(&base);
                base.pop();
                if !is_child {
                    return None;
                }
                path
            }
        };
        base.extend(rest.iter().filter(|part| *part != "self").cloned());
        Some(base)
    }

    /// The module that has the item `path`, through re-exports.
    fn home(&self, path: &[String], depth: usize) -> Module {
        let length = (0..=path.len()).rev().find(|length| self.modules.contains_key(&path[..*length]));
        let (module, rest) = path.split_at(length.unwrap_or_default());
        let Some(name) = rest.first().filter(|_| depth < 10) else { return module.to_vec() };
        let imports = self.imports.get(module).map(Vec::as_slice).unwrap_or_default();
        let import = imports.iter().find(|import| import.name == *name && import.path != path);
        match import {
            Some(import) => self.home(&[&import.path[..], &rest[1..]].concat(), depth + 1),
            None => module.to_vec(),
        }
    }

    /// The modules that a module uses itself.
    fn uses(&self, module: &Module) -> BTreeSet<Module> {
        let (file, code) = &self.modules[module];
        let mut paths: Vec<Module> = Vec::new();
        // Modules under a name of their own: what is used of them stands in the code.
        let mut names: BTreeMap<&str, Module> = BTreeMap::new();
        for import in &self.imports[module] {
            if import.is_public && file.ends_with("mod.rs") {
                continue;
            }
            if self.modules.contains_key(&import.path) {
                names.insert(&import.name, import.path.clone());
            } else {
                paths.push(import.path.clone());
            }
        }
        for child in self.modules.keys().filter(|child| child.len() == module.len() + 1 && child.starts_with(module)) {
            names.entry(child.last().expect("a name")).or_insert_with(|| child.clone());
        }
        for path in paths_in(&without_use_items(code)) {
            match names.get(path[0].as_str()) {
                Some(named) => paths.push([&named[..], &path[1..]].concat()),
                None if ["crate", "self", "super"].contains(&path[0].as_str()) => {
                    paths.extend(self.absolute(module, &path));
                }
                None => {}
            }
        }
        paths.iter().map(|path| self.home(path, 0)).filter(|home| home != module).collect()
    }
}

/// The code without comments and texts.
fn without_texts(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::new();
    let mut at = 0;
    let find = |from: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        (from..chars.len()).find(|at| chars[*at..].starts_with(&end)).map_or(chars.len(), |at| at + end.len())
    };
    while let Some(c) = chars.get(at).copied() {
        let next = chars.get(at + 1).copied();
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let starts_word = !chars[..at].last().copied().is_some_and(is_word);
        let hashes = chars[at..].iter().skip(1).take_while(|c| **c == '#').count();
        match c {
            '/' if next == Some('/') => at = find(at, "\n").max(at + 2) - 1,
            '/' if next == Some('*') => at = find(at, "*/"),
            'r' if starts_word && chars.get(at + 1 + hashes) == Some(&'"') => {
                at = find(at + hashes + 2, &format!("\"{}", "#".repeat(hashes)));
            }
            '"' => {
                at += 1;
                while chars.get(at).is_some_and(|c| *c != '"') {
                    at += if chars[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
            }
            '\'' if next == Some('\\') => at = find(at + 3, "'"),
            '\'' if chars.get(at + 2) == Some(&'\'') => at += 3,
            c => {
                code.push(c);
                at += 1;
            }
        }
    }
    code
}

/// The code without items under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let (mut kept, mut rest) = (String::new(), code);
    while let Some((before, after)) = rest.split_once("#[cfg(test)]") {
        kept.push_str(before);
        let mut depth = 0;
        let end = after.find(|c| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth == 0 && matches!(c, '}' | ';')
        });
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    kept + rest
}

/// Where a `use` item starts and ends, after the word `use`.
fn use_spans(code: &str) -> Vec<(usize, usize)> {
    let starts_item = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    let span = |(at, _): (usize, &str)| Some((at, at + code[at..].find(';')?));
    code.match_indices("use ").filter(|(at, _)| starts_item(*at)).filter_map(span).collect()
}

/// The text of each `use` item, and whether it is public.
fn use_items(code: &str) -> Vec<(&str, bool)> {
    let is_public = |at: usize| code[..at].rsplit([';', '}', '\n']).next().is_some_and(|line| line.contains("pub"));
    use_spans(code).into_iter().map(|(start, end)| (&code[start + 4..end], is_public(start))).collect()
}

fn without_use_items(code: &str) -> String {
    let mut code = code.to_owned();
    for (start, end) in use_spans(&code).into_iter().rev() {
        code.replace_range(start..end, "");
    }
    code
}

/// The paths of a `use` tree, each with the name that it gets.
fn expand(tree: &str, before: &[String], leaves: &mut Vec<(Module, String)>) {
    let parts = |text: &str| -> Module {
        text.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    };
    let Some((head, group)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let path = [before, &parts(path)].concat();
        let own = path.iter().rfind(|part| *part != "self").cloned();
        let name = if alias.is_empty() { own.unwrap_or_default() } else { alias.trim().to_owned() };
        return if !path.is_empty() && !tree.trim().is_empty() {
            leaves.push((path, name))
        };
    };
    let before = [before, &parts(head)].concat();
    let (mut depth, mut item) = (0, String::new());
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => expand(&std::mem::take(&mut item), &before, leaves),
            c => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                item.push(c);
            }
        }
    }
    expand(&item, &before, leaves);
}

/// All paths of two or more parts in the code.
fn paths_in(code: &str) -> Vec<Module> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let words = code.split(|c: char| !is_word(c) && c != ':');
    let path = |text: &str| -> Option<Module> {
        let parts: Module = text.trim_end_matches(':').split("::").map(str::to_owned).collect();
        (parts.len() > 1 && parts.iter().all(|part| !part.is_empty() && !part.contains(':'))).then_some(parts)
    };
    words.filter_map(path).collect()
}

#[test]
fn a_circle_is_found_through_paths_modules_and_re_exports() {
    let files = |all: &[(&str, &str)]| -> Vec<_> {
        all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    };
    let base = [
        ("lib.rs", "mod a; mod b;"),
        ("a/mod.rs", "pub mod one; pub mod two;\npub use two::Two;"),
        ("a/one.rs", "use super::Two;\npub struct One(Two);"),
        ("b.rs", "//! use crate::a::one::One;\npub fn run() { crate::a::one::new(\"crate::a\") }"),
    ];
    let found = |two: &str| circles(&files(&[&base[..], &[("a/two.rs", two)]].concat()));
    assert_eq!(found("pub struct Two; // crate::b::run()"), Vec::<Vec<String>>::new());
    let circle = vec![vec!["a/one.rs", "a/two.rs", "b.rs"]];
    assert_eq!(found("pub struct Two;\nfn f() { crate::b::run() }"), circle, "a path");
    assert_eq!(found("use crate::b;\npub struct Two;\nfn f() { b::run() }"), circle, "a module");
    assert_eq!(found("use crate::{b::{run as start}};\npub struct Two;\nfn f() { start() }"), circle, "a name");
    assert!(found("pub struct Two;\n#[cfg(test)]\nmod tests { use crate::b::run; }").is_empty(), "tests do not count");
    assert_eq!(found("use super::one::One;\npub struct Two;"), vec![vec!["a/one.rs", "a/two.rs"]]);
}
