//! Which rule files there are: those of the configuration (with `*` and `?` in file names), or the shipped ones.

use std::{path::Path, time::Duration};

use rust_embed::RustEmbed;

use crate::rules::{Fault, Group, load};

/// The rules that ship with the binary.
#[derive(RustEmbed)]
#[folder = "../alerts/"]
struct Shipped;

/// Where rules come from, again and again at each reload.
#[derive(Debug, Clone)]
pub struct RuleSource {
    pub patterns: Vec<String>,
    pub interval: Duration,
}

impl RuleSource {
    pub fn load(&self) -> Result<Vec<Group>, Vec<Fault>> {
        if self.patterns.is_empty() {
            return self.shipped();
        }
        let mut faults = Vec::new();
        let mut files = Vec::new();
        for pattern in &self.patterns {
            match rule_paths(pattern) {
                Ok(found) => files.extend(found),
                Err(message) => faults.push(Fault { file: pattern.clone(), line: None, message }),
            }
        }
        files.sort();
        files.dedup();
        let mut groups = Vec::new();
        for file in files {
            match load_file(&file, self.interval) {
                Ok(loaded) => groups.extend(loaded),
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() { Ok(groups) } else { Err(faults) }
    }

    fn shipped(&self) -> Result<Vec<Group>, Vec<Fault>> {
        let mut groups = Vec::new();
        // Their tests lie in a folder below.
        for name in Shipped::iter().filter(|name| name.ends_with(".yml") && !name.contains('/')) {
            let text = Shipped::get(&name).map(|file| file.data.into_owned()).unwrap_or_default();
            groups.extend(load(&format!("shipped/{name}"), &String::from_utf8_lossy(&text), self.interval)?);
        }
        Ok(groups)
    }
}

/// For `check`: the number of groups and rules of one file.
pub fn check_files(files: &[String]) -> Result<Vec<(String, usize, usize)>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut good = Vec::new();
    for file in files {
        match load_file(file, Duration::from_secs(15)) {
            Ok(groups) => {
                let rules = groups.iter().map(|group| group.rules.len()).sum();
                good.push((file.clone(), groups.len(), rules));
            }
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() { Ok(good) } else { Err(faults) }
}

fn load_file(file: &str, interval: Duration) -> Result<Vec<Group>, Vec<Fault>> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| vec![Fault { file: file.to_owned(), line: None, message: error.to_string() }])?;
    load(file, &text, interval)
}

/// The files that a pattern names. One that matches nothing is as wrong as a file that is not there.
pub fn rule_paths(pattern: &str) -> Result<Vec<String>, String> {
    let path = Path::new(pattern);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.contains(['*', '?']) {
        return Ok(vec![pattern.to_owned()]);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let found: Vec<String> = names
        .filter(|candidate| matches(name.as_bytes(), candidate.as_bytes()))
        .map(|name| folder.join(name).display().to_string())
        .collect();
    if found.is_empty() { Err("matches no file".to_owned()) } else { Ok(found) }
}

/// `*` stands for any number of bytes, `?` for one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p).is_some_and(|byte| *byte == b'?' || *byte == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a?.yml", "ab.yml", true),
            ("a*b*c", "aXbYbZc", true),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_shipped_rules_load() {
        let source = RuleSource { patterns: vec![], interval: Duration::from_secs(15) };
        let rules: usize = source.load().unwrap().iter().map(|group| group.rules.len()).sum();
        assert!(rules >= 9, "{rules}");
    }

    #[test]
    fn files_are_found_by_pattern_and_missing_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yml"), "groups: [{name: a}]").unwrap();
        std::fs::write(folder.path().join("b.yml"), "groups: [{name: b}]").unwrap();
        let source = |pattern: &str| RuleSource {
            patterns: vec![folder.path().join(pattern).display().to_string()],
            interval: Duration::from_secs(15),
        };
        assert_eq!(source("*.yml").load().unwrap().len(), 2);
        assert!(source("c.yml").load().is_err());
        assert!(source("*.json").load().unwrap_err()[0].message.contains("matches no file"));
    }
}
