//! A real nginx as an origin: TLS with and without everything it can ask for, HTTP/2, files.

use std::{
    fs,
    net::{SocketAddr, TcpListener as StdListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures_util::{StreamExt, future::join_all};
use millrace::origin::{ErrorKind, Origin, Response, http as http_origin};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::{IMPATIENT, PATIENT, collect, get, text};
use crate::origin_double::pattern_bytes;

/// Ends when dropped.
pub(crate) struct Nginx {
    dir: TempDir,
    process: Child,
    pub(crate) secure: SocketAddr,
    /// With a certificate that was good until 2020, and with one of nobody's.
    pub(crate) expired: SocketAddr,
    pub(crate) self_signed: SocketAddr,
    /// HTTP/2 without TLS.
    plain: SocketAddr,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const SEED: u64 = 11;
const LENGTH: u64 = 5_000_000;

/// A certificate and its key, in files; of nobody but itself without an issuer.
fn certificate(
    dir: &TempDir,
    file: &str,
    (name, last_year): (&str, i32),
    issuer: Option<&Issuer<'_, KeyPair>>,
) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, file);
    params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    fs::write(dir.path().join(format!("{file}.pem")), certificate.pem()).unwrap();
    fs::write(dir.path().join(format!("{file}.key")), key.serialize_pem()).unwrap();
}

fn authority(dir: &TempDir, file: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, file);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    fs::write(dir.path().join(format!("{file}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    Issuer::new(params, key)
}

impl Nginx {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = authority(&dir, "ca");
        authority(&dir, "other-ca");
        certificate(&dir, "server", ("media.example", 4000), Some(&ca));
        certificate(&dir, "client", ("edge.example", 4000), Some(&ca));
        certificate(&dir, "expired", ("media.example", 2020), Some(&ca));
        certificate(&dir, "self-signed", ("media.example", 4000), None);
        fs::create_dir(dir.path().join("files")).unwrap();
        fs::write(dir.path().join("files/large"), pattern_bytes(SEED, 0..LENGTH)).unwrap();
        // nginx takes no port 0.
        let ports = [(); 4].map(|()| StdListener::bind("127.0.0.1:0").unwrap());
        let [secure, expired, self_signed, plain] = ports.map(|port| port.local_addr().unwrap());
        let settings = format!(
            r#"daemon off; master_process off; pid nginx.pid; error_log stderr;
            events {{ worker_connections 128; }}
            http {{
                access_log off; http2_max_concurrent_streams 256;
                client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
                server {{
                    listen {secure} ssl http2;
                    ssl_certificate server.pem; ssl_certificate_key server.key;
                    ssl_client_certificate ca.pem; ssl_verify_client optional;
                    root files;
                    location = /seen {{
                        add_header x-host $host; add_header x-sni $ssl_server_name; add_header x-key "$http_x_key";
                        add_header x-protocol $server_protocol; add_header x-client $ssl_client_verify;
                        add_header x-connection $connection;
                        return 200 seen;
                    }}
                }}
                server {{
                    listen {plain} http2; root files;
                    location = /seen {{ add_header x-protocol $server_protocol; return 200 seen; }}
                }}
                server {{
                    listen {expired} ssl; ssl_certificate expired.pem; ssl_certificate_key expired.key; root files;
                }}
                server {{
                    listen {self_signed} ssl; ssl_certificate self-signed.pem; ssl_certificate_key self-signed.key; root files;
                }}
            }}"#
        );
        fs::write(dir.path().join("nginx.conf"), settings).unwrap();
        let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"];
        let program = program.into_iter().find(|path| PathBuf::from(path).exists()).unwrap_or("nginx");
        let process = Command::new(program)
            .args(["-e", "stderr", "-c", "nginx.conf", "-p"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .expect("nginx is installed");
        let mut nginx = Self { dir, process, secure, expired, self_signed, plain };
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(nginx.secure).await.is_err() {
            let ended = nginx.process.try_wait().unwrap().is_some();
            let late = std::time::Instant::now() > deadline;
            assert!(!ended && !late, "{}", fs::read_to_string(nginx.path("log")).unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        nginx
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn config(&self) -> http_origin::Config {
        let tls = http_origin::Tls {
            server_name: Some("media.example".to_owned()),
            ca_file: Some(self.path("ca.pem")),
            ..Default::default()
        };
        let base = Url::parse(&format!("https://{}", self.secure)).unwrap();
        http_origin::Config { tls, ..http_origin::Config::new("nginx", base) }
    }
}

fn open(config: http_origin::Config) -> http_origin::Http {
    http_origin::Http::new(config).unwrap()
}

fn field<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers[name].to_str().unwrap()
}

#[tokio::test]
async fn names_certificates_and_protocols_are_as_configured() {
    let nginx = Nginx::start().await;
    let plain = open(nginx.config()).fetch(get("/seen", &[])).await.unwrap();
    assert_eq!(field(&plain, "x-host"), "127.0.0.1");
    assert_eq!((field(&plain, "x-sni"), field(&plain, "x-client")), ("media.example", "NONE"));
    let client = Some((nginx.path("client.pem"), nginx.path("client.key")));
    for (http2, protocol) in [(true, "HTTP/2.0"), (false, "HTTP/1.1")] {
        let config = nginx.config();
        let tls = http_origin::Tls { client: client.clone(), ..config.tls.clone() };
        let host_header = Some("other.example".to_owned());
        let mut config = http_origin::Config { http2, tls, host_header, ..config };
        config.fields.insert("x-key", "secret".parse().unwrap());
        let origin = open(config);
        let answers = join_all((0..20).map(|_| origin.fetch(get("/seen", &[("x-key", "theirs")])))).await;
        for answer in answers {
            let answer = answer.unwrap();
            assert_eq!(answer.status, 200);
            let seen =
                ["x-protocol", "x-host", "x-sni", "x-client", "x-key"].map(|name| field(&answer, name));
            assert_eq!(seen, [protocol, "other.example", "media.example", "SUCCESS", "secret"]);
            assert_eq!(text(answer).await, "seen");
        }
        let again = origin.fetch(get("/seen", &[])).await.unwrap();
        let first = field(&again, "x-connection").to_owned();
        text(again).await;
        let once_more = origin.fetch(get("/seen", &[])).await.unwrap();
        assert_eq!(field(&once_more, "x-connection"), first, "{protocol}");
    }
}

#[tokio::test]
async fn files_come_whole_and_in_parts_over_http_2() {
    let nginx = Nginx::start().await;
    let base = Url::parse(&format!("http://{}", nginx.plain)).unwrap();
    let plain = http_origin::Config { h2c: true, ..http_origin::Config::new("plain", base) };
    for config in [nginx.config(), plain] {
        come_whole_and_in_parts(&open(config)).await;
    }
}

async fn come_whole_and_in_parts(origin: &http_origin::Http) {
    let whole = join_all((0..8).map(|_| async {
        let answer = origin.fetch(get("/large", &[])).await.unwrap();
        assert_eq!(answer.content_length, Some(LENGTH));
        collect(answer.body).await.unwrap()
    }));
    let expected = pattern_bytes(SEED, 0..LENGTH);
    assert!(whole.await.iter().all(|whole| *whole == expected));
    let part = origin.fetch(get("/large", &[("range", "bytes=1000-1999")])).await.unwrap();
    assert_eq!((part.status.as_u16(), part.content_length), (206, Some(1000)));
    assert_eq!(collect(part.body).await.unwrap(), expected[1000..2000]);
    assert_eq!(origin.fetch(get("/missing", &[])).await.unwrap().status, 404);
    let seen = origin.fetch(get("/seen", &[])).await.unwrap();
    assert_eq!(field(&seen, "x-protocol"), "HTTP/2.0");
}

/// Over HTTP/2 bodies share a connection, and what it may carry at a time.
#[tokio::test]
async fn bodies_that_are_not_read_do_not_hold_up_others() {
    let nginx = Nginx::start().await;
    let origin = open(nginx.config());
    let mut unread = Vec::new();
    // Each may have half a mebibyte on its way.
    for _ in 0..160 {
        let mut answer = origin.fetch(get("/large", &[])).await.unwrap();
        answer.body.next().await.unwrap().unwrap();
        unread.push(answer);
    }
    let answer = tokio::time::timeout(PATIENT, origin.fetch(get("/large", &[]))).await.unwrap().unwrap();
    let bytes = tokio::time::timeout(PATIENT, collect(answer.body)).await.unwrap().unwrap();
    assert_eq!(bytes.len() as u64, LENGTH);
    let connections = origin.fetch(get("/seen", &[])).await.unwrap();
    assert_eq!(field(&connections, "x-protocol"), "HTTP/2.0");
}

#[tokio::test]
async fn whoever_is_not_trusted_is_not_asked() {
    let nginx = Nginx::start().await;
    let good = nginx.config();
    let with = |tls: http_origin::Tls| http_origin::Config { tls, ..good.clone() };
    let stranger = http_origin::Tls { server_name: Some("stranger.example".to_owned()), ..good.tls.clone() };
    let other_ca = http_origin::Tls { ca_file: Some(nginx.path("other-ca.pem")), ..good.tls.clone() };
    for (tls, told) in [(stranger.clone(), "not valid for name"), (other_ca.clone(), "UnknownIssuer")] {
        let error = open(with(tls)).fetch(get("/seen", &[])).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Tls);
        assert!(error.detail.contains(told), "{}", error.detail);
    }
    for tls in [stranger, other_ca] {
        let origin = open(with(http_origin::Tls { insecure_skip_verify: true, ..tls }));
        assert_eq!(origin.fetch(get("/seen", &[])).await.unwrap().status, 200);
    }
    // TLS to whom it means nothing, and nothing of it to whom it means something.
    let base = Url::parse(&format!("http://{}", nginx.secure)).unwrap();
    let answer = open(http_origin::Config { base, ..good.clone() }).fetch(get("/seen", &[])).await.unwrap();
    assert_eq!(answer.status, 400);
    for file in ["nginx.conf", "missing.pem"] {
        let tls = http_origin::Tls { ca_file: Some(nginx.path(file)), ..good.tls.clone() };
        let Err(error) = http_origin::Http::new(with(tls)) else { panic!("{file}") };
        assert!(error.to_string().contains(file), "{error}");
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_a_failed_connection() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("https://{}", silent.local_addr().unwrap())).unwrap();
    let config = http_origin::Config {
        connect_timeout: IMPATIENT,
        first_byte_timeout: PATIENT,
        tls: http_origin::Tls { insecure_skip_verify: true, ..Default::default() },
        ..http_origin::Config::new("silent", base)
    };
    let error = open(config).fetch(get("/", &[])).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Connect);
    assert!(error.detail.contains("no connection within"), "{}", error.detail);
}
