//! From `[media]` to what routes need to judge who may have images made.

use std::{fs, io::Read, sync::Arc};

use millrace_kit::config::Faults;

use super::super::raw;
use crate::{
    delivery::{
        policy::{ImageMode, ImageRule},
        signature::{Keys, MAX_LENGTH},
    },
    media::image::{Hints, Presets},
};

/// Shorter signatures could be guessed.
const LEAST_LENGTH: u32 = 8;
/// A file that is longer than so many bytes is none of keys.
const MAX_FILE: u64 = 64 << 10;

/// What all routes have in common.
pub(super) struct Guards {
    presets: Arc<Presets>,
    /// None: there are none. Some(None): they are bad.
    keys: Option<Option<Arc<Keys>>>,
}

impl Guards {
    pub(super) fn of(raw: &raw::Media, faults: &mut Faults) -> Self {
        let mut presets = Presets::default();
        for (name, query) in &raw.presets {
            if let Err(wrong) = presets.add(name, query) {
                faults.push(format!("media.presets.{name}"), wrong.to_string());
            }
        }
        let before = faults.0.len();
        if !(LEAST_LENGTH..=MAX_LENGTH as u32).contains(&raw.signature_bytes) {
            faults.push("media.signature_bytes", format!("must be from {LEAST_LENGTH} to {MAX_LENGTH}"));
        }
        let mut all = raw.signing_keys.0.clone();
        if let Err(wrong) = Keys::parse(&all, MAX_LENGTH) {
            faults.push("media.signing_keys", wrong.to_string());
        }
        if !raw.signing_keys_file.is_empty() {
            match read(&raw.signing_keys_file) {
                Ok(text) => {
                    if let Err(wrong) = Keys::parse(&text, MAX_LENGTH) {
                        faults.push("media.signing_keys_file", wrong.to_string());
                    }
                    all.push('\n');
                    all.push_str(&text);
                }
                Err(wrong) => {
                    faults.push("media.signing_keys_file", format!("{}: {wrong}", raw.signing_keys_file))
                }
            }
        }
        let keys = match (Keys::parse(&all, raw.signature_bytes as usize), faults.0.len() > before) {
            (Ok(Some(keys)), false) => Some(Some(Arc::new(keys))),
            (Ok(None), false) => None,
            (Err(wrong), false) => {
                faults.push("media.signing_keys", wrong.to_string());
                Some(None)
            }
            (_, true) => Some(None),
        };
        Self { presets: Arc::new(presets), keys }
    }

    /// What a route says. `fault` is told of the field and what is wrong with it.
    pub(super) fn rule(&self, route: &raw::Route, mut fault: impl FnMut(&str, String)) -> ImageRule {
        for name in &route.image_presets {
            if self.presets.get(name).is_none() {
                fault("image_presets", format!("{name:?} is not one of media.presets"));
            }
        }
        let mode = match route.images {
            raw::Images::Open => ImageMode::Open,
            raw::Images::Presets => {
                let all = || self.presets.names().filter_map(|name| self.presets.get(name));
                let some = || route.image_presets.iter().filter_map(|name| self.presets.get(name));
                let known: Arc<[_]> =
                    if route.image_presets.is_empty() { all().collect() } else { some().collect() };
                if known.is_empty() && self.presets.is_empty() {
                    fault("images", "there are no media.presets".to_owned());
                }
                ImageMode::Presets(known)
            }
            raw::Images::Signed => match &self.keys {
                Some(Some(keys)) => ImageMode::Signed(keys.clone()),
                Some(None) => ImageMode::Presets(Arc::new([])),
                None => {
                    fault("images", "there are no media.signing_keys".to_owned());
                    ImageMode::Presets(Arc::new([]))
                }
            },
        };
        if !route.image_presets.is_empty() && route.images != raw::Images::Presets {
            fault("image_presets", "is for `images = \"presets\"`".to_owned());
        }
        let mut hints = Hints::default();
        for name in &route.client_hints {
            match Hints::parse(name) {
                Some(hint) => hints = hints.with(hint),
                None => fault(
                    "client_hints",
                    format!("{name:?} is not of dpr, width, viewport-width and save-data"),
                ),
            }
        }
        ImageRule { mode, presets: self.presets.clone(), hints }
    }
}

fn read(name: &str) -> std::io::Result<String> {
    let mut text = String::new();
    fs::File::open(name)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}
