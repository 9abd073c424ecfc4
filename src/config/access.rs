//! From `[access]` and the operator's token to what admission wants.

use std::{fs, io::Read, os::unix::fs::MetadataExt};

use millrace_kit::config::Faults;

use super::Raw;
use crate::admission::{Config, Keyring, Secret, Wanted};

/// A longer file is something else.
const MAX_FILE: u64 = 256 << 10;
const MAX_LEEWAY: u32 = 300;

/// Also for the commands that sign, which need no other settings.
pub fn resolve(raw: &Raw, faults: &mut Faults) -> Config {
    let access = &raw.access;
    if !raw.admin.token.0.bytes().all(|byte| byte.is_ascii_graphic()) {
        faults.push("admin.token", "must be printable ASCII without spaces");
    }
    if access.leeway_secs > MAX_LEEWAY {
        faults.push("access.leeway_secs", format!("must be at most {MAX_LEEWAY}"));
    }
    let mut secrets = Vec::new();
    let mut take = |key: &str, text: Result<String, String>| match text
        .and_then(|text| Secret::new(&text).map_err(|wrong| wrong.to_string()))
    {
        Ok(secret) if secrets.contains(&secret) => faults.push(key, "is the same secret as another"),
        Ok(secret) => secrets.push(secret),
        Err(wrong) => faults.push(key, wrong),
    };
    if !access.secret.0.is_empty() {
        take("access.secret", Ok(access.secret.0.clone()));
    }
    for (place, file) in access.secret_files.iter().enumerate() {
        take(&format!("access.secret_files[{place}]"), read(file).map(|(text, _)| text));
    }
    let public = match access.jwks_file.as_str() {
        "" => Vec::new(),
        file => {
            let keys = read(file).map(|(text, _)| text);
            let keys = keys.and_then(|text| Keyring::public(&text).map_err(|wrong| wrong.to_string()));
            keys.unwrap_or_else(|wrong| {
                faults.push("access.jwks_file", wrong);
                Vec::new()
            })
        }
    };
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    Config {
        operator: raw.admin.token.clone(),
        keys: Keyring::new(secrets, public),
        wanted: Wanted {
            issuer: given(&access.issuer),
            audience: given(&access.audience),
            leeway_secs: i64::from(access.leeway_secs),
        },
    }
}

/// Of each file with a secret that others on this machine can read, that they can. Told apart from faults: it works all the same.
pub fn exposed_secrets(raw: &Raw) -> Vec<String> {
    let is_exposed = |file: &&String| read(file).is_ok_and(|(_, mode)| mode & 0o077 != 0);
    let exposed = raw.access.secret_files.iter().filter(is_exposed);
    exposed.map(|file| format!("{file}: others on this machine can read this secret: chmod 600")).collect()
}

/// The text, and who may read it.
fn read(file: &str) -> Result<(String, u32), String> {
    let wrong = |error: std::io::Error| format!("{file}: {error}");
    let opened = fs::File::open(file).map_err(wrong)?;
    let mode = opened.metadata().map_err(wrong)?.mode();
    let mut text = String::new();
    opened.take(MAX_FILE + 1).read_to_string(&mut text).map_err(wrong)?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("{file}: has more than {MAX_FILE} bytes"));
    }
    Ok((text, mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(change: impl FnOnce(&mut Raw)) -> Vec<String> {
        let mut raw = Raw::default();
        change(&mut raw);
        let mut faults = Faults::default();
        resolve(&raw, &mut faults);
        faults.0.into_iter().map(|fault| format!("{}: {}", fault.key, fault.message)).collect()
    }

    #[test]
    fn every_fault_names_its_place_and_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let path = file.to_str().unwrap().to_owned();
        assert_eq!(faults(|raw| raw.access.secret_files = vec![path.clone()]), [""; 0]);
        let found = faults(|raw| {
            raw.access.secret.0 = "too short to tell".to_owned();
            raw.access.secret_files = vec![path.clone(), path.clone(), "/nowhere/key".to_owned()];
            raw.access.jwks_file = path;
            raw.access.leeway_secs = 301;
        });
        let starts = [
            "access.leeway_secs: must be at most 300",
            "access.secret: a secret has at least 32 bytes",
            "access.secret_files[1]: is the same secret as another",
            "access.secret_files[2]: /nowhere/key: No such file",
            "access.jwks_file: this is no set of keys",
        ];
        assert_eq!(found.len(), starts.len(), "{found:?}");
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}");
            assert!(!found.contains("too short to tell") && !found.contains("cdef"), "{found}");
        }
    }
}
