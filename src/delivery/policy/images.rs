//! Which images a route makes for strangers: all, those that its operator has written down, or those that it has signed.

use std::sync::Arc;

use crate::{
    delivery::{dialect::Located, request::Target, signature::Keys},
    media::image::{Hints, Params, Presets},
};

#[derive(Debug, Clone, Default)]
pub struct ImageRule {
    pub mode: ImageMode,
    /// Operations that can be asked for by name.
    pub presets: Arc<Presets>,
    /// What clients tell of themselves counts for all images here.
    pub hints: Hints,
}

#[derive(Debug, Clone, Default)]
pub enum ImageMode {
    /// Any, in sizes from the grid.
    #[default]
    Open,
    /// Only these, however they are written.
    Presets(Arc<[Params]>),
    /// Only what carries a signature of one of these keys.
    Signed(Arc<Keys>),
}

/// Why an image is not made for this request. Nothing has been asked of an origin then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Denied {
    #[error("this image has to be asked for with a signature")]
    Unsigned,
    #[error("the signature does not fit this address")]
    Signature,
    #[error("this address was good for a time that is over")]
    Expired,
    #[error("only certain images are made here: ask for one of the presets")]
    NotPreset,
    #[error("the path can be read in more than one way")]
    Ambiguous,
    #[error("SVG is not served here")]
    Svg,
}

impl Denied {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Signature => "signature",
            Self::Expired => "signature-expired",
            Self::NotPreset => "not-a-preset",
            Self::Ambiguous => "ambiguous-path",
            Self::Svg => "svg",
        }
    }
}

impl ImageRule {
    pub fn is_signed(&self) -> bool {
        matches!(self.mode, ImageMode::Signed(_))
    }

    /// Whether sizes come from the grid: where strangers choose them.
    pub fn is_open(&self) -> bool {
        matches!(self.mode, ImageMode::Open)
    }

    /// Judges the address, before its parameters are read. `now` is in seconds since 1970.
    pub fn admit_address(&self, target: &Target, located: &Located<'_>, now: u64) -> Result<(), Denied> {
        if !located.makes_image() {
            return Ok(());
        }
        if let ImageMode::Signed(keys) = &self.mode {
            let (text, signature) = located.signature(target).ok_or(Denied::Unsigned)?;
            if !keys.verify(&text, signature) {
                return Err(Denied::Signature);
            }
        }
        match located.expires(self.is_signed()) {
            Some(Some(until)) if until >= now => Ok(()),
            // A time that cannot be read is no time that is still to come.
            Some(_) => Err(Denied::Expired),
            None => Ok(()),
        }
    }

    /// Judges what has no other parameter than a size.
    pub fn admit_size(&self) -> Result<(), Denied> {
        match self.mode {
            ImageMode::Presets(_) => Err(Denied::NotPreset),
            ImageMode::Open | ImageMode::Signed(_) => Ok(()),
        }
    }

    /// Judges the operation.
    pub fn admit_operation(&self, params: &Params) -> Result<(), Denied> {
        match &self.mode {
            ImageMode::Presets(known) if !known.contains(params) => Err(Denied::NotPreset),
            _ => Ok(()),
        }
    }
}
