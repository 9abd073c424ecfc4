//! Names of origins: a name server of our own says where they lead, says something else later, or nothing at all.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use millrace::origin::{ErrorKind, Origin, http as http_origin};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};
use url::Url;

use super::{failure, get, text};

/// Answers every question for an address with the same one, good for a second. Ends with its tasks.
struct NameServer {
    at: SocketAddr,
    leads_to: Arc<Mutex<Option<Ipv4Addr>>>,
    asked: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl NameServer {
    async fn start(leads_to: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let leads_to = Arc::new(Mutex::new(Some(leads_to)));
        let asked = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let (known, counter) = (leads_to.clone(), asked.clone());
        tasks.spawn(async move {
            let mut question = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut question).await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let address = *known.lock();
                if let Some(address) = address {
                    let _ = socket.send_to(&answer(&question[..length], address), client).await;
                }
            }
        });
        Self { at, leads_to, asked, tasks }
    }

    fn lead_to(&self, address: Option<Ipv4Addr>) {
        *self.leads_to.lock() = address;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// An HTTP server at that address, which says who it is.
    async fn serve(&mut self, address: SocketAddr, body: &'static str) -> SocketAddr {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        self.tasks.spawn(async move {
            let mut clients = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                clients.spawn(async move {
                    let mut request = [0; 4096];
                    while client.read(&mut request).await.is_ok_and(|length| length > 0) {
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                        let _ = client.write_all(format!("{head}{body}").as_bytes()).await;
                    }
                });
            }
        });
        address
    }

    fn origin(&self, url: &str, allow_private: bool, stale_max: Duration) -> http_origin::Http {
        let dns = http_origin::Dns { servers: vec![self.at], stale_max };
        let base = Url::parse(url).unwrap();
        let config = http_origin::Config { dns, allow_private, ..http_origin::Config::new("named", base) };
        http_origin::Http::new(config).unwrap()
    }
}

/// RFC 1035 §4: the question again, and an address when it asks for one of IPv4.
fn answer(question: &[u8], address: Ipv4Addr) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|&byte| byte == 0).unwrap() + 5;
    let for_v4 = question[end - 4..end - 2] == [0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(for_v4), 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    if for_v4 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const HOUR: Duration = Duration::from_secs(3600);

async fn said(origin: &http_origin::Http) -> String {
    text(origin.fetch(get("/", &[])).await.unwrap()).await
}

/// Asks on until it is so; panics after ten seconds.
async fn until(origin: &http_origin::Http, mut is_so: impl FnMut(String) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so(said(origin).await) {
        assert!(Instant::now() < deadline, "never");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_origin_that_moves_is_found_and_not_forgotten() {
    let mut names = NameServer::start(ONE).await;
    let one = names.serve((ONE, 0).into(), "one").await;
    names.serve((TWO, one.port()).into(), "two").await;
    let origin = names.origin(&format!("http://media.example:{}", one.port()), true, HOUR);
    assert_eq!(said(&origin).await, "one");
    // Though its connection is kept, and always in use.
    names.lead_to(Some(TWO));
    until(&origin, |said| said == "two").await;
    // The name server is down: what it said last is good enough.
    names.lead_to(None);
    let before = names.asked();
    until(&origin, |said| {
        assert_eq!(said, "two");
        names.asked() > before
    })
    .await;
    assert_eq!(said(&origin).await, "two");
}

#[tokio::test]
async fn the_last_good_address_has_an_end() {
    let mut names = NameServer::start(ONE).await;
    let one = names.serve((ONE, 0).into(), "one").await;
    let origin = names.origin(&format!("http://media.example:{}", one.port()), true, Duration::ZERO);
    assert_eq!(said(&origin).await, "one");
    names.lead_to(None);
    let deadline = Instant::now() + Duration::from_secs(10);
    let error = loop {
        match origin.fetch(get("/", &[])).await {
            Ok(answer) => drop(text(answer).await),
            Err(error) => break error,
        }
        assert!(Instant::now() < deadline, "still answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(error.kind, ErrorKind::Connect);
}

#[tokio::test]
async fn names_do_not_lead_to_private_places() {
    let mut names = NameServer::start(ONE).await;
    let port = names.serve((ONE, 0).into(), "one").await.port();
    for (host, address, allowed, reached) in [
        ("media.example", ONE, false, false),
        ("media.example", ONE, true, true),
        ("media.internal", ONE, false, true),
        ("media.internal", Ipv4Addr::new(169, 254, 169, 254), false, false),
        ("localhost", ONE, false, true),
        ("127.0.0.1", ONE, false, true),
    ] {
        names.lead_to(Some(address));
        let origin = names.origin(&format!("http://{host}:{port}"), allowed, HOUR);
        let answer = origin.fetch(get("/", &[])).await;
        match reached {
            true => assert_eq!(text(answer.unwrap()).await, "one", "{host}"),
            false => assert_eq!(failure(answer), ErrorKind::PrivateAddress, "{host} {address}"),
        }
    }
}
