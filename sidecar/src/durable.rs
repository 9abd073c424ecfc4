//! Replaces a file whole: after a crash there is the old one or the new one, never a part.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
