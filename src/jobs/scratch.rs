//! Private folders for jobs that run. What a server that died has left is removed when the next one starts.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};

const MORE_TRIES: usize = 3;

/// All of them. The directory is ours alone.
#[derive(Debug, Clone)]
pub struct Scratch {
    root: PathBuf,
}

/// Of one attempt; gone with all that is in it when dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Scratch {
    /// Empties it, and ends what still works in it. Blocks.
    pub fn open(root: PathBuf) -> io::Result<Self> {
        end_all_in(&root);
        match fs::remove_dir_all(&root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        private().recursive(true).create(&root)?;
        Ok(Self { root })
    }

    /// `id` is one of ours. Each attempt has another: a program that is being killed may hold the one before for a moment. Blocks,
    /// for a moment.
    pub fn folder(&self, id: &str) -> io::Result<Folder> {
        let path = self.root.join(format!("{id}-{:08x}", fastrand::u32(..)));
        private().create(&path)?;
        Ok(Folder { path })
    }
}

/// Processes of a server that was killed, which had no time to end them.
fn end_all_in(root: &Path) {
    let (Ok(root), Ok(processes)) = (root.canonicalize(), fs::read_dir("/proc")) else { return };
    for process in processes.flatten() {
        let id = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(id) = id else { continue };
        // Of others it cannot be read.
        let Ok(folder) = fs::read_link(process.path().join("cwd")) else { continue };
        if folder.starts_with(&root) {
            tracing::info!(id = id.as_raw_nonzero(), "a program of the server before is ended");
            let _ = kill_process(id, Signal::KILL);
        }
    }
}

fn private() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700);
    builder
}

impl Folder {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is being killed may still make a file.
        let mut removed = fs::remove_dir_all(&self.path);
        for _ in 0..MORE_TRIES {
            if removed.is_ok() {
                return;
            }
            removed = fs::remove_dir_all(&self.path);
        }
        if let Err(error) = removed {
            tracing::warn!("a folder of a job is left until the next start: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("scratch");
        fs::create_dir_all(root.join("old/deep")).unwrap();
        fs::write(root.join("old/deep/file"), b"x").unwrap();
        let mut left =
            std::process::Command::new("sleep").arg("600").current_dir(root.join("old")).spawn().unwrap();
        let scratch = Scratch::open(root.clone()).unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "what a dead server has left");
        assert!(!left.wait().unwrap().success(), "it has been ended");
        let folder = scratch.folder("1").unwrap();
        fs::write(folder.path().join("file"), b"x").unwrap();
        assert_ne!(scratch.folder("1").unwrap().path(), folder.path());
        drop(folder);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }
}
