//! TLS towards clients: certificates by the name that is asked for, read again when their files change. Connections keep
//! what they were made with.

use std::{
    collections::HashMap,
    fmt, fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use millrace_kit::metrics::{self, Registry, catalogue};
use parking_lot::Mutex;
use prometheus::IntGaugeVec;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

/// A longer file is something else.
const MAX_FILE: u64 = 1 << 20;

#[derive(Debug, Clone)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// It may not be there yet, or be of no use: others do without it, and clients that ask for its names.
    pub awaited: bool,
}

#[derive(Debug, Clone)]
pub struct Config {
    /// The first is for clients that name nobody.
    pub pairs: Vec<Pair>,
    /// Without TLS 1.2.
    pub only_13: bool,
    pub http2: bool,
    /// How often files are looked at.
    pub watch: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    #[error("{0}: {1}")]
    Form(PathBuf, String),
    #[error("{0} is not the key of {1}: {2}")]
    Mismatch(PathBuf, PathBuf, rustls::Error),
    #[error("TLS: {0}")]
    Setup(rustls::Error),
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
}

/// The certificates in use.
pub struct Certificates {
    pairs: Vec<Pair>,
    held: ArcSwap<Held>,
    /// Of the files as they were read last, or tried.
    stamps: Mutex<Vec<Stamp>>,
    expiries: IntGaugeVec,
}

#[derive(Default)]
struct Held {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
    names: Vec<(String, i64)>,
}

/// By which a file is known to have changed.
type Stamp = Option<(u64, i64, i64, u64)>;

/// A certificate with its key.
struct Loaded {
    key: Arc<CertifiedKey>,
    /// In lower case.
    names: Vec<String>,
    /// Seconds since 1970.
    ends: i64,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({:?})", self.held.load().names)
    }
}

impl Certificates {
    pub fn open(pairs: Vec<Pair>, registry: &Registry) -> Result<Arc<Self>, Error> {
        let expiries = registry.gauge(&catalogue::TLS_CERTIFICATE_EXPIRY)?;
        let stamps = Mutex::new(stamps(&pairs));
        let certificates = Self { pairs, held: ArcSwap::default(), stamps, expiries };
        certificates.reload()?;
        Ok(Arc::new(certificates))
    }

    /// Reads all files again. What is bad leaves all as it was.
    pub fn reload(&self) -> Result<(), Error> {
        let loaded = self.pairs.iter().filter_map(|pair| loaded(pair).transpose());
        let loaded = loaded.collect::<Result<Vec<_>, _>>()?;
        let mut held = Held { first: loaded.first().map(|first| first.key.clone()), ..Held::default() };
        for Loaded { key, names, ends } in loaded {
            held.names.push((names.first().cloned().unwrap_or_default(), ends));
            for name in names {
                held.by_name.entry(name).or_insert_with(|| key.clone());
            }
        }
        for (name, _) in &self.held.load().names {
            if held.names.iter().all(|(other, _)| other != name) {
                // It may never have been there.
                let _ = self.expiries.remove_label_values(&[name]);
            }
        }
        for (name, ends) in &held.names {
            self.expiries.with_label_values(&[name]).set(*ends);
        }
        tracing::info!(names = ?held.names.iter().map(|(name, _)| name).collect::<Vec<_>>(), "certificates are in use");
        self.held.store(Arc::new(held));
        Ok(())
    }

    /// Looks at the files from time to time.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let certificates = self.clone();
            // Files may be anywhere.
            let looked = tokio::task::spawn_blocking(move || certificates.reload_if_changed()).await;
            if let Ok(Err(error)) = looked {
                tracing::error!("new certificates cannot be used, the old ones stay: {error}");
            }
        }
    }

    fn reload_if_changed(&self) -> Result<(), Error> {
        let now = stamps(&self.pairs);
        let changed = std::mem::replace(&mut *self.stamps.lock(), now.clone()) != now;
        if changed { self.reload() } else { Ok(()) }
    }

    fn of(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let held = self.held.load();
        let wildcard = || held.by_name.get(&format!("*.{}", name.split_once('.')?.1));
        held.by_name.get(name).or_else(wildcard).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    /// None, which ends the handshake: none is for the name that is asked for.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match hello.server_name() {
            Some(name) => self.of(&name.to_ascii_lowercase()),
            None => self.held.load().first.clone(),
        }
    }
}

/// What handshakes are made by.
pub fn server_config(
    config: &Config,
    certificates: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, Error> {
    let versions: &[_] = if config.only_13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions).map_err(Error::Setup)?;
    let mut server = builder.with_no_client_auth().with_cert_resolver(certificates);
    server.alpn_protocols = match config.http2 {
        true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    // Sessions are resumed by what clients keep.
    server.ticketer = aws_lc_rs::Ticketer::new().map_err(Error::Setup)?;
    Ok(server)
}

fn stamps(pairs: &[Pair]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
    };
    pairs.iter().flat_map(|pair| [stamp(&pair.certificate), stamp(&pair.key)]).collect()
}

/// Whether all of them can be used.
pub fn check(pairs: &[Pair]) -> Result<(), Error> {
    pairs.iter().try_for_each(|pair| loaded(pair).map(drop))
}

fn loaded(pair: &Pair) -> Result<Option<Loaded>, Error> {
    match load(pair) {
        Err(Error::File(_, error)) if pair.awaited && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if pair.awaited => {
            tracing::warn!("it will be ordered anew: {error}");
            Ok(None)
        }
        loaded => loaded.map(Some),
    }
}

fn load(pair: &Pair) -> Result<Loaded, Error> {
    let Pair { certificate, key, .. } = pair;
    let form = |path: &Path, what: String| Error::Form(path.to_owned(), what);
    let text = read(certificate)?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|wrong| form(certificate, wrong.to_string()))?;
    let first = chain.first().ok_or_else(|| form(certificate, "no certificate in PEM".to_owned()))?;
    let (names, ends) = of_certificate(first).map_err(|wrong| form(certificate, wrong))?;
    let private = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_| form(key, "no private key in PEM".to_owned()))?;
    let certified = CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map_err(|wrong| Error::Mismatch(key.clone(), certificate.clone(), wrong))?;
    Ok(Loaded { key: Arc::new(certified), names, ends })
}

/// The names that it is for, and when it ends.
fn of_certificate(der: &[u8]) -> Result<(Vec<String>, i64), String> {
    let (_, parsed) = parse_x509_certificate(der).map_err(|wrong| wrong.to_string())?;
    let alternatives = parsed.subject_alternative_name().map_err(|wrong| wrong.to_string())?;
    let mut names = Vec::new();
    for name in alternatives.iter().flat_map(|found| &found.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => {
                let address = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
                let address = address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from));
                names.extend(address.map(|address| address.to_string()));
            }
            _ => {}
        }
    }
    if names.is_empty() {
        return Err("a certificate without names (subjectAltName)".to_owned());
    }
    Ok((names, parsed.validity().not_after.timestamp()))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |error| Error::File(path.to_owned(), error);
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(failed)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, names: &[&str]) -> Pair {
        let made = rcgen::generate_simple_self_signed(
            names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(),
        );
        let made = made.unwrap();
        let pair = Pair {
            certificate: dir.join(format!("{name}.pem")),
            key: dir.join(format!("{name}.key")),
            awaited: false,
        };
        fs::write(&pair.certificate, made.cert.pem()).unwrap();
        fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
        pair
    }

    #[test]
    fn certificates_are_found_by_name_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let pairs = vec![
            write(dir.path(), "a", &["a.example", "127.0.0.1"]),
            write(dir.path(), "b", &["*.b.example", "B.example"]),
        ];
        let registry = Registry::new();
        let certificates = Certificates::open(pairs.clone(), &registry).unwrap();
        let of = |name| certificates.of(name).map(|key| key.cert[0].clone());
        let first = of("a.example").unwrap();
        assert_eq!(certificates.held.load().first.as_ref().unwrap().cert[0], first);
        assert!(
            of("b.example").is_some()
                && of("x.b.example") == of("b.example")
                && of("b.example") != Some(first.clone())
        );
        for other in ["example", "x.a.example", "y.x.b.example", ""] {
            assert_eq!(of(other), None, "{other}");
        }
        assert!(
            registry
                .encode()
                .contains("millrace_tls_certificate_expiry_timestamp_seconds{name=\"*.b.example\"}")
        );
        // A key that does not fit: all stays as it is, until it does.
        let new = write(dir.path(), "new", &["a.example"]);
        fs::copy(&new.certificate, &pairs[0].certificate).unwrap();
        assert!(matches!(certificates.reload_if_changed(), Err(Error::Mismatch(..))));
        assert_eq!(of("a.example"), Some(first.clone()));
        fs::copy(&new.key, &pairs[0].key).unwrap();
        certificates.reload_if_changed().unwrap();
        assert!(of("a.example").is_some_and(|found| found != first));
    }

    #[test]
    fn what_is_awaited_is_used_when_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let first = write(dir.path(), "a", &["a.example"]);
        let file = dir.path().join("b.pem");
        let awaited = Pair { certificate: file.clone(), key: file.clone(), awaited: true };
        let certificates = Certificates::open(vec![awaited, first], &Registry::new()).unwrap();
        assert!(certificates.of("a.example").is_some() && certificates.of("b.example").is_none());
        let new = write(dir.path(), "new", &["b.example"]);
        let both = [fs::read(&new.key).unwrap(), fs::read(&new.certificate).unwrap()].concat();
        fs::write(&file, &both).unwrap();
        certificates.reload_if_changed().unwrap();
        assert!(certificates.of("b.example").is_some());
        fs::write(&file, "nonsense").unwrap();
        certificates.reload().unwrap();
        assert!(certificates.of("a.example").is_some() && certificates.of("b.example").is_none());
    }
}
