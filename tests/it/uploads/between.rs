//! Stands between a server and what it depends on, an S3 server or a database, and strikes at a chosen message.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// What becomes of a message to the one behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strike {
    Pass,
    /// It does not arrive, and the connection ends.
    Cut,
    /// It arrives, and the connection ends when it is answered.
    Unanswered,
    /// It waits to be released.
    Hold,
}

type Rule = Box<dyn FnMut(&[u8]) -> Strike + Send>;

pub(super) struct Between {
    shared: Arc<Shared>,
    /// Where to connect to: a port, or the folder of a socket.
    pub(super) at: String,
    _accepting: JoinSet<()>,
    _dir: Option<tempfile::TempDir>,
}

struct Shared {
    rule: Mutex<Rule>,
    held: AtomicUsize,
    released: Semaphore,
    /// With the first bytes that were said on each.
    connections: Mutex<Vec<(Vec<u8>, CancellationToken)>>,
}

/// As much of what was said first tells connections apart.
const FIRST: usize = 4096;

impl Between {
    /// In front of a port of this machine.
    pub(super) async fn port(behind: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().port().to_string();
        let (shared, behind) = (Shared::new(), format!("127.0.0.1:{behind}"));
        let mut accepting = JoinSet::new();
        let relaying = shared.clone();
        accepting.spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (shared, behind) = (relaying.clone(), behind.clone());
                relays.spawn(async move {
                    let Ok(behind) = TcpStream::connect(behind).await else { return };
                    let _ = relay(&shared, client.into_split(), behind.into_split()).await;
                });
            }
        });
        Self { shared, at, _accepting: accepting, _dir: None }
    }

    /// In front of a database's socket in this folder.
    pub(super) async fn socket(behind: &Path) -> Self {
        const NAME: &str = ".s.PGSQL.5432";
        let dir = tempfile::Builder::new().prefix("pgb").tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(NAME)).unwrap();
        let at = dir.path().to_str().unwrap().to_owned();
        let (shared, behind) = (Shared::new(), behind.join(NAME));
        let mut accepting = JoinSet::new();
        let relaying = shared.clone();
        accepting.spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (shared, behind) = (relaying.clone(), behind.clone());
                relays.spawn(async move {
                    let Ok(behind) = UnixStream::connect(behind).await else { return };
                    let _ = relay(&shared, client.into_split(), behind.into_split()).await;
                });
            }
        });
        Self { shared, at, _accepting: accepting, _dir: Some(dir) }
    }

    /// What is done with each message from now on.
    pub(super) fn strike(&self, rule: impl FnMut(&[u8]) -> Strike + Send + 'static) {
        *self.shared.rule.lock() = Box::new(rule);
    }

    /// The same with the first one that is meant, alone.
    pub(super) fn strike_once(&self, strike: Strike, is_meant: impl Fn(&[u8]) -> bool + Send + 'static) {
        let mut left = Some(strike);
        self.strike(move |message| match is_meant(message) {
            true => left.take().unwrap_or(Strike::Pass),
            false => Strike::Pass,
        });
    }

    /// Messages that were held up to now.
    pub(super) fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }

    pub(super) fn release(&self) {
        self.shared.released.add_permits(1);
    }

    /// Ends connections on which this was said at first.
    pub(super) fn cut_those(&self, said: &str) {
        for (first, cut) in &*self.shared.connections.lock() {
            if contains(first, said) {
                cut.cancel();
            }
        }
    }
}

pub(super) fn contains(message: &[u8], text: &str) -> bool {
    message.windows(text.len()).any(|window| window == text.as_bytes())
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            rule: Mutex::new(Box::new(|_| Strike::Pass)),
            held: AtomicUsize::new(0),
            released: Semaphore::new(0),
            connections: Mutex::default(),
        })
    }

    fn said(&self, connection: usize, message: &[u8]) {
        let first = &mut self.connections.lock()[connection].0;
        first.extend_from_slice(&message[..message.len().min(FIRST.saturating_sub(first.len()))]);
    }
}

async fn relay(
    shared: &Shared,
    (mut from_client, mut to_client): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    (mut from_behind, mut to_behind): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let cut = CancellationToken::new();
    let number = {
        let mut connections = shared.connections.lock();
        connections.push((Vec::new(), cut.clone()));
        connections.len() - 1
    };
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let (mut is_last, mut is_heard) = (false, true);
    let relaying = async {
        loop {
            tokio::select! {
                count = from_client.read(&mut asked), if is_heard => {
                    let message = &asked[..count?];
                    if message.is_empty() {
                        return Ok(());
                    }
                    shared.said(number, message);
                    let strike = (shared.rule.lock())(message);
                    match strike {
                        Strike::Pass => {}
                        Strike::Cut => return Ok(()),
                        Strike::Unanswered => is_last = true,
                        Strike::Hold => {
                            shared.held.fetch_add(1, Ordering::SeqCst);
                            shared.released.acquire().await.unwrap().forget();
                        }
                    }
                    // Who hears no more may still have said something.
                    is_heard = to_behind.write_all(message).await.is_ok();
                }
                count = from_behind.read(&mut answered) => {
                    let message = &answered[..count?];
                    if message.is_empty() || is_last {
                        return Ok(());
                    }
                    to_client.write_all(message).await?;
                }
            }
        }
    };
    tokio::select! {
        relayed = relaying => relayed,
        () = cut.cancelled() => Ok(()),
    }
}
