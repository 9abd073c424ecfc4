//! The right to a directory, of one server at a time.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

use super::QueueError;

#[derive(Debug)]
pub struct Lock(Mutex<Option<File>>);

impl Lock {
    /// Makes the directory if need be. Blocks.
    pub fn take(dir: &Path) -> Result<Self, QueueError> {
        let failed = |error: io::Error| QueueError::Engine(error.to_string());
        fs::create_dir_all(dir).map_err(failed)?;
        let file = File::create(dir.join("lock")).map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(QueueError::InUse(dir.display().to_string()));
        }
        Ok(Self(Mutex::new(Some(file))))
    }

    pub fn give_back(&self) {
        *self.0.lock() = None;
    }
}
