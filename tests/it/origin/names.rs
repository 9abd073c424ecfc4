//! Names of origins: a name server of our own says where they lead, says something else later, or nothing at all.

use std::{
    collections::HashSet,
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

/// Answers every question for an address with the same ones, good for a second. Ends with its tasks.
struct NameServer {
    at: SocketAddr,
    leads_to: Arc<Mutex<Vec<Ipv4Addr>>>,
    asked: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl NameServer {
    async fn start(leads_to: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let leads_to = Arc::new(Mutex::new(vec![leads_to]));
        let asked = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let (known, counter) = (leads_to.clone(), asked.clone());
        tasks.spawn(async move {
            let mut question = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut question).await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let addresses = known.lock().clone();
                if !addresses.is_empty() {
                    let _ = socket.send_to(&answer(&question[..length], &addresses), client).await;
                }
            }
        });
        Self { at, leads_to, asked, tasks }
    }

    /// Nowhere: it does not answer.
    fn lead_to(&self, addresses: &[Ipv4Addr]) {
        *self.leads_to.lock() = addresses.to_vec();
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

/// RFC 1035 §4: the question again, and the addresses when it asks for those of IPv4.
fn answer(question: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|&byte| byte == 0).unwrap() + 5;
    let for_v4 = question[end - 4..end - 2] == [0, 1];
    let mut answer = question[..2].to_vec();
    let addresses = if for_v4 { addresses } else { &[] };
    answer.extend([0x81, 0x80, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    for address in addresses {
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

/// Asks on until it is so; panics after half a minute.
async fn until(origin: &http_origin::Http, mut is_so: impl FnMut(String) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
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
    names.lead_to(&[TWO]);
    until(&origin, |said| said == "two").await;
    // The name server is down: what it said last is good enough.
    names.lead_to(&[]);
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
    names.lead_to(&[]);
    let deadline = Instant::now() + Duration::from_secs(30);
    let error = loop {
        match origin.fetch(get("/", &[])).await {
            Ok(answer) => drop(text(answer).await),
            Err(error) => break error,
        }
        assert!(Instant::now() < deadline, "still answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(error.kind, ErrorKind::Dns);
}

/// Of several addresses those that are dead cost nothing but the first attempt; all that live are used.
#[tokio::test]
async fn dead_addresses_are_passed_over() {
    let mut server = NameServer::start(ONE).await;
    let at = server.serve(SocketAddr::new(ONE.into(), 0), "one").await;
    server.serve(SocketAddr::new(TWO.into(), at.port()), "two").await;
    // Nobody listens at the third, and packets to the fourth are lost.
    server.lead_to(&[Ipv4Addr::new(127, 0, 0, 3), ONE, Ipv4Addr::new(192, 0, 2, 1), TWO]);
    let url = format!("http://o.example:{}", at.port());
    for _ in 0..4 {
        let origin = server.origin(&url, true, HOUR);
        assert!(["one", "two"].contains(&said(&origin).await.as_str()));
    }
    let origin = server.origin(&url, true, HOUR);
    let mut seen = HashSet::new();
    until(&origin, |name| {
        seen.insert(name);
        seen.len() == 2
    })
    .await;
}

#[tokio::test]
async fn an_address_of_ipv6_is_asked_as_it_is() {
    let mut server = NameServer::start(ONE).await;
    // Not every machine has IPv6.
    if TcpListener::bind("[::1]:0").await.is_err() {
        return;
    }
    let at = server.serve("[::1]:0".parse().unwrap(), "six").await;
    assert_eq!(said(&server.origin(&format!("http://{at}"), false, HOUR)).await, "six");
    assert_eq!(server.asked(), 0);
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
        names.lead_to(&[address]);
        let origin = names.origin(&format!("http://{host}:{port}"), allowed, HOUR);
        let answer = origin.fetch(get("/", &[])).await;
        match reached {
            true => assert_eq!(text(answer.unwrap()).await, "one", "{host}"),
            false => assert_eq!(failure(answer), ErrorKind::PrivateAddress, "{host} {address}"),
        }
    }
}
