//! The account and the certificates as files that nobody else may read. Each is written beside its place and then put there, so a
//! crash leaves the old one or the new one. Key and chain are one file, so that they fit.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};
use x509_parser::parse_x509_certificate;

use super::{Error, due::Validity};

/// A longer file is something else.
const MAX_FILE: u64 = 1 << 20;
const ACCOUNT: &str = "account.json";

#[derive(Debug, Clone)]
pub struct Kept {
    dir: PathBuf,
}

/// Of one authority.
#[derive(Serialize, Deserialize)]
pub struct Account {
    pub directory: String,
    pub credentials: instant_acme::AccountCredentials,
}

/// Where a name's certificate is.
pub fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{}.pem", name.replace(':', "_")))
}

impl Kept {
    /// Blocks.
    pub fn open(dir: PathBuf) -> Result<Self, Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|error| Error::File(dir.clone(), error.to_string()))?;
        Ok(Self { dir })
    }

    /// None: there is none that can be used.
    pub async fn validity(&self, name: &str) -> Option<Validity> {
        let path = file(&self.dir, name);
        let text = self.blocking(move || read(&path)).await.ok()??;
        let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().ok()?;
        let validity = validity(chain.first()?)?;
        // Without its key it is of no use.
        let key = PrivateKeyDer::from_pem_slice(&text).ok()?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).ok()?;
        Some(validity)
    }

    /// Key and chain in PEM. Where they are now.
    pub async fn put(&self, name: &str, text: String) -> Result<PathBuf, Error> {
        let path = file(&self.dir, name);
        self.blocking(move || write(&path, text.as_bytes()).map(|()| path)).await
    }

    /// None: there is none of this authority.
    pub async fn account(&self, directory: &str) -> Result<Option<Account>, Error> {
        let path = self.dir.join(ACCOUNT);
        let found = self.blocking(move || read(&path)).await?;
        // What cannot be read is as good as none; another account costs nothing.
        let account: Option<Account> = found.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(account.filter(|account| account.directory == directory))
    }

    pub async fn put_account(&self, account: &Account) -> Result<(), Error> {
        let path = self.dir.join(ACCOUNT);
        let text =
            serde_json::to_vec(account).map_err(|error| Error::File(path.clone(), error.to_string()))?;
        self.blocking(move || write(&path, &text)).await
    }

    pub async fn remove_account(&self) -> Result<(), Error> {
        let path = self.dir.join(ACCOUNT);
        self.blocking(move || fs::remove_file(&path).map_err(|error| failed(&path, &error))).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| Error::File(self.dir.clone(), error.to_string()))?
    }
}

fn validity(der: &[u8]) -> Option<Validity> {
    let (_, parsed) = parse_x509_certificate(der).ok()?;
    let validity = parsed.validity();
    let millis = |time: i64| time.saturating_mul(1000);
    Some(Validity {
        from: millis(validity.not_before.timestamp()),
        to: millis(validity.not_after.timestamp()),
    })
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::File(path.to_owned(), error.to_string())
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, &error)),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text).map_err(|error| failed(path, &error))?;
    Ok(Some(text))
}

fn write(path: &Path, text: &[u8]) -> Result<(), Error> {
    let beside = path.with_extension("new");
    let written = || {
        // What a crash has left might be readable for others.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        match path.parent() {
            Some(dir) => fs::File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    written().map_err(|error| failed(path, &error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_found_and_for_nobody_else() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/acme");
        let kept = Kept::open(dir.clone()).unwrap();
        assert_eq!(kept.validity("a.example").await, None);
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 2);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let text = format!("{}{certificate}", key.serialize_pem());
        fs::write(dir.join("a.example.new"), "left by a crash").unwrap();
        let path = kept.put("a.example", text.clone()).await.unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap(), path.clone()), (text, file(&dir, "a.example")));
        let from = 1_767_225_600_000;
        assert_eq!(kept.validity("a.example").await, Some(Validity { from, to: from + 86_400_000 }));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&dir)), (0o600, 0o700));
        assert_eq!(file(&dir, "2001:db8::1").file_name().unwrap(), "2001_db8__1.pem");
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for useless in ["nonsense".to_owned(), certificate.clone(), format!("{other}{certificate}")] {
            fs::write(&path, &useless).unwrap();
            assert_eq!(kept.validity("a.example").await, None, "{useless}");
        }
        assert!(kept.account("https://authority.example/dir").await.unwrap().is_none());
        fs::write(dir.join(ACCOUNT), "nonsense").unwrap();
        assert!(kept.account("https://authority.example/dir").await.unwrap().is_none());
    }
}
