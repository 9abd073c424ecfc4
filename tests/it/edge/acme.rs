//! Certificates from a real authority: pebble, which asks this server for its proofs. `scripts/deps.sh test` installs it.

use std::{
    fs,
    net::{SocketAddr, TcpListener as StdListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use millrace::config::raw;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use super::Edge;
use crate::origin_double::{Answer, OriginDouble};

/// Both lead here without a name server. The address stands first: who asks for one names nobody.
const NAMES: [&str; 2] = ["127.0.0.1", "localhost"];
/// An order takes a few round trips, and the authority's time to look. There is one try: another would come after a minute of
/// a clock that stands still.
const PATIENCE: Duration = Duration::from_secs(150);

/// Ends when dropped.
struct Authority {
    process: Child,
    dir: TempDir,
    directory: String,
    /// Where it looks for proofs: passed on to whoever is to give them.
    server: watch::Sender<Option<SocketAddr>>,
    _passing: JoinSet<()>,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Authority {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned)).unwrap();
        fs::write(dir.path().join("own.pem"), made.cert.pem()).unwrap();
        fs::write(dir.path().join("own.key"), made.signing_key.serialize_pem()).unwrap();
        let (server, passing, proofs) = passing().await;
        // It cannot be told to take any free port.
        for _ in 0..5 {
            let [listen, manage] = [(); 2].map(|()| StdListener::bind("127.0.0.1:0").unwrap());
            let [listen, manage] = [listen, manage].map(|port| port.local_addr().unwrap());
            if let Some(process) = run(dir.path(), listen, manage, proofs).await {
                let directory = format!("https://{listen}/dir");
                return Self { process, dir, directory, server, _passing: passing };
            }
        }
        panic!("pebble does not start; run scripts/deps.sh test");
    }

    fn ca_file(&self) -> String {
        self.dir.path().join("own.pem").display().to_string()
    }
}

/// Connections to a port that is known now, for a server that is not there yet.
async fn passing() -> (watch::Sender<Option<SocketAddr>>, JoinSet<()>, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (server, to) = watch::channel(None);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut pairs = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut to = to.clone();
            pairs.spawn(async move {
                let Ok(address) = to.wait_for(Option::is_some).await.map(|address| *address) else { return };
                if let Ok(mut server) = TcpStream::connect(address.unwrap()).await {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    (server, tasks, port)
}

/// None: it did not get its ports.
async fn run(dir: &Path, listen: SocketAddr, manage: SocketAddr, proofs: u16) -> Option<Child> {
    let config = serde_json::json!({ "pebble": {
        "listenAddress": listen, "managementListenAddress": manage,
        "certificate": dir.join("own.pem"), "privateKey": dir.join("own.key"),
        "httpPort": proofs, "tlsPort": 1, "ocspResponderURL": "", "externalAccountBindingRequired": false,
    }});
    let path = dir.join("pebble.json");
    fs::write(&path, config.to_string()).unwrap();
    let mut process = Command::new("pebble")
        .arg("-config")
        .arg(&path)
        .env("PEBBLE_VA_NOSLEEP", "1")
        // It would refuse some by chance, and three in a row end an order.
        .env("PEBBLE_WFE_NONCEREJECT", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("pebble: {error}; run scripts/deps.sh test"));
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        if TcpStream::connect(listen).await.is_ok() && TcpStream::connect(manage).await.is_ok() {
            return Some(process);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let _ = process.kill();
    let _ = process.wait();
    None
}

/// The certificate that clients get for a name, if one of this file's signers stands behind it.
async fn presented(edge: &Edge, name: &str, file: &Path) -> Option<CertificateDer<'static>> {
    let mut roots = RootCertStore::empty();
    // Behind the first, which is the server's own.
    for signer in CertificateDer::pem_file_iter(file).ok()?.skip(1) {
        roots.add(signer.ok()?).ok()?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(edge.secure()).await.ok()?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    stream.get_ref().1.peer_certificates()?.first().cloned().map(CertificateDer::into_owned)
}

/// Of all names, once each is there and another than before.
async fn all_presented(edge: &Edge, before: &[CertificateDer<'static>]) -> Vec<CertificateDer<'static>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut found = Vec::new();
        for name in NAMES {
            let file = edge.directory().join("acme").join(format!("{name}.pem"));
            found.extend(presented(edge, name, &file).await);
        }
        if found.len() == NAMES.len() && found.iter().all(|certificate| !before.contains(certificate)) {
            return found;
        }
        assert!(Instant::now() < deadline, "there are {} certificates", found.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_ordered_proven_kept_and_renewed() {
    let authority = Authority::start().await;
    let origin = OriginDouble::start().await;
    origin.on("/.well-known/acme-challenge/of-the-origin", Answer::ok("for somebody else"));
    let mut edge = Edge::with(&origin, |raw| {
        raw.tls.listen = "127.0.0.1:0".to_owned();
        // Proofs are looked for without TLS all the same.
        raw.tls.redirect = true;
        raw.tls.acme = raw::Acme {
            names: NAMES.map(str::to_owned).to_vec(),
            directory: authority.directory.clone(),
            contact: "ops@example.com".to_owned(),
            agree_to_terms: true,
            ca_file: authority.ca_file(),
            ..Default::default()
        };
    })
    .await;
    authority.server.send_replace(Some(edge.data()));
    let first = all_presented(&edge, &[]).await;
    assert_ne!(first[0], first[1], "one for each name");
    let kept = edge.directory().join("acme");
    let mut files: Vec<_> = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap()).collect();
    files.sort_by_key(|entry| entry.file_name());
    let names: Vec<_> = files.iter().map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["127.0.0.1.pem", "account.json", "localhost.pem"]);
    for file in &files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    // What is asked for elsewhere passes, and what is over is not shown any more.
    let passed = edge.get("/.well-known/acme-challenge/of-the-origin").await;
    assert_eq!(passed.text(), "for somebody else");

    // What is kept is good for a while: nothing is ordered by the next start.
    authority.server.send_replace(None);
    edge.restart().await;
    assert_eq!(all_presented(&edge, &[]).await, first);
    // Two thirds of pebble's five years are over, by this server's clock, and of the new ones as well: each is ordered once.
    edge.advance(4 * 365 * 86_400);
    edge.restart().await;
    authority.server.send_replace(Some(edge.data()));
    all_presented(&edge, &first).await;
}
