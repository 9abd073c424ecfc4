//! Row F10: files of settings that will not do, as the program is given them.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::edge::killed::BINARY;

/// (row, what the file has, what is told of it). The exit status is 64 for each.
#[test]
fn settings_that_will_not_do_are_refused_with_every_fault() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.toml");
    let long = format!("# {}\n[server]\nlisten = 7\n", "x".repeat(10_000_000));
    for (row, text, told) in [
        ("F10 unknown key", "[server]\nlisen = \"127.0.0.1:0\"\n", &["2", "lisen", "listen"][..]),
        ("F10 unknown section", "[sever]\n", &["sever", "server"]),
        ("F10 wrong type", "[server]\nlisten = 7\n", &["2", "listen"]),
        ("F10 out of bounds", "[access]\nleeway_secs = 100000\n", &["leeway_secs", "300"]),
        ("F10 twice the same", "[server]\nworkers = 1\nworkers = 2\n", &["3", "duplicate"]),
        ("F10 a section twice", "[server]\n[server]\n", &["2", "duplicate"]),
        ("F10 no TOML", "[server\nlisten = \"x\"\n", &["1"]),
        ("F10 no text", "\u{0}\u{1}", &["1"]),
        (
            "F10 several at once",
            "[server]\nlisen = 1\nworkers = \"many\"\n[cache]\nmemory = \"much\"\n",
            &["lisen", "workers"],
        ),
        ("F10 a short secret", "[access]\nsecret = \"hunter2\"\n", &["access.secret", "32"]),
        ("F10 10 MB", &long, &["listen"]),
    ] {
        fs::write(&file, text).unwrap();
        let output = Command::new(BINARY).arg("check").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{row}: {said}");
        for word in told {
            assert!(said.contains(word), "{row}: {word} in {said}");
        }
        assert!(
            !said.contains("panicked") && !said.contains("hunter2") && said.len() < 4000,
            "{row}: {said}"
        );
    }
    for (row, path) in [("F10 not there", dir.path().join("none")), ("F10 a folder", dir.path().to_owned())] {
        let output = Command::new(BINARY).arg("check").arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let named = said.contains(path.to_str().unwrap());
        assert!(output.status.code() == Some(64) && named, "{row}: {said}");
    }
}

#[test]
fn a_secret_that_others_can_read_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, settings) = (dir.path().join("secret"), dir.path().join("settings.toml"));
    fs::write(&secret, "a-secret-of-the-tests-0123456789-abcdef\n").unwrap();
    fs::write(&settings, format!("[access]\nsecret_files = [{:?}]\n", secret.to_str().unwrap())).unwrap();
    for (mode, warned) in [(0o644, true), (0o640, true), (0o600, false)] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        let output = Command::new(BINARY).arg("check").arg(&settings).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.contains("chmod 600"), warned, "{mode:o}: {said}");
        assert!(output.status.success() && !said.contains("a-secret-of"), "{mode:o}: {said}");
    }
}
