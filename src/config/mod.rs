//! Settings: what a user writes ([`raw`]) and what the parts are built from ([`Settings`]). All faults are reported
//! at once, before a port is bound.

mod access;
mod database;
mod edge;
mod http_origin;
mod jobs;
pub mod raw;
mod resolve;
pub mod retry;
mod s3;
mod shown;
mod uploads;
mod warm;

pub use access::{exposed_secrets, resolve as resolve_access};
pub use jobs::JobSettings;
pub use raw::Raw;
pub use resolve::{OriginSettings, Settings, resolve, resolve_as};
pub use shown::shown;
pub use uploads::{BlobSettings, CatalogueSettings, ORIGIN as UPLOADS, UploadSettings};

#[cfg(test)]
mod tests {
    use millrace_kit::config::{Layer, load, reference};

    use super::*;

    #[test]
    fn shipped_files_are_good() {
        for (name, text) in [
            ("config/millrace.toml", include_str!("../../config/millrace.toml")),
            ("config/dev.toml", include_str!("../../config/dev.toml")),
            ("config/compose/millrace.toml", include_str!("../../config/compose/millrace.toml")),
            ("config/k8s/millrace.toml", include_str!("../../config/k8s/millrace.toml")),
        ] {
            let raw: Raw = load(&[Layer::file(name, text)]).unwrap_or_else(|faults| panic!("{faults}"));
            resolve(&raw).unwrap_or_else(|faults| panic!("{name}: {faults}"));
        }
    }

    #[test]
    fn the_reference_is_current() {
        let current = reference::<Raw>("Configuration reference");
        let written = include_str!("../../docs/configuration.md");
        assert!(current == written, "run: millrace docs > docs/configuration.md");
    }
}
